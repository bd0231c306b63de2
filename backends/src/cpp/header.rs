//! `NAME.hpp`.

use super::ops;
use super::plan::{Plan, Step};
use super::weights::{self, Encoded, Form};
use super::writer::{Constant, Writer, has_word, port};
use crate::backend::Options;
use crate::outdir::File;
use std::fmt::Write;
use std::sync::Arc;
use unfloat_ir::{Graph, OpDef, TensorType};

/// The names of the header's own scope that the body must not hide, but for numbered ones.
const OWN: &[&str] = &[
    "arena",
    "in_t",
    "input_count",
    "input_size",
    "kernel",
    "out_t",
    "output_count",
    "output_size",
    "run",
    "run_float",
    "shape",
    "shared_workspace",
    "weights",
    "workspace",
    "to",
    "index",
    "in",
    "out",
];

/// Writes the header.
pub fn file(graph: &Graph, plan: &Plan, options: &Options) -> File {
    let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
    let numbered = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}_{i}")).collect::<Vec<_>>();
    let own: Vec<String> = [
        numbered("in", inputs),
        numbered("out", outputs),
        numbered("input_size", inputs),
        numbered("output_size", outputs),
    ]
    .concat();
    let taken: Vec<&str> = own.iter().map(String::as_str).chain(OWN.iter().copied()).collect();
    let mut w = Writer::new(graph, plan, &taken);
    for step in &plan.steps {
        comment(&mut w, step);
        ops::write(&mut w, step);
    }
    for (value, n) in &plan.copies {
        let (from, to) = (w.read(*value), port("out", *n, outputs));
        let size = graph.ty(*value).shape.num_elements();
        w.line(&format!("\n  // Output {n} shows what is elsewhere already."));
        w.line(&format!("std::memcpy({to}, {from}, {size} * sizeof(float));"));
    }
    let mut file = File::new();
    let total: usize = w.constants.iter().map(|c| weights::padded(c.len)).sum();
    let form = match options.get("weights") {
        "text" => Form::Text,
        "literals" => Form::Literals,
        _ if total > weights::FEW => Form::Text,
        _ => Form::Literals,
    };
    file.text(head(graph, plan, total, form));
    file.text(w.templates());
    constants(&mut file, &w.constants, total, form);
    file.text(tail(graph, plan, &w));
    file
}

/// Text that is safe in a comment: what comes from a model's file could end the line or turn it round.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) && !"\\?".contains(c) { c } else { '_' }).collect()
}

/// The arguments of a function that reads and writes so many ports.
pub fn arguments(inputs: usize, outputs: usize) -> String {
    let list = |prefix: &str, n: usize| (0..n).map(|i| port(prefix, i, n)).collect::<Vec<_>>();
    [list("in", inputs), list("out", outputs)].concat().join(", ")
}

/// The extents and the layout of a port.
pub fn describe(ty: &TensorType) -> String {
    format!("{} {}", ty.shape, ty.layout)
}

/// What a step is: its layer, its operands' shapes, its cost.
fn comment(w: &mut Writer, step: &Step) {
    let (node, act) = w.step(step);
    let g = w.graph;
    let types: Vec<&TensorType> = node.inputs.iter().map(|&v| g.ty(v)).collect();
    let mut text = format!("{}: {}", plain(&g.value(step.output).name), node.op.name());
    if let Some(f) = act {
        let _ = write!(text, ", {}", f.name());
    }
    let data = node.inputs.iter().filter(|&&v| g.const_of(v).is_none());
    let data: Vec<String> = data.map(|&v| describe(g.ty(v))).collect();
    let _ = write!(text, "; {} -> {}", data.join(", "), describe(g.ty(step.output)));
    let macs = node.op.macs(&types, g.ty(node.output));
    if macs > 0 {
        let _ = write!(text, "; {macs} MACs");
    }
    let constants: usize = node.inputs.iter().filter_map(|&v| g.const_of(v)).map(|t| t.len()).sum();
    if constants > 0 {
        let _ = write!(text, "; {constants} parameters");
    }
    w.body.push('\n');
    w.line(&format!("// {text}"));
    if !node.origin.is_unknown() {
        w.line(&format!("// from {}", plain(&node.origin.to_string())));
    }
}

fn head(graph: &Graph, plan: &Plan, constants: usize, form: Form) -> String {
    let name = &graph.name;
    let version = env!("CARGO_PKG_VERSION");
    let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
    let all = arguments(inputs, outputs);
    let macs: u64 = graph
        .live_nodes()
        .map(|(_, n)| {
            let types: Vec<&TensorType> = n.inputs.iter().map(|&v| graph.ty(v)).collect();
            n.op.macs(&types, graph.ty(n.output))
        })
        .sum();
    let where_constants = match form {
        Form::Text => "decoded when the program starts",
        Form::Literals => "constant",
    };
    let mut text = format!(
        "// {name}: a neural network in C++17, written by unfloat {version}.\n\
         //\n\
         //   {name}::run({all}, workspace);  // re-entrant: one workspace for each caller\n\
         //   {name}::run({all});             // the same with one static workspace: one caller at a time\n\
         //\n\
         // One sample at a time, in the source model's own layout. Inputs and outputs must not overlap. No heap, no\n\
         // exceptions. {macs} multiply-accumulates.\n\
         // {} bytes of workspace; {} bytes of constants, {where_constants}.\n\
         // The layers are at the end, behind the kernels and the constants.\n//\n\
         // Compile with optimisation, and for the machine that it runs on (g++ -O3 -march=native): the kernels\n\
         // use vectors as wide as that machine has.\n\
         #ifndef UNFLOAT_{name}_HPP\n\
         #define UNFLOAT_{name}_HPP\n\n\
         #include <cmath>\n#include <cstddef>\n#include <cstdint>\n#include <cstring>\n#include <limits>\n\
         #include <type_traits>\n\nnamespace {name} {{\n\n\
         using in_t = float;\nusing out_t = float;\n\
         inline constexpr std::size_t input_count = {inputs}, output_count = {outputs};\n",
        plan.arena * 4,
        constants * 4
    );
    let mut ports = |what: &str, i: usize, n: usize, name: &str, ty: &TensorType| {
        let size = ty.shape.num_elements();
        let _ = writeln!(
            text,
            "inline constexpr std::size_t {} = {size};  // \"{}\" {}",
            port(&format!("{what}_size"), i, n),
            plain(name),
            describe(ty)
        );
    };
    for (i, &v) in graph.inputs().iter().enumerate() {
        ports("input", i, inputs, &graph.value(v).name, graph.ty(v));
    }
    for (i, o) in graph.outputs().iter().enumerate() {
        ports("output", i, outputs, &o.name, graph.ty(o.value));
    }
    text.push('\n');
    text
}

fn constants(file: &mut File, constants: &[Constant], total: usize, form: Form) {
    if constants.is_empty() {
        file.text("\n");
        return;
    }
    let encoded = |c: &Constant| Arc::new(Encoded { tensor: c.tensor.clone(), pack: c.pack, form });
    match form {
        Form::Literals => {
            file.text("\nnamespace weights {\n\n");
            for c in constants {
                file.text(format!("alignas(64) inline constexpr float {}[{}] = {{", c.name, c.len));
                file.lazy(encoded(c)).text("};\n");
            }
        }
        Form::Text => {
            file.text(format!(
                "\nnamespace weights {{\n\ninline constexpr std::size_t size = {total};\n\
                 inline constexpr const char* const text[] = {{\n"
            ));
            for c in constants {
                file.text(format!("    // {}\n", c.name)).lazy(encoded(c));
            }
            let mut rest = format!("}};\n\n{}\n", weights::DECODER);
            let mut at = 0;
            for c in constants {
                let _ = writeln!(rest, "inline const float* const {} = all.data + {at};", c.name);
                at += weights::padded(c.len);
            }
            file.text(rest);
        }
    }
    file.text("\n}  // namespace weights\n\n");
}

fn tail(graph: &Graph, plan: &Plan, w: &Writer) -> String {
    let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
    let list = |input: &dyn Fn(String) -> String, output: &dyn Fn(String) -> String| {
        let inputs = (0..inputs).map(|i| input(port("in", i, inputs)));
        inputs.chain((0..outputs).map(|i| output(port("out", i, outputs)))).collect::<Vec<_>>().join(", ")
    };
    let typed = list(&|n| format!("const in_t* {n}"), &|n| format!("out_t* {n}"));
    let floats = list(&|n| format!("const float* {n}"), &|n| format!("float* {n}"));
    let names = list(&|n| n, &|n| n);
    let mut unused = String::new();
    for i in 0..inputs {
        let name = port("in", i, inputs);
        if !mentions(&w.body, &name) {
            let _ = writeln!(unused, "  static_cast<void>({name});");
        }
    }
    let arena = if mentions(&w.body, "arena") {
        "  float* const arena = workspace.arena;\n".to_string()
    } else {
        "  static_cast<void>(workspace);\n".to_string()
    };
    let undef = if w.uses("simd") { "#undef UNFLOAT_UNROLL\n" } else { "" };
    format!(
        "// The values between the layers. Those that never live together share memory.\n\
         struct Workspace {{\n  alignas(64) float arena[{}];\n}};\n\n\
         inline void run({typed}, Workspace& workspace) noexcept {{\n{arena}{unused}{}}}\n\n\
         inline Workspace shared_workspace;\n\n\
         // Not re-entrant: uses the one static workspace.\n\
         inline void run({typed}) noexcept {{ run({names}, shared_workspace); }}\n\n\
         inline void run_float({floats}, Workspace& workspace) noexcept {{ run({names}, workspace); }}\n\n\
         // Not re-entrant: uses the one static workspace.\n\
         inline void run_float({floats}) noexcept {{ run({names}, shared_workspace); }}\n\n\
         }}  // namespace {}\n\n{undef}#endif\n",
        plan.arena.max(1),
        w.body,
        graph.name
    )
}

/// Whether `name` stands in the code (comments aside) as a whole word.
pub fn mentions(body: &str, name: &str) -> bool {
    body.lines().filter(|l| !l.trim_start().starts_with("//")).any(|line| has_word(line, name))
}
