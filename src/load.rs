//! Model files and `.uir` to graphs. The format is told from a file's content, not from its name.
//!
//! In: a path, and what the user says about the model. Out: a graph at the stage that its file has, and which files were
//! read, with sizes and hashes. Refuses: what is no regular file, what no reader knows. Warnings are shown.

use crate::checkpoint;
use crate::cli::{BatchArg, Import, KerasBackend, LarqWeightsArg};
use crate::output::{fault, io_fault, show};
use crate::samples::{check_regular, read_file};
use crate::uir;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use unfloat_frontends::keras::{self, KerasOptions, LayerMap, ModelFile};
use unfloat_frontends::luts;
use unfloat_frontends::onnx::{self, BatchAxis, OnnxFile, OnnxOptions, ReadSeek, Siblings};
use unfloat_frontends::pytorch;
use unfloat_frontends::pytorch::arch::{self, ArchitectureFile};
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Tensor};

/// The formats, by what a file begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// HDF5, a zip archive, or JSON.
    Keras,
    Uir,
    Onnx,
    /// Connections and tables of look-up tables, in an `.npz`.
    Luts,
    /// Tensors without a graph; only `checkpoint` tells them.
    Checkpoint,
}

/// Bytes at the beginning of a file that tell its format.
const HEAD: u64 = 512;

/// What every message about an unknown file says.
const READ: &str = "ONNX, Keras .h5 and .keras files, Keras JSON with --weights, checkpoints with --arch, look-up tables in .npz, and .uir are read";

fn format(head: &[u8]) -> Option<Format> {
    let text = head.trim_ascii_start();
    match head {
        _ if head.starts_with(b"\x89HDF\r\n\x1a\n") || head.starts_with(b"PK\x03\x04") => Some(Format::Keras),
        _ if [b'{', b'[', b'"'].iter().any(|c| text.first() == Some(c)) => Some(Format::Keras),
        _ if text.starts_with(b"uir ") || text.starts_with(b"//") => Some(Format::Uir),
        _ if is_onnx(head) => Some(Format::Onnx),
        _ => None,
    }
}

/// Protobuf has no magic number. A model's first field is almost always its IR version, a small number; files that were
/// put together by hand may begin with another of `ModelProto`'s fields, each with a tag of one byte.
fn is_onnx(head: &[u8]) -> bool {
    match head {
        [0x08, version, next, ..] => (1..=64).contains(version) && is_model_tag(*next),
        [0x3a | 0x42, _, _, ..] => true,
        _ => false,
    }
}

/// Whether a byte is the tag of one of `ModelProto`'s fields 2 to 8, 14, 20, 25 or 26 (the last with two bytes).
fn is_model_tag(tag: u8) -> bool {
    matches!(tag, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72 | 0xa2 | 0xca | 0xd2)
}

/// Reads a model file or a `.uir`.
pub fn load_graph(path: &Path, import: &Import) -> Result<Graph, Diagnostics> {
    load(path, import).map(|(graph, _)| graph)
}

/// Reads a model file or a `.uir`, and tells which files were read: base names, sizes, hashes.
pub fn load_with_source(path: &Path, import: &Import) -> Result<(Graph, Value), Diagnostics> {
    let (graph, files) = load(path, import)?;
    let files = files.iter().map(|path| described(path)).collect::<Result<Vec<_>, _>>()?;
    Ok((graph, Value::Array(files)))
}

/// The graph, and the files that it came from.
fn load(path: &Path, import: &Import) -> Result<(Graph, Vec<PathBuf>), Diagnostics> {
    let tensors = checkpoint::recognise(path)?;
    let chosen = import.arch.is_some() || import.key.is_some();
    let format = match tensors {
        Some(pytorch::Format::Npz) if !chosen && is_lut_network(&read_file(path)?) => Format::Luts,
        Some(_) => Format::Checkpoint,
        None => format_of(path)?,
    };
    if tensors.is_none() && import.arch.is_some() {
        // The checkpoints' own reader says best why this is none: a damaged archive, say.
        checkpoint::read(path, import.key.as_deref())?;
    }
    let mut found = misplaced(format, import);
    if let (Some(tensors), None, Format::Checkpoint) = (tensors, &import.arch, format) {
        found.push(checkpoint::needs_architecture(path, tensors));
    }
    found.into_result(())?;
    match format {
        Format::Uir => Ok((uir::read(path)?, vec![path.to_path_buf()])),
        Format::Keras => keras(path, import),
        Format::Onnx => onnx(path, import),
        Format::Luts => Ok((lut_network(path)?, vec![path.to_path_buf()])),
        Format::Checkpoint => pytorch(path, import),
    }
}

fn format_of(path: &Path) -> Result<Format, Diagnostic> {
    let at = || Location::file(path.display().to_string());
    if path.is_dir() {
        return Err(checkpoint::useless_folder(path));
    }
    check_regular(path)?;
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| io_fault(path, "cannot be read", &e))?;
    file.take(HEAD).read_to_end(&mut head).map_err(|e| io_fault(path, "cannot be read", &e))?;
    if head.is_empty() {
        return Err(Diagnostic::error(at(), "the file is empty").help(READ));
    }
    format(&head).ok_or_else(|| {
        if let Some(what) = pytorch::mistaken(&head) {
            return Diagnostic::error(at(), what).help(READ);
        }
        // Their own reader says best what is damaged.
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
            && let Err(Diagnostics(found)) = checkpoint::read(path, None)
            && let Some(first) = found.into_iter().next()
        {
            return first;
        }
        let head: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let text = format!("not a model that is known here: it begins with {}", head.join(" "));
        Diagnostic::error(at(), text).help(READ)
    })
}

/// A network of look-up tables.
fn lut_network(path: &Path) -> Result<Graph, Diagnostics> {
    luts::import(&base_name(path), &read_file(path)?, &default_name(path))
}

/// Whether an archive of arrays is a network of look-up tables, by the arrays' names. What is damaged is none.
fn is_lut_network(bytes: &[u8]) -> bool {
    unfloat_npy::Npz::open(bytes).is_ok_and(|npz| luts::recognise(&npz.names()))
}

/// Options that say nothing about a checkpoint's tensors.
pub fn misplaced_for_tensors(import: &Import) -> Diagnostics {
    misplaced(Format::Checkpoint, import)
}

/// Options that say nothing about what was emitted: it was imported before.
pub fn misplaced_for_artefact(import: &Import) -> Diagnostics {
    let given = [
        (import.weights.is_some(), "--weights"),
        (import.keras_backend.is_some(), "--keras-backend"),
        (import.larq_weights.is_some(), "--larq-weights"),
        (import.layer_map.is_some(), "--layer-map"),
        (import.batch.is_some(), "--batch"),
        (!import.dim.is_empty(), "--dim"),
        (!import.constant.is_empty(), "--constant"),
        (import.key.is_some(), "--key"),
        (import.arch.is_some(), "--arch"),
    ];
    let mut found = Diagnostics::new();
    for (_, flag) in given.iter().filter(|(is_given, _)| *is_given) {
        found.push(fault(format!("{flag} is for models, and not for folders that `unfloat convert` made")));
    }
    found
}

/// Options that say nothing about a model of this format: the user means another file, or expects what will not happen.
fn misplaced(format: Format, import: &Import) -> Diagnostics {
    let mut found = Diagnostics::new();
    let mut check = |given: bool, flag: &str, owner: Format, what: &str| {
        if given && format != owner {
            found.push(fault(format!("{flag} is for {what}, which this model is not")));
        }
    };
    check(import.weights.is_some(), "--weights", Format::Keras, "Keras models");
    check(import.keras_backend.is_some(), "--keras-backend", Format::Keras, "Keras models");
    check(import.larq_weights.is_some(), "--larq-weights", Format::Keras, "Keras models");
    check(import.layer_map.is_some(), "--layer-map", Format::Keras, "Keras models");
    check(import.batch.is_some(), "--batch", Format::Onnx, "ONNX models");
    check(!import.dim.is_empty(), "--dim", Format::Onnx, "ONNX models");
    check(!import.constant.is_empty(), "--constant", Format::Onnx, "ONNX models");
    check(import.key.is_some(), "--key", Format::Checkpoint, "checkpoints");
    check(import.arch.is_some(), "--arch", Format::Checkpoint, "checkpoints");
    found
}

fn keras(path: &Path, import: &Import) -> Result<(Graph, Vec<PathBuf>), Diagnostics> {
    let file = |path: &Path| Ok(ModelFile { label: base_name(path), bytes: read_file(path)? });
    let mut found = Diagnostics::new();
    let mut keep = |file: Result<ModelFile, Diagnostic>| file.map_err(|e| found.push(e)).ok();
    let model = keep(file(path));
    let weights = import.weights.as_deref().map(|path| keep(file(path)));
    let mut paths = vec![path.to_path_buf()];
    paths.extend(import.weights.clone());
    let layer_map = import.layer_map.as_deref().map(layer_map);
    paths.extend(import.layer_map.clone());
    let layer_map = match layer_map {
        Some(Err(problems)) => {
            found.extend(problems);
            None
        }
        Some(Ok(map)) => Some(map),
        None => None,
    };
    found.into_result(())?;
    let backend = import.keras_backend.map(|b| match b {
        KerasBackend::Tensorflow => keras::Backend::TensorFlow,
        KerasBackend::Theano => keras::Backend::Theano,
    });
    let Some(model) = model else { return Err(Diagnostics::new()) };
    let larq_weights = import.larq_weights.map(|which| match which {
        LarqWeightsArg::Latent => keras::LarqWeights::Latent,
        LarqWeightsArg::Quantized => keras::LarqWeights::Quantized,
    });
    let options = KerasOptions { backend, larq_weights, layer_map: layer_map.unwrap_or_default() };
    let imported = keras::import(model, weights.flatten(), &options)?;
    show(&Diagnostics(imported.warnings));
    Ok((imported.graph, paths))
}

/// The user's own classes of layers.
fn layer_map(path: &Path) -> Result<LayerMap, Diagnostics> {
    let bytes = read_file(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| fault(format!("{}: the layer map is not text in UTF-8", path.display())))?;
    LayerMap::parse(&base_name(path), &text)
}

fn onnx(path: &Path, import: &Import) -> Result<(Graph, Vec<PathBuf>), Diagnostics> {
    let mut found = Diagnostics::new();
    let mut values = BTreeMap::new();
    for (name, path) in &import.constant {
        let array = read_file(path).and_then(|bytes| {
            let at = Location::file(path.display().to_string());
            unfloat_npy::read_npy(&bytes).map_err(|e| Diagnostic::error(at, e.to_string()))
        });
        match array {
            Ok(array) => drop(values.insert(name.clone(), array)),
            Err(e) => found.push(e),
        }
    }
    found.into_result(())?;
    let batch = match import.batch {
        None => BatchAxis::Auto,
        Some(BatchArg::First) => BatchAxis::First,
        Some(BatchArg::None) => BatchAxis::None,
    };
    let options = OnnxOptions { batch, dims: import.dim.iter().cloned().collect(), values };
    let (file, folder) = onnx_file(path)?;
    let imported = onnx::import(file, &folder, &options)?;
    show(&Diagnostics(imported.warnings));
    let mut paths = vec![path.to_path_buf()];
    paths.extend(folder.opened.into_inner());
    paths.extend(import.constant.iter().map(|(_, path)| path.clone()));
    Ok((imported.graph, paths))
}

/// A checkpoint, with the architecture that `--arch` names.
fn pytorch(path: &Path, import: &Import) -> Result<(Graph, Vec<PathBuf>), Diagnostics> {
    let Some(description) = &import.arch else { return Err(Diagnostics::new()) };
    let file = ArchitectureFile { label: base_name(description), bytes: read_file(description)? };
    let read = checkpoint::read(path, import.key.as_deref())?;
    let imported = arch::assemble(&read.state, &file, &default_name(path))?;
    show(&Diagnostics(imported.warnings));
    let mut paths = checkpoint::files(path)?;
    paths.push(description.clone());
    Ok((imported.graph, paths))
}

/// A model file, and its folder.
fn onnx_file(path: &Path) -> Result<(OnnxFile, Folder), Diagnostic> {
    let source = File::open(path).map_err(|e| io_fault(path, "cannot be read", &e))?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let file = OnnxFile { label: base_name(path), source: Box::new(source) };
    Ok((file, Folder { path: folder, opened: RefCell::default() }))
}

/// A tensor as a model's file has it, where the file names its tensors and the graph's may be rearranged ones.
pub fn stored_tensor(path: &Path, name: &str, import: &Import) -> Result<Option<Tensor>, Diagnostics> {
    if checkpoint::recognise(path)?.is_some() || format_of(path)? != Format::Onnx {
        return Ok(None);
    }
    misplaced(Format::Onnx, import).into_result(())?;
    let (file, folder) = onnx_file(path)?;
    onnx::initializer(file, &folder, name)
}

/// The folder of an ONNX model, whose tensors may lie in files beside it.
struct Folder {
    path: PathBuf,
    opened: RefCell<BTreeSet<PathBuf>>,
}

impl Siblings for Folder {
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>> {
        let path = self.path.join(name);
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"));
        }
        let file = File::open(&path)?;
        self.opened.borrow_mut().insert(path);
        Ok(Box::new(file))
    }
}

/// Base name, size and hash of a file, read a block at a time.
fn described(path: &Path) -> Result<Value, Diagnostic> {
    let unreadable = |e| io_fault(path, "cannot be read", &e);
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = io::copy(&mut file, &mut hash).map_err(unreadable)?;
    Ok(json!({ "file": base_name(path), "bytes": bytes, "sha256": format!("{:x}", hash.finalize()) }))
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The name of a model for emitted code: the file's stem.
pub fn default_name(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    path.file_stem().map_or("model".to_string(), |s| s.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_the_content() {
        for (head, want) in [
            (&b"\x89HDF\r\n\x1a\n...."[..], Some(Format::Keras)),
            (b"PK\x03\x04....", Some(Format::Keras)),
            (b" {\"class_name\"", Some(Format::Keras)),
            (b"uir 1\n", Some(Format::Uir)),
            (b"\x08\x07\x12\x07pytorch", Some(Format::Onnx)),
            (b"\x08\x08:\x10", Some(Format::Onnx)),
            (b"\x08\x80\x80", None),
            (b"\x80\x02}q\x00", None),
            (b"GIF89a", None),
            (b"\x08", None),
        ] {
            assert_eq!(format(head), want, "{head:?}");
        }
    }
}
