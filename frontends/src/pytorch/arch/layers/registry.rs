//! The kinds by name. To add one: a function in its family's file, and a line here.

use super::*;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{clip, near};

/// Reads the parameters of a kind.
type Build = fn(&mut Parameters<'_>) -> Box<dyn Layer>;

/// Every kind: torch's class, or a function of torch's.
const KINDS: &[(&str, Build)] = &[
    ("Abs", activation::abs),
    ("AdaptiveAvgPool1d", pool::adaptive_avg1d),
    ("AdaptiveAvgPool2d", pool::adaptive_avg2d),
    ("AdaptiveMaxPool1d", pool::adaptive_max1d),
    ("AdaptiveMaxPool2d", pool::adaptive_max2d),
    ("Add", merge::add),
    ("AlphaDropout", shape::dropout),
    ("Amax", reduce::amax),
    ("AvgPool1d", pool::avg1d),
    ("AvgPool2d", pool::avg2d),
    ("BatchNorm1d", norm::batch_norm1d),
    ("BatchNorm2d", norm::batch_norm2d),
    ("BatchNorm3d", norm::batch_norm3d),
    ("BinarizeConv2d", conv::binarize2d),
    ("BinarizeLinear", linear::binarize),
    ("BinarySign", quantize::binary_sign),
    ("Cat", merge::cat),
    ("Ceil", activation::ceil),
    ("Clamp", activation::clamp),
    ("Clone", shape::clone),
    ("Constant", constant::constant),
    ("Conv1d", conv::conv1d),
    ("Conv2d", conv::conv2d),
    ("Conv3d", conv::conv3d),
    ("ConvTranspose1d", conv_transpose::conv_transpose1d),
    ("ConvTranspose2d", conv_transpose::conv_transpose2d),
    ("Div", merge::div),
    ("Dropout", shape::dropout),
    ("Dropout1d", shape::dropout),
    ("Dropout2d", shape::dropout),
    ("ELU", activation::elu),
    ("Exp", activation::exp),
    ("FixedPoint", quantize::fixed_point),
    ("Flatten", shape::flatten),
    ("Floor", activation::floor),
    ("GELU", activation::gelu),
    ("Hardsigmoid", activation::hardsigmoid),
    ("Hardswish", activation::hardswish),
    ("Hardtanh", activation::hardtanh),
    ("Identity", shape::identity),
    ("Int8Float", quantize::int8_float),
    ("LayerNorm", norm::layer_norm),
    ("LeakyReLU", activation::leaky_relu),
    ("Linear", linear::linear),
    ("Log", activation::log),
    ("LogSigmoid", activation::log_sigmoid),
    ("LogSoftmax", activation::log_softmax),
    ("MaxPool1d", pool::max1d),
    ("MaxPool2d", pool::max2d),
    ("Maximum", merge::maximum),
    ("Mean", reduce::mean),
    ("Minimum", merge::minimum),
    ("Mish", activation::mish),
    ("Mul", merge::mul),
    ("Neg", activation::neg),
    ("PReLU", activation::prelu),
    ("Pad", shape::pad),
    ("Permute", shape::permute),
    ("QuantizedConv1d", conv::quantized1d),
    ("QuantizedConv2d", conv::quantized2d),
    ("QuantizedLinear", linear::quantized),
    ("ReLU", activation::relu),
    ("ReLU6", activation::relu6),
    ("Reshape", shape::view),
    ("Round", activation::round),
    ("SiLU", activation::silu),
    ("Sigmoid", activation::sigmoid),
    ("Sign", activation::sign),
    ("Softmax", activation::softmax),
    ("Softplus", activation::softplus),
    ("Softsign", activation::softsign),
    ("Sqrt", activation::sqrt),
    ("Sub", merge::sub),
    ("Sum", reduce::sum),
    ("Tanh", activation::tanh),
    ("Transpose", shape::transpose),
    ("View", shape::view),
    ("ZeroPad2d", shape::zero_pad2d),
];

/// The names of all kinds, sorted.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

/// Builds a layer; its findings stay with the parameters.
pub(crate) fn build(p: &mut Parameters<'_>) -> Option<Box<dyn Layer>> {
    let kind = &p.decl.kind;
    if let Some((_, build)) = KINDS.iter().find(|(name, _)| name == kind) {
        return Some(build(p));
    }
    let near = near(kind, kinds());
    let hint = match near.as_slice() {
        [] => String::new(),
        names => format!("did you mean {}? ", names.join(" or ")),
    };
    let all: Vec<&str> = kinds().collect();
    let help = format!("{hint}the kinds are {}", all.join(", "));
    p.fail_with(format!("the kind `{}` is not known", clip(kind)), help);
    None
}
