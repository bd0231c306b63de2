//! Thousands of damaged and hostile ONNX files: each is imported or refused, in bounded time and memory, without a panic.
//!
//! The models are the smallest of the ONNX project's own cases, one for each operator and exporter, and qonnx' quantizers.
//! Allocations are counted by a global allocator, which is why this test is a program of its own.

mod counting;
mod mutants;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use unfloat_frontends::onnx::{Imported, NoSiblings, OnnxFile, OnnxOptions, import};
use unfloat_ir::Diagnostics;

use mutants::{Random, mutate};

/// Only one import at a time, or the peak would be that of several.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that an import may allocate beyond a multiple of its file: the blocks that are read ahead, and tensors that are
/// computed from few numbers (a `ConstantOfShape`, an `Expand`).
const BASE: usize = 64 << 20;
/// Bytes per byte of the file: an empty node of two bytes becomes a message of some hundreds.
const PER_BYTE: usize = 1000;
const TIME: Duration = Duration::from_secs(5);

/// The models of a suite that have fewer than `limit` bytes.
fn models(suite: &str, limit: usize) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/onnx/{suite}.zip"));
    let bytes = fs::read(path).expect("the archive");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
    let mut found = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).expect("an entry");
        let name = file.name().expect("a name").into_owned();
        let mut data = Vec::new();
        file.read_to_end(&mut data).expect("readable");
        if name.ends_with("model.onnx") && data.len() < limit {
            found.insert(name, data);
        }
    }
    found
}

/// Imports under the bounds; `what` names the mutant.
fn bounded(what: &str, model: Vec<u8>) -> Result<Imported, Diagnostics> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let size = model.len();
    let start = Instant::now();
    let (result, peak) = counting::peak_of(|| {
        std::panic::catch_unwind(|| {
            import(OnnxFile::from_bytes("m", model), &NoSiblings, &OnnxOptions::default())
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

fn damage(suite: &str, limit: usize, each: u64) {
    let (mut refused, mut total) = (0usize, 0usize);
    for (number, (name, bytes)) in models(suite, limit).into_iter().enumerate() {
        for mutant in 0..each {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64) << 32 ^ (mutant + 1));
            let mut mutated = bytes.clone();
            let how = mutate(&mut mutated, &mut random);
            total += 1;
            refused += usize::from(bounded(&format!("{name} #{mutant}: {how}"), mutated).is_err());
        }
    }
    println!("{suite}: {refused} of {total} mutants refused");
    assert!(total > 1000 && refused > total / 4 && refused < total, "{refused} of {total} refused");
}

#[test]
fn damaged_operators() {
    damage("node", 2000, 10);
}

#[test]
fn damaged_exports() {
    damage("pytorch-operator", 20_000, 60);
}

#[test]
fn damaged_quantizers() {
    damage("qonnx", 2000, 40);
}

/// A length-delimited field of a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// A model around the fields of a graph.
fn model(graph: &[u8]) -> Vec<u8> {
    [&[0x08, 8][..], &field(8, &[0x10, 13]), &field(7, graph)].concat()
}

#[test]
fn hostile_structures_are_refused() {
    let refuse = |what: &str, bytes: Vec<u8>| {
        assert!(bounded(what, bytes).is_err(), "{what} was accepted");
    };
    // A graph in an attribute of a node of a graph in an attribute …
    let mut deep = Vec::new();
    for _ in 0..2000 {
        deep = field(1, &field(5, &field(6, &deep)));
    }
    refuse("nested graphs", model(&deep));
    refuse("many empty nodes", model(&field(1, &[]).repeat(200_000)));
    refuse("many empty tensors", model(&field(5, &[]).repeat(200_000)));
    refuse("many functions", [model(&[]), field(25, &[]).repeat(100_000)].concat());
    // dims of 2^62 each, no data.
    let huge = [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let tensor = [&huge[..], &huge[..], &[0x10, 1], &field(8, b"w")].concat();
    let output = field(12, &field(1, b"w"));
    refuse("a tensor of 2^124 elements", model(&[field(5, &tensor), output.clone()].concat()));
    // A million numbers each, of which the file has none: a shape that a node is asked to make.
    let shape = [0x08, 2].iter().chain(&[0x10, 7]).copied().collect::<Vec<u8>>();
    let big = (1i64 << 40).to_le_bytes();
    let shape = [shape, field(8, b"s"), field(9, &[big, big].concat())].concat();
    let node = [field(1, b"s"), field(2, b"w"), field(4, b"ConstantOfShape")].concat();
    refuse("a constant of 2^80 elements", model(&[field(5, &shape), field(1, &node), output].concat()));
    // A length beyond the file's end.
    refuse("a field beyond the end", vec![0x08, 8, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]);
    refuse("nothing", Vec::new());
}

/// A number as a protobuf has it.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// An input of floats.
fn input(name: &[u8], dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&d| field(1, &[vec![0x08], varint(d)].concat())).collect();
    let tensor = [vec![0x08, 1], field(2, &dims)].concat();
    field(11, &[field(1, name), field(2, &field(1, &tensor))].concat())
}

/// The extents of an input take no bytes of a file: constants of its shape must not be made from them.
#[test]
fn normalisations_of_huge_inputs_allocate_nothing() {
    let groups = field(5, &[field(1, b"num_groups"), vec![0x18, 1, 0xa0, 1, 2]].concat());
    for (op, extra) in [
        ("InstanceNormalization", Vec::new()),
        ("GroupNormalization", groups),
        ("LayerNormalization", Vec::new()),
    ] {
        for extent in [1u64 << 15, 1 << 31, i64::MAX as u64] {
            let operands = if op.starts_with("Layer") { 2 } else { 3 };
            let names: Vec<u8> =
                [&b"x"[..], b"s", b"s"][..operands].iter().flat_map(|n| field(1, n)).collect();
            let one = [vec![0x08, 1, 0x10, 1], field(8, b"s"), field(9, &1f32.to_le_bytes())].concat();
            let axis = field(5, &[field(1, b"axis"), vec![0x18, 2, 0xa0, 1, 2]].concat());
            let axis = if op.starts_with("Layer") { axis } else { Vec::new() };
            let node = [names, field(2, b"y"), field(4, op.as_bytes()), extra.clone(), axis].concat();
            let graph = [
                field(1, &node),
                field(5, &one),
                input(b"x", &[1, 1, extent, extent]),
                field(12, &field(1, b"y")),
            ];
            let version = [&[0x08, 8][..], &field(8, &[0x10, 21])].concat();
            let found = bounded(op, [version, field(7, &graph.concat())].concat());
            let text = found.map(|_| ()).expect_err(op).to_string();
            let word = if extent < 1 << 32 { "makes a constant of" } else { "" };
            assert!(text.contains(word) && text.contains(op), "{op} {extent}: {text}");
        }
    }
}
