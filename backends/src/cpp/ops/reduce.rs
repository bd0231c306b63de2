//! Reductions over whole axes, and softmax.

use super::super::plan::Step;
use super::super::writer::{Writer, size};
use super::nests::{self, Loop};
use unfloat_ir::ops::{Op, OpDef, Reduce, ReduceFn, Softmax};
use unfloat_ir::{Node, Shape};

/// Whether a reduction over no axes changes nothing.
pub fn is_identity(f: ReduceFn) -> bool {
    f != ReduceFn::SumSquare
}

/// The loops over the axes that stay and over those that go. The second stride of the latter counts elements.
pub fn kept_and_gone(shape: &Shape, axes: &[usize]) -> (Vec<Loop>, Vec<Loop>) {
    let strides = shape.strides();
    let of = |i: &usize| Loop { extent: shape[*i], a: strides[*i], b: 0 };
    let kept: Vec<usize> = (0..shape.rank()).filter(|i| !axes.contains(i)).collect();
    let mut gone: Vec<Loop> = axes.iter().map(of).collect();
    let mut count = 1;
    for l in gone.iter_mut().rev() {
        l.b = count;
        count *= l.extent;
    }
    (kept.iter().map(of).collect(), gone)
}

/// Writes a reduction.
pub fn reduce(w: &mut Writer, step: &Step, node: &Node, op: &Reduce) {
    let x = w.read(node.inputs[0]);
    let (kept, gone) = kept_and_gone(&w.graph.ty(node.inputs[0]).shape, &op.axes);
    let mut kept = nests::merge(kept);
    let run = nests::split_run(&mut kept, 1, 0);
    let gone = nests::merge(gone);
    let text = [nests::nested("kept", &kept), nests::nested("gone", &gone), size("run", run)].concat();
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&name, text);
    let function = Op::from(op.clone()).name();
    let (call, y) = (w.kernel("reduce"), w.target(step));
    w.line(&format!("{call}<{shape}, kernel::{function}>({x}, {y});"));
}

/// Writes a softmax or its logarithm.
pub fn softmax(w: &mut Writer, step: &Step, node: &Node, op: &Softmax) {
    let x = w.read(node.inputs[0]);
    let (kept, gone) = kept_and_gone(&w.graph.ty(node.inputs[0]).shape, &op.axes);
    let text = nests::nested("kept", &nests::merge(kept)) + &nests::nested("gone", &nests::merge(gone));
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("softmax"), w.target(step));
    w.line(&format!("{call}<{shape}, {}>({x}, {y});", op.log));
}
