//! Networks of look-up tables through the command line: from numpy's arrays to C++ and Verilog that are checked, simulated
//! and proved.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/luts").join(name)
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("luts").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn unfloat(dir: &Path, arguments: &[&str]) -> (Output, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_unfloat")).args(arguments).current_dir(dir).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done, text)
}

#[test]
fn arrays_become_checked_cpp_and_verilog() {
    let dir = scratch("all");
    let (net, samples) = (fixture("net.npz"), fixture("samples.npz"));
    let (net, samples) = (net.to_str().unwrap(), samples.to_str().unwrap());
    let (done, text) = unfloat(
        &dir,
        &["convert", net, "-o", "out", "--emit", "cpp,verilog,uir", "--device", "xilinx", "--check", samples],
    );
    assert_eq!(done.status.code(), Some(0), "{text}");
    for want in [
        "emitted cpp and given outputs",
        "emitted verilog and given outputs",
        "native executor and given outputs",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert!(text.contains("differ by at most 0.000e0"), "{text}");
    let (done, text) = unfloat(&dir, &["verify", "out"]);
    assert_eq!((done.status.code(), text.contains("verilog: PASS: 32 samples")), (Some(0), true), "{text}");
    let (done, text) = unfloat(&dir, &["prove", "out"]);
    assert_eq!(done.status.code(), Some(0), "{text}");
    let certificate = std::fs::read_to_string(dir.join("out/certificate.json")).unwrap();
    let certificate: serde_json::Value = serde_json::from_str(&certificate).unwrap();
    assert_eq!(certificate["proofs"].as_array().map(Vec::len), Some(2), "{certificate}");
    assert!(certificate["proofs"][0]["equal"] == true);
    // The certificate has changed, and the manifest knows: the folder is still ours to write.
    let again = ["convert", net, "-o", "out", "--emit", "verilog", "--head", "class", "--latency", "2"];
    let (done, text) = unfloat(&dir, &again);
    assert_eq!(done.status.code(), Some(0), "{text}");
    let ports = std::fs::read_to_string(dir.join("out/verilog/net.ports.json")).unwrap();
    let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
    assert_eq!((&ports["latency"], &ports["out_data"]["width"]), (&2.into(), &2.into()));
    // A table that is not what it should be: the testbench and the proof say so.
    let path = dir.join("out/verilog/net_2_layer.v");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("= 1'b1;", "= 1'b0;", 1)).unwrap();
    let (done, text) = unfloat(&dir, &["prove", "out", "--json"]);
    assert_eq!(done.status.code(), Some(1), "{text}");
    assert!(text.contains("\"equal\": false"), "{text}");
}

#[test]
fn settings_that_cannot_be_are_refused_before_anything_is_written() {
    let dir = scratch("refused");
    let net = fixture("net.npz");
    let net = net.to_str().unwrap();
    let settings =
        ["--emit", "verilog", "--device", "teapot", "--latency", "soon", "--option", "cpp.weights=text"];
    let (done, text) = unfloat(&dir, &[&["convert", net, "-o", "out"][..], &settings].concat());
    assert_eq!(done.status.code(), Some(2));
    for want in ["`teapot` is no value", "`soon` is no value", "changes nothing without --emit cpp"] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    let settings = ["--emit", "verilog", "--latency", "99", "--option", "verilog.style=primitive"];
    let (done, text) = unfloat(&dir, &[&["convert", net, "-o", "out"][..], &settings].concat());
    assert_eq!(done.status.code(), Some(2));
    for want in ["latency 99: this network has", "style `primitive` needs a device"] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert!(!dir.join("out").exists());
    let (done, text) = unfloat(&dir, &["convert", net, "-o", "out", "--batch", "0"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text.contains("--batch is for ONNX models"), "{text}");
}
