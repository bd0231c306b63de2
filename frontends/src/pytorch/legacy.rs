//! Checkpoints of PyTorch before 1.6, and later ones on request: pickles and storages one behind the other.
//!
//! In: a file of a magic number, a protocol version, facts of the machine, the object, the keys of its storages, each a
//! pickle, and then each storage with its number of elements. Out: the object's pickle, and where each storage lies.
//! Refuses: other versions, keys that nothing names, files that end too early.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use super::element::Element;
use super::pickle::{self, Input, Pickle, Record};
use super::problem::clip;
use super::rebuild::storage_key;

/// The number that such files begin with, as pickles have it: 80 bits, or decimal digits in protocol 0.
const MAGIC: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];
/// The version of the layout.
const VERSION: i64 = 1001;

/// A file as far as it is read at once.
pub(crate) struct Legacy {
    pub(crate) pickle: Pickle,
    /// Where the bytes of each storage lie, in the order of the file.
    pub(crate) storages: Vec<(String, Range<u64>)>,
    /// Whether the file says that a big-endian machine wrote it.
    pub(crate) big_endian: bool,
}

/// Whether a file begins like this; `head` is its first 64 bytes or more.
pub(crate) fn begins(mut head: &[u8]) -> bool {
    let left = head.len() as u64;
    pickle::parse(&mut Input::new(&mut head, left)).is_ok_and(|p| is_magic(&p))
}

fn is_magic(pickle: &Pickle) -> bool {
    matches!(pickle.get(pickle.root), Record::Big(span) if MAGIC.contains(&pickle.slice(*span)))
}

/// Reads everything but the storages. `size` is that of the source.
pub(crate) fn read(source: &mut (impl Read + Seek), size: u64) -> Result<Legacy, String> {
    let mut reader = BufReader::new(source);
    let mut input = Input::new(&mut reader, size);
    let (pickle, keys, big_endian) = head(&mut input)?;
    let mut at = input.position();
    let sizes = element_sizes(&pickle)?;
    let mut storages = Vec::with_capacity(keys.len());
    for key in keys {
        let element = *sizes
            .get(&key)
            .ok_or_else(|| format!("lists the storage `{}`, which no tensor names", clip(&key)))?;
        reader.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
        let mut count = [0; 8];
        let ends = |_| format!("ends before the storage `{}`: it is cut off", clip(&key));
        reader.read_exact(&mut count).map_err(ends)?;
        let start = at + 8;
        let len = u64::from_le_bytes(count).checked_mul(element as u64);
        let end = len.and_then(|len| start.checked_add(len)).filter(|&end| end <= size);
        let end = end.ok_or_else(|| {
            format!("ends within the storage `{}`, at {size} bytes: it is cut off", clip(&key))
        })?;
        storages.push((key, start..end));
        at = end;
    }
    Ok(Legacy { pickle, storages, big_endian })
}

/// The pickles that stand before the storages.
fn head(input: &mut Input<'_>) -> Result<(Pickle, Vec<String>, bool), String> {
    let fault = |what: &str| {
        let what = what.to_string();
        move |e: String| format!("{what}: {e}")
    };
    let magic = pickle::parse(input).map_err(fault("the magic number"))?;
    if !is_magic(&magic) {
        return Err("does not begin with PyTorch's magic number".to_string());
    }
    let version = pickle::parse(input).map_err(fault("the version"))?;
    match version.int(version.root) {
        Some(VERSION) => {}
        Some(other) => return Err(format!("is of version {other} of the format; {VERSION} is known")),
        None => return Err("has no version".to_string()),
    }
    let facts = pickle::parse(input).map_err(fault("the facts of the machine"))?;
    let big_endian = match facts.get(facts.root) {
        Record::Dict(pairs) => pairs
            .iter()
            .any(|&(key, value)| facts.is_text(key, "little_endian") && facts.truth(value) == Some(false)),
        _ => false,
    };
    let object = pickle::parse(input).map_err(fault("the object"))?;
    let keys = pickle::parse(input).map_err(fault("the list of storages"))?;
    Ok((object, names(&keys)?, big_endian))
}

/// The keys of the storages. One that stands twice is refused as soon as it is seen: two bytes of a pickle can show a
/// text of a thousand bytes again, and the keys together would be larger than the file by as much.
fn names(keys: &Pickle) -> Result<Vec<String>, String> {
    let items = keys.elements(keys.root).ok_or("has no list of storages")?;
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for &item in items {
        let name = keys.name(item).ok_or("has a storage without a key")?;
        if !seen.insert(name.clone()) {
            return Err(format!("lists the storage `{}` twice", clip(&name)));
        }
        names.push(name.into_owned());
    }
    Ok(names)
}

/// Bytes of an element for each storage that the object names.
fn element_sizes(pickle: &Pickle) -> Result<BTreeMap<String, usize>, String> {
    let mut sizes = BTreeMap::new();
    for record in pickle.records() {
        let Record::Persistent(id) = record else { continue };
        // Classes of whole modules are persistent as well.
        let kind = pickle.elements(*id).and_then(<[_]>::first);
        if !kind.is_some_and(|&k| pickle.is_text(k, "storage")) {
            continue;
        }
        let size = storage_size(pickle, *id)?;
        let Some((key, size)) = size else { continue };
        sizes.insert(key, size);
    }
    Ok(sizes)
}

/// The key of a storage and the bytes of its elements, of complex numbers too, which stand between others.
fn storage_size(pickle: &Pickle, id: pickle::Id) -> Result<Option<(String, usize)>, String> {
    if let Ok(named) = storage_key(pickle, id) {
        return Ok(Some((named.key, named.element.map_or(1, Element::size))));
    }
    let Some([_, class, key, ..]) = pickle.elements(id) else { return Ok(None) };
    let (Some(class), Some(key)) = (pickle.class(*class), pickle.name(*key)) else { return Ok(None) };
    let size = match &*class.1 {
        "ComplexFloatStorage" => 8,
        "ComplexDoubleStorage" => 16,
        "ComplexHalfStorage" => 4,
        "QUInt4x2Storage" | "QUInt2x4Storage" => 1,
        other => return Err(format!("has a storage of an unknown class, `{}`", clip(other))),
    };
    Ok(Some((key.into_owned(), size)))
}

/// The one storage of a file within a pickle: the type of its elements and its place in `bytes`.
pub(crate) fn only_storage(bytes: &[u8]) -> Result<(Element, Range<usize>), String> {
    let mut rest = bytes;
    let mut input = Input::new(&mut rest, bytes.len() as u64);
    let (pickle, keys, _) = head(&mut input).map_err(|e| format!("lies in a pickled storage that {e}"))?;
    let at = usize::try_from(input.position()).map_err(|e| e.to_string())?;
    let Record::Persistent(id) = pickle.get(pickle.root) else {
        return Err("lies in something pickled that is no storage".to_string());
    };
    let named = storage_key(&pickle, *id)?;
    let element = named.element.unwrap_or(Element::U8);
    if keys != [named.key] || named.base != 0 {
        return Err("lies in a pickled storage with others beside it".to_string());
    }
    let cut = || "lies in a pickled storage that is cut off".to_string();
    let count = bytes.get(at..).and_then(|b| b.first_chunk::<8>()).ok_or_else(cut)?;
    let len = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(element.size()));
    let start = at + 8;
    let end = len.and_then(|len| start.checked_add(len)).filter(|&end| end <= bytes.len()).ok_or_else(cut)?;
    Ok((element, start..end))
}

/// Reads a pickle that stands alone. Says how many bytes stand behind it.
pub(crate) fn read_plain(source: &mut impl BufRead, size: u64) -> Result<(Pickle, u64), String> {
    let mut input = Input::new(source, size);
    let pickle = pickle::parse(&mut input)?;
    Ok((pickle, input.left()))
}
