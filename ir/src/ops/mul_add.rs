//! `x · a + c`, rounded once, as a fused multiply-add does.
//!
//! Operands: `x`, a factor and a term, all `f32`; the latter two broadcast to `x`'s shape. The result is `x`'s type.
//! NaN and infinities follow IEEE 754.
//!
//! PyTorch evaluates batch normalisation so on a CPU, with `a = γ / sqrt(variance + ε)` and `c = fma(−mean, a, β)`. In
//! front of a sign or a quantizer the one rounding matters: whether a sum of ±1 lies on a threshold, or beside it.

use super::{OpDef, OpError, all_float, arity, broadcast, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// A fused multiply-add; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MulAdd;

impl OpDef for MulAdd {
    const NAMES: &'static [&'static str] = &["mul_add"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        all_float(inputs)?;
        broadcast::to_first(inputs)?;
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, a, c) = (floats(inputs, 0)?, floats(inputs, 1)?, floats(inputs, 2)?);
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(x[at[0]].mul_add(a[at[1]], c[at[2]])));
        Ok(Data::F32(y))
    }

    fn macs(&self, _: &[&TensorType], out: &TensorType) -> u64 {
        out.shape.num_elements() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn it_rounds_once() {
        let third = 1.0f32 / 3.0;
        let x = Tensor::f32([2, 1], Layout::channels_first(1), vec![3.0, -6.0]);
        let a = Tensor::f32([2, 1], Layout::anonymous(2), vec![third, third]);
        let c = Tensor::f32([], Layout::anonymous(0), vec![-1.0]);
        let ty = MulAdd.infer(&[&x.ty, &a.ty, &c.ty]).unwrap();
        let y = MulAdd.eval(&[&x, &a, &c], &ty).unwrap();
        // 3 · fl(1/3) is 1 + 2⁻²⁵: a product that is rounded first leaves nothing.
        assert_eq!(y, Data::F32(vec![2f32.powi(-25), -3.0]));
        assert_eq!(3.0 * third - 1.0, 0.0);
        assert!(MulAdd.infer(&[&c.ty, &a.ty, &c.ty]).is_err() && MulAdd.infer(&[&x.ty, &a.ty]).is_err());
    }
}
