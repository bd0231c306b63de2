//! How the Keras importer reports: [`Diagnostic`]s, boxed so that results stay small.
//!
//! Every one says where (file, place in the file, layer), what was expected and found, and, where there is something,
//! what to do. They are collected, not thrown: a run lists every one that it can find.

use unfloat_ir::{Diagnostic, Location};

/// Result of a step that stops at its first problem.
pub(crate) type Outcome<T> = Result<T, Box<Diagnostic>>;

/// An error at a place of a file.
pub(crate) fn error(file: &str, place: impl Into<String>, message: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Location::file(file).at(place), message))
}

/// A warning at a place of a file.
pub(crate) fn warning(file: &str, place: impl Into<String>, message: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::warning(Location::file(file).at(place), message))
}

/// Additions to a boxed diagnostic.
pub(crate) trait Annotate {
    /// Adds what the user can do.
    fn with_help(self, help: impl Into<String>) -> Self;
    /// Adds the layer, as `name (Class)`.
    fn in_layer(self, layer: impl Into<String>) -> Self;
}

impl Annotate for Box<Diagnostic> {
    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
    fn in_layer(mut self, layer: impl Into<String>) -> Self {
        self.at.layer = layer.into();
        self
    }
}

/// Shortens text from a file for a message to 60 characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(60).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

/// Writes a shape as Keras prints it: `(3, 3, 1, 8)`, `(8,)`, `()`.
pub(crate) fn show_shape(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => {
            let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("({})", dims.join(", "))
        }
    }
}
