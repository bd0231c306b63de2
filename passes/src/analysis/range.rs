//! What values can be.

use super::floats;
use unfloat_ir::ops::{PadMode, ReduceFn, Unary, UpsampleMode};
use unfloat_ir::{Graph, Op, ValueId};

/// How many ops back a question may lead.
const DEPTH: usize = 16;
/// How many values one question may look at. Without a limit, ops that read one value many times over, behind each
/// other, would have it looked at exponentially often.
const VALUES: usize = 256;

/// Whether no element can be below 0, whatever the inputs. It may be −0 or NaN.
pub fn is_nonnegative(graph: &Graph, value: ValueId) -> bool {
    ask(graph, value, DEPTH, &mut { VALUES })
}

fn ask(graph: &Graph, value: ValueId, depth: usize, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else { return false };
    *left = rest;
    if let Some(v) = floats(graph, value) {
        return v.iter().all(|x| x.is_nan() || *x >= 0.0);
    }
    let (Some((_, node)), Some(depth)) = (graph.producer(value), depth.checked_sub(1)) else { return false };
    let mut operands = || node.inputs.iter().all(|&v| ask(graph, v, depth, left));
    match &node.op {
        Op::Unary(f) => match f {
            Unary::Relu | Unary::Abs | Unary::Sigmoid | Unary::Exp | Unary::Square => true,
            Unary::Softplus | Unary::Squareplus { .. } => true,
            Unary::Clip { lo, hi } => *lo >= 0.0 && hi >= lo,
            Unary::HardSigmoid { .. } => true,
            Unary::Sqrt => operands(),
            _ => false,
        },
        Op::Softmax(s) => !s.log,
        Op::Reshape(_) | Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Expand(_) | Op::MaxPool(_) => {
            operands()
        }
        Op::AvgPool(_) => operands(),
        Op::Upsample(u) => u.mode == UpsampleMode::Nearest && operands(),
        Op::Reduce(r) => match r.f {
            ReduceFn::SumSquare => true,
            ReduceFn::Max | ReduceFn::Min | ReduceFn::Mean => operands(),
            _ => false,
        },
        Op::Pad(p) => match p.mode {
            PadMode::Constant(v) => v >= 0.0 && operands(),
            _ => operands(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Concat, Slice, Transpose};
    use unfloat_ir::{Layout, Origin, TensorType};

    #[test]
    fn a_value_that_is_read_many_times_over_is_not_looked_at_exponentially_often() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        let mut y = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
        let twice = g.add_node(Concat { axis: 0 }, &[y, y], "twice", &o).unwrap();
        assert!(is_nonnegative(&g, twice));
        for _ in 0..DEPTH / 2 - 1 {
            let wide = g.add_node(Concat { axis: 0 }, &[y; 100], "wide", &o).unwrap();
            let slice = Slice { begin: vec![0], size: vec![2], step: vec![1] };
            y = g.add_node(slice, &[wide], "y", &o).unwrap();
        }
        // 100^7 ways lead to the ReLU: the answer is that it is not known.
        assert!(!is_nonnegative(&g, y));
    }

    #[test]
    fn it_looks_through_moves() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([2, 3], Layout::channels_last(1)));
        let r = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
        let t = g.add_node(Transpose { perm: vec![1, 0] }, &[r], "t", &o).unwrap();
        let n = g.add_node(Unary::Neg, &[t], "n", &o).unwrap();
        let h = g.add_node(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, &[t], "h", &o).unwrap();
        assert_eq!([x, r, t, n, h].map(|v| is_nonnegative(&g, v)), [false, true, true, false, true]);
    }
}
