//! `eval`: how often a model is right on a dataset in its own files.
//!
//! In: what `run` takes, and a dataset. Out: top-1 and top-k, accuracy per class, the confusion matrix, and the samples
//! that got another class, as text or JSON, and as a page. Samples are read, prepared and run a batch at a time. Refuses:
//! models with several inputs or outputs, classes that the data do not have. The time that it took is the one thing that
//! differs from run to run; it stands in the text and, as `elapsed_seconds`, in JSON, never in the page.

use crate::cli::{Eval, Flat, SplitArg};
use crate::evaluation::{Pending, Tally, scores};
use crate::model::{self, Runner, Subject};
use crate::output::{CommandResult, Outcome, counting, escaped, fault, io_fault, print, print_json, table};
use crate::page::page;
use crate::samples::Batch;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;
use unfloat_data::picture::Picture;
use unfloat_data::prepare::{Normalisation, Preparer, Scale};
use unfloat_data::{Classes, Description, Options, Source, Split};
use unfloat_ir::{Data, Diagnostics, ElemType, Layout, TensorType};

/// Bytes of inputs in a batch.
const BATCH_BYTES: usize = 16 << 20;
/// The same where each batch compiles a program.
const ARTEFACT_BYTES: usize = 128 << 20;
/// Samples in a batch, so that the bar moves.
const BATCH: usize = 256;
/// The most classes: the confusion matrix has the square of that.
const MOST_CLASSES: usize = 2048;
/// Classes whose confusion matrix is printed as text.
const PRINTED: usize = 20;

/// Runs the command.
pub fn run(args: &Eval) -> CommandResult {
    let normal = normalisation(args)?;
    let start = Instant::now();
    let subject = Subject::open_quantized(&args.model, &args.import, &args.quantization)?;
    let (input, output) = ports(&subject)?;
    let options = Options { split: args.split.map(split), coarse: args.coarse };
    let source = unfloat_data::open(&args.data, &options)?;
    let head = Head::of(&output, source.description(), args.top)?;
    let tally = count(args, &subject, (input, normal), &*source, &head)?;
    let elapsed = start.elapsed().as_secs_f64();
    if let Some(path) = &args.html {
        let name = |p: &Path| p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned();
        let title = format!("{} on {}", name(&args.model), name(&args.data));
        std::fs::write(path, page(&title, &tally)).map_err(|e| io_fault(path, "cannot be written", &e))?;
    }
    if args.json {
        let mut json = tally.to_json();
        json["format"] = source.description().format.into();
        json["elapsed_seconds"] = elapsed.into();
        print_json(&json)?;
    } else {
        print(&text(&tally, source.description(), elapsed))?;
    }
    Ok(Outcome::Done)
}

/// `--split`.
pub fn split(arg: SplitArg) -> Split {
    match arg {
        SplitArg::Train => Split::Train,
        SplitArg::Test => Split::Test,
    }
}

fn normalisation(args: &Eval) -> Result<Normalisation, Diagnostics> {
    let scale = args.scale.as_deref().map(|text| {
        Scale::parse(text)
            .ok_or_else(|| fault(format!("--scale: expected 1/255 or a number above 0, found `{text}`")))
    });
    let flat = args.flat.and_then(|f| match f {
        Flat::Hwc => Layout::new("hwc"),
        Flat::Chw => Layout::new("chw"),
    });
    let scale = scale.transpose()?;
    Ok(Normalisation { scale, mean: args.mean.clone(), deviation: args.std.clone(), flat })
}

/// The one input and the one output.
fn ports(subject: &Subject) -> Result<(TensorType, TensorType), Diagnostics> {
    let (inputs, outputs) = (subject.input_types(), subject.output_types());
    let mut found = Diagnostics::new();
    for (ports, what) in [(&inputs, "input"), (&outputs, "output")] {
        if ports.len() != 1 {
            let names: Vec<&str> = ports.iter().map(|p| p.0.as_str()).collect();
            let text =
                format!("a classifier has one {what}, this model has {}: {}", ports.len(), names.join(", "));
            found.push(fault(text));
        }
    }
    found.into_result(())?;
    Ok((inputs[0].1.clone(), outputs[0].1.clone()))
}

/// What the output of a classifier is.
struct Head {
    /// Whether the output is a score per class, and not the class.
    has_scores: bool,
    classes: Vec<String>,
    top: usize,
}

impl Head {
    fn of(output: &TensorType, data: &Description, top: Option<usize>) -> Result<Self, Diagnostics> {
        let scores = output.shape.num_elements();
        let has_scores = scores > 1;
        if scores == 0 || scores > MOST_CLASSES || (scores == 1 && output.elem.is_float()) {
            let text =
                format!("the model's output, {output}, holds no scores of 2 to {MOST_CLASSES} classes");
            return Err(fault(text).into());
        }
        let in_data = match &data.classes {
            Classes::Named(names) => Some(names.len()),
            Classes::Count(count) => Some(*count),
            Classes::Open => None,
        };
        let count = match (has_scores, in_data) {
            (true, Some(n)) if n != scores => {
                let text = format!("the model has {scores} classes, and the data ({}) {n}", data.format);
                return Err(fault(text).help("are these the data of this model?").into());
            }
            (true, _) => scores,
            (false, Some(n)) => n,
            (false, None) => {
                let text = "the model gives a class alone, and the data do not say how many there are";
                return Err(fault(text)
                    .help("convert it without --head class, or give a folder for each label")
                    .into());
            }
        };
        let top = match top {
            Some(k) if has_scores && (1..=count).contains(&k) => k,
            Some(k) if has_scores => {
                return Err(
                    fault(format!("--top: expected 1 to {count}, the number of classes, found {k}")).into()
                );
            }
            Some(k) if k != 1 => {
                return Err(fault("--top needs scores, and this model gives a class alone").into());
            }
            _ if has_scores => 5.min(count),
            _ => 1,
        };
        let classes = match &data.classes {
            Classes::Named(names) => names.clone(),
            _ => (0..count).map(|c| c.to_string()).collect(),
        };
        Ok(Self { has_scores, classes, top })
    }
}

/// Samples that wait for the model.
struct Waiting {
    pending: Vec<Pending>,
    data: Data,
}

fn count(
    args: &Eval,
    subject: &Subject,
    (input, normal): (TensorType, Normalisation),
    source: &dyn Source,
    head: &Head,
) -> Result<Tally, Diagnostics> {
    let bytes = input.shape.num_elements().saturating_mul(4).max(1);
    let batch = match subject {
        Subject::Graph(_) => (BATCH_BYTES / bytes).clamp(1, BATCH),
        Subject::Artefact(_) => (ARTEFACT_BYTES / bytes).max(1),
    };
    let threads = args.threads.unwrap_or_else(model::default_threads);
    let runner = subject.runner(batch)?;
    let mut preparer = Preparer::new(input.clone(), normal).map_err(Diagnostics)?;
    let mut tally = Tally::new(head.classes.clone(), head.top);
    let mut waiting = Waiting { pending: Vec::new(), data: empty(&input.elem) };
    counting("measuring", source.description().count, |done| {
        let mut flush = |waiting: &mut Waiting| -> Result<(), Diagnostics> {
            let (samples, fresh) = (waiting.pending.len(), empty(&input.elem));
            let data = std::mem::replace(&mut waiting.data, fresh);
            judge(&runner, threads, data, &mut waiting.pending, head, &mut tally)?;
            done(samples);
            Ok(())
        };
        source.each(&mut |sample| {
            preparer.append(&sample, &mut waiting.data)?;
            let picture = if args.html.is_some() { Picture::of(&sample) } else { None };
            waiting.pending.push(Pending { name: sample.name, label: sample.label, picture });
            if waiting.pending.len() >= batch { flush(&mut waiting) } else { Ok(()) }
        })?;
        flush(&mut waiting)
    })?;
    match tally.samples {
        0 => Err(fault("the dataset has no samples").into()),
        _ => Ok(tally),
    }
}

/// No elements of that type.
fn empty(elem: &ElemType) -> Data {
    if elem.is_float() { Data::F32(Vec::new()) } else { Data::from_codes(elem, []) }
}

/// Runs a batch and counts what comes of it.
fn judge(
    runner: &Runner<'_>,
    threads: usize,
    data: Data,
    pending: &mut Vec<Pending>,
    head: &Head,
    tally: &mut Tally,
) -> Result<(), Diagnostics> {
    if pending.is_empty() {
        return Ok(());
    }
    let inputs = Batch { count: pending.len(), data: vec![data], counted: true };
    let outputs = runner.run(&inputs, threads)?;
    let Some(output) = outputs.first() else { return Err(fault("the model gave no output").into()) };
    for (i, sample) in pending.drain(..).enumerate() {
        if head.has_scores {
            tally.scores(sample, &scores(output, head.classes.len(), i)?)?;
        } else {
            let class = output.code(i).ok_or_else(|| fault("the model gave fewer results than samples"))?;
            tally.class(sample, class)?;
        }
    }
    Ok(())
}

fn text(tally: &Tally, data: &Description, elapsed: f64) -> String {
    let percent = |part: u64, all: u64| match all {
        0 => "-".to_string(),
        all => format!("{:.2} %", 100.0 * part as f64 / all as f64),
    };
    let (samples, correct) = (tally.samples, tally.correct());
    let mut out = format!("{samples} samples of {} classes ({})\n", tally.classes.len(), data.format);
    let _ = writeln!(out, "top-1: {} ({correct} of {samples})", percent(correct, samples));
    if tally.top > 1 {
        let _ = writeln!(
            out,
            "top-{}: {} ({} of {samples})",
            tally.top,
            percent(tally.among, samples),
            tally.among
        );
    }
    let rows: Vec<Vec<String>> = (0..tally.classes.len())
        .map(|c| {
            let (of, right) = tally.of_class(c);
            vec![tally.classes[c].clone(), of.to_string(), right.to_string(), percent(right, of)]
        })
        .collect();
    out += "\n";
    out += &table(&["class", "samples", "correct", "accuracy"], &rows, &[1, 2, 3]);
    if tally.classes.len() <= PRINTED {
        out += "\nrows: the class, columns: what the model gives\n";
        let mut header = vec![""];
        header.extend(tally.classes.iter().map(String::as_str));
        let row = |(name, row): (&String, &Vec<u64>)| {
            std::iter::once(name.clone()).chain(row.iter().map(u64::to_string)).collect()
        };
        let rows: Vec<Vec<String>> = tally.classes.iter().zip(&tally.confusion).map(row).collect();
        let right: Vec<usize> = (1..=tally.classes.len()).collect();
        out += &table(&header, &rows, &right);
    }
    if !tally.mistakes.is_empty() {
        let _ = writeln!(out, "\n{} got another class:", tally.mistakes.len());
    }
    for mistake in &tally.mistakes {
        let (own, given) = (&tally.classes[mistake.label], &tally.classes[mistake.predicted]);
        let _ = writeln!(out, "{}: {} -> {}", escaped(&mistake.name), escaped(own), escaped(given));
    }
    let _ = writeln!(out, "\nelapsed: {elapsed:.2} s");
    out
}
