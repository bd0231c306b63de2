//! Pooling over windows and over whole images.
//!
//! In: `pool_size`, `strides` (its default), `padding`, `data_format`. Out: one node. Padding never counts: it is −∞ to a
//! maximum and no cell to a mean.

use unfloat_ir::ops::{AvgPool, MaxPool, Reduce, ReduceFn};
use unfloat_ir::{Layout, Op, ValueId};

use super::Layer;
use super::window::{Geometry, SameRule, channels_first, image, padding};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;

/// Most cells of a window; a convolution's are in the file, a pooling's cost nothing to write down.
const MAX_WINDOW: usize = 1 << 20;

struct Pool {
    geometry: Geometry,
    mean: bool,
}

pub(crate) fn max_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 1, false)
}
pub(crate) fn max_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 2, false)
}
pub(crate) fn max_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 3, false)
}
pub(crate) fn average_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 1, true)
}
pub(crate) fn average_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 2, true)
}
pub(crate) fn average_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    pool(config, facts, 3, true)
}

fn pool(config: &Config<'_>, facts: &Facts, rank: usize, mean: bool) -> Outcome<Box<dyn Layer>> {
    let kernel = config.spatial("pool_size", rank)?.unwrap_or_else(|| vec![2; rank]);
    if kernel.iter().product::<usize>() > MAX_WINDOW {
        return Err(config.error(format!("'pool_size': {kernel:?} has more than {MAX_WINDOW} cells")));
    }
    let strides = config.spatial("strides", rank)?.unwrap_or_else(|| kernel.clone());
    let geometry = Geometry {
        rank,
        kernel,
        strides,
        dilations: vec![1; rank],
        padding: padding(config, &["valid", "same"])?,
        rule: SameRule::pool(facts.backend),
        channels_first: channels_first(config, facts, rank)?,
    };
    Ok(Box::new(Pool { geometry, mean }))
}

impl Layer for Pool {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let (x, space) = self.geometry.input(cx, x)?;
        let window = self.geometry.window(&space);
        let op: Op = if self.mean {
            AvgPool { window, count_include_pad: false }.into()
        } else {
            MaxPool { window }.into()
        };
        cx.node(op, &[x])
    }
}

struct Global {
    rank: usize,
    f: ReduceFn,
    channels_first: bool,
    keep: bool,
}

pub(crate) fn global_max_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 1, ReduceFn::Max)
}
pub(crate) fn global_max_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 2, ReduceFn::Max)
}
pub(crate) fn global_max_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 3, ReduceFn::Max)
}
pub(crate) fn global_average_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 1, ReduceFn::Mean)
}
pub(crate) fn global_average_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 2, ReduceFn::Mean)
}
pub(crate) fn global_average_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    global(config, facts, 3, ReduceFn::Mean)
}

fn global(config: &Config<'_>, facts: &Facts, rank: usize, f: ReduceFn) -> Outcome<Box<dyn Layer>> {
    let channels_first = channels_first(config, facts, rank)?;
    let keep = config.flag("keepdims", false)?;
    Ok(Box::new(Global { rank, f, channels_first, keep }))
}

impl Layer for Global {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = image(cx, x, self.rank, self.channels_first)?;
        let axes: Vec<usize> =
            if self.channels_first { (1..=self.rank).collect() } else { (0..self.rank).collect() };
        let y = cx.node(Reduce { f: self.f, axes, keep: self.keep }, &[x])?;
        if self.keep { Ok(y) } else { cx.with_layout(y, Layout::channels_last(0)) }
    }
}
