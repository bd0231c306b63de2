//! `.safetensors`: a JSON header and the bytes of tensors.
//!
//! In: a file. Out: its tensors in the header's order. Refuses, as the format's own reader does: headers beyond the
//! file or 100 MB, names that stand twice, tensors that overlap, leave gaps, reach beyond the end or have another
//! number of bytes than their shape; 8-bit floats and other types that graphs do not have.

use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use unfloat_ir::Shape;

use crate::onnx::ReadSeek;

use super::assemble::{Storages, assemble};
use super::element::Element;
use super::find::Leaf;
use super::limit::Limit;
use super::problem::clip;
use super::reading::Reading;
use super::state::Entry;
use super::view::{Source, View};

/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Whether a file of `size` bytes that begins with `head` is one: a length that fits, and a brace. A length that does not
/// fit is a damaged header where JSON stands behind it; text, where JSON may stand behind eight blanks, is none.
pub(crate) fn begins(head: &[u8], size: u64) -> bool {
    let Some((bytes, rest)) = head.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*bytes);
    let fits = (2..=MAX_HEADER.min(size.saturating_sub(8))).contains(&length);
    let is_text = bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    rest.first() == Some(&b'{') && (fits || !is_text && rest.starts_with(b"{\""))
}

/// What is wrong with a file that is named like one and does not begin like one.
pub(crate) fn damage(head: &[u8], size: u64) -> String {
    let Some((length, _)) = head.split_first_chunk::<8>() else {
        return format!(
            "is named like safetensors, whose header alone has 8 bytes and more, and has {size} bytes"
        );
    };
    let length = u64::from_le_bytes(*length);
    format!(
        "is named like safetensors, but is none or damaged: it begins with a header of {length} bytes in a file of {size}, \
         which is no JSON"
    )
}

/// A tensor of the header.
struct Listed {
    name: String,
    /// `F32`.
    dtype: String,
    shape: Vec<usize>,
    /// First byte and end, counted from the end of the header.
    start: u64,
    end: u64,
}

/// Reads all tensors.
pub(crate) fn read(reading: &mut Reading<'_>, source: &mut Box<dyn ReadSeek>, size: u64) -> Vec<Entry> {
    let (listed, base) = match header(source, size, &mut reading.limit) {
        Ok(header) => header,
        Err(fault) => {
            reading.fail("header", fault);
            return Vec::new();
        }
    };
    if let Some(key) = reading.key.filter(|&k| k != ".") {
        let text = format!("has no parts to choose from, and so no `{}`", clip(key));
        reading.fail("", text);
        return Vec::new();
    }
    if let Err(fault) = covers(&listed, size - base) {
        reading.fail("header", fault);
        return Vec::new();
    }
    let leaves = listed.iter().enumerate().map(|(i, tensor)| leaf(i, tensor)).collect();
    let mut bytes = Bytes { source: &mut **source, base, listed: &listed };
    assemble(reading, leaves, &mut bytes)
}

fn header(
    source: &mut Box<dyn ReadSeek>,
    size: u64,
    limit: &mut Limit,
) -> Result<(Vec<Listed>, u64), String> {
    let fault = |e: std::io::Error| format!("cannot be read: {e}");
    source.seek(SeekFrom::Start(0)).map_err(fault)?;
    let mut length = [0; 8];
    source.read_exact(&mut length).map_err(fault)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size.saturating_sub(8) {
        return Err(format!(
            "should have {length} bytes in a file of {size}; at most {MAX_HEADER} are allowed: the file is damaged or cut off"
        ));
    }
    let wanted = usize::try_from(length).map_err(|e| e.to_string())?;
    limit.take(wanted, 16)?;
    let mut text = vec![0; wanted];
    source.read_exact(&mut text).map_err(fault)?;
    let mut json = serde_json::Deserializer::from_slice(&text);
    let listed = json.deserialize_map(Names).map_err(|e| format!("is no JSON of tensors: {e}"))?;
    json.end().map_err(|e| format!("is no JSON of tensors: {e}"))?;
    Ok((listed, 8 + length))
}

/// Reads the header's entries one by one, so that a name that stands twice is seen.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Vec<Listed>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut listed = Vec::new();
        while let Some((name, entry)) = map.next_entry::<String, Value>()? {
            if name != "__metadata__" {
                listed.push(tensor(name, &entry).map_err(serde::de::Error::custom)?);
            }
        }
        Ok(listed)
    }
}

fn tensor(name: String, entry: &Value) -> Result<Listed, String> {
    let wrong = |what: &str| format!("`{}` has no {what}", clip(&name));
    let number = |v: &Value| v.as_u64();
    let dtype = entry.get("dtype").and_then(Value::as_str).ok_or_else(|| wrong("`dtype`"))?;
    let shape = entry.get("shape").and_then(Value::as_array).ok_or_else(|| wrong("`shape`"))?;
    if shape.len() > Shape::MAX_RANK {
        let at_most = Shape::MAX_RANK;
        return Err(format!("`{}` has {} axes; at most {at_most} are supported", clip(&name), shape.len()));
    }
    let shape = shape.iter().map(|d| d.as_u64().and_then(|d| usize::try_from(d).ok()));
    let shape = shape.collect::<Option<_>>().ok_or_else(|| wrong("shape of whole numbers"))?;
    let offsets = entry.get("data_offsets").and_then(Value::as_array).map(Vec::as_slice);
    let (start, end) = match offsets {
        Some([start, end]) => (number(start), number(end)),
        _ => (None, None),
    };
    let range = start.zip(end).filter(|(start, end)| start <= end);
    let (start, end) = range.ok_or_else(|| wrong("`data_offsets` of two numbers in order"))?;
    Ok(Listed { dtype: dtype.to_string(), shape, start, end, name })
}

/// Holds the tensors to the bytes behind the header, `size` of them: each belongs to exactly one.
fn covers(listed: &[Listed], size: u64) -> Result<(), String> {
    let mut sorted: Vec<&Listed> = listed.iter().collect();
    sorted.sort_by_key(|t| (t.start, t.end));
    let mut at = 0;
    for tensor in sorted {
        let name = clip(&tensor.name);
        match tensor.start {
            start if start < at => return Err(format!("`{name}` overlaps another tensor")),
            start if start > at => {
                return Err(format!("{} bytes before `{name}` belong to no tensor", start - at));
            }
            _ => at = tensor.end,
        }
        if at > size {
            return Err(format!("`{name}` ends at byte {at} of {size}: the file is cut off"));
        }
    }
    match size - at {
        0 => Ok(()),
        rest => Err(format!("{rest} bytes behind the last tensor belong to none")),
    }
}

fn leaf(i: usize, tensor: &Listed) -> Leaf {
    let view = || {
        let element = Element::from_safetensors(&tensor.dtype).ok_or_else(|| {
            format!("is of {}, which is not supported; save it as F32", clip(&tensor.dtype))
        })?;
        let view = View::plain(Source::Storage(i.to_string()), element, tensor.shape.clone());
        let wanted = (view.count() as u64).checked_mul(element.size() as u64);
        match tensor.end - tensor.start {
            bytes if Some(bytes) == wanted => Ok(view),
            bytes => Err(format!("of shape {:?} has {bytes} bytes", tensor.shape)),
        }
    };
    Leaf { key: tensor.name.clone(), view: view() }
}

/// The bytes behind a header.
struct Bytes<'a> {
    source: &'a mut dyn ReadSeek,
    base: u64,
    listed: &'a [Listed],
}

impl Bytes<'_> {
    fn listed(&self, source: &Source) -> Option<&Listed> {
        match source {
            Source::Storage(number) => self.listed.get(number.parse::<usize>().ok()?),
            Source::Inline(_) => None,
        }
    }
}

impl Storages for Bytes<'_> {
    fn read(&mut self, source: &Source, limit: &mut Limit) -> Result<Cow<'_, [u8]>, String> {
        let range = self.listed(source).map(|t| (t.start, t.end - t.start));
        let (start, len) = range.ok_or_else(|| "has no bytes".to_string())?;
        let len = usize::try_from(len).map_err(|e| e.to_string())?;
        limit.take(len, 1)?;
        let fault = |e: std::io::Error| format!("cannot be read: {e}");
        self.source.seek(SeekFrom::Start(self.base + start)).map_err(fault)?;
        let mut bytes = vec![0; len];
        self.source.read_exact(&mut bytes).map_err(fault)?;
        Ok(Cow::Owned(bytes))
    }
    fn place(&self, source: &Source) -> String {
        let range = self.listed(source).map(|t| (self.base + t.start, self.base + t.end));
        range.map_or(String::new(), |(start, end)| format!("bytes {start} to {end}"))
    }
    fn big_endian(&self) -> bool {
        false
    }
}
