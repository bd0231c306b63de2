//! Several tensors side by side along one axis.

use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a concatenation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The axis along which the operands follow one another.
    pub axis: usize,
}

impl OpDef for Concat {
    const NAMES: &'static [&'static str] = &["concat"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axis: from.size("axis")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, usize::MAX)?;
        let first = inputs[0];
        if self.axis >= first.rank() {
            return Err(format!("axis {} of a tensor of shape {}", self.axis, first.shape).into());
        }
        let mut dims = first.shape.to_vec();
        for other in &inputs[1..] {
            let fits = other.elem == first.elem
                && other.layout == first.layout
                && (0..first.rank()).all(|a| a == self.axis || other.shape.get(a) == first.shape.get(a));
            if !fits {
                return Err(format!("{other} does not stand beside {first} along axis {}", self.axis).into());
            }
            dims[self.axis] = dims[self.axis].saturating_add(other.shape[self.axis]);
        }
        Ok(TensorType::new(first.elem.clone(), dims, first.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let inner: usize = out.shape[self.axis + 1..].iter().product();
        let outer: usize = out.shape[..self.axis].iter().product();
        let rows: Vec<usize> = inputs.iter().map(|t| t.ty.shape[self.axis] * inner).collect();
        if out.elem.is_float() {
            let parts = inputs.iter().map(|t| t.as_f32()).collect::<Option<Vec<_>>>().ok_or("no floats")?;
            let mut y = Vec::with_capacity(out.shape.num_elements());
            for i in 0..outer {
                parts.iter().zip(&rows).for_each(|(p, n)| y.extend_from_slice(&p[i * n..(i + 1) * n]));
            }
            return Ok(Data::F32(y));
        }
        let codes = (0..outer).flat_map(|i| {
            let row = move |(t, &n): (&&Tensor, &usize)| {
                (i * n..(i + 1) * n).filter_map(|k| t.data.code(k)).collect::<Vec<_>>()
            };
            inputs.iter().zip(&rows).flat_map(row).collect::<Vec<_>>()
        });
        Ok(Data::from_codes(&out.elem, codes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn rows_alternate() {
        let t = |n: usize, from: f32| {
            Tensor::f32([2, n], Layout::channels_last(1), (0..2 * n).map(|i| from + i as f32).collect())
        };
        let (a, b) = (t(1, 0.), t(2, 10.));
        let op = Concat { axis: 1 };
        let ty = op.infer(&[&a.ty, &b.ty]).unwrap();
        assert_eq!(op.eval(&[&a, &b], &ty).unwrap(), Data::F32(vec![0., 10., 11., 1., 12., 13.]));
        let first = TensorType::f32([2, 1], Layout::channels_first(1));
        assert!(op.infer(&[&a.ty, &first]).is_err(), "layouts never mix");
    }
}
