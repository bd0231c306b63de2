//! Which classes are supported, and what to say about the others.

use serde_json::Value;
use unfloat_ir::Diagnostic;

use super::{Layer, Parse};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::problem::{Annotate, Outcome, clip};

/// Class, reader of its configuration, what becomes of it.
pub(crate) const LAYERS: &[(&str, Parse, &str)] = &[
    ("Activation", super::activation::activation, "the named function"),
    ("ActivityRegularization", super::identity::identity, "identity in inference"),
    ("Add", super::merge::add, "sum"),
    ("AlphaDropout", super::identity::identity, "identity in inference"),
    ("ApproxSign", super::larq::approx_sign, "Larq's quantizer"),
    ("Average", super::merge::average, "mean"),
    ("AveragePooling1D", super::pool::average_1d, "mean over windows"),
    ("AveragePooling2D", super::pool::average_2d, "mean over windows"),
    ("AveragePooling3D", super::pool::average_3d, "mean over windows"),
    ("BatchNormalization", super::norm::batch_norm, "batch normalisation with its moving statistics"),
    ("BinaryConv2D", super::course::binary_conv_2d, "convolution with weights −H and H"),
    ("BinaryDense", super::course::binary_dense, "product with a matrix of −H and H"),
    ("Concatenate", super::merge::concatenate, "concatenation along one axis"),
    ("Conv1D", super::conv::conv_1d, "convolution"),
    ("Conv1DTranspose", super::conv_transpose::transpose_1d, "transposed convolution"),
    ("Conv2D", super::conv::conv_2d, "convolution"),
    ("Conv2DTranspose", super::conv_transpose::transpose_2d, "transposed convolution"),
    ("Conv3D", super::conv::conv_3d, "convolution"),
    ("Conv3DTranspose", super::conv_transpose::transpose_3d, "transposed convolution"),
    ("Cropping1D", super::border::cropping_1d, "slice"),
    ("Cropping2D", super::border::cropping_2d, "slice"),
    ("Cropping3D", super::border::cropping_3d, "slice"),
    ("Dense", super::dense::dense, "product with a matrix"),
    ("DepthwiseConv1D", super::separable::depthwise_1d, "convolution with a group per channel"),
    ("DepthwiseConv2D", super::separable::depthwise_2d, "convolution with a group per channel"),
    ("DoReFa", super::larq::do_re_fa, "Larq's quantizer"),
    ("DoReFaQuantizer", super::larq::do_re_fa, "Larq's quantizer"),
    ("Dot", super::dot::dot, "scalar or matrix product of two tensors"),
    ("Dropout", super::identity::identity, "identity in inference"),
    ("ELU", super::activation::elu, "the function"),
    ("Flatten", super::shape::flatten, "reshape, after a transposition where its data_format asks for it"),
    ("GaussianDropout", super::identity::identity, "identity in inference"),
    ("GaussianNoise", super::identity::identity, "identity in inference"),
    ("GlobalAveragePooling1D", super::pool::global_average_1d, "mean over space"),
    ("GlobalAveragePooling2D", super::pool::global_average_2d, "mean over space"),
    ("GlobalAveragePooling3D", super::pool::global_average_3d, "mean over space"),
    ("GlobalMaxPooling1D", super::pool::global_max_1d, "maximum over space"),
    ("GlobalMaxPooling2D", super::pool::global_max_2d, "maximum over space"),
    ("GlobalMaxPooling3D", super::pool::global_max_3d, "maximum over space"),
    ("Identity", super::identity::identity, "identity"),
    ("LayerNormalization", super::norm::layer_norm, "layer normalisation"),
    ("LeakyReLU", super::activation::leaky_relu, "the function"),
    ("MagnitudeAwareSign", super::larq::magnitude_aware_sign, "Larq's quantizer"),
    ("MaxPooling1D", super::pool::max_1d, "maximum over windows"),
    ("MaxPooling2D", super::pool::max_2d, "maximum over windows"),
    ("MaxPooling3D", super::pool::max_3d, "maximum over windows"),
    ("Maximum", super::merge::maximum, "maximum"),
    ("Minimum", super::merge::minimum, "minimum"),
    ("Multiply", super::merge::multiply, "product"),
    ("NoOp", super::larq::no_op, "Larq's quantizer"),
    ("NoOpQuantizer", super::larq::no_op, "Larq's quantizer"),
    ("Normalization", super::preprocess::normalization, "(x − mean) / deviation"),
    ("PReLU", super::activation::prelu, "the function with its learned slopes"),
    ("Permute", super::shape::permute, "transposition"),
    ("PruneLowMagnitude", super::wrapper::pruned, "the inner layer, whose weights are pruned"),
    ("QActivation", super::qkeras::q_activation, "the quantizer"),
    ("QAdaptiveActivation", super::qkeras::q_adaptive, "the quantizer for the range that the file holds"),
    ("QAveragePooling2D", super::pool::q_average_2d, "mean over windows by a quantized factor"),
    ("QBatchNormalization", super::qkeras::q_batch_norm, "batch normalisation with quantized parameters"),
    ("QConv1D", super::qkeras::q_conv_1d, "convolution with quantized weights"),
    ("QConv2D", super::qkeras::q_conv_2d, "convolution with quantized weights"),
    ("QConv2DBatchnorm", super::qkeras::q_conv_2d_folded, "convolution with folded, then quantized weights"),
    ("QConv2DTranspose", super::qkeras::q_conv_2d_transpose, "transposed convolution with quantized weights"),
    ("QDense", super::qkeras::q_dense, "product with a matrix of quantized weights"),
    ("QDenseBatchnorm", super::qkeras::q_dense_folded, "product with folded, then quantized weights"),
    ("QDepthwiseConv2D", super::qkeras::q_depthwise_2d, "depthwise convolution with quantized weights"),
    ("QDepthwiseConv2DBatchnorm", super::qkeras::q_depthwise_2d_folded, "the same, folded, then quantized"),
    ("QGlobalAveragePooling2D", super::pool::q_global_average_2d, "mean over space by a quantized factor"),
    ("QSeparableConv1D", super::qkeras::q_separable_1d, "separable convolution with quantized weights"),
    ("QSeparableConv2D", super::qkeras::q_separable_2d, "separable convolution with quantized weights"),
    ("QuantConv1D", super::larq::quant_conv_1d, "convolution with quantized input and weights"),
    ("QuantConv2D", super::larq::quant_conv_2d, "convolution with quantized input and weights"),
    ("QuantConv2DTranspose", super::larq::quant_conv_2d_transpose, "transposed convolution, likewise"),
    ("QuantConv3D", super::larq::quant_conv_3d, "convolution with quantized input and weights"),
    ("QuantConv3DTranspose", super::larq::quant_conv_3d_transpose, "transposed convolution, likewise"),
    ("QuantDense", super::larq::quant_dense, "product of a quantized input with quantized weights"),
    ("QuantDepthwiseConv2D", super::larq::quant_depthwise_2d, "depthwise convolution, likewise"),
    ("QuantSeparableConv1D", super::larq::quant_separable_1d, "separable convolution, likewise"),
    ("QuantSeparableConv2D", super::larq::quant_separable_2d, "separable convolution, likewise"),
    ("RandomBrightness", super::identity::identity, "identity in inference"),
    ("RandomContrast", super::identity::identity, "identity in inference"),
    ("RandomFlip", super::identity::identity, "identity in inference"),
    ("RandomRotation", super::identity::identity, "identity in inference"),
    ("RandomShear", super::identity::identity, "identity in inference"),
    ("RandomTranslation", super::identity::identity, "identity in inference"),
    ("RandomZoom", super::identity::identity, "identity in inference"),
    ("ReLU", super::activation::relu, "the function with its three parameters"),
    ("RepeatVector", super::shape::repeat_vector, "broadcast"),
    ("Rescaling", super::preprocess::rescaling, "x · scale + offset"),
    ("Reshape", super::shape::reshape, "reshape"),
    ("SeparableConv1D", super::separable::separable_1d, "depthwise, then pointwise convolution"),
    ("SeparableConv2D", super::separable::separable_2d, "depthwise, then pointwise convolution"),
    ("Softmax", super::activation::softmax, "softmax over its axes"),
    ("SpatialDropout1D", super::identity::identity, "identity in inference"),
    ("SpatialDropout2D", super::identity::identity, "identity in inference"),
    ("SpatialDropout3D", super::identity::identity, "identity in inference"),
    ("SteHeaviside", super::larq::ste_heaviside, "Larq's quantizer"),
    ("SteSign", super::larq::ste_sign, "Larq's quantizer"),
    ("SteTern", super::larq::ste_tern, "Larq's quantizer"),
    ("Subtract", super::merge::subtract, "difference"),
    ("SwishSign", super::larq::swish_sign, "Larq's quantizer"),
    ("TernaryConv2D", super::course::ternary_conv_2d, "convolution with weights −H, 0 and H"),
    ("TernaryDense", super::course::ternary_dense, "product with a matrix of −H, 0 and H"),
    ("ThresholdedReLU", super::activation::thresholded_relu, "the function"),
    ("TimeDistributed", super::wrapper::time_distributed, "the inner layer over the sequence"),
    ("UpSampling1D", super::border::up_sampling_1d, "repetition"),
    ("UpSampling2D", super::border::up_sampling_2d, "repetition or bilinear interpolation"),
    ("UpSampling3D", super::border::up_sampling_3d, "repetition"),
    ("ZeroPadding1D", super::border::zero_padding_1d, "zeros at the borders"),
    ("ZeroPadding2D", super::border::zero_padding_2d, "zeros at the borders"),
    ("ZeroPadding3D", super::border::zero_padding_3d, "zeros at the borders"),
    ("hgq>QBatchNormalization", super::hgq::batch_norm, "quantized factor and offset of each channel"),
    ("hgq>QConv1D", super::hgq::conv_1d, "convolution with quantized input and weights"),
    ("hgq>QConv2D", super::hgq::conv_2d, "convolution with quantized input and weights"),
    ("hgq>QConv3D", super::hgq::conv_3d, "convolution with quantized input and weights"),
    ("hgq>QDense", super::hgq::dense, "product of a quantized input with quantized weights"),
    ("hgq>Quantizer", super::hgq::quantizer, "the quantizer"),
];

/// What to use instead of classes that are not supported.
const INSTEAD: &[(&str, &str)] = &[
    (
        "Lambda",
        "its code is not in the file; say it with layers: Rescaling for x·a+b, Activation, Reshape, Permute, Multiply",
    ),
    (
        "TFOpLambda",
        "it is an operator in the code of the model; say it with a layer: Add, Subtract, Multiply, Rescaling, Activation",
    ),
    (
        "SlicingOpLambda",
        "it is an index expression in the code of the model; Cropping1D/2D/3D cuts off borders",
    ),
    (
        "TensorFlowOpLayer",
        "it is an operator in the code of the model; say it with a layer: Add, Multiply, Rescaling, Activation",
    ),
    ("LSTM", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("GRU", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("SimpleRNN", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("RNN", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("CuDNNLSTM", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("CuDNNGRU", "recurrent layers are not supported; nearest: Conv1D with padding='causal'"),
    ("ConvLSTM2D", "recurrent layers are not supported; nearest: Conv3D"),
    ("Bidirectional", "recurrent layers are not supported; nearest: Conv1D"),
    ("Embedding", "nearest: Dense without bias on a one-hot input"),
    ("Masking", "masks are not supported; nearest: Multiply by a 0/1 input"),
    ("LocallyConnected1D", "nearest: Conv1D, which shares its kernel"),
    ("LocallyConnected2D", "nearest: Conv2D, which shares its kernel"),
    ("Merge", "its mode is cos or Python code; nearest: Add, Multiply, Average, Maximum, Concatenate, Dot"),
    ("Attention", "nearest: Dot and Softmax"),
    ("MultiHeadAttention", "nearest: Dense, Dot and Softmax"),
    ("GroupNormalization", "nearest: LayerNormalization or BatchNormalization"),
    ("UnitNormalization", "nearest: LayerNormalization"),
    ("Resizing", "nearest: UpSampling2D, AveragePooling2D"),
    ("CenterCrop", "nearest: Cropping2D"),
    ("RandomCrop", "nearest: Cropping2D"),
    ("MaxoutDense", "nearest: several Dense layers and Maximum"),
    ("Highway", "nearest: Dense, Multiply and Add"),
    ("SReLU", "nearest: ReLU with max_value, negative_slope and threshold"),
    (
        "FixedPointQuantizer",
        "the first HGQ's files are not supported; nearest: HGQ2's QDense, QConv2D in a .keras file",
    ),
    ("QuantLocallyConnected1D", "nearest: QuantConv1D, which shares its kernel"),
    ("QuantLocallyConnected2D", "nearest: QuantConv2D, which shares its kernel"),
    ("QSimpleRNN", "recurrent layers are not supported; nearest: QConv1D with padding='causal'"),
    ("QLSTM", "recurrent layers are not supported; nearest: QConv1D with padding='causal'"),
    ("QGRU", "recurrent layers are not supported; nearest: QConv1D with padding='causal'"),
    ("QBidirectional", "recurrent layers are not supported; nearest: QConv1D"),
];

/// Reads the configuration of a layer: type checks that concern all, the layer's own reader, then the unread keys.
pub(crate) fn read(
    class: &str,
    config: &Config<'_>,
    facts: &Facts,
    findings: &mut Vec<Diagnostic>,
) -> Outcome<Box<dyn Layer>> {
    let Some(parse) = find(class) else { return Err(unsupported(class, config)) };
    findings.extend(check_dtype(config)?);
    let layer = parse(config, facts);
    findings.extend(config.take_notes());
    let layer = layer?;
    config.finish()?;
    Ok(layer)
}

/// The reader of a class.
pub(crate) fn find(class: &str) -> Option<Parse> {
    LAYERS.iter().find(|(name, ..)| *name == class).map(|(_, parse, _)| *parse)
}

/// The error for a class that is not supported, with the nearest one that is.
pub(crate) fn unsupported(class: &str, config: &Config<'_>) -> Box<Diagnostic> {
    let shown = clip(class.rsplit('>').next().unwrap_or(class));
    let problem = config.error(format!("layer class {shown} is not supported"));
    if let Some((_, text)) = INSTEAD.iter().find(|(name, _)| *name == shown) {
        return problem.with_help(*text);
    }
    if class.starts_with("hgq>") {
        return problem.with_help(
            "HGQ2's layers that are: QBatchNormalization, QConv1D, QConv2D, QConv3D, QDense, Quantizer; a Quantizer \
             before each input of Keras' own Add, Multiply or pooling says what HGQ2's says",
        );
    }
    if let Some(operator) = shown.strip_prefix("ops.") {
        let near = nearest(operator).unwrap_or("Add, Multiply, Rescaling, Activation");
        return problem
            .with_help(format!("it is an operator in the code of the model; nearest layer: {near}"));
    }
    match nearest(&shown) {
        Some(near) => problem.with_help(format!(
            "nearest supported layer: {near}; if it computes what that one does, say so with --layer-map FILE.toml"
        )),
        None => problem.with_help(
            "a custom layer's code is not in the file; say which layer it is with --layer-map FILE, or say it with \
             built-in layers",
        ),
    }
}

/// The supported class whose name is nearest: one that the name contains, or the one with the fewest edits.
pub(crate) fn nearest(class: &str) -> Option<&'static str> {
    let names = || LAYERS.iter().map(|(name, ..)| *name);
    let contained = names().filter(|name| class.contains(name)).max_by_key(|name| name.len());
    contained.or_else(|| {
        let scored = names().map(|name| (edits(class, name), name));
        scored.min().filter(|(edits, name)| edits * 3 <= name.len()).map(|(_, name)| name)
    })
}

/// Levenshtein's distance, ignoring case.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut previous = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (previous + usize::from(x != *y)).min(above + 1).min(left + 1);
            previous = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// The name of the type policy: a string, or an object with a name.
fn policy(config: &Config<'_>) -> Option<String> {
    let value = config.get("dtype")?;
    let name = match value {
        Value::String(name) => Some(name.as_str()),
        other => other.get("config").and_then(|config| config.get("name")).and_then(Value::as_str),
    };
    Some(name.map_or_else(|| value.to_string(), str::to_owned))
}

/// Layers compute in f32. Half-precision models are converted with a warning, since f32 only loses their rounding;
/// quantized ones are refused, since their weights mean something else.
fn check_dtype(config: &Config<'_>) -> Outcome<Option<Diagnostic>> {
    let Some(name) = policy(config) else { return Ok(None) };
    match name.as_str() {
        "float32" | "_infer" | "infer" => Ok(None),
        "mixed_float16" | "mixed_bfloat16" | "float16" | "bfloat16" | "float64" => {
            let mut finding =
                *config.error(format!("the layer computes in {name}; the conversion computes in float32"));
            finding.severity = unfloat_ir::Severity::Warning;
            finding.help = "results differ from the framework's by its own rounding".to_owned();
            Ok(Some(finding))
        }
        _ => Err(config
            .error(format!("the type policy '{}' is not supported", clip(&name)))
            .with_help("save the model in float32, before quantization")),
    }
}

/// Inputs may be declared with an integer type; they are converted to f32, as the framework does.
pub(crate) fn check_dtype_of_input(config: &Config<'_>) -> Outcome<()> {
    match policy(config) {
        Some(name) if name == "string" || name.starts_with("complex") => {
            Err(config.error(format!("inputs of type {name} are not supported")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_class_twice() {
        let names: Vec<&str> = LAYERS.iter().map(|(name, ..)| *name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn an_unsupported_class_gets_the_nearest_supported_one() {
        assert_eq!(nearest("MyQDense"), Some("QDense"));
        assert_eq!(nearest("MySeparableConv2D"), Some("SeparableConv2D"));
        assert_eq!(nearest("MaxPoling2D"), Some("MaxPooling2D"));
        assert_eq!(nearest("MyThing"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
