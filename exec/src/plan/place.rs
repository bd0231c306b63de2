//! Where every value of a plan lies, and which steps go together.

use super::lower::{Aliases, Draft, root};
use super::step::{Place, Segment, Source, Step};
use super::storage::{Life, assign};
use super::{CHUNK, GROUP, Plan, PlanOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use unfloat_ir::{Def, Diagnostic, Diagnostics, Graph, Location, Tensor, ValueId};

/// Offsets in f32 so that every buffer begins on a cache line.
const ALIGN: usize = 16;

/// Cuts the steps into segments and gives every value its place.
pub(super) fn place(
    graph: &Graph,
    options: &PlanOptions,
    drafts: Vec<Draft>,
    alias: &Aliases,
) -> Result<Plan, Diagnostics> {
    let segment_of = segments(&drafts);
    let lives = lives(graph, &drafts, alias, &segment_of);
    let spaces = [false, true].map(|shared| {
        let chosen: Vec<(&ValueId, &Home)> = lives.iter().filter(|(_, h)| h.shared == shared).collect();
        let (offsets, total) = assign(&chosen.iter().map(|(_, h)| h.life).collect::<Vec<_>>(), ALIGN);
        let places = chosen
            .iter()
            .zip(offsets)
            .map(|(home, offset)| (*home.0, Place { shared, offset, len: home.1.life.len }));
        (places.collect::<BTreeMap<_, _>>(), total)
    });
    let [(local, local_len), (shared, shared_len)] = spaces;
    let scratch_len = drafts.iter().map(|d| d.work.scratch_len()).max().unwrap_or(0);
    let chunk = chunk(graph, options, &lives, [local_len, shared_len, scratch_len])?;
    let source = |value: ValueId| -> Source {
        let value = root(alias, value);
        match graph.value(value).def {
            Def::Input(i) => Source::Input(i),
            Def::Const(_) => {
                Source::Const(graph.const_of(value).cloned().unwrap_or_else(|| empty(graph, value)))
            }
            Def::Node(_) => {
                let place = local.get(&value).or_else(|| shared.get(&value)).copied();
                Source::Buffer(place.unwrap_or(Place { shared: false, offset: 0, len: 0 }))
            }
        }
    };
    let outputs = graph.outputs().iter().map(|o| (source(o.value), graph.ty(o.value).shape.num_elements()));
    let outputs = outputs.collect();
    let inputs =
        graph.inputs().iter().map(|&v| (graph.value(v).name.clone(), graph.ty(v).shape.num_elements()));
    let inputs = inputs.collect();
    let mut segments: Vec<Segment> = Vec::new();
    for (draft, &segment) in drafts.into_iter().zip(&segment_of) {
        let to = match source(draft.output) {
            Source::Buffer(place) => place,
            _ => Place { shared: false, offset: 0, len: 0 },
        };
        let together = draft.together;
        let sources: Vec<Source> = draft.inputs.iter().map(|&v| source(v)).collect();
        let constant: Vec<bool> = sources.iter().map(|s| matches!(s, Source::Const(_))).collect();
        let len = |v: &ValueId| graph.ty(*v).shape.num_elements();
        let repeats: Vec<bool> = draft.inputs.iter().map(|v| len(v) != to.len).collect();
        let step = Step {
            single: !draft.work.takes_several(&constant, &repeats),
            sources,
            work: draft.work,
            to,
            at: (&draft.node.origin).into(),
        };
        match segments.get_mut(segment) {
            Some(Segment::Grouped(steps)) => steps.push(step),
            _ if together => segments.push(Segment::Together(Box::new(step))),
            _ => segments.push(Segment::Grouped(vec![step])),
        }
    }
    let group = GROUP.min(chunk);
    Ok(Plan { isa: options.isa, segments, local_len, shared_len, scratch_len, chunk, group, inputs, outputs })
}

fn empty(graph: &Graph, value: ValueId) -> Arc<Tensor> {
    Arc::new(Tensor { ty: graph.ty(value).clone(), data: unfloat_ir::Data::F32(Vec::new()) })
}

/// The segment of each step: a step that takes a chunk together is one of its own.
fn segments(drafts: &[Draft]) -> Vec<usize> {
    let mut next = 0;
    let mut open = false;
    drafts
        .iter()
        .map(|draft| {
            if draft.together {
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

fn lives(graph: &Graph, drafts: &[Draft], alias: &Aliases, segment_of: &[usize]) -> BTreeMap<ValueId, Home> {
    let mut homes = BTreeMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        let len = graph.ty(draft.output).shape.num_elements();
        let shared = draft.together;
        homes.insert(draft.output, (i, i, shared, len));
    }
    for (i, draft) in drafts.iter().enumerate() {
        for &v in &draft.inputs {
            if let Some(home) = homes.get_mut(&root(alias, v)) {
                home.1 = i;
                home.2 |= segment_of[home.0] != segment_of[i];
            }
        }
    }
    for output in graph.outputs() {
        if let Some(home) = homes.get_mut(&root(alias, output.value)) {
            (home.1, home.2) = (drafts.len(), true);
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

/// How many samples share a chunk: as many as the memory limit allows, at most [`CHUNK`].
fn chunk(
    graph: &Graph,
    options: &PlanOptions,
    lives: &BTreeMap<ValueId, Home>,
    [local, shared, scratch]: [usize; 3],
) -> Result<usize, Diagnostics> {
    let limit = options.memory_limit / size_of::<f32>();
    let rest = limit.checked_sub(scratch);
    // A group is no larger than the chunk: a chunk of one sample has the smallest buffers.
    let fits = |chunk: usize| {
        let needed = shared.saturating_mul(chunk).saturating_add(local.saturating_mul(chunk.min(GROUP)));
        rest.is_some_and(|rest| needed <= rest)
    };
    let chunk = (1..=options.max_batch.clamp(1, CHUNK)).rev().find(|&c| fits(c)).unwrap_or(0);
    if chunk > 0 {
        return Ok(chunk);
    }
    let needed = local.saturating_add(shared).saturating_add(scratch).saturating_mul(size_of::<f32>());
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
