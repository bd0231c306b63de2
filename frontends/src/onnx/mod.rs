//! ONNX models: opset 6 to the newest, any IR version, QONNX and quantized operators included.
//!
//! In: a model file, the files beside it if its tensors lie there. Out: a graph at stage `imported`, in the layouts of
//! the file, with ONNX' conventions turned into numbers: padding is explicit, computed shapes are folded away,
//! quantizers stand as typed values. Refuses: operators that the registry does not know (control flow, sequences,
//! strings, random numbers), shapes that are not known, damaged files; every finding of a run is returned at once.
//!
//! | module | does |
//! |---|---|
//! | `proto` | bytes to messages |
//! | `tensor`, `external`, `dtype` | messages to tensors |
//! | `model`, `functions` | messages to an ordered list of nodes |
//! | `inputs` | which axis is the batch; what each input is |
//! | `ops` | one file per family of operators |
//! | `lower`, `cx`, `value` | nodes of the file to nodes of the graph |

mod cx;
mod dtype;
mod external;
mod functions;
mod inputs;
mod lower;
mod model;
mod ops;
mod problem;
mod proto;
mod tensor;
mod value;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};

use unfloat_ir::{Diagnostic, Diagnostics, Graph, Severity, Tensor};

use external::Files;
use lower::Lowered;
use problem::{Annotate, error, warning};

pub use external::{NoSiblings, Siblings};

/// A file, or bytes in memory.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A model file.
pub struct OnnxFile {
    /// The file's base name, for messages and origins.
    pub label: String,
    /// The file itself. It is read in order, and twice where the graph must be kept whole.
    pub source: Box<dyn ReadSeek>,
}

impl OnnxFile {
    /// A model in memory.
    pub fn from_bytes(label: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { label: label.into(), source: Box::new(Cursor::new(bytes)) }
    }
}

/// Which axis of the inputs counts samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BatchAxis {
    /// The first, if all inputs have it and no node mixes it with others; otherwise none.
    #[default]
    Auto,
    /// The first; a node that mixes it is an error.
    First,
    /// None: the whole graph is one sample.
    None,
}

/// What the user says about a model.
#[derive(Clone, Debug, Default)]
pub struct OnnxOptions {
    /// Which axis of the inputs counts samples.
    pub batch: BatchAxis,
    /// Extents of axes that the model leaves open, by its name for them, or by `INPUT.AXIS`.
    pub dims: BTreeMap<String, usize>,
    /// Values of inputs that are to be constants.
    pub values: BTreeMap<String, Tensor>,
}

/// A model as a graph.
#[derive(Debug)]
pub struct Imported {
    /// The graph, at stage `imported`.
    pub graph: Graph,
    /// Whether the model's first axis is the batch, and not an axis of the graph.
    pub batched: bool,
    /// What was assumed on the way.
    pub warnings: Vec<Diagnostic>,
}

/// The operators that [`import`] knows: domain, name, and what becomes of it; sorted.
pub fn supported_operators() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    ops::registry::OPERATORS.iter().map(|(domain, name, _, summary)| (*domain, *name, *summary))
}

/// Reads a model.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn import(
    mut file: OnnxFile,
    siblings: &dyn Siblings,
    options: &OnnxOptions,
) -> Result<Imported, Diagnostics> {
    let mut findings = Vec::new();
    let graph = read(&mut file, siblings, options, &mut findings);
    let failed = findings.iter().any(|found| found.severity == Severity::Error);
    match graph {
        Some((graph, batched)) if !failed => {
            unfloat_ir::verify::verify(&graph).map_err(|found| about(&file.label, found))?;
            Ok(Imported { graph, batched, warnings: merge(findings) })
        }
        _ => {
            if !failed {
                findings.push(*error(&file.label, "", "the model has no result that can be computed"));
            }
            Err(Diagnostics(merge(findings)))
        }
    }
}

/// What is wrong with a graph, as findings about the file. Values that are wrong in the same way, as all behind one that
/// is too large are, make one finding.
fn about(label: &str, found: Diagnostics) -> Diagnostics {
    // The message is "value `x`: has ...": what follows the name is the same for all.
    let fault = |message: &str| message.split_once("`: ").map_or(message, |(_, fault)| fault).to_string();
    let mut kept: Vec<(String, Diagnostic, usize)> = Vec::new();
    for mut finding in found.0 {
        if finding.at.file.is_empty() {
            finding.at.file = label.to_string();
        }
        let fault = fault(&finding.message);
        match kept.iter_mut().find(|(first, ..)| *first == fault) {
            Some((.., others)) => *others += 1,
            None => kept.push((fault, finding, 0)),
        }
    }
    let finished = kept.into_iter().map(|(_, mut finding, others)| {
        if others > 0 {
            finding.message = format!("{} (and {others} more values)", finding.message);
        }
        finding
    });
    Diagnostics(finished.collect())
}

/// A tensor of a model as the file has it, an initializer or what a `Constant` gives, in the file's own layout; nothing when it has none of that name. Halves and
/// doubles are single precision.
///
/// # Errors
/// Why the file, or this tensor of it, cannot be read.
pub fn initializer(
    mut file: OnnxFile,
    siblings: &dyn Siblings,
    name: &str,
) -> Result<Option<Tensor>, Diagnostics> {
    let fault = |place: &str, message| Diagnostics::from(*error(&file.label, place, message));
    let (model, later) = proto::decode(&mut file.source).map_err(|message| fault("", message))?;
    let graph = model.graph.unwrap_or_default();
    let constants = graph.node.into_iter().filter(|n| n.op_type() == "Constant" && n.domain().is_empty());
    let named = constants.filter(|n| n.output.first().is_some_and(|output| output == name));
    let values = named.flat_map(|n| n.attribute).filter(|a| a.name() == "value").filter_map(|a| a.t);
    let mut tensors = graph.initializer.into_iter().filter(|t| t.name() == name).chain(values);
    let Some(mut found) = tensors.next() else { return Ok(None) };
    let files = Files { own: RefCell::new(&mut *file.source), later, siblings };
    match tensor::decode(&mut found, &files) {
        Ok(decoded) => Ok(Some(decoded.tensor)),
        Err(message) => Err(fault(&format!("initializer {}", problem::clip(name)), message)),
    }
}

fn read(
    file: &mut OnnxFile,
    siblings: &dyn Siblings,
    options: &OnnxOptions,
    findings: &mut Vec<Diagnostic>,
) -> Option<(Graph, bool)> {
    let (mut model, later) = open(file, findings)?;
    let known = ops::registry::check(&file.label, &model.nodes, findings);
    let batch = inputs::detect(&file.label, &model, options, findings)?;
    let found = findings.len();
    let label = file.label.clone();
    let files = Files { own: RefCell::new(&mut *file.source), later, siblings };
    if !known {
        // The rest is read all the same, so that the user hears of everything at once.
        lower::lower(&label, &mut model, batch, options, &files, findings);
        return None;
    }
    match lower::lower(&label, &mut model, batch, options, &files, findings) {
        Lowered::Graph(graph) => return Some((*graph, batch.is_some())),
        Lowered::Mixes(mixes) if options.batch == BatchAxis::First || batch.is_none() => {
            findings.push(*mixes.with_help("read the whole graph as one sample, with --batch none"));
            return None;
        }
        Lowered::Mixes(mixes) => {
            findings.truncate(found);
            let text = format!("{}; the graph is kept whole, as one sample", mixes.message);
            findings.push(*warning(&label, mixes.at.place, text).in_layer(mixes.at.layer));
        }
    }
    // The tensors were taken out of the model while it was lowered; it is read once more.
    let (mut model, later) = open(file, findings)?;
    let files = Files { own: RefCell::new(&mut *file.source), later, siblings };
    match lower::lower(&label, &mut model, None, options, &files, findings) {
        Lowered::Graph(graph) => Some((*graph, false)),
        Lowered::Mixes(mixes) => {
            findings.push(*mixes);
            None
        }
    }
}

fn open(file: &mut OnnxFile, findings: &mut Vec<Diagnostic>) -> Option<(model::Model, proto::Later)> {
    match proto::decode(&mut file.source) {
        Ok((decoded, later)) => Some((model::read(&file.label, decoded, findings)?, later)),
        Err(message) => {
            findings.push(*error(&file.label, "", message));
            None
        }
    }
}

/// One finding for all nodes that would say the same.
fn merge(findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut merged: Vec<(Diagnostic, usize)> = Vec::new();
    for finding in findings {
        let known = merged
            .iter_mut()
            .find(|(first, _)| first.message == finding.message && first.severity == finding.severity);
        match known {
            Some((_, others)) => *others += 1,
            None => merged.push((finding, 0)),
        }
    }
    let count = |(mut finding, others): (Diagnostic, usize)| {
        if others > 0 {
            finding.message = format!("{} (and {others} more nodes)", finding.message);
        }
        finding
    };
    merged.into_iter().map(count).collect()
}
