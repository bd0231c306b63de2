//! Cells picked along one axis by their index (numpy's `take`).
//!
//! Operands: `x` of any type, and indices of any integer type and shape. The axis of `x` is replaced by the axes
//! of the indices: `y[a…, i…, b…] = x[a…, indices[i…], b…]`. Negative indices count from the end; one outside
//! `−n..n` is an error of the sample. With one axis of indices the result keeps `x`'s layout; the axes of other
//! indices have no names.

use super::{OpDef, OpError, arity, check_axis, codes};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, Layout, TensorType};

/// Attributes of a gathering.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The axis along which cells are picked.
    pub axis: usize,
}

impl OpDef for Gather {
    const NAMES: &'static [&'static str] = &["gather"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { axis: from.size("axis")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (x, indices) = (inputs[0], inputs[1]);
        check_axis(self.axis, x)?;
        if !matches!(indices.elem, ElemType::Int(_) | ElemType::Bit) {
            return Err(format!("expected indices that are integers, found {indices}").into());
        }
        let (before, after) = (&x.shape[..self.axis], &x.shape[self.axis + 1..]);
        let dims = [before, &indices.shape[..], after].concat();
        let layout = match indices.rank() {
            1 => x.layout,
            n => {
                let names = x.layout.as_str();
                let (before, after) = (&names[..self.axis], &names[self.axis + 1..]);
                let name = format!("{before}{}{after}", "_".repeat(n));
                Layout::new(&name).ok_or_else(|| format!("the result would have {} axes", dims.len()))?
            }
        };
        Ok(TensorType::new(x.elem.clone(), dims, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = inputs[0];
        let n = x.ty.shape[self.axis];
        let index = |i: i64| {
            let from_start = if i < 0 { i.checked_add_unsigned(n as u64) } else { Some(i) };
            from_start
                .and_then(|i| usize::try_from(i).ok())
                .filter(|&i| i < n)
                .ok_or_else(|| OpError(format!("index {i} is outside the {n} cells of axis {}", self.axis)))
        };
        let picked = codes(inputs, 1)?.into_iter().map(index).collect::<Result<Vec<usize>, _>>()?;
        let inner: usize = x.ty.shape[self.axis + 1..].iter().product();
        let outer: usize = x.ty.shape[..self.axis].iter().product();
        let mut at = Vec::with_capacity(out.shape.num_elements());
        for block in 0..outer {
            for cell in &picked {
                let from = (block * n + cell) * inner;
                at.extend(from..from + inner);
            }
        }
        Ok(x.data.gather(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(shape: &[usize], v: &[i64]) -> Tensor {
        let ty = TensorType::new(ElemType::signed(64), shape, Layout::anonymous(shape.len()));
        Tensor::codes(ty, v.to_vec())
    }
    fn run(axis: usize, i: &Tensor) -> Result<(String, Data), OpError> {
        let x = Tensor::f32([2, 3], Layout::channels_last(1), vec![0., 1., 2., 10., 11., 12.]);
        let op = Gather { axis };
        let ty = op.infer(&[&x.ty, &i.ty])?;
        Ok((ty.to_string(), op.eval(&[&x, i], &ty)?))
    }

    #[test]
    fn indices_replace_the_axis() {
        let y = |v: &[f32]| Data::F32(v.to_vec());
        let (ty, data) = run(1, &indices(&[2], &[-1, 0])).unwrap();
        assert_eq!((ty.as_str(), data), ("f32[2,2] wc", y(&[2., 0., 12., 10.])));
        let (ty, data) = run(0, &indices(&[], &[1])).unwrap();
        assert_eq!((ty.as_str(), data), ("f32[3] c", y(&[10., 11., 12.])));
        let (ty, data) = run(1, &indices(&[1, 2], &[1, 1])).unwrap();
        assert_eq!((ty.as_str(), data), ("f32[2,1,2] w__", y(&[1., 1., 11., 11.])));
    }

    #[test]
    fn indices_outside_are_errors() {
        for i in [3, -4, i64::MIN, i64::MAX] {
            assert!(run(1, &indices(&[1], &[i])).unwrap_err().0.contains("outside the 3 cells"), "{i}");
        }
        assert!(run(2, &indices(&[1], &[0])).is_err());
        let x = TensorType::f32([2], Layout::channels_last(0));
        assert!(Gather { axis: 0 }.infer(&[&x, &x]).is_err());
        let many = indices(&[1; 8], &[0]);
        let y = TensorType::f32([2, 3], Layout::channels_last(1));
        assert!(Gather { axis: 0 }.infer(&[&y, &many.ty]).is_err());
    }
}
