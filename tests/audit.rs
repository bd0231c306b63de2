//! `unfloat audit` finds what hides in the binary networks that circulate as course code, and finds nothing where there is
//! nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn audit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).arg("audit").args(args).output().unwrap()
}

fn findings(args: &[&str]) -> (Option<i32>, Vec<serde_json::Value>) {
    let out = audit(&[args, &["--json"]].concat());
    let text = String::from_utf8_lossy(&out.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{:?}", out.stderr));
    let list = json["findings"].as_array().unwrap().clone();
    assert_eq!(json["clean"].as_bool(), Some(list.is_empty()));
    (out.status.code(), list)
}

/// A batch normalisation in float, an input that is changed before it is quantized, zero padding on a map of ±1, float
/// results: each is named with its layer.
#[test]
fn the_cheats_of_a_quantized_network_are_caught() {
    let (model, arch) = (fixture("pytorch/nets/int8_sign.npz"), fixture("pytorch/nets/int8_sign.toml"));
    let (code, found) = findings(&[model.to_str().unwrap(), "--arch", arch.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    let has = |op: &str, what: &str, layer: &str| {
        found.iter().any(|f| {
            let text = |key: &str| f[key].as_str().unwrap_or_default().to_string();
            text("op") == op
                && text("what").contains(what)
                && text("origin").contains(layer)
                && !text("remedy").is_empty()
        })
    };
    assert!(
        has("batch_norm", "a batch normalisation in floats", "conv_blocks.conv1/01-conv-bn"),
        "{found:#?}"
    );
    assert!(has("quantize", "the input is changed in floats", "conv_blocks.conv1/03-act"), "{found:#?}");
    assert!(has("conv", "zero padding on a map of -1 and +1", "conv_blocks.conv2/01-conv"), "{found:#?}");
    let (model, arch) = (fixture("pytorch/nets/fixed_point.npz"), fixture("pytorch/nets/fixed_point.toml"));
    let (code, found) = findings(&[model.to_str().unwrap(), "--arch", arch.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(found.iter().any(|f| f["what"].as_str().unwrap().contains("is made of floats")), "{found:#?}");
}

#[test]
fn integers_between_boundaries_are_clean() {
    for name in ["onnx/brevitas/four_bit_qcdq.onnx", "onnx/brevitas/eight_bit_qonnx.onnx"] {
        let out = audit(&[fixture(name).to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&out.stdout));
        assert!(String::from_utf8_lossy(&out.stdout).contains("no float hides"));
    }
}

/// A float model is all floats; quantized it is none.
#[test]
fn quantizing_removes_every_float() {
    let model = fixture("quantize/fashion_bn.onnx");
    let data = fixture("quantize/fashion_bn.calibration.npz");
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let (code, found) = findings(&[model]);
    assert_eq!(code, Some(1));
    assert!(found.iter().filter(|f| f["what"] == "a weight in floats").count() == 5, "{found:#?}");
    for spec in ["int8", "w4a8"] {
        assert_eq!(
            findings(&[model, "--quantize", spec, "--calibrate", data]),
            (Some(0), Vec::new()),
            "{spec}"
        );
    }
    assert_eq!(findings(&[model, "--quantize", "fixed<16,6>"]), (Some(0), Vec::new()));
}
