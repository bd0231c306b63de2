//! Lets convolutions and poolings pad by themselves.
//!
//! In: any graph. Out: constant padding of spatial axes in front of a window is part of the window, where that gives
//! the same numbers: zeros before a convolution with finite constant weight; zeros before an average over padded
//! cells too; −∞, or zeros around what is never negative, before a maximum. Left alone: every other padding. A batch
//! normalisation in front of the padding stays where it is; see `fold-batch-norm`.
//!
//! A zero may change its sign, and an executor may add the cells at a border in another order, so this is not exact.

use crate::analysis::floats;
use crate::analysis::range::is_nonnegative;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::ops::{AvgPool, Conv, MaxPool, PadMode, Window};
use unfloat_ir::{Diagnostics, Graph, Node, Op, OpDef, Patch, Stage, TensorType, ValueId};

/// The pass `fold-padding`.
pub struct FoldPadding;

static INFO: PassInfo = PassInfo {
    name: "fold-padding",
    summary: "let convolutions and poolings pad by themselves",
    details: "Zeros before a convolution, zeros before an average that counts them, and -inf or zeros around what is \
              never negative before a maximum become part of the window.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Within { abs: 0.0, rel: 1e-6 },
};

impl Pass for FoldPadding {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut count = 0;
        // Padding of padding takes one round each.
        loop {
            let mut patch = Patch::new(graph);
            for (_, node) in graph.live_nodes() {
                if let Some((op, from)) = merged(graph, node) {
                    let inputs: Vec<ValueId> =
                        std::iter::once(from).chain(node.inputs[1..].iter().copied()).collect();
                    let new = patch.node(op, &inputs, &graph.value(node.output).name, &node.origin)?;
                    patch.replace(node.output, new)?;
                }
            }
            let edit = patch.finish();
            if edit.is_empty() {
                return Ok(Change::of(count));
            }
            count += edit.len();
            graph.apply(edit);
            *graph = graph.compact();
        }
    }
}

/// The op that pads by itself, and what it then reads.
fn merged(graph: &Graph, node: &Node) -> Option<(Op, ValueId)> {
    let x = *node.inputs.first()?;
    let (_, padding) = graph.producer(x)?;
    let Op::Pad(pad) = &padding.op else { return None };
    let PadMode::Constant(value) = pad.mode else { return None };
    let from = padding.inputs[0];
    let op: Op = match &node.op {
        Op::Conv(Conv { window, groups }) => {
            let weight = floats(graph, *node.inputs.get(1)?)?;
            if value != 0.0 || weight.iter().any(|w| !w.is_finite()) {
                return None;
            }
            Conv { window: widened(graph, window, x, padding)?, groups: *groups }.into()
        }
        Op::MaxPool(MaxPool { window }) => {
            // The window's own cells are -inf, which never wins.
            let never_wins = value == f32::NEG_INFINITY || (value == 0.0 && is_nonnegative(graph, from));
            if window.is_padded() && value != f32::NEG_INFINITY || !never_wins {
                return None;
            }
            MaxPool { window: widened(graph, window, x, padding)? }.into()
        }
        Op::AvgPool(AvgPool { window, count_include_pad }) => {
            if value != 0.0 || (window.is_padded() && !count_include_pad) {
                return None;
            }
            AvgPool { window: widened(graph, window, x, padding)?, count_include_pad: true }.into()
        }
        _ => return None,
    };
    let types: Vec<&TensorType> =
        std::iter::once(&from).chain(&node.inputs[1..]).map(|&v| graph.ty(v)).collect();
    (op.infer(&types).as_ref() == Ok(graph.ty(node.output))).then_some((op, from))
}

/// The window with the padding in front of it, if that pads no channels.
fn widened(graph: &Graph, window: &Window, x: ValueId, padding: &Node) -> Option<Window> {
    let Op::Pad(pad) = &padding.op else { return None };
    let layout = graph.ty(x).layout;
    let (spatial, channel) = (layout.spatial()?, layout.channel()?);
    if pad.before[channel] + pad.after[channel] > 0 || spatial.len() != window.rank() {
        return None;
    }
    let mut wide = window.clone();
    for (i, &axis) in spatial.iter().enumerate() {
        wide.pads_begin[i] = wide.pads_begin[i].checked_add(pad.before[axis])?;
        wide.pads_end[i] = wide.pads_end[i].checked_add(pad.after[axis])?;
    }
    Some(wide)
}
