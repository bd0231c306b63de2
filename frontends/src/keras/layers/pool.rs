//! Pooling over windows and over whole images.
//!
//! In: `pool_size`, `strides` (its default), `padding`, `data_format`. Out: one node. Padding never counts: it is −∞ to a
//! maximum and no cell to a mean.

use unfloat_ir::ops::{AvgPool, Binary, MaxPool, Reduce, ReduceFn};
use unfloat_ir::{Layout, Op, ValueId};

use super::Layer;
use super::activation::Function;
use super::window::{Geometry, SameRule, channels_first, image, padding};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::array::Array;
use crate::keras::quant::weights::{Placing, quantized};
use crate::keras::quant::{self, Family, Quantizer, Use};

/// Most cells of a window; a convolution's are in the file, a pooling's cost nothing to write down.
const MAX_WINDOW: usize = 1 << 20;

struct Pool {
    geometry: Geometry,
    mean: bool,
    after: After,
}

/// What QKeras does to a mean: a multiple of the sum by a quantized `1 / area`, then an activation.
#[derive(Default)]
struct After {
    factor: Option<Quantizer>,
    activation: Option<Function>,
}

impl After {
    fn read(config: &Config<'_>, facts: &Facts) -> Outcome<After> {
        let factor = quant::read(config, "average_quantizer", Family::QKeras, Use::Weight, facts);
        let factor = config.or_report(factor, None);
        let activation = quant::activation(config, "activation", Family::QKeras, facts);
        Ok(After { factor, activation: Some(config.or_report(activation, Function::Linear)) })
    }

    fn apply(&self, cx: &mut Cx<'_, '_>, mean: ValueId, area: usize) -> Outcome<ValueId> {
        let mut y = mean;
        if let Some(factor) = &self.factor {
            let area = area as f32;
            let cells = cx.number(area)?;
            y = cx.node(Binary::Mul, &[y, cells])?;
            let one = Array { shape: vec![1], values: vec![1.0 / area] };
            let factor = quantized(cx, "factor", factor, &Placing::vector(), |_| Ok(one))?;
            y = cx.node(Binary::Mul, &[y, factor])?;
        }
        self.activation.as_ref().map_or(Ok(y), |activation| activation.apply(cx, y))
    }
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

/// QKeras' mean over windows.
pub(crate) fn q_average_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let after = After::read(config, facts)?;
    pool_with(config, facts, 2, true, after)
}

fn pool(config: &Config<'_>, facts: &Facts, rank: usize, mean: bool) -> Outcome<Box<dyn Layer>> {
    pool_with(config, facts, rank, mean, After::default())
}

fn pool_with(
    config: &Config<'_>,
    facts: &Facts,
    rank: usize,
    mean: bool,
    after: After,
) -> Outcome<Box<dyn Layer>> {
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
    Ok(Box::new(Pool { geometry, mean, after }))
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
        let y = cx.node(op, &[x])?;
        self.after.apply(cx, y, self.geometry.kernel.iter().product())
    }
}

struct Global {
    rank: usize,
    f: ReduceFn,
    channels_first: bool,
    keep: bool,
    after: After,
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

/// QKeras' mean over space.
pub(crate) fn q_global_average_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let after = After::read(config, facts)?;
    global_with(config, facts, 2, ReduceFn::Mean, after)
}

fn global(config: &Config<'_>, facts: &Facts, rank: usize, f: ReduceFn) -> Outcome<Box<dyn Layer>> {
    global_with(config, facts, rank, f, After::default())
}

fn global_with(
    config: &Config<'_>,
    facts: &Facts,
    rank: usize,
    f: ReduceFn,
    after: After,
) -> Outcome<Box<dyn Layer>> {
    let channels_first = channels_first(config, facts, rank)?;
    let keep = config.flag("keepdims", false)?;
    Ok(Box::new(Global { rank, f, channels_first, keep, after }))
}

impl Layer for Global {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = image(cx, x, self.rank, self.channels_first)?;
        let axes: Vec<usize> =
            if self.channels_first { (1..=self.rank).collect() } else { (0..self.rank).collect() };
        let dims = cx.dims(x);
        let area = axes.iter().filter_map(|axis| dims.get(*axis)).product();
        let y = cx.node(Reduce { f: self.f, axes, keep: self.keep }, &[x])?;
        let y = if self.keep { y } else { cx.with_layout(y, Layout::channels_last(0))? };
        self.after.apply(cx, y, area)
    }
}
