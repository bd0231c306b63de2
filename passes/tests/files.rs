//! Runs the file tests under `tests/passes/`: one `.uir` file each, in a folder named after the pass that it is about.
//!
//! ```text
//! // pass: clean-up, fold-constants {limit=10}
//! // run: [1.0, -2.0], [0.5] == [3.0]
//! uir 1
//! graph "before" imported
//! ...
//! %a = expand %c {shape=[100]} : f32[100] c // error: more than 10
//! // ----
//! uir 1
//! graph "behind" imported
//! ...
//! ```
//!
//! The first line names the passes. Each `run` line holds one list per input and one per output: both graphs must give
//! it, within 1e-6 of its greatest element. An `error` at the end of a line must be part of a message that names what
//! that line makes; on a line of its own, of any message; there is no second graph then. A second graph equal to the
//! first (but for its stage) says that the passes leave it alone. `UNFLOAT_BLESS=1` writes what the passes make over
//! the second graph, which is refused where `CI` is set.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use unfloat_exec::reference::evaluate;
use unfloat_ir::text::{parse, print};
use unfloat_ir::{Data, Diagnostics, Graph, Tensor};
use unfloat_passes::pipeline::pipeline;
use unfloat_passes::{RunOptions, parse_calls, run_pipeline};

const RULE: &str = "// ----";

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/passes");
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        entries.map(|e| e.expect("a directory entry").path()).collect()
    };
    let mut files: Vec<PathBuf> = entries(&root).iter().flat_map(|d| entries(d)).collect();
    files.sort();
    files
}

#[test]
fn all_files() {
    let bless = std::env::var_os("UNFLOAT_BLESS").is_some_and(|v| v == "1");
    assert!(!bless || std::env::var_os("CI").is_none(), "tests are not blessed where CI is set");
    let files = files();
    assert!(files.len() >= 20, "found {} files only", files.len());
    let mut failures = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable file");
        match check(&text) {
            Ok(None) => {}
            Ok(Some(blessed)) if bless => std::fs::write(file, blessed).expect("a writable file"),
            Ok(Some(made)) => write!(failures, "{}: the passes make\n{made}\n", file.display()).unwrap(),
            Err(fault) => write!(failures, "{}: {fault}\n\n", file.display()).unwrap(),
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Each pass has its file tests, and one that it is held back from something.
#[test]
fn every_pass_has_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/passes");
    for pass in unfloat_passes::registry::PASSES {
        let name = pass.info().name;
        let dir = std::fs::read_dir(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(dir.count() >= 2, "{name} has too few file tests");
    }
}

/// Nothing when all is as the file says; the text as it should be when only the second graph differs.
fn check(text: &str) -> Result<Option<String>, String> {
    let header = text.lines().next().and_then(|l| l.strip_prefix("// pass:")).ok_or("no `// pass:` line")?;
    let calls = match header.trim().strip_prefix("pipeline ") {
        Some(name) => pipeline(name),
        None => parse_calls(header.trim()),
    };
    let (input, expected) = match text.split_once(RULE) {
        Some((input, expected)) => (input, Some(expected.trim_start())),
        None => (text, None),
    };
    let before = read(input);
    let result = calls.and_then(|calls| {
        let mut graph = before.clone()?;
        run_pipeline(&mut graph, &calls, &RunOptions::default(), &mut Diagnostics::new())?;
        Ok(graph)
    });
    let errors = expected_errors(input);
    let after = match (result, errors.is_empty()) {
        (Ok(graph), true) => graph,
        (Ok(_), false) => return Err("no error".to_string()),
        (Err(found), true) => return Err(format!("unexpected\n{found}")),
        (Err(found), false) => return check_errors(&errors, &found).map(|()| None),
    };
    let before = before.map_err(|e| e.to_string())?;
    for line in input.lines() {
        if let Some(run) = line.strip_prefix("// run:") {
            check_run(run, &before).map_err(|e| format!("before: {e}"))?;
            check_run(run, &after).map_err(|e| format!("behind: {e}"))?;
        }
    }
    let printed = print(&after);
    if !printed.blobs.is_empty() {
        return Err("constants of file tests must fit their text".to_string());
    }
    if expected.is_some_and(|e| e == printed.text) {
        return Ok(None);
    }
    Ok(Some(format!("{}\n{RULE}\n{}", input.trim_end(), printed.text)))
}

fn read(text: &str) -> Result<Graph, Diagnostics> {
    parse(text, "test.uir", &mut |_| None)
}

/// The expected parts of messages, each with the name that the line makes.
fn expected_errors(input: &str) -> Vec<(Option<String>, String)> {
    let of_line = |line: &str| {
        let (code, error) = line.split_once("// error:")?;
        let name = code.trim().strip_prefix('%').and_then(|c| c.split_once(' ')).map(|c| c.0.to_string());
        Some((name, error.trim().to_string()))
    };
    input.lines().filter_map(of_line).collect()
}

fn check_errors(expected: &[(Option<String>, String)], found: &Diagnostics) -> Result<(), String> {
    for (name, part) in expected {
        let fits = |message: &str| {
            message.contains(part.as_str())
                && name.as_ref().is_none_or(|n| message.contains(&format!("`{n}`")))
        };
        if !found.0.iter().any(|d| fits(&d.to_string())) {
            return Err(format!("no error at {name:?} says `{part}`:\n{found}"));
        }
    }
    if found.0.len() != expected.len() {
        return Err(format!("{} errors instead of {}:\n{found}", found.0.len(), expected.len()));
    }
    Ok(())
}

fn check_run(run: &str, graph: &Graph) -> Result<(), String> {
    let (inputs, outputs) = run.split_once("==").ok_or("no `==`")?;
    let inputs = lists(inputs)?;
    if inputs.len() != graph.inputs().len() {
        return Err(format!("{} lists for {} inputs", inputs.len(), graph.inputs().len()));
    }
    let tensor = |(v, &id): (Vec<f32>, &_)| Tensor { ty: graph.ty(id).clone(), data: Data::F32(v) };
    let sample: Vec<Tensor> = inputs.into_iter().zip(graph.inputs()).map(tensor).collect();
    let made = evaluate(graph, &sample).map_err(|e| e.to_string())?;
    let made: Vec<&[f32]> = made.iter().filter_map(|t| t.as_f32()).collect();
    let wanted = lists(outputs)?;
    let fits = made.len() == wanted.len()
        && made.iter().zip(&wanted).all(|(made, wanted)| {
            let most = wanted.iter().fold(1f32, |m, x| m.max(x.abs()));
            made.len() == wanted.len() && made.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-6 * most)
        });
    if fits { Ok(()) } else { Err(format!("{run} gives {made:?}")) }
}

fn lists(text: &str) -> Result<Vec<Vec<f32>>, String> {
    let numbers = |list: &str| -> Result<Vec<f32>, String> {
        let items = list.split(',').map(str::trim).filter(|x| !x.is_empty());
        items.map(|x| x.parse().map_err(|_| format!("`{x}` is no number"))).collect()
    };
    text.split('[').skip(1).map(|l| numbers(l.split(']').next().unwrap_or(""))).collect()
}
