use super::{parse, print};
use crate::graph::{Graph, ValueId};
use crate::ops::*;
use crate::origin::Origin;
use crate::tensor::Tensor;
use crate::types::*;
use proptest::prelude::*;
use std::sync::Arc;

fn reparse(graph: &Graph) -> Graph {
    let printed = print(graph);
    let mut blob = |name: &str| printed.blobs.iter().find(|b| b.0 == name).map(|b| b.1.clone());
    parse(&printed.text, "t.uir", &mut blob).unwrap_or_else(|e| panic!("{e}\n{}", printed.text))
}

fn read(text: &str) -> Result<Graph, String> {
    parse(text, "t.uir", &mut |_| None).map_err(|e| e.to_string())
}

/// A graph with an op of every kind whose text has something of its own.
fn zoo() -> Graph {
    let mut g = Graph::new("a \"zoo\"\n");
    let o = Origin::new("keras", "m.h5", "model_weights/c", "c (Conv2D)");
    let x = g.add_input("x in", TensorType::f32([4, 5, 2], Layout::channels_last(2)));
    let w = (0..3 * 3 * 3 * 2).map(|i| 1.0 / (i as f32 - 7.5)).collect();
    let w = g.add_const("w", Tensor::f32([3, 3, 3, 2], Layout::weight(2), w));
    let big = g.add_const("big", Tensor::f32([2, 5, 20], Layout::anonymous(3), vec![1.0 / 3.0; 200]));
    let b = g.add_const("b", Tensor::f32([3], Layout::channels_last(0), vec![f32::MIN_POSITIVE, -0.0, 1e30]));
    let window = Window::new([3, 3]).strides([1, 2]).pads([1, 0], [1, 2]);
    let mut y = g.add_node(Conv { window, groups: 1 }, &[x, w, b], "conv/1", &o).unwrap();
    for f in [
        Unary::BoundedRelu { max: f32::INFINITY, slope: 0.1, threshold: -1.0 },
        Unary::Clip { lo: -1.0, hi: 1e20 },
        Unary::Tanh,
    ] {
        y = g.add_node(f, &[y], "", &o).unwrap();
    }
    let pad = Pad { before: vec![1, 0, 0], after: vec![0, 0, 0], mode: PadMode::Constant(-0.5) };
    y = g.add_node(pad, &[y], "pad", &Origin::default()).unwrap();
    y = g.add_node(MaxPool { window: Window::new([2, 1]).dilations([2, 1]) }, &[y], "pool", &o).unwrap();
    y = g.add_node(Transpose { perm: vec![2, 0, 1] }, &[y], "t", &o).unwrap();
    let n = g.ty(y).shape.num_elements();
    y = g
        .add_node(Reshape { shape: [n].into(), layout: Layout::channels_last(0) }, &[y], "flat", &o)
        .unwrap();
    let s = g.add_node(Softmax { axes: vec![0], log: true }, &[y], "s", &o).unwrap();
    let r = g.add_node(Reduce { f: ReduceFn::Max, axes: vec![0], keep: false }, &[s], "r", &o).unwrap();
    let m = g.add_node(Binary::Prelu, &[s, r], "m", &o).unwrap();
    g.add_output("first \u{1b}", m);
    g.add_output("big", big);
    g
}

/// A graph of the ops that mix types, with every word that their attributes have.
fn typed_zoo() -> Graph {
    let mut g = Graph::new("typed");
    let o = Origin::default();
    let x = g.add_input("x", TensorType::f32([3, 4, 2], Layout::channels_last(2)));
    let entries = TensorType::new(ElemType::Int(IntType::unsigned(8)), [256], Layout::anonymous(1));
    let table = g.add_const("table", Tensor::codes(entries, 0..256));
    let mut add = |op: Op, inputs: &[ValueId]| g.add_node(op, inputs, "", &o).unwrap();
    let bit = add(Compare::Greater.into(), &[x, x]);
    let not = add(Bitwise::Xor.into(), &[bit, bit]);
    let select = add(Select.into(), &[not, x, x]);
    let mut last = select;
    for overflow in [FloatOverflow::Saturate, FloatOverflow::Infinity, FloatOverflow::Nan] {
        let (exponent, mantissa, bias, max) = (4.0, 3.0, 7.0, f32::INFINITY);
        let op = FloatQuant { exponent, mantissa, bias, max, rounding: Rounding::Floor, overflow };
        last = add(op.into(), &[last, x]);
    }
    last = add(Lrn { axis: 2, size: 3, alpha: 1e-4, beta: 0.75, bias: 1.0 }.into(), &[last]);
    for mode in [
        ResizeMode::Nearest(NearestMode::RoundPreferFloor),
        ResizeMode::Nearest(NearestMode::RoundPreferCeil),
        ResizeMode::Nearest(NearestMode::Floor),
        ResizeMode::Nearest(NearestMode::Ceil),
        ResizeMode::Linear,
        ResizeMode::Cubic { a: -0.5 },
    ] {
        last = add(Resize::new([3, 4, 2], mode, Coordinates::HalfPixel).into(), &[last]);
    }
    for coordinates in [
        Coordinates::HalfPixelSymmetric,
        Coordinates::PytorchHalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ] {
        let mut op = Resize::new([3, 4, 2], ResizeMode::Linear, coordinates);
        (op.scales, op.antialias, op.exclude_outside) = (vec![1.1, 1.0, 1.0], true, true);
        last = add(op.into(), &[last]);
    }
    let mut crop = Resize::new([3, 4, 2], ResizeMode::Linear, Coordinates::CropAndResize);
    (crop.roi, crop.extrapolation) = (vec![0.0, 0.1, 0.0, 1.0, 0.9, 1.0], -0.0);
    last = add(crop.into(), &[last]);
    last = add(Reverse { axes: vec![0, 1] }.into(), &[last]);
    for rounding in Rounding::ALL {
        let (to, order) = (ElemType::signed(4), QuantizeOrder::ClampThenRound);
        let q = add(
            Quantize { to, narrow: true, rounding, overflow: Overflow::Saturate, order }.into(),
            &[last, x, x],
        );
        last = add(Dequantize.into(), &[q, x, q]);
    }
    let (to, order) = (ElemType::Int(IntType::unsigned(8)), QuantizeOrder::RoundThenSaturate);
    let op =
        Quantize { to, narrow: false, rounding: Rounding::HalfEven, overflow: Overflow::Saturate, order };
    let codes = add(op.into(), &[last, x, x]);
    let shift = add(Cast { to: ElemType::Int(IntType::unsigned(6)) }.into(), &[codes]);
    let mut codes = codes;
    for overflow in Overflow::ALL {
        let (to, order) = (ElemType::signed(8), QuantizeOrder::RoundThenSaturate);
        let op = Quantize { to, narrow: false, rounding: Rounding::HalfFloor, overflow, order };
        let other = add(op.into(), &[last, x, x]);
        let (to, narrow) = (IntType::unsigned(8), overflow != Overflow::Wrap);
        let op = Requantize { to, rounding: Rounding::HalfCeil, overflow, narrow };
        codes = add(op.into(), &[codes, other, other, shift]);
    }
    codes = add(Lookup.into(), &[codes, table]);
    let sum = add(Binary::Mod.into(), &[codes, codes]);
    let t = add(Reduce { f: ReduceFn::Max, axes: vec![0], keep: false }.into(), &[codes]);
    let count = add(Threshold { axis: 1, to: ElemType::signed(4), scale: 2, bias: -3 }.into(), &[sum, t]);
    let wide = add(Cast { to: ElemType::Ternary }.into(), &[count]);
    let top = add(ArgReduce { max: false, axis: 2, keep: false, last: true }.into(), &[wide]);
    let picked = add(Gather { axis: 1 }.into(), &[codes, top]);
    let shifted = add(Bitwise::ShiftRight.into(), &[picked, picked]);
    let clipped = add(Unary::Clip { lo: 1.0, hi: 200.0 }.into(), &[shifted]);
    g.add_output("y", clipped);
    g
}

#[test]
fn print_then_parse_is_the_identity() {
    for g in [zoo(), typed_zoo()] {
        assert_eq!(reparse(&g), g);
        assert_eq!(print(&reparse(&g)).text, print(&g).text);
    }
}

#[test]
fn every_element_type_is_printed_and_read() {
    let mut g = Graph::new("types");
    let affine = |axis, n: usize| {
        ElemType::Quant(Arc::new(Affine {
            int: IntType::signed(8),
            axis,
            scale: vec![0.1; n],
            zero: vec![-3; n],
        }))
    };
    let types = [
        ElemType::signed(5),
        ElemType::Int(IntType::unsigned(63)),
        ElemType::Fixed(Q { signed: true, width: 16, frac: 10 }),
        ElemType::Fixed(Q { signed: false, width: 4, frac: -3 }),
        affine(None, 1),
        affine(Some(0), 2),
        ElemType::Bipolar,
        ElemType::Ternary,
        ElemType::Bit,
    ];
    for elem in types {
        let codes = if elem == ElemType::Bipolar { [-1, 1] } else { [0, 1] };
        let ty = TensorType::new(elem, [2], Layout::channels_last(0));
        let c = g.add_const("c", Tensor::codes(ty, codes));
        g.add_output("o", c);
    }
    assert_eq!(reparse(&g), g);
}

#[test]
fn all_faulty_lines_are_reported_once() {
    let text = "uir 1\ngraph \"g\" imported\ninput %x : f32[2] c\n%a = nosuch %x : f32[2] c\n\
                %b = relu %a : f32[2] c\n%c = relu %x : f32[3] c\n%d = relu %zz : f32[2] c\noutput \"d\" %b\n";
    let errors = read(text).unwrap_err();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(lines[0].contains("line 4") && lines[0].contains("no op `nosuch`"));
    assert!(lines[1].contains("line 6") && lines[1].contains("the op makes f32[2] c"));
    assert!(lines[2].contains("line 7, column 11") && lines[2].contains("made by no earlier line"));
}

#[test]
fn a_layout_that_spells_a_number_survives() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::f32([6], Layout::channels_last(0)));
    let op = Reshape { shape: [1, 2, 3].into(), layout: Layout::new("inf").unwrap() };
    let y = g.add_node(op, &[x], "y", &Origin::default()).unwrap();
    g.add_output("y", y);
    assert_eq!(reparse(&g), g);
}

#[test]
fn hostile_texts_are_errors() {
    for text in [
        "",
        "uir 2",
        "uir 1",
        "uir 1\ngraph \"g\" lowered\ngraph \"g\" lowered",
        "uir 1\ngraph \"g\" imported\ninput %x : f32[18446744073709551615,2] wc\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\ninput %x : f32[1,1,1,1,1,1,1,1,1] _________\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\nconst %x : f32[3] c = [1, 2]\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\nconst %x : bipolar[1] c = [0]\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\nconst %x : f32[100] c = @blob sha256=00\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\ninput %x : quant<i8,scale=[0.0],zero=[0]>[1] c\noutput \"x\" %x",
        "uir 1\ngraph \"g",
        "uir 1\ngraph \"\\u{110000}\" imported",
        "uir 1\ninput % : f32[1] c",
        "uir 1\ngraph \"g\" imported\ninput %\"\" : f32[1] c\noutput \"x\" %\"\"",
        "uir 1\ngraph \"g\" imported\ninput %x : quant<i8,axis=1,scale=[1.0,2.0],zero=[0,0]>[2] c\noutput \"x\" %x",
        "uir 1\ngraph \"g\" imported\ninput %x : quant<i8,axis=0,scale=[1.0,2.0],zero=[0,0]>[3] c\noutput \"x\" %x",
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains("t.uir"), "no file in {error}");
    }
}

#[test]
fn a_name_may_look_like_a_comment() {
    let mut g = Graph::new("//");
    let x = g.add_input("a//b", TensorType::f32([1], Layout::channels_last(0)));
    g.add_output("//", x);
    assert_eq!(reparse(&g), g);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(uir 1\n)?(graph \"g\" imported\n)?([%a-z0-9=:,<>@\\[\\]{}\" .-]{0,40}\n){0,6}") {
        let _ = read(&text);
    }

    #[test]
    fn any_float_survives(bits in proptest::collection::vec(any::<u32>(), 1..20), name in "\\PC{0,12}") {
        let mut g = Graph::new(name.clone());
        let data = bits.iter().map(|&b| f32::from_bits(b)).collect();
        let c = g.add_const(&name, Tensor::f32([bits.len()], Layout::channels_last(0), data));
        g.add_output(&name, c);
        prop_assert_eq!(reparse(&g), g);
    }
}
