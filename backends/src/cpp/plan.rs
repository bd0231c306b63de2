//! What is computed when, and where each value lies.
//!
//! A step is one node, with the activation behind it when nobody else reads what is between. Nodes that only
//! rename (reshapes, and moves that move nothing) are no steps: their result lies where their operand does.
//! A value that nobody reads after an elementwise step gives its place to that step's result. What remains gets
//! cells of one arena: the largest first, each at the lowest offset that is free while it lives.

use super::ops;
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Op, Unary};
use unfloat_ir::{Def, Graph, NodeId, ValueId};

/// Floats to a cache line: where cells of the arena may begin.
pub const ALIGN: usize = 16;

/// Where a value lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the caller's input of that number.
    Input(usize),
    /// In the caller's output of that number.
    Output(usize),
    /// Among the constants, as the plain value.
    Const(ValueId),
    /// In the arena, from that float on.
    Arena(usize),
}

/// One call, or a few.
#[derive(Debug)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The node whose function is applied to each element of the result.
    pub act: Option<NodeId>,
    /// What the step makes.
    pub output: ValueId,
    /// Floats that it needs for itself while it runs.
    pub scratch: usize,
    /// Where those are in the arena.
    pub scratch_at: usize,
}

/// The plan of a graph.
#[derive(Debug)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Outputs that show what another output, an input or a constant is: copied at the end.
    pub copies: Vec<(ValueId, usize)>,
    /// Floats of the arena.
    pub arena: usize,
    places: Vec<Option<Place>>,
    roots: Vec<ValueId>,
}

impl Plan {
    /// Plans a compact graph.
    pub fn new(graph: &Graph) -> Self {
        let users = graph.users();
        let mut roots: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        let mut steps: Vec<Step> = Vec::new();
        let mut fused = vec![false; graph.num_values()];
        for (id, node) in graph.live_nodes() {
            if fused[node.output.index()] {
                continue;
            }
            if ops::is_free(graph, node) {
                roots[node.output.index()] = roots[node.inputs[0].index()];
                continue;
            }
            let mut step = Step {
                node: id,
                act: None,
                output: node.output,
                scratch: ops::scratch(graph, node),
                scratch_at: 0,
            };
            if ops::takes_activation(&node.op)
                && let Some(next) = graph.sole_user(&users, node.output)
                && matches!(graph.node(next).op, Op::Unary(_))
            {
                step.act = Some(next);
                step.output = graph.node(next).output;
                fused[step.output.index()] = true;
            }
            steps.push(step);
        }
        let mut plan =
            Plan { steps, copies: Vec::new(), arena: 0, places: vec![None; graph.num_values()], roots };
        plan.place(graph);
        plan
    }

    /// Where a value lies. Every value that a step reads or makes has a place.
    pub fn at(&self, value: ValueId) -> Place {
        self.places[self.root(value).index()].unwrap_or(Place::Arena(0))
    }

    /// The value whose place this one shares because nothing moves.
    pub fn root(&self, value: ValueId) -> ValueId {
        self.roots[value.index()]
    }

    /// The function behind a step's activation.
    pub fn activation(graph: &Graph, step: &Step) -> Option<Unary> {
        match graph.node(step.act?).op {
            Op::Unary(f) => Some(f),
            _ => None,
        }
    }

    fn place(&mut self, graph: &Graph) {
        let end = self.steps.len();
        let lives = self.lives(graph);
        let buffers = self.share(graph, &lives);
        // Each buffer with its first and last step, and the values in it.
        let mut spans: BTreeMap<ValueId, (usize, usize, usize)> = BTreeMap::new();
        for (i, step) in self.steps.iter().enumerate() {
            let root = self.root(step.output);
            let size = graph.ty(root).shape.num_elements();
            let last = lives[root.index()].unwrap_or(i);
            let span = spans.entry(buffers[root.index()]).or_insert((i, last, size));
            span.1 = span.1.max(last);
        }
        for (n, output) in graph.outputs().iter().enumerate() {
            let root = self.root(output.value);
            let buffer = buffers[root.index()];
            if spans.get(&buffer).is_some_and(|s| s.1 == end) && self.places[buffer.index()].is_none() {
                self.places[buffer.index()] = Some(Place::Output(n));
            } else {
                self.copies.push((output.value, n));
            }
        }
        let mut wanted: Vec<(usize, usize, usize, Result<ValueId, usize>)> = spans
            .iter()
            .filter(|(buffer, _)| self.places[buffer.index()].is_none())
            .map(|(&buffer, &(from, to, size))| (size, from, to, Ok(buffer)))
            .collect();
        let scratch = self.steps.iter().enumerate().filter(|(_, s)| s.scratch > 0);
        wanted.extend(scratch.map(|(i, s)| (s.scratch, i, i, Err(i))));
        let (offsets, arena) = pack(&wanted);
        self.arena = arena;
        for ((_, _, _, who), offset) in wanted.iter().zip(offsets) {
            match who {
                Ok(buffer) => self.places[buffer.index()] = Some(Place::Arena(offset)),
                Err(step) => self.steps[*step].scratch_at = offset,
            }
        }
        for (id, value) in graph.values() {
            self.places[id.index()] = match value.def {
                Def::Input(i) => Some(Place::Input(i)),
                Def::Const(_) => Some(Place::Const(id)),
                Def::Node(_) => self.places[buffers[id.index()].index()],
            };
        }
    }

    /// For each root, the last step that reads it; the number of steps when it is an output.
    fn lives(&self, graph: &Graph) -> Vec<Option<usize>> {
        let mut lives = vec![None; graph.num_values()];
        for (i, step) in self.steps.iter().enumerate() {
            for &v in &graph.node(step.node).inputs {
                lives[self.root(v).index()] = Some(i);
            }
        }
        for output in graph.outputs() {
            lives[self.root(output.value).index()] = Some(self.steps.len());
        }
        lives
    }

    /// For each value the one that stands for its buffer, after elementwise steps have taken over the places of
    /// operands that die there.
    fn share(&self, graph: &Graph, lives: &[Option<usize>]) -> Vec<ValueId> {
        let mut buffers: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        for (i, step) in self.steps.iter().enumerate() {
            let node = graph.node(step.node);
            let heir = node.inputs.iter().enumerate().find(|&(n, &v)| {
                let root = self.root(v);
                ops::may_overwrite(graph, node, n)
                    && matches!(graph.value(root).def, Def::Node(_))
                    && lives[root.index()] == Some(i)
            });
            if let Some((_, &v)) = heir {
                buffers[self.root(step.output).index()] = buffers[self.root(v).index()];
            }
        }
        buffers
    }
}

/// Offsets for items of (size, first step, last step, tag) such that items that live together do not overlap;
/// also the total size.
fn pack<T>(items: &[(usize, usize, usize, T)]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(items[i].0), items[i].1, i));
    let mut offsets = vec![0; items.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let (size, from, to, _) = &items[i];
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| items[j].1 <= *to && *from <= items[j].2)
            .map(|&j| (offsets[j], (offsets[j] + items[j].0).next_multiple_of(ALIGN)))
            .collect();
        busy.sort_unstable();
        let mut at = 0;
        for (begin, end) in busy {
            if at + size <= begin {
                break;
            }
            at = at.max(end);
        }
        offsets[i] = at;
        total = total.max(at + size);
        placed.push(i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests;
