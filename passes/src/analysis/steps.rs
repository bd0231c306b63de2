//! Which values a step function depends on.
//!
//! A step function (a sign, a rounding, a quantizer, a comparison, a cast of floats, a remainder, the place of an
//! extreme, an activation with a gap) jumps: where its operand lies on a threshold, the last bit of a rounding decides
//! which of two values comes out. A rewrite that is right up to rounding is therefore wrong in front of one, however
//! many layers lie between.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Binary, Unary};
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
    let floats = || node.inputs.iter().any(|&v| graph.ty(v).elem.is_float());
    match &node.op {
        Op::Unary(f) => match f {
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round => true,
            Unary::ThresholdedRelu { theta: gap }
            | Unary::HardShrink { lambda: gap }
            | Unary::BoundedRelu { threshold: gap, .. } => *gap != 0.0,
            _ => false,
        },
        Op::Quantize(_) | Op::FloatQuant(_) | Op::Threshold(_) | Op::Compare(_) => true,
        Op::Cast(_) | Op::ArgReduce(_) | Op::Binary(Binary::Mod | Binary::Fmod) => floats(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::ArgReduce;
    use unfloat_ir::{Layout, Origin, TensorType};

    #[test]
    fn whatever_has_a_gap_is_a_step() {
        let jumps = |op: Op, operands: usize| {
            let mut g = Graph::new("g");
            let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
            let y = g.add_node(op, &vec![x; operands], "y", &Origin::default()).unwrap();
            g.add_output("y", y);
            feeds_steps(&g)[x.index()]
        };
        assert!(jumps(Unary::ThresholdedRelu { theta: 1.0 }.into(), 1));
        assert!(!jumps(Unary::ThresholdedRelu { theta: 0.0 }.into(), 1));
        assert!(jumps(Unary::HardShrink { lambda: 0.5 }.into(), 1));
        assert!(!jumps(Unary::SoftShrink { lambda: 0.5 }.into(), 1));
        let bounded = |threshold| Unary::BoundedRelu { max: 6.0, slope: 0.0, threshold }.into();
        assert!(jumps(bounded(0.5), 1) && !jumps(bounded(0.0), 1));
        assert!(
            jumps(Binary::Fmod.into(), 2) && jumps(Binary::Mod.into(), 2) && !jumps(Binary::Div.into(), 2)
        );
        assert!(jumps(ArgReduce { max: true, axis: 0, keep: false, last: false }.into(), 1));
    }

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
