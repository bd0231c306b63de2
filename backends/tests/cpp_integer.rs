//! Emitted integer C++ gives, bit for bit, what the reference evaluator gives: each op over many types and parameters.
//!
//! Each test is one graph with many outputs, since compiling takes longer than running.

mod support;

use support::emit;
use support::ints::{Ints, exact};
use unfloat_ir::ops::{
    ArgReduce, Binary, Bitwise, Cast, Compare, Concat, Conv, Dense, Dequantize, Expand, Gather, Lookup,
    MatMul, MaxPool, Pad, PadMode, Quantize, QuantizeOrder, Reduce, ReduceFn, Requantize, Reshape, Reverse,
    Select, Slice, Threshold, Transpose, Unary, Window,
};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding, Tensor, ValueId};

const I8: IntType = IntType::signed(8);
const U8: IntType = IntType::unsigned(8);

fn int(signed: bool, width: u8) -> IntType {
    IntType { signed, width }
}

#[test]
fn a_small_network() {
    let mut net = Ints::new("small");
    let x = net.quantized(&[9, 8, 3], "hwc", I8);
    let conv = Conv { window: Window::new([3, 3]).pads([1, 1], [1, 1]), groups: 1 };
    let c = net.product(conv, x, &[20, 3, 3, 3], 8, true, "conv");
    let r = net.requantize(c, U8, Rounding::HalfEven, "conv_q");
    let p = net.node(MaxPool { window: Window::new([2, 2]).strides([2, 2]) }, &[r], "pool");
    let f = net.node(Reshape { shape: [320].into(), layout: Layout::channels_last(0) }, &[p], "flat");
    let d = net.product(Dense, f, &[10, 320], 4, true, "dense");
    let q = net.requantize(d, IntType::signed(16), Rounding::HalfUp, "dense_q");
    let y = net.node(Unary::Relu, &[q], "relu");
    net.dequantized(y, "y");
    net.graph.add_output("codes", q);
    exact(&mut net, 3, &[], &["-O3", "-march=native"]);
}

/// Whether all is to be tried; else a part of it that has each kind once.
fn slow() -> bool {
    std::env::var_os("UNFLOAT_SLOW").is_some()
}

/// Convolutions of an input of each form: one in `thin` of all combinations of input and window.
fn convolutions(name: &str, thin: usize) -> Ints {
    let mut net = Ints::new(name);
    let (i8, u8) = (ElemType::Int(I8), ElemType::Int(U8));
    let inputs = [
        (net.input(u8.clone(), &[7, 9, 5], "hwc"), 8),
        (net.input(i8.clone(), &[7, 9, 5], "hwc"), 8),
        (net.input(i8.clone(), &[7, 9, 5], "hwc"), 4),
        (net.input(ElemType::signed(12), &[7, 9, 5], "hwc"), 8),
        (net.input(ElemType::signed(12), &[7, 9, 5], "hwc"), 12),
        (net.input(ElemType::Int(int(false, 16)), &[7, 9, 5], "hwc"), 6),
        (net.input(ElemType::signed(16), &[7, 9, 5], "hwc"), 16),
        (net.input(ElemType::signed(16), &[7, 9, 5], "hwc"), 13),
        (net.input(ElemType::signed(40), &[7, 9, 5], "hwc"), 9),
        (net.input(ElemType::Bipolar, &[7, 9, 5], "hwc"), 2),
    ];
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let windows = [
        (same.clone(), 24),
        (Window::new([2, 4]).strides([2, 3]).pads([0, 2], [1, 1]), 7),
        (Window::new([3, 2]).dilations([2, 3]), 33),
        (Window::new([1, 1]), 17),
        (Window::new([1, 1]).strides([2, 2]), 3),
    ];
    for (i, (x, bits)) in inputs.into_iter().enumerate() {
        for (j, (window, filters)) in windows.iter().enumerate().filter(|(j, _)| (i + j) % thin == 0) {
            let name = format!("conv_{i}_{j}");
            let shape = [&[*filters][..], &window.kernel, &[5]].concat();
            let op = Conv { window: window.clone(), groups: 1 };
            let c = net.product(op, x, &shape, bits, (i + j) % 3 > 0, &name);
            match i % 4 {
                0 => net.graph.add_output(&name, c),
                1 => {
                    let q = net.requantize(c, U8, Rounding::HalfCeil, &format!("{name}_q"));
                    net.graph.add_output(&name, q);
                }
                _ => {
                    let q = net.requantize(c, int(true, 10), Rounding::HalfEven, &format!("{name}_q"));
                    net.output(Unary::Relu, &[q], &format!("{name}_relu"));
                }
            }
        }
    }
    let deep = [
        (net.input(u8, &[6, 5, 12], "hwc"), 8),
        (net.input(i8, &[6, 5, 12], "hwc"), 8),
        (net.input(ElemType::signed(16), &[6, 5, 12], "hwc"), 16),
    ];
    for (i, (x, bits)) in deep.into_iter().enumerate() {
        for (j, (groups, filters)) in [(2, 20), (4, 8), (12, 12), (12, 24)].into_iter().enumerate() {
            if (i + j) % thin.min(2) != 0 {
                continue;
            }
            let shape = [filters, 3, 3, 12 / groups];
            let name = format!("groups_{i}_{j}");
            let c = net.product(Conv { window: same.clone(), groups }, x, &shape, bits, j % 2 == 0, &name);
            let q = net.requantize(c, I8, Rounding::HalfUp, &format!("{name}_q"));
            net.graph.add_output(&name, q);
        }
    }
    let line = net.input(ElemType::signed(5), &[17, 6], "wc");
    let block = net.input(ElemType::Int(int(false, 3)), &[4, 5, 6, 4], "dhwc");
    let op = Conv { window: Window::new([4]).strides([2]).pads([3], [0]), groups: 1 };
    let c = net.product(op, line, &[9, 4, 6], 8, true, "causal");
    net.graph.add_output("causal", c);
    let op = Conv { window: Window::new([2, 3, 3]).pads([1, 1, 0], [0, 1, 2]), groups: 2 };
    let c = net.product(op, block, &[6, 2, 3, 3, 2], 8, true, "three_axes");
    net.graph.add_output("three_axes", c);
    net
}

#[test]
fn sums_of_products_over_windows() {
    let thin = if slow() { 1 } else { 4 };
    exact(&mut convolutions("convolutions", thin), 2, &[], &["-O2", "-march=native"]);
}

/// Without vector units that the compiler would know of, and with none at all.
#[test]
fn other_targets() {
    let mut net = convolutions("targets", if slow() { 2 } else { 5 });
    exact(&mut net, 1, &["weights=text"], &["-O2"]);
    exact(&mut net, 1, &["weights=literals"], &["-O1", "-DUNFLOAT_PLAIN_ARRAYS"]);
}

#[test]
fn products_of_matrices() {
    let mut net = Ints::new("products");
    for (i, (elem, bits)) in [
        (ElemType::Int(U8), 8),
        (ElemType::signed(8), 8),
        (ElemType::signed(16), 8),
        (ElemType::signed(16), 16),
        (ElemType::signed(24), 8),
        (ElemType::signed(64), 33),
        (ElemType::Ternary, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let vector = net.input(elem.clone(), &[130], "c");
        let rows = net.input(elem.clone(), &[3, 5, 19], "___");
        let other = net.input(elem, &[3, 19, 7], "___");
        let units = [1, 10, 40];
        for units in if slow() { units.to_vec() } else { vec![units[i % 3]] } {
            let name = format!("dense_{i}_{units}");
            let d = net.product(Dense, vector, &[units, 130], bits, units > 1, &name);
            net.graph.add_output(&name, d);
        }
        let d = net.product(Dense, rows, &[21, 19], bits, false, &format!("rows_{i}"));
        net.output(Unary::Clip { lo: -100.0, hi: 1000.0 }, &[d], &format!("rows_{i}_clip"));
        let w = net.int(IntType::signed(bits), &[19, 12]);
        net.output(MatMul, &[rows, w], &format!("constant_{i}"));
        net.output(MatMul, &[rows, other], &format!("computed_{i}"));
        let shared = net.node(MatMul, &[rows, other], &format!("computed_{i}_relu"));
        net.output(Unary::Relu, &[shared], &format!("computed_{i}_relu_out"));
    }
    exact(&mut net, 2, &["weights=text"], &["-O2", "-march=native"]);
}

#[test]
fn requantizers() {
    let mut net = Ints::new("requantizers");
    let x = net.input(ElemType::signed(20), &[4, 6], "wc");
    let wide = net.input(ElemType::signed(64), &[4, 6], "wc");
    let m = net.int(IntType::signed(16), &[6]);
    let a = net.int(IntType::signed(30), &[6]);
    let s = net.constant(ElemType::Int(int(false, 6)), &[6], vec![0, 1, 14, 20, 27, 29]);
    let [wm, wa] = [0, 1].map(|_| net.int(IntType::signed(64), &[6]));
    let ws = net.constant(ElemType::Int(int(false, 6)), &[6], vec![0, 1, 31, 62, 63, 40]);
    let (one, nothing) = (net.int(int(false, 1), &[1]), net.constant(ElemType::signed(8), &[], vec![0]));
    let few = net.constant(ElemType::Int(int(false, 3)), &[], vec![5]);
    let types = [int(true, 8), int(false, 8), int(false, 4), int(true, 17), int(false, 33), int(true, 1)];
    for (i, rounding) in Rounding::ALL.into_iter().enumerate() {
        for (j, overflow) in Overflow::ALL.into_iter().enumerate() {
            let narrow = (i + j) % 3 == 0 && overflow != Overflow::Wrap;
            let op = Requantize { to: types[(i + j) % types.len()], rounding, overflow, narrow };
            let name = format!("{}_{}", rounding.name(), overflow.name());
            net.output(op.clone(), &[x, m, a, s], &format!("channel_{name}"));
            net.output(op.clone(), &[x, one, nothing, few], &format!("tensor_{name}"));
            net.output(op, &[wide, wm, wa, ws], &format!("wide_{name}"));
        }
    }
    // Operands of each position, and computed ones.
    let m = net.int(IntType::signed(9), &[4, 6]);
    let s = net.input(ElemType::Int(int(false, 4)), &[4, 1], "__");
    let to = int(true, 8);
    let op = Requantize { to, rounding: Rounding::HalfEven, overflow: Overflow::Saturate, narrow: false };
    net.output(op, &[x, m, a, s], "positions");
    exact(&mut net, 6, &[], &["-O3", "-march=native"]);
}

/// As behind a quantizer: nearly even, some channels with steps that no sum reaches or every sum does.
#[test]
fn many_thresholds_behind_sums() {
    let mut net = Ints::new("stairs");
    let x = net.input(ElemType::Int(IntType::unsigned(8)), &[5, 20], "wc");
    let (outputs, count) = (37, 255);
    for (i, (to, scale, bias)) in
        [(int(false, 8), 1, 0), (int(true, 8), 1, -128), (int(true, 16), -3, 300), (int(true, 32), 1000, 7)]
            .into_iter()
            .enumerate()
    {
        let w = net.int(IntType::signed(8), &[outputs, 20]);
        let sums = net.node(Dense, &[x, w], &format!("sums_{i}"));
        let mut limits = Vec::new();
        for c in 0..outputs as i64 {
            let (start, step) = (net.code(-90_000, 20_000), 11 + 13 * c);
            let noise = 1 + step / 100;
            limits.extend((0..count).map(|k| start + k * step + (k * 7919 + c) % noise));
        }
        let limits = net.constant(ElemType::signed(24), &[outputs, count as usize], limits);
        let op = Threshold { axis: 1, to: ElemType::Int(to), scale, bias };
        net.output(op, &[sums, limits], &format!("stairs_{i}"));
    }
    let header = String::from_utf8(emit(&net.graph, &[]).read("cpp/stairs.hpp").unwrap()).unwrap();
    assert_eq!(header.matches("kernel::stairs_row<N").count(), 4);
    exact(&mut net, 40, &[], &["-O3", "-march=native"]);
    exact(&mut net, 40, &[], &["-O2"]);
}

#[test]
fn thresholds_and_tables() {
    let mut net = Ints::new("tables");
    let x = net.input(ElemType::signed(20), &[5, 4, 6], "hwc");
    let w = net.input(ElemType::signed(64), &[3, 6], "wc");
    let small = net.input(ElemType::signed(8), &[5, 6], "wc");
    let t = |net: &mut Ints, bits, shape: &[usize]| net.int(IntType::signed(bits), shape);
    for (i, (to, scale, bias, n)) in [
        (int(false, 2), 1, 0, 3),
        (int(true, 4), -1, 7, 15),
        (int(true, 8), 1, -128, 255),
        (int(true, 16), -300, 0, 100),
        (int(true, 64), 1 << 40, -5, 7),
    ]
    .into_iter()
    .enumerate()
    {
        for rows in [1, 6] {
            let op = Threshold { axis: 2, to: ElemType::Int(to), scale, bias };
            let limits = t(&mut net, 20, &[rows, n]);
            net.output(op, &[x, limits], &format!("threshold_{i}_{rows}"));
            let op = Threshold { axis: 1, to: ElemType::Int(to), scale, bias };
            let limits = t(&mut net, 64, &[rows, n]);
            net.output(op.clone(), &[w, limits], &format!("wide_{i}_{rows}"));
            net.output(op, &[small, limits], &format!("far_{i}_{rows}"));
        }
    }
    let sign = Threshold { axis: 1, to: ElemType::Bipolar, scale: 2, bias: -1 };
    let zero = net.constant(ElemType::signed(8), &[1, 1], vec![0]);
    net.output(sign, &[small, zero], "sign");
    for (i, (index, to)) in
        [(int(true, 8), int(false, 8)), (int(false, 3), int(true, 40)), (int(true, 16), int(true, 16))]
            .into_iter()
            .enumerate()
    {
        let x = net.input(ElemType::Int(index), &[4, 5], "wc");
        let table = net.int(to, &[1 << index.width]);
        net.output(Lookup, &[x, table], &format!("lookup_{i}"));
    }
    let x = net.input(ElemType::Bipolar, &[7], "c");
    let table = net.int(int(true, 5), &[3]);
    net.output(Lookup, &[x, table], "lookup_bipolar");
    exact(&mut net, 6, &["weights=text"], &["-O2", "-march=native"]);
}

#[test]
fn functions_of_elements() {
    let mut net = Ints::new("functions");
    let all = [
        int(true, 8),
        int(false, 33),
        int(true, 64),
        int(false, 8),
        int(true, 5),
        int(false, 17),
        int(true, 32),
    ];
    let types = if slow() { &all[..] } else { &all[..3] };
    for &ty in types {
        let elem = ElemType::Int(ty);
        let (a, b) = (net.input(elem.clone(), &[3, 4, 5], "hwc"), net.input(elem.clone(), &[3, 4, 5], "hwc"));
        let column = net.input(elem.clone(), &[4, 1], "__");
        let channel = net.int(ty, &[5]);
        let scalar = net.int(ty, &[]);
        use Binary::*;
        for (i, f) in [Add, Sub, Mul, Div, Max, Min, Pow, Prelu, Mod, Fmod].into_iter().enumerate() {
            let other = [b, channel, column, scalar][(i + usize::from(ty.width)) % 4];
            net.output(f, &[a, other], &format!("{f:?}_{ty}"));
            net.output(f, &[other, b], &format!("{f:?}_{ty}_swapped"));
        }
        for (i, f) in
            [Compare::Greater, Compare::GreaterEqual, Compare::Less, Compare::LessEqual, Compare::Equal]
                .into_iter()
                .enumerate()
        {
            let other = [b, channel, column][i % 3];
            let condition = net.node(f, &[a, other], &format!("{f:?}_{ty}"));
            net.output(Select, &[condition, b, channel], &format!("select_{i}_{ty}"));
            net.output(Bitwise::Xor, &[condition, condition], &format!("none_{i}_{ty}"));
        }
        let by = net.input(ElemType::signed(8), &[5], "c");
        for f in [Bitwise::And, Bitwise::Or, Bitwise::Xor] {
            net.output(f, &[a, b], &format!("{f:?}_{ty}"));
        }
        for f in [Bitwise::ShiftLeft, Bitwise::ShiftRight] {
            net.output(f, &[a, by], &format!("{f:?}_{ty}"));
        }
        let clip = Unary::Clip { lo: 0.0, hi: 9.0 };
        let high = Unary::Clip { lo: f32::NEG_INFINITY, hi: 5.0 };
        for (i, f) in [Unary::Relu, clip, high, Unary::Neg, Unary::Abs, Unary::Sign].into_iter().enumerate() {
            net.output(f, &[a], &format!("unary_{i}_{ty}"));
        }
        for to in all {
            net.output(Cast { to: ElemType::Int(to) }, &[a], &format!("cast_{ty}_{to}"));
        }
        net.output(Cast { to: ElemType::Bit }, &[a], &format!("bit_{ty}"));
        net.output(Cast { to: ElemType::Ternary }, &[a], &format!("ternary_{ty}"));
        // Values that may be overwritten where they lie, and chains that are one function.
        let c = net.node(Add, &[a, b], &format!("chain_a_{ty}"));
        let d = net.node(Mul, &[c, channel], &format!("chain_b_{ty}"));
        let e = net.node(Sub, &[d, c], &format!("chain_c_{ty}"));
        let f = net.node(Unary::Abs, &[e], &format!("chain_d_{ty}"));
        let g = net.node(Max, &[scalar, f], &format!("chain_e_{ty}"));
        net.output(Cast { to: ElemType::signed(9) }, &[g], &format!("chain_{ty}"));
    }
    exact(&mut net, 4, &[], &["-O1"]);
}

fn movement(net: &mut Ints, elem: &ElemType) {
    let image = net.input(elem.clone(), &[4, 3, 6], "hwc");
    let second = net.input(elem.clone(), &[4, 3, 2], "hwc");
    let row = net.input(elem.clone(), &[1, 3, 1], "hwc");
    let name = |what: &str| format!("{what}_{elem}");
    for perm in [[2, 0, 1], [1, 0, 2], [0, 2, 1], [2, 1, 0]] {
        net.output(Transpose { perm: perm.to_vec() }, &[image], &name(&format!("transpose{perm:?}")));
    }
    net.output(Concat { axis: 2 }, &[image, second, image], &name("concat_channels"));
    net.output(Concat { axis: 0 }, &[image, image], &name("concat_rows"));
    for (i, (begin, size, step)) in
        [([1, 0, 2], [2, 3, 3], [2, 1, 1]), ([0, 0, 0], [4, 2, 6], [1, 2, 1])].into_iter().enumerate()
    {
        let op = Slice { begin: begin.into(), size: size.into(), step: step.into() };
        net.output(op, &[image], &name(&format!("slice{i}")));
    }
    for (i, mode) in [PadMode::Constant(1.0), PadMode::Reflect, PadMode::Edge].into_iter().enumerate() {
        let pad =
            |before: [usize; 3], after: [usize; 3]| Pad { before: before.into(), after: after.into(), mode };
        net.output(pad([1, 2, 0], [3, 0, 0]), &[image], &name(&format!("pad{i}")));
        net.output(pad([0, 1, 4], [0, 1, 2]), &[image], &name(&format!("pad_channels{i}")));
    }
    net.output(Expand { shape: [4, 3, 5].into() }, &[row], &name("expand"));
    net.output(Reverse { axes: vec![0, 2] }, &[image], &name("reverse"));
    let flat =
        net.node(Reshape { shape: [72].into(), layout: Layout::channels_last(0) }, &[image], &name("flat"));
    net.graph.add_output("input_as_output", flat);
    let at = net.constant(ElemType::signed(4), &[2, 2], vec![-1, 0, 2, 1]);
    net.output(Gather { axis: 1 }, &[image, at], &name("gather"));
    let index = net.input(ElemType::signed(2), &[5], "c");
    net.output(Gather { axis: 1 }, &[image, index], &name("gather_computed"));
    for (axis, max, last, keep) in [(0, true, false, true), (1, false, true, false), (2, true, true, false)] {
        net.output(ArgReduce { max, axis, keep, last }, &[image], &name(&format!("arg{axis}")));
    }
}

#[test]
fn movement_and_pools() {
    let mut net = Ints::new("movement");
    let (u40, i3) = (ElemType::Int(int(false, 40)), ElemType::signed(3));
    let all = [ElemType::Int(U8), ElemType::signed(30), ElemType::Bipolar, i3, u40];
    for elem in if slow() { &all[..] } else { &all[..3] } {
        movement(&mut net, elem);
        let image = net.input(elem.clone(), &[9, 8, 70], "hwc");
        let line = net.input(elem.clone(), &[12, 5], "wc");
        let windows = [
            (image, Window::new([2, 2]).strides([2, 2])),
            (image, Window::new([3, 3]).strides([2, 2]).pads([1, 0], [1, 2])),
            (line, Window::new([3]).strides([2]).pads([1], [1])),
        ];
        for (i, (x, window)) in windows.into_iter().enumerate() {
            net.output(MaxPool { window }, &[x], &format!("max{i}_{elem}"));
        }
        if matches!(elem, ElemType::Int(_)) {
            use ReduceFn::*;
            for f in [Sum, Max, Min, Prod, SumSquare] {
                for axes in [vec![0, 1], vec![2], vec![1], vec![0, 1, 2], vec![]] {
                    let name = format!("{f:?}_{elem}_{}", net.graph.outputs().len());
                    let keep = axes.len() % 2 == 1;
                    net.output(Reduce { f, axes, keep }, &[image], &name);
                }
            }
        }
    }
    let bits = net.input(ElemType::Bit, &[5, 4], "wc");
    net.output(Reduce { f: ReduceFn::Max, axes: vec![0], keep: false }, &[bits], "any");
    let constant = net.int(I8, &[3]);
    net.graph.add_output("constant", constant);
    exact(&mut net, 2, &[], &["-O1"]);
}

fn special() -> Vec<f32> {
    let mut all = vec![0.0, -0.0, 0.49999997, -0.49999997, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    all.extend([
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        2147483648.0,
        -2147483904.0,
        1e18,
        -3e19,
        8388609.0,
    ]);
    all.extend((-24..24).map(|i| i as f32 * 0.25));
    all.extend((0..56).map(|i| (i as f32 - 28.0) * 7.3));
    all
}

/// Every way to make codes of floats and floats of codes, with numbers of every kind.
#[test]
fn the_boundary() {
    let mut net = Ints::new("boundary");
    let n = special().len();
    let types = [
        int(true, 8),
        int(false, 8),
        int(false, 3),
        int(true, 1),
        int(true, 32),
        int(false, 32),
        int(true, 12),
    ];
    let x = net.graph.add_input("x", unfloat_ir::TensorType::f32([n, 4], Layout::new("wc").unwrap()));
    let unused = net.graph.add_input("unused", unfloat_ir::TensorType::f32([2], Layout::new("c").unwrap()));
    let _: ValueId = unused;
    let scales = [
        net.floats(&[], vec![1.0]),
        net.floats(&[4], vec![0.1, 1.0 / 3.0, -2.0, 1e-3]),
        net.floats(&[1, 1], vec![0.037]),
    ];
    let mut k = 0;
    for rounding in Rounding::ALL {
        for (order, overflow) in [
            (QuantizeOrder::ClampThenRound, Overflow::Saturate),
            (QuantizeOrder::RoundThenSaturate, Overflow::Saturate),
            (QuantizeOrder::RoundThenSaturate, Overflow::Wrap),
            (QuantizeOrder::RoundThenSaturate, Overflow::SaturateZero),
            (QuantizeOrder::RoundThenSaturate, Overflow::SaturateSymmetric),
        ] {
            k += 1;
            let to = types[k % types.len()];
            let narrow = k % 4 == 0 && overflow != Overflow::Wrap;
            let zero = [0.0, 3.0, -7.5, 128.0][k % 4];
            let zeros = if k % 3 == 0 { vec![zero, 1.0, 2.5, -1.0] } else { vec![zero] };
            let zero = net.floats(&[zeros.len()], zeros);
            let op = Quantize { to: ElemType::Int(to), narrow, rounding, overflow, order };
            let q = net.node(op, &[x, scales[k % 3], zero], &format!("q{k}"));
            let y = net.node(Unary::Neg, &[q], &format!("n{k}"));
            net.graph.add_output(&format!("code{k}"), y);
            let z = if k % 2 == 0 { net.floats(&[1], vec![0.3]) } else { net.int(int(true, 40), &[4]) };
            net.output(Dequantize, &[q, scales[(k + 1) % 3], z], &format!("y{k}"));
        }
    }
    let op = Quantize {
        to: ElemType::Bipolar,
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    };
    let zero = net.floats(&[], vec![0.0]);
    let q = net.node(op, &[x, scales[1], zero], "bipolar");
    net.graph.add_output("bipolar", q);
    let data: Vec<f32> = special().into_iter().flat_map(|v| [v, v * 0.1, v / 3.0, v * 1e-3]).collect();
    let inputs = net.graph.inputs().iter().map(|&v| net.graph.ty(v).clone()).collect::<Vec<_>>();
    let sample = vec![
        Tensor::f32(inputs[0].shape.clone(), inputs[0].layout, data),
        Tensor::f32(inputs[1].shape.clone(), inputs[1].layout, vec![0.0; 2]),
    ];
    support::ints::exact_on(&net.graph, &[sample], &[], &support::compilers(&["-O2", "-march=native"]));
}
