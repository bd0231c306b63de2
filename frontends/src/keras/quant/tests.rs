//! Every quantizer alone against the tables that its own library wrote (`fixtures/keras_quant/tables`).

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use unfloat_ir::Tensor;
use unfloat_npy::Npz;

use super::array::Array;
use super::{Family, Quantizer, Use, activation, read};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::layers::activation::Function;
use crate::keras::quant::fit::Fit;
use crate::keras::version::{Backend, Generation};

fn facts(generation: Generation) -> Facts {
    Facts {
        generation,
        version: None,
        inside_tensorflow: false,
        weights_generation: generation,
        backend: Backend::TensorFlow,
        channels_first: false,
        larq_weights: None,
    }
}

fn quantizer(entry: &Value, family: Family, generation: Generation) -> Result<Quantizer, String> {
    let map: Map<String, Value> = [("q".to_owned(), entry["quantizer"].clone())].into_iter().collect();
    let config = Config::new("m", "p", "l (L)".to_owned(), &map);
    let facts = facts(generation);
    let of = match entry["use"].as_str() {
        Some("kernel") => Use::Kernel,
        Some("weight") => Use::Weight,
        _ => match activation(&config, "q", family, &facts).map_err(|e| e.to_string())? {
            Function::Quantized(quantizer) => return Ok(*quantizer),
            other => return Err(format!("no quantizer but {other:?}")),
        },
    };
    let found = read(&config, "q", family, of, &facts).map_err(|e| e.to_string())?;
    found.ok_or_else(|| "nothing".to_owned())
}

/// What an activation gives is what its nodes give: a quantizer to powers of two is a table there.
fn values(quantizer: &Quantizer, x: &Array<f32>, of: &Value) -> Option<Vec<f32>> {
    match quantizer {
        Quantizer::Fitted(Fit::PowerOfTwo(f)) if of == "activation" => f.grid()?.code(x)?.values(),
        _ => quantizer.values(x),
    }
}

/// What the libraries' own arithmetic leaves open: which side of a step a number is on that is within two units of it,
/// where a logarithm finds the step; and the last bits of `2 q − 1` in Larq's DoReFa, which cancels.
fn excused(quantizer: &Quantizer, x: f32, apart: f32, wanted: f32) -> bool {
    match quantizer {
        Quantizer::Fitted(Fit::PowerOfTwo(f)) => {
            [x.next_up().next_up(), x.next_down().next_down()].iter().any(|x| f.apply(*x) == wanted)
        }
        Quantizer::Fitted(Fit::DoReFa { .. }) => apart <= f32::EPSILON,
        _ => false,
    }
}

/// The number of entries of a table, and what is wrong with them. `x + (q − x)`, which is what the libraries compute,
/// is off the grid by a unit in the last place of `x` where the scale is no power of two.
fn check(table: &str, family: Family, generation: Generation) -> (usize, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras_quant/tables");
    let text = fs::read_to_string(folder.join(format!("{table}.json"))).expect("a table");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let bytes = fs::read(folder.join(format!("{table}.npz"))).expect("arrays");
    let mut npz = Npz::open(&bytes).expect("npz");
    let mut array = |name: &Value| -> Tensor {
        npz.get(name.as_str().expect("a name")).expect("readable").expect("there")
    };
    let mut wrong = Vec::new();
    for entry in &entries {
        let (x, y) = (array(&entry["x"]), array(&entry["y"]));
        let x = Array { shape: x.shape().to_vec(), values: x.as_f32().expect("floats").to_vec() };
        let wanted = y.as_f32().expect("floats");
        let what = format!("{} of {} as {}", entry["quantizer"], entry["x"], entry["use"]);
        let found = match quantizer(entry, family, generation) {
            Ok(quantizer) => values(&quantizer, &x, &entry["use"]).ok_or("no values".to_owned()),
            Err(problem) => Err(problem),
        };
        let found = match found {
            Ok(found) => found,
            Err(problem) => {
                wrong.push(format!("{what}: {problem}"));
                continue;
            }
        };
        assert_eq!(found.len(), wanted.len(), "{what}");
        let quantizer = quantizer(entry, family, generation).expect("read before");
        let off = |((x, found), wanted): ((&f32, &f32), &f32)| {
            let ulps = f32::EPSILON * x.abs().max(wanted.abs()).max(f32::MIN_POSITIVE);
            let apart = (found - wanted).abs();
            (apart > 2.0 * ulps && !excused(&quantizer, *x, apart, *wanted))
                .then(|| format!("{x:e} gives {found:e}, not {wanted:e}"))
        };
        let bad: Vec<String> = x.values.iter().zip(&found).zip(wanted).filter_map(off).collect();
        if let Some(first) = bad.first() {
            wrong.push(format!("{what}: {} of {} differ: {first}", bad.len(), wanted.len()));
        }
    }
    (entries.len(), wrong)
}

#[test]
fn every_quantizer_of_qkeras_gives_the_library_s_own_table() {
    let (count, wrong) = check("qkeras09", Family::QKeras, Generation::Keras2);
    assert!(count > 150 && wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_quantizer_of_qkeras_v3_gives_the_library_s_own_table() {
    let (count, wrong) = check("qkeras3", Family::QKeras, Generation::Keras3);
    assert!(count > 150 && wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_quantizer_of_larq_gives_the_library_s_own_table() {
    let (count, wrong) = check("larq", Family::Larq, Generation::Keras2);
    assert!(count > 80 && wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
