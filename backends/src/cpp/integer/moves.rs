//! Ops that move elements, pools and reductions.

use super::super::ops::conv::{extents, three};
use super::super::ops::nests::{self, Loop};
use super::super::ops::reduce::kept_and_gone;
use super::super::plan::Step;
use super::super::writer::{list, size};
use super::words::{Word, literal};
use super::writer::Writer;
use unfloat_ir::ops::{
    ArgReduce, Concat, Gather, MaxPool, Op, OpDef, Pad, PadMode, Reduce, ReduceFn, Slice, Transpose, Window,
};
use unfloat_ir::{ElemType, IntType, Node, Shape};

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
    let (name, y) = (w.name(step), w.target(step));
    copy(w, &name, loops, &x, &y);
}

/// Writes a concatenation: a copy for each operand.
pub fn concat(w: &mut Writer, step: &Step, node: &Node, op: &Concat) {
    let to = w.graph.ty(node.output).shape.strides();
    let (name, y) = (w.name(step), w.target(step));
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
    let (name, y) = (w.name(step), w.target(step));
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
    let (name, y) = (w.name(step), w.target(step));
    copy(w, &name, loops, &x, &y);
}

/// Writes a padding.
pub fn pad(w: &mut Writer, step: &Step, node: &Node, op: &Pad) {
    let (shape, out) = (w.graph.ty(node.inputs[0]).shape.clone(), w.graph.ty(node.output).shape.clone());
    if let PadMode::Constant(value) = op.mode {
        let x = w.read(node.inputs[0]);
        let (from, to) = (shape.strides(), out.strides());
        let (fill, word) = (w.kernel("fill"), w.word(node.output).name());
        let (name, y) = (w.name(step), w.target(step));
        w.line(&format!("{fill}<{word}>({y}, {}, {});", out.num_elements(), literal(value as i64)));
        let loops: Vec<Loop> =
            (0..out.rank()).map(|i| Loop { extent: shape[i], a: from[i], b: to[i] }).collect();
        let first = op.before.iter().zip(&to).map(|(b, s)| b * s).sum();
        return copy(w, &name, loops, &x, &offset(&y, first));
    }
    let mirror = op.mode == PadMode::Reflect;
    pick(w, step, node, |axis, i| {
        let (n, before) = (shape[axis], op.before[axis]);
        let inside = i.checked_sub(before).filter(|&i| i < n);
        inside.unwrap_or(match (mirror, i < before) {
            (true, true) => before - i,
            (true, false) => 2 * (n - 1) - (i - before),
            (false, true) => 0,
            (false, false) => n - 1,
        })
    });
}

/// Writes a repetition or a reversal of cells.
pub fn rearrange(w: &mut Writer, step: &Step, node: &Node) {
    let shape = w.graph.ty(node.inputs[0]).shape.clone();
    match &node.op {
        Op::Reverse(op) => {
            pick(w, step, node, |a, i| if op.axes.contains(&a) { shape[a] - 1 - i } else { i })
        }
        Op::Upsample(op) => pick(w, step, node, |a, i| i / op.factors[a]),
        _ => {}
    }
}

/// Writes a result whose index along each axis says which cell of the operand's axis it comes from.
fn pick(w: &mut Writer, step: &Step, node: &Node, source: impl Fn(usize, usize) -> usize) {
    let x = w.read(node.inputs[0]);
    let from = w.graph.ty(node.inputs[0]).shape.clone();
    let out = w.graph.ty(node.output).shape.clone();
    let strides = from.strides();
    // Trailing axes that stay as they are are moved as one run.
    let same = |a: usize| out[a] == from[a] && (0..out[a]).all(|i| source(a, i) == i);
    let rank = (0..out.rank()).rev().find(|&a| !same(a)).map_or(0, |a| a + 1);
    let (mut places, mut first, mut extent) = (Vec::new(), Vec::new(), Vec::new());
    for a in 0..rank {
        first.push(places.len());
        extent.push(out[a]);
        places.extend((0..out[a]).map(|i| source(a, i) * strides[a]));
    }
    if rank == 0 {
        (places, first, extent) = (vec![0], vec![0], vec![1]);
    }
    let run: usize = from[rank..].iter().product();
    let text =
        [list("extent", &extent), list("first", &first), list("from", &places), size("run", run)].concat();
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("pick"), w.target(step));
    w.line(&format!("{call}<{shape}>({x}, {y});"));
}

/// Writes cells that are picked by an index.
pub fn gather(w: &mut Writer, step: &Step, node: &Node, op: &Gather) {
    let (x, at) = (w.read(node.inputs[0]), w.read(node.inputs[1]));
    let shape = w.graph.ty(node.inputs[0]).shape.clone();
    let text = [
        size("outer", shape[..op.axis].iter().product()),
        size("cells", shape[op.axis]),
        size("run", shape[op.axis + 1..].iter().product()),
        size("picked", w.graph.ty(node.inputs[1]).shape.num_elements()),
    ]
    .concat();
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("gather"), w.target(step));
    w.line(&format!("{call}<{shape}>({x}, {at}, {y});"));
}

/// The shape of a pooling, whatever its cells hold.
pub(super) fn pooling(w: &Writer, node: &Node, window: &Window) -> String {
    let (n, _) = extents(w.graph.ty(node.inputs[0]));
    let (out, _) = extents(w.graph.ty(node.output));
    [
        list("in", &n),
        list("out", &out),
        list("taps", &three(&window.kernel, 1)),
        list("stride", &three(&window.strides, 1)),
        list("dilation", &three(&window.dilations, 1)),
        list("pad", &three(&window.pads_begin, 0)),
    ]
    .concat()
}

/// Writes the greatest of each window.
pub fn max_pool(w: &mut Writer, step: &Step, node: &Node, op: &MaxPool) {
    let x = w.read(node.inputs[0]);
    let (_, channels) = extents(w.graph.ty(node.inputs[0]));
    let text = pooling(w, node, &op.window) + &size("channels", channels);
    let name = w.name(step);
    let (shape, word) = (w.shape(&name, text), w.word(node.output).name());
    let least = w.graph.ty(node.output).elem.code_range().map_or(0, |r| r.0);
    let (call, y) = (w.kernel("max_pool"), w.target(step));
    w.line(&format!("{call}<{shape}, {word}>({x}, {y}, {});", literal(least)));
}

/// Writes a reduction.
pub fn reduce(w: &mut Writer, step: &Step, node: &Node, op: &Reduce) {
    let x = w.read(node.inputs[0]);
    let ty = w.graph.ty(node.inputs[0]).clone();
    let (kept, gone) = kept_and_gone(&ty.shape, &op.axes);
    let mut kept = nests::merge(kept);
    let run = nests::split_run(&mut kept, 1, 0);
    let text =
        [nests::nested("kept", &kept), nests::nested("gone", &nests::merge(gone)), size("run", run)].concat();
    let int = match ty.elem {
        ElemType::Int(int) => int,
        _ => IntType::unsigned(1),
    };
    let (lo, hi) = (int.min(), int.max());
    let start = match op.f {
        ReduceFn::Sum | ReduceFn::SumSquare | ReduceFn::Mean => 0,
        ReduceFn::Prod => 1,
        ReduceFn::Max => lo,
        ReduceFn::Min => hi,
    };
    // The low 32 bits of a sum or product are all that a type of 32 bits or less needs.
    let word = Word::computing((lo.into(), hi.into())).name();
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let function = Op::from(op.clone()).name();
    let (call, y) = (w.kernel("reduce"), w.target(step));
    w.line(&format!(
        "{call}<{shape}, kernel::{function}, {}, {}, {word}>({x}, {y}, {});",
        int.width,
        int.signed,
        literal(start)
    ));
}

/// Writes where an extreme is.
pub fn arg_reduce(w: &mut Writer, step: &Step, node: &Node, op: &ArgReduce) {
    let x = w.read(node.inputs[0]);
    let shape: Shape = w.graph.ty(node.inputs[0]).shape.clone();
    let text = [
        size("outer", shape[..op.axis].iter().product()),
        size("cells", shape[op.axis]),
        size("run", shape[op.axis + 1..].iter().product()),
    ]
    .concat();
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("arg_reduce"), w.target(step));
    w.line(&format!("{call}<{shape}, {}, {}>({x}, {y});", op.max, op.last));
}
