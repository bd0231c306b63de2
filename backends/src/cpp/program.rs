//! `main.cpp`, which runs the header on `.npy` files, and `CMakeLists.txt`.

use super::writer::port;
use unfloat_ir::{Graph, TensorType};

/// A string as a C++ literal. Names come from model files: what is not plain becomes an escape, and so does the
/// mark of the template's own fields.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'?' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' if byte != b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out.push('"');
    out
}

/// Writes `main.cpp`.
pub fn main_cpp(graph: &Graph) -> String {
    let name = &graph.name;
    let entry = |label: &str, ty: &TensorType| {
        let dims: Vec<String> = ty.shape.iter().map(usize::to_string).collect();
        format!("    {{{}, {{{}}}}},\n", quoted(label), dims.join(", "))
    };
    let inputs: String = graph.inputs().iter().map(|&v| entry(&graph.value(v).name, graph.ty(v))).collect();
    let outputs: String = graph.outputs().iter().map(|o| entry(&o.name, graph.ty(o.value))).collect();
    let pointer =
        |list: &str, i: usize, size: String| format!("{list}[{i}].data.data() + s * ::{name}::{size}");
    let (ni, no) = (graph.inputs().len(), graph.outputs().len());
    let arguments: Vec<String> = (0..ni)
        .map(|i| pointer("in", i, port("input_size", i, ni)))
        .chain((0..no).map(|i| pointer("out", i, port("output_size", i, no))))
        .collect();
    TEMPLATE
        .replace("@NAME@", name)
        .replace("@INPUTS@", &inputs)
        .replace("@OUTPUTS@", &outputs)
        .replace("@ARGUMENTS@", &arguments.join(",\n                  "))
}

const TEMPLATE: &str = include_str!("main.cpp.in");

/// Writes `CMakeLists.txt`.
pub fn cmake(graph: &Graph) -> String {
    include_str!("CMakeLists.txt.in").replace("@NAME@", &graph.name)
}
