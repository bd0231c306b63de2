//! An architecture, written down in TOML, and a state dict: together a graph.
//!
//! In: the text of the architecture (`docs/pytorch-architecture.md` describes it) and the tensors of a checkpoint, whose
//! keys begin with the names of the layers. Out: a graph at stage `imported`, in PyTorch's own layouts, with each
//! module's arithmetic as PyTorch has it on a CPU. Refuses: kinds and parameters that the table does not know, keys that
//! are missing, keys that no layer uses, shapes that do not fit; every finding of a run is returned at once.
//!
//! | module | does |
//! |---|---|
//! | `spec` | text to layers |
//! | `kinds` | which kinds there are |
//! | `cx` | what a kind sees of its layer: parameters, tensors, operands |
//! | `layers` | one file per family of kinds |
//! | `lower` | layers to nodes |

mod cx;
mod kinds;
mod layers;
mod lower;
mod spec;

use unfloat_ir::{Diagnostic, Diagnostics, Graph, Severity};

use super::StateDict;

/// The text of an architecture.
pub struct ArchFile {
    /// The file's base name, for messages.
    pub label: String,
    /// The text.
    pub text: String,
}

/// A model as a graph.
#[derive(Debug)]
pub struct Imported {
    /// The graph, at stage `imported`.
    pub graph: Graph,
    /// What was assumed on the way.
    pub warnings: Vec<Diagnostic>,
}

/// The kinds of layers that [`import`] knows, each with its parameters and what becomes of it, sorted by name.
pub fn supported_kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    kinds::KINDS.iter().map(|k| (k.name, k.summary))
}

/// Makes a graph of an architecture and the tensors of a checkpoint.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn import(file: &ArchFile, state: &StateDict) -> Result<Imported, Diagnostics> {
    let mut findings = Vec::new();
    let graph = spec::read(file, &mut findings)
        .and_then(|spec| lower::lower(&file.label, &spec, state, &mut findings));
    match graph {
        Some(graph) if findings.iter().all(|f| f.severity != Severity::Error) => {
            unfloat_ir::verify::verify(&graph)?;
            Ok(Imported { graph, warnings: findings })
        }
        _ => Err(Diagnostics(findings)),
    }
}
