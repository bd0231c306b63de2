//! The ONNX project's own backend tests, dumped by `fixtures/onnx/dump_cases.py`; QONNX's quantizers, run by qonnx
//! (`make_qonnx.py`).
//!
//! Every case runs as one sample (`--batch none`), as the cases are written; those that can be read sample by sample
//! run so as well. `fixtures/onnx/exclusions.txt` lists the cases that do not run, each with its reason; a listed case
//! that passes fails the test, as does an unlisted one that does not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use unfloat_exec::reference::evaluate;
use unfloat_frontends::onnx::{BatchAxis, NoSiblings, OnnxFile, OnnxOptions, import};
use unfloat_ir::{ElemType, Graph, Tensor, TensorType};
use unfloat_npy::read_npy;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/onnx")
}

#[derive(Default)]
struct Case {
    model: Vec<u8>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn cases(suite: &str) -> BTreeMap<String, Case> {
    let bytes = fs::read(folder().join(format!("{suite}.zip"))).expect("the archive");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
    let mut files: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).expect("an entry");
        let path = file.name().expect("a name").into_owned();
        let (case, name) = path.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a folder");
        let mut data = Vec::new();
        file.read_to_end(&mut data).expect("readable");
        files.insert((case, name), data);
    }
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for ((case, name), data) in files {
        let case = cases.entry(case).or_default();
        match name.as_str() {
            "model.onnx" => case.model = data,
            other => {
                // An element that no tensor of ours has (beyond 2^63 - 1) leaves the case without its data.
                let Ok(tensor) = read_npy(&data) else { continue };
                // Names sort as numbers do: no case has ten.
                if other.starts_with("input") { case.inputs.push(tensor) } else { case.outputs.push(tensor) }
            }
        }
    }
    cases
}

/// Operands that a network of ours must know when it is read, by operator; they are inputs of the cases.
const CONSTANT: [(&str, &[usize]); 21] = [
    ("Reshape", &[1]),
    ("Expand", &[1]),
    ("Slice", &[1, 2, 3, 4]),
    ("Pad", &[1, 2, 3]),
    ("Resize", &[1, 2, 3]),
    ("Upsample", &[1]),
    ("Squeeze", &[1]),
    ("Unsqueeze", &[1]),
    ("Split", &[1]),
    ("ReduceSum", &[1]),
    ("ReduceMean", &[1]),
    ("ReduceMax", &[1]),
    ("ConstantOfShape", &[0]),
    ("Dropout", &[1, 2]),
    ("Tile", &[1]),
    ("Range", &[0, 1, 2]),
    ("BatchNormalization", &[1, 2, 3, 4]),
    ("QLinearConv", &[1, 2, 4, 5, 6, 7, 8]),
    ("QLinearMatMul", &[1, 2, 4, 5, 6, 7]),
    ("ConvInteger", &[2, 3]),
    ("MatMulInteger", &[2, 3]),
];

/// Names and values of the inputs to be given as constants. The cases have one node each where this matters.
fn bound(case: &Case, graph_inputs: &[String], op: &str, operands: &[String]) -> BTreeMap<String, Tensor> {
    let places = CONSTANT.iter().find(|(name, _)| *name == op).map_or(&[][..], |(_, places)| places);
    let mut values = BTreeMap::new();
    for name in places.iter().filter_map(|&p| operands.get(p)).filter(|n| !n.is_empty()) {
        if let Some(i) = graph_inputs.iter().position(|g| g == name)
            && let Some(tensor) = case.inputs.get(i)
        {
            values.insert(name.clone(), tensor.clone());
        }
    }
    values
}

/// A test's tensor as a value of the graph: codes keep their values, whatever word npy had for them.
fn typed(tensor: &Tensor, ty: &TensorType) -> Result<Tensor, String> {
    let (from, to) = (&tensor.ty.elem, &ty.elem);
    if from.is_float() != to.is_float() {
        return Err(format!("the graph has {ty}, the case {}", tensor.ty));
    }
    if from.is_float() {
        return Ok(Tensor {
            ty: TensorType::new(ElemType::F32, tensor.ty.shape.clone(), ty.layout),
            ..tensor.clone()
        });
    }
    let codes: Vec<i64> = (0..tensor.len()).filter_map(|i| tensor.data.code(i)).collect();
    Ok(Tensor::codes(TensorType::new(to.clone(), tensor.ty.shape.clone(), ty.layout), codes))
}

/// Elements `index` of a batch, as a value of the graph.
fn sample(batch: &Tensor, index: usize, ty: &TensorType) -> Result<Tensor, String> {
    if batch.ty.shape.get(1..) != Some(ty.shape.dims()) {
        return Err(format!("a sample is {ty}, the case has {}", batch.ty.shape));
    }
    let n = ty.shape.num_elements();
    let at = index * n..(index + 1) * n;
    let own = TensorType::new(batch.ty.elem.clone(), ty.shape.clone(), ty.layout);
    let part = match batch.as_f32() {
        Some(v) => Tensor::f32(ty.shape.clone(), ty.layout, v[at].to_vec()),
        None => Tensor::codes(own, at.filter_map(|i| batch.data.code(i))),
    };
    typed(&part, ty)
}

/// How far a result may be from the expected one: a part of the value, and a number.
#[derive(Clone, Copy)]
struct Tolerance {
    part: f64,
    plain: f64,
}

/// ONNX' own runner allows as much.
const ONNX: Tolerance = Tolerance { part: 1e-3, plain: 1e-7 };
/// Quantizers agree in every bit.
const EXACT: Tolerance = Tolerance { part: 0.0, plain: 0.0 };

fn agree(found: &Tensor, wanted: &Tensor, within: Tolerance) -> Result<(), String> {
    if found.ty.shape != wanted.ty.shape {
        return Err(format!("the result is {}, expected {}", found.ty.shape, wanted.ty.shape));
    }
    let value = |t: &Tensor, i: usize| match t.as_f32() {
        Some(v) => f64::from(v[i]),
        None => t.data.code(i).map_or(f64::NAN, |c| c as f64),
    };
    if found.ty.elem.is_float() != wanted.ty.elem.is_float() {
        return Err(format!("the result is {}, expected {}", found.ty, wanted.ty));
    }
    for i in 0..wanted.len() {
        let (f, w) = (value(found, i), value(wanted, i));
        let same =
            f == w || (f.is_nan() && w.is_nan()) || (f - w).abs() <= within.plain + within.part * w.abs();
        if !same {
            return Err(format!("element {i} is {f}, expected {w}"));
        }
    }
    Ok(())
}

fn compare(graph: &Graph, inputs: &[Tensor], outputs: &[Tensor], within: Tolerance) -> Result<(), String> {
    let found = evaluate(graph, inputs).map_err(|d| d.to_string())?;
    if found.len() != outputs.len() {
        return Err(format!("{} results, expected {}", found.len(), outputs.len()));
    }
    found.iter().zip(outputs).try_for_each(|(f, w)| agree(f, w, within))
}

/// What of a model the harness needs, read with the schema's field numbers: inputs of the graph, the first node.
fn outline(model: &[u8]) -> (Vec<String>, String, Vec<String>) {
    let graph = fields(model).into_iter().find(|(n, _)| *n == 7).map(|(_, v)| v).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let of = |message: &[u8], field: u64| -> Vec<String> {
        fields(message).iter().filter(|(n, _)| *n == field).map(|(_, v)| text(v)).collect()
    };
    let parts = fields(&graph);
    let inputs = parts.iter().filter(|(n, _)| *n == 11).flat_map(|(_, v)| of(v, 1)).collect();
    let node = parts.iter().find(|(n, _)| *n == 1).map(|(_, v)| v.clone()).unwrap_or_default();
    (inputs, of(&node, 4).concat(), of(&node, 1))
}

/// Length-delimited fields of a message.
fn fields(message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut at = 0;
    let mut found = Vec::new();
    let varint = |at: &mut usize| {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = message[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while at < message.len() {
        let tag = varint(&mut at);
        match tag & 7 {
            0 => drop(varint(&mut at)),
            1 => at += 8,
            5 => at += 4,
            _ => {
                let length = varint(&mut at) as usize;
                found.push((tag >> 3, message[at..at + length].to_vec()));
                at += length;
            }
        }
    }
    found
}

fn run(
    name: &str,
    case: &Case,
    batch: BatchAxis,
    only_batched: bool,
    within: Tolerance,
) -> Result<(), String> {
    let (names, op, operands) = outline(&case.model);
    let values = bound(case, &names, &op, &operands);
    let options = OnnxOptions { batch, values: values.clone(), ..OnnxOptions::default() };
    let file = OnnxFile::from_bytes(format!("{name}.onnx"), case.model.clone());
    let imported = import(file, &NoSiblings, &options).map_err(|d| d.to_string())?;
    let graph = &imported.graph;
    if only_batched && !imported.batched {
        return Ok(());
    }
    if case.outputs.is_empty() && case.inputs.is_empty() {
        return Err("the case has no data".to_owned());
    }
    // Models of IR version 3 list their initializers among the inputs; data are given for the others.
    let free: Vec<&String> = names.iter().filter(|n| !values.contains_key(*n)).collect();
    let given: Vec<&Tensor> = match free.len() == graph.inputs().len() {
        true => {
            names.iter().zip(&case.inputs).filter(|(n, _)| !values.contains_key(*n)).map(|(_, t)| t).collect()
        }
        false => case.inputs.iter().collect(),
    };
    if given.len() != graph.inputs().len() {
        return Err(format!("{} inputs, {} given", graph.inputs().len(), given.len()));
    }
    let types: Vec<&TensorType> = graph.inputs().iter().map(|&i| graph.ty(i)).collect();
    if !imported.batched {
        let inputs = given.iter().zip(&types).map(|(t, ty)| typed(t, ty)).collect::<Result<Vec<_>, _>>()?;
        return compare(graph, &inputs, &case.outputs, within);
    }
    let count = given.first().and_then(|t| t.ty.shape.first().copied()).unwrap_or(0);
    for index in 0..count {
        let inputs =
            given.iter().zip(&types).map(|(t, ty)| sample(t, index, ty)).collect::<Result<Vec<_>, _>>()?;
        let outputs = graph
            .outputs()
            .iter()
            .zip(&case.outputs)
            .map(|(o, t)| sample(t, index, graph.ty(o.value)))
            .collect::<Result<Vec<_>, _>>()?;
        compare(graph, &inputs, &outputs, within).map_err(|e| format!("sample {index}: {e}"))?;
    }
    Ok(())
}

/// The cases that do not run, with the reasons.
fn exclusions() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("exclusions.txt")).expect("the exclusions");
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| l.split_once(": ").expect("a name, a colon, a reason"))
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect()
}

fn suite(name: &str, modes: &[(BatchAxis, bool)], least: usize, within: Tolerance) {
    let excluded = exclusions();
    let cases = cases(name);
    let (mut passed, mut failures) = (0, Vec::new());
    for (case, data) in &cases {
        let key = format!("{name}/{case}");
        let result = modes.iter().try_for_each(|&(batch, only)| run(case, data, batch, only, within));
        match (result, excluded.get(&key)) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(reason)) => failures.push(format!("{key} passes, but is excluded: {reason}")),
            (Err(_), Some(_)) => {}
            (Err(text), None) => failures.push(format!("{key}: {text}")),
        }
    }
    println!("{name}: {passed} of {}", cases.len());
    let gone: Vec<_> = excluded
        .keys()
        .filter(|k| k.split_once('/').is_some_and(|(s, c)| s == name && !cases.contains_key(c)))
        .collect();
    assert!(gone.is_empty(), "excluded, but no case: {gone:?}");
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(passed >= least, "{passed} pass, at least {least} are wanted");
}

#[test]
fn node_cases() {
    suite("node", &[(BatchAxis::None, false), (BatchAxis::Auto, true)], 540, ONNX);
}

#[test]
fn pytorch_converted_cases() {
    suite("pytorch-converted", &[(BatchAxis::Auto, false), (BatchAxis::None, false)], 82, ONNX);
}

#[test]
fn pytorch_operator_cases() {
    suite("pytorch-operator", &[(BatchAxis::Auto, false), (BatchAxis::None, false)], 33, ONNX);
}

#[test]
fn qonnx_quantizers() {
    suite("qonnx", &[(BatchAxis::Auto, false), (BatchAxis::None, false)], 133, EXACT);
}
