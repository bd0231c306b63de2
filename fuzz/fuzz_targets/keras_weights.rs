//! Any bytes as weights, beside the architecture of a real model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::keras::{KerasOptions, ModelFile, import};

const ARCHITECTURE: &[u8] = include_bytes!("../../fixtures/keras/topologies/keras2_net_arch.json");

fuzz_target!(|data: &[u8]| {
    let file = |bytes: &[u8]| ModelFile { label: "m".to_owned(), bytes: bytes.to_vec() };
    if let Err(findings) = import(file(ARCHITECTURE), Some(file(data)), &KerasOptions::default()) {
        assert!(findings.has_errors());
    }
});
