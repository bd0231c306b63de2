//! The quantizers of Larq, as a table, under their class names and their aliases.
//!
//! In: arguments by name. Out: what each does in inference; gradients and clip values of training play no part.
//! Refuses: `MagnitudeAwareSign` and ternary weight networks on activations, which look at the batch (where it is used,
//! not here).

use unfloat_ir::ops::{Binary, Unary};
use unfloat_ir::{ElemType, IntType};

use super::array::Scale;
use super::fit::Fit;
use super::grid::{ABOVE_ZERO, Back, Coder, Grid, Step};
use super::{Around, Entry, Quantizer};
use crate::keras::config::reader::Config;
use crate::keras::problem::Outcome;

/// Name, names of the arguments by position, reader.
pub(crate) const QUANTIZERS: &[Entry] = &[
    ("ApproxSign", &[], sign),
    ("DoReFa", &["k_bit", "mode"], dorefa),
    ("DoReFaQuantizer", &["k_bit", "mode"], dorefa),
    ("MagnitudeAwareSign", &["clip_value"], magnitude),
    ("NoOp", &["precision"], no_op),
    ("NoOpQuantizer", &["precision"], no_op),
    ("SteHeaviside", &["clip_value"], heaviside),
    ("SteSign", &["clip_value"], sign),
    ("SteTern", &["threshold_value", "ternary_weight_networks", "clip_value"], ternary),
    ("SwishSign", &["beta"], sign),
    ("approx_sign", &[], sign),
    ("dorefa_quantizer", &["k_bit", "mode"], dorefa),
    ("magnitude_aware_sign", &["clip_value"], magnitude),
    ("ste_heaviside", &["clip_value"], heaviside),
    ("ste_sign", &["clip_value"], sign),
    ("ste_tern", &["threshold_value", "ternary_weight_networks", "clip_value"], ternary),
    ("swish_sign", &["beta"], sign),
];

/// What gradients and measurements of the training need.
const TRAINING: &[&str] = &["clip_value", "beta", "metrics"];

fn sign(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    Ok(Quantizer::Each(Grid::sign(Scale::one(1.0))))
}

fn heaviside(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    let coder = Coder::Count { to: ElemType::Bit, thresholds: vec![ABOVE_ZERO], scale: 1, bias: 0 };
    let back = Back::Affine { scale: Scale::one(1.0), zero: 0.0 };
    Ok(Quantizer::Each(Grid { before: Vec::new(), coder, back }))
}

fn magnitude(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    Ok(Quantizer::Fitted(Fit::Magnitude))
}

fn ternary(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    let threshold = config.number("threshold_value", 0.05)? as f32;
    if config.flag("ternary_weight_networks", false)? {
        return Ok(Quantizer::Fitted(Fit::TernaryWeights));
    }
    if threshold < 0.0 {
        return Err(config.error("'threshold_value' must not be negative"));
    }
    Ok(Quantizer::Each(Grid::ternary(threshold, Scale::one(1.0))))
}

fn dorefa(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    let bits = config.integer("k_bit", 2)?;
    let Some(bits) = u8::try_from(bits).ok().filter(|bits| (1..=24).contains(bits)) else {
        return Err(config.error(format!("'k_bit': expected 1 to 24, found {bits}")));
    };
    if config.choice("mode", "activations", &["activations", "weights"])? == "weights" {
        return Ok(Quantizer::Fitted(Fit::DoReFa { bits }));
    }
    let n = ((1u64 << bits) - 1) as f32;
    // x · n rounds otherwise than x / (1 / n), which is no float.
    let steps = [Step::Each(Unary::Clip { lo: 0.0, hi: 1.0 }), Step::With(Binary::Mul, Scale::one(n))];
    let grid = Grid::uniform(IntType::unsigned(bits), false, 1.0, Scale::one(1.0 / n));
    Ok(Quantizer::Each(grid.after(steps)))
}

fn no_op(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.ignore(TRAINING);
    config.ignore(&["precision"]);
    Ok(Quantizer::Plain(Vec::new()))
}

/// What the weights in a file with Larq's quantizers are. Larq writes the latent weights, or, under
/// `quantized_scope(True)`, the quantized ones; nothing in the file tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LarqWeights {
    /// Those that the optimizer sees.
    Latent,
    /// Those that the layers compute with.
    Quantized,
}

/// The quantizer of a kernel under what the user says of the file. Every quantizer but one gives back what it made.
pub(crate) fn of_kernel(
    config: &Config<'_>,
    key: &str,
    quantizer: Quantizer,
    said: Option<LarqWeights>,
) -> Quantizer {
    let Quantizer::Fitted(Fit::DoReFa { bits }) = quantizer else { return quantizer };
    match said {
        Some(LarqWeights::Latent) => quantizer,
        // (w + 1) / 2 · n is the code again.
        Some(LarqWeights::Quantized) => {
            let n = ((1u64 << bits) - 1) as f32;
            let int = IntType::unsigned(bits);
            let grid = Grid::uniform(int, false, 1.0, Scale::one(2.0 / n));
            let grid = grid.after([
                Step::With(Binary::Add, Scale::one(1.0)),
                Step::With(Binary::Mul, Scale::one(n / 2.0)),
            ]);
            Quantizer::Each(Grid { back: Back::Affine { scale: Scale::one(2.0 / n), zero: n / 2.0 }, ..grid })
        }
        None => {
            config.note(
                format!(
                    "'{key}': DoReFa is applied to the weights of the file, which are taken to be latent"
                ),
                "if the file was saved under quantized_scope(True), say --larq-weights quantized; otherwise, \
                 --larq-weights latent",
            );
            quantizer
        }
    }
}
