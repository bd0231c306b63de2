//! Ops that move elements: transposition, concatenation, slices, padding, broadcasts, enlargement.

use super::super::function::literal;
use super::super::plan::Step;
use super::super::writer::{Writer, list, size};
use super::nests::{self, Loop};
use unfloat_ir::ops::{Concat, Pad, PadMode, Slice, Transpose, Upsample, UpsampleMode};
use unfloat_ir::{Node, TensorType};

/// Whether a transposition moves axes of extent 1 only.
pub fn keeps_order(ty: &TensorType, perm: &[usize]) -> bool {
    let mut axes = perm.iter().filter(|&&p| ty.shape[p] != 1);
    axes.clone().zip(axes.by_ref().skip(1)).all(|(a, b)| a < b)
}

/// Writes a strided copy from `x` to `y`.
fn copy(w: &mut Writer, name: &str, loops: impl IntoIterator<Item = Loop>, x: &str, y: &str) {
    let mut loops = nests::merge(loops);
    let run = nests::split_run(&mut loops, 1, 1);
    let shape = w.shape(name, nests::fields(&loops) + &size("run", run));
    let call = w.kernel("copy");
    w.line(&format!("{call}<{shape}>({x}, {y});"));
}

fn offset(base: &str, by: usize) -> String {
    if by == 0 { base.to_string() } else { format!("{base} + {by}") }
}

/// Writes a transposition.
pub fn transpose(w: &mut Writer, step: &Step, node: &Node, op: &Transpose) {
    let x = w.read(node.inputs[0]);
    let (from, out) = (w.graph.ty(node.inputs[0]).shape.strides(), w.graph.ty(node.output).shape.clone());
    let to = out.strides();
    let loops: Vec<Loop> =
        (0..out.rank()).map(|i| Loop { extent: out[i], a: from[op.perm[i]], b: to[i] }).collect();
    let (name, y) = (w.graph.value(node.output).name.clone(), w.target(step));
    copy(w, &name, loops, &x, &y);
}

/// Writes a concatenation: a copy for each operand.
pub fn concat(w: &mut Writer, step: &Step, node: &Node, op: &Concat) {
    let name = w.graph.value(node.output).name.clone();
    let to = w.graph.ty(node.output).shape.strides();
    let y = w.target(step);
    let mut at = 0;
    for &v in &node.inputs {
        let x = w.read(v);
        let part = w.graph.ty(v).shape.clone();
        let from = part.strides();
        let loops: Vec<Loop> =
            (0..part.rank()).map(|i| Loop { extent: part[i], a: from[i], b: to[i] }).collect();
        copy(w, &name, loops, &x, &offset(&y, at * to[op.axis]));
        at += part[op.axis];
    }
}

/// Writes a slice.
pub fn slice(w: &mut Writer, step: &Step, node: &Node, op: &Slice) {
    let x = w.read(node.inputs[0]);
    let (from, out) = (w.graph.ty(node.inputs[0]).shape.strides(), w.graph.ty(node.output).shape.clone());
    let to = out.strides();
    let loops: Vec<Loop> =
        (0..out.rank()).map(|i| Loop { extent: out[i], a: from[i] * op.step[i], b: to[i] }).collect();
    let first = op.begin.iter().zip(&from).map(|(b, s)| b * s).sum();
    let (name, y) = (w.graph.value(node.output).name.clone(), w.target(step));
    copy(w, &name, loops, &offset(&x, first), &y);
}

/// Writes a broadcast.
pub fn expand(w: &mut Writer, step: &Step, node: &Node) {
    let x = w.read(node.inputs[0]);
    let (shape, out) = (w.graph.ty(node.inputs[0]).shape.clone(), w.graph.ty(node.output).shape.clone());
    let (from, to) = (shape.strides(), out.strides());
    let stride = |i: usize| {
        let axis = (i + shape.rank()).checked_sub(out.rank());
        axis.map_or(0, |i| if shape[i] == 1 { 0 } else { from[i] })
    };
    let loops: Vec<Loop> = (0..out.rank()).map(|i| Loop { extent: out[i], a: stride(i), b: to[i] }).collect();
    let (name, y) = (w.graph.value(node.output).name.clone(), w.target(step));
    copy(w, &name, loops, &x, &y);
}

/// Writes a padding.
pub fn pad(w: &mut Writer, step: &Step, node: &Node, op: &Pad) {
    let x = w.read(node.inputs[0]);
    let (shape, out) = (w.graph.ty(node.inputs[0]).shape.clone(), w.graph.ty(node.output).shape.clone());
    let (from, to) = (shape.strides(), out.strides());
    let (name, y) = (w.graph.value(node.output).name.clone(), w.target(step));
    let mirror = match op.mode {
        PadMode::Constant(value) => {
            let fill = w.kernel("fill");
            w.line(&format!("{fill}({y}, {}, {});", out.num_elements(), literal(value)));
            let loops: Vec<Loop> =
                (0..out.rank()).map(|i| Loop { extent: shape[i], a: from[i], b: to[i] }).collect();
            let first = op.before.iter().zip(&to).map(|(b, s)| b * s).sum();
            return copy(w, &name, loops, &x, &offset(&y, first));
        }
        PadMode::Reflect => true,
        PadMode::Edge => false,
    };
    // Trailing axes that are not padded are moved as one run.
    let rank = (0..out.rank()).rev().find(|&i| out[i] != shape[i]).map_or(0, |i| i + 1);
    let text = [
        list("extent", &shape[..rank]),
        list("stride", &from[..rank]),
        list("before", &op.before[..rank]),
        list("after", &op.after[..rank]),
        size("run", shape[rank..].iter().product()),
    ]
    .concat();
    let (shape, call) = (w.shape(&name, text), w.kernel("border"));
    cursor(w, &y, |cursor| format!("{call}<{shape}, {mirror}>({x}, {cursor});"));
}

/// Writes an enlargement.
pub fn upsample(w: &mut Writer, step: &Step, node: &Node, op: &Upsample) {
    let x = w.read(node.inputs[0]);
    let shape = w.graph.ty(node.inputs[0]).shape.clone();
    let strides = shape.strides();
    let rank = op.factors.iter().rposition(|&f| f != 1).map_or(0, |i| i + 1);
    let text = [
        list("extent", &shape[..rank]),
        list("stride", &strides[..rank]),
        list("factor", &op.factors[..rank]),
        size("run", shape[rank..].iter().product()),
    ]
    .concat();
    let mode = match op.mode {
        UpsampleMode::Nearest => "repeat_cells",
        UpsampleMode::Linear => "half_pixel",
        UpsampleMode::LinearAsymmetric => "asymmetric",
    };
    let name = w.graph.value(node.output).name.clone();
    let (shape, call, y) = (w.shape(&name, text), w.kernel("upsample"), w.target(step));
    cursor(w, &y, |cursor| {
        format!(
            "std::size_t index[{rank}] = {{}};\n    {call}<{shape}, kernel::{mode}>({x}, {cursor}, index);"
        )
    });
}

/// Writes a call, in a scope of its own, that moves a pointer on from `y`.
fn cursor(w: &mut Writer, y: &str, call: impl Fn(&str) -> String) {
    w.line("{");
    w.line(&format!("  float* to = {y};"));
    w.line(&format!("  {}", call("to")));
    w.line("}");
}
