//! Any bytes as a Keras model: HDF5, zip archive or JSON, as the content says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::keras::{KerasOptions, ModelFile, import};

fuzz_target!(|data: &[u8]| {
    let model = ModelFile { label: "m".to_owned(), bytes: data.to_vec() };
    if let Err(findings) = import(model, None, &KerasOptions::default()) {
        assert!(findings.has_errors());
    }
});
