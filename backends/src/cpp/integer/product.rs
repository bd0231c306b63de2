//! Sums of products: convolutions, dense layers, and products of matrices.
//!
//! Measured in isolation, a convolution of 32 to 32 channels with 3 by 3 taps on 30 by 30 cells, one Zen 3 core with AVX2
//! and without VNNI, g++ 12 and clang++ 14, in 10^9 products a second; `native` is `-O3 -march=native`:
//!
//! | form | g++ native | clang++ native | g++ -O3 | clang++ -O3 |
//! |---|---|---|---|---|
//! | dot products of words along the inputs, 4 outputs at once | 50 | 19 | 34 | 11 |
//! | dot products of bytes along the inputs, 4 outputs at once | 9 | 19 | 10 | 7 |
//! | outputs in the inner loop, one input at a time | 9 | 5 | 9 | 7 |
//! | outputs in the inner loop, pairs of inputs, words | 11 | 4 | 6 | 5 |
//! | **intrinsics: groups of 4 inputs, weights widened, 3 cells by 8 outputs** | 67 | 72 | | |
//! | the same with 6 cells (g++ runs out of registers) | 47 | 72 | | |
//! | intrinsics: pairs of inputs, words, 5 cells by 16 outputs | 45 | 78 | | |
//!
//! Compilers find `pmaddwd` in dot products only, and Clang then not well; so the kernels say what they mean, in a
//! layout that serves every unit: groups of inputs side by side for each output, which `vpdpbusd` takes as they are.
//! Weights stay bytes in memory, which is what large dense layers wait for.

use super::super::ops::conv::{Padded, Product, extents, padded, three};
use super::super::ops::nests::{self, Loop};
use super::super::plan::Step;
use super::super::writer::{list, size};
use super::formula::{self, Formula};
use super::row;
use super::words::{Word, inside};
use super::writer::Writer;
use super::xnor;
use unfloat_ir::ops::{Conv, Op};
use unfloat_ir::ranges::{Range, Ranges};
use unfloat_ir::{Graph, Node, Shape, ValueId};

/// How sums are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Inputs and weights of 8 bits, sums of 32.
    Bytes,
    /// Inputs of 16 bits, weights of 8, sums of 32.
    Words,
    /// Inputs and weights of 16 bits, sums of 32.
    Pairs,
    /// As words or pairs, with sums of 64 bits: so many groups of inputs make a part of 32.
    Parts { pairs: bool, groups: usize },
    /// One product after the other, in this word.
    Plain(Word),
    /// Channel by channel, in this word.
    Depthwise(Word),
    /// Of two computed matrices, in this word.
    Computed(Word),
}

impl Form {
    /// Inputs that are multiplied together.
    fn group(self) -> usize {
        if matches!(self, Form::Pairs | Form::Parts { pairs: true, .. }) { 2 } else { 4 }
    }
}

fn constant_range(graph: &Graph, value: ValueId) -> Option<Range> {
    let t = graph.const_of(value)?;
    let codes = (0..t.len()).filter_map(|i| t.data.code(i).map(i128::from));
    codes.fold(None, |r: Option<Range>, c| Some(r.map_or((c, c), |(lo, hi)| (lo.min(c), hi.max(c)))))
}

/// Whether a product of matrices has a constant right operand that is one matrix.
fn is_dense(graph: &Graph, node: &Node) -> bool {
    let shape = &graph.ty(node.inputs[1]).shape;
    let lead = shape[..shape.rank().saturating_sub(2)].iter().product::<usize>();
    graph.const_of(node.inputs[1]).is_some() && lead == 1
}

/// How the sums of a node are computed.
pub fn form(graph: &Graph, ranges: &Ranges, node: &Node) -> Form {
    const I16: Range = (i16::MIN as i128, i16::MAX as i128);
    const I8: Range = (i8::MIN as i128, i8::MAX as i128);
    let sums = ranges.of_value(node.output).unwrap_or((i64::MIN.into(), i64::MAX.into()));
    let word = Word::computing(sums);
    match &node.op {
        Op::MatMul(_) if !is_dense(graph, node) => return Form::Computed(word),
        Op::Conv(c) => {
            let (x, out) = (graph.ty(node.inputs[0]), graph.ty(node.output));
            let channels = x.shape.last().copied().unwrap_or(1);
            if c.groups == channels && out.shape.last() == Some(&channels) && channels > 1 {
                return Form::Depthwise(word);
            }
        }
        _ => {}
    }
    let (Some(x), Some(w)) = (ranges.of_value(node.inputs[0]), constant_range(graph, node.inputs[1])) else {
        return Form::Plain(word);
    };
    if word != Word::I32 {
        let pairs = !inside(w, I8);
        let most = |r: Range| r.0.abs().max(r.1.abs());
        let group = most(x) * most(w) * if pairs { 2 } else { 4 };
        let groups = usize::try_from(i128::from(i32::MAX) / group.max(1)).unwrap_or(usize::MAX);
        // Sums that 64 bits do not hold wrap, which the plain form does as it should.
        let exact = sums != (i64::MIN.into(), i64::MAX.into());
        let small = inside(x, I16) && inside(w, I16) && groups > 0 && exact;
        return if small { Form::Parts { pairs, groups } } else { Form::Plain(word) };
    }
    let bytes = inside(x, I8) || inside(x, (0, 255));
    match (inside(w, I8), inside(w, I16)) {
        (true, _) if bytes => Form::Bytes,
        (true, _) if inside(x, I16) => Form::Words,
        (_, true) if inside(x, I16) => Form::Pairs,
        _ => Form::Plain(word),
    }
}

/// Bytes that the node needs for itself.
pub fn scratch(graph: &Graph, ranges: &Ranges, node: &Node) -> usize {
    let x = graph.ty(node.inputs[0]);
    let padded = match &node.op {
        Op::Conv(c) => padded(&c.window, x).map(|p| p.len()),
        _ => None,
    };
    match form(graph, ranges, node) {
        Form::Computed(_) => 0,
        Form::Plain(_) | Form::Depthwise(_) => padded.unwrap_or(0) * Word::of(&x.elem).bytes(),
        _ => (padded.unwrap_or(x.shape.num_elements()) + 4) * 2,
    }
}

/// The widths of the blocks into which `rest` output channels are packed; `block_width` in `product.hpp` is its twin.
fn blocks(mut rest: usize) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    while rest > 0 {
        let width = if rest > 8 { 16 } else { 8 };
        blocks.push((width, rest.min(width)));
        rest = rest.saturating_sub(width);
    }
    blocks
}

/// Packs a weight of `groups` times `out` rows of `taps` times `run` elements; `at` finds an element of a row.
fn pack(
    codes: &[i64],
    groups: usize,
    out: usize,
    [taps, run, group]: [usize; 3],
    at: impl Fn(usize, usize) -> usize,
) -> Vec<i64> {
    let width: usize = blocks(out).iter().map(|b| b.0).sum();
    let mut packed = Vec::with_capacity(groups * width * taps * run.next_multiple_of(group));
    for g in 0..groups {
        let mut first = g * out;
        for (width, valid) in blocks(out) {
            for tap in 0..taps {
                for from in (0..run).step_by(group) {
                    for o in 0..width {
                        for i in from..from + group {
                            let there = o < valid && i < run;
                            packed.push(if there { codes[at(first + o, tap * run + i)] } else { 0 });
                        }
                    }
                }
            }
            first += valid;
        }
    }
    packed
}

/// Whether no two neighbours of a group can make a sum beyond 16 bits with inputs up to `most`, in packed weights.
fn neighbours_fit(packed: &[i64], most: i128) -> bool {
    packed.chunks(2).all(|pair| {
        let sum = |f: fn(i64) -> i64| most * pair.iter().map(|&w| i128::from(f(w))).sum::<i128>();
        sum(|w| w.max(0)) <= i16::MAX.into() && sum(|w| w.min(0)) >= i16::MIN.into()
    })
}

/// What the kernels need to know of a layer.
struct Layer {
    product: Product,
    inside: [usize; 3],
    around: [usize; 3],
    before: [usize; 3],
    in_channels: usize,
}

impl Layer {
    fn conv(w: &Writer, node: &Node, op: &Conv) -> Self {
        let x = w.graph.ty(node.inputs[0]);
        let (inside, channels) = extents(x);
        let (out, out_channels) = extents(w.graph.ty(node.output));
        let (around, before) = match padded(&op.window, x) {
            Some(Padded { extents, before, .. }) => (extents, before),
            None => (inside, [0; 3]),
        };
        let three = |values: &[usize]| three(values, 1);
        let (kernel, strides, dilations) =
            (three(&op.window.kernel), three(&op.window.strides), three(&op.window.dilations));
        let distance = [around[1] * around[2] * channels, around[2] * channels, channels];
        let mut product = Product {
            out,
            step: [0, 1, 2].map(|i| strides[i] * distance[i]),
            taps: kernel,
            reach: [0, 1, 2].map(|i| dilations[i] * distance[i]),
            run: channels / op.groups,
            groups: op.groups,
            group_out: out_channels / op.groups,
            has_bias: node.inputs.len() > 2,
            row: 0,
        };
        if op.groups == 1 && dilations[2] == 1 {
            // Neighbouring columns lie side by side: a row of taps is one run.
            product.run = kernel[2] * channels;
            product.taps[2] = 1;
            product.reach[2] = 0;
        }
        if op.window.taps() == 1 && strides == [1; 3] && around == inside {
            // Cells are independent of where they lie: one long row makes the fullest tiles.
            product.out = [1, 1, out.iter().product()];
            product.step = [0, 0, channels];
        }
        Self { product, inside, around, before, in_channels: channels }
    }

    /// A row of inputs after the other.
    fn rows(rows: usize, inputs: usize, outputs: usize, has_bias: bool) -> Self {
        let product = Product {
            out: [1, 1, rows],
            step: [0, 0, inputs],
            taps: [1; 3],
            reach: [0; 3],
            run: inputs,
            groups: 1,
            group_out: outputs,
            has_bias,
            row: 0,
        };
        let cells = [1, 1, rows];
        Self { product, inside: cells, around: cells, before: [0; 3], in_channels: inputs }
    }

    fn taps(&self) -> usize {
        self.product.taps.iter().product()
    }
    fn outputs(&self) -> usize {
        self.product.groups * self.product.group_out
    }

    /// The fields of every shape.
    fn fields(&self) -> String {
        let p = &self.product;
        [
            list("out", &p.out),
            list("step", &p.step),
            list("taps", &p.taps),
            list("reach", &p.reach),
            size("run", p.run),
            size("groups", p.groups),
            size("group_out", p.group_out),
            size("channels", self.outputs()),
        ]
        .concat()
    }
}

/// Where element `i` of row `o` of a weight is.
type Place = Box<dyn Fn(usize, usize) -> usize>;

/// Writes a product.
pub fn write(w: &mut Writer, step: &Step) {
    let node = w.graph.node(step.node);
    let form = form(w.graph, w.ranges, node);
    if let Form::Computed(word) = form {
        return computed(w, step, node, word);
    }
    let weight = w.graph.ty(node.inputs[1]).shape.clone();
    let cells = |w: &Writer| w.graph.ty(node.output).shape.num_elements();
    let (layer, at): (Layer, Place) = match &node.op {
        Op::Conv(op) => {
            let depth = weight[1..].iter().product::<usize>();
            (Layer::conv(w, node, op), Box::new(move |o, i| o * depth + i))
        }
        Op::MatMul(_) => {
            let (inputs, outputs) = (weight[weight.rank() - 2], weight[weight.rank() - 1]);
            let layer = Layer::rows(cells(w) / outputs, inputs, outputs, false);
            (layer, Box::new(move |o, i| i * outputs + o))
        }
        _ => {
            let (outputs, inputs) = (weight[0], weight[1]);
            let layer = Layer::rows(cells(w) / outputs, inputs, outputs, node.inputs.len() > 2);
            (layer, Box::new(move |o, i| o * inputs + i))
        }
    };
    match form {
        Form::Plain(word) => plain(w, step, &layer, word, &at),
        Form::Depthwise(word) => depthwise(w, step, &layer, word),
        _ => packed(w, step, &layer, form, &at),
    }
}

/// The bias of a node as numbers of the word in which sums are: its name and its values.
fn bias_of(w: &mut Writer, node: &Node, word: Word) -> Option<(String, Vec<i64>)> {
    let value = *node.inputs.get(2)?;
    // Where sums have 32 bits, the low ones of a bias are enough: those of the sum are what stays.
    let low = |v: i64| if word == Word::I32 { i64::from(v as i32) } else { v };
    let bias: Vec<i64> = w.codes(value)?.into_iter().map(low).collect();
    Some((w.constant(value, "sums", "", word, |_| bias.clone()), bias))
}

/// The function of a step's sums, several at once where it has that form.
pub fn sum_function(w: &mut Writer, step: &Step, word: Word) -> String {
    let row = if word == Word::I32 { row::function(w, step) } else { None };
    row.unwrap_or_else(|| results(w, step, word, None))
}

/// The function of a step's sums, one by one.
fn results(w: &mut Writer, step: &Step, word: Word, bias: Option<ValueId>) -> String {
    let node = w.graph.node(step.node);
    let (graph, name) = (w.graph, w.name(step));
    let shape = graph.ty(step.output).shape.clone();
    let mut f = Formula::new(w, &shape);
    f.sum(node.output, bias, word);
    formula::finish(f, graph, step, &name, Some(word)).0
}

/// Products in vectors.
fn packed(w: &mut Writer, step: &Step, layer: &Layer, form: Form, at: &Place) {
    let node = w.graph.node(step.node);
    let name = w.name(step);
    let p = &layer.product;
    let x_range = w.range(node.inputs[0]);
    let codes = w.codes(node.inputs[1]).unwrap_or_default();
    let packing = [layer.taps(), p.run, form.group()];
    let weights = pack(&codes, p.groups, p.group_out, packing, at);
    let signed = x_range.0 < 0;
    let most = if signed { x_range.1 + 128 } else { x_range.1 };
    let (pairs, part, sum) = match form {
        Form::Parts { pairs, groups } => (pairs, groups, Word::I64),
        other => (other == Form::Pairs, 0, Word::I32),
    };
    let word = if pairs { Word::I16 } else { Word::I8 };
    let group_weights = if p.groups > 1 { weights.len() / p.groups } else { 0 };
    let kind = match form {
        Form::Bytes => "bytes",
        _ if pairs => "pairs",
        _ => "words",
    };
    let mut text = [
        layer.fields(),
        list("inside", &layer.inside),
        list("around", &layer.around),
        list("before", &layer.before),
        size("in_channels", layer.in_channels),
        size("group_weights", group_weights),
        size("part", part),
        format!("  static constexpr bool has_bias = {};\n", p.has_bias),
        format!("  static constexpr auto inputs = kernel::form::{kind};\n"),
    ]
    .concat();
    if form == Form::Bytes {
        let fit = neighbours_fit(&weights, most);
        text.push_str(&format!(
            "  static constexpr bool negative_inputs = {signed}, neighbours_fit = {fit};\n"
        ));
    } else {
        text.push_str("  static constexpr bool negative_inputs = false, neighbours_fit = false;\n");
    }
    let shape = w.shape(&name, text);
    let bias = bias_of(w, node, sum);
    let bias_name = bias.as_ref().map_or("nullptr".to_string(), |(name, _)| name.clone());
    let lifted = if form == Form::Bytes && signed {
        let depth = layer.taps() * p.run;
        let sum = |o: usize| (0..depth).map(|i| codes[at(o, i)]).sum::<i64>();
        let bias = |o: usize| bias.as_ref().map_or(0, |(_, b)| b[o]);
        let values = (0..layer.outputs()).map(|o| i64::from((bias(o) - 128 * sum(o)) as i32)).collect();
        w.derived(&format!("{name}_lifted"), Word::I32, values)
    } else {
        "nullptr".to_string()
    };
    let key = format!("packed {packing:?} {}", p.groups);
    let matrix = w.constant(node.inputs[1], &key, "", word, |_| weights);
    let post = sum_function(w, step, sum);
    let (x, scratch) = (w.read(node.inputs[0]), w.scratch(step));
    if let Some(limits) = byte_limits(w, step, layer, form, &codes) {
        let offset = |o: usize| {
            let depth = layer.taps() * p.run;
            let lift = if signed { 128 * (0..depth).map(|i| codes[at(o, i)]).sum::<i64>() } else { 0 };
            bias.as_ref().map_or(0, |(_, b)| b[o]) - lift
        };
        let mut limits: Vec<i64> = (0..layer.outputs())
            .map(|o| limits[o % limits.len()] - offset(o))
            .map(|t| t.clamp(i32::MIN.into(), i32::MAX.into()))
            .collect();
        // No sum reaches what fills up the blocks.
        limits.resize(blocks(layer.outputs()).iter().map(|b| b.0).sum(), i32::MAX.into());
        let limits = w.derived(&format!("{name}_limits"), Word::I32, limits);
        let (call, y) = (w.kernel("bytes_to_bits"), w.target(step));
        let (bits, _) = (w.packed_target(step), w.codes_to_pack());
        return w.line(&format!(
            "{call}<{shape}, {post}>({x}, {matrix}, {bias_name}, {lifted}, {limits}, {scratch}, {y}, {bits});"
        ));
    }
    let (call, y) = (w.kernel("product"), w.target(step));
    w.line(&format!(
        "{call}<{shape}, {post}, {}>({x}, {matrix}, {bias_name}, {lifted}, {scratch}, {y});",
        sum.name()
    ));
}

/// The least sums whose bit is 1, where a layer's sums become packed bits and lanes of 16 bits hold the sums of lifted
/// bytes: weights are −1, 0 and +1, and there are few of them.
fn byte_limits(w: &Writer, step: &Step, layer: &Layer, form: Form, codes: &[i64]) -> Option<Vec<i64>> {
    const GROUPS: usize = i16::MAX as usize / (2 * 255);
    let p = &layer.product;
    let groups = layer.taps() * p.run.div_ceil(form.group());
    let small = codes.iter().all(|c| c.abs() <= 1);
    let fits = form == Form::Bytes && p.groups == 1 && groups <= GROUPS && small;
    let limits = xnor::signs(w.graph, w.packed, step).filter(|_| fits)?;
    // Limits that no sum reaches, or all do, are cut to the next number.
    let (lo, hi) = w.range(w.graph.node(step.node).output);
    Some(limits.iter().map(|&t| i128::from(t).clamp(lo, hi + 1) as i64).collect())
}

/// The input with its padding, in its own type.
fn padded_input(w: &mut Writer, step: &Step, layer: &Layer) -> String {
    let node = w.graph.node(step.node);
    let x = w.read(node.inputs[0]);
    if layer.around == layer.inside {
        return x;
    }
    let (c, n, m) = (layer.in_channels, layer.inside, layer.around);
    let rows = [
        Loop { extent: n[0], a: n[1] * n[2] * c, b: m[1] * m[2] * c },
        Loop { extent: n[1], a: n[2] * c, b: m[2] * c },
    ];
    let text = nests::fields(&nests::merge(rows)) + &size("run", n[2] * c);
    let name = w.name(step);
    let shape = w.shape(&format!("{name}_padding"), text);
    let (fill, copy) = (w.kernel("fill"), w.kernel("copy"));
    let offset = ((layer.before[0] * m[1] + layer.before[1]) * m[2] + layer.before[2]) * c;
    let (word, scratch) = (w.word(node.inputs[0]).name(), w.scratch(step));
    let len = m.iter().product::<usize>() * c;
    let padded = w.local(&format!("{name}_padded"));
    w.line(&format!("{word}* const {padded} = kernel::place<{word}>({scratch}, {len});"));
    w.line(&format!("{fill}<{word}>({padded}, {len}, 0);"));
    w.line(&format!("{copy}<{shape}>({x}, {padded} + {offset});"));
    padded
}

/// Products one by one.
fn plain(w: &mut Writer, step: &Step, layer: &Layer, word: Word, at: &Place) {
    let node = w.graph.node(step.node);
    let name = w.name(step);
    let x = padded_input(w, step, layer);
    let shape = w.shape(&name, layer.fields());
    let range = constant_range(w.graph, node.inputs[1]).unwrap_or((0, 0));
    let depth = layer.taps() * layer.product.run;
    let matrix = w.constant(node.inputs[1], "rows", "", Word::holding(range), |codes| {
        (0..layer.outputs())
            .flat_map(|o| (0..depth).map(move |i| (o, i)))
            .map(|(o, i)| codes[at(o, i)])
            .collect()
    });
    let post = results(w, step, word, node.inputs.get(2).copied());
    let (call, y) = (w.kernel("plain_product"), w.target(step));
    w.line(&format!("{call}<{shape}, {post}, {}>({x}, {matrix}, {y});", word.name()));
}

fn depthwise(w: &mut Writer, step: &Step, layer: &Layer, word: Word) {
    let node = w.graph.node(step.node);
    let name = w.name(step);
    let x = padded_input(w, step, layer);
    let has_bias = format!("  static constexpr bool has_bias = {};\n", layer.product.has_bias);
    let shape = w.shape(&name, layer.fields() + &has_bias);
    let range = constant_range(w.graph, node.inputs[1]).unwrap_or((0, 0));
    let (channels, taps) = (layer.outputs(), layer.taps());
    let matrix = w.constant(node.inputs[1], "taps", "", Word::holding(range), |codes| {
        (0..taps).flat_map(|t| (0..channels).map(move |c| c * taps + t)).map(|i| codes[i]).collect()
    });
    let bias = bias_of(w, node, word).map_or("nullptr".to_string(), |(name, _)| name);
    let post = sum_function(w, step, word);
    let (call, y) = (w.kernel("depthwise"), w.target(step));
    w.line(&format!("{call}<{shape}, {post}, {}>({x}, {matrix}, {bias}, {y});", word.name()));
}

/// A product of two computed matrices, or many of them.
fn computed(w: &mut Writer, step: &Step, node: &Node, word: Word) {
    let (x, z) = (w.read(node.inputs[0]), w.read(node.inputs[1]));
    let [a, b] = [0, 1].map(|i| w.graph.ty(node.inputs[i]).shape.clone());
    let out = w.graph.ty(node.output).shape.clone();
    // Leading axes that an operand lacks, or has once, are repeated.
    let stride = |s: &Shape, axis: usize| {
        let axis = (axis + s.rank()).checked_sub(out.rank());
        axis.map_or(0, |i| if s[i] == 1 { 0 } else { s.strides()[i] })
    };
    let lead = (0..out.rank() - 2).map(|i| Loop { extent: out[i], a: stride(&a, i), b: stride(&b, i) });
    let text = [
        nests::fields(&nests::merge(lead)),
        size("rows", a[a.rank() - 2]),
        size("depth", a[a.rank() - 1]),
        size("columns", b[b.rank() - 1]),
    ]
    .concat();
    let name = w.name(step);
    let shape = w.shape(&name, text);
    let post = sum_function(w, step, word);
    let (call, y) = (w.kernel("matmul"), w.target(step));
    w.line(&format!("{call}<{shape}, {post}, {}>({x}, {z}, {y});", word.name()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_groups_of_inputs_together() {
        // Two outputs of three inputs: one block of 8 outputs, one group of 4 inputs.
        let packed = pack(&[1, 2, 3, 4, 5, 6], 1, 2, [1, 3, 4], |o, i| o * 3 + i);
        assert_eq!(packed[..12], [1, 2, 3, 0, 4, 5, 6, 0, 0, 0, 0, 0]);
        assert_eq!(packed.len(), 32);
        assert_eq!(blocks(26), [(16, 16), (16, 10)]);
        assert_eq!(blocks(24), [(16, 16), (8, 8)]);
    }

    #[test]
    fn neighbours_fit_where_16_bits_hold_their_sum() {
        assert!(neighbours_fit(&[64, 64, -64, -64], 255));
        assert!(!neighbours_fit(&[65, 64], 255) && !neighbours_fit(&[0, 0, -65, -64], 255));
        assert!(neighbours_fit(&[127, -127], 255) && neighbours_fit(&[127, 127], 127));
    }
}
