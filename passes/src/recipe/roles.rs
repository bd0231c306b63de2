//! What each node is to a quantization.
//!
//! In: a folded graph. Out: a [`Role`] per node. The names are used in [`super::sites`], which says what follows of them.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Binary, PadMode, ReduceFn, Unary, UpsampleMode};
use unfloat_ir::{Graph, Node, Op, ValueId};

/// What a node is to a quantization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A sum of products.
    Linear,
    /// A function of each element that integers can follow step by step: it may stand between a sum and the quantizer.
    Chain,
    /// A function of each element that becomes a table: its operand must have few codes.
    Table,
    /// A softmax: a table and sums.
    Softmax,
    /// Where the greatest element is: all elements need one scale, as fine as can be.
    Choice,
    /// Elements stay what they are.
    Move,
    /// Several values side by side, which need one scale.
    Concat,
    /// A sum or a mean of elements of one value.
    Sum,
    /// It has integers or codes on one side, so it is quantized already.
    Coded,
    /// Everything else: all operands need codes.
    Other,
}

/// For each value, whether it depends on an input of the graph.
pub fn varying(graph: &Graph) -> Vec<bool> {
    let mut varies = vec![false; graph.num_values()];
    graph.inputs().iter().for_each(|v| varies[v.index()] = true);
    for (_, node) in graph.live_nodes() {
        varies[node.output.index()] = node.inputs.iter().any(|v| varies[v.index()]);
    }
    varies
}

/// The operands that carry floats that depend on an input.
pub fn data<'g>(graph: &'g Graph, node: &'g Node, varies: &'g [bool]) -> impl Iterator<Item = ValueId> + 'g {
    node.inputs.iter().copied().filter(|v| varies[v.index()] && graph.ty(*v).elem.is_float())
}

/// The role of a node whose result depends on an input.
pub fn role(graph: &Graph, node: &Node, varies: &[bool]) -> Role {
    let floats = data(graph, node, varies).count();
    match &node.op {
        Op::Quantize(_) | Op::Dequantize(_) | Op::FloatQuant(_) | Op::Threshold(_) | Op::Requantize(_) => {
            Role::Coded
        }
        _ if floats == 0 => Role::Coded,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => Role::Linear,
        Op::BatchNorm(_) => Role::Chain,
        Op::Unary(f) => unary(*f),
        Op::Binary(f) => binary(*f, node, varies),
        Op::Softmax(_) => Role::Softmax,
        Op::ArgReduce(_) => Role::Choice,
        Op::Concat(_) => Role::Concat,
        Op::AvgPool(_) => Role::Sum,
        Op::Reduce(r) => match r.f {
            ReduceFn::Max | ReduceFn::Min => Role::Move,
            ReduceFn::Sum | ReduceFn::Mean => Role::Sum,
            _ => Role::Other,
        },
        Op::Pad(p) => match p.mode {
            PadMode::Constant(v) if v != 0.0 => Role::Other,
            _ => Role::Move,
        },
        Op::Upsample(u) if u.mode != UpsampleMode::Nearest => Role::Other,
        Op::Gather(_) if !node.inputs.first().is_some_and(|v| varies[v.index()]) => Role::Other,
        Op::MaxPool(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Reverse(_)
        | Op::Expand(_)
        | Op::Upsample(_)
        | Op::Gather(_) => Role::Move,
        _ => Role::Other,
    }
}

fn unary(f: Unary) -> Role {
    match f {
        Unary::Relu
        | Unary::LeakyRelu { .. }
        | Unary::BoundedRelu { .. }
        | Unary::ThresholdedRelu { .. }
        | Unary::Clip { .. }
        | Unary::HardSigmoid { .. }
        | Unary::Abs
        | Unary::Neg
        | Unary::Sign
        | Unary::Floor
        | Unary::Ceil
        | Unary::Round => Role::Chain,
        _ => Role::Table,
    }
}

fn binary(f: Binary, node: &Node, varies: &[bool]) -> Role {
    let first = varies[node.inputs[0].index()];
    match (first, varies[node.inputs[1].index()]) {
        (true, true) => Role::Other,
        _ => match f {
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min => Role::Chain,
            Binary::Div | Binary::Prelu if first => Role::Chain,
            _ => Role::Table,
        },
    }
}
