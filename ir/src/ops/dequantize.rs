//! Integer codes to floats: `(q − zero) · scale`.
//!
//! Operands: codes `q` of any integer type, a scale (`f32`) and a zero point (`f32` or integers); the latter two
//! broadcast to `q`'s shape. The difference is exact where the zero point is an integer, and rounded to single
//! precision; so is the product. The result is `q`'s type with elements `f32`.
//!
//! Over constant codes this is how a graph says that a weight is quantized: constants are not folded through it.

use super::{OpDef, OpError, arity, broadcast, codes, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// The way back from codes; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Dequantize;

impl OpDef for Dequantize {
    const NAMES: &'static [&'static str] = &["dequantize"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        let [q, scale, zero] = [inputs[0], inputs[1], inputs[2]];
        let fits = q.elem.is_integer() && scale.elem.is_float();
        if !fits || !(zero.elem.is_float() || zero.elem.is_integer()) {
            return Err(format!(
                "expected integers, an f32 scale and a zero point, found {q}, {scale} and {zero}"
            )
            .into());
        }
        broadcast::to_first(inputs)?;
        Ok(q.with_elem(ElemType::F32))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (q, scale) = (codes(inputs, 0)?, floats(inputs, 1)?);
        let mut y = Vec::with_capacity(out.shape.num_elements());
        if inputs[2].ty.elem.is_float() {
            let zero = floats(inputs, 2)?;
            broadcast::for_each(inputs, out, |at| y.push((q[at[0]] as f32 - zero[at[2]]) * scale[at[1]]));
        } else {
            let zero = codes(inputs, 2)?;
            broadcast::for_each(inputs, out, |at| {
                let apart = i128::from(q[at[0]]) - i128::from(zero[at[2]]);
                y.push(apart as f32 * scale[at[1]]);
            });
        }
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    fn codes_of(elem: ElemType, shape: &[usize], v: &[i64]) -> Tensor {
        Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), v.to_vec())
    }
    fn f(shape: &[usize], v: &[f32]) -> Tensor {
        Tensor::f32(shape, Layout::anonymous(shape.len()), v.to_vec())
    }
    fn run(inputs: [&Tensor; 3]) -> Data {
        let types: Vec<&TensorType> = inputs.iter().map(|t| &t.ty).collect();
        Dequantize.eval(&inputs, &Dequantize.infer(&types).unwrap()).unwrap()
    }

    #[test]
    fn per_axis() {
        let q = codes_of(ElemType::signed(8), &[2, 2], &[-128, 127, 0, 3]);
        let s = f(&[2, 1], &[0.5, 0.1]);
        let z = codes_of(ElemType::signed(8), &[2, 1], &[-128, 1]);
        assert_eq!(run([&q, &s, &z]), Data::F32(vec![0.0, 127.5, -0.1, 0.2]));
        let z = f(&[], &[0.5]);
        assert_eq!(run([&q, &s, &z]), Data::F32(vec![-64.25, 63.25, -0.05, 0.25]));
        let q = codes_of(ElemType::Bipolar, &[2], &[-1, 1]);
        assert_eq!(run([&q, &f(&[1], &[0.1]), &f(&[], &[0.0])]), Data::F32(vec![-0.1, 0.1]));
    }

    #[test]
    fn each_step_is_rounded_to_single_precision() {
        let q = codes_of(ElemType::signed(32), &[1], &[16_777_217]);
        let s = f(&[1], &[1.0]);
        assert_eq!(run([&q, &s, &f(&[], &[1.0])]), Data::F32(vec![16_777_215.0]));
        assert_eq!(run([&q, &s, &codes_of(ElemType::signed(32), &[], &[1])]), Data::F32(vec![16_777_216.0]));
        // 3 · 0.1 in single precision, not 0.3.
        let q = codes_of(ElemType::signed(32), &[1], &[3]);
        assert_eq!(run([&q, &f(&[1], &[0.1]), &f(&[], &[0.0])]), Data::F32(vec![3.0f32 * 0.1]));
    }

    #[test]
    fn unsuitable_operands_are_refused() {
        let (q, s) = (codes_of(ElemType::signed(8), &[2], &[0, 1]), f(&[], &[1.0]));
        let refused = |a: &Tensor, b: &Tensor, c: &Tensor| Dequantize.infer(&[&a.ty, &b.ty, &c.ty]).is_err();
        assert!(refused(&s, &s, &s) && refused(&q, &q, &s) && refused(&q, &f(&[2, 2], &[1.0; 4]), &s));
        assert!(!refused(&q, &s, &q));
    }
}
