//! `.npz`: a zip archive of `.npy` members.

use crate::{NpyError, read_npy, write_npy};
use std::io::{Cursor, Read, Write};
use unfloat_ir::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// How many times its compressed size a member may unpack to. Deflate can't exceed about 1032.
const MAX_RATIO: u64 = 1100;

/// An open archive.
pub struct Npz<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Npz<'a> {
    /// Opens an archive; its members are read one by one when asked for.
    pub fn open(bytes: &'a [u8]) -> Result<Self, NpyError> {
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|e| NpyError::new(format!("expected an .npz archive (a zip file): {e}")))?;
        Ok(Self { archive })
    }

    /// The names of the arrays, in the order of the archive.
    pub fn names(&self) -> Vec<String> {
        (0..self.archive.len())
            .filter_map(|i| self.archive.name_for_index(i)?.ok())
            .filter_map(|name| name.strip_suffix(".npy").map(str::to_string))
            .collect()
    }

    /// Reads one array; nothing when the archive has none of that name.
    pub fn get(&mut self, name: &str) -> Result<Option<Tensor>, NpyError> {
        let fault = |e: &dyn std::fmt::Display| NpyError::new(format!("member `{name}.npy`: {e}"));
        let mut member = match self.archive.by_name(&format!("{name}.npy")) {
            Ok(member) => member,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(fault(&e)),
        };
        let limit = member.compressed_size().saturating_mul(MAX_RATIO);
        if member.size() > limit {
            return Err(fault(&"unpacks to more than a zip member of its size can hold"));
        }
        let mut bytes = Vec::new();
        let mut bounded = member.by_ref().take(limit);
        bounded.read_to_end(&mut bytes).map_err(|e| fault(&e))?;
        read_npy(&bytes).map(Some).map_err(|e| fault(&e))
    }
}

/// Writes an archive of the given arrays, stored and without a clock.
pub fn write_npz<'t>(tensors: impl IntoIterator<Item = (&'t str, &'t Tensor)>) -> Result<Vec<u8>, NpyError> {
    let fault = |e: &dyn std::fmt::Display| NpyError::new(format!("writing an .npz archive: {e}"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, tensor) in tensors {
        zip.start_file(format!("{name}.npy"), options).map_err(|e| fault(&e))?;
        zip.write_all(&write_npy(tensor)).map_err(|e| fault(&e))?;
    }
    Ok(zip.finish().map_err(|e| fault(&e))?.into_inner())
}
