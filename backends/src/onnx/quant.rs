//! Quantizers and quantized constants in both dialects.
//!
//! What is written gives the same codes: the order of rounding and adding the zero point differs between the dialects,
//! so it must be the dialect's own, or the zero point 0, where both orders are the same. Weights of QONNX are floats, and
//! are refused if their quantizer would not give back every code.

use super::Dialect;
use super::writer::{Form, INT8, INT16, INT32, UINT8, UINT16, Writer, int, order, text};
use unfloat_ir::ops::{Quantize, QuantizeOrder};
use unfloat_ir::{Data, ElemType, Node, Op, Overflow, Rounding, Tensor, ValueId};

/// One number of a constant whose elements are all equal.
fn scalar(w: &Writer, id: ValueId, what: &str) -> Result<f32, String> {
    let tensor = w.graph.const_of(id).ok_or_else(|| format!("its {what} is computed, not constant"))?;
    let code = |i| tensor.data.code(i).map(|c| c as f32);
    match (tensor.as_f32().and_then(|v| v.first().copied()).or_else(|| code(0)), tensor.len()) {
        (Some(value), 1) => Ok(value),
        _ => Err(format!("its {what} differs between channels, which only weights may have")),
    }
}

/// Whether a value is the codes of a quantizer, which its `dequantize` writes.
pub(super) fn quantizer<'a>(w: &Writer<'a>, id: ValueId) -> Option<&'a Node> {
    w.graph.producer(id).map(|(_, n)| n).filter(|n| matches!(n.op, Op::Quantize(_)))
}

/// A `quantize` with its `dequantize`.
pub(super) fn pair(w: &mut Writer, quantize: &Node, dequantize: &Node) -> Result<(), String> {
    let Op::Quantize(q) = &quantize.op else { return Err("expected a quantizer".into()) };
    let (scale, zero) =
        (scalar(w, quantize.inputs[1], "scale")?, scalar(w, quantize.inputs[2], "zero point")?);
    let back = scalar(w, dequantize.inputs[1], "scale")?;
    let back_zero = scalar(w, dequantize.inputs[2], "zero point")?;
    let form = w.form_of(quantize.inputs[0]);
    let x = w.want(quantize.inputs[0], form)?;
    let out = dequantize.output;
    if q.to == ElemType::Bipolar {
        if w.dialect == Dialect::Qcdq {
            return Err("QCDQ has no bipolar quantizer".into());
        }
        // `BipolarQuant` looks at the sign of x alone.
        if !(scale > 0.0 && zero == 0.0 && back_zero == 0.0) {
            return Err("a bipolar quantizer needs a scale above 0 and no zero point".into());
        }
        let scale = w.floats(out, &[], vec![back]);
        w.result("BipolarQuant", vec![x, scale], out, form, vec![]);
        return Ok(());
    }
    if scale.to_bits() != back.to_bits() || zero != back_zero {
        return Err("its codes are turned back with another scale or zero point".into());
    }
    if q.overflow != Overflow::Saturate {
        return Err(format!("overflow `{}` cannot be said: only saturation can", q.overflow));
    }
    match w.dialect {
        Dialect::Qcdq => qcdq(w, q, (scale, zero), x, out, form),
        Dialect::Qonnx => qonnx(w, q, (scale, zero), x, out, form),
    }
}

fn qcdq(
    w: &mut Writer,
    q: &Quantize,
    (scale, zero): (f32, f32),
    x: String,
    out: ValueId,
    form: Form,
) -> Result<(), String> {
    let ElemType::Int(ty) = q.to else { return Err(format!("QCDQ has no codes of type {}", q.to)) };
    let (lo, hi) = q.bounds();
    if q.rounding != Rounding::HalfEven {
        return Err(format!("QCDQ rounds half to even, not `{}`", q.rounding));
    }
    let (kind, least, most) = match (ty.signed, ty.width) {
        (true, ..=8) => (INT8, -128, 127),
        (false, ..=8) => (UINT8, 0, 255),
        (true, 9..=16) => (INT16, -32768, 32767),
        (false, 9..=16) => (UINT16, 0, 65535),
        _ => return Err(format!("QCDQ has activations of 16 bits at most, found {ty}")),
    };
    let whole = zero.fract() == 0.0 && (least as f32..=most as f32).contains(&zero);
    if !whole || (q.order != QuantizeOrder::RoundThenSaturate && zero != 0.0) {
        return Err(format!("QCDQ cannot say a zero point of {zero} that is added before rounding"));
    }
    if kind == INT16 || kind == UINT16 {
        // `Clip` takes no 16-bit codes in common runtimes.
        if (lo, hi) != (least, most) {
            return Err(format!(
                "QCDQ has no {ty} in {lo}..={hi}: only full 16-bit codes, or 8 bits and fewer"
            ));
        }
    }
    let scale = w.floats(out, &[], vec![scale]);
    let name = w.name(out, "zero");
    let zero = w.initializer(name, &[], kind, &Data::I64(vec![zero as i64]));
    let mut codes = w.name(out, "codes");
    w.push("QuantizeLinear", vec![x, scale.clone(), zero.clone()], &codes, vec![]);
    if (lo, hi) != (least, most) {
        let (a, b, to) = (w.name(out, "least"), w.name(out, "most"), w.name(out, "clipped"));
        let a = w.initializer(a, &[], kind, &Data::I64(vec![lo]));
        let b = w.initializer(b, &[], kind, &Data::I64(vec![hi]));
        w.push("Clip", vec![codes, a, b], &to, vec![]);
        codes = to;
    }
    w.result("DequantizeLinear", vec![codes, scale, zero], out, form, vec![]);
    Ok(())
}

fn qonnx(
    w: &mut Writer,
    q: &Quantize,
    (scale, zero): (f32, f32),
    x: String,
    out: ValueId,
    form: Form,
) -> Result<(), String> {
    let ElemType::Int(ty) = q.to else { return Err(format!("QONNX has no codes of type {}", q.to)) };
    if q.order != QuantizeOrder::ClampThenRound && zero != 0.0 {
        return Err(format!("QONNX cannot say a zero point of {zero} that is added behind rounding"));
    }
    if ty.width > 24 || (ty.signed && ty.width == 1) {
        return Err(format!("QONNX cannot say codes of type {ty} in single precision"));
    }
    let mode = match q.rounding {
        Rounding::HalfEven => "ROUND",
        Rounding::HalfUp => "HALF_UP",
        Rounding::HalfDown => "HALF_DOWN",
        Rounding::Up => "UP",
        Rounding::Down => "DOWN",
        Rounding::Ceil => "CEIL",
        Rounding::Floor => "FLOOR",
        other => return Err(format!("QONNX has no rounding `{other}`")),
    };
    let operands = [scale, zero, f32::from(ty.width)].map(|v| w.floats(out, &[], vec![v]));
    let inputs = std::iter::once(x).chain(operands).collect();
    w.result(
        "Quant",
        inputs,
        out,
        form,
        vec![int("signed", ty.signed.into()), int("narrow", q.narrow.into()), text("rounding_mode", mode)],
    );
    Ok(())
}

/// A constant, float or behind a `dequantize`, with axis `i` taken from axis `perm[i]`.
pub(super) fn constant(w: &mut Writer, id: ValueId, perm: Option<&[usize]>) -> Result<String, String> {
    let moved = |t: &Tensor| match perm {
        Some(perm) if t.shape().rank() == perm.len() => t.transposed(perm),
        _ => t.clone(),
    };
    if let Some(tensor) = w.graph.const_of(id) {
        let tensor = moved(tensor);
        return w.float_const(id, &tensor);
    }
    let node = w.graph.producer(id).map(|(_, n)| n).filter(|n| matches!(n.op, Op::Dequantize(_)));
    let parts = node.and_then(|n| Some((w.graph.const_of(n.inputs[0])?, w.graph.const_of(n.inputs[1])?, n)));
    let Some((codes, scale, node)) = parts else {
        return Err("its weights are computed, not constant".into());
    };
    if scalar(w, node.inputs[2], "zero point of its constant")? != 0.0 {
        return Err("the zero point of a constant must be 0".into());
    }
    let (codes, scale) = (moved(codes), moved(scale));
    match w.dialect {
        Dialect::Qcdq => constant_qcdq(w, id, &codes, &scale),
        Dialect::Qonnx => constant_qonnx(w, id, &codes, &scale),
    }
}

/// The axis along which a scale differs; nothing for a single one.
fn axis(codes: &Tensor, scale: &Tensor) -> Result<Option<usize>, String> {
    let lead = codes.shape().rank().saturating_sub(scale.shape().rank());
    let wide: Vec<usize> = (0..scale.shape().rank()).filter(|&a| scale.shape()[a] != 1).collect();
    match wide[..] {
        [] => Ok(None),
        [one] => Ok(Some(one + lead)),
        _ => Err("the scale of its constant differs along several axes".into()),
    }
}

fn constant_qcdq(w: &mut Writer, id: ValueId, codes: &Tensor, scale: &Tensor) -> Result<String, String> {
    let along = axis(codes, scale)?;
    let all = || (0..codes.len()).filter_map(|i| codes.data.code(i));
    let (lo, hi) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let kind = match (lo, hi) {
        (-128.., ..=127) if codes.shape().rank() > 1 => INT8,
        (-2147483648.., ..=2147483647) => INT32,
        _ => return Err("QCDQ has constants of 32 bits at most".into()),
    };
    let scales = scale.as_f32().ok_or("expected a scale of floats")?.to_vec();
    let name = w.name(id, "codes");
    let q = w.initializer(name, codes.shape().dims(), kind, &codes.data);
    let dims: Vec<usize> = along.map(|_| scales.len()).into_iter().collect();
    let s = w.floats(id, &dims, scales);
    let out = w.name(id, "const");
    w.push("DequantizeLinear", vec![q, s], &out, along.map(|a| int("axis", a as i64)).into_iter().collect());
    Ok(out)
}

fn constant_qonnx(w: &mut Writer, id: ValueId, codes: &Tensor, scale: &Tensor) -> Result<String, String> {
    let along = axis(codes, scale)?;
    let scales = scale.as_f32().ok_or("expected a scale of floats")?.to_vec();
    let strides = codes.shape().strides();
    let at = |i: usize| along.map_or(0, |a| i / strides[a] % codes.shape()[a]);
    let bipolar = codes.ty.elem == ElemType::Bipolar;
    let (lo, hi) = codes.ty.elem.code_range().ok_or("expected integer codes")?;
    let ty = unfloat_ir::IntType::covering(lo, hi);
    let mut values = Vec::with_capacity(codes.len());
    for i in 0..codes.len() {
        let (code, s) = (codes.data.code(i).ok_or("expected integer codes")?, scales[at(i)]);
        let value = code as f32 * s;
        // What the quantizer does in single precision must give the code back, also at the ends of its range.
        if !bipolar && (code.abs() >= 1 << 24 || (value / s).round_ties_even() != code as f32) {
            return Err(format!("QONNX cannot hold the code {code} of its constant in single precision"));
        }
        values.push(value);
    }
    let mut dims = vec![1; if along.is_some() { codes.shape().rank() } else { 0 }];
    if let Some(a) = along {
        dims[a] = scales.len();
    }
    let x = w.floats(id, codes.shape().dims(), values);
    let s = w.floats(id, &dims, scales);
    let out = w.name(id, "const");
    if bipolar {
        w.push("BipolarQuant", vec![x, s], &out, vec![]);
        return Ok(out);
    }
    let (zero, bits) = (w.floats(id, &[], vec![0.0]), w.floats(id, &[], vec![f32::from(ty.width)]));
    let attrs = vec![int("signed", ty.signed.into()), int("narrow", 0), text("rounding_mode", "ROUND")];
    w.push("Quant", vec![x, s, zero, bits], &out, attrs);
    Ok(out)
}

/// The permutation that a constant operand needs to stand beside a value in `form`.
pub(super) fn beside(w: &Writer, value: ValueId, form: Form) -> Vec<usize> {
    order(w.graph.ty(value), form)
}
