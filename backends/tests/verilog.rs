//! Emitted Verilog gives, bit for bit, what the reference evaluator gives, in both simulators; linters and synthesis tools
//! find nothing to say of it; what cannot be emitted is refused before a file is written.

mod support;

use std::path::Path;
use std::process::Command;
use support::ints::Ints;
use unfloat_backends::process::{TempDir, find as program};
use unfloat_backends::verilog::{Ports, Simulator, prove, replay_in, self_check};
use unfloat_backends::{Backend, Manifest, Options, OutDir, registry};
use unfloat_exec::reference;
use unfloat_ir::ops::{ArgReduce, Cast, Compare, Gather, Lut, Reduce, ReduceFn, Reshape, Unary};
use unfloat_ir::{Diagnostics, ElemType, Graph, IntType, Layout, TensorType, ValueId};

fn verilog() -> &'static dyn Backend {
    registry::backend("verilog").unwrap()
}

fn lut(net: &mut Ints, x: ValueId, outputs: usize, pins: usize, name: &str) -> ValueId {
    let inputs = net.graph.ty(x).shape.num_elements() as i64;
    let places = (0..outputs * pins).map(|_| net.code(0, inputs - 1)).collect();
    let connections = net.constant(ElemType::signed(32), &[outputs, pins], places);
    let tables = net.weight(ElemType::Bit, &[outputs, 1 << pins]);
    net.node(Lut, &[x, connections, tables], name)
}

fn groups(net: &mut Ints, x: ValueId, classes: usize, name: &str) -> ValueId {
    let each = net.graph.ty(x).shape.num_elements() / classes;
    let split = Reshape { shape: [classes, each].into(), layout: Layout::anonymous(2) };
    let split = net.node(split, &[x], &format!("{name}_split"));
    let wide = ElemType::Int(IntType::covering(0, each as i64));
    let wide = net.node(Cast { to: wide }, &[split], &format!("{name}_wide"));
    net.node(Reduce { f: ReduceFn::Sum, axes: vec![1], keep: false }, &[wide], name)
}

/// A thermometer, two layers, sums of groups, a class.
fn classifier(name: &str, features: usize, tables: [usize; 2], classes: usize, pins: usize) -> Ints {
    let mut net = Ints::new(name);
    let x = net.input(ElemType::Int(IntType::unsigned(8)), &[features, 1], "wc");
    let limits = net.int(IntType::unsigned(8), &[features, 3]);
    let bits = net.node(Compare::Greater, &[x, limits], "bits");
    let a = lut(&mut net, bits, tables[0], pins, "a");
    let b = lut(&mut net, a, tables[1], pins, "b");
    let sums = groups(&mut net, b, classes, "sums");
    net.graph.add_output("scores", sums);
    net.output(ArgReduce { max: true, axis: 0, keep: false, last: false }, &[sums], "class");
    net
}

fn written(graph: &Graph, settings: &[&str]) -> (TempDir, OutDir) {
    unfloat_ir::verify::verify(graph).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::parse(verilog().info(), settings.iter().copied()).unwrap();
    let mut out = OutDir::new();
    verilog().emit(graph, &options, &mut out).unwrap_or_else(|e| panic!("{e}"));
    let temp = TempDir::new().unwrap();
    out.write_to(&temp.join("out"), Manifest::new(graph), false).unwrap();
    (temp, out)
}

/// Emits, runs samples, compares every output; then lets the testbench check itself.
fn agrees(net: &mut Ints, samples: usize, settings: &[&str], simulator: Simulator) -> Ports {
    let (temp, out) = written(&net.graph, settings);
    let samples = net.samples(samples);
    let got = replay_in(&temp.join("out"), &samples, Some(simulator)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(got.len(), samples.len());
    for (sample, got) in samples.iter().zip(&got) {
        let want = reference::evaluate(&net.graph, sample).unwrap();
        for ((want, got), output) in want.iter().zip(got).zip(net.graph.outputs()) {
            assert_eq!(want.data, got.data, "{} {settings:?}", output.name);
        }
    }
    let check = self_check(&temp.join("out"), Some(simulator)).unwrap_or_else(|e| panic!("{e}"));
    assert!(check.passed && check.text.starts_with("PASS: "), "{}", check.text);
    let path = format!("verilog/{}.ports.json", net.graph.name);
    serde_json::from_slice(&out.read(&path).unwrap()).unwrap()
}

const STYLES: [&[&str]; 3] = [&["device=xilinx"], &["style=case"], &["style=vector"]];

#[test]
fn all_styles_and_latencies() {
    for (i, style) in STYLES.into_iter().enumerate() {
        for (j, latency) in ["auto", "per-layer", "0", "1", "2", "5"].into_iter().enumerate() {
            if (i + j) % 2 == 1 {
                continue;
            }
            let mut net = classifier("net", 8, [40, 35], 5, 6);
            let latency = format!("latency={latency}");
            let ports = agrees(&mut net, 60, &[style, &[&latency]].concat(), Simulator::Icarus);
            assert_eq!(ports.interval, 1);
            let wanted = latency.trim_start_matches("latency=").parse::<usize>();
            assert!(wanted.is_err() || wanted == Ok(ports.latency));
        }
    }
}

#[test]
fn a_thousand_samples_in_both_simulators() {
    for (style, simulator) in
        [(STYLES[0], Simulator::Icarus), (STYLES[1], Simulator::Icarus), (STYLES[0], Simulator::Verilator)]
    {
        let mut net = classifier("thousand", 12, [60, 50], 10, 6);
        let ports = agrees(&mut net, 1000, &[style, &["vectors=100"]].concat(), simulator);
        assert_eq!((ports.in_data.width, ports.out_data.width), (96, 10 * 3 + 4));
    }
}

#[test]
fn every_number_of_pins() {
    let mut net = Ints::new("pins");
    let x = net.input(ElemType::Bit, &[6, 5], "wc");
    for pins in [1, 2, 3, 5, 6, 7, 8, 9, 11] {
        let a = lut(&mut net, x, 12, pins, &format!("a{pins}"));
        let b = lut(&mut net, a, 6, pins, &format!("b{pins}"));
        net.graph.add_output(&format!("y{pins}"), b);
    }
    agrees(&mut net, 200, &["device=xilinx", "latency=per-layer"], Simulator::Icarus);
    agrees(&mut net, 50, &["style=vector", "latency=3"], Simulator::Icarus);
}

#[test]
fn groups_of_every_size() {
    for style in &STYLES[..2] {
        let mut net = Ints::new("groups");
        let x = net.input(ElemType::Bit, &[160], "c");
        for size in [2, 5, 7, 8, 12, 13, 19, 31, 50, 64, 80, 160] {
            let classes = 160 / size;
            let places = (0..(classes * size) as i64).collect();
            let places = net.constant(ElemType::signed(32), &[classes * size], places);
            let part = net.node(Gather { axis: 0 }, &[x, places], &format!("part{size}"));
            let sums = groups(&mut net, part, classes, &format!("sums{size}"));
            net.graph.add_output(&format!("sums{size}"), sums);
            let extremes = [(true, false), (true, true), (false, false), (false, true)];
            for (max, last) in extremes.into_iter().filter(|_| classes <= 16) {
                let op = ArgReduce { max, axis: 0, keep: false, last };
                net.output(op, &[sums], &format!("at{size}_{max}_{last}"));
            }
        }
        agrees(&mut net, 25, style, Simulator::Icarus);
    }
}

#[test]
fn comparisons_with_constants() {
    let mut net = Ints::new("compare");
    for (i, int) in [
        IntType::unsigned(1),
        IntType::unsigned(8),
        IntType::signed(8),
        IntType::signed(3),
        IntType::unsigned(13),
        IntType::signed(20),
    ]
    .into_iter()
    .enumerate()
    {
        let x = net.input(ElemType::Int(int), &[3, 1], "wc");
        let limits = net.int(int, &[3, 3]);
        let beyond = net.constant(ElemType::signed(32), &[2], vec![-(1 << 24), 1 << 24]);
        use Compare::{Equal, Greater, GreaterEqual, Less, LessEqual};
        for op in [Greater, GreaterEqual, Less, LessEqual, Equal] {
            net.output(op, &[x, limits], &format!("a{i}_{op:?}"));
            net.output(op, &[limits, x], &format!("b{i}_{op:?}"));
            net.output(op, &[x, beyond], &format!("c{i}_{op:?}"));
        }
    }
    agrees(&mut net, 60, &["latency=1"], Simulator::Icarus);
}

/// Runs a tool on the emitted files and returns what it says.
fn tool(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let path = program(name).unwrap_or_else(|| panic!("the test needs {name}"));
    let done = Command::new(path).args(arguments).current_dir(dir.join("out/verilog")).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {text}");
    text
}

#[test]
fn linters_and_synthesis_have_nothing_to_say() {
    let net = classifier("lint", 10, [60, 50], 10, 6);
    for (style, latency) in STYLES.into_iter().zip(["latency=auto", "latency=0", "latency=2"]) {
        let (temp, _) = written(&net.graph, &[style, &[latency]].concat());
        let list = std::fs::read_to_string(temp.join("out/verilog/filelist.f")).unwrap();
        let mut arguments = vec!["--lint-only", "-Wall", "-DUNFLOAT_MODELS", "--top-module", "lint"];
        arguments.extend(list.lines());
        if style.contains(&"device=xilinx") {
            arguments.push("primitives.v");
        }
        let text = tool(temp.path(), "verilator", &arguments);
        assert!(!text.contains("%Warning") && !text.contains("%Error"), "{text}");
        let script = format!(
            "read_verilog {}; synth_xilinx -nodsp -flatten -top lint",
            list.lines().collect::<Vec<_>>().join(" ")
        );
        let text = tool(temp.path(), "yosys", &["-p", &script]);
        // ABC says of every module without registers that it is combinational.
        let warning = text.lines().find(|l| l.contains("Warning") && !l.starts_with("ABC:"));
        assert_eq!(warning, None);
    }
}

#[test]
fn a_head_of_ten_classes_stays_small() {
    // Sums of 50 bits for each of ten classes, and the greatest: at most 500 tables beside the layers'.
    let mut net = Ints::new("head");
    let x = net.input(ElemType::Bit, &[500], "c");
    let sums = groups(&mut net, x, 10, "sums");
    net.output(ArgReduce { max: true, axis: 0, keep: false, last: false }, &[sums], "class");
    let (temp, out) = written(&net.graph, &["device=xilinx"]);
    let ports: Ports = serde_json::from_slice(&out.read("verilog/head.ports.json").unwrap()).unwrap();
    let list = std::fs::read_to_string(temp.join("out/verilog/filelist.f")).unwrap();
    let files = list.lines().collect::<Vec<_>>().join(" ");
    let script =
        format!("read_verilog {files}; synth_xilinx -nodsp -flatten -top head; tee -o stat.txt stat");
    tool(temp.path(), "yosys", &["-q", "-p", &script]);
    let stat = std::fs::read_to_string(temp.join("out/verilog/stat.txt")).unwrap();
    let count = |line: &str| {
        let mut words = line.split_whitespace();
        let is_table = words.next().is_some_and(|w| w.starts_with("LUT"));
        words.next().and_then(|n| n.parse::<usize>().ok()).filter(|_| is_table)
    };
    let found: usize = stat.lines().filter_map(count).sum();
    assert!(found > 0 && found <= 500, "{found}\n{stat}");
    let estimate = ports.luts;
    assert!(estimate.abs_diff(found) * 10 <= found, "estimated {estimate}, found {found}");
}

#[test]
fn a_fault_is_found_by_the_testbench() {
    let net = classifier("fault", 8, [40, 30], 3, 6);
    let (temp, out) = written(&net.graph, &["style=vector", "vectors=200"]);
    let dir = temp.join("out");
    assert!(self_check(&dir, Some(Simulator::Icarus)).unwrap().passed);
    let path = out.paths().find(|p| p.ends_with("_2_layer.v")).unwrap();
    with_a_fault(&dir.join(path));
    let check = self_check(&dir, Some(Simulator::Icarus)).unwrap();
    assert!(!check.passed, "{}", check.text);
    assert!(check.text.contains("FAIL") && check.text.contains("expected"), "{}", check.text);
}

fn refusal(graph: &Graph, settings: &[&str]) -> String {
    let options = Options::parse(verilog().info(), settings.iter().copied()).unwrap();
    let mut out = OutDir::new();
    let checked: Result<(), Diagnostics> = verilog().check(graph, &options);
    let emitted = verilog().emit(graph, &options, &mut out).unwrap_err().to_string();
    assert_eq!(out.paths().count(), 0, "nothing is written");
    assert_eq!(checked.unwrap_err().to_string(), emitted);
    emitted
}

#[test]
fn what_cannot_be_emitted_is_refused_with_every_reason() {
    let mut net = classifier("module", 8, [40, 30], 3, 6);
    let x = net.graph.inputs()[0];
    let y = net.node(Unary::Relu, &[x], "relu");
    net.graph.add_output("relu", y);
    let f = net.graph.add_input("f", TensorType::f32([2], Layout::channels_last(0)));
    let g = net.node(Unary::Tanh, &[f], "tanh");
    net.graph.add_output("tanh", g);
    let text = refusal(&net.graph, &["style=primitive", "vectors=0", "latency=99"]);
    for want in [
        "is a keyword of Verilog",
        "style `primitive` needs a device",
        "0 vectors: expected 1 to",
        "input `f` is f32[2] c; Verilog takes bits and integers",
        "`relu` (relu): Verilog has no such op yet",
        "`tanh` (tanh): `f` is f32[2] c",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    let net = classifier("CARRY4", 8, [40, 30], 3, 6);
    let text = refusal(&net.graph, &["latency=99"]);
    assert!(
        text.contains("is that of a primitive") && text.contains("latency 99: this network has"),
        "{text}"
    );
}

#[test]
fn outputs_that_are_constants_or_inputs() {
    let mut net = Ints::new("plain");
    let x = net.input(ElemType::Bit, &[4], "c");
    let c = net.constant(ElemType::signed(8), &[2, 2], vec![0, 1, 2, 3]);
    let t = net.constant(ElemType::Bit, &[2, 4], vec![1, 1, 1, 1, 0, 1, 0, 1]);
    net.output(Lut, &[x, c, t], "y");
    agrees(&mut net, 20, &["device=xilinx"], Simulator::Icarus);
    let mut net = Ints::new("constant");
    let x = net.input(ElemType::Bit, &[4], "c");
    let c = net.constant(ElemType::signed(8), &[1, 2], vec![0, 1]);
    let t = net.constant(ElemType::Bit, &[1, 4], vec![1, 1, 1, 1]);
    net.output(Lut, &[x, c, t], "y");
    agrees(&mut net, 20, &["latency=per-layer"], Simulator::Icarus);
}

/// Changes the first digit of the first table in a file.
fn with_a_fault(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let at = text.find("'h").unwrap() + 2;
    let digit = text[at..=at].chars().next().and_then(|c| c.to_digit(16)).unwrap();
    std::fs::write(path, format!("{}{:x}{}", &text[..at], digit ^ 1, &text[at + 1..])).unwrap();
}

#[test]
fn layers_are_proved_and_one_wrong_bit_is_found() {
    for (style, pins) in [("device=xilinx", 6), ("style=case", 6), ("style=vector", 3), ("device=xilinx", 8)]
    {
        let net = classifier("proved", 8, [40, 35], 5, pins);
        let (temp, _) = written(&net.graph, &[style]);
        let dir = temp.join("out");
        let proofs = prove(&dir).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            proofs.iter().map(|p| p.module.as_str()).collect::<Vec<_>>(),
            ["proved_1_layer", "proved_2_layer"]
        );
        assert!(proofs.iter().all(|p| p.equal && p.outputs > 10), "{proofs:?}");
        if style == "style=case" {
            continue;
        }
        with_a_fault(&dir.join("verilog/proved_2_layer.v"));
        let proofs = prove(&dir).unwrap_or_else(|e| panic!("{e}"));
        assert!(proofs[0].equal && !proofs[1].equal, "{proofs:?}");
        assert!(proofs[1].text.contains("NOT EQUIVALENT"), "{proofs:?}");
    }
}

#[test]
fn tables_that_became_others_or_constants_are_proved_too() {
    let mut net = Ints::new("folded");
    let x = net.input(ElemType::Bit, &[4], "c");
    // Twice the same function, a constant, a pin handed on, and one that all of them differ from.
    let c = net.constant(ElemType::signed(8), &[5, 2], vec![0, 1, 1, 0, 2, 3, 3, 3, 0, 2]);
    let t = net.constant(
        ElemType::Bit,
        &[5, 4],
        vec![0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0],
    );
    net.output(Lut, &[x, c, t], "y");
    let (temp, out) = written(&net.graph, &["device=xilinx"]);
    let proofs = prove(&temp.join("out")).unwrap_or_else(|e| panic!("{e}"));
    assert!(proofs.len() == 1 && proofs[0].equal && proofs[0].outputs == 5, "{proofs:?}");
    // What the graph says of the constant is changed: the module is not that any more.
    let path = "verilog/proof/folded_0_layer.blif";
    let text = String::from_utf8(out.read(path).unwrap()).unwrap();
    assert!(text.contains(" same0 same1"), "{text}");
    std::fs::write(temp.join("out").join(path), text.replacen("same1\n1 1", "same1\n0 1", 1)).unwrap();
    assert!(!prove(&temp.join("out")).unwrap()[0].equal);
}
