//! Which handler an operator has.

use std::collections::BTreeMap;

use unfloat_ir::Diagnostic;

use super::*;
use crate::onnx::model::NodeDef;
use crate::onnx::problem::{Annotate, Fault, clip, error};

/// Domains that mean QONNX: its own, FINN's older one, Brevitas'.
const QONNX: [&str; 3] = ["qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"];

/// QONNX's domain for images whose channels are the last axis.
pub(crate) const LAST: &str = "qonnx.custom_op.channels_last";

/// The operators, sorted by domain and name, with what becomes of each. `qonnx` stands for all of QONNX's domains.
pub(crate) const OPERATORS: &[(&str, &str, Handler, &str)] = &[
    ("", "Abs", activation::unary, "abs"),
    ("", "Add", binary::arithmetic, "add"),
    ("", "And", binary::bits, "and"),
    ("", "ArgMax", reduce::arg, "arg_max"),
    ("", "ArgMin", reduce::arg, "arg_min"),
    ("", "AveragePool", pool::average_pool, "avg_pool; ceil_mode as padding"),
    ("", "BatchNormalization", norm::batch_norm, "batch_norm; inference only"),
    ("", "BitShift", binary::bits, "shift_left, shift_right"),
    ("", "BitwiseAnd", binary::bits, "and"),
    ("", "BitwiseNot", binary::not, "xor with ones"),
    ("", "BitwiseOr", binary::bits, "or"),
    ("", "BitwiseXor", binary::bits, "xor"),
    ("", "Cast", binary::cast_to, "cast; floats of all widths are single precision"),
    ("", "CastLike", binary::cast_to, "cast"),
    ("", "Ceil", activation::unary, "ceil"),
    ("", "Celu", activation::unary, "celu"),
    ("", "Clip", activation::clip, "clip; behind a quantizer, fewer bits"),
    ("", "Concat", shape::concat, "concat"),
    ("", "Constant", shape::constant, "a constant"),
    ("", "ConstantOfShape", shape::constant_of_shape, "a constant"),
    ("", "Conv", conv::conv, "conv"),
    ("", "ConvInteger", qoperator::conv_integer, "conv of integers"),
    ("", "ConvTranspose", conv::conv_transpose, "conv_transpose"),
    ("", "DepthToSpace", layout::depth_to_space, "reshape and transpose"),
    ("", "DequantizeLinear", quantize::dequantize_linear, "dequantize"),
    ("", "Div", binary::arithmetic, "div"),
    ("", "Dropout", shape::dropout, "nothing"),
    ("", "DynamicQuantizeLinear", quantize::dynamic, "reductions and quantize"),
    ("", "Elu", activation::unary, "elu"),
    ("", "Equal", binary::compare, "equal"),
    ("", "Erf", activation::unary, "erf"),
    ("", "Exp", activation::unary, "exp"),
    ("", "Expand", shape::expand, "expand"),
    ("", "Flatten", shape::flatten, "reshape"),
    ("", "Floor", activation::unary, "floor"),
    ("", "Gather", slice::gather, "gather"),
    ("", "Gelu", activation::unary, "gelu, gelu_tanh"),
    ("", "Gemm", gemm::gemm, "dense"),
    ("", "GlobalAveragePool", pool::global_average_pool, "reduce_mean"),
    ("", "GlobalMaxPool", pool::global_max_pool, "reduce_max"),
    ("", "Greater", binary::compare, "greater"),
    ("", "GreaterOrEqual", binary::compare, "greater_equal"),
    ("", "GroupNormalization", norm::group_norm, "layer_norm per group"),
    ("", "HardSigmoid", activation::unary, "hard_sigmoid"),
    ("", "HardSwish", activation::unary, "hard_swish"),
    ("", "Identity", shape::identity, "nothing"),
    ("", "InstanceNormalization", norm::instance_norm, "layer_norm per channel"),
    ("", "LRN", norm::lrn, "lrn"),
    ("", "LayerNormalization", norm::layer_norm, "layer_norm"),
    ("", "LeakyRelu", activation::unary, "leaky_relu"),
    ("", "Less", binary::compare, "less"),
    ("", "LessOrEqual", binary::compare, "less_equal"),
    ("", "Log", activation::unary, "log"),
    ("", "LogSoftmax", activation::softmax, "log_softmax"),
    ("", "MatMul", gemm::matmul, "dense with a known matrix, else matmul"),
    ("", "MatMulInteger", qoperator::matmul_integer, "dense or matmul of integers"),
    ("", "Max", binary::variadic, "max"),
    ("", "MaxPool", pool::max_pool, "max_pool; ceil_mode as padding"),
    ("", "Mean", binary::variadic, "add and div"),
    ("", "Min", binary::variadic, "min"),
    ("", "Mish", activation::unary, "mish"),
    ("", "Mod", binary::arithmetic, "mod, fmod"),
    ("", "Mul", binary::arithmetic, "mul"),
    ("", "Neg", activation::unary, "neg"),
    ("", "Not", binary::not, "xor with ones"),
    ("", "Or", binary::bits, "or"),
    ("", "PRelu", activation::prelu, "prelu"),
    ("", "Pad", slice::pad, "pad, slice, concat"),
    ("", "Pow", binary::pow, "pow"),
    ("", "QLinearConv", qoperator::qlinear_conv, "conv of integers and quantize"),
    ("", "QLinearMatMul", qoperator::qlinear_matmul, "matmul of integers and quantize"),
    ("", "QuantizeLinear", quantize::quantize_linear, "quantize"),
    ("", "Range", shape::range, "a constant"),
    ("", "Reciprocal", activation::unary, "reciprocal"),
    ("", "ReduceL1", reduce::reduce, "abs and reduce_sum"),
    ("", "ReduceL2", reduce::reduce, "reduce_sum_square and sqrt"),
    ("", "ReduceLogSum", reduce::reduce, "reduce_sum and log"),
    ("", "ReduceLogSumExp", reduce::reduce, "exp, reduce_sum and log, shifted"),
    ("", "ReduceMax", reduce::reduce, "reduce_max"),
    ("", "ReduceMean", reduce::reduce, "reduce_mean"),
    ("", "ReduceMin", reduce::reduce, "reduce_min"),
    ("", "ReduceProd", reduce::reduce, "reduce_prod"),
    ("", "ReduceSum", reduce::reduce, "reduce_sum"),
    ("", "ReduceSumSquare", reduce::reduce, "reduce_sum_square"),
    ("", "Relu", activation::unary, "relu"),
    ("", "Reshape", shape::reshape, "reshape"),
    ("", "Resize", resize::resize, "upsample by whole factors, else resize"),
    ("", "Round", activation::unary, "round"),
    ("", "Selu", activation::unary, "selu"),
    ("", "Shape", shape::shape_of, "a constant"),
    ("", "Shrink", activation::unary, "hard_shrink, soft_shrink"),
    ("", "Sigmoid", activation::unary, "sigmoid"),
    ("", "Sign", activation::unary, "sign; 0 at 0"),
    ("", "Size", shape::size, "a constant"),
    ("", "Slice", slice::slice, "slice, reverse"),
    ("", "Softmax", activation::softmax, "softmax"),
    ("", "Softplus", activation::unary, "softplus"),
    ("", "Softsign", activation::unary, "softsign"),
    ("", "SpaceToDepth", layout::space_to_depth, "reshape and transpose"),
    ("", "Split", slice::split, "slices"),
    ("", "Sqrt", activation::unary, "sqrt"),
    ("", "Squeeze", shape::squeeze, "reshape"),
    ("", "Sub", binary::arithmetic, "sub"),
    ("", "Sum", binary::variadic, "add"),
    ("", "Swish", activation::swish, "silu"),
    ("", "Tanh", activation::unary, "tanh"),
    ("", "ThresholdedRelu", activation::unary, "thresholded_relu"),
    ("", "Tile", slice::tile, "concat"),
    ("", "TopK", reduce::top_k, "reduce_max or reduce_min, and arg_max or arg_min; of one element"),
    ("", "Transpose", layout::transpose, "transpose"),
    ("", "Unsqueeze", shape::unsqueeze, "reshape"),
    ("", "Upsample", resize::upsample, "upsample by whole factors, else resize"),
    ("", "Where", binary::select, "select"),
    ("", "Xor", binary::bits, "xor"),
    ("com.microsoft", "DequantizeLinear", quantize::dequantize_linear, "dequantize"),
    ("com.microsoft", "QGemm", microsoft::qgemm, "dense of integers and quantize"),
    ("com.microsoft", "QLinearAdd", microsoft::qlinear_binary, "dequantize, add, quantize"),
    (
        "com.microsoft",
        "QLinearAveragePool",
        microsoft::qlinear_average_pool,
        "dequantize, avg_pool, quantize",
    ),
    ("com.microsoft", "QLinearConcat", microsoft::qlinear_concat, "dequantize, quantize, concat"),
    (
        "com.microsoft",
        "QLinearGlobalAveragePool",
        microsoft::qlinear_global_average_pool,
        "reduce_sum of integers and quantize",
    ),
    ("com.microsoft", "QLinearLeakyRelu", microsoft::qlinear_unary, "dequantize, leaky_relu, quantize"),
    ("com.microsoft", "QLinearMul", microsoft::qlinear_binary, "dequantize, mul, quantize"),
    ("com.microsoft", "QLinearSigmoid", microsoft::qlinear_unary, "dequantize, sigmoid, quantize"),
    ("com.microsoft", "QuantizeLinear", quantize::quantize_linear, "quantize"),
    ("qonnx", "BipolarQuant", qonnx::bipolar, "quantize to bipolar, dequantize"),
    ("qonnx", "FloatQuant", qonnx::float_quant, "float_quant"),
    ("qonnx", "IntQuant", qonnx::quant, "quantize, dequantize"),
    ("qonnx", "MaxPoolNHWC", channels_last::max_pool, "max_pool between transpositions"),
    ("qonnx", "MultiThreshold", qonnx::multi_threshold, "threshold"),
    ("qonnx", "Quant", qonnx::quant, "quantize, dequantize"),
    ("qonnx", "QuantAvgPool2d", qonnx::quant_avg_pool, "avg_pool, floor"),
    ("qonnx", "Trunc", qonnx::trunc, "round, quantize, dequantize"),
    (LAST, "BatchNormalization", channels_last::batch_norm, "batch_norm between transpositions"),
    (LAST, "Conv", channels_last::conv, "conv between transpositions"),
    (LAST, "MaxPool", channels_last::max_pool, "max_pool between transpositions"),
];

/// The domain under which the table has an operator.
fn domain(node: &NodeDef) -> &str {
    if QONNX.contains(&node.domain.as_str()) { "qonnx" } else { &node.domain }
}

fn look_up(node: &NodeDef) -> Option<Handler> {
    let key = (domain(node), node.op.as_str());
    let at = OPERATORS.binary_search_by(|(domain, op, _, _)| (*domain, *op).cmp(&key)).ok()?;
    OPERATORS.get(at).map(|(_, _, handler, _)| *handler)
}

/// The handler of a node. [`check`] has refused those without one.
pub(crate) fn find(node: &NodeDef) -> Result<Handler, Fault> {
    look_up(node).ok_or_else(|| Fault::from(format!("the operator {} is not supported", clip(&node.op))))
}

/// Refuses every operator that the table does not have: each once, with the number of its nodes.
pub(crate) fn check(label: &str, nodes: &[NodeDef], findings: &mut Vec<Diagnostic>) -> bool {
    let mut unknown: BTreeMap<(&str, &str), (usize, &NodeDef)> = BTreeMap::new();
    for node in nodes.iter().filter(|n| look_up(n).is_none()) {
        unknown.entry((&node.domain, &node.op)).or_insert((0, node)).0 += 1;
    }
    for ((domain, op), (count, first)) in &unknown {
        let scope =
            if domain.is_empty() { String::new() } else { format!(" of the domain `{}`", clip(domain)) };
        let nodes = if *count == 1 { String::new() } else { format!(" ({count} nodes)") };
        let text = format!("the operator {}{scope} is not supported{nodes}", clip(op));
        let found = error(label, first.place.clone(), text).in_layer(first.title());
        findings.push(*found.with_help(advice(op)));
    }
    unknown.is_empty()
}

/// What to do about an operator that is not there.
fn advice(op: &str) -> &'static str {
    match op {
        "If" | "Loop" | "Scan" => {
            "control flow has no place in a fixed circuit: export the model without branches"
        }
        "LSTM" | "GRU" | "RNN" => "recurrent layers are not supported: unroll the loop before export",
        _ if op.starts_with("Random") || op.starts_with("Multinomial") || op == "Bernoulli" => {
            "a network with random numbers has no fixed result: export it for inference"
        }
        _ if op.contains("Sequence") || op.starts_with("String") || op.starts_with("Optional") => {
            "only tensors of numbers are supported"
        }
        "QLinearSoftmax" => {
            "leave Softmax out of what onnxruntime quantizes: its table has no exact counterpart"
        }
        _ => "compute it outside of the network, or write it as operators that `unfloat` knows",
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATORS;

    #[test]
    fn the_table_is_sorted() {
        let keys: Vec<_> = OPERATORS.iter().map(|(domain, op, _, _)| (domain, op)).collect();
        assert!(keys.windows(2).all(|w| w[0] < w[1]));
    }
}
