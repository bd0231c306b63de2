//! Keras 1 spellings, replaced by those of Keras 2.
//!
//! In: class and configuration of a Keras 1 layer. Out: class and configuration with the names and value forms that
//! Keras 2 uses; keys without a counterpart stay, so that the layer's own check sees them. Also decides which
//! generation wrote an architecture that does not say it.

use serde_json::{Map, Value};

use crate::keras::version::Generation;

/// Class names that mean the same layer: Keras 1 and `tf.keras` aliases.
const CLASSES: &[(&str, &str)] = &[
    ("AtrousConvolution1D", "Conv1D"),
    ("AtrousConvolution2D", "Conv2D"),
    ("AvgPool1D", "AveragePooling1D"),
    ("AvgPool2D", "AveragePooling2D"),
    ("AvgPool3D", "AveragePooling3D"),
    ("BatchNormalizationV1", "BatchNormalization"),
    ("BatchNormalizationV2", "BatchNormalization"),
    ("Container", "Functional"),
    ("Convolution1D", "Conv1D"),
    ("Convolution1DTranspose", "Conv1DTranspose"),
    ("Convolution2D", "Conv2D"),
    ("Convolution2DTranspose", "Conv2DTranspose"),
    ("Convolution3D", "Conv3D"),
    ("Convolution3DTranspose", "Conv3DTranspose"),
    ("Deconvolution2D", "Conv2DTranspose"),
    ("Deconvolution3D", "Conv3DTranspose"),
    ("GlobalAvgPool1D", "GlobalAveragePooling1D"),
    ("GlobalAvgPool2D", "GlobalAveragePooling2D"),
    ("GlobalAvgPool3D", "GlobalAveragePooling3D"),
    ("GlobalMaxPool1D", "GlobalMaxPooling1D"),
    ("GlobalMaxPool2D", "GlobalMaxPooling2D"),
    ("GlobalMaxPool3D", "GlobalMaxPooling3D"),
    ("MaxPool1D", "MaxPooling1D"),
    ("MaxPool2D", "MaxPooling2D"),
    ("MaxPool3D", "MaxPooling3D"),
    ("Model", "Functional"),
    ("SeparableConvolution1D", "SeparableConv1D"),
    ("SeparableConvolution2D", "SeparableConv2D"),
    ("TimeDistributedDense", "Dense"),
];

/// The class name used inside of the importer.
pub(crate) fn class_name(written: &str) -> &str {
    // Of registered classes the package tells nothing that the name does not, but for HGQ2's, which are called as
    // QKeras' are.
    let plain = ["qkeras>", "Larq>"].iter().find_map(|package| written.strip_prefix(package));
    let written = plain.unwrap_or(written);
    CLASSES.iter().find(|(alias, _)| *alias == written).map_or(written, |(_, name)| name)
}

/// Rewrites the configuration of a Keras 1 layer; returns the class where the keys decide it (`Merge`).
pub(crate) fn modernise(class: &str, written: &str, config: &mut Map<String, Value>) -> String {
    for (old, new) in [
        ("nb_filter", "filters"),
        ("border_mode", "padding"),
        ("subsample", "strides"),
        ("subsample_length", "strides"),
        ("stride", "strides"),
        ("bias", "use_bias"),
        ("pool_length", "pool_size"),
        ("filter_length", "kernel_size"),
        ("atrous_rate", "dilation_rate"),
        ("W_regularizer", "kernel_regularizer"),
        ("b_regularizer", "bias_regularizer"),
        ("U_regularizer", "recurrent_regularizer"),
        ("W_constraint", "kernel_constraint"),
        ("b_constraint", "bias_constraint"),
        ("depthwise_constraint", "depthwise_constraint"),
    ] {
        rename(config, old, new);
    }
    gather(config, &["nb_row", "nb_col"], "kernel_size");
    gather(config, &["kernel_dim1", "kernel_dim2", "kernel_dim3"], "kernel_size");
    if let Some(ordering) = config.remove("dim_ordering") {
        let format = match ordering.as_str() {
            Some("th") => Value::from("channels_first"),
            Some("tf") => Value::from("channels_last"),
            _ => ordering,
        };
        config.insert("data_format".to_owned(), format);
    }
    if class == "Dense" {
        rename(config, "output_dim", "units");
    }
    if class.ends_with("Dropout") || class == "Dropout" {
        rename(config, "p", "rate");
    }
    if class.starts_with("UpSampling") {
        rename(config, "length", "size");
    }
    if class == "GaussianNoise" {
        rename(config, "sigma", "stddev");
    }
    if class.starts_with("Atrous") || written.starts_with("Deconvolution") {
        // Declared only to cross-check what the layer computes from its input.
        config.remove("output_shape");
    }
    // Keras 1 gave regularized weights of BatchNormalization other names.
    for key in ["gamma_init", "beta_init", "alpha_init", "t_left_init", "depthwise_init", "pointwise_init"] {
        config.remove(key);
    }
    if class == "Merge" { merge(config) } else { class.to_owned() }
}

/// Keras 1's one `Merge` layer is a layer per mode since Keras 2. Its `cos` has another shape and another bound than
/// today's normalised Dot, so that and functions in Python stay `Merge`.
fn merge(config: &mut Map<String, Value>) -> String {
    let mode = config.get("mode").and_then(Value::as_str).unwrap_or_default().to_owned();
    let class = match mode.as_str() {
        "sum" => "Add",
        "mul" => "Multiply",
        "ave" => "Average",
        "max" => "Maximum",
        "concat" => "Concatenate",
        "dot" => "Dot",
        _ => return "Merge".to_owned(),
    };
    config.remove("mode");
    for key in
        ["mode_type", "output_shape", "output_shape_type", "output_mask", "output_mask_type", "arguments"]
    {
        config.remove(key);
    }
    let axis = config.remove("concat_axis").unwrap_or(Value::from(-1));
    let axes = config.remove("dot_axes").unwrap_or(Value::from(-1));
    if class == "Concatenate" {
        config.insert("axis".to_owned(), axis);
    }
    if class == "Dot" {
        config.insert("axes".to_owned(), axes);
    }
    class.to_owned()
}

fn rename(config: &mut Map<String, Value>, old: &str, new: &str) {
    if old != new
        && !config.contains_key(new)
        && let Some(value) = config.remove(old)
    {
        config.insert(new.to_owned(), value);
    }
}

fn gather(config: &mut Map<String, Value>, parts: &[&str], whole: &str) {
    if parts.iter().all(|part| config.contains_key(*part)) {
        let values = parts.iter().filter_map(|part| config.remove(*part)).collect();
        config.insert(whole.to_owned(), Value::Array(values));
    }
}

/// Decides the generation by what only one of them writes.
pub(crate) fn guess_generation(json: &Value) -> Generation {
    /// Keys that one generation alone writes into layer configurations.
    fn scan(value: &Value) -> Option<Generation> {
        match value {
            Value::Object(map) => {
                let class = map.get("class_name").and_then(Value::as_str).unwrap_or_default();
                let dense1 =
                    class == "Dense" && map.get("config").is_some_and(|c| c.get("output_dim").is_some());
                if dense1
                    || ["nb_filter", "border_mode", "dim_ordering"].iter().any(|key| map.contains_key(*key))
                {
                    return Some(Generation::Keras1);
                }
                let policy = class == "DTypePolicy";
                let node = class == "__keras_tensor__";
                if policy || node || map.contains_key("batch_shape") {
                    return Some(Generation::Keras3);
                }
                map.values().find_map(scan)
            }
            Value::Array(items) => items.iter().find_map(scan),
            _ => None,
        }
    }
    scan(json).unwrap_or(Generation::Keras2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modern(written: &str, config: Value) -> (String, Value) {
        let Value::Object(mut map) = config else { panic!("an object") };
        let class = modernise(class_name(written), written, &mut map);
        (class, Value::Object(map))
    }

    #[test]
    fn a_convolution_of_keras_1_reads_like_one_of_keras_2() {
        let old = json!({"nb_filter": 8, "nb_row": 3, "nb_col": 5, "border_mode": "same", "subsample": [2, 1],
            "dim_ordering": "th", "bias": true, "W_regularizer": null});
        let (class, config) = modern("Convolution2D", old);
        assert_eq!(class, "Conv2D");
        let wanted = json!({"filters": 8, "kernel_size": [3, 5], "padding": "same", "strides": [2, 1],
            "data_format": "channels_first", "use_bias": true, "kernel_regularizer": null});
        assert_eq!(config, wanted);
    }

    #[test]
    fn merge_becomes_a_layer_per_mode() {
        let (class, config) = modern("Merge", json!({"mode": "concat", "concat_axis": 1, "dot_axes": -1}));
        assert_eq!((class.as_str(), config), ("Concatenate", json!({"axis": 1})));
        let (class, _) = modern("Merge", json!({"mode": "sum", "mode_type": "raw", "output_shape": null}));
        assert_eq!(class, "Add");
        let (class, _) = modern("Merge", json!({"mode": "<lambda>", "mode_type": "lambda"}));
        assert_eq!(class, "Merge");
    }

    #[test]
    fn the_generation_shows_in_the_keys() {
        let layer =
            |config: Value| json!({"config": {"layers": [{"class_name": "Dense", "config": config}]}});
        assert_eq!(guess_generation(&layer(json!({"output_dim": 3}))), Generation::Keras1);
        assert_eq!(guess_generation(&layer(json!({"units": 3}))), Generation::Keras2);
        assert_eq!(guess_generation(&layer(json!({"batch_shape": [null, 3]}))), Generation::Keras3);
        // Keras 2's Embedding has an output_dim too.
        let embedding = json!([{"class_name": "Embedding", "config": {"output_dim": 3}}]);
        assert_eq!(guess_generation(&embedding), Generation::Keras2);
    }
}
