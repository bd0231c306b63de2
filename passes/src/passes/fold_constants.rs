//! Evaluates what depends on constants alone.
//!
//! In: any graph. Out: no node has constant operands only, but for dequantizations, which say that a weight is
//! quantized; each such node is replaced by a constant that holds its reference evaluation. Refuses, naming the
//! node, to make a constant of more than `limit` elements or to spend more than `steps` elementary steps on one: a
//! file of a few bytes must not become gigabytes.

use crate::analysis::work;
use crate::pass::{Change, Claim, OptionInfo, OptionKind, Pass, PassCx, PassInfo};
use std::collections::BTreeMap;
use std::sync::Arc;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Node, Op, OpDef, Patch, Stage, Tensor, ValueId};

/// The pass `fold-constants`.
pub struct FoldConstants;

static INFO: PassInfo = PassInfo {
    name: "fold-constants",
    summary: "evaluate nodes that depend on constants alone",
    details: "Each such node becomes a constant that holds its reference evaluation; a dequantization of constant \
              codes stays, since it says that a weight is quantized. A constant beyond the limits is an error that \
              names its node.",
    options: &[
        OptionInfo {
            name: "limit",
            kind: OptionKind::Size,
            default: "67108864",
            summary: "the greatest number of elements of a constant that it makes",
        },
        OptionInfo {
            name: "steps",
            kind: OptionKind::Size,
            default: "1000000000",
            summary: "the greatest number of elementary steps spent on one constant",
        },
    ],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for FoldConstants {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut found = Diagnostics::new();
        let mut made: BTreeMap<ValueId, Option<Arc<Tensor>>> = BTreeMap::new();
        let mut patch = Patch::new(graph);
        for (_, node) in graph.live_nodes().filter(|(_, n)| !matches!(n.op, Op::Dequantize(_))) {
            // `None` for a constant that was refused: its readers are not blamed too.
            let operand =
                |v: &ValueId| made.get(v).cloned().or_else(|| graph.const_of(*v).map(|t| Some(t.clone())));
            let Some(operands) = node.inputs.iter().map(operand).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let tensor = match operands.into_iter().collect::<Option<Vec<_>>>() {
                None => None,
                Some(operands) => match evaluate(graph, node, &operands, cx) {
                    Ok(tensor) => Some(Arc::new(tensor)),
                    Err(error) => {
                        found.push(error);
                        None
                    }
                },
            };
            if let Some(tensor) = &tensor {
                let new = patch.constant(&graph.value(node.output).name, tensor.clone());
                patch.replace(node.output, new)?;
            }
            made.insert(node.output, tensor);
        }
        let edit = patch.finish();
        if !edit.is_empty() {
            graph.apply(edit);
        }
        found.into_result(Change::of(made.len()))
    }
}

fn evaluate(graph: &Graph, node: &Node, operands: &[Arc<Tensor>], cx: &PassCx) -> Result<Tensor, Diagnostic> {
    let fail = |text: String| {
        let name = &graph.value(node.output).name;
        Diagnostic::error(&node.origin, format!("`{name}` ({}): {text}", node.op.name()))
    };
    let ty = graph.ty(node.output).clone();
    let (len, steps) = (ty.shape.num_elements() as u64, work(graph, node));
    for (what, found, option) in [("of", len, "limit"), ("in", steps, "steps")] {
        if found > cx.size(option) as u64 {
            let unit = if option == "limit" { "elements" } else { "steps" };
            let text = format!("computes a constant {what} {found} {unit}, more than {}", cx.size(option));
            return Err(fail(text).help(format!("raise the option `{option}` of pass `{}`", INFO.name)));
        }
    }
    let operands: Vec<&Tensor> = operands.iter().map(Arc::as_ref).collect();
    let data = node.op.eval(&operands, &ty).map_err(|e| fail(e.to_string()))?;
    Ok(Tensor { ty, data })
}
