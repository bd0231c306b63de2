//! How many thresholds are reached: QONNX's `MultiThreshold`, and what a quantized activation becomes.
//!
//! Operands: `x`, and thresholds of shape `[C, K]`, with `C` the extent of the channel axis, or `[1, K]`; both are
//! `f32`, or both are of any integer types. The result is `bias + scale · #{k : x ≥ t[c, k]}`, an integer of the type
//! `to`, which must hold it for every count; the order of the thresholds does not matter. A NaN reaches none.
//!
//! A `MultiThreshold` whose `out_scale` or `out_bias` is no integer counts here, and is scaled and shifted by float
//! ops behind a [`super::Cast`], the scale first.

use super::{OpDef, OpError, arity, check_axis, codes, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// Attributes of a thresholding.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Threshold {
    /// The axis of the channels.
    pub axis: usize,
    /// The element type of the result: any integer type.
    pub to: ElemType,
    /// What each threshold that is reached adds.
    pub scale: i64,
    /// The result where none is reached.
    pub bias: i64,
}

impl Threshold {
    /// The result for a count.
    fn value(&self, count: usize) -> Option<i64> {
        self.scale.checked_mul(i64::try_from(count).ok()?)?.checked_add(self.bias)
    }
}

impl OpDef for Threshold {
    const NAMES: &'static [&'static str] = &["threshold"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64).word("to", &self.to);
        if (self.scale, self.bias) != (1, 0) {
            to.int("scale", self.scale).int("bias", self.bias);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let or = |from: &mut AttrReader, name: &str, default| {
            if from.has(name) { from.int(name) } else { Ok(default) }
        };
        Ok(Self {
            axis: from.size("axis")?,
            to: from.elem("to")?,
            scale: or(from, "scale", 1)?,
            bias: or(from, "bias", 0)?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (x, t) = (inputs[0], inputs[1]);
        let both = |f: fn(&ElemType) -> bool| f(&x.elem) && f(&t.elem);
        if !(both(ElemType::is_float) || both(ElemType::is_integer)) {
            return Err(format!("expected two floats or two integers, found {x} and {t}").into());
        }
        let channels = check_axis(self.axis, x)?;
        if t.rank() != 2 || !(t.shape[0] == channels || t.shape[0] == 1) {
            return Err(format!("expected thresholds [{channels}, K] or [1, K], found {}", t.shape).into());
        }
        let most = t.shape[1];
        // Counts between the first and the last give values between theirs; `Bipolar` alone has a gap there.
        let fits = |count: usize| self.value(count).is_some_and(|v| self.to.has_code(v));
        if !self.to.is_integer() || ![0, 1.min(most), 2.min(most), most].into_iter().all(fits) {
            return Err(
                format!("{} does not hold {} + {} · 0..={most}", self.to, self.bias, self.scale).into()
            );
        }
        Ok(x.with_elem(self.to.clone()))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let inner: usize = out.shape[self.axis + 1..].iter().product();
        let table = &inputs[1].ty.shape;
        let value = |i: usize, reached: &dyn Fn(usize) -> bool| {
            let row = if table[0] == 1 { 0 } else { i / inner % out.shape[self.axis] };
            let count = (row * table[1]..(row + 1) * table[1]).filter(|&k| reached(k)).count();
            self.bias + self.scale * count as i64
        };
        let n = out.shape.num_elements();
        let y: Vec<i64> = if inputs[0].ty.elem.is_float() {
            let (x, t) = (floats(inputs, 0)?, floats(inputs, 1)?);
            (0..n).map(|i| value(i, &|k| x[i] >= t[k])).collect()
        } else {
            let (x, t) = (codes(inputs, 0)?, codes(inputs, 1)?);
            (0..n).map(|i| value(i, &|k| x[i] >= t[k])).collect()
        };
        Ok(Data::from_codes(&out.elem, y))
    }

    /// A comparison counts as one.
    fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
        (out.shape.num_elements() as u64).saturating_mul(inputs[1].shape[1] as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    #[test]
    fn thresholds_of_each_channel() {
        let x = Tensor::f32([2, 3], Layout::channels_first(1), vec![0.5, 1.5, f32::NAN, -1.0, 0.0, 2.5]);
        let t = Tensor::f32([2, 2], Layout::anonymous(2), vec![1.5, 0.5, 0.0, 2.5]);
        let op = Threshold { axis: 0, to: ElemType::signed(2), scale: 1, bias: -1 };
        let ty = op.infer(&[&x.ty, &t.ty]).unwrap();
        assert_eq!(ty.to_string(), "i2[2,3] cw");
        assert_eq!(op.eval(&[&x, &t], &ty).unwrap(), Data::I8(vec![0, 1, -1, -1, 0, 1]));
        let shared = Tensor::f32([1, 1], Layout::anonymous(2), vec![0.0]);
        let sign = Threshold { axis: 0, to: ElemType::Bipolar, scale: 2, bias: -1 };
        let ty = sign.infer(&[&x.ty, &shared.ty]).unwrap();
        assert_eq!(sign.eval(&[&x, &shared], &ty).unwrap(), Data::I8(vec![1, 1, -1, -1, 1, 1]));
    }

    #[test]
    fn integers_of_any_width() {
        let ints = |elem, shape: &[usize], v: &[i64]| {
            Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), v.to_vec())
        };
        let x = ints(ElemType::signed(20), &[3], &[-70_000, 5, 70_000]);
        let t = ints(ElemType::signed(32), &[3, 2], &[-70_000, -69_999, 5, 6, i64::from(i32::MIN), 70_001]);
        let op = Threshold { axis: 0, to: ElemType::Int(IntType::unsigned(2)), scale: 1, bias: 0 };
        let ty = op.infer(&[&x.ty, &t.ty]).unwrap();
        assert_eq!(op.eval(&[&x, &t], &ty).unwrap(), Data::I8(vec![1, 1, 1]));
    }

    #[test]
    fn results_must_fit() {
        let x = TensorType::f32([4], Layout::channels_last(0));
        let t = |shape: [usize; 2]| TensorType::f32(shape, Layout::anonymous(2));
        let infer = |to: ElemType, scale, bias, shape| {
            Threshold { axis: 0, to, scale, bias }.infer(&[&x, &t(shape)]).is_ok()
        };
        let u2 = ElemType::Int(IntType::unsigned(2));
        assert!(infer(u2.clone(), 1, 0, [4, 3]) && !infer(u2.clone(), 1, 0, [4, 4]));
        assert!(!infer(u2.clone(), 1, -1, [4, 3]) && !infer(u2, i64::MAX, 0, [4, 3]));
        assert!(infer(ElemType::Bipolar, 2, -1, [1, 1]) && !infer(ElemType::Bipolar, 1, -1, [1, 2]));
        assert!(!infer(ElemType::F32, 1, 0, [4, 1]) && !infer(ElemType::signed(8), 1, 0, [2, 1]));
        let op = Threshold { axis: 1, to: ElemType::Bit, scale: 1, bias: 0 };
        assert!(op.infer(&[&x, &t([1, 1])]).is_err());
    }
}
