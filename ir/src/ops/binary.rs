//! Functions of two elements, broadcasting by numpy's rule.
//!
//! Operands of one element type. The result has the layout of the operand with the larger rank; two named
//! layouts that differ are refused, so a `hwc` map is never added to a `chw` one.

use super::expand::broadcast_steps;
use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::{Layout, TensorType};

/// The functions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a − b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// The greater; NaN if either is.
    Max,
    /// The lesser; NaN if either is.
    Min,
    /// `a^b`
    Pow,
    /// `a` where `a ≥ 0`, else `a · b` (parametric ReLU; He et al., 2015)
    Prelu,
}

impl Binary {
    const ALL: [Binary; 8] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::Pow,
        Binary::Prelu,
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
        }
    }
}

impl OpDef for Binary {
    const NAMES: &'static [&'static str] = &["add", "sub", "mul", "div", "max", "min", "pow", "prelu"];

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
        all_float(inputs)?;
        let (a, b) = (inputs[0], inputs[1]);
        let shape = a
            .shape
            .broadcast(&b.shape)
            .ok_or_else(|| format!("{} and {} do not broadcast", a.shape, b.shape))?;
        let plain = Layout::anonymous(shape.rank());
        let named = |t: &TensorType| (t.rank() == shape.rank() && t.layout != plain).then_some(t.layout);
        let layout = match (named(a), named(b)) {
            (Some(x), Some(y)) if x != y => {
                return Err(format!("the layouts `{x}` and `{y}` do not agree").into());
            }
            (x, y) => x.or(y).unwrap_or(plain),
        };
        Ok(TensorType::f32(shape, layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (a, b) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let steps_a = broadcast_steps(&inputs[0].ty.shape, out.rank());
        let steps_b = broadcast_steps(&inputs[1].ty.shape, out.rank());
        let at =
            |index: &[usize], steps: &[usize]| -> usize { index.iter().zip(steps).map(|(i, s)| i * s).sum() };
        let mut y = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |index| {
            y.push(self.apply(a[at(index, &steps_a)], b[at(index, &steps_b)]));
        });
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
