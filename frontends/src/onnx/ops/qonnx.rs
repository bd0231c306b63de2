//! QONNX: Quant, BipolarQuant, Trunc, FloatQuant, MultiThreshold, QuantAvgPool2d, under every domain that users have.
//!
//! A quantizer is a `quantize` and a `dequantize`. Over a known weight it is computed at once, and the weight stays
//! codes with a scale.

use unfloat_ir::ops::{
    AvgPool, Binary, FloatOverflow, FloatQuant, Quantize, QuantizeOrder, Threshold, Unary, Window,
};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding};

use super::binary::cast;
use super::pool;
use super::quantize::number;
use crate::onnx::cx::{Cx, sizes};
use crate::onnx::dtype::DType;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// A rounding mode of QONNX.
fn rounding(cx: &mut Cx<'_, '_, '_>, default: &str) -> Handled<Rounding> {
    let name = cx.text("rounding_mode")?.unwrap_or_else(|| default.to_string());
    let words = "ROUND, HALF_EVEN, HALF_UP, HALF_DOWN, UP, DOWN, CEIL, FLOOR";
    Rounding::from_qonnx(&name)
        .ok_or_else(|| format!("attribute `rounding_mode`: expected {words}, found `{name}`").into())
}

/// A known operand of one number. Some exporters write widths and zero points as integers.
fn known_number(cx: &Cx<'_, '_, '_>, i: usize, what: &str) -> Handled<f32> {
    let found = cx.known_optional(i, what)?;
    let value = found.as_deref().filter(|t| t.len() == 1).and_then(|t| match t.as_f32() {
        Some(values) => values.first().copied(),
        None => t.data.code(0).map(|code| code as f32),
    });
    value.ok_or_else(|| format!("input {i}, the {what}: expected one number").into())
}

/// The value to quantize, its scale and its zero point, as floats that broadcast.
fn affine(cx: &mut Cx<'_, '_, '_>) -> Handled<[Val; 3]> {
    let mut all = Vec::with_capacity(3);
    for i in 0..3 {
        let operand = cx.input(i)?;
        all.push(if operand.dtype.is_float() { operand } else { cast(cx, &operand, DType::F32)? });
    }
    match <[Val; 3]>::try_from(cx.aligned(&all)?) {
        Ok(all) => Ok(all),
        Err(_) => Err("expected three operands".into()),
    }
}

/// A known operand of one number that counts bits.
fn bits(cx: &Cx<'_, '_, '_>, i: usize, what: &str) -> Handled<u8> {
    let value = known_number(cx, i, what)?;
    if value.fract() == 0.0 && (1.0..=32.0).contains(&value) {
        return Ok(value as u8);
    }
    Err(format!("input {i}, the {what}, is {value}: expected a whole number from 1 to 32").into())
}

/// Codes and the way back, with scale and zero point as they broadcast.
fn there_and_back(cx: &mut Cx<'_, '_, '_>, op: Quantize, there: [&Val; 3], back: [&Val; 2]) -> Handled<Val> {
    let codes = cx.apply(op, &there)?;
    cx.dequantized(&codes, back[0], back[1])
}

pub(super) fn quant(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let width = bits(cx, 3, "bit width")?;
    let (signed, narrow) = (cx.flag("signed", true)?, cx.flag("narrow", false)?);
    let rounding = rounding(cx, "ROUND")?;
    let all = affine(cx)?;
    let (overflow, order) = (Overflow::Saturate, QuantizeOrder::ClampThenRound);
    let op = match (signed, width) {
        // QONNX's executor takes the sign, whatever the other attributes say.
        (true, 1) => Quantize { to: ElemType::Bipolar, narrow: false, rounding, overflow, order },
        _ => Quantize { to: ElemType::Int(IntType { signed, width }), narrow, rounding, overflow, order },
    };
    Ok(vec![there_and_back(cx, op, [&all[0], &all[1], &all[2]], [&all[1], &all[2]])?])
}

/// The sign of `x` itself, times a scale.
pub(super) fn bipolar(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = [cx.input(0)?, cx.input(1)?];
    let all = cx.aligned(&all)?;
    let op = Quantize {
        to: ElemType::Bipolar,
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    };
    let (one, zero) = (number(1.0), number(0.0));
    Ok(vec![there_and_back(cx, op, [&all[0], &one, &zero], [&all[1], &zero])?])
}

/// `x / scale + zero`, rounded half to even: the integer that a `Trunc` takes bits off.
fn integer(cx: &mut Cx<'_, '_, '_>, x: &Val, scale: &Val, zero: &Val) -> Handled<Val> {
    let quotient = cx.apply(Binary::Div, &[x, scale])?;
    let sum = cx.apply(Binary::Add, &[&quotient, zero])?;
    cx.apply(Unary::Round, &[&sum])
}

pub(super) fn trunc(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = affine(cx)?;
    let [x, scale, zero] = [&all[0], &all[1], &all[2]];
    let rounding = rounding(cx, "FLOOR")?;
    let whole = integer(cx, x, scale, zero)?;
    let (overflow, order) = (Overflow::Saturate, QuantizeOrder::ClampThenRound);
    let (one, none) = (number(1.0), number(0.0));
    if cx.opset() < 2 {
        let (from, to) = (bits(cx, 3, "input bit width")?, bits(cx, 4, "output bit width")?);
        let dropped = from.checked_sub(to).ok_or_else(|| format!("takes {to} bits out of {from}"))?;
        let part = cx.apply(Binary::Div, &[&whole, &number(f64::from(dropped).exp2())])?;
        // The executor does not clamp; no code of 32 bits or fewer leaves this type.
        let op = Quantize { to: ElemType::signed(33), narrow: false, rounding, overflow, order };
        return Ok(vec![there_and_back(cx, op, [&part, &one, &none], [scale, zero])?]);
    }
    let (out_scale, to) = (known_number(cx, 4, "output scale")?, bits(cx, 5, "output bit width")?);
    let in_scale = known_number(cx, 1, "scale")?;
    let (signed, narrow) = (cx.flag("signed", true)?, cx.flag("narrow", false)?);
    let ratio = f64::from(out_scale / in_scale).log2() as f32;
    let factor = number(f64::from(ratio.round_ties_even()).exp2());
    let part = cx.apply(Binary::Div, &[&whole, &factor])?;
    let shifted = cx.apply(Binary::Div, &[zero, &factor])?;
    let int = IntType { signed, width: to };
    let op = Quantize { to: ElemType::Int(int), narrow, rounding, overflow, order };
    let back = number(f64::from(out_scale));
    Ok(vec![there_and_back(cx, op, [&part, &one, &none], [&back, &shifted])?])
}

pub(super) fn float_quant(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = [cx.input(0)?, cx.input(1)?];
    let all = cx.aligned(&all)?;
    let op = FloatQuant {
        exponent: known_number(cx, 2, "exponent's bit width")?,
        mantissa: known_number(cx, 3, "mantissa's bit width")?,
        bias: known_number(cx, 4, "exponent's bias")?,
        max: match cx.optional(5) {
            Some(_) => known_number(cx, 5, "greatest value")?,
            None => f32::INFINITY,
        },
        rounding: rounding(cx, "ROUND")?,
        overflow: overflow(cx)?,
    };
    // Subnormals are always on in QONNX's executor, whatever the flag says.
    cx.ignore(&["has_subnormal"]);
    Ok(vec![cx.apply(op, &[&all[0], &all[1]])?])
}

fn overflow(cx: &mut Cx<'_, '_, '_>) -> Handled<FloatOverflow> {
    let saturate = cx.flag("saturation", true)?;
    let (infinite, nan) = (cx.flag("has_inf", false)?, cx.flag("has_nan", false)?);
    Ok(match (saturate, infinite, nan) {
        (false, true, _) => FloatOverflow::Infinity,
        (false, false, true) => FloatOverflow::Nan,
        _ => FloatOverflow::Saturate,
    })
}

/// MultiThreshold: how many thresholds are reached, scaled and shifted.
pub(super) fn multi_threshold(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, thresholds) = (cx.input(0)?, cx.input(1)?);
    let (scale, bias) = (cx.float_or("out_scale", 1.0)?, cx.float_or("out_bias", 0.0)?);
    let layout = cx.text("data_layout")?.unwrap_or_default();
    // The type is what the numbers say; FINN writes it for its own use.
    cx.ignore(&["out_dtype"]);
    cx.same_for_all(&thresholds, "thresholds")?;
    // Without a layout the executor takes three axes as [batch, width, channels].
    let (rank, silent) = (cx.rank(&x), layout.is_empty());
    if silent && rank == 3 {
        cx.warn("has no `data_layout`: of three axes the last one is taken for the channels, as qonnx does");
    }
    let default = if silent && rank == 3 { 2 } else { 1 };
    let channel = layout.find('C').unwrap_or(default).min(rank.saturating_sub(1));
    let axis = cx.axis(&x, channel as i64)?;
    let most = cx.ty(&thresholds).shape.last().copied().unwrap_or(0);
    let whole = |v: f32| (v.fract() == 0.0 && v.abs() <= 1e6).then_some(v as i64);
    let (step, from, exact) = match (whole(scale), whole(bias)) {
        (Some(scale), Some(bias)) => (scale, bias, true),
        _ => (1, 0, false),
    };
    let last = i64::try_from(most).ok().and_then(|n| n.checked_mul(step)?.checked_add(from));
    let last = last.ok_or_else(|| format!("{most} thresholds"))?;
    let to = ElemType::Int(IntType::covering(from.min(last), from.max(last)));
    let codes = cx.apply(Threshold { axis, to, scale: step, bias: from }, &[&x, &thresholds])?;
    let mut y = cast(cx, &codes, DType::F32)?;
    if !exact {
        for (f, value) in [(Binary::Mul, scale), (Binary::Add, bias)] {
            y = cx.apply(f, &[&y, &number(f64::from(value))])?;
        }
    }
    Ok(vec![y])
}

/// QuantAvgPool2d: the sum over a window, its last bits taken off.
pub(super) fn quant_avg_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let number_of = |cx: &mut Cx<'_, '_, '_>, name: &'static str, default: i64| -> Handled<usize> {
        let value = cx.int_or(name, default)?;
        Ok(sizes(&[value], &format!("attribute `{name}`"))?[0])
    };
    let (kernel, stride) = (number_of(cx, "kernel", 1)?, number_of(cx, "stride", 1)?);
    let (from, to) = (number_of(cx, "ibits", 1)?, number_of(cx, "obits", 1)?);
    cx.ignore(&["signed"]);
    cx.word("data_layout", "NCHW", &["NCHW"])?;
    if !(1..=32).contains(&from) || pool::extents(cx, &x)?.len() != 2 || kernel == 0 || kernel > 1 << 10 {
        return Err(Fault::from("expected an image, a kernel, and 1 to 32 bits"));
    }
    let taps = (kernel * kernel) as u64;
    let most = ((1u64 << from) - 1) * taps;
    let width = u64::BITS - most.leading_zeros();
    let dropped = i32::try_from(i64::from(width) - to as i64).unwrap_or(0).max(0);
    let window = Window::new([kernel; 2]).strides([stride; 2]);
    let mean = cx.each_sample(&x, Layout::channels_first(2), |cx, x| {
        cx.apply(AvgPool { window: window.clone(), count_include_pad: false }, &[x])
    })?;
    let sum = cx.apply(Binary::Mul, &[&mean, &number(taps as f64)])?;
    let sum = cx.apply(Unary::Round, &[&sum])?;
    let part = cx.apply(Binary::Mul, &[&sum, &number(f64::from(-dropped).exp2())])?;
    Ok(vec![cx.apply(Unary::Floor, &[&part])?])
}
