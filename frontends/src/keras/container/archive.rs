//! Members of a `.keras` archive.
//!
//! In: the bytes of a ZIP. Out: `config.json`, `metadata.json` and the place of `model.weights.h5`. Keras stores
//! members uncompressed, so the weights are read in place; a recompressed archive is expanded up to
//! [`MAX_EXPANSION`] times its size. Every member's checksum is verified.

use std::io::{Cursor, Read, sink};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::hdf5::{MAX_EXPANSION, SharedBytes};
use super::store::ReadError;

/// An open `.keras` file.
pub(crate) struct Archive {
    bytes: Arc<Vec<u8>>,
    names: Vec<String>,
}

impl Archive {
    /// Reads the central directory.
    pub fn open(bytes: Arc<Vec<u8>>) -> Result<Archive, ReadError> {
        let zip = ZipArchive::new(Cursor::new(bytes.as_slice())).map_err(|e| e.to_string())?;
        let names = zip.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
        Ok(Archive { bytes, names })
    }

    /// True when there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// The bytes of a member: a view where it is stored, an expanded copy where it is compressed.
    pub fn member(&self, name: &str) -> Result<SharedBytes, ReadError> {
        let mut zip = ZipArchive::new(Cursor::new(self.bytes.as_slice())).map_err(|e| e.to_string())?;
        let mut file = zip.by_name(name).map_err(|e| e.to_string())?;
        let limit = (self.bytes.len() as u64).saturating_mul(MAX_EXPANSION);
        if file.size() > limit {
            return Err(format!(
                "expands to {} bytes, more than {MAX_EXPANSION} times the archive",
                file.size()
            ));
        }
        if file.compression() == CompressionMethod::Stored {
            // Copying to nowhere makes the reader compare the checksum.
            std::io::copy(&mut file, &mut sink()).map_err(|e| e.to_string())?;
            let start =
                file.data_start().and_then(|at| usize::try_from(at).ok()).ok_or("the member has no place")?;
            let length = usize::try_from(file.compressed_size()).map_err(|e| e.to_string())?;
            let end = start.checked_add(length).filter(|&end| end <= self.bytes.len());
            let end = end.ok_or("the member reaches beyond the end of the file")?;
            return Ok(SharedBytes::new(Arc::clone(&self.bytes), start..end));
        }
        let mut expanded = Vec::new();
        let size = file.size();
        file.by_ref().take(limit.saturating_add(1)).read_to_end(&mut expanded).map_err(|e| e.to_string())?;
        if expanded.len() as u64 != size {
            return Err(format!("expands to {} bytes where the archive says {size}", expanded.len()));
        }
        Ok(SharedBytes::whole(Arc::new(expanded)))
    }

    /// A member as text.
    pub fn text(&self, name: &str) -> Result<String, ReadError> {
        let bytes = self.member(name)?;
        String::from_utf8(bytes.as_ref().to_vec()).map_err(|_| "text is not UTF-8".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(method: CompressionMethod, content: &[u8]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("config.json", SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn stored_and_deflated_members_read_the_same() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let archive =
                Archive::open(Arc::new(archive(method, b"{\"class_name\":\"Sequential\"}"))).unwrap();
            assert!(archive.has("config.json") && !archive.has("metadata.json"));
            assert_eq!(archive.text("config.json").unwrap(), "{\"class_name\":\"Sequential\"}");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_stored_member_is_noticed() {
        let mut bytes = archive(CompressionMethod::Stored, b"hello, weights");
        let at = bytes.windows(7).position(|w| w == b"weights").unwrap();
        bytes[at] ^= 1;
        assert!(Archive::open(Arc::new(bytes)).unwrap().member("config.json").is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let bytes = archive(CompressionMethod::Deflated, &vec![0; 1 << 20]);
        let error = Archive::open(Arc::new(bytes)).unwrap().text("config.json").unwrap_err();
        assert!(error.contains("64 times"), "{error}");
    }
}
