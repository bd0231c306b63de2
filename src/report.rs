//! What the passes did and how it was checked, for people.

use unfloat_passes::report::{Evidence, PassReport, Report};

/// A line for each pass that changed something, and one that counts the others.
pub fn describe(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.passes.iter().filter_map(pass).collect();
    let idle = report.passes.len() - lines.len();
    if idle > 0 {
        lines.push(format!("{idle} of {} passes had nothing to do", report.passes.len()));
    }
    lines
}

/// What a pass did; nothing when it changed nothing.
fn pass(pass: &PassReport) -> Option<String> {
    let evidence = match &pass.evidence {
        Evidence::Unchanged => return None,
        Evidence::Skipped => "not validated".to_string(),
        Evidence::Proved { points, by } => format!("proved on {points} points by {by}"),
        Evidence::Sampled { n, points, max_abs, max_rel, .. } => {
            format!("{n} samples, {points} values compared, max |Δ| {max_abs:.2e}, relative {max_rel:.2e}")
        }
    };
    Some(format!("{}: {} changes, claim {}; {evidence}", pass.pass, pass.changes, pass.claim))
}
