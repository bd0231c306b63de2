//! Models as QCDQ and QONNX: read again, they have the same codes behind every quantizer and become the same integers.
//!
//! Fixtures of Brevitas, onnxruntime, torch, QKeras and HGQ with their own quantizers, and float models that are quantized
//! here. What other runtimes make of the files is measured by `fixtures/quantize/check_onnx_out.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unfloat::cli::{Head, Import, Quantization};
use unfloat::load::load_graph;
use unfloat::model::{at_stage, integers};
use unfloat::quantization::Request;
use unfloat::samples;
use unfloat_backends::{Manifest, Options, OutDir, registry};
use unfloat_exec::reference::evaluate_all;
use unfloat_ir::{Graph, Op, Stage, Tensor, TensorType, ValueId};
use unfloat_passes::pipeline::RunOptions;

const BOTH: [&str; 2] = ["qcdq", "qonnx"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx_out").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn import(path: &Path) -> Graph {
    at_stage(load_graph(path, &Import::default()).unwrap(), Stage::Folded).unwrap()
}

/// A float model behind the pass `quantize`, and the integers that it becomes.
fn quantized(model: &Path, spec: &str, data: &Path) -> [Graph; 2] {
    let args = Quantization {
        quantize: Some(spec.into()),
        calibrate: vec![data.to_path_buf()],
        ..Quantization::default()
    };
    let request = Request::of(&args).unwrap().unwrap();
    let done = request.apply_with(import(model), &RunOptions::default(), Head::Scores).unwrap();
    [done.stepwise, done.graph]
}

/// Emits in a dialect and imports again.
fn again(graph: &Graph, dialect: &str, dir: &Path) -> Graph {
    let backend = registry::backend(dialect).unwrap();
    let mut out = OutDir::new();
    backend.emit(graph, &Options::defaults(backend.info()), &mut out).unwrap_or_else(|e| panic!("{e}"));
    std::fs::create_dir_all(dir).unwrap();
    let dir = dir.join(dialect);
    out.write_to(&dir, Manifest::new(graph), true).unwrap();
    import(&dir.join(dialect).join(format!("{}.onnx", graph.name)))
}

/// Up to `count` samples of an archive.
fn inputs(graph: &Graph, data: &Path, count: usize) -> Vec<Vec<Tensor>> {
    let types = samples::input_types(graph);
    let batch = samples::read(&[data.to_path_buf()], "input", &types).unwrap();
    let types: Vec<&TensorType> = types.iter().map(|(_, ty)| ty).collect();
    (0..batch.count.min(count)).map(|s| batch.sample(&types, s)).collect()
}

/// The codes behind each `dequantize` of computed values, by its name; an output's own counts as that of its value.
fn codes(graph: &Graph) -> BTreeMap<String, ValueId> {
    let shown = graph.outputs().iter().map(|o| (o.value, o.name.clone())).collect::<BTreeMap<_, _>>();
    let made = graph.live_nodes().filter(|(_, n)| matches!(n.op, Op::Dequantize(_)));
    let computed = made.filter(|(_, n)| graph.const_of(n.inputs[0]).is_none());
    computed
        .map(|(_, n)| {
            let own = || graph.value(n.output).name.clone();
            (shown.get(&n.output).cloned().unwrap_or_else(own), n.inputs[0])
        })
        .collect()
}

/// The elements of a tensor in the order of another layout.
fn ordered(tensor: &Tensor, like: &Tensor) -> Tensor {
    match tensor.ty.layout.permutation_to(&like.ty.layout) {
        Some(perm) => tensor.transposed(&perm),
        None => tensor.clone(),
    }
}

fn equal(what: &str, a: &Tensor, b: &Tensor) {
    let b = ordered(b, a);
    assert_eq!(a.len(), b.len(), "{what}");
    for i in 0..a.len() {
        let same = match (a.as_f32(), b.as_f32()) {
            (Some(x), Some(y)) => x[i].to_bits() == y[i].to_bits(),
            _ => a.data.code(i).is_some() && a.data.code(i) == b.data.code(i),
        };
        assert!(same, "{what}: element {i} of {} and {}", a.ty, b.ty);
    }
}

/// Compares a fake-quantized graph with what was emitted of it: every code, every output, and then every value of the
/// integers that both become under one name. Returns how many quantizers and how many such values there are.
fn same(what: &str, source: &Graph, whole: &Graph, again: &Graph, samples: &[Vec<Tensor>]) -> (usize, usize) {
    let (own, theirs) = (codes(source), codes(again));
    let names = |c: &BTreeMap<String, ValueId>| c.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&own), names(&theirs), "{what}: the quantizers");
    let integers = integers(again.clone()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut compared = 0;
    for sample in samples {
        let inputs = |graph: &Graph| -> Vec<Tensor> {
            let typed = sample.iter().zip(graph.inputs());
            typed.map(|(t, &v)| Tensor { ty: graph.ty(v).clone(), data: t.data.clone() }).collect()
        };
        let a = evaluate_all(source, sample).unwrap();
        let b = evaluate_all(again, &inputs(again)).unwrap();
        for (name, value) in &own {
            let (x, y) = (a.get(*value).unwrap(), b.get(theirs[name]).unwrap());
            equal(&format!("{what}: codes of `{name}`"), x, y);
        }
        for (x, y) in source.outputs().iter().zip(again.outputs()) {
            equal(&format!("{what}: `{}`", x.name), a.get(x.value).unwrap(), b.get(y.value).unwrap());
        }
        let a = evaluate_all(whole, sample).unwrap();
        let b = evaluate_all(&integers, &inputs(&integers)).unwrap();
        let named: BTreeMap<&str, ValueId> =
            integers.live_nodes().map(|(_, n)| (integers.value(n.output).name.as_str(), n.output)).collect();
        for (_, node) in whole.live_nodes() {
            let name = whole.value(node.output).name.as_str();
            // Ports are compared below: their names move to the last quantizer. `v` is the name of what has none.
            let own = name == "v" || name.starts_with("v.") || whole.outputs().iter().any(|o| o.name == name);
            if let Some(&twin) = named.get(name).filter(|_| !own) {
                equal(
                    &format!("{what}: integers `{name}`"),
                    a.get(node.output).unwrap(),
                    b.get(twin).unwrap(),
                );
                compared += 1;
            }
        }
        for (x, y) in whole.outputs().iter().zip(integers.outputs()) {
            equal(
                &format!("{what}: integers of `{}`", x.name),
                a.get(x.value).unwrap(),
                b.get(y.value).unwrap(),
            );
        }
    }
    (own.len(), compared)
}

/// Float models that are quantized here: as many quantizers as the recipe has, in both dialects.
#[test]
fn quantized_models_come_back() {
    let dir = scratch("quantized");
    let all = [
        ("quantize/fashion_bn.onnx", "quantize/fashion_bn.calibration.npz", "int8", 5),
        ("quantize/fashion_bn.onnx", "quantize/fashion_bn.calibration.npz", "w4a8", 5),
        ("quantize/mlp.keras", "quantize/mlp.io.npz", "int8", 6),
        ("quantize/mlp.keras", "quantize/mlp.io.npz", "fixed<16,6>", 6),
        ("quantize/mlp.keras", "quantize/mlp.io.npz", "fixed<18,6>", 6),
        ("onnx/torch/cnn_dynamo_20.onnx", "onnx/torch/cnn_dynamo_20.io.npz", "int8", 3),
        ("onnx/tf2onnx/cnn_keras3_15.onnx", "onnx/tf2onnx/cnn_keras3_15.io.npz", "w4a8", 3),
    ];
    for (i, (model, data, spec, least)) in all.into_iter().enumerate() {
        let (model, data) = (fixture(model), fixture(data));
        let [source, whole] = quantized(&model, spec, &data);
        let samples = inputs(&source, &data, 3);
        for dialect in BOTH {
            // Codes of 18 bits are QONNX's alone.
            if spec == "fixed<18,6>" && dialect == "qcdq" {
                continue;
            }
            let what = format!("{} {spec} {dialect}", model.display());
            let back = again(&source, dialect, &dir.join(i.to_string()));
            let (found, layers) = same(&what, &source, &whole, &back, &samples);
            assert!(found >= least && layers >= samples.len(), "{what}: {found} quantizers, {layers} values");
        }
    }
}

/// Models that came with quantizers. The dialects of each are those that have what it has.
#[test]
fn models_with_quantizers_come_back() {
    let dir = scratch("own");
    let all: [(&str, &[&str]); 17] = [
        ("onnx/brevitas/residual_qcdq.onnx", &BOTH),
        ("onnx/brevitas/residual_qonnx.onnx", &BOTH),
        ("onnx/brevitas/eight_bit_qcdq.onnx", &BOTH),
        ("onnx/brevitas/eight_bit_qonnx_dynamo.onnx", &BOTH),
        ("onnx/brevitas/two_bit_qcdq_dynamo.onnx", &BOTH),
        ("onnx/brevitas/four_bit_qcdq.onnx", &["qcdq"]),
        ("onnx/brevitas/four_bit_qonnx.onnx", &["qonnx"]),
        ("onnx/brevitas/bipolar_qonnx.onnx", &["qonnx"]),
        ("onnx/exotic/rounding_modes.onnx", &["qonnx"]),
        ("onnx/exotic/activations_per_channel.onnx", &["qcdq"]),
        ("onnx/onnxruntime/branches_qdq_per_channel.onnx", &["qcdq"]),
        ("onnx/onnxruntime/mlp_qdq_16.onnx", &["qcdq"]),
        ("keras_quant/qkeras3/pools.keras", &BOTH),
        ("keras_quant/qkeras3/folded_batch.h5", &BOTH),
        ("keras_quant/qkeras09/folded_ema.h5", &BOTH),
        ("keras_quant/qkeras3/transposed.keras", &BOTH),
        ("keras_quant/larq/other_ranks.h5", &["qonnx"]),
    ];
    let mut found = (0, 0);
    for (model, dialects) in all {
        let path = fixture(model);
        let source = import(&path);
        let whole = integers(source.clone()).unwrap();
        let samples = inputs(&source, &path.with_extension("io.npz"), 4);
        for dialect in dialects {
            let back = again(&source, dialect, &dir.join(model.replace('/', "_")));
            let (quantizers, layers) = same(&format!("{model} {dialect}"), &source, &whole, &back, &samples);
            found = (found.0 + quantizers, found.1 + layers);
        }
    }
    assert!(found.0 > 60 && found.1 > 200, "only {found:?} quantizers and layers were compared");
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `--check` imports what was emitted; `run` and `verify` take the directory; the same call writes the same bytes.
#[test]
fn a_user_converts_checks_and_runs() {
    let dir = scratch("user");
    let text = |p: &Path| p.to_str().unwrap().to_string();
    let (model, data) = (text(&fixture("quantize/mlp.keras")), text(&fixture("quantize/mlp.io.npz")));
    let emit = |name: &str, more: &[&str]| {
        let out = text(&dir.join(name));
        let args = ["convert", &model, "--quantize", "w4a8", "--calibrate", &data, "--emit", "qcdq,qonnx"];
        (unfloat(&[&args[..], &["-o", &out], more].concat()), out)
    };
    let (done, out) = emit("a", &["--check", &data, "--tolerance", "0"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stderr(&done);
    for dialect in BOTH {
        assert!(said.contains(&format!("emitted {dialect} and native executor")), "{said}");
    }
    let read = |dir: &str, file: &str| std::fs::read(Path::new(dir).join(file)).unwrap();
    let (done, second) = emit("b", &[]);
    assert!(done.status.success(), "{}", stderr(&done));
    for file in ["qcdq/mlp.onnx", "qonnx/mlp.onnx"] {
        assert_eq!(read(&out, file), read(&second, file), "{file}");
    }
    let quantize = ["--quantize", "w4a8", "--calibrate", &data, "--input", &data];
    let results = [text(&dir.join("y.npy")), text(&dir.join("z.npy"))];
    let done = unfloat(&["run", &out, "--input", &data, "--output", &results[0]]);
    assert!(done.status.success(), "{}", stderr(&done));
    let done = unfloat(&[&["run", &model][..], &quantize, &["--output", &results[1]]].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(std::fs::read(&results[0]).unwrap(), std::fs::read(&results[1]).unwrap());
    let done = unfloat(&[&["verify", &model, &out, "--tolerance", "0"][..], &quantize[..4]].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    let (done, out) = emit("classes", &["--head", "class", "--check", "--tolerance", "0"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let classes = import(&Path::new(&out).join("qcdq/mlp.onnx"));
    assert_eq!(classes.ty(classes.outputs()[0].value).to_string(), "i64[]");
}

/// What no dialect says is refused before anything is written, each layer with its own reason.
#[test]
fn a_user_is_told_all_that_cannot_be_said() {
    let dir = scratch("refused");
    let out = dir.join("out");
    let model = fixture("keras_quant/qkeras3/activations.keras");
    let done = unfloat(&["convert", model.to_str().unwrap(), "--emit", "qcdq", "-o", out.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(2), "{}", stderr(&done));
    let said = stderr(&done);
    for text in
        ["bipolar", "zero point", "`threshold` computes on integers", "activations.keras: config.json"]
    {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert!(!said.contains("panicked") && !out.exists());
}
