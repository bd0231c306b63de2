//! Rescaling and Normalization.
//!
//! In: factors from the configuration; mean and variance from the weights or the configuration. Out: a product and a sum,
//! or a difference and a quotient, in the order in which Keras computes them.

use serde_json::Value;
use unfloat_ir::ops::Binary;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, sample_axes, slots};
use crate::keras::config::reader::{Config, as_number};
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::weights::{Slot, Wants};

/// Smallest deviation that `Normalization` divides by: Keras' epsilon.
const EPSILON: f32 = 1e-7;

/// Most channels that one number of the configuration is repeated for.
const MAX_FILLED: usize = 1 << 20;

/// A number, or one per channel.
fn numbers(config: &Config<'_>, key: &str, value: &Value) -> Outcome<Vec<f32>> {
    fn collect(value: &Value, out: &mut Vec<f32>) -> Option<()> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| collect(item, out)),
            Value::Object(map) if map.get("value").or(map.get("config")).is_some_and(|v| !v.is_number()) => {
                let inner =
                    map.get("value").or_else(|| map.get("config").and_then(|config| config.get("value")));
                collect(inner?, out)
            }
            other => {
                out.push(as_number(other)? as f32);
                Some(())
            }
        }
    }
    let mut out = Vec::new();
    collect(value, &mut out).ok_or_else(|| config.expected(key, "a number or a list of numbers", value))?;
    Ok(out)
}

struct Rescaling {
    scale: Vec<f32>,
    offset: Vec<f32>,
}

/// Reads a Rescaling: `x · scale + offset`.
pub(crate) fn rescaling(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let scale = config.get("scale").ok_or_else(|| config.missing("scale", "a number"))?;
    let scale = numbers(config, "scale", scale)?;
    let offset = match config.get("offset") {
        Some(value) => numbers(config, "offset", value)?,
        None => vec![0.0],
    };
    Ok(Box::new(Rescaling { scale, offset }))
}

/// A constant that broadcasts along the last axis: a scalar, or one number per channel.
fn row(cx: &mut Cx<'_, '_>, x: ValueId, role: &'static str, values: &[f32]) -> Outcome<ValueId> {
    let last = cx.dims(x).last().copied();
    match values {
        [only] => cx.constant(role, &[], || Tensor::f32([], Layout::anonymous(0), vec![*only])),
        many if Some(many.len()) == last => cx
            .constant(role, &[many.len()], || Tensor::f32([many.len()], Layout::anonymous(1), many.to_vec())),
        many => Err(cx.error(format!("{role}: {} numbers for the shape {:?}", many.len(), cx.dims(x)))),
    }
}

impl Layer for Rescaling {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let scale = row(cx, x, "scale", &self.scale)?;
        let y = cx.node(Binary::Mul, &[x, scale])?;
        if self.offset.iter().all(|offset| *offset == 0.0) {
            return Ok(y);
        }
        let offset = row(cx, x, "offset", &self.offset)?;
        cx.node(Binary::Add, &[y, offset])
    }
    fn maps_over_time(&self) -> bool {
        true
    }
}

struct Normalization {
    /// Axes with statistics of their own, counting the batch; empty for one mean over all.
    axes: Vec<i64>,
    /// Mean and variance, where the configuration has them.
    given: Option<(Vec<f32>, Vec<f32>)>,
    invert: bool,
}

/// Reads a Normalization.
pub(crate) fn normalization(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let given = match (config.get("mean"), config.get("variance")) {
        (Some(mean), Some(variance)) => {
            Some((numbers(config, "mean", mean)?, numbers(config, "variance", variance)?))
        }
        (None, None) => None,
        _ => return Err(config.error("'mean' and 'variance' must be given together")),
    };
    Ok(Box::new(Normalization {
        axes: config.axes("axis", &[])?,
        given,
        invert: config.flag("invert", false)?,
    }))
}

impl Normalization {
    /// Both statistics as constants that broadcast against `x`.
    fn statistics(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<(ValueId, ValueId)> {
        let dims = cx.dims(x);
        let axes = sample_axes(cx, "axis", &self.axes, dims.len())?;
        let own: Vec<usize> = axes.iter().filter_map(|axis| dims.get(*axis).copied()).collect();
        // Extent 1 wherever one number serves the whole axis.
        let shape: Vec<usize> = if own.is_empty() {
            Vec::new()
        } else {
            dims.iter().enumerate().map(|(axis, dim)| if axes.contains(&axis) { *dim } else { 1 }).collect()
        };
        let layout = if shape.is_empty() { Layout::anonymous(0) } else { cx.ty(x).layout };
        let count: usize = own.iter().product();
        let fill = |values: &[f32]| match values {
            [only] if count <= MAX_FILLED => Some(vec![*only; count]),
            many if many.len() == count => Some(many.to_vec()),
            _ => None,
        };
        let get = |cx: &mut Cx<'_, '_>, slot: usize| match &self.given {
            None => cx.weight(slot, &own),
            Some((mean, variance)) => {
                let values = if slot == 0 { mean } else { variance };
                fill(values).ok_or_else(|| cx.error(format!("{} numbers for {count} channels", values.len())))
            }
        };
        let mean = cx.weight_constant("mean", |cx| Ok(Tensor::f32(shape.as_slice(), layout, get(cx, 0)?)))?;
        let deviation = cx.weight_constant("deviation", |cx| {
            let variance = get(cx, 1)?;
            let deviation = variance.into_iter().map(|v| v.sqrt().max(EPSILON)).collect();
            Ok(Tensor::f32(shape.as_slice(), layout, deviation))
        })?;
        Ok((mean, deviation))
    }
}

impl Layer for Normalization {
    fn wants(&self) -> Wants {
        match self.given {
            Some(_) => slots(&[]),
            None => slots(&[Slot::fixed("mean"), Slot::fixed("variance"), Slot::fixed("count")]),
        }
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let (mean, deviation) = self.statistics(cx, x)?;
        if self.invert {
            let scaled = cx.node(Binary::Mul, &[x, deviation])?;
            return cx.node(Binary::Add, &[mean, scaled]);
        }
        let centred = cx.node(Binary::Sub, &[x, mean])?;
        cx.node(Binary::Div, &[centred, deviation])
    }
}
