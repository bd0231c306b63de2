//! What the importer knows of a value of the model.

use std::sync::Arc;

use unfloat_ir::{Tensor, ValueId};

use super::dtype::DType;

/// A value of the model while it is read.
#[derive(Clone, Debug)]
pub(crate) struct Val {
    /// Where it is.
    pub(crate) kind: Kind,
    /// The element type that the file gives it.
    pub(crate) dtype: DType,
    /// A known value that is `(codes − zero) · scale` by a quantizer of the model: codes, scale and zero point.
    pub(crate) codes: Option<[Arc<Tensor>; 3]>,
    /// The model's name for a known value, which the graph's constant is to have; its layer's for what is made of one.
    pub(crate) name: Option<Arc<str>>,
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Known now; the shape is the model's own.
    Const(Arc<Tensor>),
    /// Known once the batch size is: one tensor for each of [`super::lower::PROBES`].
    PerBatch(Vec<Arc<Tensor>>),
    /// Computed by the graph; without its first axis when that is the batch.
    Node(ValueId),
}

impl Val {
    /// A known value.
    pub(crate) fn constant(tensor: impl Into<Arc<Tensor>>, dtype: DType) -> Self {
        Self { kind: Kind::Const(tensor.into()), dtype, codes: None, name: None }
    }
    /// A value of the graph.
    pub(crate) fn node(id: ValueId, dtype: DType) -> Self {
        Self { kind: Kind::Node(id), dtype, codes: None, name: None }
    }
    /// The tensor, when it is known.
    pub(crate) fn known(&self) -> Option<&Arc<Tensor>> {
        match &self.kind {
            Kind::Const(tensor) => Some(tensor),
            _ => None,
        }
    }
    /// The same known value, made of codes.
    pub(crate) fn with_codes(mut self, codes: [Arc<Tensor>; 3]) -> Self {
        self.codes = Some(codes);
        self
    }
    /// The same value under a name, unless it has one.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name.get_or_insert_with(|| name.into());
        self
    }
    /// Whether the graph computes it.
    pub(crate) fn is_node(&self) -> bool {
        matches!(self.kind, Kind::Node(_))
    }
    /// The same value under another element type of the same representation.
    pub(crate) fn with_dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }
}

/// What stands under a name.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// A value.
    Val(Val),
    /// Nothing, because its node was refused; what reads it is skipped in silence.
    Broken,
}
