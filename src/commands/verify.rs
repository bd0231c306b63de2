//! `verify`: do two things that should compute the same do so, and do they give the outputs that they should?

use crate::cli::Verify;
use crate::compare::{self, Difference};
use crate::model::{self, Artefact, Subject};
use crate::output::{CommandResult, Failure, Outcome, fault, print, print_json};
use crate::samples::{self, Batch};
use serde_json::{Value, json};
use std::path::Path;
use unfloat_backends::SelfCheck;
use unfloat_ir::TensorType;

/// Samples when the user gives none.
const RANDOM_SAMPLES: usize = 16;

/// One comparison that was made.
pub struct Comparison {
    /// What was compared with what.
    pub left: String,
    /// See `left`.
    pub right: String,
    /// The outputs' differences.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// The comparison as JSON.
    pub fn to_json(&self, tolerance: f64) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|d| {
                json!({
                    "output": d.output,
                    "equal": d.within(tolerance),
                    "max_abs": d.max_abs,
                    "max_rel": d.max_rel,
                    "classes_changed": d.classes_changed,
                    "worst_sample": d.worst.0,
                    "worst_element": d.worst.1,
                })
            })
            .collect();
        json!({ "left": self.left, "right": self.right, "outputs": differences })
    }
    /// Whether all outputs are equal within the tolerance.
    pub fn within(&self, tolerance: f64) -> bool {
        self.differences.iter().all(|d| d.within(tolerance))
    }
}

/// Runs the command.
pub fn run(args: &Verify) -> CommandResult {
    if let Some(outcome) = self_checked(args)? {
        return Ok(outcome);
    }
    let mut subjects = vec![Subject::open_quantized(&args.left, &args.import, &args.quantization)?];
    if let Some(right) = &args.right {
        subjects.push(Subject::open(right, &args.import)?);
    }
    let types = subjects[0].output_types();
    check_ports(&subjects)?;
    let (inputs, expected) = samples(args, &subjects[0])?;
    if subjects.len() == 1 && expected.is_none() {
        return Err(fault("there is nothing to compare with")
            .help("name a second model or directory, or give --expect FILE")
            .into());
    }
    let threads = model::default_threads();
    let names: Vec<String> =
        [Some(&args.left), args.right.as_ref()].iter().flatten().map(|p| label(p)).collect();
    let mut results = Vec::new();
    for subject in &subjects {
        results.push(subject.run(&inputs, threads)?);
    }
    let mut comparisons = Vec::new();
    let mut compare = |left: &str, right: &str, a: &Batch, b: &Batch| {
        let differences = compare::outputs(&types, a, b);
        comparisons.push(Comparison { left: left.to_string(), right: right.to_string(), differences });
    };
    if let [a, b] = results.as_slice() {
        compare(&names[0], &names[1], a, b);
    }
    if let Some(expected) = &expected {
        names
            .iter()
            .zip(&results)
            .for_each(|(name, result)| compare(name, "the given outputs", result, expected));
    }
    let equal = comparisons.iter().all(|c| c.within(args.tolerance));
    if args.json {
        print_json(&json!({
            "equal": equal,
            "samples": inputs.count,
            "tolerance": args.tolerance,
            "comparisons": comparisons.iter().map(|c| c.to_json(args.tolerance)).collect::<Vec<_>>(),
        }))?;
    } else {
        let text: String = comparisons
            .iter()
            .map(|c| compare::describe(&c.differences, args.tolerance, &c.left, &c.right))
            .collect();
        print(&text)?;
    }
    if !equal && !args.json {
        first_difference(&subjects, &inputs, args.tolerance)?;
    }
    Ok(if equal { Outcome::Done } else { Outcome::Differs })
}

/// A folder alone, with nothing to compare it with, may hold artefacts that check themselves on samples of their own.
fn self_checked(args: &Verify) -> Result<Option<Outcome>, Failure> {
    let alone = args.right.is_none() && args.input.is_empty() && args.expect.is_empty();
    if !alone || !args.left.join("manifest.json").exists() {
        return Ok(None);
    }
    let said = Artefact::open(&args.left, None)?.self_checks()?;
    if said.is_empty() {
        return Ok(None);
    }
    let passed = said.iter().all(|(_, check)| check.passed);
    if args.json {
        let one = |(name, check): &(String, SelfCheck)| json!({ "backend": name, "passed": check.passed, "text": check.text });
        print_json(&json!({ "equal": passed, "self_checks": said.iter().map(one).collect::<Vec<Value>>() }))?;
    } else {
        print(&said.iter().map(|(name, check)| format!("{name}: {}\n", check.text)).collect::<String>())?;
    }
    Ok(Some(if passed { Outcome::Done } else { Outcome::Differs }))
}

fn label(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Both sides must take the same inputs and give the same outputs.
fn check_ports(subjects: &[Subject]) -> Result<(), Failure> {
    let [a, b] = subjects else { return Ok(()) };
    let show = |types: Vec<(String, TensorType)>| {
        types.iter().map(|(_, ty)| ty.to_string()).collect::<Vec<_>>().join(", ")
    };
    for (what, left, right) in
        [("inputs", a.input_types(), b.input_types()), ("outputs", a.output_types(), b.output_types())]
    {
        let same = left.len() == right.len() && left.iter().zip(&right).all(|(l, r)| l.1.shape == r.1.shape);
        if !same {
            let text = format!("the {what} do not correspond: {} and {}", show(left), show(right));
            return Err(fault(text).into());
        }
    }
    Ok(())
}

/// The inputs, and the outputs that should result, if any are given.
fn samples(args: &Verify, subject: &Subject) -> Result<(Batch, Option<Batch>), Failure> {
    let inputs = if args.input.is_empty() {
        if !args.expect.is_empty() {
            return Err(fault("--expect needs the --input that it belongs to").into());
        }
        subject.random(RANDOM_SAMPLES)
    } else {
        samples::read(&args.input, "input", &subject.input_types())?
    };
    samples::check_some(&inputs)?;
    let own: Vec<_> = args.input.iter().filter(|p| samples::has_outputs(p)).take(1).cloned().collect();
    let paths = if args.expect.is_empty() { &own } else { &args.expect };
    if paths.is_empty() {
        return Ok((inputs, None));
    }
    let expected = samples::read(paths, "output", &subject.output_types())?;
    if expected.count != inputs.count {
        let text = format!("{} samples in, but outputs of {} are given", inputs.count, expected.count);
        return Err(fault(text).into());
    }
    Ok((inputs, Some(expected)))
}

/// When both sides are graphs, names the first layer whose values differ.
fn first_difference(subjects: &[Subject], inputs: &Batch, tolerance: f64) -> Result<(), Failure> {
    let [Subject::Graph(a), Subject::Graph(b)] = subjects else { return Ok(()) };
    if let Some(text) = model::first_difference(a, b, inputs, tolerance)? {
        print(&text)?;
    }
    Ok(())
}
