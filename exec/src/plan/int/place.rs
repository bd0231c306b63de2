//! Where every value of a plan of integers lies, and which steps go together.

use super::super::PlanOptions;
use super::super::layout::{Item, Layout, Sizes};
use super::super::lower::{Aliases, root};
use super::bits::Packed;
use super::lower::Draft;
use super::step::{Segment, Source, Step, Work};
use super::{IntPlan, Port, encoded};
use crate::kernels::int::{AlignedBytes, Word, bytes_of};
use std::sync::Arc;
use unfloat_ir::{Def, Diagnostics, Graph, Tensor, ValueId};

/// Every buffer begins on a cache line.
const ALIGN: usize = 64;

/// Cuts the steps into segments and gives every value its place. `word` is that of a value which is not `packed`.
pub(super) fn place(
    graph: &Graph,
    options: &PlanOptions,
    drafts: Vec<Draft>,
    alias: &Aliases,
    word: &dyn Fn(ValueId) -> Word,
    packed: &Packed,
) -> Result<IntPlan, Diagnostics> {
    let items: Vec<Item> =
        drafts.iter().map(|d| Item { inputs: &d.inputs, output: d.output, together: d.together }).collect();
    let scratch_len = drafts.iter().map(|d| d.work.scratch_len()).max().unwrap_or(0);
    let len = |v: ValueId| match packed.bytes(graph, v) {
        Some(bytes) => bytes,
        None => graph.ty(v).shape.num_elements().saturating_mul(word(v).bytes()),
    };
    let sizes = Sizes { of: &len, unit: 1, align: ALIGN, scratch: scratch_len };
    let layout = Layout::new(graph, options, &items, alias, &sizes)?;
    drop(items);
    let source = |value: ValueId| -> Source {
        let value = root(alias, value);
        match graph.value(value).def {
            Def::Input(i) => Source::Input(i),
            Def::Const(_) => Source::Const(Arc::new(
                graph.const_of(value).map_or_else(AlignedBytes::default, |t| bytes(t, word(value))),
            )),
            Def::Node(_) => Source::Buffer(layout.place(value)),
        }
    };
    let port = |v: ValueId, name: &str| Port {
        name: name.to_string(),
        elem: graph.ty(v).elem.clone(),
        word: word(v),
        len: graph.ty(v).shape.num_elements(),
    };
    let mut segments: Vec<Segment> = Vec::new();
    for (draft, &segment) in drafts.into_iter().zip(&layout.segment_of) {
        let together = draft.together;
        let sources: Vec<Source> = draft.inputs.iter().map(|&v| source(v)).collect();
        let constant = sources.iter().any(|s| matches!(s, Source::Const(_)));
        let step = Step {
            single: match draft.work {
                Work::Reference(_) | Work::Packing { .. } => true,
                Work::Binary(_) => false,
                _ => constant,
            },
            sources,
            to: layout.place(draft.output),
            work: draft.work,
            at: (&draft.node.origin).into(),
        };
        match segments.get_mut(segment) {
            Some(Segment::Grouped(steps)) => steps.push(step),
            _ if together => segments.push(Segment::Together(Box::new(step))),
            _ => segments.push(Segment::Grouped(vec![step])),
        }
    }
    Ok(IntPlan {
        segments,
        local_len: layout.local_len,
        shared_len: layout.shared_len,
        scratch_len,
        chunk: layout.chunk,
        group: layout.group,
        inputs: graph.inputs().iter().map(|&v| port(v, &graph.value(v).name)).collect(),
        outputs: graph.outputs().iter().map(|o| port(o.value, &o.name)).collect(),
        shown: graph.outputs().iter().map(|o| source(o.value)).collect(),
    })
}

/// A constant in its word, which holds what it is.
fn bytes(t: &Tensor, word: Word) -> AlignedBytes {
    let Some(floats) = t.as_f32() else {
        return encoded(&(0..t.len()).filter_map(|i| t.data.code(i)).collect::<Vec<i64>>(), word);
    };
    let mut bytes = AlignedBytes::zeroed(4 * t.len());
    bytes.copy_from_slice(bytes_of(floats));
    bytes
}
