//! Binary networks of PyTorch, full of ties, with a format for their inputs: integers from there to the last layer, torch's
//! outputs and predictions, and the executor's bits are the reference evaluator's in every layer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use unfloat::cli::{Head, Import, Quantization, SignZero};
use unfloat::load::load_graph;
use unfloat::model::at_stage;
use unfloat::quantization::Request;
use unfloat_exec::kernels::Isa;
use unfloat_exec::reference::evaluate;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_frontends::pytorch::arch::{ArchitectureFile, assemble};
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};
use unfloat_ir::{Data, Diagnostics, ElemType, Graph, Op, OpDef, Stage, Tensor};
use unfloat_npy::Npz;
use unfloat_passes::audit::{Finding, Kind, audit};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};

/// Inputs of the fixtures are multiples of 1/64 below 128.
const FORMAT: &str = "fixed<16,8>";

/// All networks with binary layers. Those of the second list have integers from the input to the last layer.
const MIXED: [&str; 8] = [
    "arch/dense_784",
    "arch/one_channel_residual",
    "arch/residual",
    "nets/bin_784",
    "nets/bin_branches",
    "nets/bin_latent_zeros",
    "nets/bin_three_channels",
    "nets/int8_sign",
];
const WHOLE: [&str; 6] = [
    "arch/fixed_point_torch_sign",
    "arch/fixed_point_from_zero",
    "arch/vgg",
    "nets/bin_dense",
    "nets/bin_one_channel",
    "nets/vgg_small",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch")
}

fn folded(name: &str) -> Graph {
    let bytes = |end: &str| std::fs::read(folder().join(format!("{name}.{end}"))).unwrap();
    let file = CheckpointFile::from_bytes(format!("{name}.npz"), bytes("npz"));
    let state = read_state(file, &StateOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")).state;
    let arch = ArchitectureFile { label: format!("{name}.toml"), bytes: bytes("toml") };
    let mut graph = assemble(&state, &arch, "net").unwrap_or_else(|e| panic!("{name}: {e}")).graph;
    let calls = pipeline("import").unwrap();
    run_pipeline(&mut graph, &calls, &RunOptions::default(), &mut Diagnostics::new()).unwrap();
    graph
}

fn lowered(name: &str, head: Head) -> (Graph, Diagnostics) {
    lowered_with(name, head, SignZero::Exact)
}

fn lowered_with(name: &str, head: Head, sign_zero: SignZero) -> (Graph, Diagnostics) {
    lowered_graph(folded(name), head, sign_zero)
}

fn lowered_graph(graph: Graph, head: Head, sign_zero: SignZero) -> (Graph, Diagnostics) {
    let args = Quantization { input_format: Some(FORMAT.to_string()), sign_zero, ..Quantization::default() };
    let request = Request::of(&args).unwrap().unwrap();
    let done = request.apply_with(graph, &RunOptions::default(), head).unwrap_or_else(|e| panic!("{e}"));
    (done.graph, done.warnings)
}

/// Inputs and outputs of torch, one after the other.
struct Io {
    count: usize,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl Io {
    fn of(name: &str) -> Io {
        let bytes = std::fs::read(folder().join(format!("{name}.io.npz"))).unwrap();
        let mut npz = Npz::open(&bytes).unwrap();
        let mut get = |key: &str| npz.get(key).unwrap().unwrap();
        let (x, y) = (get("input_0"), get("output_0"));
        let inputs = x.as_f32().unwrap().to_vec();
        assert!(inputs.iter().all(|v| (v * 256.0).fract() == 0.0 && v.abs() < 127.0), "{name}");
        Io { count: x.shape()[0], inputs, outputs: y.as_f32().unwrap().to_vec() }
    }
    fn samples(&self, graph: &Graph) -> Vec<Tensor> {
        let ty = graph.ty(graph.inputs()[0]);
        let parts = self.inputs.chunks(self.inputs.len() / self.count);
        parts.map(|part| Tensor { ty: ty.clone(), data: Data::F32(part.to_vec()) }).collect()
    }
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.outputs.chunks(self.outputs.len() / self.count)
    }
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap()
}

/// What hides in a graph, but for the third value of zero padding, with which sums are exact.
fn hidden(graph: &Graph) -> Vec<Finding> {
    audit(graph).into_iter().filter(|f| f.kind != Kind::Padding).collect()
}

#[test]
fn outputs_are_torchs_with_integers_inside() {
    for name in MIXED.iter().chain(&WHOLE) {
        let (graph, io) = (lowered(name, Head::Scores).0, Io::of(name));
        for (x, want) in io.samples(&graph).into_iter().zip(io.rows()) {
            let got = evaluate(&graph, &[x]).unwrap();
            let got = got[0].as_f32().unwrap();
            let scale = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
            let apart = got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(apart <= 1e-5 * scale, "{name} differs by {apart}: {got:?} and {want:?}");
            assert_eq!(argmax(got), argmax(want), "{name}");
        }
    }
}

#[test]
fn classes_are_torchs_without_a_float_behind_the_input() {
    for name in WHOLE {
        let (graph, io) = (lowered(name, Head::Class).0, Io::of(name));
        assert_eq!(hidden(&graph), [], "{name}");
        for (x, want) in io.samples(&graph).into_iter().zip(io.rows()) {
            let class = evaluate(&graph, &[x]).unwrap()[0].data.code(0);
            assert_eq!(class, Some(argmax(want) as i64), "{name}");
        }
    }
}

/// The graph with every integer as an output.
fn with_all_outputs(graph: &Graph) -> Graph {
    let mut shown = graph.clone();
    let nodes: Vec<_> = graph.live_nodes().map(|(_, n)| n.output).collect();
    for value in nodes.into_iter().filter(|&v| !graph.ty(v).elem.is_float() && !graph.is_output(v)) {
        shown.add_output(&graph.value(value).name, value);
    }
    shown
}

#[test]
fn the_executor_has_the_references_bits_in_every_layer() {
    let all = WHOLE.iter().flat_map(|name| [(*name, SignZero::Exact), (*name, SignZero::Plus)]);
    for (name, sign_zero) in all {
        let (graph, io) = (lowered_with(name, Head::Class, sign_zero).0, Io::of(name));
        for graph in [with_all_outputs(&graph), graph] {
            let samples = io.samples(&graph);
            let want: Vec<Vec<_>> =
                samples.iter().map(|x| evaluate(&graph, std::slice::from_ref(x)).unwrap()).collect();
            for isa in Isa::available() {
                let plan = Plan::new(&graph, &PlanOptions { isa, ..PlanOptions::default() }).unwrap();
                let got = plan.run_data(&[&Data::F32(io.inputs.clone())], io.count, 2).unwrap();
                assert_eq!(got.len(), graph.outputs().len());
                for (o, got) in got.iter().enumerate() {
                    let codes = |data: &Data| (0..data.len()).map(|i| data.code(i)).collect::<Vec<_>>();
                    let want: Vec<_> = want.iter().flat_map(|row| codes(&row[o].data)).collect();
                    assert!(want.iter().all(Option::is_some));
                    assert_eq!(codes(got), want, "{name} on {}: `{}`", isa.name(), graph.outputs()[o].name);
                }
            }
        }
    }
}

/// Layers of −1 and +1 have rising thresholds straight behind their sums, and maxima of bits behind those.
#[test]
fn layers_of_one_bit_have_the_form_that_backends_know() {
    let mut layers = 0;
    for name in WHOLE {
        let graph = lowered_with(name, Head::Class, SignZero::Plus).0;
        let elem = |v| &graph.ty(v).elem;
        for (_, node) in graph.live_nodes().filter(|(_, n)| *elem(n.output) == ElemType::Bipolar) {
            let maker = |v| graph.producer(v).map(|(_, n)| &n.op);
            match &node.op {
                Op::Threshold(t) => {
                    assert_eq!((t.scale, t.bias), (2, -1), "{name}");
                    let sums = maker(node.inputs[0]);
                    // A sign of the input is of its codes.
                    let codes = matches!(sums, Some(Op::Quantize(_) | Op::Transpose(_) | Op::Reshape(_)));
                    assert!(codes || matches!(sums, Some(Op::Conv(_) | Op::Dense(_))), "{name}: {sums:?}");
                    layers += usize::from(!codes);
                }
                Op::MaxPool(_) | Op::Transpose(_) | Op::Reshape(_) => {
                    assert_eq!(*elem(node.inputs[0]), ElemType::Bipolar, "{name}");
                }
                Op::Quantize(_) | Op::Lookup(_) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert!(layers >= 20, "{layers}");
}

#[test]
fn channels_whose_sign_can_be_0_are_named() {
    let (graph, warnings) = lowered("arch/vgg", Head::Class);
    let text = warnings.to_string();
    assert!(
        text.contains("features.10") && text.contains("the sign can meet 0 in 1 of 24 channels (12)"),
        "{text}"
    );
    // What rounding could turn is compared by an evaluator that rounds once.
    assert!(!text.contains("amplifies rounding"), "{text}");
    // Layers that are not named are bipolar.
    let codes = |name: &str| graph.values().find(|(_, v)| v.name == name).map(|(_, v)| v.ty.elem.clone());
    assert_eq!(codes("features.10.v.1.codes"), Some(ElemType::Ternary));
    assert_eq!(codes("features.7.v.1.codes.turned"), Some(ElemType::Bipolar));
}

/// `Sign`, and float weights of −1 and +1: what torch's exporter makes of a binary network.
#[test]
fn binary_networks_of_onnx_are_one_bit() {
    let bytes = std::fs::read(folder().join("onnx/binary.io.npz")).unwrap();
    let mut npz = Npz::open(&bytes).unwrap();
    let (x, y) = (npz.get("input_0").unwrap().unwrap(), npz.get("output_0").unwrap().unwrap());
    let inputs = (0..x.data.len()).map(|i| x.data.code(i).unwrap() as f32 / 32.0).collect();
    let io = Io { count: x.shape()[0], inputs, outputs: y.as_f32().unwrap().to_vec() };
    let graph = load_graph(&folder().join("onnx/binary.onnx"), &Import::default()).unwrap();
    let graph = at_stage(graph, Stage::Folded).unwrap();
    let (graph, warnings) = lowered_graph(graph, Head::Class, SignZero::Exact);
    assert_eq!(hidden(&graph), []);
    assert!(!warnings.to_string().contains("the sign can meet 0"), "{warnings}");
    let bits = |op: &str| {
        let of_op = graph.live_nodes().filter(|(_, n)| n.op.name() == op);
        of_op.filter(|(_, n)| graph.ty(n.output).elem == ElemType::Bipolar).count()
    };
    assert_eq!((bits("threshold"), bits("max_pool")), (3, 2));
    for (x, want) in io.samples(&graph).into_iter().zip(io.rows()) {
        assert_eq!(evaluate(&graph, &[x]).unwrap()[0].data.code(0), Some(argmax(want) as i64));
    }
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat"))
        .current_dir(folder().join("arch"))
        .args(args)
        .output()
        .unwrap()
}

/// The C++ of whole networks on torch's own inputs, compiled and run, gives the executor's classes.
#[test]
fn emitted_cpp_gives_the_executors_classes() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binary_cpp");
    let dir = out.to_str().unwrap();
    for (name, sign) in [("vgg", "plus"), ("vgg", "exact"), ("../nets/bin_one_channel", "exact")] {
        let [model, arch, io] = ["npz", "toml", "io.npz"].map(|end| format!("{name}.{end}"));
        let _ = std::fs::remove_dir_all(&out);
        let inputs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binary_cpp_inputs.npy");
        let bytes = std::fs::read(folder().join("arch").join(&io)).unwrap();
        let array = Npz::open(&bytes).unwrap().get("input_0").unwrap().unwrap();
        std::fs::write(&inputs, unfloat_npy::write_npy(&array)).unwrap();
        let head = ["--input-format", FORMAT, "--head", "class", "--sign-zero", sign];
        let check = ["-o", dir, "--check", inputs.to_str().unwrap()];
        let done = unfloat(&[&["convert", &model, "--arch", &arch], &head[..], &check[..]].concat());
        let text = String::from_utf8_lossy(&done.stderr).to_string();
        assert!(done.status.success(), "{name}: {text}");
        assert!(text.contains("emitted cpp and native executor differ by at most 0.000e0"), "{name}: {text}");
    }
}

#[test]
fn one_command_makes_integers_of_a_checkpoint() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("binary");
    let _ = std::fs::remove_dir_all(&out);
    let dir = out.to_str().unwrap();
    let model = ["vgg.npz", "--arch", "vgg.toml", "--input-format", FORMAT, "--head", "class"];
    let done = unfloat(&[&["convert"], &model[..], &["-o", dir, "--emit", "uir"]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // What is emitted with quantizers has the same codes when it is read again; plus is QONNX's own convention.
    let onnx =
        ["convert", "../onnx/binary.onnx", "--input-format", FORMAT, "--head", "class", "-o", dir, "--check"];
    for more in [&["--emit", "uir,qcdq,qonnx"][..], &["--emit", "qonnx", "--sign-zero", "plus"]] {
        let done = unfloat(&[&onnx[..], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let plain = unfloat(&[&["audit"], &model[..]].concat());
    let text = String::from_utf8_lossy(&plain.stdout).to_string();
    assert_eq!(plain.status.code() == Some(1), text.contains("zero padding on a map"), "{text}");
    let allowing = ["audit", "--allow-zero-padding"];
    let clean = unfloat(&[&allowing[..], &model[..]].concat());
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    let logits = unfloat(&[&allowing[..], &model[..5], &["--head", "logits"]].concat());
    assert_eq!(logits.status.code(), Some(0), "{}", String::from_utf8_lossy(&logits.stdout));
    // Scores end in a logarithm of floats.
    let scores = unfloat(&[&["audit"], &model[..5]].concat());
    let text = String::from_utf8_lossy(&scores.stdout).to_string();
    assert!(scores.status.code() == Some(1) && text.contains("a softmax in floats"), "{text}");
    let plus = ["--sign-zero", "plus", "--evaluate", "vgg.io.npz", "--json"];
    let done = unfloat(&[&["convert"], &model[..], &["-o", dir, "--emit", "uir"], &plus].concat());
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let cost = &json["certificate"]["quantization"]["cost"];
    let signs = cost["signs"].as_array().unwrap();
    assert_eq!(signs.len(), 6, "{signs:#?}");
    // The fixture has exact zeros in front of its signs, and weights that are 0.
    let zeros = |s: &serde_json::Value| s["zeros"].as_u64().unwrap();
    assert!(zeros(&signs[0]) > 0 && signs.iter().all(|s| s["changed"].as_u64().unwrap() >= zeros(s)));
    assert!(cost["same_class"].as_u64().unwrap() < 24);
    // Without a format of its input it stays floats, which C++ takes, and says so.
    let floats = unfloat(&["convert", "vgg.npz", "--arch", "vgg.toml", "-o", dir]);
    let text = String::from_utf8_lossy(&floats.stderr).to_string();
    assert!(floats.status.success() && text.contains("give the input a format"), "{text}");
    let wrong = unfloat(&["convert", "vgg.npz", "--arch", "vgg.toml", "--input-format", "eight", "-o", dir]);
    let text = String::from_utf8_lossy(&wrong.stderr).to_string();
    assert!(wrong.status.code() == Some(2) && text.contains("--input-format: `eight`"), "{text}");
}
