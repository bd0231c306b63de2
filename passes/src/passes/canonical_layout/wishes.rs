//! What the readers of each value would like, found from the end of the graph to its start.

use crate::analysis::perm;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Graph, Node, Op, ValueId};

/// Whether the op's operands broadcast.
fn broadcasts(op: &Op) -> bool {
    matches!(
        op,
        Op::Binary(_)
            | Op::Compare(_)
            | Op::Bitwise(_)
            | Op::Select(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::FloatQuant(_)
            | Op::Requantize(_)
    )
}

/// The node that says what constant codes mean, with one scale and zero point for all of their last axis: the elements of
/// that can be reordered.
pub fn decoded(graph: &Graph, value: ValueId) -> Option<&Node> {
    let (_, node) = graph.producer(value)?;
    let constant = node.inputs.iter().all(|&v| graph.const_of(v).is_some());
    let alike = |v: &ValueId| graph.ty(*v).shape.last().is_none_or(|&n| n == 1);
    let found = matches!(node.op, Op::Dequantize(_)) && constant && node.inputs[1..].iter().all(alike);
    found.then_some(node)
}

/// For each value, by its handle.
pub struct Wishes {
    /// Whether an op that needs channels last reads it, directly or through ops that work in any order of axes.
    pub channels_last: Vec<bool>,
    /// Whether all readers take the elements of its last axis in any order: constants of theirs can be reordered
    /// instead.
    pub any_order: Vec<bool>,
}

impl Wishes {
    /// Asks all readers.
    pub fn of(graph: &Graph) -> Self {
        let n = graph.num_values();
        let mut wishes = Wishes { channels_last: vec![false; n], any_order: vec![false; n] };
        let mut asked = vec![false; n];
        for (_, node) in graph.live_nodes().rev() {
            for (i, &input) in node.inputs.iter().enumerate() {
                if graph.ty(input).layout.channel().is_some() {
                    wishes.channels_last[input.index()] |= wishes.wants_channels_last(graph, node, i);
                }
                let takes = !graph.is_output(input) && wishes.takes_any_order(graph, node, i);
                let first = !std::mem::replace(&mut asked[input.index()], true);
                wishes.any_order[input.index()] = takes && (first || wishes.any_order[input.index()]);
            }
        }
        wishes
    }

    fn wants_channels_last(&self, graph: &Graph, node: &Node, operand: usize) -> bool {
        let out = self.channels_last[node.output.index()];
        let layout = |v: ValueId| graph.ty(v).layout;
        match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_) => operand == 0,
            Op::BatchNorm(b) => operand == 0 && layout(node.inputs[0]).channel() == Some(b.axis),
            Op::Unary(_) | Op::Pad(_) | Op::Slice(_) | Op::Upsample(_) | Op::Softmax(_) => out,
            Op::Cast(_) | Op::Reverse(_) | Op::Resize(_) | Op::Lrn(_) => out,
            Op::LayerNorm(_) | Op::Threshold(_) | Op::Lookup(_) => out && operand == 0,
            Op::Reduce(r) => out && r.keep,
            Op::ArgReduce(a) => out && a.keep,
            Op::Concat(_) => out,
            op if broadcasts(op) => out && layout(node.inputs[operand]) == layout(node.output),
            _ => false,
        }
    }

    fn takes_any_order(&self, graph: &Graph, node: &Node, operand: usize) -> bool {
        let out = self.any_order[node.output.index()];
        let constant = |i: usize| node.inputs.get(i).is_none_or(|&v| graph.const_of(v).is_some());
        let rank = graph.ty(node.inputs[operand]).rank();
        match &node.op {
            Op::Dense(_) => operand == 0 && (constant(1) || decoded(graph, node.inputs[1]).is_some()),
            Op::Unary(_) | Op::Softmax(_) | Op::Cast(_) => out,
            Op::Lookup(_) => out && operand == 0,
            Op::BatchNorm(b) => out && operand == 0 && b.axis + 1 == rank && (1..5).all(constant),
            Op::LayerNorm(_) => out && operand == 0 && constant(1) && constant(2),
            Op::Reduce(r) => r.axes.contains(&rank.saturating_sub(1)) || out,
            Op::Concat(c) => out && c.axis + 1 == rank,
            op if broadcasts(op) => {
                out && (0..node.inputs.len()).all(|i| i == operand || constant(i))
                    && rank == graph.ty(node.output).rank()
                    && graph.ty(node.inputs[operand]).shape.last() == graph.ty(node.output).shape.last()
            }
            _ => false,
        }
    }

    /// The order of axes that the readers of a value wish, if they wish one.
    pub fn axes(&self, graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
        let wish = self.channels_last[value.index()];
        wish.then(|| perm::channels_last(&graph.ty(value).layout)).flatten()
    }
}
