//! `convert`: import, passes, emit, check. What is written is written at once, at the end, or not at all.

use crate::classes::{classes, logits};
use crate::cli::{Convert, Head};
use crate::commands::verify::Comparison;
use crate::compare;
use crate::load::{default_name, load_with_source};
use crate::model::{self, Subject};
use crate::output::{CommandResult, Failure, Outcome, fault, note, print_json, show};
use crate::quantization::{Quantized, Request};
use crate::samples::{self, Batch};
use crate::{report, uir};
use serde_json::{Value, json};
use std::path::Path;
use unfloat_backends::parameters::{self, Format, Set};
use unfloat_backends::process::TempDir;
use unfloat_backends::{Backend, Manifest, Options, OutDir, namer, registry};
use unfloat_ir::{Diagnostic, Diagnostics, Graph};
use unfloat_passes::analysis::memory;
use unfloat_passes::calibrate::concerns;
use unfloat_passes::calibrate::report::{Cost, weight_costs};
use unfloat_passes::pipeline::{RunOptions, pipeline, run_pipeline};
use unfloat_passes::report::Report;

/// Samples for `--check` when the user gives none.
const CHECK_SAMPLES: usize = 8;

/// Runs the command.
pub fn run(args: &Convert) -> CommandResult {
    let emitters = emitters(args)?;
    let request = Request::of(&args.quantization)?;
    let (mut graph, source) = load_with_source(&args.model, &args.import)?;
    memory::check(&graph)?;
    graph.name = name(args, &graph);
    let mut warnings = Diagnostics::new();
    let options = RunOptions { validate: !args.no_validate, ..RunOptions::default() };
    let mut passes = run_pipeline(&mut graph, &pipeline("import")?, &options, &mut warnings)?;
    if args.head == Head::Logits {
        graph = logits(graph);
    }
    let quantizers;
    let quantization = match &request {
        None => {
            if args.head == Head::Class {
                graph = classes(graph, &mut warnings)?;
            }
            quantizers = graph.clone();
            // What a source quantized becomes integers; there is nothing to do in a float model.
            let (integers, report) = model::lowered(graph, &options, &mut warnings)?;
            graph = integers;
            passes.passes.extend(report.passes);
            None
        }
        Some(request) => {
            let quantization = quantize(graph, request, &options, args)?;
            passes.passes.extend(quantization.quantized.passes.passes.iter().cloned());
            warnings.extend(quantization.quantized.warnings.0.iter().cloned());
            graph = quantization.quantized.graph.clone();
            // The class is taken in front of the last quantizer, as in the graph of integers.
            quantizers = match args.head {
                // Its warnings are those of the graph of integers.
                Head::Class => classes(quantization.quantized.stepwise.clone(), &mut Diagnostics::new())?,
                _ => quantization.quantized.stepwise.clone(),
            };
            Some(quantization)
        }
    };
    passes.passes.extend(run_pipeline(&mut graph, &pipeline("luts")?, &options, &mut warnings)?.passes);
    if let Some(quantization) = &quantization {
        warnings.extend(quantization.concerns.0.iter().cloned());
    }
    show(&warnings);
    report::describe(&passes).iter().for_each(|line| note(line));
    report::folds(&passes).iter().for_each(|table| note(table.trim_end()));
    if let Some(cost) = quantization.as_ref().and_then(|q| q.cost.as_ref()) {
        note(report::cost(cost).trim_end());
    }
    let bearable = quantization.as_ref().is_none_or(|q| q.bearable(args.max_drop));
    if !bearable {
        note("the quantization costs more accuracy than --max-drop allows: nothing was written");
        if args.json {
            let quantization = quantization.as_ref().map(Quantization::to_json);
            print_json(&json!({ "passed": false, "quantization": quantization }))?;
        }
        return Ok(Outcome::Differs);
    }
    let (mut out, manifest) = emit(&graph, &quantizers, &emitters)?;
    let checks = match &args.check {
        None => Vec::new(),
        Some(data) => {
            check(&graph, &out, &manifest, data.as_deref(), request.is_none() && args.head != Head::Logits)?
        }
    };
    for comparison in &checks {
        let Comparison { left, right, differences } = comparison;
        note(compare::describe(differences, args.tolerance, left, right).trim_end());
    }
    let passed = checks.iter().all(|c| c.within(args.tolerance));
    let mut certificate = certificate(&passes, &checks, &warnings, &source, args);
    if let Some(quantization) = &quantization {
        certificate["quantization"] = quantization.to_json();
    }
    out.add("certificate.json", serde_json::to_string_pretty(&certificate).unwrap_or_default() + "\n")?;
    let mut summary = json!({ "passed": passed, "certificate": certificate });
    if passed {
        let written = out.write_to(&args.output, manifest, args.force)?;
        for file in &written.files {
            note(&format!("{:>12} bytes  {}", file.size, args.output.join(&file.path).display()));
        }
        summary["manifest"] = serde_json::to_value(&written).unwrap_or_default();
    } else {
        note("the check failed: nothing was written");
    }
    if args.json {
        print_json(&summary)?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::Differs })
}

/// A quantization and what it costs.
struct Quantization {
    quantized: Quantized,
    cost: Option<Cost>,
    /// What its user should look at.
    concerns: Diagnostics,
}

impl Quantization {
    /// Whether no more accuracy was lost than is allowed.
    fn bearable(&self, allowed: Option<f64>) -> bool {
        match (allowed, self.cost.as_ref().and_then(Cost::drop)) {
            (Some(allowed), Some(drop)) => drop <= allowed,
            _ => true,
        }
    }
    /// The numbers of the recipe, and what they cost.
    fn to_json(&self) -> Value {
        json!({
            "recipe": serde_json::to_value(&self.quantized.resolved).unwrap_or_default(),
            "cost": serde_json::to_value(&self.cost).unwrap_or_default(),
        })
    }
}

fn quantize(
    float: Graph,
    request: &Request,
    options: &RunOptions,
    args: &Convert,
) -> Result<Quantization, Diagnostics> {
    let quantized = request.apply_with(float.clone(), options, args.head)?;
    let cost = request.cost(&float, &quantized, args.evaluate.as_deref(), args.labels.as_deref())?;
    if args.max_drop.is_some() && cost.as_ref().and_then(Cost::drop).is_none() {
        return Err(fault(
            "--max-drop: the accuracy of this model cannot be told: its first output has no classes",
        )
        .into());
    }
    let mut concerns = match &cost {
        Some(cost) => concerns::of_cost(cost),
        None => {
            let mut found = concerns::of_weights(&weight_costs(&float, &quantized.resolved));
            found.push(concerns::of_nothing());
            found
        }
    };
    concerns.extend(concerns::of_zeros(&quantized.resolved));
    Ok(Quantization { quantized, cost, concerns })
}

/// One thing to emit.
enum Emitter {
    Backend(&'static dyn Backend, Options),
    Parameters(&'static Format),
    Uir,
}

/// What `--emit` and `--name` ask for, checked before the model is read. All that is wrong is said at once.
fn emitters(args: &Convert) -> Result<Vec<Emitter>, Diagnostics> {
    let mut found = Diagnostics::new();
    let mut emitters = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let settings = settings(args, &mut found);
    for name in args.emit.iter().map(String::as_str) {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        match (name, registry::backend(name)) {
            ("uir", _) => emitters.push(Emitter::Uir),
            (_, Err(_)) if let Some(format) = registry::format(name) => {
                emitters.push(Emitter::Parameters(format));
            }
            (_, Ok(backend)) => {
                let own = settings.iter().filter(|(owner, _)| owner == name).map(|(_, s)| s.as_str());
                match Options::parse(backend.info(), own) {
                    Ok(options) => emitters.push(Emitter::Backend(backend, options)),
                    Err(e) => found.extend(e),
                }
            }
            (_, Err(e)) => {
                let formats: Vec<&str> = registry::FORMATS.iter().map(|f| f.name).collect();
                let help = format!("{}, uir; formats of parameters: {}", e.help, formats.join(", "));
                found.push(Diagnostic { help, ..e });
            }
        }
    }
    let languages = [namer::Language::Cpp, namer::Language::Verilog];
    if let Some(Err(e)) = args.name.as_ref().map(|name| namer::check(name, &languages)) {
        found.push(e);
    }
    let quantizes = args.quantization.asks();
    for (given, flag) in [(args.labels.is_some(), "--labels"), (args.evaluate.is_some(), "--evaluate")] {
        if given && !quantizes {
            found.push(fault(format!(
                "{flag} changes nothing without --quantize, --recipe, --input-format or --sign-zero plus"
            )));
        }
    }
    if args.max_drop.is_some_and(|d| !(d >= 0.0 && d.is_finite())) {
        found.push(fault("--max-drop: expected a number of points from 0"));
    }
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        found.push(fault(format!("--tolerance: expected a number from 0, found {}", args.tolerance)));
    }
    found.into_result(emitters)
}

/// What the flags set of backends: the backend, and `name=value`. Settings of backends that are not asked for are refused.
fn settings(args: &Convert, found: &mut Diagnostics) -> Vec<(String, String)> {
    let verilog = [("--device", "device", &args.device), ("--latency", "latency", &args.latency)];
    let flags = verilog.into_iter().filter_map(|(flag, name, value)| {
        let value = value.as_ref()?;
        Some((flag.to_string(), Some(("verilog".to_string(), format!("{name}={value}")))))
    });
    let options = args.option.iter().map(|text| {
        let split = text.split_once('.').map(|(owner, setting)| (owner.to_string(), setting.to_string()));
        (format!("--option {text}"), split)
    });
    let mut settings = Vec::new();
    for (flag, setting) in flags.chain(options) {
        match setting {
            Some((owner, setting)) if args.emit.contains(&owner) => settings.push((owner, setting)),
            Some((owner, _)) => {
                found.push(fault(format!("{flag} changes nothing without --emit {owner}")));
            }
            None => found.push(fault(format!("{flag}: expected BACKEND.NAME=VALUE"))),
        }
    }
    settings
}

fn name(args: &Convert, graph: &Graph) -> String {
    match &args.name {
        Some(name) => name.clone(),
        None if graph.name.is_empty() || args.model.extension().is_none_or(|e| e != "uir") => {
            namer::sanitize(&default_name(&args.model))
        }
        None => namer::sanitize(&graph.name),
    }
}

/// Emits `graph`, or for backends that write quantizers, the graph that still has them.
fn emit(graph: &Graph, quantizers: &Graph, emitters: &[Emitter]) -> Result<(OutDir, Manifest), Diagnostics> {
    let mut out = OutDir::new();
    let mut manifest = Manifest::new(graph);
    let mut found = Diagnostics::new();
    let source = |backend: &dyn Backend| if backend.wants_quantizers() { quantizers } else { graph };
    let wants_parameters = emitters.iter().any(|e| matches!(e, Emitter::Parameters(_)));
    let set = wants_parameters.then(|| Set::new(&graph.name, parameters::of_graph(graph))).transpose()?;
    for emitter in emitters {
        let checked = match (emitter, &set) {
            (Emitter::Backend(backend, options), _) => backend.check(source(*backend), options),
            (Emitter::Parameters(format), Some(set)) => set.check(format),
            _ => Ok(()),
        };
        found.extend(checked.err().into_iter().flatten());
    }
    found.into_result(())?;
    for emitter in emitters {
        match emitter {
            Emitter::Backend(backend, options) => {
                backend.emit(source(*backend), options, &mut out)?;
                manifest.backend(backend.info().name, options);
            }
            Emitter::Parameters(format) => {
                if let Some(set) = &set {
                    set.emit(format, &mut out, &mut manifest)?;
                }
            }
            Emitter::Uir => {
                let (text, archive) = uir::to_bytes(graph)?;
                out.add(&format!("uir/{}.uir", graph.name), text)?;
                if let Some(archive) = archive {
                    let mut file = unfloat_backends::File::new();
                    file.bytes(archive);
                    out.add(&format!("uir/{}.npz", graph.name), file)?;
                }
            }
        }
    }
    Ok((out, manifest))
}

/// Runs every artefact and the native executor on the same samples, and compares them with each other and with
/// the outputs that the data holds, unless these are not `given` for this graph: outputs of a float model are not those of a
/// quantized one, and what lies between them is the report's business.
fn check(
    graph: &Graph,
    out: &OutDir,
    manifest: &Manifest,
    data: Option<&Path>,
    given: bool,
) -> Result<Vec<Comparison>, Failure> {
    let native = Subject::Graph(graph.clone());
    let types = native.output_types();
    let (inputs, expected) = check_data(&native, data)?;
    let expected = expected.filter(|_| given);
    let dir = TempDir::new().map_err(|e| fault(format!("making a temporary directory: {e}")))?;
    let dir = dir.join("artefact");
    out.write_to(&dir, manifest.clone(), false)?;
    let executed = native.run(&inputs, model::default_threads())?;
    let mut comparisons = Vec::new();
    let mut compare = |left: &str, right: &str, a: &Batch, b: &Batch| {
        let differences = compare::outputs(&types, a, b);
        comparisons.push(Comparison { left: left.to_string(), right: right.to_string(), differences });
    };
    for name in manifest.backends.keys() {
        let artefact = model::Artefact::open(&dir, Some(name))?;
        let result = Subject::Artefact(artefact).run(&inputs, 1)?;
        compare(&format!("emitted {name}"), "native executor", &result, &executed);
        if let Some(expected) = &expected {
            compare(&format!("emitted {name}"), "given outputs", &result, expected);
        }
    }
    if let Some(expected) = &expected {
        compare("native executor", "given outputs", &executed, expected);
    }
    Ok(comparisons)
}

fn check_data(native: &Subject, data: Option<&Path>) -> Result<(Batch, Option<Batch>), Diagnostics> {
    let Some(path) = data else { return Ok((native.random(CHECK_SAMPLES), None)) };
    let paths = [path.to_path_buf()];
    let inputs = samples::read(&paths, "input", &native.input_types())?;
    samples::check_some(&inputs)?;
    if !samples::has_outputs(path) {
        return Ok((inputs, None));
    }
    let expected = samples::read(&paths, "output", &native.output_types())?;
    if expected.count != inputs.count {
        let text = format!("{}: {} samples in, {} out", path.display(), inputs.count, expected.count);
        return Err(fault(text).into());
    }
    Ok((inputs, Some(expected)))
}

/// Every claim with its evidence.
fn certificate(
    passes: &Report,
    checks: &[Comparison],
    warnings: &Diagnostics,
    source: &Value,
    args: &Convert,
) -> Value {
    json!({
        "tool": "unfloat",
        "version": env!("CARGO_PKG_VERSION"),
        "source": source,
        "validated": passes.validated,
        "passes": passes.passes,
        "warnings": warnings.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tolerance": args.tolerance,
        "checks": checks.iter().map(|c| c.to_json(args.tolerance)).collect::<Vec<_>>(),
    })
}
