//! How the architecture's reader reports, and names that are near to one another.

use unfloat_ir::{Diagnostic, Location};

pub(crate) use crate::pytorch::problem::clip;

/// Result of a step that stops at its first problem.
pub(crate) type Outcome<T> = Result<T, Box<Diagnostic>>;

/// An error at a line of a file.
pub(crate) fn at_line(file: &str, line: usize, message: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Location::file(file).at(format!("line {line}")), message))
}

/// The same finding with advice.
pub(crate) fn with_help(mut found: Box<Diagnostic>, help: impl Into<String>) -> Box<Diagnostic> {
    found.help = help.into();
    found
}

/// Those of `names` that `wanted` may have meant, the nearest first, three at most.
pub(crate) fn near<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let limit = 2 + wanted.chars().count() / 4;
    let mut found: Vec<(usize, &str)> =
        names.into_iter().map(|name| (distance(wanted, name), name)).filter(|(d, _)| *d <= limit).collect();
    found.sort();
    found.into_iter().map(|(_, name)| name).take(3).collect()
}

/// How many letters are added, dropped or changed; case counts for nothing.
fn distance(a: &str, b: &str) -> usize {
    const MAX: usize = 128;
    let letters = |s: &str| s.chars().flat_map(char::to_lowercase).take(MAX).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// A shape as torch prints it.
pub(crate) fn show(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        let kinds = ["BatchNorm1d", "BatchNorm2d", "Conv2d", "MaxPool2d"];
        assert_eq!(near("BatchNorm", kinds), ["BatchNorm1d", "BatchNorm2d"]);
        assert_eq!(near("conv2D", kinds), ["Conv2d"]);
        assert!(near("Transformer", kinds).is_empty());
    }
}
