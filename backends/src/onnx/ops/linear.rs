//! Products of matrices: dense layers and `matmul`.

use super::super::constant::constant;
use super::super::writer::{Form, Refusal, Result, Writer, int, ints};
use unfloat_ir::Node;

impl Writer<'_> {
    pub(super) fn dense(&mut self, node: &Node) -> Result {
        let x = self.want(node.inputs[0], Form::Graph)?;
        let bias = node.inputs.get(2).map(|&b| constant(self, b, None)).transpose()?;
        if self.graph.ty(node.inputs[0]).rank() == 1 {
            let mut inputs = vec![x, constant(self, node.inputs[1], None)?];
            inputs.extend(bias);
            self.result("Gemm", inputs, node.output, Form::Graph, vec![int("transB", 1)]);
            return Ok(());
        }
        let Some(bias) = bias else {
            let inputs = vec![x, constant(self, node.inputs[1], Some(&[1, 0]))?];
            self.result("MatMul", inputs, node.output, Form::Graph, vec![]);
            return Ok(());
        };
        self.pointwise(node, bias)
    }

    /// A dense layer over the channels of each cell, as a convolution of one tap: a `MatMul` and an `Add` would round
    /// twice.
    fn pointwise(&mut self, node: &Node, bias: String) -> Result {
        let ty = self.graph.ty(node.inputs[0]);
        let rank = ty.rank();
        if ty.layout.channel() != Some(rank - 1) {
            return Err(
                "its channels are an axis without that name, and its bias would be rounded apart".into()
            );
        }
        let x = self.want(node.inputs[0], Form::ChannelsFirst)?;
        // [out, in] with axes of one tap in front, which then go to the end.
        let perm: Vec<usize> = [rank - 1, rank].into_iter().chain(0..rank - 1).collect();
        let inputs = vec![x, constant(self, node.inputs[1], Some(&perm))?, bias];
        let taps = ints("kernel_shape", vec![1; rank - 1]);
        self.result("Conv", inputs, node.output, Form::ChannelsFirst, vec![taps]);
        Ok(())
    }

    pub(super) fn matmul(&mut self, node: &Node) -> Result {
        let rank = |i: usize| self.graph.ty(node.inputs[i]).rank();
        let most = rank(0).max(rank(1));
        let mut inputs = Vec::new();
        for &id in &node.inputs {
            inputs.push(match self.is_constant(id) {
                false => self.raised(id, most)?,
                // It stands beside the matrices of every sample: the axes in front of them are made as they broadcast.
                true if self.graph.ty(id).rank() <= most => constant(self, id, None)?,
                true => return Err(Refusal::from("a constant has more axes than a sample")),
            });
        }
        self.result("MatMul", inputs, node.output, Form::Graph, vec![]);
        Ok(())
    }
}
