//! Errors and warnings that say where, what was expected and what to do.

use crate::origin::Origin;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The work goes on, but a person should know.
    Warning,
    /// The work stops.
    Error,
}

/// Where in the user's material something is. Empty parts are left out of the text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Location {
    /// The file's base name.
    pub file: String,
    /// The place inside the file: an HDF5 path, a JSON path, a byte offset, a line.
    pub place: String,
    /// The layer, with its class.
    pub layer: String,
}

impl Location {
    /// A location in a file.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
    /// The same location at a place inside the file.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }
    /// The same location in a layer.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = layer.into();
        self
    }
}

impl From<&Origin> for Location {
    fn from(origin: &Origin) -> Self {
        Self {
            file: origin.file.to_string(),
            place: origin.place.to_string(),
            layer: origin.layer.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = if self.layer.is_empty() { String::new() } else { format!("layer {}", self.layer) };
        let parts = [self.file.as_str(), self.place.as_str(), layer.as_str()];
        let mut first = true;
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            write!(f, "{}{part}", if first { "" } else { ": " })?;
            first = false;
        }
        Ok(())
    }
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub at: Box<Location>,
    /// What was expected and what was found.
    pub message: String,
    /// What to do about it; empty when there is nothing to say.
    pub help: String,
}

impl Diagnostic {
    /// An error.
    pub fn error(at: impl Into<Location>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            at: Box::new(at.into()),
            message: message.into(),
            help: String::new(),
        }
    }
    /// A warning.
    pub fn warning(at: impl Into<Location>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, message) }
    }
    /// The same finding with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// Text from a file is shown as it is, but for control characters, which could rewrite a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        // A place is one line, whatever the names in it are.
        let at = self.at.to_string().replace('\n', "\u{fffd}");
        let colon = if at.is_empty() { "" } else { ": " };
        write!(f, "{head}: {}{colon}{}", printable(&at), printable(&self.message))?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", printable(&self.help))?;
        }
        Ok(())
    }
}

/// All findings of one step: a user sees everything wrong at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// No findings.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a finding.
    pub fn push(&mut self, finding: Diagnostic) {
        self.0.push(finding);
    }
    /// Whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
    /// `value` when there is no error, else all the findings.
    pub fn into_result<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.has_errors() { Err(self) } else { Ok(value) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(finding: Diagnostic) -> Self {
        Self(vec![finding])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, findings: I) {
        self.0.extend(findings);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.0.iter().enumerate() {
            write!(f, "{}{finding}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_file_place_and_layer() {
        let d = Diagnostic::error(Location::file("m.h5").at("model_config").layer("a (Dense)"), "bad")
            .help("mend it");
        assert_eq!(d.to_string(), "error: m.h5: model_config: layer a (Dense): bad\n  help: mend it");
        let forged = Diagnostic::error(Location::file("m.h5").layer("a\nwarning: b (Dense)"), "bad");
        assert_eq!(forged.to_string(), "error: m.h5: layer a\u{fffd}warning: b (Dense): bad");
        assert_eq!(
            Diagnostic::warning(Location::default(), "x\u{1b}[2J").to_string(),
            "warning: x\u{fffd}[2J"
        );
    }
}
