//! Dot: product of two tensors over one axis of each, the batch aside.
//!
//! In: `axes` (one for both, or a pair; 0 is the batch), `normalize`. Out: the rest of the first one's axes, then the rest
//! of the second one's; two vectors give one number of shape `(1,)`. Normalisation is `x · rsqrt(max(Σ x², ε))` with
//! ε = 1e-12 in Keras 2 and 1e-14 in Keras 3.

use unfloat_ir::ops::{Binary, MatMul, Reduce, ReduceFn, Reshape, Transpose, Unary};
use unfloat_ir::{Layout, Shape, ValueId};

use super::{Layer, sample_axis};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Outcome, show_shape};
use crate::keras::version::Generation;

struct Dot {
    axes: [i64; 2],
    normalize: bool,
}

/// Reads a Dot.
pub(crate) fn dot(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let axes = match config.axes("axes", &[])?.as_slice() {
        [both] => [*both, *both],
        [first, second] => [*first, *second],
        other => return Err(config.error(format!("'axes': expected one or two axes, found {other:?}"))),
    };
    Ok(Box::new(Dot { axes, normalize: config.flag("normalize", false)? }))
}

impl Dot {
    fn normalized(&self, cx: &mut Cx<'_, '_>, x: ValueId, axis: usize) -> Outcome<ValueId> {
        if !self.normalize {
            return Ok(x);
        }
        let lo = if cx.facts().generation == Generation::Keras3 { 1e-14 } else { 1e-12 };
        let squares = cx.node(Reduce { f: ReduceFn::SumSquare, axes: vec![axis], keep: true }, &[x])?;
        let bounded = cx.node(Unary::Clip { lo, hi: f32::INFINITY }, &[squares])?;
        let scale = cx.node(Unary::Rsqrt, &[bounded])?;
        cx.node(Binary::Mul, &[x, scale])
    }

    /// The tensor as a matrix of `(rest, contracted)` or `(contracted, rest)`, and its rest.
    fn matrix(
        &self,
        cx: &mut Cx<'_, '_>,
        x: ValueId,
        axis: usize,
        last: bool,
    ) -> Outcome<(ValueId, Vec<usize>)> {
        let dims = cx.dims(x);
        let others: Vec<usize> = (0..dims.len()).filter(|a| *a != axis).collect();
        let rest: Vec<usize> = others.iter().filter_map(|a| dims.get(*a).copied()).collect();
        let contracted = dims.get(axis).copied().unwrap_or(1);
        let perm: Vec<usize> = if last {
            others.into_iter().chain([axis]).collect()
        } else {
            std::iter::once(axis).chain(others).collect()
        };
        let x = if perm.iter().copied().eq(0..dims.len()) { x } else { cx.node(Transpose { perm }, &[x])? };
        let rows = rest.iter().product();
        let shape = if last { Shape::from([rows, contracted]) } else { Shape::from([contracted, rows]) };
        let flat = cx.node(Reshape { shape, layout: Layout::anonymous(2) }, &[x])?;
        Ok((flat, rest))
    }
}

impl Layer for Dot {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let [a, b] = *cx.inputs() else {
            return Err(cx.error(format!("the layer takes two inputs and is given {}", cx.inputs().len())));
        };
        let (shape_a, shape_b) = (cx.dims(a), cx.dims(b));
        let [first, second] = self.axes;
        let axes = (sample_axis(first, shape_a.len()), sample_axis(second, shape_b.len()));
        let (Some(axis_a), Some(axis_b)) = axes else {
            return Err(
                cx.error(format!("'axes': {:?} are not axes of the samples (0 is the batch)", self.axes))
            );
        };
        if shape_a.get(axis_a) != shape_b.get(axis_b) {
            let (a, b) = (show_shape(&shape_a), show_shape(&shape_b));
            return Err(cx.error(format!("'axes': {:?} have different extents in {a} and {b}", self.axes)));
        }
        let a = self.normalized(cx, a, axis_a)?;
        let b = self.normalized(cx, b, axis_b)?;
        let (a, mut shape) = self.matrix(cx, a, axis_a, true)?;
        let (b, rest) = self.matrix(cx, b, axis_b, false)?;
        shape.extend(rest);
        if shape.is_empty() {
            shape.push(1);
        }
        if shape.len() > Shape::MAX_RANK {
            return Err(cx.error(format!("the result has {} axes", shape.len())));
        }
        let product = cx.node(MatMul, &[a, b])?;
        let layout = Layout::channels_last(shape.len() - 1);
        cx.node(Reshape { shape: shape.into(), layout }, &[product])
    }
}
