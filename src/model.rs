//! Whatever a user can name: a model file, a `.uir`, an artefact directory.

use crate::cli::{Import, KerasBackend};
use crate::output::{during, fault, show};
use crate::samples::{self, Batch, read_file};
use crate::uir;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use unfloat_backends::{Backend, Manifest, backend};
use unfloat_exec::reference::{evaluate, evaluate_all};
use unfloat_exec::{Plan, PlanOptions};
use unfloat_frontends::keras::{self, KerasOptions, ModelFile};
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, Graph, Layout, Location, Stage, Tensor, TensorType, ValueId,
};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};
use unfloat_passes::validate::compare;

/// Something that computes.
pub enum Subject {
    /// A graph, for the native executor.
    Graph(Graph),
    /// What was emitted, run as it is.
    Artefact(Artefact),
}

impl Subject {
    /// Opens a model file, a `.uir` or an artefact directory.
    pub fn open(path: &Path, import: &Import) -> Result<Self, Diagnostics> {
        if path.is_dir() {
            return Artefact::open(path, None).map(Subject::Artefact);
        }
        load_graph(path, import).map(Subject::Graph)
    }

    /// Names and types of the inputs.
    pub fn input_types(&self) -> Vec<(String, TensorType)> {
        match self {
            Subject::Graph(graph) => samples::input_types(graph),
            Subject::Artefact(artefact) => artefact.inputs.clone(),
        }
    }

    /// Names and types of the outputs.
    pub fn output_types(&self) -> Vec<(String, TensorType)> {
        match self {
            Subject::Graph(graph) => samples::output_types(graph),
            Subject::Artefact(artefact) => artefact.outputs.clone(),
        }
    }

    /// Pseudo-random samples for the inputs.
    pub fn random(&self, count: usize) -> Batch {
        samples::random(&self.input_types(), count, samples::SEED)
    }

    /// Runs samples: in the fast executor, in the reference evaluator where a value is no float, or as emitted.
    pub fn run(&self, inputs: &Batch, threads: usize) -> Result<Batch, Diagnostics> {
        let data = match self {
            Subject::Graph(graph) => {
                samples::check_float_ports(graph)?;
                let graph = prepared(graph)?;
                if !Plan::takes(&graph) {
                    return during("running the samples", || by_reference(&graph, inputs));
                }
                let plan = Plan::new(&graph, &PlanOptions::default())?;
                during("running the samples", || plan.run(&inputs.slices(), inputs.count, threads))?
            }
            Subject::Artefact(artefact) => {
                let what = format!("compiling and running the emitted {}", artefact.backend.info().name);
                during(&what, || artefact.run(inputs))?
            }
        };
        Ok(Batch { count: inputs.count, data })
    }

    /// Runs samples in the reference evaluator.
    pub fn run_reference(&self, inputs: &Batch) -> Result<Batch, Diagnostics> {
        let Subject::Graph(graph) = self else {
            return Err(fault("--reference needs a model or a .uir, not an artefact directory").into());
        };
        samples::check_float_ports(graph)?;
        by_reference(graph, inputs)
    }
}

/// Runs samples of a graph with float ports by each op's own evaluation.
fn by_reference(graph: &Graph, inputs: &Batch) -> Result<Batch, Diagnostics> {
    let mut data = vec![Vec::new(); graph.outputs().len()];
    for sample in 0..inputs.count {
        for (to, tensor) in data.iter_mut().zip(evaluate(graph, &tensors(graph, inputs, sample))?) {
            to.extend_from_slice(tensor.as_f32().unwrap_or(&[]));
        }
    }
    Ok(Batch { count: inputs.count, data })
}

/// A directory that `convert` made.
pub struct Artefact {
    dir: PathBuf,
    backend: &'static dyn Backend,
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<(String, TensorType)>,
}

impl Artefact {
    /// Opens a directory, to be run by the backend of that name or by the first that wrote to it.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<Self, Diagnostics> {
        let manifest = Manifest::read(dir)?;
        let name = name.or(manifest.backends.keys().next().map(String::as_str)).ok_or_else(|| {
            let at = Location::file(dir.display().to_string());
            Diagnostic::error(at, "holds nothing that can be run").help("convert with --emit cpp")
        })?;
        let ports = |ports: &[unfloat_backends::Port]| {
            let ty = |p: &unfloat_backends::Port| {
                let layout = Layout::new(&p.layout).filter(|l| l.rank() == p.shape.len());
                let fault = || {
                    fault(format!(
                        "{}: manifest.json: `{}` is {} {:?} {}",
                        dir.display(),
                        p.name,
                        p.elem,
                        p.shape,
                        p.layout
                    ))
                };
                match (p.elem.as_str(), layout) {
                    ("f32", Some(layout)) => Ok((p.name.clone(), TensorType::f32(p.shape.clone(), layout))),
                    _ => Err(fault()),
                }
            };
            ports.iter().map(ty).collect::<Result<Vec<_>, _>>()
        };
        let (inputs, outputs) = (ports(&manifest.inputs)?, ports(&manifest.outputs)?);
        Ok(Self { dir: dir.to_path_buf(), backend: backend::find(name)?, inputs, outputs })
    }

    fn run(&self, inputs: &Batch) -> Result<Vec<Vec<f32>>, Diagnostics> {
        let sample = |s: usize| {
            let one = |((_, ty), data): (&(String, TensorType), &Vec<f32>)| {
                let len = ty.shape.num_elements();
                Tensor { data: Data::F32(data[s * len..(s + 1) * len].to_vec()), ty: ty.clone() }
            };
            self.inputs.iter().zip(&inputs.data).map(one).collect()
        };
        let samples: Vec<Vec<Tensor>> = (0..inputs.count).map(sample).collect();
        let mut data = vec![Vec::new(); self.outputs.len()];
        for results in self.backend.replay(&self.dir, &samples)? {
            for (to, tensor) in data.iter_mut().zip(results) {
                to.extend_from_slice(tensor.as_f32().unwrap_or(&[]));
            }
        }
        Ok(data)
    }
}

/// One sample of a batch as tensors for a graph.
fn tensors(graph: &Graph, inputs: &Batch, sample: usize) -> Vec<Tensor> {
    let one = |(&v, data): (&ValueId, &Vec<f32>)| {
        let ty = graph.ty(v).clone();
        let len = ty.shape.num_elements();
        Tensor { data: Data::F32(data[sample * len..(sample + 1) * len].to_vec()), ty }
    };
    graph.inputs().iter().zip(&inputs.data).map(one).collect()
}

/// Threads when the user names no number: one per core.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The kinds of files that are told apart by their first bytes.
enum Kind {
    Hdf5,
    Zip,
    Json,
    Uir,
}

fn kind(bytes: &[u8]) -> Option<Kind> {
    let text = bytes.trim_ascii_start();
    match bytes {
        _ if bytes.starts_with(b"\x89HDF\r\n\x1a\n") => Some(Kind::Hdf5),
        _ if bytes.starts_with(b"PK\x03\x04") => Some(Kind::Zip),
        _ if text.starts_with(b"{") || text.starts_with(b"[") || text.starts_with(b"\"") => Some(Kind::Json),
        _ if text.starts_with(b"uir ") || text.starts_with(b"//") => Some(Kind::Uir),
        _ => None,
    }
}

/// Reads a model file or a `.uir`. Warnings are shown.
pub fn load_graph(path: &Path, import: &Import) -> Result<Graph, Diagnostics> {
    load(path, import).map(|(graph, _)| graph)
}

/// Reads a model file or a `.uir`, and tells which files were read: base names, sizes, hashes.
pub fn load_with_source(path: &Path, import: &Import) -> Result<(Graph, Value), Diagnostics> {
    load(path, import).map(|(graph, files)| (graph, Value::Array(files)))
}

fn load(path: &Path, import: &Import) -> Result<(Graph, Vec<Value>), Diagnostics> {
    if path.is_dir() {
        return Err(fault(format!("{}: expected a model file, found a directory", path.display())).into());
    }
    let bytes = read_file(path)?;
    let mut files = vec![described(path, &bytes)];
    let mut found = Diagnostics::new();
    if let Some(fault) = kind_fault(path, &bytes) {
        found.push(fault);
    }
    let weights = import.weights.as_ref().map(|path| read_file(path).map(|bytes| file(path, bytes)));
    let weights = match weights.transpose() {
        Ok(weights) => weights.inspect(|w| files.push(described(Path::new(&w.label), &w.bytes))),
        Err(e) => {
            found.push(e);
            None
        }
    };
    found.into_result(())?;
    if matches!(kind(&bytes), Some(Kind::Uir)) {
        return Ok((uir::read(path)?, files));
    }
    let backend = import.keras_backend.map(|b| match b {
        KerasBackend::Tensorflow => keras::Backend::TensorFlow,
        KerasBackend::Theano => keras::Backend::Theano,
    });
    let imported = keras::import(file(path, bytes), weights, &KerasOptions { backend })?;
    show(&Diagnostics(imported.warnings));
    Ok((imported.graph, files))
}

fn described(path: &Path, bytes: &[u8]) -> Value {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    json!({ "file": name, "bytes": bytes.len(), "sha256": format!("{:x}", Sha256::digest(bytes)) })
}

fn kind_fault(path: &Path, bytes: &[u8]) -> Option<Diagnostic> {
    let at = || Location::file(path.display().to_string());
    let help = "Keras .h5 and .keras files, Keras JSON with --weights, and .uir are read";
    if bytes.is_empty() {
        return Some(Diagnostic::error(at(), "the file is empty").help(help));
    }
    kind(bytes).is_none().then(|| {
        let head: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Diagnostic::error(at(), format!("not a model that is known here: it begins with {}", head.join(" ")))
            .help(help)
    })
}

fn file(path: &Path, bytes: Vec<u8>) -> ModelFile {
    let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    ModelFile { label, bytes }
}

/// The graph after the passes that lead to a stage.
pub fn at_stage(mut graph: Graph, stage: Stage) -> Result<Graph, Diagnostics> {
    if graph.stage < stage && stage > Stage::Imported {
        let mut warnings = Diagnostics::new();
        run_pipeline(&mut graph, &pipeline("import")?, &RunOptions::default(), &mut warnings)?;
        show(&warnings);
    }
    if graph.stage < stage {
        return Err(fault(format!("no pipeline leads to stage `{stage}` yet")).into());
    }
    Ok(graph)
}

/// A graph as the executor likes it: channels last, constants folded.
fn prepared(graph: &Graph) -> Result<Graph, Diagnostics> {
    at_stage(graph.clone(), Stage::Folded)
}

/// Where two graphs first differ: evaluates both by reference on the first sample and compares values of equal
/// names, in the first graph's order, whatever the order of their axes. Nothing when no such value differs.
pub fn first_difference(
    a: &Graph,
    b: &Graph,
    inputs: &Batch,
    tolerance: f64,
) -> Result<Option<String>, Diagnostics> {
    if inputs.count == 0 {
        return Ok(None);
    }
    let left = evaluate_all(a, &tensors(a, inputs, 0))?;
    let right = evaluate_all(b, &tensors(b, inputs, 0))?;
    for (_, node) in a.live_nodes() {
        let value = a.value(node.output);
        let twin = b.live_nodes().map(|(_, n)| n.output).find(|&v| b.value(v).name == value.name);
        let (Some(x), Some(y)) = (left.get(node.output), twin.and_then(|v| right.get(v))) else { continue };
        let axes = match x.ty.layout.permutation_to(&y.ty.layout) {
            Some(axes) => axes,
            None if x.ty.shape == y.ty.shape => (0..x.ty.rank()).collect(),
            None => continue,
        };
        let seen = compare(x, y, &axes);
        if seen.max_abs > tolerance * seen.magnitude.max(1.0) {
            return Ok(Some(format!(
                "the first value that differs is `{}`, {} ({}): by {:.3e}\n",
                value.name, value.ty, node.origin, seen.max_abs
            )));
        }
    }
    Ok(None)
}

/// The name of a model for emitted code: the file's stem.
pub fn default_name(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    path.file_stem().map_or("model".to_string(), |s| s.to_string_lossy().into_owned())
}
