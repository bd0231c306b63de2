//! A function of one small integer, as a table: `y = table[x − min]`.
//!
//! Operands: `x`, of any integer type of at most 16 bits, and a table of one axis, of any element type, usually a
//! constant. `min` is the least code of `x`'s type; the table has an entry for each integer from there to the greatest
//! code (`bipolar`'s three include the 0 that never comes). The result is `x`'s type with the table's element type.
//!
//! What a sigmoid, a softmax's exponential or a root becomes between quantized values.

use super::{OpDef, OpError, arity, codes};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// A table lookup; all it knows is in its operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lookup;

impl Lookup {
    /// The greatest number of bits of an index.
    pub const MAX_BITS: u32 = 16;

    /// The first index and the number of entries of a table for elements of that type; nothing where there is none.
    pub fn table_of(elem: &ElemType) -> Option<(i64, usize)> {
        let (lo, hi) = elem.code_range().filter(|_| elem.is_integer() && elem.bits() <= Self::MAX_BITS)?;
        Some((lo, usize::try_from(hi - lo + 1).ok()?))
    }
}

impl OpDef for Lookup {
    const NAMES: &'static [&'static str] = &["lookup"];

    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(_: &str, _: &mut AttrReader) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (x, table) = (inputs[0], inputs[1]);
        let Some((lo, n)) = Self::table_of(&x.elem) else {
            return Err(format!("expected integers of at most {} bits, found {x}", Self::MAX_BITS).into());
        };
        if table.shape.dims() != [n] {
            let expected = format!("expected a table [{n}], for {} from {lo} up", x.elem);
            return Err(format!("{expected}, found {table}").into());
        }
        if matches!(&table.elem, ElemType::Quant(a) if a.axis.is_some()) {
            return Err(format!("expected entries of one scale, found {table}").into());
        }
        Ok(x.with_elem(table.elem.clone()))
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        let (lo, n) = Self::table_of(&inputs[0].ty.elem).ok_or("the index is no small integer")?;
        let index = |x: i64| usize::try_from(x - lo).ok().filter(|&i| i < n);
        let outside = || OpError(format!("an index is none of the {n} from {lo} up"));
        let at: Vec<usize> =
            codes(inputs, 0)?.into_iter().map(index).collect::<Option<_>>().ok_or_else(outside)?;
        Ok(inputs[1].data.gather(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    fn ints(elem: ElemType, shape: &[usize], v: &[i64]) -> Tensor {
        Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), v.to_vec())
    }
    fn run(x: &Tensor, table: &Tensor) -> Result<(String, Data), OpError> {
        let ty = Lookup.infer(&[&x.ty, &table.ty])?;
        Ok((ty.to_string(), Lookup.eval(&[x, table], &ty)?))
    }

    #[test]
    fn every_code_has_an_entry() {
        let squares = ints(ElemType::Int(IntType::unsigned(4)), &[8], &[15, 9, 4, 1, 0, 1, 4, 9]);
        let x = ints(ElemType::signed(3), &[2, 2], &[-4, 3, 0, -1]);
        assert_eq!(run(&x, &squares), Ok(("u4[2,2] __".to_string(), Data::I8(vec![15, 9, 0, 1]))));
        let halves = Tensor::f32([4], Layout::anonymous(1), vec![0.0, 0.5, 1.0, 1.5]);
        let x = ints(ElemType::Int(IntType::unsigned(2)), &[3], &[3, 0, 2]);
        assert_eq!(run(&x, &halves), Ok(("f32[3] _".to_string(), Data::F32(vec![1.5, 0.0, 1.0]))));
        let signs = ints(ElemType::signed(8), &[3], &[-100, 7, 100]);
        assert_eq!(
            run(&ints(ElemType::Bipolar, &[2], &[1, -1]), &signs).unwrap().1,
            Data::I8(vec![100, -100])
        );
        let wide = ints(ElemType::signed(32), &[1 << 16], &(0..1 << 16).collect::<Vec<i64>>());
        let x = ints(ElemType::signed(16), &[3], &[-32768, 0, 32767]);
        assert_eq!(run(&x, &wide).unwrap().1, Data::I32(vec![0, 32768, 65535]));
    }

    #[test]
    fn unsuitable_operands_are_refused() {
        let table = ints(ElemType::signed(8), &[4], &[0; 4]);
        let error = |x: &Tensor, t: &Tensor| run(x, t).unwrap_err().0;
        assert!(
            error(&ints(ElemType::signed(3), &[1], &[0]), &table)
                .contains("expected a table [8], for i3 from -4 up")
        );
        assert!(error(&ints(ElemType::signed(17), &[1], &[0]), &table).contains("at most 16 bits"));
        assert!(
            error(&Tensor::f32([1], Layout::anonymous(1), vec![0.0]), &table).contains("expected integers")
        );
        let x = ints(ElemType::signed(2), &[1], &[0]);
        assert!(error(&x, &ints(ElemType::signed(8), &[2, 2], &[0; 4])).contains("expected a table [4]"));
        let affine = crate::types::Affine {
            int: IntType::signed(8),
            axis: Some(0),
            scale: vec![1.0; 4],
            zero: vec![0; 4],
        };
        let scaled = ints(ElemType::Quant(std::sync::Arc::new(affine)), &[4], &[0; 4]);
        assert!(error(&x, &scaled).contains("one scale"));
    }
}
