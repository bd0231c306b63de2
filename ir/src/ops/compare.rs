//! Comparisons of two elements, broadcasting by numpy's rule.
//!
//! Operands: two floats, or two of any integer types, compared by value. The result is `Bit`. A NaN is neither
//! greater, less nor equal.

use super::{OpDef, OpError, arity, broadcast, codes, float_or_integer, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, TensorType};

/// The comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compare {
    /// `a > b`
    Greater,
    /// `a ≥ b`
    GreaterEqual,
    /// `a < b`
    Less,
    /// `a ≤ b`
    LessEqual,
    /// `a = b`
    Equal,
}

impl Compare {
    /// The comparison itself.
    pub fn apply<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Compare::Greater => a > b,
            Compare::GreaterEqual => a >= b,
            Compare::Less => a < b,
            Compare::LessEqual => a <= b,
            Compare::Equal => a == b,
        }
    }
}

impl OpDef for Compare {
    const NAMES: &'static [&'static str] = &["greater", "greater_equal", "less", "less_equal", "equal"];

    fn name(&self) -> &'static str {
        Self::NAMES[*self as usize]
    }
    fn attrs(&self, _: &mut AttrWriter) {}
    fn parse(name: &str, _: &mut AttrReader) -> Result<Self, String> {
        use Compare::*;
        [Greater, GreaterEqual, Less, LessEqual, Equal]
            .into_iter()
            .find(|f| f.name() == name)
            .ok_or_else(|| format!("there is no comparison `{name}`"))
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 2)?;
        inputs.iter().try_for_each(|t| float_or_integer(t))?;
        if inputs[0].elem.is_float() != inputs[1].elem.is_float() {
            return Err(format!(
                "expected two floats or two integers, found {} and {}",
                inputs[0], inputs[1]
            )
            .into());
        }
        let (shape, layout) = broadcast::common(inputs)?;
        Ok(TensorType::new(ElemType::Bit, shape, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let mut y = Vec::with_capacity(out.shape.num_elements());
        if inputs[0].ty.elem.is_float() {
            let (a, b) = (floats(inputs, 0)?, floats(inputs, 1)?);
            broadcast::for_each(inputs, out, |at| y.push(i8::from(self.apply(a[at[0]], b[at[1]]))));
        } else {
            let (a, b) = (codes(inputs, 0)?, codes(inputs, 1)?);
            broadcast::for_each(inputs, out, |at| y.push(i8::from(self.apply(a[at[0]], b[at[1]]))));
        }
        Ok(Data::I8(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, Layout};

    #[test]
    fn each_comparison_of_each_order() {
        let x = Tensor::f32([4], Layout::channels_last(0), vec![1., 2., 3., f32::NAN]);
        let two = Tensor::f32([], Layout::anonymous(0), vec![2.]);
        for (f, want) in [
            (Compare::Greater, [0, 0, 1, 0]),
            (Compare::GreaterEqual, [0, 1, 1, 0]),
            (Compare::Less, [1, 0, 0, 0]),
            (Compare::LessEqual, [1, 1, 0, 0]),
            (Compare::Equal, [0, 1, 0, 0]),
        ] {
            let ty = f.infer(&[&x.ty, &two.ty]).unwrap();
            assert_eq!(ty.to_string(), "bit[4] c");
            assert_eq!(f.eval(&[&x, &two], &ty).unwrap(), Data::I8(want.to_vec()), "{f:?}");
        }
    }

    #[test]
    fn integers_of_any_type_compare_by_value() {
        let t = |elem, v: [i64; 2]| Tensor::codes(TensorType::new(elem, [2], Layout::channels_last(0)), v);
        let (a, b) = (t(ElemType::Bipolar, [-1, 1]), t(ElemType::Int(IntType::unsigned(8)), [200, 1]));
        let ty = Compare::Less.infer(&[&a.ty, &b.ty]).unwrap();
        assert_eq!(Compare::Less.eval(&[&a, &b], &ty).unwrap(), Data::I8(vec![1, 0]));
        assert!(Compare::Less.infer(&[&a.ty, &a.ty.with_elem(ElemType::F32)]).is_err());
    }
}
