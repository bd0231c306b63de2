//! All passes, one line each.

use crate::pass::Pass;
use crate::passes;
use unfloat_ir::{Diagnostic, Location};

/// The passes, in the order in which they are listed to users.
pub static PASSES: &[&dyn Pass] = &[
    &passes::CleanUp,
    &passes::CanonicalLayout,
    &passes::FoldConstants,
    &passes::FoldPadding,
    &passes::FoldBatchNorm,
    &passes::CommonSubexpressions,
    &passes::DeadCode,
];

/// The pass of that name.
pub fn find(name: &str) -> Result<&'static dyn Pass, Diagnostic> {
    PASSES.iter().copied().find(|p| p.info().name == name).ok_or_else(|| {
        let names: Vec<&str> = PASSES.iter().map(|p| p.info().name).collect();
        Diagnostic::error(Location::default(), format!("there is no pass `{name}`"))
            .help(format!("the passes are {}", names.join(", ")))
    })
}
