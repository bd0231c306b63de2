//! What is computed when, and where each value lies.
//!
//! A step is one node, with those behind it that are part of its call when nobody else reads what is between. Nodes
//! that only rename (reshapes, and moves that move nothing) are no steps: their result lies where their operand does.
//! A value that nobody reads after an elementwise step gives its place to that step's result. What remains gets
//! cells of one arena: the largest first, each at the lowest offset that is free while it lives.
//!
//! What can be fused, what is free, and how large a value is, is said by [`Rules`]: floats have one set, integers
//! another.

use super::ops;
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Op, Unary};
use unfloat_ir::{Def, Graph, Node, NodeId, ValueId};

/// Floats to a cache line: where cells of the arena may begin.
pub const ALIGN: usize = 16;

/// What a plan must know of the ops.
pub trait Rules {
    /// Whether the node only renames: its result lies where its first operand does.
    fn is_free(&self, graph: &Graph, node: &Node) -> bool;
    /// Cells of the arena that the step needs for itself.
    fn scratch(&self, graph: &Graph, step: &Step) -> usize;
    /// Whether `next`, the only reader of what `before` makes, is part of the same call. The last of `before` made
    /// the value between; the first begins the step.
    fn joins(&self, graph: &Graph, before: &[NodeId], next: &Node) -> bool;
    /// Whether the step's result may be written over operand `i` of its node while it runs.
    fn may_overwrite(&self, graph: &Graph, step: &Step, i: usize) -> bool;
    /// Cells of the arena that a value takes.
    fn size(&self, graph: &Graph, value: ValueId) -> usize;
    /// Cells to a cache line: where values may begin.
    fn align(&self) -> usize;
}

/// The rules of floats: cells are floats.
pub struct Floats;

impl Rules for Floats {
    fn is_free(&self, graph: &Graph, node: &Node) -> bool {
        ops::is_free(graph, node)
    }
    fn scratch(&self, graph: &Graph, step: &Step) -> usize {
        ops::scratch(graph, graph.node(step.node))
    }
    fn joins(&self, graph: &Graph, before: &[NodeId], next: &Node) -> bool {
        let [first] = before else { return false };
        ops::takes_activation(&graph.node(*first).op) && matches!(next.op, Op::Unary(_))
    }
    fn may_overwrite(&self, graph: &Graph, step: &Step, i: usize) -> bool {
        ops::may_overwrite(graph, graph.node(step.node), i)
    }
    fn size(&self, graph: &Graph, value: ValueId) -> usize {
        graph.ty(value).shape.num_elements()
    }
    fn align(&self) -> usize {
        ALIGN
    }
}

/// Where a value lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the caller's input of that number.
    Input(usize),
    /// In the caller's output of that number.
    Output(usize),
    /// Among the constants, as the plain value.
    Const(ValueId),
    /// In the arena, from that cell on.
    Arena(usize),
}

/// One call, or a few.
#[derive(Debug)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The nodes whose functions are applied to each element of the result, in order.
    pub then: Vec<NodeId>,
    /// What the step makes.
    pub output: ValueId,
    /// Cells that it needs for itself while it runs.
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
    /// Cells of the arena.
    pub arena: usize,
    places: Vec<Option<Place>>,
    roots: Vec<ValueId>,
}

impl Plan {
    /// Plans a compact graph of floats.
    pub fn new(graph: &Graph) -> Self {
        Self::with(graph, &Floats)
    }

    /// Plans a compact graph by rules.
    pub fn with(graph: &Graph, rules: &dyn Rules) -> Self {
        let users = graph.users();
        let mut roots: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        let mut steps: Vec<Step> = Vec::new();
        let mut fused = vec![false; graph.num_values()];
        for (id, node) in graph.live_nodes() {
            if fused[node.output.index()] {
                continue;
            }
            if rules.is_free(graph, node) {
                roots[node.output.index()] = roots[node.inputs[0].index()];
                continue;
            }
            let mut nodes = vec![id];
            let mut output = node.output;
            while let Some(next) = graph.sole_user(&users, output)
                && rules.joins(graph, &nodes, graph.node(next))
            {
                output = graph.node(next).output;
                fused[output.index()] = true;
                nodes.push(next);
            }
            let mut step = Step { node: id, then: nodes.split_off(1), output, scratch: 0, scratch_at: 0 };
            step.scratch = rules.scratch(graph, &step);
            steps.push(step);
        }
        let mut plan =
            Plan { steps, copies: Vec::new(), arena: 0, places: vec![None; graph.num_values()], roots };
        plan.place(graph, rules);
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
        match graph.node(*step.then.first()?).op {
            Op::Unary(f) => Some(f),
            _ => None,
        }
    }

    fn place(&mut self, graph: &Graph, rules: &dyn Rules) {
        let end = self.steps.len();
        let lives = self.lives(graph);
        let buffers = self.share(graph, rules, &lives);
        // Each buffer with its first and last step, and the values in it.
        let mut spans: BTreeMap<ValueId, (usize, usize, usize)> = BTreeMap::new();
        for (i, step) in self.steps.iter().enumerate() {
            let root = self.root(step.output);
            let size = rules.size(graph, root);
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
        let (offsets, arena) = pack(&wanted, rules.align());
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
    fn share(&self, graph: &Graph, rules: &dyn Rules, lives: &[Option<usize>]) -> Vec<ValueId> {
        let mut buffers: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        for (i, step) in self.steps.iter().enumerate() {
            let node = graph.node(step.node);
            let heir = node.inputs.iter().enumerate().find(|&(n, &v)| {
                let root = self.root(v);
                rules.may_overwrite(graph, step, n)
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
fn pack<T>(items: &[(usize, usize, usize, T)], align: usize) -> (Vec<usize>, usize) {
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
            .map(|&j| (offsets[j], (offsets[j] + items[j].0).next_multiple_of(align)))
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
