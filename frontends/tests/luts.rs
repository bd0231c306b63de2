//! Networks of look-up tables in `.npz`: one that numpy wrote and evaluated, and archives that are wrong.

use std::path::Path;
use unfloat_exec::reference::evaluate;
use unfloat_frontends::luts::{import, recognise};
use unfloat_ir::{ElemType, IntType, Layout, Tensor, TensorType};
use unfloat_npy::{Npz, write_npz};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/luts").join(name)).unwrap()
}

#[test]
fn scores_are_those_of_numpy() {
    let (net, samples) = (fixture("net.npz"), fixture("samples.npz"));
    assert!(recognise(&Npz::open(&net).unwrap().names()));
    let graph = import("net.npz", &net, "net").unwrap_or_else(|e| panic!("{e}"));
    unfloat_ir::verify::verify(&graph).unwrap();
    let mut samples = Npz::open(&samples).unwrap();
    let mut get = |name: &str| samples.get(name).unwrap().unwrap();
    let (x, y) = (get("input_0"), get("output_0"));
    assert_eq!(x.shape().dims(), [32, 8]);
    for s in 0..32 {
        let codes = (0..8).map(|i| x.data.code(s * 8 + i).unwrap());
        let sample = Tensor::codes(graph.ty(graph.inputs()[0]).clone(), codes);
        let got = evaluate(&graph, &[sample]).unwrap();
        let got: Vec<_> = (0..3).map(|c| got[0].data.code(c)).collect();
        let want: Vec<_> = (0..3).map(|c| y.data.code(s * 3 + c)).collect();
        assert_eq!(got, want, "sample {s}");
    }
}

fn array(elem: ElemType, shape: &[usize], codes: &[i64]) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), codes.to_vec())
}
fn ints(shape: &[usize], codes: &[i64]) -> Tensor {
    array(ElemType::signed(32), shape, codes)
}
fn bits(shape: &[usize], codes: &[i64]) -> Tensor {
    array(ElemType::Int(IntType::unsigned(8)), shape, codes)
}
fn floats(shape: &[usize], v: &[f32]) -> Tensor {
    Tensor::f32(shape, Layout::anonymous(shape.len()), v.to_vec())
}

/// What reading an archive of these arrays says.
fn read(arrays: &[(&str, Tensor)]) -> String {
    let bytes = write_npz(arrays.iter().map(|(n, t)| (*n, t))).unwrap();
    import("n.npz", &bytes, "n").map_or_else(|e| e.to_string(), |g| g.ty(g.outputs()[0].value).to_string())
}

#[test]
fn bits_of_any_shape_and_float_thresholds() {
    let layer = [
        ("0.connections", ints(&[2, 2], &[0, 5, 3, 3])),
        ("0.tables", bits(&[2, 4], &[0, 0, 0, 1, 0, 1, 1, 0])),
    ];
    let with = |more: (&'static str, Tensor)| read(&[&layer[..], &[more]].concat());
    assert_eq!(with(("inputs", ints(&[2], &[2, 3]))), "bit[2] c");
    assert_eq!(with(("inputs", ints(&[], &[6]))), "bit[2] c");
    assert_eq!(with(("thresholds", floats(&[2, 3], &[0.1, 0.5, 0.9, -1.0, 0.0, 1.0]))), "bit[2] c");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = read(&[
        ("inputs", ints(&[1], &[6])),
        ("0.connections", ints(&[2, 2], &[0, 6, 3, 3])),
        ("0.tables", bits(&[2, 4], &[0, 0, 0, 2, 0, 1, 1, 0])),
        ("1.connections", ints(&[3, 2], &[0, 1, 1, 0, 0, 0])),
        ("1.tables", bits(&[3, 8], &[0; 24])),
        ("2.tables", bits(&[3, 8], &[0; 24])),
        ("groups", ints(&[], &[0])),
        ("bias", floats(&[1], &[0.5])),
    ]);
    for want in [
        "n.npz: 0.connections.npy: pin 1 of table 0 reads bit 6; the layer has 6 input bits, 0 to 5",
        "0.tables.npy: entry 3 of table 0 is neither 0 nor 1",
        "1.tables.npy: expected tables [3, 4] (2^2 entries for 2 pins), found [3,8]",
        "2.connections.npy: is missing beside the layer's tables",
        "groups.npy: expected one whole number from 1",
        "bias.npy: is an array that is not understood",
        "README.md describes it",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
}

#[test]
fn each_part_is_checked() {
    let one = |connections: Tensor, tables: Tensor| {
        read(&[("inputs", ints(&[1], &[4])), ("0.connections", connections), ("0.tables", tables)])
    };
    let t = bits(&[1, 4], &[0, 1, 1, 0]);
    assert!(one(ints(&[2], &[0, 1]), t.clone()).contains("expected connections [outputs, pins]"));
    assert!(one(ints(&[1, 17], &[0; 17]), t.clone()).contains("1 to 16 pins, found [1, 17]"));
    assert!(one(floats(&[1, 2], &[0.0, 1.0]), t.clone()).contains("expected whole numbers"));
    assert!(one(ints(&[1, 2], &[0, -1]), t.clone()).contains("reads bit -1"));
    let layer = [("0.connections", ints(&[1, 2], &[0, 1])), ("0.tables", t)];
    let with = |more: &[(&'static str, Tensor)]| read(&[&layer[..], more].concat());
    assert!(with(&[]).contains("inputs.npy: is missing"));
    assert!(with(&[("inputs", ints(&[2], &[2, -1]))]).contains("positive whole numbers"));
    assert!(with(&[("inputs", ints(&[1], &[0]))]).contains("positive whole numbers"));
    assert!(with(&[("inputs", ints(&[2], &[i32::MAX.into(), i32::MAX.into()]))]).contains("positive whole"));
    assert!(with(&[("inputs", ints(&[1], &[2])), ("thresholds", ints(&[2, 1], &[0, 1]))]).contains("beside"));
    assert!(with(&[("thresholds", ints(&[2], &[0, 1]))]).contains("[features, thresholds]"));
    assert!(with(&[("thresholds", floats(&[2, 1], &[0.0, f32::NAN]))]).contains("NaN"));
    assert!(
        with(&[("inputs", ints(&[1], &[2])), ("groups", ints(&[1], &[2]))])
            .contains("do not divide the 1 bits")
    );
    assert!(import("n.npz", b"PK\x03\x04", "n").is_err());
}

/// Archives with a byte changed, cut off, or with another array's bytes in the place of one: refused, or a graph that verifies.
#[test]
fn damaged_archives_are_refused_or_harmless() {
    let net = fixture("net.npz");
    let mut npz = Npz::open(&net).unwrap();
    let arrays: Vec<(String, Tensor)> = npz
        .names()
        .into_iter()
        .map(|n| {
            let t = npz.get(&n).unwrap().unwrap();
            (n, t)
        })
        .collect();
    // Stored without compression, so that changes reach the numbers.
    let plain = write_npz(arrays.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
    let mut read = 0;
    let mut check = |bytes: &[u8]| {
        if let Ok(graph) = import("n.npz", bytes, "n") {
            unfloat_ir::verify::verify(&graph).unwrap();
            read += 1;
        }
    };
    let mut state = 5u64;
    for _ in 0..3000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (at, value) = ((state >> 33) as usize, (state >> 20) as u8);
        for source in [&net, &plain] {
            let mut bytes = source.clone();
            let n = bytes.len();
            bytes[at % n] = value;
            check(&bytes);
            check(&source[..at % n]);
        }
    }
    for (i, (name, _)) in arrays.iter().enumerate() {
        for (_, other) in &arrays {
            let swapped = arrays.iter().map(|(n, t)| (n.as_str(), if n == name { other } else { t }));
            check(&write_npz(swapped).unwrap());
        }
        let fewer = arrays.iter().enumerate().filter(|(k, _)| *k != i).map(|(_, (n, t))| (n.as_str(), t));
        check(&write_npz(fewer).unwrap());
    }
    assert!(read > 0, "some changes are of numbers alone");
}
