//! Layer normalisation: `y = gamma · (x − mean(x)) / sqrt(var(x) + eps) + beta`, mean and variance taken over
//! `axes` of the sample itself (Ba, Kiros and Hinton, 2016).
//!
//! Operands: `x`, then `gamma` and `beta`, both of the extents of `axes`.

use super::{OpDef, OpError, all_float, arity, blocks, check_axes, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a layer normalisation.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerNorm {
    /// The axes over which statistics are taken, rising.
    pub axes: Vec<usize>,
    /// Added to the variance.
    pub eps: f32,
}

impl OpDef for LayerNorm {
    const NAMES: &'static [&'static str] = &["layer_norm"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("axes", &self.axes).float("eps", self.eps);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axes: from.sizes("axes")?, eps: from.float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        all_float(inputs)?;
        let x = inputs[0];
        check_axes(&self.axes, x.rank())?;
        let dims: Vec<usize> = self.axes.iter().map(|&a| x.shape[a]).collect();
        match inputs[1..].iter().find(|t| t.shape.dims() != dims) {
            Some(t) => Err(format!("expected gamma and beta of shape {dims:?}, found {}", t.shape).into()),
            None => Ok(x.clone()),
        }
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, gamma, beta) = (floats(inputs, 0)?, floats(inputs, 1)?, floats(inputs, 2)?);
        let (bases, cells) = blocks(&out.shape, &self.axes);
        let n = cells.len() as f64;
        let mut y = vec![0f32; x.len()];
        for base in bases {
            let mean = cells.iter().map(|c| f64::from(x[base + c])).sum::<f64>() / n;
            let variance = cells.iter().map(|c| (f64::from(x[base + c]) - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (variance + f64::from(self.eps)).sqrt();
            for (i, c) in cells.iter().enumerate() {
                let normal = (f64::from(x[base + c]) - mean) * scale;
                y[base + c] = (normal * f64::from(gamma[i]) + f64::from(beta[i])) as f32;
            }
        }
        Ok(Data::F32(y))
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
    fn statistics_are_the_samples_own() {
        let x = Tensor::f32([2, 2], Layout::channels_last(1), vec![1., 3., -5., 5.]);
        let gamma = Tensor::f32([2], Layout::anonymous(1), vec![1., 2.]);
        let beta = Tensor::f32([2], Layout::anonymous(1), vec![0., 1.]);
        let op = LayerNorm { axes: vec![1], eps: 0.0 };
        assert_eq!(op.eval(&[&x, &gamma, &beta], &x.ty).unwrap(), Data::F32(vec![-1., 3., -1., 3.]));
    }
}
