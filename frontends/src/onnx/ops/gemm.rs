//! Gemm and MatMul. A product with a known matrix is a `dense`, one of two computed matrices a `matmul`.

use unfloat_ir::Layout;
use unfloat_ir::ops::{Binary, Dense, Expand, MatMul};

use super::activation::scaled;
use crate::onnx::cx::Cx;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// `alpha · A · B + beta · C`, A and B transposed or not.
pub(super) fn gemm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b, c) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let (alpha, beta) = (cx.float_or("alpha", 1.0)?, cx.float_or("beta", 1.0)?);
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    cx.ignore(&["broadcast"]);
    if cx.rank(&a) != 2 || cx.rank(&b) != 2 {
        return Err(format!("expected two matrices, found {} and {} axes", cx.rank(&a), cx.rank(&b)).into());
    }
    cx.same_for_all(&b, "second matrix")?;
    let a = match (trans_a, cx.lead(&a)) {
        (false, _) => a,
        (true, 0) => cx.transpose(&a, &[1, 0])?,
        (true, _) => return Err(Fault::mixes("it transposes the batch")),
    };
    let b = scaled(cx, &b, alpha)?;
    let w = cx.weight_matrix(&b, !trans_b)?;
    let Some(c) = c else { return Ok(vec![cx.apply(Dense, &[&a, &w])?]) };
    let c = scaled(cx, &c, beta)?;
    let outputs = cx.ty(&w).shape[0];
    let c = if cx.lead(&a) == 1 && cx.lead(&c) == 0 && cx.rank(&c) == 2 { cx.without_batch(&c)? } else { c };
    let shape = cx.ty(&c).shape;
    let row = shape.rank() < 2 || (shape.rank() == 2 && shape[0] == 1);
    if cx.lead(&c) == 0 && row && shape.last().is_none_or(|&n| n == 1 || n == outputs) {
        let flat: Vec<usize> = shape.last().copied().into_iter().collect();
        let bias = cx.reshape(&c, &flat, Layout::anonymous(flat.len()))?;
        let bias =
            if flat == [outputs] { bias } else { cx.apply(Expand { shape: [outputs].into() }, &[&bias])? };
        return Ok(vec![cx.apply(Dense, &[&a, &w, &bias])?]);
    }
    let y = cx.apply(Dense, &[&a, &w])?;
    let both = cx.aligned(&[y, c])?;
    Ok(vec![cx.apply(Binary::Add, &[&both[0], &both[1]])?])
}

pub(super) fn matmul(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![product(cx, &a, &b)?])
}

/// numpy's matrix product.
pub(super) fn product(cx: &mut Cx<'_, '_, '_>, a: &Val, b: &Val) -> Handled<Val> {
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    if ra == 0 || rb == 0 {
        return Err("expected matrices, found a scalar".into());
    }
    if cx.lead(a) + cx.lead(b) == 0 {
        return whole(cx, a, b);
    }
    let moved = || Fault::mixes("the batch is an axis of a matrix, or not the first axis of the result");
    match (cx.lead(a), cx.lead(b)) {
        (1, 0) if ra >= 2 && rb <= 2 => whole_vector(cx, a, b),
        (1, 0) if ra >= 3 && rb <= ra => {
            let b = if rb == ra { cx.without_batch(b)? } else { b.clone() };
            whole(cx, a, &b)
        }
        (0, 1) if rb >= 3 && ra <= rb && ra >= 2 => {
            let a = if ra == rb { cx.without_batch(a)? } else { a.clone() };
            whole(cx, &a, b)
        }
        (1, 1) if ra == rb && ra >= 3 => whole(cx, a, b),
        _ => Err(moved()),
    }
}

/// A product with a known vector or matrix, along the last axis.
fn whole_vector(cx: &mut Cx<'_, '_, '_>, a: &Val, b: &Val) -> Handled<Val> {
    let shape = cx.ty(b).shape.to_vec();
    if shape.len() == 2 {
        let w = cx.weight_matrix(b, true)?;
        return cx.apply(Dense, &[a, &w]);
    }
    let w = cx.reshape(b, &[1, shape[0]], Layout::weight(0))?;
    let y = cx.apply(Dense, &[a, &w])?;
    let mut dims = cx.ty(&y).shape.to_vec();
    dims.pop();
    cx.reshape(&y, &dims, Layout::anonymous(dims.len()))
}

/// A product of operands as the graph has them.
fn whole(cx: &mut Cx<'_, '_, '_>, a: &Val, b: &Val) -> Handled<Val> {
    let (sa, sb) = (cx.ty(a).shape.to_vec(), cx.ty(b).shape.to_vec());
    if b.known().is_some() && sb.len() <= 2 && !sa.is_empty() {
        return whole_vector(cx, a, b);
    }
    // A vector on the left is a row, one on the right a column; the axis vanishes afterwards.
    let row = if sa.len() == 1 { cx.reshape(a, &[1, sa[0]], Layout::anonymous(2))? } else { a.clone() };
    let column = if sb.len() == 1 { cx.reshape(b, &[sb[0], 1], Layout::anonymous(2))? } else { b.clone() };
    let y = cx.apply(MatMul, &[&row, &column])?;
    if sa.len() > 1 && sb.len() > 1 {
        return Ok(y);
    }
    let mut dims = cx.ty(&y).shape.to_vec();
    let rank = dims.len();
    if sa.len() == 1 {
        dims.remove(rank - 2);
    }
    if sb.len() == 1 {
        dims.pop();
    }
    cx.reshape(&y, &dims, Layout::anonymous(dims.len()))
}
