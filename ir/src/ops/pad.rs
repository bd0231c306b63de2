//! More cells at the borders: a constant, the mirrored inside, or the border itself.
//!
//! One operand, of floats or of any integer type, which must have the constant; the result has its type but for the
//! extents.

use super::{OpDef, OpError, arity, float_or_integer};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// What the new cells hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PadMode {
    /// One value.
    Constant(f32),
    /// The inside, mirrored at the border cell, which is not repeated.
    Reflect,
    /// The border cell.
    Edge,
}

/// Attributes of a padding; each list has one entry per axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Pad {
    /// Cells added before the first.
    pub before: Vec<usize>,
    /// Cells added after the last.
    pub after: Vec<usize>,
    /// What they hold.
    pub mode: PadMode,
}

impl OpDef for Pad {
    const NAMES: &'static [&'static str] = &["pad"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("before", &self.before).sizes("after", &self.after);
        match self.mode {
            PadMode::Constant(value) => to.word("mode", "constant").float("value", value),
            PadMode::Reflect => to.word("mode", "reflect"),
            PadMode::Edge => to.word("mode", "edge"),
        };
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let mode = match from.word("mode")?.as_str() {
            "constant" => PadMode::Constant(from.float("value")?),
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            other => {
                return Err(format!("attribute `mode`: expected constant, reflect or edge, found {other}"));
            }
        };
        Ok(Self { before: from.sizes("before")?, after: from.sizes("after")?, mode })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        float_or_integer(x)?;
        if let PadMode::Constant(value) = self.mode
            && !x.elem.is_float()
            && !(value.trunc() == value && x.elem.has_code(value as i64))
        {
            return Err(format!("{} has no code {value} to pad with", x.elem).into());
        }
        if self.before.len() != x.rank() || self.after.len() != x.rank() {
            return Err(format!("before and after need {} entries each", x.rank()).into());
        }
        let mut dims = x.shape.to_vec();
        for a in 0..x.rank() {
            let most = self.before[a].max(self.after[a]);
            let too_much = match self.mode {
                PadMode::Constant(_) => false,
                PadMode::Reflect => most > 0 && most >= dims[a],
                PadMode::Edge => most > 0 && dims[a] == 0,
            };
            if too_much {
                return Err(format!("axis {a} has {} cells, too few to pad by {most}", dims[a]).into());
            }
            dims[a] = dims[a].saturating_add(self.before[a]).saturating_add(self.after[a]);
        }
        Ok(TensorType::new(x.elem.clone(), dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let shape = &inputs[0].ty.shape;
        let strides = shape.strides();
        // Where each element comes from; nowhere if it is the constant.
        let mut from = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |at| {
            let mut offset = Some(0);
            for a in 0..at.len() {
                let n = shape[a];
                let inside = at[a].checked_sub(self.before[a]).filter(|&i| i < n);
                let source = match (inside, self.mode) {
                    (Some(i), _) => Some(i),
                    (None, PadMode::Constant(_)) => None,
                    (None, PadMode::Edge) => Some(if at[a] < self.before[a] { 0 } else { n - 1 }),
                    (None, PadMode::Reflect) if at[a] < self.before[a] => Some(self.before[a] - at[a]),
                    (None, PadMode::Reflect) => Some(2 * (n - 1) - (at[a] - self.before[a])),
                };
                offset = offset.zip(source).map(|(o, s)| o + s * strides[a]);
            }
            from.push(offset);
        });
        let value = if let PadMode::Constant(value) = self.mode { value } else { 0.0 };
        Ok(match &inputs[0].data {
            Data::F32(x) => Data::F32(from.into_iter().map(|o| o.map_or(value, |o| x[o])).collect()),
            x => {
                let cell = |o: Option<usize>| o.and_then(|o| x.code(o)).unwrap_or(value as i64);
                Data::from_codes(&out.elem, from.into_iter().map(cell))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn each_mode() {
        let x = Tensor::f32([3], Layout::channels_last(0), vec![1., 2., 3.]);
        let run = |mode| {
            let op = Pad { before: vec![2], after: vec![1], mode };
            op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap()
        };
        assert_eq!(run(PadMode::Constant(9.)), Data::F32(vec![9., 9., 1., 2., 3., 9.]));
        assert_eq!(run(PadMode::Reflect), Data::F32(vec![3., 2., 1., 2., 3., 2.]));
        assert_eq!(run(PadMode::Edge), Data::F32(vec![1., 1., 1., 2., 3., 3.]));
        let far = Pad { before: vec![3], after: vec![0], mode: PadMode::Reflect };
        assert!(far.infer(&[&x.ty]).is_err());
    }

    #[test]
    fn integers_are_padded_with_codes_that_they_have() {
        use crate::types::ElemType;
        let ty = TensorType::new(ElemType::Bipolar, [2], Layout::channels_last(0));
        let x = Tensor::codes(ty, [-1, 1]);
        let op = |mode| Pad { before: vec![1], after: vec![1], mode };
        let run = |mode| op(mode).eval(&[&x], &op(mode).infer(&[&x.ty]).unwrap()).unwrap();
        assert_eq!(run(PadMode::Constant(-1.0)), Data::I8(vec![-1, -1, 1, -1]));
        assert_eq!(run(PadMode::Reflect), Data::I8(vec![1, -1, 1, -1]));
        assert_eq!(run(PadMode::Edge), Data::I8(vec![-1, -1, 1, 1]));
        for value in [0.0, 0.5, f32::NAN, f32::NEG_INFINITY] {
            assert!(op(PadMode::Constant(value)).infer(&[&x.ty]).is_err(), "{value}");
        }
    }
}
