//! QKeras' own layers: QActivation, QAdaptiveActivation, QBatchNormalization, and those that are Keras' with quantizers.
//!
//! In: configurations of QKeras 0.9 and qkeras-v3. Out: the nodes of the plain layer, with quantizers where the
//! configuration has some. QAdaptiveActivation's bits before the point follow from the moving extremes in the file, as
//! the library sets them in its first call; its first result after loading alone is another.

use serde_json::{Map, Value};
use unfloat_ir::ops::{Binary, Unary};
use unfloat_ir::{IntType, ValueId};

use super::activation::Function;
use super::{Layer, conv, conv_transpose, dense, norm, separable, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::array::{Array, Scale};
use crate::keras::quant::grid::{Grid, Step, pow2};
use crate::keras::quant::layer::Library;
use crate::keras::quant::{self, Family, Quantizer, Use};
use crate::keras::weights::{Slot, Wants};

pub(crate) fn q_dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::QKeras)
}
pub(crate) fn q_conv_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 1, Library::QKeras)
}
pub(crate) fn q_conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::QKeras)
}
pub(crate) fn q_conv_2d_transpose(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_transpose::transpose_of(config, facts, 2, Library::QKeras)
}
pub(crate) fn q_depthwise_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 2, false, Library::QKeras)
}
pub(crate) fn q_separable_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 1, true, Library::QKeras)
}
pub(crate) fn q_separable_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 2, true, Library::QKeras)
}
pub(crate) fn q_dense_folded(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::QKerasFolded)
}
pub(crate) fn q_conv_2d_folded(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::QKerasFolded)
}
pub(crate) fn q_depthwise_2d_folded(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 2, false, Library::QKerasFolded)
}

/// `QActivation`.
pub(crate) fn q_activation(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let function: Function = quant::activation(config, "activation", Family::QKeras, facts)?;
    Ok(Box::new(function))
}

/// `QBatchNormalization`: all four parameters have quantizers unless the file says that one has none.
pub(crate) fn q_batch_norm(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["gamma_range", "beta_range", "activation"]);
    let read = |key: &str, default: &str, of: Use| -> Outcome<Option<Quantizer>> {
        if config.has(key) {
            return Ok(config.or_report(quant::read(config, key, Family::QKeras, of, facts), None));
        }
        let map: Map<String, Value> = [(key.to_owned(), Value::from(default))].into_iter().collect();
        let own = config.nested(config.layer().to_owned(), &map);
        quant::read(&own, key, Family::QKeras, of, facts)
    };
    let quantizers = [
        read("gamma_quantizer", "quantized_relu_po2(6, 2048)", Use::Kernel)?,
        read("beta_quantizer", "quantized_po2(5)", Use::Weight)?,
        read("mean_quantizer", "quantized_po2(5)", Use::Weight)?,
        read("variance_quantizer", "quantized_relu_po2(6, quadratic_approximation=True)", Use::Kernel)?,
    ];
    if let Some(value) = config.get("inverse_quantizer") {
        return Err(config.expected("inverse_quantizer", "nothing", value));
    }
    norm::batch_norm_with(config, quantizers)
}

/// `QAdaptiveActivation`.
struct Adaptive {
    relu: bool,
    bits: u8,
    symmetric: bool,
    slope: f32,
    rounds: bool,
}

/// Reads a QAdaptiveActivation.
pub(crate) fn q_adaptive(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["current_step", "quantization_delay", "ema_freeze_delay", "ema_decay", "per_channel"]);
    let kind = config.choice("activation", "", &["quantized_bits", "quantized_relu"])?;
    let bits = config.integer("total_bits", 8)?;
    let Some(bits) = u8::try_from(bits).ok().filter(|bits| (2..=24).contains(bits)) else {
        return Err(config.error(format!("'total_bits': expected 2 to 24, found {bits}")));
    };
    let slope = config.number("relu_neg_slope", 0.0)? as f32;
    if !(0.0..=1.0).contains(&slope) || (slope > 0.0 && slope.log2().fract() != 0.0) {
        return Err(config.error(format!("'relu_neg_slope': expected 0 or 2^−n, found {slope}")));
    }
    if let Some(bound) = config.optional_number("relu_upper_bound")? {
        return Err(config.error(format!("'relu_upper_bound': expected nothing, found {bound}")));
    }
    Ok(Box::new(Adaptive {
        relu: kind == "quantized_relu",
        bits,
        symmetric: config.flag("symmetric", true)?,
        slope,
        rounds: config.flag("po2_rounding", false)?,
    }))
}

impl Adaptive {
    fn signed(&self) -> bool {
        !self.relu || self.slope != 0.0
    }

    /// Bits before the point for a range.
    fn integer(&self, min: f32, max: f32) -> i64 {
        let (min, max) = if self.signed() { (min, max) } else { (min.max(0.0), max.max(0.0)) };
        let rest = f32::from(self.bits - u8::from(self.signed()));
        let log = |x: f32| (Unary::Log.apply(x.abs()) / std::f32::consts::LN_2).max(0.0);
        let (mut low, mut high);
        if self.rounds {
            (low, high) = (log(min).round_ties_even(), log(max).round_ties_even());
        } else {
            (low, high) = (log(min).ceil(), log(max).ceil());
            if max > high.exp2() - (high - rest).min(0.0).exp2() {
                high += 1.0;
            }
            if self.symmetric && (low - rest).min(0.0).exp2() - low.exp2() > min {
                low += 1.0;
            }
        }
        low.max(high).min(rest) as i64
    }

    fn grid(&self, unit: &Scale) -> Grid {
        let rest = i64::from(self.bits - u8::from(self.signed()));
        let step = unit.map(|unit| unit * pow2(-rest));
        let int = IntType { signed: self.signed(), width: self.bits };
        let narrow = !self.relu && self.symmetric;
        let mut grid = Grid::uniform(int, narrow, 1.0, step.clone());
        grid.set_step(step.clone());
        if self.relu && self.slope != 0.0 {
            let least = -self.slope * pow2(rest);
            grid = grid.after([
                Step::Each(Unary::LeakyRelu { alpha: self.slope }),
                Step::With(Binary::Max, step.map(|step| least.min(0.0) * step)),
            ]);
        }
        grid
    }
}

impl Layer for Adaptive {
    fn wants(&self) -> Wants {
        slots(&[Slot::fixed("step"), Slot::fixed("ema_min"), Slot::fixed("ema_max")])
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let shape = cx.stored_shape(1).unwrap_or_else(|| vec![1]);
        let (min, max) = (cx.weight(1, &shape)?, cx.weight(2, &shape)?);
        let units = min.iter().zip(&max).map(|(min, max)| pow2(self.integer(*min, *max))).collect();
        let unit = match shape.as_slice() {
            [] | [1] => Array { shape: Vec::new(), values: units },
            _ => Array { shape, values: units },
        };
        self.grid(&unit).emit(cx, "activation", x)
    }
}
