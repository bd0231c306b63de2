//! Samples whose numbers the model's inputs cannot hold: refused or said by file, with their count.

use std::path::{Path, PathBuf};
use std::process::Command;
use unfloat_ir::{Data, ElemType, Layout, Shape, Tensor, TensorType};

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("samples");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// Runs a model of two elements of a type on a file: the exit status and what was said.
fn run(elem: &str, name: &str, samples: &[u8]) -> (Option<i32>, String) {
    let (model, input) = (scratch(&format!("{name}.uir")), scratch(&format!("{name}.npy")));
    let graph = format!(
        "uir 1\ngraph \"net\" imported\ninput %x : {elem}[2] c\n%y = abs %x : {elem}[2] c\noutput \"y\" %y\n"
    );
    std::fs::write(&model, graph).unwrap();
    std::fs::write(&input, samples).unwrap();
    let output = scratch(&format!("{name}.out.npy"));
    let done = Command::new(env!("CARGO_BIN_EXE_unfloat"))
        .arg("run")
        .arg(&model)
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn doubles_beyond_single_precision_are_refused() {
    let elements: Vec<u8> = [1.0f64, 1e300].iter().flat_map(|d| d.to_le_bytes()).collect();
    let (status, said) =
        run("f32", "doubles", &unfloat_npy::write_npy_bytes(&Shape::from([1, 2]), "<f8", &elements));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("doubles.npy") && said.contains("1 of 2 elements of float64"), "{said}");
}

#[test]
fn integers_that_are_rounded_are_counted() {
    let ty = TensorType::new(ElemType::signed(64), [2, 2], Layout::anonymous(2));
    let codes = Tensor::codes(ty, [1 << 24, (1 << 24) + 1, i64::MAX, 3]);
    let (status, said) = run("f32", "integers", &unfloat_npy::write_npy(&codes));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("integers.npy") && said.contains("2 of 4 integers are no float32"), "{said}");
    assert!(said.contains("from 16777217 to 16777216"), "{said}");
}

#[test]
fn floats_beyond_64_bits_are_no_integers() {
    let floats = Data::F32(vec![9.3e18, -9.223_372e18, f32::NAN, 0.5]);
    let samples = unfloat_npy::write_npy_data(&Shape::from([2, 2]), &floats, false);
    let (status, said) = run("i64", "floats", &samples);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("floats.npy") && said.contains("expected i64, found the number 9300000"), "{said}");
    assert!(said.contains("and 2 others of 4 elements"), "{said}");
}
