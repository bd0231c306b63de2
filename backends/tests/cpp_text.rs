//! The emitted text: what it looks like, that it is the same everywhere, and what is refused.

mod support;

use sha2::{Digest, Sha256};
use std::process::Command;
use support::{Net, branches, emit, perceptron};
use unfloat_backends::cpp::Cpp;
use unfloat_backends::{Backend, Options, OutDir};
use unfloat_ir::ops::{Compare, Conv, Dense, Reverse, Unary, Window};
use unfloat_ir::{ElemType, Graph, Layout, Stage, Tensor, TensorType};

fn text(out: &OutDir, path: &str) -> String {
    String::from_utf8(out.read(path).unwrap()).unwrap()
}

/// The header without the kernels, which are files of their own.
fn header(net: &Net, settings: &[&str]) -> String {
    let text = text(&emit(&net.graph, settings), &format!("cpp/{}.hpp", net.graph.name));
    let begin = text.find("namespace kernel {\n").unwrap();
    let end = text.find("}  // namespace kernel\n").unwrap();
    // The functions behind the last kernel belong to the model.
    let functions = text[begin..end].rfind("\n\nstruct leaky_relu").map_or(end, |at| begin + at);
    format!("{}// … the kernels …{}", &text[..begin], &text[functions..])
}

#[test]
fn snapshots() {
    let net = branches();
    insta::assert_snapshot!("branches.hpp", header(&net, &["weights=text"]));
    let out = emit(&net.graph, &[]);
    insta::assert_snapshot!("main.cpp", text(&out, "cpp/main.cpp"));
    insta::assert_snapshot!("CMakeLists.txt", text(&out, "cpp/CMakeLists.txt"));
    assert_eq!(out.paths().collect::<Vec<_>>(), ["cpp/CMakeLists.txt", "cpp/branches.hpp", "cpp/main.cpp"]);

    insta::assert_snapshot!("perceptron.hpp", header(&perceptron(), &["weights=literals"]));
}

#[test]
fn kernels_that_are_not_used_are_not_written() {
    let mut net = Net::new("small");
    let x = net.input(&[3], "c");
    net.output(Unary::Sigmoid, &[x], "y");
    let text = text(&emit(&net.graph, &[]), "cpp/small.hpp");
    assert!(text.contains("void map(") && !text.contains("conv") && !text.contains("vector_size"), "{text}");
    assert!(text.lines().count() < 110);
}

#[test]
fn equal_layers_share_one_kernel() {
    let mut net = Net::new("twins");
    let mut x = net.input(&[6, 6, 4], "hwc");
    for i in 0..4 {
        let w = net.weight(&[4, 3, 3, 4], 36);
        let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
        x = net.node(Conv { window, groups: 1 }, &[x, w], &format!("conv{i}"));
    }
    net.graph.add_output("y", x);
    let text = text(&emit(&net.graph, &[]), "cpp/twins.hpp");
    assert_eq!(text.matches("kernel::conv<shape::conv0, kernel::identity>(").count(), 4);
    assert_eq!(text.matches("\nstruct conv").count(), 2, "one shape, and its padding");
}

fn digest(out: &OutDir) -> String {
    let mut hash = Sha256::new();
    for path in out.paths() {
        hash.update(path);
        hash.update(out.read(path).unwrap());
    }
    format!("{:x}", hash.finalize())
}

/// Prints the hash of the emitted files when another test asks for it.
#[test]
fn hash_of_emitted_files() {
    let out = emit(&branches().graph, &[]);
    assert_eq!(digest(&out), digest(&emit(&branches().graph, &[])));
    if std::env::var_os("UNFLOAT_PRINT_HASH").is_some() {
        println!("hash={}", digest(&out));
    }
}

#[test]
fn the_same_bytes_in_any_environment() {
    let run = |settings: &[(&str, &str)], dir: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hash_of_emitted_files", "--nocapture"])
            .env("UNFLOAT_PRINT_HASH", "1")
            .envs(settings.iter().copied())
            .current_dir(dir)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|l| l.split("hash=").nth(1).map(str::to_string)).expect(&text)
    };
    let here = run(&[], ".");
    let there = run(
        &[
            ("LC_ALL", "de_DE.UTF-8"),
            ("TZ", "Asia/Tokyo"),
            ("RUST_TEST_THREADS", "1"),
            ("RAYON_NUM_THREADS", "1"),
            ("HOME", "/"),
            ("USER", "someone"),
        ],
        "/",
    );
    assert_eq!(here, there);
    assert_eq!(here, digest(&emit(&branches().graph, &[])));
}

#[test]
fn everything_unsupported_is_said_at_once() {
    let mut net = Net::new("class");
    let x = net.input(&[4], "c");
    let w = net.input(&[2, 4], "oi");
    net.output(Dense, &[x, w], "dense");
    net.output(Reverse { axes: vec![0] }, &[x], "reversed");
    net.output(Compare::Greater, &[x, x], "compared");
    let codes = TensorType::new(ElemType::signed(8), [2], Layout::anonymous(1));
    let c = net.graph.add_const("codes", Tensor::codes(codes, [1, 2]));
    net.graph.add_output("codes", c);
    let e = net.graph.add_const("empty", Tensor::f32([0], Layout::anonymous(1), vec![]));
    net.graph.add_output("empty", e);
    let options = Options::defaults(Cpp.info());
    let mut out = OutDir::new();
    let errors = Cpp.emit(&net.graph, &options, &mut out).unwrap_err().to_string();
    for part in [
        "`class` is a keyword of C++",
        "`codes` is i8[2]",
        "`empty` has no elements",
        "layer dense: `dense` (dense): its weight is computed",
        "layer reversed: `reversed` (reverse): C++ has no such op yet",
        "layer compared: `compared` (greater): C++ has no such op yet",
        "`compared` is bit[4]",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert_eq!(out.paths().count(), 0);

    let mut early = Graph::new("early");
    let x = early.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
    early.add_output("x", x);
    let errors = Cpp.check(&early, &options).unwrap_err().to_string();
    assert!(errors.contains("stage `imported`"), "{errors}");
    early.stage = Stage::Canonical;
    assert!(Cpp.check(&early, &options).is_ok());
}
