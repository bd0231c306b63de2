//! `run_float`: the quantizers in front of the core, the core, and the way back to floats.
//!
//! The only part of an integer header that has floats. Each step is rounded to single precision, as the reference
//! evaluation does; a compiler that would compute otherwise is refused by the preprocessor.

use super::super::function::literal as float;
use super::super::writer::port;
use super::ops::loops;
use super::words::{Word, literal};
use crate::core::{Core, Scale};
use std::fmt::Write;
use unfloat_ir::ops::{Quantize, QuantizeOrder};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{Diagnostic, ElemType, Graph, Location, Overflow, Shape, Tensor, ValueId};

/// Numbers of the boundary stay below this.
const MOST: i128 = 1 << 61;

/// What C++ cannot do at the boundary of a core that comes from `model`; `ranges` are those of the core.
pub fn faults(model: &Graph, core: &Core, ranges: &Ranges) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut error = |what: &str, name: &str, text: String| {
        found.push(Diagnostic::error(Location::default(), format!("{what} `{name}` {text}")));
    };
    let bits = |v: ValueId| core.graph.ty(v).elem.bits();
    for (input, &v) in core.inputs.iter().zip(core.graph.inputs()) {
        let name = &model.value(model.inputs()[input.model]).name;
        let Some((_, numbers)) = &input.quantize else { continue };
        if bits(v) > 32 {
            let ty = core.graph.ty(v);
            error("input", name, format!("is quantized to {ty}; C++ quantizes to at most 32 bits"));
        }
        let zeros = numbers.zero.as_f32().unwrap_or_default();
        if zeros.iter().any(|z| z.abs() >= 2147483648.0) {
            error("input", name, "has a zero point beyond 32 bits".to_string());
        }
    }
    for (numbers, output) in core.outputs.iter().zip(core.graph.outputs()) {
        let Some(numbers) = numbers else { continue };
        let codes = ranges.of_value(output.value).unwrap_or((-MOST, MOST));
        let zero = |i: usize| numbers.zero.data.code(i).map_or(0, i128::from);
        let far = |v: i128| v.abs() >= MOST;
        if far(codes.0) || far(codes.1) || (0..numbers.zero.len()).any(|i| far(zero(i))) {
            error(
                "output",
                &output.name,
                "has codes beyond 61 bits, which C++ does not dequantize".to_string(),
            );
        }
    }
    found
}

/// The names of the model's ports, which may be fewer than the core's.
fn parameters(model: &Graph, core: &Core) -> (Vec<String>, Vec<String>) {
    let (ni, no) = (model.inputs().len(), model.outputs().len());
    let element = |graph: &Graph, v: ValueId| {
        let ty = graph.ty(v);
        if ty.elem.is_float() { "float" } else { Word::of(&ty.elem).name() }
    };
    let inputs = model.inputs().iter().enumerate();
    let outputs = core.graph.outputs().iter().zip(&core.outputs).enumerate();
    let typed = inputs
        .map(|(i, &v)| format!("const {}* {}", element(model, v), port("in", i, ni)))
        .chain(outputs.map(|(i, (o, numbers))| {
            let ty = if numbers.is_some() { "float" } else { element(&core.graph, o.value) };
            format!("{ty}* {}", port("out", i, no))
        }))
        .collect();
    let names = (0..ni).map(|i| port("in", i, ni)).chain((0..no).map(|i| port("out", i, no))).collect();
    (typed, names)
}

/// Tables of scales and zero points, and the shape of the loops; the last says how they are passed.
fn tables(text: &mut String, what: &str, shape: &Shape, numbers: &Scale) -> String {
    let row = |t: &Tensor| -> (&'static str, Vec<String>) {
        match t.as_f32() {
            Some(v) => ("float", v.iter().map(|&x| float(x)).collect()),
            None => {
                let codes = (0..t.len()).filter_map(|i| t.data.code(i));
                ("std::int64_t", codes.map(literal).collect())
            }
        }
    };
    for (name, tensor) in [("scale", &numbers.scale), ("zero", &numbers.zero)] {
        let (ty, values) = row(tensor);
        let _ = writeln!(
            text,
            "inline constexpr {ty} {what}_{name}[{}] = {{{}}};",
            values.len(),
            values.join(", ")
        );
    }
    let fields = loops(shape, &[shape, numbers.scale.shape(), numbers.zero.shape()], false);
    let _ = write!(text, "struct {what}_shape {{\n{fields}}};\n");
    format!("{what}_scale, boundary::{what}_zero")
}

/// The body of a quantizer's function.
fn quantizer(op: &Quantize, word: Word) -> String {
    let (lo, hi) = op.bounds();
    let rounding = format!("rounded<kernel::rounding::{}>", op.rounding.name());
    let result = |text: &str| format!("static_cast<{}>({text})", word.name());
    let ElemType::Int(int) = op.to else {
        return format!("    return {};\n", result("x / scale + zero >= 0.0f ? 1 : -1"));
    };
    let (least, most) = (float(lo as f32), float(hi as f32));
    let (lo, hi) = (literal(lo), literal(hi));
    match op.order {
        QuantizeOrder::ClampThenRound => format!(
            "    const float v = x / scale + zero, w = v > {most} ? {most} : v;\n    \
             const float r = {rounding}(w < {least} ? {least} : w);\n    \
             return {};\n",
            result(&format!("r != r ? {lo} : kernel::clamp<std::int64_t>(whole(r), {lo}, {hi})"))
        ),
        QuantizeOrder::RoundThenSaturate => {
            let code = match op.overflow {
                Overflow::Wrap => format!("kernel::wrap<{}, {}>(n)", int.width, int.signed),
                Overflow::SaturateZero => format!("n < {lo} || n > {hi} ? 0 : n"),
                _ => format!("kernel::clamp<std::int64_t>(n, {lo}, {hi})"),
            };
            format!(
                "    const float r = {rounding}(x / scale);\n    \
                 if (r != r) return {};\n    \
                 const std::int64_t n = whole(r) + whole(std::nearbyint(zero));\n    return {};\n",
                result(&lo),
                result(&code)
            )
        }
    }
}

/// Writes the boundary; nothing where the model has no floats outside.
pub fn section(model: &Graph, core: &Core) -> String {
    let (typed, names) = parameters(model, core);
    let (ni, no) = (core.graph.inputs().len(), core.graph.outputs().len());
    let mut tools = String::new();
    let (mut before, mut after) = (String::new(), String::new());
    let mut arguments = Vec::new();
    for (i, (input, &v)) in core.inputs.iter().zip(core.graph.inputs()).enumerate() {
        let from = port("in", input.model, model.inputs().len());
        let Some((op, numbers)) = &input.quantize else {
            arguments.push(from);
            continue;
        };
        let (what, word) = (port("input", i, ni), Word::of(&core.graph.ty(v).elem));
        let passed = tables(&mut tools, &what, &core.graph.ty(v).shape, numbers);
        let _ = write!(
            tools,
            "struct {what}_code {{\n  static {} apply(float x, float scale, float zero, std::size_t) noexcept {{\n{}  }}\n}};\n",
            word.name(),
            quantizer(op, word)
        );
        let codes = format!("workspace.{}", port("in_codes", i, ni));
        let _ = writeln!(
            before,
            "  kernel::each<boundary::{what}_shape, boundary::{what}_code>({codes}, {from}, boundary::{passed});"
        );
        arguments.push(codes);
    }
    for (i, (numbers, output)) in core.outputs.iter().zip(core.graph.outputs()).enumerate() {
        let to = port("out", i, no);
        let Some(numbers) = numbers else {
            arguments.push(to);
            continue;
        };
        let (what, ty) = (port("output", i, no), core.graph.ty(output.value));
        let passed = tables(&mut tools, &what, &ty.shape, numbers);
        let (zero, apart) = match numbers.zero.as_f32() {
            Some(_) => ("float", "static_cast<float>(q) - zero"),
            None => ("std::int64_t", "static_cast<float>(q - zero)"),
        };
        let _ = write!(
            tools,
            "struct {what}_number {{\n  static float apply(std::int64_t q, float scale, {zero} zero, std::size_t) noexcept {{\n    \
             return ({apart}) * scale;\n  }}\n}};\n"
        );
        let codes = format!("workspace.{}", port("out_codes", i, no));
        let _ = writeln!(
            after,
            "  kernel::each<boundary::{what}_shape, boundary::{what}_number>({to}, {codes}, boundary::{passed});"
        );
        arguments.push(codes);
    }
    let unused: String = (0..model.inputs().len())
        .filter(|&i| !core.inputs.iter().any(|c| c.model == i))
        .map(|i| format!("  static_cast<void>({});\n", port("in", i, model.inputs().len())))
        .collect();
    let helpers = if core.inputs.iter().any(|i| i.quantize.is_some()) { HELPERS } else { "" };
    let space = match tools.is_empty() {
        true => String::new(),
        false => format!("namespace boundary {{\n\n{helpers}{tools}\n}}  // namespace boundary\n\n"),
    };
    let (typed, names) = (typed.join(", "), names.join(", "));
    format!(
        "// ---- The boundary: floats to codes and back. Nothing above has a float. ----\n\
         #if !defined(UNFLOAT_INTEGERS_ONLY)\n\
         #if defined(__FAST_MATH__)\n\
         #error \"quantizers must round as IEEE 754 says: compile without -ffast-math, or define UNFLOAT_INTEGERS_ONLY\"\n\
         #endif\n\
         static_assert(FLT_EVAL_METHOD == 0 || FLT_EVAL_METHOD == 16, \"each step must be rounded to single precision: compile with -mfpmath=sse\");\n\n\
         {space}\
         // The model on its own numbers, codes where it has them.\n\
         inline void run_float({typed}, Workspace& workspace) noexcept {{\n{unused}{before}  run({}, workspace);\n{after}}}\n\n\
         // Not re-entrant: uses the one static workspace.\n\
         inline void run_float({typed}) noexcept {{ run_float({names}, shared_workspace); }}\n\
         #endif\n\n",
        arguments.join(", ")
    )
}

const HELPERS: &str = r#"// The integer that v rounds to, in single precision; infinities and NaN stay. In the rounding mode that every program
// starts in.
template <kernel::rounding R> float rounded(float v) noexcept {
  using mode = kernel::rounding;
  const float sign = v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : v == 0.0f ? 0.0f : v;
  const double above = static_cast<double>(v) - static_cast<double>(std::floor(v));
  switch (R) {
    case mode::half_even: return std::nearbyint(v);
    case mode::half_up: return sign * std::floor(std::fabs(v) + 0.5f);
    case mode::half_down: return sign * std::ceil(std::fabs(v) - 0.5f);
    case mode::up: return sign * std::ceil(std::fabs(v));
    case mode::down: return std::trunc(v);
    case mode::ceil: return std::ceil(v);
    case mode::floor: return std::floor(v);
    case mode::half_ceil: return above >= 0.5 ? std::floor(v) + 1.0f : std::floor(v);
    case mode::half_floor: return above > 0.5 ? std::floor(v) + 1.0f : std::floor(v);
  }
  return v;
}

// A number without fraction as an integer. Those beyond 2^61 are cut to it: it saturates, and wraps, as they do.
inline std::int64_t whole(float v) noexcept {
  const float most = 2305843009213693952.0f;
  return static_cast<std::int64_t>(v > most ? most : v < -most ? -most : v);
}

"#;
