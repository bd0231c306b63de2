//! How readers of datasets report, and what they may open.
//!
//! In: paths, places, the system's reasons. Out: findings that name file and place. Refuses: what is no regular file.

use std::io;
use std::path::Path;
use unfloat_ir::{Diagnostic, Location};

/// An error at a place of a file.
pub(crate) fn error(path: &Path, place: impl Into<String>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(path.display().to_string()).at(place), message)
}

/// An error of the system.
pub(crate) fn io_error(path: &Path, fault: &io::Error) -> Diagnostic {
    error(path, "", format!("cannot be read: {fault}"))
}

/// Refuses devices and pipes, which may never end.
pub(crate) fn check_regular(path: &Path) -> Result<(), Diagnostic> {
    let kind = std::fs::metadata(path).map_err(|e| io_error(path, &e))?.file_type();
    match kind.is_file() {
        true => Ok(()),
        false => Err(error(path, "", "expected a file, found a directory, a device or a pipe")),
    }
}

/// The names in a folder that are text, sorted.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| io_error(path, &e))? {
        names.extend(entry.map_err(|e| io_error(path, &e))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Shortens text from a file for a message to 80 characters, and escapes its control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(shown).collect();
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

fn shown(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}
