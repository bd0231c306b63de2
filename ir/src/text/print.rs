//! Graph to text.

use super::INLINE_LIMIT;
use crate::attrs::AttrWriter;
use crate::graph::{Graph, ValueId};
use crate::ops::OpDef;
use crate::origin::Origin;
use crate::tensor::{Data, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// A printed graph.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The text.
    pub text: String,
    /// The constants that stand outside, by name, in the order of the text.
    pub blobs: Vec<(String, Arc<Tensor>)>,
}

/// Prints a graph. Only its live part is shown.
pub fn print(graph: &Graph) -> Printed {
    let graph = graph.compact();
    let mut printer =
        Printer { out: Printed { text: String::new(), blobs: Vec::new() }, done: BTreeSet::new() };
    let text = &mut printer.out.text;
    let _ = writeln!(text, "uir 1\ngraph {} {}", quoted(&graph.name), graph.stage);
    for &input in graph.inputs() {
        let value = graph.value(input);
        let _ = writeln!(text, "input {} : {}", name(&value.name), value.ty);
    }
    for (_, node) in graph.live_nodes() {
        node.inputs.iter().for_each(|&v| printer.constant(&graph, v));
        let text = &mut printer.out.text;
        let value = graph.value(node.output);
        let _ = write!(text, "{} = {}", name(&value.name), node.op.name());
        for (i, &input) in node.inputs.iter().enumerate() {
            let _ = write!(text, "{}{}", if i > 0 { ", " } else { " " }, name(&graph.value(input).name));
        }
        let mut attrs = AttrWriter::default();
        node.op.attrs(&mut attrs);
        for (i, (attr, value)) in attrs.0.iter().enumerate() {
            let _ = write!(text, "{}{attr}={value}", if i > 0 { ", " } else { " {" });
        }
        let close = if attrs.0.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{close} : {}{}", value.ty, origin(&node.origin));
    }
    for output in graph.outputs() {
        printer.constant(&graph, output.value);
        let shown = name(&graph.value(output.value).name);
        let _ = writeln!(printer.out.text, "output {} {shown}", quoted(&output.name));
    }
    printer.out
}

struct Printer {
    out: Printed,
    done: BTreeSet<usize>,
}

impl Printer {
    /// Prints a constant before its first reader.
    fn constant(&mut self, graph: &Graph, id: ValueId) {
        use crate::arena::Handle;
        let Some(tensor) = graph.const_of(id) else { return };
        if !self.done.insert(id.index()) {
            return;
        }
        let value = graph.value(id);
        let _ = write!(self.out.text, "const {} : {} = ", name(&value.name), value.ty);
        if tensor.len() > INLINE_LIMIT {
            let _ = writeln!(self.out.text, "@blob sha256={}", type_and_data_hash(tensor));
            self.out.blobs.push((value.name.clone(), tensor.clone()));
            return;
        }
        self.out.text.push('[');
        for i in 0..tensor.len() {
            self.out.text.push_str(if i > 0 { ", " } else { "" });
            let _ = match &tensor.data {
                Data::F32(v) => float(&mut self.out.text, v[i]),
                codes => write!(self.out.text, "{}", codes.code(i).unwrap_or(0)),
            };
        }
        self.out.text.push_str("]\n");
    }
}

/// Shortest round-trip form; a NaN with all its bits.
fn float(to: &mut String, x: f32) -> std::fmt::Result {
    if x.is_nan() { write!(to, "nan({:#010x})", x.to_bits()) } else { write!(to, "{x:?}") }
}

/// The hash that stands beside a constant kept outside: SHA-256 over its type's text and its elements,
/// little-endian (floats as their bits, codes as 64-bit integers).
pub fn type_and_data_hash(tensor: &Tensor) -> String {
    let mut hash = Sha256::new();
    hash.update(tensor.ty.to_string());
    match &tensor.data {
        Data::F32(v) => v.chunks(1024).for_each(|chunk| {
            hash.update(chunk.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }),
        codes => (0..codes.len()).for_each(|i| hash.update(codes.code(i).unwrap_or(0).to_le_bytes())),
    }
    hash.finalize().iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// Whether a name needs no quotes; `//` would begin a comment.
pub(super) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_bare_char) && !name.contains("//")
}

/// The characters of names without quotes.
pub(super) fn is_bare_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

fn name(name: &str) -> String {
    if is_bare(name) { format!("%{name}") } else { format!("%{}", quoted(name)) }
}

/// A string in quotes, with `\"`, `\\` and control characters as `\u{…}`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn origin(origin: &Origin) -> String {
    if origin.is_unknown() {
        return String::new();
    }
    let [file, place, layer] = [&origin.file, &origin.place, &origin.layer].map(|s| quoted(s));
    format!(" @{}({file}, {place}, {layer})", origin.format)
}
