//! Another order of the axes: axis `i` of the result is axis `perm[i]` of the operand, name included.

use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of a transposition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Transpose {
    /// Which axis of the operand each axis of the result is.
    pub perm: Vec<usize>,
}

impl Transpose {
    /// Whether nothing moves.
    pub fn is_identity(&self) -> bool {
        self.perm.iter().enumerate().all(|(i, &p)| i == p)
    }
    /// The transposition that undoes this one.
    pub fn inverse(&self) -> Self {
        let mut perm = vec![0; self.perm.len()];
        for (i, &p) in self.perm.iter().enumerate() {
            perm[p] = i;
        }
        Self { perm }
    }
}

impl OpDef for Transpose {
    const NAMES: &'static [&'static str] = &["transpose"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("perm", &self.perm);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { perm: from.sizes("perm")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            return Err(format!("{:?} is no permutation of the axes of {}", self.perm, x.shape).into());
        }
        let dims: Vec<usize> = self.perm.iter().map(|&p| x.shape[p]).collect();
        Ok(TensorType::new(x.elem.permuted(&self.perm), dims, x.layout.permuted(&self.perm)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        Ok(inputs[0].transposed(&self.perm).data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn names_move_with_their_axes() {
        let op = Transpose { perm: vec![1, 2, 0] };
        let x = TensorType::f32([3, 4, 5], Layout::channels_first(2));
        assert_eq!(op.infer(&[&x]).unwrap().to_string(), "f32[4,5,3] hwc");
        assert_eq!(op.inverse().perm, [2, 0, 1]);
        assert!(Transpose { perm: vec![0, 0, 1] }.infer(&[&x]).is_err());
        let scales = crate::types::Affine {
            int: crate::types::IntType::signed(8),
            axis: Some(0),
            scale: vec![1.0, 2.0, 3.0],
            zero: vec![0; 3],
        };
        let codes = x.with_elem(crate::types::ElemType::Quant(scales.into()));
        let moved = op.infer(&[&codes]).unwrap();
        assert_eq!(moved.elem.fault_on(&moved.shape), None, "scales move with their axis");
    }
}
