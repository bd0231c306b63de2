//! BatchNormalization and LayerNormalization.
//!
//! In: `gamma` if `scale`, `beta` if `center`, and for the batch kind its moving mean and variance (Keras 1 calls the
//! latter `running_std`, but it holds the variance). Out: one node; left-out parameters are ones and zeros; several nodes
//! for Keras 3's RMS scaling. Refuses: Keras 1's modes 1 and 2, renormalisation.

use unfloat_ir::ops::{BatchNorm as BatchNormOp, Binary, LayerNorm as LayerNormOp, Reduce, ReduceFn, Unary};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, sample_axes, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome};
use crate::keras::quant::Quantizer;
use crate::keras::quant::array::Array;
use crate::keras::quant::weights::{Placing, quantized};
use crate::keras::weights::{Slot, Wants};

struct BatchNorm {
    axes: Vec<i64>,
    eps: f32,
    scale: bool,
    center: bool,
    /// Quantizers of gamma, beta, mean and variance.
    quantizers: [Option<Quantizer>; 4],
}

/// Reads a BatchNormalization.
pub(crate) fn batch_norm(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    batch_norm_with(config, [None, None, None, None])
}

/// Reads a batch normalisation whose parameters have quantizers.
pub(crate) fn batch_norm_with(
    config: &Config<'_>,
    quantizers: [Option<Quantizer>; 4],
) -> Outcome<Box<dyn Layer>> {
    if config.integer("mode", 0)? != 0 {
        let problem = config.error("'mode': only mode 0, normalisation by moving statistics, is supported");
        return Err(
            problem.with_help("modes 1 and 2 of Keras 1 take statistics from the data they normalise")
        );
    }
    if config.flag("renorm", false)? {
        return Err(config.error("'renorm': batch renormalisation is not supported"));
    }
    config.ignore(&[
        "momentum",
        "fused",
        "virtual_batch_size",
        "adjustment",
        "synchronized",
        "renorm_momentum",
        "renorm_clipping",
        "weights",
        "_USE_V2_BEHAVIOR",
    ]);
    Ok(Box::new(BatchNorm {
        axes: config.axes("axis", &[-1])?,
        eps: config.number("epsilon", 1e-3)? as f32,
        scale: config.flag("scale", true)?,
        center: config.flag("center", true)?,
        quantizers,
    }))
}

/// The parameter in `slot`, or a constant where the layer has none.
fn parameter(
    cx: &mut Cx<'_, '_>,
    role: &'static str,
    slot: Option<usize>,
    dims: &[usize],
    layout: Layout,
    default: f32,
    quantizer: Option<&Quantizer>,
) -> Outcome<ValueId> {
    match slot {
        Some(slot) if let Some(quantizer) = quantizer => {
            quantized(cx, role, quantizer, &Placing::vector(), |cx| {
                Ok(Array { values: cx.weight(slot, dims)?, shape: dims.to_vec() })
            })
        }
        Some(slot) => cx.weight_constant(role, |cx| Ok(Tensor::f32(dims, layout, cx.weight(slot, dims)?))),
        None => cx.constant(role, dims, || Tensor::f32(dims, layout, vec![default; dims.iter().product()])),
    }
}

impl Layer for BatchNorm {
    fn wants(&self) -> Wants {
        let mut list = Vec::new();
        if self.scale {
            list.push(Slot::trainable("gamma"));
        }
        if self.center {
            list.push(Slot::trainable("beta"));
        }
        list.extend([Slot::fixed("moving_mean"), Slot::fixed("moving_variance")]);
        slots(&list)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let axes = sample_axes(cx, "axis", &self.axes, dims.len())?;
        let [axis] = axes.as_slice() else {
            let problem = cx.error(format!("'axis': expected one axis, found {:?}", self.axes));
            return Err(problem.with_help("joint normalisation over several axes is not supported"));
        };
        let extent = [dims.get(*axis).copied().unwrap_or(0)];
        let layout = Layout::channels_last(0);
        let mut next = 0;
        let mut slot = |present: bool| {
            let slot = present.then_some(next);
            next += usize::from(present);
            slot
        };
        let (gamma, beta, mean, variance) = (slot(self.scale), slot(self.center), slot(true), slot(true));
        let [q_gamma, q_beta, q_mean, q_variance] = self.quantizers.each_ref().map(Option::as_ref);
        let gamma = parameter(cx, "gamma", gamma, &extent, layout, 1.0, q_gamma)?;
        let beta = parameter(cx, "beta", beta, &extent, layout, 0.0, q_beta)?;
        let mean = parameter(cx, "mean", mean, &extent, layout, 0.0, q_mean)?;
        let variance = parameter(cx, "variance", variance, &extent, layout, 1.0, q_variance)?;
        cx.node(BatchNormOp::new(*axis, self.eps), &[x, gamma, beta, mean, variance])
    }

    fn maps_over_time(&self) -> bool {
        self.axes.iter().all(|axis| *axis < 0)
    }
}

struct LayerNorm {
    axes: Vec<i64>,
    eps: f32,
    scale: bool,
    center: bool,
    /// Divide by the deviation without subtracting the mean; implies `scale` and excludes `center`.
    rms_scaling: bool,
}

impl LayerNorm {
    fn has_gamma(&self) -> bool {
        self.scale || self.rms_scaling
    }

    fn has_beta(&self) -> bool {
        self.center && !self.rms_scaling
    }

    /// `x · rsqrt(var(x) + ε) · gamma`. Despite the name, Keras takes the variance about the mean here.
    fn rms(&self, cx: &mut Cx<'_, '_>, x: ValueId, axes: Vec<usize>) -> Outcome<ValueId> {
        let dims = cx.dims(x);
        let kept: Vec<usize> =
            dims.iter().enumerate().map(|(axis, dim)| if axes.contains(&axis) { *dim } else { 1 }).collect();
        let extents: Vec<usize> = axes.iter().filter_map(|axis| dims.get(*axis).copied()).collect();
        let layout = cx.ty(x).layout;
        let gamma = cx.weight_constant("gamma", |cx| {
            Ok(Tensor::f32(kept.as_slice(), layout, cx.weight(0, &extents)?))
        })?;
        let scalar = |value: f32| move || Tensor::f32([], Layout::anonymous(0), vec![value]);
        let count = cx.constant("count", &[], scalar(extents.iter().product::<usize>() as f32))?;
        let eps = cx.constant("eps", &[], scalar(self.eps))?;
        let mean = cx.node(Reduce { f: ReduceFn::Mean, axes: axes.clone(), keep: true }, &[x])?;
        let centred = cx.node(Binary::Sub, &[x, mean])?;
        let squares = cx.node(Reduce { f: ReduceFn::SumSquare, axes, keep: true }, &[centred])?;
        let variance = cx.node(Binary::Div, &[squares, count])?;
        let shifted = cx.node(Binary::Add, &[variance, eps])?;
        let scale = cx.node(Unary::Rsqrt, &[shifted])?;
        let scaled = cx.node(Binary::Mul, &[x, scale])?;
        cx.node(Binary::Mul, &[scaled, gamma])
    }
}

/// Reads a LayerNormalization.
pub(crate) fn layer_norm(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let rms_scaling = config.flag("rms_scaling", false)?;
    Ok(Box::new(LayerNorm {
        rms_scaling,
        axes: config.axes("axis", &[-1])?,
        eps: config.number("epsilon", 1e-3)? as f32,
        scale: config.flag("scale", true)?,
        center: config.flag("center", true)?,
    }))
}

impl Layer for LayerNorm {
    fn wants(&self) -> Wants {
        let mut list = Vec::new();
        if self.has_gamma() {
            list.push(Slot::trainable("gamma"));
        }
        if self.has_beta() {
            list.push(Slot::trainable("beta"));
        }
        slots(&list)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let axes = sample_axes(cx, "axis", &self.axes, dims.len())?;
        // Parameters have their axes in the order of the key, so only a rising one can be taken as it is.
        let in_order: Vec<Option<usize>> =
            self.axes.iter().map(|axis| super::sample_axis(*axis, dims.len())).collect();
        if !in_order.iter().flatten().eq(axes.iter()) {
            return Err(cx.error(format!("'axis': expected rising axes, found {:?}", self.axes)));
        }
        if self.rms_scaling {
            return self.rms(cx, x, axes);
        }
        let extents: Vec<usize> = axes.iter().filter_map(|axis| dims.get(*axis).copied()).collect();
        let layout = Layout::anonymous(extents.len());
        let gamma = parameter(cx, "gamma", self.scale.then_some(0), &extents, layout, 1.0, None)?;
        let beta_slot = self.center.then_some(usize::from(self.scale));
        let beta = parameter(cx, "beta", beta_slot, &extents, layout, 0.0, None)?;
        cx.node(LayerNormOp { axes, eps: self.eps }, &[x, gamma, beta])
    }

    fn maps_over_time(&self) -> bool {
        self.axes.iter().all(|axis| *axis < 0)
    }
}
