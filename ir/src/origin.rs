//! Where a node came from.

use std::fmt;
use std::sync::Arc;

/// The place in a source file that a node was made from. Every pass keeps it; errors, reports, emitted
/// comments and manifests cite it.
///
/// Printed as `@keras("model.h5", "model_weights/conv1", "conv1 (Conv2D)")`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Origin {
    /// The kind of source, `keras`, `onnx`, `pytorch`, `uir`; empty for nodes with no source.
    pub format: Arc<str>,
    /// The file's base name; never a path, so that outputs do not depend on where a model lay.
    pub file: Arc<str>,
    /// The place inside the file, as its own tools would name it.
    pub place: Arc<str>,
    /// The framework's name of the layer, and its class.
    pub layer: Arc<str>,
}

impl Origin {
    /// An origin from its four parts.
    pub fn new(format: &str, file: &str, place: &str, layer: &str) -> Self {
        Self { format: format.into(), file: file.into(), place: place.into(), layer: layer.into() }
    }
    /// Whether the node has no known source.
    pub fn is_unknown(&self) -> bool {
        self.format.is_empty()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unknown() {
            f.write_str("unknown origin")
        } else {
            write!(f, "{}: {}", self.file, self.layer)
        }
    }
}
