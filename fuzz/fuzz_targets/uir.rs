//! Any text as a `.uir` graph: it is refused, or printed and parsed again it is the same graph.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unfloat_ir::text::{parse, print};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, "f.uir", &mut |_| None) {
        Err(findings) => assert!(findings.has_errors()),
        Ok(graph) => {
            let printed = print(&graph);
            let mut blob = |name: &str| printed.blobs.iter().find(|b| b.0 == name).map(|b| b.1.clone());
            let again = parse(&printed.text, "f.uir", &mut blob).expect("what is printed can be read");
            assert!(again == graph, "printed and parsed it is another graph");
        }
    }
});
