//! Every Keras file with quantized layers gives the outputs of the library that wrote it, through the reference
//! evaluator and, after the passes of an import, through the executor; its quantizers arrive as typed values.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unfloat_exec::plan::{Plan, PlanOptions};
use unfloat_exec::reference::evaluate;
use unfloat_frontends::keras::{Imported, KerasOptions, LarqWeights, LayerMap, ModelFile, import};
use unfloat_ir::{Diagnostics, Graph, Op, Tensor};
use unfloat_npy::Npz;
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};

/// Of an output of a size near 1; others are measured by their own greatest element.
const TOLERANCE: f32 = 1e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras_quant")
}

fn file(name: &str) -> ModelFile {
    let path = folder().join(name);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    ModelFile { label: path.file_name().expect("a file name").to_string_lossy().into_owned(), bytes }
}

/// All fixtures, in the order of their names.
fn fixtures() -> Vec<Value> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder().join("index"))
        .expect("index")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    let read = |path: &PathBuf| -> Vec<Value> {
        serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("valid JSON")
    };
    names.iter().flat_map(read).collect()
}

fn options(fixture: &Value) -> KerasOptions {
    let larq_weights = match fixture["larq_weights"].as_str() {
        Some("quantized") => Some(LarqWeights::Quantized),
        Some("latent") => Some(LarqWeights::Latent),
        _ => None,
    };
    let layer_map = fixture["layer_map"].as_str().map_or_else(LayerMap::default, |name| {
        let text = fs::read_to_string(folder().join(name)).expect("a layer map");
        LayerMap::parse(name, &text).unwrap_or_else(|e| panic!("{name}: {e}"))
    });
    KerasOptions { larq_weights, layer_map, ..KerasOptions::default() }
}

fn import_fixture(fixture: &Value) -> Result<Imported, Diagnostics> {
    let weights = fixture["weights"].as_str().map(file);
    import(file(fixture["model"].as_str().expect("a model")), weights, &options(fixture))
}

/// The arrays `{prefix}_0`, `{prefix}_1`, … of an archive.
fn arrays(npz: &mut Npz<'_>, prefix: &str) -> Vec<Tensor> {
    (0..).map_while(|i| npz.get(&format!("{prefix}_{i}")).expect("readable")).collect()
}

/// What is wrong with one output of one sample.
fn compare(name: &str, found: &[f32], wanted: &[f32]) -> Option<String> {
    if found.len() != wanted.len() {
        return Some(format!("{name} has {} elements, expected {}", found.len(), wanted.len()));
    }
    let size = wanted.iter().fold(1f32, |m, x| m.max(x.abs()));
    let apart = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst =
        found.iter().zip(wanted).map(apart).fold(0f32, |m, d| if d > m || d.is_nan() { d } else { m });
    if worst > TOLERANCE * size || worst.is_nan() {
        let count = found.iter().zip(wanted).filter(|pair| apart(*pair) > TOLERANCE * size).count();
        return Some(format!("{name} is off by {worst:e} of {size:e}, {count} of {} elements", found.len()));
    }
    // Quantized outputs are often equal; any of the greatest is the class.
    let class = found.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    let greatest = wanted.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let same = class.and_then(|i| wanted.get(i)).is_some_and(|y| *y >= greatest - 1e-6 * size);
    (!same).then(|| format!("{name} is of another class"))
}

fn check(fixture: &Value) -> Vec<String> {
    let graph = match import_fixture(fixture) {
        Ok(imported) => imported.graph,
        Err(problems) => return vec![problems.to_string()],
    };
    let bytes = fs::read(folder().join(fixture["io"].as_str().expect("io"))).expect("io");
    let mut npz = Npz::open(&bytes).expect("npz");
    let (inputs, outputs) = (arrays(&mut npz, "input"), arrays(&mut npz, "output"));
    assert_eq!((inputs.len(), outputs.len()), (graph.inputs().len(), graph.outputs().len()));
    let mut passed = graph.clone();
    let calls = pipeline("import").expect("the pipeline");
    let ran = run_pipeline(&mut passed, &calls, &RunOptions::default(), &mut Diagnostics::default());
    if let Err(problems) = ran {
        return vec![format!("the passes refuse it: {problems}")];
    }
    let samples = inputs[0].ty.shape[0];
    let mut wrong = Vec::new();
    for index in 0..samples {
        let part = |batch: &Tensor| {
            let values = batch.as_f32().expect("floats");
            let size = values.len() / samples;
            values[index * size..(index + 1) * size].to_vec()
        };
        for (how, graph) in [("imported", &graph), ("after the passes", &passed)] {
            let given: Vec<Tensor> = inputs
                .iter()
                .zip(graph.inputs())
                .map(|(batch, id)| {
                    let ty = graph.ty(*id);
                    Tensor::f32(ty.shape.clone(), ty.layout, part(batch))
                })
                .collect();
            let found = evaluate(graph, &given).unwrap_or_else(|e| panic!("{}: {e}", fixture["model"]));
            for ((found, output), batch) in found.iter().zip(graph.outputs()).zip(&outputs) {
                let name = format!("sample {index} of {}, {how}", output.name);
                wrong.extend(compare(&name, found.as_f32().expect("floats"), &part(batch)));
            }
        }
    }
    wrong.extend(check_plan(&passed, &inputs, &outputs, samples));
    wrong
}

/// The executor runs graphs that are float throughout; the evaluator all others, which `check` has done.
fn check_plan(graph: &Graph, inputs: &[Tensor], outputs: &[Tensor], samples: usize) -> Vec<String> {
    if !Plan::takes(graph) {
        return Vec::new();
    }
    let plan = Plan::new(graph, &PlanOptions::default()).expect("a plan");
    let given: Vec<&[f32]> = inputs.iter().map(|batch| batch.as_f32().expect("floats")).collect();
    let found = plan.run(&given, samples, 1).expect("a result");
    let mut wrong = Vec::new();
    for (i, (found, wanted)) in found.iter().zip(outputs).enumerate() {
        let wanted = wanted.as_f32().expect("floats");
        let size = wanted.len() / samples;
        for (index, (found, wanted)) in found.chunks(size).zip(wanted.chunks(size)).enumerate() {
            wrong.extend(compare(&format!("sample {index} of output {i} of the plan"), found, wanted));
        }
    }
    wrong
}

#[test]
fn every_fixture_gives_the_outputs_of_its_library() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 45, "the index lists {} fixtures", fixtures.len());
    let mut failures = Vec::new();
    for fixture in &fixtures {
        let wrong = check(fixture);
        if let Some(first) = wrong.first() {
            failures.push(format!("{}: {} problems: {first}", fixture["model"], wrong.len()));
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), fixtures.len(), failures.join("\n"));
}

/// The number of nodes of a kind, by name.
fn count(graph: &Graph, name: &str) -> usize {
    graph.live_nodes().filter(|(_, node)| unfloat_ir::OpDef::name(&node.op) == name).count()
}

#[test]
fn quantizers_arrive_as_typed_values() {
    let fixture = fixtures().into_iter().find(|f| f["model"] == "qkeras09/mlp.h5").expect("the fixture");
    let graph = import_fixture(&fixture).expect("an import").graph;
    // d0 to d6 have quantized kernels; d7 and its bias are floats, as are the biases of d2, d5, d6.
    for (_, node) in graph.live_nodes() {
        if let Op::Dense(_) = node.op {
            let kernel = graph.producer(node.inputs[1]);
            let typed = kernel.is_some_and(|(_, node)| matches!(node.op, Op::Dequantize(_)));
            assert_eq!(typed, !node.origin.layer.starts_with("d7"), "{}", node.origin.layer);
        }
    }
    assert!(count(&graph, "quantize") >= 4, "activations are quantizers");
    assert!(count(&graph, "dequantize") > count(&graph, "quantize"), "so are weights");
    let mut passed = graph.clone();
    let calls = pipeline("import").expect("the pipeline");
    run_pipeline(&mut passed, &calls, &RunOptions::default(), &mut Diagnostics::default())
        .expect("the passes");
    assert_eq!(count(&passed, "dequantize"), count(&graph, "dequantize"), "no pass makes floats of them");
}

/// A model of one activation on a vector of `n`.
fn activation_alone(class: &str, quantizer: &Value, version: &str, n: usize) -> Vec<u8> {
    let input = serde_json::json!({"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [null, n]}});
    let layer = serde_json::json!({"class_name": class, "config": {"name": "q", "activation": quantizer}});
    let model = serde_json::json!({"class_name": "Sequential", "keras_version": version, "backend": "tensorflow",
        "config": {"name": "s", "layers": [input, layer]}});
    model.to_string().into_bytes()
}

/// The nodes that an activation becomes, on the library's own table: as `quant`'s unit tests do for its numbers.
#[test]
fn the_nodes_of_every_activation_give_the_library_s_own_table() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (table, class, version) in [
        ("qkeras09", "QActivation", "2.15.0"),
        ("qkeras3", "QActivation", "3.15.1"),
        ("larq", "Activation", "2.15.0"),
    ] {
        let at = |ending: &str| folder().join(format!("tables/{table}.{ending}"));
        let text = fs::read_to_string(at("json")).expect("a table");
        let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let bytes = fs::read(at("npz")).expect("arrays");
        let mut npz = Npz::open(&bytes).expect("npz");
        for entry in entries.iter().filter(|entry| entry["use"] == "activation") {
            let mut array =
                |key: &str| npz.get(entry[key].as_str().expect("a name")).expect("readable").expect("there");
            let (x, y) = (array("x"), array("y"));
            let (x, wanted) = (x.as_f32().expect("floats"), y.as_f32().expect("floats"));
            let bytes = activation_alone(class, &entry["quantizer"], version, x.len());
            let model = ModelFile { label: "q.json".to_owned(), bytes };
            let graph = match import(model, None, &KerasOptions::default()) {
                Ok(imported) => imported.graph,
                Err(problems) => {
                    wrong.push(format!("{table} {}: {problems}", entry["quantizer"]));
                    continue;
                }
            };
            let ty = graph.ty(graph.inputs()[0]);
            let given = Tensor::f32(ty.shape.clone(), ty.layout, x.to_vec());
            let found = evaluate(&graph, &[given]).unwrap_or_else(|e| panic!("{}: {e}", entry["quantizer"]));
            let pairs = x.iter().zip(found[0].as_f32().expect("floats")).zip(wanted);
            let off = pairs
                .filter(|((x, found), wanted)| {
                    let ulp = f32::EPSILON * x.abs().max(wanted.abs());
                    (*found - *wanted).abs() > 2.0 * ulp.max(f32::MIN_POSITIVE)
                })
                .count();
            // Where a logarithm finds the step, the library's own is off by a unit at numbers next to it.
            let may = usize::from(entry["quantizer"].to_string().contains("po2")) * 2;
            if off > may {
                wrong.push(format!("{table} {}: {off} of {} differ", entry["quantizer"], x.len()));
            }
            count += 1;
        }
    }
    assert!(count > 130 && wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn quantizers_of_channels_first_maps_go_through_the_passes() {
    let pool = |activation: Value| {
        serde_json::json!({"class_name": "QAveragePooling2D", "config": {"name": format!("p{activation}"),
            "pool_size": [1, 1], "data_format": "channels_first", "activation": activation}})
    };
    let alphas = serde_json::json!({"class_name": "quantized_bits", "config": {"bits": 4, "integer": 1,
        "alpha": [1.0, 2.0, 0.5, 0.25, 3.0]}});
    let input = serde_json::json!({"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [null, 3, 4, 5]}});
    let all = [serde_json::json!("quantized_po2(4)"), serde_json::json!("quantized_ulaw(4)"), alphas];
    let layers: Vec<Value> = std::iter::once(input).chain(all.map(pool)).collect();
    let model = serde_json::json!({"class_name": "Sequential", "keras_version": "2.15.0", "backend": "tensorflow",
        "config": {"name": "s", "layers": layers}});
    let file = ModelFile { label: "m.json".to_owned(), bytes: model.to_string().into_bytes() };
    let graph = import(file, None, &KerasOptions::default()).unwrap_or_else(|e| panic!("{e}")).graph;
    let mut passed = graph.clone();
    let calls = pipeline("import").expect("the pipeline");
    run_pipeline(&mut passed, &calls, &RunOptions::default(), &mut Diagnostics::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let x: Vec<f32> = (0..60u8).map(|i| (f32::from(i) * 0.37).sin() * 2.5).collect();
    let run = |graph: &Graph| {
        let ty = graph.ty(graph.inputs()[0]);
        evaluate(graph, &[Tensor::f32(ty.shape.clone(), ty.layout, x.clone())])
            .unwrap_or_else(|e| panic!("{e}"))
    };
    let (before, after) = (run(&graph), run(&passed));
    assert_eq!(before[0].as_f32(), after[0].as_f32());
    let distinct: std::collections::BTreeSet<u32> =
        before[0].as_f32().expect("floats").iter().map(|y| y.to_bits()).collect();
    assert!(distinct.len() > 8, "{distinct:?}");
}
