//! Any bytes as a pickle: of an array of objects, and of a PyTorch file with storages behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::pytorch::{CheckpointFile, StateOptions, read_state};

const ARRAY: &[u8] =
    b"\x93NUMPY\x01\x00\x37\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n";
/// PyTorch's magic number, version, and no facts of the machine.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|data: &[u8]| {
    for head in [ARRAY, LEGACY] {
        for key in [None, Some(".".to_string())] {
            let file = CheckpointFile::from_bytes("m", [head, data].concat());
            match read_state(file, &StateOptions { key, ..StateOptions::default() }) {
                Ok(read) => assert!(read.state.entries.iter().all(|e| e.tensor.fault().is_none())),
                Err(findings) => assert!(findings.has_errors()),
            }
        }
    }
});
