//! One op of the graph as nodes of ONNX, one file per family.
//!
//! Windows stand with the channels first, functions of elements and ops with lists of axes in whatever form their operand
//! has, all else as in the graph. Each node means what the op of the graph means, and is read back as that op. Refused: every op that is not in the table of [`Writer::node`].

mod element;
mod linear;
mod reduce;
mod shape;
mod window;

use super::quant::{codes, pair, quantizer, sign, signs};
use super::writer::{Refusal, Result, Writer};
use unfloat_ir::{Node, Op, OpDef, ValueId};

impl<'a> Writer<'a> {
    /// Writes a node, or says why it cannot.
    pub fn node(&mut self, node: &'a Node) -> Result {
        match &node.op {
            Op::Quantize(_) => codes(self, node),
            Op::Threshold(_) if sign(self, node.output).is_some() => codes(self, node),
            Op::Dequantize(_) => match quantizer(self, node.inputs[0]) {
                Some(quantize) => pair(self, quantize, node),
                None if let Some(thresholds) = sign(self, node.inputs[0]) => signs(self, thresholds, node),
                // A constant is written where it is read, in the order of axes that is wanted there.
                None if self.graph.const_of(node.inputs[0]).is_some() => Ok(()),
                None if self.refused.contains(&node.inputs[0]) => Err(Refusal::Follows),
                None => Err("it turns codes back that no quantizer makes".into()),
            },
            op if !is_float(self, node) => {
                let refused = |v: &ValueId| self.refused.contains(v) && !self.graph.ty(*v).elem.is_float();
                if node.inputs.iter().any(refused) {
                    return Err(Refusal::Follows);
                }
                let text =
                    format!("`{}` computes on integers, and only quantizers make them here", op.name());
                Err(text.into())
            }
            Op::Conv(op) => self.conv(node, op),
            Op::ConvTranspose(op) => self.conv_transpose(node, op),
            Op::MaxPool(op) => self.max_pool(node, op),
            Op::AvgPool(op) => self.avg_pool(node, op),
            Op::Lrn(op) => self.lrn(node, op),
            Op::Upsample(op) => self.upsample(node, op),
            Op::Resize(op) => self.resize(node, op),
            Op::Dense(_) => self.dense(node),
            Op::MatMul(_) => self.matmul(node),
            Op::Unary(f) => self.unary(node, *f),
            Op::Binary(f) => self.binary(node, *f),
            Op::BatchNorm(op) => self.batch_norm(node, op),
            Op::LayerNorm(op) => self.layer_norm(node, op),
            Op::Reduce(op) => self.reduce(node, op),
            Op::ArgReduce(op) => self.arg_reduce(node, op),
            Op::Softmax(op) => self.softmax(node, op),
            Op::Reshape(_) => self.reshape(node),
            Op::Transpose(op) => self.transpose(node, &op.perm),
            Op::Concat(op) => self.concat(node, op.axis),
            Op::Pad(op) => self.pad(node, op),
            Op::Slice(op) => self.slice(node, op),
            Op::Reverse(op) => self.reverse(node, &op.axes),
            Op::Expand(_) => self.expand(node),
            Op::Gather(op) => self.gather(node, op.axis),
            Op::Bitwise(_)
            | Op::Cast(_)
            | Op::Compare(_)
            | Op::FloatQuant(_)
            | Op::Lookup(_)
            | Op::Lut(_)
            | Op::Requantize(_)
            | Op::Select(_)
            | Op::Threshold(_) => Err(format!("there is no such node for `{}`", node.op.name()).into()),
        }
    }
}

/// Whether a node takes floats: what it makes is floats too, or an index.
fn is_float(w: &Writer, node: &Node) -> bool {
    let float = |&v: &ValueId| w.graph.ty(v).elem.is_float();
    match node.op {
        Op::ArgReduce(_) | Op::Gather(_) => node.inputs.first().is_none_or(float),
        _ => node.inputs.iter().all(float) && float(&node.output),
    }
}
