//! Pooling over windows.

use super::super::plan::Step;
use super::super::writer::{Writer, list, size};
use super::conv::extents;
use unfloat_ir::Node;
use unfloat_ir::ops::Window;

/// Writes a pooling by the function of that name in `pool.hpp`.
pub fn pool(w: &mut Writer, step: &Step, node: &Node, window: &Window, function: &str) {
    let x = w.read(node.inputs[0]);
    let (n, channels) = extents(w.graph.ty(node.inputs[0]));
    let (out, _) = extents(w.graph.ty(node.output));
    let three = |values: &[usize], fill: usize| {
        let mut all = vec![fill; 3 - values.len().min(3)];
        all.extend(values);
        all
    };
    let text = [
        list("in", &n),
        list("out", &out),
        list("taps", &three(&window.kernel, 1)),
        list("stride", &three(&window.strides, 1)),
        list("dilation", &three(&window.dilations, 1)),
        list("pad", &three(&window.pads_begin, 0)),
        size("channels", channels),
    ]
    .concat();
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("pool"), w.target(step));
    w.line(&format!("{call}<{shape}, kernel::{function}>({x}, {y});"));
}
