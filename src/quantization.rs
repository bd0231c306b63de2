//! `--quantize` and what goes with it: from the command line to a quantized graph.
//!
//! In: the options, and a folded graph. Out: the graph behind the pipeline `quantize`, the numbers that were found, and what
//! the passes claim. Refused, before any model is read: options that go with nothing; then samples that do not suit the
//! model, and a request that needs samples and has none.

use crate::classes::classes;
use crate::cli::{Head, Quantization, SignZero};
use crate::model::default_threads;
use crate::output::{counting, fault, show};
use crate::samples::{self, Batch, read_file};
use std::path::{Path, PathBuf};
use unfloat_ir::ops::Softmax;
use unfloat_ir::{Data, Diagnostic, Diagnostics, Graph, Location, Node, Op, TensorType};
use unfloat_passes::calibrate::report::{Cost, Meter};
use unfloat_passes::calibrate::{Calibrator, NEED_DATA};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline, taking_zero_for_plus};
use unfloat_passes::recipe::resolved::Resolved;
use unfloat_passes::recipe::{Method, Recipe, file, spec};
use unfloat_passes::report::Report;

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    recipe: Recipe,
    zero_is_plus: bool,
    data: Vec<PathBuf>,
}

/// What came of it.
pub struct Quantized {
    /// The quantized graph.
    pub graph: Graph,
    /// The graph right behind the pass `quantize`: fake-quantized, every value still there.
    pub stepwise: Graph,
    /// The recipe with all numbers.
    pub resolved: Resolved,
    /// What the passes claim.
    pub passes: Report,
    /// Findings that did not stop the work.
    pub warnings: Diagnostics,
}

impl Request {
    /// What the options ask for; nothing when a model is to stay as it is.
    pub fn of(args: &Quantization) -> Result<Option<Request>, Diagnostics> {
        let mut found = Diagnostics::new();
        let method = args.calibrate_method.as_deref().map(|text| {
            let method = Method::parse(text);
            if method.is_none() {
                found.push(fault(format!("--calibrate-method: expected {}, found `{text}`", Method::FORMS)));
            }
            method
        });
        let mut recipe = match (&args.quantize, &args.recipe) {
            (Some(text), _) => {
                spec::parse(text).map_err(|why| found.push(fault(format!("--quantize: {why}")))).ok()
            }
            (None, Some(path)) => recipe_file(path).map_err(|problems| found.extend(problems)).ok(),
            (None, None) => None,
        };
        if let Some(text) = &args.input_format {
            let read = match &mut recipe {
                Some(recipe) => spec::input(text).map(|format| recipe.input = Some(format)),
                None => spec::inputs_alone(text).map(|alone| recipe = Some(alone)),
            };
            found.extend(read.err().map(|why| fault(format!("--input-format: {why}"))));
        }
        let zero_is_plus = args.sign_zero == SignZero::Plus;
        if zero_is_plus && recipe.is_none() && found.0.is_empty() {
            recipe = Some(Recipe { source: "--sign-zero plus".to_string(), ..spec::nothing() });
        }
        if !args.asks() {
            let given =
                [(!args.calibrate.is_empty(), "--calibrate"), (method.is_some(), "--calibrate-method")];
            for (_, flag) in given.iter().filter(|g| g.0) {
                found.push(fault(format!(
                    "{flag} changes nothing without --quantize, --recipe, --input-format or --sign-zero plus"
                )));
            }
        }
        found.into_result(())?;
        Ok(recipe.map(|mut recipe| {
            recipe.method = method.flatten().unwrap_or(recipe.method);
            Request { recipe, zero_is_plus, data: args.calibrate.clone() }
        }))
    }

    /// Quantizes a folded graph; what the passes claim is checked, and warnings are shown.
    pub fn apply(&self, graph: Graph) -> Result<Quantized, Diagnostics> {
        let quantized = self.apply_with(graph, &RunOptions::default(), Head::Scores)?;
        show(&quantized.warnings);
        Ok(quantized)
    }

    /// Quantizes a folded graph, which gives classes behind that if they are asked for.
    pub fn apply_with(
        &self,
        mut graph: Graph,
        options: &RunOptions,
        head: Head,
    ) -> Result<Quantized, Diagnostics> {
        let mut warnings = Diagnostics::new();
        let mut calls = pipeline("quantize")?;
        if self.zero_is_plus {
            calls = taking_zero_for_plus(calls);
        }
        let first = calls.iter().position(|c| c.pass.info().name == "quantize").unwrap_or(0);
        let mut passes = run_pipeline(&mut graph, &calls[..first], options, &mut warnings)?;
        // The recipe's numbers are those of the graph that the pass sees.
        let resolved = self.resolve(&graph)?;
        let options = RunOptions { recipe: Some(&resolved), ..*options };
        passes
            .passes
            .extend(run_pipeline(&mut graph, &calls[first..=first], &options, &mut warnings)?.passes);
        let first = first + 1;
        let stepwise = graph.clone();
        if head == Head::Class {
            graph = classes(graph, &mut warnings)?;
        }
        passes.passes.extend(run_pipeline(&mut graph, &calls[first..], &options, &mut warnings)?.passes);
        warnings.extend(logarithms(&graph));
        Ok(Quantized { graph, stepwise, resolved, passes, warnings })
    }

    fn resolve(&self, graph: &Graph) -> Result<Resolved, Diagnostics> {
        let mut calibrator = Calibrator::new(graph, &self.recipe)?;
        if calibrator.needs_data() && self.data.is_empty() {
            let text = format!(
                "`{}` needs ranges of values, and there are no samples to find them from",
                self.recipe.source
            );
            return Err(fault(text).help(NEED_DATA).into());
        }
        let types = samples::input_types(graph);
        for paths in self.groups(&types) {
            let batch = samples::read(&paths, "input", &types)?;
            counting("calibrating", batch.count, |seen| {
                calibrator.feed_with(&batch.data, batch.count, default_threads(), seen)
            })?;
        }
        calibrator.finish()
    }

    /// The files that are read together: each `.npz` by itself, `.npy` files one per input.
    fn groups(&self, types: &[(String, TensorType)]) -> Vec<Vec<PathBuf>> {
        let (archives, arrays): (Vec<PathBuf>, Vec<PathBuf>) =
            self.data.iter().cloned().partition(|p| p.extension().is_some_and(|e| e == "npz"));
        let mut groups: Vec<Vec<PathBuf>> = archives.into_iter().map(|p| vec![p]).collect();
        groups.extend(arrays.chunks(types.len().max(1)).map(<[PathBuf]>::to_vec));
        groups
    }

    /// Measures what the quantization costs, its classes in the graph that ships, on the samples of the calibration, or
    /// on those in `data` if it is given.
    pub fn cost(
        &self,
        float: &Graph,
        quantized: &Quantized,
        data: Option<&Path>,
        labels: Option<&Path>,
    ) -> Result<Option<Cost>, Diagnostics> {
        let types = samples::input_types(float);
        let groups = match data {
            Some(path) => vec![vec![path.to_path_buf()]],
            None => self.groups(&types),
        };
        if groups.is_empty() {
            return match labels {
                None => Ok(None),
                Some(_) => Err(fault("--labels needs the samples that they belong to")
                    .help("give --evaluate DATA or --calibrate DATA")
                    .into()),
            };
        }
        let labels = labels.map(|path| read_labels(path, number_of_classes(float))).transpose()?;
        let mut meter = Meter::new(float, &quantized.stepwise, &quantized.graph, &quantized.resolved)?;
        let mut at = 0;
        for paths in groups {
            let batch: Batch = samples::read(&paths, "input", &types)?;
            let own = labels.as_ref().map(|l| l.get(at..).unwrap_or_default());
            counting("comparing with the float model", batch.count, |seen| {
                meter.feed_with(&batch.data, batch.count, own, default_threads(), seen)
            })?;
            at += batch.count;
        }
        if let Some(labels) = labels.filter(|l| l.len() != at) {
            return Err(fault(format!("--labels: {} labels for {at} samples", labels.len())).into());
        }
        meter.finish().map(Some)
    }
}

/// Outputs that are logarithms of a softmax: nothing else may be left of floats.
fn logarithms(graph: &Graph) -> Diagnostics {
    let mut found = Diagnostics::new();
    for output in graph.outputs() {
        if let Some((_, Node { op: Op::Softmax(Softmax { log: true, .. }), origin, .. })) =
            graph.producer(output.value)
        {
            let text = format!(
                "the output `{}` is the logarithm of a softmax, which has no integer form",
                output.name
            );
            found.push(
                Diagnostic::warning(origin, text)
                    .help("--head class gives the class, --head logits what the softmax reads"),
            );
        }
    }
    found
}

/// A recipe from a file.
fn recipe_file(path: &Path) -> Result<Recipe, Diagnostics> {
    let text = String::from_utf8(read_file(path)?)
        .map_err(|_| fault(format!("{}: the recipe is not text in UTF-8", path.display())))?;
    let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    file::read(&label, &text)
}

/// How many classes the first output has; nothing where it gives a class itself.
fn number_of_classes(graph: &Graph) -> Option<usize> {
    let ty = graph.ty(graph.outputs().first()?.value);
    ty.elem.is_float().then(|| ty.shape.num_elements())
}

/// The classes of samples, each of them below the number of classes.
fn read_labels(path: &Path, classes: Option<usize>) -> Result<Vec<i64>, Diagnostics> {
    let at = || Location::file(path.display().to_string());
    let array =
        unfloat_npy::read_npy(&read_file(path)?).map_err(|e| Diagnostic::error(at(), e.to_string()))?;
    let columns: usize = array.shape().iter().skip(1).product();
    let whole = |v: &f32| (v.fract() == 0.0 && v.abs() < 1e9).then_some(*v as i64);
    let labels: Option<Vec<i64>> = match &array.data {
        Data::F32(values) => values.iter().map(whole).collect(),
        codes => (0..codes.len()).map(|i| codes.code(i)).collect(),
    };
    let labels = labels.filter(|_| columns == 1 && !array.shape().is_empty()).ok_or_else(|| {
        let text = format!("labels are one whole number per sample, found an array {}", array.shape());
        Diagnostic::error(at(), text)
    })?;
    let no_class = |l: &i64| *l < 0 || classes.is_some_and(|n| *l as u64 >= n as u64);
    if let Some(i) = labels.iter().position(no_class) {
        let all = labels.iter().filter(|l| no_class(l)).count();
        let text = format!(
            "label {i} is {}: the model's classes are 0 to {}",
            labels[i],
            classes.unwrap_or(1).max(1) - 1
        );
        let help =
            format!("{all} of {} labels are no class of this model; classes count from 0", labels.len());
        return Err(Diagnostic::error(at(), text).help(help).into());
    }
    Ok(labels)
}
