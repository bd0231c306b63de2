use super::*;
use crate::reference::evaluate;
use proptest::prelude::*;
use unfloat_ir::ops::*;
use unfloat_ir::{Layout, Origin, Tensor, TensorType, ValueId};

/// SplitMix64 (Steele, Lea and Flood, 2014), as floats of about unit size.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    fn tensor(&mut self, shape: &[usize], layout: Layout) -> Tensor {
        let n = shape.iter().product();
        Tensor::f32(shape, layout, (0..n).map(|_| self.next()).collect())
    }
}

struct Build {
    g: Graph,
    r: Random,
    last: ValueId,
}

impl Build {
    fn new(shape: &[usize], layout: Layout, seed: u64) -> Self {
        let mut g = Graph::new("t");
        let last = g.add_input("x", TensorType::f32(shape, layout));
        Self { g, r: Random(seed), last }
    }
    fn constant(&mut self, shape: &[usize]) -> ValueId {
        let mut t = self.r.tensor(shape, Layout::anonymous(shape.len()));
        // Weights by their fan-in, as in trained networks, so that values stay of about unit size.
        if let (2.., unfloat_ir::Data::F32(v)) = (shape.len(), &mut t.data) {
            let fan_in = shape[1..].iter().product::<usize>() as f32;
            v.iter_mut().for_each(|x| *x *= (3.0 / fan_in).sqrt());
        }
        self.g.add_const("c", t)
    }
    fn op(&mut self, op: impl Into<Op>, more: &[ValueId]) -> &mut Self {
        let inputs: Vec<ValueId> = [self.last].iter().chain(more).copied().collect();
        self.last = self.g.add_node(op, &inputs, "v", &Origin::default()).unwrap();
        self
    }
    fn conv(&mut self, window: Window, out: usize, groups: usize) -> &mut Self {
        let ty = self.g.ty(self.last).clone();
        let channels = ty.shape[ty.layout.channel().unwrap()];
        let mut shape = vec![out];
        shape.extend_from_slice(&window.kernel);
        shape.push(channels / groups);
        let (w, b) = (self.constant(&shape), self.constant(&[out]));
        self.op(Conv { window, groups }, &[w, b])
    }
    fn dense(&mut self, out: usize) -> &mut Self {
        let n = *self.g.ty(self.last).shape.last().unwrap();
        let (w, b) = (self.constant(&[out, n]), self.constant(&[out]));
        self.op(Dense, &[w, b])
    }
    fn flatten(&mut self) -> &mut Self {
        let n = self.g.ty(self.last).shape.num_elements();
        self.op(Reshape { shape: [n].into(), layout: Layout::channels_last(0) }, &[])
    }
    fn output(&mut self) -> &mut Self {
        let last = self.last;
        self.g.add_output("y", last);
        self
    }
}

/// Runs the graph on every instruction set, thread count and batch, and compares with the reference.
fn agrees(build: &mut Build, tolerance: f32) {
    let g = &build.g;
    unfloat_ir::verify::verify(g).unwrap();
    const BATCH: usize = 5;
    let lens: Vec<usize> = g.inputs().iter().map(|&v| g.ty(v).shape.num_elements()).collect();
    let inputs: Vec<Vec<f32>> =
        lens.iter().map(|n| (0..n * BATCH).map(|_| build.r.next()).collect()).collect();
    let sample = |s: usize| -> Vec<Tensor> {
        let one = |(i, &v): (usize, &ValueId)| {
            let data = inputs[i][s * lens[i]..(s + 1) * lens[i]].to_vec();
            Tensor { ty: g.ty(v).clone(), data: unfloat_ir::Data::F32(data) }
        };
        g.inputs().iter().enumerate().map(one).collect()
    };
    let expected: Vec<Vec<Tensor>> = (0..BATCH).map(|s| evaluate(g, &sample(s)).unwrap()).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    for isa in Isa::available() {
        let plan = Plan::new(g, &PlanOptions { isa, ..PlanOptions::default() }).unwrap();
        let all = plan.run(&slices, BATCH, 1).unwrap();
        assert_eq!(all, plan.run(&slices, BATCH, 3).unwrap(), "threads change the result");
        for s in 0..BATCH {
            let one: Vec<&[f32]> = slices.iter().zip(&lens).map(|(x, n)| &x[s * n..(s + 1) * n]).collect();
            let alone = plan.run(&one, 1, 1).unwrap();
            for (k, out) in alone.iter().enumerate() {
                let n = plan.output_lens()[k];
                assert_eq!(*out, all[k][s * n..(s + 1) * n], "the batch changes sample {s}");
                let want = expected[s][k].as_f32().unwrap();
                let scale = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
                for (a, b) in out.iter().zip(want) {
                    assert!((a - b).abs() <= tolerance * scale, "{}: {a} for {b}", isa.name());
                }
            }
        }
    }
}

#[test]
fn a_small_cnn() {
    let mut b = Build::new(&[9, 7, 3], Layout::channels_last(2), 1);
    b.conv(Window::new([3, 3]).pads([1, 1], [1, 1]), 20, 1).op(Unary::Relu, &[]);
    b.conv(Window::new([2, 3]).strides([2, 1]), 8, 2).op(Unary::LeakyRelu { alpha: 0.1 }, &[]);
    b.op(MaxPool { window: Window::new([2, 2]).strides([1, 2]) }, &[]);
    b.conv(Window::new([3, 1]).pads([1, 0], [1, 0]), 16, 8).op(Unary::Tanh, &[]);
    b.op(AvgPool { window: Window::new([3, 3]).pads([1, 1], [1, 1]), count_include_pad: false }, &[]);
    b.flatten().dense(700).op(Unary::Clip { lo: -0.5, hi: 2.0 }, &[]).dense(11);
    b.op(Softmax { axes: vec![0], log: false }, &[]).output();
    agrees(&mut b, 1e-6);
}

#[test]
fn values_cross_segments_and_feed_several_readers() {
    let mut b = Build::new(&[40], Layout::channels_last(0), 2);
    b.dense(1000).op(Unary::Relu, &[]);
    let wide = b.last;
    b.dense(1000);
    b.op(Binary::Add, &[wide]);
    let sum = b.last;
    b.output().dense(1000).op(Binary::Mul, &[sum]).op(Binary::Sub, &[wide]).output();
    b.last = b.g.inputs()[0];
    b.output();
    let c = b.constant(&[3]);
    b.last = c;
    b.output();
    agrees(&mut b, 1e-5);
}

#[test]
fn one_dimension_and_three() {
    let mut b = Build::new(&[11, 4], Layout::channels_last(1), 3);
    b.conv(Window::new([3]).dilations([2]).pads([2], [0]), 5, 1).op(Unary::Relu, &[]);
    b.op(MaxPool { window: Window::new([3]).strides([2]).pads([1], [1]) }, &[]).output();
    agrees(&mut b, 1e-5);
    let mut b = Build::new(&[4, 5, 3, 2], Layout::channels_last(3), 4);
    b.conv(Window::new([2, 3, 2]).strides([1, 2, 1]).pads([0, 1, 1], [1, 1, 0]), 6, 2);
    b.op(AvgPool { window: Window::new([2, 1, 2]), count_include_pad: true }, &[]);
    b.op(Reduce { f: ReduceFn::Mean, axes: vec![0, 1, 2], keep: false }, &[]).output();
    agrees(&mut b, 1e-5);
}

#[test]
fn transposed_convolutions() {
    for (crop, output, stride) in [(0, 9, 2), (1, 8, 2), (1, 7, 2), (0, 12, 3), (2, 5, 1), (0, 13, 3)] {
        let mut b = Build::new(&[4, 3, 6], Layout::channels_last(2), 5);
        let op = ConvTranspose {
            kernel: vec![3, 2],
            strides: vec![stride, 1],
            dilations: vec![1, 2],
            crop: vec![crop, 0],
            output: vec![output, 5],
            groups: 2,
        };
        let (w, bias) = (b.constant(&[4, 3, 2, 3]), b.constant(&[4]));
        b.op(op, &[w, bias]).op(Unary::Relu, &[]).output();
        agrees(&mut b, 1e-5);
    }
}

#[test]
fn ops_that_move_and_ops_that_fall_back() {
    let mut b = Build::new(&[3, 4, 5], Layout::channels_first(2), 6);
    b.op(MaxPool { window: Window::new([2, 2]) }, &[]);
    b.op(Transpose { perm: vec![1, 2, 0] }, &[]);
    b.op(Pad { before: vec![1, 0, 0], after: vec![0, 2, 0], mode: PadMode::Constant(-7.0) }, &[]);
    b.op(Upsample { factors: vec![2, 1, 1], mode: UpsampleMode::Nearest }, &[]);
    b.op(Slice { begin: vec![1, 0, 0], size: vec![3, 3, 3], step: vec![2, 2, 1] }, &[]);
    let sliced = b.last;
    b.op(Concat { axis: 2 }, &[sliced]);
    b.op(Upsample { factors: vec![2, 2, 1], mode: UpsampleMode::Linear }, &[]);
    let g = b.constant(&[6]);
    b.op(LayerNorm { axes: vec![2], eps: 1e-3 }, &[g, g]);
    b.op(Softmax { axes: vec![0, 1], log: true }, &[]);
    b.op(Binary::Prelu, &[g]).op(Unary::Gelu, &[]);
    let s = b.constant(&[6, 1, 1]);
    b.op(Binary::Max, &[s]).output();
    agrees(&mut b, 1e-5);
}

#[test]
fn batch_norm_and_broadcasts() {
    let mut b = Build::new(&[5, 6], Layout::channels_last(1), 7);
    let p: Vec<ValueId> = (0..3).map(|_| b.constant(&[6])).collect();
    let variance =
        b.g.add_const("v", Tensor::f32([6], Layout::channels_last(0), vec![0.1, 1., 2., 0., 0.5, 3.]));
    b.op(BatchNorm::new(1, 1e-3), &[p[0], p[1], p[2], variance]);
    b.op(Reduce { f: ReduceFn::Max, axes: vec![0], keep: true }, &[]);
    let row = b.last;
    b.last = b.g.inputs()[0];
    b.op(Binary::Div, &[p[0]]).op(Binary::Add, &[row]).op(Binary::Min, &[row]).output();
    agrees(&mut b, 1e-4);
}

#[test]
fn constants_go_through_layers_as_samples_do() {
    let mut b = Build::new(&[500], Layout::channels_last(0), 9);
    // Large enough to take a chunk of samples at once, if there were any.
    b.last = b.constant(&[10, 20]);
    b.flatten().dense(500).op(Unary::Relu, &[]);
    let x = b.g.inputs()[0];
    b.op(Binary::Add, &[x]).dense(300).output();
    b.last = b.constant(&[6, 5, 3]);
    let ty = TensorType::f32([6, 5, 3], Layout::channels_last(2));
    b.op(Reshape { shape: ty.shape, layout: ty.layout }, &[]);
    b.conv(Window::new([3, 3]).pads([1, 1], [1, 1]), 4, 1).flatten().dense(400).output();
    agrees(&mut b, 1e-5);
}

#[test]
fn types_that_are_neither_floats_nor_integers_are_refused() {
    let mut g = Graph::new("t");
    let elem = unfloat_ir::ElemType::Fixed(unfloat_ir::Q { signed: true, width: 8, frac: 4 });
    let ty = TensorType::new(elem, [2], Layout::channels_last(0));
    let c = g.add_const("codes", Tensor::codes(ty.clone(), [1, 2]));
    g.add_input("x", ty);
    g.add_output("y", c);
    let error = Plan::new(&g, &PlanOptions::default()).err().unwrap().to_string();
    assert!(!Plan::takes(&g));
    assert!(error.contains("`codes` is fixed<8,4>[2] c; only floats and integers"), "{error}");
    assert!(error.contains("`x` is fixed<8,4>[2] c"), "{error}");
}

#[test]
fn hostile_sizes_are_refused_with_the_layer() {
    let mut g = Graph::new("t");
    let x = g.add_input("x", TensorType::f32([1], Layout::channels_last(0)));
    let origin = Origin::new("keras", "m.h5", "", "up (UpSampling1D)");
    let y = g.add_node(Upsample { factors: vec![1 << 30], mode: UpsampleMode::Linear }, &[x], "y", &origin);
    let z = g.add_node(Unary::Relu, &[y.unwrap()], "z", &Origin::default()).unwrap();
    g.add_output("z", z);
    let error = Plan::new(&g, &PlanOptions::default()).err().unwrap().to_string();
    assert!(error.contains("up (UpSampling1D)") && error.contains("limit is 4294967296"), "{error}");
}

#[test]
fn wrong_inputs_are_refused() {
    let mut b = Build::new(&[4], Layout::channels_last(0), 8);
    b.op(Unary::Relu, &[]).output();
    let plan = Plan::new(&b.g, &PlanOptions::default()).unwrap();
    assert!(plan.run(&[&[0.0; 7]], 2, 1).unwrap_err().to_string().contains("2 samples of 4 values, but 7"));
    assert!(plan.run(&[], 2, 1).is_err());
    assert_eq!(plan.run(&[&[]], 0, 4).unwrap(), [Vec::<f32>::new()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_convolutions(
        spatial in proptest::collection::vec(3usize..9, 1..=3),
        kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3,
        cin in 1usize..20, cout in 1usize..36, depthwise in any::<bool>(), seed in any::<u64>(),
    ) {
        let n = spatial.len();
        let extent = (kernel - 1) * dilation + 1;
        prop_assume!(spatial.iter().all(|&s| s + pad >= extent));
        let mut shape = spatial.clone();
        shape.push(cin);
        let mut b = Build::new(&shape, Layout::channels_last(n), seed);
        let window = Window::new(vec![kernel; n]).strides(vec![stride; n]).dilations(vec![dilation; n]);
        let window = window.pads(vec![pad / 2; n], vec![pad - pad / 2; n]);
        if depthwise { b.conv(window, cin * 2, cin) } else { b.conv(window, cout, 1) };
        b.op(Unary::Relu, &[]).output();
        agrees(&mut b, 1e-5);
    }
}
