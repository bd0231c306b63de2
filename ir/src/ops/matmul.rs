//! Product of two matrices that are both computed: `y[…, m, n] = Σ_k a[…, m, k] · b[…, k, n]`.
//!
//! Operands of rank 2 or more, both of floats or both of integers, which make the exact sum (see `accumulate`);
//! leading axes broadcast as numpy's do. The result's axes are unnamed but for those of `a` when both have the same
//! rank.

use super::accumulate::{self, Run};
use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::{Layout, Shape, TensorType};

/// A matrix product; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MatMul;

impl OpDef for MatMul {
    const NAMES: &'static [&'static str] = &["matmul"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        let (ra, rb) = (a.rank(), b.rank());
        if ra < 2 || rb < 2 || a.shape[ra - 1] != b.shape[rb - 2] {
            return Err(format!("{} and {} do not multiply as matrices", a.shape, b.shape).into());
        }
        let (lead_a, lead_b) = (Shape::from(&a.shape[..ra - 2]), Shape::from(&b.shape[..rb - 2]));
        let lead = lead_a
            .broadcast(&lead_b)
            .ok_or_else(|| format!("the leading axes of {} and {} do not broadcast", a.shape, b.shape))?;
        let mut dims = lead.to_vec();
        dims.extend([a.shape[ra - 2], b.shape[rb - 1]]);
        let layout = if dims.len() == ra { a.layout } else { Layout::anonymous(dims.len()) };
        let elem = accumulate::elem(a, b, None, a.shape[ra - 1], false)?;
        Ok(TensorType::new(elem, dims, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (sa, sb) = (&inputs[0].ty.shape, &inputs[1].ty.shape);
        let (ra, rb, ro) = (sa.rank(), sb.rank(), out.rank());
        let depth = sa[ra - 1];
        let (ta, tb) = (sa.strides(), sb.strides());
        // The offset of a leading index in an operand of `rank` axes: missing and unit axes stay at 0.
        let lead = |at: &[usize], shape: &Shape, strides: &[usize]| -> usize {
            let rank = shape.rank();
            (0..rank - 2).map(|i| if shape[i] == 1 { 0 } else { at[i + ro - rank] * strides[i] }).sum()
        };
        // Where the row of `a` and the column of `b` begin, for each element of the result.
        let mut begin = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |at| {
            let from_a = lead(at, sa, &ta) + at[ro - 2] * ta[ra - 2];
            begin.push((from_a, lead(at, sb, &tb) + at[ro - 1]));
        });
        accumulate::sums(
            inputs,
            out,
            depth,
            |_| 0,
            |i| {
                let ((a, b), step) = (begin[i], tb[rb - 2]);
                std::iter::once(Run { x: a, x_step: 1, w: b, w_step: step, len: depth })
            },
        )
    }

    fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
        let depth = inputs[0].shape.last().copied().unwrap_or(0);
        (out.shape.num_elements() as u64).saturating_mul(depth as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_axes_broadcast() {
        let t = |s: &[usize], v: &[f32]| Tensor::f32(s, Layout::anonymous(s.len()), v.to_vec());
        let a = t(&[2, 1, 2], &[1., 2., 3., 4.]);
        let b = t(&[2, 1], &[10., 1.]);
        let ty = MatMul.infer(&[&a.ty, &b.ty]).unwrap();
        assert_eq!(ty.shape.dims(), [2, 1, 1]);
        assert_eq!(MatMul.eval(&[&a, &b], &ty).unwrap(), Data::F32(vec![12., 34.]));
        assert!(MatMul.infer(&[&b.ty, &b.ty]).is_err());
    }

    #[test]
    fn integers_make_exact_sums() {
        use crate::types::{ElemType, IntType};
        let ints = |elem, shape: &[usize], v: &[i64]| {
            Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), v.to_vec())
        };
        let a = ints(ElemType::Int(IntType::unsigned(8)), &[1, 2], &[255, 255]);
        let b = ints(ElemType::signed(8), &[2, 2], &[-128, 127, -128, 127]);
        let ty = MatMul.infer(&[&a.ty, &b.ty]).unwrap();
        assert_eq!(ty.elem.to_string(), "i17");
        assert_eq!(MatMul.eval(&[&a, &b], &ty).unwrap(), Data::I32(vec![-65280, 64770]));
        let wide = ints(ElemType::signed(64), &[2, 2], &[i64::MAX, 1, 1, 1]);
        let ty = MatMul.infer(&[&wide.ty, &wide.ty]).unwrap();
        let y = MatMul.eval(&[&wide, &wide], &ty).unwrap();
        assert_eq!(y.code(0), Some(2), "(2^63 - 1)^2 + 1 modulo 2^64");
    }
}
