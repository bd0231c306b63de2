//! Emitted ONNX, read again by the importer, is the same graph: every code, and every float.
//!
//! Here each op and each kind of quantizer and constant by itself; `tests/onnx_out.rs` of the whole has models.

mod support;

use prost::Message;
use support::Net;
use unfloat_backends::{Options, OutDir, registry};
use unfloat_exec::reference::evaluate;
use unfloat_frontends::onnx::{BatchAxis, NoSiblings, OnnxFile, OnnxOptions, import};
use unfloat_ir::ops::{
    ArgReduce, AvgPool, BatchNorm, BatchNormFormula, Binary, Concat, Conv, ConvTranspose, Coordinates, Dense,
    Dequantize, Expand, Gather, LayerNorm, Lrn, MatMul, MaxPool, NearestMode, Pad, PadMode, Quantize,
    QuantizeOrder, Reduce, ReduceFn, Reshape, Resize, ResizeMode, Reverse, Slice, Softmax, Transpose, Unary,
    Upsample, UpsampleMode, Window,
};
use unfloat_ir::{
    Diagnostics, ElemType, Graph, IntType, Layout, Op, Overflow, Rounding, Tensor, TensorType, ValueId,
    verify,
};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};

const BOTH: [&str; 2] = ["qcdq", "qonnx"];

/// The bytes of the emitted model.
fn emitted(graph: &Graph, dialect: &str) -> Result<Vec<u8>, Diagnostics> {
    verify::verify(graph).unwrap_or_else(|e| panic!("{e}"));
    let backend = registry::backend(dialect).unwrap();
    let mut out = OutDir::new();
    let done = backend.emit(graph, &Options::defaults(backend.info()), &mut out);
    assert_eq!(out.paths().count(), usize::from(done.is_ok()), "a refused graph leaves no file");
    done.map(|()| out.read(&format!("{dialect}/{}.onnx", graph.name)).unwrap())
}

/// The graph that the importer makes of emitted bytes, behind the pipeline `import`.
fn imported(bytes: Vec<u8>) -> Graph {
    let options = OnnxOptions { batch: BatchAxis::First, ..OnnxOptions::default() };
    let read = import(OnnxFile::from_bytes("again.onnx", bytes), &NoSiblings, &options);
    let mut graph = read.unwrap_or_else(|e| panic!("{e}")).graph;
    let mut warnings = Diagnostics::new();
    run_pipeline(&mut graph, &pipeline("import").unwrap(), &RunOptions::default(), &mut warnings)
        .unwrap_or_else(|e| panic!("{e}"));
    graph
}

/// Emits in each dialect, reads again, and compares the outputs of some samples.
fn agree(net: &mut Net, dialects: &[&str]) -> Vec<Graph> {
    let samples = net.samples(4);
    let again: Vec<Graph> = dialects
        .iter()
        .map(|d| imported(emitted(&net.graph, d).unwrap_or_else(|e| panic!("{d}: {e}"))))
        .collect();
    for (graph, dialect) in again.iter().zip(dialects) {
        let names = |g: &Graph| g.outputs().iter().map(|o| o.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(graph), names(&net.graph), "{dialect}");
        for sample in &samples {
            let wanted = evaluate(&net.graph, sample).unwrap();
            let types = graph.inputs().iter().map(|&v| graph.ty(v));
            let inputs =
                sample.iter().zip(types).map(|(t, ty)| Tensor { ty: ty.clone(), data: t.data.clone() });
            let found = evaluate(graph, &inputs.collect::<Vec<_>>()).unwrap();
            for ((want, found), output) in wanted.iter().zip(&found).zip(net.graph.outputs()) {
                assert_eq!(want.ty.shape, found.ty.shape, "{dialect}: {}", output.name);
                let same = (0..want.len()).all(|i| match (want.as_f32(), found.as_f32()) {
                    // The sign of a zero is no code's business.
                    (Some(x), Some(y)) => x[i] == y[i] || (x[i].is_nan() && y[i].is_nan()),
                    _ => want.data.code(i) == found.data.code(i),
                });
                assert!(same, "{dialect}: {}: {:?} and {:?}", output.name, want.data, found.data);
            }
        }
    }
    again
}

/// A quantizer, its scale and zero point.
#[derive(Clone)]
struct Grid {
    op: Quantize,
    scale: Vec<f32>,
    zero: Vec<f32>,
}

impl Grid {
    fn int(int: IntType, scale: f32) -> Self {
        let op = Quantize {
            to: ElemType::Int(int),
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        Self { op, scale: vec![scale], zero: vec![0.0] }
    }
    fn zero(mut self, zero: f32) -> Self {
        self.zero = vec![zero];
        self
    }
    fn with(mut self, change: impl Fn(&mut Quantize)) -> Self {
        change(&mut self.op);
        self
    }
}

/// A quantizer with its dequantizer, parameters along the last axis.
fn quantized(net: &mut Net, x: ValueId, grid: &Grid, name: &str) -> ValueId {
    let last = |v: &[f32]| if v.len() == 1 { vec![] } else { vec![v.len()] };
    let scale = net.constant(&last(&grid.scale), grid.scale.clone());
    let zero = net.constant(&last(&grid.zero), grid.zero.clone());
    let codes = net.node(grid.op.clone(), &[x, scale, zero], &format!("{name}.codes"));
    net.node(Dequantize, &[codes, scale, zero], name)
}

/// A constant of codes with one scale, or one for each entry of the first axis.
fn weight(net: &mut Net, elem: ElemType, shape: &[usize], per_channel: bool, name: &str) -> ValueId {
    let (lo, hi) = elem.code_range().unwrap();
    let n: usize = shape.iter().product();
    let mut codes = Vec::new();
    while codes.len() < n {
        let code = lo + (net.random.word() % (hi - lo + 1) as u64) as i64;
        let code = if codes.len() < 2 { [lo, hi][codes.len()] } else { code };
        codes.extend(elem.has_code(code).then_some(code));
    }
    let ty = TensorType::new(elem, shape, Layout::anonymous(shape.len()));
    let codes = net.graph.add_const(&format!("{name}.codes"), Tensor::codes(ty, codes));
    let mut dims = vec![1; shape.len()];
    dims[0] = if per_channel { shape[0] } else { 1 };
    let scales: Vec<f32> = (0..dims[0]).map(|i| 0.01 + 0.003 * i as f32).collect();
    let (scale, zero) = (net.constant(&dims, scales), net.constant(&[], vec![0.0]));
    net.node(Dequantize, &[codes, scale, zero], name)
}

fn u8s(scale: f32) -> Grid {
    Grid::int(IntType::unsigned(8), scale)
}

#[test]
fn layers_with_weights() {
    let mut net = Net::new("layers");
    let x = net.input(&[6, 7, 4], "hwc");
    let x = quantized(&mut net, x, &u8s(0.02), "x");
    let plain = Window::new([3, 3]).pads([1, 0], [1, 2]).strides([2, 1]);
    let wide = Window::new([2, 3]).dilations([2, 1]);
    for (i, (window, groups, per_channel)) in
        [(plain, 1, true), (wide.clone(), 2, false), (wide, 4, true)].into_iter().enumerate()
    {
        let shape = [&[8][..], &window.kernel, &[4 / groups]].concat();
        let w = weight(&mut net, ElemType::signed(8), &shape, per_channel, &format!("w{i}"));
        let b = weight(&mut net, ElemType::signed(20), &[8], per_channel, &format!("b{i}"));
        let inputs = if i == 1 { vec![x, w] } else { vec![x, w, b] };
        net.output(Conv { window, groups }, &inputs, &format!("conv{i}"));
    }
    for (i, (crop, output)) in [([0, 1], [13, 12]), ([1, 0], [12, 16])].into_iter().enumerate() {
        let w = weight(&mut net, ElemType::signed(4), &[5, 3, 3, 4], true, &format!("tw{i}"));
        let op = ConvTranspose {
            kernel: vec![3, 3],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            crop: crop.into(),
            output: output.into(),
            groups: 1,
        };
        net.output(op, &[x, w], &format!("transposed{i}"));
    }
    let w = weight(&mut net, ElemType::signed(8), &[3, 4], true, "dw");
    let b = weight(&mut net, ElemType::signed(16), &[3], true, "db");
    net.output(Dense, &[x, w, b], "dense_of_images");
    let flat = net.node(Reshape { shape: [168].into(), layout: Layout::channels_last(0) }, &[x], "flat");
    let w = weight(&mut net, ElemType::signed(16), &[5, 168], false, "fw");
    net.output(Dense, &[flat, w], "dense");
    agree(&mut net, &BOTH);
}

#[test]
fn windows_and_maps() {
    let mut net = Net::new("windows");
    let x = net.input(&[5, 4, 3], "hwc");
    let x = quantized(&mut net, x, &u8s(0.03), "x");
    let window = Window::new([3, 2]).strides([2, 1]).pads([1, 0], [1, 1]);
    net.output(MaxPool { window: window.clone() }, &[x], "max");
    net.output(MaxPool { window: Window::new([2, 2]).dilations([2, 2]) }, &[x], "max_dilated");
    net.output(AvgPool { window: window.clone(), count_include_pad: true }, &[x], "avg");
    net.output(AvgPool { window, count_include_pad: false }, &[x], "avg_inside");
    net.output(Lrn { axis: 2, size: 2, alpha: 0.1, beta: 0.75, bias: 1.0 }, &[x], "lrn");
    for (i, mode) in
        [UpsampleMode::Nearest, UpsampleMode::Linear, UpsampleMode::LinearAsymmetric].into_iter().enumerate()
    {
        net.output(Upsample { factors: vec![2, 3, 1], mode }, &[x], &format!("up{i}"));
    }
    let modes = [ResizeMode::Nearest(NearestMode::Ceil), ResizeMode::Linear, ResizeMode::Cubic { a: -0.5 }];
    let places = [Coordinates::AlignCorners, Coordinates::PytorchHalfPixel, Coordinates::HalfPixel];
    for (i, (mode, at)) in modes.into_iter().zip(places).enumerate() {
        net.output(Resize::new([7, 3, 3], mode, at), &[x], &format!("resize{i}"));
    }
    for (i, mode) in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Edge].into_iter().enumerate() {
        net.output(Pad { before: vec![1, 2, 0], after: vec![0, 1, 0], mode }, &[x], &format!("pad{i}"));
    }
    let slice = Slice { begin: vec![1, 0, 1], size: vec![2, 4, 2], step: vec![2, 1, 1] };
    net.output(slice, &[x], "slice");
    net.output(Reverse { axes: vec![0, 2] }, &[x], "reverse");
    net.output(Concat { axis: 2 }, &[x, x], "concat");
    net.output(Softmax { axes: vec![2], log: false }, &[x], "softmax");
    net.output(Softmax { axes: vec![0], log: true }, &[x], "log_softmax");
    net.output(ArgReduce { max: true, axis: 2, keep: false, last: false }, &[x], "arg_max");
    net.output(ArgReduce { max: false, axis: 0, keep: true, last: true }, &[x], "arg_min");
    let functions =
        [ReduceFn::Sum, ReduceFn::Mean, ReduceFn::Max, ReduceFn::Min, ReduceFn::Prod, ReduceFn::SumSquare];
    for (i, f) in functions.into_iter().enumerate() {
        net.output(Reduce { f, axes: vec![0, 1], keep: i % 2 == 0 }, &[x], &format!("reduce{i}"));
        net.output(Reduce { f, axes: vec![1, 2], keep: i % 2 == 1 }, &[x], &format!("reduced{i}"));
    }
    let picks = TensorType::new(ElemType::signed(64), [3], Layout::anonymous(1));
    let picks = net.graph.add_const("picks", Tensor::codes(picks, [2, 0, -1]));
    net.output(Gather { axis: 1 }, &[x, picks], "gather");
    agree(&mut net, &BOTH);
}

#[test]
fn functions_of_elements() {
    let mut net = Net::new("elements");
    let image = net.input(&[3, 2, 4], "hwc");
    let image = quantized(&mut net, image, &Grid::int(IntType::signed(8), 0.02), "image");
    let functions = [
        Unary::Relu,
        Unary::LeakyRelu { alpha: 0.3 },
        Unary::ThresholdedRelu { theta: 0.2 },
        Unary::Clip { lo: -0.5, hi: f32::INFINITY },
        Unary::Clip { lo: f32::NEG_INFINITY, hi: 0.25 },
        Unary::Sigmoid,
        Unary::HardSigmoid { alpha: 0.25, beta: 0.5 },
        Unary::Tanh,
        Unary::Elu { alpha: 0.75 },
        Unary::Selu { alpha: 1.5, scale: 1.25 },
        Unary::Celu { alpha: 0.75 },
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Softplus,
        Unary::Softsign,
        Unary::HardSwish,
        Unary::Mish,
        Unary::SoftShrink { lambda: 0.25 },
        Unary::HardShrink { lambda: 0.25 },
        Unary::Exp,
        Unary::Abs,
        Unary::Neg,
        Unary::Erf,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Sign,
        Unary::BoundedRelu { max: 0.75, slope: 0.0, threshold: 0.0 },
    ];
    for (i, f) in functions.into_iter().enumerate() {
        net.output(f, &[image], &format!("unary{i}"));
    }
    let positive = net.node(Unary::Exp, &[image], "positive");
    for (i, f) in [Unary::Log, Unary::Sqrt, Unary::Reciprocal].into_iter().enumerate() {
        net.output(f, &[positive], &format!("positive{i}"));
    }
    let channel = net.constant(&[4], vec![0.5, 2.0, -1.0, 0.25]);
    let map = net.constant(&[3, 1, 1], vec![1.5, -0.5, 3.0]);
    let one = net.constant(&[], vec![0.75]);
    let row = net.node(Reduce { f: ReduceFn::Sum, axes: vec![0, 1], keep: false }, &[image], "row");
    let all = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
    for (i, f) in all.into_iter().enumerate() {
        for (j, other) in [channel, map, one, positive].into_iter().enumerate() {
            net.output(f, &[image, other], &format!("binary{i}_{j}"));
        }
        net.output(f, &[one, image], &format!("binary{i}_from"));
        net.output(f, &[positive, row], &format!("binary{i}_row"));
    }
    net.output(Binary::Prelu, &[image, channel], "prelu");
    net.output(Binary::Pow, &[positive, channel], "pow");
    let parameters =
        [[1.0, 0.5, 2.0, 1.5], [0.5, -1.0, 0.0, 1.0], [0.25, 0.0, 1.0, -1.0], [1.0, 2.0, 0.5, 0.25]];
    let parameters = parameters.map(|v| net.constant(&[4], v.to_vec()));
    let [gamma, beta, mean, variance] = parameters;
    net.output(BatchNorm::new(2, 1e-3), &[image, gamma, beta, mean, variance], "batch_norm");
    net.output(LayerNorm { axes: vec![2], eps: 1e-3 }, &[image, gamma, beta], "layer_norm");
    net.output(Transpose { perm: vec![1, 2, 0] }, &[image], "transpose");
    net.output(Expand { shape: [5, 3, 2, 4].into() }, &[image], "expand");
    agree(&mut net, &BOTH);
}

#[test]
fn products_of_computed_matrices() {
    let mut net = Net::new("matrices");
    let a = net.input(&[3, 4], "wc");
    let b = net.input(&[2, 4, 5], "hwc");
    let a = quantized(&mut net, a, &Grid::int(IntType::signed(8), 0.02), "a");
    let b = quantized(&mut net, b, &Grid::int(IntType::signed(4), 0.25), "b");
    let c = weight(&mut net, ElemType::signed(8), &[5, 3], false, "c");
    let product = net.node(MatMul, &[a, b], "product");
    net.graph.add_output("product", product);
    net.output(MatMul, &[b, c], "by_constant");
    agree(&mut net, &BOTH);
}

/// Every width, signed and not, whole and narrow, per tensor and per channel; zero points where the dialect has them.
#[test]
fn quantizers_of_all_widths() {
    for dialect in BOTH {
        for most in [8, 16] {
            let mut net = Net::new("widths");
            let x = net.input(&[2, 3], "wc");
            let mut wanted = Vec::new();
            for width in 1..=most {
                for (signed, narrow) in [(true, false), (true, true), (false, false), (false, true)] {
                    if width == 1 && (signed || narrow) {
                        continue;
                    }
                    let int = IntType { signed, width };
                    let name = format!("q{width}{signed}{narrow}");
                    let grid = Grid::int(int, 2.1 / (1u64 << (width - 1)) as f32);
                    let mut grid = grid.with(|op| op.narrow = narrow);
                    if dialect == "qcdq" && width > 2 {
                        grid = grid.zero((int.min() + int.max() / 3) as f32);
                    } else if dialect == "qonnx" {
                        grid = grid.with(|op| op.order = QuantizeOrder::ClampThenRound).zero(1.5);
                    }
                    if width % 3 == 0 {
                        grid.scale = (1..=3).map(|i| grid.scale[0] * i as f32).collect();
                    }
                    let y = quantized(&mut net, x, &grid, &name);
                    net.graph.add_output(&name, y);
                    wanted.push((int, narrow));
                }
            }
            let graph = agree(&mut net, &[dialect]).remove(0);
            let quantizers: Vec<&Quantize> = graph
                .live_nodes()
                .filter_map(|(_, n)| match &n.op {
                    Op::Quantize(q) => Some(q),
                    _ => None,
                })
                .collect();
            assert_eq!(quantizers.len(), wanted.len());
            for (int, narrow) in wanted {
                let to = ElemType::Int(int);
                assert!(
                    quantizers.iter().any(|q| q.to == to && q.narrow == narrow),
                    "{dialect}: {to} {narrow}"
                );
            }
        }
    }
}

#[test]
fn roundings_and_overflows_that_a_dialect_has() {
    let mut net = Net::new("roundings");
    let x = net.input(&[40], "c");
    let modes = [
        Rounding::HalfEven,
        Rounding::HalfUp,
        Rounding::HalfDown,
        Rounding::Up,
        Rounding::Down,
        Rounding::Ceil,
        Rounding::Floor,
    ];
    for (i, rounding) in modes.into_iter().enumerate() {
        // Both orders are the same without a zero point, and symmetric saturation is a narrow range.
        let grid = Grid::int(IntType::signed(3), 0.25).with(|op| {
            op.rounding = rounding;
            op.overflow = Overflow::SaturateSymmetric;
        });
        let y = quantized(&mut net, x, &grid, &format!("y{i}"));
        net.graph.add_output(&format!("y{i}"), y);
    }
    let signs = Grid::int(IntType::signed(8), 0.5).with(|op| {
        op.to = ElemType::Bipolar;
        op.order = QuantizeOrder::ClampThenRound;
    });
    let y = quantized(&mut net, x, &signs, "signs");
    net.graph.add_output("signs", y);
    agree(&mut net, &["qonnx"]);
    let refused = emitted(&net.graph, "qcdq").unwrap_err();
    assert_eq!(refused.0.len(), 7, "{refused}");
}

/// A scale that differs from that of the way back: QCDQ says both, QONNX a power of two between them.
#[test]
fn codes_that_turn_back_with_another_scale() {
    let net = |back: f32| {
        let mut net = Net::new("scales");
        let x = net.input(&[9], "c");
        let (there, back, zero) =
            (net.constant(&[], vec![0.3]), net.constant(&[], vec![back]), net.constant(&[], vec![0.0]));
        let codes = net.node(Grid::int(IntType::signed(5), 1.0).op, &[x, there, zero], "codes");
        net.output(Dequantize, &[codes, back, zero], "y");
        net
    };
    agree(&mut net(0.3 * 0.25), &BOTH);
    agree(&mut net(0.2), &["qcdq"]);
    let refused = emitted(&net(0.2).graph, "qonnx").unwrap_err().to_string();
    assert!(refused.contains("turned back with another scale"), "{refused}");
}

/// Constants of every kind: their codes come back, without the zero point that some are stored with.
#[test]
fn constants_keep_their_codes() {
    let mut net = Net::new("constants");
    let x = net.input(&[6], "c");
    let kinds = [
        ElemType::signed(2),
        ElemType::signed(7),
        ElemType::signed(8),
        ElemType::Int(IntType::unsigned(8)),
        ElemType::signed(9),
        ElemType::signed(16),
        ElemType::Bipolar,
        ElemType::Ternary,
    ];
    for (i, kind) in kinds.iter().enumerate() {
        let w = weight(&mut net, kind.clone(), &[4, 6], i % 2 == 0, &format!("w{i}"));
        net.output(Dense, &[x, w], &format!("y{i}"));
    }
    let codes = |graph: &Graph, name: &str| -> Vec<i64> {
        let value = graph.outputs().iter().find(|o| o.name == name).unwrap().value;
        let (_, dense) = graph.producer(value).unwrap();
        let (_, constant) = graph.producer(dense.inputs[1]).unwrap();
        let [q, _, z] = constant.inputs[..] else { panic!("{name}") };
        let (q, z) = (graph.const_of(q).unwrap(), graph.const_of(z).unwrap());
        let zero = z.as_f32().map_or_else(|| z.data.code(0).unwrap(), |v| v[0] as i64);
        (0..q.len()).map(|i| q.data.code(i).unwrap() - zero).collect()
    };
    for graph in agree(&mut net, &BOTH) {
        for i in 0..kinds.len() {
            let name = format!("y{i}");
            assert_eq!(codes(&graph, &name), codes(&net.graph, &name), "{name}");
        }
    }
}

/// Powers of two are a sign and a scale per element: QONNX says that, QCDQ makes factors of the codes.
#[test]
fn scales_of_single_elements() {
    let mut net = Net::new("powers");
    let x = net.input(&[4], "c");
    let signs = [1, -1, 1, 0, -1, 1, 1, -1];
    let ty = TensorType::new(ElemType::Ternary, [2, 4], Layout::anonymous(2));
    let codes = net.graph.add_const("codes", Tensor::codes(ty, signs));
    let scale =
        net.constant(&[2, 4], [-3, -1, 0, -2, -4, -6, -5, -6].map(|e: i32| (e as f32).exp2()).to_vec());
    let zero = net.constant(&[], vec![0.0]);
    let w = net.node(Dequantize, &[codes, scale, zero], "w");
    net.output(Dense, &[x, w], "y");
    agree(&mut net, &BOTH);
}

/// What the checker of ONNX looks at, in the messages' own numbers.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<ModelGraph>,
    #[prost(message, repeated, tag = "8")]
    opsets: Vec<Opset>,
}
#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}
#[derive(Clone, PartialEq, Message)]
struct ModelGraph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<ModelNode>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Initializer>,
}
#[derive(Clone, PartialEq, Message)]
struct ModelNode {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    op: String,
}
#[derive(Clone, PartialEq, Message)]
struct Initializer {
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(string, tag = "8")]
    name: String,
}

fn decoded(graph: &Graph, dialect: &str) -> Model {
    let bytes = emitted(graph, dialect).unwrap();
    assert_eq!(bytes, emitted(graph, dialect).unwrap(), "the same graph makes the same bytes");
    Model::decode(&bytes[..]).unwrap()
}

/// A dense layer of 8-bit activations with weights of some width, and a quantizer behind it.
fn small(bits: u8, behind: u8) -> Net {
    let mut net = Net::new("small");
    let x = net.input(&[4], "c");
    let x = quantized(&mut net, x, &Grid::int(IntType::signed(8), 0.02), "x");
    let w = weight(&mut net, ElemType::signed(bits), &[3, 4], true, "w");
    let y = net.node(Dense, &[x, w], "y");
    let y = quantized(&mut net, y, &Grid::int(IntType::signed(behind), 0.01), "y.q");
    net.graph.add_output("scores", y);
    net
}

#[test]
fn the_lowest_opset_and_the_safe_storage() {
    const UINT8: i32 = 2;
    const INT8: i32 = 3;
    const INT16: i32 = 5;
    // Weights of 8 bits are unsigned, so that no sum of two products saturates at 16 bits.
    for (bits, behind, opset, weights, activations) in
        [(8, 8, 13, UINT8, INT8), (7, 8, 13, INT8, INT8), (4, 12, 21, INT8, INT16)]
    {
        let net = small(bits, behind);
        let model = decoded(&net.graph, "qcdq");
        assert_eq!(model.opsets, [Opset { domain: String::new(), version: opset }]);
        let graph = model.graph.unwrap();
        let kind = |name: &str| graph.initializers.iter().find(|i| i.name == name).map(|i| i.kind);
        assert_eq!(kind("w:codes"), Some(weights), "weights of {bits} bits");
        let first = graph.nodes.iter().find(|n| n.op == "QuantizeLinear").unwrap();
        assert_eq!(kind(&first.inputs[2]), Some(activations), "beside codes of {behind} bits");
        let last = graph.nodes.last().unwrap();
        assert_eq!(last.outputs, ["scores"], "ports have the source's names, and no node of their own");
        agree(&mut small(bits, behind), &BOTH);
    }
    let model = decoded(&small(8, 12).graph, "qonnx");
    assert_eq!(model.opsets.iter().map(|o| o.version).collect::<Vec<_>>(), [13, 1]);
}

#[test]
fn all_that_cannot_be_said_is_refused_at_once() {
    let mut net = Net::new("refused");
    let x = net.input(&[4], "c");
    let silu = net.node(Unary::Silu, &[x], "silu");
    // Behind what is refused, only what has faults of its own is named.
    let relu = net.node(Unary::Relu, &[silu], "relu");
    let wrapped = Grid::int(IntType::signed(8), 0.1).with(|op| op.overflow = Overflow::Wrap);
    let wrapped = quantized(&mut net, relu, &wrapped, "wrapped");
    let (s, z) = (net.constant(&[], vec![0.5]), net.constant(&[], vec![0.0]));
    let codes = net.node(Grid::int(IntType::signed(8), 0.5).op, &[wrapped, s, z], "codes");
    let integers = net.node(Unary::Relu, &[codes], "integers");
    let more = net.node(Unary::Neg, &[integers], "more_integers");
    net.output(Dequantize, &[more, s, z], "back");
    let c = [0; 4].map(|_| net.constant(&[4], vec![1.0; 4]));
    let op = BatchNorm { axis: 0, eps: 0.1, formula: BatchNormFormula::Fused };
    net.output(op, &[wrapped, c[0], c[1], c[2], c[3]], "fused");
    for dialect in BOTH {
        let backend = registry::backend(dialect).unwrap();
        let found = backend.check(&net.graph, &Options::defaults(backend.info())).unwrap_err();
        let text = found.to_string();
        for name in ["`silu`", "`wrapped`", "`codes`", "`integers`", "`fused`"] {
            assert!(text.contains("test.h5: model_weights/") && text.contains(name), "{text}");
        }
        for follows in ["`relu` cannot", "`more_integers` cannot", "`back` cannot"] {
            assert!(!text.contains(follows), "{text}");
        }
        assert_eq!(found, emitted(&net.graph, dialect).unwrap_err());
    }
}

/// Ports that share a value, an input that is an output, names that look like ours.
#[test]
fn names_of_ports_are_kept() {
    let mut net = Net::new("ports");
    let x = net.input(&[3], "c");
    let y = net.node(Unary::Relu, &[x], "x0:codes");
    let z = quantized(&mut net, y, &u8s(0.1), "z");
    let twice = net.node(Unary::Neg, &[z], "first");
    for (name, value) in [("second", twice), ("first", twice), ("z", y), ("through", x), ("x0:const", z)] {
        net.graph.add_output(name, value);
    }
    for graph in agree(&mut net, &BOTH) {
        assert_eq!(graph.value(graph.inputs()[0]).name, "x0");
    }
}
