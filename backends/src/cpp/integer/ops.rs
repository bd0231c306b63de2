//! Which ops of integers C++ can write, and what each becomes.
//!
//! A new op of the IR is an arm in `fault` and one in `write`; what has none is refused.

use super::super::ops::movement::keeps_order;
use super::super::ops::reduce::is_identity;
use super::super::plan::{Rules, Step};
use super::super::writer::{list, size};
use super::formula::{self, Formula};
use super::lut;
use super::moves;
use super::packed::Packed;
use super::product;
use super::words::Word;
use super::writer::Writer;
use super::xnor;
use unfloat_ir::ops::{Op, UpsampleMode};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{Graph, Node, NodeId, Shape, ValueId};

/// Why C++ cannot hold this node of a core; nothing when it can.
pub fn fault(graph: &Graph, ranges: &Ranges, node: &Node) -> Option<String> {
    let computed = |i: usize| node.inputs.get(i).is_some_and(|&v| graph.const_of(v).is_none());
    let x = graph.ty(*node.inputs.first()?);
    match &node.op {
        Op::Conv(_) | Op::MaxPool(_) if !x.layout.is_channels_last() => {
            Some("has channels that are not last; run the canonical passes".to_string())
        }
        Op::Conv(_) | Op::Dense(_) if computed(1) => {
            Some("its weight is computed; C++ needs a constant".to_string())
        }
        Op::Conv(_) | Op::Dense(_) if computed(2) => {
            Some("its bias is computed; C++ needs a constant".to_string())
        }
        Op::Conv(_) | Op::Dense(_) | Op::MatMul(_) | Op::MaxPool(_) | Op::Reduce(_) | Op::ArgReduce(_) => {
            None
        }
        Op::Lut(_) => lut::fault(graph, node),
        op if formula::is_pointwise(op) => formula::fault(graph, node),
        Op::Reshape(_) | Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Expand(_) => None,
        Op::Reverse(_) => None,
        Op::Upsample(u) if u.mode == UpsampleMode::Nearest => None,
        Op::Gather(g) => {
            let n = x.shape[g.axis] as i128;
            let all = ranges.of_value(node.inputs[1]);
            let within = all.is_some_and(|(lo, hi)| lo >= -n && hi < n);
            let text = "an index could lie outside of the {} cells; C++ cannot report that: clip the indices";
            (!within).then(|| text.replace("{}", &n.to_string()))
        }
        _ => Some("C++ has no such op on integers yet".to_string()),
    }
}

/// Whether a node only renames: its result lies where its first operand does.
pub fn is_free(graph: &Graph, node: &Node) -> bool {
    let x = graph.ty(node.inputs[0]);
    match &node.op {
        Op::Reshape(_) => true,
        Op::Transpose(t) => keeps_order(x, &t.perm),
        Op::Slice(_) | Op::Expand(_) | Op::Pad(_) | Op::Upsample(_) => {
            x.shape.num_elements() == graph.ty(node.output).shape.num_elements()
        }
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Reduce(r) => r.axes.is_empty() && is_identity(r.f),
        Op::Cast(c) => c.to == x.elem,
        _ => false,
    }
}

/// The rules of integers: cells are bytes.
pub struct Integers<'a> {
    /// What values can be.
    pub ranges: &'a Ranges,
    /// What lies packed.
    pub packed: &'a Packed,
}

impl Integers<'_> {
    /// Bytes that a step's node needs for itself.
    fn own(&self, graph: &Graph, node: &Node) -> usize {
        match &node.op {
            Op::Conv(_) | Op::Dense(_) | Op::MatMul(_) => match self.packed.layer(graph, node) {
                Some(layer) => xnor::scratch(self.packed, node, &layer),
                None => product::scratch(graph, self.ranges, node),
            },
            _ => 0,
        }
    }
}

impl Rules for Integers<'_> {
    fn is_free(&self, graph: &Graph, node: &Node) -> bool {
        is_free(graph, node)
    }
    fn scratch(&self, graph: &Graph, step: &Step) -> usize {
        let own = self.own(graph, graph.node(step.node));
        if !xnor::comes_as_codes(graph, self.packed, step) {
            return own;
        }
        // Behind them, the codes that are packed.
        own.next_multiple_of(xnor::ALIGN) + graph.ty(step.output).shape.num_elements()
    }
    fn joins(&self, graph: &Graph, before: &[NodeId], next: &Node) -> bool {
        let (Some(&first), Some(&last)) = (before.first(), before.last()) else { return false };
        let op = &graph.node(first).op;
        let begins = matches!(op, Op::Conv(_) | Op::Dense(_) | Op::MatMul(_)) || formula::is_pointwise(op);
        begins && !self.is_free(graph, next) && formula::joins(graph, graph.node(last).output, next)
    }
    fn may_overwrite(&self, graph: &Graph, step: &Step, i: usize) -> bool {
        let node = graph.node(step.node);
        let (from, to) = (graph.ty(node.inputs[i]), graph.ty(step.output));
        let same = from.shape.num_elements() == to.shape.num_elements()
            && Word::of(&from.elem) == Word::of(&to.elem);
        same && formula::is_pointwise(&node.op) && !self.packed.holds(step.output)
    }
    fn size(&self, graph: &Graph, value: ValueId) -> usize {
        if self.packed.holds(value) {
            return 8 * self.packed.words(graph, value);
        }
        let ty = graph.ty(value);
        ty.shape.num_elements() * Word::of(&ty.elem).bytes()
    }
    fn align(&self) -> usize {
        64
    }
}

/// Writes the calls of a step.
pub fn write(w: &mut Writer, step: &Step) {
    calls(w, step);
    if let Some(codes) = w.codes_to_pack() {
        xnor::pack_result(w, step, &codes);
    }
}

fn calls(w: &mut Writer, step: &Step) {
    let node = w.graph.node(step.node);
    match &node.op {
        Op::Conv(_) | Op::Dense(_) | Op::MatMul(_) => match w.packed.layer(w.graph, node) {
            Some(layer) => xnor::write(w, step, &layer),
            None => product::write(w, step),
        },
        Op::MaxPool(op) if w.packed.holds(node.inputs[0]) => xnor::pool(w, step, node, op),
        Op::Lut(_) => lut::write(w, step, node),
        Op::MaxPool(op) => moves::max_pool(w, step, node, op),
        Op::Reduce(op) => moves::reduce(w, step, node, op),
        Op::ArgReduce(op) => moves::arg_reduce(w, step, node, op),
        Op::Transpose(op) => moves::transpose(w, step, node, op),
        Op::Concat(op) => moves::concat(w, step, node, op),
        Op::Slice(op) => moves::slice(w, step, node, op),
        Op::Pad(op) => moves::pad(w, step, node, op),
        Op::Expand(_) => moves::expand(w, step, node),
        Op::Reverse(_) | Op::Upsample(_) => moves::rearrange(w, step, node),
        Op::Gather(op) => moves::gather(w, step, node, op),
        op if formula::is_pointwise(op) => pointwise(w, step),
        // Free nodes are no steps, and what is refused is not written.
        _ => {}
    }
}

/// Writes a function of elements.
fn pointwise(w: &mut Writer, step: &Step) {
    let node = w.graph.node(step.node);
    let (graph, name) = (w.graph, w.name(step));
    let out = graph.ty(node.output).shape.clone();
    let mut f = Formula::new(w, &out);
    f.node(node);
    let (function, streams, by_channel) = formula::finish(f, graph, step, &name, None);
    let shapes: Vec<&Shape> = streams.iter().map(|&v| &graph.ty(v).shape).collect();
    let text = loops(&out, &shapes, by_channel);
    let sources: Vec<String> = streams.iter().map(|&v| w.read(v)).collect();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("each"), w.target(step));
    let arguments: Vec<String> = std::iter::once(y).chain(sources).collect();
    w.line(&format!("{call}<{shape}, {function}>({});", arguments.join(", ")));
}

/// The loops over a result whose elements are made of elements of others, which broadcast to it, as the fields of a C++
/// shape. Where an element's channel matters, the innermost loop is that over the channels.
pub fn loops(out: &Shape, operands: &[&Shape], by_channel: bool) -> String {
    let stride = |shape: &Shape, axis: usize| {
        let axis = (axis + shape.rank()).checked_sub(out.rank());
        axis.map_or(0, |i| if shape[i] == 1 { 0 } else { shape.strides()[i] })
    };
    let mut axes: Vec<(usize, Vec<usize>)> = Vec::new();
    for axis in 0..out.rank() {
        let strides: Vec<usize> = operands.iter().map(|s| stride(s, axis)).collect();
        let (extent, last) = (out[axis], axis + 1 == out.rank());
        // Neighbouring axes are one where all strides allow it.
        let merges =
            |(_, outer): &(usize, Vec<usize>)| outer.iter().zip(&strides).all(|(o, s)| *o == s * extent);
        match axes.last_mut() {
            Some(outer) if !(last && by_channel) && merges(outer) => *outer = (outer.0 * extent, strides),
            _ if extent == 1 && !last => {}
            _ => axes.push((extent, strides)),
        }
    }
    let (run, steps) = axes.pop().unwrap_or((1, vec![0; operands.len()]));
    if axes.is_empty() {
        axes.push((1, vec![0; operands.len()]));
    }
    let extents: Vec<usize> = axes.iter().map(|a| a.0).collect();
    let mut text = list("extent", &extents) + &size("run", run);
    if !operands.is_empty() {
        let column = |k: usize| axes.iter().map(|a| a.1[k].to_string()).collect::<Vec<_>>().join(", ");
        let rows: Vec<String> = (0..operands.len()).map(|k| format!("{{{}}}", column(k))).collect();
        text.push_str(&format!(
            "  static constexpr std::size_t stride[{}][{}] = {{{}}};\n",
            operands.len(),
            axes.len(),
            rows.join(", ")
        ));
        text.push_str(&list("step", &steps));
    }
    text
}
