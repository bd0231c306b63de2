//! PyTorch networks put together from a state dict and an architecture give torch's own outputs, and its own predictions
//! where sums lie exactly on a threshold: as imported, after the passes, in the fast executor and as C++ (every fourth of
//! them, and with `UNFLOAT_SLOW` all).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use unfloat_backends::cpp::Cpp;
use unfloat_backends::process::TempDir;
use unfloat_backends::{Backend, Options, OutDir};
use unfloat_exec::kernels::Isa;
use unfloat_exec::reference::evaluate;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_frontends::pytorch::arch::{ArchitectureFile, assemble};
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};
use unfloat_ir::ops::{BatchNorm, BatchNormFormula};
use unfloat_ir::{Data, Diagnostics, Graph, Op, Patch, Tensor};
use unfloat_npy::Npz;
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch/arch")
}

/// The names of the fixtures: the architectures in both folders, those of `nets` from the other on.
fn names() -> Vec<String> {
    let of = |prefix: &str| -> Vec<String> {
        let files = std::fs::read_dir(folder().join(prefix)).unwrap();
        let files = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        files.filter_map(|f| f.strip_suffix(".toml").map(|name| format!("{prefix}{name}"))).collect()
    };
    let mut names = [of(""), of("../nets/")].concat();
    names.sort();
    assert!(names.len() >= 26, "{names:?}");
    names
}

fn import(name: &str) -> Graph {
    let bytes = |end: &str| std::fs::read(folder().join(format!("{name}.{end}"))).unwrap();
    let file = CheckpointFile::from_bytes(format!("{name}.npz"), bytes("npz"));
    let state = read_state(file, &StateOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")).state;
    let arch = ArchitectureFile { label: format!("{name}.toml"), bytes: bytes("toml") };
    let graph_name = name.rsplit('/').next().unwrap_or(name);
    assemble(&state, &arch, graph_name).unwrap_or_else(|e| panic!("{name}: {e}")).graph
}

fn folded(mut graph: Graph) -> Graph {
    let mut warnings = Diagnostics::new();
    let passes = pipeline("import").unwrap();
    run_pipeline(&mut graph, &passes, &RunOptions::default(), &mut warnings)
        .unwrap_or_else(|e| panic!("{e}"));
    graph
}

/// Inputs and outputs of torch, batch-major.
struct Io {
    count: usize,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

fn io(name: &str) -> Io {
    let bytes = std::fs::read(folder().join(format!("{name}.io.npz"))).unwrap();
    let mut npz = Npz::open(&bytes).unwrap();
    let mut count = 0;
    let mut all = |prefix: &str| -> Vec<Vec<f32>> {
        (0..)
            .map_while(|i| npz.get(&format!("{prefix}_{i}")).unwrap())
            .map(|t| {
                count = t.shape()[0];
                t.as_f32().unwrap().to_vec()
            })
            .collect()
    };
    let (inputs, outputs) = (all("input"), all("output"));
    Io { count, inputs, outputs }
}

fn samples(graph: &Graph, io: &Io) -> Vec<Vec<Tensor>> {
    let one = |s: usize| {
        let part = |(&v, data): (&unfloat_ir::ValueId, &Vec<f32>)| {
            let ty = graph.ty(v).clone();
            let len = ty.shape.num_elements();
            Tensor { data: Data::F32(data[s * len..(s + 1) * len].to_vec()), ty }
        };
        graph.inputs().iter().zip(&io.inputs).map(part).collect()
    };
    (0..io.count).map(one).collect()
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap()
}

/// Checks outputs to 10⁻⁵ of a sample's greatest element (at least 1), and which element is the greatest.
fn check(what: &str, io: &Io, got: &[Vec<f32>]) {
    assert_eq!(got.len(), io.outputs.len(), "{what}");
    for (got, want) in got.iter().zip(&io.outputs) {
        assert_eq!(got.len(), want.len(), "{what}");
        let len = want.len() / io.count;
        for (s, (got, want)) in got.chunks(len).zip(want.chunks(len)).enumerate() {
            let scale = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
            let apart = got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(apart <= 1e-5 * scale, "{what}: sample {s} differs by {apart}: {got:?} and {want:?}");
            assert_eq!(argmax(got), argmax(want), "{what}: sample {s}");
        }
    }
}

fn by_reference(graph: &Graph, io: &Io) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); graph.outputs().len()];
    for sample in samples(graph, io) {
        for (to, tensor) in all.iter_mut().zip(evaluate(graph, &sample).unwrap_or_else(|e| panic!("{e}"))) {
            to.extend_from_slice(tensor.as_f32().unwrap());
        }
    }
    all
}

#[test]
fn every_network_gives_torchs_outputs() {
    for name in names() {
        let (graph, io) = (import(&name), io(&name));
        check(&format!("{name} as imported"), &io, &by_reference(&graph, &io));
        let graph = folded(graph);
        check(&format!("{name} after the passes"), &io, &by_reference(&graph, &io));
    }
}

#[test]
fn the_fast_executor_gives_torchs_outputs() {
    let mut planned = 0;
    for name in names() {
        let (graph, io) = (folded(import(&name)), io(&name));
        if !Plan::takes(&graph) {
            // Activations that are codes are for the reference evaluator.
            assert!(graph.live_nodes().any(|(_, n)| matches!(n.op, Op::Quantize(_))), "{name}");
            continue;
        }
        planned += 1;
        for isa in Isa::available() {
            let plan = Plan::new(&graph, &PlanOptions { isa, ..PlanOptions::default() }).unwrap();
            let inputs: Vec<&[f32]> = io.inputs.iter().map(Vec::as_slice).collect();
            let got = plan.run(&inputs, io.count, 2).unwrap();
            check(&format!("{name} on {}", isa.name()), &io, &got);
        }
    }
    assert!(planned >= 20, "{planned} of {}", names().len());
}

#[test]
fn emitted_cpp_gives_torchs_outputs() {
    // Compiling takes seconds each; with `UNFLOAT_SLOW` all of them are.
    let every = if std::env::var_os("UNFLOAT_SLOW").is_some() { 1 } else { 4 };
    let mut compiled = 0;
    for name in names().into_iter().step_by(every) {
        let (graph, io) = (folded(import(&name)), io(&name));
        if let Err(refused) = Cpp.check(&graph, &Options::defaults(Cpp.info())) {
            // Activations that are codes: said by name and layer.
            let text = refused.to_string();
            let mixed = ["between integers", "among floats, which C++ does not mix"];
            assert!(mixed.iter().any(|part| text.contains(part)), "{name}: {text}");
            continue;
        }
        let mut out = OutDir::new();
        Cpp.emit(&graph, &Options::defaults(Cpp.info()), &mut out).unwrap();
        let dir = TempDir::new().unwrap();
        let manifest = {
            let mut manifest = unfloat_backends::Manifest::new(&graph);
            manifest.backend("cpp", &Options::defaults(Cpp.info()));
            manifest
        };
        out.write_to(dir.path(), manifest, true).unwrap();
        let mut all = vec![Vec::new(); graph.outputs().len()];
        for results in Cpp.replay(dir.path(), &samples(&graph, &io)).unwrap() {
            for (to, tensor) in all.iter_mut().zip(results) {
                to.extend_from_slice(tensor.as_f32().unwrap());
            }
        }
        check(&format!("{name} as C++"), &io, &all);
        compiled += 1;
    }
    assert!(compiled * every >= 16, "{compiled} networks were compiled");
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).current_dir(folder()).args(args).output().unwrap()
}

/// Runs and wants a status; returns what was printed.
fn expect(status: i32, args: &[&str]) -> String {
    let output = unfloat(args);
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    text
}

#[test]
fn the_program_takes_an_architecture() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pytorch_arch");
    let _ = std::fs::remove_dir_all(&out);
    let dir = out.to_str().unwrap();
    let name = "one_channel_residual";
    let (model, arch, io) = (format!("{name}.npz"), format!("{name}.toml"), format!("{name}.io.npz"));
    let done = expect(0, &["convert", &model, "--arch", &arch, "-o", dir, "--check", &io]);
    assert!(done.contains("equal: output"), "{done}");
    expect(0, &["verify", dir, "--input", &io, "--expect", &io]);
    let certificate: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("certificate.json")).unwrap()).unwrap();
    assert_eq!(certificate["source"][0]["file"], model.as_str());
    assert_eq!(certificate["source"][1]["file"], arch.as_str());
    let table = expect(0, &["inspect", &model, "--arch", &arch]);
    assert!(table.contains("block.conv1 (BinarizeConv2d)"), "{table}");
    let cut = out.join("cut.npz");
    let bytes = std::fs::read(folder().join(&model)).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = expect(2, &["inspect", cut.to_str().unwrap(), "--arch", &arch]);
    assert!(damaged.contains("cut.npz") && !damaged.contains("is for checkpoints"), "{damaged}");
    let refused = expect(2, &["convert", &model, "-o", dir]);
    assert!(refused.contains("--arch FILE.toml"), "{refused}");
    let wrong = expect(2, &["inspect", "vgg.npz", "--arch", &arch]);
    assert!(wrong.contains("line 3") && wrong.contains("`conv.weight` is not in vgg.npz"), "{wrong}");
}

/// The exporter's own test, where there is an interpreter with torch: `UNFLOAT_PYTHON` names it.
#[test]
fn the_exporter_passes_its_own_test() {
    let Some(python) = std::env::var_os("UNFLOAT_PYTHON") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/test_unfloat_export.py");
    let has_torch = Command::new(&python).args(["-c", "import torch"]).output().unwrap();
    if !has_torch.status.success() {
        return;
    }
    let done = Command::new(&python).env("OMP_NUM_THREADS", "1").arg(script).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The same graph with each batch normalisation by its definition.
fn by_definition(mut graph: Graph) -> Graph {
    loop {
        let mut patch = Patch::new(&graph);
        let fused = graph.live_nodes().find_map(|(_, node)| match &node.op {
            Op::BatchNorm(b) if b.formula == BatchNormFormula::Fused => Some((node, b)),
            _ => None,
        });
        let Some((node, b)) = fused else { return graph };
        let new = patch.node(BatchNorm::new(b.axis, b.eps), &node.inputs, "other", &node.origin).unwrap();
        patch.replace(node.output, new).unwrap();
        let edit = patch.finish();
        graph.apply(edit);
        graph = graph.compact();
    }
}

#[test]
fn another_formula_of_the_batch_norm_would_be_seen() {
    let io = io("vgg");
    let got = by_reference(&by_definition(import("vgg")), &io);
    let rows = got[0].chunks(10).zip(io.outputs[0].chunks(10));
    let differ = rows.filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| (a - b).abs() > 1e-3)).count();
    assert!(differ > io.count / 2, "{differ} of {} samples differ", io.count);
}

#[test]
fn ties_really_occur_in_the_fixtures() {
    let text = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let total = |what: &str| -> u64 {
        index["ties"].as_array().unwrap().iter().map(|net| net[what].as_u64().unwrap()).sum()
    };
    assert!(total("on_threshold") > 10_000 && total("signs_of_zero") > 20_000, "{text}");
    // Where a sum is the mean and beta is 0, torch's rounding gives all three.
    assert!(total("negative") > 100 && total("zero") > 5_000 && total("positive") > 500, "{text}");
}
