//! What a pass says of single values, as limits for their comparison.
//!
//! In: the graph before the pass and its [`Fold`]s. Out: for the value of each of them, whether both sides must be equal, or a
//! difference that is allowed whatever else is.
//!
//! A value must be equal where the pass says that source and result are the same to the last bit, where that is also true of
//! all integers that it is computed from, and where the side before is evaluated as the source is, by the reference: sums of
//! floats in another order would be somebody else's fault. Where it is not, codes may differ by one beside a step, or by what the
//! bound says; and what is computed from codes that differ has no limit that is known beforehand but the pass's own.

use super::Evaluator;
use crate::report::Fold;
use std::collections::{BTreeMap, BTreeSet};
use unfloat_ir::{Graph, Op, ValueId};

/// What holds for one value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Allowance {
    /// Both sides are the same.
    Equal,
    /// So much is allowed, if the pass's claim does not allow more.
    AtLeast(f64),
}

/// The allowances of a graph's values.
pub struct Allowances(BTreeMap<ValueId, Allowance>);

impl Allowances {
    /// Those that the words of a pass make.
    pub fn of(before: &Graph, folds: &[Fold], evaluator: &dyn Evaluator) -> Self {
        let said: BTreeMap<&str, &Fold> = folds.iter().map(|f| (f.value.as_str(), f)).collect();
        let strict = evaluator.name(before) == super::Reference.name(before);
        let mut equal: BTreeSet<ValueId> = BTreeSet::new();
        let mut found = BTreeMap::new();
        for (_, node) in before.live_nodes() {
            let value = node.output;
            let integers = !before.ty(value).elem.is_float();
            match said.get(before.value(value).name.as_str()) {
                Some(_) if matches!(node.op, Op::ArgReduce(_)) => {}
                Some(fold) if integers => {
                    let same = fold.exact && fold.bound == 0.0 && fold.differs.is_none_or(|d| d.different == 0);
                    if same && strict && sources(before, value).iter().all(|v| equal.contains(v)) {
                        equal.insert(value);
                        found.insert(value, Allowance::Equal);
                    } else {
                        found.insert(value, Allowance::AtLeast(fold.bound.ceil().max(1.0)));
                    }
                }
                Some(fold) => {
                    found.insert(value, Allowance::AtLeast(fold.bound));
                }
                // A quantizer of what comes in, or an op on integers, computes what it did.
                None if integers && untouched(before, value) => {
                    equal.insert(value);
                }
                None => {}
            }
        }
        Self(found)
    }

    /// What holds for a value; nothing where the pass said nothing of it.
    pub fn of_value(&self, value: ValueId) -> Option<Allowance> {
        self.0.get(&value).copied()
    }
}

/// The nearest integers that a value is computed from; constants and inputs of the graph are left out.
fn sources(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<ValueId> = operands(graph, value);
    while let Some(v) = stack.pop() {
        if graph.const_of(v).is_some() || graph.inputs().contains(&v) || !seen.insert(v) {
            continue;
        }
        match graph.ty(v).elem.is_float() {
            true => stack.extend(operands(graph, v)),
            false => found.push(v),
        }
    }
    found
}

fn operands(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    graph.producer(value).map(|(_, node)| node.inputs.to_vec()).unwrap_or_default()
}

/// Whether an integer value is a quantizer of an input of the graph, but for moves between the two.
fn untouched(graph: &Graph, value: ValueId) -> bool {
    let moved = |op: &Op| {
        matches!(op, Op::Quantize(_) | Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Reverse(_))
    };
    let mut v = value;
    while let Some((_, node)) = graph.producer(v) {
        if !moved(&node.op) {
            return false;
        }
        v = node.inputs[0];
    }
    graph.inputs().contains(&v)
}
