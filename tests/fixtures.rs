//! Every Keras fixture, through import, passes and the fast executor, gives its framework's own outputs; so does the C++
//! made of it, here of some and with `UNFLOAT_SLOW` of all.

mod common;

use std::path::Path;
use std::process::Command;
use unfloat::cli::Import;
use unfloat::compare;
use unfloat::model::{Subject, at_stage};
use unfloat_ir::text::{parse, print};
use unfloat_ir::{Graph, Stage};

#[test]
fn the_executor_gives_the_frameworks_outputs() {
    let mut faults = Vec::new();
    for fixture in common::fixtures() {
        let subject = common::open(&fixture);
        let (inputs, expected) = common::data(&fixture, &subject);
        let found = subject.run(&inputs, 2).unwrap_or_else(|e| panic!("{}: {e}", fixture["model"]));
        let tolerance = fixture["tolerance"].as_f64().unwrap();
        assert!(tolerance <= 2e-5, "{} asks for a tolerance of {tolerance}", fixture["model"]);
        for difference in compare::outputs(&subject.output_types(), &found, &expected) {
            if !difference.within(tolerance) {
                faults.push(format!("{}: {difference:?}", fixture["model"]));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// An empty directory for one test.
fn scratch(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn the_emitted_cpp_gives_the_frameworks_outputs() {
    // Compiling takes seconds each; the first of every eight are of all generations and kinds.
    let every = if std::env::var_os("UNFLOAT_SLOW").is_some() { 1 } else { 8 };
    let dir = scratch("cpp");
    let mut faults = Vec::new();
    for fixture in common::fixtures().iter().step_by(every) {
        let out = dir.join("out");
        let mut convert = Command::new(env!("CARGO_BIN_EXE_unfloat"));
        convert.arg("convert").arg(common::path(fixture)).arg("-o").arg(&out);
        let import = common::import_options(fixture);
        if let Some(weights) = &import.weights {
            convert.arg("--weights").arg(weights);
        }
        if import.keras_backend.is_some() {
            convert.args(["--keras-backend", "theano"]);
        }
        let done = convert.output().unwrap();
        assert!(done.status.success(), "{}: {}", fixture["model"], String::from_utf8_lossy(&done.stderr));
        let emitted = Subject::open(&out, &Import::default()).unwrap();
        let (inputs, expected) = common::data(fixture, &emitted);
        let found = emitted.run(&inputs, 1).unwrap_or_else(|e| panic!("{}: {e}", fixture["model"]));
        let tolerance = fixture["tolerance"].as_f64().unwrap();
        for difference in compare::outputs(&emitted.output_types(), &found, &expected) {
            if !difference.within(tolerance) {
                faults.push(format!("{}: {difference:?}", fixture["model"]));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The graph that its text and the constants beside it describe.
fn reread(graph: &Graph) -> Graph {
    let printed = print(graph);
    let mut blob = |name: &str| printed.blobs.iter().find(|b| b.0 == name).map(|b| b.1.clone());
    parse(&printed.text, "printed.uir", &mut blob).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn nodes_know_their_layers_and_text_gives_every_graph_back() {
    for fixture in common::fixtures() {
        let Subject::Graph(imported) = common::open(&fixture) else { panic!("a model is a graph") };
        let folded = at_stage(imported.clone(), Stage::Folded).unwrap_or_else(|e| panic!("{e}"));
        for graph in [imported, folded] {
            let name = &fixture["model"];
            for (_, node) in graph.live_nodes() {
                let known = !node.origin.file.is_empty() && !node.origin.layer.is_empty();
                assert!(known, "{name}: nobody knows where `{}` is from", graph.value(node.output).name);
            }
            assert!(reread(&graph) == graph, "{name}: the text at stage {} is another graph", graph.stage);
        }
    }
}
