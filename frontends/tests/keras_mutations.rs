//! Thousands of damaged and hostile variants of real models: each is imported or refused, in bounded time and memory,
//! without a panic.
//!
//! The mutants come from a fixed seed, so a failure names its number and can be repeated. Allocations are counted by a
//! global allocator, which is why this test is a program of its own.

mod counting;
mod mutants;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use unfloat_frontends::keras::{Imported, KerasOptions, ModelFile, import};
use unfloat_ir::Diagnostics;

use mutants::{Random, mutate};

/// Only one import at a time, or the peak would be that of several.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that an import may allocate beyond a multiple of its files: stand-ins for broken weights, tables, the zip
/// reader's window.
const BASE: usize = 24 << 20;
/// Bytes per byte of the files: parsed JSON takes about 60.
const PER_BYTE: usize = 100;
const TIME: Duration = Duration::from_secs(5);

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras").join(name);
    fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Imports under the bounds; `what` names the mutant.
fn bounded(what: &str, model: Vec<u8>, weights: Option<Vec<u8>>) -> Result<Imported, Diagnostics> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let size = model.len() + weights.as_ref().map_or(0, Vec::len);
    let file = |label: &str, bytes| ModelFile { label: label.to_owned(), bytes };
    let start = Instant::now();
    let (result, peak) = counting::peak_of(|| {
        std::panic::catch_unwind(|| {
            import(file("m", model), weights.map(|bytes| file("w", bytes)), &KerasOptions::default())
        })
    });
    let time = start.elapsed();
    let Ok(result) = result else { panic!("{what}: the import panicked") };
    assert!(time < TIME, "{what}: took {time:?}");
    assert!(peak < BASE + PER_BYTE * size, "{what}: allocated {peak} bytes for {size}");
    if let Err(findings) = &result {
        assert!(findings.has_errors(), "{what}: refused without an error");
    }
    result
}

/// Fixtures of every container and writer, all small.
const SEEDS: &[(&str, Option<&str>)] = &[
    ("story/keras2_channels_first.h5", None),
    ("story/keras3_channels_last.keras", None),
    ("theano/1.2.2_small_cnn_channels_first.h5", None),
    ("theano/2.2.4_architecture.json", Some("theano/2.2.4_epoch_07.h5")),
    ("topologies/keras2_net_arch.json", Some("topologies/keras2_best_epoch_12.h5")),
    ("topologies/keras2_submodel_with_two_inputs.keras", None),
    ("topologies/keras3_net_arch.json", Some("topologies/keras3_checkpoint.weights.h5")),
    ("topologies/keras3_transfer_learning.h5", None),
];

#[test]
fn damaged_files_are_imported_or_refused() {
    let (mut refused, mut total) = (0usize, 0usize);
    for (number, (model, weights)) in SEEDS.iter().enumerate() {
        let (model_bytes, weight_bytes) = (read(model), weights.map(read));
        bounded(model, model_bytes.clone(), weight_bytes.clone()).unwrap_or_else(|e| panic!("{model}: {e}"));
        for mutant in 0..450u64 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64) << 32 ^ (mutant + 1));
            let (mut m, mut w) = (model_bytes.clone(), weight_bytes.clone());
            let how = match &mut w {
                Some(w) if random.below(2) == 0 => mutate(w, &mut random),
                _ => mutate(&mut m, &mut random),
            };
            total += 1;
            refused += usize::from(bounded(&format!("{model} #{mutant}: {how}"), m, w).is_err());
        }
    }
    println!("{refused} of {total} mutants refused");
    assert!(total == 3600 && refused > total / 4 && refused < total, "{refused} of {total} refused");
}

/// Every place in a JSON tree, as a path.
fn places(value: &Value, path: &mut Vec<String>, out: &mut Vec<String>) {
    out.push(path.iter().map(|p| format!("/{p}")).collect());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, v)| (key.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        path.push(key.replace('~', "~0").replace('/', "~1"));
        places(child, path, out);
        path.pop();
    }
}

#[test]
fn hostile_architectures_are_imported_or_refused() {
    let hostile = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1),
        json!(7),
        json!(i64::MAX),
        json!(1u64 << 31),
        json!(1e300),
        json!(0.5),
        json!(true),
        json!("channels_first"),
        json!("same"),
        json!(""),
        json!([]),
        json!({}),
        json!([1, 2, 3]),
        json!([[[["a", 0, 0]]]]),
        json!({"class_name": "Dense", "config": {}}),
        json!([1_000_000, 1_000_000, 1_000_000]),
    ];
    let mut refused = 0;
    let mut total = 0;
    for (model, weights) in SEEDS.iter().filter(|(model, _)| model.ends_with(".json")) {
        let tree: Value = serde_json::from_slice(&read(model)).expect("JSON");
        let weights = weights.map(read);
        let mut all = Vec::new();
        places(&tree, &mut Vec::new(), &mut all);
        let mut random = Random(0x2545_f491_4f6c_dd1d ^ all.len() as u64);
        for mutant in 0..500 {
            let mut tree = tree.clone();
            let mut how = String::new();
            for _ in 0..1 + random.below(3) {
                let place = &all[random.below(all.len())];
                let new = match random.below(hostile.len() + 4) {
                    // A part of the same file in another place: duplicates, cycles, wrong kinds of layers.
                    n if n >= hostile.len() => {
                        tree.pointer(&all[random.below(all.len())]).cloned().unwrap_or_default()
                    }
                    n => hostile[n].clone(),
                };
                if let Some(target) = tree.pointer_mut(place) {
                    *target = new;
                    how += &format!("{place} replaced; ");
                }
            }
            total += 1;
            let what = format!("{model} #{mutant}: {how}");
            refused += usize::from(bounded(&what, tree.to_string().into_bytes(), weights.clone()).is_err());
        }
    }
    assert!(total == 1500 && refused > total / 2 && refused < total, "{refused} of {total} refused");
}

#[test]
fn deep_and_wide_architectures_are_refused() {
    let refuse = |what: &str, text: String| {
        assert!(bounded(what, text.into_bytes(), None).is_err(), "{what} was accepted");
    };
    refuse("deep brackets", format!("{{\"class_name\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000)));
    let mut deep = json!({"class_name": "Sequential", "config": []});
    for level in 0..40 {
        deep = json!({"class_name": "Sequential", "config": {"name": format!("s{level}"), "layers": [deep]}});
    }
    refuse("nested models", deep.to_string());
    let layer = |i: usize| json!({"class_name": "ReLU", "config": {"name": format!("r{i}")}});
    let many: Vec<Value> = (0..20_000).map(layer).collect();
    refuse("many layers", json!({"class_name": "Sequential", "config": many}).to_string());
    let end = json!(["in", 0, 0]);
    let ends: Vec<&Value> = (0..50_000).map(|_| &end).collect();
    let wide =
        json!({"class_name": "Model", "config": {"layers": [], "input_layers": ends, "output_layers": ends}});
    refuse("many outputs", wide.to_string());
    let input = |shape: Value| json!({"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": shape}});
    let sequence = |layers: Vec<Value>| json!({"class_name": "Sequential", "config": layers}).to_string();
    refuse("a huge input", sequence(vec![input(json!([null, 1u64 << 40]))]));
    let norm = json!({"class_name": "LayerNormalization", "config": {"name": "n", "axis": [1, 2], "scale": false, "center": false}});
    refuse("a huge constant", sequence(vec![input(json!([null, 16384, 16384])), norm]));
    let up = json!({"class_name": "UpSampling1D", "config": {"name": "u", "size": 1_000_000_000}});
    refuse("a huge result", sequence(vec![input(json!([null, 1000, 4])), up]));
    let repeat = json!({"class_name": "RepeatVector", "config": {"name": "r", "n": 1u64 << 31}});
    refuse("many repetitions", sequence(vec![input(json!([null, 1000])), repeat]));
    let pad = json!({"class_name": "ZeroPadding1D", "config": {"name": "z", "padding": 16_000_000}});
    refuse("a wide border", sequence(vec![input(json!([null, 10, 1000])), pad]));
}

/// A chain of ReLU layers imports in time that grows with its length, not with its square.
#[test]
fn long_chains_are_fast() {
    let layer = |i: usize| json!({"class_name": "ReLU", "config": {"name": format!("r{i}")}});
    let input = json!({"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [null, 3]}});
    let layers: Vec<Value> = std::iter::once(input).chain((0..10_000).map(layer)).collect();
    let text = json!({"class_name": "Sequential", "config": layers}).to_string();
    let imported = bounded("a long chain", text.into_bytes(), None).expect("an import");
    assert_eq!(imported.graph.order().len(), 10_000);
}
