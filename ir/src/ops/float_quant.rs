//! Floats to fewer floats: QONNX's `FloatQuant`, a minifloat with subnormals.
//!
//! Operands: `x` and a scale that broadcasts to its shape, both `f32`; the result has `x`'s type. With
//! `v = x / scale` and the grid `g = 2^max(⌊log₂(|v| + 2^−126)⌋ − m, 1 − bias − m)` it is `g · round(v / g) · scale`,
//! where `g · round(v / g)` is kept within `± min(max, (2 − 2^−m) · 2^(2^e − 1 − bias))`. Every step is rounded to
//! single precision; an infinity becomes NaN, as in QONNX's executor.

use super::{OpDef, OpError, all_float, arity, broadcast, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{Rounding, TensorType};

/// What a number beyond the greatest one becomes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FloatOverflow {
    /// The greatest one.
    Saturate,
    /// Infinity.
    Infinity,
    /// NaN.
    Nan,
}

const OVERFLOWS: [(FloatOverflow, &str); 3] = [
    (FloatOverflow::Saturate, "saturate"),
    (FloatOverflow::Infinity, "to_infinity"),
    (FloatOverflow::Nan, "to_nan"),
];

/// Attributes of a float quantizer.
#[derive(Clone, PartialEq, Debug)]
pub struct FloatQuant {
    /// Bits of the exponent, `e`.
    pub exponent: f32,
    /// Bits of the mantissa, `m`.
    pub mantissa: f32,
    /// What is subtracted from the exponent.
    pub bias: f32,
    /// A bound on the greatest number; infinite for none.
    pub max: f32,
    /// How numbers between those of the grid are rounded.
    pub rounding: Rounding,
    /// What a number beyond the greatest one becomes.
    pub overflow: FloatOverflow,
}

impl FloatQuant {
    /// The greatest number of the format, before it is scaled.
    pub fn greatest(&self) -> f64 {
        let [e, m, bias] = [self.exponent, self.mantissa, self.bias].map(f64::from);
        let format = (2.0 - (-m).exp2()) * (e.exp2() - 1.0 - bias).exp2();
        format.min(self.max.into())
    }

    /// The function itself.
    pub fn apply(&self, x: f32, scale: f32) -> f32 {
        let v = x / scale;
        let log = f64::from(v.abs() + f32::MIN_POSITIVE).log2() as f32;
        let exponent = log.floor() - self.mantissa;
        let least = 1.0 - self.bias - self.mantissa;
        let grid = (if exponent < least { least } else { exponent }).exp2();
        let q = grid * self.rounding.apply(v / grid);
        let greatest = self.greatest() as f32;
        let kept = if q.abs() > greatest {
            let magnitude = match self.overflow {
                FloatOverflow::Saturate => greatest,
                FloatOverflow::Infinity => f32::INFINITY,
                FloatOverflow::Nan => f32::NAN,
            };
            magnitude.copysign(q)
        } else {
            q
        };
        kept * scale
    }
}

impl OpDef for FloatQuant {
    const NAMES: &'static [&'static str] = &["float_quant"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.float("exponent", self.exponent).float("mantissa", self.mantissa);
        to.float("bias", self.bias).float("max", self.max).word("rounding", self.rounding);
        let overflow = OVERFLOWS.iter().find(|(o, _)| *o == self.overflow).map_or("", |(_, name)| name);
        to.word("overflow", overflow);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self {
            exponent: from.float("exponent")?,
            mantissa: from.float("mantissa")?,
            bias: from.float("bias")?,
            max: from.float("max")?,
            rounding: from.choice("rounding", &Rounding::names(), Rounding::from_name)?,
            overflow: from.choice("overflow", "saturate, to_infinity or to_nan", |word| {
                OVERFLOWS.iter().find(|(_, name)| *name == word).map(|(o, _)| *o)
            })?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        all_float(inputs)?;
        broadcast::to_first(inputs)?;
        let bits = |b: f32| (0.0..=23.0).contains(&b);
        if !bits(self.exponent) || !bits(self.mantissa) || !self.bias.is_finite() || self.max.is_nan() {
            return Err(format!(
                "{} exponent and {} mantissa bits, bias {} and greatest number {} are no format",
                self.exponent, self.mantissa, self.bias, self.max
            )
            .into());
        }
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, scale) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(self.apply(x[at[0]], scale[at[1]])));
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    fn e4m3() -> FloatQuant {
        FloatQuant {
            exponent: 4.0,
            mantissa: 3.0,
            bias: 7.0,
            max: 448.0,
            rounding: Rounding::HalfEven,
            overflow: FloatOverflow::Saturate,
        }
    }

    /// The 127 magnitudes of OCP's E4M3, made from their bits, stay; what lies between goes to the nearer one.
    #[test]
    fn every_number_of_a_format() {
        let of_bits = |b: u32| {
            let (e, m) = (b >> 3, (b & 7) as f32 / 8.0);
            if e == 0 { m * 2f32.powi(-6) } else { (1.0 + m) * 2f32.powi(e as i32 - 7) }
        };
        let all: Vec<f32> = (0..127).map(of_bits).collect();
        assert_eq!(all[126], 448.0);
        for (i, &v) in all.iter().enumerate() {
            assert_eq!(e4m3().apply(v, 1.0), v);
            assert_eq!(e4m3().apply(-v * 0.5, 0.5), -v * 0.5);
            if let Some(&next) = all.get(i + 1) {
                let even = if i % 2 == 0 { v } else { next };
                assert_eq!(e4m3().apply((v + next) / 2.0, 1.0), even, "between {v} and {next}");
            }
        }
        assert_eq!(e4m3().apply(1e9, 1.0), 448.0);
    }

    #[test]
    fn beyond_the_greatest() {
        let with = |overflow| FloatQuant { overflow, ..e4m3() };
        assert_eq!(with(FloatOverflow::Infinity).apply(-1e9, 2.0), f32::NEG_INFINITY);
        assert!(with(FloatOverflow::Nan).apply(1e9, 1.0).is_nan());
        assert_eq!(with(FloatOverflow::Nan).apply(448.0, 1.0), 448.0);
        assert_eq!(FloatQuant { max: f32::INFINITY, ..e4m3() }.apply(1e9, 1.0), 480.0);
        assert!(e4m3().apply(f32::INFINITY, 1.0).is_nan());
        assert!(e4m3().apply(f32::NAN, 1.0).is_nan());
        assert_eq!(e4m3().apply(0.0, 1.0), 0.0);
    }

    #[test]
    fn unsuitable_formats_are_refused() {
        let x = TensorType::f32([2], Layout::channels_last(0));
        assert!(e4m3().infer(&[&x, &x]).is_ok());
        for op in [
            FloatQuant { exponent: 99.0, ..e4m3() },
            FloatQuant { mantissa: -1.0, ..e4m3() },
            FloatQuant { bias: f32::NAN, ..e4m3() },
        ] {
            assert!(op.infer(&[&x, &x]).is_err(), "{op:?}");
        }
    }
}
