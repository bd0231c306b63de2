//! Normalisations.

use super::super::function::literal;
use super::super::plan::Step;
use super::super::writer::{Writer, size};
use super::nests;
use super::reduce::kept_and_gone;
use unfloat_ir::ops::{BatchNorm, LayerNorm, Unary};
use unfloat_ir::{Graph, Node};

fn eps(value: f32) -> String {
    format!("  static constexpr float eps = {};\n", literal(value))
}

/// Writes a batch normalisation that no neighbour took up.
pub fn batch_norm(w: &mut Writer, step: &Step, node: &Node, op: &BatchNorm, act: Option<Unary>) {
    let operands: Vec<String> = node.inputs.iter().map(|&v| w.read(v)).collect();
    let dims = &w.graph.ty(node.output).shape;
    let channels = dims[op.axis];
    let cells = dims.num_elements() / channels;
    let text = [size("cells", cells), size("channels", channels), eps(op.eps)].concat();
    let name = w.graph.value(node.output).name.clone();
    let (shape, act) = (w.shape(&name, text), w.activation(act));
    let (call, y) = (w.kernel("batch_norm"), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({}, {y});", operands.join(", ")));
}

/// Whether the factors and the terms of a `mul_add` have one number for each entry of the last axis.
pub fn per_channel(graph: &Graph, node: &Node) -> bool {
    let channels = graph.ty(node.output).shape.last();
    node.inputs[1..].iter().all(|&v| {
        let shape = &graph.ty(v).shape;
        shape.last() == channels && Some(&shape.num_elements()) == channels
    })
}

/// Writes a product and a sum that are rounded once.
pub fn mul_add(w: &mut Writer, step: &Step, node: &Node) {
    let operands: Vec<String> = node.inputs.iter().map(|&v| w.read(v)).collect();
    let dims = &w.graph.ty(node.output).shape;
    let channels = dims.last().copied().unwrap_or(1);
    let text = size("cells", dims.num_elements() / channels) + &size("channels", channels);
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("mul_add"), w.target(step));
    w.line(&format!("{call}<{shape}>({}, {y});", operands.join(", ")));
}

/// Writes a layer normalisation.
pub fn layer_norm(w: &mut Writer, step: &Step, node: &Node, op: &LayerNorm) {
    let operands: Vec<String> = node.inputs.iter().map(|&v| w.read(v)).collect();
    let (kept, gone) = kept_and_gone(&w.graph.ty(node.inputs[0]).shape, &op.axes);
    let text = nests::nested("kept", &nests::merge(kept))
        + &nests::nested("gone", &nests::merge(gone))
        + &eps(op.eps);
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("layer_norm"), w.target(step));
    w.line(&format!("{call}<{shape}>({}, {y});", operands.join(", ")));
}
