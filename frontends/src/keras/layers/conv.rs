//! Conv1D, Conv2D, Conv3D.
//!
//! In: kernel `(space…, in / groups, out)` (Keras 1 with `th` ordering `(out, in, space…)`, its Conv1D `(k, 1, in,
//! out)`), stored flipped by Theano. Out: one convolution with explicit padding, the bias in it, then the activation.

use unfloat_ir::ops::Conv as ConvOp;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::Layer;
use super::activation::{self, Function};
use super::dense::{bias_constant, kernel_and_bias};
use super::kernel::KernelOrder;
use super::window::{Geometry, SameRule, channels_first, padding};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::version::{Backend, Generation};
use crate::keras::weights::Wants;

struct Conv {
    geometry: Geometry,
    filters: usize,
    groups: usize,
    bias: bool,
    activation: Function,
    order: KernelOrder,
    flip: bool,
}

pub(crate) fn conv_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv(config, facts, 1)
}
pub(crate) fn conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv(config, facts, 2)
}
pub(crate) fn conv_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv(config, facts, 3)
}

/// Reads the geometry that all convolutions share.
pub(crate) fn geometry(config: &Config<'_>, facts: &Facts, rank: usize) -> Outcome<Geometry> {
    let allowed: &[&'static str] = if rank == 1 { &["valid", "same", "causal"] } else { &["valid", "same"] };
    config.ignore(&["weights"]);
    let kernel = config
        .spatial("kernel_size", rank)?
        .ok_or_else(|| config.missing("kernel_size", "an integer ≥ 1 for each spatial axis"))?;
    Ok(Geometry {
        rank,
        kernel,
        strides: config.spatial("strides", rank)?.unwrap_or_else(|| vec![1; rank]),
        dilations: config.spatial("dilation_rate", rank)?.unwrap_or_else(|| vec![1; rank]),
        padding: padding(config, allowed)?,
        rule: SameRule::conv(facts.backend),
        channels_first: channels_first(config, facts, rank)?,
    })
}

fn conv(config: &Config<'_>, facts: &Facts, rank: usize) -> Outcome<Box<dyn Layer>> {
    let geometry = geometry(config, facts, rank)?;
    let filters = config.required("filters")?;
    let groups = config.positive("groups")?.unwrap_or(1);
    let bias = config.flag("use_bias", true)?;
    let activation = activation::read(config, "activation", facts)?;
    let first = facts.weights_generation == Generation::Keras1 && geometry.channels_first && rank > 1;
    let order = if first { KernelOrder::OutInSpace } else { KernelOrder::SpaceInOut };
    let flip = facts.backend == Backend::Theano;
    Ok(Box::new(Conv { geometry, filters, groups, bias, activation, order, flip }))
}

impl Layer for Conv {
    fn wants(&self) -> Wants {
        kernel_and_bias(self.bias)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let (x, space) = self.geometry.input(cx, x)?;
        let dims = cx.dims(x);
        let channels = if self.geometry.channels_first { dims.first() } else { dims.last() };
        let channels = channels.copied().unwrap_or(0);
        let (filters, groups) = (self.filters, self.groups);
        if channels % groups != 0 || filters % groups != 0 {
            let message =
                format!("'groups': {groups} does not divide {channels} input channels and {filters} filters");
            return Err(cx.error(message));
        }
        let kernel = &self.geometry.kernel;
        let kernel = cx.weight_constant("kernel", |cx| {
            let per_group = channels / groups;
            // Keras 1 stored Conv1D as a Conv2D of width 1.
            let old = cx.facts().weights_generation == Generation::Keras1 && kernel.len() == 1;
            let shape: Vec<usize> = if old {
                vec![kernel.first().copied().unwrap_or(1), 1, per_group, filters]
            } else {
                self.order.shape(kernel, per_group, filters)
            };
            let values = cx.reordered_weight(0, &self.order.to_graph(&shape, self.flip))?;
            let dims: Vec<usize> =
                std::iter::once(filters).chain(kernel.iter().copied()).chain([per_group]).collect();
            Ok(Tensor::f32(dims, Layout::weight(kernel.len()), values))
        })?;
        let mut operands = vec![x, kernel];
        if self.bias {
            operands.push(bias_constant(cx, 1, filters)?);
        }
        let y = cx.node(ConvOp { window: self.geometry.window(&space), groups }, &operands)?;
        self.activation.apply(cx, y)
    }
}
