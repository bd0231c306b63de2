//! Quantizers of weights and activations. They come into the graph as typed values: integer codes, scale, zero point.

use toml::{Table, Value};
use unfloat_ir::ops::{Dequantize, Quantize, QuantizeOrder};
use unfloat_ir::{ElemType, Overflow, Rounding, Tensor, TensorType, ValueId};

use crate::pytorch::arch::cx::{Cx, Handled};

/// Most digits behind the binary point.
const MAX_FRAC: i64 = 30;

/// `Int8Float(frac)`: `clamp(round(x · 2^frac), −128, 127) / 2^frac`, ties to even.
fn int8_float(frac: Option<i64>) -> Handled<(Quantize, f32)> {
    let frac = frac.unwrap_or(0);
    if !(0..=MAX_FRAC).contains(&frac) {
        return Err(format!("`frac`: expected 0 to {MAX_FRAC}, found {frac}"));
    }
    let quantize = Quantize {
        to: ElemType::signed(8),
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    };
    Ok((quantize, (-frac as f32).exp2()))
}

/// An activation that is a quantizer.
pub(in super::super) fn activation(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let (quantize, scale) = int8_float(cx.int("frac")?)?;
    let (scale, zero) = (cx.scalar("scale", scale), cx.scalar("zero_point", 0.0));
    let codes = cx.apply(quantize, &[x, scale, zero])?;
    cx.apply(Dequantize, &[codes, scale, zero])
}

/// A weight as a constant, or, with a `weight_quantizer`, as codes behind a `dequantize`.
pub(super) fn weight(cx: &mut Cx<'_>, weight: Tensor) -> Handled<ValueId> {
    let values = cx.floats("weight", &weight)?;
    let quantizer = match cx.parameter("weight_quantizer") {
        None => return Ok(cx.constant("weight", weight)),
        Some(Value::Table(table)) => table.clone(),
        Some(other) => {
            return Err(format!("`weight_quantizer`: expected {{ kind = \"Int8Float\", frac = 5 }}, found {other}"));
        }
    };
    let (quantize, scale) = of_table(quantizer)?;
    let codes = values.iter().map(|&v| quantize.apply(v, scale, 0.0));
    let ty = TensorType::new(quantize.to.clone(), weight.ty.shape.clone(), weight.ty.layout);
    let codes = cx.constant("weight", Tensor::codes(ty, codes));
    let (scale, zero) = (cx.scalar("weight.scale", scale), cx.scalar("weight.zero_point", 0.0));
    cx.apply(Dequantize, &[codes, scale, zero])
}

fn of_table(mut table: Table) -> Handled<(Quantize, f32)> {
    let kind = table.remove("kind");
    let frac = table.remove("frac");
    if let Some(field) = table.keys().next() {
        return Err(format!("`weight_quantizer` has no field `{field}`"));
    }
    match (kind.as_ref().and_then(Value::as_str), frac) {
        (Some("Int8Float"), None) => int8_float(None),
        (Some("Int8Float"), Some(Value::Integer(frac))) => int8_float(Some(frac)),
        (Some("Int8Float"), Some(other)) => Err(format!("`frac`: expected a whole number, found {other}")),
        (other, _) => Err(format!("`weight_quantizer`: the kind {other:?} is unknown; Int8Float is known")),
    }
}
