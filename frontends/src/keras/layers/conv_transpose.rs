//! Conv1DTranspose, Conv2DTranspose, Conv3DTranspose.
//!
//! In: kernel `(space…, out, in)`. Out: one transposed convolution with its crop and output extents as numbers, the
//! bias in it, then the activation. `same` gives `n · stride` cells, `valid` `n · stride + max(k − stride, 0)`;
//! `output_padding`, or Keras 1's `output_shape`, says another count.

use unfloat_ir::ops::ConvTranspose;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::Layer;
use super::activation::Function;
use super::dense::{bias_operand, kernel_and_bias};
use super::kernel::KernelOrder;
use super::window::{Geometry, Padding};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome};
use crate::keras::quant::layer::{Library, Quantizers};
use crate::keras::version::{Backend, Generation};
use crate::keras::weights::Wants;

struct Transpose {
    geometry: Geometry,
    filters: usize,
    bias: bool,
    activation: Function,
    output_padding: Option<Vec<usize>>,
    /// Spatial extents of the result, where the file says them.
    output: Option<Vec<usize>>,
    order: KernelOrder,
    theano: bool,
    quantizers: Quantizers,
}

pub(crate) fn transpose_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    transpose_of(config, facts, 1, Library::Keras)
}
pub(crate) fn transpose_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    transpose_of(config, facts, 2, Library::Keras)
}
pub(crate) fn transpose_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    transpose_of(config, facts, 3, Library::Keras)
}

/// Reads a transposed convolution as a library has it.
pub(crate) fn transpose_of(
    config: &Config<'_>,
    facts: &Facts,
    rank: usize,
    library: Library,
) -> Outcome<Box<dyn Layer>> {
    let geometry = super::conv::geometry(config, facts, rank)?;
    if geometry.padding == Padding::Causal {
        return Err(config.error("'padding': expected one of valid, same, found \"causal\""));
    }
    let filters = config.required("filters")?;
    if config.positive("groups")?.unwrap_or(1) != 1 {
        return Err(config.error("'groups' other than 1 are not supported in a transposed convolution"));
    }
    let keras1 = facts.weights_generation == Generation::Keras1;
    let order = match (keras1, geometry.channels_first) {
        // Keras 1 keeps the order of a plain convolution, whose gradient this layer is.
        (true, true) => KernelOrder::OutInSpace,
        (true, false) => KernelOrder::SpaceInOut,
        (false, _) => KernelOrder::SpaceOutIn,
    };
    let output_padding = match config.get("output_padding") {
        None => None,
        Some(value) if value.is_array() => config.list("output_padding", 0)?,
        Some(_) => Some(vec![config.integer("output_padding", 0)?; rank]),
    };
    let output_padding =
        output_padding.map(|list| non_negative(config, "output_padding", &list, rank)).transpose()?;
    let output = match config.get("output_shape") {
        None => None,
        Some(serde_json::Value::Array(all)) => {
            // (batch, space…, channels), or channels before space.
            let start = if geometry.channels_first { 2 } else { 1 };
            let dims: Option<Vec<i64>> =
                all.iter().skip(start).take(rank).map(serde_json::Value::as_i64).collect();
            let dims =
                dims.ok_or_else(|| config.error("'output_shape': expected the extents of the result"))?;
            Some(non_negative(config, "output_shape", &dims, rank)?)
        }
        Some(value) => return Err(config.expected("output_shape", "a list of extents", value)),
    };
    let bias = config.flag("use_bias", true)?;
    let activation = library.activation(config, facts)?;
    let quantizers = Quantizers::read(config, library, &["kernel"], bias, facts)?;
    let theano = facts.backend == Backend::Theano;
    Ok(Box::new(Transpose {
        geometry,
        filters,
        bias,
        activation,
        output_padding,
        output,
        order,
        theano,
        quantizers,
    }))
}

fn non_negative(config: &Config<'_>, key: &str, list: &[i64], rank: usize) -> Outcome<Vec<usize>> {
    let found: Option<Vec<usize>> =
        list.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i <= 1 << 31)).collect();
    match found {
        Some(found) if found.len() == rank => Ok(found),
        _ => Err(config.error(format!("'{key}': expected {rank} integers ≥ 0, found {list:?}"))),
    }
}

impl Transpose {
    /// Extent of the result and cells cropped before it, along one axis.
    fn extent(&self, axis: usize, n: usize) -> Option<(usize, usize)> {
        let g = &self.geometry;
        let (k, s, d) = (*g.kernel.get(axis)?, *g.strides.get(axis)?, *g.dilations.get(axis)?);
        let span = (k - 1).checked_mul(d)?.checked_add(1)?;
        let before_last = n.checked_sub(1)?.checked_mul(s)?;
        let same = g.padding == Padding::Same;
        let added = self.output_padding.as_ref().and_then(|list| list.get(axis)).copied();
        let length = match (self.output.as_ref().and_then(|list| list.get(axis)), added) {
            (Some(given), _) => *given,
            (None, Some(added)) => {
                before_last.checked_add(if same { span % 2 } else { span })?.checked_add(added)?
            }
            (None, None) if same => n.checked_mul(s)?,
            (None, None) => before_last.checked_add(span.max(s))?,
        };
        let crop = match (same, self.theano) {
            (false, _) => 0,
            (true, true) => span / 2,
            (true, false) => before_last.checked_add(span)?.saturating_sub(length) / 2,
        };
        Some((length, crop))
    }
}

impl Layer for Transpose {
    fn wants(&self) -> Wants {
        kernel_and_bias(self.bias, &self.quantizers)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = self.quantizers.input(cx, x)?;
        let (x, space) = self.geometry.input(cx, x)?;
        let dims = cx.dims(x);
        let channels = if self.geometry.channels_first { dims.first() } else { dims.last() };
        let channels = channels.copied().unwrap_or(0);
        let found: Option<Vec<(usize, usize)>> =
            space.iter().enumerate().map(|(axis, n)| self.extent(axis, *n)).collect();
        let Some(found) = found else { return Err(cx.error("the extents of the result are too large")) };
        let (output, crop): (Vec<usize>, Vec<usize>) = found.into_iter().unzip();
        if output.contains(&0) {
            return Err(cx.error("the result has no cells").with_help("check output_padding and strides"));
        }
        let (kernel, filters) = (&self.geometry.kernel, self.filters);
        let shape = self.order.shape(kernel, channels, filters);
        let placing = self.order.placing(kernel.len(), self.theano);
        let weight = match self.quantizers.kernel(cx, "kernel", 0, 0, &shape, &placing)? {
            Some(weight) => weight,
            None => cx.weight_constant("kernel", |cx| {
                let values = cx.reordered_weight(0, &self.order.to_graph(&shape, self.theano))?;
                let dims: Vec<usize> =
                    std::iter::once(filters).chain(kernel.iter().copied()).chain([channels]).collect();
                Ok(Tensor::f32(dims, Layout::weight(kernel.len()), values))
            })?,
        };
        let mut operands = vec![x, weight];
        operands.extend(bias_operand(cx, &self.quantizers, self.bias.then_some(1), filters)?);
        let op = ConvTranspose {
            kernel: kernel.clone(),
            strides: self.geometry.strides.clone(),
            dilations: self.geometry.dilations.clone(),
            crop,
            output,
            groups: 1,
        };
        let y = cx.node(op, &operands)?;
        let y = self.activation.apply(cx, y)?;
        self.quantizers.output(cx, y)
    }
}
