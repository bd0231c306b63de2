//! Random graphs of integers, bits and quantizers: what has no rounding to differ in must keep every bit through the
//! import pipeline, whatever the layouts.

use proptest::prelude::*;
use unfloat_exec::reference::evaluate;
use unfloat_ir::ops::*;
use unfloat_ir::text::{parse, print};
use unfloat_ir::verify::verify;
use unfloat_ir::{
    Diagnostics, ElemType, Graph, IntType, Layout, Op, OpDef, Origin, Overflow, Rounding, Tensor, TensorType,
    ValueId,
};
use unfloat_passes::pipeline::pipeline;
use unfloat_passes::validate::{SplitMix64, sample};
use unfloat_passes::{RunOptions, run_pipeline};

struct Maker {
    graph: Graph,
    random: SplitMix64,
    values: Vec<ValueId>,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }
    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
    fn ty(&self, v: ValueId) -> TensorType {
        self.graph.ty(v).clone()
    }
    /// Adds a node, if the operands suit and the result is small.
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let out = op.infer(&types).ok()?;
        // 64 bits of a sum wrap; so do its later uses, whose random operands would only be large.
        if out.shape.num_elements() > 400 || out.shape.contains(&0) {
            return None;
        }
        let v = self.graph.add_node(op, inputs, "v", &Origin::default()).ok()?;
        self.values.push(v);
        Some(v)
    }
    fn constant(&mut self, elem: ElemType, dims: &[usize], layout: Layout) -> ValueId {
        let n = dims.iter().product();
        let (lo, hi) = elem.code_range().map_or((0, 0), |(lo, hi)| (lo.max(-100), hi.min(100)));
        let tensor = if elem.is_float() {
            let v = (0..n).map(|_| (self.below(64) as f32 + 1.0) / 16.0).collect();
            Tensor::f32(dims, layout, v)
        } else {
            let mut code = || match elem {
                ElemType::Bipolar => self.random.below(2) as i64 * 2 - 1,
                _ => lo + self.random.below((hi - lo + 1) as u64) as i64,
            };
            let codes: Vec<i64> = (0..n).map(|_| code()).collect();
            Tensor::codes(TensorType::new(elem, dims, layout), codes)
        };
        self.graph.add_const("c", tensor)
    }
    /// A value of the float type, made of any.
    fn float(&mut self, x: ValueId) -> Option<ValueId> {
        if self.ty(x).elem.is_float() { Some(x) } else { self.add(Cast { to: ElemType::F32 }, &[x]) }
    }
    /// A constant that broadcasts to `x`.
    fn beside(&mut self, x: ValueId, elem: ElemType) -> ValueId {
        let ty = self.ty(x);
        let from = self.below(ty.rank() + 1);
        let dims: Vec<usize> = ty.shape[from..].iter().map(|&n| if self.flip() { n } else { 1 }).collect();
        self.constant(elem, &dims, Layout::anonymous(dims.len()))
    }
    fn int(&mut self) -> ElemType {
        let all = [IntType::signed(8), IntType::unsigned(8), IntType::signed(4), IntType::signed(32)];
        ElemType::Int(all[self.below(all.len())])
    }

    fn quantize(&mut self, x: ValueId) -> Option<ValueId> {
        let x = self.float(x)?;
        let (scale, zero) = (self.beside(x, ElemType::F32), self.beside(x, ElemType::F32));
        let to = if self.below(4) == 0 { ElemType::Bipolar } else { self.int() };
        let order = if self.flip() && to != ElemType::Bipolar {
            QuantizeOrder::RoundThenSaturate
        } else {
            QuantizeOrder::ClampThenRound
        };
        let rounding = Rounding::ALL[self.below(9)];
        let overflow = match order {
            QuantizeOrder::ClampThenRound => Overflow::Saturate,
            QuantizeOrder::RoundThenSaturate => Overflow::ALL[self.below(4)],
        };
        let q = self.add(Quantize { to, narrow: false, rounding, overflow, order }, &[x, scale, zero])?;
        if self.flip() { self.add(Dequantize, &[q, scale, zero]) } else { Some(q) }
    }

    fn float_op(&mut self, x: ValueId) -> Option<ValueId> {
        let x = self.float(x)?;
        let ty = self.ty(x);
        let axis = self.below(ty.rank());
        match self.below(3) {
            0 => {
                let scale = self.beside(x, ElemType::F32);
                let op = FloatQuant {
                    exponent: 4.0,
                    mantissa: 3.0,
                    bias: 7.0,
                    max: 448.0,
                    rounding: Rounding::HalfEven,
                    overflow: FloatOverflow::Saturate,
                };
                self.add(op, &[x, scale])
            }
            1 => self.add(Lrn { axis, size: 3, alpha: 0.5, beta: 0.75, bias: 1.0 }, &[x]),
            _ => {
                let rows = if self.flip() { ty.shape[axis] } else { 1 };
                let t = self.constant(ElemType::F32, &[rows, 3], Layout::anonymous(2));
                let to = ElemType::Int(IntType::unsigned(2));
                self.add(Threshold { axis, to, scale: 1, bias: 0 }, &[x, t])
            }
        }
    }

    fn two(&mut self, x: ValueId) -> Option<ValueId> {
        let elem = self.ty(x).elem;
        let mates: Vec<ValueId> =
            self.values.iter().copied().filter(|&v| v != x && self.graph.ty(v).elem == elem).collect();
        let other = match mates.len() {
            0 => self.beside(x, elem.clone()),
            n if self.flip() => mates[self.below(n)],
            _ => self.beside(x, elem.clone()),
        };
        let pair = if self.flip() { [x, other] } else { [other, x] };
        match self.below(3) {
            0 => {
                let all = [Binary::Sub, Binary::Max, Binary::Mul, Binary::Div];
                // Two sums or products of floats with constants become one, which rounds once.
                let f = if elem.is_float() { Binary::Max } else { all[self.below(4)] };
                self.add(f, &pair)
            }
            1 => {
                let f = [Bitwise::And, Bitwise::Xor, Bitwise::ShiftRight][self.below(3)];
                self.add(f, &pair)
            }
            _ => {
                let f = [Compare::Greater, Compare::LessEqual, Compare::Equal][self.below(3)];
                let c = self.add(f, &pair)?;
                self.add(Select, &[c, pair[0], pair[1]])
            }
        }
    }

    fn moved(&mut self, x: ValueId) -> Option<ValueId> {
        let ty = self.ty(x);
        let (rank, axis) = (ty.rank(), self.below(ty.rank()));
        match self.below(8) {
            0 => {
                let axes = (0..rank).filter(|_| self.flip()).collect();
                self.add(Reverse { axes }, &[x])
            }
            1 => {
                let n = ty.shape[axis];
                let rank = self.below(3);
                let codes: Vec<i64> =
                    (0..1 << rank).map(|_| self.random.below(2 * n as u64) as i64 - n as i64).collect();
                let ty = TensorType::new(ElemType::signed(64), vec![2; rank], Layout::anonymous(rank));
                let indices = self.graph.add_const("i", Tensor::codes(ty, codes));
                self.add(Gather { axis }, &[x, indices])
            }
            2 => {
                let (keep, last, max) = (self.flip(), self.flip(), self.flip());
                self.add(ArgReduce { max, axis, keep, last }, &[x])
            }
            3 => {
                let mut sizes = ty.shape.to_vec();
                sizes[axis] = 1 + self.below(6);
                let mode = ResizeMode::Nearest(NearestMode::RoundPreferFloor);
                self.add(Resize::new(sizes, mode, Coordinates::HalfPixel), &[x])
            }
            4 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.rotate_left(self.below(rank));
                self.add(Transpose { perm }, &[x])
            }
            5 => {
                let n = ty.shape.num_elements();
                self.add(Reshape { shape: [n].into(), layout: Layout::channels_last(0) }, &[x])
            }
            6 => {
                let to = if self.below(3) == 0 { ElemType::Bit } else { self.int() };
                self.add(Cast { to }, &[x])
            }
            _ => {
                let mode = if self.flip() { PadMode::Edge } else { PadMode::Constant(1.0) };
                let mut before = vec![0; rank];
                before[axis] = 1;
                self.add(Pad { before, after: vec![0; rank], mode }, &[x])
            }
        }
    }

    /// A window over a map, which asks for channels last.
    fn window(&mut self, x: ValueId) -> Option<ValueId> {
        let ty = self.ty(x);
        let spatial = ty.layout.spatial()?.len();
        let window = Window::new(vec![2; spatial]).pads(vec![1; spatial], vec![0; spatial]);
        if self.flip() || ty.elem.is_float() {
            return self.add(MaxPool { window }, &[x]);
        }
        let dims = [&[2], &window.kernel[..], &[ty.shape[ty.layout.channel()?]]].concat();
        let elem = if self.flip() { ElemType::Bipolar } else { ElemType::signed(4) };
        let w = self.constant(elem, &dims, Layout::weight(spatial));
        self.add(Conv { window, groups: 1 }, &[x, w])
    }
    /// Integers to other integers, element by element.
    fn requantize(&mut self, x: ValueId) -> Option<ValueId> {
        if let Some((_, n)) = Lookup::table_of(&self.ty(x).elem).filter(|&(_, n)| n <= 256 && self.flip()) {
            let to = self.int();
            let table = self.constant(to, &[n], Layout::anonymous(1));
            return self.add(Lookup, &[x, table]);
        }
        let [multiplier, addend] =
            [self.beside(x, ElemType::signed(8)), self.beside(x, ElemType::signed(16))];
        let shift = self.beside(x, ElemType::Int(IntType::unsigned(3)));
        let to = IntType { signed: self.flip(), width: 1 + self.below(16) as u8 };
        let (rounding, overflow) = (Rounding::ALL[self.below(9)], Overflow::ALL[self.below(4)]);
        self.add(Requantize { to, rounding, overflow, narrow: false }, &[x, multiplier, addend, shift])
    }
    /// A product of integers with a matrix.
    fn dense(&mut self, x: ValueId) -> Option<ValueId> {
        let n = *self.ty(x).shape.last()?;
        let w = self.constant(ElemType::signed(8), &[3, n], Layout::weight(0));
        self.add(Dense, &[x, w])
    }

    fn step(&mut self) {
        let i = self.below(self.values.len());
        let x = self.values[i];
        if self.ty(x).rank() == 0 {
            return;
        }
        let _ = match self.below(10) {
            0 | 1 => self.quantize(x),
            2 => self.float_op(x),
            3 => self.two(x),
            4..=6 => self.moved(x),
            7 => self.window(x),
            8 => self.requantize(x),
            _ => self.dense(x),
        };
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut maker = Maker { graph: Graph::new("random"), random: SplitMix64::new(seed), values: Vec::new() };
    for elem in [ElemType::F32, ElemType::signed(8), ElemType::Bit] {
        let name = ["chw", "hwc", "cw", "c", "__"][maker.below(5)];
        let dims: Vec<usize> = name.chars().map(|_| 1 + maker.below(4)).collect();
        let ty = TensorType::new(elem, dims, Layout::new(name).unwrap());
        let x = maker.graph.add_input("x", ty);
        maker.values.push(x);
    }
    for _ in 0..4 + maker.below(20) {
        maker.step();
    }
    for i in 0..3 {
        let value = maker.values[maker.values.len() - 1 - i];
        maker.graph.add_output(&format!("out{i}"), value);
    }
    maker.graph
}

fn check(seed: u64) {
    let before = random_graph(seed);
    verify(&before).unwrap();
    let mut after = before.clone();
    let calls = pipeline("import").unwrap();
    run_pipeline(&mut after, &calls, &RunOptions::default(), &mut Diagnostics::new())
        .unwrap_or_else(|e| panic!("{e}\n{}", print(&before).text));
    for n in 0..3 {
        let input = sample(&before, !seed, n);
        let (a, b) = (evaluate(&before, &input).unwrap(), evaluate(&after, &input).unwrap());
        for (x, y) in a.iter().zip(&b) {
            assert_eq!((x.fault(), y.fault()), (None, None), "{}", print(&before).text);
            assert!(x == y, "{}\n{}\n{x:?}\n{y:?}", print(&before).text, print(&after).text);
        }
    }
    let printed = print(&after);
    let mut blob = |name: &str| printed.blobs.iter().find(|b| b.0 == name).map(|b| b.1.clone());
    assert_eq!(parse(&printed.text, "t.uir", &mut blob), Ok(after));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn typed_graphs_keep_every_bit(seed in any::<u64>()) {
        check(seed);
    }
}

#[test]
fn the_generator_reaches_every_op() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        seen.extend(random_graph(seed).live_nodes().map(|(_, n)| n.op.name()));
    }
    for op in [
        "quantize",
        "dequantize",
        "float_quant",
        "requantize",
        "lookup",
        "threshold",
        "lrn",
        "cast",
        "select",
        "gather",
        "arg_max",
        "arg_min",
        "reverse",
        "resize",
        "greater",
        "equal",
        "and",
        "xor",
        "shift_right",
        "conv",
        "max_pool",
        "dense",
        "pad",
        "transpose",
    ] {
        assert!(seen.contains(op), "no {op} in {seen:?}");
    }
}
