//! What the backend tests share: graphs that are quick to write, samples, and running emitted C++.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod ints;

use std::sync::Once;
use unfloat_backends::cpp::{self, Compiler, Cpp};
use unfloat_backends::process::{self, TempDir};
use unfloat_backends::{Backend, Manifest, Options, OutDir};
use unfloat_exec::reference;
use unfloat_ir::{Graph, Layout, Op, Origin, Stage, Tensor, TensorType, ValueId, verify};

/// Numbers that are the same on every run.
pub struct Random(pub u64);

impl Random {
    /// The next word (splitmix64).
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A float between −1 and 1.
    pub fn float(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    /// `n` of them, times `scale`.
    pub fn floats(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.float() * scale).collect()
    }
    /// A whole number from `lo` to `hi`.
    pub fn pick(&mut self, lo: usize, hi: usize) -> usize {
        lo + (self.word() % (hi - lo + 1) as u64) as usize
    }
}

/// A graph that is being written.
pub struct Net {
    pub graph: Graph,
    pub random: Random,
    count: usize,
}

impl Net {
    pub fn new(name: &str) -> Self {
        let mut graph = Graph::new(name);
        graph.stage = Stage::Folded;
        Self { graph, random: Random(7), count: 0 }
    }
    pub fn input(&mut self, shape: &[usize], layout: &str) -> ValueId {
        let layout = Layout::new(layout).unwrap();
        let name = format!("x{}", self.graph.inputs().len());
        self.graph.add_input(&name, TensorType::f32(shape, layout))
    }
    /// A random constant whose sums over `fan_in` products stay near 1.
    pub fn weight(&mut self, shape: &[usize], fan_in: usize) -> ValueId {
        let n = shape.iter().product();
        let data = self.random.floats(n, 1.7 / (fan_in as f32).sqrt());
        self.constant(shape, data)
    }
    pub fn constant(&mut self, shape: &[usize], data: Vec<f32>) -> ValueId {
        self.count += 1;
        let name = format!("c{}", self.count);
        self.graph.add_const(&name, Tensor::f32(shape, Layout::anonymous(shape.len()), data))
    }
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> ValueId {
        let origin = Origin::new("keras", "test.h5", &format!("model_weights/{name}"), name);
        self.graph.add_node(op, inputs, name, &origin).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    /// A node whose result is an output.
    pub fn output(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) {
        let value = self.node(op, inputs, name);
        self.graph.add_output(name, value);
    }
    pub fn samples(&mut self, n: usize) -> Vec<Vec<Tensor>> {
        let types: Vec<TensorType> = self.graph.inputs().iter().map(|&v| self.graph.ty(v).clone()).collect();
        let sample = |random: &mut Random| {
            types
                .iter()
                .map(|t| Tensor::f32(t.shape.clone(), t.layout, random.floats(t.shape.num_elements(), 2.0)))
                .collect()
        };
        (0..n).map(|_| sample(&mut self.random)).collect()
    }
}

/// The warnings that emitted code must not raise.
pub const STRICT: &[&str] =
    &["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"];

/// The compilers that tests run with; a missing one is said once, and is an error where `CI` is set.
pub fn compilers(flags: &[&str]) -> Vec<Compiler> {
    static SAID: Once = Once::new();
    let arguments: Vec<String> = STRICT.iter().chain(flags).map(|f| f.to_string()).collect();
    let mut found = Vec::new();
    for name in ["g++", "clang++"] {
        match process::find(name) {
            Some(program) => found.push(Compiler { program, arguments: arguments.clone() }),
            None if std::env::var_os("CI").is_some() => panic!("{name} is not installed"),
            None => SAID.call_once(|| eprintln!("note: {name} is not installed, its tests are left out")),
        }
    }
    assert!(!found.is_empty(), "no C++ compiler is installed: install g++ or clang++");
    found
}

/// The C++ files of a graph.
pub fn emit(graph: &Graph, settings: &[&str]) -> OutDir {
    verify::verify(graph).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::parse(Cpp.info(), settings.iter().copied()).unwrap();
    let mut out = OutDir::new();
    Cpp.emit(graph, &options, &mut out).unwrap_or_else(|e| panic!("{e}"));
    out
}

/// Emits, compiles with each compiler, runs, and compares every output with the reference evaluator's.
pub fn agree(graph: &Graph, samples: &[Vec<Tensor>], settings: &[&str], flags: &[&str]) {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    emit(graph, settings).write_to(&dir, Manifest::new(graph), false).unwrap();
    let wanted: Vec<Vec<Tensor>> = samples.iter().map(|s| reference::evaluate(graph, s).unwrap()).collect();
    for compiler in compilers(flags) {
        let got = cpp::replay(&dir, samples, &compiler).unwrap_or_else(|e| panic!("{e}"));
        for (want, got) in wanted.iter().zip(&got) {
            for ((want, got), output) in want.iter().zip(got).zip(graph.outputs()) {
                compare(&format!("{} by {}", output.name, compiler.program.display()), want, got);
            }
        }
    }
}

/// Within 2e-5 of the largest magnitude, NaN where NaN is.
pub fn compare(what: &str, want: &Tensor, got: &Tensor) {
    assert_eq!(want.ty, got.ty, "{what}");
    let (want, got) = (want.as_f32().unwrap(), got.as_f32().unwrap());
    let scale = want.iter().filter(|v| v.is_finite()).fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (w, g)) in want.iter().zip(got).enumerate() {
        let same = w == g || (w.is_nan() && g.is_nan()) || (w - g).abs() <= 2e-5 * scale;
        assert!(same, "{what}: element {i} is {g}, expected {w}");
    }
}

/// The CIFAR-10 network of 1.25 million parameters, with random weights.
pub fn cifar10_cnn() -> Net {
    use unfloat_ir::ops::{Conv, Dense, MaxPool, Reshape, Softmax, Unary, Window};
    let mut net = Net::new("cifar10_cnn");
    let mut x = net.input(&[32, 32, 3], "hwc");
    let mut channels = 3;
    for (i, (filters, same)) in [(32, true), (32, false), (64, true), (64, false)].into_iter().enumerate() {
        let pads = [usize::from(same); 2];
        let w = net.weight(&[filters, 3, 3, channels], 9 * channels);
        let b = net.weight(&[filters], 100);
        let op = Conv { window: Window::new([3, 3]).pads(pads, pads), groups: 1 };
        x = net.node(op, &[x, w, b], &format!("conv2d_{}", i + 1));
        x = net.node(Unary::Relu, &[x], &format!("activation_{}", i + 1));
        channels = filters;
        if i % 2 == 1 {
            let op = MaxPool { window: Window::new([2, 2]).strides([2, 2]) };
            x = net.node(op, &[x], &format!("max_pooling2d_{}", i / 2 + 1));
        }
    }
    x = net.node(Reshape { shape: [2304].into(), layout: Layout::channels_last(0) }, &[x], "flatten_1");
    for (i, (inputs, units)) in [(2304, 512), (512, 10)].into_iter().enumerate() {
        let w = net.weight(&[units, inputs], inputs);
        let b = net.weight(&[units], 100);
        x = net.node(Dense, &[x, w, b], &format!("dense_{}", i + 1));
        if i == 0 {
            x = net.node(Unary::Relu, &[x], "activation_5");
        }
    }
    net.output(Softmax { axes: vec![0], log: false }, &[x], "activation_6");
    net
}

/// A channels-first input, a padded convolution, a branch, two outputs.
pub fn branches() -> Net {
    use unfloat_ir::ops::{Binary, Conv, Dense, MaxPool, Reshape, Softmax, Transpose, Unary, Window};
    let mut net = Net::new("branches");
    let x = net.input(&[2, 4, 5], "chw");
    let x = net.node(Transpose { perm: vec![1, 2, 0] }, &[x], "to_hwc");
    let (w, b) = (net.weight(&[3, 3, 3, 2], 18), net.weight(&[3], 4));
    let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let conv = net.node(Conv { window, groups: 1 }, &[x, w, b], "conv/1");
    let left = net.node(Unary::LeakyRelu { alpha: 0.25 }, &[conv], "class");
    let right = net.node(MaxPool { window: Window::new([3, 3]).pads([1, 1], [1, 1]) }, &[left], "conv.1");
    let sum = net.node(Binary::Add, &[left, right], "add");
    let six = net.node(Unary::Clip { lo: 0.0, hi: 6.0 }, &[sum], "relu6");
    net.output(Transpose { perm: vec![2, 0, 1] }, &[six], "map \"quoted\" \\ \u{202e}");
    let flat = net.node(Reshape { shape: [60].into(), layout: Layout::channels_last(0) }, &[six], "flat");
    let (w, b) = (net.weight(&[2, 60], 60), net.weight(&[2], 4));
    let logits = net.node(Dense, &[flat, w, b], "dense");
    net.output(Softmax { axes: vec![0], log: false }, &[logits], "softmax");
    net
}

/// Two values from three, with an infinite bias.
pub fn perceptron() -> Net {
    use unfloat_ir::ops::{Dense, Unary};
    let mut net = Net::new("perceptron");
    let x = net.input(&[3], "c");
    let (w, b) = (net.weight(&[2, 3], 3), net.constant(&[2], vec![-0.0, f32::INFINITY]));
    let y = net.node(Dense, &[x, w, b], "dense");
    net.output(Unary::Sigmoid, &[y], "sigmoid");
    net
}
