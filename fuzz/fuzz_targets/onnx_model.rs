//! Any bytes as an ONNX model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::onnx::{NoSiblings, OnnxFile, OnnxOptions, import};

fuzz_target!(|data: &[u8]| {
    let file = OnnxFile::from_bytes("m", data.to_vec());
    if let Err(findings) = import(file, &NoSiblings, &OnnxOptions::default()) {
        assert!(findings.has_errors());
    }
});
