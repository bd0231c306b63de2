//! What several passes need to know of a graph.

pub mod affine;
pub mod memory;
pub mod numbering;
pub mod perm;
pub mod range;
pub mod steps;

use unfloat_ir::{Graph, Node, Op, OpDef, ValueId};

/// About how many elementary steps an op takes for one sample, windows included.
pub fn work(graph: &Graph, node: &Node) -> u64 {
    let types: Vec<_> = node.inputs.iter().map(|&v| graph.ty(v)).collect();
    let out = graph.ty(node.output);
    let taps = match &node.op {
        Op::MaxPool(p) => p.window.taps(),
        Op::AvgPool(p) => p.window.taps(),
        _ => 1,
    };
    let elements = types.iter().chain([&out]).map(|t| t.shape.num_elements() as u64);
    let cells = (out.shape.num_elements() as u64).saturating_mul(taps as u64);
    elements.fold(cells.saturating_add(node.op.macs(&types, out)), u64::saturating_add)
}

/// The floats of a constant.
pub fn floats(graph: &Graph, value: ValueId) -> Option<&[f32]> {
    graph.const_of(value)?.as_f32()
}
