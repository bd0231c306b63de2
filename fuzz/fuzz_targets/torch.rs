//! Any bytes as a checkpoint: zip archive, PyTorch's older format, pickle, as the content says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};

fuzz_target!(|data: &[u8]| {
    let file = CheckpointFile::from_bytes("m", data.to_vec());
    match read_state(file, &StateOptions::default()) {
        Ok(read) => assert!(read.state.entries.iter().all(|e| e.tensor.fault().is_none())),
        Err(findings) => assert!(findings.has_errors()),
    }
});
