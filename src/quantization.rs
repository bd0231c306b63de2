//! `--quantize` and what goes with it: from the command line to a quantized graph.
//!
//! In: the options, and a folded graph. Out: the graph behind the pipeline `quantize`, the numbers that were found, and what
//! the passes claim. Refused, before any model is read: options that go with nothing; then samples that do not suit the
//! model, and a request that needs samples and has none.

use crate::cli::Quantization;
use crate::model::default_threads;
use crate::output::{during, fault, show};
use crate::samples::{self, Batch};
use std::path::PathBuf;
use unfloat_ir::{Diagnostics, Graph, TensorType};
use unfloat_passes::calibrate::{Calibrator, NEED_DATA};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};
use unfloat_passes::recipe::resolved::Resolved;
use unfloat_passes::recipe::{Method, Recipe, spec};
use unfloat_passes::report::Report;

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    recipe: Recipe,
    data: Vec<PathBuf>,
}

/// What came of it.
pub struct Quantized {
    /// The quantized graph.
    pub graph: Graph,
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
        let recipe = match &args.quantize {
            Some(text) => {
                spec::parse(text).map_err(|why| found.push(fault(format!("--quantize: {why}")))).ok()
            }
            None => None,
        };
        if args.quantize.is_none() {
            for (given, flag) in
                [(!args.calibrate.is_empty(), "--calibrate"), (method.is_some(), "--calibrate-method")]
            {
                if given {
                    found.push(fault(format!("{flag} changes nothing without --quantize")));
                }
            }
        }
        found.into_result(())?;
        Ok(recipe.map(|mut recipe| {
            recipe.method = method.flatten().unwrap_or(recipe.method);
            Request { recipe, data: args.calibrate.clone() }
        }))
    }

    /// Quantizes a folded graph; what the passes claim is checked, and warnings are shown.
    pub fn apply(&self, graph: Graph) -> Result<Quantized, Diagnostics> {
        let quantized = self.apply_with(graph, &RunOptions::default())?;
        show(&quantized.warnings);
        Ok(quantized)
    }

    /// Quantizes a folded graph.
    pub fn apply_with(&self, mut graph: Graph, options: &RunOptions) -> Result<Quantized, Diagnostics> {
        let resolved = self.resolve(&graph)?;
        let mut warnings = Diagnostics::new();
        let options = RunOptions { recipe: Some(&resolved), ..*options };
        let passes = run_pipeline(&mut graph, &pipeline("quantize")?, &options, &mut warnings)?;
        Ok(Quantized { graph, resolved, passes, warnings })
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
            during("calibrating", || calibrator.feed(&batch.data, batch.count, default_threads()))?;
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

    /// The samples, a file at a time.
    pub fn batches(&self, graph: &Graph) -> impl Iterator<Item = Result<Batch, Diagnostics>> {
        let types = samples::input_types(graph);
        self.groups(&types).into_iter().map(move |paths| samples::read(&paths, "input", &types))
    }
}
