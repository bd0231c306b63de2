//! A starting recipe for a model, with every layer in it.
//!
//! In: a folded graph. Out: the text of a recipe that does what `--quantize int8` does, and says in comments what can be
//! changed where. It reads back ([`super::file`]).

use super::file::defaults;
use super::roles::{Role, role, varying};
use super::sites::layer_name;
use std::fmt::Write;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Graph, Node, OpDef, ValueId};

/// The text of a recipe for a folded graph.
pub fn starting(graph: &Graph) -> String {
    let f = defaults();
    let mut text = format!(
        "# A recipe for {}: given back as it is, it does what `--quantize int8` does.\n\
         # Formats: intN, fixed<W,I>, ternary, bipolar, log2<B> (the last two for weights only), float.\n\
         # fixed<W,I> rounds half to even and saturates unless it names its modes: fixed<W,I,TRN,WRAP>.\n\n\
         [default]\n\
         weights = \"{}\"            # one scale per output channel\n\
         bias = \"{}\"        # on the grid of the sums; or fixed<W,I>, float\n\
         activation = \"{}\"         # without a sign where nothing is negative\n\
         accumulator = \"{}\"        # as wide as the sums can be; or fixed<W,I>\n\n\
         [calibration]\n\
         method = \"minmax\"           # or percentile=99.99, mse, kl\n\n\
         # Exceptions. `name` is a value or a layer, or a pattern with * and ?; the last one that says something counts.\n\
         # Remove the # in front of the lines that you want.\n",
        comment(&graph.name),
        f.weights,
        f.bias,
        f.activation,
        f.accumulator
    );
    for &input in graph.inputs() {
        let value = graph.value(input);
        let _ = write!(text, "\n# {}: input, {}\n", comment(&value.name), value.ty);
        text += &entry(&value.name, &["activation = \"int8\""]);
    }
    let varies = varying(graph);
    for (_, node) in graph.live_nodes().filter(|(_, n)| varies[n.output.index()]) {
        let value = graph.value(node.output);
        let role = role(graph, node, &varies);
        let layer = layer_name(&node.origin.layer);
        let of = if layer.is_empty() || layer == value.name {
            String::new()
        } else {
            format!(" of {}", comment(layer))
        };
        let parameters = parameters(graph, node);
        let parameters = if parameters > 0 { format!(", {parameters} parameters") } else { String::new() };
        let _ =
            write!(text, "\n# {}: {}{of}, {}{parameters}\n", comment(&value.name), node.op.name(), value.ty);
        let lines: &[&str] = match role {
            Role::Linear => {
                &["weights = \"int8\"", "bias = \"accumulator\"", "activation = \"int8\"", "keep = \"float\""]
            }
            Role::Move | Role::Concat | Role::Coded => &[],
            Role::Chain => &["activation = \"int8\""],
            _ => &["activation = \"int8\"", "keep = \"float\""],
        };
        if !lines.is_empty() {
            text += &entry(&value.name, lines);
        }
    }
    text
}

/// A table, as a comment.
fn entry(name: &str, lines: &[&str]) -> String {
    let name = quoted(name);
    let lines: String = lines.iter().map(|l| format!("# {l}\n")).collect();
    format!("# [[layer]]\n# name = {name}\n{lines}")
}

/// A name as a string of TOML, on one line.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", c as u32);
            }
            c => text.push(c),
        }
    }
    text + "\""
}

/// Names stay on one line.
fn comment(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn parameters(graph: &Graph, node: &Node) -> usize {
    let constants = node.inputs.iter().filter(|v| graph.const_of(**v).is_some());
    constants.map(|&v: &ValueId| graph.ty(v).shape.num_elements()).fold(0, usize::saturating_add)
}
