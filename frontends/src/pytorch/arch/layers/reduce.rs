//! Sums, means and extremes over axes of a sample: torch's `mean(dim)` and its kin.

use unfloat_ir::ops::{Reduce as ReduceOp, ReduceFn};
use unfloat_ir::{Layout, ValueId};

use super::{Layer, sample_axis};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::Outcome;

/// A reduction.
struct Reduce {
    f: ReduceFn,
    dims: Vec<i64>,
    keep: bool,
}

fn read(p: &mut Parameters<'_>, f: ReduceFn) -> Box<dyn Layer> {
    let dims = p.ints("dim").unwrap_or_default();
    if dims.is_empty() {
        p.fail_with("`dim` is missing", "over all axes torch reduces the batch too");
    }
    Box::new(Reduce { f, dims, keep: p.flag("keepdim").unwrap_or(false) })
}

/// Reads a `Mean`.
pub(super) fn mean(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, ReduceFn::Mean)
}

/// Reads a `Sum`.
pub(super) fn sum(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, ReduceFn::Sum)
}

/// Reads an `Amax`.
pub(super) fn amax(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, ReduceFn::Max)
}

impl Layer for Reduce {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let mut axes = self
            .dims
            .iter()
            .map(|&d| sample_axis(cx, "dim", d, dims.len()))
            .collect::<Outcome<Vec<usize>>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|w| w[0] == w[1]) {
            return Err(cx.error(format!("`dim` {:?} names an axis twice", self.dims)));
        }
        let y = cx.node(ReduceOp { f: self.f, axes, keep: self.keep }, &[x])?;
        let dims = cx.dims(y);
        match dims.len() {
            // What is left of an image's axes is a vector of channels, or of whatever it was.
            1 => cx.reshape(y, &dims, Layout::channels_last(0)),
            _ => Ok(y),
        }
    }
}
