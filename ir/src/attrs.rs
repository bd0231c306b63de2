//! The attributes of an op as text: what ops write, and how they read it back.

use crate::types::ElemType;
use std::collections::BTreeMap;
use std::fmt;

/// One attribute's value.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A float, printed so that it reads back to the same bits.
    Float(f32),
    /// `true` or `false`.
    Bool(bool),
    /// A bare word.
    Word(String),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of floats.
    Floats(Vec<f32>),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Int(i) => write!(f, "{i}"),
            Attr::Float(x) => write!(f, "{x:?}"),
            Attr::Bool(b) => write!(f, "{b}"),
            Attr::Word(w) => f.write_str(w),
            Attr::Ints(v) => list(f, v, |f, x| write!(f, "{x}")),
            Attr::Floats(v) => list(f, v, |f, x| write!(f, "{x:?}")),
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    one: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (i, x) in items.iter().enumerate() {
        f.write_str(if i > 0 { "," } else { "" })?;
        one(f, x)?;
    }
    f.write_str("]")
}

/// Attributes in the order in which an op writes them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AttrWriter(pub Vec<(&'static str, Attr)>);

impl AttrWriter {
    /// Writes an integer.
    pub fn int(&mut self, name: &'static str, value: impl TryInto<i64>) -> &mut Self {
        self.0.push((name, Attr::Int(value.try_into().unwrap_or(i64::MAX))));
        self
    }
    /// Writes a float.
    pub fn float(&mut self, name: &'static str, value: f32) -> &mut Self {
        self.0.push((name, Attr::Float(value)));
        self
    }
    /// Writes a truth value.
    pub fn bool(&mut self, name: &'static str, value: bool) -> &mut Self {
        self.0.push((name, Attr::Bool(value)));
        self
    }
    /// Writes a bare word.
    pub fn word(&mut self, name: &'static str, value: impl fmt::Display) -> &mut Self {
        self.0.push((name, Attr::Word(value.to_string())));
        self
    }
    /// Writes a list of sizes.
    pub fn sizes(&mut self, name: &'static str, values: &[usize]) -> &mut Self {
        let values = values.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect();
        self.0.push((name, Attr::Ints(values)));
        self
    }
    /// Writes a list of floats.
    pub fn floats(&mut self, name: &'static str, values: &[f32]) -> &mut Self {
        self.0.push((name, Attr::Floats(values.to_vec())));
        self
    }
}

/// Attributes read from text. An op takes what it knows; [`AttrReader::finish`] refuses the rest.
#[derive(Clone, Debug, Default)]
pub struct AttrReader(BTreeMap<String, Attr>);

impl AttrReader {
    /// A reader over `attrs`; an attribute given twice is an error.
    pub fn new(attrs: impl IntoIterator<Item = (String, Attr)>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for (name, value) in attrs {
            if map.insert(name.clone(), value).is_some() {
                return Err(format!("attribute `{name}` is given twice"));
            }
        }
        Ok(Self(map))
    }
    fn take(&mut self, name: &str) -> Result<Attr, String> {
        self.0.remove(name).ok_or_else(|| format!("attribute `{name}` is missing"))
    }
    /// Whether the attribute is there and not yet taken.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// Takes an integer.
    pub fn int(&mut self, name: &str) -> Result<i64, String> {
        match self.take(name)? {
            Attr::Int(i) => Ok(i),
            other => Err(format!("attribute `{name}`: expected an integer, found {other}")),
        }
    }
    /// Takes a size: an integer from 0.
    pub fn size(&mut self, name: &str) -> Result<usize, String> {
        let value = self.int(name)?;
        usize::try_from(value).map_err(|_| format!("attribute `{name}`: expected a size, found {value}"))
    }
    /// Takes a float; an integer will do.
    pub fn float(&mut self, name: &str) -> Result<f32, String> {
        match self.take(name)? {
            Attr::Float(x) => Ok(x),
            Attr::Int(i) => Ok(i as f32),
            other => Err(format!("attribute `{name}`: expected a number, found {other}")),
        }
    }
    /// Takes a truth value.
    pub fn bool(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name)? {
            Attr::Bool(b) => Ok(b),
            other => Err(format!("attribute `{name}`: expected true or false, found {other}")),
        }
    }
    /// Takes a bare word.
    pub fn word(&mut self, name: &str) -> Result<String, String> {
        match self.take(name)? {
            Attr::Word(w) => Ok(w),
            // The layout of axes i, n and f reads as a number first.
            Attr::Float(f32::INFINITY) => Ok("inf".to_string()),
            other => Err(format!("attribute `{name}`: expected a word, found {other}")),
        }
    }
    /// Takes one of the words that `known` knows; `words` says which those are.
    pub fn choice<T>(
        &mut self,
        name: &str,
        words: &str,
        known: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, String> {
        let word = self.word(name)?;
        known(&word).ok_or_else(|| format!("attribute `{name}`: expected {words}, found {word}"))
    }
    /// Takes an element type whose name is one word.
    pub fn elem(&mut self, name: &str) -> Result<ElemType, String> {
        self.choice(name, "an element type", ElemType::from_name)
    }
    /// Takes a flag that is written only where it is set.
    pub fn flag(&mut self, name: &str) -> Result<bool, String> {
        if self.has(name) { self.bool(name) } else { Ok(false) }
    }
    /// Takes a list of floats; integers will do.
    pub fn floats(&mut self, name: &str) -> Result<Vec<f32>, String> {
        match self.take(name)? {
            Attr::Floats(v) => Ok(v),
            Attr::Ints(v) => Ok(v.into_iter().map(|x| x as f32).collect()),
            other => Err(format!("attribute `{name}`: expected a list of numbers, found {other}")),
        }
    }
    /// Takes a list of sizes.
    pub fn sizes(&mut self, name: &str) -> Result<Vec<usize>, String> {
        match self.take(name)? {
            Attr::Ints(v) => v
                .into_iter()
                .map(|x| usize::try_from(x).map_err(|_| format!("attribute `{name}`: {x} is no size")))
                .collect(),
            other => Err(format!("attribute `{name}`: expected a list of sizes, found {other}")),
        }
    }
    /// Refuses what no one took.
    pub fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("attribute `{name}` is not one of this op's")),
        }
    }
}
