//! Which values of the graph before a pass and of the graph behind it are to be compared.
//!
//! Values of equal number are equal whatever the inputs ([`crate::analysis::numbering`]): nothing is left to
//! check. Values of equal name and different number are what a pass rewrote: a [`Pair`] to compare. Behind a pair
//! both sides count as equal, so that what follows a rewrite needs no check of its own.

use crate::analysis::numbering::{Numberer, op_key};
use crate::analysis::perm;
use std::collections::{BTreeMap, BTreeSet};
use unfloat_ir::arena::Handle;
use unfloat_ir::{Def, Graph, Node, ValueId};

/// Two values that a pass says are the same tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The value in the graph before.
    pub before: ValueId,
    /// The value in the graph behind.
    pub after: ValueId,
    /// The order in which the axes of `before` lie in `after`.
    pub order: Vec<usize>,
}

/// How two graphs relate.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// What is to be compared, in the order of the graph behind.
    pub pairs: Vec<Pair>,
    /// For each value of the graph behind, a value of the graph before that equals it, if the pairs hold.
    pub same: Vec<Option<ValueId>>,
    /// For each value of the graph before, whether some value of the graph behind equals it.
    pub kept: Vec<bool>,
}

/// Relates two graphs with the same inputs and outputs.
///
/// With `congruent`, where a node behind has the op of its namesake before and other operands, the operands are
/// paired instead of the results: cheaper to check, and enough, but too much to ask of a pass that swaps operands.
pub fn relate(before: &Graph, after: &Graph, congruent: bool) -> Matching {
    let mut numberer = Numberer::new();
    let numbers = number_all(&mut numberer, before);
    let mut first = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (id, value) in before.values() {
        if let Some(n) = numbers[id.index()] {
            first.entry(n).or_insert(id);
            names.insert(value.name.as_str(), id);
        }
    }
    let mut relation = Relation {
        before,
        after,
        numbers: &numbers,
        first: &first,
        behind: vec![None; after.num_values()],
        noted: BTreeSet::new(),
        out: Matching {
            pairs: Vec::new(),
            same: vec![None; after.num_values()],
            kept: vec![false; before.num_values()],
        },
    };
    for (id, value) in after.values() {
        let number = match value.def {
            Def::Input(i) => numberer.input(i),
            Def::Const(_) => after.const_of(id).map_or(0, |t| numberer.constant(t)),
            Def::Node(_) => continue,
        };
        relation.set(id, number);
        let namesake = names.get(value.name.as_str()).filter(|&&b| before.producer(b).is_some());
        if let (None, Some(&b)) = (relation.out.same[id.index()], namesake) {
            // A constant in the place of a node.
            relation.pair(b, id);
        }
    }
    for (_, node) in after.live_nodes() {
        let operands: Vec<u32> = node.inputs.iter().filter_map(|v| relation.behind[v.index()]).collect();
        let id = node.output;
        relation.set(id, numberer.node(&node.op, &operands));
        if relation.out.same[id.index()].is_some() {
            continue;
        }
        let namesake = names.get(after.value(id).name.as_str()).copied();
        let Some((b, origin)) = namesake.and_then(|b| Some((b, before.producer(b)?.1))) else { continue };
        if congruent && relation.pair_operands(origin, node) {
            relation.accept(b, id);
        } else {
            relation.pair(b, id);
        }
    }
    // Outputs are compared by position, whatever their names.
    for (b, a) in before.outputs().iter().zip(after.outputs()) {
        let equal = relation.out.same[a.value.index()]
            .is_some_and(|s| numbers[s.index()] == numbers[b.value.index()]);
        if !equal {
            relation.pair(b.value, a.value);
        }
    }
    relation.out
}

fn number_all(numberer: &mut Numberer, graph: &Graph) -> Vec<Option<u32>> {
    let mut numbers = vec![None; graph.num_values()];
    for (id, value) in graph.values() {
        numbers[id.index()] = match value.def {
            Def::Input(i) => Some(numberer.input(i)),
            Def::Const(_) => graph.const_of(id).map(|t| numberer.constant(t)),
            Def::Node(_) => None,
        };
    }
    for (_, node) in graph.live_nodes() {
        let operands: Vec<u32> = node.inputs.iter().filter_map(|v| numbers[v.index()]).collect();
        numbers[node.output.index()] = Some(numberer.node(&node.op, &operands));
    }
    numbers
}

struct Relation<'a> {
    before: &'a Graph,
    after: &'a Graph,
    numbers: &'a [Option<u32>],
    first: &'a BTreeMap<u32, ValueId>,
    behind: Vec<Option<u32>>,
    noted: BTreeSet<(ValueId, ValueId)>,
    out: Matching,
}

impl Relation<'_> {
    /// Gives a value behind its number, and its equal before if there is one.
    fn set(&mut self, after: ValueId, number: u32) {
        self.behind[after.index()] = Some(number);
        if let Some(&before) = self.first.get(&number) {
            self.accept(before, after);
        }
    }

    /// Takes two values of the same type for equal from here on.
    fn accept(&mut self, before: ValueId, after: ValueId) {
        if self.before.ty(before) == self.after.ty(after) {
            self.behind[after.index()] = self.numbers[before.index()];
            self.out.same[after.index()] = Some(before);
            self.out.kept[before.index()] = true;
        }
    }

    /// Notes a pair to compare, if the two types tell how.
    fn pair(&mut self, before: ValueId, after: ValueId) -> bool {
        let order = perm::between(self.before.ty(before), self.after.ty(after));
        let Some(order) = order else { return false };
        self.note(before, after, order);
        if self.out.same[after.index()].is_none() {
            self.accept(before, after);
        }
        true
    }

    fn note(&mut self, before: ValueId, after: ValueId, order: Vec<usize>) {
        if self.noted.insert((before, after)) {
            self.out.pairs.push(Pair { before, after, order });
        }
    }

    /// Pairs the operands of two nodes of the same op; false when that is no way to compare them.
    fn pair_operands(&mut self, before: &Node, after: &Node) -> bool {
        if before.inputs.len() != after.inputs.len() || op_key(&before.op) != op_key(&after.op) {
            return false;
        }
        let mut differing = Vec::new();
        for (&b, &a) in before.inputs.iter().zip(&after.inputs) {
            if self.numbers[b.index()] == self.behind[a.index()] {
                continue;
            }
            let both_made = self.before.producer(b).is_some() && self.after.const_of(a).is_none();
            if !both_made || self.before.ty(b) != self.after.ty(a) {
                return false;
            }
            differing.push((b, a));
        }
        for (b, a) in differing {
            let order = perm::identity(self.before.ty(b).rank());
            self.note(b, a, order);
        }
        true
    }
}
