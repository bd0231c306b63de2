//! Functions of one element, PRelu, Clip, and the softmaxes.

use unfloat_ir::ops::{Binary, Softmax, Unary};
use unfloat_ir::{Layout, Tensor};

use crate::onnx::cx::{Cx, normal_axis};
use crate::onnx::problem::Handled;
use crate::onnx::value::Val;

/// The operators that are one function of one operand.
pub(super) fn unary(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["consumed_inputs"]);
    let old = cx.opset() < 6;
    let f = match cx.op() {
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu { alpha: cx.float_or("alpha", 0.01)? },
        "ThresholdedRelu" => Unary::ThresholdedRelu { theta: cx.float_or("alpha", 1.0)? },
        "Sigmoid" => Unary::Sigmoid,
        "HardSigmoid" => {
            Unary::HardSigmoid { alpha: cx.float_or("alpha", 0.2)?, beta: cx.float_or("beta", 0.5)? }
        }
        "HardSwish" => Unary::HardSwish,
        "Tanh" => Unary::Tanh,
        "Elu" => Unary::Elu { alpha: cx.float_or("alpha", 1.0)? },
        "Selu" => {
            // Opset 6 wrote the constants with more digits.
            let (alpha, gamma) = if old { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
            Unary::Selu { alpha: cx.float_or("alpha", alpha)?, scale: cx.float_or("gamma", gamma)? }
        }
        "Celu" => Unary::Celu { alpha: cx.float_or("alpha", 1.0)? },
        "Gelu" => match cx.word("approximate", "none", &["none", "tanh"])?.as_str() {
            "tanh" => Unary::GeluTanh,
            _ => Unary::Gelu,
        },
        "Mish" => Unary::Mish,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Abs" => Unary::Abs,
        "Neg" => Unary::Neg,
        "Erf" => Unary::Erf,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Sign" => Unary::Sign,
        "Shrink" => return shrink(cx, &x),
        other => return Err(format!("{other} is no function of one element").into()),
    };
    Ok(vec![cx.apply(f, &[&x])?])
}

fn shrink(cx: &mut Cx<'_, '_, '_>, x: &Val) -> Handled<Vec<Val>> {
    let (bias, lambda) = (cx.float_or("bias", 0.0)?, cx.float_or("lambd", 0.5)?);
    let f = if bias == 0.0 {
        Unary::HardShrink { lambda }
    } else if bias == lambda {
        Unary::SoftShrink { lambda }
    } else {
        return Err(format!("attribute `bias`: expected 0 or `lambd` ({lambda}), found {bias}").into());
    };
    Ok(vec![cx.apply(f, &[x])?])
}

/// Swish: `x · sigmoid(alpha · x)`.
pub(super) fn swish(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    if alpha == 1.0 {
        return Ok(vec![cx.apply(Unary::Silu, &[&x])?]);
    }
    let scaled = scaled(cx, &x, alpha)?;
    let gate = cx.apply(Unary::Sigmoid, &[&scaled])?;
    Ok(vec![cx.apply(Binary::Mul, &[&x, &gate])?])
}

/// `x` times a number.
pub(super) fn scaled(cx: &mut Cx<'_, '_, '_>, x: &Val, factor: f32) -> Handled<Val> {
    if factor == 1.0 {
        return Ok(x.clone());
    }
    let factor = Val::constant(Tensor::f32([], Layout::anonymous(0), vec![factor]), x.dtype);
    cx.apply(Binary::Mul, &[x, &factor])
}

pub(super) fn prelu(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, slope) = (cx.input(0)?, cx.input(1)?);
    cx.ignore(&["consumed_inputs"]);
    let (rank, shape) = (cx.rank(&x), cx.ty(&slope).shape);
    let per_channel = cx.opset() < 7 && shape.rank() == 1 && shape[0] != 1 && rank > 2;
    let slope = if per_channel {
        let mut dims = vec![shape[0]];
        dims.resize(rank - 1, 1);
        cx.same_for_all(&slope, "slope")?;
        cx.reshape(&slope, &dims, Layout::anonymous(rank - 1))?
    } else {
        slope
    };
    let both = cx.aligned(&[x, slope])?;
    Ok(vec![cx.apply(Binary::Prelu, &[&both[0], &both[1]])?])
}

/// Clip: the lower bound first, so that of contradicting bounds the upper one holds.
pub(super) fn clip(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["consumed_inputs"]);
    if cx.opset() < 11 {
        let (lo, hi) = (cx.float_or("min", f32::MIN)?, cx.float_or("max", f32::MAX)?);
        let lo = if lo == f32::MIN { f32::NEG_INFINITY } else { lo };
        let hi = if hi == f32::MAX { f32::INFINITY } else { hi };
        return bounded(cx, &x, lo, hi);
    }
    let bounds = [cx.optional(1), cx.optional(2)];
    if let Some(y) = super::quantize::clipped_codes(cx, &x, &bounds)? {
        return Ok(vec![y]);
    }
    let known = |b: &Option<Val>, default: f32| match b {
        None => Some(default),
        Some(b) => b.known().and_then(|t| t.as_f32()).and_then(|v| v.first().copied()),
    };
    match (known(&bounds[0], f32::NEG_INFINITY), known(&bounds[1], f32::INFINITY)) {
        (Some(lo), Some(hi)) if x.dtype.is_float() && !lo.is_nan() && !hi.is_nan() => bounded(cx, &x, lo, hi),
        _ => {
            let mut y = x;
            for (bound, f) in bounds.into_iter().zip([Binary::Max, Binary::Min]) {
                if let Some(bound) = bound {
                    let both = cx.aligned(&[y, bound])?;
                    y = cx.apply(f, &[&both[0], &both[1]])?;
                }
            }
            Ok(vec![y])
        }
    }
}

fn bounded(cx: &mut Cx<'_, '_, '_>, x: &Val, lo: f32, hi: f32) -> Handled<Vec<Val>> {
    let f = match (lo, hi) {
        (0.0, f32::INFINITY) => Unary::Relu,
        _ => Unary::Clip { lo: lo.min(hi), hi },
    };
    Ok(vec![cx.apply(f, &[x])?])
}

/// Softmax and LogSoftmax. Up to opset 12 all axes from `axis` on are one.
pub(super) fn softmax(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let log = cx.op() == "LogSoftmax";
    let axes = if cx.opset() < 13 {
        let axis = cx.int_or("axis", 1)?;
        let rank = cx.rank(&x);
        let first = if axis == rank as i64 { rank } else { normal_axis(axis, rank)? };
        (first..rank).map(|a| cx.axis(&x, a as i64)).collect::<Handled<Vec<usize>>>()?
    } else {
        let axis = cx.int_or("axis", -1)?;
        vec![cx.axis(&x, axis)?]
    };
    Ok(vec![cx.apply(Softmax { axes, log }, &[&x])?])
}
