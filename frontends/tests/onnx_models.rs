//! Whole ONNX models, written by Brevitas, torch, tf2onnx, onnxruntime and by hand: every value behind every quantizer
//! is the framework's to the last bit, and every output within 1e-5, as imported and behind the import pipeline.
//!
//! Nothing is loosened: quantized values are compared as numbers that must be equal. Where a sum of floats meets a
//! quantizer, the framework adds in another order than the reference evaluator, which rounds once;
//! `fixtures/onnx/README.md` says how the fixtures keep clear of ties between codes.

mod onnx_fixtures;

use std::collections::BTreeMap;
use std::sync::Arc;

use onnx_fixtures::{Data, Fixture, Known, fixtures, sample};
use unfloat_exec::reference::evaluate_all;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{Diagnostics, ElemType, Graph, Layout, Op, OpDef, Severity, Tensor, ValueId};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};

/// How far an output may be off, as a part of its greatest element, or of 1.
const TOLERANCE: f64 = 1e-5;

fn number(tensor: &Tensor, i: usize) -> f64 {
    match tensor.as_f32() {
        Some(values) => f64::from(values[i]),
        None => tensor.data.code(i).map_or(f64::NAN, |code| code as f64),
    }
}

/// A value of a graph with its axes in the model's order: passes put the channels of images last, or back.
fn in_model_order(tensor: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let rank = tensor.ty.rank();
    let turned = |by: usize| (0..rank).map(|a| (a + by) % rank).collect::<Vec<_>>();
    let is_last = rank > 1 && tensor.ty.layout == Layout::channels_last(rank - 1);
    let turns = if is_last { [rank - 1, 0] } else { [0, 1] };
    let found = turns.into_iter().map(|by| tensor.transposed(&turned(by)));
    found.into_iter().find(|t| t.ty.shape.dims() == shape)
}

/// The number of elements that differ, and the first of them.
fn differences(found: &Tensor, wanted: &Tensor, within: f64) -> Option<String> {
    if found.len() != wanted.len() {
        return Some(format!("is {}, expected {}", found.ty, wanted.ty.shape));
    }
    let greatest = (0..wanted.len()).map(|i| number(wanted, i).abs()).fold(1.0, f64::max);
    let apart = |i: &usize| {
        let (f, w) = (number(found, *i), number(wanted, *i));
        f != w && (within == 0.0 || (f - w).abs() > within * greatest || f.is_nan() || w.is_nan())
    };
    let off: Vec<usize> = (0..wanted.len()).filter(apart).collect();
    let first = *off.first()?;
    let [f, w] = [number(found, first), number(wanted, first)];
    Some(format!("{} of {} elements differ; element {first} is {f}, expected {w}", off.len(), wanted.len()))
}

/// Values of the graph by the model's names.
fn names(graph: &Graph) -> BTreeMap<&str, ValueId> {
    graph.values().map(|(id, value)| (value.name.as_str(), id)).collect()
}

/// Runs all samples of a fixture, and tells what differs. `all` asks for every value behind a quantizer.
fn compare(fixture: &Fixture, data: &Data, graph: &Graph, all: bool) -> Result<usize, String> {
    let samples: Vec<Option<usize>> = match fixture.batched() {
        true => (0..data.inputs[0].ty.shape[0]).map(Some).collect(),
        false => vec![None],
    };
    let names = names(graph);
    let mut compared = 0;
    for index in samples {
        let inputs: Vec<Tensor> = data
            .inputs
            .iter()
            .zip(graph.inputs())
            .map(|(array, &id)| sample(array, index, &graph.ty(id).elem, graph.ty(id).layout))
            .collect();
        let values = evaluate_all(graph, &inputs).map_err(|d| d.to_string())?;
        for known in &data.values {
            let found: Option<&Arc<Tensor>> = names.get(known.name.as_str()).and_then(|&id| values.get(id));
            let Some(found) = found else {
                if all {
                    return Err(format!("`{}` ({}) is no value of the graph", known.name, known.op));
                }
                continue;
            };
            let wanted = sample(&known.tensor, index, &found.ty.elem, found.ty.layout);
            let Some(found) = in_model_order(found, &wanted.ty.shape) else {
                return Err(format!("`{}` is {}, expected {}", known.name, found.ty, wanted.ty.shape));
            };
            if let Some(text) = differences(&found, &wanted, 0.0) {
                return Err(format!("`{}` ({}) of sample {index:?} {text}", known.name, known.op));
            }
            compared += found.len();
        }
        for (output, array) in graph.outputs().iter().zip(&data.outputs) {
            let found = values.get(output.value).expect("computed");
            let wanted = sample(array, index, &found.ty.elem, found.ty.layout);
            if let Some(text) = differences(found, &wanted, TOLERANCE) {
                return Err(format!("output `{}` of sample {index:?} {text}", output.name));
            }
        }
    }
    Ok(compared)
}

/// Checks every fixture, and fails with all that is wrong.
fn each(check: impl Fn(&Fixture) -> Result<String, String>) {
    let all = fixtures("ok");
    let mut failures = Vec::new();
    for fixture in &all {
        match check(fixture) {
            Ok(text) => println!("{}: {text}", fixture.model),
            Err(text) => failures.push(format!("{}: {text}", fixture.model)),
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), all.len(), failures.join("\n"));
    assert!(all.len() >= 18, "the index lists {} fixtures", all.len());
}

fn imported(fixture: &Fixture) -> Result<Graph, String> {
    let imported = fixture.import().map_err(|d| d.to_string())?;
    if imported.batched != fixture.batched() {
        return Err(format!("batched is {}, expected {}", imported.batched, fixture.batched()));
    }
    Ok(imported.graph)
}

#[test]
fn every_value_is_the_frameworks() {
    each(|fixture| {
        let graph = imported(fixture)?;
        let found: Vec<&str> = graph.outputs().iter().map(|o| o.name.as_str()).collect();
        let wanted: Vec<&str> =
            fixture.entry["outputs"].as_array().expect("outputs").iter().filter_map(|v| v.as_str()).collect();
        if found != wanted {
            return Err(format!("the outputs are {found:?}, expected {wanted:?}"));
        }
        let compared = compare(fixture, &fixture.data(), &graph, true)?;
        Ok(format!("{compared} quantized values are equal"))
    });
}

/// The outputs of all samples by the fast executor.
fn planned(fixture: &Fixture, data: &Data, graph: &Graph) -> Result<(), String> {
    let plan = Plan::new(graph, &PlanOptions::default()).map_err(|d| d.to_string())?;
    let count = if fixture.batched() { data.inputs[0].ty.shape[0] } else { 1 };
    let inputs: Vec<&[f32]> = data.inputs.iter().filter_map(Tensor::as_f32).collect();
    let found = plan.run(&inputs, count, 1).map_err(|d| d.to_string())?;
    for ((found, array), output) in found.into_iter().zip(&data.outputs).zip(graph.outputs()) {
        let found = Tensor::f32([found.len()], Layout::anonymous(1), found);
        if let Some(text) = differences(&found, array, TOLERANCE) {
            return Err(format!("output `{}` of the fast executor {text}", output.name));
        }
    }
    Ok(())
}

#[test]
fn the_import_pipeline_changes_no_code() {
    each(|fixture| {
        let mut graph = imported(fixture)?;
        let calls = pipeline("import").map_err(|d| d.to_string())?;
        let mut warnings = Diagnostics::new();
        run_pipeline(&mut graph, &calls, &RunOptions::default(), &mut warnings).map_err(|d| d.to_string())?;
        let data = fixture.data();
        let compared = compare(fixture, &data, &graph, false)?;
        let fast = Plan::takes(&graph);
        if fast {
            planned(fixture, &data, &graph)?;
        }
        let by = if fast { "; the fast executor agrees" } else { "" };
        Ok(format!("{compared} quantized values are equal{by}"))
    });
}

#[test]
fn one_wrong_code_would_be_found() {
    let fixture = fixtures("ok").into_iter().find(|f| f.model == "brevitas/residual_qonnx.onnx").expect("it");
    let graph = imported(&fixture).expect("imported");
    let mut data = fixture.data();
    let known = data.values.last_mut().expect("values");
    let mut codes: Vec<f32> = (0..known.tensor.len()).map(|i| number(&known.tensor, i) as f32).collect();
    let last = codes.last_mut().expect("elements");
    *last = last.next_up();
    let shape = known.tensor.ty.shape.clone();
    known.tensor = Tensor::f32(shape.clone(), Layout::anonymous(shape.rank()), codes);
    let told = compare(&fixture, &data, &graph, true).expect_err("it differs");
    assert!(told.contains("1 of") && told.contains("differ"), "{told}");
}

/// The operand of an op behind casts from one integer to another.
fn behind_casts(graph: &Graph, mut id: ValueId) -> ValueId {
    while let Some((_, node)) = graph.producer(id)
        && matches!(node.op, Op::Cast(_))
        && let Some(&inner) = node.inputs.first()
        && graph.ty(inner).elem.is_integer()
    {
        id = inner;
    }
    id
}

/// Whether the value of an activation's quantizer stands in the graph as one.
fn typed(graph: &Graph, known: &Known, id: ValueId) -> bool {
    let op = |id: ValueId| graph.producer(id).map(|(_, node)| (&node.op, &node.inputs));
    match known.op.as_str() {
        "Quant" | "IntQuant" | "BipolarQuant" | "Trunc" => match op(id) {
            Some((Op::Dequantize(_), inputs)) => matches!(op(inputs[0]), Some((Op::Quantize(_), _))),
            _ => false,
        },
        "DequantizeLinear" => match op(id) {
            Some((Op::Dequantize(_), inputs)) => graph.ty(behind_casts(graph, inputs[0])).elem.is_integer(),
            _ => false,
        },
        "QuantizeLinear" | "QGemm" => matches!(op(id), Some((Op::Quantize(_), _))),
        // A concatenation of quantizers; a quantizer for each other operator.
        "QLinearConcat" => graph.ty(id).elem.is_integer(),
        name if name.starts_with("QLinear") => matches!(op(id), Some((Op::Quantize(_), _))),
        "MatMulInteger" | "ConvInteger" => graph.ty(id).elem.is_integer(),
        "MultiThreshold" => match op(id) {
            Some((Op::Threshold(_), _)) => true,
            Some((Op::Cast(_), inputs)) => matches!(op(inputs[0]), Some((Op::Threshold(_), _))),
            // Scaled and shifted by numbers that are no integers.
            Some((Op::Binary(_), _)) => true,
            _ => false,
        },
        "FloatQuant" => matches!(op(id), Some((Op::FloatQuant(_), _))),
        _ => true,
    }
}

/// A weight in the orders that a graph has it in: as the model does, channels last, transposed.
fn orders(weight: &Tensor) -> Vec<Tensor> {
    let rank = weight.ty.rank();
    let mut all = vec![weight.clone()];
    if rank >= 2 {
        let channels_last: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        all.push(weight.transposed(&channels_last));
        all.push(weight.transposed(&(0..rank).rev().collect::<Vec<_>>()));
    }
    all
}

/// The known values of all constants behind a `dequantize`.
fn decoded(graph: &Graph) -> Result<Vec<Tensor>, String> {
    let mut found = Vec::new();
    for (_, node) in graph.live_nodes() {
        let operands: Option<Vec<Tensor>> =
            node.inputs.iter().map(|&id| graph.const_of(id).map(|t| t.as_ref().clone())).collect();
        match (&node.op, operands) {
            (Op::Quantize(_), Some(_)) => {
                return Err(format!("`{}` quantizes a constant", graph.value(node.output).name));
            }
            (Op::Dequantize(_), Some(operands)) => {
                let ty = graph.ty(node.output).clone();
                let given: Vec<&Tensor> = operands.iter().collect();
                let data = node.op.eval(&given, &ty).map_err(|e| e.to_string())?;
                found.push(Tensor { ty, data });
            }
            _ => {}
        }
    }
    Ok(found)
}

#[test]
fn quantizers_stay_typed() {
    each(|fixture| {
        let graph = imported(fixture)?;
        let data = fixture.data();
        let names = names(&graph);
        for known in &data.values {
            let id = names.get(known.name.as_str()).ok_or_else(|| format!("`{}` is gone", known.name))?;
            if !typed(&graph, known, *id) {
                let node = graph.producer(*id).map(|(_, n)| n.op.name());
                return Err(format!("`{}` ({}) is made by {node:?}", known.name, known.op));
            }
        }
        let weights = decoded(&graph)?;
        for known in data.weights.iter().filter(|w| w.op != "FloatQuant") {
            let wanted = orders(&sample(&known.tensor, None, &ElemType::F32, Layout::anonymous(0)));
            let same = |w: &Tensor| {
                wanted
                    .iter()
                    .any(|t| t.len() == w.len() && (0..t.len()).all(|i| number(t, i) == number(w, i)))
            };
            if !weights.iter().any(same) {
                return Err(format!(
                    "the weight `{}` ({}) is not codes behind a dequantize",
                    known.name, known.op
                ));
            }
        }
        Ok(format!("{} quantizers, {} weights", data.values.len(), data.weights.len()))
    });
}

#[test]
fn what_cannot_be_read_is_named_all_at_once() {
    let all = fixtures("refused");
    assert!(all.len() >= 7, "the index lists {} fixtures", all.len());
    for fixture in &all {
        let Err(findings) = fixture.import() else { panic!("{} is accepted", fixture.model) };
        let errors: Vec<String> =
            findings.0.iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
        let names = fixture.entry["refused"].as_array().expect("names");
        for name in names.iter().map(|n| n.as_str().expect("text")) {
            let named = errors.iter().any(|text| text.contains(name));
            assert!(named, "{}: nothing about `{name}` in\n{findings}", fixture.model);
        }
        let file = fixture.model.rsplit('/').next().expect("a name");
        assert!(errors.iter().all(|text| text.contains(file)), "{}:\n{findings}", fixture.model);
    }
}

#[test]
fn an_unknown_operator_does_not_hide_other_faults() {
    let all = fixtures("refused");
    let operators = all.iter().find(|f| f.model == "refused/operators.onnx").expect("the fixture");
    let findings = operators.import().expect_err("refused").to_string();
    assert!(findings.contains("Magic") && findings.contains("STRING"), "{findings}");
}
