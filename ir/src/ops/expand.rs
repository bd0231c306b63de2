//! Broadcast to a larger shape by numpy's rule: axes of extent 1, and missing leading ones, are repeated.

use super::broadcast::steps;
use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::{Layout, Shape, TensorType};

/// Attributes of an expansion.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Expand {
    /// The shape of the result.
    pub shape: Shape,
}

impl OpDef for Expand {
    const NAMES: &'static [&'static str] = &["expand"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("shape", &self.shape);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { shape: from.sizes("shape")?.into() })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        if x.shape.broadcast(&self.shape).as_ref() != Some(&self.shape) {
            return Err(format!("{} does not broadcast to {}", x.shape, self.shape).into());
        }
        let layout =
            if x.rank() == self.shape.rank() { x.layout } else { Layout::anonymous(self.shape.rank()) };
        Ok(TensorType::new(x.elem.clone(), self.shape.clone(), layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let mut at = Vec::with_capacity(out.shape.num_elements());
        let steps = steps(&inputs[0].ty.shape, out.rank());
        for_each_index(&out.shape, |index| at.push(index.iter().zip(&steps).map(|(i, s)| i * s).sum()));
        Ok(inputs[0].data.gather(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_axes_repeat() {
        let x = Tensor::f32([1, 2], Layout::channels_last(1), vec![1., 2.]);
        let op = Expand { shape: [2, 2].into() };
        let ty = op.infer(&[&x.ty]).unwrap();
        assert_eq!(ty.to_string(), "f32[2,2] wc");
        assert_eq!(op.eval(&[&x], &ty).unwrap(), Data::F32(vec![1., 2., 1., 2.]));
        assert!(Expand { shape: [2, 3].into() }.infer(&[&x.ty]).is_err());
        assert!(Expand { shape: [1, 1].into() }.infer(&[&x.ty]).is_err());
    }
}
