//! Ops that move elements: in whatever form their operand has, where they have a list of axes.
//!
//! Refused: gathering with computed indices, and joining constants to values.

use super::super::constant::constant;
use super::super::writer::{Form, Result, Writer, arranged, int, ints, order, place, text};
use unfloat_ir::ops::{Pad, PadMode, Slice};
use unfloat_ir::{Node, TensorType, ValueId};

fn list(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&n| n as i64).collect()
}

impl Writer<'_> {
    /// The form in which an op that keeps the layout is written, its operand, and the order of axes there.
    fn moved(&mut self, node: &Node) -> Result<(Form, String, Vec<usize>)> {
        let id = node.inputs[0];
        let form = self.form_of(id);
        let x = self.want(id, form)?;
        Ok((form, x, order(self.graph.ty(id), form)))
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Result {
        let (id, out) = (node.inputs[0], self.graph.ty(node.output));
        let from = self.graph.ty(id);
        let first = |ty: &TensorType| -> Vec<usize> {
            order(ty, Form::ChannelsFirst).iter().map(|&a| ty.shape[a]).collect()
        };
        // An image of one channel: where its axis of extent 1 stands moves no element.
        let one = |ty: &TensorType| ty.layout.channel().is_some_and(|c| ty.shape[c] == 1);
        if one(from) && one(out) && first(from) == first(out) {
            let name = self.want(id, Form::ChannelsFirst)?;
            self.set(node.output, Form::ChannelsFirst, name);
            return Ok(());
        }
        let x = self.want(id, Form::Graph)?;
        let dims = std::iter::once(0).chain(out.shape.iter().map(|&n| n as i64)).collect();
        let shape = self.list(node.output, "shape", dims);
        self.result("Reshape", vec![x, shape], node.output, Form::Graph, vec![]);
        Ok(())
    }

    pub(super) fn transpose(&mut self, node: &Node, perm: &[usize]) -> Result {
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

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result {
        let out = self.graph.ty(node.output);
        let alike = node.inputs.iter().all(|&v| self.graph.ty(v).layout == out.layout);
        let form = match node.inputs.first() {
            Some(&v) if alike => self.form_of(v),
            _ => Form::Graph,
        };
        let inputs = node.inputs.iter().map(|&id| self.want(id, form)).collect::<Result<_>>()?;
        let axis = place(out, form, axis);
        self.result("Concat", inputs, node.output, form, vec![int("axis", axis)]);
        Ok(())
    }

    pub(super) fn pad(&mut self, node: &Node, op: &Pad) -> Result {
        let (form, x, places) = self.moved(node)?;
        let side = |v: &[usize]| [vec![0], arranged(&list(v), &places)].concat();
        let pads = [side(&op.before), side(&op.after)].concat();
        let mut inputs = vec![x, self.list(node.output, "pads", pads)];
        let mode = match op.mode {
            PadMode::Constant(value) => {
                inputs.push(self.number(node.output, "value", value));
                "constant"
            }
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
        };
        self.result("Pad", inputs, node.output, form, vec![text("mode", mode)]);
        Ok(())
    }

    pub(super) fn slice(&mut self, node: &Node, op: &Slice) -> Result {
        let (form, x, places) = self.moved(node)?;
        if op.size.contains(&0) {
            return Err("it takes no cells".into());
        }
        let end = |a: usize| op.begin[a] + (op.size[a] - 1) * op.step[a] + 1;
        let ends: Vec<usize> = (0..op.size.len()).map(end).collect();
        let axes = (1..=places.len() as i64).collect();
        let mut inputs = vec![x];
        for (what, values) in [("starts", list(&op.begin)), ("ends", list(&ends))] {
            inputs.push(self.list(node.output, what, arranged(&values, &places)));
        }
        inputs.push(self.list(node.output, "axes", axes));
        inputs.push(self.list(node.output, "steps", arranged(&list(&op.step), &places)));
        self.result("Slice", inputs, node.output, form, vec![]);
        Ok(())
    }

    /// A slice from the end to the beginning.
    pub(super) fn reverse(&mut self, node: &Node, axes: &[usize]) -> Result {
        let (form, x, _) = self.moved(node)?;
        let ty = self.graph.ty(node.inputs[0]);
        let at = axes.iter().map(|&a| place(ty, form, a)).collect();
        let lists = [("starts", vec![-1; axes.len()]), ("ends", vec![i64::MIN; axes.len()]), ("axes", at)];
        let mut inputs = vec![x];
        for (what, values) in lists {
            inputs.push(self.list(node.output, what, values));
        }
        inputs.push(self.list(node.output, "steps", vec![-1; axes.len()]));
        self.result("Slice", inputs, node.output, form, vec![]);
        Ok(())
    }

    pub(super) fn expand(&mut self, node: &Node) -> Result {
        let out = self.graph.ty(node.output);
        let x = self.raised(node.inputs[0], out.rank())?;
        let dims = std::iter::once(1).chain(out.shape.iter().map(|&n| n as i64)).collect();
        let dims = self.list(node.output, "shape", dims);
        self.result("Expand", vec![x, dims], node.output, Form::Graph, vec![]);
        Ok(())
    }

    pub(super) fn gather(&mut self, node: &Node, axis: usize) -> Result {
        let (x, indices): (ValueId, ValueId) = (node.inputs[0], node.inputs[1]);
        let Some(picks) = self.graph.const_of(indices) else { return Err("its indices are computed".into()) };
        if self.is_constant(x) {
            constant(self, x, None)?;
            return Err("it picks cells of a constant".into());
        }
        let codes = (0..picks.len()).map(|i| picks.data.code(i)).collect::<Option<Vec<i64>>>();
        let codes = codes.ok_or("its indices are no integers")?;
        let dims = picks.shape().to_vec();
        let x = self.want(x, Form::Graph)?;
        let kind = super::super::writer::INT64;
        let data = unfloat_ir::Data::I64(codes);
        let indices = self.initializer(node.output, "indices", &dims, kind, &data);
        self.result("Gather", vec![x, indices], node.output, Form::Graph, vec![int("axis", axis as i64 + 1)]);
        Ok(())
    }
}
