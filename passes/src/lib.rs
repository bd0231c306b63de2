//! The passes of unfloat: each changes a graph and claims what that does to its results, and the pipeline holds
//! it to the claim.
//!
//! | module | holds |
//! |---|---|
//! | [`pass`] | what a pass is: its documentation, options, claim |
//! | [`registry`] | all passes, one line each |
//! | [`pipeline`] | the named orders of passes, and how they are run: pass, verify, validate |
//! | [`validate`] | how a claim is proved or measured |
//! | [`report`] | what was claimed and what was seen |
//! | [`analysis`] | what several passes need to know of a graph |
//! | [`recipe`] | what the user wants of a quantization, and where that is in a graph |
//! | [`calibrate`] | samples to the numbers that a recipe leaves open |
//! | [`passes`] | one file per pass |
//!
//! There is no pass that splits separable convolutions: the IR has no such op. A frontend that reads one makes a
//! convolution with as many groups as channels and a convolution of single cells, which are what every executor
//! and backend computes; no pass merges the two, since the product would have far more weights.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod audit;
pub mod calibrate;
pub mod pass;
pub mod passes;
pub mod pipeline;
pub mod recipe;
pub mod registry;
pub mod report;
pub mod validate;

pub use pass::{Change, Claim, Pass, PassCall, PassCx, PassInfo, parse_calls};
pub use pipeline::{PipelineInfo, RunOptions, pipelines, run_pipeline};
pub use report::{Evidence, PassReport, Report};
pub use validate::Evaluator;
