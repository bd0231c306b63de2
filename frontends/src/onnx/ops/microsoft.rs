//! onnxruntime's own operators on codes (the domain `com.microsoft`), as its quantizer writes them.
//!
//! QGemm sums integers exactly, as the operators of ONNX do. The others are the function of floats between a
//! `dequantize` and a `quantize`, which is how onnxruntime computes them, by tables of all codes or by element.

use unfloat_ir::ops::{Binary, Quantize, QuantizeOrder, Reduce, ReduceFn, Unary};
use unfloat_ir::{Overflow, Rounding};

use super::binary::cast;
use super::gemm;
use super::pool;
use super::qoperator::{along, centred, requantized};
use super::quantize::{number, quantized};
use crate::onnx::cx::{Cx, normal_axis};
use crate::onnx::dtype::DType;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// Codes with the scale and the zero point that stand behind them.
struct Coded {
    codes: Val,
    scale: Val,
    zero: Option<Val>,
}

/// The operand triple that begins at `at`: codes, one scale, one zero point.
fn coded(cx: &mut Cx<'_, '_, '_>, at: usize) -> Handled<Coded> {
    let (codes, scale, zero) = (cx.input(at)?, cx.input(at + 1)?, cx.optional(at + 2));
    for parameter in [Some(&scale), zero.as_ref()].into_iter().flatten() {
        if cx.ty(parameter).shape.num_elements() != 1 {
            return Err(Fault::from("expected one scale and one zero point for each operand"));
        }
    }
    Ok(Coded { codes, scale, zero })
}

/// Codes as numbers.
fn decoded(cx: &mut Cx<'_, '_, '_>, x: &Coded) -> Handled<Val> {
    let scale = along(cx, &x.codes, &x.scale, 0)?;
    let zero = match &x.zero {
        Some(zero) => along(cx, &x.codes, zero, 0)?,
        None => number(0.0),
    };
    cx.dequantized(&x.codes, &scale, &zero)
}

/// The scale and the zero point of the result `y`, operands `at` and `at + 1`, and the type of its codes.
fn target(cx: &mut Cx<'_, '_, '_>, y: &Val, at: usize, default: DType) -> Handled<(Val, Val, DType)> {
    let scale = cx.input(at)?;
    let scale = along(cx, y, &scale, 0)?;
    let Some(zero) = cx.optional(at + 1) else { return Ok((scale, number(0.0), default)) };
    let to = zero.dtype;
    let zero = cast(cx, &zero, DType::F32)?;
    Ok((scale, along(cx, y, &zero, 0)?, to))
}

/// Numbers as codes, with the scale and the zero point that are operands `at` and `at + 1`.
fn encoded(cx: &mut Cx<'_, '_, '_>, y: &Val, at: usize, default: DType) -> Handled<Val> {
    let (scale, zero, to) = target(cx, y, at, default)?;
    quantized(cx, [y, &scale, &zero], to)
}

/// QLinearAdd and QLinearMul.
pub(super) fn qlinear_binary(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let f = if cx.op() == "QLinearAdd" { Binary::Add } else { Binary::Mul };
    let (a, b) = (coded(cx, 0)?, coded(cx, 3)?);
    let to = a.codes.dtype;
    let (a, b) = (decoded(cx, &a)?, decoded(cx, &b)?);
    let both = cx.aligned(&[a, b])?;
    let y = cx.apply(f, &[&both[0], &both[1]])?;
    Ok(vec![encoded(cx, &y, 6, to)?])
}

/// QLinearLeakyRelu and QLinearSigmoid.
pub(super) fn qlinear_unary(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let f = match cx.op() {
        "QLinearLeakyRelu" => Unary::LeakyRelu { alpha: cx.float_or("alpha", 0.01)? },
        _ => Unary::Sigmoid,
    };
    let x = coded(cx, 0)?;
    let to = x.codes.dtype;
    let x = decoded(cx, &x)?;
    let y = cx.apply(f, &[&x])?;
    Ok(vec![encoded(cx, &y, 3, to)?])
}

/// QLinearAveragePool. Unlike the others it adds the zero point before it rounds.
pub(super) fn qlinear_average_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    channels_first(cx)?;
    let x = coded(cx, 0)?;
    let default = x.codes.dtype;
    let x = decoded(cx, &x)?;
    cx.replace_input(0, x);
    let y = pool::average_pool(cx)?;
    let y = y.first().ok_or_else(|| Fault::from("expected one result"))?;
    let (scale, zero, to) = target(cx, y, 3, default)?;
    let order = QuantizeOrder::ClampThenRound;
    let op = Quantize {
        to: to.elem(),
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order,
    };
    Ok(vec![cx.apply(op, &[y, &scale, &zero])?.with_dtype(to)])
}

/// QLinearGlobalAveragePool: the exact sum of an image's codes, scaled once.
pub(super) fn qlinear_global_average_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    channels_first(cx)?;
    let x = coded(cx, 0)?;
    let cells = pool::extents(cx, &x.codes)?.iter().fold(1usize, |product, &n| product.saturating_mul(n));
    let scales = [x.scale, number(1.0 / cells as f64), cx.input(3)?];
    let (zero, spatial) = (cx.optional(4), cx.rank(&x.codes) - 2);
    let codes = centred(cx, &x.codes, x.zero, 0)?;
    let rank = cx.ty(&codes).rank();
    let wide = cast(cx, &codes, DType::I64)?;
    let sums =
        cx.apply(Reduce { f: ReduceFn::Sum, axes: (rank - spatial..rank).collect(), keep: true }, &[&wide])?;
    Ok(vec![requantized(cx, &sums, scales, zero, spatial + 1)?])
}

/// Refuses onnxruntime's other layout.
fn channels_first(cx: &mut Cx<'_, '_, '_>) -> Handled<()> {
    match cx.flag("channels_last", false)? {
        true => Err(Fault::from("attribute `channels_last`: expected 0, found 1")),
        false => Ok(()),
    }
}

/// QLinearConcat: scale and zero point of the result come first, then the operands.
pub(super) fn qlinear_concat(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let count = cx.all()?.len().saturating_sub(2) / 3;
    let axis = cx.int("axis")?.ok_or_else(|| Fault::from("attribute `axis` is missing"))?;
    let (mut parts, mut to) = (Vec::with_capacity(count), DType::F32);
    for i in 0..count {
        let x = coded(cx, 2 + 3 * i)?;
        to = x.codes.dtype;
        let x = decoded(cx, &x)?;
        parts.push(encoded(cx, &x, 0, to)?);
    }
    let first = parts.first().ok_or_else(|| Fault::from("has no operands"))?;
    let lead = cx.lead(first);
    let axis = normal_axis(axis, cx.rank(first))?.checked_sub(lead);
    let axis = axis.ok_or_else(|| Fault::mixes("it lengthens the batch"))?;
    Ok(vec![cx.concat(&parts, axis)?.with_dtype(to)])
}

/// QGemm: `alpha · A · B + C` on codes; C is counted in the product of the operands' scales.
pub(super) fn qgemm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = (cx.input(0)?, cx.input(3)?);
    let alpha = cx.float_or("alpha", 1.0)?;
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    if trans_a || cx.rank(&a) != 2 || cx.rank(&b) != 2 {
        return Err(Fault::from("expected two matrices, the first one not transposed"));
    }
    cx.same_for_all(&b, "second matrix")?;
    let b = if trans_b { cx.transpose(&b, &[1, 0])? } else { b };
    let (zero_a, zero_b) = (cx.optional(2), cx.optional(5));
    let rows = cx.ty(&a).rank().saturating_sub(2);
    let (a, b) = (centred(cx, &a, zero_a, rows)?, centred(cx, &b, zero_b, 1)?);
    let mut sums = gemm::product(cx, &a, &b)?;
    if let Some(bias) = cx.optional(6) {
        let both = [cast(cx, &sums, DType::I64)?, cast(cx, &bias, DType::I64)?];
        let both = cx.aligned(&both)?;
        sums = cx.apply(Binary::Add, &[&both[0], &both[1]])?;
    }
    let scale = cx.input(1)?;
    let scale =
        if alpha == 1.0 { scale } else { cx.apply(Binary::Mul, &[&scale, &number(f64::from(alpha))])? };
    let zero = cx.optional(8);
    if let Some(out) = cx.optional(7) {
        let scales = [scale, cx.input(4)?, out];
        return Ok(vec![requantized(cx, &sums, scales, zero, 1)?]);
    }
    let other = cx.input(4)?;
    let factor = cx.apply(Binary::Mul, &[&scale, &other])?;
    let axis = cx.ty(&sums).rank().saturating_sub(1);
    let factor = along(cx, &sums, &factor, axis)?;
    let sums = cast(cx, &sums, DType::F32)?;
    Ok(vec![cx.apply(Binary::Mul, &[&sums, &factor])?])
}
