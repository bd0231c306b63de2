//! The story that the product begins with: a Keras CNN went through a converter, every probability was wrong, and
//! nothing said that the converter read channels_first where the file was channels_last.
//!
//! Here the same CNN, saved in both layouts by three generations of Keras, with each of Flatten's conventions and
//! Theano's mirrored kernels, gives the same probabilities and the same C++ answers.

mod common;

use common::{data, fixtures, open};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use unfloat::cli::Import;
use unfloat::compare;
use unfloat::model::Subject;
use unfloat::samples::Batch;

fn story() -> Vec<Value> {
    let story: Vec<Value> =
        fixtures().into_iter().filter(|f| f["model"].as_str().unwrap().starts_with("story/")).collect();
    for needed in ["tf_keras", "keras 3", "keras 1.2", "keras 2.1", "keras 2.2", "theano"] {
        assert!(
            story.iter().any(|f| f["framework"].as_str().unwrap().contains(needed)),
            "no file by {needed}"
        );
    }
    story
}

fn same(types: &Subject, what: &str, a: &Batch, b: &Batch) {
    for difference in compare::outputs(&types.output_types(), a, b) {
        assert!(difference.within(2e-5), "{what}: {difference:?}");
        assert_eq!(difference.classes_changed, 0, "{what}");
    }
}

#[test]
fn every_layout_gives_the_same_probabilities() {
    let mut first: Option<Batch> = None;
    let mut layouts = std::collections::BTreeSet::new();
    for fixture in story() {
        let subject = open(&fixture);
        layouts.insert(subject.input_types()[0].1.to_string());
        let (inputs, expected) = data(&fixture, &subject);
        let found = subject.run(&inputs, 1).unwrap();
        same(&subject, &fixture["model"].to_string(), &found, &expected);
        same(&subject, &fixture["model"].to_string(), &found, first.get_or_insert(found.clone()));
    }
    assert_eq!(layouts.into_iter().collect::<Vec<_>>(), ["f32[3,32,32] chw", "f32[32,32,3] hwc"]);
}

/// Samples of the other layout do not fit: the mistake can't be made in silence.
#[test]
fn samples_of_the_other_layout_are_refused() {
    let story = story();
    let by_layout = |layout: &str| {
        story.iter().find(|f| f["io"].as_str().unwrap().contains(layout)).expect("both layouts are there")
    };
    let (first, last) = (by_layout("channels_first"), by_layout("channels_last"));
    let subject = open(first);
    let io = [common::folder().join(last["io"].as_str().unwrap())];
    let error = unfloat::samples::read(&io, "input", &subject.input_types()).unwrap_err().to_string();
    assert!(
        error.contains("expected the shape [N,3,32,32]") && error.contains("found [3,32,32,3]"),
        "{error}"
    );
    assert!(error.contains("the model's axes are `chw`"), "{error}");
}

#[test]
fn every_layout_gives_the_same_cpp_answers() {
    let dir = tempdir();
    let mut first: Option<Batch> = None;
    for (i, fixture) in story().iter().enumerate() {
        let subject = open(fixture);
        let (inputs, expected) = data(fixture, &subject);
        let out = dir.join(format!("story{i}"));
        let mut convert = Command::new(env!("CARGO_BIN_EXE_unfloat"));
        convert
            .arg("convert")
            .arg(common::path(fixture))
            .arg("-o")
            .arg(&out)
            .args(["--emit", "cpp", "--name", "cnn"]);
        if let Some(backend) = fixture["needs"]["backend"].as_str() {
            convert.args(["--keras-backend", backend]);
        }
        let result = convert.output().unwrap();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        let emitted = Subject::open(&out, &Import::default()).unwrap();
        assert_eq!(emitted.input_types()[0].1, subject.input_types()[0].1);
        let found = emitted.run(&inputs, 1).unwrap();
        same(&subject, &fixture["model"].to_string(), &found, &expected);
        same(&subject, &fixture["model"].to_string(), &found, first.get_or_insert(found.clone()));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("story");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
