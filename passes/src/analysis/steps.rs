//! Which values a step function reads, directly or through others.
//!
//! A step function's result jumps where its operand moves by as little as a rounding: a sign, a comparison, a quantizer.
//! What it reads must keep its bits, or sums that lie exactly on a step fall to the other side.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::Unary;
use unfloat_ir::{Graph, Op, ValueId};

/// For each value, by its handle, whether a step function reads it or something that is computed from it.
pub struct FeedsSteps(Vec<bool>);

impl FeedsSteps {
    /// Looks at a whole graph.
    pub fn of(graph: &Graph) -> Self {
        let mut feeds = vec![false; graph.num_values()];
        for (_, node) in graph.live_nodes().rev() {
            if is_step(&node.op) || feeds[node.output.index()] {
                node.inputs.iter().for_each(|v| feeds[v.index()] = true);
            }
        }
        Self(feeds)
    }
    /// Whether the value's bits matter to a step function.
    pub fn holds(&self, value: ValueId) -> bool {
        self.0[value.index()]
    }
}

/// Whether an op's result jumps. The place of the greatest element does too, but only where two are as good as equal.
fn is_step(op: &Op) -> bool {
    match op {
        Op::Unary(f) => matches!(f, Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round),
        Op::Compare(_) | Op::Quantize(_) | Op::FloatQuant(_) | Op::Threshold(_) => true,
        Op::Cast(c) => !c.to.is_float(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::Origin;
    use unfloat_ir::{Layout, TensorType};

    #[test]
    fn steps_are_seen_through_other_ops() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", TensorType::f32([4], Layout::channels_last(0)));
        let origin = Origin::new("test", "", "", "");
        let [relu, sign, tanh] = ["relu", "sign", "tanh"].map(|n| n.to_string());
        let a = graph.add_node(Unary::Relu, &[x], &relu, &origin).unwrap();
        let b = graph.add_node(Unary::Sign, &[a], &sign, &origin).unwrap();
        let c = graph.add_node(Unary::Tanh, &[b], &tanh, &origin).unwrap();
        graph.add_output("y", c);
        let feeds = FeedsSteps::of(&graph);
        assert!(feeds.holds(x) && feeds.holds(a) && !feeds.holds(b) && !feeds.holds(c));
    }
}
