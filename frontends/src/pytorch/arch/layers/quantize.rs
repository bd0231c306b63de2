//! Quantizers that are layers: `BinarySign`, `Int8Float`, `FixedPoint`.
//!
//! | kind | computes |
//! |---|---|
//! | `Int8Float(frac)` | `clamp(round(x · 2^frac), −128, 127) · 2^−frac`, halves to even |
//! | `FixedPoint(bits, frac)` | the same with `bits` bits |
//! | `BinarySign(zero = 1)` | `+1` where `x ≥ 0`, else `−1` |
//! | `BinarySign(zero = −1)` | `+1` where `x > 0`, else `−1` |
//! | `BinarySign(zero = 0)` | torch's `sign`: 0 of 0 |
//!
//! Codes have no NaN: it becomes the lowest code, which is −1, the least number, or with `zero = −1`, whose codes are turned
//! round, +1. With `zero = 0` it stays NaN.
//!
//! Scales are powers of two, so that dividing by one and multiplying with its inverse are the same.

use unfloat_ir::ops::{Dequantize, Quantize, QuantizeOrder, Unary};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding, Tensor, ValueId};

use super::Layer;
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::Outcome;

/// A function of one element onto few values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Quantizer {
    /// A sign, and what it makes of 0.
    Sign { zero: i8 },
    /// Fixed point.
    Fixed { bits: u8, frac: u8 },
}

impl Quantizer {
    /// `BinarySign`. The tutorial leaves its body to the reader, so there is no default for 0.
    pub(super) fn sign(p: &mut Parameters<'_>) -> Self {
        let help = "1 for `x >= 0`, 0 for torch.sign, -1 for `x > 0`: what the module's forward gives for 0";
        let zero = match p.int("zero") {
            Some(zero @ -1..=1) => zero as i8,
            Some(other) => {
                p.fail_with(format!("`zero`: expected -1, 0 or 1, found {other}"), help);
                0
            }
            None => {
                p.fail_with("`zero`, the sign of 0, is missing", help);
                0
            }
        };
        Quantizer::Sign { zero }
    }

    /// `Int8Float`.
    pub(super) fn int8(p: &mut Parameters<'_>) -> Self {
        let frac = p.size("frac", 0).unwrap_or(0);
        if frac > 7 {
            p.fail(format!("`frac`: expected 0 to 7, found {frac}"));
        }
        Quantizer::Fixed { bits: 8, frac: frac.min(7) as u8 }
    }

    /// `FixedPoint`.
    pub(super) fn fixed(p: &mut Parameters<'_>) -> Self {
        let bits = p.needed_size("bits", 2);
        let frac = p.size("frac", 0).unwrap_or(0);
        // Codes beyond 24 bits are not exact in single precision, which the module computes in.
        if bits > 24 || frac > 64 {
            p.fail(format!("expected `bits` up to 24 and `frac` up to 64, found {bits} and {frac}"));
        }
        Quantizer::Fixed { bits: bits.min(24) as u8, frac: frac.min(64) as u8 }
    }

    /// What the codes are.
    pub(super) fn elem(self) -> ElemType {
        match self {
            Quantizer::Sign { zero: 0 } => ElemType::Ternary,
            Quantizer::Sign { .. } => ElemType::Bipolar,
            Quantizer::Fixed { bits, .. } => ElemType::Int(IntType::signed(bits)),
        }
    }

    /// What one code is worth.
    pub(super) fn scale(self) -> f32 {
        match self {
            Quantizer::Sign { .. } => 1.0,
            Quantizer::Fixed { frac, .. } => 2f32.powi(-i32::from(frac)),
        }
    }

    /// The code of a finite number.
    pub(super) fn code(self, x: f32) -> i64 {
        match self {
            Quantizer::Sign { zero } if x == 0.0 => i64::from(zero),
            Quantizer::Sign { .. } => i64::from(x > 0.0) - i64::from(x < 0.0),
            Quantizer::Fixed { bits, frac } => {
                let half = 1i64 << (bits - 1);
                let scaled = x * 2f32.powi(i32::from(frac));
                (scaled.round_ties_even() as i64).clamp(-half, half - 1)
            }
        }
    }

    /// The quantizer over a value of the graph.
    pub(super) fn apply(self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
        let scalar = |cx: &mut Cx<'_, '_>, what: &str, v: f32| {
            cx.constant(&format!("quantizer.{what}"), Tensor::f32([], Layout::anonymous(0), vec![v]))
        };
        let quantize = |to: ElemType| Quantize {
            to,
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::ClampThenRound,
        };
        match self {
            Quantizer::Sign { zero: 0 } => cx.node(Unary::Sign, &[x]),
            Quantizer::Sign { zero: 1 } | Quantizer::Fixed { .. } => {
                let (scale, zero) = (scalar(cx, "scale", self.scale()), scalar(cx, "zero", 0.0));
                let codes = cx.node(quantize(self.elem()), &[x, scale, zero])?;
                cx.node(Dequantize, &[codes, scale, zero])
            }
            // `x > 0` is not `−x ≥ 0`: both ends are turned round.
            Quantizer::Sign { .. } => {
                let (minus, zero) = (scalar(cx, "minus", -1.0), scalar(cx, "zero", 0.0));
                let codes = cx.node(quantize(ElemType::Bipolar), &[x, minus, zero])?;
                cx.node(Dequantize, &[codes, minus, zero])
            }
        }
    }
}

impl Layer for Quantizer {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        self.apply(cx, x)
    }
}

/// Reads a `BinarySign`.
pub(super) fn binary_sign(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Quantizer::sign(p))
}

/// Reads an `Int8Float`.
pub(super) fn int8_float(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Quantizer::int8(p))
}

/// Reads a `FixedPoint`.
pub(super) fn fixed_point(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Quantizer::fixed(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_torchs() {
        let q = Quantizer::Fixed { bits: 8, frac: 5 };
        let halves = [0.5, 1.5, 2.5, -0.5, -1.5].map(|h| h / 32.0);
        assert_eq!(halves.map(|x| q.code(x)), [0, 2, 2, 0, -2]);
        assert_eq!([100.0, -100.0, f32::MAX].map(|x| q.code(x)), [127, -128, 127]);
        assert_eq!([-1, 0, 1].map(|zero| Quantizer::Sign { zero }.code(-0.0)), [-1, 0, 1]);
        assert_eq!([2.0, -2.0].map(|x| Quantizer::Sign { zero: 1 }.code(x)), [1, -1]);
    }
}
