//! Layers of bits: XNOR and popcount, thresholds in the popcount, max pooling by OR, and packing.
//!
//! In: steps whose node is a [`Layer`], and steps whose result lies packed. A layer whose only function is a threshold to
//! −1 and +1, into a packed value, compares the number of differing bits with a limit; any other makes sums, which go on
//! as all sums do. A packed result that comes as codes is packed behind the step. The tables are those of
//! [`unfloat_ir::xnor`], made here, so that the program that is written has no trace of padding.

use super::super::ops::conv::extents;
use super::super::plan::Step;
use super::super::writer::{list, size};
use super::moves::pooling;
use super::packed::{LANES, Layer, Packed};
use super::product;
use super::words::Word;
use super::writer::Writer;
use unfloat_ir::ops::{MaxPool, Op};
use unfloat_ir::xnor::{self, BITS, Border};
use unfloat_ir::{Graph, Node};

/// Where parts of a step's own memory may begin.
pub const ALIGN: usize = 64;

/// The least sums whose bit is 1, if the step is a layer of bits that gives bits.
fn limits(graph: &Graph, packed: &Packed, step: &Step) -> Option<Vec<i64>> {
    packed.layer(graph, graph.node(step.node))?;
    signs(graph, packed, step)
}

/// The least results of a step's node that become 1, if a threshold to −1 and +1 is all that is behind it, and what comes
/// is packed.
pub fn signs(graph: &Graph, packed: &Packed, step: &Step) -> Option<Vec<i64>> {
    let &[only] = &step.then[..] else { return None };
    let node = graph.node(only);
    let Op::Threshold(op) = &node.op else { return None };
    let t = graph.const_of(node.inputs[1])?;
    let plain = (op.scale, op.bias) == (2, -1) && t.ty.shape[1] == 1 && packed.holds(step.output);
    plain.then(|| (0..t.len()).filter_map(|i| t.data.code(i)).collect())
}

/// Whether the step's result is packed but comes as codes.
pub fn comes_as_codes(graph: &Graph, packed: &Packed, step: &Step) -> bool {
    let node = graph.node(step.node);
    let pooled = matches!(node.op, Op::MaxPool(_)) && packed.holds(node.inputs[0]);
    packed.holds(step.output) && !pooled && limits(graph, packed, step).is_none()
}

/// Bytes that a layer needs for itself: its operand in bits where that is not packed, and the rows of a tile.
pub fn scratch(packed: &Packed, node: &Node, layer: &Layer) -> usize {
    let operand = if packed.holds(node.inputs[0]) { 0 } else { 8 * layer.input_words() };
    let rows = if layer.is_direct() { 0 } else { 8 * layer.tile() * layer.row() };
    operand.next_multiple_of(ALIGN) + rows
}

/// A layer's weights as words: for each group of channels word by word, a channel in each lane; and the ones of each
/// channel and tap.
fn pack(layer: &Layer, codes: impl Iterator<Item = i64>) -> (Vec<i64>, Vec<u32>) {
    let (row, taps, inputs) = (layer.row(), layer.taps(), layer.inputs);
    // Words begin anew with each run of codes: all of a row, or a tap.
    let run = if layer.is_dense() { taps * inputs } else { inputs };
    let (mut codes, mut own) = (codes, Vec::with_capacity(taps * inputs));
    let mut words = vec![0; layer.lanes() * row];
    let mut ones = Vec::with_capacity(layer.outputs * taps);
    for channel in 0..layer.outputs {
        own.clear();
        own.extend(codes.by_ref().take(taps * inputs));
        for (i, part) in own.chunks(run).flat_map(|run| run.chunks(BITS)).enumerate() {
            words[(channel / LANES * row + i) * LANES + channel % LANES] = xnor::word(part) as i64;
        }
        ones.extend(own.chunks(inputs).map(|tap| tap.iter().filter(|&&w| w > 0).count() as u32));
    }
    (words, ones)
}

/// For each border class and channel, in whole groups: the sum at no differing bit, or the greatest number of them whose
/// bit is 1.
fn table(layer: &Layer, border: &Border, ones: &[u32], bias: &[i64], limits: Option<&[i64]>) -> Vec<i64> {
    let bases = border.bases(layer.window.kernel, layer.inputs, ones, bias);
    let most = (layer.row() * BITS) as i64;
    let mut table = Vec::with_capacity(border.classes() * layer.lanes());
    for bases in bases.chunks_exact(layer.outputs) {
        table.extend(bases.iter().enumerate().map(|(c, &base)| match limits {
            None => base,
            Some(limits) => {
                let t = limits.get(c).or(limits.first()).copied().unwrap_or(i64::MAX);
                xnor::limit(base, t).clamp(-1, most)
            }
        }));
        table.resize(table.len().next_multiple_of(LANES), -1);
    }
    table
}

/// The fields of a layer's shape.
fn fields(layer: &Layer, border: &Border) -> String {
    let w = &layer.window;
    let mut text = [
        list("in", &w.input),
        list("out", &w.output),
        list("taps", &w.kernel),
        list("stride", &w.stride),
        list("dilation", &w.dilation),
        list("pad", &w.pad_begin),
        size("inputs", layer.inputs),
        size("depth", layer.depth()),
        size("row", layer.row()),
        size("channels", layer.outputs),
        size("tile", layer.tile()),
        format!("  static constexpr bool direct = {}, dense = {};\n", layer.is_direct(), layer.is_dense()),
        list("kinds", &[0, 1, 2].map(|axis| border.taps[axis].len())),
    ]
    .concat();
    for (axis, kinds) in border.kinds.iter().enumerate() {
        // Where all places are of one kind, one number says it.
        let some = if border.taps[axis].len() > 1 { &kinds[..] } else { &[0] };
        let some: Vec<usize> = some.iter().map(|&k| k as usize).collect();
        text += &list(&format!("kind_{axis}"), &some);
    }
    text
}

/// Writes a layer of bits.
pub fn write(w: &mut Writer, step: &Step, layer: &Layer) {
    let node = w.graph.node(step.node);
    let (name, border) = (w.name(step), Border::of(&layer.window));
    let limits = limits(w.graph, w.packed, step);
    let bias = match node.inputs.get(2) {
        Some(&bias) => w.codes(bias).unwrap_or_default(),
        None => vec![0; layer.outputs],
    };
    let Some(t) = w.graph.const_of(node.inputs[1]) else { return };
    let (words, ones) = pack(layer, (0..t.len()).filter_map(|i| t.data.code(i)));
    let table = table(layer, &border, &ones, &bias, limits.as_deref());
    let key = format!("bits {} {}", layer.taps(), layer.inputs);
    let weights = w.made_of(node.inputs[1], &key, "", Word::U64, |_| words);
    let (x, rows) = operand(w, step, layer);
    let what = if limits.is_some() { "limits" } else { "bases" };
    let table = w.derived(&format!("{name}_{what}"), Word::I32, table);
    let shape = w.shape(&name, fields(layer, &border));
    if limits.is_some() {
        let (call, y) = (w.kernel("xnor_bits"), w.packed_target(step));
        w.line(&format!("{call}<{shape}>({x}, {weights}, {table}, {rows}, {y});"));
    } else {
        let post = product::sum_function(w, step, Word::I32);
        let (call, y) = (w.kernel("xnor_sums"), w.target(step));
        w.line(&format!("{call}<{shape}, {post}>({x}, {weights}, {table}, {rows}, {y});"));
    }
}

/// The packed operand of a layer, and where its rows are gathered.
fn operand(w: &mut Writer, step: &Step, layer: &Layer) -> (String, String) {
    let value = w.graph.node(step.node).inputs[0];
    let (x, mut at) = (w.read(value), step.scratch_at);
    let mut bits = x.clone();
    if !w.packed.holds(value) {
        let words = layer.input_words();
        bits = w.begin(&format!("{}_bits", w.graph.value(value).name), Word::U64, at, words);
        let call = w.kernel("pack");
        w.line(&format!("{call}<{}>({x}, {bits}, {});", layer.inputs, words / layer.depth()));
        at += (8 * words).next_multiple_of(ALIGN);
    }
    (bits, if layer.is_direct() { "nullptr".to_string() } else { format!("arena + {at}") })
}

/// Writes the packing of codes.
pub fn pack_result(w: &mut Writer, step: &Step, codes: &str) {
    let channels = w.graph.ty(step.output).shape.last().copied().unwrap_or(1);
    let cells = w.graph.ty(step.output).shape.num_elements() / channels;
    let (call, y) = (w.kernel("pack"), w.packed_target(step));
    w.line(&format!("{call}<{channels}>({codes}, {y}, {cells});"));
}

/// Writes a max pooling of packed values.
pub fn pool(w: &mut Writer, step: &Step, node: &Node, op: &MaxPool) {
    let x = w.read(node.inputs[0]);
    let (_, channels) = extents(w.graph.ty(node.inputs[0]));
    let text = pooling(w, node, &op.window) + &size("depth", channels.div_ceil(BITS));
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("or_pool"), w.packed_target(step));
    w.line(&format!("{call}<{shape}>({x}, {y});"));
}
