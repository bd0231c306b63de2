//! The operators on codes: ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul.
//!
//! Products are summed as integers, exactly; what follows is what onnxruntime does: the sum as a float, times
//! `scale_a · scale_b / scale_y` in single precision, rounded half to even, plus the zero point, saturated.

use unfloat_ir::ops::{Binary, Conv};
use unfloat_ir::{IntType, Layout};

use super::binary::cast;
use super::quantize::{number, quantized};
use super::{conv, gemm, window};
use crate::onnx::cx::Cx;
use crate::onnx::dtype::DType;
use crate::onnx::problem::Handled;
use crate::onnx::value::Val;

const I32: DType = DType::Int(IntType::signed(32));

/// Codes minus their zero point, in one more bit; a zero point per entry of the graph's axis `axis`.
pub(super) fn centred(cx: &mut Cx<'_, '_, '_>, x: &Val, zero: Option<Val>, axis: usize) -> Handled<Val> {
    let DType::Int(int) = x.dtype else { return Err(format!("expected integers, found {}", x.dtype).into()) };
    let Some(zero) = zero else { return Ok(x.clone()) };
    cx.same_for_all(&zero, "zero point")?;
    if let Some(known) = zero.known()
        && (0..known.len()).all(|i| known.data.code(i) == Some(0))
    {
        return Ok(x.clone());
    }
    let zero = along(cx, x, &zero, axis)?;
    let wide = DType::Int(IntType::signed(int.width.saturating_add(1).min(64)));
    let (x, zero) = (cast(cx, x, wide)?, cast(cx, &zero, wide)?);
    cx.apply(Binary::Sub, &[&x, &zero])
}

/// One number, or one per entry of the axis `axis` of `x` in the graph.
pub(super) fn along(cx: &mut Cx<'_, '_, '_>, x: &Val, parameter: &Val, axis: usize) -> Handled<Val> {
    let shape = cx.ty(parameter).shape.to_vec();
    match shape[..] {
        _ if shape.iter().all(|&n| n == 1) => cx.reshape(parameter, &[], Layout::anonymous(0)),
        [n] => {
            let mut dims = vec![1; cx.ty(x).rank()];
            let place = dims.get_mut(axis).ok_or_else(|| format!("{n} parameters for a scalar"))?;
            *place = n;
            cx.reshape(parameter, &dims, Layout::anonymous(dims.len()))
        }
        _ => Ok(parameter.clone()),
    }
}

/// The exact sums of a convolution of codes, and the number of its spatial axes.
fn convolved(
    cx: &mut Cx<'_, '_, '_>,
    [x, w]: [Val; 2],
    zeros: [Option<Val>; 2],
    bias: Option<Val>,
) -> Handled<(Val, usize)> {
    let found = conv::operands(cx, &x, &w)?;
    let spec = window::read(cx, &found.extents, Some(found.kernel))?;
    let [zero_x, zero_w] = zeros;
    let x = centred(cx, &x, zero_x, 0)?;
    let w = centred(cx, &w, zero_w, 0)?;
    let w = conv::weight(cx, &w)?;
    let op = Conv { window: spec.window, groups: found.groups };
    let spatial = found.extents.len();
    let sums = cx.each_sample(&x, Layout::channels_first(spatial), |cx, x| {
        let operands: Vec<&Val> = [x, &w].into_iter().chain(&bias).collect();
        cx.apply(op.clone(), &operands)
    })?;
    Ok((sums, spatial))
}

pub(super) fn conv_integer(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let zeros = [cx.optional(2), cx.optional(3)];
    let (sums, _) = convolved(cx, [x, w], zeros, None)?;
    Ok(vec![cast(cx, &sums, I32)?])
}

/// The exact product of two matrices of codes. Zero points are per row of the first, per column of the second.
fn multiplied(cx: &mut Cx<'_, '_, '_>, [a, b]: [Val; 2], [zero_a, zero_b]: [Option<Val>; 2]) -> Handled<Val> {
    let (rows, columns) = (cx.ty(&a).rank().saturating_sub(2), cx.ty(&b).rank().saturating_sub(1));
    let a = centred(cx, &a, zero_a, rows)?;
    let b = centred(cx, &b, zero_b, columns)?;
    gemm::product(cx, &a, &b)
}

pub(super) fn matmul_integer(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let zeros = [cx.optional(2), cx.optional(3)];
    let sums = multiplied(cx, [a, b], zeros)?;
    Ok(vec![cast(cx, &sums, I32)?])
}

/// Sums as the codes of a result: `channel` is the axis of scales that are not one number, counted from the end.
pub(super) fn requantized(
    cx: &mut Cx<'_, '_, '_>,
    sums: &Val,
    scales: [Val; 3],
    zero: Option<Val>,
    channel: usize,
) -> Handled<Val> {
    let [a, b, y] = scales;
    for scale in [&a, &b, &y] {
        cx.same_for_all(scale, "scale")?;
    }
    let both = cx.apply(Binary::Mul, &[&a, &b])?;
    let factor = cx.apply(Binary::Div, &[&both, &y])?;
    let axis = cx.ty(sums).rank().saturating_sub(channel);
    let factor = along(cx, sums, &factor, axis)?;
    let to = zero.as_ref().map_or(DType::Int(IntType::unsigned(8)), |z| z.dtype);
    let zero = match zero {
        Some(zero) => {
            let zero = cast(cx, &zero, DType::F32)?;
            along(cx, sums, &zero, axis)?
        }
        None => number(0.0),
    };
    let sums = cast(cx, sums, DType::F32)?;
    let scaled = cx.apply(Binary::Mul, &[&sums, &factor])?;
    quantized(cx, [&scaled, &number(1.0), &zero], to)
}

pub(super) fn qlinear_conv(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, w) = (cx.input(0)?, cx.input(3)?);
    let scales = [cx.input(1)?, cx.input(4)?, cx.input(6)?];
    let (zeros, zero_y, bias) = ([cx.optional(2), cx.optional(5)], cx.optional(7), cx.optional(8));
    let (sums, spatial) = convolved(cx, [x, w], zeros, bias)?;
    Ok(vec![requantized(cx, &sums, scales, zero_y, spatial + 1)?])
}

pub(super) fn qlinear_matmul(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = (cx.input(0)?, cx.input(3)?);
    let scales = [cx.input(1)?, cx.input(4)?, cx.input(6)?];
    let (zeros, zero_y) = ([cx.optional(2), cx.optional(5)], cx.optional(7));
    let sums = multiplied(cx, [a, b], zeros)?;
    Ok(vec![requantized(cx, &sums, scales, zero_y, 1)?])
}
