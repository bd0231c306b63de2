//! Batch normalisation with fixed statistics: `y = gamma · (x − mean) / sqrt(variance + eps) + beta`
//! along one axis (Ioffe and Szegedy, 2015).
//!
//! Operands: `x`, then `gamma`, `beta`, `mean`, `variance`, each of the axis' extent. Evaluated in single
//! precision, in the order written, as the frameworks do.

use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a batch normalisation.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNorm {
    /// The axis that has statistics of its own.
    pub axis: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl OpDef for BatchNorm {
    const NAMES: &'static [&'static str] = &["batch_norm"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64).float("eps", self.eps);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axis: from.size("axis")?, eps: from.float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 5, 5)?;
        all_float(inputs)?;
        let x = inputs[0];
        let Some(&n) = x.shape.get(self.axis) else {
            return Err(format!("axis {} of a tensor of shape {}", self.axis, x.shape).into());
        };
        match inputs[1..].iter().find(|t| t.shape.dims() != [n]) {
            Some(t) => Err(format!("expected parameters of shape [{n}], found {}", t.shape).into()),
            None => Ok(x.clone()),
        }
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        let x = floats(inputs, 0)?;
        let [gamma, beta, mean, variance] =
            [floats(inputs, 1)?, floats(inputs, 2)?, floats(inputs, 3)?, floats(inputs, 4)?];
        let shape = &inputs[0].ty.shape;
        let inner: usize = shape[self.axis + 1..].iter().product();
        let value = |(i, &x): (usize, &f32)| {
            let c = i / inner % shape[self.axis];
            gamma[c] * (x - mean[c]) / (variance[c] + self.eps).sqrt() + beta[c]
        };
        Ok(Data::F32(x.iter().enumerate().map(value).collect()))
    }

    fn macs(&self, _: &[&TensorType], out: &TensorType) -> u64 {
        out.shape.num_elements() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn statistics_follow_the_axis() {
        let p = |v: &[f32]| Tensor::f32([v.len()], Layout::channels_last(0), v.to_vec());
        let x = Tensor::f32([2, 2], Layout::channels_first(1), vec![1., 2., 3., 4.]);
        let op = BatchNorm { axis: 0, eps: 0.0 };
        let parameters = [p(&[2., -1.]), p(&[0., 1.]), p(&[1., 3.]), p(&[4., 1.])];
        let all: Vec<&Tensor> = std::iter::once(&x).chain(&parameters).collect();
        let y = op.eval(&all, &x.ty).unwrap();
        assert_eq!(y, Data::F32(vec![0., 1., 1., 0.]));
        let types: Vec<&TensorType> = all.iter().map(|t| &t.ty).collect();
        assert!(BatchNorm { axis: 2, eps: 0.0 }.infer(&types).is_err());
    }
}
