//! `.uir` files: the text, and beside it an `.npz` with the large constants.

use crate::output::{fault, io_fault};
use crate::samples::read_file;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unfloat_ir::text;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location};

/// The archive beside a `.uir`.
pub fn side_car(path: &Path) -> PathBuf {
    path.with_extension("npz")
}

/// Reads a graph.
pub fn read(path: &Path) -> Result<Graph, Diagnostics> {
    let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let bytes = read_file(path)?;
    let source = std::str::from_utf8(&bytes).map_err(|e| {
        Diagnostic::error(
            Location::file(&label).at(format!("byte {}", e.valid_up_to())),
            "expected UTF-8 text",
        )
    })?;
    let archive_path = side_car(path);
    let mut faults = Diagnostics::new();
    let fault = |text: String| Diagnostic::error(Location::file(archive_path.display().to_string()), text);
    // Graphs with small constants only have no archive: it is missed when a constant asks for it.
    let archive = read_file(&archive_path);
    let mut npz = archive.as_ref().map_err(Clone::clone).and_then(|bytes| {
        unfloat_npy::Npz::open(bytes)
            .map_err(|e| fault(format!("{e}; it holds the large constants of {label}")))
    });
    let mut blob = |name: &str| match &mut npz {
        Ok(npz) => match npz.get(name) {
            Ok(tensor) => tensor.map(Arc::new),
            Err(e) => {
                faults.push(fault(e.to_string()));
                None
            }
        },
        Err(e) => {
            if !faults.0.contains(e) {
                faults.push(e.clone());
            }
            None
        }
    };
    let parsed = text::parse(source, &label, &mut blob);
    match parsed {
        Ok(graph) => Ok(graph),
        Err(findings) => {
            // The cause comes before what follows from it.
            faults.extend(findings);
            Err(faults)
        }
    }
}

/// The bytes of a graph's text and of its archive; no archive when all constants are small.
pub fn to_bytes(graph: &Graph) -> Result<(String, Option<Vec<u8>>), Diagnostics> {
    let printed = text::print(graph);
    if printed.blobs.is_empty() {
        return Ok((printed.text, None));
    }
    let tensors = printed.blobs.iter().map(|(name, tensor)| (name.as_str(), tensor.as_ref()));
    let archive = unfloat_npy::write_npz(tensors).map_err(|e| fault(e.to_string()))?;
    Ok((printed.text, Some(archive)))
}

/// Writes a graph: the archive first, so that a text never lacks its constants.
pub fn write(path: &Path, graph: &Graph) -> Result<(), Diagnostics> {
    let (text, archive) = to_bytes(graph)?;
    let put = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|e| Diagnostics::from(io_fault(path, "cannot be written", &e)))
    };
    if let Some(archive) = archive {
        put(&side_car(path), &archive)?;
    }
    put(path, text.as_bytes())
}
