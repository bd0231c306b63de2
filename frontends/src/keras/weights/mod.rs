//! Which array belongs to which weight of which layer.
//!
//! In: a source of weights and the layers that want some. Out: for every layer, addressed by its path of indexes from
//! the model down through nested models, the arrays in the order of its [`Slot`]s. Refuses, all at once: arrays that
//! are missing, left over, or filed under another layer's name. Shapes are checked later, when they are known.

pub(crate) mod legacy;
pub(crate) mod numbered;

use std::collections::BTreeMap;

use unfloat_ir::Diagnostic;

use super::container::{Scheme, WeightSource};

/// One weight that a layer owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Name of the variable: `kernel`, `gamma`.
    pub name: &'static str,
    /// Whether training changes it; decides the order in which nested models file their weights.
    pub trainable: bool,
    /// Group below the layer's own in a numbered file: empty, `batchnorm`, `kq/quantizer`.
    pub group: &'static str,
}

impl Slot {
    /// A weight that training changes.
    pub const fn trainable(name: &'static str) -> Slot {
        Slot { name, trainable: true, group: "" }
    }
    /// A statistic.
    pub const fn fixed(name: &'static str) -> Slot {
        Slot { name, trainable: false, group: "" }
    }
    /// A statistic of something inside of the layer.
    pub const fn within(group: &'static str, name: &'static str) -> Slot {
        Slot { name, trainable: false, group }
    }
    /// The same, changed by training.
    pub const fn trained(self) -> Slot {
        Slot { trainable: true, ..self }
    }
}

/// What a layer does with the arrays filed under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Exactly these.
    Slots(Vec<Slot>),
    /// Nothing, and whatever there is (the state of a random generator) does not matter.
    Anything,
}

/// A layer, or a nested model, as far as its weights are concerned.
pub(crate) struct Owner<'a> {
    /// Indexes from the model down to this layer.
    pub path: Vec<usize>,
    /// Name of the layer.
    pub name: &'a str,
    /// `name (Class)` for messages.
    pub title: String,
    /// Class as the file spells it.
    pub class: &'a str,
    /// The layer's own flag; a frozen layer files its weights among the untrainable ones.
    pub trainable: bool,
    /// Where its weights stand below its own group in a numbered file: empty, or `layer` in a wrapper.
    pub inner: &'static str,
    /// Variables that are the training's own, by name; they do not matter.
    pub ignored: &'static [&'static str],
    /// False for layers that are not counted in a numbered file.
    pub counted: bool,
    /// What the layer holds.
    pub content: Content<'a>,
}

/// Weights of its own, or layers of its own.
pub(crate) enum Content<'a> {
    Leaf(Wants),
    Model(Vec<Owner<'a>>),
}

/// Paths of the arrays of every layer, in the order of its slots.
pub(crate) type Assignment = BTreeMap<Vec<usize>, Vec<String>>;

/// What assigning found.
#[derive(Default)]
pub(crate) struct Assigned {
    /// Arrays per layer; layers with a problem are missing.
    pub arrays: Assignment,
    /// Errors and warnings.
    pub findings: Vec<Diagnostic>,
}

/// Assigns the arrays of `source` to the layers of a model. `same_file` says that the architecture comes from the same
/// file, so that names must agree.
pub(crate) fn assign(source: &WeightSource, owners: &[Owner<'_>], same_file: bool) -> Assigned {
    match source.scheme {
        Scheme::Legacy => legacy::assign(source, owners, same_file),
        Scheme::Numbered => numbered::assign(source, owners, same_file),
    }
}

/// A leaf of the tree of layers.
pub(crate) struct Leaf<'o> {
    pub path: &'o [usize],
    pub name: &'o str,
    pub wants: &'o Wants,
    pub ignored: &'static [&'static str],
}

/// All leaves below `owner`, in order.
pub(crate) fn leaves<'o>(owner: &'o Owner<'_>) -> Vec<Leaf<'o>> {
    match &owner.content {
        Content::Leaf(wants) => {
            vec![Leaf { path: &owner.path, name: owner.name, wants, ignored: owner.ignored }]
        }
        Content::Model(owners) => owners.iter().flat_map(leaves).collect(),
    }
}

/// Number of weights that all these layers need.
pub(crate) fn needed(owners: &[Owner<'_>]) -> usize {
    owners.iter().flat_map(leaves).map(|leaf| leaf.wants.slots().len()).sum()
}

impl Wants {
    /// The weights that must be there.
    pub fn slots(&self) -> &[Slot] {
        match self {
            Wants::Slots(slots) => slots,
            Wants::Anything => &[],
        }
    }
}

/// Name of the variable in the name of an array: `bc/kernel:0` is `kernel`.
pub(crate) fn variable_name(array: &str) -> &str {
    let last = array.rsplit('/').next().unwrap_or(array);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
