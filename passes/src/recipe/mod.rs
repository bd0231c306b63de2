//! What the user wants of a quantization: formats, exceptions, how ranges are found.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@format`] | number formats as recipes write them |
//! | [`spec`] | the short form, `--quantize SPEC` |
//! | [`mod@file`] | recipes in TOML |
//! | [`mod@write`] | a starting recipe for a model |
//! | [`glob`] | names with `*` and `?` |
//! | [`roles`] | what each node is to a quantization |
//! | [`sites`] | where a graph is quantized, and in which format, by a recipe |
//! | [`resolved`] | the recipe with all numbers filled in, which the pass `quantize` applies |
//!
//! In comes text; out goes a [`Recipe`], which knows no graph. [`sites::Sites::of`] brings the two together.

pub mod file;
pub mod format;
pub mod glob;
pub mod resolved;
pub mod roles;
pub mod sites;
pub mod spec;
pub mod write;

use glob::Glob;
use std::fmt;
use unfloat_ir::Format;

/// What a bias is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// An integer on the grid of the sums that it is added to, as wide as it needs to be.
    Accumulator,
    /// Fixed point, or a float.
    Format(Format),
}

impl fmt::Display for Bias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bias::Accumulator => f.write_str("accumulator"),
            Bias::Format(format) => format.fmt(f),
        }
    }
}

/// What the sums of a layer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accumulator {
    /// As wide as the sums can be: nothing is lost.
    Auto,
    /// Fixed point: each finished sum is brought to it.
    Format(Format),
}

impl fmt::Display for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accumulator::Auto => f.write_str("auto"),
            Accumulator::Format(format) => format.fmt(f),
        }
    }
}

/// The formats of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Formats {
    /// Weights.
    pub weights: Format,
    /// Biases.
    pub bias: Bias,
    /// What layers pass on.
    pub activation: Format,
    /// Sums.
    pub accumulator: Accumulator,
}

/// An exception for the layers that a pattern names. What is not said stays as it was.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// The line in the recipe's file.
    pub line: usize,
    /// Which layers: names of values and of the model's layers.
    pub name: Glob,
    /// Their weights.
    pub weights: Option<Format>,
    /// Their biases.
    pub bias: Option<Bias>,
    /// What they pass on.
    pub activation: Option<Format>,
    /// Their sums.
    pub accumulator: Option<Accumulator>,
    /// Whether they stay as they are.
    pub keep_float: bool,
}

/// How the range of a value is found from samples of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Method {
    /// The greatest magnitude that was seen.
    MinMax,
    /// The magnitude that this many per cent of the elements do not exceed.
    Percentile(f64),
    /// The range with the least squared error.
    Mse,
    /// The range that keeps most of the distribution (Migacz, 8-bit inference with TensorRT, GTC 2017).
    Kl,
}

impl Method {
    /// The spellings.
    pub const FORMS: &'static str = "minmax, percentile=P (50 to 100), mse or kl";

    /// Reads a method.
    pub fn parse(text: &str) -> Option<Method> {
        let text = text.trim();
        match text {
            "minmax" => Some(Method::MinMax),
            "mse" => Some(Method::Mse),
            "kl" => Some(Method::Kl),
            _ => {
                let per_cent: f64 = text.strip_prefix("percentile=")?.trim().parse().ok()?;
                (50.0..=100.0).contains(&per_cent).then_some(Method::Percentile(per_cent))
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::MinMax => f.write_str("minmax"),
            Method::Percentile(p) => write!(f, "percentile={p}"),
            Method::Mse => f.write_str("mse"),
            Method::Kl => f.write_str("kl"),
        }
    }
}

/// What the user wants.
#[derive(Clone, PartialEq, Debug)]
pub struct Recipe {
    /// Where it came from: a file's name, or the text behind `--quantize`.
    pub source: String,
    /// The formats of all layers that no rule names.
    pub formats: Formats,
    /// The format of the graph's inputs that no rule names; nothing where it is that of activations.
    pub input: Option<Format>,
    /// The seed by which bipolar weights become −1 and +1 at random; nothing where they take their signs.
    pub stochastic: Option<u64>,
    /// How ranges are found.
    pub method: Method,
    /// The exceptions; where several say something of a layer, the last one counts.
    pub rules: Vec<Rule>,
}
