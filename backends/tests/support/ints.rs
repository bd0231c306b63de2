//! Graphs of integers that are being written, and their comparison bit for bit.

use super::{Random, compilers, emit};
use unfloat_backends::cpp::{self, Compiler};
use unfloat_backends::process::TempDir;
use unfloat_backends::{Manifest, OutDir};
use unfloat_exec::reference;
use unfloat_ir::ops::{Dequantize, Op, Quantize, QuantizeOrder, Requantize};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{
    ElemType, Graph, IntType, Layout, Origin, Overflow, Rounding, Stage, Tensor, TensorType, ValueId,
};

/// A graph of integers.
pub struct Ints {
    pub graph: Graph,
    pub random: Random,
    count: usize,
}

impl Ints {
    pub fn new(name: &str) -> Self {
        let mut graph = Graph::new(name);
        graph.stage = Stage::Folded;
        Self { graph, random: Random(11), count: 0 }
    }
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> ValueId {
        let origin = Origin::new("keras", "test.h5", &format!("model_weights/{name}"), name);
        self.graph.add_node(op, inputs, name, &origin).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    pub fn output(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) {
        let value = self.node(op, inputs, name);
        self.graph.add_output(name, value);
    }
    /// A number from `lo` to `hi`; the two themselves are not rare.
    pub fn code(&mut self, lo: i64, hi: i64) -> i64 {
        let span = (i128::from(hi) - i128::from(lo) + 1) as u128;
        match self.random.pick(0, 15) {
            0 => lo,
            1 => hi,
            _ => (i128::from(lo) + (u128::from(self.random.word()) % span) as i128) as i64,
        }
    }
    pub fn constant(&mut self, elem: ElemType, shape: &[usize], codes: Vec<i64>) -> ValueId {
        self.count += 1;
        let ty = TensorType::new(elem, shape, Layout::anonymous(shape.len()));
        self.graph.add_const(&format!("c{}", self.count), Tensor::codes(ty, codes))
    }
    /// A random constant of all codes of its type.
    pub fn weight(&mut self, elem: ElemType, shape: &[usize]) -> ValueId {
        let (lo, hi) = elem.code_range().unwrap();
        let n = shape.iter().product::<usize>();
        let codes = (0..n)
            .map(|_| {
                loop {
                    let code = self.code(lo, hi);
                    if elem.has_code(code) {
                        break code;
                    }
                }
            })
            .collect();
        self.constant(elem, shape, codes)
    }
    pub fn int(&mut self, int: IntType, shape: &[usize]) -> ValueId {
        self.weight(ElemType::Int(int), shape)
    }
    pub fn floats(&mut self, shape: &[usize], data: Vec<f32>) -> ValueId {
        self.count += 1;
        let tensor = Tensor::f32(shape, Layout::anonymous(shape.len()), data);
        self.graph.add_const(&format!("c{}", self.count), tensor)
    }
    /// An input of codes.
    pub fn input(&mut self, elem: ElemType, shape: &[usize], layout: &str) -> ValueId {
        let name = format!("x{}", self.graph.inputs().len());
        self.graph.add_input(&name, TensorType::new(elem, shape, Layout::new(layout).unwrap()))
    }
    /// A float input with the quantizer behind it.
    pub fn quantized(&mut self, shape: &[usize], layout: &str, int: IntType) -> ValueId {
        let n = self.graph.inputs().len();
        let ty = TensorType::f32(shape, Layout::new(layout).unwrap());
        let x = self.graph.add_input(&format!("x{n}"), ty);
        let scale = 2.2 / (int.max() as f32 - int.min() as f32);
        let zero = ((int.max() + int.min()) / 2) as f32;
        let (scale, zero) = (self.floats(&[], vec![scale]), self.floats(&[], vec![zero]));
        let op = Quantize {
            to: ElemType::Int(int),
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        self.node(op, &[x, scale, zero], &format!("q{n}"))
    }
    /// An output behind a dequantizer.
    pub fn dequantized(&mut self, value: ValueId, name: &str) {
        let (scale, zero) = (self.floats(&[], vec![0.037]), self.floats(&[], vec![3.0]));
        self.output(Dequantize, &[value, scale, zero], name);
    }
    /// A sum of products with random weights.
    pub fn product(
        &mut self,
        op: impl Into<Op>,
        x: ValueId,
        weight: &[usize],
        bits: u8,
        bias: bool,
        name: &str,
    ) -> ValueId {
        let mut operands = vec![x, self.int(IntType::signed(bits), weight)];
        if bias {
            operands.push(self.int(IntType::signed(12), &[weight[0]]));
        }
        self.node(op, &operands, name)
    }
    /// A requantizer per channel, whose results fill the type.
    pub fn requantize(&mut self, x: ValueId, to: IntType, rounding: Rounding, name: &str) -> ValueId {
        let n = *self.graph.ty(x).shape.last().unwrap();
        let (lo, hi) = Ranges::of(&self.graph).of_value(x).unwrap();
        let shift = 24 + self.random.pick(0, 3) as i64;
        let span = (to.max() as f64 - to.min() as f64) / ((hi - lo) as f64 + 1.0);
        let m: Vec<i64> = (0..n)
            .map(|_| (span * f64::from(1u32 << 27) * f64::from(1.5 + self.random.float())) as i64)
            .collect();
        let least = m.iter().fold(1, |a, &b| a.max(b));
        let m = self.constant(ElemType::Int(IntType::covering(-1, least)), &[n], m);
        let a: Vec<i64> = (0..n).map(|_| self.code(-(1 << 30), 1 << 30)).collect();
        let a = self.constant(ElemType::signed(40), &[n], a);
        let shifts = (0..n).map(|c| shift + (c % 3) as i64).collect();
        let s = self.constant(ElemType::Int(IntType::unsigned(6)), &[n], shifts);
        let op = Requantize { to, rounding, overflow: Overflow::Saturate, narrow: false };
        self.node(op, &[x, m, a, s], name)
    }
    pub fn samples(&mut self, n: usize) -> Vec<Vec<Tensor>> {
        let types: Vec<TensorType> = self.graph.inputs().iter().map(|&v| self.graph.ty(v).clone()).collect();
        (0..n).map(|_| types.iter().map(|ty| self.sample(ty)).collect()).collect()
    }
    fn sample(&mut self, ty: &TensorType) -> Tensor {
        let n = ty.shape.num_elements();
        let Some((lo, hi)) = ty.elem.code_range() else {
            return Tensor::f32(ty.shape.clone(), ty.layout, self.random.floats(n, 1.3));
        };
        let mut codes = Vec::new();
        while codes.len() < n {
            let code = self.code(lo, hi);
            codes.extend(ty.elem.has_code(code).then_some(code));
        }
        Tensor::codes(ty.clone(), codes)
    }
}

/// Emits, compiles with each compiler, runs, and compares every bit with the reference evaluator's.
pub fn exact(net: &mut Ints, samples: usize, settings: &[&str], flags: &[&str]) {
    exact_by(net, samples, settings, &compilers(flags));
}

/// As [`exact`], with compilers of the caller's choice.
pub fn exact_by(net: &mut Ints, samples: usize, settings: &[&str], compilers: &[Compiler]) {
    let samples = net.samples(samples);
    exact_on(&net.graph, &samples, settings, compilers);
}

/// As [`exact`], on samples of the caller's choice.
pub fn exact_on(graph: &Graph, samples: &[Vec<Tensor>], settings: &[&str], compilers: &[Compiler]) {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    let out: OutDir = emit(graph, settings);
    out.write_to(&dir, Manifest::new(graph), false).unwrap();
    let wanted: Vec<Vec<Tensor>> = samples.iter().map(|s| reference::evaluate(graph, s).unwrap()).collect();
    for compiler in compilers {
        let got = cpp::replay(&dir, samples, compiler).unwrap_or_else(|e| panic!("{e}"));
        for (want, got) in wanted.iter().zip(&got) {
            for ((want, got), output) in want.iter().zip(got).zip(graph.outputs()) {
                let name = format!("{} by {}", output.name, compiler.program.display());
                assert_eq!(want.ty, got.ty, "{name}");
                if want.data != got.data {
                    let differs = |i: &usize| match (want.as_f32(), got.as_f32()) {
                        (Some(a), Some(b)) => a[*i].to_bits() != b[*i].to_bits(),
                        _ => want.data.code(*i) != got.data.code(*i),
                    };
                    let i = (0..want.len()).find(differs).unwrap();
                    let (a, b) = (want.data.code(i), got.data.code(i));
                    let floats = (want.as_f32().map(|v| v[i]), got.as_f32().map(|v| v[i]));
                    panic!("{name}: element {i} is {b:?}, expected {a:?} (floats {floats:?})");
                }
            }
        }
    }
}

/// The CIFAR-10 network of 1.25 million parameters on integers: bytes with sign at the input, without behind the layers,
/// weights of 8 bits, requantizers per channel.
pub fn cifar10_int8() -> Ints {
    use unfloat_ir::ops::{Conv, Dense, MaxPool, Reshape, Window};
    let mut net = Ints::new("cifar10_int8");
    let mut x = net.quantized(&[32, 32, 3], "hwc", IntType::signed(8));
    let (u8, mut channels) = (IntType::unsigned(8), 3);
    for (i, (filters, same)) in [(32, true), (32, false), (64, true), (64, false)].into_iter().enumerate() {
        let pads = [usize::from(same); 2];
        let op = Conv { window: Window::new([3, 3]).pads(pads, pads), groups: 1 };
        let name = format!("conv2d_{}", i + 1);
        let c = net.product(op, x, &[filters, 3, 3, channels], 8, true, &name);
        x = net.requantize(c, u8, Rounding::HalfEven, &format!("{name}_q"));
        channels = filters;
        if i % 2 == 1 {
            let op = MaxPool { window: Window::new([2, 2]).strides([2, 2]) };
            x = net.node(op, &[x], &format!("max_pooling2d_{}", i / 2 + 1));
        }
    }
    x = net.node(Reshape { shape: [2304].into(), layout: Layout::channels_last(0) }, &[x], "flatten_1");
    for (i, (inputs, units)) in [(2304, 512), (512, 10)].into_iter().enumerate() {
        let name = format!("dense_{}", i + 1);
        let d = net.product(Dense, x, &[units, inputs], 8, true, &name);
        let to = if i == 0 { u8 } else { IntType::signed(8) };
        x = net.requantize(d, to, Rounding::HalfEven, &format!("{name}_q"));
    }
    net.dequantized(x, "scores");
    net
}

/// The perceptron 16-64-32-32-5 in `fixed<16,6>`: 16 bits throughout, ReLU, accumulators as wide as they must be.
pub fn perceptron_16() -> Ints {
    use unfloat_ir::ops::{Dense, Unary};
    let mut net = Ints::new("perceptron_16");
    let i16 = IntType::signed(16);
    let mut x = net.quantized(&[16], "c", i16);
    let sizes = [16, 64, 32, 32, 5];
    for (i, pair) in sizes.windows(2).enumerate() {
        // Weights of magnitude 1 and less, which have 11 bits.
        let name = format!("dense_{}", i + 1);
        let d = net.product(Dense, x, &[pair[1], pair[0]], 11, true, &name);
        x = net.requantize(d, i16, Rounding::HalfCeil, &format!("{name}_q"));
        if i < 3 {
            x = net.node(Unary::Relu, &[x], &format!("relu_{}", i + 1));
        }
    }
    net.dequantized(x, "scores");
    net
}
