//! What follows sums: the chain of nodes that a convolution's or a dense layer's kernel takes in.
//!
//! In: a node whose result is a sum, or any code. Out: the clamps and the requantization or thresholds that follow it, up to
//! the first value that something else reads, and that value. Parameters must be constants that are one, or one for each
//! entry of the last axis; other nodes end the chain.

use super::lower::TABLE;
use crate::kernels::int::{Levels, Map, PostSpec};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use unfloat_ir::ops::{Requantize, Threshold, Unary};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{ElemType, Graph, Node, NodeId, Op, Tensor, ValueId};

/// A chain: what it does, the value that comes out, and the values on the way.
pub(super) struct Chain {
    pub spec: PostSpec,
    pub output: ValueId,
    pub within: Vec<ValueId>,
}

/// The chain behind the result of `node`.
pub(super) fn behind(
    graph: &Graph,
    ranges: &Ranges,
    users: &[Vec<NodeId>],
    tables: &Tables,
    node: &Node,
) -> Chain {
    let mut chain = Chain { spec: PostSpec::default(), output: node.output, within: Vec::new() };
    while let Some(user) = graph.sole_user(users, chain.output) {
        let next = graph.node(user);
        let mut spec = chain.spec.clone();
        if next.inputs[0] != chain.output || !add(graph, ranges, tables, next, &mut spec) {
            break;
        }
        chain.within.push(chain.output);
        chain.spec = spec;
        chain.output = next.output;
    }
    chain
}

/// Adds a node to what happens, if it can be.
pub(super) fn add(graph: &Graph, ranges: &Ranges, tables: &Tables, node: &Node, spec: &mut PostSpec) -> bool {
    let bounds = match &node.op {
        Op::Requantize(op) if matches!(spec.map, Map::Keep) => {
            let Some(map) = requantize(graph, node, op) else { return false };
            spec.map = map;
            return true;
        }
        Op::Threshold(op) if matches!(spec.map, Map::Keep) => {
            let Some(map) = threshold(graph, tables, node, op) else { return false };
            spec.map = map;
            return true;
        }
        Op::Unary(f) => match bounds(*f) {
            Some(bounds) => bounds,
            None => return false,
        },
        Op::Cast(_) if keeps(graph, ranges, node) => return true,
        _ => return false,
    };
    let target = if matches!(spec.map, Map::Keep) { &mut spec.before } else { &mut spec.after };
    // Clamping twice is clamping once, between where the first bounds end up.
    *target = (target.0.clamp(bounds.0, bounds.1), target.1.clamp(bounds.0, bounds.1));
    true
}

/// Between what a function clamps codes, if that is what it does.
pub(super) fn bounds(f: Unary) -> Option<(i64, i64)> {
    match f {
        Unary::Relu => Some((0, i64::MAX)),
        // Bounds of integers of 64 bits: beyond those there are no codes.
        Unary::Clip { lo, hi } if lo <= hi && lo.trunc() == lo && hi.trunc() == hi => {
            Some((lo as i64, hi as i64))
        }
        _ => None,
    }
}

/// Whether a cast leaves every number as it is.
pub(super) fn keeps(graph: &Graph, ranges: &Ranges, node: &Node) -> bool {
    let (ElemType::Int(int), Some((lo, hi))) = (&graph.ty(node.output).elem, ranges.of_value(node.inputs[0]))
    else {
        return false;
    };
    graph.ty(node.inputs[0]).elem.is_integer() && lo >= int.min().into() && hi <= int.max().into()
}

/// The codes of a constant operand: one for each of `channels` entries of the last axis.
fn per_channel(graph: &Graph, node: &Node, operand: usize) -> Option<Vec<i64>> {
    let channels = *graph.ty(node.output).shape.last()?;
    let t = graph.const_of(node.inputs[operand])?;
    let last = t.shape().last().copied().unwrap_or(1);
    if channels > TABLE || t.len() != last || (last != 1 && last != channels) {
        return None;
    }
    let codes = codes(t)?;
    Some(if last == 1 { vec![*codes.first()?; channels] } else { codes })
}

/// The codes of a tensor.
pub(super) fn codes(t: &Tensor) -> Option<Vec<i64>> {
    (0..t.len()).map(|i| t.data.code(i)).collect()
}

fn requantize(graph: &Graph, node: &Node, op: &Requantize) -> Option<Map> {
    let [multiplier, addend, shift] = [1, 2, 3].map(|i| per_channel(graph, node, i));
    let shift = shift?.into_iter().map(|s| u8::try_from(s).ok()).collect::<Option<_>>()?;
    Some(Map::Requantize { op: op.clone(), multiplier: multiplier?, addend: addend?, shift })
}

fn threshold(graph: &Graph, tables: &Tables, node: &Node, op: &Threshold) -> Option<Map> {
    let ty = graph.ty(node.output);
    let channels = *ty.shape.last()?;
    let rows = graph.const_of(node.inputs[1])?.shape()[0];
    if channels > TABLE || op.axis + 1 != ty.rank() && rows != 1 {
        return None;
    }
    let table = tables.levels(graph, node.inputs[1])?;
    Some(Map::Threshold { table, first: 0, scale: op.scale, bias: op.bias })
}

/// What kernels make of constants: nodes that read the same constant share it, so a plan grows with what a file
/// holds, and not with how often that is read.
#[derive(Default)]
pub(super) struct Tables {
    codes: RefCell<BTreeMap<ValueId, Arc<Vec<i64>>>>,
    levels: RefCell<BTreeMap<ValueId, Arc<Levels>>>,
}

impl Tables {
    /// The codes of a constant of integers.
    pub(super) fn codes(&self, graph: &Graph, value: ValueId) -> Option<Arc<Vec<i64>>> {
        if let Some(known) = self.codes.borrow().get(&value) {
            return Some(known.clone());
        }
        let made = Arc::new(codes(graph.const_of(value)?)?);
        self.codes.borrow_mut().insert(value, made.clone());
        Some(made)
    }

    /// The thresholds of a constant [rows, count].
    fn levels(&self, graph: &Graph, value: ValueId) -> Option<Arc<Levels>> {
        if let Some(known) = self.levels.borrow().get(&value) {
            return Some(known.clone());
        }
        let t = graph.const_of(value)?;
        let made = Arc::new(Levels::new(codes(t)?, t.shape()[0], t.shape()[1]).ok()?);
        self.levels.borrow_mut().insert(value, made.clone());
        Some(made)
    }
}
