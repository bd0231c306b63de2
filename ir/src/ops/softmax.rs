//! Softmax over one or more axes together: `exp(x − max) / Σ exp(x − max)`, or its logarithm.

use super::{OpDef, OpError, all_float, arity, blocks, check_axes, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a softmax.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Softmax {
    /// The axes over which the result sums to 1, rising.
    pub axes: Vec<usize>,
    /// Whether the result is the logarithm.
    pub log: bool,
}

impl OpDef for Softmax {
    const NAMES: &'static [&'static str] = &["softmax", "log_softmax"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.log)]
    }
    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("axes", &self.axes);
    }
    fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axes: from.sizes("axes")?, log: name == "log_softmax" })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        all_float(inputs)?;
        check_axes(&self.axes, inputs[0].rank())?;
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = floats(inputs, 0)?;
        let (bases, cells) = blocks(&out.shape, &self.axes);
        let mut y = vec![0f32; x.len()];
        for base in bases {
            let max = cells.iter().map(|c| f64::from(x[base + c])).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = cells.iter().map(|c| (f64::from(x[base + c]) - max).exp()).sum();
            for c in &cells {
                let shifted = f64::from(x[base + c]) - max;
                y[base + c] = if self.log { shifted - sum.ln() } else { shifted.exp() / sum } as f32;
            }
        }
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn large_inputs_do_not_overflow() {
        let x = Tensor::f32([2, 2], Layout::channels_last(1), vec![1000., 1000., 0., f32::NEG_INFINITY]);
        let op = Softmax { axes: vec![1], log: false };
        assert_eq!(op.eval(&[&x], &x.ty).unwrap(), Data::F32(vec![0.5, 0.5, 1., 0.]));
        let log = Softmax { axes: vec![0, 1], log: true }.eval(&[&x], &x.ty).unwrap();
        let Data::F32(log) = log else { panic!("floats in, floats out") };
        assert!((log[0] + std::f32::consts::LN_2).abs() < 1e-7 && log[2] == -1000. - std::f32::consts::LN_2);
    }
}
