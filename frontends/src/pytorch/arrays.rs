//! NumPy's files: one `.npz`, a folder of `.npy` files, one `.npy` of a pickled dictionary.
//!
//! In: arrays by name. Out: an entry for each array; arrays of Python objects are pickles, and what they hold is named
//! by the array's name and the steps behind it: `layer1.0`. Names of files are keys in percent-encoding (`%2F` for `/`).
//! Refuses: arrays of other types, broken pickles, names that stand twice.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::{Cursor, Read, Seek, SeekFrom};

use unfloat_npy::NpyHeader;

use crate::onnx::{ReadSeek, Siblings};

use super::archive::Archive;
use super::assemble::{Storages, assemble};
use super::element::Element;
use super::find::{Leaf, find};
use super::limit::Limit;
use super::pickle::{self, Binary, Input, Pickle, Span};
use super::problem::clip;
use super::reading::Reading;
use super::state::Entry;
use super::view::{Source, View};

/// Reads the members of an archive. With `key`, what one array of objects holds.
pub(crate) fn read_npz(reading: &mut Reading<'_>, archive: &mut Archive) -> Vec<Entry> {
    let members: Vec<String> = archive.names().into_iter().filter(|n| n.ends_with(".npy")).collect();
    let mut names: Vec<&str> = members.iter().filter_map(|m| m.strip_suffix(".npy")).collect();
    let chosen = reading.key.filter(|&k| k != ".").map(str::to_string);
    if let Some(key) = &chosen {
        names.retain(|n| n == key);
        if names.is_empty() {
            let all: Vec<String> = members.iter().take(20).map(|m| format!("`{}`", clip(m))).collect();
            let text = format!("holds no array `{}`; there are {}", clip(key), all.join(", "));
            reading.fail("", text);
            return Vec::new();
        }
    }
    let mut entries = Vec::new();
    for name in names {
        let member = format!("{name}.npy");
        match archive.read(&member, &mut reading.limit) {
            // What one chosen array holds has its own names.
            Ok(bytes) => {
                entries.extend(one(reading, &bytes, &member, name, chosen.is_some()));
            }
            Err(fault) => reading.unreadable(name, "", fault),
        }
    }
    entries
}

/// Reads the files of a folder, sorted by name, numbers by their size.
pub(crate) fn read_folder(reading: &mut Reading<'_>, names: &[String], files: &dyn Siblings) -> Vec<Entry> {
    let mut names: Vec<&String> = names.iter().filter(|n| n.ends_with(".npy")).collect();
    names.sort_by(|a, b| natural(a, b));
    if let Some(key) = reading.key.filter(|&k| k != ".") {
        reading.fail(
            "",
            format!("is a folder of arrays without parts to choose from, and so has no `{}`", clip(key)),
        );
        return Vec::new();
    }
    if names.is_empty() {
        reading.fail("", "is a folder without `.npy` files");
        return Vec::new();
    }
    let mut entries = Vec::new();
    for name in names {
        let read = || {
            let mut file = files.open(name)?;
            let size = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(0))?;
            let mut bytes = Vec::new();
            file.take(size).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        match read() {
            Ok(bytes) => {
                reading.limit = Limit::of_file(bytes.len() as u64);
                let key = percent_decoded(name.strip_suffix(".npy").unwrap_or(name));
                entries.extend(one(reading, &bytes, name, &key, false));
            }
            Err(fault) => reading.unreadable(name, name, format!("cannot be read: {fault}")),
        }
    }
    entries
}

/// Reads one `.npy` file, which a dictionary of arrays can be.
pub(crate) fn read_npy(reading: &mut Reading<'_>, source: &mut Box<dyn ReadSeek>, size: u64) -> Vec<Entry> {
    let mut bytes = Vec::new();
    let read = source.seek(SeekFrom::Start(0)).and_then(|_| source.take(size).read_to_end(&mut bytes));
    match read {
        Ok(_) => one(reading, &bytes, "", "tensor", true),
        Err(fault) => {
            reading.fail("", format!("cannot be read: {fault}"));
            Vec::new()
        }
    }
}

/// The entries of one array: itself, or what it holds. `alone` leaves the array's own name out of theirs.
fn one(reading: &mut Reading<'_>, bytes: &[u8], place: &str, key: &str, alone: bool) -> Vec<Entry> {
    let (header, body) = match NpyHeader::read(bytes) {
        Ok(read) => read,
        Err(fault) => {
            reading.unreadable(key, place, format!("cannot be read: {fault}"));
            return Vec::new();
        }
    };
    if header.is_object() {
        return objects(reading, body, place, key, alone);
    }
    let leaf = Leaf { key: key.to_string(), view: view(&header, body.len()) };
    let mut body = Body { bytes: body, place };
    assemble(reading, vec![leaf], &mut body)
}

/// The elements behind a header.
fn view(header: &NpyHeader, len: usize) -> Result<View, String> {
    let code = header.descr.trim_start_matches(['|', '<', '>', '=']);
    let element = Element::from_numpy(code);
    let element = element
        .ok_or_else(|| format!("is of NumPy's type `{}`, which is not supported", clip(&header.descr)))?;
    let span = Span { start: 0, len };
    let mut view = View::plain(Source::Inline(Binary::Plain(span)), element, header.shape.clone());
    view.big_endian = Some(!header.little);
    if header.fortran {
        view.set_fortran();
    }
    Ok(view)
}

/// The bytes behind a header, as a storage.
struct Body<'a> {
    bytes: &'a [u8],
    place: &'a str,
}

impl Storages for Body<'_> {
    fn read(&mut self, _: &Source, _: &mut Limit) -> Result<Cow<'_, [u8]>, String> {
        Ok(Cow::Borrowed(self.bytes))
    }
    fn place(&self, _: &Source) -> String {
        self.place.to_string()
    }
    fn big_endian(&self) -> bool {
        false
    }
}

/// The tensors of a pickle within an array of objects.
fn objects(reading: &mut Reading<'_>, body: &[u8], place: &str, key: &str, alone: bool) -> Vec<Entry> {
    let pickle = match pickle::parse(&mut Input::new(&mut Cursor::new(body), body.len() as u64)) {
        Ok(pickle) => pickle,
        Err(fault) => {
            reading.unreadable(
                key,
                place,
                format!("holds objects that are no pickle that can be read: {fault}"),
            );
            return Vec::new();
        }
    };
    // Everything is taken unless a part of a dictionary in a file of its own is chosen.
    let path = if place.is_empty() { reading.key.or(Some(".")) } else { Some(".") };
    let mut found = match find(&pickle, path, &mut reading.limit) {
        Ok(found) => found,
        Err(missing) => {
            reading.missing(place, missing);
            return Vec::new();
        }
    };
    if !alone {
        for leaf in &mut found.leaves {
            if let Err(fault) = reading.limit.take(key.len(), 1) {
                reading.fail(place, fault);
                return Vec::new();
            }
            leaf.key = format!("{key}.{}", leaf.key);
        }
    }
    reading.assemble(found, &mut Objects { pickle: &pickle, place })
}

/// The bytes within a pickle, as a storage.
struct Objects<'a> {
    pickle: &'a Pickle,
    place: &'a str,
}

impl Storages for Objects<'_> {
    fn read(&mut self, source: &Source, _: &mut Limit) -> Result<Cow<'_, [u8]>, String> {
        match source {
            Source::Inline(binary) => self.pickle.read(*binary),
            Source::Storage(_) => Err("lies in a storage of another file".to_string()),
        }
    }
    fn place(&self, _: &Source) -> String {
        self.place.to_string()
    }
    fn big_endian(&self) -> bool {
        false
    }
}

/// Order in which `layer10` stands behind `layer2`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(p), Some(q)) = (x.first(), y.first()) {
        if p.is_ascii_digit() && q.is_ascii_digit() {
            let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
            let (m, n) = (digits(x), digits(y));
            let zeros = |text: &[u8]| text.iter().take_while(|c| **c == b'0').count();
            let (u, v) = (&x[zeros(&x[..m])..m], &y[zeros(&y[..n])..n]);
            match u.len().cmp(&v.len()).then(u.cmp(v)) {
                Ordering::Equal => (x, y) = (&x[m..], &y[n..]),
                other => return other,
            }
            continue;
        }
        match p.cmp(q) {
            Ordering::Equal => (x, y) = (&x[1..], &y[1..]),
            other => return other,
        }
    }
    x.len().cmp(&y.len()).then(a.cmp(b))
}

/// A key as it was before its special characters were written as `%2F` and the like for a file's name. A name that is
/// no such text stays as it is.
fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|d| first == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        let code =
            digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_decoded() {
        for (name, key) in [
            ("features%2F0%2Fweight", "features/0/weight"),
            ("a%2fb", "a/b"),
            ("100%", "100%"),
            ("%zz%2", "%zz%2"),
            ("%ff", "%ff"),
            ("%C3%A9", "é"),
            ("%25", "%"),
        ] {
            assert_eq!(percent_decoded(name), key);
        }
    }

    #[test]
    fn numbers_sort_by_size() {
        let mut names = ["b", "f.10.w", "f.2.w", "f.02.w", "f.2", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "b", "f.2", "f.02.w", "f.2.w", "f.10.w"]);
    }
}
