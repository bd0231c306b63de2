//! What the passes did and how it was checked, for people.

use unfloat_passes::report::{Evidence, PassReport};

/// One line about a pass.
pub fn describe(pass: &PassReport) -> String {
    let evidence = match &pass.evidence {
        Evidence::Unchanged => return format!("{:24} nothing to do", pass.pass),
        Evidence::Skipped => "not validated".to_string(),
        Evidence::Proved { points, by } => format!("proved on {points} points ({by})"),
        Evidence::Sampled { n, points, max_abs, max_rel, .. } => {
            format!("{n} samples, {points} values compared: max |Δ| {max_abs:.2e}, relative {max_rel:.2e}")
        }
    };
    format!("{:24} {} changes; claim: {}; {evidence}", pass.pass, pass.changes, pass.claim)
}
