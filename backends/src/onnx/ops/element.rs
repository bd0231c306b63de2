//! Functions of one and two elements, batch and layer normalisation.
//!
//! Refused: functions that ONNX has no node for. Composing them of others would round in between, and then give other codes
//! at some ties.

use super::super::constant::constant;
use super::super::writer::{Form, Result, Writer, float, int, order, text};
use unfloat_ir::ops::{BatchNorm, BatchNormFormula, Binary, LayerNorm, Unary};
use unfloat_ir::{Node, OpDef, ValueId};

impl Writer<'_> {
    pub(super) fn unary(&mut self, node: &Node, f: Unary) -> Result {
        let form = self.form_of(node.inputs[0]);
        let mut inputs = vec![self.want(node.inputs[0], form)?];
        let mut attrs = vec![];
        let name = match f {
            Unary::Relu => "Relu",
            Unary::Sigmoid => "Sigmoid",
            Unary::Tanh => "Tanh",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Sqrt => "Sqrt",
            Unary::Reciprocal => "Reciprocal",
            Unary::Abs => "Abs",
            Unary::Neg => "Neg",
            Unary::Erf => "Erf",
            Unary::Floor => "Floor",
            Unary::Ceil => "Ceil",
            Unary::Round => "Round",
            Unary::Sign => "Sign",
            Unary::Softplus => "Softplus",
            Unary::Softsign => "Softsign",
            Unary::HardSwish => {
                self.need(14);
                "HardSwish"
            }
            Unary::Mish => {
                self.need(18);
                "Mish"
            }
            Unary::Gelu | Unary::GeluTanh => {
                self.need(20);
                attrs.push(text("approximate", if f == Unary::Gelu { "none" } else { "tanh" }));
                "Gelu"
            }
            Unary::LeakyRelu { alpha } => {
                attrs.push(float("alpha", alpha));
                "LeakyRelu"
            }
            Unary::Elu { alpha } => {
                attrs.push(float("alpha", alpha));
                "Elu"
            }
            Unary::Celu { alpha } => {
                attrs.push(float("alpha", alpha));
                "Celu"
            }
            Unary::Selu { alpha, scale } => {
                attrs.extend([float("alpha", alpha), float("gamma", scale)]);
                "Selu"
            }
            Unary::ThresholdedRelu { theta } => {
                attrs.push(float("alpha", theta));
                "ThresholdedRelu"
            }
            Unary::HardSigmoid { alpha, beta } => {
                attrs.extend([float("alpha", alpha), float("beta", beta)]);
                "HardSigmoid"
            }
            Unary::SoftShrink { lambda } | Unary::HardShrink { lambda } => {
                let bias = if matches!(f, Unary::SoftShrink { .. }) { lambda } else { 0.0 };
                attrs.extend([float("lambd", lambda), float("bias", bias)]);
                "Shrink"
            }
            Unary::Clip { lo, hi } => return self.clip(node, (lo, hi)),
            // Keras' bounded ReLU without its slope and threshold is a clip at 0.
            Unary::BoundedRelu { max, slope, threshold } if slope == 0.0 && threshold == 0.0 => {
                return self.clip(node, (0.0, max));
            }
            other => return Err(format!("ONNX has no function `{}`", other.name()).into()),
        };
        self.result(name, std::mem::take(&mut inputs), node.output, form, attrs);
        Ok(())
    }

    /// A `Clip`, whose infinite bounds go without saying.
    fn clip(&mut self, node: &Node, (lo, hi): (f32, f32)) -> Result {
        let form = self.form_of(node.inputs[0]);
        let mut inputs = vec![self.want(node.inputs[0], form)?];
        inputs.push(if lo == f32::NEG_INFINITY { String::new() } else { self.number(node.output, "lo", lo) });
        if hi != f32::INFINITY {
            inputs.push(self.number(node.output, "hi", hi));
        }
        self.result("Clip", inputs, node.output, form, vec![]);
        Ok(())
    }

    pub(super) fn binary(&mut self, node: &Node, f: Binary) -> Result {
        let name = match f {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Max => "Max",
            Binary::Min => "Min",
            Binary::Pow => "Pow",
            Binary::Prelu => "PRelu",
            Binary::Mod | Binary::Fmod => return Err("ONNX has the remainder in other conventions".into()),
        };
        let out = self.graph.ty(node.output).clone();
        let computed: Vec<ValueId> = node.inputs.iter().copied().filter(|&i| !self.is_constant(i)).collect();
        if f == Binary::Prelu && self.graph.ty(node.inputs[0]).shape != out.shape {
            return Err("its slopes have more elements than its operand".into());
        }
        let alike = computed.iter().all(|&v| self.graph.ty(v).layout == out.layout);
        let form = match computed.first() {
            Some(&v) if alike => self.form_of(v),
            _ => Form::Graph,
        };
        let perm = order(&out, form);
        let mut inputs = Vec::new();
        for &id in &node.inputs {
            inputs.push(match self.is_constant(id) {
                true if self.graph.ty(id).shape.num_elements() == 1 => constant(self, id, None)?,
                true => constant(self, id, Some(&perm))?,
                false if form == Form::Graph => self.raised(id, out.rank())?,
                false => self.want(id, form)?,
            });
        }
        self.result(name, inputs, node.output, form, vec![]);
        Ok(())
    }

    /// A value with as many axes as asked for, the new ones behind that of the samples.
    pub(super) fn raised(&mut self, id: ValueId, rank: usize) -> Result<String> {
        let x = self.want(id, Form::Graph)?;
        let ty = self.graph.ty(id);
        if ty.rank() >= rank {
            return Ok(x);
        }
        let ones = std::iter::repeat_n(1, rank - ty.rank());
        let dims = std::iter::once(0).chain(ones).chain(ty.shape.iter().map(|&n| n as i64)).collect();
        let dims = self.list(id, "shape", dims);
        let name = self.name(id, "raised");
        self.push("Reshape", vec![x, dims], &name, vec![]);
        Ok(name)
    }

    pub(super) fn batch_norm(&mut self, node: &Node, op: &BatchNorm) -> Result {
        if op.formula != BatchNormFormula::Definition {
            return Err("it is a batch normalisation in fused steps, which ONNX rounds otherwise".into());
        }
        let form = Form::ChannelsFirst;
        if order(self.graph.ty(node.inputs[0]), form).first() != Some(&op.axis) {
            return Err("it normalises along an axis that is not that of the channels".into());
        }
        let mut inputs = vec![self.want(node.inputs[0], form)?];
        for &id in &node.inputs[1..] {
            inputs.push(constant(self, id, None)?);
        }
        self.result("BatchNormalization", inputs, node.output, form, vec![float("epsilon", op.eps)]);
        Ok(())
    }

    pub(super) fn layer_norm(&mut self, node: &Node, op: &LayerNorm) -> Result {
        let rank = self.graph.ty(node.inputs[0]).rank();
        let first = rank - op.axes.len().min(rank);
        if op.axes != (first..rank).collect::<Vec<_>>() {
            return Err("it normalises over axes that are not the last ones".into());
        }
        self.need(17);
        let mut inputs = vec![self.want(node.inputs[0], Form::Graph)?];
        for &id in &node.inputs[1..] {
            inputs.push(constant(self, id, None)?);
        }
        let attrs = vec![int("axis", first as i64 + 1), float("epsilon", op.eps)];
        self.result("LayerNormalization", inputs, node.output, Form::Graph, attrs);
        Ok(())
    }
}
