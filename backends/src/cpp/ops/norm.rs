//! Normalisations.

use super::super::function::literal;
use super::super::plan::Step;
use super::super::writer::{Writer, size};
use super::nests;
use super::reduce::kept_and_gone;
use unfloat_ir::Node;
use unfloat_ir::ops::{BatchNorm, BatchNormFormula, LayerNorm, Unary};

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
    let kernel = match op.formula {
        BatchNormFormula::Definition => "batch_norm",
        BatchNormFormula::Fused => "fused_batch_norm",
    };
    let (call, y) = (w.kernel(kernel), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({}, {y});", operands.join(", ")));
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
