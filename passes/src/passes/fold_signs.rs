//! Takes the signs in front of thresholds into weights, and maxima of sums behind thresholds to one bit.
//!
//! In: an integer graph, where `integerize` turns channels that fall round: `threshold(sums · signs)` with a constant −1 or
//! 1 per channel. Out: the same codes without that product. Where a layer with constant weights makes the sums for nobody
//! else, its weights of those output channels change their sign. Where maxima stand in between, and all that reads the
//! codes are layers with constant weights, thresholds come first, the maxima are taken of bits, and the codes of those
//! channels are the opposite ones: `−[−max s ≥ t] = max [s ≥ 1 − t]` for codes −1 and 1. The readers' weights of those
//! input channels change their sign for it.
//!
//! Left alone: sums that something else reads, weights that have no opposite in their type, maxima in front of more than
//! two codes, codes that are read by anything but layers with constant weights.

use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Binary, Threshold};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{
    Diagnostic, Diagnostics, Edit, ElemType, Graph, IntType, Layout, Node, NodeId, Op, OpDef, Patch, Stage,
    Tensor, TensorType, ValueId,
};

/// The pass `fold-signs`.
pub struct FoldSigns;

static INFO: PassInfo = PassInfo {
    name: "fold-signs",
    summary: "take the signs in front of thresholds into weights, and maxima of sums behind thresholds to one bit",
    details: "A product with -1 or 1 per channel between a layer with constant weights and thresholds becomes a change of \
              sign of the weights. With maxima in between, the thresholds come first, and the weights of the layers that \
              read the bits change their signs. Sums and codes that something else reads stay as they are.",
    options: &[],
    from: Stage::Folded,
    to: Stage::Folded,
    claim: Claim::Exact,
};

impl Pass for FoldSigns {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut count = 0;
        // Each rewrite takes a product away, so this ends. One at a time: a layer may be both reader and maker.
        loop {
            let (users, ranges) = (graph.users(), Ranges::of(graph));
            let found = graph.live_nodes().find_map(|(_, node)| {
                let turned = Turned::of(graph, &users, &ranges, node)?;
                turned.by_maker(graph, &users).or_else(|| turned.by_readers(graph, &users))
            });
            let Some(edit) = found.transpose()? else { return Ok(Change::of(count)) };
            count += 1;
            graph.apply(edit);
            *graph = graph.compact();
        }
    }
}

type Rewrite = Result<Edit, Diagnostic>;

/// Thresholds behind a product with signs.
struct Turned<'g> {
    /// The thresholds' node.
    node: &'g Node,
    op: &'g Threshold,
    /// What is multiplied.
    sums: ValueId,
    /// Which channels of the last axis change their sign.
    flips: Vec<bool>,
}

impl<'g> Turned<'g> {
    fn of(graph: &'g Graph, users: &[Vec<NodeId>], ranges: &Ranges, node: &'g Node) -> Option<Self> {
        let Op::Threshold(op) = &node.op else { return None };
        let ty = graph.ty(node.output);
        let product = only_for(graph, users, node.inputs[0])?;
        let (Op::Binary(Binary::Mul), true) = (&product.op, op.axis + 1 == ty.rank()) else { return None };
        let [x, signs] = product.inputs[..] else { return None };
        let channels = *ty.shape.last()?;
        let signs = graph
            .const_of(signs)
            .filter(|s| graph.ty(x).shape == ty.shape && (s.len() == 1 || s.ty.shape.dims() == [channels]))?;
        let sign = |c: usize| signs.data.code(if signs.len() == 1 { 0 } else { c });
        let flip = |c: usize| match sign(c)? {
            1 => Some(false),
            -1 => Some(true),
            _ => None,
        };
        let flips = (0..channels).map(flip).collect::<Option<_>>()?;
        let sums = match only_for(graph, users, x)? {
            Node { op: Op::Cast(_), inputs, .. } => only_for(graph, users, inputs[0])?.output,
            made => made.output,
        };
        // Neither the cast nor the product may have wrapped.
        let (lo, hi) = ranges.of_value(sums)?;
        let (least, greatest) = graph.ty(x).elem.code_range()?;
        let fits = |v: i128| i128::from(least) <= v && v <= i128::from(greatest);
        let whole = [lo, hi, lo.checked_neg()?, hi.checked_neg()?].into_iter().all(fits);
        whole.then_some(Self { node, op, sums, flips })
    }

    /// The layer that makes the sums has the signs in its weights.
    fn by_maker(&self, graph: &Graph, users: &[Vec<NodeId>]) -> Option<Rewrite> {
        let layer = only_for(graph, users, self.sums)?;
        let weight = weight_of(graph, layer)?;
        // A bias would change its sign too; sums of integers have theirs in the thresholds.
        if layer.inputs.len() != 2 {
            return None;
        }
        let axis = if matches!(layer.op, Op::MatMul(_)) { weight.ty.rank() - 1 } else { 0 };
        let turned = opposite(weight, |index| self.flips.get(index[axis]).copied())?;
        Some(self.with_maker(graph, layer, turned))
    }

    fn with_maker(&self, graph: &Graph, layer: &Node, weight: Tensor) -> Rewrite {
        let mut patch = Patch::new(graph);
        let weight = patch.constant(&turned_name(graph, layer.inputs[1]), weight);
        let name = turned_name(graph, layer.output);
        let sums = patch.node(layer.op.clone(), &[layer.inputs[0], weight], &name, &layer.origin)?;
        let codes = patch.node(
            self.op.clone(),
            &[sums, self.node.inputs[1]],
            &graph.value(self.node.output).name,
            &self.node.origin,
        )?;
        patch.replace(self.node.output, codes)?;
        Ok(patch.finish())
    }

    /// The layers that read the bits have the signs in their weights, and maxima are taken of bits.
    fn by_readers(&self, graph: &Graph, users: &[Vec<NodeId>]) -> Option<Rewrite> {
        let one_bit = self.op.to == ElemType::Bipolar && (self.op.scale, self.op.bias) == (2, -1);
        let table = graph.const_of(self.node.inputs[1]).filter(|t| one_bit && t.ty.shape[1] == 1)?;
        let mut pools = Vec::new();
        let mut x = self.sums;
        while let Some(pool) = only_for(graph, users, x).filter(|n| matches!(n.op, Op::MaxPool(_))) {
            pools.push(pool);
            x = pool.inputs[0];
        }
        if pools.is_empty() {
            return None;
        }
        let row = |c: usize| {
            let t = table.data.code(if table.len() == 1 { 0 } else { c })?;
            if self.flips[c] { 1i64.checked_sub(t) } else { Some(t) }
        };
        let rows = (0..self.flips.len()).map(row).collect::<Option<Vec<i64>>>()?;
        let readers = self.readers(graph, users)?;
        pools.reverse();
        Some(self.with_readers(graph, x, &pools, rows, &readers))
    }

    /// Everything that reads the codes, in order: moves, and layers with their new weights.
    fn readers(&self, graph: &'g Graph, users: &[Vec<NodeId>]) -> Option<Vec<Reader<'g>>> {
        let ty = graph.ty(self.node.output);
        let sign = |i: usize| if self.flips[i % self.flips.len()] { -1 } else { 1 };
        let signs = Tensor::codes(ty.clone(), (0..ty.shape.num_elements()).map(sign));
        let mut open = vec![(self.node.output, signs)];
        let mut readers = Vec::new();
        while let Some((value, signs)) = open.pop() {
            if graph.is_output(value) || users[value.index()].is_empty() {
                return None;
            }
            for node in users[value.index()].iter().map(|&id| graph.node(id)) {
                if matches!(node.op, Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_)) {
                    let ty = graph.ty(node.output).clone();
                    let data = node.op.eval(&[&signs], &ty).ok()?;
                    open.push((node.output, Tensor { ty, data }));
                    readers.push(Reader { node, weight: None });
                    continue;
                }
                let weight = weight_of(graph, node).filter(|_| node.inputs[0] == value)?;
                let weight = opposite(weight, reading(&node.op, &weight.ty, &channels(&signs)?))?;
                readers.push(Reader { node, weight: Some(weight) });
            }
        }
        Some(readers)
    }

    fn with_readers(
        &self,
        graph: &Graph,
        sums: ValueId,
        pools: &[&Node],
        rows: Vec<i64>,
        readers: &[Reader],
    ) -> Rewrite {
        let mut patch = Patch::new(graph);
        let (node, name) = (self.node, &graph.value(self.node.output).name);
        let (lo, hi) = rows.iter().fold((0, 0), |(lo, hi), &t| (lo.min(t), hi.max(t)));
        let elem = ElemType::Int(IntType::covering(lo, hi));
        let ty = TensorType::new(elem, [rows.len(), 1], Layout::anonymous(2));
        let table =
            patch.constant(&turned_name(graph, node.inputs[1]), Tensor::codes(ty, rows.iter().copied()));
        let axis = graph.ty(sums).rank() - 1;
        let op = Threshold { axis, ..self.op.clone() };
        let mut codes = patch.node(op, &[sums, table], &format!("{name}.cells"), &node.origin)?;
        for pool in pools {
            codes = patch.node(pool.op.clone(), &[codes], &format!("{name}.turned"), &pool.origin)?;
        }
        let mut now = vec![(node.output, codes)];
        for Reader { node, weight } in readers {
            let Some(&(_, x)) = now.iter().find(|(old, _)| *old == node.inputs[0]) else { continue };
            match weight {
                None => {
                    let name = turned_name(graph, node.output);
                    now.push((node.output, patch.node(node.op.clone(), &[x], &name, &node.origin)?));
                }
                Some(weight) => {
                    let weight = patch.constant(&turned_name(graph, node.inputs[1]), weight.clone());
                    let inputs = [&[x, weight], &node.inputs[2..]].concat();
                    let name = &graph.value(node.output).name;
                    let sums = patch.node(node.op.clone(), &inputs, name, &node.origin)?;
                    patch.replace(node.output, sums)?;
                }
            }
        }
        Ok(patch.finish())
    }
}

/// What reads codes: a layer with other weights, or a move.
struct Reader<'g> {
    node: &'g Node,
    weight: Option<Tensor>,
}

/// The node that makes a value which one node alone reads.
fn only_for<'g>(graph: &'g Graph, users: &[Vec<NodeId>], value: ValueId) -> Option<&'g Node> {
    let alone = users[value.index()].len() == 1 && !graph.is_output(value);
    graph.producer(value).filter(|_| alone).map(|(_, node)| node)
}

/// The constant weight of a layer of integers.
fn weight_of<'g>(graph: &'g Graph, node: &Node) -> Option<&'g Tensor> {
    let layer = match &node.op {
        Op::Conv(_) => graph.ty(node.inputs[0]).layout.channel() == Some(graph.ty(node.inputs[0]).rank() - 1),
        Op::Dense(_) => true,
        Op::MatMul(_) => graph.ty(node.inputs[1]).rank() == 2,
        _ => false,
    };
    let weight = graph.const_of(*node.inputs.get(1)?).map(AsRef::as_ref);
    weight.filter(|w| layer && w.ty.elem.is_integer() && node.inputs[0] != node.inputs[1])
}

/// The signs of the last axis, where they are the same along all others.
fn channels(signs: &Tensor) -> Option<Vec<bool>> {
    let n = *signs.ty.shape.last()?;
    let flip = |i: usize| Some(signs.data.code(i)? < 0);
    let first: Vec<bool> = (0..n).map(flip).collect::<Option<_>>()?;
    (0..signs.len()).all(|i| flip(i) == Some(first[i % n])).then_some(first)
}

/// Which elements of a weight meet an input whose sign has changed.
fn reading(op: &Op, weight: &TensorType, flips: &[bool]) -> impl Fn(&[usize]) -> Option<bool> {
    let rank = weight.rank();
    // A group of output channels reads a group of input channels.
    let (outputs, inputs) = match op {
        Op::Conv(conv) => (weight.shape[0] / conv.groups.max(1), weight.shape[rank - 1]),
        _ => (usize::MAX, 0),
    };
    let axis = if matches!(op, Op::MatMul(_)) { rank - 2 } else { rank - 1 };
    move |index| flips.get(index[0].checked_div(outputs)? * inputs + index[axis]).copied()
}

/// The weight with another sign where it is asked for; nothing where its type has no such number.
fn opposite(weight: &Tensor, flipped: impl Fn(&[usize]) -> Option<bool>) -> Option<Tensor> {
    let mut codes = Vec::with_capacity(weight.len());
    for_each_index(weight.ty.shape.dims(), |index| {
        let code = weight.data.code(codes.len()).zip(flipped(index));
        let code = code.and_then(|(code, flip)| if flip { code.checked_neg() } else { Some(code) });
        codes.push(code.filter(|&c| weight.ty.elem.has_code(c)));
    });
    let codes: Vec<i64> = codes.into_iter().collect::<Option<_>>()?;
    Some(Tensor::codes(weight.ty.clone(), codes))
}

fn turned_name(graph: &Graph, value: ValueId) -> String {
    format!("{}.turned", graph.value(value).name)
}
