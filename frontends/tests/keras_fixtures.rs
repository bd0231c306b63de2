//! Every Keras fixture, imported and evaluated, gives the framework's own outputs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unfloat_exec::reference::evaluate;
use unfloat_frontends::keras::{Backend, Imported, KerasOptions, ModelFile, import};
use unfloat_ir::{Diagnostics, Tensor};
use unfloat_npy::Npz;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras")
}

fn file(name: &str) -> ModelFile {
    let path = folder().join(name);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let label = path.file_name().expect("a file name").to_string_lossy().into_owned();
    ModelFile { label, bytes }
}

fn fixtures() -> Vec<Value> {
    let text = fs::read_to_string(folder().join("index.json")).expect("index.json");
    let index: Value = serde_json::from_str(&text).expect("valid JSON");
    index["fixtures"].as_array().expect("a list").clone()
}

fn import_fixture(fixture: &Value) -> Result<Imported, Diagnostics> {
    let weights = fixture["weights"].as_str().map(file);
    let backend = match fixture["needs"]["backend"].as_str() {
        Some("theano") => Some(Backend::Theano),
        _ => None,
    };
    import(
        file(fixture["model"].as_str().expect("a model")),
        weights,
        &KerasOptions { backend, ..KerasOptions::default() },
    )
}

/// The arrays `{prefix}_0`, `{prefix}_1`, … of an archive.
fn arrays(npz: &mut Npz<'_>, prefix: &str) -> Vec<Tensor> {
    (0..).map_while(|i| npz.get(&format!("{prefix}_{i}")).expect("readable")).collect()
}

/// Sample `index` of a batch, with the type of a value of the graph.
fn sample(batch: &Tensor, index: usize, like: &unfloat_ir::TensorType) -> Tensor {
    let values = batch.as_f32().expect("floats");
    let size = like.shape.num_elements();
    assert_eq!(batch.ty.shape.get(1..), Some(like.shape.dims()), "shape of a sample");
    Tensor::f32(like.shape.clone(), like.layout, values[index * size..(index + 1) * size].to_vec())
}

/// The framework's names, numbered where Keras 3 gives several outputs the same.
fn output_names(fixture: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in fixture["outputs"].as_array().expect("names").iter().filter_map(Value::as_str) {
        let number = (1..).map(|i| format!("{name}_{i}")).find(|candidate| !names.contains(candidate));
        let taken = names.iter().any(|other| other == name);
        names.push(if taken { number.expect("a free name") } else { name.to_owned() });
    }
    names
}

/// The largest difference of an output element.
fn check(fixture: &Value) -> Result<f32, String> {
    let imported = import_fixture(fixture).map_err(|d| d.to_string())?;
    let graph = &imported.graph;
    unfloat_ir::verify::verify(graph).map_err(|d| d.to_string())?;
    let names: Vec<&str> = graph.outputs().iter().map(|o| o.name.as_str()).collect();
    let wanted = output_names(fixture);
    if names != wanted {
        return Err(format!("outputs are {names:?}, expected {wanted:?}"));
    }
    let bytes = fs::read(folder().join(fixture["io"].as_str().expect("io"))).expect("io");
    let mut npz = Npz::open(&bytes).expect("npz");
    let (inputs, outputs) = (arrays(&mut npz, "input"), arrays(&mut npz, "output"));
    assert_eq!((inputs.len(), outputs.len()), (graph.inputs().len(), names.len()));
    let mut worst = 0f32;
    let mut report = String::new();
    for index in 0..inputs[0].ty.shape[0].min(2) {
        let given: Vec<Tensor> = inputs
            .iter()
            .zip(graph.inputs())
            .map(|(batch, id)| sample(batch, index, graph.ty(*id)))
            .collect();
        let found = evaluate(graph, &given).map_err(|d| d.to_string())?;
        for ((found, output), batch) in found.iter().zip(graph.outputs()).zip(&outputs) {
            if batch.ty.shape.get(1..) != Some(found.ty.shape.dims()) {
                return Err(format!("{} is {}, expected {}", output.name, found.ty, batch.ty.shape));
            }
            let expected = sample(batch, index, &found.ty);
            let pairs = found.as_f32().expect("floats").iter().zip(expected.as_f32().expect("floats"));
            let difference = pairs
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, |m: f32, d| if d > m || d.is_nan() { d } else { m });
            if difference > 2e-5 || difference.is_nan() {
                report += &format!("{} off by {difference:e}; ", output.name);
            }
            worst = worst.max(difference);
        }
    }
    if report.is_empty() { Ok(worst) } else { Err(report) }
}

/// A refusal names every layer that the fixture lists, and no other.
fn check_refusal(fixture: &Value) -> Result<(), String> {
    let Err(findings) = import_fixture(fixture) else { return Err("accepted".to_owned()) };
    let mut named: Vec<&str> = findings.0.iter().filter_map(|d| d.at.layer.split(' ').next()).collect();
    named.retain(|name| !name.is_empty());
    named.sort_unstable();
    let wanted: Vec<&str> =
        fixture["refused"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let silent = findings.0.iter().find(|d| d.help.is_empty() || d.message.is_empty());
    match silent {
        _ if named != wanted => Err(format!("named {named:?}, expected {wanted:?}:\n{findings}")),
        Some(finding) => Err(format!("no advice: {finding}")),
        None => Ok(()),
    }
}

#[test]
fn every_fixture_gives_the_outputs_of_its_framework() {
    let mut failures = Vec::new();
    let fixtures = fixtures();
    assert!(fixtures.len() > 50, "the index lists {} fixtures", fixtures.len());
    for fixture in &fixtures {
        let model = fixture["model"].as_str().expect("a model");
        let may_refuse = fixture["expect"] == "ok or refused";
        if fixture["expect"] == "refused" {
            failures.extend(check_refusal(fixture).err().map(|text| format!("{model}: {text}")));
            continue;
        }
        match check(fixture) {
            Ok(worst) => println!("{model}: {worst:e}"),
            Err(text) if may_refuse && text.contains("error:") => println!("{model}: refused\n{text}"),
            Err(text) => failures.push(format!("{model}: {text}")),
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), fixtures.len(), failures.join("\n"));
}
