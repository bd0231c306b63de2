//! Functions of one and two elements.

use super::super::plan::Step;
use super::super::writer::{Writer, size};
use super::nests::{self, Loop};
use unfloat_ir::Node;
use unfloat_ir::ops::{Binary, Unary};

/// Writes a function of each element.
pub fn unary(w: &mut Writer, step: &Step, node: &Node, f: Unary) {
    let (x, n) = (w.read(node.inputs[0]), w.graph.ty(node.output).shape.num_elements());
    let f = w.activation(Some(f));
    let (call, y) = (w.kernel("map"), w.target(step));
    w.line(&format!("{call}<{f}>({x}, {y}, {n});"));
}

/// Writes a function of two elements, broadcasting.
pub fn binary(w: &mut Writer, step: &Step, node: &Node, f: Binary, act: Option<Unary>) {
    let (a, b) = (w.read(node.inputs[0]), w.read(node.inputs[1]));
    let out = w.graph.ty(node.output).shape.clone();
    let stride = |i: usize, axis: usize| {
        let shape = &w.graph.ty(node.inputs[i]).shape;
        let axis = (axis + shape.rank()).checked_sub(out.rank());
        axis.map_or(0, |i| if shape[i] == 1 { 0 } else { shape.strides()[i] })
    };
    let axes = (0..out.rank()).map(|i| Loop { extent: out[i], a: stride(0, i), b: stride(1, i) });
    let mut loops = nests::merge(axes);
    let run = loops.pop().unwrap_or(Loop { extent: 1, a: 0, b: 0 });
    let text =
        [nests::fields(&loops), size("run", run.extent), size("run_a", run.a), size("run_b", run.b)].concat();
    let name = w.graph.value(node.output).name.clone();
    let (shape, f, act) = (w.shape(&name, text), w.binary(f), w.activation(act));
    let (call, y) = (w.kernel("zip"), w.target(step));
    w.line(&format!("{call}<{shape}, {f}, {act}>({a}, {b}, {y});"));
}
