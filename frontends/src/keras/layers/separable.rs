//! SeparableConv1D/2D and DepthwiseConv1D/2D.
//!
//! In: a depthwise kernel `(space…, in, mult)`, output channel `c · mult + m`; a pointwise kernel `(1…, in · mult, out)`.
//! Out: a convolution with a group per channel, and a pointwise one; one bias and activation, at the end. Keras on
//! Theano reverses depthwise kernels itself before Theano does, so, unlike other kernels, they are stored unflipped.

use unfloat_ir::ops::{Conv as ConvOp, Window};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::activation::Function;
use super::dense::bias_operand;
use super::kernel::{KernelOrder, Reorder};
use super::window::{Geometry, Padding};
use super::{Layer, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::layer::{Library, Quantizers};
use crate::keras::quant::weights::Placing;
use crate::keras::version::{Backend, Generation};
use crate::keras::weights::{Slot, Wants};

struct Separable {
    geometry: Geometry,
    multiplier: usize,
    /// Output channels of the pointwise part; none in a depthwise layer.
    filters: Option<usize>,
    bias: bool,
    activation: Function,
    /// `(mult, in, space…)` and `(out, in · mult, 1…)`, as Keras 1 with `th` ordering has them.
    channels_lead: bool,
    quantizers: Quantizers,
}

pub(crate) fn separable_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable_of(config, facts, 1, true, Library::Keras)
}
pub(crate) fn separable_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable_of(config, facts, 2, true, Library::Keras)
}
pub(crate) fn depthwise_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable_of(config, facts, 1, false, Library::Keras)
}
pub(crate) fn depthwise_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable_of(config, facts, 2, false, Library::Keras)
}

/// Reads a depthwise convolution, or a separable one, as a library has it.
pub(crate) fn separable_of(
    config: &Config<'_>,
    facts: &Facts,
    rank: usize,
    pointwise: bool,
    library: Library,
) -> Outcome<Box<dyn Layer>> {
    let geometry = super::conv::geometry(config, facts, rank)?;
    let filters = if pointwise { Some(config.required("filters")?) } else { None };
    if config.positive("groups")?.unwrap_or(1) != 1 {
        return Err(config.error("'groups' other than 1 have no meaning in this layer"));
    }
    if !pointwise {
        // Old files repeat the base class's filters, which a depthwise layer does not use.
        config.ignore(&["filters"]);
    }
    let even = geometry.kernel.iter().any(|k| k % 2 == 0);
    if pointwise && facts.backend == Backend::Theano && geometry.padding == Padding::Same && even {
        // There the result has a cell more than the layer's own shape rule says.
        return Err(config.error("an even kernel_size with padding='same' has no consistent shape on Theano"));
    }
    let channels_lead = facts.weights_generation == Generation::Keras1
        && geometry.channels_first
        && facts.backend != Backend::Theano;
    let bias = config.flag("use_bias", true)?;
    let kernels = ["depthwise_kernel", "pointwise_kernel"];
    let kernels = kernels.get(..1 + usize::from(pointwise)).unwrap_or_default();
    Ok(Box::new(Separable {
        multiplier: config.positive("depth_multiplier")?.unwrap_or(1),
        filters,
        bias,
        activation: library.activation(config, facts)?,
        quantizers: Quantizers::read(config, library, kernels, bias, facts)?,
        geometry,
        channels_lead,
    }))
}

impl Separable {
    fn depthwise_kernel(&self, cx: &mut Cx<'_, '_>, channels: usize) -> Outcome<ValueId> {
        let (kernel, multiplier) = (&self.geometry.kernel, self.multiplier);
        let rank = kernel.len();
        let space = kernel.iter().copied();
        let shape: Vec<usize> = if self.channels_lead {
            [multiplier, channels].into_iter().chain(space.clone()).collect()
        } else {
            space.clone().chain([channels, multiplier]).collect()
        };
        // To (in, mult, space…), whose first two axes together are the output channels.
        let order: Vec<usize> = if self.channels_lead {
            [1, 0].into_iter().chain(2..rank + 2).collect()
        } else {
            [rank, rank + 1].into_iter().chain(0..rank).collect()
        };
        let placing = Placing {
            order: order.clone(),
            reversed: Vec::new(),
            merged: 2,
            ones: (0, 1),
            layout: Layout::weight(rank),
        };
        if let Some(kernel) = self.quantizers.kernel(cx, "depthwise_kernel", 0, 0, &shape, &placing)? {
            return Ok(kernel);
        }
        cx.weight_constant("depthwise_kernel", |cx| {
            let values = cx.reordered_weight(0, &Reorder::new(&shape, &order, &[]))?;
            let dims: Vec<usize> =
                std::iter::once(channels.saturating_mul(multiplier)).chain(space).chain([1]).collect();
            Ok(Tensor::f32(dims, Layout::weight(rank), values))
        })
    }

    fn pointwise_kernel(&self, cx: &mut Cx<'_, '_>, inputs: usize, outputs: usize) -> Outcome<ValueId> {
        let rank = self.geometry.rank;
        let order = if self.channels_lead { KernelOrder::OutInSpace } else { KernelOrder::SpaceInOut };
        let shape = order.shape(&vec![1; rank], inputs, outputs);
        let placing = order.placing(rank, false);
        if let Some(kernel) = self.quantizers.kernel(cx, "pointwise_kernel", 1, 1, &shape, &placing)? {
            return Ok(kernel);
        }
        cx.weight_constant("pointwise_kernel", |cx| {
            let values = cx.reordered_weight(1, &order.to_graph(&shape, false))?;
            let dims: Vec<usize> =
                std::iter::once(outputs).chain(std::iter::repeat_n(1, rank)).chain([inputs]).collect();
            Ok(Tensor::f32(dims, Layout::weight(rank), values))
        })
    }
}

impl Layer for Separable {
    fn wants(&self) -> Wants {
        let mut list = vec![Slot::trainable("depthwise_kernel")];
        if self.filters.is_some() {
            list.push(Slot::trainable("pointwise_kernel"));
        }
        if self.bias {
            list.push(Slot::trainable("bias"));
        }
        list.extend(self.quantizers.extra_slots());
        slots(&list)
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
        let depthwise = self.depthwise_kernel(cx, channels)?;
        let (x, window) = self.geometry.padded_window(cx, x, &space, self.quantizers.pad)?;
        let op = ConvOp { window, groups: channels };
        let middle = channels.saturating_mul(self.multiplier);
        let y = match self.filters {
            None => {
                let mut operands = vec![x, depthwise];
                let slot = self.bias.then_some(1);
                operands.extend(bias_operand(cx, &self.quantizers, slot, middle)?);
                cx.node(op, &operands)?
            }
            Some(filters) => {
                let y = cx.node(op, &[x, depthwise])?;
                let mut operands = vec![y, self.pointwise_kernel(cx, middle, filters)?];
                let slot = self.bias.then_some(2);
                operands.extend(bias_operand(cx, &self.quantizers, slot, filters)?);
                let window = Window::new(vec![1; self.geometry.rank]);
                cx.node(ConvOp { window, groups: 1 }, &operands)?
            }
        };
        self.activation.apply(cx, y)
    }
}
