//! What emitted integer C++ promises beside its numbers: no float outside the boundary, data about its ports, refusals,
//! programs around it.

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;
use support::ints::Ints;
use support::{compilers, emit};
use unfloat_backends::cpp::Cpp;
use unfloat_backends::process::{self, TempDir};
use unfloat_backends::{Backend, Manifest, Options, OutDir};
use unfloat_exec::reference;
use unfloat_ir::ops::{Conv, Dense, Dequantize, Gather, Lookup, MaxPool, Reduce, ReduceFn, Unary, Window};
use unfloat_ir::{ElemType, IntType, Rounding};

const LIMIT: Duration = Duration::from_secs(300);
const U8: IntType = IntType::unsigned(8);

/// Two codes from six: a convolution, a pool, a dense layer.
fn tiny() -> Ints {
    let mut net = Ints::new("tiny");
    let x = net.quantized(&[3, 2], "wc", U8);
    let conv = Conv { window: Window::new([2]).pads([1], [0]), groups: 1 };
    let c = net.product(conv, x, &[3, 2, 2], 4, true, "conv");
    let r = net.requantize(c, U8, Rounding::HalfEven, "conv_q");
    let p = net.node(MaxPool { window: Window::new([3]) }, &[r], "pool");
    let d = net.product(Dense, p, &[2, 3], 8, true, "dense");
    let q = net.requantize(d, IntType::signed(8), Rounding::HalfUp, "dense_q");
    net.dequantized(q, "y");
    net
}

fn text(out: &OutDir, path: &str) -> String {
    String::from_utf8(out.read(path).unwrap()).unwrap()
}

/// A header without the kernels, which are files of their own.
fn without_kernels(text: &str) -> String {
    let begin = text.find("namespace kernel {\n").unwrap();
    let end = text.find("}  // namespace kernel\n").unwrap();
    format!("{}// … the kernels …{}", &text[..begin], &text[end..])
}

#[test]
fn snapshots() {
    let net = tiny();
    let out = emit(&net.graph, &[]);
    insta::assert_snapshot!("tiny.hpp", without_kernels(&text(&out, "cpp/tiny.hpp")));
    insta::assert_snapshot!("tiny_main.cpp", text(&out, "cpp/main.cpp"));
    let paths = ["cpp/CMakeLists.txt", "cpp/main.cpp", "cpp/tiny.hpp", "cpp/unfloat_runtime.h"];
    assert_eq!(out.paths().collect::<Vec<_>>(), paths);
}

/// The words of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

#[test]
fn no_float_outside_the_boundary() {
    let mut net = tiny();
    // One of everything, so that every kernel is written.
    let x = net.input(ElemType::signed(16), &[6, 6, 8], "hwc");
    for (bits, groups, filters) in [(8, 1, 9), (16, 1, 9), (8, 8, 8)] {
        let op = Conv { window: Window::new([3, 3]).pads([1, 1], [1, 1]), groups };
        let c = net.product(op, x, &[filters, 3, 3, 8 / groups], bits, true, &format!("c{bits}{groups}"));
        let q = net.requantize(c, U8, Rounding::HalfDown, &format!("q{bits}{groups}"));
        net.graph.add_output("q", q);
    }
    net.output(Reduce { f: ReduceFn::Sum, axes: vec![0, 1], keep: false }, &[x], "sum");
    for settings in [&["weights=text"][..], &["weights=literals"]] {
        let text = text(&emit(&net.graph, settings), "cpp/tiny.hpp");
        let begin = text.find("// ---- The boundary").unwrap();
        for word in ["float", "double"] {
            assert_eq!(words(&text[..begin]).find(|w| *w == word), None);
        }
        assert!(words(&text[begin..]).any(|w| w == "float"));
        let end = text[begin..].find("#endif\n\n}").unwrap();
        assert!(
            words(&text[begin + end..]).all(|w| w != "float"),
            "nothing but the end is behind the boundary"
        );
    }
}

#[test]
fn the_manifest_says_what_codes_mean() {
    let mut net = tiny();
    net.graph.rename(net.graph.inputs()[0], "image");
    let json = Manifest::new(&net.graph).to_json();
    let manifest: Manifest = serde_json::from_str(&json).unwrap();
    let [input] = &manifest.inputs[..] else { panic!("{json}") };
    let [codes] = &input.codes[..] else { panic!("{json}") };
    assert_eq!((codes.elem.as_str(), codes.rounding.as_deref()), ("u8", Some("half_even")));
    assert_eq!((&codes.scale[..], &codes.zero[..]), (&[2.2f32 / 255.0][..], &[127.0][..]));
    let [codes] = &manifest.outputs[0].codes[..] else { panic!("{json}") };
    assert_eq!((codes.elem.as_str(), &codes.scale[..], &codes.zero[..]), ("i8", &[0.037f32][..], &[3.0][..]));
    assert_eq!(codes.rounding, None);
    assert!(!Manifest::new(&support::branches().graph).to_json().contains("codes"));
}

/// Runs a command that must succeed.
fn must(command: &mut Command) {
    let done = process::run(command, LIMIT).unwrap();
    assert!(done.status.success(), "{command:?}: {}", done.text);
}

#[test]
fn the_program_takes_numbers_and_codes() {
    let mut net = tiny();
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    emit(&net.graph, &[]).write_to(&dir, Manifest::new(&net.graph), false).unwrap();
    let compiler = compilers(&["-O1"]).remove(0);
    let program = temp.join("program");
    must(
        Command::new(&compiler.program)
            .args(&compiler.arguments)
            .arg("-o")
            .arg(&program)
            .arg(dir.join("cpp/main.cpp")),
    );
    let sample = net.samples(1).remove(0);
    let want = reference::evaluate(&net.graph, &sample).unwrap();
    let (input, output) = (temp.join("x.npy"), temp.join("y.npy"));
    let call = |arguments: &[&str], bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        let _ = fs::remove_file(&output);
        process::run(Command::new(&program).args(arguments).arg(&input).arg(&output), LIMIT).unwrap()
    };
    let numbers = unfloat_npy::write_npy(&sample[0]);
    assert!(call(&[], &numbers).status.success());
    let y = unfloat_npy::read_npy(&fs::read(&output).unwrap()).unwrap();
    assert_eq!(y.data, want[0].data);

    // The codes of the same sample, made here by the formula.
    let codes: Vec<u8> = sample[0]
        .as_f32()
        .unwrap()
        .iter()
        .map(|x| ((x / (2.2f32 / 255.0)).round_ties_even() + 127.0).clamp(0.0, 255.0) as u8)
        .collect();
    let bytes = unfloat_npy::write_npy_bytes(&[3, 2][..].into(), "|u1", &codes);
    for arguments in [&[][..], &["--codes"]] {
        let done = call(arguments, &bytes);
        assert!(done.status.success(), "{}", done.text);
        let y = unfloat_npy::read_npy(&fs::read(&output).unwrap()).unwrap();
        let shown: Vec<f32> = (0..2).map(|i| (y.data.code(i).unwrap() as f32 - 3.0) * 0.037).collect();
        assert_eq!(shown, want[0].as_f32().unwrap());
        assert_eq!(y.ty.elem, ElemType::signed(8));
    }
    for (bytes, arguments, why) in [
        (&numbers[..], &["--codes"][..], "holds '<f4', expected '|u1'"),
        (&bytes[..bytes.len() - 1], &["--codes"], "ends before its last element"),
        (b"PK\x03\x04 something else", &[], "is no .npy file"),
    ] {
        let done = call(arguments, bytes);
        assert_eq!(done.status.code(), Some(1), "{why}");
        assert!(done.text.contains("x.npy: ") && done.text.contains(why), "{why}: {}", done.text);
        assert!(!output.exists());
    }
    let usage = process::run(&mut Command::new(&program), LIMIT).unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(
        usage.text.contains("INPUT.npy(x0[3,2] <f4)")
            && usage.text.contains("--codes INPUT.npy(x0[3,2] |u1)")
    );
}

/// A program without floats, and one that uses the header twice in C++ and the runtime in C.
#[test]
fn programs_that_include_the_header() {
    let net = tiny();
    let temp = TempDir::new().unwrap();
    emit(&net.graph, &[]).write_to(&temp.join("out"), Manifest::new(&net.graph), false).unwrap();
    let main = "
#include \"tiny.hpp\"
static_assert(tiny::input_size == 6 && tiny::output_size == 2 && tiny::input_count == 1);
static_assert(std::is_same_v<tiny::in_t, std::uint8_t> && std::is_same_v<tiny::out_t, std::int8_t>);
int elsewhere(const std::uint8_t* in) noexcept;
int main() {
  const tiny::in_t in[6] = {0, 255, 7, 128, 3, 99};
  tiny::out_t out[2] = {};
  static tiny::Workspace workspace;
  tiny::run(in, out, workspace);
  static_assert(noexcept(tiny::run(in, out)));
  return out[0] * 1000 + out[1] == elsewhere(in) ? 0 : 1;
}
";
    let other = "
#define UNFLOAT_INTEGERS_ONLY
#include \"tiny.hpp\"
int elsewhere(const std::uint8_t* in) noexcept {
  tiny::out_t out[2] = {};
  tiny::run(in, out);
  return out[0] * 1000 + out[1];
}
";
    fs::write(temp.join("main.cpp"), main).unwrap();
    fs::write(temp.join("other.cpp"), other).unwrap();
    for compiler in compilers(&["-O2", "-Wsign-conversion"]) {
        let call = || {
            let mut command = Command::new(&compiler.program);
            command.args(&compiler.arguments).arg("-I").arg(temp.join("out/cpp"));
            command
        };
        let (object, program) = (temp.join("other.o"), temp.join("program"));
        must(
            call()
                .args(["-fno-exceptions", "-fno-rtti", "-c", "-o"])
                .arg(&object)
                .arg(temp.join("other.cpp")),
        );
        must(call().arg("-o").arg(&program).arg(temp.join("main.cpp")).arg(&object));
        must(&mut Command::new(&program));
        let fast = call().args(["-ffast-math", "-fsyntax-only"]).arg(temp.join("main.cpp")).output().unwrap();
        assert!(
            !fast.status.success() && String::from_utf8_lossy(&fast.stderr).contains("without -ffast-math")
        );
    }
}

/// A caller may give any number of a port's word: those that its type does not have count as the nearest that it has,
/// and no table is read beyond its ends.
#[test]
fn codes_beyond_a_port_are_cut() {
    let mut net = Ints::new("ports");
    let u8s = |n: i64| (1..=n).map(|i| i * 3).collect::<Vec<_>>();
    for (elem, entries) in [
        (ElemType::signed(4), 16),
        (ElemType::Int(IntType::unsigned(3)), 8),
        (ElemType::Bipolar, 3),
        (ElemType::signed(12), 4096),
        (ElemType::signed(8), 256),
    ] {
        let x = net.input(elem, &[2], "c");
        let table = net.constant(ElemType::Int(IntType::unsigned(14)), &[entries as usize], u8s(entries));
        net.output(Lookup, &[x, table], "y");
    }
    let temp = TempDir::new().unwrap();
    let out = emit(&net.graph, &[]);
    let header = text(&out, "cpp/ports.hpp");
    for (range, times) in [("-8 to 7", 1), ("0 to 7", 1), ("-2048 to 2047", 1), ("-128 to 127", 0)] {
        let line = format!("// Its codes are {range}; others count as the nearest of these.");
        assert_eq!(header.matches(&line).count(), times, "{range}");
    }
    out.write_to(&temp.join("out"), Manifest::new(&net.graph), false).unwrap();
    let main = "
#include \"ports.hpp\"
int main() {
  const ports::in_t_0 a[2] = {127, -128};
  const ports::in_t_1 b[2] = {255, 5};
  const ports::in_t_2 c[2] = {-128, 127};
  const ports::in_t_3 d[2] = {-32768, 32767};
  const ports::in_t_4 e[2] = {-128, 127};
  ports::out_t_0 v[2]; ports::out_t_1 w[2]; ports::out_t_2 x[2]; ports::out_t_3 y[2]; ports::out_t_4 z[2];
  ports::run(a, b, c, d, e, v, w, x, y, z);
  return v[0] == 48 && v[1] == 3 && w[0] == 24 && w[1] == 18 && x[0] == 3 && x[1] == 9 && y[0] == 3 && y[1] == 12288 &&
         z[0] == 3 && z[1] == 768 ? 0 : 1;
}
";
    fs::write(temp.join("main.cpp"), main).unwrap();
    for compiler in compilers(&["-O2"]) {
        let program = temp.join("program");
        must(
            Command::new(&compiler.program)
                .args(&compiler.arguments)
                .arg("-I")
                .arg(temp.join("out/cpp"))
                .arg("-o")
                .arg(&program)
                .arg(temp.join("main.cpp")),
        );
        must(&mut Command::new(&program));
    }
}

/// The tutorial's function, from C and from C++, against a table that NumPy made with its formula.
#[test]
fn quantize_int8_in_float() {
    let temp = TempDir::new().unwrap();
    emit(&tiny().graph, &[]).write_to(&temp.join("out"), Manifest::new(&tiny().graph), false).unwrap();
    // numpy.clip(numpy.sign(x) * numpy.floor(numpy.abs(x) + numpy.float64(0.5)), -128, 127) of float32 x.
    let table = "
#include <math.h>
#include <stddef.h>
#ifdef WITH_HEADER
#include \"unfloat_runtime.h\"
#else
void quantizeInt8InFloat(size_t n, const float *src, float *dst);
#endif
int main(void) {
  const float src[] = {234.23f, -3.01f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 0.49999997f, -0.49999997f, 127.4f, 127.5f, 126.5f,
                       -127.5f, -128.5f, -128.49f, 1e30f, -1e30f, 8388609.0f, 0.0f, 1e-45f, INFINITY, -INFINITY};
  const float want[] = {127, -3, 1, -1, 2, 3, -3, 0, 0, 127, 127, 127, -128, -128, -128, 127, -128, 127, 0, 0, 127, -128};
  const size_t n = sizeof src / sizeof *src;
  const float odd[1] = {NAN};
  float dst[sizeof src / sizeof *src], same[1] = {7.0f};
  size_t i;
  quantizeInt8InFloat(n, src, dst);
  for (i = 0; i < n; ++i) if (dst[i] != want[i]) return 1 + (int)i;
  quantizeInt8InFloat(0, src, same);
  if (same[0] != 7.0f) return 100;
  quantizeInt8InFloat(1, odd, same);
  return same[0] != same[0] ? 0 : 101;
}
";
    fs::write(temp.join("main.c"), table).unwrap();
    fs::write(temp.join("defines.cpp"), "#include \"unfloat_runtime.h\"\n").unwrap();
    let header = temp.join("out/cpp");
    for (c, cpp) in [("gcc", "g++"), ("clang", "clang++")] {
        let (Some(c), Some(cpp)) = (process::find(c), process::find(cpp)) else { continue };
        let program = temp.join("table");
        let strict = ["-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-O2"];
        must(
            Command::new(&c)
                .args(strict)
                .args(["-std=c99", "-DWITH_HEADER", "-I"])
                .arg(&header)
                .arg("-o")
                .arg(&program)
                .arg(temp.join("main.c"))
                .arg("-lm"),
        );
        must(&mut Command::new(&program));
        let object = temp.join("defines.o");
        must(
            Command::new(&cpp)
                .args(strict)
                .args(["-std=c++17", "-I"])
                .arg(&header)
                .arg("-c")
                .arg("-o")
                .arg(&object)
                .arg(temp.join("defines.cpp")),
        );
        must(
            Command::new(&c)
                .args(strict)
                .arg("-std=c99")
                .arg("-o")
                .arg(&program)
                .arg(temp.join("main.c"))
                .arg(&object)
                .arg("-lm"),
        );
        must(&mut Command::new(&program));
    }
}

#[test]
fn everything_unsupported_is_said_at_once() {
    let mut net = Ints::new("mixed");
    let x = net.quantized(&[4, 6], "wc", U8);
    let (scale, zero) = (net.floats(&[], vec![0.5]), net.floats(&[], vec![0.0]));
    let float = net.node(Dequantize, &[x, scale, zero], "float_again");
    net.output(Unary::Tanh, &[float], "tanh");
    let far = net.floats(&[], vec![f32::INFINITY]);
    net.output(Dequantize, &[x, far, zero], "infinite");
    net.graph.add_output("raw", net.graph.inputs()[0]);
    let check = |net: &Ints| Cpp.check(&net.graph, &Options::defaults(Cpp.info())).unwrap_err().to_string();
    let errors = check(&net);
    for part in [
        "layer tanh: `tanh` (tanh): computes f32[4,6] wc between integers",
        "`unfloat audit` says what would give it one",
        "`infinite` (dequantize): its scale or zero point is no finite number",
        "`raw`, is a float input",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(!errors.contains("float_again"), "the layer behind says it all: {errors}");

    let mut net = Ints::new("again");
    let x = net.quantized(&[4, 6], "wc", U8);
    let (scale, zero) = (net.floats(&[], vec![0.5]), net.floats(&[], vec![0.0]));
    let float = net.node(Dequantize, &[x, scale, zero], "float_again");
    net.graph.add_output("float", float);
    let op = net.graph.producer(x).unwrap().1.op.clone();
    net.output(op, &[float, scale, zero], "codes_again");
    assert!(check(&net).contains("only outputs are dequantized"), "{}", check(&net));

    let mut net = Ints::new("computed");
    let x = net.quantized(&[4, 6], "wc", U8);
    let w = net.input(ElemType::signed(8), &[3, 6], "oi");
    net.output(Dense, &[x, w], "dense");
    let index = net.input(ElemType::signed(8), &[2], "c");
    net.output(Gather { axis: 0 }, &[x, index], "gather");
    let planes = net.input(ElemType::Int(U8), &[2, 4, 4], "chw");
    net.output(MaxPool { window: Window::new([2, 2]) }, &[planes], "pool");
    let empty = net.constant(ElemType::signed(8), &[0], vec![]);
    net.graph.add_output("empty", empty);
    let errors = check(&net);
    for part in [
        "layer dense: `dense` (dense): its weight is computed",
        "layer gather: `gather` (gather): an index could lie outside of the 4 cells",
        "layer pool: `pool` (max_pool): has channels that are not last",
        "has no elements",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    let mut out = OutDir::new();
    assert!(Cpp.emit(&net.graph, &Options::defaults(Cpp.info()), &mut out).is_err());
    assert_eq!(out.paths().count(), 0);
}
