//! How a claim is proved or measured.
//!
//! A pass is first held against value numbering: where the graph behind computes the same expressions as the graph
//! before, its claim is proved. What is left are pairs of values ([`matching`]), which are compared on samples:
//!
//! * [`Claim::Exact`]: each pair by the reference evaluator, from actual values of what both sides share on; the
//!   bits must be the same. Where a pair depends on constants alone, that is a proof.
//! * [`Claim::Within`]: both graphs from their inputs on, so that the error that builds up is seen. Every pair must
//!   hold, not the outputs alone: a softmax or a dead ReLU at the end hides much. A difference is measured against
//!   the greatest magnitude of the value's elements for the same sample.
//! * [`Claim::Lossy`]: as `Within`, without a limit.
//!
//! Where a pass says what it knows of single values ([`Fold`]), each of them is held to that on its own (`folds`).
//!
//! Some networks amplify rounding so much that two right computations differ by more than any sensible limit: a sign, where
//! sums lie next to 0. Where one side can be run by the reference evaluator alone, both are. When a limit of `Within` is
//! passed, both are run by it, which rounds a sum once, whatever its order: that has the last word if nothing is wrong then.
//! Else the graph before is run again, a few times, with all inputs and constants moved by one unit in the last place; a
//! value that this moves as far is not held against the pass, and the evidence says so.
//!
//! Samples can miss what a pass did: where a value is NaN or infinite throughout, or the same for every sample (behind a
//! ReLU that none of them wakes), both sides agree whatever the weights are. The evidence names such values, and the
//! pipeline warns of them.

mod compare;
mod evaluator;
mod folds;
pub mod matching;
mod samples;

pub use compare::{Difference, compare, numbers};
pub use evaluator::{Evaluator, Native, Prepared, Reference, evaluate_from};
pub use samples::{SplitMix64, nudged, sample};

use crate::analysis::{memory, perm};
use crate::pass::{Claim, PassInfo};
use crate::report::{Evidence, Fold};
use matching::{Matching, Pair, relate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Output, Patch, Tensor, TensorType, ValueId};

/// How much is spent on a check.
#[derive(Clone, Copy)]
pub struct Effort<'a> {
    /// Computes the two sides of [`Claim::Within`], and what pairs of [`Claim::Exact`] start from.
    pub evaluator: &'a dyn Evaluator,
    /// The greatest number of samples; large graphs are run on fewer, at least one.
    pub samples: usize,
    /// Chooses the samples.
    pub seed: u64,
}

/// Multiply-accumulates of the native executor that a check may cost: some 20 ms on one core.
const MAC_BUDGET: u64 = 1 << 30;
/// Bytes of outputs of all samples that are kept, unless those of one sample are more.
const KEPT_BYTES: u64 = 256 << 20;
/// Bytes of intermediate values that are kept of the graph before.
const PROBE_BYTES: usize = 16 << 20;
/// How much further than by one unit in the last place rounding may carry a value.
const NOISE_FACTOR: f64 = 8.0;
/// How often it is measured how far that is: where a clip lets few elements through, one try may happen to move none.
const SHAKES: u64 = 6;

impl Effort<'_> {
    /// As many samples as a cost per sample, and the bytes of the results that are kept of each, allow.
    fn samples_for(&self, cost: u64, kept: u64) -> usize {
        let affordable = (MAC_BUDGET / cost.max(1)).min(KEPT_BYTES / kept.max(1));
        self.samples.min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1)
    }
}

/// Checks the claim of a pass that made `after` of `before`.
pub fn validate(
    info: &PassInfo,
    before: &Graph,
    after: &Graph,
    folds: &[Fold],
    effort: &Effort,
) -> Result<Evidence, Diagnostics> {
    check_interface(info, before, after)?;
    match info.claim {
        Claim::Exact => exact(info, before, after, effort),
        Claim::Within { abs, rel } if !folds.is_empty() => {
            folds::check(info, before, after, folds, (abs, rel), effort)
        }
        Claim::Within { abs, rel } => measured(info, before, after, Some((abs, rel)), effort),
        Claim::Lossy { .. } => measured(info, before, after, None, effort),
    }
}

/// A pass may not touch what callers see.
fn check_interface(info: &PassInfo, before: &Graph, after: &Graph) -> Result<(), Diagnostics> {
    let face = |g: &Graph| {
        let inputs: Vec<_> =
            g.inputs().iter().map(|&v| (g.value(v).name.clone(), g.ty(v).to_string())).collect();
        // Shape and layout: outputs whose axes can't be related could not be compared either.
        let output = |o: &Output| (o.name.clone(), g.ty(o.value).shape.clone(), g.ty(o.value).layout);
        let outputs: Vec<_> = g.outputs().iter().map(output).collect();
        (inputs, outputs)
    };
    if face(before) == face(after) {
        return Ok(());
    }
    let text = format!("pass `{}` changed the graph's inputs or outputs", info.name);
    Err(Diagnostic::error(Location::default(), text).help(DEFECT).into())
}

const DEFECT: &str = "this is a defect of the pass, not of the model: please report it";

/// What a check saw over all pairs and samples.
#[derive(Default)]
struct Tally {
    points: u64,
    max_abs: f64,
    max_rel: f64,
    worst: String,
    /// Per value, how many of its elements were finite.
    finite: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, name: &str, seen: &Difference) {
        self.points += seen.points;
        *self.finite.entry(name.to_string()).or_default() += seen.points;
        self.max_abs = self.max_abs.max(seen.max_abs);
        if seen.max_rel() > self.max_rel {
            self.max_rel = seen.max_rel();
            self.worst = name.to_string();
        }
    }
    /// `still` are values that every sample left the same.
    fn evidence(self, n: usize, evaluator: &str, noise: Option<f64>, still: BTreeSet<String>) -> Evidence {
        let Tally { points, max_abs, max_rel, worst, finite } = self;
        let never = finite.into_iter().filter(|(_, points)| *points == 0).map(|(name, _)| name);
        let blind = never.chain(still).collect::<BTreeSet<_>>().into_iter().collect();
        let evaluator = evaluator.to_string();
        Evidence::Sampled { n, points, max_abs, max_rel, worst, evaluator, noise, blind }
    }
}

fn proved(after: &Graph) -> Evidence {
    Evidence::Proved { by: "value numbering".to_string(), points: after.order().len() as u64 }
}

/// The error for a pair that does not hold.
fn violation(
    info: &PassInfo,
    before: &Graph,
    pair: &Pair,
    seen: &Difference,
    allowed: Option<f64>,
    sample: usize,
) -> Diagnostic {
    let at = before.producer(pair.before).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
    let (index, a, b) = seen.worst.clone().unwrap_or_default();
    let by = match allowed {
        None => "where the same bits are claimed".to_string(),
        Some(allowed) => format!("by {:.3e}, where {allowed:.3e} is allowed ({})", seen.max_abs, info.claim),
    };
    let text = format!(
        "pass `{}` broke its claim: value `{}` changed from {a} to {b} at {index:?} (sample {sample}), {by}",
        info.name,
        before.value(pair.before).name,
    );
    Diagnostic::error(at, text).help(DEFECT)
}

/// One pair with what both sides are computed from.
struct Cone {
    pair: Pair,
    /// Values of the graph before from which its side is computed.
    before: Vec<ValueId>,
    /// Values of the graph behind from which its side is computed, each with its equal in the graph before.
    after: Vec<(ValueId, ValueId)>,
}

fn cone(pair: &Pair, relation: &Matching, before: &Graph, after: &Graph) -> Cone {
    let mut cone = Cone { pair: pair.clone(), before: Vec::new(), after: Vec::new() };
    // A pair that holds counts as equal for what comes later, but not for itself.
    let paired = relation.same[pair.after.index()] == Some(pair.before);
    let leaf = |v: ValueId| relation.same[v.index()].filter(|_| !(v == pair.after && paired));
    let mut seen = BTreeSet::new();
    let mut stack = vec![pair.after];
    while let Some(v) = stack.pop() {
        if !seen.insert(v) {
            continue;
        }
        match (leaf(v), after.producer(v)) {
            (Some(b), _) => cone.after.push((v, b)),
            (None, Some((_, node))) => stack.extend(&node.inputs),
            (None, None) => {}
        }
    }
    let mut seen = BTreeSet::new();
    let mut stack = vec![pair.before];
    while let Some(v) = stack.pop() {
        if !seen.insert(v) {
            continue;
        }
        match before.producer(v) {
            Some((_, node)) if v == pair.before || !relation.kept[v.index()] => stack.extend(&node.inputs),
            _ => cone.before.push(v),
        }
    }
    cone
}

fn exact(info: &PassInfo, before: &Graph, after: &Graph, effort: &Effort) -> Result<Evidence, Diagnostics> {
    for congruent in [true, false] {
        let relation = relate(before, after, congruent);
        if relation.pairs.is_empty() {
            return Ok(proved(after));
        }
        let cones: Vec<Cone> = relation.pairs.iter().map(|p| cone(p, &relation, before, after)).collect();
        if let Ok(evidence) = exact_pairs(info, before, after, &cones, effort)? {
            return Ok(evidence);
        }
    }
    // A pair is what names suggest, and values of the two sides may have come from different evaluators. The
    // last word is with the reference evaluator, from the inputs on.
    let pairs = relate(before, after, false).pairs;
    let [wanted, behind] = sides(&pairs);
    let mut run_before = Reference.prepare(before, &wanted)?;
    let mut run_after = Reference.prepare(after, &behind)?;
    let n = effort.samples_for(Reference.cost(before).saturating_mul(2), 0);
    let mut tally = Tally::default();
    for s in 0..n {
        let input = sample(before, effort.seed, s);
        let (a, b) = (run_before(&input)?, run_after(&input)?);
        for (pair, (x, y)) in pairs.iter().zip(a.iter().zip(&b)) {
            let seen = compare(x, y, &pair.order);
            if seen.any_bit {
                return Err(violation(info, before, pair, &seen, None, s).into());
            }
            tally.add(&before.value(pair.before).name, &seen);
        }
    }
    Ok(tally.evidence(n, Reference.name(after), None, BTreeSet::new()))
}

fn sides(pairs: &[Pair]) -> [Vec<ValueId>; 2] {
    [pairs.iter().map(|p| p.before).collect(), pairs.iter().map(|p| p.after).collect()]
}

/// Compares pairs bit by bit; the inner error is the first that does not hold.
fn exact_pairs(
    info: &PassInfo,
    before: &Graph,
    after: &Graph,
    cones: &[Cone],
    effort: &Effort,
) -> Result<Result<Evidence, Diagnostic>, Diagnostics> {
    let leaves: BTreeSet<ValueId> = cones
        .iter()
        .flat_map(|c| c.before.iter().copied().chain(c.after.iter().map(|l| l.1)))
        .filter(|&v| before.const_of(v).is_none())
        .collect();
    let leaves: Vec<ValueId> = leaves.into_iter().collect();
    let n = if leaves.is_empty() { 1 } else { effort.samples_for(effort.evaluator.cost(before), 0) };
    let mut run = effort.evaluator.prepare(before, &leaves)?;
    let mut tally = Tally::default();
    for s in 0..n {
        let known = if leaves.is_empty() { Vec::new() } else { run(&sample(before, effort.seed, s))? };
        let value = |v: ValueId| {
            let found = leaves.binary_search(&v).ok().and_then(|i| known.get(i));
            found.or(before.const_of(v)).cloned()
        };
        for cone in cones {
            let from_before = cone.before.iter().filter_map(|&v| Some((v, value(v)?)));
            let x = evaluate_from(before, from_before, &[cone.pair.before])?;
            let from_after = cone.after.iter().filter_map(|&(v, b)| Some((v, value(b)?)));
            let y = evaluate_from(after, from_after, &[cone.pair.after])?;
            for (x, y) in x.iter().zip(&y) {
                let seen = compare(x, y, &cone.pair.order);
                if seen.any_bit {
                    return Ok(Err(violation(info, before, &cone.pair, &seen, None, s)));
                }
                tally.add(&before.value(cone.pair.before).name, &seen);
            }
        }
    }
    if leaves.is_empty() {
        let by = "evaluation of constants".to_string();
        return Ok(Ok(Evidence::Proved { by, points: tally.points }));
    }
    let evaluator = format!("{} from values of {}", Reference.name(after), effort.evaluator.name(before));
    Ok(Ok(tally.evidence(n, &evaluator, None, BTreeSet::new())))
}

/// The pairs that fit the memory set aside for them, outputs always among them, in order.
fn probes(pairs: Vec<Pair>, before: &Graph, after: &Graph, n: usize) -> Vec<Pair> {
    let mut all = pairs;
    for (b, a) in before.outputs().iter().zip(after.outputs()) {
        let order = perm::between(before.ty(b.value), after.ty(a.value));
        let pair = Pair { before: b.value, after: a.value, order: order.unwrap_or_default() };
        if !all.contains(&pair) {
            all.push(pair);
        }
    }
    let size = |p: &Pair| before.ty(p.before).shape.num_elements().saturating_mul(4 * n);
    let mut by_size: Vec<usize> = (0..all.len()).collect();
    by_size.sort_by_key(|&i| (!before.is_output(all[i].before), size(&all[i])));
    let mut room = PROBE_BYTES;
    let mut keep = vec![false; all.len()];
    for i in by_size {
        let bytes = size(&all[i]);
        if bytes <= room || before.is_output(all[i].before) {
            keep[i] = true;
            room = room.saturating_sub(bytes);
        }
    }
    all.into_iter().zip(keep).filter_map(|(p, k)| k.then_some(p)).collect()
}

fn measured(
    info: &PassInfo,
    before: &Graph,
    after: &Graph,
    limit: Option<(f64, f64)>,
    effort: &Effort,
) -> Result<Evidence, Diagnostics> {
    let pairs = relate(before, after, false).pairs;
    if pairs.is_empty() {
        return Ok(proved(after));
    }
    let one = effort.evaluator.name(before) == effort.evaluator.name(after);
    let by_reference = Effort { evaluator: &Reference, ..*effort };
    let effort = if one { effort } else { &by_reference };
    let mut seen = sampled(before, after, &pairs, limit, effort)?;
    let mut noise = None;
    if let (Some(limit), false) = (limit, seen.broken.is_empty()) {
        let again = match effort.evaluator.name(before) == Reference.name(before) {
            true => None,
            false => Some(sampled(before, after, &pairs, Some(limit), &by_reference)?)
                .filter(|s| s.broken.is_empty()),
        };
        match again {
            Some(again) => seen = again,
            None => noise = Some(excuse(info, before, &seen, limit, effort)?),
        }
    }
    let still = still(before, &seen.pairs, &seen.first);
    Ok(seen.tally.evidence(seen.first.len(), seen.evaluator, noise, still))
}

/// What two graphs gave on samples.
struct Sampled {
    pairs: Vec<Pair>,
    /// The values before, of each sample.
    first: Vec<Vec<Arc<Tensor>>>,
    tally: Tally,
    /// The pairs, by their places, and the samples in which a limit was passed.
    broken: Vec<(usize, usize, Difference)>,
    evaluator: &'static str,
}

fn sampled(
    before: &Graph,
    after: &Graph,
    pairs: &[Pair],
    limit: Option<(f64, f64)>,
    effort: &Effort,
) -> Result<Sampled, Diagnostics> {
    let cost = effort.evaluator.cost(before).saturating_add(effort.evaluator.cost(after));
    let n = effort.samples_for(cost, memory::port_bytes(before).1);
    let pairs = probes(pairs.to_vec(), before, after, n);
    let [wanted, behind] = sides(&pairs);
    let first = run_samples(before, &wanted, n, effort)?;
    let mut run = effort.evaluator.prepare(after, &behind)?;
    let mut tally = Tally::default();
    let mut broken: Vec<(usize, usize, Difference)> = Vec::new();
    for (s, x) in first.iter().enumerate() {
        let y = run(&sample(before, effort.seed, s))?;
        for (p, (x, y)) in x.iter().zip(&y).enumerate() {
            let seen = compare(x, y, &pairs[p].order);
            tally.add(&before.value(pairs[p].before).name, &seen);
            let unit = unit(before.ty(pairs[p].before));
            if limit.is_some_and(|(abs, rel)| seen.max_abs > (abs + rel * seen.magnitude).max(unit)) {
                broken.push((p, s, seen));
            }
        }
    }
    Ok(Sampled { pairs, first, tally, broken, evaluator: effort.evaluator.name(before) })
}

/// By how much integers may differ where a claim allows anything: one unit, if they are so wide that one is little.
fn unit(ty: &TensorType) -> f64 {
    f64::from(u8::from(!ty.elem.is_float() && ty.elem.bits() > 8))
}

/// The names of the pairs that every sample left the same.
fn still(before: &Graph, pairs: &[Pair], samples: &[Vec<Arc<Tensor>>]) -> BTreeSet<String> {
    let [first, others @ ..] = samples else { return BTreeSet::new() };
    let same = |p: usize| !others.is_empty() && others.iter().all(|s| s[p].data == first[p].data);
    let varies = |p: &Pair| before.const_of(p.before).is_none() && !before.ty(p.before).shape.contains(&0);
    let names = pairs.iter().enumerate().filter(|(i, p)| varies(p) && same(*i));
    names.map(|(_, p)| before.value(p.before).name.clone()).collect()
}

fn run_samples(
    graph: &Graph,
    wanted: &[ValueId],
    n: usize,
    effort: &Effort,
) -> Result<Vec<Vec<Arc<Tensor>>>, Diagnostics> {
    let mut run = effort.evaluator.prepare(graph, wanted)?;
    (0..n).map(|s| run(&sample(graph, effort.seed, s))).collect()
}

/// Whether rounding alone moves the broken values as far: then how far, relative to the greatest magnitude; else
/// the error for the first value, in the graph's order, that does not hold.
fn excuse(
    info: &PassInfo,
    before: &Graph,
    Sampled { pairs, first, broken, .. }: &Sampled,
    (abs, rel): (f64, f64),
    effort: &Effort,
) -> Result<f64, Diagnostics> {
    let [wanted, _] = sides(pairs);
    let samples: BTreeSet<usize> = broken.iter().map(|b| b.1).collect();
    let mut own = vec![Difference::default(); broken.len()];
    for shake in 1..=SHAKES {
        // Handles stay what they are when a patch is applied.
        let shaken = shaken(before, effort.seed.wrapping_add(shake));
        let mut run = effort.evaluator.prepare(&shaken, &wanted)?;
        for &s in &samples {
            let input = sample(before, effort.seed, s);
            let input: Vec<Tensor> =
                input.iter().map(|t| nudged(t, effort.seed.wrapping_add(shake))).collect();
            let moved = run(&input)?;
            for ((p, _, _), own) in broken.iter().zip(&mut own).filter(|(b, _)| b.1 == s) {
                let order = perm::identity(moved[*p].ty.rank());
                let seen = compare(&first[s][*p], &moved[*p], &order);
                if seen.max_abs >= own.max_abs {
                    *own = seen;
                }
            }
        }
    }
    let excused = |seen: &Difference, own: &Difference| {
        own.max_abs.is_finite() && seen.max_abs <= NOISE_FACTOR * own.max_abs
    };
    // The first value in the graph's order that does not hold is nearest to the fault.
    let guilty = broken.iter().zip(&own).filter(|(b, own)| !excused(&b.2, own)).map(|(b, _)| b);
    match guilty.min_by_key(|b| (b.0, b.1)) {
        None => Ok(own.iter().map(Difference::max_rel).fold(0.0, f64::max)),
        Some((p, s, seen)) => {
            Err(violation(info, before, &pairs[*p], seen, Some(abs + rel * seen.magnitude), *s).into())
        }
    }
}

/// The graph with every constant moved by one unit in the last place.
fn shaken(graph: &Graph, seed: u64) -> Graph {
    let mut patch = Patch::new(graph);
    for (id, value) in graph.values() {
        if let Some(tensor) = graph.const_of(id) {
            let new = patch.constant(&value.name, nudged(tensor, seed ^ id.index() as u64));
            patch.replace_retyped(id, new);
        }
    }
    let edit = patch.finish();
    let mut shaken = graph.clone();
    shaken.apply(edit);
    shaken
}
