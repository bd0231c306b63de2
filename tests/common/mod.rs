//! What several end-to-end tests share: the Keras fixtures and their outputs.

use serde_json::Value;
use std::path::{Path, PathBuf};
use unfloat::cli::{Import, KerasBackend};
use unfloat::model::Subject;
use unfloat::samples::{self, Batch};

/// The folder of the Keras fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras")
}

/// The fixtures that must import, as `index.json` lists them.
pub fn fixtures() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let index: Value = serde_json::from_str(&text).unwrap();
    let all = index["fixtures"].as_array().unwrap().clone();
    let ok: Vec<Value> = all.into_iter().filter(|f| f["expect"] == "ok").collect();
    assert!(ok.len() > 60, "the index lists only {} fixtures", ok.len());
    ok
}

/// A fixture's model file.
pub fn path(fixture: &Value) -> PathBuf {
    folder().join(fixture["model"].as_str().unwrap())
}

/// What the command line would be told beside the model file.
pub fn import_options(fixture: &Value) -> Import {
    Import {
        weights: fixture["weights"].as_str().map(|w| folder().join(w)),
        keras_backend: (fixture["needs"]["backend"] == "theano").then_some(KerasBackend::Theano),
        ..Import::default()
    }
}

/// Opens a fixture.
pub fn open(fixture: &Value) -> Subject {
    Subject::open(&path(fixture), &import_options(fixture))
        .unwrap_or_else(|e| panic!("{}: {e}", fixture["model"]))
}

/// A fixture's inputs, and the outputs that its framework gave.
pub fn data(fixture: &Value, subject: &Subject) -> (Batch, Batch) {
    let io = [folder().join(fixture["io"].as_str().unwrap())];
    let inputs = samples::read(&io, "input", &subject.input_types()).unwrap();
    let outputs = samples::read(&io, "output", &subject.output_types()).unwrap();
    assert_eq!(inputs.count, outputs.count);
    (inputs, outputs)
}
