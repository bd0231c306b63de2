//! Counts what a file would become before anything is allocated for it.
//!
//! In: the file. Out: nothing, when its messages and strings are few enough. Refuses more than [`MAX_ITEMS`] of them:
//! a message of two bytes takes hundreds in memory, so a hostile file of some megabytes could ask for gigabytes.
//! What is not well formed is left to the decoder, which says so better.

use std::io::{self, BufReader, Read, Seek};

/// Most messages and strings of a file. Networks of this field have some thousands, language models a million.
const MAX_ITEMS: u64 = 1 << 21;
/// Deepest nesting; the decoder's own limit.
const MAX_DEPTH: usize = 100;

/// The messages, as far as they hold others.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Training,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TypeTensor,
    TypeOf,
    TypeMap,
    Shape,
    Function,
    /// Text, numbers, or a message without others.
    Leaf,
    /// A message with others that the importer does not read: as many as its bytes allow.
    Opaque,
}

/// What field `field` of a message holds.
fn child(kind: Kind, field: u64) -> Kind {
    use Kind::*;
    match (kind, field) {
        (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
        (Model, 20) => Training,
        (Model, 25) => Function,
        (Model, 26) | (Graph, 14) | (Node, 10) => Opaque,
        (Graph, 1) | (Function, 7) => Node,
        (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
        (Graph, 15) | (Attribute, 22 | 23) => Sparse,
        (Graph, 11..=13) | (Function, 12) => ValueInfo,
        (Node, 5) | (Function, 11) => Attribute,
        (Attribute, 14 | 15) | (ValueInfo, 2) | (TypeOf, 1) | (TypeMap, 2) => Type,
        (Type, 1 | 8) => TypeTensor,
        (Type, 4 | 9) => TypeOf,
        (Type, 5) => TypeMap,
        (TypeTensor, 2) => Shape,
        _ => Leaf,
    }
}

/// Checks a file of `size` bytes from its beginning.
pub(super) fn check<R: Read + Seek>(source: &mut R, size: u64) -> Result<(), String> {
    source.rewind().map_err(|e| format!("cannot be read: {e}"))?;
    let mut scan = Scan { source: BufReader::new(source), at: 0 };
    match scan.run(size) {
        Ok(items) if items > MAX_ITEMS => Err(format!(
            "holds more than {MAX_ITEMS} messages and texts; no network of that size is supported"
        )),
        _ => Ok(()),
    }
}

struct Scan<R> {
    source: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Scan<R> {
    fn run(&mut self, size: u64) -> io::Result<u64> {
        let mut items = 0u64;
        let mut open = vec![(Kind::Model, size)];
        while let Some(&(kind, end)) = open.last() {
            if self.at >= end {
                open.pop();
                continue;
            }
            let tag = self.varint()?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => self.skip(8)?,
                5 => self.skip(4)?,
                2 => {
                    let length = self.varint()?;
                    let inner = child(kind, tag >> 3);
                    items += match inner {
                        Kind::Opaque => 1 + length / 2,
                        _ => 1,
                    };
                    match inner {
                        Kind::Leaf | Kind::Opaque => self.skip(length)?,
                        _ => open.push((inner, self.at.saturating_add(length).min(end))),
                    }
                }
                _ => return Ok(items),
            }
            if items > MAX_ITEMS || open.len() > MAX_DEPTH {
                break;
            }
        }
        Ok(items)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let mut byte = [0];
            self.source.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let step = i64::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?;
        self.at = self.at.saturating_add(count);
        self.source.seek_relative(step)
    }
}
