//! The checked-in code for ONNX' schema is what the schema gives; `UNFLOAT_BLESS=1` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn generated_code_is_that_of_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx/proto");
    let schema = protox::compile(["onnx.proto"], [&folder]).expect("the schema compiles");
    let out = std::env::temp_dir().join(format!("unfloat-onnx-proto-{}", std::process::id()));
    fs::create_dir_all(&out).expect("a folder for temporary files");
    prost_build::Config::new()
        .bytes([".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .out_dir(&out)
        .compile_fds(schema)
        .expect("code is generated");
    let code = fs::read_to_string(out.join("onnx.rs")).expect("the generated file");
    fs::remove_dir_all(&out).expect("temporary files");
    let header = "//! ONNX' messages, generated from `onnx.proto` (Apache-2.0) by `tests/onnx_proto.rs`; not to be edited.\n\n";
    let wanted = format!("{header}{code}");
    let place = folder.join("generated.rs");
    if std::env::var_os("UNFLOAT_BLESS").is_some() {
        fs::write(&place, &wanted).expect("written");
    }
    assert!(
        fs::read_to_string(&place).expect("generated.rs") == wanted,
        "generated.rs is stale: UNFLOAT_BLESS=1 cargo test -p unfloat-frontends --test onnx_proto"
    );
}
