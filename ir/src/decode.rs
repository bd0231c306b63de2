//! Graphs whose quantized constants stand as the floats that they mean.
//!
//! Constants are kept as codes in front of a [`Dequantize`](crate::ops::Dequantize), so that passes know what a weight
//! is. Whatever computes in floats takes the graph of [`Graph::decoded`], whose results are the same to the bit.

use crate::diag::Diagnostic;
use crate::graph::{Graph, NodeId};
use crate::ops::{Op, OpDef};
use crate::patch::Patch;
use crate::tensor::Tensor;
use std::borrow::Cow;

impl Graph {
    /// The graph with a float constant in place of every dequantization of constants; the graph itself when there is
    /// none.
    ///
    /// # Errors
    /// When a dequantization cannot be evaluated, which the verifier would have found.
    pub fn decoded(&self) -> Result<Cow<'_, Graph>, Diagnostic> {
        let constant = |id: &NodeId| {
            let node = self.node(*id);
            matches!(node.op, Op::Dequantize(_)) && node.inputs.iter().all(|&v| self.const_of(v).is_some())
        };
        let nodes: Vec<NodeId> = self.order().iter().copied().filter(constant).collect();
        if nodes.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let mut patch = Patch::new(self);
        for id in nodes {
            let node = self.node(id);
            let operands: Vec<&Tensor> =
                node.inputs.iter().filter_map(|&v| self.const_of(v)).map(AsRef::as_ref).collect();
            let ty = self.ty(node.output).clone();
            let name = &self.value(node.output).name;
            let data = node.op.eval(&operands, &ty).map_err(|e| {
                Diagnostic::error(&node.origin, format!("`{name}` ({}): {e}", node.op.name()))
            })?;
            let new = patch.constant(name, Tensor { ty, data });
            patch.replace(node.output, new)?;
        }
        let edit = patch.finish();
        let mut graph = self.clone();
        graph.apply(edit);
        Ok(Cow::Owned(graph.compact()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::ops::{Binary, Dequantize};
    use crate::types::{ElemType, Layout, TensorType};

    #[test]
    fn codes_become_what_they_mean() {
        let mut g = Graph::new("g");
        let c = Layout::channels_last(0);
        let x = g.add_input("x", TensorType::f32([3], c));
        let codes = Tensor::codes(TensorType::new(ElemType::Ternary, [3], c), [-1, 0, 1]);
        let q = g.add_const("q", codes);
        let scale = g.add_const("scale", Tensor::f32([], Layout::anonymous(0), vec![0.5]));
        let zero = g.add_const("zero", Tensor::f32([], Layout::anonymous(0), vec![0.0]));
        let w = g.add_node(Dequantize, &[q, scale, zero], "w", &Origin::default()).unwrap();
        let y = g.add_node(Binary::Mul, &[x, w], "y", &Origin::default()).unwrap();
        g.add_output("y", y);
        let decoded = g.decoded().unwrap();
        let (_, node) = decoded.live_nodes().next().unwrap();
        assert_eq!(decoded.value(node.inputs[1]).name, "w");
        assert_eq!(decoded.const_of(node.inputs[1]).unwrap().as_f32(), Some(&[-0.5, 0.0, 0.5][..]));
        assert!(decoded.values().all(|(_, v)| v.ty.elem.is_float()));
        assert!(matches!(decoded.decoded().unwrap(), Cow::Borrowed(_)));
    }
}
