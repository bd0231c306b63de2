//! Carries constant bits through layers of look-up tables.
//!
//! In: any graph. Out: no table has a pin that reads a table of the layer before which always gives the same bit. That table
//! itself stays, for `lut-dead` to remove.

use super::layer::rewrite;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::collections::BTreeMap;
use unfloat_ir::{Diagnostics, Graph, Stage, ValueId};

/// The pass `lut-constants`.
pub struct LutConstants;

static INFO: PassInfo = PassInfo {
    name: "lut-constants",
    summary: "take pins away that always read the same bit",
    details: "A table whose entries are all the same gives a constant; the tables of the next layer that read it become \
              those parts of themselves that the constant selects, which may make constants of them in turn.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for LutConstants {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut known: BTreeMap<ValueId, Vec<Option<bool>>> = BTreeMap::new();
        let count = rewrite(graph, |source, output, tables| {
            if let Some(bits) = known.get(&source) {
                for table in tables.iter_mut() {
                    table.set(|pin| bits.get(pin).copied().flatten());
                }
            }
            known.insert(output, tables.iter().map(|t| t.constant()).collect());
        })?;
        Ok(Change::of(count))
    }
}
