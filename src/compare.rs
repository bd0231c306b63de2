//! How far two sets of results are apart.

use crate::samples::Batch;
use unfloat_ir::TensorType;

/// The largest difference that counts as equal unless the user says otherwise: 2·10⁻⁵ of the greatest element of
/// the sample's output, or 2·10⁻⁵ absolute below one.
pub const TOLERANCE: f64 = 2e-5;

/// The comparison of one output over all samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The output's name.
    pub output: String,
    /// The greatest absolute difference.
    pub max_abs: f64,
    /// The greatest difference relative to the sample's greatest element (at least 1).
    pub max_rel: f64,
    /// Where the greatest relative difference is: sample, element, the value on each side.
    pub worst: (usize, usize, f32, f32),
    /// Samples whose greatest element is at another place: other classes, for a classifier.
    pub classes_changed: usize,
}

impl Difference {
    /// Whether the outputs are equal within the tolerance.
    pub fn within(&self, tolerance: f64) -> bool {
        self.max_rel <= tolerance
    }
}

/// Compares two batches of outputs of the given types; both have as many samples.
pub fn outputs(types: &[(String, TensorType)], a: &Batch, b: &Batch) -> Vec<Difference> {
    types
        .iter()
        .zip(a.floats().iter().zip(&b.floats()))
        .map(|((name, ty), (x, y))| output(name, ty.shape.num_elements().max(1), x, y))
        .collect()
}

fn output(name: &str, len: usize, a: &[f32], b: &[f32]) -> Difference {
    let mut out = Difference {
        output: name.to_string(),
        max_abs: 0.0,
        max_rel: 0.0,
        worst: (0, 0, a.first().copied().unwrap_or(0.0), b.first().copied().unwrap_or(0.0)),
        classes_changed: 0,
    };
    for (s, (x, y)) in a.chunks(len).zip(b.chunks(len)).enumerate() {
        let scale = y.iter().filter(|v| v.is_finite()).fold(1f64, |m, &v| m.max(f64::from(v).abs()));
        for (i, (&p, &q)) in x.iter().zip(y).enumerate() {
            // Equal infinities and two NaN are equal; one NaN is as wrong as can be.
            let same = p == q || (p.is_nan() && q.is_nan());
            let abs = if same { 0.0 } else { (f64::from(p) - f64::from(q)).abs() };
            let abs = if abs.is_nan() { f64::INFINITY } else { abs };
            out.max_abs = out.max_abs.max(abs);
            if abs / scale > out.max_rel {
                out.max_rel = abs / scale;
                out.worst = (s, i, p, q);
            }
        }
        out.classes_changed += usize::from(argmax(x) != argmax(y));
    }
    out
}

fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}

/// A line for each output that tells how far apart it is.
pub fn describe(differences: &[Difference], tolerance: f64, left: &str, right: &str) -> String {
    let mut text = String::new();
    for d in differences {
        let verdict = if d.within(tolerance) { "equal" } else { "DIFFERENT" };
        text += &format!(
            "{verdict}: output `{}`: {left} and {right} differ by at most {:.3e} (relative {:.3e}, allowed {tolerance:.1e})",
            d.output, d.max_abs, d.max_rel
        );
        if !d.within(tolerance) {
            let (s, i, a, b) = d.worst;
            text += &format!(", worst at sample {s}, element {i}: {a} and {b}");
        }
        if d.classes_changed > 0 {
            text += &format!("; the greatest element changes place in {} samples", d.classes_changed);
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_sample() {
        let d = output("y", 2, &[100.0, 0.0, 1.0, 0.0], &[100.0, 1e-3, 1.0, 1e-3]);
        assert_eq!(d.worst.0, 1);
        assert!((d.max_rel - 1e-3).abs() < 1e-9 && (d.max_abs - 1e-3).abs() < 1e-9);
        assert!(!d.within(TOLERANCE) && d.classes_changed == 0);
    }

    #[test]
    fn a_nan_on_one_side_is_never_equal() {
        assert!(!output("y", 1, &[f32::NAN], &[1.0]).within(1.0));
        assert!(output("y", 1, &[f32::NAN], &[f32::NAN]).within(0.0));
        assert!(output("y", 1, &[f32::INFINITY], &[f32::INFINITY]).within(0.0));
        assert!(!output("y", 1, &[f32::INFINITY], &[f32::NEG_INFINITY]).within(1.0));
    }
}
