//! `NAME.hpp` of an integer graph.

use super::super::header::{arguments, describe, mentions, plain};
use super::super::plan::{Plan, Step};
use super::super::weights::{FEW, Form};
use super::super::writer::port;
use super::packed::Packed;
use super::weights::{self, Constant, Encoded};
use super::words::{Word, literal};
use super::writer::Writer;
use super::{boundary, ops};
use crate::backend::Options;
use crate::core::{Core, Scale};
use crate::outdir::File;
use std::fmt::Write;
use std::sync::Arc;
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{ElemType, Graph, OpDef, TensorType, ValueId};

/// The names of the header's own scope that the body must not hide, but for numbered ones.
const OWN: &[&str] = &[
    "arena",
    "boundary",
    "function",
    "given",
    "in",
    "in_codes",
    "in_t",
    "input_count",
    "input_size",
    "kernel",
    "out",
    "out_codes",
    "out_t",
    "output_count",
    "output_size",
    "run",
    "run_float",
    "shape",
    "shared_workspace",
    "weights",
    "within",
    "workspace",
    "Workspace",
];

/// The numbered names.
fn taken(core: &Graph, model: &Graph) -> Vec<String> {
    let most = core.inputs().len().max(core.outputs().len()).max(model.inputs().len());
    let prefixes = [
        "in",
        "out",
        "in_t",
        "out_t",
        "input_size",
        "output_size",
        "in_codes",
        "out_codes",
        "given",
        "within",
    ];
    prefixes.iter().flat_map(|p| (0..most).map(move |i| format!("{p}_{i}"))).collect()
}

/// Writes the header.
pub fn file(
    model: &Graph,
    core: &Core,
    plan: &Plan,
    ranges: &Ranges,
    packed: &Packed,
    options: &Options,
) -> File {
    let graph = &core.graph;
    let own = taken(graph, model);
    let names: Vec<&str> = own.iter().map(String::as_str).chain(OWN.iter().copied()).collect();
    let mut w = Writer::new(graph, plan, ranges, packed, &names);
    for step in &plan.steps {
        comment(&mut w, step);
        ops::write(&mut w, step);
    }
    let outputs = graph.outputs().len();
    for (value, n) in &plan.copies {
        let (from, to) = (w.read(*value), port("out", *n, outputs));
        let size = graph.ty(*value).shape.num_elements() * w.word(*value).bytes();
        w.line(&format!("\n  // Output {n} shows what is elsewhere already."));
        w.line(&format!("std::memcpy({to}, {from}, {size});"));
    }
    let quantizes = core.inputs.iter().any(|i| i.quantize.is_some());
    if quantizes {
        w.kernel("rounding");
    }
    if quantizes || core.outputs.iter().any(Option::is_some) {
        w.kernel("each");
    }
    let total: usize = w.constants.iter().map(|c| c.data.len()).sum();
    let form = match options.get("weights") {
        "text" => Form::Text,
        "literals" => Form::Literals,
        _ if total > FEW => Form::Text,
        _ => Form::Literals,
    };
    let mut file = File::new();
    file.text(head(model, core, &w, form));
    file.text(w.templates());
    file.text("\n");
    constants(&mut file, &w.constants, form);
    file.text(w.structs());
    file.text(tail(core, &w));
    file.text(boundary::section(model, core));
    let undef = if w.uses("dot") { UNDEFINE } else { "" };
    let undef_bits = if w.uses("bits") { UNDEFINE_BITS } else { "" };
    file.text(format!("}}  // namespace {}\n\n{undef}{undef_bits}#endif\n", graph.name));
    file
}

/// What a step is: its layer, its operands' shapes, its cost.
fn comment(w: &mut Writer, step: &Step) {
    let g = w.graph;
    let node = g.node(step.node);
    let types: Vec<&TensorType> = node.inputs.iter().map(|&v| g.ty(v)).collect();
    let mut text = format!("{}: {}", plain(&g.value(step.output).name), node.op.name());
    for &id in &step.then {
        let _ = write!(text, ", {}", g.node(id).op.name());
    }
    let typed = |v: ValueId| format!("{}{}", g.ty(v).elem, describe(g.ty(v)));
    let data = node.inputs.iter().filter(|&&v| g.const_of(v).is_none());
    let data: Vec<String> = data.map(|&v| typed(v)).collect();
    let _ = write!(text, "; {} -> {}", data.join(", "), typed(step.output));
    let macs = node.op.macs(&types, g.ty(node.output));
    if macs > 0 {
        let _ = write!(text, "; {macs} MACs");
    }
    if !step.then.is_empty() {
        let (lo, hi) = w.range(node.output);
        let _ = write!(text, "; between: {lo}..{hi}");
    }
    w.body.push('\n');
    w.line(&format!("// {text}"));
    if !node.origin.is_unknown() {
        w.line(&format!("// from {}", plain(&node.origin.to_string())));
    }
}

/// What the codes of a port mean, in one line.
fn meaning(numbers: Option<&Scale>) -> String {
    let Some(numbers) = numbers else { return "the number itself".to_string() };
    let scale = match numbers.scale.as_f32() {
        Some([one]) => format!("{one:?}"),
        _ => format!("one of {} scales", numbers.scale.len()),
    };
    let zero = match (numbers.zero.as_f32(), numbers.zero.len()) {
        (Some([one]), _) => format!("{one:?}"),
        (None, 1) => numbers.zero.data.code(0).unwrap_or(0).to_string(),
        (_, n) => format!("one of {n} zero points"),
    };
    format!("(code - {zero}) * {scale}")
}

fn head(model: &Graph, core: &Core, w: &Writer, form: Form) -> String {
    let graph = &core.graph;
    let name = &graph.name;
    let version = env!("CARGO_PKG_VERSION");
    let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
    let codes = arguments(inputs, outputs);
    let numbers = arguments(model.inputs().len(), outputs);
    let macs: u64 = graph
        .live_nodes()
        .map(|(_, n)| {
            let types: Vec<&TensorType> = n.inputs.iter().map(|&v| graph.ty(v)).collect();
            n.op.macs(&types, graph.ty(n.output))
        })
        .sum();
    let where_constants = match form {
        Form::Text => "unpacked when the program starts",
        Form::Literals => "constant",
    };
    let bytes: usize = w.constants.iter().map(|c| c.data.len() * c.word.bytes()).sum();
    let includes = if w.uses("dot") { INCLUDES } else { "" };
    let bits = if w.uses("bits") { INCLUDES_BITS } else { "" };
    let chosen =
        if w.uses("bits") { " Layers of -1 and +1 choose theirs when the program starts." } else { "" };
    let mut text = format!(
        "// {name}: a neural network of integers in C++17, written by unfloat {version}.\n\
         //\n\
         //   {name}::run({codes}, workspace);        // codes in, codes out; re-entrant: one workspace for each caller\n\
         //   {name}::run_float({numbers}, workspace);  // the model's own numbers: quantize, run, dequantize\n\
         //   {name}::run({codes});                   // with one static workspace: one caller at a time\n\
         //\n\
         // One sample at a time, in the source model's own layout. Inputs and outputs must not overlap. Integers only, but\n\
         // for the last part, which UNFLOAT_INTEGERS_ONLY leaves out. No heap, no exceptions. {macs} multiply-accumulates.\n\
         // {} bytes of workspace; {bytes} bytes of constants, {where_constants}.\n\
         // The layers are at the end, behind the kernels and the constants.\n//\n\
         // Compile with optimisation, and for the machine that it runs on (g++ -O3 -march=native): the kernels\n\
         // use vectors as wide as that machine has.{chosen}\n\
         #ifndef UNFLOAT_{name}_HPP\n\
         #define UNFLOAT_{name}_HPP\n\n\
         #if !defined(UNFLOAT_INTEGERS_ONLY)\n#include <cfloat>\n#include <cmath>\n#include <limits>\n#endif\n\
         #include <cstddef>\n#include <cstdint>\n#include <cstring>\n#include <new>\n\
         #include <type_traits>\n#include <utility>\n{includes}{bits}\nnamespace {name} {{\n\n",
        w.plan.arena
    );
    let mut port_lines = |what: &str,
                          i: usize,
                          n: usize,
                          label: &str,
                          ty: &TensorType,
                          numbers: Option<&Scale>| {
        let short = if what == "input" { "in_t" } else { "out_t" };
        let size = ty.shape.num_elements();
        let _ = write!(
            text,
            "// {what} {i}, \"{}\": {}{}, real number = {}{}\nusing {} = {};\ninline constexpr std::size_t {} = {size};\n",
            plain(label),
            ty.elem,
            describe(ty),
            meaning(numbers),
            narrow(&ty.elem).filter(|_| what == "input").map_or(String::new(), |(lo, hi)| format!(
                "\n// Its codes are {lo} to {hi}; others count as the nearest of these."
            )),
            port(short, i, n),
            Word::of(&ty.elem).name(),
            port(&format!("{what}_size"), i, n)
        );
    };
    for (i, (input, &v)) in core.inputs.iter().zip(graph.inputs()).enumerate() {
        let label = &model.value(model.inputs()[input.model]).name;
        port_lines("input", i, inputs, label, graph.ty(v), input.quantize.as_ref().map(|q| &q.1));
    }
    for (i, (numbers, o)) in core.outputs.iter().zip(graph.outputs()).enumerate() {
        port_lines("output", i, outputs, &o.name, graph.ty(o.value), numbers.as_ref());
    }
    let _ =
        write!(text, "inline constexpr std::size_t input_count = {inputs}, output_count = {outputs};\n\n");
    text
}

fn constants(file: &mut File, constants: &[Constant], form: Form) {
    if constants.is_empty() {
        return;
    }
    let encoded = |c: &Constant| Arc::new(Encoded { constant: c.clone(), form });
    file.text("namespace weights {\n\n");
    match form {
        Form::Literals => {
            for c in constants {
                let (ty, name, len) = (c.word.name(), &c.name, c.data.len());
                file.text(format!("alignas(64) inline constexpr {ty} {name}[{len}] = {{"));
                file.lazy(encoded(c)).text("};\n");
            }
        }
        Form::Text => {
            file.text("inline constexpr const char* const text[] = {\n");
            for c in constants {
                file.text(format!("    // {}\n", c.name)).lazy(encoded(c));
            }
            let members: String = constants.iter().map(Constant::member).collect();
            let unpack: String = constants.iter().map(Constant::unpack).collect();
            let mut rest = format!(
                "}};\n\n{}\nstruct store {{\n{members}  store() noexcept {{\n    reader from = {{text, text[0]}};\n{unpack}  }}\n}};\n\
                 inline const store all;\n\n",
                weights::DECODER
            );
            for c in constants {
                let _ = writeln!(rest, "inline const {}* const {} = all.{};", c.word.name(), c.name, c.name);
            }
            file.text(rest);
        }
    }
    file.text("\n}  // namespace weights\n\n");
}

/// The codes of a type, if its word has more of them.
fn narrow(elem: &ElemType) -> Option<(i64, i64)> {
    let (lo, hi) = elem.code_range()?;
    (Word::of(elem).range() != (lo.into(), hi.into())).then_some((lo, hi))
}

/// Copies an input with its codes cut to a range: tables have no entries beyond, and sums no room.
fn within(i: usize, inputs: usize, word: Word, (lo, hi): (i64, i64)) -> String {
    let [given, to, name, ty, size] =
        ["given", "within", "in", "in_t", "input_size"].map(|name| port(name, i, inputs));
    let mut cut = format!("{given}[i]");
    if i128::from(hi) < word.range().1 {
        let _ = write!(cut, " > {0} ? {0} : {given}[i]", literal(hi));
    }
    if i128::from(lo) > word.range().0 {
        cut = format!("{given}[i] < {0} ? {0} : {cut}", literal(lo));
    }
    format!(
        "  for (std::size_t i = 0; i < {size}; ++i) workspace.{to}[i] = static_cast<{ty}>({cut});\n  \
         const {ty}* const {name} = workspace.{to};\n"
    )
}

fn tail(core: &Core, w: &Writer) -> String {
    let graph = &core.graph;
    let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
    let list = |input: &dyn Fn(usize) -> String, output: &dyn Fn(usize) -> String| {
        (0..inputs).map(input).chain((0..outputs).map(output)).collect::<Vec<_>>().join(", ")
    };
    // Inputs of codes that their word has more of are read through a copy, which holds none of those.
    let elem = |i: usize| &graph.ty(graph.inputs()[i]).elem;
    let given = |i: usize| port(if narrow(elem(i)).is_some() { "given" } else { "in" }, i, inputs);
    let typed = list(&|i| format!("const {}* {}", port("in_t", i, inputs), given(i)), &|i| {
        format!("{}* {}", port("out_t", i, outputs), port("out", i, outputs))
    });
    let names = list(&given, &|i| port("out", i, outputs));
    let (mut before, mut codes) = (String::new(), String::new());
    for i in 0..inputs {
        if !mentions(&w.body, &port("in", i, inputs)) {
            let _ = writeln!(before, "  static_cast<void>({});", given(i));
        } else if let Some(range) = narrow(elem(i)) {
            before += &within(i, inputs, Word::of(elem(i)), range);
            let [ty, name, size] = ["in_t", "within", "input_size"].map(|name| port(name, i, inputs));
            let _ = writeln!(codes, "  {ty} {name}[{size}];");
        }
    }
    let arena = if mentions(&w.body, "arena") {
        "  unsigned char* const arena = workspace.arena;\n"
    } else {
        "  static_cast<void>(workspace);\n"
    };
    for (i, input) in core.inputs.iter().enumerate() {
        if input.quantize.is_some() {
            let (ty, name, size) =
                (port("in_t", i, inputs), port("in_codes", i, inputs), port("input_size", i, inputs));
            let _ = writeln!(codes, "  {ty} {name}[{size}];");
        }
    }
    for (i, numbers) in core.outputs.iter().enumerate() {
        if numbers.is_some() {
            let (ty, name, size) =
                (port("out_t", i, outputs), port("out_codes", i, outputs), port("output_size", i, outputs));
            let _ = writeln!(codes, "  {ty} {name}[{size}];");
        }
    }
    format!(
        "// The values between the layers. Those that never live together share memory.\n\
         struct Workspace {{\n  alignas(64) unsigned char arena[{}];\n{codes}}};\n\n\
         inline void run({typed}, Workspace& workspace) noexcept {{\n{arena}{before}{}}}\n\n\
         inline Workspace shared_workspace;\n\n\
         // Not re-entrant: uses the one static workspace.\n\
         inline void run({typed}) noexcept {{ run({names}, shared_workspace); }}\n\n",
        w.plan.arena.max(1),
        w.body
    )
}

const INCLUDES: &str = "\
#if defined(UNFLOAT_PLAIN_ARRAYS)
#elif defined(__AVX2__)
#include <immintrin.h>
#define UNFLOAT_AVX2
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define UNFLOAT_VNNI _mm256_dpbusd_epi32
#elif defined(__AVXVNNI__)
#define UNFLOAT_VNNI _mm256_dpbusd_avx_epi32
#endif
#elif defined(__SSE2__)
#include <emmintrin.h>
#define UNFLOAT_SSE2
#endif
";

const INCLUDES_BITS: &str = "\
#if defined(UNFLOAT_PLAIN_ARRAYS)
#elif defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && !defined(_MSC_VER)
#include <immintrin.h>
#define UNFLOAT_X86_UNITS
#elif defined(__aarch64__)
#include <arm_neon.h>
#define UNFLOAT_NEON
#endif
#if !defined(UNFLOAT_BEST_UNIT)
#define UNFLOAT_BEST_UNIT 3
#define UNFLOAT_ANY_UNIT
#endif
";

const UNDEFINE_BITS: &str = "\
#undef UNFLOAT_X86_UNITS
#undef UNFLOAT_NEON
#undef UNFLOAT_AVX2_PART
#undef UNFLOAT_AVX2_UNIT
#undef UNFLOAT_AVX512_PART
#undef UNFLOAT_AVX512_UNIT
#if defined(UNFLOAT_ANY_UNIT)
#undef UNFLOAT_BEST_UNIT
#undef UNFLOAT_ANY_UNIT
#endif
";

const UNDEFINE: &str =
    "#undef UNFLOAT_UNROLL\n#undef UNFLOAT_AVX2\n#undef UNFLOAT_VNNI\n#undef UNFLOAT_SSE2\n";
