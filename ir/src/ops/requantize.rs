//! Integers to fewer integers, exactly: `y = overflow(round((x · multiplier + addend) / 2^shift))`.
//!
//! Operands: `x`, `multiplier`, `addend` and `shift`, all of integer types; the last three broadcast to `x`'s shape (per
//! tensor, per channel) and are usually constants. `shift` is a `u1` to `u6`, so 0 to 63. The result is `x`'s type with
//! the element type `to`, any `Int`.
//!
//! This is what quantization is between two integer grids. From `ap_fixed<16,8>` to `ap_fixed<8,4,Q,O>` it is
//! `(x · 1 + 0) / 2^4`; to a finer grid the multiplier is a power of two and the shift 0; a scale that is no power of
//! two is a multiplier over `2^shift`. Where a bias or a zero point is to be added before the rounding, it is the
//! addend, on the grid of the product; one that is added after the rounding is its multiple of `2^shift`.
//!
//! Nothing is lost on the way: operands have at most 64 bits, so the sum fits 128 bits, and the quotient is rounded
//! once ([`Rounding`]), then brought into the type ([`Overflow`], with `narrow` as there).

use super::{OpDef, OpError, arity, broadcast, codes};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, IntType, Overflow, Rounding, TensorType};

/// Attributes of a requantizer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Requantize {
    /// The type of the result.
    pub to: IntType,
    /// How quotients between integers are rounded.
    pub rounding: Rounding,
    /// What becomes of integers beyond `to`.
    pub overflow: Overflow,
    /// Whether one code is left out: the lowest of a signed type, the highest of an unsigned one.
    pub narrow: bool,
}

impl Requantize {
    /// The greatest shift.
    pub const MAX_SHIFT: u8 = 63;

    /// The result for one element. A shift beyond [`Requantize::MAX_SHIFT`] counts as that.
    pub fn apply(&self, x: i64, multiplier: i64, addend: i64, shift: u8) -> i64 {
        let sum = i128::from(x) * i128::from(multiplier) + i128::from(addend);
        let rounded = self.rounding.shift_right(sum, shift.min(Self::MAX_SHIFT).into());
        self.overflow.apply(rounded, self.to, self.narrow)
    }

    /// The least and the greatest code that come out, whatever goes in.
    pub fn bounds(&self) -> (i64, i64) {
        self.overflow.bounds(self.to, self.narrow)
    }
}

impl OpDef for Requantize {
    const NAMES: &'static [&'static str] = &["requantize"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.word("to", self.to).word("rounding", self.rounding).word("overflow", self.overflow);
        if self.narrow {
            to.bool("narrow", true);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self {
            to: from.choice("to", "an integer type, i1 to i64 or u1 to u63", IntType::from_name)?,
            rounding: from.choice("rounding", &Rounding::names(), Rounding::from_name)?,
            overflow: from.choice("overflow", &Overflow::names(), Overflow::from_name)?,
            narrow: from.flag("narrow")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 4, 4)?;
        if let Some(t) = inputs.iter().find(|t| !t.elem.is_integer()) {
            return Err(format!("expected integers throughout, found {t}").into());
        }
        let shift = &inputs[3].elem;
        if !shift.code_range().is_some_and(|(lo, hi)| lo >= 0 && hi <= Self::MAX_SHIFT.into()) {
            return Err(format!("expected a shift of a type from u1 to u6, found {shift}").into());
        }
        let to = ElemType::Int(self.to);
        match to.fault().or_else(|| self.overflow.fault(self.narrow)) {
            Some(fault) => return Err(fault.into()),
            None => broadcast::to_first(inputs)?,
        }
        Ok(inputs[0].with_elem(to))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let [x, m, a] = [codes(inputs, 0)?, codes(inputs, 1)?, codes(inputs, 2)?];
        // The type of the shift holds 0 to 63 only.
        let shift: Vec<u8> = codes(inputs, 3)?.into_iter().map(|s| s.clamp(0, 63) as u8).collect();
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(self.apply(x[at[0]], m[at[1]], a[at[2]], shift[at[3]])));
        Ok(Data::from_codes(&out.elem, y))
    }

    /// A multiplication for each element.
    fn macs(&self, _: &[&TensorType], out: &TensorType) -> u64 {
        out.shape.num_elements() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    fn ints(elem: ElemType, shape: &[usize], layout: Layout, v: &[i64]) -> Tensor {
        Tensor::codes(TensorType::new(elem, shape, layout), v.to_vec())
    }
    fn scalar(elem: ElemType, v: i64) -> Tensor {
        ints(elem, &[], Layout::anonymous(0), &[v])
    }
    const U6: ElemType = ElemType::Int(IntType::unsigned(6));

    #[test]
    fn per_channel_in_both_layouts() {
        let op = Requantize {
            to: IntType::signed(8),
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            narrow: false,
        };
        let x = ints(
            ElemType::signed(20),
            &[3, 2],
            Layout::channels_last(1),
            &[100, -3, 2, 5, 100_000, -100_000],
        );
        let channel = |e: ElemType, v: &[i64]| ints(e, &[2], Layout::channels_last(0), v);
        let m = channel(ElemType::signed(16), &[3, -1]);
        let a = channel(ElemType::signed(32), &[1, 0]);
        let s = channel(U6, &[1, 2]);
        let ty = op.infer(&[&x.ty, &m.ty, &a.ty, &s.ty]).unwrap();
        assert_eq!(ty.to_string(), "i8[3,2] wc");
        // 301/2, 3/4; 7/2, −5/4; and far outside.
        assert_eq!(op.eval(&[&x, &m, &a, &s], &ty).unwrap(), Data::I8(vec![127, 1, 4, -1, 127, 127]));
        let first = x.transposed(&[1, 0]);
        let column = |t: &Tensor| t.clone().reshaped([2, 1], Layout::anonymous(2));
        let all = [&first, &column(&m), &column(&a), &column(&s)];
        let ty = op.infer(&all.map(|t| &t.ty)).unwrap();
        assert_eq!(op.eval(&all, &ty).unwrap(), Data::I8(vec![127, 4, 127, 1, -1, 127]));
    }

    /// The widest operands: the sum has 127 bits, and nothing is lost.
    #[test]
    fn exact_to_the_last_bit() {
        let op = |rounding, overflow, width| Requantize {
            to: IntType::signed(width),
            rounding,
            overflow,
            narrow: false,
        };
        let saturate = op(Rounding::Floor, Overflow::Saturate, 64);
        assert_eq!(saturate.apply(i64::MIN, i64::MIN, i64::MAX, 63), i64::MAX);
        assert_eq!(saturate.apply(i64::MIN, i64::MAX, 0, 63), -i64::MAX);
        // (2^63 − 1) · 2^63, and one less.
        assert_eq!(saturate.apply(i64::MAX, i64::MAX, i64::MAX, 63), i64::MAX);
        assert_eq!(saturate.apply(i64::MAX, i64::MAX, i64::MAX - 1, 63), i64::MAX - 1);
        // 2^62 − 1 over 2^62 is not a half too much, however many bits it has.
        assert_eq!(op(Rounding::Ceil, Overflow::Saturate, 8).apply(1 << 31, 1 << 31, -1, 62), 1);
        assert_eq!(op(Rounding::Floor, Overflow::Saturate, 8).apply(1 << 31, 1 << 31, -1, 62), 0);
        assert_eq!(op(Rounding::Floor, Overflow::Wrap, 8).apply(i64::MAX, i64::MAX, 0, 0), 1);
        assert_eq!(op(Rounding::HalfEven, Overflow::SaturateZero, 8).apply(5, 100, 3, 1), 0);
    }

    #[test]
    fn to_a_finer_grid() {
        // ap_fixed<8,4> to ap_fixed<8,2>: two fractional bits more.
        let op = Requantize {
            to: IntType::signed(8),
            rounding: Rounding::Floor,
            overflow: Overflow::SaturateSymmetric,
            narrow: false,
        };
        assert_eq!(
            [-128, -32, -31, 0, 31, 32].map(|x| op.apply(x, 4, 0, 0)),
            [-127, -127, -124, 0, 124, 127]
        );
        assert_eq!(op.bounds(), (-127, 127));
    }

    #[test]
    fn unsuitable_operands_are_refused() {
        let op = Requantize {
            to: IntType::unsigned(4),
            rounding: Rounding::HalfUp,
            overflow: Overflow::Wrap,
            narrow: false,
        };
        let x = ints(ElemType::signed(20), &[2], Layout::channels_last(0), &[1, 2]);
        let (one, shift) = (scalar(ElemType::signed(8), 1), scalar(U6, 1));
        let infer = |op: &Requantize, all: [&Tensor; 4]| op.infer(&all.map(|t| &t.ty)).map_err(|e| e.0);
        assert!(infer(&op, [&x, &one, &one, &shift]).is_ok());
        let bits = scalar(ElemType::Bit, 1);
        assert!(infer(&op, [&x, &bits, &bits, &bits]).is_ok());
        let f = Tensor::f32([], Layout::anonymous(0), vec![1.0]);
        assert!(infer(&op, [&x, &f, &one, &shift]).unwrap_err().contains("expected integers"));
        for wrong in [&one, &scalar(ElemType::Int(IntType::unsigned(7)), 1)] {
            assert!(infer(&op, [&x, &one, &one, wrong]).unwrap_err().contains("u1 to u6"));
        }
        assert!(infer(&op, [&one, &x, &one, &shift]).unwrap_err().contains("do not broadcast"));
        let narrow = Requantize { narrow: true, ..op.clone() };
        assert!(infer(&narrow, [&x, &one, &one, &shift]).unwrap_err().contains("only saturate"));
        let wide = Requantize { to: IntType::unsigned(64), ..op };
        assert!(infer(&wide, [&x, &one, &one, &shift]).unwrap_err().contains("u64 has a width"));
    }
}
