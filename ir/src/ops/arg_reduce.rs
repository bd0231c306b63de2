//! Where the greatest or the least element along one axis is: its index, an `i64`.
//!
//! One operand, `f32` or of any integer type; the axis has at least one cell. Of equal elements the first one's
//! index is taken, or the last one's. The first (last) NaN wins over every number, as in numpy. The axis stays
//! with extent 1 when `keep` is set, and vanishes otherwise.

use super::{OpDef, OpError, arity, blocks, check_axis, codes, float_or_integer, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// Attributes of an index of an extreme.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ArgReduce {
    /// Whether the greatest is sought, not the least.
    pub max: bool,
    /// The axis along which it is sought.
    pub axis: usize,
    /// Whether the axis stays, with extent 1.
    pub keep: bool,
    /// Whether the last of equal elements is taken.
    pub last: bool,
}

impl OpDef for ArgReduce {
    const NAMES: &'static [&'static str] = &["arg_max", "arg_min"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(!self.max)]
    }
    fn attrs(&self, to: &mut AttrWriter) {
        to.int("axis", self.axis as u64).bool("keep", self.keep);
        if self.last {
            to.bool("last", true);
        }
    }
    fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String> {
        let (axis, keep) = (from.size("axis")?, from.bool("keep")?);
        Ok(Self { max: name == "arg_max", axis, keep, last: from.flag("last")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        float_or_integer(x)?;
        if check_axis(self.axis, x)? == 0 {
            return Err(format!("axis {} has no cells", self.axis).into());
        }
        Ok(super::reduce::reduced(x, &[self.axis], self.keep).with_elem(ElemType::signed(64)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        let shape = &inputs[0].ty.shape;
        let (bases, cells) = blocks(shape, &[self.axis]);
        let seek = |better: &dyn Fn(usize, usize) -> bool| -> Data {
            let of = |base: usize| {
                let mut best = 0;
                for i in 1..cells.len() {
                    let (new, old) = (base + cells[i], base + cells[best]);
                    if better(new, old) || (self.last && !better(old, new)) {
                        best = i;
                    }
                }
                best as i64
            };
            Data::I64(bases.iter().map(|&base| of(base)).collect())
        };
        if inputs[0].ty.elem.is_float() {
            let x = floats(inputs, 0)?;
            return Ok(seek(&|a, b| {
                let (a, b) = (x[a], x[b]);
                !b.is_nan() && (a.is_nan() || if self.max { a > b } else { a < b })
            }));
        }
        let x = codes(inputs, 0)?;
        Ok(seek(&|a, b| if self.max { x[a] > x[b] } else { x[a] < x[b] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    fn run(op: &ArgReduce, x: &Tensor) -> (String, Data) {
        let ty = op.infer(&[&x.ty]).unwrap();
        (ty.to_string(), op.eval(&[x], &ty).unwrap())
    }

    #[test]
    fn ties_go_to_the_first_or_the_last() {
        let x = Tensor::f32([2, 3], Layout::channels_last(1), vec![2., 2., 1., 5., 4., 4.]);
        for (max, last, want) in
            [(true, false, [0, 0]), (true, true, [1, 0]), (false, false, [2, 1]), (false, true, [2, 2])]
        {
            let op = ArgReduce { max, axis: 1, keep: false, last };
            assert_eq!(run(&op, &x), ("i64[2] w".to_string(), Data::I64(want.to_vec())));
        }
        let op = ArgReduce { max: true, axis: 0, keep: true, last: false };
        assert_eq!(run(&op, &x), ("i64[1,3] wc".to_string(), Data::I64(vec![1, 1, 1])));
    }

    #[test]
    fn nan_wins() {
        let x = Tensor::f32([4], Layout::channels_last(0), vec![1., f32::NAN, f32::NAN, 9.]);
        for (last, want) in [(false, 1), (true, 2)] {
            for max in [true, false] {
                assert_eq!(run(&ArgReduce { max, axis: 0, keep: false, last }, &x).1, Data::I64(vec![want]));
            }
        }
    }

    #[test]
    fn integers_and_empty_axes() {
        let ty = TensorType::new(ElemType::Bipolar, [3], Layout::channels_last(0));
        let op = ArgReduce { max: false, axis: 0, keep: false, last: false };
        assert_eq!(run(&op, &Tensor::codes(ty, [1, -1, -1])).1, Data::I64(vec![1]));
        assert!(op.infer(&[&TensorType::f32([0], Layout::channels_last(0))]).is_err());
        assert!(op.infer(&[&TensorType::f32([], Layout::anonymous(0))]).is_err());
    }
}
