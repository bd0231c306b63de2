//! Files that `torch.save` and `torch.jit.save` write, and plain pickles with tensors in them.
//!
//! In: a zip archive with `data.pkl`, a file of the format before 1.6, or a pickle. Out: the tensors that are the
//! model's. Refuses: TorchScript of 1.3 and before (`model.json`), archives with several `data.pkl`, what `find` and
//! `assemble` refuse.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, SeekFrom};
use std::ops::Range;

use crate::onnx::ReadSeek;

use super::archive::Archive;
use super::assemble::Storages;
use super::find::{Missing, find};
use super::legacy;
use super::limit::Limit;
use super::pickle::{self, Input, Pickle};
use super::problem::{clip, warning};
use super::reading::Reading;
use super::state::Entry;
use super::view::Source;

/// Storages of a zip archive.
struct Members<'a> {
    archive: &'a mut Archive,
    pickle: &'a Pickle,
    /// What stands before the keys in the members' names, `archive/data/`.
    folder: String,
    big_endian: bool,
}

impl Storages for Members<'_> {
    fn read(&mut self, source: &Source, limit: &mut Limit) -> Result<Cow<'_, [u8]>, String> {
        match source {
            Source::Storage(key) => {
                self.archive.read(&format!("{}{key}", self.folder), limit).map(Cow::Owned)
            }
            Source::Inline(binary) => self.pickle.read(*binary),
        }
    }
    fn place(&self, source: &Source) -> String {
        match source {
            Source::Storage(key) => format!("{}{}", self.folder, clip(key)),
            Source::Inline(_) => "data.pkl".to_string(),
        }
    }
    fn big_endian(&self) -> bool {
        self.big_endian
    }
}

/// Reads a zip archive of PyTorch.
pub(crate) fn read_archive(reading: &mut Reading<'_>, archive: &mut Archive) -> Vec<Entry> {
    let names = archive.names();
    let root = match root(&names) {
        Ok(root) => root,
        Err(fault) => {
            reading.fail("", fault);
            return Vec::new();
        }
    };
    let big_endian = match names.iter().find(|n| **n == format!("{root}byteorder")) {
        Some(name) => match archive.read(name, &mut reading.limit) {
            Ok(order) => order.trim_ascii() == b"big",
            Err(fault) => {
                reading.fail(name, fault);
                return Vec::new();
            }
        },
        None => false,
    };
    // A frozen TorchScript model keeps its tensors among the constants of its code.
    let constants = format!("{root}constants.pkl");
    let mut parts = vec![(format!("{root}data.pkl"), format!("{root}data/"))];
    if names.contains(&constants) {
        let wanted = (constants, format!("{root}constants/"));
        if reading.key == Some("constants") {
            reading.key = Some(".");
            parts = vec![wanted];
        } else {
            parts.push(wanted);
        }
    }
    let last = parts.len() - 1;
    for (i, (member, folder)) in parts.into_iter().enumerate() {
        let parsed = archive.read(&member, &mut reading.limit).and_then(|bytes| {
            let left = bytes.len() as u64;
            pickle::parse(&mut Input::new(&mut Cursor::new(bytes), left))
        });
        let pickle = match parsed {
            Ok(pickle) => pickle,
            Err(fault) => {
                reading.fail(&member, fault);
                return Vec::new();
            }
        };
        let mut members = Members { archive, pickle: &pickle, folder, big_endian };
        match find(&pickle, reading.key, &mut reading.limit) {
            Ok(found) => return reading.assemble(found, &mut members),
            Err(Missing::Nothing) if i < last => {}
            Err(missing) => {
                reading.missing(&member, missing);
                return Vec::new();
            }
        }
    }
    Vec::new()
}

/// The folder in which `data.pkl` stands, with its `/`.
fn root(names: &[String]) -> Result<String, String> {
    let folder = |name: &String| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_string())
    };
    let mut roots: Vec<String> = names.iter().filter_map(folder).collect();
    roots.sort_by_key(|folder| folder.matches('/').count());
    match roots.as_slice() {
        [] if names.iter().any(|n| n.ends_with("/model.json")) => {
            Err("is a TorchScript archive of PyTorch 1.3 or before; save it again with a newer version"
                .to_string())
        }
        [] => Err("is a zip archive without `data.pkl`".to_string()),
        [first, second, ..] if first.matches('/').count() == second.matches('/').count() => {
            Err(format!("holds more than one model: `{}data.pkl`, `{}data.pkl`", clip(first), clip(second)))
        }
        [first, ..] => Ok(first.clone()),
    }
}

/// Storages that lie in a file one behind the other, or in a pickle.
struct Ranges<'a> {
    source: &'a mut dyn ReadSeek,
    pickle: &'a Pickle,
    ranges: BTreeMap<String, Range<u64>>,
}

impl Storages for Ranges<'_> {
    fn read(&mut self, source: &Source, limit: &mut Limit) -> Result<Cow<'_, [u8]>, String> {
        let key = match source {
            Source::Inline(binary) => return self.pickle.read(*binary),
            Source::Storage(key) => key,
        };
        let range = self.ranges.get(key);
        let range = range
            .ok_or_else(|| format!("lies in the storage `{}`, which the file does not have", clip(key)))?;
        let fault = |e: &dyn std::fmt::Display| format!("lies in the storage `{}`: {e}", clip(key));
        let len = usize::try_from(range.end - range.start).map_err(|e| fault(&e))?;
        limit.take(len, 1)?;
        let mut bytes = vec![0; len];
        self.source.seek(SeekFrom::Start(range.start)).map_err(|e| fault(&e))?;
        self.source.read_exact(&mut bytes).map_err(|e| fault(&e))?;
        Ok(Cow::Owned(bytes))
    }
    fn place(&self, source: &Source) -> String {
        match source {
            Source::Storage(key) => format!("storage {}", clip(key)),
            Source::Inline(_) => String::new(),
        }
    }
    fn big_endian(&self) -> bool {
        false
    }
}

/// Reads a file of the format before 1.6.
pub(crate) fn read_legacy(
    reading: &mut Reading<'_>,
    source: &mut Box<dyn ReadSeek>,
    size: u64,
) -> Vec<Entry> {
    let legacy = match legacy::read(source, size) {
        Ok(legacy) => legacy,
        Err(fault) => {
            reading.fail("", fault);
            return Vec::new();
        }
    };
    if legacy.big_endian {
        // PyTorch reads its storages as little-endian whatever this says.
        let text =
            "says that a big-endian machine wrote it; its values are taken as little-endian, as PyTorch does";
        reading.findings.push(warning(reading.label, text));
    }
    let ranges = legacy.storages.into_iter().collect();
    let mut storages = Ranges { source: &mut **source, pickle: &legacy.pickle, ranges };
    reading.take("", &legacy.pickle, &mut storages)
}

/// Reads a pickle that stands alone.
pub(crate) fn read_pickle(
    reading: &mut Reading<'_>,
    source: &mut Box<dyn ReadSeek>,
    size: u64,
) -> Vec<Entry> {
    let (pickle, behind) = match legacy::read_plain(&mut BufReader::new(&mut *source), size) {
        Ok(read) => read,
        Err(fault) => {
            reading.fail("", format!("is no pickle that can be read: {fault}"));
            return Vec::new();
        }
    };
    if behind > 0 {
        let text = format!("{behind} bytes stand behind the first pickle, which alone was read");
        reading.findings.push(warning(reading.label, text));
    }
    let mut storages = Ranges { source: &mut **source, pickle: &pickle, ranges: BTreeMap::new() };
    reading.take("", &pickle, &mut storages)
}
