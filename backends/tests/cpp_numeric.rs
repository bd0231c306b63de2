//! Emitted C++ gives what the reference evaluator gives, for every op, under both compilers and all warnings.
//!
//! Each test is one graph with many outputs, since compiling takes longer than running.

mod support;

use support::{Net, agree};
use unfloat_ir::attrs::{Attr, AttrReader};
use unfloat_ir::ops::{
    AvgPool, BatchNorm, Binary, Concat, Conv, ConvTranspose, Dense, Expand, LayerNorm, MatMul, MaxPool,
    OpDef, Pad, PadMode, Reduce, ReduceFn, Reshape, Slice, Softmax, Transpose, Unary, Upsample, UpsampleMode,
    Window,
};
use unfloat_ir::{Layout, Tensor};

#[test]
fn the_cifar10_network() {
    let mut net = support::cifar10_cnn();
    let samples = net.samples(3);
    agree(&net.graph, &samples, &[], &["-O3", "-march=native"]);
}

/// A convolution of the net's input `x` with random weights.
fn conv(net: &mut Net, x: usize, window: Window, groups: usize, filters: usize, bias: bool, name: &str) {
    let x = net.graph.inputs()[x];
    let channels = *net.graph.ty(x).shape.last().unwrap() / groups;
    let shape = [&[filters][..], &window.kernel, &[channels]].concat();
    let mut operands = vec![x, net.weight(&shape, window.taps() * channels)];
    if bias {
        operands.push(net.weight(&[filters], 4));
    }
    let value = net.node(Conv { window, groups }, &operands, name);
    // Every third one has a function behind it, simple or not.
    match name.len() % 3 {
        0 => net.output(Unary::Relu, &[value], &format!("{name}_relu")),
        1 => net.output(Unary::Tanh, &[value], &format!("{name}_tanh")),
        _ => net.graph.add_output(name, value),
    }
}

#[test]
fn convolutions() {
    let mut net = Net::new("convolutions");
    net.input(&[11, 9, 8], "hwc");
    net.input(&[17, 6], "wc");
    net.input(&[4, 5, 6, 4], "dhwc");
    net.input(&[13, 10, 1], "hwc");
    net.input(&[3, 4, 600], "hwc");
    let c = &mut net;
    // Every width of blocks, with and without a rest.
    for filters in [1, 3, 4, 7, 10, 16, 23, 33, 64, 100, 130] {
        conv(c, 0, Window::new([3, 3]), 1, filters, filters % 2 == 0, &format!("filters_{filters}"));
    }
    conv(c, 0, Window::new([3, 3]).pads([1, 1], [1, 1]), 1, 16, true, "same");
    conv(c, 0, Window::new([2, 4]).strides([2, 3]).pads([0, 2], [1, 1]), 1, 12, true, "even_strided");
    conv(c, 0, Window::new([3, 2]).dilations([2, 3]), 1, 9, true, "dilated");
    conv(c, 0, Window::new([1, 1]), 1, 24, true, "pointwise");
    conv(c, 0, Window::new([1, 1]).strides([2, 2]), 1, 24, false, "pointwise_strided");
    conv(c, 0, Window::new([11, 9]), 1, 5, true, "whole");
    conv(c, 0, Window::new([3, 3]).pads([1, 1], [1, 1]), 2, 10, true, "two_groups");
    conv(c, 0, Window::new([3, 3]).dilations([1, 2]), 4, 36, false, "four_groups");
    conv(c, 0, Window::new([3, 3]).pads([1, 1], [1, 1]), 8, 8, true, "depthwise");
    conv(c, 0, Window::new([5, 4]).strides([2, 2]).pads([2, 1], [2, 2]), 8, 8, false, "depthwise_strided");
    conv(c, 0, Window::new([3, 3]), 8, 24, true, "depth_multiplier");
    conv(c, 1, Window::new([3]), 1, 20, true, "one_axis");
    conv(c, 1, Window::new([4]).strides([2]).pads([3], [0]), 1, 3, true, "causal");
    conv(c, 1, Window::new([3]).dilations([2]), 6, 6, true, "one_axis_depthwise");
    conv(c, 2, Window::new([2, 3, 3]).pads([1, 1, 0], [0, 1, 2]), 1, 7, true, "three_axes");
    conv(c, 2, Window::new([3, 2, 2]).strides([1, 2, 2]).dilations([1, 2, 1]), 2, 6, false, "three_strided");
    conv(c, 3, Window::new([5, 5]).pads([2, 2], [2, 2]), 1, 6, true, "one_channel");
    // Sums of more than 1024 products are cut: by planes, rows, taps, and inside a tap.
    conv(c, 4, Window::new([2, 2]), 1, 20, true, "long_rows");
    conv(c, 4, Window::new([2, 2]).dilations([1, 2]), 1, 3, true, "long_taps");
    let samples = c.samples(2);
    agree(&net.graph, &samples, &[], &["-O2", "-march=native"]);
}

#[test]
fn transposed_convolutions() {
    let mut net = Net::new("transposed");
    let images = [net.input(&[5, 4, 6], "hwc"), net.input(&[7, 4], "wc"), net.input(&[2, 3, 4, 2], "dhwc")];
    let mut add =
        |x: usize, [kernel, strides, dilations, crop, output]: [&[usize]; 5], filters, groups, bias| {
            let x = images[x];
            let channels = net.graph.ty(x).shape.last().unwrap() / groups;
            let shape = [&[filters], kernel, &[channels]].concat();
            let mut operands = vec![x, net.weight(&shape, kernel.len() * channels)];
            if bias {
                operands.push(net.weight(&[filters], 4));
            }
            let [kernel, strides, dilations, crop, output] =
                [kernel, strides, dilations, crop, output].map(<[usize]>::to_vec);
            let op = ConvTranspose { kernel, strides, dilations, crop, output, groups };
            let name = format!("t{}", net.graph.outputs().len());
            let value = net.node(op, &operands, &name);
            if bias {
                net.output(Unary::Sigmoid, &[value], &format!("{name}_sigmoid"));
            } else {
                net.graph.add_output(&name, value);
            }
        };
    add(0, [&[3, 3], &[2, 2], &[1, 1], &[0, 1], &[10, 8]], 5, 1, true);
    add(0, [&[2, 4], &[1, 3], &[1, 1], &[0, 0], &[6, 13]], 40, 1, false);
    add(0, [&[3, 2], &[2, 1], &[2, 3], &[1, 2], &[9, 5]], 70, 1, true);
    add(0, [&[2, 2], &[3, 3], &[1, 1], &[0, 0], &[15, 12]], 4, 2, false);
    add(1, [&[4], &[2], &[1], &[1], &[14]], 3, 1, true);
    add(2, [&[2, 2, 3], &[2, 1, 2], &[1, 1, 1], &[0, 0, 1], &[4, 4, 7]], 6, 2, true);
    let samples = net.samples(2);
    agree(&net.graph, &samples, &["weights=literals"], &["-O2", "-march=native"]);
}

#[test]
fn products_of_matrices() {
    let mut net = Net::new("products");
    let vector = net.input(&[700], "c");
    let rows = net.input(&[3, 5, 37], "___");
    let others = net.input(&[3, 37, 21], "___");
    let single = net.input(&[37, 2], "__");
    let wide = net.input(&[2, 1, 4, 2100], "____");
    let tall = net.input(&[3, 2100, 9], "___");
    for (x, inputs, units, bias) in [(vector, 700, 10, true), (vector, 700, 200, false), (rows, 37, 19, true)]
    {
        let name = format!("dense_{units}");
        let mut operands = vec![x, net.weight(&[units, inputs], inputs)];
        if bias {
            operands.push(net.weight(&[units], 4));
        }
        net.output(Dense, &operands, &name);
    }
    // Longer than one part of a sum.
    let w = net.weight(&[6, 2100], 2100);
    let long = net.node(Dense, &[wide, w], "dense_long");
    net.output(Unary::LeakyRelu { alpha: 0.25 }, &[long], "dense_long_leaky");
    net.output(MatMul, &[rows, others], "matmul");
    net.output(MatMul, &[rows, single], "matmul_shared");
    let long = net.node(MatMul, &[wide, tall], "matmul_long");
    net.output(Unary::Relu, &[long], "matmul_long_relu");
    let samples = net.samples(2);
    agree(&net.graph, &samples, &[], &["-O2", "-march=native"]);
}

#[test]
fn pooling_and_reduction() {
    let mut net = Net::new("pooling");
    let image = net.input(&[9, 8, 21], "hwc");
    let line = net.input(&[12, 5], "wc");
    let block = net.input(&[4, 5, 6, 3], "dhwc");
    let windows = [
        (image, Window::new([2, 2]).strides([2, 2])),
        (image, Window::new([3, 3]).strides([2, 2]).pads([1, 0], [1, 2])),
        (image, Window::new([2, 3]).dilations([2, 2]).pads([1, 3], [2, 1])),
        (line, Window::new([3]).strides([2]).pads([1], [1])),
        (block, Window::new([2, 2, 3]).strides([2, 1, 2]).pads([0, 1, 1], [1, 0, 1])),
    ];
    for (i, (x, window)) in windows.into_iter().enumerate() {
        net.output(MaxPool { window: window.clone() }, &[x], &format!("max{i}"));
        let average = |count_include_pad| AvgPool { window: window.clone(), count_include_pad };
        net.output(average(false), &[x], &format!("average{i}"));
        net.output(average(true), &[x], &format!("padded_average{i}"));
    }
    use ReduceFn::*;
    for f in [Sum, Mean, Max, Min, Prod, SumSquare] {
        for axes in [vec![0, 1], vec![2], vec![1], vec![0, 2], vec![0, 1, 2], vec![]] {
            let name = format!("{f:?}_{}", net.graph.outputs().len());
            let keep = axes.len() % 2 == 1;
            net.output(Reduce { f, axes, keep }, &[image], &name);
        }
    }
    for (x, axes) in
        [(image, vec![2]), (image, vec![0, 1]), (line, vec![0]), (block, vec![1, 3]), (line, vec![0, 1])]
    {
        for log in [false, true] {
            let name = format!("softmax_{}", net.graph.outputs().len());
            net.output(Softmax { axes: axes.clone(), log }, &[x], &name);
        }
        let dims: Vec<usize> = axes.iter().map(|&a| net.graph.ty(x).shape[a]).collect();
        let (gamma, beta) = (net.weight(&dims, 1), net.weight(&dims, 1));
        let name = format!("layer_norm_{}", net.graph.outputs().len());
        net.output(LayerNorm { axes, eps: 1e-3 }, &[x, gamma, beta], &name);
    }
    for (x, axis) in [(image, 2), (line, 1), (block, 3)] {
        let n = net.graph.ty(x).shape[axis];
        let mut p = vec![x];
        p.extend((0..3).map(|_| net.weight(&[n], 1)));
        let variance = (0..n).map(|i| 0.1 + i as f32 / n as f32).collect();
        p.push(net.constant(&[n], variance));
        let name = format!("batch_norm_{axis}_{}", net.graph.outputs().len());
        let value = net.node(BatchNorm::new(axis, 1e-3), &p, &name);
        net.output(Unary::Relu, &[value], &format!("{name}_relu"));
    }
    let samples = net.samples(2);
    agree(&net.graph, &samples, &[], &["-O2", "-march=native"]);
}

#[test]
fn movement() {
    let mut net = Net::new("movement");
    let image = net.input(&[4, 3, 6], "hwc");
    let second = net.input(&[4, 3, 2], "hwc");
    let row = net.input(&[1, 3, 1], "hwc");
    for perm in [[2, 0, 1], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0]] {
        net.output(Transpose { perm: perm.to_vec() }, &[image], &format!("transpose{perm:?}"));
    }
    let moved = net.node(Transpose { perm: vec![1, 2, 0] }, &[row], "renamed");
    net.output(Unary::Neg, &[moved], "renamed_neg");
    net.output(Concat { axis: 2 }, &[image, second, image], "concat_channels");
    net.output(Concat { axis: 0 }, &[image, image], "concat_rows");
    let one = net.weight(&[4, 3, 6], 1);
    let slices = [
        ([1, 0, 2], [2, 3, 3], [2, 1, 1]),
        ([0, 0, 0], [4, 2, 6], [1, 2, 1]),
        ([3, 2, 5], [1, 1, 1], [1; 3]),
    ];
    for (i, (begin, size, step)) in slices.into_iter().enumerate() {
        let op = Slice { begin: begin.into(), size: size.into(), step: step.into() };
        net.output(op, &[image], &format!("slice{i}"));
    }
    for (i, mode) in
        [PadMode::Constant(-1.5), PadMode::Constant(f32::NEG_INFINITY), PadMode::Reflect, PadMode::Edge]
            .into_iter()
            .enumerate()
    {
        let pad =
            |before: [usize; 3], after: [usize; 3]| Pad { before: before.into(), after: after.into(), mode };
        net.output(pad([1, 2, 0], [3, 0, 0]), &[image], &format!("pad{i}"));
        net.output(pad([0, 1, 4], [0, 1, 2]), &[image], &format!("pad_channels{i}"));
    }
    net.output(Expand { shape: [4, 3, 5].into() }, &[row], "expand");
    net.output(Expand { shape: [2, 4, 3, 6].into() }, &[image], "expand_rank");
    for mode in [UpsampleMode::Nearest, UpsampleMode::Linear, UpsampleMode::LinearAsymmetric] {
        for factors in [[2, 3, 1], [1, 2, 1], [3, 1, 2], [4, 4, 1]] {
            let name = format!("upsample_{mode:?}_{factors:?}");
            net.output(Upsample { factors: factors.into(), mode }, &[image], &name);
        }
    }
    let flat = net.node(Reshape { shape: [72].into(), layout: Layout::channels_last(0) }, &[image], "flat");
    net.graph.add_output("input_as_output", flat);
    net.graph.add_output("constant_as_output", one);
    let sum = net.node(Binary::Add, &[image, one], "sum");
    net.graph.add_output("sum", sum);
    net.graph.add_output("sum_again", sum);
    let samples = net.samples(2);
    agree(&net.graph, &samples, &[], &["-O2", "-march=native"]);
}

/// Every function of one element, with parameters between 0 and 2.
fn unaries() -> Vec<Unary> {
    let parameters = [
        ("alpha", 0.3),
        ("beta", 0.4),
        ("lo", -0.7),
        ("hi", 0.9),
        ("max", 1.5),
        ("slope", 0.1),
        ("threshold", 0.2),
        ("theta", 0.6),
        ("b", 1.3),
        ("scale", 1.05),
        ("lambda", 0.5),
    ];
    let mut all: Vec<Unary> = Unary::NAMES
        .iter()
        .map(|name| {
            let attrs = parameters.iter().map(|(n, v)| (n.to_string(), Attr::Float(*v)));
            Unary::parse(name, &mut AttrReader::new(attrs).unwrap()).unwrap()
        })
        .collect();
    all.push(Unary::BoundedRelu { max: f32::INFINITY, slope: 0.0, threshold: -0.5 });
    all.push(Unary::HardShrink { lambda: 0.0 });
    all.push(Unary::SoftShrink { lambda: -0.25 });
    all
}

#[test]
fn elementwise() {
    let mut net = Net::new("elementwise");
    let x = net.input(&[3, 4, 5], "hwc");
    let y = net.input(&[3, 4, 5], "hwc");
    let column = net.input(&[4, 1], "__");
    for f in unaries() {
        net.output(f, &[x], &format!("{}_{}", f.name(), net.graph.outputs().len()));
    }
    let channel = net.weight(&[5], 1);
    let scalar = net.weight(&[], 1);
    let positive = net.node(Unary::Softplus, &[y], "positive");
    use Binary::*;
    for f in [Add, Sub, Mul, Div, Max, Min, Pow, Prelu, Mod, Fmod] {
        let (a, name) = (if f == Pow { positive } else { x }, f.name());
        net.output(f, &[a, y], &format!("{name}_same"));
        net.output(f, &[a, channel], &format!("{name}_channel"));
        net.output(f, &[a, column], &format!("{name}_column"));
        let swapped = if f == Pow { [positive, x] } else { [scalar, x] };
        net.output(f, &swapped, &format!("{name}_swapped"));
    }
    // Values that may be overwritten where they lie, and values that may not.
    let a = net.node(Mul, &[x, y], "a");
    let b = net.node(Unary::Exp, &[a], "b");
    let c = net.node(Add, &[a, b], "c");
    let d = net.node(Sub, &[c, c], "d");
    let e = net.node(Unary::Sqrt, &[c], "e");
    let f = net.node(Mul, &[e, channel], "f");
    let g = net.node(Unary::Silu, &[f], "g");
    net.output(Max, &[g, d], "chain");
    let mut samples = net.samples(2);
    // Extremes: results that overflow in between, infinities, NaN, zeros of both signs.
    let extremes =
        [0.0, -0.0, 1e-30, -1e-30, 50.0, -50.0, 300.0, -300.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let data = |t: &Tensor, by: usize| -> Tensor {
        let values = (0..t.len()).map(|i| extremes[i * by % extremes.len()]).collect();
        Tensor::f32(t.shape().clone(), t.ty.layout, values)
    };
    samples.push(samples[0].iter().enumerate().map(|(i, t)| data(t, 1 + 2 * i)).collect());
    agree(&net.graph, &samples, &[], &["-O2", "-march=native"]);
}

#[test]
fn other_targets_and_plain_arrays() {
    let mut net = Net::new("targets");
    let x = net.input(&[7, 6, 5], "hwc");
    conv(&mut net, 0, Window::new([3, 3]).pads([1, 1], [1, 1]), 1, 43, true, "blocked");
    conv(&mut net, 0, Window::new([3, 3]), 5, 5, true, "depthwise");
    net.output(MaxPool { window: Window::new([2, 2]) }, &[x], "max");
    net.output(AvgPool { window: Window::new([2, 2]), count_include_pad: false }, &[x], "average");
    let samples = net.samples(2);
    let mut flags = vec![vec!["-O1"], vec!["-O3", "-DUNFLOAT_PLAIN_ARRAYS"], vec!["-Os"]];
    if cfg!(target_arch = "x86_64") {
        flags.push(vec!["-O2", "-mavx"]);
    }
    for flags in flags {
        agree(&net.graph, &samples, &[], &flags);
    }
}
