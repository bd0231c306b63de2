//! Random graphs of integers, on every instruction set, against the reference evaluator: equal to the last bit.

use super::super::{Kind, Plan, PlanOptions};
use super::fuse::{Tables, add};
use super::run;
use super::step::{Segment, Work};
use crate::kernels::Isa;
use crate::kernels::int::{Levels, Map, PostSpec};
use crate::reference::evaluate;
use std::sync::Arc;
use unfloat_ir::ops::*;
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{
    Data, ElemType, Graph, IntType, Layout, Op, Origin, Overflow, Rounding, Tensor, TensorType, ValueId,
};

mod bits;
mod luts;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// lo..=hi.
    fn int(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (u128::from(self.next()) % (hi as i128 - lo as i128 + 1) as u128) as i64
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.int(0, from.len() as i64 - 1) as usize]
    }
    /// A code of a type, often one at its ends.
    fn code(&mut self, elem: &ElemType) -> i64 {
        let (lo, hi) = elem.code_range().unwrap();
        match self.int(0, 7) {
            0 => lo,
            1 => hi,
            _ if *elem == ElemType::Bipolar => self.pick(&[-1, 1]),
            _ => self.int(lo, hi),
        }
    }
    fn tensor(&mut self, elem: ElemType, shape: &[usize], layout: Layout) -> Tensor {
        let n = shape.iter().product::<usize>();
        let codes: Vec<i64> = (0..n).map(|_| self.code(&elem)).collect();
        Tensor::codes(TensorType::new(elem, shape, layout), codes)
    }
}

fn signed(width: u8) -> ElemType {
    ElemType::signed(width)
}
fn unsigned(width: u8) -> ElemType {
    ElemType::Int(IntType::unsigned(width))
}

struct Build {
    g: Graph,
    r: Random,
    last: ValueId,
}

impl Build {
    fn new(elem: ElemType, shape: &[usize], seed: u64) -> Self {
        let mut g = Graph::new("t");
        let layout = Layout::channels_last(shape.len() - 1);
        let last = g.add_input("x", TensorType::new(elem, shape, layout));
        Self { g, r: Random(seed), last }
    }
    fn constant(&mut self, elem: ElemType, shape: &[usize]) -> ValueId {
        let t = self.r.tensor(elem, shape, Layout::anonymous(shape.len()));
        self.g.add_const("c", t)
    }
    fn op(&mut self, op: impl Into<Op>, more: &[ValueId]) -> &mut Self {
        let inputs: Vec<ValueId> = [self.last].iter().chain(more).copied().collect();
        self.last = self.g.add_node(op, &inputs, "v", &Origin::default()).unwrap();
        self
    }
    fn channels(&self) -> usize {
        *self.g.ty(self.last).shape.last().unwrap()
    }
    fn conv(&mut self, window: Window, out: usize, groups: usize, weight: ElemType) -> &mut Self {
        let mut shape = vec![out];
        shape.extend_from_slice(&window.kernel);
        shape.push(self.channels() / groups);
        let (w, b) = (self.constant(weight, &shape), self.constant(signed(16), &[out]));
        self.op(Conv { window, groups }, &[w, b])
    }
    fn dense(&mut self, out: usize, weight: ElemType) -> &mut Self {
        let n = self.channels();
        let (w, b) = (self.constant(weight, &[out, n]), self.constant(signed(20), &[out]));
        self.op(Dense, &[w, b])
    }
    /// A requantization whose codes fill the type: the multipliers follow what the values can be.
    fn requantize(&mut self, to: IntType, rounding: Rounding, overflow: Overflow) -> &mut Self {
        let channels = self.channels();
        let range = unfloat_ir::ranges::Ranges::of(&self.g).of_value(self.last).unwrap();
        let most = range.0.unsigned_abs().max(range.1.unsigned_abs()).max(1);
        let bits = (128 - most.leading_zeros()) as i64;
        let n = self.r.pick(&[1, channels]);
        let mut all = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            // A multiplier of 1 makes ties; others of up to 31 bits seldom do.
            let m_bits = self.r.pick(&[1, 8, 31]);
            let m = self.r.int(1 << (m_bits - 1), (1 << m_bits) - 1);
            let s = (bits + m_bits - i64::from(to.width)).clamp(0, 63);
            let m = if self.r.int(0, 5) == 0 { -m } else { m };
            all.0.push(m);
            all.1.push(self.r.int(-1, 1) * self.r.int(0, 1 << s.min(40)));
            all.2.push(s);
        }
        let shape: &[usize] = if n == 1 { &[] } else { &[n] };
        let layout = Layout::anonymous(shape.len());
        let mut constant = |elem: ElemType, v: Vec<i64>| {
            self.g.add_const("q", Tensor::codes(TensorType::new(elem, shape, layout), v))
        };
        let more = [constant(signed(33), all.0), constant(signed(50), all.1), constant(unsigned(6), all.2)];
        self.op(Requantize { to, rounding, overflow, narrow: false }, &more)
    }
    fn flatten(&mut self) -> &mut Self {
        let n = self.g.ty(self.last).shape.num_elements();
        self.op(Reshape { shape: [n].into(), layout: Layout::channels_last(0) }, &[])
    }
    fn output(&mut self) -> &mut Self {
        self.g.add_output("y", self.last);
        self
    }
}

/// Batches of samples for a graph's inputs: codes over all of a type, floats of about unit size.
fn inputs(g: &Graph, r: &mut Random, batch: usize) -> Vec<Data> {
    let one = |ty: &TensorType, r: &mut Random| {
        let n = ty.shape.num_elements() * batch;
        match ty.elem.is_float() {
            true => Data::F32((0..n).map(|_| r.int(-3000, 3000) as f32 / 1000.0).collect()),
            false => Data::from_codes(&ty.elem, (0..n).map(|_| r.code(&ty.elem)).collect::<Vec<_>>()),
        }
    };
    g.inputs().iter().map(|&v| one(g.ty(v), r)).collect()
}

fn part(data: &Data, elem: &ElemType, at: std::ops::Range<usize>) -> Data {
    match data {
        Data::F32(v) => Data::F32(v[at].to_vec()),
        codes => Data::from_codes(elem, at.map(|i| codes.code(i).unwrap()).collect::<Vec<_>>()),
    }
}

/// Runs the graph on every instruction set, thread count and batch: the reference's bits.
#[track_caller]
fn agrees(build: &mut Build) {
    build.output();
    let g = &build.g;
    unfloat_ir::verify::verify(g).unwrap();
    const BATCH: usize = 7;
    let batch = inputs(g, &mut build.r, BATCH);
    let refs: Vec<&Data> = batch.iter().collect();
    let sample = |s: usize| -> Vec<Tensor> {
        let one = |(&v, data): (&ValueId, &Data)| {
            let ty = g.ty(v).clone();
            let n = ty.shape.num_elements();
            Tensor { data: part(data, &ty.elem, s * n..(s + 1) * n), ty }
        };
        g.inputs().iter().zip(&batch).map(one).collect()
    };
    for isa in Isa::available() {
        let plan = Plan::new(g, &PlanOptions { isa, ..PlanOptions::default() }).unwrap();
        let all = plan.run_data(&refs, BATCH, 1).unwrap();
        assert_eq!(all, plan.run_data(&refs, BATCH, 3).unwrap(), "threads change the result");
        let mut workspace = plan.workspace();
        for s in 0..BATCH {
            let one = sample(s);
            let want = evaluate(g, &one).unwrap();
            let alone: Vec<&Data> = one.iter().map(|t| &t.data).collect();
            let alone = plan.run_data_in(&mut workspace, &alone, 1).unwrap();
            for (k, want) in want.iter().enumerate() {
                let n = want.len();
                assert_eq!(alone[k], want.data, "{} alone, sample {s}", isa.name());
                let found = part(&all[k], &want.ty.elem, s * n..(s + 1) * n);
                assert_eq!(found, want.data, "{} in a batch, sample {s}", isa.name());
            }
        }
    }
}

const SAT: Overflow = Overflow::Saturate;
const U8: IntType = IntType::unsigned(8);
const I8: IntType = IntType::signed(8);

#[test]
fn a_cnn_of_bytes() {
    let mut b = Build::new(signed(8), &[9, 11, 3], 1);
    let same = || Window::new([3, 3]).pads([1, 1], [1, 1]);
    b.conv(same(), 20, 1, signed(8)).requantize(U8, Rounding::HalfUp, SAT);
    b.conv(same(), 32, 1, signed(8)).op(Unary::Relu, &[]).requantize(I8, Rounding::HalfEven, SAT);
    b.op(MaxPool { window: Window::new([2, 2]).strides([2, 2]) }, &[]);
    b.conv(Window::new([3, 3]).strides([1, 2]), 19, 1, signed(8)).requantize(I8, Rounding::HalfUp, SAT);
    b.op(Unary::Clip { lo: -6.0, hi: 100.0 }, &[]);
    b.flatten().dense(33, signed(8)).requantize(U8, Rounding::HalfCeil, SAT);
    b.dense(10, signed(8));
    agrees(&mut b);
}

#[test]
fn all_roundings_and_overflows() {
    let mut seed = 100;
    for rounding in Rounding::ALL {
        for overflow in Overflow::ALL {
            for to in [IntType::signed(8), IntType::unsigned(5), IntType::signed(12), IntType::signed(31)] {
                seed += 1;
                let mut b = Build::new(signed(8), &[5, 13], seed);
                b.dense(21, signed(8)).requantize(to, rounding, overflow);
                agrees(&mut b);
                // A requantization that stands alone, and one of sums of 64 bits.
                let mut b = Build::new(signed(20), &[5, 13], seed + 1000);
                b.requantize(to, rounding, overflow);
                agrees(&mut b);
                let mut b = Build::new(signed(50), &[13], seed + 2000);
                b.requantize(to, rounding, overflow);
                agrees(&mut b);
            }
        }
    }
}

#[test]
fn sums_of_64_bits() {
    for (x, w, n) in
        [(16, 16, 64), (16, 16, 3), (16, 12, 200), (12, 16, 7), (17, 8, 5), (16, 17, 5), (32, 32, 4)]
    {
        let mut b = Build::new(signed(x), &[3, n], n as u64);
        b.dense(9, signed(w)).requantize(IntType::signed(16), Rounding::Floor, Overflow::Wrap);
        b.op(Unary::Relu, &[]).dense(17, signed(16)).requantize(IntType::signed(16), Rounding::HalfCeil, SAT);
        agrees(&mut b);
    }
    let mut b = Build::new(unsigned(16), &[3, 24], 77);
    b.dense(9, signed(8)).op(Unary::Relu, &[]).requantize(IntType::unsigned(16), Rounding::HalfUp, SAT);
    b.dense(5, signed(16));
    agrees(&mut b);
}

#[test]
fn random_convolutions() {
    for seed in 0..60 {
        let mut r = Random(seed);
        let rank = r.int(1, 3) as usize;
        let groups = r.pick(&[1, 1, 1, 2, 3]);
        let depthwise = r.int(0, 3) == 0;
        let per_group = if depthwise { 1 } else { r.int(1, 9) as usize };
        let groups = if depthwise { r.int(2, 20) as usize } else { groups };
        let out = groups * r.int(1, if depthwise { 2 } else { 20 }) as usize;
        let mut dims = |lo, hi| (0..rank).map(|_| r.int(lo, hi) as usize).collect::<Vec<_>>();
        let window = Window {
            kernel: dims(1, 3),
            strides: dims(1, 2),
            dilations: dims(1, 2),
            pads_begin: dims(0, 2),
            pads_end: dims(0, 2),
        };
        let mut shape = dims(5, 7);
        shape.push(groups * per_group);
        let x = r.pick(
            &[signed(8), unsigned(8), unsigned(4), signed(2), signed(16), unsigned(16)]
                .map(|e| e.code_range().unwrap()),
        );
        let x = ElemType::Int(IntType::covering(x.0, x.1));
        let w = if seed % 5 == 0 { ElemType::Bipolar } else { signed(r.pick(&[1, 2, 4, 8, 12])) };
        let mut b = Build::new(if seed % 7 == 0 { ElemType::Bipolar } else { x }, &shape, seed);
        b.conv(window, out, groups, w);
        if seed % 3 != 0 {
            let to = b.r.pick(&[U8, I8, IntType::signed(4), IntType::unsigned(13)]);
            b.requantize(to, Rounding::HalfEven, SAT);
        }
        agrees(&mut b);
    }
}

#[test]
fn thresholds() {
    for (seed, (to, scale, bias)) in
        [(unsigned(4), 1, 0), (signed(4), -1, 7), (ElemType::Bipolar, 2, -1), (unsigned(8), 1, 0)]
            .into_iter()
            .enumerate()
    {
        let count = match &to {
            ElemType::Bipolar => 1,
            ElemType::Int(int) if int.width == 8 => 255,
            _ => 15,
        };
        let mut b = Build::new(signed(8), &[6, 6, 5], seed as u64);
        b.conv(Window::new([3, 3]).pads([1, 1], [1, 1]), 19, 1, signed(4));
        for channels in [19, 1] {
            let t = b.constant(signed(12), &[channels, count]);
            let mut b = Build { g: b.g.clone(), r: Random(9), last: b.last };
            b.op(Threshold { axis: 2, to: to.clone(), scale, bias }, &[t]);
            b.op(MaxPool { window: Window::new([3, 2]).strides([2, 1]).pads([1, 0], [1, 1]) }, &[]);
            agrees(&mut b);
        }
    }
}

#[test]
fn poolings_behind_convolutions() {
    let pool = || MaxPool { window: Window::new([2, 2]).strides([2, 2]) };
    // Even and odd numbers of pixels, with and without padding.
    for (seed, (size, pad)) in [([6, 8], 1), ([7, 9], 1), ([8, 10], 0), ([9, 6], 0)].into_iter().enumerate() {
        let conv = |seed: u64| {
            let mut b = Build::new(signed(8), &[size[0], size[1], 16], seed);
            b.conv(Window::new([3, 3]).pads([pad, pad], [pad, pad]), 32, 1, signed(8));
            b
        };
        // Thresholds that keep the order, and that turn it round.
        for (scale, bias) in [(1, 0), (-1, 15)] {
            let mut b = conv(seed as u64);
            let t = b.constant(signed(17), &[32, 15]);
            b.op(Threshold { axis: 2, to: unsigned(4), scale, bias }, &[t]).op(pool(), &[]);
            agrees(&mut b);
        }
        // Multipliers of either sign, saturation and wrapping; codes that something else reads too.
        for overflow in Overflow::ALL {
            let mut b = conv(seed as u64 + 50);
            b.requantize(I8, Rounding::HalfEven, overflow).op(pool(), &[]);
            agrees(&mut b);
        }
        let mut b = conv(seed as u64 + 90);
        b.op(Unary::Relu, &[]).output().op(pool(), &[]);
        agrees(&mut b);
        let mut b = conv(seed as u64 + 95);
        b.op(Unary::Relu, &[]).op(pool(), &[]);
        agrees(&mut b);
    }
}

#[test]
fn a_residual_block_and_a_softmax() {
    let mut b = Build::new(signed(8), &[4, 4, 6], 5);
    let x = b.last;
    b.conv(Window::new([1, 1]), 6, 1, signed(8)).requantize(I8, Rounding::HalfUp, SAT);
    b.op(Binary::Add, &[x]).op(Binary::Mul, &[x]);
    let row = b.constant(signed(8), &[6]);
    b.op(Binary::Max, &[row]).op(Binary::Sub, &[row]);
    b.op(Reduce { f: ReduceFn::Max, axes: vec![0, 1], keep: false }, &[]);
    // Softmax: subtract the maximum, look the exponential up, divide by the sum.
    let values = b.last;
    b.op(Reduce { f: ReduceFn::Max, axes: vec![0], keep: true }, &[]);
    let most = b.last;
    b.last = values;
    b.op(Cast { to: signed(16) }, &[]);
    let wide = b.last;
    b.last = most;
    b.op(Cast { to: signed(16) }, &[]);
    let most = b.last;
    b.last = wide;
    b.op(Binary::Sub, &[most]).op(Unary::Clip { lo: -128.0, hi: 127.0 }, &[]).op(Cast { to: signed(8) }, &[]);
    let table = b.constant(unsigned(16), &[256]);
    b.op(Lookup, &[table]).op(Cast { to: signed(32) }, &[]);
    let exp = b.last;
    b.op(Reduce { f: ReduceFn::Sum, axes: vec![0], keep: true }, &[]);
    let sum = b.last;
    b.last = exp;
    b.op(Binary::Div, &[sum]);
    agrees(&mut b);
}

#[test]
fn moving_and_choosing() {
    let mut b = Build::new(signed(5), &[4, 6, 3], 6);
    let x = b.last;
    b.op(Unary::Neg, &[]).op(Concat { axis: 2 }, &[x]);
    b.op(Pad { before: vec![1, 0, 0], after: vec![0, 2, 0], mode: PadMode::Constant(-3.0) }, &[]);
    b.op(Slice { begin: vec![1, 1, 1], size: vec![3, 3, 2], step: vec![1, 2, 2] }, &[]);
    b.op(Transpose { perm: vec![1, 0, 2] }, &[]).op(Reverse { axes: vec![1] }, &[]);
    let index = b.constant(unsigned(1), &[4]);
    b.op(Gather { axis: 1 }, &[index]);
    let moved = b.last;
    b.op(Compare::Less, &[moved]);
    b.op(Select, &[moved, moved]).op(Unary::Abs, &[]).op(Unary::Sign, &[]);
    b.output();
    b.last = moved;
    b.op(ArgReduce { max: true, axis: 2, keep: false, last: false }, &[]);
    agrees(&mut b);
}

#[test]
fn a_boundary_of_floats() {
    for (order, rounding, scale, zero) in [
        (QuantizeOrder::RoundThenSaturate, Rounding::HalfEven, 0.017, 3.0),
        (QuantizeOrder::ClampThenRound, Rounding::HalfEven, 0.031, 0.0),
        (QuantizeOrder::ClampThenRound, Rounding::HalfUp, 0.25, 0.5),
        (QuantizeOrder::RoundThenSaturate, Rounding::Floor, 0.125, -7.0),
    ] {
        let mut g = Graph::new("t");
        let x = g.add_input("x", TensorType::f32([5, 8], Layout::channels_last(1)));
        let mut b = Build { g, r: Random(3), last: x };
        let scalar = |v: f32| Tensor::f32([], Layout::anonymous(0), vec![v]);
        let (s, z) = (b.g.add_const("s", scalar(scale)), b.g.add_const("z", scalar(zero)));
        b.op(Quantize { to: signed(8), narrow: false, rounding, overflow: SAT, order }, &[s, z]);
        b.dense(6, signed(8)).requantize(I8, Rounding::HalfUp, SAT);
        let scales = Tensor::f32([6], Layout::anonymous(1), (1..7).map(|i| i as f32 / 10.0).collect());
        let scales = b.g.add_const("s", scales);
        let zeros = b.constant(signed(8), &[6]);
        b.op(Dequantize, &[scales, zeros]);
        let mut shown = b.g.clone();
        shown.add_output("y", b.last);
        assert!(Plan::takes(&shown));
        agrees(&mut b);
        // Floats in the middle go by reference evaluation, and what is read by `run` agrees with `run_data`.
        b.g = {
            let mut g = b.g.clone();
            g.add_output("z", b.last);
            g
        };
        b.op(Unary::Tanh, &[])
            .op(Quantize { to: signed(8), narrow: false, rounding, overflow: SAT, order }, &[s, z]);
        b.op(Dequantize, &[s, z]);
        assert!(!Plan::takes(&b.g));
        agrees(&mut b);
        let plan = Plan::new(&b.g, &PlanOptions::default()).unwrap();
        let x: Vec<f32> = [0.25, f32::NAN, f32::INFINITY, -1e30, -0.0, 1.0, 2.0, 3.0].repeat(5);
        let by_floats = plan.run(&[&x], 1, 1).unwrap();
        let by_data = plan.run_data(&[&Data::F32(x)], 1, 1).unwrap();
        assert_eq!(by_floats.into_iter().map(Data::F32).collect::<Vec<_>>(), by_data);
    }
}

/// One scale and one zero point, of floats and of integers, in front of every word.
#[test]
fn short_codes_to_floats() {
    let narrow = [U8, I8].map(ElemType::Int);
    for elem in narrow.into_iter().chain([signed(4), signed(16), unsigned(16), signed(24)]) {
        for zero in [None, Some(-7), Some(1 << 30)] {
            let mut b = Build::new(elem.clone(), &[37], 9);
            let s = b.g.add_const("s", Tensor::f32([], Layout::anonymous(0), vec![0.3]));
            let z = match zero {
                None => Tensor::f32([], Layout::anonymous(0), vec![0.4]),
                Some(z) => {
                    let ty = TensorType { elem: signed(32), shape: [].into(), layout: Layout::anonymous(0) };
                    Tensor::codes(ty, vec![z])
                }
            };
            let z = b.g.add_const("z", z);
            b.op(Dequantize, &[s, z]);
            agrees(&mut b);
        }
    }
}

#[test]
fn wrong_inputs_are_refused() {
    let mut b = Build::new(signed(4), &[3], 1);
    b.dense(2, signed(4)).output();
    let plan = Plan::new(&b.g, &PlanOptions::default()).unwrap();
    assert!(plan.run(&[&[0.0; 3]], 1, 1).unwrap_err().to_string().contains("not floats"));
    let error = |data: &Data| plan.run_data(&[data], 1, 1).unwrap_err().to_string();
    assert!(error(&Data::I8(vec![0, 8, 0])).contains("holds 8, which i4 does not have"));
    assert!(error(&Data::I8(vec![0; 4])).contains("1 samples of 3 values, but 4 were given"));
    assert!(error(&Data::F32(vec![0.0; 3])).contains("found floats"));
    assert!(plan.run_data(&[], 1, 1).unwrap_err().to_string().contains("1 inputs, 0 were given"));
    assert!(plan.run_data(&[&Data::I64(vec![-8, 7, 0])], 1, 1).is_ok());
}

/// A table that many nodes read is there once, and one row of thresholds is not copied for each channel.
#[test]
fn nodes_share_what_they_read() {
    let mut b = Build::new(signed(16), &[70_000], 1);
    let table = b.constant(signed(16), &[1 << 16]);
    let limits = b.constant(signed(16), &[1, 100]);
    for _ in 0..3 {
        b.op(Lookup, &[table]);
    }
    for _ in 0..2 {
        b.op(Threshold { axis: 0, to: signed(16), scale: 1, bias: 0 }, &[limits]);
    }
    b.output();
    let Plan(Kind::Int(plan)) = Plan::new(&b.g, &PlanOptions::default()).unwrap() else { panic!() };
    let steps = plan.segments.iter().flat_map(|s| match s {
        Segment::Grouped(steps) => steps.iter().collect::<Vec<_>>(),
        Segment::Together(step) => vec![&**step],
    });
    let tables: Vec<&Arc<Vec<i64>>> = steps
        .filter_map(|s| match &s.work {
            Work::Lookup { table, .. } => Some(table),
            _ => None,
        })
        .collect();
    assert_eq!(tables.len(), 3);
    assert!(tables.iter().all(|t| Arc::ptr_eq(t, tables[0])));
    let (ranges, tables) = (Ranges::of(&b.g), Tables::default());
    let thresholds: Vec<Arc<Levels>> =
        b.g.live_nodes()
            .filter_map(|(_, node)| {
                let mut spec = PostSpec::default();
                matches!(node.op, Op::Threshold(_)).then(|| add(&b.g, &ranges, &tables, node, &mut spec))?;
                let Map::Threshold { table, .. } = spec.map else { panic!("{node:?}") };
                Some(table)
            })
            .collect();
    assert!(thresholds.len() == 2 && Arc::ptr_eq(&thresholds[0], &thresholds[1]));
    let x = inputs(&b.g, &mut b.r, 1);
    let want = evaluate(&b.g, &[Tensor { ty: b.g.ty(b.g.inputs()[0]).clone(), data: x[0].clone() }]).unwrap();
    assert_eq!(plan.data(run(&plan, &plan.words(&[&x[0]]).unwrap(), 1, 1).unwrap()), [want[0].data.clone()]);
}
