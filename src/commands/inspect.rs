//! `inspect`: the layers of a graph as a table, JSON or a drawing, the tensors of a checkpoint, and single tensors.

use crate::checkpoint;
use crate::cli::Inspect;
use crate::load::{load_graph, misplaced_for_tensors, stored_tensor};
use crate::model;
use crate::output::{CommandResult, Outcome, escaped, fault, io_fault, print, print_json, table};
use crate::quantization::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use unfloat_backends::parameters;
use unfloat_frontends::pytorch::{Entry, Unreadable};
use unfloat_ir::arena::Handle;
use unfloat_ir::attrs::AttrWriter;
use unfloat_ir::{Data, Diagnostic, Graph, Location, Node, OpDef, Stage, Tensor, ValueId};

/// Runs the command.
pub fn run(args: &Inspect) -> CommandResult {
    let stage = Stage::from_name(&args.stage).ok_or_else(|| {
        let names: Vec<&str> = Stage::ALL.iter().map(|s| s.name()).collect();
        fault(format!("--stage: expected one of {}, found `{}`", names.join(", "), args.stage))
    })?;
    // With an architecture a checkpoint is a graph, but its tensors keep their own keys and shapes.
    let tensors_only = args.import.arch.is_none() || args.tensor.is_some();
    if tensors_only && checkpoint::recognise(&args.model)?.is_some() {
        return checkpoint_tensors(args);
    }
    if let Some(name) = &args.tensor
        && let Some(stored) = stored_tensor(&args.model, name, &args.import)?
    {
        return one_tensor(name, &stored, args);
    }
    let graph = load_graph(&args.model, &args.import)?;
    let graph = match Request::of(&args.quantization)? {
        Some(request) => request.apply(model::at_stage(graph, Stage::Folded)?)?.graph,
        None => model::at_stage(graph, stage)?,
    };
    if let Some(name) = &args.tensor {
        return tensor(&graph, name, args);
    }
    let layers = layers(&graph);
    if args.json {
        print_json(&to_json(&graph, &layers))?;
    } else if args.dot {
        print(&dot(&graph, &layers))?;
    } else {
        print(&text(&graph, &layers))?;
    }
    Ok(Outcome::Done)
}

/// What is shown of a node.
struct Layer {
    name: String,
    kind: String,
    ty: String,
    params: u64,
    macs: u64,
    origin: String,
}

fn layers(graph: &Graph) -> Vec<Layer> {
    // A weight that two layers share is counted where it is read first.
    let mut counted = BTreeSet::new();
    graph
        .live_nodes()
        .map(|(_, node)| Layer {
            name: graph.value(node.output).name.clone(),
            kind: kind(node),
            ty: graph.ty(node.output).to_string(),
            params: node
                .inputs
                .iter()
                .filter(|v| graph.const_of(**v).is_some() && counted.insert(v.index()))
                .map(|&v| graph.ty(v).shape.num_elements() as u64)
                .sum(),
            macs: macs(graph, node),
            origin: node.origin.to_string(),
        })
        .collect()
}

fn kind(node: &Node) -> String {
    let mut attrs = AttrWriter::default();
    node.op.attrs(&mut attrs);
    let attrs: Vec<String> = attrs.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if attrs.is_empty() {
        node.op.name().to_string()
    } else {
        format!("{} {}", node.op.name(), attrs.join(" "))
    }
}

fn macs(graph: &Graph, node: &Node) -> u64 {
    let types: Vec<_> = node.inputs.iter().map(|&v| graph.ty(v)).collect();
    node.op.macs(&types, graph.ty(node.output))
}

fn text(graph: &Graph, layers: &[Layer]) -> String {
    let mut out = format!("{} (stage {})\n", graph.name, graph.stage);
    for &input in graph.inputs() {
        let _ = writeln!(out, "input {} : {}", escaped(&graph.value(input).name), graph.ty(input));
    }
    let rows: Vec<Vec<String>> = layers
        .iter()
        .map(|l| {
            vec![
                l.name.clone(),
                l.kind.clone(),
                l.ty.clone(),
                l.params.to_string(),
                l.macs.to_string(),
                l.origin.clone(),
            ]
        })
        .collect();
    out += &table(&["name", "kind", "output", "params", "MACs", "origin"], &rows, &[3, 4]);
    for output in graph.outputs() {
        let _ = writeln!(out, "output {} : {}", escaped(&output.name), graph.ty(output.value));
    }
    let params: u64 = layers.iter().map(|l| l.params).sum();
    let macs: u64 = layers.iter().map(|l| l.macs).sum();
    let _ = writeln!(out, "{params} parameters, {macs} multiply-accumulates per sample");
    out
}

fn to_json(graph: &Graph, layers: &[Layer]) -> Value {
    let port = |name: &str, v: ValueId| {
        let ty = graph.ty(v);
        json!({ "name": name, "type": ty.elem.to_string(), "shape": ty.shape.dims(), "layout": ty.layout.as_str() })
    };
    json!({
        "name": graph.name,
        "stage": graph.stage.name(),
        "inputs": graph.inputs().iter().map(|&v| port(&graph.value(v).name, v)).collect::<Vec<_>>(),
        "outputs": graph.outputs().iter().map(|o| port(&o.name, o.value)).collect::<Vec<_>>(),
        "layers": layers.iter().map(|l| json!({
            "name": l.name, "kind": l.kind, "output": l.ty, "params": l.params, "macs": l.macs, "origin": l.origin,
        })).collect::<Vec<_>>(),
        "params": layers.iter().map(|l| l.params).sum::<u64>(),
        "macs": layers.iter().map(|l| l.macs).sum::<u64>(),
    })
}

/// Graphviz' text; constants are left out.
fn dot(graph: &Graph, layers: &[Layer]) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = format!("digraph {} {{\n  node [shape=box];\n", quote(&graph.name));
    for &input in graph.inputs() {
        let label = format!("{}\n{}", graph.value(input).name, graph.ty(input));
        let _ = writeln!(out, "  v{} [shape=ellipse, label={}];", input.index(), quote(&label));
    }
    for ((_, node), layer) in graph.live_nodes().zip(layers) {
        let label = format!("{}\n{}\n{}", layer.name, layer.kind, layer.ty);
        let _ = writeln!(out, "  v{} [label={}];", node.output.index(), quote(&label));
        for input in node.inputs.iter().filter(|v| graph.const_of(**v).is_none()) {
            let _ = writeln!(out, "  v{} -> v{};", input.index(), node.output.index());
        }
    }
    for (i, output) in graph.outputs().iter().enumerate() {
        let _ = writeln!(
            out,
            "  o{i} [shape=ellipse, label={}];\n  v{} -> o{i};",
            quote(&output.name),
            output.value.index()
        );
    }
    out + "}\n"
}

/// The tensors of a checkpoint, or one of them.
fn checkpoint_tensors(args: &Inspect) -> CommandResult {
    if args.dot || args.stage != Stage::Imported.name() {
        let text = "--dot and --stage are for graphs, and a checkpoint has none";
        return Err(fault(format!("{}: {text}", args.model.display())).into());
    }
    let mut misplaced = misplaced_for_tensors(&args.import);
    if Request::of(&args.quantization)?.is_some() {
        misplaced
            .push(fault("options of quantization are for graphs, and a checkpoint has none; give --arch"));
    }
    misplaced.into_result(())?;
    let read = checkpoint::list(&args.model, args.import.key.as_deref())?;
    let entries = &read.state.entries;
    if let Some(key) = &args.tensor {
        if let Some(tensor) = read.unreadable.iter().find(|u| u.key == *key) {
            return Err(unreadable(&read.state.label, tensor).into());
        }
        let Some(entry) = read.state.get(key) else {
            let keys: Vec<&str> = read.state.keys().collect();
            return Err(fault(format!("there is no tensor `{}`", escaped(key)))
                .help(format!("there are: {}", escaped(&keys.join(", "))))
                .into());
        };
        return one_tensor(key, &entry.tensor, args);
    }
    let total: usize = entries.iter().map(|e| e.tensor.len()).sum();
    if args.json {
        let tensors = entries.iter().map(|e| {
            json!({
                "key": e.key, "shape": e.tensor.ty.shape.dims(), "stored": e.stored, "type": e.tensor.ty.elem.to_string(),
                "params": e.tensor.len(), "place": e.place,
            })
        });
        print_json(&json!({
            "name": read.state.label, "format": read.format.to_string(), "tensors": tensors.collect::<Vec<_>>(),
            "params": total,
            "unreadable": read.unreadable.iter().map(|u| json!({
                "key": u.key, "place": u.place, "reason": u.reason,
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(Outcome::Done);
    }
    let row = |e: &Entry| {
        vec![e.key.clone(), e.tensor.ty.shape.to_string(), e.stored.clone(), e.tensor.len().to_string()]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let mut out = format!("{} ({})\n", read.state.label, read.format);
    out += &table(&["key", "shape", "stored as", "params"], &rows, &[3]);
    let plural = if entries.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "{} tensor{plural}, {total} parameters", entries.len());
    if !read.unreadable.is_empty() {
        let _ = writeln!(out, "{} that cannot be read:", read.unreadable.len());
        let row = |u: &Unreadable| vec![u.key.clone(), u.reason.clone()];
        let rows: Vec<Vec<String>> = read.unreadable.iter().map(row).collect();
        out += &table(&["key", "reason"], &rows, &[]);
    }
    print(&out)?;
    Ok(Outcome::Done)
}

/// The error about a tensor that was asked for.
fn unreadable(label: &str, tensor: &Unreadable) -> Diagnostic {
    let at = Location::file(label).at(tensor.place.clone());
    Diagnostic::error(at, format!("`{}` {}", escaped(&tensor.key), tensor.reason))
}

/// Finds a constant of a graph.
fn tensor(graph: &Graph, name: &str, args: &Inspect) -> CommandResult {
    let compact = graph.compact();
    let constants: Vec<(&str, &Tensor)> = compact
        .values()
        .filter_map(|(id, v)| compact.const_of(id).map(|t| (v.name.as_str(), t.as_ref())))
        .collect();
    let Some((_, tensor)) = constants.iter().find(|(n, _)| *n == name) else {
        let names: Vec<&str> = constants.iter().map(|c| c.0).collect();
        return Err(fault(format!("there is no constant `{}`", escaped(name)))
            .help(format!("there are: {}", escaped(&names.join(", "))))
            .into());
    };
    one_tensor(name, tensor, args)
}

/// Prints `key,shape` and the values, or saves them.
fn one_tensor(name: &str, tensor: &Tensor, args: &Inspect) -> CommandResult {
    if let Some(path) = &args.output {
        std::fs::write(path, unfloat_npy::write_npy(tensor))
            .map_err(|e| io_fault(path, "cannot be written", &e))?;
        return Ok(Outcome::Done);
    }
    if args.json {
        let values: Vec<Value> = match &tensor.data {
            Data::F32(v) => v.iter().map(|x| json!(x)).collect(),
            codes => (0..codes.len()).map(|i| json!(codes.code(i))).collect(),
        };
        print_json(&json!({
            "key": name, "shape": tensor.ty.shape.dims(), "type": tensor.ty.elem.to_string(), "values": values,
        }))?;
        return Ok(Outcome::Done);
    }
    let mut out = parameters::line(name, tensor.shape().dims()) + "\n";
    for i in 0..tensor.len() {
        let _ = match &tensor.data {
            Data::F32(v) => writeln!(out, "{:?}", v[i]),
            codes => writeln!(out, "{}", codes.code(i).unwrap_or(0)),
        };
    }
    print(&out)?;
    Ok(Outcome::Done)
}
