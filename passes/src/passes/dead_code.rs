//! Removes what no output needs.
//!
//! In: any graph. Out: the same outputs; nodes and constants that none of them reads are gone. Inputs stay, read
//! or not: they are the model's interface.

use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::{Diagnostics, Graph, Stage};

/// The pass `dead-code`.
pub struct DeadCode;

static INFO: PassInfo = PassInfo {
    name: "dead-code",
    summary: "remove nodes and constants that no output needs",
    details: "Inputs stay even when nothing reads them: they are the model's interface.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for DeadCode {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let live = graph.compact();
        let gone = graph.num_values() - live.num_values();
        *graph = live;
        Ok(Change::of(gone))
    }
}
