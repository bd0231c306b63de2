//! Folds batch normalisations, and other factors and terms per channel, into the weights beside them.
//!
//! In: a canonical graph. Out: at stage folded. A function `a · x + b` per channel (batch normalisation, or a sum,
//! difference, product or quotient with a constant) is taken up by
//!
//! * the convolution, transposed convolution or dense layer in front of it, when nothing else reads that layer;
//! * the convolution or dense layer behind it, when nothing else reads the function and the layer adds no zero
//!   padding. Zero padding lies *behind* the function: where the folded layer would see `a · 0 + b`, the model sees
//!   0, so a function with any `b ≠ 0` in front of a padded layer stays. One that only scales is folded, padded or
//!   not. The same holds for transposed convolutions, whose border cells miss taps;
//! * a batch normalisation, or another factor or term, beside it;
//! * nothing, when it is `1 · x + 0`.
//!
//! Nothing is folded where a step function ([`feeds_steps`]) comes later, be it layers away: a fold rounds otherwise,
//! and a sign or a quantizer turns the last bit of a sum that lies on its threshold into another value. There each
//! batch normalisation stays, and with it the formula of its source.
//!
//! A reshape between the two may merge or split axes in front of the channels. What finds no layer stays as it is:
//! one batch normalisation is one multiplication and one addition per element in every executor. New weights are
//! computed in double precision and rounded once; a fold that would overflow is left.

use crate::analysis::affine::{Affine, Linear, affine_of};
use crate::analysis::steps::feeds_steps;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::collections::BTreeSet;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{BatchNorm, Binary, Reshape};
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Layout, Node, NodeId, Op, Patch, Stage, Tensor, ValueId};

/// The pass `fold-batch-norm`.
pub struct FoldBatchNorm;

static INFO: PassInfo = PassInfo {
    name: "fold-batch-norm",
    summary: "fold batch normalisation and other per-channel factors and terms into the weights beside them",
    details: "Into the layer in front when nothing else reads it; into the layer behind when that adds no zero \
              padding (there the model sees 0, a folded layer would not) or the function only scales; else into a \
              batch normalisation beside it. What finds no place stays, and so does everything in front of a sign, a \
              rounding or a quantizer, which would turn the last bit of a fold into another value.",
    options: &[],
    from: Stage::Canonical,
    to: Stage::Folded,
    claim: Claim::Within { abs: 1e-7, rel: 1e-5 },
};

impl Pass for FoldBatchNorm {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        // The layer in front comes first: it can always take up a function, the one behind can't.
        const RULES: [Rule; 3] = [into_the_layer_in_front, into_a_neighbour, into_the_layer_behind];
        let mut count = 0;
        let mut rule = 0;
        while rule < RULES.len() {
            let made = sweep(graph, RULES[rule])?;
            count += made;
            // Each fold takes a node away, so this ends.
            rule = if made > 0 { 0 } else { rule + 1 };
        }
        Ok(Change::of(count))
    }
}

/// Makes the node that takes the place of the given one, and says which nodes it was made from.
type Rule = fn(&mut Folder, &Node) -> Result<Option<(ValueId, Vec<NodeId>)>, Diagnostic>;

struct Folder<'g> {
    graph: &'g Graph,
    users: Vec<Vec<NodeId>>,
    patch: Patch<'g>,
    /// What was replaced in this sweep. A new node that read such a value would read the old node behind it, whose
    /// constants may have been replaced too.
    replaced: BTreeSet<ValueId>,
}

/// Applies a rule wherever it fits. Nodes that took part in one rewrite take part in no other of the same sweep.
fn sweep(graph: &mut Graph, rule: Rule) -> Result<usize, Diagnostics> {
    let steps = feeds_steps(graph);
    let mut folder =
        Folder { graph, users: graph.users(), patch: Patch::new(graph), replaced: BTreeSet::new() };
    let mut taken = vec![false; graph.order().iter().map(|n| n.index() + 1).max().unwrap_or(0)];
    let mut count = 0;
    for (id, node) in graph.live_nodes() {
        if steps[node.output.index()]
            || taken[id.index()]
            || folder.sources(node).iter().any(|n| taken[n.index()])
        {
            continue;
        }
        if let Some((new, parts)) = rule(&mut folder, node)? {
            folder.patch.replace(node.output, new)?;
            folder.replaced.insert(node.output);
            parts.iter().chain([&id]).for_each(|n| taken[n.index()] = true);
            count += 1;
        }
    }
    let edit = folder.patch.finish();
    if count > 0 {
        graph.apply(edit);
        *graph = graph.compact();
    }
    Ok(count)
}

fn into_the_layer_in_front(
    folder: &mut Folder,
    node: &Node,
) -> Result<Option<(ValueId, Vec<NodeId>)>, Diagnostic> {
    let graph = folder.graph;
    let Some((x, affine)) = affine_of(graph, node) else { return Ok(None) };
    let Some((front, mut parts)) = folder.only_reader(x) else { return Ok(None) };
    let (reshape, front) = match &front.op {
        Op::Reshape(r) => match folder.only_reader(front.inputs[0]) {
            Some((inner, more)) => {
                parts.extend(more);
                (Some(r.clone()), inner)
            }
            None => return Ok(None),
        },
        _ => (None, front),
    };
    let Some(linear) = Linear::of(graph, front) else { return Ok(None) };
    if folder.replaced.contains(&front.inputs[0]) {
        return Ok(None);
    }
    // Behind a reshape, elements of the layer's channels go through the function's again and again.
    if linear.out % affine.a.len().max(1) != 0 || affine.a.is_empty() {
        return Ok(None);
    }
    let Some(folded) = linear.followed_by(&affine.repeated(linear.out)) else { return Ok(None) };
    let name = &graph.value(node.output).name;
    let new = match reshape {
        None => folder.layer(&linear, front.inputs[0], folded, name)?,
        Some(r) => {
            let inner = folder.layer(&linear, front.inputs[0], folded, &format!("{name}.layer"))?;
            folder.patch.node(r, &[inner], name, &node.origin)?
        }
    };
    Ok(Some((new, parts)))
}

fn into_the_layer_behind(
    folder: &mut Folder,
    node: &Node,
) -> Result<Option<(ValueId, Vec<NodeId>)>, Diagnostic> {
    let graph = folder.graph;
    let Some(linear) = Linear::of(graph, node) else { return Ok(None) };
    let Some((first, mut parts)) = folder.only_reader(node.inputs[0]) else { return Ok(None) };
    let (reshape, first) = match &first.op {
        Op::Reshape(r) => match folder.only_reader(first.inputs[0]) {
            Some((inner, more)) => {
                parts.extend(more);
                (Some(r.clone()), inner)
            }
            None => return Ok(None),
        },
        _ => (None, first),
    };
    let Some((x, affine)) = affine_of(graph, first) else { return Ok(None) };
    if folder.replaced.contains(&x) {
        return Ok(None);
    }
    let channels = linear.per_group * linear.groups;
    if affine.a.is_empty() || channels % affine.a.len() != 0 || !(linear.is_unpadded() || affine.is_scale()) {
        return Ok(None);
    }
    let Some((weight, bias)) = linear.behind(&affine.repeated(channels)) else { return Ok(None) };
    let input = match reshape {
        None => x,
        Some(r) => {
            let name = format!("{}.in", graph.value(node.output).name);
            folder.patch.node(r as Reshape, &[x], &name, &first.origin)?
        }
    };
    let new = folder.layer(&linear, input, (weight, bias), &graph.value(node.output).name)?;
    Ok(Some((new, parts)))
}

fn into_a_neighbour(folder: &mut Folder, node: &Node) -> Result<Option<(ValueId, Vec<NodeId>)>, Diagnostic> {
    let graph = folder.graph;
    let Some((x, outer)) = affine_of(graph, node) else { return Ok(None) };
    if outer.is_scale() && outer.is_shift() {
        return Ok(Some((x, Vec::new())));
    }
    let Some((first, parts)) = folder.only_reader(x) else { return Ok(None) };
    let Some((x, inner)) = affine_of(graph, first) else { return Ok(None) };
    if folder.replaced.contains(&x) {
        return Ok(None);
    }
    let both = inner.then(&outer);
    let normalises = [node, first].iter().any(|n| matches!(n.op, Op::BatchNorm(_)));
    if !both.is_finite() || !(normalises || both.is_scale() || both.is_shift()) {
        return Ok(None);
    }
    let name = &graph.value(node.output).name;
    let Affine { a, b } = &both;
    // A vector beside a vector has its axis.
    let layout = if graph.ty(x).rank() == 1 { graph.ty(x).layout } else { Layout::channels_last(0) };
    let new = if both.is_scale() {
        let a = folder.vector(name, "scale", a, layout);
        folder.patch.node(Binary::Mul, &[x, a], name, &node.origin)?
    } else if both.is_shift() {
        let b = folder.vector(name, "shift", b, layout);
        folder.patch.node(Binary::Add, &[x, b], name, &node.origin)?
    } else {
        let still = [vec![0.0; a.len()], vec![1.0; a.len()]];
        let parameters = [("gamma", a), ("beta", b), ("mean", &still[0]), ("variance", &still[1])];
        let parameters = parameters.map(|(what, v)| folder.vector(name, what, v, Layout::channels_last(0)));
        let op = BatchNorm::new(graph.ty(x).rank() - 1, 0.0);
        folder.patch.node(op, &[&[x], &parameters[..]].concat(), name, &node.origin)?
    };
    Ok(Some((new, parts)))
}

impl<'g> Folder<'g> {
    /// The nodes from which a rewrite of `node` may be made.
    fn sources(&self, node: &Node) -> Vec<NodeId> {
        let mut sources = Vec::new();
        let mut stack = node.inputs.clone();
        while let Some(value) = stack.pop() {
            if let Some((id, front)) = self.graph.producer(value) {
                sources.push(id);
                if matches!(front.op, Op::Reshape(_)) {
                    stack.extend(&front.inputs);
                }
            }
        }
        sources
    }

    /// The node that makes a value which one operand of one node alone reads.
    fn only_reader(&self, value: ValueId) -> Option<(&'g Node, Vec<NodeId>)> {
        self.graph.sole_user(&self.users, value)?;
        self.graph.producer(value).map(|(id, node)| (node, vec![id]))
    }

    /// A vector of constants for the value of that name.
    fn vector(&mut self, value: &str, what: &str, v: &[f64], layout: Layout) -> ValueId {
        let v: Vec<f32> = v.iter().map(|&x| x as f32).collect();
        self.patch.constant(&format!("{value}.{what}"), Tensor::f32([v.len()], layout, v))
    }

    /// The layer with another weight and bias, over `x`.
    fn layer(
        &mut self,
        linear: &Linear,
        x: ValueId,
        (weight, bias): (Vec<f32>, Vec<f32>),
        name: &str,
    ) -> Result<ValueId, Diagnostic> {
        let node = linear.node;
        let ty = self.graph.ty(node.inputs[1]).clone();
        let weight = self.constant(node.inputs[1], Tensor::f32(ty.shape, ty.layout, weight))?;
        let mut inputs = vec![x, weight];
        match node.inputs.get(2) {
            Some(&old) => {
                let ty = self.graph.ty(old).clone();
                inputs.push(self.constant(old, Tensor::f32(ty.shape, ty.layout, bias))?);
            }
            None if bias.iter().all(|&b| b == 0.0) => {}
            None => {
                let name = format!("{}.bias", self.graph.value(node.output).name);
                let bias = Tensor::f32([bias.len()], Layout::channels_last(0), bias);
                inputs.push(self.patch.constant(&name, bias));
            }
        }
        self.patch.node(node.op.clone(), &inputs, name, &node.origin)
    }

    /// A constant in the place of another, with its name unless others read that.
    fn constant(&mut self, old: ValueId, tensor: Tensor) -> Result<ValueId, Diagnostic> {
        let new = self.patch.constant(&self.graph.value(old).name, tensor);
        if self.graph.sole_user(&self.users, old).is_some() {
            self.patch.replace(old, new)?;
        }
        Ok(new)
    }
}
