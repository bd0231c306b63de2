//! Arithmetic on two elements, broadcasting by numpy's rule.
//!
//! Operands: two of one element type, `f32` or an `Int`; the result has it too. On integers the low bits of the
//! true result stay, as in numpy and ONNX: cast to a wider type first where that is not wanted. Every function
//! has a result for every pair of integers; what is divided by 0 gives 0, as in numpy.

use super::{OpDef, OpError, all_float, arity, broadcast, codes, floats, wrapped};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// The functions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a − b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`; of integers, rounded toward 0.
    Div,
    /// The greater; NaN if either is.
    Max,
    /// The lesser; NaN if either is.
    Min,
    /// `a^b`; of integers, rounded toward 0.
    Pow,
    /// `a` where `a ≥ 0`, else `a · b` (parametric ReLU; He et al., 2015)
    Prelu,
    /// The remainder with the sign of `b`: `a − b · ⌊a / b⌋` (numpy's and Python's `mod`).
    Mod,
    /// The remainder with the sign of `a` (C's `fmod`).
    Fmod,
}

impl Binary {
    const ALL: [Binary; 10] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::Pow,
        Binary::Prelu,
        Binary::Mod,
        Binary::Fmod,
    ];

    /// The function itself.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max if a.is_nan() || b.is_nan() => f32::NAN,
            Binary::Min if a.is_nan() || b.is_nan() => f32::NAN,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Pow => f64::from(a).powf(f64::from(b)) as f32,
            Binary::Prelu => {
                if a >= 0.0 {
                    a
                } else {
                    a * b
                }
            }
            Binary::Mod => {
                let rest = a % b;
                if rest == 0.0 {
                    // The sign of a zero is that of the divisor, too.
                    rest.copysign(b)
                } else if (rest < 0.0) != (b < 0.0) {
                    rest + b
                } else {
                    rest
                }
            }
            Binary::Fmod => a % b,
        }
    }

    /// The function on integers. Of results that do not fit 64 bits, the low ones stay.
    pub fn apply_int(self, a: i64, b: i64) -> i64 {
        match self {
            Binary::Add => a.wrapping_add(b),
            Binary::Sub => a.wrapping_sub(b),
            Binary::Mul => a.wrapping_mul(b),
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            Binary::Pow => power(a, b),
            Binary::Prelu if a >= 0 => a,
            Binary::Prelu => a.wrapping_mul(b),
            Binary::Div | Binary::Mod | Binary::Fmod if b == 0 => 0,
            Binary::Div => a.wrapping_div(b),
            Binary::Mod => {
                let rest = a.wrapping_rem(b);
                if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
            }
            Binary::Fmod => a.wrapping_rem(b),
        }
    }
}

/// `a^b` modulo 2^64, rounded toward 0; 0 for `0^b` with a negative `b`.
fn power(a: i64, b: i64) -> i64 {
    match (a, b) {
        (1, _) => 1,
        (-1, b) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, ..=-1) => 0,
        (a, b) => {
            let (mut square, mut left, mut product) = (a, b, 1i64);
            while left > 0 {
                if left % 2 == 1 {
                    product = product.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                left /= 2;
            }
            product
        }
    }
}

impl OpDef for Binary {
    const NAMES: &'static [&'static str] =
        &["add", "sub", "mul", "div", "max", "min", "pow", "prelu", "mod", "fmod"];

    fn name(&self) -> &'static str {
        Self::NAMES[*self as usize]
    }
    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(name: &str, _: &mut AttrReader) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|f| f.name() == name)
            .ok_or_else(|| format!("there is no function `{name}` of two elements"))
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        if a.elem != b.elem {
            return Err(format!("expected operands of one type, found {a} and {b}").into());
        }
        if !matches!(a.elem, ElemType::Int(_)) {
            all_float(inputs)?;
        }
        let (shape, layout) = broadcast::common(inputs)?;
        Ok(TensorType::new(a.elem.clone(), shape, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        if out.elem.is_float() {
            let (a, b) = (floats(inputs, 0)?, floats(inputs, 1)?);
            let mut y = Vec::with_capacity(out.shape.num_elements());
            broadcast::for_each(inputs, out, |at| y.push(self.apply(a[at[0]], b[at[1]])));
            return Ok(Data::F32(y));
        }
        let (a, b) = (codes(inputs, 0)?, codes(inputs, 1)?);
        let mut y = Vec::with_capacity(out.shape.num_elements());
        broadcast::for_each(inputs, out, |at| y.push(self.apply_int(a[at[0]], b[at[1]])));
        Ok(wrapped(&out.elem, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    #[test]
    fn layouts_never_mix() {
        let x = TensorType::f32([2, 2, 2], Layout::channels_last(2));
        let y = TensorType::f32([2, 2, 2], Layout::channels_first(2));
        let c = TensorType::f32([2], Layout::channels_last(0));
        assert!(Binary::Add.infer(&[&x, &y]).is_err());
        assert_eq!(Binary::Add.infer(&[&c, &x]).unwrap(), x);
    }

    #[test]
    fn values() {
        let t = |s: &[usize], v: &[f32]| Tensor::f32(s, Layout::anonymous(s.len()), v.to_vec());
        let (a, b) = (t(&[2, 1], &[-1., 2.]), t(&[2], &[0.5, 3.]));
        let ty = Binary::Prelu.infer(&[&a.ty, &b.ty]).unwrap();
        assert_eq!(Binary::Prelu.eval(&[&a, &b], &ty).unwrap(), Data::F32(vec![-0.5, -3., 2., 2.]));
        assert!(Binary::Max.apply(f32::NAN, 1.0).is_nan() && Binary::Min.apply(1.0, f32::NAN).is_nan());
    }

    fn ints(ty: IntType, v: &[i64]) -> Tensor {
        let ty = TensorType::new(ElemType::Int(ty), [v.len()], Layout::channels_last(0));
        Tensor::codes(ty, v.to_vec())
    }

    fn run(f: Binary, ty: IntType, a: &[i64], b: &[i64]) -> Vec<i64> {
        let (a, b) = (ints(ty, a), ints(ty, b));
        let out = f.infer(&[&a.ty, &b.ty]).unwrap();
        let y = Tensor { data: f.eval(&[&a, &b], &out).unwrap(), ty: out };
        assert_eq!(y.fault(), None);
        (0..y.len()).filter_map(|i| y.data.code(i)).collect()
    }

    /// What numpy 2.4 gives.
    #[test]
    fn integers_wrap_and_round_toward_zero() {
        let (i8, u8) = (IntType::signed(8), IntType::unsigned(8));
        assert_eq!(run(Binary::Add, i8, &[127, -128], &[1, -1]), [-128, 127]);
        assert_eq!(run(Binary::Sub, u8, &[1, 0], &[2, 255]), [255, 1]);
        assert_eq!(run(Binary::Mul, i8, &[100, -128], &[3, -1]), [44, -128]);
        assert_eq!(run(Binary::Div, i8, &[-7, 7, -128, 5], &[2, -2, -1, 0]), [-3, -3, -128, 0]);
        assert_eq!(
            run(Binary::Mod, i8, &[-4, 7, 5, 4, -7, 8, 3], &[2, -3, 8, -2, 3, 5, 0]),
            [0, -2, 5, 0, 2, 3, 0]
        );
        assert_eq!(run(Binary::Fmod, i8, &[-4, 7, 5, 4, -7, 8], &[2, -3, 8, -2, 3, 5]), [0, 1, 5, 0, -1, 3]);
        assert_eq!(
            run(Binary::Pow, i8, &[2, 3, -2, 0, 2, -1], &[7, 5, 3, 0, -1, -3]),
            [-128, -13, -8, 1, 0, -1]
        );
        assert_eq!(run(Binary::Max, i8, &[-1, 4], &[0, 3]), [0, 4]);
        assert_eq!(run(Binary::Prelu, i8, &[-3, 3], &[2, 2]), [-6, 3]);
        assert_eq!(run(Binary::Div, IntType::signed(64), &[i64::MIN], &[-1]), [i64::MIN]);
        assert_eq!(run(Binary::Mod, IntType::signed(64), &[i64::MIN], &[-1]), [0]);
    }

    #[test]
    fn types_never_mix() {
        let (i8, i16) = (ints(IntType::signed(8), &[1]), ints(IntType::signed(16), &[1]));
        let f = TensorType::f32([1], Layout::channels_last(0));
        assert!(Binary::Add.infer(&[&i8.ty, &i16.ty]).is_err());
        assert!(Binary::Add.infer(&[&i8.ty, &f]).is_err());
        let bits = f.with_elem(ElemType::Bit);
        assert!(Binary::Add.infer(&[&bits, &bits]).is_err());
    }

    /// What numpy 2.4's `mod` and `fmod` give, with the signs of zeros.
    #[test]
    fn remainders_of_floats() {
        let inf = f32::INFINITY;
        let a = [0.0, -0.0, 0.0, -0.0, -3.0, 3.0, -1.0, 1.0, -4.3, 7.2];
        let b = [-2.0, 2.0, 2.0, -2.0, inf, -inf, inf, inf, 2.1, -3.4];
        let want = [-0.0, 0.0, 0.0, -0.0, inf, -inf, inf, 1.0];
        for ((a, b), want) in a.into_iter().zip(b).zip(want) {
            assert_eq!(Binary::Mod.apply(a, b).to_bits(), f32::to_bits(want), "{a} mod {b}");
        }
        assert_eq!(Binary::Mod.apply(-4.3, 2.1), -4.3 % 2.1 + 2.1);
        assert_eq!(Binary::Fmod.apply(-4.3, 2.1), -4.3 % 2.1);
        assert!(Binary::Mod.apply(1.0, 0.0).is_nan() && Binary::Mod.apply(inf, 2.0).is_nan());
    }
}
