//! The kinds of layers, one line each: name, handler, whether it is a step function of its operands, summary.

use super::cx::{Cx, Handled};
use super::layers::{activation, arithmetic, binary, conv, norm, pool, quantizers, shape};
use unfloat_ir::ValueId;

/// Turns a layer into nodes.
pub(super) type Handler = fn(&mut Cx<'_>) -> Handled<ValueId>;

/// One kind.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) handler: Handler,
    /// Whether its result jumps where its operand changes by as little as rounding.
    pub(super) steps: bool,
    pub(super) summary: &'static str,
}

const fn kind(name: &'static str, handler: Handler, summary: &'static str) -> Kind {
    Kind { name, handler, steps: false, summary }
}

const fn step(name: &'static str, handler: Handler, summary: &'static str) -> Kind {
    Kind { name, handler, steps: true, summary }
}

/// All kinds, sorted by name.
pub(super) static KINDS: &[Kind] = &[
    kind("Abs", activation::plain, "function"),
    kind("AdaptiveAvgPool1d", pool::adaptive, "output_size, which must divide the input"),
    kind("AdaptiveAvgPool2d", pool::adaptive, "output_size, which must divide the input"),
    kind("AdaptiveMaxPool1d", pool::adaptive, "output_size, which must divide the input"),
    kind("AdaptiveMaxPool2d", pool::adaptive, "output_size, which must divide the input"),
    kind("Add", arithmetic::binary, "of two layers, or of one and `other`"),
    kind("AvgPool1d", pool::windowed, "kernel_size, stride, padding, ceil_mode, count_include_pad"),
    kind("AvgPool2d", pool::windowed, "kernel_size, stride, padding, ceil_mode, count_include_pad"),
    kind("BatchNorm1d", norm::batch_norm, "eps; weight and bias unless affine = false; running statistics"),
    kind("BatchNorm2d", norm::batch_norm, "eps; weight and bias unless affine = false; running statistics"),
    step(
        "BinarizeConv2d",
        binary::conv,
        "signs of the weight and, unless it has 3 channels, of the input; sign(0) = 0",
    ),
    step(
        "BinarizeLinear",
        binary::linear,
        "signs of the weight and, unless it has 784 features, of the input; sign(0) = 0",
    ),
    step("BinarySign", binary::binary_sign, "+1 for x >= 0, else -1"),
    kind("CELU", activation::plain, "alpha"),
    kind("Cat", arithmetic::cat, "of several layers, along `dim`"),
    kind("Clamp", activation::plain, "min, max"),
    kind("Constant", arithmetic::constant, "the tensor of the state dict under `module`"),
    kind("Conv1d", conv::conv, "stride, padding, dilation, groups, bias; weight_quantizer"),
    kind("Conv2d", conv::conv, "stride, padding, dilation, groups, bias; weight_quantizer"),
    kind("Div", arithmetic::binary, "of two layers, or of one and `other`"),
    kind("Dropout", shape::identity, "nothing at inference"),
    kind("Dropout1d", shape::identity, "nothing at inference"),
    kind("Dropout2d", shape::identity, "nothing at inference"),
    kind("ELU", activation::plain, "alpha"),
    kind("Exp", activation::plain, "function"),
    kind("Flatten", shape::flatten, "start_dim, end_dim; in PyTorch's own order"),
    kind("GELU", activation::plain, "approximate"),
    kind("Hardshrink", activation::plain, "lambd"),
    kind("Hardsigmoid", activation::plain, "function"),
    kind("Hardswish", activation::plain, "function"),
    kind("Hardtanh", activation::plain, "min_val, max_val"),
    kind("Identity", shape::identity, "nothing"),
    step("Int8Float", quantizers::activation, "frac: round(x * 2^frac) within -128..127, over 2^frac"),
    kind("LayerNorm", norm::layer_norm, "normalized_shape, eps, elementwise_affine"),
    kind("LeakyReLU", activation::plain, "negative_slope"),
    kind("Linear", conv::linear, "bias; weight_quantizer"),
    kind("Log", activation::plain, "function"),
    kind("LogSigmoid", activation::plain, "function"),
    kind("LogSoftmax", activation::softmax, "dim"),
    kind("MaxPool1d", pool::windowed, "kernel_size, stride, padding, dilation, ceil_mode"),
    kind("MaxPool2d", pool::windowed, "kernel_size, stride, padding, dilation, ceil_mode"),
    kind("Mean", arithmetic::reduce, "dim, keepdim"),
    kind("Mish", activation::plain, "function"),
    kind("Mul", arithmetic::binary, "of two layers, or of one and `other`"),
    kind("Neg", activation::plain, "function"),
    kind("PReLU", activation::prelu, "one slope, or one per channel"),
    kind("Permute", shape::permute, "dims, the batch first"),
    kind("ReLU", activation::plain, "function"),
    kind("ReLU6", activation::plain, "function"),
    kind("SELU", activation::plain, "function"),
    kind("SiLU", activation::plain, "function"),
    kind("Sigmoid", activation::plain, "function"),
    step("Sign", activation::plain, "sign(0) = 0"),
    kind("Softmax", activation::softmax, "dim"),
    kind("Softplus", activation::plain, "beta = 1"),
    kind("Softshrink", activation::plain, "lambd"),
    kind("Softsign", activation::plain, "function"),
    kind("Sqrt", activation::plain, "function"),
    kind("Squeeze", shape::squeeze, "dim"),
    kind("Sub", arithmetic::binary, "of two layers, or of one and `other`"),
    kind("Sum", arithmetic::reduce, "dim, keepdim"),
    kind("Tanh", activation::plain, "function"),
    kind("Tanhshrink", activation::plain, "function"),
    kind("Transpose", shape::transpose, "dim0, dim1"),
    kind("Unsqueeze", shape::unsqueeze, "dim"),
    kind("Upsample", shape::upsample, "scale_factor; mode nearest"),
    kind("View", shape::view, "shape, the batch first"),
    kind("ZeroPad2d", shape::zero_pad, "padding"),
];

/// The kind of that name.
pub(super) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.name == name)
}

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn kinds_are_sorted_and_documented() {
        assert!(KINDS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(KINDS.iter().all(|k| !k.summary.is_empty()));
    }
}
