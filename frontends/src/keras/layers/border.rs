//! ZeroPadding, Cropping, UpSampling.
//!
//! In: cells per side and axis, or factors. Out: one node. Refuses: interpolation other than nearest and bilinear.

use serde_json::Value;
use unfloat_ir::ValueId;
use unfloat_ir::ops::{Pad, PadMode, Slice, Upsample, UpsampleMode};

use super::Layer;
use super::window::{channels_first, image};
use crate::keras::config::reader::{Config, as_integer};
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Outcome, show_shape};
use crate::keras::version::{Backend, Generation};

struct Border {
    rank: usize,
    /// Cells at both ends of each spatial axis.
    cells: Vec<(usize, usize)>,
    channels_first: bool,
    crop: bool,
}

pub(crate) fn zero_padding_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 1, "padding", false)
}
pub(crate) fn zero_padding_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 2, "padding", false)
}
pub(crate) fn zero_padding_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 3, "padding", false)
}
pub(crate) fn cropping_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 1, "cropping", true)
}
pub(crate) fn cropping_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 2, "cropping", true)
}
pub(crate) fn cropping_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    border(config, facts, 3, "cropping", true)
}

fn border(config: &Config<'_>, facts: &Facts, rank: usize, key: &str, crop: bool) -> Outcome<Box<dyn Layer>> {
    let default = Value::from(1);
    let value = config.get(key).unwrap_or(&default);
    let cells = cells(value, rank).ok_or_else(|| {
        config.expected(key, "cells per axis: n, [n, …], or [[before, after], …], each ≥ 0", value)
    })?;
    Ok(Box::new(Border { rank, cells, channels_first: channels_first(config, facts, rank)?, crop }))
}

/// `n` for all sides, a number per axis, or a pair per axis. Keras 1's ZeroPadding2D also has a list of four numbers.
fn cells(value: &Value, rank: usize) -> Option<Vec<(usize, usize)>> {
    let count = |value: &Value| {
        as_integer(value).filter(|n| (0..=1 << 24).contains(n)).and_then(|n| usize::try_from(n).ok())
    };
    if let Some(n) = count(value) {
        return Some(vec![(n, n); rank]);
    }
    let items = value.as_array()?;
    let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([before, after]) => Some((count(before)?, count(after)?)),
        Some(_) => None,
        None => count(value).map(|n| (n, n)),
    };
    match items.as_slice() {
        [before, after] if rank == 1 => Some(vec![(count(before)?, count(after)?)]),
        [top, bottom, left, right] if rank == 2 => {
            Some(vec![(count(top)?, count(bottom)?), (count(left)?, count(right)?)])
        }
        _ if items.len() == rank => items.iter().map(pair).collect(),
        _ => None,
    }
}

/// Values per axis of a sample: `space` at the spatial axes, `channel` at the channels.
fn per_axis<T: Copy>(space: &[T], channel: T, channels_first: bool) -> Vec<T> {
    if channels_first {
        std::iter::once(channel).chain(space.iter().copied()).collect()
    } else {
        space.iter().copied().chain([channel]).collect()
    }
}

impl Layer for Border {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = image(cx, x, self.rank, self.channels_first)?;
        let (before, after): (Vec<usize>, Vec<usize>) =
            per_axis(&self.cells, (0, 0), self.channels_first).into_iter().unzip();
        if !self.crop {
            return cx.node(Pad { before, after, mode: PadMode::Constant(0.0) }, &[x]);
        }
        let dims = cx.dims(x);
        let sizes = dims.iter().zip(before.iter().zip(&after));
        let size: Option<Vec<usize>> =
            sizes.map(|(n, (b, a))| n.checked_sub(b + a).filter(|left| *left > 0)).collect();
        let Some(size) = size else {
            return Err(cx.error(format!("'cropping' leaves nothing of the shape {}", show_shape(&dims))));
        };
        let step = vec![1; size.len()];
        cx.node(Slice { begin: before, size, step }, &[x])
    }
}

struct UpSampling {
    rank: usize,
    factors: Vec<usize>,
    mode: UpsampleMode,
    channels_first: bool,
}

pub(crate) fn up_sampling_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    up_sampling(config, facts, 1)
}
pub(crate) fn up_sampling_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    up_sampling(config, facts, 2)
}
pub(crate) fn up_sampling_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    up_sampling(config, facts, 3)
}

fn up_sampling(config: &Config<'_>, facts: &Facts, rank: usize) -> Outcome<Box<dyn Layer>> {
    let factors = config.spatial("size", rank)?.unwrap_or_else(|| vec![2; rank]);
    let mode = match config.choice("interpolation", "nearest", &["nearest", "bilinear"])? {
        "bilinear" => bilinear(config, facts)?,
        _ => UpsampleMode::Nearest,
    };
    Ok(Box::new(UpSampling { rank, factors, mode, channels_first: channels_first(config, facts, rank)? }))
}

/// The Keras of before TensorFlow 2 interpolated without half-pixel centres, and on Theano by another formula still.
fn bilinear(config: &Config<'_>, facts: &Facts) -> Outcome<UpsampleMode> {
    if facts.backend == Backend::Theano {
        return Err(config.error("'interpolation': bilinear on Theano is not supported"));
    }
    let old = facts.generation == Generation::Keras2
        && !facts.inside_tensorflow
        && facts.version.is_some_and(|version| (version.major, version.minor) <= (2, 2));
    Ok(if old { UpsampleMode::LinearAsymmetric } else { UpsampleMode::Linear })
}

impl Layer for UpSampling {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = image(cx, x, self.rank, self.channels_first)?;
        let factors = per_axis(&self.factors, 1, self.channels_first);
        cx.node(Upsample { factors, mode: self.mode }, &[x])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_of_every_spelling() {
        assert_eq!(cells(&json!(2), 2), Some(vec![(2, 2), (2, 2)]));
        assert_eq!(cells(&json!([1, 3]), 2), Some(vec![(1, 1), (3, 3)]));
        assert_eq!(cells(&json!([[1, 2], [3, 4]]), 2), Some(vec![(1, 2), (3, 4)]));
        assert_eq!(cells(&json!([1, 2, 3, 4]), 2), Some(vec![(1, 2), (3, 4)]));
        assert_eq!(cells(&json!([1, 2]), 1), Some(vec![(1, 2)]));
        assert_eq!(cells(&json!([[0, 1], [2, 3], [4, 5]]), 3), Some(vec![(0, 1), (2, 3), (4, 5)]));
        for bad in [json!(-1), json!([1]), json!([[1, 2, 3], [1, 2]]), json!("a"), json!(1e12)] {
            assert_eq!(cells(&bad, 2), None, "{bad}");
        }
    }

    #[test]
    fn channels_keep_their_place() {
        assert_eq!(per_axis(&[5, 6], 1, true), [1, 5, 6]);
        assert_eq!(per_axis(&[5, 6], 1, false), [5, 6, 1]);
    }
}
