//! The quantizers of one layer with weights, from whichever library.
//!
//! In: the keys of a layer's configuration. Out: its input, its kernels and its bias behind their quantizers; a kernel
//! that a batch normalisation is folded into is folded first, as the library does. A weight without a quantizer is not
//! touched here, so it stays a float for all to see.

use unfloat_ir::ValueId;
use unfloat_ir::ops::Unary;

use super::array::Array;
use super::hgq::{self, Stored};
use super::weights::{Placing, float, quantized};
use super::{Family, Quantizer, Use};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::layers::activation::{self, Function};
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome};
use crate::keras::weights::Slot;

/// Who wrote a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// Keras: no quantizers.
    Keras,
    /// QKeras 0.9, qkeras-v3.
    QKeras,
    /// QKeras' layers with a batch normalisation inside.
    QKerasFolded,
    /// Larq.
    Larq,
    /// HGQ2.
    Hgq,
    /// Layers of course code, with weights of one bit or of −H, 0, H.
    Course(Course),
}

/// The two kinds of weights in course code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// −H and H.
    Binary,
    /// −H, 0 and H.
    Ternary,
}

/// A quantizer, or where its numbers stand.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    Known(Quantizer),
    Stored(Stored),
}

/// The quantizers of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quantizers {
    input: Option<Source>,
    kernels: Vec<Option<Source>>,
    bias: Option<Source>,
    output: Option<Source>,
    /// What a padded cell holds, where it is not 0.
    pub pad: f32,
    fold: Option<Fold>,
    /// Arrays beside kernels and bias.
    extra: Vec<Slot>,
}

/// A batch normalisation that goes into kernel and bias.
#[derive(Clone, Debug, PartialEq)]
struct Fold {
    eps: f32,
    scale: bool,
    /// Place of its first array among the slots.
    first: usize,
}

impl Library {
    /// Reads an activation in the words of the library.
    pub fn activation(self, config: &Config<'_>, facts: &Facts) -> Outcome<Function> {
        match self {
            Library::QKeras | Library::QKerasFolded => {
                let found = super::activation(config, "activation", Family::QKeras, facts);
                Ok(config.or_report(found, Function::Linear))
            }
            _ => activation::read(config, "activation", facts),
        }
    }
}

impl Quantizers {
    /// Reads the quantizers of a layer with those kernels and, perhaps, a bias.
    pub fn read(
        config: &Config<'_>,
        library: Library,
        kernels: &[&'static str],
        bias: bool,
        facts: &Facts,
    ) -> Outcome<Quantizers> {
        match library {
            Library::Keras => Ok(Quantizers::default()),
            Library::QKeras | Library::QKerasFolded => {
                let mut own = Quantizers::default();
                for kernel in kernels {
                    let key = quantizer_key(kernel);
                    let found = super::read(config, key, Family::QKeras, Use::Kernel, facts);
                    let found = config.or_report(found, None);
                    own.kernels.push(found.map(Source::Known));
                }
                let found = super::read(config, "bias_quantizer", Family::QKeras, Use::Weight, facts);
                let found = config.or_report(found, None);
                own.bias = found.map(Source::Known);
                config.ignore(&["kernel_range", "bias_range", "depthwise_range", "pointwise_range"]);
                if config.get("mask").is_some() {
                    return Err(config
                        .error("'mask': a mask of the kernel is not supported")
                        .with_help("multiply the kernel by it and save the model without"));
                }
                if library == Library::QKerasFolded {
                    own.fold(config, kernels.len() + usize::from(bias))?;
                }
                Ok(own)
            }
            Library::Larq => larq(config, kernels, facts),
            Library::Hgq => stored(config, kernels.len(), bias, kernels.len() + usize::from(bias)),
            Library::Course(kind) => course(config, kind),
        }
    }

    /// Reads HGQ2's quantizers of a layer that makes kernel and bias of so many weights.
    pub fn read_behind(config: &Config<'_>, weights: usize) -> Outcome<Quantizers> {
        stored(config, 1, true, weights)
    }

    fn fold(&mut self, config: &Config<'_>, before: usize) -> Outcome<()> {
        config.ignore(&[
            "axis",
            "momentum",
            "folding_mode",
            "ema_freeze_delay",
            "renorm",
            "renorm_momentum",
            "renorm_clipping",
            "fused",
            "virtual_batch_size",
            "adjustment",
            "synchronized",
        ]);
        let scale = config.flag("scale", true)?;
        if !config.flag("center", true)? {
            return Err(config.error("'center': the library itself cannot fold without beta"));
        }
        self.fold = Some(Fold { eps: config.number("epsilon", 1e-3)? as f32, scale, first: before });
        if scale {
            self.extra.push(Slot::within("batchnorm", "gamma").trained());
        }
        self.extra.push(Slot::within("batchnorm", "beta").trained());
        self.extra.push(Slot::within("batchnorm", "moving_mean"));
        self.extra.push(Slot::within("batchnorm", "moving_variance"));
        Ok(())
    }

    /// Arrays beside kernels and bias, in the order of the slots.
    pub fn extra_slots(&self) -> Vec<Slot> {
        self.extra.clone()
    }

    /// Whether the layer has a bias though its configuration says that it has none.
    pub fn implies_bias(&self) -> bool {
        self.fold.is_some()
    }

    /// Variables that count steps of the training.
    pub fn ignored_variables(&self) -> &'static [&'static str] {
        if self.fold.is_some() { &["iteration"] } else { &[] }
    }

    /// Whether inputs have a quantizer of their own.
    pub fn input(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
        emit(self.input.as_ref(), cx, "input", x)
    }

    /// The result behind the output's quantizer.
    pub fn output(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
        emit(self.output.as_ref(), cx, "output", x)
    }

    /// Kernel `index` of the file's shape `shape` in slot `slot`, behind its quantizer; `None` where it has none.
    pub fn kernel(
        &self,
        cx: &mut Cx<'_, '_>,
        role: &'static str,
        index: usize,
        slot: usize,
        shape: &[usize],
        placing: &Placing,
    ) -> Outcome<Option<ValueId>> {
        let source = self.kernels.get(index).and_then(Option::as_ref);
        let read = |cx: &mut Cx<'_, '_>| {
            let kernel = Array { values: cx.weight(slot, shape)?, shape: shape.to_vec() };
            match &self.fold {
                Some(fold) => fold.kernel(cx, kernel, role == "depthwise_kernel"),
                None => Ok(kernel),
            }
        };
        match source {
            None if self.fold.is_some() => {
                let kernel = read(cx)?;
                float(cx, role, &kernel, placing).map(Some)
            }
            None => Ok(None),
            Some(Source::Known(quantizer)) => quantized(cx, role, quantizer, placing, read).map(Some),
            Some(Source::Stored(stored)) => stored.weights(cx, role, placing, read).map(Some),
        }
    }

    /// The bias of `outputs` numbers in slot `slot`, if there is one, behind its quantizer; `None` where it has none.
    pub fn bias(&self, cx: &mut Cx<'_, '_>, slot: Option<usize>, outputs: usize) -> Outcome<Option<ValueId>> {
        let read = |cx: &mut Cx<'_, '_>| {
            let values = match slot {
                Some(slot) => cx.weight(slot, &[outputs])?,
                None => vec![0.0; outputs],
            };
            let bias = Array { values, shape: vec![outputs] };
            match &self.fold {
                Some(fold) => fold.bias(cx, bias),
                None => Ok(bias),
            }
        };
        let placing = Placing::vector();
        match &self.bias {
            None if self.fold.is_some() => {
                let bias = read(cx)?;
                float(cx, "bias", &bias, &placing).map(Some)
            }
            None => Ok(None),
            Some(Source::Known(quantizer)) => quantized(cx, "bias", quantizer, &placing, read).map(Some),
            Some(Source::Stored(stored)) => stored.weights(cx, "bias", &placing, read).map(Some),
        }
    }

    /// Numbers that the layer makes of its weights, behind the quantizer of the kernel or of the bias.
    pub fn made(
        &self,
        cx: &mut Cx<'_, '_>,
        role: &'static str,
        kernel: bool,
        placing: &Placing,
        numbers: Array<f32>,
    ) -> Outcome<ValueId> {
        let source = if kernel { self.kernels.first().and_then(Option::as_ref) } else { self.bias.as_ref() };
        match source {
            None => float(cx, role, &numbers, placing),
            Some(Source::Known(quantizer)) => quantized(cx, role, quantizer, placing, |_| Ok(numbers)),
            Some(Source::Stored(stored)) => stored.weights(cx, role, placing, |_| Ok(numbers)),
        }
    }

    /// Whether all that the layer holds means the same over a sequence.
    pub fn maps_over_time(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }
}

fn emit(source: Option<&Source>, cx: &mut Cx<'_, '_>, role: &str, x: ValueId) -> Outcome<ValueId> {
    match source {
        None => Ok(x),
        Some(Source::Known(quantizer)) => quantizer.emit(cx, role, x),
        Some(Source::Stored(stored)) => stored.emit(cx, role, x),
    }
}

fn quantizer_key(kernel: &str) -> &'static str {
    match kernel {
        "depthwise_kernel" => "depthwise_quantizer",
        "pointwise_kernel" => "pointwise_quantizer",
        _ => "kernel_quantizer",
    }
}

fn larq(config: &Config<'_>, kernels: &[&'static str], facts: &Facts) -> Outcome<Quantizers> {
    let mut own = Quantizers::default();
    let input = super::read(config, "input_quantizer", Family::Larq, Use::Activation, facts);
    let input = config.or_report(input, None);
    own.input = input.map(Source::Known);
    for kernel in kernels {
        let key = quantizer_key(kernel);
        let found = config.or_report(super::read(config, key, Family::Larq, Use::Weight, facts), None);
        let found = found.map(|quantizer| super::larq::of_kernel(config, key, quantizer, facts.larq_weights));
        own.kernels.push(found.map(Source::Known));
    }
    own.pad = config.number("pad_values", 0.0)? as f32;
    Ok(own)
}

/// `before` is the number of slots before those of the quantizers.
fn stored(config: &Config<'_>, kernels: usize, bias: bool, before: usize) -> Outcome<Quantizers> {
    config.ignore(&["beta0", "ebops_factor", "parallelization_factor", "quantization_config"]);
    let mut own = Quantizers::default();
    if config.flag("enable_ebops", true)? {
        own.extra.extend([Slot::fixed("beta"), Slot::fixed("ebops")]);
    }
    let next = |own: &mut Quantizers, key: &str, group: &'static str| -> Outcome<Option<Source>> {
        if config.get(key).is_none() {
            return Err(config.missing(key, "a QuantizerConfig"));
        }
        let found = hgq::read(config, key, group, before + own.extra.len())?;
        own.extra.extend(found.iter().flat_map(Stored::slots));
        Ok(found.map(Source::Stored))
    };
    if config.flag("enable_iq", true)? {
        own.input = next(&mut own, "iq_conf", "iq/quantizer")?;
    }
    for _ in 0..kernels {
        let kernel = next(&mut own, "kq_conf", "kq/quantizer")?;
        own.kernels.push(kernel);
    }
    if bias {
        own.bias = next(&mut own, "bq_conf", "bq/quantizer")?;
    }
    if config.flag("enable_oq", false)? {
        own.output = next(&mut own, "oq_conf", "oq/quantizer")?;
    }
    config.ignore(&["iq_conf", "bq_conf", "oq_conf"]);
    Ok(own)
}

fn course(config: &Config<'_>, kind: Course) -> Outcome<Quantizers> {
    config.ignore(&["kernel_lr_multiplier", "bias_lr_multiplier"]);
    let h = match config.get("H") {
        None => 1.0,
        Some(value) => match crate::keras::config::reader::as_number(value) {
            Some(h) if h > 0.0 => h as f32,
            _ => return Err(config.expected("H", "a positive number, as it stands in a saved file", value)),
        },
    };
    let grid = match kind {
        Course::Binary => super::course::binary(h),
        Course::Ternary => super::course::ternary(h),
    };
    let kernels = vec![Some(Source::Known(Quantizer::Each(grid)))];
    Ok(Quantizers { kernels, ..Quantizers::default() })
}

impl Fold {
    /// `gamma / √(variance + ε)`, and the other parameters: mean, beta.
    fn parameters(&self, cx: &mut Cx<'_, '_>, channels: usize) -> Outcome<(Vec<f32>, Vec<f32>, Vec<f32>)> {
        let mut slot = self.first;
        let mut next = |cx: &mut Cx<'_, '_>, present: bool, default: f32| -> Outcome<Vec<f32>> {
            if !present {
                return Ok(vec![default; channels]);
            }
            slot += 1;
            cx.weight(slot - 1, &[channels])
        };
        let gamma = next(cx, self.scale, 1.0)?;
        let beta = next(cx, true, 0.0)?;
        let mean = next(cx, true, 0.0)?;
        let variance = next(cx, true, 1.0)?;
        let inverse = |(v, gamma): (&f32, f32)| Unary::Rsqrt.apply(v + self.eps) * gamma;
        Ok((variance.iter().zip(gamma).map(inverse).collect(), mean, beta))
    }

    fn kernel(&self, cx: &mut Cx<'_, '_>, kernel: Array<f32>, depthwise: bool) -> Outcome<Array<f32>> {
        // The output channel: the last axis, or the last two together.
        let axes = if depthwise { 2 } else { 1 };
        let channels: usize = kernel.shape.iter().rev().take(axes).product();
        let (inverse, ..) = self.parameters(cx, channels)?;
        let scaled = kernel.values.iter().zip(inverse.iter().cycle()).map(|(w, inv)| inv * w);
        Ok(Array { values: scaled.collect(), shape: kernel.shape })
    }

    fn bias(&self, cx: &mut Cx<'_, '_>, bias: Array<f32>) -> Outcome<Array<f32>> {
        let (inverse, mean, beta) = self.parameters(cx, bias.values.len())?;
        let each = bias.values.iter().zip(inverse).zip(mean).zip(beta);
        let folded = each.map(|(((bias, inv), mean), beta)| inv * (bias - mean) + beta).collect();
        Ok(Array { values: folded, shape: bias.shape })
    }
}
