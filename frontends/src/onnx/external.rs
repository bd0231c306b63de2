//! Tensors whose bytes lie in files beside the model.
//!
//! In: a tensor's `location`, `offset` and `length`. Out: its bytes. Refuses locations that leave the model's folder
//! (absolute, with `..`, with a drive), and ranges beyond the file's end, before anything is allocated.

use std::io::{self, Read, Seek, SeekFrom};

use super::ReadSeek;
use super::proto::TensorProto;

/// Opens the files beside a model. The importer asks for relative names without `..` only.
pub trait Siblings {
    /// Opens the file of that name, relative to the model's folder, with `/` between folders.
    ///
    /// # Errors
    /// When there is no such file, or it may not be read.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>>;
}

/// A model without files beside it.
pub struct NoSiblings;

impl Siblings for NoSiblings {
    fn open(&self, _: &str) -> io::Result<Box<dyn ReadSeek>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "the model was given without its folder"))
    }
}

/// The name of a file beside the model, normalised; or why it is none.
fn checked(location: &str) -> Result<String, String> {
    let refused = || format!("its data lies in `{location}`, which is not a file in the model's folder");
    let mut parts = Vec::new();
    for part in location.split(['/', '\\']) {
        match part {
            "." => {}
            "" | ".." => return Err(refused()),
            _ if part.contains([':', '\0']) => return Err(refused()),
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { Err(refused()) } else { Ok(parts.join("/")) }
}

/// Reads the `wanted` bytes of a tensor.
pub(crate) fn read(tensor: &TensorProto, wanted: usize, files: &dyn Siblings) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        let found = tensor.external_data.iter().find(|e| e.key() == key);
        found.map(|e| e.value())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| format!("its {key} is `{text}`")),
    };
    let location = entry("location").ok_or("its data lies outside of the file, but it does not say where")?;
    let name = checked(location)?;
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if let Some(length) = length.filter(|&n| n != wanted as u64) {
        return Err(format!("has {length} bytes in `{name}`, its shape needs {wanted}"));
    }
    let fault = |e: io::Error| format!("its data in `{name}` cannot be read: {e}");
    let mut file = files.open(&name).map_err(fault)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fault)?;
    if offset.checked_add(wanted as u64).is_none_or(|end| end > size) {
        return Err(format!("lies at bytes {offset} to {offset} + {wanted} of `{name}`, which has {size}"));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fault)?;
    let mut bytes = vec![0; wanted];
    file.read_exact(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn locations_stay_in_the_folder() {
        for bad in ["/etc/passwd", "../w", "a/../../w", "", ".", "C:\\w", "a//b", "\\\\host\\w", "a/"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert_eq!(checked("./a\\w.bin").as_deref(), Ok("a/w.bin"));
    }
}
