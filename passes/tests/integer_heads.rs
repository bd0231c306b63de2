//! What `integerize` makes of the end of a classifier is as near to the source as its certificate says: a softmax over codes
//! and over sums, with one table and with two, and the class alone.

use unfloat_exec::reference::evaluate;
use unfloat_ir::ops::{ArgReduce, Dense, Dequantize, Softmax};
use unfloat_ir::{Data, Diagnostics, ElemType, Graph, Layout, Origin, Tensor, TensorType, ValueId};
use unfloat_passes::audit::is_integer;
use unfloat_passes::report::Fold;
use unfloat_passes::validate::SplitMix64;
use unfloat_passes::{RunOptions, parse_calls, run_pipeline};

const CLASSES: usize = 7;

struct Net(Graph);

impl Net {
    fn new(elem: ElemType, n: usize) -> (Self, ValueId) {
        let mut g = Graph::new("g");
        g.stage = unfloat_ir::Stage::Folded;
        let x = g.add_input("x", TensorType::new(elem, [n], Layout::channels_last(0)));
        (Self(g), x)
    }
    fn scalar(&mut self, v: f32) -> ValueId {
        self.0.add_const("c", Tensor::f32([], Layout::anonymous(0), vec![v]))
    }
    fn node(&mut self, op: impl Into<unfloat_ir::Op>, inputs: &[ValueId]) -> ValueId {
        self.0.add_node(op, inputs, "v", &Origin::default()).unwrap()
    }
    fn dequantized(&mut self, x: ValueId, scale: f32) -> ValueId {
        let (s, z) = (self.scalar(scale), self.scalar(0.0));
        self.node(Dequantize, &[x, s, z])
    }
    /// A dense layer with a scale and a bias for each class: logits that are exact sums.
    fn logits(&mut self, x: ValueId, inputs: usize, unit: f32) -> ValueId {
        let mut random = SplitMix64::new(5);
        let codes: Vec<i64> = (0..CLASSES * inputs).map(|_| random.below(255) as i64 - 127).collect();
        let ty = TensorType::new(ElemType::signed(8), [CLASSES, inputs], Layout::weight(0));
        let w = self.0.add_const("w", Tensor::codes(ty, codes));
        let scales = (0..CLASSES).map(|c| unit * (1.0 + c as f32 / 10.0)).collect();
        let s = self.0.add_const("s", Tensor::f32([CLASSES, 1], Layout::weight(0), scales));
        let z = self.scalar(0.0);
        let w = self.node(Dequantize, &[w, s, z]);
        let bias = (0..CLASSES).map(|c| c as f32 / 7.0).collect();
        let b = self.0.add_const("b", Tensor::f32([CLASSES], Layout::channels_last(0), bias));
        self.node(Dense, &[x, w, b])
    }
    fn integers(&self) -> (Graph, Vec<Fold>) {
        let mut graph = self.0.clone();
        let calls = parse_calls("integerize").unwrap();
        let report =
            run_pipeline(&mut graph, &calls, &RunOptions::default(), &mut Diagnostics::new()).unwrap();
        (graph, report.passes[0].folds.clone())
    }
}

/// Codes near each other and far apart, as samples.
fn samples(ty: &TensorType) -> Vec<Tensor> {
    let (lo, hi) = ty.elem.code_range().unwrap();
    let mut random = SplitMix64::new(11);
    let n = ty.shape.num_elements();
    let mut all = Vec::new();
    for spread in [1u64, 3, 20, 200, 5000, 60_000] {
        for _ in 0..200 {
            let middle = lo + random.below((hi - lo) as u64) as i64;
            let code = |_| (middle + random.below(2 * spread + 1) as i64 - spread as i64).clamp(lo, hi);
            all.push(Tensor::codes(ty.clone(), (0..n).map(code).collect::<Vec<_>>()));
        }
    }
    all
}

fn floats(t: &Tensor) -> Vec<f64> {
    t.as_f32().unwrap().iter().map(|&v| v.into()).collect()
}

/// The greatest difference from the source over all samples; the sums of the results are 1 within the same.
fn worst(net: &Net, graph: &Graph) -> f64 {
    let input = net.0.ty(net.0.inputs()[0]).clone();
    let mut worst = 0f64;
    for x in samples(&input) {
        let (a, b) = (evaluate(&net.0, std::slice::from_ref(&x)), evaluate(graph, &[x]));
        let (a, b) = (floats(&a.unwrap()[0]), floats(&b.unwrap()[0]));
        worst = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(worst, f64::max);
        // No two classes change places.
        for i in 0..a.len() {
            for j in 0..a.len() {
                assert!(a[i] <= a[j] + 1e-6 || b[i] >= b[j], "{a:?} {b:?}");
            }
        }
    }
    worst
}

#[test]
fn a_softmax_is_within_its_bound() {
    let nets: [fn() -> Net; 4] = [
        || {
            let (mut net, x) = Net::new(ElemType::signed(8), CLASSES);
            let x = net.dequantized(x, 0.1);
            let y = net.node(Softmax { axes: vec![0], log: false }, &[x]);
            net.0.add_output("y", y);
            net
        },
        || {
            let (mut net, x) = Net::new(ElemType::signed(16), CLASSES);
            let x = net.dequantized(x, 1.0 / 1024.0);
            let y = net.node(Softmax { axes: vec![0], log: false }, &[x]);
            net.0.add_output("y", y);
            net
        },
        || {
            let (mut net, x) = Net::new(ElemType::signed(8), 9);
            let x = net.dequantized(x, 0.02);
            let x = net.logits(x, 9, 0.01);
            let y = net.node(Softmax { axes: vec![0], log: false }, &[x]);
            net.0.add_output("y", y);
            net
        },
        || {
            let (mut net, x) = Net::new(ElemType::signed(8), 30);
            let x = net.dequantized(x, 0.5);
            let x = net.logits(x, 30, 0.003);
            let y = net.node(Softmax { axes: vec![0], log: false }, &[x]);
            net.0.add_output("y", y);
            net
        },
    ];
    for (i, net) in nets.into_iter().enumerate() {
        let net = net();
        let (graph, folds) = net.integers();
        assert!(is_integer(&graph), "net {i}");
        let fold = folds.iter().find(|f| f.form == "softmax").unwrap();
        let worst = worst(&net, &graph);
        assert!(
            worst <= fold.bound && fold.bound < 5e-4,
            "net {i}: off by {worst:e}, bound {:e}",
            fold.bound
        );
        assert!(worst > 1e-7, "net {i}: nothing was compared");
    }
}

/// Sums that can reach so far that no 32-bit grid has a thousandth between two of its points: they stay floats.
#[test]
fn no_softmax_on_a_grid_that_is_too_coarse() {
    let (mut net, x) = Net::new(ElemType::signed(32), 30);
    let x = net.dequantized(x, 0.5);
    let x = net.logits(x, 30, 0.003);
    let y = net.node(Softmax { axes: vec![0], log: false }, &[x]);
    net.0.add_output("y", y);
    let (graph, folds) = net.integers();
    assert!(!is_integer(&graph) && folds.is_empty());
}

/// The class is the source's wherever its two best scores are farther apart than the bound.
#[test]
fn the_class_is_that_of_the_source() {
    let (mut net, x) = Net::new(ElemType::signed(8), 9);
    let x = net.dequantized(x, 0.02);
    let logits = net.logits(x, 9, 0.01);
    let y = net.node(ArgReduce { max: true, axis: 0, keep: false, last: false }, &[logits]);
    net.0.add_output("y", y);
    let (graph, folds) = net.integers();
    assert!(is_integer(&graph) && folds.len() == 1 && folds[0].form == "arg_max");
    let mut shown = net.0.clone();
    shown.add_output("logits", logits);
    let mut told = 0;
    for x in samples(net.0.ty(net.0.inputs()[0])) {
        let (a, b) = (evaluate(&shown, std::slice::from_ref(&x)).unwrap(), evaluate(&graph, &[x]).unwrap());
        let mut scores = floats(&a[1]);
        scores.sort_by(|a, b| b.total_cmp(a));
        let class = |t: &Tensor| match &t.data {
            Data::F32(_) => None,
            data => data.code(0),
        };
        if scores[0] - scores[1] > 2.0 * folds[0].bound + 1e-5 {
            assert_eq!(class(&a[0]), class(&b[0]), "{scores:?}");
            told += 1;
        }
    }
    assert!(told > 1000, "{told} samples told anything");
}
