//! ONNX models through the program: the ONNX project's own cases, as a user would have them in a folder.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A case of one of the archives in `fixtures/onnx`, unpacked into a folder of its own; each test takes other cases.
fn case(suite: &str, name: &str) -> PathBuf {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/onnx/{suite}.zip"));
    let mut archive = zip::ZipArchive::new(Cursor::new(std::fs::read(archive).unwrap())).unwrap();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let path = file.name().unwrap().into_owned();
        if let Some((_, file_name)) = path.split_once('/').filter(|(folder, _)| *folder == name) {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            std::fs::write(dir.join(file_name), bytes).unwrap();
        }
    }
    dir
}

fn unfloat(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).current_dir(dir).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs and wants a status.
fn expect(dir: &Path, status: i32, args: &[&str]) -> Output {
    let output = unfloat(dir, args);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {}{}", stdout(&output), stderr(&output));
    output
}

#[test]
fn a_convolution_becomes_verified_cpp() {
    let dir = case("pytorch-converted", "test_Conv2d_groups");
    let (input, output) = ("input_0.npy", "output_0.npy");
    let same = expect(&dir, 0, &["verify", "model.onnx", "--input", input, "--expect", output]);
    assert!(stdout(&same).contains("equal: output"), "{}", stdout(&same));
    expect(&dir, 0, &["convert", "model.onnx", "-o", "out", "--check", input]);
    expect(&dir, 0, &["verify", "out", "model.onnx", "--input", input, "--expect", output]);
    let certificate = std::fs::read(dir.join("out/certificate.json")).unwrap();
    let certificate: serde_json::Value = serde_json::from_slice(&certificate).unwrap();
    let source = &certificate["source"][0];
    assert_eq!(source["file"], "model.onnx");
    assert_eq!(source["bytes"], std::fs::metadata(dir.join("model.onnx")).unwrap().len());
    assert_eq!(certificate["passes"].as_array().map(Vec::is_empty), Some(false));
}

#[test]
fn inspect_shows_a_layer_table() {
    let dir = case("pytorch-converted", "test_Conv2d_depthwise");
    let table = stdout(&expect(&dir, 0, &["inspect", "model.onnx"]));
    assert!(table.contains("conv kernel=[3,3] strides=[1,1] groups=4"), "{table}");
    assert!(table.contains("f32[4,4,4] chw") && table.contains("model.onnx: 3 (Conv)"), "{table}");
    assert!(table.contains("40 parameters, 576 multiply-accumulates per sample"), "{table}");
    let json: serde_json::Value =
        serde_json::from_slice(&expect(&dir, 0, &["inspect", "model.onnx", "--json"]).stdout).unwrap();
    assert_eq!(json["layers"][0]["macs"], 576);
    let weight = json["layers"][0]["name"].as_str().unwrap();
    let unknown = stderr(&expect(&dir, 2, &["inspect", "model.onnx", "--tensor", weight]));
    assert!(unknown.contains("there is no constant") && unknown.contains("there are: "), "{unknown}");
    let first = stdout(&expect(&dir, 0, &["inspect", "model.onnx", "--tensor", "1"]));
    assert!(first.starts_with("1,(4, 1, 3, 3)\n") && first.lines().count() == 37, "{first}");
}

#[test]
fn integers_go_in_and_come_out() {
    let dir = case("node", "test_argmax_default_axis_example");
    expect(&dir, 0, &["run", "model.onnx", "--batch", "none", "--input", "input_0.npy", "--output", "y.npy"]);
    let read = |name: &str| unfloat_npy::read_npy(&std::fs::read(dir.join(name)).unwrap()).unwrap();
    assert_eq!(read("y.npy"), read("output_0.npy"));
    let dir = case("node", "test_bitwise_and_i32_2d");
    let inputs = ["--input", "input_0.npy", "--input", "input_1.npy"];
    let args = [&["verify", "model.onnx", "--expect", "output_0.npy"][..], &inputs].concat();
    let same = stdout(&expect(&dir, 0, &args));
    assert!(same.contains("differ by at most 0.000e0"), "{same}");
}

#[test]
fn inputs_become_constants() {
    let dir = case("node", "test_reshape_reordered_all_dims");
    let refused = stderr(&expect(&dir, 2, &["inspect", "model.onnx"]));
    assert!(refused.contains("is computed when the network runs"), "{refused}");
    let constant = ["--batch", "none", "--constant", "shape=input_1.npy"];
    let args = ["verify", "model.onnx", "--input", "input_0.npy", "--expect", "output_0.npy"];
    expect(&dir, 0, &[&args[..], &constant].concat());
    let missing = ["inspect", "model.onnx", "--constant", "shape=nosuch.npy", "--constant", "shape"];
    assert!(stderr(&expect(&dir, 2, &missing)).contains("expected NAME=VALUE"));
    assert!(stderr(&expect(&dir, 2, &missing[..4])).contains("nosuch.npy"));
}

#[test]
fn options_of_another_format_are_refused() {
    let dir = case("pytorch-converted", "test_Linear");
    let wrong = ["inspect", "model.onnx", "--weights", "w.h5", "--keras-backend", "theano"];
    let text = stderr(&expect(&dir, 2, &wrong));
    assert!(
        text.contains("--weights is for Keras") && text.contains("--keras-backend is for Keras"),
        "{text}"
    );
    let keras = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras/fashion_cnn.h5");
    let keras = keras.to_str().unwrap();
    let text = stderr(&expect(&dir, 2, &["inspect", keras, "--batch", "none", "--dim", "N=1"]));
    assert!(text.contains("--batch is for ONNX") && text.contains("--dim is for ONNX"), "{text}");
}

#[test]
fn damaged_files_name_what_is_wrong() {
    let dir = case("pytorch-converted", "test_Linear_no_bias");
    let bytes = std::fs::read(dir.join("model.onnx")).unwrap();
    std::fs::write(dir.join("cut.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    let text = stderr(&expect(&dir, 2, &["convert", "cut.onnx", "-o", "out"]));
    assert!(text.starts_with("error: cut.onnx: ") && !dir.join("out").exists(), "{text}");
    std::fs::write(dir.join("page.onnx"), "<!DOCTYPE html>").unwrap();
    let text = stderr(&expect(&dir, 2, &["inspect", "page.onnx"]));
    assert!(text.contains("page.onnx: is a web page") && text.contains("ONNX"), "{text}");
    std::fs::write(dir.join("image.onnx"), "GIF89a").unwrap();
    let text = stderr(&expect(&dir, 2, &["inspect", "image.onnx"]));
    assert!(text.contains("not a model that is known here: it begins with 47 49 46"), "{text}");
}

/// A field of a protobuf message that holds bytes.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

/// A model of nodes from `x` to `z`, both of the given extents, which are varints.
fn model(nodes: &[Vec<u8>], dims: &[&[u8]]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|varint| field(1, [&[8], *varint].concat())).collect();
    let ty = field(2, field(1, [vec![8, 1], field(2, dims)].concat()));
    let port = |number, name: &str| field(number, [field(1, name), ty.clone()].concat());
    let nodes: Vec<u8> = nodes.iter().flat_map(|n| field(1, n)).collect();
    let graph = [nodes, field(2, "g"), port(11, "x"), port(12, "z")].concat();
    // A length of two bytes.
    let length = [graph.len() as u8 | 0x80, (graph.len() >> 7) as u8];
    [&[8, 8, 0x3a][..], &length, &graph, &field(8, [16, 17])].concat()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|i| field(1, i)).collect();
    [inputs, field(2, output), field(3, op), field(4, op)].concat()
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx_written");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(name), bytes).unwrap();
    dir
}

#[test]
fn values_that_are_too_large_are_said_once_and_by_file() {
    // [1,65536,65536]
    let huge = &[0x80, 0x80, 0x04][..];
    let nodes = [node("Relu", &["x"], "y"), node("Abs", &["y"], "z")];
    let dir = written("huge.onnx", &model(&nodes, &[&[1], huge, huge]));
    let said = stderr(&expect(&dir, 2, &["inspect", "huge.onnx"]));
    assert!(said.starts_with("error: huge.onnx: value `x`: has more than 2147483648 elements"), "{said}");
    assert!(said.contains("(and 2 more values)") && said.matches("elements").count() == 1, "{said}");
}

#[test]
fn a_constant_is_shown_under_its_own_name() {
    let raw: Vec<u8> = [0.3f32, 0.7].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = [vec![8, 2, 16, 1], field(9, raw)].concat();
    let attribute = [field(1, "value"), field(5, tensor), vec![0xa0, 1, 4]].concat();
    let constant = [node("Constant", &[], "W"), field(5, attribute)].concat();
    let nodes = [constant, node("Mul", &["x", "W"], "z")];
    let dir = written("constant.onnx", &model(&nodes, &[&[1], &[2]]));
    let shown = stdout(&expect(&dir, 0, &["inspect", "constant.onnx", "--tensor", "W"]));
    assert_eq!(shown, "W,(2)\n0.3\n0.7\n");
    let said = stderr(&expect(&dir, 2, &["inspect", "constant.onnx", "--tensor", "W", "--weights", "w.h5"]));
    assert!(said.contains("--weights is for Keras models"), "{said}");
}
