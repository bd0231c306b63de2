//! Sum, mean, maximum, minimum, product or sum of squares over whole axes; global pooling is one of these.
//!
//! One operand, of floats; all but the mean take an `Int` too, where the low bits of the true result stay, and
//! maximum and minimum a `Bit`. The reduced axes stay with extent 1 when `keep` is set, and vanish otherwise. Over no
//! cells at all, a maximum is the least number that the type has, and a minimum the greatest.

use super::{OpDef, OpError, all_float, arity, blocks, check_axes, codes, floats, wrapped};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, Layout, TensorType};

/// What is computed over the axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceFn {
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Mean,
    /// The greatest element.
    Max,
    /// The least element.
    Min,
    /// The product.
    Prod,
    /// The sum of squares.
    SumSquare,
}

/// Attributes of a reduction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// What is computed.
    pub f: ReduceFn,
    /// The axes over which it is computed, rising.
    pub axes: Vec<usize>,
    /// Whether those axes stay, with extent 1.
    pub keep: bool,
}

impl OpDef for Reduce {
    const NAMES: &'static [&'static str] =
        &["reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum_square"];

    fn name(&self) -> &'static str {
        Self::NAMES[self.f as usize]
    }
    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("axes", &self.axes).bool("keep", self.keep);
    }
    fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String> {
        use ReduceFn::*;
        let f = [Sum, Mean, Max, Min, Prod, SumSquare]
            .into_iter()
            .find(|&f| Self::NAMES[f as usize] == name)
            .ok_or_else(|| format!("there is no reduction `{name}`"))?;
        Ok(Self { f, axes: from.sizes("axes")?, keep: from.bool("keep")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let fits = match x.elem {
            ElemType::Int(_) => self.f != ReduceFn::Mean,
            ElemType::Bit => matches!(self.f, ReduceFn::Max | ReduceFn::Min),
            _ => false,
        };
        if !fits {
            all_float(inputs)?;
        }
        check_axes(&self.axes, x.rank())?;
        Ok(reduced(x, &self.axes, self.keep))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (bases, cells) = blocks(&inputs[0].ty.shape, &self.axes);
        if !out.elem.is_float() {
            let x = codes(inputs, 0)?;
            let (lo, hi) = out.elem.code_range().unwrap_or_default();
            let of = |base: usize| {
                let values = cells.iter().map(|c| x[base + c]);
                match self.f {
                    ReduceFn::Sum | ReduceFn::Mean => values.fold(0, i64::wrapping_add),
                    ReduceFn::Max => values.max().unwrap_or(lo),
                    ReduceFn::Min => values.min().unwrap_or(hi),
                    ReduceFn::Prod => values.fold(1, i64::wrapping_mul),
                    ReduceFn::SumSquare => values.map(|v| v.wrapping_mul(v)).fold(0, i64::wrapping_add),
                }
            };
            return Ok(wrapped(&out.elem, bases.into_iter().map(of)));
        }
        let x = floats(inputs, 0)?;
        let mut y = Vec::with_capacity(out.shape.num_elements());
        for base in bases {
            let values = cells.iter().map(|c| f64::from(x[base + c]));
            let pick =
                |a: f64, b: f64, b_wins: bool| if a.is_nan() || !(b_wins || b.is_nan()) { a } else { b };
            y.push(match self.f {
                ReduceFn::Sum => values.sum::<f64>(),
                ReduceFn::Mean => values.sum::<f64>() / cells.len() as f64,
                ReduceFn::Max => values.fold(f64::NEG_INFINITY, |a, b| pick(a, b, b > a)),
                ReduceFn::Min => values.fold(f64::INFINITY, |a, b| pick(a, b, b < a)),
                ReduceFn::Prod => values.product(),
                ReduceFn::SumSquare => values.map(|v| v * v).sum(),
            } as f32);
        }
        Ok(Data::F32(y))
    }
}

/// The type after a reduction that keeps the element type.
pub(super) fn reduced(x: &TensorType, axes: &[usize], keep: bool) -> TensorType {
    if keep {
        let dims: Vec<usize> =
            (0..x.rank()).map(|a| if axes.contains(&a) { 1 } else { x.shape[a] }).collect();
        return TensorType::new(x.elem.clone(), dims, x.layout);
    }
    let rest: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
    let dims: Vec<usize> = rest.iter().map(|&a| x.shape[a]).collect();
    let layout = if rest.is_empty() { Layout::anonymous(0) } else { x.layout.permuted(&rest) };
    TensorType::new(x.elem.clone(), dims, layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_vanish_or_stay() {
        let x = Tensor::f32([2, 2, 2], Layout::channels_last(2), vec![1., 2., 3., 4., 5., 6., 7., -8.]);
        let run = |f, keep| {
            let op = Reduce { f, axes: vec![0, 1], keep };
            let ty = op.infer(&[&x.ty]).unwrap();
            (ty.to_string(), op.eval(&[&x], &ty).unwrap())
        };
        assert_eq!(run(ReduceFn::Mean, false), ("f32[2] c".to_string(), Data::F32(vec![4., 1.])));
        assert_eq!(run(ReduceFn::Max, true), ("f32[1,1,2] hwc".to_string(), Data::F32(vec![7., 6.])));
        assert_eq!(run(ReduceFn::Min, true).1, Data::F32(vec![1., -8.]));
        assert_eq!(run(ReduceFn::SumSquare, false).1, Data::F32(vec![84., 120.]));
    }

    #[test]
    fn integers_wrap_and_empty_sets_have_bounds() {
        let run = |f, elem: ElemType, v: &[i64]| {
            let x = Tensor::codes(TensorType::new(elem, [v.len()], Layout::channels_last(0)), v.to_vec());
            let op = Reduce { f, axes: vec![0], keep: false };
            op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap().code(0).unwrap()
        };
        let i8 = || ElemType::signed(8);
        assert_eq!(run(ReduceFn::Sum, i8(), &[100, 100]), -56);
        assert_eq!(run(ReduceFn::Prod, i8(), &[-3, 5]), -15);
        assert_eq!(run(ReduceFn::SumSquare, i8(), &[3, 4]), 25);
        assert_eq!([run(ReduceFn::Max, i8(), &[-5, -7]), run(ReduceFn::Min, i8(), &[-5, -7])], [-5, -7]);
        assert_eq!([run(ReduceFn::Max, i8(), &[]), run(ReduceFn::Min, i8(), &[])], [-128, 127]);
        assert_eq!(
            [run(ReduceFn::Max, ElemType::Bit, &[0, 1]), run(ReduceFn::Max, ElemType::Bit, &[])],
            [1, 0]
        );
        let x = TensorType::new(i8(), [2], Layout::channels_last(0));
        assert!(Reduce { f: ReduceFn::Mean, axes: vec![0], keep: false }.infer(&[&x]).is_err());
    }
}
