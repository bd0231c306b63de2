//! Constants in both dialects: floats, and codes behind a `dequantize`.
//!
//! What is written means the same numbers, and gives the same codes when it is read:
//!
//! * QCDQ holds codes. Weights of 7 bits are `int8`, and wider ones of 8 bits are `uint8` with the zero point 128: on x86
//!   processors without VNNI, onnxruntime adds pairs of `uint8` × `int8` products in 16 bits, which saturate, while its
//!   product of `uint8` and `uint8` is exact. All else (biases, weights of 16 bits) is `int32` without a zero point. A
//!   scale of each element, as powers of two have, becomes a factor of the codes.
//! * QONNX holds floats, and a `Quant` behind them: refused where that would not give back every code in single
//!   precision.

use super::Dialect;
use super::writer::{INT8, INT32, Refusal, Result, UINT8, Writer, flag, int, text};
use unfloat_ir::ops::{Quantize, QuantizeOrder};
use unfloat_ir::{Data, ElemType, IntType, Layout, Op, Overflow, Rounding, Tensor, ValueId};

/// Codes whose products with 8 bits add up to 16 bits in pairs.
const SAFE: std::ops::RangeInclusive<i64> = -64..=63;

/// A constant behind a `dequantize`, scale and zero point with as many axes as the codes.
struct Codes {
    ty: ElemType,
    dims: Vec<usize>,
    codes: Vec<i64>,
    scale: Param,
    zero: Param,
}

/// A parameter of a quantizer: numbers that broadcast to the codes.
pub(super) struct Param {
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Param {
    /// A constant with leading axes of extent 1, and axis `i` taken from axis `perm[i]`; one number if all are equal.
    pub fn of(tensor: &Tensor, rank: usize, perm: Option<&[usize]>) -> Option<Param> {
        let tensor = raised(tensor, rank, perm);
        let values: Vec<f32> = match tensor.as_f32() {
            Some(v) => v.to_vec(),
            None => {
                (0..tensor.len()).map(|i| tensor.data.code(i).map(|c| c as f32)).collect::<Option<_>>()?
            }
        };
        let first = *values.first()?;
        if values.iter().all(|v| v.to_bits() == first.to_bits()) {
            return Some(Param { dims: vec![1; rank], values: vec![first] });
        }
        Some(Param { dims: tensor.shape().to_vec(), values })
    }
    /// The values, if there is one for all, or the axis along which they differ.
    pub fn axis(&self) -> Result<Option<usize>> {
        let wide: Vec<usize> = (0..self.dims.len()).filter(|&a| self.dims[a] != 1).collect();
        match wide[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err("its scale or zero point differs along several axes".into()),
        }
    }
    pub fn values(&self) -> &[f32] {
        &self.values
    }
    pub fn is_zero(&self) -> bool {
        self.values.iter().all(|&v| v == 0.0)
    }
    pub fn map(&self, f: impl Fn(f32) -> f32) -> Param {
        Param { dims: self.dims.clone(), values: self.values.iter().map(|&v| f(v)).collect() }
    }
    /// Both parameters with as many entries: one is repeated if the other differs along an axis.
    pub fn alike(&self, other: &Param) -> Result<(Param, Param)> {
        let repeat = |p: &Param, like: &Param| Param {
            dims: like.dims.clone(),
            values: if p.values.len() == 1 { vec![p.values[0]; like.values.len()] } else { p.values.clone() },
        };
        match (self.values.len(), other.values.len()) {
            (1, _) => Ok((repeat(self, other), repeat(other, other))),
            (_, 1) => Ok((repeat(self, self), repeat(other, self))),
            _ if self.dims == other.dims => Ok((repeat(self, self), repeat(other, other))),
            _ => Err("its scale and its zero point differ along different axes".into()),
        }
    }
    /// For each element of an array of these extents, the entry that is its own.
    fn spread(&self, dims: &[usize]) -> Vec<f32> {
        let strides = unfloat_ir::Shape::new(self.dims.clone()).strides();
        let mut all = Vec::with_capacity(dims.iter().product());
        unfloat_ir::tensor::for_each_index(dims, |at| {
            let i: usize =
                (0..at.len()).map(|a| if self.dims[a] == 1 { 0 } else { at[a] * strides[a] }).sum();
            all.push(self.values[i]);
        });
        all
    }
    /// As an operand of `Quant`, with `lead` axes of extent 1 in front.
    pub fn operand(&self, w: &mut Writer, id: ValueId, what: &str, lead: usize) -> String {
        let dims = match self.values.len() {
            1 => vec![],
            _ => [vec![1; lead], self.dims.clone()].concat(),
        };
        w.floats(id, what, &dims, self.values.clone())
    }
}

/// A tensor with axes of extent 1 in front, up to `rank`, whose axes are then put in order.
fn raised(tensor: &Tensor, rank: usize, perm: Option<&[usize]>) -> Tensor {
    let dims = [vec![1; rank.saturating_sub(tensor.shape().rank())], tensor.shape().to_vec()].concat();
    let layout = Layout::anonymous(dims.len());
    let tensor = tensor.clone().reshaped(dims, layout);
    match perm {
        Some(perm) if perm.len() == tensor.shape().rank() => tensor.transposed(perm),
        _ => tensor,
    }
}

/// A constant, float or behind a `dequantize`. With `perm` it gets leading axes up to the length of that, and axis `i` is
/// taken from axis `perm[i]`.
pub(super) fn constant(w: &mut Writer, id: ValueId, perm: Option<&[usize]>) -> Result<String> {
    let key = (id, perm.map(<[usize]>::to_vec));
    if let Some(name) = w.constants.get(&key) {
        return Ok(name.clone());
    }
    let name = written(w, id, perm)?;
    w.constants.insert(key, name.clone());
    Ok(name)
}

fn written(w: &mut Writer, id: ValueId, perm: Option<&[usize]>) -> Result<String> {
    let rank = |t: &Tensor| perm.map_or(0, <[usize]>::len).max(t.shape().rank());
    if let Some(tensor) = w.graph.const_of(id) {
        let tensor = raised(tensor, rank(tensor), perm);
        let values = tensor.as_f32().ok_or("a constant of integers stands among floats")?.to_vec();
        return Ok(w.floats(id, "const", tensor.shape().dims(), values));
    }
    let node = w.graph.producer(id).map(|(_, n)| n).filter(|n| matches!(n.op, Op::Dequantize(_)));
    let known = |i: usize| node.and_then(|n| w.graph.const_of(*n.inputs.get(i)?));
    let (Some(q), Some(scale), Some(zero)) = (known(0), known(1), known(2)) else {
        let name = &w.graph.value(id).name;
        return Err(format!("`{name}` is computed, where a constant is expected").into());
    };
    let rank = rank(q);
    let codes = raised(q, rank, perm);
    let number = |t: &Tensor| {
        Param::of(t, rank, perm).ok_or_else(|| Refusal::from("a constant has no scale or no zero point"))
    };
    let (scale, zero) = (number(scale)?, number(zero)?);
    if zero.values.iter().any(|z| z.fract() != 0.0 || z.abs() > 16_777_216.0) {
        return Err("the zero point of a constant is no integer".into());
    }
    let all = (0..codes.len()).map(|i| codes.data.code(i)).collect::<Option<Vec<i64>>>();
    let codes = Codes {
        ty: codes.ty.elem.clone(),
        dims: codes.shape().to_vec(),
        codes: all.ok_or("a constant holds no integer codes")?,
        scale,
        zero,
    };
    match w.dialect {
        Dialect::Qcdq => qcdq(w, id, codes),
        Dialect::Qonnx => qonnx(w, id, &codes),
    }
}

/// The least and the greatest of some codes; 0 is among them.
fn range(codes: &[i64]) -> (i64, i64) {
    codes.iter().fold((0, 0), |(lo, hi), &c| (lo.min(c), hi.max(c)))
}

fn qcdq(w: &mut Writer, id: ValueId, mut c: Codes) -> Result<String> {
    if c.scale.axis().is_err() {
        regrid(&mut c)?;
    }
    let (lo, hi) = range(&c.codes);
    let (low, high) = c.zero.values.iter().fold((0, 0), |(l, h), &z| (l.min(z as i64), h.max(z as i64)));
    let within = |least: i64, most: i64| lo.min(low) >= least && hi.max(high) <= most;
    let (kind, offset) = match c.dims.len() {
        2.. if within(*SAFE.start(), *SAFE.end()) => (INT8, 0),
        2.. if within(0, 255) => (UINT8, 0),
        2.. if within(-128, 127) => (UINT8, 128),
        _ => {
            let zeros = c.zero.spread(&c.dims);
            c.codes.iter_mut().zip(zeros).for_each(|(code, z)| *code -= z as i64);
            c.zero = Param { dims: vec![1; c.dims.len()], values: vec![0.0] };
            let (lo, hi) = range(&c.codes);
            if lo < i32::MIN.into() || hi > i32::MAX.into() {
                return Err("a constant has codes of more than 32 bits".into());
            }
            (INT32, 0)
        }
    };
    c.codes.iter_mut().for_each(|code| *code += offset);
    let (scale, zero) = c.scale.alike(&c.zero)?;
    let zeros: Vec<i64> = zero.values.iter().map(|&z| z as i64 + offset).collect();
    let along = scale.axis()?;
    let dims: Vec<usize> = along.map(|_| scale.values.len()).into_iter().collect();
    let mut inputs = vec![w.initializer(id, "codes", &c.dims, kind, &Data::I64(c.codes))];
    inputs.push(w.floats(id, "scale", &dims, scale.values));
    if zeros.iter().any(|&z| z != 0) {
        inputs.push(w.initializer(id, "zero", &dims, kind, &Data::I64(zeros)));
    }
    let out = w.graph.value(id).name.clone();
    let out = w.fresh(&out);
    w.push("DequantizeLinear", inputs, &out, along.map(|a| int("axis", a as i64)).into_iter().collect());
    Ok(out)
}

/// Codes with a scale for each entry of one axis, the first, in the place of codes whose scales differ in other ways: the
/// least scale is the unit, and the others are factors of the codes.
fn regrid(c: &mut Codes) -> Result {
    let refuse = || Refusal::from("the scales of a constant differ along several axes and are no multiples");
    if !c.zero.is_zero() {
        return Err(refuse());
    }
    let rows = c.dims.first().copied().unwrap_or(1);
    let row = (c.codes.len() / rows.max(1)).max(1);
    let scales = c.scale.spread(&c.dims);
    let mut units = Vec::with_capacity(rows);
    for (codes, scales) in c.codes.chunks_mut(row).zip(scales.chunks(row)) {
        let used = codes.iter().zip(scales).filter(|(c, _)| **c != 0).map(|(_, s)| s.abs());
        let unit = used.fold(f32::INFINITY, f32::min);
        let unit = if unit.is_finite() && unit > 0.0 { unit } else { 1.0 };
        for (code, scale) in codes.iter_mut().zip(scales) {
            let factor = if *code == 0 { 0.0 } else { f64::from(*scale) / f64::from(unit) };
            let fits = factor.fract() == 0.0 && factor.abs() <= f64::from(1 << 20);
            *code = fits.then(|| code.checked_mul(factor as i64)).flatten().ok_or_else(refuse)?;
            // Beyond this, codes and products of single precision are not the same.
            if code.abs() > 1 << 24 {
                return Err(refuse());
            }
        }
        units.push(unit);
    }
    let mut dims = vec![1; c.dims.len()];
    dims[0] = units.len();
    c.scale = Param { dims, values: units };
    c.ty = ElemType::signed(32);
    Ok(())
}

fn qonnx(w: &mut Writer, id: ValueId, c: &Codes) -> Result<String> {
    let bipolar = c.ty == ElemType::Bipolar;
    let (lo, hi) = c.ty.code_range().ok_or("a constant holds no integer codes")?;
    let mut ty = IntType::covering(lo, hi);
    if ty.signed && ty.width == 1 {
        // QONNX's signed quantizer of 1 bit gives −1 and 1.
        ty.width = 2;
    }
    if ty.width > 32 || (bipolar && !c.zero.is_zero()) {
        return Err(format!("QONNX has no constant of type {} with this zero point", c.ty).into());
    }
    // No number is a code times 0: those of such a channel are 0, with any scale.
    let scale = c.scale.map(|s| if s == 0.0 { 1.0 } else { s });
    let op = Quantize {
        to: ElemType::Int(ty),
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    };
    let parts = c.scale.spread(&c.dims).into_iter().zip(scale.spread(&c.dims)).zip(c.zero.spread(&c.dims));
    let mut values = Vec::with_capacity(c.codes.len());
    for (&code, ((own, scale), zero)) in c.codes.iter().zip(parts) {
        let value = (code as f64 - f64::from(zero)) as f32 * own;
        if !bipolar && op.apply(value, scale, zero) != code {
            return Err(format!("QONNX cannot hold the code {code} of a constant in single precision").into());
        }
        values.push(value);
    }
    let x = w.floats(id, "float", &c.dims, values);
    let scale = scale.operand(w, id, "scale", 0);
    let out = w.graph.value(id).name.clone();
    let out = w.fresh(&out);
    if bipolar {
        w.push("BipolarQuant", vec![x, scale], &out, vec![]);
        return Ok(out);
    }
    let zero = c.zero.operand(w, id, "zero", 0);
    let bits = w.number(id, "bits", f32::from(ty.width));
    let attrs = vec![flag("signed", ty.signed), flag("narrow", false), text("rounding_mode", "ROUND")];
    w.push("Quant", vec![x, scale, zero, bits], &out, attrs);
    Ok(out)
}
