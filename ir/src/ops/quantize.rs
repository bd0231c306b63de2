//! Floats to integer codes: the quantizer of QONNX (`Quant`, `BipolarQuant`) and of ONNX (`QuantizeLinear`).
//!
//! Operands: `x`, a scale and a zero point, all `f32`; the latter two broadcast to `x`'s shape (per tensor, per axis,
//! per block). The result is `x`'s type with the element type `to`. Every step is rounded to single precision, as the
//! sources do.
//!
//! | order | code |
//! |---|---|
//! | `clamp_then_round` (QONNX) | `round(clamp(x / scale + zero, lo, hi))` |
//! | `round_then_saturate` (ONNX, `ap_fixed`) | `overflow(round(x / scale) + zero)`, the zero point an integer |
//! | `to` is `bipolar` | `+1` where `x / scale + zero ≥ 0`, else `−1` |
//!
//! `lo..=hi` is the range of `to`; `narrow` takes the lowest code off a signed type and the highest off an unsigned
//! one. `overflow` ([`Overflow`]) is `sat` unless said: the others are `ap_fixed`'s and come after the rounding, so they
//! go with `round_then_saturate` only. A NaN gives the lowest code; an infinity wraps to 0, as every large number does. A scale may be negative, a zero point no integer. [`super::Dequantize`] goes back.
//!
//! QONNX's signed 1-bit `Quant` is `bipolar`; its `BipolarQuant` too, with a scale of 1 here and its own in the
//! `Dequantize`, since it looks at the sign of `x` itself. `Trunc` is composed: `x / s + z`, rounded half to even,
//! times `2^−k`, all as floats, then a `Quantize` with scale 1, zero point 0 and the mode of the `Trunc`.

use super::{OpDef, OpError, all_float, arity, broadcast, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, Overflow, Rounding, TensorType};

/// What comes first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum QuantizeOrder {
    /// The zero point is added, then the sum is clamped, then rounded.
    ClampThenRound,
    /// The quotient is rounded, then the zero point is added, then the sum is clamped, or what else
    /// [`Quantize::overflow`] says.
    RoundThenSaturate,
}

/// Attributes of a quantizer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Quantize {
    /// The element type of the codes: an `Int`, or `Bipolar`.
    pub to: ElemType,
    /// Whether one code is left out.
    pub narrow: bool,
    /// How numbers between codes are rounded.
    pub rounding: Rounding,
    /// What becomes of numbers beyond the codes.
    pub overflow: Overflow,
    /// What comes first.
    pub order: QuantizeOrder,
}

impl Quantize {
    /// The least and the greatest code.
    pub fn bounds(&self) -> (i64, i64) {
        match &self.to {
            ElemType::Int(int) => self.overflow.bounds(*int, self.narrow),
            _ => (-1, 1),
        }
    }

    /// The code of one number.
    pub fn apply(&self, x: f32, scale: f32, zero: f32) -> i64 {
        let (lo, hi) = self.bounds();
        let ElemType::Int(int) = self.to else {
            return if x / scale + zero >= 0.0 { 1 } else { -1 };
        };
        match self.order {
            QuantizeOrder::ClampThenRound => {
                let v = x / scale + zero;
                // As comparisons: a NaN stays one.
                let v = if v > hi as f32 { hi as f32 } else { v };
                let v = if v < lo as f32 { lo as f32 } else { v };
                let rounded = self.rounding.apply(v);
                if rounded.is_nan() { lo } else { (rounded as i64).clamp(lo, hi) }
            }
            QuantizeOrder::RoundThenSaturate => {
                let (rounded, zero) = (self.rounding.apply(x / scale), zero.round_ties_even());
                if (rounded + zero).is_nan() {
                    return lo;
                }
                self.overflow.apply(integer(rounded) + integer(zero), int, self.narrow)
            }
        }
    }
}

/// A float without fraction as an integer. Those beyond 2^100 are cut to it: it has their sign, and like them ends in
/// zeros, so saturating and wrapping do the same with it; an infinity is such a number.
fn integer(v: f32) -> i128 {
    const MOST: f32 = (1i128 << 100) as f32;
    v.clamp(-MOST, MOST) as i128
}

impl OpDef for Quantize {
    const NAMES: &'static [&'static str] = &["quantize"];

    fn attrs(&self, to: &mut AttrWriter) {
        let order = match self.order {
            QuantizeOrder::ClampThenRound => "clamp_then_round",
            QuantizeOrder::RoundThenSaturate => "round_then_saturate",
        };
        to.word("to", &self.to).word("rounding", self.rounding).word("order", order);
        if self.overflow != Overflow::Saturate {
            to.word("overflow", self.overflow);
        }
        if self.narrow {
            to.bool("narrow", true);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self {
            to: from.elem("to")?,
            rounding: from.choice("rounding", &Rounding::names(), Rounding::from_name)?,
            overflow: if from.has("overflow") {
                from.choice("overflow", &Overflow::names(), Overflow::from_name)?
            } else {
                Overflow::Saturate
            },
            order: from.choice("order", "clamp_then_round or round_then_saturate", |word| match word {
                "clamp_then_round" => Some(QuantizeOrder::ClampThenRound),
                "round_then_saturate" => Some(QuantizeOrder::RoundThenSaturate),
                _ => None,
            })?,
            narrow: from.flag("narrow")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        all_float(inputs)?;
        broadcast::to_first(inputs)?;
        if self.order == QuantizeOrder::ClampThenRound && self.overflow != Overflow::Saturate {
            let overflow = self.overflow;
            return Err(
                format!("what is clamped saturates: {overflow} goes with round_then_saturate only").into()
            );
        }
        match &self.to {
            ElemType::Int(_) => {
                if let Some(fault) = self.overflow.fault(self.narrow) {
                    return Err(fault.into());
                }
            }
            ElemType::Bipolar if !self.narrow && self.order == QuantizeOrder::ClampThenRound => {}
            ElemType::Bipolar => {
                return Err("bipolar codes are never narrow, and come of clamp_then_round".into());
            }
            other => return Err(format!("codes are integers or bipolar, not {other}").into()),
        }
        Ok(inputs[0].with_elem(self.to.clone()))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let [x, scale, zero] = [floats(inputs, 0)?, floats(inputs, 1)?, floats(inputs, 2)?];
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(self.apply(x[at[0]], scale[at[1]], zero[at[2]])));
        Ok(Data::from_codes(&out.elem, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    fn qonnx(int: IntType, narrow: bool, rounding: Rounding) -> Quantize {
        let (overflow, order) = (Overflow::Saturate, QuantizeOrder::ClampThenRound);
        Quantize { to: ElemType::Int(int), narrow, rounding, overflow, order }
    }

    /// The table of modes, through the whole op and at every place of a 3-bit type.
    #[test]
    fn every_mode_at_every_tie() {
        let ties = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5];
        for (mode, want) in [
            (Rounding::HalfEven, [-2, -2, 0, 0, 2, 2]),
            (Rounding::HalfUp, [-3, -2, -1, 1, 2, 3]),
            (Rounding::HalfDown, [-2, -1, 0, 0, 1, 2]),
            (Rounding::Up, [-3, -2, -1, 1, 2, 3]),
            (Rounding::Down, [-2, -1, 0, 0, 1, 2]),
            (Rounding::Ceil, [-2, -1, 0, 1, 2, 3]),
            (Rounding::Floor, [-3, -2, -1, 0, 1, 2]),
        ] {
            let op = qonnx(IntType::signed(3), false, mode);
            assert_eq!(ties.map(|v| op.apply(v * 0.25, 0.25, 0.0)), want, "{mode}");
        }
        let trap = f32::from_bits(0.5f32.to_bits() - 1);
        assert_eq!(qonnx(IntType::signed(3), false, Rounding::HalfUp).apply(trap, 1.0, 0.0), 1);
        assert_eq!(qonnx(IntType::signed(3), false, Rounding::HalfEven).apply(trap, 1.0, 0.0), 0);
    }

    #[test]
    fn narrow_takes_the_bottom_or_the_top() {
        let ends = |int, narrow| {
            let op = qonnx(int, narrow, Rounding::HalfEven);
            [-1e9, 1e9, f32::NEG_INFINITY, f32::INFINITY].map(|x| op.apply(x, 1.0, 0.0))
        };
        assert_eq!(ends(IntType::signed(4), false), [-8, 7, -8, 7]);
        assert_eq!(ends(IntType::signed(4), true), [-7, 7, -7, 7]);
        assert_eq!(ends(IntType::unsigned(4), false), [0, 15, 0, 15]);
        assert_eq!(ends(IntType::unsigned(4), true), [0, 14, 0, 14]);
        let (lo, hi) = (i64::from(i32::MIN), i64::from(i32::MAX));
        assert_eq!(ends(IntType::signed(32), false), [-1_000_000_000, 1_000_000_000, lo, hi]);
    }

    /// The zero point is added before the rounding by QONNX and after it by ONNX: an odd one shows at ties.
    #[test]
    fn the_orders_differ_at_ties() {
        let to = ElemType::Int(IntType::unsigned(8));
        let onnx = Quantize {
            to,
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        let qonnx = Quantize { order: QuantizeOrder::ClampThenRound, ..onnx.clone() };
        let all = |op: &Quantize| [0.5, 1.5, 2.5, -300.0, 300.0].map(|x| op.apply(x, 1.0, 3.0));
        assert_eq!(all(&onnx), [3, 5, 5, 0, 255]);
        assert_eq!(all(&qonnx), [4, 4, 6, 0, 255]);
        assert_eq!(onnx.apply(3e38, 1e-3, 0.0), 255);
    }

    /// Round, add the zero point, then overflow; numbers beyond every integer as well.
    #[test]
    fn every_overflow_mode() {
        let op = |overflow, int| Quantize {
            to: ElemType::Int(int),
            narrow: false,
            rounding: Rounding::HalfCeil,
            overflow,
            order: QuantizeOrder::RoundThenSaturate,
        };
        let x = [-129.0, -128.0, 127.4, 127.5, 300.0, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let all = |overflow| x.map(|x| op(overflow, IntType::signed(8)).apply(x, 1.0, 0.0));
        assert_eq!(all(Overflow::Wrap), [127, -128, 127, -128, 44, 0, 0, 0, -128]);
        assert_eq!(all(Overflow::Saturate), [-128, -128, 127, 127, 127, 127, 127, -128, -128]);
        assert_eq!(all(Overflow::SaturateZero), [0, -128, 127, 0, 0, 0, 0, 0, -128]);
        assert_eq!(all(Overflow::SaturateSymmetric), [-127, -127, 127, 127, 127, 127, 127, -127, -127]);
        assert_eq!(op(Overflow::Wrap, IntType::unsigned(8)).apply(-1.0, 1.0, 3.0), 2);
        // 2^60 + 3 is no double, and yet its low bits are those of 3.
        assert_eq!(op(Overflow::Wrap, IntType::signed(8)).apply(60f32.exp2(), 1.0, 3.0), 3);
        let (x, one) =
            (TensorType::f32([2], Layout::channels_last(0)), TensorType::f32([], Layout::anonymous(0)));
        let refused = |op: Quantize| op.infer(&[&x, &one, &one]).is_err();
        let wrap = op(Overflow::Wrap, IntType::signed(8));
        assert!(!refused(wrap.clone()) && refused(Quantize { narrow: true, ..wrap.clone() }));
        assert!(refused(Quantize { order: QuantizeOrder::ClampThenRound, ..wrap }));
    }

    #[test]
    fn odd_numbers() {
        let op = qonnx(IntType::signed(8), true, Rounding::HalfEven);
        assert_eq!(op.apply(f32::NAN, 1.0, 0.0), -127);
        assert_eq!(op.apply(10.0, -2.0, 0.0), -5, "a negative scale");
        assert_eq!(op.apply(1.0, 1.0, 0.25), 1, "a zero point that is no integer");
        // x · (1/3) would be 0.99999994 · 1.5 and round down.
        assert_eq!(op.apply(4.5, 3.0, 0.0), 2);
    }

    #[test]
    fn bipolar_codes() {
        let op = Quantize {
            to: ElemType::Bipolar,
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::ClampThenRound,
        };
        let x = [-0.0, 0.0, -1e-30, 7.0, f32::NAN];
        assert_eq!(x.map(|x| op.apply(x, 1.0, 0.0)), [1, 1, -1, 1, -1]);
        let x = TensorType::f32([5], Layout::channels_last(0));
        let one = TensorType::f32([], Layout::anonymous(0));
        assert_eq!(op.infer(&[&x, &one, &one]).unwrap().to_string(), "bipolar[5] c");
        assert!(Quantize { narrow: true, ..op }.infer(&[&x, &one, &one]).is_err());
    }

    #[test]
    fn scales_broadcast_to_the_first_operand_only() {
        let op = qonnx(IntType::signed(8), false, Rounding::HalfEven);
        let x = Tensor::f32([2, 2], Layout::channels_first(1), vec![1., 2., 3., 4.]);
        let s = Tensor::f32([2, 1], Layout::anonymous(2), vec![1., 0.5]);
        let z = Tensor::f32([], Layout::anonymous(0), vec![1.]);
        let ty = op.infer(&[&x.ty, &s.ty, &z.ty]).unwrap();
        assert_eq!(ty.to_string(), "i8[2,2] cw");
        assert_eq!(op.eval(&[&x, &s, &z], &ty).unwrap(), Data::I8(vec![2, 3, 7, 9]));
        assert!(op.infer(&[&s.ty, &x.ty, &z.ty]).is_err());
        assert!(op.infer(&[&ty, &s.ty, &z.ty]).is_err());
    }
}
