//! Axes in reverse: cell `i` of such an axis is cell `n − 1 − i` of the operand. One operand, of any type.

use super::{OpDef, OpError, arity, check_axes};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a reversal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reverse {
    /// The axes that are reversed, rising.
    pub axes: Vec<usize>,
}

impl OpDef for Reverse {
    const NAMES: &'static [&'static str] = &["reverse"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("axes", &self.axes);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axes: from.sizes("axes")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        check_axes(&self.axes, inputs[0].rank())?;
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        Ok(inputs[0].flipped(&self.axes).data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ElemType, Layout};

    #[test]
    fn the_other_axes_stay() {
        let ty = TensorType::new(ElemType::Bit, [2, 3], Layout::channels_last(1));
        let x = Tensor::codes(ty, [0, 0, 1, 0, 1, 1]);
        let op = Reverse { axes: vec![1] };
        assert_eq!(op.infer(&[&x.ty]).unwrap(), x.ty);
        assert_eq!(op.eval(&[&x], &x.ty).unwrap(), Data::I8(vec![1, 0, 0, 1, 1, 0]));
        assert!(Reverse { axes: vec![2] }.infer(&[&x.ty]).is_err());
        assert!(Reverse { axes: vec![1, 0] }.infer(&[&x.ty]).is_err());
    }
}
