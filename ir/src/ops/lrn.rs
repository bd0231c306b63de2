//! Normalisation over neighbouring channels: `y[c] = x[c] / (bias + alpha / size · Σ x[k]²)^beta`, the sum over the
//! channels `k` from `c − ⌊(size − 1) / 2⌋` to `c + ⌈(size − 1) / 2⌉` that exist (Krizhevsky et al., 2012, as ONNX has
//! it). One float operand; the result has its type.

use super::{OpDef, OpError, all_float, arity, blocks, check_axis, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a local response normalisation.
#[derive(Clone, PartialEq, Debug)]
pub struct Lrn {
    /// The axis of the channels.
    pub axis: usize,
    /// How many channels a sum spans, at least 1.
    pub size: usize,
    /// The weight of the mean square.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// What is added to it.
    pub bias: f32,
}

impl OpDef for Lrn {
    const NAMES: &'static [&'static str] = &["lrn"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64).int("size", self.size as u64);
        to.float("alpha", self.alpha).float("beta", self.beta).float("bias", self.bias);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self {
            axis: from.size("axis")?,
            size: from.size("size")?,
            alpha: from.float("alpha")?,
            beta: from.float("beta")?,
            bias: from.float("bias")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        all_float(inputs)?;
        check_axis(self.axis, inputs[0])?;
        if self.size == 0 {
            return Err("size must be at least 1".into());
        }
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = floats(inputs, 0)?;
        let (bases, cells) = blocks(&out.shape, &[self.axis]);
        let [alpha, beta, bias] = [self.alpha, self.beta, self.bias].map(f64::from);
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let mut y = vec![0f32; x.len()];
        for base in bases {
            let at = |c: usize| f64::from(x[base + cells[c]]);
            for c in 0..cells.len() {
                let end = c.saturating_add(after).min(cells.len() - 1);
                let sum: f64 = (c.saturating_sub(before)..=end).map(|k| at(k) * at(k)).sum();
                y[base + cells[c]] = (at(c) / (bias + alpha / self.size as f64 * sum).powf(beta)) as f32;
            }
        }
        Ok(Data::F32(y))
    }

    fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
        let span = self.size.min(inputs[0].shape[self.axis]);
        (out.shape.num_elements() as u64).saturating_mul(span as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn sums_span_the_channels_that_exist() {
        let x = Tensor::f32([4, 1], Layout::channels_first(1), vec![1., 2., 3., 4.]);
        let run = |size| {
            let op = Lrn { axis: 0, size, alpha: size as f32, beta: 1.0, bias: 1.0 };
            op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap()
        };
        assert_eq!(run(1), Data::F32(vec![1. / 2., 2. / 5., 3. / 10., 4. / 17.]));
        // An even size reaches one further up than down.
        assert_eq!(run(2), Data::F32(vec![1. / 6., 2. / 14., 3. / 26., 4. / 17.]));
        assert_eq!(run(3), Data::F32(vec![1. / 6., 2. / 15., 3. / 30., 4. / 26.]));
        assert_eq!(run(1 << 40), run(8));
        assert!(Lrn { axis: 0, size: 0, alpha: 1.0, beta: 1.0, bias: 1.0 }.infer(&[&x.ty]).is_err());
    }
}
