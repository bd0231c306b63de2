//! Ranges of values, on graphs small enough to try every input.

use super::*;
use crate::ops::{Cast, Conv, Dense, Lookup, Reduce, Requantize, Threshold, Window};
use crate::types::{Layout, Overflow, Rounding, TensorType};
use crate::{OpDef, Origin};

fn ints(elem: ElemType, shape: &[usize], layout: Layout, v: &[i64]) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, layout), v.to_vec())
}

struct Net(Graph);

impl Net {
    fn new(elem: ElemType, shape: &[usize]) -> (Self, ValueId) {
        let mut g = Graph::new("g");
        let layout = Layout::channels_last(shape.len() - 1);
        let x = g.add_input("x", TensorType::new(elem, shape, layout));
        (Self(g), x)
    }
    fn constant(&mut self, elem: ElemType, shape: &[usize], v: &[i64]) -> ValueId {
        self.0.add_const("c", ints(elem, shape, Layout::anonymous(shape.len()), v))
    }
    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.0.add_node(op, inputs, "v", &Origin::default()).unwrap()
    }
    fn range(&self, v: ValueId) -> Range {
        Ranges::of(&self.0).of_value(v).unwrap()
    }
}

const U6: ElemType = ElemType::Int(IntType::unsigned(6));

/// Every input of two 3-bit elements through a chain: the ranges hold everything, and where they should be exact they are.
#[test]
fn every_input_lies_inside() {
    let (mut net, x) = Net::new(ElemType::signed(3), &[2]);
    let w = net.constant(ElemType::signed(4), &[2, 2], &[3, -2, 1, 7]);
    let acc = net.node(Dense, &[x, w]);
    let m = net.constant(ElemType::signed(8), &[2], &[5, -3]);
    let a = net.constant(ElemType::signed(8), &[2], &[4, 1]);
    let s = net.constant(U6, &[], &[3]);
    let to = IntType::signed(5);
    let op = Requantize { to, rounding: Rounding::HalfEven, overflow: Overflow::Saturate, narrow: false };
    let q = net.node(op, &[acc, m, a, s]);
    let relu = net.node(Unary::Relu, &[q]);
    let t = net.constant(ElemType::signed(8), &[1, 3], &[0, 3, 9]);
    let level =
        net.node(Threshold { axis: 0, to: ElemType::Int(IntType::unsigned(3)), scale: 2, bias: 1 }, &[q, t]);
    let table = net.constant(ElemType::signed(9), &[8], &[9, 100, 5, -4, 6, 3, 50, -200]);
    let looked = net.node(Lookup, &[level, table]);
    let wide = net.node(Cast { to: ElemType::signed(12) }, &[looked]);
    let sum = net.node(Reduce { f: ReduceFn::Sum, axes: vec![0], keep: false }, &[wide]);
    let less = net.node(Binary::Sub, &[relu, q]);
    let all = [acc, q, relu, level, looked, wide, sum, less];
    let mut seen: Vec<Option<Range>> = vec![None; all.len()];
    for i in -4..4 {
        for j in -4..4 {
            let mut known: Vec<Option<Tensor>> = vec![None; net.0.num_values()];
            known[x.index()] = Some(ints(ElemType::signed(3), &[2], Layout::channels_last(0), &[i, j]));
            for (_, node) in net.0.live_nodes() {
                let value =
                    |v: &ValueId| known[v.index()].clone().or(net.0.const_of(*v).map(|t| (**t).clone()));
                let operands: Vec<Tensor> = node.inputs.iter().map(|v| value(v).unwrap()).collect();
                let ty = net.0.ty(node.output).clone();
                let data = node.op.eval(&operands.iter().collect::<Vec<_>>(), &ty).unwrap();
                known[node.output.index()] = Some(Tensor { ty, data });
            }
            for (k, v) in all.iter().enumerate() {
                let range = constant(known[v.index()].as_ref().unwrap()).unwrap();
                seen[k] = Some(seen[k].map_or(range, |r| hull(r, range)));
            }
        }
    }
    for (k, &v) in all.iter().enumerate() {
        let (claimed, seen) = (net.range(v), seen[k].unwrap());
        assert!(claimed.0 <= seen.0 && seen.1 <= claimed.1, "value {k}: {claimed:?} does not hold {seen:?}");
    }
    // Codes 1, 3, 5 and 7 come out of the thresholds; the analysis knows no gaps, so the table counts from 1 to 7.
    assert_eq!([acc, relu, level, looked].map(|v| net.range(v)), [(-32, 24), (0, 15), (1, 7), (-200, 100)]);
    // Both channels count as if each had the range of both, so only the sums themselves are exact.
    assert_eq!(net.range(acc), seen[0].unwrap());
}

#[test]
fn what_may_wrap_may_be_anything() {
    let (mut net, x) = Net::new(ElemType::signed(8), &[4]);
    let doubled = net.node(Binary::Add, &[x, x]);
    assert_eq!(net.range(doubled), (-128, 127));
    let small = net.node(Unary::Clip { lo: -3.0, hi: 60.0 }, &[x]);
    let twice = net.node(Binary::Add, &[small, small]);
    assert_eq!(net.range(twice), (-6, 120));
    let negated = net.node(Unary::Neg, &[x]);
    assert_eq!(net.range(negated), (-128, 127));
    let divisor = net.constant(ElemType::signed(8), &[], &[-5]);
    let quotient = net.node(Binary::Div, &[twice, divisor]);
    assert_eq!(net.range(quotient), (-24, 1));
    let narrow = net.node(Cast { to: ElemType::Int(IntType::unsigned(6)) }, &[twice]);
    assert_eq!(net.range(narrow), (0, 63));
}

#[test]
fn padding_and_narrow_inputs_count() {
    let (mut net, x) = Net::new(ElemType::signed(8), &[3, 1]);
    let x = net.node(Unary::Clip { lo: 2.0, hi: 10.0 }, &[x]);
    let w = net.0.add_const("w", ints(ElemType::signed(8), &[1, 3, 1], Layout::weight(1), &[1, 2, -1]));
    let y = net.node(Conv { window: Window::new([3]).pads([1], [1]), groups: 1 }, &[x, w]);
    // Left border: 2a − b with a, b in 2..=10; inside 2 + 4 − 10 at least; right border a + 2b at most.
    assert_eq!(net.range(y), (-6, 30));
    assert_eq!(Ranges::of(&net.0).int(y), Some(IntType::signed(6)));
}

/// A sum that wraps is not what is left of its range in the type.
#[test]
fn sums_beyond_64_bits_may_be_anything() {
    let (mut net, x) = Net::new(ElemType::Int(IntType::unsigned(40)), &[2]);
    let w = net.constant(ElemType::Int(IntType::unsigned(41)), &[1, 2], &[1 << 40, 1 << 40]);
    let y = net.node(Dense, &[x, w]);
    assert_eq!(net.range(y), (i64::MIN.into(), i64::MAX.into()));
    let r = net.node(Unary::Relu, &[y]);
    assert_eq!(net.range(r), (0, i64::MAX.into()));
    let small = net.constant(ElemType::Int(IntType::unsigned(41)), &[1, 2], &[1, 2]);
    let z = net.node(Dense, &[x, small]);
    assert_eq!(net.range(z), (0, 3 * ((1 << 40) - 1)));
}

/// Every pair of 3-bit operands: what may wrap is told, and what is not told never does.
#[test]
fn what_wraps_is_told() {
    let elem = ElemType::signed(3);
    for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Prelu, Binary::Max, Binary::Mod] {
        for lo in -4..4i64 {
            for hi in lo..4 {
                let (mut net, x) = Net::new(elem.clone(), &[1]);
                let a = net.node(Unary::Clip { lo: lo as f32, hi: hi as f32 }, &[x]);
                let b = net.node(Unary::Clip { lo: -2.0, hi: 1.0 }, &[x]);
                let y = net.node(f, &[a, b]);
                let (_, node) = net.0.producer(y).unwrap();
                let may = Ranges::of(&net.0).may_wrap(&net.0, node);
                let pairs = (lo..=hi).flat_map(|a| (-2..=1).map(move |b| f.apply_int(a, b)));
                let wraps = pairs.clone().any(|y| !(-4..4).contains(&y));
                assert!(may || !wraps, "{f:?} of {lo}..={hi} wraps");
                let (least, most) = net.range(y);
                assert!(wraps || pairs.clone().all(|y| least <= y.into() && most >= y.into()), "{f:?}");
                if matches!(f, Binary::Add | Binary::Sub | Binary::Mul) {
                    assert_eq!(may, wraps, "{f:?} of {lo}..={hi}");
                }
            }
        }
    }
    let (mut net, x) = Net::new(ElemType::signed(4), &[3]);
    for (f, hi, may) in [
        (ReduceFn::Sum, 2.0, false),
        (ReduceFn::Sum, 3.0, true),
        (ReduceFn::SumSquare, 1.0, false),
        (ReduceFn::SumSquare, 2.0, true),
        (ReduceFn::Prod, 1.0, false),
        (ReduceFn::Prod, 2.0, true),
        (ReduceFn::Max, 7.0, false),
    ] {
        let clipped = net.node(Unary::Clip { lo: -1.0, hi }, &[x]);
        let y = net.node(Reduce { f, axes: vec![0], keep: false }, &[clipped]);
        let (_, node) = net.0.producer(y).unwrap();
        assert_eq!(Ranges::of(&net.0).may_wrap(&net.0, node), may, "{f:?} up to {hi}");
    }
}
