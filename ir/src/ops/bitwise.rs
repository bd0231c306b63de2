//! Logic and shifts, broadcasting by numpy's rule.
//!
//! Operands of `and`, `or`, `xor`: two of one type, `Bit` (logic) or an `Int` (each bit for itself); the result
//! has it too. *Not* is `xor` with ones: 1 for `Bit`, −1 for signed, [`IntType::max`] for unsigned integers.
//!
//! Operands of the shifts: an `Int`, and by how many bits, an `Int` of any type; the result has the first one's
//! type. Bits shifted out are lost; from the left come copies of the sign. By a negative number, or by as many
//! bits as there are or more, all are shifted out (numpy, ONNX BitShift from opset 28 on).
//!
//! [`IntType::max`]: crate::IntType::max

use super::{OpDef, OpError, arity, broadcast, codes, wrapped};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// The functions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bitwise {
    /// Both.
    And,
    /// Either or both.
    Or,
    /// One of the two.
    Xor,
    /// `a · 2^b`
    ShiftLeft,
    /// `⌊a / 2^b⌋`
    ShiftRight,
}

impl Bitwise {
    /// The function itself; a left shift before its result is wrapped to its type.
    pub fn apply(self, a: i64, b: i64) -> i64 {
        let by = u32::try_from(b).ok().filter(|&b| b < 64);
        match self {
            Bitwise::And => a & b,
            Bitwise::Or => a | b,
            Bitwise::Xor => a ^ b,
            Bitwise::ShiftLeft => by.map_or(0, |b| a << b),
            Bitwise::ShiftRight => a >> by.unwrap_or(63),
        }
    }
    fn is_shift(self) -> bool {
        matches!(self, Bitwise::ShiftLeft | Bitwise::ShiftRight)
    }
}

impl OpDef for Bitwise {
    const NAMES: &'static [&'static str] = &["and", "or", "xor", "shift_left", "shift_right"];

    fn name(&self) -> &'static str {
        Self::NAMES[*self as usize]
    }
    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(name: &str, _: &mut AttrReader) -> Result<Self, String> {
        use Bitwise::*;
        [And, Or, Xor, ShiftLeft, ShiftRight]
            .into_iter()
            .find(|f| f.name() == name)
            .ok_or_else(|| format!("there is no function `{name}` of bits"))
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        let fits = match (&a.elem, &b.elem) {
            (ElemType::Bit, ElemType::Bit) => !self.is_shift(),
            (ElemType::Int(x), ElemType::Int(y)) => self.is_shift() || x == y,
            _ => false,
        };
        if !fits {
            let wanted = if self.is_shift() { "integers" } else { "integers of one type, or bits" };
            return Err(format!("expected {wanted}, found {a} and {b}").into());
        }
        let (shape, layout) = broadcast::common(inputs)?;
        Ok(TensorType::new(a.elem.clone(), shape, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (a, b) = (codes(inputs, 0)?, codes(inputs, 1)?);
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(self.apply(a[at[0]], b[at[1]])));
        Ok(wrapped(&out.elem, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    fn run(f: Bitwise, elem: ElemType, a: &[i64], b: &[i64]) -> Vec<i64> {
        let t = |v: &[i64]| {
            Tensor::codes(TensorType::new(elem.clone(), [v.len()], Layout::channels_last(0)), v.to_vec())
        };
        let (a, b) = (t(a), t(b));
        let ty = f.infer(&[&a.ty, &b.ty]).unwrap();
        let y = Tensor { data: f.eval(&[&a, &b], &ty).unwrap(), ty };
        assert_eq!(y.fault(), None);
        (0..y.len()).filter_map(|i| y.data.code(i)).collect()
    }

    #[test]
    fn logic() {
        let bits = |f| run(f, ElemType::Bit, &[0, 0, 1, 1], &[0, 1, 0, 1]);
        assert_eq!(bits(Bitwise::And), [0, 0, 0, 1]);
        assert_eq!(bits(Bitwise::Or), [0, 1, 1, 1]);
        assert_eq!(bits(Bitwise::Xor), [0, 1, 1, 0]);
        assert_eq!(run(Bitwise::Xor, ElemType::signed(8), &[5, -128], &[-1, -1]), [-6, 127]);
        let u8 = ElemType::Int(IntType::unsigned(8));
        assert_eq!(run(Bitwise::Xor, u8, &[5, 255], &[255, 255]), [250, 0]);
    }

    /// The cases of ONNX's own tests.
    #[test]
    fn shifts_at_and_beyond_the_width() {
        let i8 = ElemType::signed(8);
        assert_eq!(run(Bitwise::ShiftRight, i8.clone(), &[-8, -1, -128], &[1, 1, 1]), [-4, -1, -64]);
        assert_eq!(run(Bitwise::ShiftLeft, i8.clone(), &[64, 1, -64], &[1, 7, 1]), [-128, -128, -128]);
        assert_eq!(run(Bitwise::ShiftRight, i8.clone(), &[-8, 4, -1], &[8, 9, 127]), [-1, 0, -1]);
        assert_eq!(run(Bitwise::ShiftLeft, i8.clone(), &[-8, 4, -1], &[8, 9, 127]), [0, 0, 0]);
        assert_eq!(run(Bitwise::ShiftRight, i8.clone(), &[-8, 4, -1], &[-1, -8, -16]), [-1, 0, -1]);
        assert_eq!(run(Bitwise::ShiftLeft, i8, &[-8, 4, -1], &[-1, -8, -16]), [0, 0, 0]);
        let u63 = ElemType::Int(IntType::unsigned(63));
        assert_eq!(run(Bitwise::ShiftLeft, u63, &[3, 3], &[61, 62]), [3 << 61, 1 << 62]);
    }

    #[test]
    fn floats_and_mixed_types_are_refused() {
        let ty = |elem| TensorType::new(elem, [1], Layout::channels_last(0));
        let refused = |f: Bitwise, a, b| f.infer(&[&ty(a), &ty(b)]).is_err();
        assert!(refused(Bitwise::And, ElemType::F32, ElemType::F32));
        assert!(refused(Bitwise::And, ElemType::signed(8), ElemType::signed(16)));
        assert!(refused(Bitwise::ShiftLeft, ElemType::Bit, ElemType::Bit));
        assert!(!refused(Bitwise::ShiftLeft, ElemType::signed(8), ElemType::Int(IntType::unsigned(3))));
    }
}
