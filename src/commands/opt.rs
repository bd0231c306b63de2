//! `opt`: passes on a graph, for compiler people.

use crate::cli::Opt;
use crate::load::load_graph;
use crate::output::{CommandResult, Outcome, note, print, show};
use crate::uir;
use unfloat_ir::Diagnostics;
use unfloat_passes::pass::parse_calls;
use unfloat_passes::pipeline::{RunOptions, pipeline, pipelines, run_pipeline};

/// Runs the command.
pub fn run(args: &Opt) -> CommandResult {
    let named = pipelines().iter().any(|p| p.name == args.passes);
    let calls = if named { pipeline(&args.passes)? } else { parse_calls(&args.passes)? };
    let mut graph = load_graph(&args.model, &args.import)?;
    let options = RunOptions { validate: !args.no_validate, ..RunOptions::default() };
    let mut warnings = Diagnostics::new();
    let report = run_pipeline(&mut graph, &calls, &options, &mut warnings);
    show(&warnings);
    crate::report::describe(&report?).iter().for_each(|line| note(line));
    match &args.output {
        Some(path) => uir::write(path, &graph)?,
        None => print(&uir::to_bytes(&graph)?.0)?,
    }
    Ok(Outcome::Done)
}
