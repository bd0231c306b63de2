//! The same number in another element type.
//!
//! One operand, `f32` or any integer type; any of those but `Bipolar` is cast to.
//!
//! | from | to | result |
//! |---|---|---|
//! | integers | `f32` | the nearest float, ties to even |
//! | integers | `Int` | the low bits |
//! | `f32` | `Int` of less than 32 bits | rounded toward 0, then the low bits, as numpy does; beyond 64 bits as below |
//! | `f32` | `Int` from 32 bits on | rounded toward 0 and clamped to the type (frameworks differ beyond it); NaN gives 0 |
//! | all | `Bit` | whether it is not 0; NaN is not |
//! | all | `Ternary` | rounded toward 0 and clamped |
//!
//! What has no 0 is made by a [`super::Quantize`], which says where 0 goes.

use super::{OpDef, OpError, arity, codes, float_or_integer, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// Attributes of a cast.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cast {
    /// The element type of the result.
    pub to: ElemType,
}

impl OpDef for Cast {
    const NAMES: &'static [&'static str] = &["cast"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.word("to", &self.to);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { to: from.elem("to")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        float_or_integer(inputs[0])?;
        match &self.to {
            ElemType::F32 | ElemType::Int(_) | ElemType::Bit | ElemType::Ternary => {
                Ok(inputs[0].with_elem(self.to.clone()))
            }
            other => Err(format!("nothing is cast to {other}; `quantize` makes such codes").into()),
        }
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = inputs[0];
        if x.ty.elem == out.elem {
            return Ok(x.data.clone());
        }
        if x.ty.elem.is_float() {
            return Ok(Data::from_codes(&out.elem, floats(inputs, 0)?.iter().map(|&v| self.of_float(v))));
        }
        let x = codes(inputs, 0)?;
        Ok(match &out.elem {
            ElemType::F32 => Data::F32(x.into_iter().map(|v| v as f32).collect()),
            elem => Data::from_codes(elem, x.into_iter().map(|v| self.of_integer(v))),
        })
    }
}

impl Cast {
    fn of_float(&self, v: f32) -> i64 {
        match self.to {
            // Rust's cast rounds toward 0, clamps, and takes NaN for 0.
            ElemType::Int(int) if int.width < 32 => int.wrap(v as i64),
            ElemType::Int(int) => (v as i64).clamp(int.min(), int.max()),
            ElemType::Bit => i64::from(v != 0.0),
            _ => (v as i64).clamp(-1, 1),
        }
    }
    fn of_integer(&self, v: i64) -> i64 {
        match self.to {
            ElemType::Int(int) => int.wrap(v),
            ElemType::Bit => i64::from(v != 0),
            _ => v.clamp(-1, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    fn cast(x: &Tensor, to: ElemType) -> Tensor {
        let op = Cast { to };
        let ty = op.infer(&[&x.ty]).unwrap();
        let y = Tensor { data: op.eval(&[x], &ty).unwrap(), ty };
        assert_eq!(y.fault(), None);
        y
    }
    fn all(y: &Tensor) -> Vec<i64> {
        (0..y.len()).filter_map(|i| y.data.code(i)).collect()
    }
    fn f32s(v: &[f32]) -> Tensor {
        Tensor::f32([v.len()], Layout::channels_last(0), v.to_vec())
    }

    /// What numpy 2.4 and ml_dtypes 0.6 give.
    #[test]
    fn floats_to_integers() {
        let unsigned = |w| ElemType::Int(IntType::unsigned(w));
        let x = f32s(&[2.9, -2.9, 300.0, -5.7]);
        assert_eq!(all(&cast(&x, unsigned(8))), [2, 254, 44, 251]);
        assert_eq!(all(&cast(&x, ElemType::signed(8))), [2, -2, 44, -5]);
        assert_eq!(all(&cast(&f32s(&[-9.0, 8.0, 15.0]), ElemType::signed(4))), [7, -8, -1]);
        assert_eq!(all(&cast(&f32s(&[-9.0, 8.0, 15.0]), unsigned(4))), [7, 8, 15]);
        let x = f32s(&[1e10, -1e10, f32::NAN, f32::INFINITY]);
        let (lo, hi) = (i64::from(i32::MIN), i64::from(i32::MAX));
        assert_eq!(all(&cast(&x, ElemType::signed(32))), [hi, lo, 0, hi]);
        assert_eq!(all(&cast(&x, ElemType::signed(64))), [10_000_000_000, -10_000_000_000, 0, i64::MAX]);
        assert_eq!(all(&cast(&f32s(&[0.5, -0.0, f32::NAN, 0.0]), ElemType::Bit)), [1, 0, 1, 0]);
        assert_eq!(all(&cast(&f32s(&[1.5, -7.0, 0.9]), ElemType::Ternary)), [1, -1, 0]);
    }

    #[test]
    fn integers_to_others() {
        let ty = TensorType::new(ElemType::signed(32), [4], Layout::channels_last(0));
        let x = Tensor::codes(ty, [16_777_217, -1, 0, 200]);
        assert_eq!(cast(&x, ElemType::F32).as_f32(), Some(&[16_777_216.0, -1.0, 0.0, 200.0][..]));
        assert_eq!(all(&cast(&x, ElemType::signed(8))), [1, -1, 0, -56]);
        assert_eq!(all(&cast(&x, ElemType::Bit)), [1, 1, 0, 1]);
        assert!(Cast { to: ElemType::Bipolar }.infer(&[&x.ty]).is_err());
    }
}
