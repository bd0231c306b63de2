//! Which steps go together, and which arena holds each value: what plans of floats and of integers share.
//!
//! In: what each step reads and makes, and the units that a value takes per sample. Out: the segment of each step, the
//! place of each value, the sizes of both arenas, and how many samples go together. Refused: graphs whose buffers would
//! exceed the limit, with the layer that needs most.

use super::lower::{Aliases, root};
use super::step::Place;
use super::storage::{Life, assign};
use super::{CHUNK, GROUP, PlanOptions, SMALL};
use std::collections::BTreeMap;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, ValueId};

/// What a step reads and makes.
pub(super) struct Item<'a> {
    pub inputs: &'a [ValueId],
    pub output: ValueId,
    /// Whether a whole chunk of samples goes through it at once.
    pub together: bool,
}

/// The unit of places, and what else takes memory.
pub(super) struct Sizes<'a> {
    /// Units that a value takes per sample.
    pub of: &'a dyn Fn(ValueId) -> usize,
    /// Bytes of a unit.
    pub unit: usize,
    /// Offsets are multiples of so many units.
    pub align: usize,
    /// Units that steps need for themselves.
    pub scratch: usize,
}

/// Where everything is.
pub(super) struct Layout {
    pub segment_of: Vec<usize>,
    pub places: BTreeMap<ValueId, Place>,
    /// Units of arena per sample, for values that live within one group's steps.
    pub local_len: usize,
    /// Units of arena per sample of a chunk, for values that a chunk shares.
    pub shared_len: usize,
    /// Samples that share an arena.
    pub chunk: usize,
    /// Samples that go through a segment's steps together.
    pub group: usize,
}

impl Layout {
    pub fn new(
        graph: &Graph,
        options: &PlanOptions,
        items: &[Item],
        alias: &Aliases,
        sizes: &Sizes,
    ) -> Result<Layout, Diagnostics> {
        let segment_of = segments(items);
        let lives = lives(graph, items, alias, &segment_of, sizes);
        let mut places = BTreeMap::new();
        let [local_len, shared_len] = [false, true].map(|shared| {
            let chosen: Vec<(&ValueId, &Home)> = lives.iter().filter(|(_, h)| h.shared == shared).collect();
            let (offsets, total) =
                assign(&chosen.iter().map(|(_, h)| h.life).collect::<Vec<_>>(), sizes.align);
            for (home, offset) in chosen.iter().zip(offsets) {
                places.insert(*home.0, Place { shared, offset, len: home.1.life.len });
            }
            total
        });
        let chunk = chunk(graph, options, &lives, [local_len, shared_len], sizes)?;
        let group = group(local_len, sizes.unit, chunk);
        Ok(Layout { segment_of, places, local_len, shared_len, chunk, group })
    }

    /// The place of a value that a step makes.
    pub fn place(&self, value: ValueId) -> Place {
        self.places.get(&value).copied().unwrap_or(Place { shared: false, offset: 0, len: 0 })
    }
}

/// The segment of each step: a step that takes a chunk together is one of its own.
fn segments(items: &[Item]) -> Vec<usize> {
    let mut next = 0;
    let mut open = false;
    items
        .iter()
        .map(|item| {
            if item.together {
                next += usize::from(open) + 1;
                open = false;
                next - 1
            } else {
                open = true;
                next
            }
        })
        .collect()
}

/// Where a value lives, and how long: in steps for a sample's own values, in segments for shared ones.
struct Home {
    shared: bool,
    life: Life,
}

fn lives(
    graph: &Graph,
    items: &[Item],
    alias: &Aliases,
    segment_of: &[usize],
    sizes: &Sizes,
) -> BTreeMap<ValueId, Home> {
    let mut homes = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let len = (sizes.of)(item.output);
        let shared = item.together;
        homes.insert(item.output, (i, i, shared, len));
    }
    for (i, item) in items.iter().enumerate() {
        for &v in item.inputs {
            if let Some(home) = homes.get_mut(&root(alias, v)) {
                home.1 = i;
                home.2 |= segment_of[home.0] != segment_of[i];
            }
        }
    }
    for output in graph.outputs() {
        if let Some(home) = homes.get_mut(&root(alias, output.value)) {
            (home.1, home.2) = (items.len(), true);
        }
    }
    let last = segment_of.last().map_or(0, |s| s + 1);
    homes
        .into_iter()
        .map(|(v, (from, to, shared, len))| {
            let segment = |i: usize| segment_of.get(i).copied().unwrap_or(last);
            let life = if shared {
                Life { len, from: segment(from), to: segment(to) }
            } else {
                Life { len, from, to }
            };
            (v, Home { shared, life })
        })
        .collect()
}

/// How many samples of a chunk go through a segment's steps together, given the units that each takes.
fn group(local: usize, unit: usize, chunk: usize) -> usize {
    let small = SMALL / local.saturating_mul(unit).max(1);
    GROUP.max(small).min(chunk)
}

/// How many samples share a chunk: as many as the memory limit allows, at most [`CHUNK`].
fn chunk(
    graph: &Graph,
    options: &PlanOptions,
    lives: &BTreeMap<ValueId, Home>,
    [local, shared]: [usize; 2],
    sizes: &Sizes,
) -> Result<usize, Diagnostics> {
    let (scratch, limit) = (sizes.scratch, options.memory_limit / sizes.unit);
    let rest = limit.checked_sub(scratch);
    // A group is no larger than the chunk: a chunk of one sample has the smallest buffers.
    let fits = |chunk: usize| {
        let group = group(local, sizes.unit, chunk);
        let needed = shared.saturating_mul(chunk).saturating_add(local.saturating_mul(group));
        rest.is_some_and(|rest| needed <= rest)
    };
    let chunk = (1..=options.max_batch.clamp(1, CHUNK)).rev().find(|&c| fits(c)).unwrap_or(0);
    if chunk > 0 {
        return Ok(chunk);
    }
    let needed = local.saturating_add(shared).saturating_add(scratch).saturating_mul(sizes.unit);
    let largest = lives.iter().max_by_key(|(v, h)| (h.life.len, std::cmp::Reverse(**v))).map(|(&v, _)| v);
    let at = largest.and_then(|v| graph.producer(v)).map(|(_, n)| Location::from(&n.origin));
    let what = largest.map_or(String::new(), |v| {
        format!("; the largest value is `{}`, {}", graph.value(v).name, graph.ty(v))
    });
    Err(Diagnostic::error(
        at.unwrap_or_default(),
        format!(
            "running one sample needs {needed} bytes of buffers, the limit is {}{what}",
            options.memory_limit
        ),
    )
    .help("check the layer's sizes in the model; the limit guards against broken files")
    .into())
}
