//! Layers of look-up tables one behind the other as one step.
//!
//! In: a `lut` node whose connections and tables are constants. Out: the kernel of it and of those behind it, each the only
//! reader of the one before, and what the last one makes. Others stay with their reference evaluation.

use super::lower::Lowering;
use crate::kernels::KernelError;
use crate::kernels::bits::{LutSpec, Luts};
use unfloat_ir::{Node, Op, ValueId};

/// What the nodes of a chain hold: bits that come in, pins, connections, tables.
type Layer = (usize, usize, Vec<i64>, Vec<i64>);

impl<'g> Lowering<'g> {
    /// The kernel of this layer and of those behind it.
    pub(super) fn luts(&self, node: &'g Node) -> Result<Option<(Luts, ValueId)>, KernelError> {
        let mut layers: Vec<Layer> = Vec::new();
        let (mut at, mut output) = (node, node.output);
        while let Some(layer) = self.layer(at) {
            layers.push(layer);
            output = at.output;
            match self.graph.sole_user(&self.users, output).map(|id| self.graph.node(id)) {
                Some(next) if matches!(next.op, Op::Lut(_)) && next.inputs[0] == output => at = next,
                _ => break,
            }
        }
        if layers.is_empty() {
            return Ok(None);
        }
        let spec = |(inputs, pins, connections, tables)| LutSpec { inputs, pins, connections, tables };
        let specs: Vec<LutSpec> = layers.iter().map(|(i, p, c, t)| spec((*i, *p, &c[..], &t[..]))).collect();
        Ok(Some((Luts::new(&specs)?, output)))
    }

    /// What a node holds, if it is all constant.
    fn layer(&self, node: &Node) -> Option<Layer> {
        let constant = |i: usize| self.graph.const_of(node.inputs[i]).and_then(|t| super::fuse::codes(t));
        let pins = self.ty(node.inputs[1]).shape[1];
        let bytes = self.word(node.inputs[0]).bytes() == 1 && self.word(node.output).bytes() == 1;
        let inputs = self.ty(node.inputs[0]).shape.num_elements();
        bytes.then_some((inputs, pins, constant(1)?, constant(2)?))
    }
}
