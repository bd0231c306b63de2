//! What the passes did and how it was checked, for people.

use crate::output::table;
use unfloat_passes::calibrate::report::Cost;
use unfloat_passes::report::{Evidence, Fold, PassReport, Proof, Report};

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

/// The step functions that became integers: which layer, what of it, and for how many values of the accumulator it is proved.
pub fn folds(report: &Report) -> Option<String> {
    let folds: Vec<&Fold> = report.passes.iter().flat_map(|p| &p.folds).collect();
    let row = |f: &&Fold| {
        let proof = match f.proof {
            Proof::Enumerated => "each evaluated".to_string(),
            Proof::Monotone => "monotone, both sides of each step".to_string(),
            Proof::Library => "both sides of each step, and samples".to_string(),
            Proof::Bounded => format!("within {:.1e}", f.bound),
        };
        let proof = match f.differs {
            Some(d) if d.different > 0 => {
                format!("{proof}; {} of {} pairs differ, by {} at most", d.different, d.pairs, d.most)
            }
            Some(d) => format!("{proof}; equal for {} pairs", d.pairs),
            None if f.bound > 0.0 && f.proof != Proof::Bounded => {
                format!("{proof}; off by {} at most", f.bound)
            }
            None if f.exact || f.proof == Proof::Bounded => proof,
            None => format!("{proof}; the source rounds its sums"),
        };
        let numbers = [f.channels.to_string(), f.accumulator_bits.to_string(), f.points.to_string()];
        [vec![f.value.clone(), f.form.clone()], numbers.to_vec(), vec![proof]].concat()
    };
    let rows: Vec<Vec<String>> = folds.iter().map(row).collect();
    let header = ["integers", "form", "channels", "accumulator bits", "its values", "proof"];
    (!rows.is_empty()).then(|| table(&header, &rows, &[2, 3, 4]))
}

/// What a quantization costs: weights, values, classes.
pub fn cost(cost: &Cost) -> String {
    let db = |v: Option<f64>| v.map_or("exact".to_string(), |db| format!("{db:.1}"));
    let named = |value: &str, layer: &str| match layer {
        "" => value.to_string(),
        layer if layer == value => value.to_string(),
        layer => format!("{value} ({layer})"),
    };
    let weights: Vec<Vec<String>> = cost
        .weights
        .iter()
        .map(|w| {
            let error = format!("{:.2e}", w.max_error);
            vec![named(&w.value, &w.layer), w.format.clone(), w.bytes.to_string(), db(w.sqnr_db), error]
        })
        .collect();
    let values: Vec<Vec<String>> = cost
        .values
        .iter()
        .map(|v| {
            let range = format!("{:.4} to {:.4}", v.min, v.max);
            let error = format!("{:.2e}", v.max_error);
            let name = named(&v.value, &v.layer);
            vec![name, v.codes.clone(), range, v.saturated.to_string(), db(v.sqnr_db), error]
        })
        .collect();
    let mut text = String::new();
    if !weights.is_empty() {
        text += &table(&["weights of", "format", "bytes", "SQNR dB", "max error"], &weights, &[2, 3, 4]);
        let (bytes, floats) = cost.weights.iter().fold((0, 0), |(b, f), w| (b + w.bytes, f + w.float_bytes));
        text += &format!("{bytes} bytes of weights instead of {floats}\n");
    }
    text += &table(&["value", "codes", "range", "saturated", "SQNR dB", "max error"], &values, &[3, 4, 5]);
    if !cost.signs.is_empty() {
        let signs = cost.signs.iter().map(|s| {
            let counts = [s.zeros, s.changed, s.elements].map(|n| n.to_string());
            [vec![named(&s.value, &s.layer)], counts.to_vec()].concat()
        });
        let signs: Vec<Vec<String>> = signs.collect();
        text += &table(&["sign", "0 taken for +1", "changed", "of"], &signs, &[1, 2, 3]);
    }
    let share = |n: usize| 100.0 * n as f64 / cost.samples.max(1) as f64;
    if let Some(same) = cost.same_class {
        text += &format!(
            "{same} of {} samples have the same class as before ({:.2} %)\n",
            cost.samples,
            share(same)
        );
    }
    if let (Some((before, after)), Some(drop)) = (cost.correct, cost.drop()) {
        let (before, after) = (share(before), share(after));
        text += &format!("accuracy {before:.2} % before, {after:.2} % after: {drop:.2} points lost\n");
    }
    text
}
