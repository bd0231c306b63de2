//! `audit`: every float, run-time scale and unproved width that is left in a model once all passes have run. For CI: exit
//! status 1 when there is any.

use crate::classes::{classes, logits};
use crate::cli::{Audit, Head};
use crate::model::{Subject, at_stage, integers};
use crate::output::{CommandResult, Outcome, fault, print, print_json, show, table};
use crate::quantization::Request;
use serde_json::json;
use unfloat_ir::{Diagnostics, Stage};
use unfloat_passes::audit::{Finding, Kind, audit};
use unfloat_passes::pipeline::RunOptions;

/// Runs the command.
pub fn run(args: &Audit) -> CommandResult {
    let request = Request::of(&args.quantization)?;
    let Subject::Graph(graph) = Subject::open(&args.model, &args.import)? else {
        return Err(fault(format!("{}: what was emitted holds no graph", args.model.display()))
            .help("audit the model that it was made of")
            .into());
    };
    let mut graph = at_stage(graph, Stage::Folded)?;
    if args.head == Head::Logits {
        graph = logits(graph);
    }
    let graph = match request {
        Some(request) => {
            let done = request.apply_with(graph, &RunOptions::default(), args.head)?;
            show(&done.warnings);
            done.graph
        }
        None if args.head == Head::Class => {
            let mut warnings = Diagnostics::new();
            let graph = classes(graph, &mut warnings)?;
            show(&warnings);
            integers(graph)?
        }
        None => integers(graph)?,
    };
    let mut found = audit(&graph);
    found.retain(|f| !args.allow_zero_padding || f.kind != Kind::Padding);
    if args.json {
        print_json(&json!({ "clean": found.is_empty(), "findings": found }))?;
    } else {
        print(&describe(&found))?;
    }
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::Differs })
}

fn describe(found: &[Finding]) -> String {
    if found.is_empty() {
        return "no float hides between the quantizers of the inputs and the outputs\n".to_string();
    }
    let row = |f: &Finding| [&f.value, &f.op, &f.what, &f.origin].map(String::from).to_vec();
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let mut text = table(&["value", "op", "what", "from"], &rows, &[]);
    let mut remedies: Vec<&str> = found.iter().map(|f| f.remedy.as_str()).collect();
    remedies.sort_unstable();
    remedies.dedup();
    text += &format!("{} places\n", found.len());
    remedies.iter().for_each(|r| text += &format!("help: {r}\n"));
    text
}
