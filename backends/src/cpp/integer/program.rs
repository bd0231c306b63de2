//! `main.cpp` of an integer graph, which runs the header on `.npy` files of numbers or of codes.

use super::super::program::quoted;
use super::words::Word;
use crate::core::Core;
use unfloat_ir::{Graph, TensorType};

/// A port as the program sees it: its name, its type, and that of its elements in C++ and in a file.
struct Port<'a> {
    name: &'a str,
    ty: &'a TensorType,
    element: (&'static str, &'static str),
}

impl<'a> Port<'a> {
    /// A port whose elements are floats, or codes of the type.
    fn new(name: &'a str, ty: &'a TensorType, float: bool) -> Self {
        let word = Word::of(&ty.elem);
        Self { name, ty, element: if float { ("float", "<f4") } else { (word.name(), word.npy()) } }
    }
    fn entry(&self) -> String {
        let dims: Vec<String> = self.ty.shape.iter().map(usize::to_string).collect();
        format!("    {{{}, {{{}}}, \"{}\"}},\n", quoted(self.name), dims.join(", "), self.element.1)
    }
}

/// A function that runs one sample, through buffers of the ports' own types.
fn call(name: &str, function: &str, called: &str, inputs: &[Port], outputs: &[Port]) -> String {
    let mut text =
        format!("void {function}(const std::vector<array>& in, std::vector<array>& out, std::size_t s) {{\n");
    let mut arguments = Vec::new();
    let named =
        |ports: &'_ [Port], letter: &'static str| (0..ports.len()).map(move |i| format!("{letter}{i}"));
    let buffers = named(inputs, "x").chain(named(outputs, "y"));
    for (buffer, p) in buffers.zip(inputs.iter().chain(outputs)) {
        text.push_str(&format!("  static {} {buffer}[{}];\n", p.element.0, p.ty.shape.num_elements()));
        arguments.push(buffer);
    }
    text.push_str("  static_cast<void>(in);\n  static_cast<void>(out);\n");
    for i in 0..inputs.len() {
        text.push_str(&format!("  std::memcpy(x{i}, &in[{i}].data[s * sizeof x{i}], sizeof x{i});\n"));
    }
    text.push_str(&format!("  ::{name}::{called}({});\n", arguments.join(", ")));
    for i in 0..outputs.len() {
        text.push_str(&format!("  std::memcpy(&out[{i}].data[s * sizeof y{i}], y{i}, sizeof y{i});\n"));
    }
    text + "}\n\n"
}

/// Writes `main.cpp`.
pub fn main_cpp(model: &Graph, core: &Core) -> String {
    let graph = &core.graph;
    let inputs: Vec<Port> = model
        .inputs()
        .iter()
        .map(|&v| Port::new(&model.value(v).name, model.ty(v), model.ty(v).elem.is_float()))
        .collect();
    let named = |i: usize| model.value(model.inputs()[core.inputs[i].model]).name.as_str();
    let code_inputs: Vec<Port> =
        graph.inputs().iter().enumerate().map(|(i, &v)| Port::new(named(i), graph.ty(v), false)).collect();
    let outputs: Vec<Port> = graph
        .outputs()
        .iter()
        .zip(&core.outputs)
        .map(|(o, numbers)| Port::new(&o.name, graph.ty(o.value), numbers.is_some()))
        .collect();
    let code_outputs: Vec<Port> =
        graph.outputs().iter().map(|o| Port::new(&o.name, graph.ty(o.value), false)).collect();
    let entries = |ports: &[Port]| ports.iter().map(Port::entry).collect::<String>();
    let calls = call(&graph.name, "run_numbers", "run_float", &inputs, &outputs)
        + &call(&graph.name, "run_codes", "run", &code_inputs, &code_outputs);
    include_str!("main.cpp.in")
        .replace("@NAME@", &graph.name)
        .replace("@INPUTS@", &entries(&inputs))
        .replace("@OUTPUTS@", &entries(&outputs))
        .replace("@CODE_INPUTS@", &entries(&code_inputs))
        .replace("@CODE_OUTPUTS@", &entries(&code_outputs))
        .replace("@CALLS@", &calls)
}
