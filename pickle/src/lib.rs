//! Python pickles as inert records.
//!
//! In: the bytes of a pickle of any protocol, 0 to 5. Out: a [`Pickle`]: one [`Record`] for each thing that the pickle
//! builds, which name each other by number, so that cycles are no matter. Nothing runs: a callable is two names, a call
//! is a record of the callable and its arguments, an object is a record of its class and its state, whatever they are
//! called. Memory is a small multiple of the bytes, and nothing recurses. Refuses: bytes that are no pickle, with the
//! offset; lengths beyond the end; out-of-band buffers, which a file cannot hold.
//!
//! | module | does |
//! |---|---|
//! | `input` | bytes in order, with what is left |
//! | `machine` | the opcodes |
//! | [`numpy`] | arrays among the records |
//! | `text` | the escapes of protocol 0 |
#![forbid(unsafe_code)]

mod input;
mod machine;
pub mod numpy;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

pub use input::Input;
pub use machine::parse;

/// The longest names of classes and storages. Longer ones are none: a pickle can show one text a million times.
const MAX_NAME: usize = 1024;

/// The number of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id(u32);

impl Id {
    /// The number.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A piece of a pickle's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// How many bytes.
    pub len: usize,
}

/// One thing that a pickle builds.
#[derive(Debug)]
pub enum Record {
    /// Python's `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer that needs more than 64 bits: little-endian two's complement, or decimal digits in protocol 0.
    Big(Span),
    /// A float.
    Float(f64),
    /// Bytes, or a string of Python 2.
    Bytes(Span),
    /// Text in UTF-8.
    Text(Span),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A set.
    Set(Vec<Id>),
    /// A dictionary, in the order in which entries were set.
    Dict(Vec<(Id, Id)>),
    /// A class or function: the names of its module and its own.
    Global(Id, Id),
    /// A thing that stands outside of the pickle: PyTorch's storages.
    Persistent(Id),
    /// A class under a number of `copyreg`'s table, which no file carries.
    Extension,
    /// The result of a call.
    Object(Box<Object>),
}

/// The result of a call, which never took place: `class(*args)` with what was put into it afterwards.
#[derive(Debug)]
pub struct Object {
    /// What was called.
    pub class: Id,
    /// The arguments; a tuple in a pickle that Python wrote.
    pub args: Id,
    /// What stands behind the arguments: keyword arguments.
    pub kwargs: Option<Id>,
    /// The states that were set, one after the other.
    pub states: Vec<Id>,
    /// What was appended.
    pub items: Vec<Id>,
    /// What was set under a key.
    pub pairs: Vec<(Id, Id)>,
}

/// Everything that one pickle builds.
#[derive(Debug)]
pub struct Pickle {
    records: Vec<Record>,
    blob: Vec<u8>,
    /// The record that the pickle stands for.
    pub root: Id,
}

impl Pickle {
    /// A record.
    pub fn get(&self, id: Id) -> &Record {
        // Numbers are made by `machine` alone, for records that are there.
        &self.records[id.index()]
    }
    /// The number of records, which is never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.records.len()
    }
    /// What a dictionary holds under a text; of several entries the last, as in Python.
    pub fn item(&self, dict: Id, key: &str) -> Option<Id> {
        let Record::Dict(pairs) = self.get(dict) else { return None };
        pairs.iter().rev().find(|(k, _)| self.is_text(*k, key)).map(|(_, value)| *value)
    }
    /// All records.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
    /// The bytes of a piece.
    pub fn slice(&self, span: Span) -> &[u8] {
        self.blob.get(span.start..span.start.saturating_add(span.len)).unwrap_or(&[])
    }
    /// An object.
    pub fn object(&self, id: Id) -> Option<&Object> {
        match self.get(id) {
            Record::Object(object) => Some(object),
            _ => None,
        }
    }
    /// Text, or a string of Python 2, whose encoding is unknown: UTF-8 is the likeliest.
    pub fn text(&self, id: Id) -> Option<Cow<'_, str>> {
        match self.get(id) {
            Record::Text(span) | Record::Bytes(span) => Some(String::from_utf8_lossy(self.slice(*span))),
            _ => None,
        }
    }
    /// A text that is short enough for a name.
    pub fn name(&self, id: Id) -> Option<Cow<'_, str>> {
        if self.text_len(id) > MAX_NAME { None } else { self.text(id) }
    }
    /// Whether a record is that text. Cheap, however long the record is.
    pub fn is_text(&self, id: Id, text: &str) -> bool {
        match self.get(id) {
            Record::Text(span) | Record::Bytes(span) => self.slice(*span) == text.as_bytes(),
            _ => false,
        }
    }
    /// The length of a text in bytes; 0 for anything else.
    pub fn text_len(&self, id: Id) -> usize {
        match self.get(id) {
            Record::Text(span) | Record::Bytes(span) => span.len,
            _ => 0,
        }
    }
    /// An integer. Booleans count, as in Python.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Record::Int(value) => Some(*value),
            Record::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }
    /// A truth value.
    pub fn truth(&self, id: Id) -> Option<bool> {
        match self.get(id) {
            Record::Bool(value) => Some(*value),
            Record::Int(value) => Some(*value != 0),
            _ => None,
        }
    }
    /// A number.
    pub fn number(&self, id: Id) -> Option<f64> {
        match self.get(id) {
            Record::Float(value) => Some(*value),
            _ => self.int(id).map(|value| value as f64),
        }
    }
    /// The elements of a list or a tuple, `torch.Size` included.
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Record::List(items) | Record::Tuple(items) => Some(items),
            Record::Object(object) if self.is_class(object.class, "torch", "Size") => {
                match self.get(object.args) {
                    Record::Tuple(args) => match args.first().map(|&a| self.get(a)) {
                        Some(Record::List(items) | Record::Tuple(items)) => Some(items),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }
    /// The arguments of a call.
    pub fn args(&self, object: &Object) -> &[Id] {
        match self.get(object.args) {
            Record::Tuple(items) | Record::List(items) => items,
            _ => &[],
        }
    }
    /// The names of a class: its module's and its own. Whole modules of old PyTorch files wrap their class in a
    /// persistent number that carries the source code.
    pub fn class(&self, id: Id) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
        let id = match self.get(id) {
            Record::Persistent(outer) => {
                let parts = self.elements(*outer)?;
                if !self.is_text(*parts.first()?, "module") {
                    return None;
                }
                *parts.get(1)?
            }
            _ => id,
        };
        match self.get(id) {
            Record::Global(module, name) => Some((self.name(*module)?, self.name(*name)?)),
            _ => None,
        }
    }
    /// Whether a record is the class of that name.
    pub fn is_class(&self, id: Id, module: &str, name: &str) -> bool {
        match self.get(id) {
            Record::Global(m, n) => self.is_text(*m, module) && self.is_text(*n, name),
            _ => self.class(id).is_some_and(|(m, n)| m == module && n == name),
        }
    }
    /// Where binary data stand: bytes, a byte array, or the calls that stand for bytes in pickles of protocol 2 that
    /// Python 3 wrote, `_codecs.encode(text, "latin1")` and `bytes()`.
    pub fn binary(&self, id: Id) -> Option<Binary> {
        let object = match self.get(id) {
            Record::Bytes(span) => return Some(Binary::Plain(*span)),
            Record::Object(object) => object,
            _ => return None,
        };
        let (module, name) = self.class(object.class)?;
        let text = |id: Id| match self.get(id) {
            Record::Text(span) => Some(Binary::Latin1(*span)),
            _ => None,
        };
        match (&*module, &*name, self.args(object)) {
            ("_codecs", "encode", [first, ..]) => text(*first),
            ("builtins" | "__builtin__", "bytes" | "bytearray", []) => {
                Some(Binary::Plain(Span { start: 0, len: 0 }))
            }
            ("builtins" | "__builtin__", "bytes" | "bytearray", [only]) => match self.get(*only) {
                Record::Bytes(span) => Some(Binary::Plain(*span)),
                _ => None,
            },
            ("builtins" | "__builtin__", "bytearray", [first, _]) => text(*first),
            _ => None,
        }
    }
    /// Binary data.
    pub fn read(&self, binary: Binary) -> Result<Cow<'_, [u8]>, String> {
        let span = match binary {
            Binary::Plain(span) => return Ok(Cow::Borrowed(self.slice(span))),
            Binary::Latin1(span) => span,
        };
        let text = std::str::from_utf8(self.slice(span)).map_err(|_| "bytes written as broken text")?;
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        bytes.map(Cow::Owned).ok_or_else(|| "bytes written as text beyond Latin-1".to_string())
    }
}

/// Where binary data stand, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Binary {
    /// As they are.
    Plain(Span),
    /// As text, whose characters are the bytes.
    Latin1(Span),
}
