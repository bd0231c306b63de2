//! Any text as an architecture, beside the weights of a real model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::keras::{KerasOptions, ModelFile, import};

const WEIGHTS: &[u8] = include_bytes!("../../fixtures/keras/topologies/keras2_best_epoch_12.h5");

fuzz_target!(|data: &[u8]| {
    let file = |bytes: &[u8]| ModelFile { label: "m".to_owned(), bytes: bytes.to_vec() };
    if let Err(findings) = import(file(data), Some(file(WEIGHTS)), &KerasOptions::default()) {
        assert!(findings.has_errors());
    }
});
