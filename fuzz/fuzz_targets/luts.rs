//! Any bytes as a network of look-up tables in an `.npz`: they are refused, or the graph verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_frontends::luts::import;

fuzz_target!(|data: &[u8]| {
    if let Ok(graph) = import("net.npz", data, "net") {
        unfloat_ir::verify::verify(&graph).expect("what is imported verifies");
    }
});
