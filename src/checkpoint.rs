//! Checkpoints: tensors without a graph, in a file or in a folder of `.npy` files.
//!
//! In: a path, and which part of the file the user chose. Out: the tensors. Refuses: what no reader of checkpoints
//! knows. Warnings are shown.

use crate::output::{io_fault, show};
use crate::samples::check_regular;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use unfloat_frontends::onnx::{ReadSeek, Siblings};
use unfloat_frontends::pytorch::{
    Checkpoint, CheckpointFile, Format, StateOptions, read_folder, read_state, recognise as recognise_file,
};
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// What kind of checkpoint a path leads to, told from the content; nothing if it is none.
pub fn recognise(path: &Path) -> Result<Option<Format>, Diagnostic> {
    if path.is_dir() {
        // A directory that `convert` made has a manifest; arrays beside it are its own.
        let is_folder = !path.join("manifest.json").exists() && !arrays(path)?.is_empty();
        return Ok(is_folder.then_some(Format::Folder));
    }
    check_regular(path)?;
    let mut source = open(path).map_err(|e| io_fault(path, "cannot be read", &e))?;
    recognise_file(&mut source).map_err(|e| io_fault(path, "cannot be read", &e))
}

/// Reads the tensors, all of them.
pub fn read(path: &Path, key: Option<&str>) -> Result<Checkpoint, Diagnostics> {
    read_with(path, &StateOptions { key: key.map(str::to_string), list: false })
}

/// Reads the tensors that can be read, and tells which cannot.
pub fn list(path: &Path, key: Option<&str>) -> Result<Checkpoint, Diagnostics> {
    read_with(path, &StateOptions { key: key.map(str::to_string), list: true })
}

fn read_with(path: &Path, options: &StateOptions) -> Result<Checkpoint, Diagnostics> {
    let label = path.components().next_back().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let label = label.unwrap_or_default();
    let checkpoint = if path.is_dir() {
        read_folder(&label, &arrays(path)?, &Arrays(path.to_path_buf()), options)?
    } else {
        let source = open(path).map_err(|e| io_fault(path, "cannot be read", &e))?;
        read_state(CheckpointFile { label, source: Box::new(source) }, options)?
    };
    show(&Diagnostics(checkpoint.warnings.clone()));
    Ok(checkpoint)
}

/// The files that a checkpoint is made of, sorted.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files: Vec<PathBuf> = arrays(path)?.into_iter().map(|name| path.join(name)).collect();
    files.sort();
    Ok(files)
}

/// Why a checkpoint alone cannot be converted or run.
pub fn needs_architecture(path: &Path, format: Format) -> Diagnostic {
    let at = Location::file(path.display().to_string());
    let text = format!("a checkpoint ({format}) holds tensors and does not say what is computed with them");
    Diagnostic::error(at, text).help(
        "say how the layers are connected, with --arch FILE.toml; `unfloat inspect` lists the tensors. \
         A model that was exported as ONNX needs neither",
    )
}

/// Why a folder without arrays is nothing that is read.
pub fn useless_folder(path: &Path) -> Diagnostic {
    let at = Location::file(path.display().to_string());
    if path.join("manifest.json").exists() {
        return Diagnostic::error(at, "is a folder that `unfloat convert` made, and no model").help(
            "`unfloat run` and `unfloat verify` take such folders; here, give the model that it was made of",
        );
    }
    let is_empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let what = match is_empty {
        true => "is an empty folder",
        false => "is a folder with neither `.npy` files nor a manifest.json",
    };
    Diagnostic::error(at, what).help(
        "a folder may hold a checkpoint, one `.npy` file for each tensor, or what `unfloat convert` made; models are files",
    )
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

/// The names of the arrays in a folder.
fn arrays(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let fault = |e| io_fault(path, "cannot be read", &e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        match name.into_string() {
            Ok(name) if name.ends_with(".npy") => names.push(name),
            _ => {}
        }
    }
    Ok(names)
}

/// A folder of arrays.
struct Arrays(PathBuf);

impl Siblings for Arrays {
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>> {
        let path = self.0.join(name);
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"));
        }
        Ok(Box::new(open(&path)?))
    }
}
