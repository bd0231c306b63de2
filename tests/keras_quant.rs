//! Keras files with quantized layers on the command line: the options that say what a file does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras_quant").join(name)
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Verifies a model against the outputs that its library gave.
fn verified(model: &str, io: &str, options: &[&str]) -> Output {
    let (model, io) = (fixture(model), fixture(io));
    let (model, io) = (model.to_str().unwrap(), io.to_str().unwrap());
    let args = ["verify", model, "--input", io, "--expect", io];
    unfloat(&[&args, options].concat())
}

#[test]
fn a_layer_map_says_which_layer_a_custom_class_is() {
    let map = fixture("course/own_class.toml");
    let without = verified("course/own_class.h5", "course/own_class.io.npz", &[]);
    assert_eq!(without.status.code(), Some(2));
    let said = text(&without.stderr);
    assert!(said.contains("MyTernaryDense") && said.contains("--layer-map"), "{said}");
    let with =
        verified("course/own_class.h5", "course/own_class.io.npz", &["--layer-map", map.to_str().unwrap()]);
    assert!(with.status.success(), "{}", text(&with.stderr));
}

#[test]
fn larq_s_weights_are_what_the_user_says() {
    let io = "larq/dorefa_weights.io.npz";
    let latent = verified("larq/dorefa_weights.h5", io, &[]);
    assert!(latent.status.success(), "{}", text(&latent.stderr));
    assert!(text(&latent.stderr).contains("--larq-weights"), "{}", text(&latent.stderr));
    let quantized = "larq/dorefa_weights_quantized.h5";
    assert_eq!(verified(quantized, io, &[]).status.code(), Some(1), "the library errs, too");
    let said = verified(quantized, io, &["--larq-weights", "quantized"]);
    assert!(said.status.success() && !text(&said.stderr).contains("DoReFa"), "{}", text(&said.stderr));
}

#[test]
fn a_layer_map_that_cannot_be_read_is_said_with_its_help() {
    let model = fixture("course/image.h5");
    let found = unfloat(&["inspect", model.to_str().unwrap(), "--layer-map", model.to_str().unwrap()]);
    assert_eq!(found.status.code(), Some(2));
    assert!(text(&found.stderr).contains("UTF-8"), "{}", text(&found.stderr));
}
