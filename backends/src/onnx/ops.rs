//! One op of the graph as nodes of ONNX.
//!
//! Windows stand with the channels first, functions of elements in whatever form their operand has, all else as in the
//! graph. Refused: every op that is not in the table of [`Writer::node`].

use super::proto::Attribute;
use super::quant::{beside, constant, pair, quantizer};
use super::writer::{Form, Writer, float, int, ints, order};
use unfloat_ir::ops::{Binary, ReduceFn, Unary, Window};
use unfloat_ir::{Node, Op, OpDef, ValueId};

type Done = Result<(), String>;

impl<'a> Writer<'a> {
    /// Writes a node, or says why it cannot.
    pub fn node(&mut self, node: &'a Node) -> Done {
        match &node.op {
            // Written by its `dequantize`, which every reader of the codes must be.
            Op::Quantize(_) => Ok(()),
            Op::Dequantize(_) => match quantizer(self, node.inputs[0]) {
                Some(quantize) => pair(self, quantize, node),
                // A constant is written where it is read, in the order of axes that is wanted there.
                None if self.graph.const_of(node.inputs[0]).is_some() => Ok(()),
                None => Err("codes that are computed on cannot be written".into()),
            },
            Op::Conv(c) => self.conv(node, &c.window, c.groups),
            Op::Dense(_) => self.dense(node),
            Op::MaxPool(p) => self.window(node, "MaxPool", window(&p.window, true)),
            Op::AvgPool(p) => {
                let mut attrs = window(&p.window, true);
                attrs.push(int("count_include_pad", p.count_include_pad.into()));
                self.window(node, "AveragePool", attrs)
            }
            Op::Reduce(r) => {
                let name = match r.f {
                    ReduceFn::Sum => "ReduceSum",
                    ReduceFn::Mean => "ReduceMean",
                    ReduceFn::Max => "ReduceMax",
                    ReduceFn::Min => "ReduceMin",
                    _ => return Err(format!("`{}` cannot be written as ONNX yet", node.op.name())),
                };
                self.reduce(node, name, &r.axes, r.keep)
            }
            Op::Unary(f) => self.unary(node, *f),
            Op::Binary(f) => self.binary(node, *f),
            Op::Softmax(s) => match s.axes[..] {
                [axis] => {
                    let x = self.want(node.inputs[0], Form::Graph)?;
                    let name = if s.log { "LogSoftmax" } else { "Softmax" };
                    self.result(name, vec![x], node.output, Form::Graph, vec![int("axis", axis as i64 + 1)]);
                    Ok(())
                }
                _ => Err("a softmax over several axes cannot be written".into()),
            },
            Op::Reshape(_) => self.reshape(node),
            Op::Transpose(t) => self.transpose(node, &t.perm),
            Op::Concat(c) => self.concat(node, c.axis),
            op => Err(format!("`{}` cannot be written as ONNX yet", op.name())),
        }
    }

    fn conv(&mut self, node: &Node, at: &Window, groups: usize) -> Done {
        let x = self.want(node.inputs[0], Form::ChannelsFirst)?;
        let last = at.rank() + 1;
        let perm: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
        let mut inputs = vec![x, constant(self, node.inputs[1], Some(&perm))?];
        if let Some(&bias) = node.inputs.get(2) {
            inputs.push(constant(self, bias, None)?);
        }
        let mut attrs = window(at, true);
        attrs.push(int("group", groups as i64));
        self.result("Conv", inputs, node.output, Form::ChannelsFirst, attrs);
        Ok(())
    }

    fn dense(&mut self, node: &Node) -> Done {
        let x = self.want(node.inputs[0], Form::Graph)?;
        let bias = node.inputs.get(2).map(|&b| constant(self, b, None)).transpose()?;
        if self.graph.ty(node.inputs[0]).rank() == 1 {
            let mut inputs = vec![x, constant(self, node.inputs[1], None)?];
            inputs.extend(bias);
            self.result("Gemm", inputs, node.output, Form::Graph, vec![int("transB", 1)]);
            return Ok(());
        }
        let inputs = vec![x, constant(self, node.inputs[1], Some(&[1, 0]))?];
        let Some(bias) = bias else {
            self.result("MatMul", inputs, node.output, Form::Graph, vec![]);
            return Ok(());
        };
        let sum = self.name(node.output, "sum");
        self.push("MatMul", inputs, &sum, vec![]);
        self.result("Add", vec![sum, bias], node.output, Form::Graph, vec![]);
        Ok(())
    }

    fn window(&mut self, node: &Node, name: &str, attrs: Vec<Attribute>) -> Done {
        let x = self.want(node.inputs[0], Form::ChannelsFirst)?;
        self.result(name, vec![x], node.output, Form::ChannelsFirst, attrs);
        Ok(())
    }

    fn reduce(&mut self, node: &Node, name: &str, axes: &[usize], keep: bool) -> Done {
        let id = node.inputs[0];
        let from = self.form_of(id);
        let places = order(self.graph.ty(id), from);
        let x = self.want(id, from)?;
        let at = |a: &usize| places.iter().position(|p| p == a).map_or(0, |p| p as i64 + 1);
        // What is left stands in a form of the result if the axes that stay have that form's order there.
        let left: Vec<usize> = places.iter().copied().filter(|a| keep || !axes.contains(a)).collect();
        let rising = left.is_sorted();
        let form = if rising { Form::Graph } else { Form::ChannelsFirst };
        let fits = rising || (keep && order(self.graph.ty(node.output), form) == places);
        let (x, axes) = match fits {
            true => (x, axes.iter().map(at).collect()),
            false => (self.want(id, Form::Graph)?, axes.iter().map(|&a| a as i64 + 1).collect()),
        };
        let form = if fits { form } else { Form::Graph };
        let axes = self.list(node.output, axes);
        self.result(name, vec![x, axes], node.output, form, vec![int("keepdims", keep.into())]);
        Ok(())
    }

    fn unary(&mut self, node: &Node, f: Unary) -> Done {
        let form = self.form_of(node.inputs[0]);
        let mut inputs = vec![self.want(node.inputs[0], form)?];
        let mut attrs = vec![];
        let name = match f {
            Unary::Relu => "Relu",
            Unary::Sigmoid => "Sigmoid",
            Unary::Tanh => "Tanh",
            Unary::Exp => "Exp",
            Unary::Abs => "Abs",
            Unary::Neg => "Neg",
            Unary::Softplus => "Softplus",
            Unary::LeakyRelu { alpha } => {
                attrs.push(float("alpha", alpha));
                "LeakyRelu"
            }
            Unary::HardSigmoid { alpha, beta } => {
                attrs.extend([float("alpha", alpha), float("beta", beta)]);
                "HardSigmoid"
            }
            Unary::Clip { lo, hi } => {
                inputs.extend([lo, hi].map(|v| self.floats(node.output, &[], vec![v])));
                "Clip"
            }
            other => return Err(format!("`{}` cannot be written as ONNX yet", other.name())),
        };
        self.result(name, inputs, node.output, form, attrs);
        Ok(())
    }

    fn binary(&mut self, node: &Node, f: Binary) -> Done {
        let name = match f {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Max => "Max",
            Binary::Min => "Min",
            other => return Err(format!("`{}` cannot be written as ONNX yet", other.name())),
        };
        let computed = |w: &Self, id: ValueId| w.form_known(id);
        let out = self.graph.ty(node.output).clone();
        let values: Vec<ValueId> = node.inputs.iter().copied().filter(|&i| computed(self, i)).collect();
        if values.iter().any(|&v| self.graph.ty(v).rank() != out.rank()) {
            return Err("operands of different ranks cannot be written beside the axis of samples".into());
        }
        let alike = values.iter().all(|&v| self.graph.ty(v).layout == out.layout);
        let whole = |t: usize| t == out.rank() || t == 0;
        let constants_fit = node.inputs.iter().all(|&i| computed(self, i) || whole(self.graph.ty(i).rank()));
        let form = match values.first() {
            Some(&v) if alike && constants_fit => self.form_of(v),
            _ => Form::Graph,
        };
        let mut inputs = Vec::new();
        for &id in &node.inputs {
            inputs.push(match computed(self, id) {
                true => self.want(id, form)?,
                false => constant(self, id, Some(&beside(self, node.output, form)))?,
            });
        }
        self.result(name, inputs, node.output, form, vec![]);
        Ok(())
    }

    /// Whether a value has been written: constants are not, until they are read.
    fn form_known(&self, id: ValueId) -> bool {
        self.has(id, Form::Graph).or_else(|| self.has(id, Form::ChannelsFirst)).is_some()
    }

    fn reshape(&mut self, node: &Node) -> Done {
        let (id, out) = (node.inputs[0], self.graph.ty(node.output));
        let from = self.graph.ty(id);
        let first = |ty: &unfloat_ir::TensorType| -> Vec<usize> {
            order(ty, Form::ChannelsFirst).iter().map(|&a| ty.shape[a]).collect()
        };
        // An image of one channel: where its axis of extent 1 stands moves no element.
        let one = |ty: &unfloat_ir::TensorType| ty.layout.channel().is_some_and(|c| ty.shape[c] == 1);
        if one(from) && one(out) && first(from) == first(out) {
            let name = self.want(id, Form::ChannelsFirst)?;
            self.set(node.output, Form::ChannelsFirst, name);
            return Ok(());
        }
        let x = self.want(id, Form::Graph)?;
        let dims = std::iter::once(0).chain(out.shape.iter().map(|&n| n as i64)).collect();
        let shape = self.list(node.output, dims);
        self.result("Reshape", vec![x, shape], node.output, Form::Graph, vec![]);
        Ok(())
    }

    fn transpose(&mut self, node: &Node, perm: &[usize]) -> Done {
        let (id, out) = (node.inputs[0], node.output);
        let mut known = false;
        for to in [Form::ChannelsFirst, Form::Graph] {
            let axes: Vec<usize> = order(self.graph.ty(out), to).iter().map(|&a| perm[a]).collect();
            for from in [Form::ChannelsFirst, Form::Graph] {
                if order(self.graph.ty(id), from) == axes
                    && let Some(name) = self.has(id, from)
                {
                    self.set(out, to, name);
                    known = true;
                }
            }
        }
        if !known {
            let x = self.want(id, Form::Graph)?;
            let perm = std::iter::once(0).chain(perm.iter().map(|&a| a as i64 + 1)).collect();
            self.result("Transpose", vec![x], out, Form::Graph, vec![ints("perm", perm)]);
        }
        Ok(())
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Done {
        let form = node.inputs.first().map_or(Form::Graph, |&v| self.form_of(v));
        let places = order(self.graph.ty(node.output), form);
        let at = places.iter().position(|&a| a == axis).map_or(0, |p| p as i64 + 1);
        let inputs = node.inputs.iter().map(|&id| self.want(id, form)).collect::<Result<_, _>>()?;
        self.result("Concat", inputs, node.output, form, vec![int("axis", at)]);
        Ok(())
    }
}

/// The attributes of a window.
fn window(at: &Window, dilated: bool) -> Vec<Attribute> {
    let list = |v: &[usize]| v.iter().map(|&n| n as i64).collect::<Vec<_>>();
    let mut attrs = vec![
        ints("kernel_shape", list(&at.kernel)),
        ints("strides", list(&at.strides)),
        ints("pads", [list(&at.pads_begin), list(&at.pads_end)].concat()),
    ];
    if dilated {
        attrs.push(ints("dilations", list(&at.dilations)));
    }
    attrs
}
