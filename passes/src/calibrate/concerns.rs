//! What in a quantization its user should look at before shipping it.
//!
//! In: what was measured, or, where there were no samples, the weights alone. Out: warnings, the worst first, each with the
//! layer, the number, and what to do. They change nothing; `--max-drop` refuses.

use super::report::{Cost, WeightCost};
use crate::recipe::resolved::Resolved;
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// Decibels below which little is left of a value: a tenth of its power is noise.
const FAINT: f64 = 10.0;
/// Part of a value's elements that may lie beyond its codes.
const BEYOND: f64 = 0.02;
/// Part of the samples that should keep their class.
const SAME: f64 = 0.95;
/// Warnings of one kind that are written out.
const SHOWN: usize = 4;

/// Warnings of what was measured.
pub fn of_cost(cost: &Cost) -> Diagnostics {
    let mut found = Diagnostics::new();
    if let Some(same) = cost.same_class.filter(|&n| (n as f64) < SAME * cost.samples as f64) {
        let share = 100.0 * same as f64 / cost.samples.max(1) as f64;
        let text = format!("only {share:.1} % of the samples keep their class");
        found.push(at("", text).help("the table of values tells where it is lost; a recipe gives those layers more bits, or keeps them in floats"));
    }
    found.extend(of_weights(&cost.weights));
    let beyond = |saturated: u64, elements: u64| saturated as f64 / elements.max(1) as f64;
    let mut values: Vec<_> = cost.values.iter().collect();
    values.sort_by(|a, b| a.sqnr_db.unwrap_or(f64::MAX).total_cmp(&b.sqnr_db.unwrap_or(f64::MAX)));
    let bad = values.iter().filter_map(|v| {
        let outside = beyond(v.saturated, v.elements);
        let text = match v.sqnr_db {
            _ if outside > BEYOND => {
                format!(
                    "{:.1} % of `{}` lie beyond {}, which ends its range",
                    100.0 * outside,
                    v.value,
                    v.codes
                )
            }
            Some(db) if db < FAINT => format!("little is left of `{}` in {}: {db:.1} dB", v.value, v.codes),
            _ => return None,
        };
        Some(at(&v.layer, text).help(
            "give it a format with a greater range or more bits; fixed point has the same range everywhere",
        ))
    });
    limited(bad.collect(), &mut found);
    found
}

/// Warnings of weights that their format does not hold: known without samples.
pub fn of_weights(weights: &[WeightCost]) -> Diagnostics {
    let mut found = Diagnostics::new();
    let bad = weights.iter().filter_map(|w| {
        // A bit or two cannot hold more.
        let coarse = w.bytes.saturating_mul(10) < w.float_bytes;
        let db = w.sqnr_db.filter(|&db| db < if coarse { 0.0 } else { FAINT })?;
        let text = format!("little is left of the weights of `{}` in {}: {db:.1} dB", w.value, w.format);
        Some(
            at(&w.layer, text)
                .help("they are too small or too large for that format: `int8` has a scale per channel"),
        )
    });
    limited(bad.collect(), &mut found);
    found
}

/// Warnings of weights of exactly 0 that are −1 or +1 now.
pub fn of_zeros(numbers: &Resolved) -> Diagnostics {
    let mut found = Diagnostics::new();
    for w in numbers.weights.iter().filter(|w| w.zeros > 0) {
        let became = if w.rounding == "stochastic" { "-1 or +1 at random" } else { "+1" };
        let text = format!(
            "{} of {} weights of `{}` are exactly 0 and became {became}",
            w.zeros,
            w.codes.len(),
            w.value
        );
        found.push(at(&w.layer, text).help("ternary weights keep them"));
    }
    found
}

/// The warning where nothing could be measured.
pub fn of_nothing() -> Diagnostic {
    at("", "what the quantization costs was not measured: there are no samples".to_string())
        .help("give typical ones: --evaluate DATA, or --calibrate DATA")
}

fn at(layer: &str, text: String) -> Diagnostic {
    Diagnostic::warning(Location { layer: layer.to_string(), ..Location::default() }, text)
}

fn limited(mut all: Vec<Diagnostic>, found: &mut Diagnostics) {
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    found.extend(Diagnostics(all));
    if more > 0 {
        found.push(at("", format!("{more} more of this kind: the tables and certificate.json list all")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(sqnr_db: f64, bytes: u64) -> WeightCost {
        let text = || "w".to_string();
        let (layer, value, format) = (text(), text(), text());
        WeightCost { layer, value, format, bytes, float_bytes: 400, sqnr_db: Some(sqnr_db), max_error: 0.0 }
    }

    #[test]
    fn weights_that_are_lost_are_named() {
        assert_eq!(of_weights(&[weight(40.0, 100), weight(12.0, 50), weight(5.0, 13)]).0.len(), 0);
        assert_eq!(of_weights(&[weight(0.0, 200), weight(-3.0, 13)]).0.len(), 2);
        let many = vec![weight(0.0, 200); 9];
        let found = of_weights(&many);
        assert_eq!(found.0.len(), SHOWN + 1);
        assert!(found.0[SHOWN].message.starts_with("5 more"), "{found}");
    }

    #[test]
    fn classes_that_change_are_told() {
        let cost = |same| Cost {
            signs: Vec::new(),
            samples: 100,
            weights: vec![],
            values: vec![],
            same_class: Some(same),
            correct: None,
        };
        assert!(of_cost(&cost(96)).0.is_empty());
        assert!(of_cost(&cost(80)).0[0].message.contains("80.0 %"));
    }
}
