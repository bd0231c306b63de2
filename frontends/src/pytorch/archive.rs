//! Zip archives, of PyTorch and NumPy.
//!
//! In: a zip of stored and deflated members. Out: their names, and one member at a time. Refuses: other compression,
//! members that grow beyond the limit, checksums that do not match. PyTorch can be told to leave checksums out; it
//! writes 0 then, which counts as none.

use std::io::Read;

use zip::{CompressionMethod, ZipArchive};

use crate::onnx::ReadSeek;

use super::limit::Limit;

/// An open archive.
pub(crate) struct Archive {
    zip: ZipArchive<Box<dyn ReadSeek>>,
    /// The size of the file.
    size: u64,
}

impl Archive {
    /// Reads the list of members.
    pub(crate) fn open(source: Box<dyn ReadSeek>, size: u64) -> Result<Self, String> {
        let zip = ZipArchive::new(source).map_err(|e| format!("is no zip archive that can be read: {e}"))?;
        Ok(Self { zip, size })
    }
    /// The names of all members, in the archive's order.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |i| self.zip.name_for_index(i)?.ok().map(|name| name.into_owned());
        (0..self.zip.len()).filter_map(name).collect()
    }
    /// The bytes of a member.
    pub(crate) fn read(&mut self, name: &str, limit: &mut Limit) -> Result<Vec<u8>, String> {
        let Some(index) = self.zip.index_for_name(name) else {
            return Err(format!("lies in the member `{name}`, which the archive does not have"));
        };
        let fault = |e: &dyn std::fmt::Display| format!("lies in the member `{name}`: {e}");
        let member = self.zip.by_index_raw(index).map_err(|e| fault(&e))?;
        let stored = member.compression() == CompressionMethod::Stored;
        let unchecked = stored && member.crc32() == 0;
        let len = member.size();
        if stored && len > self.size {
            return Err(fault(&format!("it should have {len} bytes, the file has {}", self.size)));
        }
        drop(member);
        let wanted = usize::try_from(len).map_err(|e| fault(&e))?;
        limit.take(wanted, 1).map_err(|e| fault(&e))?;
        let mut bytes = Vec::new();
        if stored {
            bytes.reserve_exact(wanted);
        }
        let mut member = match unchecked {
            true => self.zip.by_index_raw(index),
            false => self.zip.by_index(index),
        }
        .map_err(|e| fault(&e))?;
        member.by_ref().take(len.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| fault(&e))?;
        if bytes.len() != wanted {
            return Err(fault(&format!("it has {} bytes instead of {len}", bytes.len())));
        }
        Ok(bytes)
    }
}
