//! What emitted files promise to those who use them: programs that include the header, the `.npy` program, exact
//! constants.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Net, branches, compilers, emit, perceptron};
use unfloat_backends::Manifest;
use unfloat_backends::cpp::{self, Compiler};
use unfloat_backends::process::{self, TempDir};
use unfloat_ir::{Data, Shape, Tensor};

const LIMIT: Duration = Duration::from_secs(300);

fn write(net: &Net, settings: &[&str], dir: &Path) {
    emit(&net.graph, settings).write_to(dir, Manifest::new(&net.graph), false).unwrap();
}

/// Runs a command that must succeed.
fn must(command: &mut Command) {
    let done = process::run(command, LIMIT).unwrap();
    assert!(done.status.success(), "{command:?}: {}", done.text);
}

#[test]
fn programs_that_include_the_header() {
    let temp = TempDir::new().unwrap();
    write(&branches(), &["weights=text"], &temp.join("a"));
    write(&perceptron(), &["weights=literals"], &temp.join("b"));
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for compiler in compilers(&["-O2"]) {
        let call = || {
            let mut command = Command::new(&compiler.program);
            command.args(&compiler.arguments);
            command.arg("-I").arg(temp.join("a/cpp")).arg("-I").arg(temp.join("b/cpp"));
            command
        };
        let object = temp.join("elsewhere.o");
        let source = tests.join("contract_elsewhere.cpp");
        must(call().args(["-fno-exceptions", "-fno-rtti", "-c", "-o"]).arg(&object).arg(source));
        let program = temp.join("contract");
        must(call().arg("-pthread").arg("-o").arg(&program).arg(tests.join("contract.cpp")).arg(&object));
        must(&mut Command::new(program));
    }
}

#[test]
fn the_program_reads_and_writes_npy() {
    let temp = TempDir::new().unwrap();
    let net = perceptron();
    write(&net, &[], &temp.join("out"));
    let compiler = compilers(&["-O1"]).remove(0);
    let program = temp.join("program");
    let mut command = Command::new(&compiler.program);
    must(command.args(&compiler.arguments).arg("-o").arg(&program).arg(temp.join("out/cpp/main.cpp")));
    let (input, output) = (temp.join("x.npy"), temp.join("y.npy"));
    let run = |bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        let _ = fs::remove_file(&output);
        process::run(Command::new(&program).arg(&input).arg(&output), LIMIT).unwrap()
    };
    let npy = |shape: &[usize], n: usize| {
        let data = Data::F32((0..n).map(|i| i as f32).collect());
        unfloat_npy::write_npy_data(&Shape::from(shape), &data, false)
    };
    // One sample gives one result, a batch gives a batch, even an empty one.
    for (shape, want) in [(&[3][..], &[2][..]), (&[4, 3], &[4, 2]), (&[0, 3], &[0, 2])] {
        let done = run(&npy(shape, shape.iter().product()));
        assert!(done.status.success(), "{}", done.text);
        let y = unfloat_npy::read_npy(&fs::read(&output).unwrap()).unwrap();
        assert_eq!(y.shape().dims(), want);
    }
    let whole = npy(&[2, 3], 6);
    let mut short = whole.clone();
    short.truncate(whole.len() - 1);
    let mut lying = whole.clone();
    let at = whole.windows(6).position(|w| w == b"(2, 3)").unwrap();
    lying[at + 1] = b'9';
    let doubles = Data::I64(vec![1, 2, 3]);
    let wrong_type = unfloat_npy::write_npy_data(&Shape::from([3]), &doubles, false);
    for (bytes, why) in [
        (npy(&[4], 4), "has the shape [4], expected [3] or a batch of those"),
        (npy(&[3, 1], 3), "has the shape [3,1]"),
        (wrong_type, "holds '<i8', expected '<f4'"),
        (short, "ends before its last element"),
        (lying, "ends before its last element"),
        (b"PK\x03\x04 something else".to_vec(), "is no .npy file"),
        (whole[..40].to_vec(), "ends within its header"),
        (Vec::new(), "is no .npy file"),
    ] {
        let done = run(&bytes);
        assert_eq!(done.status.code(), Some(1), "{why}");
        assert!(done.text.contains("x.npy: ") && done.text.contains(why), "{why}: {}", done.text);
        assert!(!output.exists());
    }
    let usage = process::run(&mut Command::new(&program), LIMIT).unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.text.contains("INPUT.npy(x0[3])"), "{}", usage.text);
}

#[test]
fn constants_keep_every_bit() {
    let mut words: Vec<u32> =
        vec![0, 0x8000_0000, 1, 0x007f_ffff, 0x7f80_0000, 0xff80_0000, 0x3f80_0001, u32::MAX];
    words.extend([0x7f80_0001, 0x7fc0_1234]);
    words.extend((0..20_000u32).map(|i| i.wrapping_mul(0x9e37_79b9)));
    let exact = |words: &[u32], settings: &[&str]| {
        let mut net = Net::new("bits");
        let data = words.iter().map(|&w| f32::from_bits(w)).collect();
        let c = net.constant(&[words.len()], data);
        let x = net.input(&[1], "c");
        net.graph.add_output("c", c);
        net.graph.add_output("x", x);
        let temp = TempDir::new().unwrap();
        write(&net, settings, &temp.join("out"));
        for compiler in compilers(&["-O1"]) {
            let samples: Vec<Vec<Tensor>> = net.samples(1);
            let got = cpp::replay(&temp.join("out"), &samples, &compiler).unwrap_or_else(|e| panic!("{e}"));
            let bits: Vec<u32> = got[0][0].as_f32().unwrap().iter().map(|v| v.to_bits()).collect();
            assert_eq!(bits, words);
        }
    };
    exact(&words, &["weights=text"]);
    // Literals keep everything but what hides in a NaN.
    words.retain(|&w| !f32::from_bits(w).is_nan());
    exact(&words, &["weights=literals"]);
}

#[test]
fn wrong_samples_and_missing_files_are_refused() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    let mut net = perceptron();
    write(&net, &[], &dir);
    let compiler = compilers(&["-O1"]).remove(0);
    let sample = net.samples(1).remove(0);
    let wrong = Tensor::f32([2], sample[0].ty.layout, vec![0.0; 2]);
    let error = cpp::replay(&dir, &[vec![wrong], vec![]], &compiler).unwrap_err().to_string();
    assert!(error.contains("sample 0: input `x0` is f32[2] c, expected f32[3]"), "{error}");
    assert!(error.contains("sample 1: 0 inputs, expected 1"), "{error}");
    assert_eq!(cpp::replay(&dir, &[], &compiler).unwrap(), Vec::<Vec<Tensor>>::new());
    fs::write(dir.join("cpp/main.cpp"), "this is no C++").unwrap();
    let error = cpp::replay(&dir, std::slice::from_ref(&sample), &compiler).unwrap_err().to_string();
    assert!(error.contains("cannot compile") && error.contains("main.cpp"), "{error}");
    fs::remove_file(dir.join("cpp/main.cpp")).unwrap();
    assert!(
        cpp::replay(&dir, std::slice::from_ref(&sample), &compiler)
            .unwrap_err()
            .to_string()
            .contains("is missing")
    );
    let error =
        cpp::replay(&temp.join("nowhere"), std::slice::from_ref(&sample), &compiler).unwrap_err().to_string();
    assert!(error.contains("manifest.json") && error.contains("unfloat convert"), "{error}");
}

#[test]
fn the_cmake_project_builds() {
    let found = process::find("cmake").is_some();
    assert!(found || std::env::var_os("CI").is_none(), "cmake is not installed");
    if !found {
        return eprintln!("note: cmake is not installed, its test is left out");
    }
    let temp = TempDir::new().unwrap();
    write(&perceptron(), &[], &temp.join("out"));
    let build = temp.join("build");
    must(Command::new("cmake").arg("-S").arg(temp.join("out/cpp")).arg("-B").arg(&build));
    must(Command::new("cmake").arg("--build").arg(&build));
    assert!(build.join("perceptron_main").is_file() || build.join("perceptron_main.exe").is_file());
}

/// Says what a machine without a compiler is told, when another test asks for it.
#[test]
fn compiler_of_this_machine() {
    match Compiler::find() {
        Ok(compiler) => println!("found={}", compiler.program.display()),
        Err(error) => println!("error={error}"),
    }
}

#[test]
fn a_machine_without_a_compiler_is_told_what_to_install() {
    let ask = |path: &str, cxx: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "compiler_of_this_machine", "--nocapture"]);
        let done = process::run(command.env("PATH", path).env("CXX", cxx), LIMIT).unwrap();
        assert!(done.status.success());
        done.text
    };
    let none = ask("/nonexistent", "");
    assert!(none.contains("none is installed") && none.contains("apt install g++"), "{none}");
    let wrong = ask("/nonexistent", "my-c++ -fast");
    assert!(wrong.contains("CXX: names `my-c++`, which is not installed"), "{wrong}");
    let program = compilers(&[]).remove(0).program.display().to_string();
    let set = ask("/nonexistent", &format!("{program} -O1"));
    assert!(set.contains(&format!("found={program}")), "{set}");
}

/// Names that the emitted source uses itself, that hide something, or that try to leave a comment or a string.
const HOSTILE: &[&str] = &[
    "out",
    "in",
    "std",
    "step",
    "taps",
    "run",
    "row",
    "reach",
    "groups",
    "group_out",
    "channels",
    "has_bias",
    "kernel",
    "shape",
    "weights",
    "arena",
    "workspace",
    "size",
    "n",
    "c",
    "S",
    "F",
    "float",
    "size_t",
    "main",
    "text",
    "array",
    "all",
    "relu",
    "NULL",
    "NAN",
    "INFINITY",
    "conv",
    "*/ }",
    "a\\\n#error",
    "??/",
    "\u{2028}",
    "@NAME@",
    "@INPUTS@",
];

#[test]
fn no_name_of_a_layer_or_a_port_breaks_the_source() {
    use unfloat_ir::ops::{BatchNorm, Binary, Conv, MaxPool, Softmax, Unary, Window};
    let mut net = Net::new("hostile");
    let layout = unfloat_ir::Layout::channels_last(2);
    let mut x = net.graph.add_input("@OUTPUTS@", unfloat_ir::TensorType::f32([5, 4, 2], layout));
    for (i, name) in HOSTILE.iter().enumerate() {
        // Each op has a shape with other members.
        x = match i % 5 {
            0 => {
                let w = net.weight(&[2, 3, 3, 2], 18);
                let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
                net.node(Conv { window, groups: 1 }, &[x, w], name)
            }
            1 => {
                let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
                net.node(MaxPool { window }, &[x], name)
            }
            2 => {
                let one = net.constant(&[2], vec![1.0, 0.5]);
                net.node(BatchNorm::new(2, 0.1), &[x, one, one, one, one], name)
            }
            3 => {
                let shift = net.constant(&[4, 1], vec![0.1, 0.2, -0.3, 0.4]);
                net.node(Binary::Add, &[x, shift], name)
            }
            _ => net.node(Softmax { axes: vec![1], log: false }, &[x], name),
        };
    }
    net.output(Unary::Tanh, &[x], "\", {1}}}; static int evil = std::puts(\"x\"); //");
    let samples = net.samples(2);
    support::agree(&net.graph, &samples, &["weights=literals"], &["-O1"]);
    let mut net = perceptron();
    for name in ["port", "array", "text", "read", "write", "inputs", "start", "shape_t", "run", "kernel"] {
        net.graph.name = name.to_string();
        let samples = net.samples(1);
        support::agree(&net.graph, &samples, &["weights=text"], &["-O0"]);
    }
}
