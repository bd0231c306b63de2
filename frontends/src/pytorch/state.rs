//! A state dict: the tensors of a PyTorch model under their names.
//!
//! In: what a reader of some file format found. Out: the same, whatever the format was, for the command line to list and
//! for the architecture to take layers' parameters from.

use std::collections::BTreeSet;

use unfloat_ir::Tensor;

/// One tensor of a checkpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its key, `features.0.weight`.
    pub key: String,
    /// The values. Halves and doubles are single precision here; bool is `Bit`; quantized tensors have their scale.
    pub tensor: Tensor,
    /// How the file stores an element, in its own words: `float16`, `int64`.
    pub stored: String,
    /// Where it stands in the file.
    pub place: String,
}

/// A tensor of a checkpoint that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Its key.
    pub key: String,
    /// Where it stands in the file.
    pub place: String,
    /// Why, as the end of a sentence about it: `is a sparse tensor, …`.
    pub reason: String,
}

/// The tensors of one model, in the file's order, each key once.
#[derive(Clone, PartialEq, Debug)]
pub struct StateDict {
    /// The file's base name.
    pub label: String,
    /// The tensors.
    pub entries: Vec<Entry>,
}

impl StateDict {
    /// The tensor of that key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
    /// The keys in the file's order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|e| e.key.as_str())
    }
    /// A key that stands twice.
    pub fn duplicate(&self) -> Option<&str> {
        let mut seen = BTreeSet::new();
        self.keys().find(|k| !seen.insert(*k))
    }
}
