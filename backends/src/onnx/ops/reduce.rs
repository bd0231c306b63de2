//! Reductions over axes, the place of an extreme, softmax.

use super::super::writer::{Form, Result, Writer, flag, int, ints, order, place};
use unfloat_ir::Node;
use unfloat_ir::ops::{ArgReduce, Reduce, ReduceFn, Softmax};

impl Writer<'_> {
    pub(super) fn reduce(&mut self, node: &Node, op: &Reduce) -> Result {
        let name = match op.f {
            ReduceFn::Sum => "ReduceSum",
            ReduceFn::Mean => "ReduceMean",
            ReduceFn::Max => "ReduceMax",
            ReduceFn::Min => "ReduceMin",
            ReduceFn::Prod => "ReduceProd",
            ReduceFn::SumSquare => "ReduceSumSquare",
        };
        // ONNX takes an empty list for all axes.
        if op.axes.is_empty() && op.f == ReduceFn::SumSquare {
            return Err("it reduces over no axes".into());
        }
        if op.axes.is_empty() {
            let x = self.want(node.inputs[0], Form::Graph)?;
            self.set(node.output, Form::Graph, x);
            return Ok(());
        }
        let id = node.inputs[0];
        let ty = self.graph.ty(id);
        let from = self.form_of(id);
        // What is left stands in a form of the result if the axes that stay have that form's order there.
        let places = order(ty, from);
        let left: Vec<usize> = places.iter().copied().filter(|a| op.keep || !op.axes.contains(a)).collect();
        let to = if left.is_sorted() { Form::Graph } else { Form::ChannelsFirst };
        let fits = left.is_sorted() || (op.keep && order(self.graph.ty(node.output), to) == places);
        let (from, to) = if fits { (from, to) } else { (Form::Graph, Form::Graph) };
        let mut axes: Vec<i64> = op.axes.iter().map(|&a| place(ty, from, a)).collect();
        axes.sort_unstable();
        let mut inputs = vec![self.want(id, from)?];
        let mut attrs = vec![flag("keepdims", op.keep)];
        if op.f == ReduceFn::Sum || self.opset >= 18 {
            inputs.push(self.list(node.output, "axes", axes));
        } else {
            attrs.push(ints("axes", axes));
        }
        self.result(name, inputs, node.output, to, attrs);
        Ok(())
    }

    pub(super) fn arg_reduce(&mut self, node: &Node, op: &ArgReduce) -> Result {
        if !self.users[unfloat_ir::arena::Handle::index(node.output)].is_empty() {
            return Err("another layer reads its indices".into());
        }
        let x = self.want(node.inputs[0], Form::Graph)?;
        let name = if op.max { "ArgMax" } else { "ArgMin" };
        let mut attrs = vec![int("axis", op.axis as i64 + 1), flag("keepdims", op.keep)];
        if op.last {
            attrs.push(flag("select_last_index", true));
        }
        self.result(name, vec![x], node.output, Form::Graph, attrs);
        Ok(())
    }

    pub(super) fn softmax(&mut self, node: &Node, op: &Softmax) -> Result {
        let [axis] = op.axes[..] else { return Err("it is a softmax over several axes".into()) };
        let id = node.inputs[0];
        let form = self.form_of(id);
        let x = self.want(id, form)?;
        let axis = place(self.graph.ty(id), form, axis);
        let name = if op.log { "LogSoftmax" } else { "Softmax" };
        self.result(name, vec![x], node.output, form, vec![int("axis", axis)]);
        Ok(())
    }
}
