//! Brings every look-up table to the pins that it needs.
//!
//! In: any graph. Out: each table names no bit twice, ignores no pin and has its pins in rising order, but for pins that fill
//! it up to the width of its layer, which is that of the widest table: they read the first pin's bit and are ignored.

use super::layer::rewrite;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::{Diagnostics, Graph, Stage};

/// The pass `lut-pins`.
pub struct LutPins;

static INFO: PassInfo = PassInfo {
    name: "lut-pins",
    summary: "fold pins that read one bit twice, and drop pins that a table ignores",
    details: "The entries of a table that cannot be reached because two pins read the same bit go; so do pins that make \
              no difference. Pins come in rising order. A layer is as wide as its widest table; narrower ones repeat \
              their first pin and ignore it.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for LutPins {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let count = rewrite(graph, |_, _, tables| {
            tables.iter_mut().for_each(|t| *t = t.simplified());
        })?;
        Ok(Change::of(count))
    }
}
