//! Any bytes as an archive of arrays of parameters, arrays of Python objects included.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};

fuzz_target!(|data: &[u8]| {
    for key in [None, Some("weights".to_string())] {
        let file = CheckpointFile::from_bytes("m", data.to_vec());
        match read_state(file, &StateOptions { key, ..StateOptions::default() }) {
            Ok(read) => assert!(read.state.entries.iter().all(|e| e.tensor.fault().is_none())),
            Err(findings) => assert!(findings.has_errors()),
        }
    }
});
