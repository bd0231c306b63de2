//! What cannot be converted of quantized layers is refused by layer and quantizer, all at once; damaged configurations
//! are refused or imported, and never panic.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use unfloat_frontends::keras::{Imported, KerasOptions, LarqWeights, LayerMap, ModelFile, import};
use unfloat_ir::{Diagnostics, Severity};

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras_quant").join(name);
    fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn try_import(
    model: Vec<u8>,
    weights: Option<Vec<u8>>,
    options: &KerasOptions,
) -> Result<Imported, Diagnostics> {
    let file = |label: &str, bytes| ModelFile { label: label.to_owned(), bytes };
    import(file("m.json", model), weights.map(|bytes| file("w.h5", bytes)), options)
}

/// A chain of layers without weights on an input of 5 numbers.
fn chain(layers: &[Value]) -> Value {
    let mut all =
        vec![json!({"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [null, 5]}})];
    all.extend(layers.iter().enumerate().map(|(i, layer)| {
        let mut layer = layer.clone();
        if layer["config"]["name"].is_null() {
            layer["config"]["name"] = json!(format!("l{i}"));
        }
        layer
    }));
    json!({"class_name": "Sequential", "keras_version": "2.15.0", "backend": "tensorflow",
        "config": {"name": "s", "layers": all}})
}

fn activation(quantizer: Value) -> Value {
    json!({"class_name": "QActivation", "config": {"activation": quantizer}})
}

fn findings(model: &Value) -> Diagnostics {
    match try_import(model.to_string().into_bytes(), None, &KerasOptions::default()) {
        Ok(_) => panic!("accepted: {model}"),
        Err(findings) => findings,
    }
}

#[test]
fn everything_that_cannot_be_converted_is_named_at_once() {
    let dense = json!({"class_name": "QDense", "config": {"units": 3, "use_bias": true,
        "kernel_quantizer": "my_quantizer(4)", "bias_quantizer": {"class_name": "bernoulli", "config": {"alpha": null}},
        "activation": "quantized_relu(99)"}});
    let model = chain(&[
        activation(json!("bernoulli()")),
        activation(json!("quantized_bits(4,0,alpha='auto')")),
        dense,
        json!({"class_name": "QuantDense", "config": {"units": 3, "input_quantizer": "magnitude_aware_sign",
            "kernel_quantizer": {"class_name": "Larq>Unheard", "config": {}}}}),
        json!({"class_name": "QOctaveConv2D", "config": {}}),
        activation(json!("quantized_bits(4,0,qnoise_factor=0.5)")),
        activation(json!("quantized_relu(20,2,1)")),
        activation(json!("quantized_bits(4,0,alpha=[1,2,[3]])")),
        activation(json!("quantized_bits(4,0,fancy=1)")),
        activation(json!({"class_name": "quantized_bits", "config": {"bits": 0}})),
        json!({"class_name": "QBatchNormalization", "config": {"gamma_quantizer": "nothing_known",
            "beta_quantizer": "bernoulli"}}),
    ]);
    let findings = findings(&model);
    let all = findings.to_string();
    for (layer, word) in [
        ("l0", "bernoulli"),
        ("l1", "batch"),
        ("l2", "'my_quantizer'"),
        ("l2", "bernoulli"),
        ("l2", "quantized_relu"),
        ("l3", "magnitude_aware_sign"),
        ("l3", "'Unheard'"),
        ("l4", "QOctaveConv2D"),
        ("l5", "qnoise_factor"),
        ("l6", "quantized_relu"),
        ("l7", "quantized_bits"),
        ("l8", "'fancy'"),
        ("l9", "'bits'"),
        ("l10", "'nothing_known'"),
        ("l10", "bernoulli"),
    ] {
        let said = findings.0.iter().any(|d| {
            let at = format!("{} {}", d.at.layer, d.message);
            d.at.layer.split([' ', ',']).next() == Some(layer) && at.contains(word)
        });
        assert!(said, "nothing is said of {word} in {layer}:\n{all}");
    }
    assert!(findings.0.iter().all(|d| d.severity == Severity::Error && !d.message.is_empty()), "{all}");
}

#[test]
fn a_bound_that_the_file_loses_is_warned_of() {
    let bounded =
        json!({"class_name": "quantized_relu", "config": {"bits": 6, "integer": 2, "relu_upper_bound": 1.3}});
    let model = chain(&[activation(bounded)]);
    let imported =
        try_import(model.to_string().into_bytes(), None, &KerasOptions::default()).expect("an import");
    assert!(
        imported.warnings.iter().any(|w| w.message.contains("relu_upper_bound")),
        "{:?}",
        imported.warnings
    );
}

#[test]
fn the_doubt_about_larq_s_weights_is_said_where_it_matters() {
    let warned = |name: &str, larq_weights| {
        let options = KerasOptions { larq_weights, ..KerasOptions::default() };
        let imported = try_import(read(name), None, &options).expect("an import");
        imported.warnings.iter().filter(|w| w.message.contains("DoReFa")).count()
    };
    // The two layers say the same of the same key, which is merged into one.
    assert_eq!(warned("larq/dorefa_weights.h5", None), 1);
    assert_eq!(warned("larq/dorefa_weights.h5", Some(LarqWeights::Latent)), 0);
    assert_eq!(warned("larq/dorefa_weights_quantized.h5", Some(LarqWeights::Quantized)), 0);
    assert_eq!(warned("larq/mlp.h5", None), 0, "signs give back what they made");
    assert_eq!(warned("larq/dorefa_activations.h5", None), 0);
}

#[test]
fn a_quantizer_of_larq_may_be_a_layer() {
    let layer = |class: &str, config: Value| json!({"class_name": class, "config": config});
    let model = chain(&[
        layer("SteSign", json!({"clip_value": 1.0})),
        layer("Larq>DoReFa", json!({"k_bit": 3, "mode": "activations"})),
        layer("SteTern", json!({"threshold_value": 0.1, "clip_value": 1.0})),
        layer("NoOp", json!({"precision": 1})),
    ]);
    let imported = try_import(model.to_string().into_bytes(), None, &KerasOptions::default());
    let graph = imported.unwrap_or_else(|e| panic!("{e}")).graph;
    assert!(
        graph.live_nodes().filter(|(_, node)| unfloat_ir::OpDef::name(&node.op) == "dequantize").count() >= 3
    );
    let batch = findings(&chain(&[layer("MagnitudeAwareSign", json!({"clip_value": 1.0}))])).to_string();
    assert!(batch.contains("l0") && batch.contains("batch"), "{batch}");
}

#[test]
fn what_hgq_has_and_we_have_not_is_not_said_to_be_a_plain_layer() {
    let said = findings(&chain(&[json!({"class_name": "hgq>QMaxPooling2D", "config": {}})])).to_string();
    assert!(
        said.contains("QMaxPooling2D") && said.contains("Quantizer") && !said.contains("--layer-map"),
        "{said}"
    );
}

#[test]
fn arguments_that_python_would_not_take_are_refused() {
    for wrong in [
        activation(json!("quantized_bits(,,)")),
        activation(json!("quantized_bits(4,,1)")),
        activation(json!({"class_name": "quantized_bits", "config": {"bits": null}})),
    ] {
        assert!(findings(&chain(&[wrong])).to_string().contains("l0"));
    }
    let fine = chain(&[activation(json!("quantized_bits(4,1,)"))]);
    assert!(try_import(fine.to_string().into_bytes(), None, &KerasOptions::default()).is_ok());
}

#[test]
fn a_class_of_the_layer_map_that_no_layer_has_is_warned_of() {
    let layer_map = LayerMap::parse("map.toml", "[Other]\nas = \"QDense\"\n").expect("a map");
    let options = KerasOptions { layer_map, ..KerasOptions::default() };
    let model = chain(&[activation(json!("quantized_bits(4,1)"))]);
    let imported = try_import(model.to_string().into_bytes(), None, &options).expect("an import");
    assert!(imported.warnings.iter().any(|w| w.message.contains("'Other'")), "{:?}", imported.warnings);
}

#[test]
fn keras_2_files_of_tensorflow_s_own_time_raise_no_doubt_about_the_backend() {
    let imported = try_import(read("qkeras09/convolutions.keras"), None, &KerasOptions::default());
    let warnings = imported.expect("an import").warnings;
    assert!(warnings.iter().all(|w| !w.message.contains("backend")), "{warnings:?}");
}

/// A small generator (Marsaglia's xorshift), so that the mutants never change.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// The architecture in a `.h5`, which stands in it as text.
fn architecture(bytes: &[u8]) -> Value {
    let start = bytes.windows(14).position(|w| w == b"{\"class_name\":").expect("a configuration");
    let mut stream = serde_json::Deserializer::from_slice(&bytes[start..]).into_iter::<Value>();
    stream.next().expect("a value").expect("JSON")
}

/// Every place of a value below `at`.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| places(v, &format!("{at}/{key}"), out)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

#[test]
fn mutated_configurations_are_imported_or_refused() {
    let odd = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1),
        json!(33),
        json!(255),
        json!(1e300),
        json!(-7.5),
        json!(1e-300),
        json!(4294967296u64),
        json!("auto"),
        json!("auto_po2"),
        json!(""),
        json!("quantized_bits(4,0,alpha='auto')"),
        json!("quantized_relu(24,60,1,0.5)"),
        json!("quantized_po2(20,2,0,1)"),
        json!("ternary(1,2,3,4,5,6)"),
        json!("bernoulli"),
        json!("f("),
        json!([]),
        json!([1, 2]),
        json!([[1.0], [2.0, 3.0]]),
        json!({}),
        json!(true),
        json!({"class_name": "quantized_bits", "config": {"bits": 32, "integer": -64, "alpha": [1e-45, 1e38]}}),
        json!({"class_name": "DoReFa", "config": {"k_bit": 24, "mode": "weights"}}),
        json!({"class_name": "quantized_linear", "config": {"bits": 1, "alpha": "auto"}}),
        json!({"class_name": "quantized_ulaw", "config": {"bits": 12, "u": 1e-30}}),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut imported, mut refused) = (0, 0);
    for name in [
        "qkeras09/mlp.h5",
        "qkeras09/convolutions.h5",
        "qkeras09/folded_ema.h5",
        "qkeras09/activations.h5",
        "qkeras09/adaptive.h5",
        "qkeras3/folded_ema.h5",
        "larq/images.h5",
        "larq/dorefa_weights.h5",
        "pruned/model.h5",
        "course/image.h5",
    ] {
        let bytes = read(name);
        let whole = architecture(&bytes);
        let mut all = Vec::new();
        places(&whole, "", &mut all);
        for number in 0..150 {
            let mut mutant = whole.clone();
            for _ in 0..1 + random.below(2) {
                let (at, with) = (&all[random.below(all.len())], &odd[random.below(odd.len())]);
                if let Some(place) = mutant.pointer_mut(at).filter(|_| !at.is_empty()) {
                    *place = with.clone();
                }
            }
            let text = mutant.to_string();
            let done = std::panic::catch_unwind(|| {
                try_import(text.clone().into_bytes(), Some(bytes.clone()), &KerasOptions::default())
            });
            match done {
                Ok(Ok(_)) => imported += 1,
                Ok(Err(findings)) => {
                    assert!(findings.has_errors(), "{name} {number}: refused without an error");
                    refused += 1;
                }
                Err(_) => panic!("{name} {number}: the import panicked on {text}"),
            }
        }
    }
    assert!(imported > 100 && refused > 100, "{imported} imported, {refused} refused");
}

#[test]
fn damaged_widths_are_refused_or_imported() {
    let whole = read("hgq/line_channels.keras");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for number in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        let done = std::panic::catch_unwind(|| try_import(bytes, None, &KerasOptions::default()));
        let done = done.unwrap_or_else(|_| panic!("mutant {number}: the import panicked"));
        assert!(done.is_ok() || done.is_err_and(|findings| findings.has_errors()), "mutant {number}");
    }
}
