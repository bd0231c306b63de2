//! Quantized weights as constants.
//!
//! In: latent floats in the file's order of axes, a quantizer, and where the axes go. Out: integer codes behind a
//! `dequantize` with the scale (behind a `gather` where the levels lie on no line), in the graph's order of axes. Made
//! once for all calls of a layer.

use unfloat_ir::ops::Dequantize;
use unfloat_ir::{Layout, Tensor, TensorType, ValueId};

use super::Quantizer;
use super::array::{Array, Scale};
use super::grid::{Back, Coded, look_up};
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;

/// Where the axes of an array go.
#[derive(Clone, Debug)]
pub(crate) struct Placing {
    /// Axis of the array for each axis of the result.
    pub order: Vec<usize>,
    /// Which axes of the result run backwards.
    pub reversed: Vec<bool>,
    /// How many leading axes of the result become one.
    pub merged: usize,
    /// How many axes of extent 1 are added at the beginning, and at the end.
    pub ones: (usize, usize),
    /// Layout of the result.
    pub layout: Layout,
}

impl Placing {
    /// A vector stays as it is.
    pub fn vector() -> Placing {
        Placing {
            order: vec![0],
            reversed: Vec::new(),
            merged: 1,
            ones: (0, 0),
            layout: Layout::channels_last(0),
        }
    }

    /// A vector along one of `rank` axes, the others of extent 1.
    pub fn spread_over(rank: usize, axis: usize, layout: Layout) -> Placing {
        Placing {
            order: vec![0],
            reversed: Vec::new(),
            merged: 1,
            ones: (axis, rank.saturating_sub(axis + 1)),
            layout,
        }
    }

    /// The axes of an array of `rank` in that order.
    pub fn ordered(order: Vec<usize>, reversed: Vec<bool>, layout: Layout) -> Placing {
        Placing { order, reversed, merged: 1, ones: (0, 0), layout }
    }

    fn place<T: Copy>(&self, array: &Array<T>) -> Option<Array<T>> {
        let mut array = array.permuted(&self.order, &self.reversed)?;
        let lead: usize = array.shape.iter().take(self.merged).product();
        array.shape.splice(..self.merged.min(array.shape.len()), [lead]);
        let (before, after) = self.ones;
        array.shape.splice(..0, std::iter::repeat_n(1, before));
        array.shape.extend(std::iter::repeat_n(1, after));
        Some(array)
    }

    /// A scale that broadcasts to an array of shape `shape`, placed as the array is.
    fn place_scale(&self, scale: &Scale, shape: &[usize]) -> Option<Scale> {
        if scale.shape.is_empty() {
            return Some(scale.clone());
        }
        // Axes that become one must be written out unless the scale is the same along all of them.
        let mut target = scale.aligned(shape.len())?;
        let together = self.order.get(..self.merged)?;
        if together.iter().any(|axis| target.get(*axis) != Some(&1)) {
            for axis in together {
                *target.get_mut(*axis)? = *shape.get(*axis)?;
            }
        }
        self.place(&Array { values: scale.spread(&target)?, shape: target })
    }
}

/// The weights behind their quantizer. `role` is the name that they have in the layer.
pub(crate) fn quantized(
    cx: &mut Cx<'_, '_>,
    role: &str,
    quantizer: &Quantizer,
    placing: &Placing,
    weights: impl FnOnce(&mut Cx<'_, '_>) -> Outcome<Array<f32>>,
) -> Outcome<ValueId> {
    cx.once(role, |cx| {
        let weights = weights(cx)?;
        if let Quantizer::Plain(_) = quantizer {
            let Some(values) = quantizer.values(&weights) else {
                return Err(unfit(cx, role, &weights.shape));
            };
            return float(cx, role, &Array { shape: weights.shape, values }, placing);
        }
        match quantizer.code(&weights) {
            Some(coded) => constant(cx, role, &coded, placing),
            None => Err(unfit(cx, role, &weights.shape)),
        }
    })
}

/// The error for a quantizer whose arrays have another shape than the weights.
pub(crate) fn unfit(cx: &Cx<'_, '_>, role: &str, shape: &[usize]) -> Box<unfloat_ir::Diagnostic> {
    cx.error(format!("{role}: the quantizer's arrays do not broadcast to the weights of shape {shape:?}"))
}

/// Weights without a quantizer.
pub(crate) fn float(
    cx: &mut Cx<'_, '_>,
    role: &str,
    weights: &Array<f32>,
    placing: &Placing,
) -> Outcome<ValueId> {
    let Some(placed) = placing.place(weights) else { return Err(unfit(cx, role, &weights.shape)) };
    let tensor = Tensor::f32(placed.shape, placing.layout, placed.values);
    cx.weight_constant(&format!("{role}.float"), |_| Ok(tensor))
}

/// Codes and their meaning as constants, with the node that gives the numbers.
pub(crate) fn constant(
    cx: &mut Cx<'_, '_>,
    role: &str,
    coded: &Coded,
    placing: &Placing,
) -> Outcome<ValueId> {
    let shape = &coded.codes.shape;
    let Some(codes) = placing.place(&coded.codes) else { return Err(unfit(cx, role, shape)) };
    let ty = TensorType::new(coded.elem.clone(), codes.shape, placing.layout);
    let codes = cx.weight_constant(&format!("{role}.codes"), |_| Ok(Tensor::codes(ty, codes.values)))?;
    let value = match &coded.back {
        Back::Affine { scale, zero } => {
            let Some(scale) = placing.place_scale(scale, shape) else { return Err(unfit(cx, role, shape)) };
            let scale = match (scale.shape.as_slice(), scale.values.as_slice()) {
                ([], [value]) => cx.number(*value)?,
                _ => {
                    let layout = placing.layout;
                    cx.weight_constant(&format!("{role}.scale"), |_| {
                        Ok(Tensor::f32(scale.shape, layout, scale.values))
                    })?
                }
            };
            let zero = cx.number(*zero)?;
            cx.node(Dequantize, &[codes, scale, zero])?
        }
        Back::Table(table) => look_up(cx, role, table, codes, placing.layout)?,
    };
    cx.name_role(value, role);
    Ok(value)
}
