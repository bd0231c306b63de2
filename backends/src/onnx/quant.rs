//! Quantizers of values in both dialects: a `quantize` with its `dequantize`.
//!
//! What is written gives the same codes: the order of rounding and adding the zero point differs between the dialects,
//! so it must be the dialect's own, or the zero point 0, where both orders are the same.
//!
//! QCDQ has codes of 8 bits, and from opset 21 on of 16; fewer are left by a `Clip`. Runtimes have no `Clip` of 16 bits, so
//! it stands between two `Cast`s. In files of opset 21, signed codes of 8 bits take that way as well: onnxruntime
//! then loses the type of `int8` codes when it moves quantizers (its releases differ in whether a zero point must be there
//! or must be missing).

use super::Dialect;
use super::constant::Param;
use super::writer::{Form, INT8, INT16, INT32, Refusal, Result, UINT8, UINT16, Writer};
use super::writer::{flag, int, order, place, text};
use unfloat_ir::ops::{Quantize, QuantizeOrder};
use unfloat_ir::{Data, ElemType, Node, Op, Overflow, Rounding, ValueId};

/// A pair under way: the float operand and form, scale and zero point of both nodes.
struct Pair<'a> {
    op: &'a Quantize,
    x: String,
    out: ValueId,
    form: Form,
    there: [Param; 2],
    back: [Param; 2],
}

/// The quantizer whose codes a value is.
pub(super) fn quantizer<'a>(w: &Writer<'a>, id: ValueId) -> Option<&'a Node> {
    w.graph.producer(id).map(|(_, n)| n).filter(|n| matches!(n.op, Op::Quantize(_)))
}

/// A `quantize` is written by each `dequantize` that reads it; nothing else may read it.
pub(super) fn codes(w: &Writer, node: &Node) -> Result {
    let mut readers = w.users[unfloat_ir::arena::Handle::index(node.output)].iter().map(|&n| w.graph.node(n));
    match readers.find(|n| !matches!(n.op, Op::Dequantize(_))) {
        Some(reader) => {
            let name = &w.graph.value(reader.output).name;
            Err(format!("`{name}` computes on its codes, which must be turned back to floats at once").into())
        }
        None if w.graph.is_output(node.output) => Err("the graph shows its codes, not floats".into()),
        None => Ok(()),
    }
}

/// A `quantize` with its `dequantize`.
pub(super) fn pair(w: &mut Writer, quantize: &Node, dequantize: &Node) -> Result {
    let Op::Quantize(op) = &quantize.op else { return Err("expected a quantizer".into()) };
    let id = quantize.inputs[0];
    let form = w.form_of(id);
    let x = w.want(id, form)?;
    let places = order(w.graph.ty(id), form);
    let param = |node: &Node, i: usize| {
        let tensor = node.inputs.get(i).and_then(|&v| w.graph.const_of(v));
        tensor
            .and_then(|t| Param::of(t, places.len(), Some(&places)))
            .ok_or_else(|| Refusal::from("its scale or zero point is computed"))
    };
    let there = [param(quantize, 1)?, param(quantize, 2)?];
    let back = [param(dequantize, 1)?, param(dequantize, 2)?];
    let pair = Pair { op, x, out: dequantize.output, form, there, back };
    match w.dialect {
        Dialect::Qcdq => qcdq(w, pair),
        Dialect::Qonnx if op.to == ElemType::Bipolar => bipolar(w, &pair),
        Dialect::Qonnx => qonnx(w, pair),
    }
}

/// The least float above 0.
const LEAST: f32 = f32::from_bits(1);

/// The sign whose codes a value is: thresholds of floats that give −1, 0 and 1, or −1 and 1 with 1 at 0.
pub(super) fn sign<'a>(w: &Writer<'a>, id: ValueId) -> Option<&'a Node> {
    let (_, node) = w.graph.producer(id)?;
    let Op::Threshold(op) = &node.op else { return None };
    let levels = w.graph.const_of(node.inputs[1])?.as_f32()?;
    let signs = match op.to {
        ElemType::Ternary => (op.scale, op.bias) == (1, -1) && levels == [0.0, LEAST],
        ElemType::Bipolar => (op.scale, op.bias) == (2, -1) && levels == [0.0],
        _ => false,
    };
    signs.then_some(node)
}

/// A sign with its `dequantize`: `Sign`, or in QONNX `BipolarQuant`.
pub(super) fn signs(w: &mut Writer, sign: &Node, dequantize: &Node) -> Result {
    let id = sign.inputs[0];
    let form = w.form_of(id);
    let x = w.want(id, form)?;
    let param = |i: usize| w.graph.const_of(dequantize.inputs[i]).and_then(|t| t.as_f32());
    let (scale, zero) = match (param(1), param(2)) {
        (Some([scale]), Some([zero])) => (*scale, *zero),
        _ => return Err("its scale or zero point is computed, or one per channel".into()),
    };
    let bits = w.graph.ty(sign.output).elem == ElemType::Bipolar;
    if zero != 0.0 || (!bits && scale != 1.0) {
        return Err("a sign of three values has the scale 1 and no zero point".into());
    }
    match (bits, w.dialect) {
        (false, _) => w.result("Sign", vec![x], dequantize.output, form, vec![]),
        (true, Dialect::Qonnx) => {
            let scale = w.number(dequantize.output, "scale", scale);
            w.result("BipolarQuant", vec![x, scale], dequantize.output, form, vec![]);
        }
        (true, Dialect::Qcdq) => return Err("QCDQ has no codes of type bipolar; QONNX has".into()),
    }
    Ok(())
}

fn saturates(op: &Quantize) -> Result {
    match op.overflow {
        Overflow::Saturate | Overflow::SaturateSymmetric => Ok(()),
        other => Err(format!("its overflow is `{other}`: only saturation can be said").into()),
    }
}

/// How codes are stored: the type with its range, and whether a `Clip` takes a wider one.
struct Storage {
    kind: i32,
    range: (i64, i64),
    wide: bool,
}

fn storage(w: &mut Writer, op: &Quantize) -> Result<Storage> {
    let ElemType::Int(ty) = op.to else {
        return Err(format!("QCDQ has no codes of type {}; QONNX has", op.to).into());
    };
    if ty.width > 16 {
        return Err(format!("QCDQ has no codes of type {ty}: 16 bits are the most; QONNX has").into());
    }
    if ty.width > 8 {
        w.need(21);
    }
    Ok(match (ty.signed, ty.width > 8) {
        (false, false) => Storage { kind: UINT8, range: (0, 255), wide: false },
        (true, false) if w.opset < 21 => Storage { kind: INT8, range: (-128, 127), wide: false },
        (true, _) => Storage { kind: INT16, range: (-32768, 32767), wide: true },
        (false, true) => Storage { kind: UINT16, range: (0, 65535), wide: true },
    })
}

fn qcdq(w: &mut Writer, pair: Pair) -> Result {
    let Pair { op, x, out, form, there: [scale, zero], back: [back, back_zero] } = pair;
    saturates(op)?;
    if op.rounding != Rounding::HalfEven {
        return Err(format!("QCDQ rounds half to even, not `{}`; QONNX does", op.rounding).into());
    }
    let Storage { kind, range, wide } = storage(w, op)?;
    let fits = |z: &f32| z.fract() == 0.0 && (range.0 as f32..=range.1 as f32).contains(z);
    if !zero.values().iter().chain(back_zero.values()).all(fits) {
        return Err("QCDQ has zero points that are codes only".into());
    }
    if op.order != QuantizeOrder::RoundThenSaturate && !zero.is_zero() {
        return Err("its zero point is added before the rounding, in QCDQ behind it".into());
    }
    let ty = w.graph.ty(out);
    let places = order(ty, form);
    let axis = |p: &Param| p.axis().map(|a| a.map(|a| place(ty, form, places[a])));
    let (scale, zero) = scale.alike(&zero)?;
    let (back, back_zero) = back.alike(&back_zero)?;
    let (there_axis, back_axis) = (axis(&scale)?, axis(&back)?);
    let operands = |w: &mut Writer, scale: &Param, zero: &Param, axis: Option<i64>| {
        let dims: Vec<usize> = axis.map(|_| scale.values().len()).into_iter().collect();
        let zeros = zero.values().iter().map(|&z| z as i64).collect();
        let s = w.floats(out, "scale", &dims, scale.values().to_vec());
        [s, w.initializer(out, "zero", &dims, kind, &Data::I64(zeros))]
    };
    let attrs = |axis: Option<i64>| axis.map(|a| int("axis", a)).into_iter().collect::<Vec<_>>();
    let [s, z] = operands(w, &scale, &zero, there_axis);
    let same =
        scale.values() == back.values() && zero.values() == back_zero.values() && there_axis == back_axis;
    let [bs, bz] = if same { [s.clone(), z.clone()] } else { operands(w, &back, &back_zero, back_axis) };
    let mut codes = w.name(out, "codes");
    w.push("QuantizeLinear", vec![x, s, z], &codes, attrs(there_axis));
    if op.bounds() != range {
        codes = clipped(w, out, codes, op.bounds(), kind, wide);
    }
    w.result("DequantizeLinear", vec![codes, bs, bz], out, form, attrs(back_axis));
    Ok(())
}

/// The codes of a narrower range.
fn clipped(w: &mut Writer, out: ValueId, codes: String, bounds: (i64, i64), kind: i32, wide: bool) -> String {
    let step = |w: &mut Writer, op: &str, inputs: Vec<String>, to: Option<i32>, what: &str| {
        let name = w.name(out, what);
        w.push(op, inputs, &name, to.map(|t| int("to", t.into())).into_iter().collect());
        name
    };
    let inner = if wide { INT32 } else { kind };
    let codes = if wide { step(w, "Cast", vec![codes], Some(INT32), "wide") } else { codes };
    let lo = w.initializer(out, "least", &[], inner, &Data::I64(vec![bounds.0]));
    let hi = w.initializer(out, "most", &[], inner, &Data::I64(vec![bounds.1]));
    let codes = step(w, "Clip", vec![codes, lo, hi], None, "clipped");
    if wide { step(w, "Cast", vec![codes], Some(kind), "narrow") } else { codes }
}

/// `BipolarQuant` looks at the sign of x alone.
fn bipolar(w: &mut Writer, pair: &Pair) -> Result {
    let [scale, zero] = &pair.there;
    if !scale.values().iter().all(|&s| s > 0.0) || !zero.is_zero() || !pair.back[1].is_zero() {
        return Err("a bipolar quantizer needs a scale above 0 and no zero point".into());
    }
    let scale = pair.back[0].operand(w, pair.out, "scale", 1);
    w.result("BipolarQuant", vec![pair.x.clone(), scale], pair.out, pair.form, vec![]);
    Ok(())
}

fn qonnx(w: &mut Writer, pair: Pair) -> Result {
    let Pair { op, mut x, out, form, there: [scale, zero], back: [back, back_zero] } = pair;
    let ElemType::Int(ty) = op.to else { return Err(format!("QONNX has no codes of type {}", op.to).into()) };
    saturates(op)?;
    if op.order != QuantizeOrder::ClampThenRound && !zero.is_zero() {
        return Err("its zero point is added behind the rounding, in QONNX before it; QCDQ has that".into());
    }
    if ty.width > 32 || (ty.signed && ty.width == 1) {
        return Err(format!("QONNX has no codes of type {ty}").into());
    }
    let mode = match op.rounding {
        Rounding::HalfEven => "ROUND",
        Rounding::HalfUp => "HALF_UP",
        Rounding::HalfDown => "HALF_DOWN",
        Rounding::Up => "UP",
        Rounding::Down => "DOWN",
        Rounding::Ceil => "CEIL",
        Rounding::Floor => "FLOOR",
        other => return Err(format!("QONNX has no rounding `{other}`").into()),
    };
    if zero.values() != back_zero.values() {
        return Err("its codes are turned back with another zero point, which QONNX cannot say".into());
    }
    if scale.values() != back.values() {
        // Only a factor that rounds nothing can stand in front.
        let (scale, back) = scale.alike(&back)?;
        let ratio: Vec<f32> = back.values().iter().zip(scale.values()).map(|(b, s)| b / s).collect();
        let power = |r: f32| r.is_normal() && r.to_bits().trailing_zeros() >= f32::MANTISSA_DIGITS - 1;
        let mut all = ratio.iter().zip(scale.values().iter().zip(back.values()));
        let all = all.all(|(&r, (&s, &b))| power(r) && s * r == b);
        if !all || !zero.is_zero() || ratio.windows(2).any(|r| r[0] != r[1]) {
            return Err("its codes are turned back with another scale, and not by a power of two".into());
        }
        let factor = w.number(out, "factor", ratio.first().copied().unwrap_or(1.0));
        let scaled = w.name(out, "scaled");
        w.push("Mul", vec![x, factor], &scaled, vec![]);
        x = scaled;
    }
    let narrow = op.narrow || (ty.signed && op.overflow == Overflow::SaturateSymmetric);
    let (scale, zero) = (back.operand(w, out, "scale", 1), zero.operand(w, out, "zero", 1));
    let bits = w.number(out, "bits", f32::from(ty.width));
    let attrs = vec![flag("signed", ty.signed), flag("narrow", narrow), text("rounding_mode", mode)];
    w.result("Quant", vec![x, scale, zero, bits], out, form, attrs);
    Ok(())
}
