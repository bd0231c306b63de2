//! `recipe`: a recipe to start from, with every layer of a model in it.

use crate::cli::RecipeArgs;
use crate::load::{default_name, load_graph};
use crate::model;
use crate::output::{CommandResult, Outcome, io_fault, print};
use unfloat_ir::Stage;
use unfloat_passes::recipe::write;

/// Runs the command.
pub fn run(args: &RecipeArgs) -> CommandResult {
    let mut graph = model::at_stage(load_graph(&args.model, &args.import)?, Stage::Folded)?;
    graph.name = default_name(&args.model);
    let text = write::starting(&graph);
    match &args.output {
        None => print(&text)?,
        Some(path) => std::fs::write(path, text).map_err(|e| io_fault(path, "cannot be written", &e))?,
    }
    Ok(Outcome::Done)
}
