//! Which values lie packed into bits, and the steps that read them so.
//!
//! In: a graph's bipolar values. A value is packed, along its last axis, if every reader has a kernel for bits: convolutions
//! and dense layers with constant weights −1 and +1, max poolings whose own result is packed, and reshapes whose
//! result is (which then lies in the same place). Whatever makes a packed value packs it in the same step. Everything
//! else, and what a graph takes and gives, stays in bytes.

use super::fuse;
use super::lower::Lowering;
use super::step::Work;
use crate::kernels::bits::{BITS, BitConv, BitConvSpec, BitOutput, BitPool};
use crate::kernels::int::{Map, Word};
use crate::kernels::{ConvShape, Isa, KernelError};
use unfloat_ir::arena::Handle;
use unfloat_ir::{ElemType, Graph, Node, NodeId, Op, ValueId};

/// The values that lie packed.
#[derive(Default)]
pub(super) struct Packed {
    held: Vec<bool>,
    /// The length of the axis along which a value would lie packed: the last of the value whose place it shares.
    along: Vec<usize>,
}

impl Packed {
    /// No value lies packed yet.
    pub fn none(graph: &Graph) -> Packed {
        let n = graph.num_values();
        let mut along = vec![0; n];
        for (_, node) in graph.live_nodes() {
            along[node.output.index()] = match node.op {
                Op::Reshape(_) => along[node.inputs[0].index()],
                _ => graph.ty(node.output).shape.last().copied().unwrap_or(0),
            };
        }
        Packed { held: vec![false; n], along }
    }

    /// All that can be: assumes every candidate, then takes back until what is left agrees.
    pub fn settle(&mut self, lowering: &Lowering) {
        let mut left = candidates(lowering);
        left.iter().for_each(|v| self.held[v.index()] = true);
        // Poolings tell backwards that a value is not packed, reshapes forwards, too: the rounds take turns.
        loop {
            let before = left.len();
            left.reverse();
            left.retain(|&v| {
                let keep = self.fits(lowering, v);
                self.held[v.index()] = keep;
                keep
            });
            if left.len() == before {
                return;
            }
        }
    }

    /// Whether a value lies packed.
    pub fn holds(&self, value: ValueId) -> bool {
        self.held.get(value.index()).copied().unwrap_or(false)
    }

    /// Bytes of a packed value.
    pub fn bytes(&self, graph: &Graph, value: ValueId) -> Option<usize> {
        let shape = &graph.ty(value).shape;
        let &channels = shape.last().filter(|_| self.holds(value))?;
        Some((shape.num_elements() / channels).saturating_mul(channels.div_ceil(BITS) * 8))
    }

    /// Whether the reshape that makes a value, and the reshapes and poolings that read it, agree with its being packed.
    fn fits(&self, lowering: &Lowering, value: ValueId) -> bool {
        let graph = lowering.graph;
        let aliased = |node: &Node| {
            self.holds(node.inputs[0]) && lowering.word(node.inputs[0]) == lowering.word(node.output)
        };
        let made = graph.producer(value).is_none_or(|(_, node)| match node.op {
            Op::Reshape(_) => aliased(node),
            _ => true,
        });
        made && lowering.users[value.index()].iter().all(|&user| {
            let node = graph.node(user);
            match node.op {
                Op::Reshape(_) => self.holds(node.output) && aliased(node),
                Op::MaxPool(_) => self.holds(node.output),
                _ => true,
            }
        })
    }
}

/// Bipolar values that a node makes and that are only read where there is a kernel for bits.
fn candidates(lowering: &Lowering) -> Vec<ValueId> {
    let graph = lowering.graph;
    let mut shown = vec![false; graph.num_values()];
    graph.outputs().iter().for_each(|o| shown[o.value.index()] = true);
    let reads = |user: NodeId, v: ValueId| {
        let node = graph.node(user);
        let alone = node.inputs[0] == v && !node.inputs[1..].contains(&v);
        alone
            && match &node.op {
                Op::Reshape(_) => true,
                Op::MaxPool(p) => {
                    let along = lowering.packed.along[v.index()];
                    lowering.pool_shape(node, &p.window).is_some_and(|s| s.channels == along)
                }
                Op::Conv(_) | Op::Dense(_) => {
                    lowering.bit_sums(node, None, BitConv::takes).is_ok_and(|taken| taken == Some(true))
                }
                _ => false,
            }
    };
    let fits = |v: ValueId| {
        let (ty, users) = (graph.ty(v), &lowering.users[v.index()]);
        let full = ty.rank() > 0 && !ty.shape.contains(&0);
        let inside = !users.is_empty() && !shown[v.index()];
        let sign = ty.elem == ElemType::Bipolar && lowering.word(v).bytes() == 1;
        sign && full && inside && users.iter().all(|&user| reads(user, v))
    };
    graph.live_nodes().map(|(_, node)| node.output).filter(|&v| fits(v)).collect()
}

impl Lowering<'_> {
    /// The kernel's shape for a packed operand. A dense layer over a map that a reshape made flat is a convolution whose
    /// kernel is one row of all the map's pixels.
    fn bit_shape(&self, node: &Node) -> Option<ConvShape> {
        let x = self.ty(node.inputs[0]);
        let along = *self.packed.along.get(node.inputs[0].index()).filter(|&&n| n > 0)?;
        let last = *x.shape.last()?;
        if let Op::Conv(conv) = &node.op {
            return self.conv_shape(node, conv).filter(|_| along == last);
        }
        let outputs = self.ty(node.inputs[1]).shape[0];
        if along == last {
            let rows = x.shape[..x.rank() - 1].iter().product();
            return Some(ConvShape::conv2d([1, rows], [last, outputs], [1, 1]));
        }
        let pixels = last / along;
        let flat = x.rank() == 1 && pixels * along == last;
        flat.then(|| ConvShape::conv2d([1, pixels], [along, outputs], [1, pixels]))
    }

    /// A convolution or a dense layer of a packed operand, its sums or the bits of thresholds, as `kernel` takes it.
    fn bit_sums<T>(
        &self,
        node: &Node,
        limits: Option<&[i64]>,
        kernel: impl FnOnce(Isa, &BitConvSpec) -> Result<T, KernelError>,
    ) -> Result<Option<T>, KernelError> {
        let constant = |i: usize| self.graph.const_of(node.inputs[i]).and_then(|t| fuse::codes(t));
        let integer = self.ty(node.output).elem.is_integer() && self.word(node.output) <= Word::I64;
        let (Some(shape), Some(weights), true) = (self.bit_shape(node), constant(1), integer) else {
            return Ok(None);
        };
        let bias = if node.inputs.len() > 2 { constant(2) } else { Some(vec![0; shape.out_channels]) };
        let Some(bias) = bias else { return Ok(None) };
        let output = limits.map_or(BitOutput::Sums(self.word(node.output)), BitOutput::Bits);
        kernel(self.options.isa, &BitConvSpec { shape: &shape, weights: &weights, bias: &bias, output })
            .map(Some)
    }

    /// The step of a node that reads a packed value, and what comes out.
    pub(super) fn bits(&self, node: &Node) -> Result<Option<(Work, ValueId)>, KernelError> {
        if let Op::MaxPool(p) = &node.op {
            let Some(shape) = self.pool_shape(node, &p.window) else { return Ok(None) };
            return Ok(Some((Work::BitPool(BitPool::new(&shape)?), node.output)));
        }
        if !matches!(node.op, Op::Conv(_) | Op::Dense(_)) {
            return Ok(None);
        }
        let (limits, output) = match self.signs(node) {
            Some((limits, output)) => (Some(limits), output),
            None => (None, node.output),
        };
        let conv = self.bit_sums(node, limits.as_deref(), BitConv::new)?.flatten();
        Ok(conv.map(|conv| (Work::BitConv(Box::new(conv)), output)))
    }

    /// The thresholds that follow, if each sum becomes a bit that is packed.
    fn signs(&self, node: &Node) -> Option<(Vec<i64>, ValueId)> {
        let chain = fuse::behind(self.graph, &self.ranges, &self.users, &self.tables, node);
        let Map::Threshold { table, first: 0, scale: 2, bias: -1 } = &chain.spec.map else { return None };
        let all = (i64::MIN, i64::MAX);
        let plain = chain.spec.before == all && chain.spec.after == all;
        let limits = table.single()?.to_vec();
        (plain && self.packed.holds(chain.output)).then_some((limits, chain.output))
    }

    /// A step with the packing of its result, where that lies packed and the step does not do so itself.
    pub(super) fn packing(
        &self,
        (work, inputs, output): (Work, Vec<ValueId>, ValueId),
    ) -> (Work, Vec<ValueId>, ValueId) {
        let done = matches!(work, Work::BitConv(_) | Work::BitPool(_));
        let shape = &self.ty(output).shape;
        let work = match shape.last().filter(|_| self.packed.holds(output) && !done) {
            Some(&channels) => Work::Packing { work: Box::new(work), len: shape.num_elements(), channels },
            None => work,
        };
        (work, inputs, output)
    }
}
