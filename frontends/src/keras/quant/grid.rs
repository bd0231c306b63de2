//! Quantizers of each element whose numbers do not depend on the tensor.
//!
//! In: a description, [`Grid`]: functions before, a coder to integers, a way back. Out: for weights integer codes with
//! what they mean ([`Coded`]); for activations the nodes `quantize` → `dequantize`, or `threshold` → `gather` where the
//! levels do not lie on a line. Both come of the same description, so weights and activations cannot differ.

use unfloat_ir::ops::{Binary, Cast, Dequantize, Gather, Quantize, QuantizeOrder, Threshold, Unary};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding, Tensor, ValueId};

use super::array::{Array, Scale};
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome};

/// A quantizer of each element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Functions before it, as floats.
    pub before: Vec<Step>,
    /// To integers.
    pub coder: Coder,
    /// And back.
    pub back: Back,
}

/// A function of an element, rounded to single precision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Of the element alone.
    Each(Unary),
    /// With a number on the right.
    With(Binary, Scale),
    /// With what the quantizer was given.
    WithInput(Binary),
    /// To the integer of a code, as a float: the operator, what a step is, what is added before rounding.
    Code(Quantize, Scale, f32),
}

/// To integers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Coder {
    /// Scaled, clamped, rounded.
    Round {
        /// The operator.
        op: Quantize,
        /// What a step is.
        scale: Scale,
        /// What is added before rounding.
        zero: f32,
    },
    /// `bias + scale · #{t : x ≥ t}`, the thresholds in rising order.
    Count {
        /// The type of the result.
        to: ElemType,
        /// The thresholds.
        thresholds: Vec<f32>,
        /// What each adds.
        scale: i64,
        /// The result below all.
        bias: i64,
    },
}

/// What codes mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Back {
    /// `(code − zero) · scale`.
    Affine {
        /// What a step is.
        scale: Scale,
        /// The code that means 0.
        zero: f32,
    },
    /// `table[code]`.
    Table(Vec<f32>),
}

/// Integer codes and what they mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coded {
    /// Type of the codes.
    pub elem: ElemType,
    /// The codes, in the file's order of axes.
    pub codes: Array<i64>,
    /// What they mean.
    pub back: Back,
}

/// The least number that is not 0 to TensorFlow, which takes smaller ones for 0.
pub(crate) const ABOVE_ZERO: f32 = f32::MIN_POSITIVE;

/// `2^e`.
pub(crate) fn pow2(e: i64) -> f32 {
    (e as f64).exp2() as f32
}

/// A quantizer that clamps, then rounds half to even.
pub(crate) fn rounding(to: ElemType, narrow: bool) -> Quantize {
    Quantize {
        to,
        narrow,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    }
}

impl Grid {
    /// `scale · clip(round(x / step))` on an integer type.
    pub fn uniform(int: IntType, narrow: bool, step: f32, scale: Scale) -> Grid {
        Grid {
            before: Vec::new(),
            coder: Coder::Round {
                op: rounding(ElemType::Int(int), narrow),
                scale: Scale::one(step),
                zero: 0.0,
            },
            back: Back::Affine { scale, zero: 0.0 },
        }
    }

    /// `scale` where `x ≥ 0`, else `−scale`.
    pub fn sign(scale: Scale) -> Grid {
        Grid {
            before: Vec::new(),
            coder: Coder::Round { op: rounding(ElemType::Bipolar, false), scale: Scale::one(1.0), zero: 0.0 },
            back: Back::Affine { scale, zero: 0.0 },
        }
    }

    /// `scale` where `x ≥ 0`, else 0.
    pub fn sign_01(scale: &Scale) -> Grid {
        Grid {
            back: Back::Affine { scale: scale.map(|s| s * 0.5), zero: -1.0 },
            ..Grid::sign(Scale::one(1.0))
        }
    }

    /// `±scale` where `|x| ≥ threshold`, else 0; 0 stays 0 when the threshold is.
    pub fn ternary(threshold: f32, scale: Scale) -> Grid {
        // The greatest number that is still −1 is −threshold, so the first threshold is the one after it.
        let thresholds = if threshold > 0.0 {
            vec![(-threshold).next_up(), threshold]
        } else {
            vec![(-ABOVE_ZERO).next_up(), ABOVE_ZERO]
        };
        Grid {
            before: Vec::new(),
            coder: Coder::Count { to: ElemType::Ternary, thresholds, scale: 1, bias: -1 },
            back: Back::Affine { scale, zero: 0.0 },
        }
    }

    /// Another step of the coder, where it has one.
    pub fn set_step(&mut self, step: Scale) {
        if let Coder::Round { scale, .. } = &mut self.coder {
            *scale = step;
        }
    }

    /// The same behind other functions.
    pub fn after(mut self, steps: impl IntoIterator<Item = Step>) -> Grid {
        self.before = steps.into_iter().chain(self.before).collect();
        self
    }

    /// Type of the codes.
    fn elem(&self) -> ElemType {
        match &self.coder {
            Coder::Round { op, .. } => op.to.clone(),
            Coder::Count { to, .. } => to.clone(),
        }
    }

    /// The codes of an array; `None` where a scale does not broadcast to it.
    pub fn code(&self, array: &Array<f32>) -> Option<Coded> {
        let x = apply(&self.before, array)?;
        let codes: Vec<i64> = match &self.coder {
            Coder::Round { op, scale, zero } => {
                let scale = scale.spread(&array.shape)?;
                x.iter().zip(scale).map(|(x, scale)| op.apply(*x, scale, *zero)).collect()
            }
            Coder::Count { thresholds, scale, bias, .. } => {
                let count = |x: &f32| thresholds.partition_point(|t| x >= t) as i64;
                x.iter().map(|x| bias + scale * count(x)).collect()
            }
        };
        if let Back::Affine { scale, .. } = &self.back {
            scale.spread(&array.shape)?;
        }
        let codes = Array { shape: array.shape.clone(), values: codes };
        Some(Coded { elem: self.elem(), codes, back: self.back.clone() })
    }

    /// Adds the quantizer behind a value. `role` names its constants within the layer.
    pub fn emit(&self, cx: &mut Cx<'_, '_>, role: &str, x: ValueId) -> Outcome<ValueId> {
        let y = emit_steps(cx, role, &self.before, x)?;
        let codes = match &self.coder {
            Coder::Round { op, scale, zero } => {
                let scale = operand(cx, &format!("{role}.step"), scale, x)?;
                let zero = cx.number(*zero)?;
                cx.node(op.clone(), &[y, scale, zero])?
            }
            Coder::Count { to, thresholds, scale, bias } => {
                let axis = cx.dims(y).len().checked_sub(1);
                let axis = axis.ok_or_else(|| cx.error("a quantizer of a scalar is not supported"))?;
                let table = Tensor::f32([1, thresholds.len()], Layout::anonymous(2), thresholds.clone());
                let table = cx.weight_constant(&format!("{role}.thresholds"), |_| Ok(table))?;
                cx.node(Threshold { axis, to: to.clone(), scale: *scale, bias: *bias }, &[y, table])?
            }
        };
        match &self.back {
            Back::Affine { scale, zero } => {
                let scale = operand(cx, &format!("{role}.scale"), scale, x)?;
                let zero = cx.number(*zero)?;
                cx.node(Dequantize, &[codes, scale, zero])
            }
            Back::Table(table) => look_up(cx, role, table, codes, cx.ty(x).layout),
        }
    }
}

/// The steps on the numbers of an array; `None` where one does not broadcast to it.
pub(crate) fn apply(steps: &[Step], array: &Array<f32>) -> Option<Vec<f32>> {
    let mut x = array.values.clone();
    for step in steps {
        match step {
            Step::Each(f) => x.iter_mut().for_each(|x| *x = f.apply(*x)),
            Step::With(f, by) => {
                let by = by.spread(&array.shape)?;
                x.iter_mut().zip(by).for_each(|(x, by)| *x = f.apply(*x, by));
            }
            Step::WithInput(f) => {
                x.iter_mut().zip(&array.values).for_each(|(x, input)| *x = f.apply(*x, *input));
            }
            Step::Code(op, scale, zero) => {
                let scale = scale.spread(&array.shape)?;
                x.iter_mut().zip(scale).for_each(|(x, scale)| *x = op.apply(*x, scale, *zero) as f32);
            }
        }
    }
    Some(x)
}

/// Adds the steps behind a value.
pub(crate) fn emit_steps(cx: &mut Cx<'_, '_>, role: &str, steps: &[Step], x: ValueId) -> Outcome<ValueId> {
    let mut y = x;
    for (index, step) in steps.iter().enumerate() {
        y = match step {
            Step::Each(f) => cx.node(*f, &[y])?,
            Step::With(f, by) => {
                let by = operand(cx, &format!("{role}.{index}"), by, x)?;
                cx.node(*f, &[y, by])?
            }
            Step::WithInput(f) => cx.node(*f, &[y, x])?,
            Step::Code(op, scale, zero) => {
                let scale = operand(cx, &format!("{role}.{index}"), scale, x)?;
                let zero = cx.number(*zero)?;
                let codes = cx.node(op.clone(), &[y, scale, zero])?;
                cx.node(Cast { to: ElemType::F32 }, &[codes])?
            }
        };
    }
    Ok(y)
}

/// `table[codes]`, in the layout given.
pub(crate) fn look_up(
    cx: &mut Cx<'_, '_>,
    role: &str,
    table: &[f32],
    codes: ValueId,
    layout: Layout,
) -> Outcome<ValueId> {
    let levels = Tensor::f32([table.len()], Layout::anonymous(1), table.to_vec());
    let levels = cx.weight_constant(&format!("{role}.levels"), |_| Ok(levels))?;
    let y = cx.node(Gather { axis: 0 }, &[levels, codes])?;
    cx.with_layout(y, layout)
}

/// A scale as an operand beside `x`.
fn operand(cx: &mut Cx<'_, '_>, role: &str, scale: &Scale, x: ValueId) -> Outcome<ValueId> {
    if let ([], [value]) = (scale.shape.as_slice(), scale.values.as_slice()) {
        return cx.number(*value);
    }
    let dims = cx.dims(x);
    let fits = scale.aligned(dims.len()).filter(|own| own.iter().zip(&dims).all(|(a, b)| *a == 1 || a == b));
    let Some(shape) = fits else {
        let message = format!(
            "{role}: the quantizer's array of shape {:?} does not broadcast to {dims:?}",
            scale.shape
        );
        return Err(cx
            .error(message)
            .with_help("expected one number, or one for each entry of the last axis"));
    };
    let layout = Layout::anonymous(shape.len());
    let tensor = Tensor::f32(shape, layout, scale.values.clone());
    cx.weight_constant(role, |_| Ok(tensor))
}

impl Coded {
    /// The numbers that the codes mean.
    pub fn values(&self) -> Option<Vec<f32>> {
        match &self.back {
            Back::Affine { scale, zero } => {
                let scale = scale.spread(&self.codes.shape)?;
                Some(self.codes.values.iter().zip(scale).map(|(q, s)| (*q as f32 - zero) * s).collect())
            }
            Back::Table(table) => {
                let level = |q: &i64| usize::try_from(*q).ok().and_then(|q| table.get(q)).copied();
                self.codes.values.iter().map(level).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(grid: &Grid, x: &[f32]) -> Vec<f32> {
        let coded = grid.code(&Array { shape: vec![x.len()], values: x.to_vec() }).unwrap();
        coded.values().unwrap()
    }

    #[test]
    fn zero_is_positive_to_a_sign_and_nothing_to_a_ternary() {
        let x = [-0.5, -0.0, 0.0, ABOVE_ZERO, 0.5];
        assert_eq!(run(&Grid::sign(Scale::one(2.0)), &x), [-2., 2., 2., 2., 2.]);
        assert_eq!(run(&Grid::sign_01(&Scale::one(2.0)), &x), [0., 2., 2., 2., 2.]);
        assert_eq!(run(&Grid::ternary(0.5, Scale::one(1.0)), &x), [-1., 0., 0., 0., 1.]);
        assert_eq!(run(&Grid::ternary(0.0, Scale::one(1.0)), &x), [-1., 0., 0., 1., 1.]);
    }
}
