//! The kinds of layers, a family per file.
//!
//! A kind is built from its parameters alone; then it says which tensors it has; then it is lowered, when the shapes of
//! what it reads are known.

mod activation;
mod binarize;
mod constant;
mod conv;
mod conv_transpose;
mod linear;
mod merge;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod registry;
mod shape;
mod weight;

use unfloat_ir::ValueId;

use super::lower::Cx;
use super::problem::Outcome;

pub(crate) use registry::{build, kinds};

/// A tensor of a layer in the state dict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// Its name behind the layer's prefix, or several of which one will do, the first being the usual one.
    pub parts: &'static [&'static str],
    /// Whether the layer cannot be without.
    pub needed: bool,
}

/// A tensor that must be there.
pub(crate) const fn needed(parts: &'static [&'static str]) -> Wanted {
    Wanted { parts, needed: true }
}

/// A tensor that may be there and means nothing then.
pub(crate) const fn spare(parts: &'static [&'static str]) -> Wanted {
    Wanted { parts, needed: false }
}

/// A layer whose parameters were read.
pub(crate) trait Layer {
    /// Its tensors.
    fn tensors(&self) -> Vec<Wanted> {
        Vec::new()
    }
    /// Whether its result shows the memory of its input, as torch's views do.
    fn is_view(&self) -> bool {
        false
    }
    /// Whether it reads no other layer.
    fn reads_nothing(&self) -> bool {
        false
    }
    /// Makes its nodes; returns its result.
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId>;
}

/// The axis of a sample that torch's `dim` names, where dim 0 is the batch.
fn sample_axis(cx: &Cx<'_, '_>, name: &str, dim: i64, rank: usize) -> Outcome<usize> {
    let whole = i64::try_from(rank).unwrap_or(i64::MAX) + 1;
    let axis = if dim < 0 { dim + whole } else { dim };
    match usize::try_from(axis) {
        Ok(axis) if (1..=rank).contains(&axis) => Ok(axis - 1),
        Ok(0) => Err(cx.error(format!("`{name} = {dim}` is the batch; each sample is computed on its own"))),
        _ => Err(
            cx.error(format!("`{name} = {dim}` is no axis of a tensor of {whole} axes, the batch included"))
        ),
    }
}
