//! Tensors whose bytes are still in a file: in the model's own, or in one beside it.
//!
//! In: a tensor. Out: a reader at its bytes, which is known to have as many as are wanted. Refuses locations that leave
//! the model's folder (absolute, with `..`, with a drive), and ranges beyond the file's end, before anything is allocated.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;

use super::ReadSeek;
use super::proto::{Later, TensorProto};

/// Opens the files beside a model. The importer asks for relative names without `..` only.
pub trait Siblings {
    /// Opens the file of that name, relative to the model's folder, with `/` between folders.
    ///
    /// # Errors
    /// When there is no such file, or it may not be read.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>>;
}

/// Where bytes of tensors lie outside of the decoded messages.
pub(crate) struct Files<'a> {
    /// The model's own file.
    pub(crate) own: RefCell<&'a mut dyn ReadSeek>,
    /// The fields of the model that were left in its file.
    pub(crate) later: Later,
    /// The files beside it.
    pub(crate) siblings: &'a dyn Siblings,
}

impl Files<'_> {
    /// The number of bytes of a `raw_data` field.
    pub(crate) fn length(&self, field: &Bytes) -> u64 {
        self.later.range(field).map_or(field.len() as u64, |range| range.end - range.start)
    }
    /// Passes a `raw_data` field to `read`, from the messages or from the file.
    pub(crate) fn with_raw<T>(
        &self,
        field: &Bytes,
        read: impl FnOnce(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, String> {
        let Some(range) = self.later.range(field) else { return read(&mut field.as_ref()) };
        let mut own = self.own.borrow_mut();
        own.seek(SeekFrom::Start(range.start)).map_err(|e| format!("its data cannot be read: {e}"))?;
        read(&mut Read::take(&mut **own, range.end - range.start))
    }
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

/// Opens the file beside the model that has the `wanted` bytes of a tensor, where they begin.
pub(crate) fn open(
    tensor: &TensorProto,
    wanted: usize,
    files: &dyn Siblings,
) -> Result<Box<dyn ReadSeek>, String> {
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
    Ok(file)
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
