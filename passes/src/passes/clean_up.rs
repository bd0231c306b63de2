//! Removes ops that move or compute nothing, and merges neighbours that are one op.
//!
//! In: any graph. Out: the same numbers, bit for bit, by fewer ops. Gone are moves that move nothing (reshape,
//! transpose, slice, pad, concat, expand, upsample, reduction and pooling of single cells), moves of moves, functions
//! that change nothing where they stand (`relu` of what is never negative, `· 1`, `− 0`), and clips of clips. Left
//! alone: whatever could change a bit, such as `+ 0`, which turns −0 into 0.

use crate::analysis::range::is_nonnegative;
use crate::analysis::{floats, perm};
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::ops::{AvgPool, Binary, Concat, MaxPool, Pad, PadMode, Reduce, ReduceFn, Reshape, Slice};
use unfloat_ir::ops::{Transpose, Unary, Window};
use unfloat_ir::{Diagnostics, Graph, Node, Op, OpDef, Patch, Stage, TensorType, ValueId};

/// The pass `clean-up`.
pub struct CleanUp;

static INFO: PassInfo = PassInfo {
    name: "clean-up",
    summary: "remove ops that do nothing, merge neighbours that are one op",
    details: "Moves that move nothing, moves of moves, relu of what is never negative, clips of clips, factors of 1. \
              What could change a bit stays: `+ 0` turns -0 into 0.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

/// What takes the place of a node.
enum Rewrite {
    /// A value that is there already.
    Alias(ValueId),
    /// Another op.
    Op(Op, Vec<ValueId>),
}

fn one(op: impl Into<Op>, input: ValueId) -> Option<Rewrite> {
    Some(Rewrite::Op(op.into(), vec![input]))
}

impl Pass for CleanUp {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut count = 0;
        // A rewrite may make room for another. Each takes a node out of a chain, so this ends.
        loop {
            let mut patch = Patch::new(graph);
            for (_, node) in graph.live_nodes() {
                match rewrite(graph, node) {
                    Some(Rewrite::Alias(value)) if graph.ty(value) == graph.ty(node.output) => {
                        patch.replace(node.output, value)?;
                    }
                    Some(Rewrite::Op(op, inputs)) => {
                        let new = patch.node(op, &inputs, &graph.value(node.output).name, &node.origin)?;
                        patch.replace(node.output, new)?;
                    }
                    _ => {}
                }
            }
            let edit = patch.finish();
            if edit.is_empty() {
                return Ok(Change::of(count));
            }
            count += edit.len();
            graph.apply(edit);
            *graph = graph.compact();
        }
    }
}

fn rewrite(graph: &Graph, node: &Node) -> Option<Rewrite> {
    let x = *node.inputs.first()?;
    let (ty, out) = (graph.ty(x), graph.ty(node.output));
    let inner = graph.producer(x).map(|(_, n)| n);
    match &node.op {
        Op::Unary(f) => unary(graph, *f, x, inner),
        Op::Binary(f) => binary(graph, *f, node),
        Op::Reshape(r) => match inner {
            _ if ty == out => Some(Rewrite::Alias(x)),
            Some(Node { op: Op::Reshape(_), inputs, .. }) => one(r.clone(), inputs[0]),
            _ => None,
        },
        Op::Transpose(t) => transpose(t, x, ty, out, inner),
        Op::Slice(s) => slice(s, x, ty, inner),
        Op::Pad(p) => pad(p, x, inner),
        Op::Expand(_) => Some(Rewrite::Alias(x)),
        Op::Upsample(u) if u.factors.iter().all(|&f| f == 1) => Some(Rewrite::Alias(x)),
        Op::Concat(c) => concat(graph, c, node),
        Op::Reduce(r) => reduce(r, x, ty, out),
        Op::MaxPool(MaxPool { window }) | Op::AvgPool(AvgPool { window, .. }) if is_single_cell(window) => {
            Some(Rewrite::Alias(x))
        }
        _ => None,
    }
}

/// An op in the place of another, if it makes the same type.
fn checked(graph: &Graph, op: impl Into<Op>, inputs: Vec<ValueId>, out: &TensorType) -> Option<Rewrite> {
    let op = op.into();
    let types: Vec<&TensorType> = inputs.iter().map(|&v| graph.ty(v)).collect();
    (op.infer(&types).as_ref() == Ok(out)).then_some(Rewrite::Op(op, inputs))
}

fn is_single_cell(window: &Window) -> bool {
    !window.is_padded() && window.kernel.iter().chain(&window.strides).all(|&n| n == 1)
}

fn unary(graph: &Graph, f: Unary, x: ValueId, inner: Option<&Node>) -> Option<Rewrite> {
    if f == Unary::Relu && is_nonnegative(graph, x) {
        return Some(Rewrite::Alias(x));
    }
    let Some(Node { op: Op::Unary(g), inputs, .. }) = inner else { return None };
    let bounds = |f: Unary| match f {
        Unary::Relu => Some((0.0f32, f32::INFINITY)),
        // A bound of −0 would have to be told from one of 0.
        Unary::Clip { lo, hi }
            if lo <= hi && lo.to_bits() != NEGATIVE_ZERO && hi.to_bits() != NEGATIVE_ZERO =>
        {
            Some((lo, hi))
        }
        _ => None,
    };
    match (bounds(f), bounds(*g)) {
        (Some((lo, hi)), Some((lo1, hi1))) => {
            let (lo2, hi2) = (lo1.max(lo).min(hi), hi1.max(lo).min(hi));
            match (lo2, hi2) {
                (lo, hi) if (lo, hi) == (lo1, hi1) => Some(Rewrite::Alias(x)),
                (0.0, f32::INFINITY) => one(Unary::Relu, inputs[0]),
                (lo, hi) => one(Unary::Clip { lo, hi }, inputs[0]),
            }
        }
        _ if (f, *g) == (Unary::Neg, Unary::Neg) => Some(Rewrite::Alias(inputs[0])),
        _ if (f, *g) == (Unary::Abs, Unary::Abs) => Some(Rewrite::Alias(x)),
        _ if (f, *g) == (Unary::Abs, Unary::Neg) => one(Unary::Abs, inputs[0]),
        _ => None,
    }
}

const NEGATIVE_ZERO: u32 = 1 << 31;

fn binary(graph: &Graph, f: Binary, node: &Node) -> Option<Rewrite> {
    let [a, b] = node.inputs[..] else { return None };
    let out = graph.ty(node.output);
    let all = |v: ValueId, x: f32| {
        floats(graph, v).is_some_and(|c| !c.is_empty() && c.iter().all(|y| y.to_bits() == x.to_bits()))
    };
    let neutral = |v: ValueId| match f {
        Binary::Mul | Binary::Div | Binary::Pow => all(v, 1.0),
        Binary::Sub => all(v, 0.0),
        Binary::Add => all(v, -0.0),
        _ => false,
    };
    if neutral(b) && graph.ty(a) == out {
        return Some(Rewrite::Alias(a));
    }
    if matches!(f, Binary::Mul | Binary::Add) && neutral(a) && graph.ty(b) == out {
        return Some(Rewrite::Alias(b));
    }
    if matches!(f, Binary::Max | Binary::Min) && a == b {
        return Some(Rewrite::Alias(a));
    }
    // The op broadcasts by itself.
    let shrunk = |v: ValueId| match graph.producer(v) {
        Some((_, Node { op: Op::Expand(_), inputs, .. })) => inputs[0],
        _ => v,
    };
    [[shrunk(a), shrunk(b)], [shrunk(a), b], [a, shrunk(b)]]
        .into_iter()
        .filter(|inputs| inputs[..] != node.inputs[..])
        .find_map(|inputs| checked(graph, f, inputs.to_vec(), out))
}

fn transpose(
    t: &Transpose,
    x: ValueId,
    ty: &TensorType,
    out: &TensorType,
    inner: Option<&Node>,
) -> Option<Rewrite> {
    if t.is_identity() {
        return Some(Rewrite::Alias(x));
    }
    if let Some(Node { op: Op::Transpose(first), inputs, .. }) = inner {
        return one(Transpose { perm: perm::then(&first.perm, &t.perm) }, inputs[0]);
    }
    let still = perm::moves_only_units(&ty.shape, &t.perm);
    still.then(|| Rewrite::Op(Reshape { shape: out.shape.clone(), layout: out.layout }.into(), vec![x]))
}

fn slice(s: &Slice, x: ValueId, ty: &TensorType, inner: Option<&Node>) -> Option<Rewrite> {
    if s.size[..] == ty.shape[..] {
        return Some(Rewrite::Alias(x));
    }
    let Some(Node { op: Op::Slice(first), inputs, .. }) = inner else { return None };
    let axes = 0..s.begin.len();
    let begin = axes.clone().map(|a| first.begin[a] + s.begin[a] * first.step[a]).collect();
    let step = axes.map(|a| first.step[a].checked_mul(s.step[a])).collect::<Option<_>>()?;
    one(Slice { begin, size: s.size.clone(), step }, inputs[0])
}

fn pad(p: &Pad, x: ValueId, inner: Option<&Node>) -> Option<Rewrite> {
    if p.before.iter().chain(&p.after).all(|&n| n == 0) {
        return Some(Rewrite::Alias(x));
    }
    let Some(Node { op: Op::Pad(first), inputs, .. }) = inner else { return None };
    let (PadMode::Constant(a), PadMode::Constant(b)) = (first.mode, p.mode) else { return None };
    if a.to_bits() != b.to_bits() {
        return None;
    }
    let sum = |a: &[usize], b: &[usize]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let (before, after) = (sum(&first.before, &p.before), sum(&first.after, &p.after));
    one(Pad { before, after, mode: p.mode }, inputs[0])
}

fn concat(graph: &Graph, c: &Concat, node: &Node) -> Option<Rewrite> {
    if let [only] = node.inputs[..] {
        return Some(Rewrite::Alias(only));
    }
    let parts = |v: &ValueId| match graph.producer(*v) {
        Some((_, Node { op: Op::Concat(inner), inputs, .. })) if inner == c => inputs.clone(),
        _ => vec![*v],
    };
    let flat: Vec<ValueId> = node.inputs.iter().flat_map(parts).collect();
    (flat.len() > node.inputs.len()).then(|| Rewrite::Op(c.clone().into(), flat))
}

fn reduce(r: &Reduce, x: ValueId, ty: &TensorType, out: &TensorType) -> Option<Rewrite> {
    if r.f == ReduceFn::SumSquare || r.axes.iter().any(|&a| ty.shape[a] != 1) {
        return None;
    }
    if ty == out {
        return Some(Rewrite::Alias(x));
    }
    one(Reshape { shape: out.shape.clone(), layout: out.layout }, x)
}
