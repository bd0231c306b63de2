//! One file per op, or family of ops: what it refuses, what it needs, what it writes.
//!
//! A new op of the IR is one arm in each of the functions below that the compiler names.

pub mod conv;
mod elementwise;
mod matrix;
pub mod movement;
pub mod nests;
mod norm;
mod pool;
pub mod reduce;

use super::plan::Step;
use super::writer::Writer;
use unfloat_ir::ops::Op;
use unfloat_ir::{Graph, Node};

/// Why C++ cannot hold this node; nothing when it can.
pub fn fault(graph: &Graph, node: &Node) -> Option<String> {
    if is_unknown(&node.op) {
        return Some("C++ has no such op yet".to_string());
    }
    let computed = |i: usize| node.inputs.get(i).is_some_and(|&v| graph.const_of(v).is_none());
    let what = match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) => {
            [(1, "weight"), (2, "bias")].iter().find(|(i, _)| computed(*i)).map(|(_, name)| *name)
        }
        _ => None,
    };
    let x = graph.ty(node.inputs[0]);
    let channels_last = match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_) => x.layout.is_channels_last(),
        Op::BatchNorm(b) => b.axis + 1 == x.rank(),
        _ => true,
    };
    if !channels_last {
        return Some("has channels that are not last; run the canonical passes".to_string());
    }
    what.map(|name| format!("its {name} is computed; C++ needs a constant"))
}

/// Whether the op cannot be written yet.
fn is_unknown(op: &Op) -> bool {
    let moves = matches!(op, Op::Resize(_) | Op::Reverse(_) | Op::Gather(_) | Op::Select(_));
    let counts = matches!(op, Op::ArgReduce(_) | Op::Lrn(_) | Op::Compare(_) | Op::Bitwise(_) | Op::Cast(_));
    let quantizes = matches!(op, Op::Quantize(_) | Op::Dequantize(_) | Op::FloatQuant(_) | Op::Threshold(_));
    moves || counts || quantizes || matches!(op, Op::Requantize(_) | Op::Lookup(_) | Op::Lut(_))
}

/// Whether the node only renames: its result lies where its operand does.
pub fn is_free(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Reshape(_) => true,
        Op::Transpose(t) => movement::keeps_order(graph.ty(node.inputs[0]), &t.perm),
        Op::Slice(_) | Op::Expand(_) | Op::Pad(_) | Op::Upsample(_) => {
            graph.ty(node.inputs[0]).shape.num_elements() == graph.ty(node.output).shape.num_elements()
        }
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Reduce(r) => r.axes.is_empty() && reduce::is_identity(r.f),
        _ => false,
    }
}

/// Whether a function of each element of the result can be part of the call.
pub fn takes_activation(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) | Op::BatchNorm(_) | Op::Binary(_)
    )
}

/// Whether the result may be written over operand `i` while the node runs.
pub fn may_overwrite(graph: &Graph, node: &Node, i: usize) -> bool {
    let same = graph.ty(node.inputs[i]).shape.num_elements() == graph.ty(node.output).shape.num_elements();
    match &node.op {
        Op::Unary(_) | Op::Binary(_) => same,
        Op::Softmax(_) | Op::BatchNorm(_) | Op::LayerNorm(_) => i == 0,
        _ => false,
    }
}

/// Floats that the node needs for itself.
pub fn scratch(graph: &Graph, node: &Node) -> usize {
    match &node.op {
        Op::Conv(c) => conv::padded(&c.window, graph.ty(node.inputs[0])).map_or(0, |p| p.len()),
        _ => 0,
    }
}

/// Writes the calls of a step.
pub fn write(w: &mut Writer, step: &Step) {
    let (node, act) = w.step(step);
    match &node.op {
        Op::Conv(op) => conv::conv(w, step, node, op, act),
        Op::ConvTranspose(op) => conv::conv_transpose(w, step, node, op, act),
        Op::Dense(_) => matrix::dense(w, step, node, act),
        Op::MatMul(_) => matrix::matmul(w, step, node, act),
        Op::BatchNorm(op) => norm::batch_norm(w, step, node, op, act),
        Op::LayerNorm(op) => norm::layer_norm(w, step, node, op),
        Op::MaxPool(op) => pool::pool(w, step, node, &op.window, "max_pooling"),
        Op::AvgPool(op) => {
            let padded = op.count_include_pad && op.window.is_padded();
            let function = if padded { "padded_average_pooling" } else { "average_pooling" };
            pool::pool(w, step, node, &op.window, function);
        }
        Op::Reduce(op) => reduce::reduce(w, step, node, op),
        Op::Unary(f) => elementwise::unary(w, step, node, *f),
        Op::Binary(f) => elementwise::binary(w, step, node, *f, act),
        Op::Softmax(op) => reduce::softmax(w, step, node, op),
        Op::Transpose(op) => movement::transpose(w, step, node, op),
        Op::Concat(op) => movement::concat(w, step, node, op),
        Op::Slice(op) => movement::slice(w, step, node, op),
        Op::Pad(op) => movement::pad(w, step, node, op),
        Op::Expand(_) => movement::expand(w, step, node),
        Op::Upsample(op) => movement::upsample(w, step, node, op),
        // Free nodes are no steps.
        Op::Reshape(_) => {}
        // Refused before anything is written.
        Op::Resize(_) | Op::Reverse(_) | Op::Gather(_) | Op::Select(_) | Op::ArgReduce(_) | Op::Lrn(_) => {}
        Op::Compare(_) | Op::Bitwise(_) | Op::Cast(_) => {}
        Op::Quantize(_) | Op::Dequantize(_) | Op::FloatQuant(_) | Op::Threshold(_) => {}
        Op::Requantize(_) | Op::Lookup(_) | Op::Lut(_) => {}
    }
}
