//! Something that computes: a graph from a model file or a `.uir`, or an artefact directory.

use crate::checkpoint;
use crate::cli::{Import, Quantization};
use crate::load::{load_graph, misplaced_for_artefact};
use crate::output::{during, fault, show};
use crate::quantization::Request;
use crate::samples::{self, Batch};
use std::path::{Path, PathBuf};
use unfloat_backends::{Backend, Manifest, SelfCheck, registry};
use unfloat_exec::reference::{evaluate, evaluate_all};
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, ElemType, Graph, Layout, Location, Stage, Tensor, TensorType,
};
use unfloat_passes::analysis::memory;
use unfloat_passes::audit::is_integer;
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};
use unfloat_passes::report::Report;
use unfloat_passes::validate::compare;

/// Bytes of pseudo-random samples and what comes of them, unless one sample has more.
const RANDOM_BYTES: u64 = 256 << 20;
/// Bytes of samples and what comes of them.
const MAX_BATCH_BYTES: u64 = 8 << 30;

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
        if path.is_dir() && checkpoint::recognise(path)?.is_none() {
            if !path.join("manifest.json").exists() {
                return Err(checkpoint::useless_folder(path).into());
            }
            misplaced_for_artefact(import).into_result(())?;
            return Artefact::open(path, None).map(Subject::Artefact);
        }
        let graph = load_graph(path, import)?;
        memory::check(&graph)?;
        Ok(Subject::Graph(graph))
    }

    /// As [`Subject::open`]; a graph is quantized, if that is asked for.
    pub fn open_quantized(
        path: &Path,
        import: &Import,
        quantization: &Quantization,
    ) -> Result<Self, Diagnostics> {
        let request = Request::of(quantization)?;
        match (request, Self::open(path, import)?) {
            (None, subject) => Ok(subject),
            (Some(request), Subject::Graph(graph)) => {
                Ok(Subject::Graph(request.apply(at_stage(graph, Stage::Folded)?)?.graph))
            }
            (Some(_), Subject::Artefact(_)) => {
                Err(fault(format!("{}: what was emitted cannot be quantized any more", path.display()))
                    .help("quantize the model that it was made of")
                    .into())
            }
        }
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

    /// Pseudo-random samples for the inputs: `count`, or fewer of them, at least one, where they are large.
    pub fn random(&self, count: usize) -> Batch {
        let affordable = RANDOM_BYTES / self.port_bytes().max(1);
        let count = count.min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1);
        samples::random(&self.input_types(), count, samples::SEED)
    }

    /// Bytes of one sample's inputs and outputs.
    fn port_bytes(&self) -> u64 {
        let types = self.input_types().into_iter().chain(self.output_types());
        let bytes = |ty: TensorType| (ty.shape.num_elements() as u64).saturating_mul(4);
        types.map(|(_, ty)| bytes(ty)).fold(0, u64::saturating_add)
    }

    /// Refuses samples whose results would need too much memory, however few bytes hold the samples themselves.
    fn check_room(&self, inputs: &Batch) -> Result<(), Diagnostics> {
        let bytes = self.port_bytes().saturating_mul(inputs.count as u64);
        if bytes <= MAX_BATCH_BYTES {
            return Ok(());
        }
        let gib = |b: u64| b as f64 / (1u64 << 30) as f64;
        let text = format!(
            "{} samples with their outputs need {:.1} GiB, more than the {:.0} GiB that are allowed",
            inputs.count,
            gib(bytes),
            gib(MAX_BATCH_BYTES)
        );
        Err(fault(text).help("split the samples over several runs").into())
    }

    /// Runs samples: in the fast executor, in the reference evaluator where floats and integers mix, or as emitted.
    pub fn run(&self, inputs: &Batch, threads: usize) -> Result<Batch, Diagnostics> {
        self.check_room(inputs)?;
        let runner = self.runner(inputs.count.max(1))?;
        let what = match self {
            Subject::Graph(_) => "running the samples".to_string(),
            Subject::Artefact(artefact) => {
                let name = artefact.backend.info().name;
                match artefact.backend.wants_quantizers() {
                    true => format!("importing and running the emitted {name}"),
                    false => format!("compiling and running the emitted {name}"),
                }
            }
        };
        during(&what, || runner.run(inputs, threads)).map(|data| inputs.answered(data))
    }

    /// What runs batches of at most `max_batch` samples, one after the other.
    pub fn runner(&self, max_batch: usize) -> Result<Runner<'_>, Diagnostics> {
        let graph = match self {
            Subject::Graph(graph) => prepared(graph)?,
            Subject::Artefact(artefact) => return Ok(Runner::Artefact(artefact)),
        };
        if !Plan::takes(&graph) {
            return Ok(Runner::Reference(graph));
        }
        let options = PlanOptions { max_batch, ..PlanOptions::default() };
        Ok(Runner::Plan(Plan::new(&graph, &options)?))
    }

    /// Runs samples in the reference evaluator.
    pub fn run_reference(&self, inputs: &Batch) -> Result<Batch, Diagnostics> {
        let Subject::Graph(graph) = self else {
            return Err(fault("--reference needs a model or a .uir, not an artefact directory").into());
        };
        self.check_room(inputs)?;
        by_reference(graph, inputs).map(|data| inputs.answered(data))
    }
}

/// What runs samples, made once for many batches.
pub enum Runner<'s> {
    /// The fast executor.
    Plan(Plan),
    /// The reference evaluator, where floats and integers mix.
    Reference(Graph),
    /// What was emitted; it is compiled for each batch.
    Artefact(&'s Artefact),
}

impl Runner<'_> {
    /// Runs a batch. Returns the elements of each output, samples one after another.
    pub fn run(&self, inputs: &Batch, threads: usize) -> Result<Vec<Data>, Diagnostics> {
        match self {
            Runner::Plan(plan) => {
                let data: Vec<&Data> = inputs.data.iter().collect();
                plan.run_data(&data, inputs.count, threads)
            }
            Runner::Reference(graph) => by_reference(graph, inputs),
            Runner::Artefact(artefact) => artefact.run(inputs),
        }
    }
}

/// Runs samples by each op's own evaluation.
fn by_reference(graph: &Graph, inputs: &Batch) -> Result<Vec<Data>, Diagnostics> {
    let types: Vec<ElemType> = graph.outputs().iter().map(|o| graph.ty(o.value).elem.clone()).collect();
    let results = (0..inputs.count).map(|s| evaluate(graph, &tensors(graph, inputs, s)));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    Ok(samples::joined(&types, &results))
}

/// A directory that `convert` made.
pub struct Artefact {
    dir: PathBuf,
    /// The model's name, which its files have.
    name: String,
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
                match (ElemType::from_name(&p.elem), layout) {
                    (Some(elem), Some(layout)) => {
                        Ok((p.name.clone(), TensorType::new(elem, p.shape.clone(), layout)))
                    }
                    _ => Err(fault()),
                }
            };
            ports.iter().map(ty).collect::<Result<Vec<_>, _>>()
        };
        let (inputs, outputs) = (ports(&manifest.inputs)?, ports(&manifest.outputs)?);
        let backend = registry::backend(name)?;
        Ok(Self { dir: dir.to_path_buf(), name: manifest.name, backend, inputs, outputs })
    }

    /// What the artefacts find that can check themselves, by their backends' names.
    pub fn self_checks(&self) -> Result<Vec<(String, SelfCheck)>, Diagnostics> {
        let mut said = Vec::new();
        for name in Manifest::read(&self.dir)?.backends.keys() {
            let checked = registry::backend(name)?.self_check(&self.dir);
            if let Some(check) = checked {
                said.push((name.clone(), check?));
            }
        }
        Ok(said)
    }

    /// The graph of integers that a model which was emitted with its quantizers is, once it is read again.
    fn imported(&self) -> Result<Graph, Diagnostics> {
        let plain = Path::new(&self.name).file_name().is_some_and(|n| n == self.name.as_str());
        if !plain {
            let at = Location::file(self.dir.join("manifest.json").display().to_string());
            return Err(Diagnostic::error(at, format!("`{}` is no name of a file", self.name)).into());
        }
        let path = self.dir.join(self.backend.info().name).join(format!("{}.onnx", self.name));
        let graph = load_graph(&path, &Import::default())?;
        memory::check(&graph)?;
        integers(graph)
    }

    fn run(&self, inputs: &Batch) -> Result<Vec<Data>, Diagnostics> {
        if self.backend.wants_quantizers() {
            return Ok(Subject::Graph(self.imported()?).run(inputs, default_threads())?.data);
        }
        let types: Vec<&TensorType> = self.inputs.iter().map(|(_, ty)| ty).collect();
        let samples: Vec<Vec<Tensor>> = (0..inputs.count).map(|s| inputs.sample(&types, s)).collect();
        let results = self.backend.replay(&self.dir, &samples)?;
        let types: Vec<ElemType> = self.outputs.iter().map(|(_, ty)| ty.elem.clone()).collect();
        Ok(samples::joined(&types, &results))
    }
}

/// One sample of a batch as tensors for a graph.
fn tensors(graph: &Graph, inputs: &Batch, sample: usize) -> Vec<Tensor> {
    let types: Vec<&TensorType> = graph.inputs().iter().map(|&v| graph.ty(v)).collect();
    inputs.sample(&types, sample)
}

/// Threads when the user names no number: one per core.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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

/// A graph with all that its source quantized as integers.
pub fn integers(graph: Graph) -> Result<Graph, Diagnostics> {
    let graph = at_stage(graph, Stage::Folded)?;
    let mut warnings = Diagnostics::new();
    let (graph, _) = lowered(graph, &RunOptions::default(), &mut warnings)?;
    show(&warnings);
    Ok(graph)
}

/// A folded graph behind the pipeline `integers`, with what the passes claim. The signs of a binary network become quantizers
/// where all of it is integers then; beside floats, which its input makes of the first layer, they stay floats too: no
/// executor and no C++ gains by such a mixture.
pub fn lowered(
    graph: Graph,
    options: &RunOptions,
    warnings: &mut Diagnostics,
) -> Result<(Graph, Report), Diagnostics> {
    let calls = pipeline("integers")?;
    let (mut whole, mut found) = (graph.clone(), Diagnostics::new());
    let report = run_pipeline(&mut whole, &calls, options, &mut found)?;
    let signs = report.passes.iter().any(|p| p.pass == "binarize" && p.changes > 0);
    if !signs || is_integer(&whole) {
        warnings.extend(found);
        return Ok((whole, report));
    }
    let others: Vec<_> = calls.into_iter().filter(|c| c.pass.info().name != "binarize").collect();
    let mut graph = graph;
    let report = run_pipeline(&mut graph, &others, options, warnings)?;
    let text = "the signs of this network stay floats, as its input makes floats of the first layer";
    let help = "give the input a format, --input-format \"fixed<8,3>\" for example, and it becomes integers";
    warnings.push(Diagnostic::warning(Location::default(), text).help(help));
    Ok((graph, report))
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
