//! `passes`: the documentation of the passes, from the passes themselves.

use crate::output::{CommandResult, Outcome, print, print_json, table};
use serde_json::json;
use unfloat_passes::pass::PassInfo;
use unfloat_passes::registry;

/// Runs the command.
pub fn run(name: Option<&str>, as_json: bool) -> CommandResult {
    let shown: Vec<&'static PassInfo> = match name {
        Some(name) => vec![registry::find(name)?.info()],
        None => registry::PASSES.iter().map(|p| p.info()).collect(),
    };
    if as_json {
        print_json(&shown.iter().map(|i| to_json(i)).collect())?;
    } else if name.is_some() {
        print(&shown.iter().map(|i| page(i)).collect::<String>())?;
    } else {
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|i| vec![i.name.to_string(), i.claim.to_string(), i.summary.to_string()])
            .collect();
        print(&table(&["pass", "claim", "what it does"], &rows, &[]))?;
    }
    Ok(Outcome::Done)
}

fn to_json(info: &PassInfo) -> serde_json::Value {
    json!({
        "name": info.name,
        "summary": info.summary,
        "details": info.details,
        "from": info.from.name(),
        "to": info.to.name(),
        "claim": info.claim.to_string(),
        "options": info.options.iter().map(|o| json!({
            "name": o.name, "takes": o.kind.to_string(), "default": o.default, "summary": o.summary,
        })).collect::<Vec<_>>(),
    })
}

fn page(info: &PassInfo) -> String {
    let mut text = format!(
        "{}: {}\n\n{}\n\nfrom stage {} to stage {}; claim: {}\n",
        info.name, info.summary, info.details, info.from, info.to, info.claim
    );
    for option in info.options {
        text += &format!("  {}={}: {} ({})\n", option.name, option.default, option.summary, option.kind);
    }
    text
}
