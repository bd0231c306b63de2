//! Batch normalisation with fixed statistics: `y = gamma · (x − mean) / sqrt(variance + eps) + beta`
//! along one axis (Ioffe and Szegedy, 2015).
//!
//! Operands: `x`, then `gamma`, `beta`, `mean`, `variance`, each of the axis' extent. Evaluated in single
//! precision, step by step as the formula of its source says, since a sign or a quantizer behind it turns the last bit
//! into a jump:
//!
//! | formula | computes |
//! |---|---|
//! | `definition` | what stands above, in that order |
//! | `fused` (PyTorch on a CPU) | `a = gamma · (1 / sqrt(variance + eps))`, `c = fma(−mean, a, beta)`, `y = fma(x, a, c)` |

use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// In which steps a batch normalisation is computed, each rounded to single precision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BatchNormFormula {
    /// `gamma · (x − mean) / sqrt(variance + eps) + beta`, from left to right.
    #[default]
    Definition,
    /// One fused multiply-add per element, with [`BatchNormFormula::fused`] factors and terms.
    Fused,
}

impl BatchNormFormula {
    /// The factor and the term of one channel: `(a, c)` in `y = fma(x, a, c)`.
    pub fn fused(gamma: f32, beta: f32, mean: f32, variance: f32, eps: f32) -> (f32, f32) {
        let a = 1.0 / (variance + eps).sqrt() * gamma;
        (a, (-mean).mul_add(a, beta))
    }
}

/// Attributes of a batch normalisation.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNorm {
    /// The axis that has statistics of its own.
    pub axis: usize,
    /// Added to the variance.
    pub eps: f32,
    /// In which steps it is computed.
    pub formula: BatchNormFormula,
}

impl BatchNorm {
    /// A batch normalisation by its definition.
    pub fn new(axis: usize, eps: f32) -> Self {
        Self { axis, eps, formula: BatchNormFormula::Definition }
    }
    /// One as PyTorch computes it.
    pub fn fused(axis: usize, eps: f32) -> Self {
        Self { axis, eps, formula: BatchNormFormula::Fused }
    }
}

impl OpDef for BatchNorm {
    const NAMES: &'static [&'static str] = &["batch_norm"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64).float("eps", self.eps);
        if self.formula == BatchNormFormula::Fused {
            to.word("formula", "fused");
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let (axis, eps) = (from.size("axis")?, from.float("eps")?);
        let formula = match from.has("formula") {
            false => BatchNormFormula::Definition,
            true => from.choice("formula", "definition or fused", |word| match word {
                "definition" => Some(BatchNormFormula::Definition),
                "fused" => Some(BatchNormFormula::Fused),
                _ => None,
            })?,
        };
        Ok(Self { axis, eps, formula })
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
        let fused: Vec<(f32, f32)> = match self.formula {
            BatchNormFormula::Definition => Vec::new(),
            BatchNormFormula::Fused => (0..shape[self.axis])
                .map(|c| BatchNormFormula::fused(gamma[c], beta[c], mean[c], variance[c], self.eps))
                .collect(),
        };
        let value = |(i, &x): (usize, &f32)| {
            let c = i / inner % shape[self.axis];
            match fused.get(c) {
                Some(&(a, b)) => x.mul_add(a, b),
                None => gamma[c] * (x - mean[c]) / (variance[c] + self.eps).sqrt() + beta[c],
            }
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
        let op = BatchNorm::new(0, 0.0);
        let parameters = [p(&[2., -1.]), p(&[0., 1.]), p(&[1., 3.]), p(&[4., 1.])];
        let all: Vec<&Tensor> = std::iter::once(&x).chain(&parameters).collect();
        let y = op.eval(&all, &x.ty).unwrap();
        assert_eq!(y, Data::F32(vec![0., 1., 1., 0.]));
        let types: Vec<&TensorType> = all.iter().map(|t| &t.ty).collect();
        assert!(BatchNorm::new(2, 0.0).infer(&types).is_err());
    }

    /// At algebraic ties the formulas part: here the definition gives 0 and the fused form what is left of rounding.
    #[test]
    fn the_formulas_differ_at_ties() {
        let p = |v: f32| Tensor::f32([1], Layout::channels_last(0), vec![v]);
        let x = p(7.0);
        let all = [&x, &p(0.3), &p(0.0), &p(7.0), &p(11.0)];
        let run = |op: BatchNorm| op.eval(&all, &x.ty).unwrap();
        assert_eq!(run(BatchNorm::new(0, 1e-5)), Data::F32(vec![0.0]));
        let (a, c) = BatchNormFormula::fused(0.3, 0.0, 7.0, 11.0, 1e-5);
        assert_eq!(run(BatchNorm::fused(0, 1e-5)), Data::F32(vec![7.0f32.mul_add(a, c)]));
        assert_ne!(7.0f32.mul_add(a, c), 0.0);
    }
}
