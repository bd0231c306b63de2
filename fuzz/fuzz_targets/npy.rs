//! Any bytes as a `.npy` array: they are refused, or written and read again the array is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_npy::{read_npy, write_npy};

fuzz_target!(|data: &[u8]| {
    if let Ok(tensor) = read_npy(data) {
        assert_eq!(tensor.fault(), None);
        let again = read_npy(&write_npy(&tensor)).expect("what is written can be read");
        // Unsigned codes are written in the signed word that holds them.
        assert_eq!((again.ty.shape, again.data), (tensor.ty.shape, tensor.data));
    }
});
