//! Conv1D, Conv2D, Conv3D.
//!
//! In: kernel `(space…, in / groups, out)` (Keras 1 with `th` ordering `(out, in, space…)`, its Conv1D `(k, 1, in,
//! out)`), stored flipped by Theano. Out: one convolution with explicit padding, the bias in it, then the activation.

use unfloat_ir::ops::Conv as ConvOp;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::Layer;
use super::activation::Function;
use super::dense::{bias_operand, kernel_and_bias};
use super::kernel::KernelOrder;
use super::window::{Geometry, SameRule, channels_first, padding};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::layer::{Library, Quantizers};
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
    quantizers: Quantizers,
}

pub(crate) fn conv_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_of(config, facts, 1, Library::Keras)
}
pub(crate) fn conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_of(config, facts, 2, Library::Keras)
}
pub(crate) fn conv_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_of(config, facts, 3, Library::Keras)
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

/// Reads a convolution as a library has it.
pub(crate) fn conv_of(
    config: &Config<'_>,
    facts: &Facts,
    rank: usize,
    library: Library,
) -> Outcome<Box<dyn Layer>> {
    let geometry = geometry(config, facts, rank)?;
    let filters = config.required("filters")?;
    let groups = config.positive("groups")?.unwrap_or(1);
    let bias = config.flag("use_bias", true)?;
    let activation = library.activation(config, facts)?;
    let quantizers = Quantizers::read(config, library, &["kernel"], bias, facts)?;
    let first = facts.weights_generation == Generation::Keras1 && geometry.channels_first && rank > 1;
    let order = if first { KernelOrder::OutInSpace } else { KernelOrder::SpaceInOut };
    let flip = facts.backend == Backend::Theano;
    Ok(Box::new(Conv { geometry, filters, groups, bias, activation, order, flip, quantizers }))
}

impl Layer for Conv {
    fn wants(&self) -> Wants {
        kernel_and_bias(self.bias, &self.quantizers)
    }

    fn ignored_variables(&self) -> &'static [&'static str] {
        self.quantizers.ignored_variables()
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = self.quantizers.input(cx, x)?;
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
        let per_group = channels / groups;
        let shape = self.order.shape(kernel, per_group, filters);
        let placing = self.order.placing(kernel.len(), self.flip);
        let kernel = match self.quantizers.kernel(cx, "kernel", 0, 0, &shape, &placing)? {
            Some(kernel) => kernel,
            None => cx.weight_constant("kernel", |cx| {
                // Keras 1 stored Conv1D as a Conv2D of width 1.
                let old = cx.facts().weights_generation == Generation::Keras1 && kernel.len() == 1;
                let shape = match kernel.first() {
                    Some(taps) if old => vec![*taps, 1, per_group, filters],
                    _ => shape,
                };
                let values = cx.reordered_weight(0, &self.order.to_graph(&shape, self.flip))?;
                let dims: Vec<usize> =
                    std::iter::once(filters).chain(kernel.iter().copied()).chain([per_group]).collect();
                Ok(Tensor::f32(dims, Layout::weight(kernel.len()), values))
            })?,
        };
        let (x, window) = self.geometry.padded_window(cx, x, &space, self.quantizers.pad)?;
        let mut operands = vec![x, kernel];
        operands.extend(bias_operand(cx, &self.quantizers, self.bias.then_some(1), filters)?);
        let y = cx.node(ConvOp { window, groups }, &operands)?;
        let y = self.activation.apply(cx, y)?;
        self.quantizers.output(cx, y)
    }
}
