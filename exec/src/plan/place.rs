//! Where every value of a plan lies, and which steps go together.

use super::layout::{Item, Layout, Sizes};
use super::lower::{Aliases, Draft, root};
use super::step::{Place, Segment, Source, Step};
use super::{FloatPlan, PlanOptions};
use std::sync::Arc;
use unfloat_ir::{Def, Diagnostics, Graph, Tensor, ValueId};

/// Offsets in f32 so that every buffer begins on a cache line.
const ALIGN: usize = 16;

/// Cuts the steps into segments and gives every value its place.
pub(super) fn place(
    graph: &Graph,
    options: &PlanOptions,
    drafts: Vec<Draft>,
    alias: &Aliases,
) -> Result<FloatPlan, Diagnostics> {
    let items: Vec<Item> =
        drafts.iter().map(|d| Item { inputs: &d.inputs, output: d.output, together: d.together }).collect();
    let scratch_len = drafts.iter().map(|d| d.work.scratch_len()).max().unwrap_or(0);
    let len = |v: ValueId| graph.ty(v).shape.num_elements();
    let sizes = Sizes { of: &len, unit: size_of::<f32>(), align: ALIGN, scratch: scratch_len };
    let layout = Layout::new(graph, options, &items, alias, &sizes)?;
    drop(items);
    let source = |value: ValueId| -> Source {
        let value = root(alias, value);
        match graph.value(value).def {
            Def::Input(i) => Source::Input(i),
            Def::Const(_) => {
                Source::Const(graph.const_of(value).cloned().unwrap_or_else(|| empty(graph, value)))
            }
            Def::Node(_) => Source::Buffer(layout.place(value)),
        }
    };
    let outputs = graph.outputs().iter().map(|o| (source(o.value), graph.ty(o.value).shape.num_elements()));
    let outputs = outputs.collect();
    let inputs =
        graph.inputs().iter().map(|&v| (graph.value(v).name.clone(), graph.ty(v).shape.num_elements()));
    let inputs = inputs.collect();
    let mut segments: Vec<Segment> = Vec::new();
    for (draft, &segment) in drafts.into_iter().zip(&layout.segment_of) {
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
    let Layout { local_len, shared_len, chunk, group, .. } = layout;
    Ok(FloatPlan {
        isa: options.isa,
        segments,
        local_len,
        shared_len,
        scratch_len,
        chunk,
        group,
        inputs,
        outputs,
    })
}

fn empty(graph: &Graph, value: ValueId) -> Arc<Tensor> {
    Arc::new(Tensor { ty: graph.ty(value).clone(), data: unfloat_ir::Data::F32(Vec::new()) })
}
