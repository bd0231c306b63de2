//! Product of the last axis with a weight matrix: `y[…, o] = Σ_i x[…, i] · w[o, i] + b[o]`.
//!
//! Operands: `x` of rank 1 or more, `w` of shape `[out, in]`, and optionally a bias `[out]`. The result has
//! `x`'s layout.

use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// A dense layer; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Dense;

impl OpDef for Dense {
    const NAMES: &'static [&'static str] = &["dense"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 3)?;
        all_float(inputs)?;
        let (x, w) = (inputs[0], inputs[1]);
        let Some(&last) = x.shape.last() else {
            return Err("expected an input of rank 1 or more, found a scalar".into());
        };
        if w.rank() != 2 || w.shape[1] != last {
            return Err(format!("expected a weight [out, {last}], found the shape {}", w.shape).into());
        }
        if let Some(b) = inputs.get(2)
            && b.shape.dims() != [w.shape[0]]
        {
            return Err(format!("expected a bias of shape [{}], found {}", w.shape[0], b.shape).into());
        }
        let mut dims = x.shape.to_vec();
        dims[x.rank() - 1] = w.shape[0];
        Ok(TensorType::f32(dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, w) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let bias = if inputs.len() > 2 { Some(floats(inputs, 2)?) } else { None };
        let [rows, columns] = [inputs[1].ty.shape[0], inputs[1].ty.shape[1]];
        let mut y = Vec::with_capacity(out.shape.num_elements());
        let samples = out.shape.num_elements().checked_div(rows).unwrap_or(0);
        for s in 0..samples {
            let x = &x[s * columns..(s + 1) * columns];
            for o in 0..rows {
                let row = &w[o * columns..(o + 1) * columns];
                let start = bias.map_or(0.0, |b| f64::from(b[o]));
                let sum = x.iter().zip(row).fold(start, |sum, (&a, &b)| sum + f64::from(a) * f64::from(b));
                y.push(sum as f32);
            }
        }
        Ok(Data::F32(y))
    }

    fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
        (out.shape.num_elements() as u64).saturating_mul(inputs[1].shape[1] as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn rows_of_the_weight_are_outputs() {
        let x = Tensor::f32([2, 2], Layout::channels_last(1), vec![1., 2., 3., 4.]);
        let w = Tensor::f32([3, 2], Layout::weight(0), vec![1., 0., 0., 1., 1., 1.]);
        let ty = Dense.infer(&[&x.ty, &w.ty]).unwrap();
        assert_eq!(ty.shape.dims(), [2, 3]);
        assert_eq!(Dense.eval(&[&x, &w], &ty).unwrap(), Data::F32(vec![1., 2., 3., 3., 4., 7.]));
        assert!(Dense.infer(&[&w.ty, &x.ty]).is_ok() && Dense.infer(&[&ty, &x.ty]).is_err());
    }
}
