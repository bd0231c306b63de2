//! What was claimed and what was seen: the part of a certificate that tells of the passes.

use crate::pass::Claim;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a claim was checked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The pass changed nothing.
    Unchanged,
    /// It was not: validation was switched off.
    Skipped,
    /// It holds for every input.
    Proved {
        /// By which argument.
        by: String,
        /// How many values or points of a lattice the argument went through.
        points: u64,
    },
    /// It held on samples.
    Sampled {
        /// The number of samples, each one input of the graph.
        n: usize,
        /// How many pairs of finite elements were compared.
        points: u64,
        /// The greatest difference.
        max_abs: f64,
        /// The greatest difference, relative to the greatest magnitude among the elements of its value and sample.
        max_rel: f64,
        /// The name of the value of the greatest relative difference; empty when nothing differs.
        worst: String,
        /// Which evaluator computed the two sides.
        evaluator: String,
        /// Set when some value moved by more than the claim allows, though by no more than it also moves when
        /// inputs and constants change by one unit in the last place: how far that was, relative as `max_rel` is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        noise: Option<f64>,
        /// Values that show nothing, in order: no element was finite in any sample, or every sample gave the same
        /// elements, as behind a ReLU that is dead on all of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blind: Vec<String>,
    },
}

/// One step function of an integer, and what is known of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fold {
    /// The value that it makes.
    pub value: String,
    /// The layer that it came from.
    pub layer: String,
    /// What it became.
    pub form: String,
    /// How many channels have a function of their own.
    pub channels: usize,
    /// Bits of the narrowest register that holds every value of the accumulator, with the weights that are there.
    pub accumulator_bits: u8,
    /// Values of the accumulator, over all channels, for which it holds; 0 where the bound is for all there are.
    pub points: u64,
    /// Why it holds for them.
    pub proof: Proof,
    /// How far a result may be from that of the source's formula in real numbers, before it is rounded: in codes, or,
    /// for a softmax and for an output, in its own unit. 0 where results are equal.
    pub bound: f64,
    /// Whether the source's own arithmetic computes the formula to the last bit, as it does where scales are powers of two.
    /// Else its sums are rounded on the way: beside a step that may make one code of difference.
    pub exact: bool,
    /// For an accumulator over two quantized values: how it compares with the source's own sum, for every pair of codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Differs>,
}

/// Why a step function is what was made of it, the strongest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Every value of the accumulator was evaluated.
    Enumerated,
    /// Each operation is monotone in floating point, and both sides of every step were evaluated.
    Monotone,
    /// As `Monotone`, but for the last bit of a function from a mathematical library; thousands of points more were
    /// evaluated.
    Library,
    /// The difference from the formula in real numbers has a bound.
    Bounded,
}

/// How results compare over all pairs of codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Differs {
    /// The number of pairs.
    pub pairs: u64,
    /// For how many pairs and channels results differ.
    pub different: u64,
    /// By how many codes at most.
    pub most: u64,
}

/// One pass that was run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PassReport {
    /// Its name.
    pub pass: String,
    /// Its options with their values.
    pub options: BTreeMap<String, String>,
    /// How many rewrites it made.
    pub changes: usize,
    /// What it says of the results.
    pub claim: Claim,
    /// How that was checked.
    pub evidence: Evidence,
    /// The step functions that it made and proved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folds: Vec<Fold>,
}

/// All passes that were run, in order.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Whether claims were checked.
    pub validated: bool,
    /// The passes.
    pub passes: Vec<PassReport>,
}
