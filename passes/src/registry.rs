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
    &passes::Binarize,
    &passes::SignZero,
    &passes::QuantizeByRecipe,
    &passes::Integerize,
    &passes::FoldSigns,
    &passes::LutConstants,
    &passes::LutPins,
    &passes::LutMerge,
    &passes::LutDead,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::{PassCall, parse_calls};
    use crate::pipeline::{pipeline, pipelines};
    use std::collections::BTreeSet;

    #[test]
    fn every_pass_is_documented() {
        let names: BTreeSet<&str> = PASSES.iter().map(|p| p.info().name).collect();
        assert_eq!(names.len(), PASSES.len(), "two passes share a name");
        for pass in PASSES {
            let info = pass.info();
            assert!(info.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", info.name);
            assert!(!info.summary.is_empty() && !info.summary.ends_with('.') && !info.details.is_empty());
            assert!(info.from <= info.to, "{} goes back", info.name);
            let mut call = PassCall::new(*pass);
            for option in info.options {
                assert_eq!(call.set(option.name, option.default), Ok(()), "{}", info.name);
                assert!(!option.summary.is_empty());
            }
        }
    }

    #[test]
    fn every_pipeline_can_be_run() {
        for info in pipelines() {
            let calls = pipeline(info.name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(calls.len(), info.passes.len());
            // A pipeline starts where its first pass does.
            let mut stage = calls.first().map_or(unfloat_ir::Stage::Imported, |c| c.pass.info().from);
            for call in calls {
                assert!(call.pass.info().from <= stage, "{} comes too early", call.pass.info().name);
                stage = stage.max(call.pass.info().to);
            }
        }
        assert!(pipeline("imports").unwrap_err().to_string().contains("the pipelines are import"));
        assert!(parse_calls("").is_ok_and(|c| c.is_empty()));
    }
}
