//! Any bytes as an `.npz` archive: every member is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_npy::Npz;

fuzz_target!(|data: &[u8]| {
    if let Ok(mut archive) = Npz::open(data) {
        for name in archive.names() {
            let _ = archive.get(&name);
        }
    }
});
