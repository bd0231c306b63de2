//! The binary and ternary layers that circulate as course code: BinaryDense, BinaryConv2D, TernaryDense, TernaryConv2D.
//!
//! In: Keras' configuration and `H`, with latent weights. Out: the nodes of the plain layer, the weights as codes. Their
//! constraint `Clip` acts in training only; their activations `binary_tanh`, `ternary_tanh` and `relu1` are read wherever
//! one may stand.

use super::{Layer, conv, dense};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::problem::Outcome;
use crate::keras::quant::layer::{Course, Library};

pub(crate) fn binary_dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::Course(Course::Binary))
}
pub(crate) fn ternary_dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::Course(Course::Ternary))
}
pub(crate) fn binary_conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::Course(Course::Binary))
}
pub(crate) fn ternary_conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::Course(Course::Ternary))
}
