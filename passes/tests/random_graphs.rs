//! Random graphs over the whole op set go through the import pipeline: every claim holds, the result verifies, gives
//! the same numbers on inputs that the pipeline did not try, and survives its text form; a pass that runs again changes
//! nothing.

use proptest::prelude::*;
use std::sync::Arc;
use unfloat_exec::reference::evaluate_all;
use unfloat_ir::ops::*;
use unfloat_ir::text::{parse, print};
use unfloat_ir::verify::verify;
use unfloat_ir::{Diagnostics, Graph, Layout, Op, Origin, Patch, Stage, Tensor, TensorType, ValueId};
use unfloat_passes::pipeline::pipeline;
use unfloat_passes::validate::{SplitMix64, sample};
use unfloat_passes::{
    Change, Claim, Evidence, Pass, PassCall, PassCx, PassInfo, Report, RunOptions, run_pipeline,
};

const LAYOUTS: [&str; 9] = ["c", "cw", "wc", "chw", "hwc", "hcw", "__", "_c", "___"];

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
    fn real(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.random.uniform()
    }
    fn reals(&mut self, n: usize, lo: f32, hi: f32) -> Vec<f32> {
        (0..n).map(|_| self.real(lo, hi)).collect()
    }
    fn constant(&mut self, dims: &[usize], layout: Layout, lo: f32, hi: f32) -> ValueId {
        let data = self.reals(dims.iter().product(), lo, hi);
        self.graph.add_const("c", Tensor::f32(dims, layout, data))
    }
    fn plain(&mut self, dims: &[usize], lo: f32, hi: f32) -> ValueId {
        self.constant(dims, Layout::anonymous(dims.len()), lo, hi)
    }
    fn pick(&mut self) -> ValueId {
        // Late values more often, so that chains grow.
        let n = self.values.len();
        let i = self.below(n).max(self.below(n));
        self.values[i]
    }
    /// Adds a node if the operands suit it and the result is small.
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let ty = unfloat_ir::OpDef::infer(&op, &types).ok()?;
        if !(1..=300).contains(&ty.shape.num_elements()) || ty.rank() > 4 {
            return None;
        }
        let name = format!("v{}", self.values.len());
        let origin = Origin::new("keras", "m.h5", "", &format!("layer_{}", self.values.len()));
        let value = self.graph.add_node(op, inputs, &name, &origin).ok()?;
        self.values.push(value);
        Some(value)
    }
    fn dims(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).shape.to_vec()
    }

    fn unary(&mut self, x: ValueId) -> Option<ValueId> {
        let all = [
            Unary::Relu,
            Unary::Relu,
            Unary::Abs,
            Unary::Neg,
            Unary::Tanh,
            Unary::Sigmoid,
            Unary::LeakyRelu { alpha: 0.25 },
            Unary::Clip { lo: -1.0, hi: 2.0 },
            Unary::Clip { lo: 0.0, hi: 6.0 },
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::BoundedRelu { max: 3.0, slope: 0.1, threshold: 0.5 },
        ];
        let f = all[self.below(all.len())];
        self.add(f, &[x])
    }

    fn window(&mut self, x: ValueId) -> Option<Window> {
        let spatial = self.graph.ty(x).layout.spatial()?;
        let n = spatial.len();
        let kernel: Vec<usize> = (0..n).map(|_| 1 + self.below(3)).collect();
        let strides: Vec<usize> = (0..n).map(|_| 1 + self.below(2)).collect();
        let dilations: Vec<usize> = (0..n).map(|_| 1 + self.below(5) / 4).collect();
        let mut pads = || (0..n).map(|_| self.below(2)).collect::<Vec<_>>();
        let (begin, end) = (pads(), pads());
        Some(Window::new(kernel).strides(strides).dilations(dilations).pads(begin, end))
    }

    fn conv(&mut self, x: ValueId) -> Option<ValueId> {
        let mut window = self.window(x)?;
        if self.flip() {
            let n = window.rank();
            window = window.pads(vec![0; n], vec![0; n]);
        }
        let channels = self.graph.ty(x).shape[self.graph.ty(x).layout.channel()?];
        let groups = if self.flip() { 1 } else { channels };
        let out = groups * (1 + self.below(3));
        let dims = [&[out], &window.kernel[..], &[channels / groups]].concat();
        let w = self.constant(&dims, Layout::weight(window.rank()), -1.0, 1.0);
        let mut inputs = vec![x, w];
        if self.flip() {
            inputs.push(self.constant(&[out], Layout::channels_last(0), -1.0, 1.0));
        }
        if self.below(3) > 0 {
            return self.add(Conv { window, groups }, &inputs);
        }
        let spatial = self.graph.ty(x).layout.spatial()?;
        let full = |i: usize, n: usize| (n - 1) * window.strides[i] + window.extent(i);
        let output: Vec<usize> =
            spatial.iter().enumerate().map(|(i, &a)| full(i, self.graph.ty(x).shape[a])).collect();
        let crop: Vec<usize> = output.iter().map(|&n| self.below(2).min(n - 1)).collect();
        let output = output.iter().zip(&crop).map(|(n, c)| n - c).collect();
        let Window { kernel, strides, dilations, .. } = window;
        self.add(ConvTranspose { kernel, strides, dilations, crop, output, groups }, &inputs)
    }

    fn pool(&mut self, x: ValueId) -> Option<ValueId> {
        let window = self.window(x)?;
        if self.flip() {
            return self.add(MaxPool { window }, &[x]);
        }
        let count_include_pad = self.flip();
        self.add(AvgPool { window, count_include_pad }, &[x])
    }

    fn normal(&mut self, x: ValueId) -> Option<ValueId> {
        let dims = self.dims(x);
        if self.below(3) == 0 {
            let axes: Vec<usize> = (0..dims.len()).filter(|_| self.flip()).collect();
            let extents: Vec<usize> = axes.iter().map(|&a| dims[a]).collect();
            let (gamma, beta) = (self.plain(&extents, 0.5, 2.0), self.plain(&extents, -1.0, 1.0));
            return self.add(LayerNorm { axes, eps: 0.1 }, &[x, gamma, beta]);
        }
        let axis = match self.graph.ty(x).layout.channel() {
            Some(c) if self.below(3) > 0 => c,
            _ => self.below(dims.len().max(1)),
        };
        let n = [*dims.get(axis)?];
        let c = Layout::channels_last(0);
        let [lo, hi] = if self.flip() { [-2.0, 2.0] } else { [0.0, 0.0] };
        let inputs = [
            x,
            self.constant(&n, c, -2.0, 2.0),
            self.constant(&n, c, lo, hi),
            self.constant(&n, c, lo, hi),
            self.constant(&n, c, 0.3, 3.0),
        ];
        self.add(BatchNorm::new(axis, 0.001), &inputs)
    }

    fn binary(&mut self, x: ValueId) -> Option<ValueId> {
        let f = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min, Binary::Prelu, Binary::Div];
        let f = f[self.below(f.len())];
        let dims = self.dims(x);
        let other = match self.below(4) {
            0 => self.pick(),
            1 if f == Binary::Div => return None,
            1 => {
                let value = if self.flip() { 0.0 } else { 1.0 };
                self.graph.add_const("c", Tensor::f32([1], Layout::anonymous(1), vec![value]))
            }
            2 => {
                let mut dims: Vec<usize> = dims.iter().map(|&d| if self.flip() { d } else { 1 }).collect();
                let cut = self.below(dims.len() + 1);
                dims.drain(..cut);
                self.plain(&dims, 0.5, 2.0)
            }
            _ => {
                let layout = self.graph.ty(x).layout;
                self.constant(&dims, layout, 0.5, 2.0)
            }
        };
        if f == Binary::Div && self.graph.const_of(other).is_none() {
            return None;
        }
        if f != Binary::Div && self.flip() { self.add(f, &[other, x]) } else { self.add(f, &[x, other]) }
    }

    fn concat(&mut self, x: ValueId) -> Option<ValueId> {
        let axis = self.below(self.dims(x).len().max(1));
        let mut inputs = vec![x];
        for _ in 0..self.below(3) {
            let other = self.pick();
            let fits = |v: &ValueId| {
                let (a, b) = (self.graph.ty(x), self.graph.ty(*v));
                unfloat_ir::OpDef::infer(&Concat { axis }, &[a, b]).is_ok()
            };
            inputs.push(if fits(&other) { other } else { x });
        }
        self.add(Concat { axis }, &inputs)
    }

    fn resize(&mut self, x: ValueId) -> Option<ValueId> {
        let dims = self.dims(x);
        let some = |m: &mut Maker, n: usize| dims.iter().map(|_| m.below(n)).collect::<Vec<_>>();
        match self.below(4) {
            0 => {
                let modes = [PadMode::Constant(0.0), PadMode::Constant(0.5), PadMode::Reflect, PadMode::Edge];
                let mode = modes[self.below(4)];
                let (before, after) = (some(self, 2), some(self, 2));
                self.add(Pad { before, after, mode }, &[x])
            }
            1 => {
                let begin: Vec<usize> = dims.iter().map(|&d| self.below(d)).collect();
                let size = dims.iter().zip(&begin).map(|(d, b)| 1 + self.below(d - b)).collect();
                self.add(Slice { begin, size, step: vec![1; dims.len()] }, &[x])
            }
            2 => {
                let factors = some(self, 2).iter().map(|f| f + 1).collect();
                let mode = [UpsampleMode::Nearest, UpsampleMode::Linear][self.below(2)];
                self.add(Upsample { factors, mode }, &[x])
            }
            _ => {
                let mut shape: Vec<usize> =
                    dims.iter().map(|&d| if d == 1 { 1 + self.below(3) } else { d }).collect();
                if self.flip() {
                    shape.insert(0, 1 + self.below(2));
                }
                self.add(Expand { shape: shape.into() }, &[x])
            }
        }
    }

    fn reduce(&mut self, x: ValueId) -> Option<ValueId> {
        let rank = self.dims(x).len();
        let axes: Vec<usize> = match self.graph.ty(x).layout.spatial() {
            Some(spatial) if self.flip() => spatial,
            _ => (0..rank).filter(|_| self.flip()).collect(),
        };
        if self.below(3) == 0 && !axes.is_empty() {
            let log = self.below(4) == 0;
            return self.add(Softmax { axes, log }, &[x]);
        }
        let f = [ReduceFn::Mean, ReduceFn::Max, ReduceFn::Min, ReduceFn::Sum][self.below(4)];
        let keep = self.flip();
        self.add(Reduce { f, axes, keep }, &[x])
    }

    fn reshape(&mut self, x: ValueId) -> Option<ValueId> {
        let dims = self.dims(x);
        let n: usize = dims.iter().product();
        let mut shape = match self.below(4) {
            0 | 1 => vec![n],
            2 => {
                // Merge or split neighbours.
                let mut shape = dims.clone();
                if shape.len() > 1 {
                    let i = self.below(shape.len() - 1);
                    shape[i] *= shape.remove(i + 1);
                }
                shape
            }
            _ => dims.clone(),
        };
        if self.below(3) == 0 {
            let i = self.below(shape.len().max(1));
            let d = *shape.get(i)?;
            let factor = (2..=4).find(|f| d % f == 0 && *f < d).unwrap_or(1);
            shape[i] = d / factor;
            shape.insert(i, factor);
        }
        let fits: Vec<Layout> = LAYOUTS
            .iter()
            .filter_map(|l| Layout::new(l))
            .chain([Layout::anonymous(shape.len())])
            .filter(|l| l.rank() == shape.len())
            .collect();
        let layout = fits[self.below(fits.len())];
        self.add(Reshape { shape: shape.into(), layout }, &[x])
    }

    fn transpose(&mut self, x: ValueId) -> Option<ValueId> {
        let rank = self.dims(x).len();
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            perm.swap(i, self.below(i + 1));
        }
        self.add(Transpose { perm }, &[x])
    }

    fn product(&mut self, x: ValueId) -> Option<ValueId> {
        let dims = self.dims(x);
        let (&last, out) = (dims.last()?, 1 + self.below(4));
        if self.below(4) == 0 {
            let w = self.plain(&[last, out], -1.0, 1.0);
            return self.add(MatMul, &[x, w]);
        }
        let mut w = self.plain(&[out, last], -1.0, 1.0);
        if self.below(4) == 0 {
            // A weight that is computed.
            let t = self.plain(&[last, out], -1.0, 1.0);
            w = self.graph.add_node(Transpose { perm: vec![1, 0] }, &[t], "w", &Origin::default()).ok()?;
        }
        let mut inputs = vec![x, w];
        if self.flip() {
            inputs.push(self.plain(&[out], -1.0, 1.0));
        }
        self.add(Dense, &inputs)
    }

    fn step(&mut self) {
        let x = self.pick();
        let _ = match self.below(16) {
            0 | 1 => self.unary(x),
            2..=4 => self.conv(x),
            5 => self.pool(x),
            6 | 7 => self.normal(x),
            8 | 9 => self.binary(x),
            10 => self.concat(x),
            11 => self.resize(x),
            12 => self.reduce(x),
            13 => self.reshape(x),
            14 => self.transpose(x),
            _ => self.product(x),
        };
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut maker = Maker { graph: Graph::new("random"), random: SplitMix64::new(seed), values: Vec::new() };
    for _ in 0..1 + maker.below(2) {
        let layout = Layout::new(LAYOUTS[maker.below(LAYOUTS.len())]).unwrap();
        let dims: Vec<usize> = (0..layout.rank()).map(|_| 1 + maker.below(5)).collect();
        let input = maker.graph.add_input("x", TensorType::f32(dims, layout));
        maker.values.push(input);
    }
    for _ in 0..4 + maker.below(20) {
        maker.step();
    }
    let last = maker.values[maker.values.len() - 1];
    maker.graph.add_output("last", last);
    for i in 0..maker.below(3) {
        let value = maker.pick();
        maker.graph.add_output(&format!("out{i}"), value);
    }
    maker.graph
}

fn import(graph: &mut Graph) -> Result<Report, Diagnostics> {
    run_pipeline(graph, &pipeline("import")?, &RunOptions::default(), &mut Diagnostics::new())
}

/// The greatest distance of two graphs' outputs, relative to the greatest element of any value on the way.
fn distance(a: &Graph, b: &Graph, input: &[Tensor]) -> f64 {
    let (x, y) = (evaluate_all(a, input).unwrap(), evaluate_all(b, input).unwrap());
    let all = |t: &Arc<Tensor>| t.as_f32().unwrap().iter().fold(0f32, |m, v| m.max(v.abs()));
    let most = a.live_nodes().filter_map(|(_, n)| x.get(n.output)).map(all).fold(1e-3f32, f32::max);
    let mut worst = 0f64;
    for (p, q) in a.outputs().iter().zip(b.outputs()) {
        let (p, q) = (x.get(p.value).unwrap(), y.get(q.value).unwrap());
        assert_eq!(p.shape(), q.shape());
        for (v, w) in p.as_f32().unwrap().iter().zip(q.as_f32().unwrap()) {
            assert_eq!(v.is_nan(), w.is_nan());
            worst = worst.max(f64::from(v - w).abs() / f64::from(most));
        }
    }
    worst
}

fn check(seed: u64) {
    let before = random_graph(seed);
    verify(&before).unwrap();
    let mut after = before.clone();
    let report = import(&mut after).unwrap_or_else(|e| panic!("{e}\n{}", print(&before).text));
    assert_eq!(after.stage, Stage::Folded);
    assert!(report.passes.iter().all(|p| p.evidence != Evidence::Skipped));
    verify(&after).unwrap();
    for n in 0..3 {
        let input = sample(&before, !seed, n);
        let far = distance(&before, &after, &input);
        assert!(far < 1e-4, "{far}\n{}\n{}", print(&before).text, print(&after).text);
    }
    // A pass leaves nothing for itself to do.
    let mut graph = before.clone();
    for call in pipeline("import").unwrap() {
        let twice = [call.clone(), call];
        let found = graph.clone();
        let report =
            run_pipeline(&mut graph, &twice, &RunOptions::default(), &mut Diagnostics::new()).unwrap();
        let second = &report.passes[1];
        assert_eq!(second.changes, 0, "{}\n{}\n{}", second.pass, print(&found).text, print(&graph).text);
    }
    let printed = print(&after);
    let mut blob = |name: &str| printed.blobs.iter().find(|b| b.0 == name).map(|b| b.1.clone());
    assert_eq!(parse(&printed.text, "t.uir", &mut blob), Ok(after));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_import_pipeline_keeps_its_claims(seed in any::<u64>()) {
        check(seed);
    }
}

/// A pass that takes every gamma for positive.
struct Wrong;

impl Pass for Wrong {
    fn info(&self) -> &'static PassInfo {
        static INFO: PassInfo = PassInfo {
            name: "wrong",
            summary: "",
            details: "",
            options: &[],
            from: Stage::Imported,
            to: Stage::Imported,
            claim: Claim::Within { abs: 1e-7, rel: 1e-5 },
        };
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut patch = Patch::new(graph);
        for (_, node) in graph.live_nodes() {
            let Op::BatchNorm(_) = node.op else { continue };
            let gamma = graph.const_of(node.inputs[1]).unwrap();
            let positive = gamma.as_f32().unwrap().iter().map(|g| g.abs()).collect();
            let gamma = Tensor::f32(gamma.shape().clone(), gamma.ty.layout, positive);
            let gamma = patch.constant("gamma", gamma);
            patch.replace(node.inputs[1], gamma)?;
        }
        let edit = patch.finish();
        let count = edit.len();
        graph.apply(edit);
        Ok(Change::of(count))
    }
}

/// A wrong pass is caught wherever it is wrong: what gets through changes no output.
#[test]
fn a_wrong_pass_is_caught_wherever_it_shows() {
    let (mut caught, mut harmless) = (0, 0);
    for seed in 0..1500 {
        let before = random_graph(seed).compact();
        let mut after = before.clone();
        let call = PassCall::new(&Wrong);
        match run_pipeline(&mut after, &[call], &RunOptions::default(), &mut Diagnostics::new()) {
            Err(found) => {
                assert!(found.to_string().contains("pass `wrong` broke its claim"), "{found}");
                caught += 1;
            }
            Ok(_) => {
                let far = (0..8).map(|n| distance(&before, &after, &sample(&before, !seed, n)));
                let far = far.fold(0.0, f64::max);
                assert!(far < 1e-5, "seed {seed}: {far}\n{}", print(&before).text);
                harmless += 1;
            }
        }
    }
    assert!(caught > 250, "{caught} caught, {harmless} harmless");
}

#[test]
fn the_generator_reaches_every_op() {
    let mut seen = std::collections::BTreeSet::new();
    let mut moved = 0;
    for seed in 0..300 {
        let graph = random_graph(seed);
        seen.extend(graph.live_nodes().map(|(_, n)| unfloat_ir::OpDef::name(&n.op)));
        moved +=
            usize::from(graph.live_nodes().any(|(_, n)| {
                matches!(n.op, Op::Conv(_)) && !graph.ty(n.inputs[0]).layout.is_channels_last()
            }));
    }
    for op in [
        "conv",
        "conv_transpose",
        "dense",
        "matmul",
        "batch_norm",
        "layer_norm",
        "max_pool",
        "avg_pool",
        "softmax",
        "reshape",
        "transpose",
        "concat",
        "slice",
        "pad",
        "expand",
        "upsample",
        "reduce_mean",
    ] {
        assert!(seen.contains(op), "no {op} in {seen:?}");
    }
    assert!(moved > 50, "{moved} graphs with a channels-first convolution");
}
