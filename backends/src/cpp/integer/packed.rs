//! Which values lie packed into bits, and which layers count bits.
//!
//! In: a core. A convolution or a dense layer of a bipolar value with constant weights −1 and +1 is a layer of bits, unless
//! it has groups, sums beyond 32 bits, or so many border classes that their table would be large. A bipolar value
//! that a step makes is packed along its last axis if every reader has a kernel for bits: such layers, max poolings whose
//! own result is packed, and what only renames a value whose new name is packed as well (and lies in the same place).
//! Everything else, and what a graph takes and gives, stays in bytes; a layer of bits whose operand does packs a copy.
//! Whatever makes a packed value packs it in the same step.

use super::super::ops::conv::{extents, three};
use super::ops::is_free;
use super::words::Word;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::Op;
use unfloat_ir::ranges::Ranges;
use unfloat_ir::xnor::{BITS, Border, Sliding};
use unfloat_ir::{ElemType, Graph, Node, NodeId, ValueId};

/// Output channels that are counted together; `kernels/bits.hpp` has the same number.
pub const LANES: usize = 8;

/// Words of a row of weights and of the cells of a tile that stay in the first-level cache together.
const NEAR: usize = 2304;

/// Most steps that a table of border classes may take.
const MOST: usize = 1 << 24;

/// A layer of bits: a window over a map whose cells are whole words. A dense layer is one of a single tap, or, over a map
/// that was made flat, one that sees all of the map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// The window.
    pub window: Sliding,
    /// Codes of a cell.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl Layer {
    /// Words of a cell.
    pub fn depth(&self) -> usize {
        self.inputs.div_ceil(BITS)
    }
    /// Taps of the window.
    pub fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }
    /// Words that an output cell sees.
    pub fn row(&self) -> usize {
        if self.is_dense() { (self.taps() * self.inputs).div_ceil(BITS) } else { self.taps() * self.depth() }
    }
    /// Whether the codes of a row lie without gaps between its taps: where whole words would be more, and rows are gathered
    /// anyway.
    pub fn is_dense(&self) -> bool {
        let (taps, inputs) = (self.taps(), self.inputs);
        !self.is_direct() && (taps * inputs).div_ceil(BITS) < taps * self.depth()
    }
    /// Output channels in whole groups.
    pub fn lanes(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }
    /// Whether what an output cell sees lies side by side in the input, one cell after the other.
    pub fn is_direct(&self) -> bool {
        let w = &self.window;
        let one = w.kernel == [1; 3] && w.stride == [1; 3] && w.output == w.input;
        one || (w.kernel == w.input && w.output == [1; 3] && w.dilation == [1; 3] && w.pad_begin == [0; 3])
    }
    /// Output cells that meet a group of weights one after another.
    pub fn tile(&self) -> usize {
        let cells: usize = self.window.output.iter().product();
        (NEAR / self.row()).clamp(4, 32).min(cells)
    }
    /// Words of the input.
    pub fn input_words(&self) -> usize {
        self.window.input.iter().product::<usize>() * self.depth()
    }
}

/// What lies packed.
pub struct Packed {
    held: Vec<bool>,
    /// The length of the axis along which a value would lie packed: the last of the value whose place it shares.
    along: Vec<usize>,
    /// Whether the node that makes a value is a layer of bits.
    counts: Vec<bool>,
}

impl Packed {
    /// Looks at a core.
    pub fn of(graph: &Graph, ranges: &Ranges) -> Packed {
        let n = graph.num_values();
        let mut packed = Packed { held: vec![false; n], along: vec![0; n], counts: vec![false; n] };
        for (id, value) in graph.values() {
            packed.along[id.index()] = value.ty.shape.last().copied().unwrap_or(0);
        }
        for (_, node) in graph.live_nodes() {
            if is_free(graph, node) {
                packed.along[node.output.index()] = packed.along[node.inputs[0].index()];
            }
            packed.counts[node.output.index()] = counts(graph, ranges, node);
        }
        packed.settle(graph);
        packed
    }

    /// All that can be: assumes every candidate, then takes back until what is left agrees.
    fn settle(&mut self, graph: &Graph) {
        let users = graph.users();
        let mut left = self.candidates(graph, &users);
        left.iter().for_each(|v| self.held[v.index()] = true);
        // Poolings tell backwards that a value is not packed, new names forwards, too: the rounds take turns.
        loop {
            let before = left.len();
            left.reverse();
            left.retain(|&v| {
                let keep = self.agrees(graph, &users, v);
                self.held[v.index()] = keep;
                keep
            });
            if left.len() == before {
                return;
            }
        }
    }

    /// Bipolar values that a node makes and that are only read where there is a kernel for bits.
    fn candidates(&self, graph: &Graph, users: &[Vec<NodeId>]) -> Vec<ValueId> {
        let mut shown = vec![false; graph.num_values()];
        graph.outputs().iter().for_each(|o| shown[o.value.index()] = true);
        let reads = |node: &Node, v: ValueId| {
            let along = self.along[v.index()];
            let alone = node.inputs[0] == v && !node.inputs[1..].contains(&v);
            alone
                && match &node.op {
                    Op::MaxPool(_) => extents(graph.ty(v)).1 == along,
                    Op::Conv(_) | Op::Dense(_) => {
                        self.counts[node.output.index()] && layer(graph, node, along).is_some()
                    }
                    _ => is_free(graph, node),
                }
        };
        let fits = |v: ValueId| {
            let (ty, users) = (graph.ty(v), &users[v.index()]);
            let inside = !users.is_empty() && !shown[v.index()] && self.along[v.index()] > 0;
            ty.elem == ElemType::Bipolar && inside && users.iter().all(|&user| reads(graph.node(user), v))
        };
        graph.live_nodes().map(|(_, node)| node.output).filter(|&v| fits(v)).collect()
    }

    /// Whether what names a value anew, and the poolings that read it, agree with its being packed.
    fn agrees(&self, graph: &Graph, users: &[Vec<NodeId>], value: ValueId) -> bool {
        let made = graph.producer(value).is_none_or(|(_, n)| !is_free(graph, n) || self.holds(n.inputs[0]));
        made && users[value.index()].iter().all(|&user| {
            let node = graph.node(user);
            match node.op {
                Op::Conv(_) | Op::Dense(_) => true,
                _ => self.holds(node.output),
            }
        })
    }

    /// Whether a value lies packed.
    pub fn holds(&self, value: ValueId) -> bool {
        self.held.get(value.index()).copied().unwrap_or(false)
    }

    /// Words of a packed value.
    pub fn words(&self, graph: &Graph, value: ValueId) -> usize {
        let along = self.along[value.index()].max(1);
        graph.ty(value).shape.num_elements() / along * along.div_ceil(BITS)
    }

    /// The node as a layer of bits, if it is one.
    pub fn layer(&self, graph: &Graph, node: &Node) -> Option<Layer> {
        if !self.counts[node.output.index()] {
            return None;
        }
        let x = node.inputs[0];
        let last = graph.ty(x).shape.last().copied()?;
        layer(graph, node, if self.holds(x) { self.along[x.index()] } else { last })
    }
}

/// Whether a node is a layer of bits.
fn counts(graph: &Graph, ranges: &Ranges, node: &Node) -> bool {
    let groups = match &node.op {
        Op::Conv(conv) => conv.groups,
        Op::Dense(_) => 1,
        _ => return false,
    };
    let x = graph.ty(node.inputs[0]);
    let codes = |i: usize, fits: fn(i64) -> bool| {
        graph.const_of(node.inputs[i]).is_some_and(|t| (0..t.len()).all(|n| t.data.code(n).is_some_and(fits)))
    };
    let narrow = ranges.of_value(node.output).is_some_and(|r| Word::computing(r) == Word::I32);
    let bias = node.inputs.len() < 3 || codes(2, |b| b.unsigned_abs() < 1 << 30);
    let last = x.shape.last().copied().unwrap_or(0);
    x.elem == ElemType::Bipolar
        && groups == 1
        && narrow
        && bias
        && layer(graph, node, last).is_some()
        && codes(1, |w| w.abs() == 1)
}

/// A window that slides along one axis, step by step.
fn line(input: usize, output: usize, kernel: usize) -> Sliding {
    Sliding {
        input: [1, 1, input],
        output: [1, 1, output],
        kernel: [1, 1, kernel],
        stride: [1; 3],
        dilation: [1; 3],
        pad_begin: [0; 3],
    }
}

/// A node as a layer whose operand would be packed along an axis of that length.
fn layer(graph: &Graph, node: &Node, along: usize) -> Option<Layer> {
    let (x, out) = (graph.ty(node.inputs[0]), graph.ty(node.output));
    let last = x.shape.last().copied().filter(|_| along > 0)?;
    let outputs = out.shape.last().copied()?;
    let window = match &node.op {
        Op::Conv(conv) if along == last => Sliding {
            input: extents(x).0,
            output: extents(out).0,
            kernel: three(&conv.window.kernel, 1),
            stride: three(&conv.window.strides, 1),
            dilation: three(&conv.window.dilations, 1),
            pad_begin: three(&conv.window.pads_begin, 0),
        },
        Op::Dense(_) if along == last => {
            let rows = x.shape.num_elements() / last;
            line(rows, rows, 1)
        }
        Op::Dense(_) if x.rank() == 1 && last % along == 0 => line(last / along, 1, last / along),
        _ => return None,
    };
    let layer = Layer { window, inputs: along, outputs };
    let seen = window.kernel.iter().try_fold(layer.depth() * BITS, |n, &taps| n.checked_mul(taps))?;
    let classes = Border::of(&window).classes();
    let work = classes.saturating_mul(layer.lanes()).saturating_mul(layer.taps());
    (seen < 1 << 28 && work <= MOST).then_some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(input: usize, output: usize, kernel: usize) -> Layer {
        Layer { window: line(input, output, kernel), inputs: 65, outputs: 9 }
    }

    #[test]
    fn words_and_groups_are_whole() {
        let layer = row(10, 8, 3);
        // Three taps of 65 codes without gaps take four words; where nothing is gathered, they take six.
        assert_eq!((layer.depth(), layer.row(), layer.lanes(), layer.input_words()), (2, 4, 16, 20));
        assert_eq!(row(3, 1, 3).row(), 6);
        assert!(!layer.is_direct() && row(5, 5, 1).is_direct() && row(5, 1, 5).is_direct());
        assert_eq!((layer.tile(), row(500, 498, 3).tile(), row(5000, 1, 5000).tile()), (8, 32, 1));
    }
}
