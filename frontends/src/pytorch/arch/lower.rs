//! Layers to nodes, in order; then the keys that no layer asked for.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::{Diagnostic, Graph, Layout, Location, TensorType, ValueId};

use super::cx::Cx;
use super::kinds::{self, KINDS};
use super::spec::Spec;
use crate::pytorch::StateDict;

/// Lowers a whole architecture; nothing when `findings` has an error of it.
pub(super) fn lower(
    label: &str,
    spec: &Spec,
    state: &StateDict,
    findings: &mut Vec<Diagnostic>,
) -> Option<Graph> {
    let mut graph = Graph::new(label.strip_suffix(".toml").unwrap_or(label));
    let mut values: BTreeMap<&str, Option<ValueId>> = BTreeMap::new();
    for (name, shape) in &spec.inputs {
        let layout = match shape.len() {
            1 => Layout::channels_last(0),
            2 | 3 => Layout::channels_first(shape.len() - 1),
            rank => Layout::anonymous(rank),
        };
        if shape.len() > unfloat_ir::Shape::MAX_RANK {
            let at = Location::file(label).at(format!("input {name}"));
            findings.push(Diagnostic::error(at, format!("has {} axes", shape.len())));
            return None;
        }
        let value = graph.add_input(name, TensorType::f32(shape.clone(), layout));
        values.insert(name, Some(value));
    }
    let feeds = feeds_steps(spec);
    let (mut used, mut failed, mut unknown) = (BTreeSet::new(), BTreeSet::new(), false);
    for (i, layer) in spec.layers.iter().enumerate() {
        let place = format!("layers[{i}]");
        let title = format!("{} ({})", layer.name, layer.kind);
        let at = || Location::file(label).at(&place).layer(&title);
        let Some(kind) = kinds::find(&layer.kind) else {
            findings.push(Diagnostic::error(at(), format!("the kind `{}` is unknown", layer.kind)));
            unknown = true;
            failed.insert(layer.module.as_str());
            values.insert(&layer.name, None);
            continue;
        };
        let inputs: Option<Vec<ValueId>> =
            layer.from.iter().map(|name| values.get(name.as_str()).copied().flatten()).collect();
        // What reads a layer that was refused is skipped in silence.
        let Some(inputs) = inputs else {
            failed.insert(layer.module.as_str());
            values.insert(&layer.name, None);
            continue;
        };
        let mut cx = Cx::new(&mut graph, (label, &place, layer), inputs, state, &mut used);
        cx.feeds_steps = feeds.contains(layer.name.as_str());
        let result = (kind.handler)(&mut cx);
        let (unused, warnings) = cx.finish();
        findings.extend(warnings);
        let ok = result.is_ok();
        match result {
            Ok(value) => drop(values.insert(&layer.name, Some(value))),
            Err(message) => {
                findings.push(Diagnostic::error(at(), message));
                failed.insert(layer.module.as_str());
                values.insert(&layer.name, None);
            }
        }
        if ok && !unused.is_empty() {
            let text = format!("parameters that this kind does not have: {}", unused.join(", "));
            findings.push(Diagnostic::error(at(), text).help(format!("it takes {}", kind.summary)));
        }
    }
    if unknown {
        let names: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
        let at = Location::file(label);
        findings.push(
            Diagnostic::error(at, "some kinds of layers are unknown")
                .help(format!("the kinds are {}", names.join(", "))),
        );
    }
    check_unused(label, state, &used, &failed, findings);
    for name in &spec.outputs {
        let value = values.get(name.as_str()).copied().flatten()?;
        graph.add_output(name, value);
    }
    Some(graph.compact())
}

/// Names of the layers that a step function reads, directly or through others.
fn feeds_steps(spec: &Spec) -> BTreeSet<&str> {
    let mut feeds: BTreeSet<&str> = BTreeSet::new();
    // Layers stand after what they read, so one pass from the end is enough.
    for layer in spec.layers.iter().rev() {
        let steps = kinds::find(&layer.kind).is_some_and(|k| k.steps);
        if steps || feeds.contains(layer.name.as_str()) {
            feeds.extend(layer.from.iter().map(String::as_str));
        }
    }
    feeds
}

/// Keys that no layer asked for are an error: a layer was forgotten, or a name is wrong.
fn check_unused(
    label: &str,
    state: &StateDict,
    used: &BTreeSet<String>,
    failed: &BTreeSet<&str>,
    findings: &mut Vec<Diagnostic>,
) {
    let of_failed =
        |key: &str| failed.iter().any(|m| key.strip_prefix(m).is_some_and(|rest| rest.starts_with('.')));
    let counts = |key: &str| key.rsplit('.').next() == Some("num_batches_tracked");
    let left: Vec<&str> =
        state.keys().filter(|k| !used.contains(*k) && !counts(k) && !of_failed(k)).collect();
    if left.is_empty() {
        return;
    }
    let text = format!("no layer uses these tensors: {}", left.join(", "));
    findings.push(
        Diagnostic::error(Location::file(&state.label), text)
            .help(format!("add their layers to {label}; a layer's name is the prefix of its tensors' keys")),
    );
}
