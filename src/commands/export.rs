//! `export`: the parameters of a checkpoint or a model as data for other platforms.
//!
//! In: a checkpoint, whose tensors are taken as they are, under their keys, or anything with a graph, whose constants are
//! taken after it was lowered. Out: the formats that are asked for, in one directory, and on stdout `key,shape` of every
//! tensor, a line each, in the file's order. Refuses: what a format cannot hold, before anything is written.

use crate::checkpoint;
use crate::cli::Export;
use crate::load::{default_name, load_graph, misplaced_for_tensors};
use crate::model::{self, at_stage};
use crate::output::{CommandResult, Outcome, fault, note, print, print_json};
use crate::quantization::Request;
use std::sync::Arc;
use unfloat_backends::parameters::{self, Format, Parameter, Set};
use unfloat_backends::{Manifest, OutDir, namer, registry};
use unfloat_ir::{Diagnostics, Stage};
use unfloat_passes::analysis::memory;

/// Runs the command.
pub fn run(args: &Export) -> CommandResult {
    let formats = formats(args)?;
    let name = args.name.clone().unwrap_or_else(|| namer::sanitize(&default_name(&args.model)));
    let is_tensors = args.import.arch.is_none() && checkpoint::recognise(&args.model)?.is_some();
    let (set, mut manifest) = if is_tensors { of_checkpoint(args, &name)? } else { of_model(args, &name)? };
    let mut found = Diagnostics::new();
    for format in &formats {
        found.extend(set.check(format).err().into_iter().flatten());
    }
    found.into_result(())?;
    let mut out = OutDir::new();
    for format in formats {
        set.emit(format, &mut out, &mut manifest)?;
    }
    let written = out.write_to(&args.output, manifest, args.force)?;
    if args.json {
        print_json(&serde_json::to_value(&written).unwrap_or_default())?;
    } else {
        print(&set.lines().map(|line| line + "\n").collect::<String>())?;
    }
    let bytes: u64 = written.files.iter().map(|f| f.size).sum();
    note(&format!("{} files, {bytes} bytes, in {}", written.files.len(), args.output.display()));
    Ok(Outcome::Done)
}

/// What `--emit` and `--name` ask for. All that is wrong is said at once.
fn formats(args: &Export) -> Result<Vec<&'static Format>, Diagnostics> {
    let mut found = Diagnostics::new();
    let mut formats: Vec<&'static Format> = Vec::new();
    for name in &args.emit {
        match registry::format(name) {
            Some(format) if formats.iter().any(|f| f.name == format.name) => {}
            Some(format) => formats.push(format),
            None => {
                let names: Vec<&str> = registry::FORMATS.iter().map(|f| f.name).collect();
                let help = format!("formats: {}; `unfloat convert` emits programs", names.join(", "));
                found.push(fault(format!("there is no format `{name}` of parameters")).help(help));
            }
        }
    }
    if let Some(Err(e)) = args.name.as_ref().map(|name| namer::check(name, &[])) {
        found.push(e);
    }
    found.into_result(formats)
}

/// A checkpoint's own tensors.
fn of_checkpoint(args: &Export, name: &str) -> Result<(Set, Manifest), Diagnostics> {
    let mut misplaced = misplaced_for_tensors(&args.import);
    if Request::of(&args.quantization)?.is_some() {
        misplaced
            .push(fault("options of quantization are for graphs, and a checkpoint has none; give --arch"));
    }
    misplaced.into_result(())?;
    let read = checkpoint::read(&args.model, args.import.key.as_deref())?;
    let parameter =
        |e: unfloat_frontends::pytorch::Entry| Parameter { key: e.key, tensor: Arc::new(e.tensor) };
    let set = Set::new(name, read.state.entries.into_iter().map(parameter).collect())?;
    Ok((set, Manifest::of_tensors(name)))
}

/// The constants of a lowered graph.
fn of_model(args: &Export, name: &str) -> Result<(Set, Manifest), Diagnostics> {
    let request = Request::of(&args.quantization)?;
    let graph = load_graph(&args.model, &args.import)?;
    memory::check(&graph)?;
    let mut graph = match request {
        None => model::integers(graph)?,
        Some(request) => request.apply(at_stage(graph, Stage::Folded)?)?.graph,
    };
    graph.name = name.to_string();
    let set = Set::new(name, parameters::of_graph(&graph))?;
    Ok((set, Manifest::new(&graph)))
}
