//! Computes every expression once.
//!
//! In: any graph. Out: of several nodes with the same op, the same attributes and the same operands the first
//! stays, and the others' readers read it; constants of the same type and bits become one. The node that stays
//! keeps its origin.

use crate::analysis::numbering::Numberer;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Def, Diagnostics, Graph, Patch, Stage};

/// The pass `common-subexpressions`.
pub struct CommonSubexpressions;

static INFO: PassInfo = PassInfo {
    name: "common-subexpressions",
    summary: "compute every expression once, keep every constant once",
    details: "Of nodes with the same op, attributes and operands the first stays; constants of the same type and \
              bits become one.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for CommonSubexpressions {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut numberer = Numberer::new();
        let mut numbers = vec![0; graph.num_values()];
        let mut first = BTreeMap::new();
        let mut patch = Patch::new(graph);
        let mut count = 0;
        let mut note = |patch: &mut Patch, id, number| -> Result<(), Diagnostics> {
            if let Some(&same) = first.get(&number) {
                patch.replace(id, same)?;
                count += 1;
            } else {
                first.insert(number, id);
            }
            Ok(())
        };
        for (id, value) in graph.values() {
            let number = match value.def {
                Def::Input(i) => numberer.input(i),
                Def::Const(_) => graph.const_of(id).map_or(0, |t| numberer.constant(t)),
                Def::Node(_) => continue,
            };
            numbers[id.index()] = number;
            note(&mut patch, id, number)?;
        }
        for (_, node) in graph.live_nodes() {
            let operands: Vec<u32> = node.inputs.iter().map(|v| numbers[v.index()]).collect();
            let number = numberer.node(&node.op, &operands);
            numbers[node.output.index()] = number;
            note(&mut patch, node.output, number)?;
        }
        let edit = patch.finish();
        if count > 0 {
            graph.apply(edit);
        }
        Ok(Change::of(count))
    }
}
