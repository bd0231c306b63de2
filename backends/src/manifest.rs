//! `manifest.json`: what a directory of artefacts holds, and what the model looks like from outside.

use crate::backend::Options;
use crate::core::{self, Codes};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use unfloat_ir::{Diagnostic, Graph, Location, TensorType, text};

/// The file's name.
pub const NAME: &str = "manifest.json";
/// What the `tool` field says; a directory whose manifest says it may be replaced.
pub const TOOL: &str = "unfloat";

/// The whole manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`TOOL`].
    pub tool: String,
    /// The version of the tool that wrote it.
    pub version: String,
    /// The model's name in emitted code.
    pub name: String,
    /// The hash of the graph's text form, constants included; nothing where there is no graph.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub graph_sha256: String,
    /// The stage of the graph; nothing where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// The model's inputs, in its order.
    pub inputs: Vec<Port>,
    /// The model's outputs, in its order.
    pub outputs: Vec<Port>,
    /// The backends that wrote files, with their options.
    pub backends: BTreeMap<String, BTreeMap<String, String>>,
    /// The formats in which parameters were written, each in a folder of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// The parameters in these folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterEntry>,
    /// Every file but this one, by path.
    pub files: Vec<Entry>,
}

/// An input or output of the model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its name in the source model.
    pub name: String,
    /// The type of one element.
    #[serde(rename = "type")]
    pub elem: String,
    /// The extents of one sample.
    pub shape: Vec<usize>,
    /// The name of each axis.
    pub layout: String,
    /// Elements of one sample.
    pub size: usize,
    /// The codes that an integer graph has for it: one set, or for an input one for each of its quantizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Codes>,
}

impl Port {
    fn new(name: &str, ty: &TensorType) -> Self {
        Self {
            name: name.to_string(),
            elem: ty.elem.to_string(),
            shape: ty.shape.to_vec(),
            layout: ty.layout.to_string(),
            size: ty.shape.num_elements(),
            codes: Vec::new(),
        }
    }
}

/// A parameter that was written as data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ParameterEntry {
    /// Its true name, in the checkpoint or the graph.
    pub key: String,
    /// The extents.
    pub shape: Vec<usize>,
    /// The name of each axis; `_` where the source does not say.
    pub layout: String,
    /// The type of one element.
    #[serde(rename = "type")]
    pub elem: String,
    /// What its file is called in the folder of each format, without the extension.
    pub file: String,
    /// What it is called in a file that holds all parameters.
    pub variable: String,
}

/// A file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The path below the directory, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The hash of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// A manifest of a graph, with no files yet.
    pub fn new(graph: &Graph) -> Self {
        let inputs = graph.inputs().iter().map(|&v| (graph.value(v).name.as_str(), v));
        let outputs = graph.outputs().iter().map(|o| (o.name.as_str(), o.value));
        let mut inputs: Vec<Port> = inputs.map(|(n, v)| Port::new(n, graph.ty(v))).collect();
        let mut outputs: Vec<Port> = outputs.map(|(n, v)| Port::new(n, graph.ty(v))).collect();
        let integers = graph.decoded().ok().map(|g| g.compact()).filter(core::has_integers);
        if let Some(core) = integers.and_then(|g| core::split(&g).ok()) {
            let count = inputs.len();
            inputs.iter_mut().zip(core.input_codes(count)).for_each(|(port, codes)| port.codes = codes);
            outputs.iter_mut().zip(core.output_codes()).for_each(|(port, codes)| port.codes.extend(codes));
        }
        Self {
            tool: TOOL.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            name: graph.name.clone(),
            graph_sha256: hex(&Sha256::digest(text::print(graph).text)),
            stage: graph.stage.to_string(),
            inputs,
            outputs,
            backends: BTreeMap::new(),
            formats: Vec::new(),
            parameters: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A manifest of tensors without a graph, with no files yet.
    pub fn of_tensors(name: &str) -> Self {
        Self {
            name: name.to_string(),
            graph_sha256: String::new(),
            stage: String::new(),
            ..Self::new(&Graph::new(""))
        }
    }

    /// Notes that a backend wrote with these options.
    pub fn backend(&mut self, name: &str, options: &Options) {
        let options = options.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        self.backends.insert(name.to_string(), options);
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        // A struct of strings, numbers and lists always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads the manifest of a directory of artefacts.
    pub fn read(dir: &Path) -> Result<Self, Diagnostic> {
        let path = dir.join(NAME);
        let at = || Location::file(path.display().to_string());
        let bytes = std::fs::read(&path).map_err(|e| {
            Diagnostic::error(at(), e.to_string()).help("give a directory that `unfloat convert` made")
        })?;
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|e| Diagnostic::error(at(), e.to_string()))?;
        if manifest.tool != TOOL {
            return Err(Diagnostic::error(
                at(),
                format!("was written by `{}`, not by {TOOL}", manifest.tool),
            ));
        }
        Ok(manifest)
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(DIGITS[usize::from(d)])).collect()
}
