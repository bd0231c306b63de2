//! The recipe with all numbers filled in: what the pass `quantize` applies, and what a certificate holds.
//!
//! Values and layers are named as in the folded graph that the numbers were found for; [`Resolved`] refers to nothing
//! else, so it can be written down.

use super::Bias;
use serde::Serialize;
use unfloat_ir::{Format, Rounding};
use unfloat_ir::{IntType, Overflow};

/// The codes of a quantized value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codes {
    /// Their type.
    pub int: IntType,
    /// How numbers between them are rounded.
    pub rounding: Rounding,
    /// What becomes of numbers beyond them.
    pub overflow: Overflow,
    /// Whether one is left out.
    pub narrow: bool,
}

impl Codes {
    /// The codes of a format of activations, without a sign where none is needed.
    pub fn of(format: Format, nonnegative: bool) -> Option<Codes> {
        let saturate = (Rounding::HalfEven, Overflow::Saturate);
        let (int, (rounding, overflow), narrow) = match format {
            Format::Fixed { q, rounding, overflow } => (q.int(), (rounding, overflow), false),
            Format::Int { int, rounding, overflow } => {
                (IntType { signed: int.signed && !nonnegative, ..int }, (rounding, overflow), false)
            }
            Format::Ternary => (IntType::signed(2), saturate, true),
            _ => return None,
        };
        Some(Codes { int, rounding, overflow, narrow })
    }

    /// The greatest code.
    pub fn max(&self) -> i64 {
        self.int.max()
    }

    /// The least and the greatest code.
    pub fn bounds(&self) -> (i64, i64) {
        self.overflow.bounds(self.int, self.narrow)
    }
}

/// A weight with its scales.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Weight {
    /// The value that the layer makes.
    pub value: String,
    /// The layer in the model.
    pub layer: String,
    /// Which operand the weight is.
    pub operand: usize,
    /// The format.
    #[serde(serialize_with = "shown")]
    pub format: Format,
    /// How weights became codes: `nearest`, `least output error`, or `stochastic`, with the recipe's seed.
    pub rounding: &'static str,
    /// How many bipolar weights are exactly 0, which is neither −1 nor +1.
    #[serde(skip_serializing_if = "is_none")]
    pub zeros: usize,
    /// One scale, or one per output channel.
    pub scale: Vec<f32>,
    /// The codes, in the weight's order.
    #[serde(skip)]
    pub codes: Vec<i64>,
}

/// A bias.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BiasNumbers {
    /// The value that the layer makes.
    pub value: String,
    /// The layer in the model.
    pub layer: String,
    /// Its format.
    #[serde(serialize_with = "shown")]
    pub format: Bias,
    /// One scale, or one per output channel; none where it stays a float.
    pub scale: Vec<f32>,
    /// What is added to each bias first, to make up for coarse weights; nothing where nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub correction: Vec<f32>,
}

/// A quantized value.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Activation {
    /// The value.
    pub value: String,
    /// The layer in the model; empty for inputs.
    pub layer: String,
    /// The format.
    #[serde(serialize_with = "shown")]
    pub format: Format,
    /// The type of the codes, `u8`.
    pub codes: String,
    /// The codes themselves.
    #[serde(skip)]
    pub quantizer: Codes,
    /// What code 1 stands for.
    pub scale: f32,
    /// The least element that was seen, where the range was calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f32>,
    /// The greatest element that was seen, where the range was calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f32>,
}

/// Finished sums that are brought to a format.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AccumulatorNumbers {
    /// The value that the layer makes.
    pub value: String,
    /// The layer in the model.
    pub layer: String,
    /// The format.
    #[serde(serialize_with = "shown")]
    pub format: Format,
    /// The codes themselves.
    #[serde(skip)]
    pub quantizer: Codes,
    /// What code 1 stands for.
    pub scale: f32,
}

/// A recipe with all numbers filled in.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Resolved {
    /// Where the recipe came from: a file's name, or the text behind `--quantize`.
    pub recipe: String,
    /// How ranges were found; nothing where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The seed of stochastic weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The number of samples that they were found from.
    pub samples: usize,
    /// Weights.
    pub weights: Vec<Weight>,
    /// Biases.
    pub biases: Vec<BiasNumbers>,
    /// Activations.
    pub activations: Vec<Activation>,
    /// Sums.
    pub accumulators: Vec<AccumulatorNumbers>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

fn shown<S: serde::Serializer>(value: &impl std::fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
