//! Any bytes as a safetensors file, whose header's length is put right: the first byte says how many bytes are tensors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};

fuzz_target!(|data: &[u8]| {
    let Some((&body, rest)) = data.split_first() else { return };
    let header = rest.len().saturating_sub(body.into()) as u64;
    let bytes = [&header.to_le_bytes()[..], rest].concat();
    match read_state(CheckpointFile::from_bytes("m", bytes), &StateOptions::default()) {
        Ok(read) => assert!(read.state.entries.iter().all(|e| e.tensor.fault().is_none())),
        Err(findings) => assert!(findings.has_errors()),
    }
});
