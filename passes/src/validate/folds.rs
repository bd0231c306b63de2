//! Every value of which a pass says something, held to that on its own.
//!
//! In: the graphs before and behind, and the pass's [`Fold`]s. Out: the evidence, or the first value that is not what was said.
//! The graph before is evaluated by the reference. Wherever both graphs have the same integers by name, those of the graph
//! behind take the place of what was computed, after the two were compared; so each comparison starts from equal operands, and
//! no error hides behind another or adds up.
//!
//! | said of a value | allowed |
//! |---|---|
//! | equal, by arithmetic that the source does exactly | nothing |
//! | equal, where the source rounds its sums | one code |
//! | within a bound | the bound, in whole codes, or for a float, what single precision adds to it |
//! | nothing | what the claim of the pass allows |
//!
//! The place of the greatest element is not compared where scores are only within a bound.

use super::evaluator::evaluate_through;
use super::{
    Effort, Evaluator, Pair, Reference, Tally, compare, memory, perm, relate, sample, still, unit, violation,
};
use crate::pass::PassInfo;
use crate::report::{Evidence, Fold};
use std::collections::BTreeMap;
use std::sync::Arc;
use unfloat_ir::{Diagnostics, Graph, Op, Tensor, TensorType, ValueId};

/// Bytes of values of one sample that are compared.
const MOST_BYTES: usize = 64 << 20;
/// What float arithmetic adds to a bound, relative to the greatest element.
const ROUNDED: f64 = 1.0 / (1 << 20) as f64;

/// What is allowed for a value.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    /// Nothing.
    Equal,
    /// So much, and so much relative to the greatest magnitude.
    Within(f64, f64),
    /// Whatever it is.
    Open,
}

fn limit(fold: Option<&Fold>, op: Option<&Op>, ty: &TensorType, (abs, rel): (f64, f64)) -> Limit {
    let Some(fold) = fold else { return Limit::Within(abs.max(unit(ty)), rel) };
    let same = fold.exact && fold.bound == 0.0 && fold.differs.is_none_or(|d| d.different == 0);
    match (same, op) {
        (true, _) => Limit::Equal,
        (false, Some(Op::ArgReduce(_))) => Limit::Open,
        (false, _) if ty.elem.is_float() => Limit::Within(fold.bound, ROUNDED),
        (false, _) => Limit::Within(fold.bound.ceil().max(1.0), 0.0),
    }
}

/// The pairs whose values fit the memory set aside for them.
fn kept(before: &Graph, pairs: Vec<Pair>) -> Vec<Pair> {
    let mut room = MOST_BYTES;
    let mut fits = |p: &Pair| {
        let bytes = before.ty(p.before).shape.num_elements().saturating_mul(8);
        room = room.saturating_sub(bytes);
        room > 0
    };
    pairs.into_iter().filter(|p| fits(p)).collect()
}

pub(super) fn check(
    info: &PassInfo,
    before: &Graph,
    after: &Graph,
    folds: &[Fold],
    claim: (f64, f64),
    effort: &Effort,
) -> Result<Evidence, Diagnostics> {
    let said: BTreeMap<&str, &Fold> = folds.iter().map(|f| (f.value.as_str(), f)).collect();
    let mut pairs = relate(before, after, false).pairs;
    for (b, a) in before.outputs().iter().zip(after.outputs()) {
        let order = perm::between(before.ty(b.value), after.ty(a.value)).unwrap_or_default();
        let pair = Pair { before: b.value, after: a.value, order };
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let pairs = kept(before, pairs);
    let limits: Vec<Limit> = pairs
        .iter()
        .map(|p| {
            let op = before.producer(p.before).map(|(_, n)| &n.op);
            limit(said.get(before.value(p.before).name.as_str()).copied(), op, before.ty(p.before), claim)
        })
        .collect();
    let index: BTreeMap<ValueId, usize> = pairs.iter().enumerate().map(|(i, p)| (p.before, i)).collect();
    let (own, behind): (Vec<ValueId>, Vec<ValueId>) = pairs.iter().map(|p| (p.before, p.after)).unzip();
    let cost = Reference.cost(before).saturating_add(effort.evaluator.cost(after));
    let n = effort.samples_for(cost, memory::port_bytes(before).1);
    let mut run = effort.evaluator.prepare(after, &behind)?;
    let mut tally = Tally::default();
    let mut first: Vec<Vec<Arc<Tensor>>> = Vec::new();
    for s in 0..n {
        let input = sample(before, effort.seed, s);
        let got = run(&input)?;
        let known = before.inputs().iter().zip(&input).map(|(&v, t)| (v, Arc::new(t.clone())));
        let mut seen = |value: ValueId, computed: Arc<Tensor>| {
            let Some(&i) = index.get(&value) else { return Ok(computed) };
            let (pair, theirs) = (&pairs[i], &got[i]);
            let found = compare(&computed, theirs, &pair.order);
            tally.add(&before.value(value).name, &found);
            let allowed = match limits[i] {
                Limit::Equal => 0.0,
                Limit::Within(abs, rel) => abs + rel * found.magnitude,
                Limit::Open => f64::INFINITY,
            };
            if found.max_abs > allowed {
                return Err(violation(info, before, pair, &found, Some(allowed), s).into());
            }
            // Integers by that name are the same values on both sides from here on.
            let joint = !before.ty(value).elem.is_float() && perm::is_identity(&pair.order);
            Ok(if joint && theirs.ty == computed.ty { theirs.clone() } else { computed })
        };
        first.push(evaluate_through(before, known, &own, &mut seen)?);
    }
    let still = still(before, &pairs, &first);
    Ok(tally.evidence(n, Reference.name(before), None, still))
}
