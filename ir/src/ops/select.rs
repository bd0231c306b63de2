//! One of two, element by element: `a` where the condition is 1, else `b`. Broadcasts by numpy's rule.
//!
//! Operands: the condition (`Bit`), `a` and `b` of one element type, which the result has too.

use super::{OpDef, OpError, arity, broadcast, codes, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// A selection; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Select;

impl OpDef for Select {
    const NAMES: &'static [&'static str] = &["select"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 3, 3)?;
        if inputs[0].elem != ElemType::Bit {
            return Err(format!("expected a condition of bits, found {}", inputs[0]).into());
        }
        if inputs[1].elem != inputs[2].elem {
            return Err(format!("{} and {} are not of one type", inputs[1], inputs[2]).into());
        }
        let (shape, layout) = broadcast::common(inputs)?;
        Ok(TensorType::new(inputs[1].elem.clone(), shape, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        fn pick<T: Copy>(c: &[i64], a: &[T], b: &[T], inputs: &[&Tensor], out: &TensorType) -> Vec<T> {
            let mut y = Vec::with_capacity(out.shape.num_elements());
            broadcast::for_each(inputs, out, |at| y.push(if c[at[0]] != 0 { a[at[1]] } else { b[at[2]] }));
            y
        }
        let c = codes(inputs, 0)?;
        if out.elem.is_float() {
            return Ok(Data::F32(pick(&c, floats(inputs, 1)?, floats(inputs, 2)?, inputs, out)));
        }
        Ok(Data::from_codes(&out.elem, pick(&c, &codes(inputs, 1)?, &codes(inputs, 2)?, inputs, out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn all_three_operands_broadcast() {
        let plain = |elem, shape: &[usize]| TensorType::new(elem, shape, Layout::anonymous(shape.len()));
        let c = Tensor::codes(plain(ElemType::Bit, &[2, 1]), [1, 0]);
        let a = Tensor::f32([3], Layout::channels_last(0), vec![1., 2., f32::NAN]);
        let b = Tensor::f32([], Layout::anonymous(0), vec![9.]);
        let ty = Select.infer(&[&c.ty, &a.ty, &b.ty]).unwrap();
        assert_eq!(ty.shape.dims(), [2, 3]);
        let y = Select.eval(&[&c, &a, &b], &ty).unwrap();
        assert_eq!(y, Data::F32(vec![1., 2., f32::NAN, 9., 9., 9.]));
        let i = Tensor::codes(plain(ElemType::signed(8), &[2, 1]), [-128, 127]);
        let ty = Select.infer(&[&c.ty, &i.ty, &i.ty]).unwrap();
        assert_eq!(Select.eval(&[&c, &i, &i], &ty).unwrap(), Data::I8(vec![-128, 127]));
        assert!(Select.infer(&[&a.ty, &a.ty, &a.ty]).is_err());
        assert!(Select.infer(&[&c.ty, &a.ty, &i.ty]).is_err());
    }
}
