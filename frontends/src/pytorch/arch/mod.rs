//! The architecture of a PyTorch model, for a checkpoint that holds tensors alone.
//!
//! In: a state dict, and a TOML file that lists the layers in the order in which they run; a layer's name is the prefix
//! of its keys. Out: a [`Graph`] at stage `imported`, with warnings. Refuses, all at once: unknown kinds and parameters,
//! keys that no layer has and layers whose keys are missing, tensors of other shapes, layers that do not fit together.
//!
//! The format is described in `docs/pytorch-architecture.md`.
//!
//! | module | does |
//! |---|---|
//! | `document`, `value` | TOML to layers as they are written |
//! | `parameters` | a layer's parameters with torch's names and defaults |
//! | `layers` | the kinds, a family per file |
//! | `lower` | layers to nodes |
//! | `problem` | findings, and names that are near to one another |

mod document;
mod layers;
mod lower;
mod parameters;
mod problem;
mod value;

use std::collections::BTreeSet;

use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Severity};

use super::StateDict;
use document::{Decl, Document};
use layers::Layer;
use lower::{Tensors, full_key};
use parameters::Parameters;
use problem::{clip, near};

/// An architecture file.
#[derive(Clone, Debug)]
pub struct ArchitectureFile {
    /// The file's base name, for messages.
    pub label: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A model that was put together.
#[derive(Debug)]
pub struct Assembled {
    /// The graph.
    pub graph: Graph,
    /// What was assumed on the way.
    pub warnings: Vec<Diagnostic>,
}

/// Puts a model together. `name` is the graph's when the architecture gives none.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn assemble(state: &StateDict, file: &ArchitectureFile, name: &str) -> Result<Assembled, Diagnostics> {
    let label = file.label.as_str();
    let text = std::str::from_utf8(&file.bytes).map_err(|e| {
        let at = Location::file(label).at(format!("byte {}", e.valid_up_to()));
        Diagnostics::from(Diagnostic::error(at, "is no text in UTF-8"))
    })?;
    let document = document::read(label, text).map_err(Diagnostics)?;
    let mut found = Vec::new();
    let mut built: Vec<Option<Box<dyn Layer>>> = Vec::new();
    for decl in &document.layers {
        let mut parameters = Parameters::new(label, decl);
        let layer = layers::build(&mut parameters);
        let known = layer.is_some();
        let problems = parameters.finish();
        // Of a kind that is not known, no parameter is: that is said once.
        let problems = problems.into_iter().take(if known { usize::MAX } else { 1 });
        let before = found.len();
        found.extend(problems);
        built.push(layer.filter(|_| found.len() == before));
    }
    let tensors = Tensors::new(state);
    let complete = built.iter().all(Option::is_some);
    found.extend(keys(label, &document, &built, &tensors, complete));
    let name = document.name.as_deref().unwrap_or(name);
    let missing: BTreeSet<&str> = document
        .layers
        .iter()
        .zip(&built)
        .filter(|(d, l)| l.as_ref().is_some_and(|l| lacks(d, l.as_ref(), &tensors)))
        .map(|(d, _)| d.name.as_str())
        .collect();
    for (decl, layer) in document.layers.iter().zip(&mut built) {
        if missing.contains(decl.name.as_str()) {
            *layer = None;
        }
    }
    let (graph, problems) = lower::lower(label, &tensors, name, &document, &built);
    found.extend(problems);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(Diagnostics(found));
    }
    Ok(Assembled { graph, warnings: found })
}

/// Whether a tensor that the layer cannot be without is missing.
fn lacks(decl: &Decl, layer: &dyn Layer, tensors: &Tensors<'_>) -> bool {
    let there = |part: &&str| tensors.get(&full_key(&decl.key, part)).is_some();
    layer.tensors().iter().any(|wanted| wanted.needed && !wanted.parts.iter().any(there))
}

/// Keys that are missing, and, where every layer is known, keys that no layer has.
fn keys(
    label: &str,
    document: &Document,
    built: &[Option<Box<dyn Layer>>],
    tensors: &Tensors<'_>,
    complete: bool,
) -> Vec<Diagnostic> {
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut missing: Vec<(&Decl, String)> = Vec::new();
    for (decl, layer) in document.layers.iter().zip(built) {
        for wanted in layer.iter().flat_map(|layer| layer.tensors()) {
            let keys: Vec<String> = wanted.parts.iter().map(|part| full_key(&decl.key, part)).collect();
            let there: Vec<&String> = keys.iter().filter(|key| tensors.get(key).is_some()).collect();
            if there.is_empty() && wanted.needed {
                missing.extend(keys.first().map(|key| (decl, key.clone())));
            }
            used.extend(there.into_iter().cloned());
        }
    }
    let counter = |key: &str| key == "num_batches_tracked" || key.ends_with(".num_batches_tracked");
    let spared = |key: &str| {
        let covers = |name: &String| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        document.unused.iter().any(covers)
    };
    let unused: Vec<&str> =
        tensors.keys().filter(|key| !used.contains(*key) && !counter(key) && !spared(key)).collect();
    let mut found = Vec::new();
    for (decl, key) in &missing {
        let near = near(key, unused.iter().copied());
        let hint = match near.as_slice() {
            [] if key.ends_with(".bias") => {
                "say `bias = false`, or `affine = false`, if the layer has none".to_string()
            }
            [] => "a layer's `name`, or its `key`, is the prefix of its keys in the state dict".to_string(),
            names => format!(
                "did you mean `{}`? a layer's `name`, or its `key`, is the prefix",
                names.join("` or `")
            ),
        };
        let at = Location::file(label).at(format!("line {}", decl.line)).layer(decl.title());
        let text = format!("`{}` is not in {}", clip(key), tensors.state.label);
        found.push(Diagnostic::error(at, text).help(hint));
    }
    if complete {
        let wanted: Vec<&str> = missing.iter().map(|(_, key)| key.as_str()).collect();
        for key in &unused {
            let entry = tensors.get(key);
            let at = Location::file(&tensors.state.label).at(entry.map_or("", |e| e.place.as_str()));
            let shape = entry.map_or(String::new(), |e| e.tensor.shape().to_string());
            let near = near(key, wanted.iter().copied());
            let hint = match near.as_slice() {
                [] => "a layer may be missing; if the model does not use it, say so: `unused = [\"…\"]`"
                    .to_string(),
                names => format!("`{}` is missing: is it this?", names[0]),
            };
            let text = format!("no layer of {label} has the key `{}`, {shape}", clip(key));
            found.push(Diagnostic::error(at, text).help(hint));
        }
    }
    found
}

/// The names of all kinds of layers, sorted.
pub fn kinds() -> Vec<&'static str> {
    layers::kinds().collect()
}
