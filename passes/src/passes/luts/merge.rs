//! Lets the readers of equal look-up tables read one of them.
//!
//! In: any graph. Out: of the tables of a layer that compute the same function of the same bits, pins of later layers read the
//! first. The others stay, for `lut-dead` to remove, and for readers that are no tables.

use super::layer::rewrite;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::collections::BTreeMap;
use unfloat_ir::{Diagnostics, Graph, Stage, ValueId};

/// The pass `lut-merge`.
pub struct LutMerge;

static INFO: PassInfo = PassInfo {
    name: "lut-merge",
    summary: "read one of several equal tables",
    details: "Two tables of a layer are equal when they are the same function of the same bits, in whatever order their \
              pins stand. What reads one of them and is a table itself reads the first.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for LutMerge {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut first: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        let count = rewrite(graph, |source, output, tables| {
            if let Some(first) = first.get(&source) {
                let pins = tables.iter_mut().flat_map(|t| t.pins.iter_mut());
                pins.for_each(|pin| *pin = first[*pin]);
            }
            let mut seen = BTreeMap::new();
            let firsts = tables.iter().enumerate().map(|(o, t)| *seen.entry(t.simplified()).or_insert(o));
            first.insert(output, firsts.collect());
        })?;
        Ok(Change::of(count))
    }
}
