//! Where floats become integers and integers floats again, in a graph that is integers inside.
//!
//! The *boundary* of a graph are the quantizers that read its inputs, and the dequantizations that its outputs show and no
//! node reads, both with constant scales and zero points. What stands between is its core. In comes any graph; out goes
//! which of its nodes are the boundary, and whether the rest is integers. Refuses nothing.

use crate::arena::Handle;
use crate::graph::{Def, Graph, Node};
use crate::ops::Op;

/// The boundary of one graph.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// For each value: whether a live node reads it, and whether the graph shows it.
    read: Vec<bool>,
    shown: Vec<bool>,
}

impl Boundary {
    /// Looks a graph over once.
    pub fn of(graph: &Graph) -> Self {
        let mut found =
            Self { read: vec![false; graph.num_values()], shown: vec![false; graph.num_values()] };
        graph.live_nodes().flat_map(|(_, n)| &n.inputs).for_each(|v| found.read[v.index()] = true);
        graph.outputs().iter().for_each(|o| found.shown[o.value.index()] = true);
        found
    }

    /// Whether the node makes the codes of an input, or shows the codes of an output.
    pub fn has(&self, graph: &Graph, node: &Node) -> bool {
        let Some((&x, constants)) = node.inputs.split_first() else { return false };
        let at_ends = match node.op {
            Op::Quantize(_) => matches!(graph.value(x).def, Def::Input(_)),
            Op::Dequantize(_) => {
                let y = node.output.index();
                self.shown[y] && !self.read[y] && graph.const_of(x).is_none()
            }
            _ => false,
        };
        at_ends && constants.iter().all(|&v| graph.const_of(v).is_some())
    }

    /// Whether no node but those of the boundary takes or makes floats, and no output shows others.
    pub fn holds_integers(&self, graph: &Graph) -> bool {
        let float = |v: &crate::graph::ValueId| graph.ty(*v).elem.is_float();
        let inside = graph.live_nodes().filter(|(_, n)| !self.has(graph, n));
        let mut floats = inside.filter(|(_, n)| n.inputs.iter().chain([&n.output]).any(float));
        let outputs = graph.outputs().iter().filter(|o| float(&o.value));
        let mut bare = outputs.filter(|o| graph.producer(o.value).is_none_or(|(_, n)| !self.has(graph, n)));
        floats.next().is_none() && bare.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Dequantize, Quantize, QuantizeOrder, Unary};
    use crate::tensor::Tensor;
    use crate::types::{ElemType, Layout, Overflow, Rounding, TensorType};
    use crate::{Origin, ValueId};

    fn graph(relu_of: fn(&[ValueId; 3]) -> ValueId) -> Graph {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let scalar = |v| Tensor::f32([], Layout::anonymous(0), vec![v]);
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        let (s, z) = (g.add_const("s", scalar(0.5)), g.add_const("z", scalar(0.0)));
        let op = Quantize {
            to: ElemType::signed(8),
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        let q = g.add_node(op, &[x, s, z], "q", &o).unwrap();
        let y = g.add_node(Dequantize, &[q, s, z], "y", &o).unwrap();
        let r = g.add_node(Unary::Relu, &[relu_of(&[x, q, y])], "r", &o).unwrap();
        g.add_output("y", y);
        g.add_output("r", r);
        g
    }

    #[test]
    fn quantizers_of_inputs_and_what_outputs_show() {
        let names = |g: &Graph| {
            let boundary = Boundary::of(g);
            let nodes = g.live_nodes().filter(|(_, n)| boundary.has(g, n));
            let names: Vec<String> = nodes.map(|(_, n)| g.value(n.output).name.clone()).collect();
            (names.join(" "), boundary.holds_integers(g))
        };
        assert_eq!(names(&graph(|v| v[1])), ("q y".to_string(), true));
        // Floats that another layer reads are none of the boundary's, and nor is a ReLU of the input.
        assert_eq!(names(&graph(|v| v[2])), ("q".to_string(), false));
        assert_eq!(names(&graph(|v| v[0])), ("q y".to_string(), false));
    }
}
