//! What values can be.

use super::floats;
use unfloat_ir::ops::{PadMode, ReduceFn, Unary, UpsampleMode};
use unfloat_ir::{Graph, Op, ValueId};

/// How many ops back a question may lead.
const DEPTH: usize = 16;

/// Whether no element can be below 0, whatever the inputs. It may be −0 or NaN.
pub fn is_nonnegative(graph: &Graph, value: ValueId) -> bool {
    ask(graph, value, DEPTH)
}

fn ask(graph: &Graph, value: ValueId, depth: usize) -> bool {
    if let Some(v) = floats(graph, value) {
        return v.iter().all(|x| x.is_nan() || *x >= 0.0);
    }
    let (Some((_, node)), Some(depth)) = (graph.producer(value), depth.checked_sub(1)) else { return false };
    let operands = || node.inputs.iter().all(|&v| ask(graph, v, depth));
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
    use unfloat_ir::ops::Transpose;
    use unfloat_ir::{Layout, Origin, TensorType};

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
