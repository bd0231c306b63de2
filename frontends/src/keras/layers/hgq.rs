//! HGQ2's layers.
//!
//! In: configurations of HGQ2 in a `.keras` file, and the widths beside the weights. Out: the nodes of the plain layer
//! with an input quantizer, quantized kernel and bias, and, where it is on, an output quantizer. Refuses: layers that
//! compute by tables, attention, recurrence.

use unfloat_ir::ValueId;
use unfloat_ir::ops::{Binary, Unary};

use super::{Layer, conv, dense, sample_axes, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::array::Array;
use crate::keras::quant::hgq::{self, Stored};
use crate::keras::quant::layer::{Library, Quantizers};
use crate::keras::quant::weights::Placing;
use crate::keras::weights::{Slot, Wants};

pub(crate) fn dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::Hgq)
}
pub(crate) fn conv_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 1, Library::Hgq)
}
pub(crate) fn conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::Hgq)
}
pub(crate) fn conv_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 3, Library::Hgq)
}

/// A quantizer as a layer.
struct Alone {
    quantizer: Option<Stored>,
}

/// `Quantizer`.
pub(crate) fn quantizer(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    Ok(Box::new(Alone { quantizer: hgq::read(config, "config", "quantizer", 0)? }))
}

impl Layer for Alone {
    fn wants(&self) -> Wants {
        slots(&self.quantizer.iter().flat_map(Stored::slots).collect::<Vec<Slot>>())
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        self.quantizer.as_ref().map_or(Ok(x), |quantizer| quantizer.emit(cx, "quantizer", x))
    }
}

/// A batch normalisation as a quantized factor and a quantized offset of each channel.
struct Norm {
    axes: Vec<i64>,
    eps: f32,
    scale: bool,
    center: bool,
    quantizers: Quantizers,
}

/// `QBatchNormalization`.
pub(crate) fn batch_norm(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    if config.flag("renorm", false)? {
        return Err(config.error("'renorm': batch renormalisation is not supported"));
    }
    config.ignore(&["momentum", "synchronized", "renorm_momentum", "renorm_clipping"]);
    let (scale, center) = (config.flag("scale", true)?, config.flag("center", true)?);
    let own = 2 + usize::from(scale) + usize::from(center);
    Ok(Box::new(Norm {
        axes: config.axes("axis", &[-1])?,
        eps: config.number("epsilon", 1e-3)? as f32,
        scale,
        center,
        quantizers: Quantizers::read_behind(config, own)?,
    }))
}

impl Layer for Norm {
    fn wants(&self) -> Wants {
        let mut list = Vec::new();
        if self.scale {
            list.push(Slot::trainable("bn_gamma"));
        }
        if self.center {
            list.push(Slot::trainable("bn_beta"));
        }
        list.extend([Slot::fixed("moving_mean"), Slot::fixed("moving_variance")]);
        list.extend(self.quantizers.extra_slots());
        slots(&list)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = self.quantizers.input(cx, x)?;
        let dims = cx.dims(x);
        let axes = sample_axes(cx, "axis", &self.axes, dims.len())?;
        let [axis] = axes.as_slice() else {
            return Err(cx.error(format!("'axis': expected one axis, found {:?}", self.axes)));
        };
        let extent = [dims.get(*axis).copied().unwrap_or(0)];
        let (factor, offset) = self.parameters(cx, extent)?;
        let place = Placing::spread_over(dims.len(), *axis, cx.ty(x).layout);
        let factor = self.quantizers.made(cx, "factor", true, &place, factor)?;
        let offset = self.quantizers.made(cx, "offset", false, &place, offset)?;
        let y = cx.node(Binary::Mul, &[x, factor])?;
        let y = cx.node(Binary::Add, &[y, offset])?;
        self.quantizers.output(cx, y)
    }
}

impl Norm {
    /// `gamma / √(variance + ε)` and `beta − mean · factor`; the library takes a missing beta for 1.
    fn parameters(&self, cx: &mut Cx<'_, '_>, extent: [usize; 1]) -> Outcome<(Array<f32>, Array<f32>)> {
        let mut slot = 0;
        let mut next = |cx: &mut Cx<'_, '_>, present: bool| -> Outcome<Vec<f32>> {
            if !present {
                return Ok(vec![1.0; extent[0]]);
            }
            slot += 1;
            cx.weight(slot - 1, &extent)
        };
        let (gamma, beta) = (next(cx, self.scale)?, next(cx, self.center)?);
        let (mean, variance) = (next(cx, true)?, next(cx, true)?);
        let factor: Vec<f32> =
            gamma.iter().zip(&variance).map(|(g, v)| g / Unary::Sqrt.apply(v + self.eps)).collect();
        let offset = beta.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        let shape = extent.to_vec();
        Ok((Array { shape: shape.clone(), values: factor }, Array { shape, values: offset }))
    }
}
