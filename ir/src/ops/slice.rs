//! A part of a tensor: along each axis `size` cells, from `begin` on, every `step`-th.

use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// Attributes of a slice; each list has one entry per axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// The first cell taken.
    pub begin: Vec<usize>,
    /// How many cells are taken.
    pub size: Vec<usize>,
    /// The distance between cells taken, at least 1.
    pub step: Vec<usize>,
}

impl OpDef for Slice {
    const NAMES: &'static [&'static str] = &["slice"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("begin", &self.begin).sizes("size", &self.size);
        if self.step.iter().any(|&s| s != 1) {
            to.sizes("step", &self.step);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let begin = from.sizes("begin")?;
        let step = if from.has("step") { from.sizes("step")? } else { vec![1; begin.len()] };
        Ok(Self { begin, size: from.sizes("size")?, step })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let rank = x.rank();
        if [&self.begin, &self.size, &self.step].iter().any(|v| v.len() != rank) {
            return Err(format!("begin, size and step need {rank} entries each").into());
        }
        for a in 0..rank {
            let last =
                self.size[a].saturating_sub(1).saturating_mul(self.step[a]).saturating_add(self.begin[a]);
            if self.step[a] == 0 || (self.size[a] > 0 && last >= x.shape[a]) {
                return Err(format!("axis {a}: cell {last} of {}", x.shape[a]).into());
            }
        }
        Ok(TensorType::new(x.elem.clone(), self.size.clone(), x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = inputs[0];
        let strides = x.ty.shape.strides();
        let mut at = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |index| {
            at.push((0..index.len()).map(|a| (self.begin[a] + index[a] * self.step[a]) * strides[a]).sum())
        });
        Ok(x.data.gather(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn steps_skip_cells() {
        let x = Tensor::f32([5], Layout::channels_last(0), vec![0., 1., 2., 3., 4.]);
        let op = |begin, size, step| Slice { begin: vec![begin], size: vec![size], step: vec![step] };
        let ty = op(1, 2, 2).infer(&[&x.ty]).unwrap();
        assert_eq!(op(1, 2, 2).eval(&[&x], &ty).unwrap(), Data::F32(vec![1., 3.]));
        assert!(op(1, 3, 2).infer(&[&x.ty]).is_err());
        assert!(op(0, 1, 0).infer(&[&x.ty]).is_err());
    }
}
