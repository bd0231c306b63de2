//! How the ONNX importer reports: [`Diagnostic`]s, boxed so that results stay small, and the reasons for which an
//! operator's handler stops.

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
    /// Adds the node, as `name (Op)`.
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

/// Shortens text from a file for a message to 60 characters, and escapes its control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(60) {
        // A line break in a name would look like the end of the message.
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

/// Why a handler stops.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The node is wrong, or is not supported.
    Wrong {
        /// What was expected and found.
        message: String,
        /// What to do.
        help: String,
    },
    /// The node computes across samples, so the graph has to be kept whole.
    Mixes(String),
}

impl Fault {
    /// The node is wrong, with advice.
    pub(crate) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Fault::Wrong { message: message.into(), help: help.into() }
    }
    /// The node computes across samples.
    pub(crate) fn mixes(how: impl Into<String>) -> Self {
        Fault::Mixes(how.into())
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Wrong { message, help: String::new() }
    }
}
impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        message.to_string().into()
    }
}
impl From<unfloat_ir::OpError> for Fault {
    fn from(error: unfloat_ir::OpError) -> Self {
        error.0.into()
    }
}
impl From<Diagnostic> for Fault {
    fn from(found: Diagnostic) -> Self {
        found.message.into()
    }
}

/// Result of a handler.
pub(crate) type Handled<T> = Result<T, Fault>;
