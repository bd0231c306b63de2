//! What the Keras importer reports.
//!
//! A [`Problem`] says where (file, place in the file, layer) and what, and, where there is one, what to do about it.
//! Problems are collected, not thrown: a run lists every one that it can find.

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The model is not imported.
    Error,
    /// The model is imported; the text says what was assumed.
    Warning,
}

/// One finding about an input file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Label (base name) of the file; filled in by the container or the driver.
    pub file: String,
    /// Where in the file: an HDF5 path, a zip member, or a path into the JSON (`config.layers[3]`).
    pub place: String,
    /// Layer as `name (Class)`, when one is concerned.
    pub layer: Option<String>,
    /// What is wrong: expected, found.
    pub message: String,
    /// What the user can do.
    pub help: Option<String>,
}

/// Result of a step that stops at its first problem.
pub(crate) type Outcome<T> = Result<T, Box<Problem>>;

impl Problem {
    /// An error without a layer.
    pub fn error(file: &str, place: impl Into<String>, message: impl Into<String>) -> Box<Problem> {
        Box::new(Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            place: place.into(),
            layer: None,
            message: message.into(),
            help: None,
        })
    }

    /// A warning without a layer.
    pub fn warning(file: &str, place: impl Into<String>, message: impl Into<String>) -> Box<Problem> {
        let mut problem = Problem::error(file, place, message);
        problem.severity = Severity::Warning;
        problem
    }

    /// Adds what the user can do.
    pub fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Problem> {
        self.help = Some(help.into());
        self
    }

    /// Adds the layer.
    pub fn layer(mut self: Box<Self>, layer: impl Into<String>) -> Box<Problem> {
        self.layer = Some(layer.into());
        self
    }
}

/// Shortens text from a file for a message: control characters become spaces and the rest is cut after 60 characters.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
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
