//! The quantizers of QKeras 0.9 and qkeras-v3, as a table.
//!
//! In: arguments by name. Out: what each does in inference, where rounding is half to even and the `stochastic_*` kind is
//! deterministic. Refuses: `bernoulli`, which stays random; a `qnoise_factor` other than 1, which mixes the quantized
//! number with the other; bit widths beyond 32.

use serde_json::Value;
use unfloat_ir::ops::{Binary, Unary};
use unfloat_ir::{ElemType, IntType};

use super::array::{Array, Scale};
use super::fit::Fit;
use super::grid::{Back, Coder, Grid, Step, pow2, rounding};
use super::po2::{Below, PowerOfTwo};
use super::{Around, Entry, Quantizer, Use, steps};
use crate::keras::config::reader::Config;
use crate::keras::problem::{Annotate, Outcome};

/// Name, names of the arguments by position, reader.
pub(crate) const QUANTIZERS: &[Entry] = &[
    ("bernoulli", &["alpha", "temperature", "use_real_sigmoid"], bernoulli),
    ("binary", &["use_01", "alpha", "use_stochastic_rounding"], binary),
    ("binary_sigmoid", &[], binary_sigmoid),
    ("binary_tanh", &[], binary_tanh),
    ("hard_sigmoid", &[], hard_sigmoid),
    ("hard_tanh", &[], hard_tanh),
    (
        "quantized_bits",
        &[
            "bits",
            "integer",
            "symmetric",
            "keep_negative",
            "alpha",
            "use_stochastic_rounding",
            "scale_axis",
            "qnoise_factor",
        ],
        quantized_bits,
    ),
    (
        "quantized_hswish",
        &["bits", "integer", "symmetric", "alpha", "use_stochastic_rounding", "scale_axis", "qnoise_factor"],
        quantized_hswish,
    ),
    (
        "quantized_linear",
        &[
            "bits",
            "integer",
            "symmetric",
            "keep_negative",
            "alpha",
            "use_stochastic_rounding",
            "scale_axis",
            "qnoise_factor",
        ],
        quantized_linear,
    ),
    (
        "quantized_po2",
        &[
            "bits",
            "max_value",
            "use_stochastic_rounding",
            "quadratic_approximation",
            "log2_rounding",
            "qnoise_factor",
        ],
        quantized_po2,
    ),
    (
        "quantized_relu",
        &[
            "bits",
            "integer",
            "use_sigmoid",
            "negative_slope",
            "use_stochastic_rounding",
            "relu_upper_bound",
            "is_quantized_clip",
            "qnoise_factor",
        ],
        quantized_relu,
    ),
    (
        "quantized_relu_po2",
        &[
            "bits",
            "max_value",
            "negative_slope",
            "use_stochastic_rounding",
            "quadratic_approximation",
            "log2_rounding",
            "qnoise_factor",
        ],
        quantized_relu_po2,
    ),
    (
        "quantized_sigmoid",
        &["bits", "symmetric", "use_real_sigmoid", "use_stochastic_rounding"],
        quantized_sigmoid,
    ),
    ("quantized_tanh", &["bits", "use_stochastic_rounding", "symmetric", "use_real_tanh"], quantized_tanh),
    ("quantized_ulaw", &["bits", "integer", "symmetric", "u"], quantized_ulaw),
    ("smooth_sigmoid", &[], smooth_sigmoid),
    ("smooth_tanh", &[], smooth_tanh),
    ("stochastic_binary", &["alpha", "temperature", "use_real_sigmoid"], binary),
    (
        "stochastic_ternary",
        &["alpha", "threshold", "temperature", "use_real_sigmoid", "number_of_unrolls"],
        ternary,
    ),
    ("ternary", &["alpha", "threshold", "use_stochastic_rounding", "number_of_unrolls"], ternary),
];

/// What codes are multiplied by.
enum Alpha {
    /// Given, or 1.
    Given(Scale),
    /// From the weights.
    Auto { po2: bool },
}

/// Reads `alpha`; kernels without one take `auto_po2`.
fn alpha(config: &Config<'_>, around: Around) -> Outcome<Alpha> {
    match config.get("alpha") {
        None if around.of == Use::Kernel => Ok(Alpha::Auto { po2: true }),
        None => Ok(Alpha::Given(Scale::one(1.0))),
        Some(Value::String(word)) if word == "auto" => Ok(Alpha::Auto { po2: false }),
        Some(Value::String(word)) if word == "auto_po2" => Ok(Alpha::Auto { po2: true }),
        Some(value) => match numbers(value) {
            Some(scale) => Ok(Alpha::Given(scale)),
            None => Err(config.expected("alpha", "a number, an array, 'auto' or 'auto_po2'", value)),
        },
    }
}

/// A number or an array; NumPy's are wrapped in an object.
fn numbers(value: &Value) -> Option<Scale> {
    let inner = value.get("value").or_else(|| value.get("config").and_then(|config| config.get("value")));
    let value = inner.unwrap_or(value);
    let (mut shape, mut level) = (Vec::new(), value);
    while let Value::Array(items) = level {
        shape.push(items.len());
        level = items.first()?;
    }
    let mut values = Vec::new();
    flatten(value, &shape, &mut values)?;
    Some(Array { shape, values })
}

fn flatten(value: &Value, shape: &[usize], out: &mut Vec<f32>) -> Option<()> {
    match (shape.split_first(), value) {
        (Some((length, shape)), Value::Array(items)) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(item, shape, out))
        }
        (None, Value::Array(_)) | (Some(_), _) => None,
        (None, number) => {
            out.push(Some(number.as_f64()? as f32).filter(|number| number.is_finite())?);
            Some(())
        }
    }
}

/// Checks what all have in common and cannot change an inference, or may not be changed.
fn common(config: &Config<'_>) -> Outcome<()> {
    config.ignore(&["use_stochastic_rounding", "var_name", "use_ste", "use_variables"]);
    if config.number("qnoise_factor", 1.0)? != 1.0 {
        return Err(config
            .error("'qnoise_factor': only 1 is supported; another mixes quantized and other numbers")
            .with_help("set it to 1, as it is at the end of the training, and save again"));
    }
    for key in ["scale_axis", "elements_per_scale", "min_po2_exponent", "max_po2_exponent"] {
        if let Some(value) = config.get(key) {
            return Err(config.expected(key, "nothing: one scale per last axis", value));
        }
    }
    Ok(())
}

fn bits(config: &Config<'_>, default: i64, least: u8) -> Outcome<u8> {
    // The default is for a text that leaves the argument out, not for one that says None.
    if config.has("bits") && config.get("bits").is_none() {
        return Err(config.expected("bits", "an integer", &Value::Null));
    }
    let bits = config.integer("bits", default)?;
    match u8::try_from(bits) {
        Ok(bits) if (least..=32).contains(&bits) => Ok(bits),
        _ => Err(config.error(format!("'bits': expected {least} to 32, found {bits}"))),
    }
}

fn integer(config: &Config<'_>) -> Outcome<i64> {
    let integer = config.integer("integer", 0)?;
    if (-64..=64).contains(&integer) {
        return Ok(integer);
    }
    Err(config.error(format!("'integer': expected −64 to 64, found {integer}")))
}

fn each(grid: Grid) -> Outcome<Quantizer> {
    Ok(Quantizer::Each(grid))
}

fn plain(steps: Vec<Step>) -> Outcome<Quantizer> {
    Ok(Quantizer::Plain(steps))
}

fn too_wide(config: &Config<'_>) -> impl Fn() -> Box<unfloat_ir::Diagnostic> {
    let problem = config.error("so many levels that do not lie on a line are not supported");
    move || problem.clone().with_help("nearest: at most 10 bits")
}

fn bernoulli(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    Err(config
        .error("the quantizer is random in inference, too, so no conversion can equal it")
        .with_help("nearest: binary(use_01=1), or stochastic_binary, which is deterministic in inference"))
}

fn quantized_bits(config: &Config<'_>, around: Around) -> Outcome<Quantizer> {
    common(config)?;
    let signed = config.flag("keep_negative", true)?;
    let (bits, integer) = (bits(config, 8, u8::from(!signed) ^ 1)?, integer(config)?);
    let symmetric = config.flag("symmetric", false)?;
    let frozen = match config.get("post_training_scale") {
        None => None,
        Some(value) => Some(numbers(value).ok_or_else(|| {
            config.expected("post_training_scale", "the scales that the training ended with", value)
        })?),
    };
    match alpha(config, around)? {
        Alpha::Auto { .. } if bits < 2 => {
            Err(config.error("one bit has no scale that 'auto' could find").with_help("use binary"))
        }
        Alpha::Auto { po2 } => {
            Ok(Quantizer::Fitted(Fit::Bits { bits, integer, po2, again: around.version3, frozen }))
        }
        Alpha::Given(alpha) if frozen.is_none() => each(bits_grid(bits, integer, symmetric, signed, &alpha)),
        Alpha::Given(_) => Err(config.error("'post_training_scale' needs alpha='auto' or 'auto_po2'")),
    }
}

fn bits_grid(bits: u8, integer: i64, symmetric: bool, signed: bool, alpha: &Scale) -> Grid {
    match (bits - u8::from(signed), signed) {
        // No bit is left beside the sign; the unit of `integer` plays no part.
        (0, true) => Grid::sign(alpha.clone()),
        (0, false) => Grid::sign_01(alpha),
        (rest, _) => {
            let step = pow2(integer - i64::from(rest));
            Grid::uniform(IntType { signed, width: bits }, symmetric && signed, step, alpha.map(|a| a * step))
        }
    }
}

fn quantized_hswish(config: &Config<'_>, around: Around) -> Outcome<Quantizer> {
    let shift = config.number("relu_shift", 3.0)? as f32;
    let bound = config.number("relu_upper_bound", 6.0)? as f32;
    if shift <= 0.0 || bound <= 0.0 {
        return Err(config.error("'relu_shift' and 'relu_upper_bound' must be positive"));
    }
    let steps = [
        Step::With(Binary::Add, Scale::one(shift)),
        Step::Each(Unary::Clip { lo: 0.0, hi: bound }),
        Step::WithInput(Binary::Mul),
        Step::With(Binary::Div, Scale::one(bound)),
    ];
    match quantized_bits(config, around)? {
        Quantizer::Each(grid) => each(grid.after(steps)),
        _ => Err(config.error("'alpha': only a number or an array is supported in quantized_hswish")),
    }
}

fn quantized_linear(config: &Config<'_>, around: Around) -> Outcome<Quantizer> {
    common(config)?;
    let signed = config.flag("keep_negative", true)?;
    let (bits, integer) = (bits(config, 8, 1)?, integer(config)?);
    let symmetric = config.flag("symmetric", true)?;
    let rest = i64::from(bits) - i64::from(signed);
    let int = IntType { signed, width: bits };
    let alpha = alpha(config, around)?;
    let one_bit = signed && bits == 1;
    let bounds = if one_bit {
        (-0.5, 0.5)
    } else {
        let least = if signed { f32::from(u8::from(symmetric)) - pow2(rest) } else { 0.0 };
        (least, pow2(rest) - 1.0)
    };
    match alpha {
        Alpha::Auto { .. } if bounds.0 >= bounds.1 => {
            Err(config.error("so few bits have no scale that 'auto' could find"))
        }
        Alpha::Auto { po2 } => Ok(Quantizer::Fitted(Fit::Linear { bounds, int, signed, po2 })),
        Alpha::Given(alpha) => {
            let scale = alpha.map(|alpha| alpha * pow2(integer - rest));
            let half = if one_bit { 0.5 } else { 0.0 };
            let op = rounding(ElemType::Int(int), symmetric && signed && !one_bit);
            let coder = Coder::Round { op, scale: scale.clone(), zero: -half };
            each(Grid { before: Vec::new(), coder, back: Back::Affine { scale, zero: -half } })
        }
    }
}

fn quantized_relu(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    common(config)?;
    let slope = config.number("negative_slope", 0.0)? as f32;
    if slope < 0.0 || (slope > 0.0 && slope.log2().fract() != 0.0) {
        return Err(config.error(format!("'negative_slope': expected 0 or a power of two, found {slope}")));
    }
    let relu = Relu {
        bits: bits(config, 8, 1)?,
        integer: integer(config)?,
        slope,
        sigmoid: config.flag("use_sigmoid", false)?,
        bound: bound(config)?,
    };
    relu.grid().map(Quantizer::Each).ok_or_else(too_wide(config))
}

/// The bound of `quantized_relu`. The file does not say whether the range of the codes bounds instead of it, and the
/// library then takes the range.
fn bound(config: &Config<'_>) -> Outcome<Option<f32>> {
    let bound = config.optional_number("relu_upper_bound")?;
    if config.flag("is_quantized_clip", true)? {
        if bound.is_some_and(|bound| bound != 0.0) {
            config.note(
                "'relu_upper_bound' has no effect, as in the library once it has loaded the file",
                "a model that was trained with is_quantized_clip=False gives other results since it was saved",
            );
        }
        return Ok(None);
    }
    Ok(bound.filter(|bound| *bound != 0.0).map(|bound| bound as f32))
}

/// `quantized_relu`, and what QAdaptiveActivation makes of it.
pub(crate) struct Relu {
    /// Bits; one is the sign where there is a slope.
    pub bits: u8,
    /// Bits before the point.
    pub integer: i64,
    /// Slope below 0: 0 or a power of two.
    pub slope: f32,
    /// Whether the input goes through QKeras' hard sigmoid.
    pub sigmoid: bool,
    /// The greatest result, itself not quantized.
    pub bound: Option<f32>,
}

impl Relu {
    /// `None` when a table of its levels would be too large.
    pub fn grid(&self) -> Option<Grid> {
        let rest = self.bits - u8::from(self.slope != 0.0);
        let (m, unit) = (pow2(i64::from(rest)), pow2(self.integer));
        let (lo, hi) = (-self.slope * m, m - 1.0);
        let step = unit / m;
        let on_grid = |bound: f32| bound > 0.0 && (bound / step).fract() == 0.0;
        let whole = lo.fract() == 0.0 && self.bound.is_none_or(on_grid);
        if self.sigmoid || !whole || (self.slope > 1.0) {
            return steps::table(&[0.0], |x| self.apply(x, m, unit));
        }
        if self.slope == 0.0 && self.bound.is_none() {
            return Some(Grid::uniform(IntType::unsigned(self.bits), false, step, Scale::one(step)));
        }
        let most = self.bound.map_or(hi * step, |bound| bound.min(hi * step));
        let mut before = Vec::new();
        if self.slope != 0.0 {
            before.push(Step::Each(Unary::LeakyRelu { alpha: self.slope }));
        }
        before.push(Step::Each(Unary::Clip { lo: lo * step, hi: most }));
        let int = IntType { signed: self.slope != 0.0, width: self.bits };
        Some(Grid::uniform(int, false, step, Scale::one(step)).after(before))
    }

    /// The library's formula, step by step.
    fn apply(&self, x: f32, m: f32, unit: f32) -> f32 {
        let slope = self.slope;
        let clip = |v: f32, lo: f32, hi: f32| v.max(lo).min(hi);
        let (positive, negative) = if self.sigmoid {
            let p = half_sigmoid(x / unit) * m;
            (2.0 * (p.round_ties_even() / m) - 1.0, 2.0 * ((p * slope).round_ties_even() / (slope * m)) - 1.0)
        } else {
            let p = x * m / unit;
            (p.round_ties_even() / m, (p * slope).round_ties_even() / (slope * m))
        };
        let mut y = unit * clip(positive, 0.0, 1.0 - 1.0 / m);
        if slope > 0.0 {
            y += unit * slope * clip(negative, -1.0, 0.0);
        }
        self.bound.map_or(y, |bound| y.min(bound))
    }
}

/// QKeras' own hard sigmoid.
fn half_sigmoid(x: f32) -> f32 {
    (0.5 * x + 0.5).clamp(0.0, 1.0)
}

const HALF_SIGMOID: Step = Step::Each(Unary::HardSigmoid { alpha: 0.5, beta: 0.5 });

fn binary(config: &Config<'_>, around: Around) -> Outcome<Quantizer> {
    common(config)?;
    config.ignore(&["temperature", "use_real_sigmoid"]);
    let zero_one = config.flag("use_01", false)?;
    match alpha(config, around)? {
        Alpha::Auto { po2 } => Ok(Quantizer::Fitted(Fit::Binary { zero_one, po2 })),
        Alpha::Given(alpha) if zero_one => each(Grid::sign_01(&alpha)),
        Alpha::Given(alpha) => each(Grid::sign(alpha)),
    }
}

fn ternary(config: &Config<'_>, around: Around) -> Outcome<Quantizer> {
    common(config)?;
    config.ignore(&["temperature", "use_real_sigmoid"]);
    let threshold = config.optional_number("threshold")?;
    let rounds = config.integer("number_of_unrolls", 5)?;
    match alpha(config, around)? {
        Alpha::Auto { .. } if threshold.is_some() => {
            Err(config.error("'threshold' has no meaning beside alpha='auto' or 'auto_po2'"))
        }
        Alpha::Auto { po2 } => match usize::try_from(rounds) {
            Ok(rounds @ 1..=64) => Ok(Quantizer::Fitted(Fit::Ternary { po2, rounds })),
            _ => Err(config.error(format!("'number_of_unrolls': expected 1 to 64, found {rounds}"))),
        },
        Alpha::Given(alpha) => each(Grid::ternary(threshold.unwrap_or(0.33) as f32, alpha)),
    }
}

/// Exponents of so many bits, one of them their sign unless nothing beyond 1 is asked for.
fn power(config: &Config<'_>, bits: u8, below: Below) -> Outcome<Quantizer> {
    common(config)?;
    let max = config.optional_number("max_value")?;
    if max.is_some_and(|max| max < 0.0) {
        return Err(config.error("'max_value' must not be negative"));
    }
    let quadratic = config.flag("quadratic_approximation", false)?;
    let floor = config.choice("log2_rounding", "rnd", &["rnd", "floor"])? == "floor";
    let Some(width) = bits.checked_sub(u8::from(max.is_none_or(|max| max > 1.0))) else {
        return Err(config.error("'bits' leaves none for the exponent"));
    };
    let (least, most) = (-(1i64 << width), (1i64 << width) - 1);
    let most = if quadratic { 2 * (most / 2) } else { most };
    let max = max.map(|max| max as f32);
    Ok(Quantizer::Fitted(Fit::PowerOfTwo(PowerOfTwo {
        exponents: (least, most),
        max,
        quadratic,
        floor,
        below,
    })))
}

fn quantized_po2(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    let bits = bits(config, 8, 1)?;
    power(config, bits - 1, Below::Mirrored)
}

fn quantized_relu_po2(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    let slope = config.number("negative_slope", 0.0)? as f32;
    if slope < 0.0 || (slope > 0.0 && slope.log2().fract() != 0.0) {
        return Err(config.error(format!("'negative_slope': expected 0 or a power of two, found {slope}")));
    }
    let below = if slope == 0.0 { Below::Least } else { Below::Sloped(slope) };
    power(config, bits(config, 8, 1)?, below)
}

fn quantized_tanh(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    common(config)?;
    let (bits, symmetric) = (bits(config, 8, 1)?, config.flag("symmetric", false)?);
    let m = i64::from(bits) - 1;
    let grid = Grid::uniform(IntType::signed(bits), symmetric && bits > 1, pow2(-m), Scale::one(pow2(-m)));
    if config.flag("use_real_tanh", false)? {
        return each(grid.after([Step::Each(Unary::Tanh)]));
    }
    // (2 s − 1) · m = s / (1 / 2m) − m, which rounds where the library rounds.
    let Coder::Round { op, .. } = grid.coder else { return each(grid) };
    let coder = Coder::Round { op, scale: Scale::one(pow2(-m - 1)), zero: -pow2(m) };
    each(Grid { before: vec![HALF_SIGMOID], coder, back: grid.back })
}

fn quantized_sigmoid(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    common(config)?;
    let (bits, symmetric) = (bits(config, 8, 1)?, config.flag("symmetric", false)?);
    let step = pow2(-i64::from(bits));
    let mut before = vec![HALF_SIGMOID];
    if config.flag("use_real_sigmoid", false)? {
        before = vec![Step::Each(Unary::Sigmoid)];
    }
    if symmetric {
        before.push(Step::Each(Unary::Clip { lo: step, hi: 1.0 }));
    }
    each(Grid::uniform(IntType::unsigned(bits), false, step, Scale::one(step)).after(before))
}

fn quantized_ulaw(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    common(config)?;
    let (bits, unit) = (bits(config, 8, 1)?, pow2(integer(config)?));
    let symmetric = f32::from(u8::from(config.flag("symmetric", false)?));
    let u = config.number("u", 255.0)? as f32;
    if u <= 0.0 {
        return Err(config.error("'u' must be positive"));
    }
    let m = pow2(i64::from(bits) - 1);
    let log = |x: f32| Unary::Log.apply(x);
    let f = |x: f32| {
        let p = half_sigmoid(x / unit) * m;
        let r = 2.0 * (p.round_ties_even() / m) - 1.0;
        let sign = if r == 0.0 { 0.0 } else { r.signum() };
        let law = sign * log(1.0 + u * r.abs()) / log(1.0 + u);
        unit * law.max(-1.0 + symmetric / m).min(1.0 - 1.0 / m)
    };
    steps::table(&[0.0], f).map(Quantizer::Each).ok_or_else(too_wide(config))
}

fn binary_sigmoid(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    each(Grid::uniform(IntType::unsigned(1), false, 1.0, Scale::one(1.0)).after([HALF_SIGMOID]))
}

/// 2 · round(hard sigmoid) − 1: what is at 0 or so near it that 0.5 is lost, gives −1.
fn binary_tanh(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    each(binary_tanh_grid())
}

/// `2 · round(clip(x / 2 + 1 / 2)) − 1`, of QKeras and of course code.
pub(crate) fn binary_tanh_grid() -> Grid {
    let grid = Grid::uniform(IntType::unsigned(1), false, 1.0, Scale::one(1.0)).after([HALF_SIGMOID]);
    Grid { back: Back::Affine { scale: Scale::one(2.0), zero: 0.5 }, ..grid }
}

fn hard_sigmoid(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    plain(vec![HALF_SIGMOID])
}

fn smooth() -> Vec<Step> {
    vec![
        Step::With(Binary::Mul, Scale::one(0.1875)),
        Step::With(Binary::Add, Scale::one(0.5)),
        Step::Each(Unary::Clip { lo: 0.0, hi: 1.0 }),
    ]
}

fn smooth_sigmoid(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    plain(smooth())
}

fn doubled(mut steps: Vec<Step>) -> Outcome<Quantizer> {
    steps.push(Step::With(Binary::Mul, Scale::one(2.0)));
    steps.push(Step::With(Binary::Sub, Scale::one(1.0)));
    plain(steps)
}

fn hard_tanh(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    doubled(vec![HALF_SIGMOID])
}

fn smooth_tanh(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    doubled(smooth())
}
