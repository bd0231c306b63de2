//! Random graphs between quantizers go through `integerize`, and the codes of every quantizer are the source's.
//!
//! All scales, biases and bounds are small multiples of powers of two, so that the reference evaluator computes the source
//! without rounding: there is no last bit to argue about, and no tolerance. Layers, moves, sums of two values, functions that
//! bend, quantizers of every rounding, overflow and order with zero points of both parities follow one another as chance has it.
//! Inputs lie on the ties of the first quantizer as often as not.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use unfloat_exec::reference::evaluate;
use unfloat_ir::ops::*;
use unfloat_ir::{
    ElemType, Graph, IntType, Layout, Op, OpDef, Origin, Overflow, Rounding, Stage, Tensor, TensorType,
    ValueId,
};
use unfloat_passes::report::Fold;
use unfloat_passes::validate::{Reference, SplitMix64};
use unfloat_passes::{RunOptions, parse_calls, run_pipeline};

struct Maker {
    graph: Graph,
    random: SplitMix64,
    /// Floats to go on from.
    values: Vec<ValueId>,
    nodes: usize,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }
    fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + self.random.below((hi - lo + 1) as u64) as i64
    }
    fn power(&mut self, lo: i32, hi: i32) -> f32 {
        (self.int(lo.into(), hi.into()) as f32).exp2()
    }
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
    fn pick(&mut self) -> ValueId {
        let n = self.values.len();
        let i = self.below(n).max(self.below(n));
        self.values[i]
    }
    fn scalar(&mut self, v: f32) -> ValueId {
        self.graph.add_const("s", Tensor::f32([], Layout::anonymous(0), vec![v]))
    }
    fn per_channel(&mut self, values: Vec<f32>) -> ValueId {
        self.graph.add_const("c", Tensor::f32([values.len()], Layout::channels_last(0), values))
    }
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let ty = op.infer(&types).ok()?;
        if !(1..=400).contains(&ty.shape.num_elements()) {
            return None;
        }
        self.nodes += 1;
        let name = format!("v{}", self.nodes);
        let origin = Origin::new("onnx", "m.onnx", "", &format!("layer_{}", self.nodes));
        self.graph.add_node(op, inputs, &name, &origin).ok()
    }
    fn channels(&self, x: ValueId) -> usize {
        self.graph.ty(x).shape.last().copied().unwrap_or(1)
    }

    /// A quantizer, and floats again.
    fn quantized(&mut self, x: ValueId) -> Option<ValueId> {
        let width = self.one_of(&[2, 3, 4, 4, 8, 8, 8, 12, 16]);
        let int = if self.below(3) == 0 { IntType::unsigned(width) } else { IntType::signed(width) };
        let overflow = self.one_of(&[
            Overflow::Saturate,
            Overflow::Saturate,
            Overflow::Saturate,
            Overflow::Wrap,
            Overflow::SaturateZero,
            Overflow::SaturateSymmetric,
        ]);
        let order = match overflow {
            Overflow::Saturate => {
                self.one_of(&[QuantizeOrder::RoundThenSaturate, QuantizeOrder::ClampThenRound])
            }
            _ => QuantizeOrder::RoundThenSaturate,
        };
        let rounding = self.one_of(&Rounding::ALL);
        let op = Quantize {
            to: ElemType::Int(int),
            narrow: overflow != Overflow::Wrap && self.below(6) == 0,
            rounding,
            overflow,
            order,
        };
        let scale = self.power(-4, 1);
        let zero = if self.below(2) == 0 { 0 } else { self.int(-3, 5) } as f32;
        let (scale, zero) = (self.scalar(scale), self.scalar(zero));
        let codes = self.add(op, &[x, scale, zero])?;
        self.add(Dequantize, &[codes, scale, zero])
    }

    /// Codes behind a scale per output channel, or one for all.
    fn weight(&mut self, dims: &[usize], layout: Layout, axis: usize) -> Option<ValueId> {
        let n = dims.iter().product();
        let codes: Vec<i64> = (0..n).map(|_| self.int(-7, 7)).collect();
        let ty = TensorType::new(ElemType::signed(4), dims, layout);
        let codes = self.graph.add_const("w", Tensor::codes(ty, codes));
        let mut shape = vec![1; dims.len()];
        if self.below(2) == 0 {
            shape[axis] = dims[axis];
        }
        let scales = (0..shape.iter().product()).map(|_| self.power(-3, 0)).collect();
        let scale = self.graph.add_const("ws", Tensor::f32(shape, Layout::anonymous(dims.len()), scales));
        let zero = self.scalar(0.0);
        self.add(Dequantize, &[codes, scale, zero])
    }
    fn bias(&mut self, n: usize) -> ValueId {
        let values = (0..n).map(|_| self.int(-40, 40) as f32 / 16.0).collect();
        self.per_channel(values)
    }
    fn window(&mut self, rank: usize) -> Window {
        let mut each = |lo: i64, hi: i64| (0..rank).map(|_| self.int(lo, hi) as usize).collect::<Vec<_>>();
        let (kernel, strides) = (each(1, 3), each(1, 2));
        let (begin, end) = (each(0, 1), each(0, 1));
        Window::new(kernel).strides(strides).pads(begin, end)
    }

    fn layer(&mut self, x: ValueId) -> Option<ValueId> {
        let (rank, channels) = (self.graph.ty(x).rank(), self.channels(x));
        let out = 1 + self.below(3);
        match (rank, self.below(5)) {
            (3, 3) => self.transposed(x, out),
            (3, 0 | 1) => {
                let window = self.window(2);
                let groups = if self.below(3) == 0 { channels } else { 1 };
                let out = out * groups;
                let dims = [&[out], &window.kernel[..], &[channels / groups]].concat();
                let w = self.weight(&dims, Layout::weight(2), 0)?;
                let mut inputs = vec![x, w];
                if self.below(2) == 0 {
                    inputs.push(self.bias(out));
                }
                self.add(Conv { window, groups }, &inputs)
            }
            (3, _) => {
                let lead = self.graph.ty(x).shape[0];
                let dims = [if self.below(2) == 0 { lead } else { 1 }, channels, out];
                let w = self.weight(&dims, Layout::anonymous(3), 2)?;
                self.add(MatMul, &[x, w])
            }
            _ => {
                let w = self.weight(&[out, channels], Layout::weight(0), 0)?;
                let b = self.bias(out);
                self.add(Dense, &[x, w, b])
            }
        }
    }

    fn transposed(&mut self, x: ValueId, out: usize) -> Option<ValueId> {
        let shape = self.graph.ty(x).shape.to_vec();
        let window = self.window(2);
        let dilations = vec![1, 1 + self.below(2)];
        let reach = |i: usize| (shape[i] - 1) * window.strides[i] + (window.kernel[i] - 1) * dilations[i] + 1;
        let crop = window.pads_begin.clone();
        let output = (0..2).map(|i| (reach(i) + window.pads_end[i]).saturating_sub(crop[i]).max(1)).collect();
        let w = self.weight(&[&[out], &window.kernel[..], &[shape[2]]].concat(), Layout::weight(2), 0)?;
        let b = self.bias(out);
        let (kernel, strides) = (window.kernel, window.strides);
        self.add(ConvTranspose { kernel, strides, dilations, crop, output, groups: 1 }, &[x, w, b])
    }

    fn function(&mut self, x: ValueId) -> Option<ValueId> {
        let channels = self.channels(x);
        match self.below(9) {
            0 | 1 => self.add(Unary::Relu, &[x]),
            2 => self.add(Unary::Clip { lo: -1.5, hi: 6.0 }, &[x]),
            3 => self.add(Unary::LeakyRelu { alpha: 0.25 }, &[x]),
            4 => self.add(Unary::Abs, &[x]),
            5 => self.add(Unary::Neg, &[x]),
            6 => self.add(Unary::HardSigmoid { alpha: 0.25, beta: 0.5 }, &[x]),
            7 => {
                let slopes = (0..channels).map(|_| self.int(-4, 4) as f32 / 4.0).collect();
                let slopes = self.per_channel(slopes);
                self.add(Binary::Prelu, &[x, slopes])
            }
            _ => {
                let factors = (0..channels).map(|_| self.one_of(&[0.5, 1.0, -2.0, 0.25, 0.0])).collect();
                let factors = self.per_channel(factors);
                let y = self.add(Binary::Mul, &[x, factors])?;
                let b = self.bias(channels);
                self.add(Binary::Add, &[y, b])
            }
        }
    }

    fn moved(&mut self, x: ValueId) -> Option<ValueId> {
        let rank = self.graph.ty(x).rank();
        match self.below(7) {
            0 if rank == 3 => {
                let window = self.window(2);
                self.add(MaxPool { window }, &[x])
            }
            1 if rank == 3 => {
                let mut window = self.window(2);
                window.kernel = vec![2, 1 + self.below(2)];
                let count_include_pad = self.below(2) == 0;
                self.add(AvgPool { window, count_include_pad }, &[x])
            }
            2 => {
                let n = self.graph.ty(x).shape.num_elements();
                let new = Reshape { shape: [n].into(), layout: Layout::channels_last(0) };
                self.add(new, &[x])
            }
            3 => {
                let other = self.pick();
                let axis = rank.checked_sub(1)?;
                self.add(Concat { axis }, &[x, other])
            }
            4 if rank == 3 => self.add(Reduce { f: ReduceFn::Mean, axes: vec![0, 1], keep: false }, &[x]),
            5 if rank == 3 => {
                let mode = PadMode::Constant(self.int(-2, 2) as f32 / 2.0);
                self.add(Pad { before: vec![1, 0, 0], after: vec![0, 1, 0], mode }, &[x])
            }
            _ => {
                let other = self.pick();
                let f = self.one_of(&[Binary::Add, Binary::Sub, Binary::Mul]);
                self.add(f, &[x, other])
            }
        }
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut graph = Graph::new("random");
    graph.stage = Stage::Folded;
    let mut m = Maker { graph, random: SplitMix64::new(seed), values: Vec::new(), nodes: 0 };
    for i in 0..2 {
        let shape: &[usize] = if seed.is_multiple_of(3) { &[5] } else { &[4, 4, 2] };
        let ty = TensorType::f32(shape, Layout::channels_last(shape.len() - 1));
        let x = m.graph.add_input(&format!("x{i}"), ty);
        let first = m.quantized(x);
        m.values.extend(first);
    }
    for _ in 0..2 + m.below(4) {
        let mut x = m.pick();
        if m.below(3) > 0 {
            x = m.layer(x).unwrap_or(x);
        }
        for _ in 0..m.below(3) {
            let next = if m.below(2) == 0 { m.function(x) } else { m.moved(x) };
            x = next.unwrap_or(x);
        }
        let y = m.quantized(x);
        m.values.extend(y);
    }
    for (i, v) in m.values.clone().into_iter().enumerate() {
        m.graph.add_output(&format!("y{i}"), v);
    }
    m.graph
}

/// Multiples of 2^-6, small ones and large ones.
fn samples(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let mut random = SplitMix64::new(seed);
    let mut one = |ty: &TensorType| {
        let mut values = Vec::new();
        for _ in 0..ty.shape.num_elements() {
            let reach = [32, 512, 1 << 14][random.below(3) as usize];
            values.push((random.below(2 * reach) as f32 - reach as f32) / 64.0);
        }
        Tensor::f32(ty.shape.to_vec(), ty.layout, values)
    };
    graph.inputs().iter().map(|&v| one(graph.ty(v))).collect()
}

/// The quantizers whose results are the source's by the words of the pass, and whose operands' are.
fn equal(graph: &Graph, folds: &BTreeMap<&str, &Fold>) -> BTreeSet<ValueId> {
    let mut equal = BTreeSet::new();
    for (_, node) in graph.live_nodes() {
        let quantizer = matches!(node.op, Op::Quantize(_));
        let own = match folds.get(graph.value(node.output).name.as_str()) {
            Some(f) => f.exact && f.bound == 0.0 && f.differs.is_none_or(|d| d.different == 0),
            None => true,
        };
        let operands = node.inputs.iter();
        let from = operands.filter(|&&v| graph.const_of(v).is_none() && !graph.inputs().contains(&v));
        if from.clone().all(|v| equal.contains(v)) && (own || !quantizer) {
            equal.insert(node.output);
        }
    }
    equal
}

/// Runs one graph; how many quantizers there were, how many became integers, how many of those were held to be equal.
fn check(seed: u64) -> Result<[usize; 3], TestCaseError> {
    let graph = random_graph(seed);
    let mut integers = graph.clone();
    let calls = parse_calls("integerize").expect("a pass");
    let options = RunOptions { evaluator: &Reference, ..RunOptions::default() };
    let report = run_pipeline(&mut integers, &calls, &options, &mut Default::default()).map_err(|e| {
        TestCaseError::fail(format!("seed {seed}: {e}\n{}", unfloat_ir::text::print(&graph).text))
    })?;
    let all: Vec<&Fold> = report.passes.iter().flat_map(|p| &p.folds).collect();
    let folds: BTreeMap<&str, &Fold> = all.iter().map(|f| (f.value.as_str(), *f)).collect();
    let equal = equal(&graph, &folds);
    let mut held = 0;
    for s in 0..6 {
        let input = samples(&graph, seed ^ s << 32);
        let (want, got) = (evaluate(&graph, &input), evaluate(&integers, &input));
        let (want, got) = (want.expect("the source runs"), got.expect("integers run"));
        for ((output, want), got) in graph.outputs().iter().zip(&want).zip(&got) {
            if equal.contains(&output.value) {
                held += usize::from(s == 0);
                let texts =
                    || (unfloat_ir::text::print(&graph).text, unfloat_ir::text::print(&integers).text);
                prop_assert_eq!(
                    &want.data,
                    &got.data,
                    "seed {}, output {}\n{:?}",
                    seed,
                    output.name,
                    texts()
                );
            }
        }
    }
    let made = graph.live_nodes().filter(|(_, n)| matches!(n.op, Op::Quantize(_))).count();
    Ok([made, folds.len(), held])
}

#[test]
fn codes_are_those_of_the_source() {
    let mut sums = [0; 3];
    // The last one has results beyond a narrow range and within its type.
    for seed in (0..400).chain([1_513_075_254_261_344_726]) {
        let one = check(seed).unwrap_or_else(|e| panic!("{e}"));
        sums.iter_mut().zip(one).for_each(|(s, n)| *s += n);
    }
    let [made, folded, held] = sums;
    // Two quantizers of each graph are those of its inputs, and what wraps behind what bends stays a float.
    assert!(folded * 2 > made, "{folded} of {made} quantizers became integers");
    assert!(held * 10 > made * 8, "{held} of {made} were held to be equal");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn codes_are_those_of_the_source_whatever_the_seed(seed: u64) {
        check(seed)?;
    }
}
