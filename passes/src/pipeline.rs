//! Pipelines: named orders of passes, and how they are run.

use crate::pass::{PassCall, PassCx, parse_calls};
use crate::passes::SignZero;
use crate::recipe::resolved::Resolved;
use crate::report::{Evidence, PassReport, Report};
use crate::validate::{Effort, Evaluator, Native, validate};
use unfloat_ir::verify::verify;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location};

/// A named order of passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PipelineInfo {
    /// The name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// The passes, as [`parse_calls`] reads them.
    pub passes: &'static [&'static str],
}

static PIPELINES: &[PipelineInfo] = &[
    PipelineInfo {
        name: "import",
        summary: "what every model goes through once it is read: imported -> canonical -> folded",
        passes: &[
            // First, so that no later pass works on what no output needs.
            "dead-code",
            // Before the layout: weights that a file spells as transposed constants become plain constants, whose
            // axes can then be reordered without a node.
            "fold-constants",
            // Before the layout: fewer ops for it to carry transpositions through.
            "clean-up",
            // Before batch normalisation: afterwards channels are last everywhere, so a per-channel factor has one form.
            "canonical-layout",
            // After the layout: transpositions that met have become nothing.
            "clean-up",
            // After the layout: whatever constants it moved by nodes. The folding below needs them as constants.
            "fold-constants",
            // Before batch normalisation, though it does not matter which comes first: padding keeps a function in front
            // of it from the layer behind it whether it is part of that layer or not.
            "fold-padding",
            "fold-batch-norm",
            // After folding: what stood on both sides of a batch normalisation are neighbours now.
            "clean-up",
            // After all rewrites, which make equal nodes and constants of different ones.
            "common-subexpressions",
            "dead-code",
        ],
    },
    PipelineInfo {
        name: "quantize",
        summary: "what a folded float graph goes through with a recipe: fake-quantized, then integers",
        passes: &[
            // First, so that signs are quantizers already and get no others.
            "binarize",
            "quantize",
            // Signs of inputs, which are codes only now.
            "binarize",
            // Equal scales and codes of several layers.
            "common-subexpressions",
            "dead-code",
            "integerize",
            "fold-signs",
            "clean-up",
            "common-subexpressions",
            "dead-code",
        ],
    },
    PipelineInfo {
        name: "integers",
        summary: "what a folded graph with quantizers of its own goes through: integers",
        passes: &[
            // Signs become quantizers, between which the layers are binary.
            "binarize",
            "integerize",
            // What integerize turned round to count upwards.
            "fold-signs",
            // Moves of codes that met.
            "clean-up",
            // Equal weights, tables and multipliers.
            "common-subexpressions",
            "dead-code",
        ],
    },
    PipelineInfo {
        name: "luts",
        summary: "what layers of look-up tables go through before they are emitted: fewer tables of fewer pins",
        passes: &[
            // First, as constants make pins that do not matter.
            "lut-constants",
            // Tables that are equal but for their pins are seen to be.
            "lut-pins",
            // Tables that read equal ones read one bit twice, which can make constants of them.
            "lut-merge",
            "lut-pins",
            "lut-constants",
            // Behind all that frees pins: tables that nothing reads any more.
            "lut-dead",
            "dead-code",
        ],
    },
];

/// All pipelines.
pub fn pipelines() -> &'static [PipelineInfo] {
    PIPELINES
}

/// The calls of the pipeline of that name.
pub fn pipeline(name: &str) -> Result<Vec<PassCall>, Diagnostics> {
    match PIPELINES.iter().find(|p| p.name == name) {
        Some(pipeline) => parse_calls(&pipeline.passes.join(",")),
        None => {
            let names: Vec<&str> = PIPELINES.iter().map(|p| p.name).collect();
            Err(Diagnostic::error(Location::default(), format!("there is no pipeline `{name}`"))
                .help(format!("the pipelines are {}", names.join(", ")))
                .into())
        }
    }
}

/// The calls with `sign-zero` wherever signs have become quantizers (`--sign-zero plus`).
pub fn taking_zero_for_plus(calls: Vec<PassCall>) -> Vec<PassCall> {
    let with = |call: PassCall| {
        let behind = (call.pass.info().name == "binarize").then(|| PassCall::new(&SignZero));
        [call].into_iter().chain(behind)
    };
    calls.into_iter().flat_map(with).collect()
}

/// How passes are run.
#[derive(Clone, Copy)]
pub struct RunOptions<'a> {
    /// Whether claims are checked. The report says when they are not.
    pub validate: bool,
    /// Computes the values that are compared.
    pub evaluator: &'a dyn Evaluator,
    /// The greatest number of samples per check.
    pub samples: usize,
    /// Chooses the samples.
    pub seed: u64,
    /// The recipe with all numbers filled in, for the passes that follow one.
    pub recipe: Option<&'a Resolved>,
}

impl Default for RunOptions<'_> {
    fn default() -> Self {
        Self { validate: true, evaluator: &Native, samples: 4, seed: 0x756e_666c_6f61_7421, recipe: None }
    }
}

/// Runs passes in order: pass, then [`verify`] at the stage reached, then [`validate`].
///
/// Stops at the first pass that fails, is applied too early, makes a graph that does not verify or breaks its
/// claim; the graph is then as it was before that pass. Findings that do not stop the work go to `warnings`.
pub fn run_pipeline(
    graph: &mut Graph,
    calls: &[PassCall],
    options: &RunOptions,
    warnings: &mut Diagnostics,
) -> Result<Report, Diagnostics> {
    let mut report = Report { validated: options.validate, passes: Vec::new() };
    for call in calls {
        let before = graph.clone();
        match run_pass(graph, &before, call, options, warnings) {
            Ok(entry) => report.passes.push(entry),
            Err(found) => {
                *graph = before;
                return Err(found);
            }
        }
    }
    Ok(report)
}

fn run_pass(
    graph: &mut Graph,
    before: &Graph,
    call: &PassCall,
    options: &RunOptions,
    warnings: &mut Diagnostics,
) -> Result<PassReport, Diagnostics> {
    let info = call.pass.info();
    if graph.stage < info.from {
        let text = format!(
            "pass `{}` needs a graph at stage `{}`, this one is at `{}`",
            info.name, info.from, graph.stage
        );
        return Err(Diagnostic::error(Location::default(), text)
            .help(format!("run `{}` first", reaching(info.from)))
            .into());
    }
    let mut cx = PassCx::new(call);
    cx.recipe = options.recipe;
    let change = call.pass.run(graph, &mut cx)?;
    let folds = std::mem::take(&mut cx.folds);
    warnings.extend(cx.warnings);
    if !change.is_none() {
        *graph = graph.compact();
    }
    graph.stage = graph.stage.max(info.to);
    if !change.is_none() || graph.stage != before.stage {
        verify(graph)
            .map_err(|found| Diagnostics(found.into_iter().map(|d| behind(info.name, d)).collect()))?;
    }
    let effort = Effort { evaluator: options.evaluator, samples: options.samples, seed: options.seed };
    let evidence = match (change.is_none(), options.validate) {
        (true, _) => Evidence::Unchanged,
        (false, false) => Evidence::Skipped,
        (false, true) => validate(info, before, graph, &folds, &effort)?,
    };
    if let Evidence::Sampled { noise: Some(noise), worst, .. } = &evidence {
        warnings.push(ill_conditioned(before, info.name, worst, *noise));
    }
    if let Evidence::Sampled { blind, .. } = &evidence {
        blind.iter().for_each(|name| warnings.push(unseen(before, info.name, name)));
    }
    let options = call.options().iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    let (pass, claim) = (info.name.to_string(), info.claim.clone());
    Ok(PassReport { pass, options, changes: change.count, claim, evidence, folds })
}

/// The passes that carry a graph to a stage.
fn reaching(stage: unfloat_ir::Stage) -> String {
    let names = crate::registry::PASSES.iter().map(|p| p.info());
    let names: Vec<&str> = names.filter(|i| i.to == stage && i.from < stage).map(|i| i.name).collect();
    names.join("`, `")
}

fn behind(pass: &str, found: Diagnostic) -> Diagnostic {
    let message = format!("behind pass `{pass}`: {}", found.message);
    Diagnostic { message, ..found }
}

/// The layer that makes the value of that name.
fn maker(graph: &Graph, name: &str) -> Location {
    let value = graph.values().find(|(_, v)| v.name == name);
    let node = value.and_then(|(id, _)| graph.producer(id));
    node.map(|(_, n)| Location::from(&n.origin)).unwrap_or_default()
}

fn unseen(graph: &Graph, pass: &str, name: &str) -> Diagnostic {
    let text = format!(
        "`{name}` was not finite, or the same, in every sample: the check of pass `{pass}` says nothing of it"
    );
    Diagnostic::warning(maker(graph, name), text).help("compare outputs on real samples: --check DATA")
}

fn ill_conditioned(graph: &Graph, pass: &str, name: &str, noise: f64) -> Diagnostic {
    let text = format!(
        "`{name}` amplifies rounding: one unit in the last place of inputs and weights moves it by {noise:.1e} of \
         its greatest element, and pass `{pass}` by as much as that allows"
    );
    Diagnostic::warning(maker(graph, name), text)
}
