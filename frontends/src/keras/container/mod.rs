//! From the bytes of a file to its architecture, its metadata and its weights.
//!
//! In: whole-model and weights-only `.h5` of Keras 1 to 3, `.keras` archives, `.weights.h5`, JSON. The content
//! decides, not the name: files called `*_weights.h5` may be whole models. Out: [`Opened`]. Refuses: anything else,
//! naming what the file looks like.

pub(crate) mod archive;
pub(crate) mod hdf5;
pub(crate) mod json;
pub(crate) mod store;

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use unfloat_ir::Diagnostic;

use super::problem::{Annotate, Outcome, error};
use super::version::Metadata;
use archive::Archive;
use hdf5::{Hdf5Store, SharedBytes};
use store::{Store, chunked_strings, join, scalar_string};

/// A file given by the user.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file's base name; it is all that messages and the graph say about where the file lies.
    pub label: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// How the weights are filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `layer_names` and `weight_names` attributes (Keras 1, 2, and `.h5` of Keras 3).
    Legacy,
    /// `layers/<snake case class>/vars/<i>` (`.keras`, `.weights.h5`).
    Numbered,
}

/// An open source of weights.
#[derive(Clone)]
pub(crate) struct WeightSource {
    /// Label of the file.
    pub label: String,
    /// The arrays.
    pub store: Rc<dyn Store>,
    /// Group that holds the layers: `""` or `model_weights`.
    pub root: String,
    /// How they are filed.
    pub scheme: Scheme,
    /// What this file says about its writer.
    pub metadata: Metadata,
}

/// The architecture as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Architecture {
    /// Where the text stood: an attribute, a zip member, or nothing for a JSON file.
    pub place: String,
    /// `{"class_name": …, "config": …}`.
    pub json: Value,
}

/// What a file holds.
pub(crate) struct Opened {
    /// The architecture, if the file has one.
    pub architecture: Option<Architecture>,
    /// The weights, if the file has any.
    pub weights: Option<WeightSource>,
    /// What the file says about its writer.
    pub metadata: Metadata,
}

const HDF5_SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Opens a file of any kind that Keras writes.
pub(crate) fn open(file: ModelFile) -> Outcome<Opened> {
    let ModelFile { label, bytes } = file;
    // A user block moves the HDF5 signature to 512, 1024, 2048, …
    let hdf5_at = |at: usize| bytes.get(at..).is_some_and(|tail| tail.starts_with(HDF5_SIGNATURE));
    if hdf5_at(0) || (9..20).any(|power| hdf5_at(1 << power)) {
        return open_hdf5(&label, SharedBytes::whole(Arc::new(bytes)), "");
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return open_archive(&label, Arc::new(bytes));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii_start();
    if text.starts_with(b"{") || text.starts_with(b"\"") {
        return open_json(&label, text);
    }
    Err(unknown_file(&label, &bytes))
}

fn unknown_file(label: &str, bytes: &[u8]) -> Box<Diagnostic> {
    let known: &[(&[u8], &str, &str)] = &[
        (
            b"version https://git-lfs",
            "a Git LFS pointer, not the file itself",
            "fetch it with `git lfs pull`",
        ),
        (b"\x80", "a Python pickle", "save the model with `model.save(\"model.h5\")`"),
        (b"\x93NUMPY", "a NumPy array", "give it as an input, not as the model"),
        (b"\x1f\x8b", "gzip-compressed", "decompress it first"),
        (b"BZh", "bzip2-compressed", "decompress it first"),
        (b"<", "HTML or XML", "the download saved a web page instead of the model"),
    ];
    let supported = "Keras files are .h5, .keras, .weights.h5 and JSON";
    if bytes.is_empty() {
        return error(label, "", "the file is empty").with_help(supported);
    }
    if bytes.get(4..8) == Some(b"TFL3") {
        return error(label, "", "the file is a TensorFlow Lite model").with_help(supported);
    }
    match known.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        Some((_, what, help)) => error(label, "", format!("the file is {what}")).with_help(*help),
        None => {
            error(label, "", "the file is neither HDF5, nor a zip archive, nor JSON").with_help(supported)
        }
    }
}

fn open_hdf5(label: &str, bytes: SharedBytes, place: &str) -> Outcome<Opened> {
    let damaged = |at: &str, reason: String| {
        let at = if place.is_empty() { at.to_owned() } else { format!("{place}:{at}") };
        error(label, at, format!("damaged HDF5 file: {reason}"))
            .with_help("the file is truncated or corrupted; copy or save it again")
    };
    let store = Hdf5Store::open(bytes).map_err(|e| damaged("/", e))?;
    let attribute = |group: &str, name: &str| {
        scalar_string(&store, group, name).map_err(|e| damaged(&format!("/{group}"), e))
    };
    let architecture = match attribute("", "model_config")? {
        Some(text) => Some(parse_architecture(label, "model_config", text.as_bytes())?.0),
        None => None,
    };
    let root_metadata =
        Metadata { keras_version: attribute("", "keras_version")?, backend: attribute("", "backend")? };
    let in_group = store.has_group("model_weights");
    let root = if in_group { "model_weights" } else { "" };
    let listed = chunked_strings(&store, root, "layer_names").map_err(|e| damaged(&format!("/{root}"), e))?;
    let scheme = if listed.is_some() {
        Some(Scheme::Legacy)
    } else {
        store.has_group(&join(root, "layers")).then_some(Scheme::Numbered)
    };
    let metadata = if in_group {
        let inner = Metadata {
            keras_version: attribute(root, "keras_version")?,
            backend: attribute(root, "backend")?,
        };
        inner.or(&root_metadata)
    } else {
        root_metadata
    };
    if scheme.is_none() && architecture.is_none() {
        return Err(error(label, "/", "the HDF5 file holds no Keras model: there is no attribute model_config, no layer_names and no group layers")
            .with_help("save it with `model.save(\"model.h5\")` or `model.save_weights(\"model.weights.h5\")`"));
    }
    let weights = scheme.map(|scheme| WeightSource {
        label: label.to_owned(),
        store: Rc::new(store),
        root: root.to_owned(),
        scheme,
        metadata: metadata.clone(),
    });
    Ok(Opened { architecture, weights, metadata })
}

fn open_archive(label: &str, bytes: Arc<Vec<u8>>) -> Outcome<Opened> {
    let help = "the file is truncated or corrupted; copy or save it again";
    let archive = Archive::open(bytes)
        .map_err(|e| error(label, "", format!("damaged zip archive: {e}")).with_help(help))?;
    let damaged = |member: &str, reason: String| {
        error(label, member, format!("damaged archive member: {reason}")).with_help(help)
    };
    if !archive.has("config.json") {
        let message = "the zip archive holds no config.json, so it is not a .keras file";
        return Err(
            error(label, "", message).with_help("PyTorch checkpoints and .npz files are zip archives too")
        );
    }
    let config = archive.member("config.json").map_err(|e| damaged("config.json", e))?;
    let (architecture, mut metadata) = parse_architecture(label, "config.json", config.as_ref())?;
    if archive.has("metadata.json") {
        let text = archive.text("metadata.json").map_err(|e| damaged("metadata.json", e))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| damaged("metadata.json", e.to_string()))?;
        metadata = metadata_of(&json).or(&metadata);
    }
    const WEIGHTS: &str = "model.weights.h5";
    let mut weights = None;
    if archive.has(WEIGHTS) {
        let part = archive.member(WEIGHTS).map_err(|e| damaged(WEIGHTS, e))?;
        let mut inner = open_hdf5(label, part, WEIGHTS)?;
        if let Some(source) = &mut inner.weights {
            source.metadata = metadata.clone();
        }
        weights = inner.weights;
    }
    Ok(Opened { architecture: Some(architecture), weights, metadata })
}

fn open_json(label: &str, text: &[u8]) -> Outcome<Opened> {
    let (architecture, metadata) = parse_architecture(label, "", text)?;
    Ok(Opened { architecture: Some(architecture), weights: None, metadata })
}

/// Parses the JSON of an architecture, and what it says about its writer.
fn parse_architecture(label: &str, place: &str, text: &[u8]) -> Outcome<(Architecture, Metadata)> {
    let parse = |text: &[u8]| -> Outcome<Value> {
        json::parse(text).map_err(|e| error(label, place, format!("the architecture is not valid JSON: {e}")))
    };
    let mut json = parse(text)?;
    // `json.dump(model.to_json())` writes a JSON string that contains the JSON.
    if let Value::String(inner) = &json {
        json = parse(inner.as_bytes())?;
    }
    if !json.get("class_name").is_some_and(Value::is_string) || json.get("config").is_none() {
        let message = "the JSON is not a Keras architecture: expected an object with class_name and config";
        return Err(error(label, place, message).with_help("write it with `model.to_json()`"));
    }
    let metadata = metadata_of(&json);
    Ok((Architecture { place: place.to_owned(), json }, metadata))
}

fn metadata_of(json: &Value) -> Metadata {
    let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    Metadata { keras_version: text("keras_version"), backend: text("backend") }
}
