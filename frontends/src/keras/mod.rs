//! Keras models of every generation.
//!
//! In: the bytes of a whole-model `.h5` (Keras 1 to 3), a `.keras` archive, or a JSON architecture with a file of
//! weights. Out: a graph at stage `imported`, in the layouts of the file, with Keras' conventions turned into numbers:
//! padding is explicit, kernels are cross-correlations, Flatten's order is written out. Refuses: what the layer table
//! does not know, damaged files, weights that do not fit; every finding of a run is returned at once.
//!
//! | module | does |
//! |---|---|
//! | `container` | bytes to JSON, metadata, arrays |
//! | `config` | JSON to one typed form |
//! | `facts` | who wrote the file, and what follows |
//! | `weights` | which array belongs to which layer |
//! | `layers` | one file per family of layers |
//! | `quant` | the quantizers of QKeras, Larq and HGQ2 |
//! | `layer_map` | the user's own classes of layers |
//! | `lower` | layers to nodes |

mod config;
mod container;
mod facts;
mod layer_map;
mod layers;
mod lower;
mod problem;
mod quant;
mod version;
mod weights;

use unfloat_ir::{Diagnostic, Diagnostics, Graph};

use config::parse;
use container::{Opened, open};
use problem::{Annotate, error};

pub use container::ModelFile;
pub use layer_map::LayerMap;
pub use quant::larq::LarqWeights;
pub use version::Backend;

/// What the user says about a model.
#[derive(Clone, Debug, Default)]
pub struct KerasOptions {
    /// The library that the model was trained with; overrides what the file says.
    pub backend: Option<Backend>,
    /// What the weights of layers with Larq's quantizers are.
    pub larq_weights: Option<LarqWeights>,
    /// The user's own classes of layers.
    pub layer_map: LayerMap,
}

/// A model as a graph.
#[derive(Debug)]
pub struct Imported {
    /// The graph, at stage `imported`.
    pub graph: Graph,
    /// What was assumed on the way.
    pub warnings: Vec<Diagnostic>,
}

/// The classes of layers that [`import`] knows, each with what becomes of it, sorted by name.
pub fn supported_layers() -> impl Iterator<Item = (&'static str, &'static str)> {
    layers::registry::LAYERS.iter().map(|(class, _, summary)| (*class, *summary))
}

/// Reads a model. `model` holds the architecture, and the weights too unless `weights` is given.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn import(
    model: ModelFile,
    weights: Option<ModelFile>,
    options: &KerasOptions,
) -> Result<Imported, Diagnostics> {
    let mut findings = Vec::new();
    let label = model.label.clone();
    let graph = read(model, weights, options, &mut findings);
    let failed = findings.iter().any(|finding| finding.severity == unfloat_ir::Severity::Error);
    match graph {
        Some(graph) if !failed => {
            unfloat_ir::verify::verify(&graph)?;
            Ok(Imported { graph, warnings: merge(findings) })
        }
        _ => {
            if !failed {
                findings.push(*error(&label, "", "the model has no result that can be computed"));
            }
            Err(Diagnostics(findings))
        }
    }
}

/// One finding for all layers that would say the same: a half-precision model says it at every layer.
fn merge(findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut merged: Vec<(Diagnostic, usize)> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|(first, _)| first.message == finding.message) {
            Some((_, others)) => *others += 1,
            None => merged.push((finding, 0)),
        }
    }
    let count = |(mut finding, others): (Diagnostic, usize)| {
        if others > 0 {
            finding.message = format!("{} (and {others} more layers)", finding.message);
        }
        finding
    };
    merged.into_iter().map(count).collect()
}

fn read(
    model: ModelFile,
    weights: Option<ModelFile>,
    options: &KerasOptions,
    findings: &mut Vec<Diagnostic>,
) -> Option<Graph> {
    let label = model.label.clone();
    let (mut opened, stored) = (open_into(model, findings), weights.map(|file| open_weights(file, findings)));
    let separate = stored.is_some();
    let stored = stored.flatten();
    let opened = opened.as_mut()?;
    let Some(architecture) = opened.architecture.take() else {
        findings.push(
            *error(&label, "", "the file holds weights only, no architecture")
                .with_help("give the JSON of `model.to_json()` as the model and this file with --weights"),
        );
        return None;
    };
    let generation = facts::generation_of(&opened.metadata, &architecture.json);
    let mut model = match parse::parse(&label, &architecture.place, architecture.json, generation) {
        Ok(model) => model,
        Err(problems) => {
            findings.extend(problems);
            return None;
        }
    };
    options.layer_map.apply(&label, &mut model, findings);
    let (facts, found) =
        facts::gather(&label, &opened.metadata, stored.as_ref(), generation, &model, options);
    findings.extend(found);
    let prepared = layers::prepare(&label, &facts, &model, findings);
    let source = if separate { stored.and_then(|file| file.weights) } else { opened.weights.take() };
    let owners = prepared.as_ref().map(|prepared| layers::owners(&model, prepared, &[]));
    // A model of poolings and activations alone needs none.
    let needed = owners.as_ref().is_none_or(|owners| weights::needed(owners) > 0);
    if source.is_none() && !separate && needed {
        findings.push(
            *error(&label, "", "the file holds an architecture without weights")
                .with_help("give the file of weights with --weights"),
        );
    }
    let assigned = match (&source, &owners) {
        (Some(source), Some(owners)) => weights::assign(source, owners, !separate),
        _ => weights::Assigned::default(),
    };
    let prepared = prepared?;
    findings.extend(assigned.findings);
    Some(lower::lower(&label, &facts, source.as_ref(), &assigned.arrays, &model, &prepared, findings))
}

fn open_into(file: ModelFile, findings: &mut Vec<Diagnostic>) -> Option<Opened> {
    open(file).map_err(|problem| findings.push(*problem)).ok()
}

fn open_weights(file: ModelFile, findings: &mut Vec<Diagnostic>) -> Option<Opened> {
    let label = file.label.clone();
    let opened = open_into(file, findings)?;
    if opened.weights.is_none() {
        findings.push(*error(&label, "", "the file given as weights holds none"));
        return None;
    }
    Some(opened)
}
