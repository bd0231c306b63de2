//! How the readers of checkpoints report.

use unfloat_ir::{Diagnostic, Location};

/// An error at a place of a file.
pub(crate) fn error(file: &str, place: impl Into<String>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(file).at(place), message)
}

/// A warning about a file.
pub(crate) fn warning(file: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::warning(Location::file(file), message)
}

/// Shortens text from a file for a message to 80 characters, and escapes its control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(80) {
        // A line break in a name would look like the end of the message.
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}
