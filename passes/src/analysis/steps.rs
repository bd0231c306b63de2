//! Which values a step function depends on.
//!
//! A step function (a sign, a rounding, a quantizer, a comparison, a cast of floats) jumps: where its operand lies on a
//! threshold, the last bit of a rounding decides which of two values comes out. A rewrite that is right up to rounding
//! is therefore wrong in front of one, however many layers lie between.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::Unary;
use unfloat_ir::{Graph, Node, Op};

/// For each value, whether the operand of a step function depends on it.
pub fn feeds_steps(graph: &Graph) -> Vec<bool> {
    let mut feeds = vec![false; graph.num_values()];
    for (_, node) in graph.live_nodes().rev() {
        if feeds[node.output.index()] || is_step(graph, node) {
            node.inputs.iter().for_each(|v| feeds[v.index()] = true);
        }
    }
    feeds
}

/// Whether the node jumps where its operand moves a little.
fn is_step(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Unary(f) => matches!(f, Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round),
        Op::Quantize(_) | Op::FloatQuant(_) | Op::Threshold(_) | Op::Compare(_) => true,
        Op::Cast(_) => node.inputs.iter().any(|&v| graph.ty(v).elem.is_float()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::Binary;
    use unfloat_ir::{Layout, Origin, TensorType};

    #[test]
    fn steps_are_seen_through_other_ops() {
        let mut g = Graph::new("g");
        let at = Origin::default();
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        let near = g.add_node(Binary::Add, &[x, x], "near", &at).unwrap();
        let relu = g.add_node(Unary::Relu, &[near], "relu", &at).unwrap();
        let sign = g.add_node(Unary::Sign, &[relu], "sign", &at).unwrap();
        let behind = g.add_node(Binary::Mul, &[sign, sign], "behind", &at).unwrap();
        g.add_output("y", behind);
        let feeds = feeds_steps(&g);
        assert_eq!([x, near, relu, sign, behind].map(|v| feeds[v.index()]), [true, true, true, false, false]);
    }
}
