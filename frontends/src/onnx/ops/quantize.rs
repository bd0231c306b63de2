//! QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and what they share with the integer operators.
//!
//! Quantizers stay what they are: codes of an integer type, a scale and a zero point. A `Clip` behind a quantizer that
//! leaves the codes of fewer bits, as QCDQ exports write it, makes the quantizer one of so many bits; so does one that
//! looks at the codes through a cast to a wider type.

use unfloat_ir::ops::{Binary, Cast, Dequantize, Expand, Quantize, QuantizeOrder, Reduce, ReduceFn, Unary};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding};

use super::binary::cast;
use crate::onnx::cx::{Cx, sizes};
use crate::onnx::dtype::DType;
use crate::onnx::lower::tensor_of;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// One number as a float.
pub(super) fn number(value: f64) -> Val {
    Val::constant(tensor_of(DType::F32, &[], [value]), DType::F32)
}

/// A scale or zero point as it broadcasts to `x`: one number, one per entry of `axis`, or one per block.
fn spread(cx: &mut Cx<'_, '_, '_>, x: &Val, parameter: &Val, axis: i64, block: usize) -> Handled<Val> {
    cx.same_for_all(parameter, "scale or zero point")?;
    let shape = cx.ty(parameter).shape.to_vec();
    if shape.iter().all(|&n| n == 1) && block == 0 {
        return cx.reshape(parameter, &[], Layout::anonymous(0));
    }
    if shape.len() == 1 && block == 0 {
        let axis = cx.axis(x, axis)?;
        let mut dims = vec![1; cx.ty(x).rank()];
        dims[axis] = shape[0];
        return cx.reshape(parameter, &dims, Layout::anonymous(dims.len()));
    }
    if block == 0 || shape.len() != cx.rank(x) {
        return Err(format!("scales of shape {shape:?} for {} axes", cx.rank(x)).into());
    }
    let parameter = if cx.lead(x) == 1 { cx.without_batch(parameter)? } else { parameter.clone() };
    let axis = cx.axis(x, axis)?;
    let cells = cx.ty(x).shape[axis];
    // Each entry stands for `block` cells; the last block may be cut short.
    let dims = cx.ty(&parameter).shape.to_vec();
    let mut column = dims.clone();
    column.insert(axis + 1, 1);
    let mut wide = column.clone();
    wide[axis + 1] = block;
    let mut flat = dims.clone();
    flat[axis] = dims[axis].saturating_mul(block);
    let y = cx.reshape(&parameter, &column, Layout::anonymous(column.len()))?;
    let y = cx.apply(Expand { shape: wide.into() }, &[&y])?;
    let y = cx.reshape(&y, &flat, Layout::anonymous(flat.len()))?;
    if flat[axis] < cells {
        return Err(format!("{} blocks of {block} for {cells} cells", dims[axis]).into());
    }
    cx.narrow(&y, axis, 0, cells)
}

fn block(cx: &mut Cx<'_, '_, '_>) -> Handled<usize> {
    Ok(sizes(&[cx.int_or("block_size", 0)?], "attribute `block_size`")?[0])
}

pub(super) fn quantize_linear(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    cx.ignore(&["saturate", "precision"]);
    let (axis, block) = (cx.int_or("axis", 1)?, block(cx)?);
    let said = match cx.int_or("output_dtype", 0)? {
        0 => None,
        code => Some(DType::from_code(i32::try_from(code).unwrap_or(-1)).map_err(|e| format!("makes {e}"))?),
    };
    let to = zero.as_ref().map(|z| z.dtype).or(said).unwrap_or(DType::Int(IntType::unsigned(8)));
    if !matches!(to, DType::Int(_)) {
        return Err(format!("makes {to}; expected integers").into());
    }
    let x = cast(cx, &x, DType::F32)?;
    let scale = spread(cx, &x, &scale, axis, block)?;
    let zero = match zero {
        Some(zero) => {
            let zero = cast(cx, &zero, DType::F32)?;
            spread(cx, &x, &zero, axis, block)?
        }
        None => number(0.0),
    };
    Ok(vec![quantized(cx, [&x, &scale, &zero], to)?])
}

/// ONNX' quantizer: rounded half to even, then the zero point, then saturated.
pub(super) fn quantized(cx: &mut Cx<'_, '_, '_>, operands: [&Val; 3], to: DType) -> Handled<Val> {
    let (overflow, order) = (Overflow::Saturate, QuantizeOrder::RoundThenSaturate);
    let op = Quantize { to: to.elem(), narrow: false, rounding: Rounding::HalfEven, overflow, order };
    Ok(cx.apply(op, &operands)?.with_dtype(to))
}

pub(super) fn dequantize_linear(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    cx.ignore(&["output_dtype"]);
    let (axis, block) = (cx.int_or("axis", 1)?, block(cx)?);
    // What `clipped_codes` widened for the model's sake is a code of fewer bits.
    let x = cx.before_cast(&x).unwrap_or(x);
    let dtype = scale.dtype;
    let scale = spread(cx, &x, &scale, axis, block)?;
    let zero = match zero {
        Some(zero) => spread(cx, &x, &zero, axis, block)?,
        None => number(0.0),
    };
    Ok(vec![cx.dequantized(&x, &scale, &zero)?.with_dtype(dtype)])
}

/// A `Clip` of the codes of a quantizer: the same quantizer with as many codes as are left, if some width has them.
pub(super) fn clipped_codes(
    cx: &mut Cx<'_, '_, '_>,
    x: &Val,
    bounds: &[Option<Val>; 2],
) -> Handled<Option<Val>> {
    if !matches!(x.dtype, DType::Int(_)) {
        return Ok(None);
    }
    let dtype = x.dtype;
    let x = &cx.before_cast(x).unwrap_or_else(|| x.clone());
    let DType::Int(int) = x.dtype else { return Ok(None) };
    let bound = |b: &Option<Val>, open: i64| match b {
        None => Some(open),
        Some(b) => b.known().filter(|t| t.len() == 1).and_then(|t| t.data.code(0)),
    };
    let (Some(lo), Some(hi)) = (bound(&bounds[0], int.min()), bound(&bounds[1], int.max())) else {
        return Ok(None);
    };
    let (lo, hi) = (lo.max(int.min()), hi.min(int.max()));
    let Some((op, operands)) = cx.quantizer(x) else { return Ok(None) };
    if op.narrow || op.order != QuantizeOrder::RoundThenSaturate || lo >= hi {
        return Ok(None);
    }
    let fits = |width: u8| {
        let own = IntType { signed: int.signed, width };
        let narrow = (lo, hi) != (own.min(), own.max());
        let narrowed = if own.signed { (own.min() + 1, own.max()) } else { (own.min(), own.max() - 1) };
        (!narrow || (lo, hi) == narrowed).then_some((own, narrow))
    };
    let Some((own, narrow)) = (1..=int.width).find_map(fits) else { return Ok(None) };
    let op = Quantize { to: ElemType::Int(own), narrow, ..op };
    let codes = cx.apply(op, &operands.iter().collect::<Vec<_>>())?;
    cast(cx, &codes, dtype).map(Some)
}

/// Quantizes to 8 bits by the range of the tensor itself.
pub(super) fn dynamic(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    if cx.lead(&x) == 1 {
        return Err(Fault::mixes("the range of all samples together sets the scale"));
    }
    let axes: Vec<usize> = (0..cx.ty(&x).rank()).collect();
    let extreme = |cx: &mut Cx<'_, '_, '_>, f, with| {
        let found = cx.apply(Reduce { f, axes: axes.clone(), keep: false }, &[&x])?;
        cx.apply(with, &[&found, &number(0.0)])
    };
    let most = extreme(cx, ReduceFn::Max, Binary::Max)?;
    let least = extreme(cx, ReduceFn::Min, Binary::Min)?;
    let span = cx.apply(Binary::Sub, &[&most, &least])?;
    let scale = cx.apply(Binary::Div, &[&span, &number(255.0)])?;
    let below = cx.apply(Binary::Div, &[&least, &scale])?;
    let zero = cx.apply(Unary::Neg, &[&below])?;
    let zero = cx.apply(Unary::Clip { lo: 0.0, hi: 255.0 }, &[&zero])?;
    let zero = cx.apply(Unary::Round, &[&zero])?;
    let to = DType::Int(IntType::unsigned(8));
    let y = quantized(cx, [&x, &scale, &zero], to)?;
    let zero = cast(cx, &zero, to)?;
    Ok(vec![y, scale, zero])
}

impl Cx<'_, '_, '_> {
    /// What stands in front of casts that change no integer.
    fn before_cast(&self, x: &Val) -> Option<Val> {
        let mut found = None;
        let mut at = x.clone();
        // The range that all casts so far keep.
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        while let Some((unfloat_ir::Op::Cast(Cast { to: ElemType::Int(to) }), operands)) = self.made_by(&at) {
            let Some(from) = operands.into_iter().next() else { break };
            (least, most) = (least.max(to.min()), most.min(to.max()));
            if let ElemType::Int(own) = self.ty(&from).elem
                && own.min() >= least
                && own.max() <= most
            {
                found = Some(from.clone());
            }
            at = from;
        }
        found
    }
    /// The quantizer that makes a value.
    fn quantizer(&self, x: &Val) -> Option<(Quantize, Vec<Val>)> {
        match self.made_by(x)? {
            (unfloat_ir::Op::Quantize(op), operands) => Some((op, operands)),
            _ => None,
        }
    }
    /// `(codes − zero) · scale`. Over known codes this stays a quantizer, and is a known value besides.
    pub(super) fn dequantized(&mut self, codes: &Val, scale: &Val, zero: &Val) -> Handled<Val> {
        match (codes.known(), scale.known(), zero.known()) {
            (Some(q), Some(s), Some(z)) => {
                let parts = [q.clone(), s.clone(), z.clone()];
                let value = self.apply(Dequantize, &[codes, scale, zero])?;
                Ok(value.with_codes(parts))
            }
            _ => self.apply(Dequantize, &[codes, scale, zero]),
        }
    }
}
