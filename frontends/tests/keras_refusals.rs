//! What the Keras importer refuses, and what it says: every finding of a run, with file, place, layer and advice.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use unfloat_frontends::keras::{Backend, Imported, KerasOptions, ModelFile, import, supported_layers};
use unfloat_ir::Diagnostics;

fn fixture(name: &str) -> ModelFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras").join(name);
    let label = name.rsplit('/').next().unwrap_or(name).to_owned();
    ModelFile { label, bytes: fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}")) }
}

fn json_file(json: &Value) -> ModelFile {
    ModelFile { label: "arch.json".to_owned(), bytes: json.to_string().into_bytes() }
}

fn run(model: ModelFile, weights: Option<ModelFile>) -> Result<Imported, Diagnostics> {
    import(model, weights, &KerasOptions::default())
}

/// The findings as text; panics when the import succeeds.
fn refused(model: ModelFile, weights: Option<ModelFile>) -> String {
    match run(model, weights) {
        Ok(imported) => panic!("accepted: {:?}", imported.graph.outputs()),
        Err(findings) => findings.to_string(),
    }
}

fn sequential(layers: &Value) -> Value {
    json!({"class_name": "Sequential", "keras_version": "2.15.0", "backend": "tensorflow",
        "config": {"name": "s", "layers": layers}})
}

fn layer(class: &str, name: &str, mut config: Value) -> Value {
    config["name"] = json!(name);
    json!({"class_name": class, "config": config})
}

fn input(shape: Value) -> Value {
    layer("InputLayer", "in", json!({"batch_input_shape": shape}))
}

/// An architecture of the fixtures, its weights, and the index of one of its layers.
fn net() -> (Value, ModelFile) {
    let arch: Value =
        serde_json::from_slice(&fixture("topologies/keras2_net_arch.json").bytes).expect("JSON");
    (arch, fixture("topologies/keras2_best_epoch_12.h5"))
}

fn layer_called<'a>(arch: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = arch["config"]["layers"].as_array_mut().expect("layers");
    layers.iter_mut().find(|layer| layer["config"]["name"] == name).expect("the layer")
}

#[test]
fn all_unsupported_layers_are_named_in_one_run() {
    let text = refused(
        json_file(&sequential(&json!([
            input(json!([null, 8, 3])),
            layer("LSTM", "memory", json!({"units": 4})),
            layer("Dense", "fine", json!({"units": 4})),
            layer("Lambda", "code", json!({"function": ["4wEAAA", null, null]})),
            layer("MyQDense", "q", json!({"units": 4})),
            layer("Addons>Mish", "act", json!({})),
            layer("Activation", "a", json!({"activation": "my_tanh"})),
            layer("TimeDistributed", "td", json!({"layer": {"class_name": "GRU", "config": {"units": 1}}}))
        ]))),
        None,
    );
    for wanted in [
        "arch.json: config.layers[1]: layer memory (LSTM): layer class LSTM is not supported",
        "Conv1D with padding='causal'",
        "layer code (Lambda): layer class Lambda is not supported",
        "Rescaling for x·a+b",
        "layer q (MyQDense): layer class MyQDense is not supported",
        "nearest supported layer: QDense",
        "layer act (Addons>Mish): layer class Mish is not supported",
        "layer a (Activation): 'activation': the activation 'my_tanh' is not supported",
        "layer td (TimeDistributed), inner GRU: layer class GRU is not supported",
        "the file holds an architecture without weights",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(!text.contains("fine"), "{text}");
}

#[test]
fn bad_options_name_layer_key_expectation_and_finding() {
    let conv = |extra: Value| {
        let mut config = json!({"filters": 2, "kernel_size": [3, 3]});
        config.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let layers = json!([input(json!([null, 8, 8, 3])), layer("Conv2D", "c", config)]);
        refused(json_file(&sequential(&layers)), None)
    };
    for (extra, wanted) in [
        (json!({"strides": [0, 1]}), "'strides': expected two integers ≥ 1, found [0,1]"),
        (json!({"kernel_size": "big"}), "'kernel_size': expected two integers ≥ 1, found \"big\""),
        (json!({"filters": null}), "'filters' is missing: expected an integer ≥ 1"),
        (json!({"padding": "causal"}), "'padding': expected one of valid, same, found \"causal\""),
        (json!({"data_format": "nhwc"}), "'data_format': expected one of channels_last, channels_first"),
        (json!({"twist": 3}), "unknown option 'twist': 3: it might change the result"),
        (
            json!({"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}}}),
            "the type policy 'int8_from_float32' is not supported",
        ),
    ] {
        let text = conv(extra);
        assert!(text.contains(&format!("layer c (Conv2D): {wanted}")), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn half_precision_is_a_warning() {
    let (mut arch, weights) = net();
    for name in ["b_conv", "b_bn", "b_out"] {
        layer_called(&mut arch, name)["config"]["dtype"] = json!("mixed_float16");
    }
    let imported = run(json_file(&arch), Some(weights)).expect("an import");
    let texts: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("layer b_conv (Conv2D): the layer computes in mixed_float16"), "{texts:?}");
    assert!(texts[0].contains("(and 2 more layers)"), "{texts:?}");
}

#[test]
fn weights_of_other_shapes_are_all_reported() {
    let (mut arch, weights) = net();
    let conv = layer_called(&mut arch, "b_conv");
    let filters = conv["config"]["filters"].as_u64().expect("filters");
    conv["config"]["kernel_size"] = json!([5, 5]);
    let head = layer_called(&mut arch, "probabilities");
    head["config"]["units"] = json!(7);
    let text = refused(json_file(&arch), Some(weights));
    let wanted_conv = format!(
        "b_conv (Conv2D): expected a weight of shape (5, 5, 3, {filters}), found (3, 3, 3, {filters})"
    );
    for wanted in [
        "keras2_best_epoch_12.h5: ",
        &wanted_conv,
        "probabilities (Dense): expected a weight of shape (7,), found (3,)",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    let kernel =
        text.lines().find(|line| line.contains("probabilities") && line.contains("kernel")).expect("a line");
    assert!(kernel.contains(", 7), found ("), "{kernel}");
}

#[test]
fn missing_and_left_over_weights_are_reported() {
    let (mut arch, weights) = net();
    layer_called(&mut arch, "b_conv")["config"]["use_bias"] = json!(false);
    let text = refused(json_file(&arch), Some(weights));
    assert!(text.contains("b_conv (Conv2D): expected 1 weights (kernel), found 2"), "{text}");
    let (arch, _) = net();
    let text = refused(json_file(&arch), Some(fixture("keras2/dense.h5")));
    assert!(text.contains("belong to no layer") && text.contains("the weights are missing"), "{text}");
}

#[test]
fn nan_and_infinite_weights_are_named_with_their_index() {
    // A NaN is written over a float of the file that occurs once.
    let whole = fixture("keras2/dense.h5");
    let imported = run(whole.clone(), None).expect("an import");
    let graph = &imported.graph;
    let mut kernels =
        graph.values().filter_map(|(id, value)| graph.const_of(id).map(|tensor| (value, tensor)));
    let (value, tensor) = kernels.find(|(v, _)| v.name.ends_with(".kernel")).expect("a kernel");
    let (rows, columns) = (tensor.ty.shape[0], tensor.ty.shape[1]);
    // Element (input 1, unit 2) of the file's (in, out) kernel.
    let wanted = tensor.as_f32().expect("floats")[2 * columns + 1].to_le_bytes();
    assert!(rows > 2);
    let places: Vec<usize> =
        whole.bytes.windows(4).enumerate().filter(|(_, w)| *w == wanted).map(|(at, _)| at).collect();
    let [at] = places.as_slice() else { panic!("{places:?}") };
    for (number, what) in [(f32::NAN, "NaN"), (f32::INFINITY, "infinite")] {
        let mut broken = whole.clone();
        broken.bytes[*at..at + 4].copy_from_slice(&number.to_le_bytes());
        let text = refused(broken, None);
        let layer = value.name.trim_end_matches(".kernel");
        let wanted = format!("layer {layer} (Dense): the weight at index (1, 2) is {what}");
        assert!(text.contains(&wanted), "{wanted} is not in\n{text}");
        assert!(text.contains("dense.h5: model_weights/"), "{text}");
    }
}

#[test]
fn files_of_other_kinds_are_recognised() {
    for (bytes, wanted) in [
        (&b""[..], "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x1c\0\0\0TFL3rest", "TensorFlow Lite"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"hello", "neither HDF5, nor a zip archive, nor JSON"),
        (b"PK\x03\x04", "damaged zip archive"),
        (b"\x89HDF\r\n\x1a\n", "damaged HDF5 file"),
        (b"{\"a\": 1}", "not a Keras architecture"),
        (b"{\"class_name\": ", "not valid JSON"),
    ] {
        let file = ModelFile { label: "model.h5".to_owned(), bytes: bytes.to_vec() };
        let text = refused(file, None);
        assert!(
            text.starts_with("error: model.h5: ") && text.contains(wanted),
            "{wanted:?} is not in {text}"
        );
    }
}

#[test]
fn weights_without_an_architecture_ask_for_one() {
    let text = refused(fixture("topologies/keras2_best_epoch_12.h5"), None);
    assert!(text.contains("weights only, no architecture") && text.contains("--weights"), "{text}");
    let (arch, _) = net();
    let text = refused(json_file(&arch), Some(json_file(&arch)));
    assert!(text.contains("arch.json: the file given as weights holds none"), "{text}");
}

#[test]
fn open_extents_and_calls_in_training_are_refused() {
    let text = refused(json_file(&sequential(&json!([input(json!([null, null, null, 3]))]))), None);
    assert!(text.contains("the input has open extents: (?, ?, 3)") && text.contains("keras.Input"), "{text}");
    let (mut arch, weights) = net();
    let layers = arch["config"]["layers"].as_array_mut().expect("layers");
    let norm = layers.iter_mut().find(|layer| layer["class_name"] == "BatchNormalization").expect("one");
    norm["inbound_nodes"][0][0][3] = json!({"training": true});
    let text = refused(json_file(&arch), Some(weights));
    assert!(
        text.contains("(BatchNormalization): the call has arguments that are not supported: training=true"),
        "{text}"
    );
}

#[test]
fn an_unnamed_backend_is_assumed_with_a_warning_and_can_be_said() {
    let file = || fixture("theano/1.2.2_small_cnn_channels_first.h5");
    let assumed = run(file(), None).expect("an import");
    let text = assumed.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("theano is assumed") && text.contains("--keras-backend"), "{text}");
    let with = |backend| {
        import(file(), None, &KerasOptions { backend: Some(backend), ..KerasOptions::default() })
            .expect("an import")
    };
    let said = with(Backend::Theano);
    assert!(said.warnings.is_empty());
    assert_eq!(said.graph, assumed.graph);
    assert_ne!(with(Backend::TensorFlow).graph, assumed.graph);
}

#[test]
fn nested_calls_that_multiply_are_bounded() {
    // Each level calls the one below eight times.
    let mut inner = json!({"class_name": "Functional", "name": "m0", "config": {"name": "m0", "layers": [
        {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [null, 3]}, "inbound_nodes": []},
        {"class_name": "ReLU", "name": "r", "config": {"name": "r"}, "inbound_nodes": [[["x", 0, 0, {}]]]}],
        "input_layers": [["x", 0, 0]], "output_layers": [["r", 0, 0]]}});
    for level in 1..14 {
        let (name, below) = (format!("m{level}"), format!("m{}", level - 1));
        let mut calls = vec![json!([["x", 0, 0, {}]])];
        calls.extend((1..8).map(|call| json!([[below, call, 0, {}]])));
        inner["inbound_nodes"] = json!(calls);
        inner = json!({"class_name": "Functional", "name": name, "config": {"name": name, "layers": [
            {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [null, 3]}, "inbound_nodes": []},
            inner], "input_layers": [["x", 0, 0]], "output_layers": [[below, 8, 0]]}});
    }
    inner["keras_version"] = json!("2.15.0");
    let text = refused(json_file(&inner), None);
    assert!(text.contains("multiply to more than 32768 calls"), "{text}");
}

#[test]
fn the_table_of_layers_can_be_listed() {
    let names: Vec<&str> = supported_layers().map(|(name, _)| name).collect();
    for name in ["Conv2D", "Dense", "TimeDistributed", "Normalization"] {
        assert!(names.contains(&name), "{name}");
    }
}
