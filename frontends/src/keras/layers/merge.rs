//! Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate.
//!
//! In: two or more tensors (Subtract: two), which broadcast as NumPy's do. Out: a chain of nodes from left to right, as
//! the frameworks compute it.

use unfloat_ir::ops::{Binary, Concat};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::Layer;
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;

struct Merge {
    op: Binary,
    /// Divide by the number of inputs.
    mean: bool,
    most: usize,
}

fn merge(op: Binary, mean: bool, most: usize) -> Outcome<Box<dyn Layer>> {
    Ok(Box::new(Merge { op, mean, most }))
}
pub(crate) fn add(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Add, false, usize::MAX)
}
pub(crate) fn average(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Add, true, usize::MAX)
}
pub(crate) fn subtract(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Sub, false, 2)
}
pub(crate) fn multiply(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Mul, false, usize::MAX)
}
pub(crate) fn maximum(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Max, false, usize::MAX)
}
pub(crate) fn minimum(_: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    merge(Binary::Min, false, usize::MAX)
}

/// The second operand with the names of the first one's axes, where both have as many: which axis is which is decided
/// by the layers before, and a merge only counts axes.
fn alike(cx: &mut Cx<'_, '_>, first: ValueId, other: ValueId) -> Outcome<ValueId> {
    let layout = cx.ty(first).layout;
    if layout == Layout::anonymous(layout.rank()) {
        return Ok(other);
    }
    cx.with_layout(other, layout)
}

impl Layer for Merge {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let inputs = cx.inputs().to_vec();
        let count = inputs.len();
        let [first, others @ ..] = inputs.as_slice() else {
            return Err(cx.error("the layer is given no input"));
        };
        if others.is_empty() || count > self.most {
            let wanted = if self.most == 2 { "two inputs" } else { "two inputs or more" };
            return Err(cx.error(format!("the layer takes {wanted} and is given {count}")));
        }
        let mut sum = *first;
        for other in others {
            let other = alike(cx, sum, *other)?;
            sum = cx.node(self.op, &[sum, other])?;
        }
        if !self.mean {
            return Ok(sum);
        }
        let count =
            cx.constant("count", &[], || Tensor::f32([], Layout::anonymous(0), vec![count as f32]))?;
        cx.node(Binary::Div, &[sum, count])
    }
}

struct Concatenate {
    axis: i64,
}

/// Reads a Concatenate.
pub(crate) fn concatenate(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    Ok(Box::new(Concatenate { axis: config.integer("axis", -1)? }))
}

impl Layer for Concatenate {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let mut inputs = cx.inputs().to_vec();
        let Some(&first) = inputs.first() else { return Err(cx.error("the layer is given no input")) };
        let rank = cx.ty(first).rank();
        let Some(axis) = super::sample_axis(self.axis, rank) else {
            let message =
                format!("'axis': {} is not one of the {rank} axes of a sample (0 is the batch)", self.axis);
            return Err(cx.error(message));
        };
        for input in inputs.iter_mut().skip(1) {
            let layout = cx.ty(first).layout;
            *input = cx.with_layout(*input, layout)?;
        }
        cx.node(Concat { axis }, &inputs)
    }
}
