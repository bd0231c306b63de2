//! Product of two matrices that are both computed: `y[…, m, n] = Σ_k a[…, m, k] · b[…, k, n]`.
//!
//! Operands of rank 2 or more; leading axes broadcast as numpy's do. The result's axes are unnamed but for
//! those of `a` when both have the same rank.

use super::{OpDef, OpError, all_float, arity, floats};
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
        all_float(inputs)?;
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
        Ok(TensorType::f32(dims, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (a, b) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let (sa, sb) = (&inputs[0].ty.shape, &inputs[1].ty.shape);
        let (ra, rb, ro) = (sa.rank(), sb.rank(), out.rank());
        let depth = sa[ra - 1];
        let (ta, tb) = (sa.strides(), sb.strides());
        // The offset of a leading index in an operand of `rank` axes: missing and unit axes stay at 0.
        let lead = |at: &[usize], shape: &Shape, strides: &[usize]| -> usize {
            let rank = shape.rank();
            (0..rank - 2).map(|i| if shape[i] == 1 { 0 } else { at[i + ro - rank] * strides[i] }).sum()
        };
        let mut y = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |at| {
            let from_a = lead(at, sa, &ta) + at[ro - 2] * ta[ra - 2];
            let from_b = lead(at, sb, &tb) + at[ro - 1];
            let sum: f64 =
                (0..depth).map(|k| f64::from(a[from_a + k]) * f64::from(b[from_b + k * tb[rb - 2]])).sum();
            y.push(sum as f32);
        });
        Ok(Data::F32(y))
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
}
