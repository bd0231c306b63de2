//! Product of the last axis with a weight matrix: `y[…, o] = Σ_i x[…, i] · w[o, i] + b[o]`.
//!
//! Operands: `x` of rank 1 or more, `w` of shape `[out, in]`, and optionally a bias `[out]`, all floats or all
//! integers; the latter make the exact sum (see `accumulate`). The result has `x`'s layout.

use super::accumulate::{self, Run};
use super::{OpDef, OpError, arity};
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
        let elem = accumulate::elem(x, w, inputs.get(2).copied(), last, false)?;
        Ok(TensorType::new(elem, dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let [rows, columns] = [inputs[1].ty.shape[0], inputs[1].ty.shape[1]];
        accumulate::sums(
            inputs,
            out,
            columns,
            |i| i % rows,
            |i| {
                let (from, row) = (i / rows * columns, i % rows * columns);
                std::iter::once(Run { x: from, x_step: 1, w: row, w_step: 1, len: columns })
            },
        )
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

    #[test]
    fn integers_make_exact_sums() {
        use crate::types::ElemType;
        let ints = |elem, shape: &[usize], v: &[i64]| {
            Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), v.to_vec())
        };
        let x = ints(ElemType::signed(16), &[2], &[-32768, 32767]);
        let w = ints(ElemType::Bipolar, &[2, 2], &[1, -1, -1, 1]);
        let b = ints(ElemType::signed(32), &[2], &[0, i64::from(i32::MAX)]);
        let ty = Dense.infer(&[&x.ty, &w.ty, &b.ty]).unwrap();
        assert_eq!(ty.elem.to_string(), "i33");
        let y = Dense.eval(&[&x, &w, &b], &ty).unwrap();
        assert_eq!(y, Data::I64(vec![-65535, i64::from(i32::MAX) + 65535]));
        assert!(Dense.infer(&[&x.ty, &w.ty.with_elem(ElemType::F32)]).is_err());
    }
}
