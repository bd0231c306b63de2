//! Larq's layers: Keras' with quantizers of inputs and kernels.
//!
//! In: configurations of Larq. Out: the nodes of the plain layer. The input is quantized, then padded with `pad_values`,
//! then convolved with the quantized kernel; no bias has a quantizer, and nothing stands between the two kernels of a
//! separable convolution. Larq's quantizers are layers of Keras themselves, so a model may call one as a layer.

use super::activation::Function;
use super::{Layer, conv, conv_transpose, dense, separable};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::problem::Outcome;
use crate::keras::quant::layer::Library;
use crate::keras::quant::{self, Family};

pub(crate) fn quant_dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense::dense_of(config, facts, Library::Larq)
}
pub(crate) fn quant_conv_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 1, Library::Larq)
}
pub(crate) fn quant_conv_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 2, Library::Larq)
}
pub(crate) fn quant_conv_3d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv::conv_of(config, facts, 3, Library::Larq)
}
pub(crate) fn quant_conv_2d_transpose(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_transpose::transpose_of(config, facts, 2, Library::Larq)
}
pub(crate) fn quant_conv_3d_transpose(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    conv_transpose::transpose_of(config, facts, 3, Library::Larq)
}
pub(crate) fn quant_depthwise_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 2, false, Library::Larq)
}
pub(crate) fn quant_separable_1d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 1, true, Library::Larq)
}
pub(crate) fn quant_separable_2d(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    separable::separable_of(config, facts, 2, true, Library::Larq)
}
pub(crate) fn approx_sign(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "ApproxSign", facts)
}
pub(crate) fn do_re_fa(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "DoReFa", facts)
}
pub(crate) fn magnitude_aware_sign(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "MagnitudeAwareSign", facts)
}
pub(crate) fn no_op(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "NoOp", facts)
}
pub(crate) fn ste_heaviside(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "SteHeaviside", facts)
}
pub(crate) fn ste_sign(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "SteSign", facts)
}
pub(crate) fn ste_tern(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "SteTern", facts)
}
pub(crate) fn swish_sign(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    alone(config, "SwishSign", facts)
}

/// A quantizer that is a layer, whose configuration is the quantizer's.
fn alone(config: &Config<'_>, name: &str, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let quantizer = quant::of_layer(config, name, Family::Larq, facts)?;
    Ok(Box::new(Function::Quantized(Box::new(quantizer))))
}
