//! What the ops write into: the parts of a header, collected while the steps are walked.

use super::function;
use super::plan::{Place, Plan, Step};
use super::weights::Pack;
use crate::namer::{Language, Namer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use unfloat_ir::ops::{Binary, Unary};
use unfloat_ir::{Graph, Node, Tensor, ValueId};

/// The C++ templates, each after those that it uses.
const KERNELS: &[(&str, &str)] = &[
    ("simd", include_str!("kernels/simd.hpp")),
    ("nest", include_str!("kernels/nest.hpp")),
    ("fill", include_str!("kernels/fill.hpp")),
    ("copy", include_str!("kernels/copy.hpp")),
    ("map", include_str!("kernels/map.hpp")),
    ("zip", include_str!("kernels/zip.hpp")),
    ("conv", include_str!("kernels/conv.hpp")),
    ("depthwise", include_str!("kernels/depthwise.hpp")),
    ("conv_transpose", include_str!("kernels/conv_transpose.hpp")),
    ("matmul", include_str!("kernels/matmul.hpp")),
    ("pool", include_str!("kernels/pool.hpp")),
    ("reduce", include_str!("kernels/reduce.hpp")),
    ("softmax", include_str!("kernels/softmax.hpp")),
    ("batch_norm", include_str!("kernels/batch_norm.hpp")),
    ("fused_batch_norm", include_str!("kernels/fused_batch_norm.hpp")),
    ("layer_norm", include_str!("kernels/layer_norm.hpp")),
    ("border", include_str!("kernels/border.hpp")),
    ("upsample", include_str!("kernels/upsample.hpp")),
];

/// What a kernel is written with.
const NEEDS: &[(&str, &[&str])] = &[
    ("copy", &["nest"]),
    ("zip", &["nest"]),
    ("conv", &["simd"]),
    ("depthwise", &["simd"]),
    ("conv_transpose", &["conv", "simd"]),
    ("matmul", &["conv", "nest", "simd"]),
    ("pool", &["simd"]),
    ("reduce", &["nest"]),
    ("softmax", &["nest"]),
    ("layer_norm", &["nest"]),
];

/// A constant of the header.
pub struct Constant {
    /// Its identifier.
    pub name: String,
    /// Its elements.
    pub tensor: Arc<Tensor>,
    /// Their order.
    pub pack: Pack,
    /// Its length once packed.
    pub len: usize,
}

/// Collects the parts of a header.
pub struct Writer<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its plan.
    pub plan: &'a Plan,
    /// The constants, in the order of their first use.
    pub constants: Vec<Constant>,
    /// The body of `run`.
    pub body: String,
    shapes: Vec<(String, String)>,
    functions: Vec<(String, String)>,
    kernels: BTreeSet<&'static str>,
    constant_names: BTreeMap<(ValueId, String), String>,
    locals: BTreeMap<ValueId, String>,
    shape_namer: Namer,
    constant_namer: Namer,
    local_namer: Namer,
    function_namer: Namer,
}

impl<'a> Writer<'a> {
    /// A writer with nothing in it; `taken` are the names of the header's own scope.
    pub fn new(graph: &'a Graph, plan: &'a Plan, taken: &[&str]) -> Self {
        let kernels: Vec<&str> = KERNELS.iter().map(|k| k.0).collect();
        let namer = |reserved: &[&str]| Namer::new(Language::Cpp, reserved);
        Self {
            graph,
            plan,
            constants: Vec::new(),
            body: String::new(),
            shapes: Vec::new(),
            functions: Vec::new(),
            kernels: BTreeSet::new(),
            constant_names: BTreeMap::new(),
            locals: BTreeMap::new(),
            shape_namer: namer(&[]),
            constant_namer: namer(&["all", "bits", "c", "d", "data", "digit", "size", "store", "text", "to"]),
            local_namer: namer(taken),
            function_namer: namer(
                &[&kernels[..], &["identity", "lanes", "least", "longest", "vec"]].concat(),
            ),
        }
    }

    /// Where a value is read from, as a C++ expression of type `const float*`.
    pub fn read(&mut self, value: ValueId) -> String {
        match self.plan.at(value) {
            Place::Input(i) => port("in", i, self.graph.inputs().len()),
            Place::Output(i) => port("out", i, self.graph.outputs().len()),
            Place::Const(v) => self.constant(v, Pack::Plain, ""),
            Place::Arena(_) => {
                let root = self.plan.root(value);
                self.locals.get(&root).cloned().unwrap_or_else(|| "arena".to_string())
            }
        }
    }

    /// Where a step's result goes, as an expression of type `float*`.
    pub fn target(&mut self, step: &Step) -> String {
        match self.plan.at(step.output) {
            Place::Arena(at) => {
                let name = self.local_namer.fresh(&self.graph.value(step.output).name);
                self.line(&format!("float* const {name} = arena + {at};"));
                self.locals.insert(step.output, name.clone());
                name
            }
            _ => self.read(step.output),
        }
    }

    /// A constant in some order, as an expression of type `const float*`. Values that are no constants are
    /// read as they are.
    pub fn constant(&mut self, value: ValueId, pack: Pack, suffix: &str) -> String {
        let Some(tensor) = self.graph.const_of(value).cloned() else { return self.read(value) };
        let key = (value, format!("{pack:?}"));
        if let Some(name) = self.constant_names.get(&key) {
            return format!("weights::{name}");
        }
        let name = self.constant_namer.fresh(&format!("{}{suffix}", self.graph.value(value).name));
        let len = pack.len(tensor.len());
        self.constants.push(Constant { name: name.clone(), tensor, pack, len });
        self.constant_names.insert(key, name.clone());
        format!("weights::{name}")
    }

    /// A struct of sizes that a kernel is compiled for; equal ones share a name.
    pub fn shape(&mut self, wanted: &str, text: String) -> String {
        if let Some((name, _)) = self.shapes.iter().find(|(_, t)| *t == text) {
            return format!("shape::{name}");
        }
        // A struct may have no member of its own name, and one called `std` would hide the library.
        let name = loop {
            let name = self.shape_namer.fresh(wanted);
            if !has_word(&text, &name) {
                break name;
            }
        };
        self.shapes.push((name.clone(), text));
        format!("shape::{name}")
    }

    /// Notes that a kernel is used; returns its qualified name.
    pub fn kernel(&mut self, name: &'static str) -> String {
        self.kernels.insert(name);
        if let Some((_, needs)) = NEEDS.iter().find(|(n, _)| *n == name) {
            self.kernels.extend(needs.iter());
        }
        format!("kernel::{name}")
    }

    /// The struct of a function of one element; of none, the identity.
    pub fn activation(&mut self, f: Option<Unary>) -> String {
        let Some(f) = f else { return "kernel::identity".to_string() };
        if f == Unary::Relu {
            return "kernel::relu".to_string();
        }
        let (name, body) = function::unary(f);
        let clamps = match f {
            Unary::Clip { lo, hi } => format!(
                "  static constexpr bool clamps = true;\n  static constexpr float low = {}, high = {};\n",
                function::literal(lo),
                function::literal(hi)
            ),
            _ => "  static constexpr bool clamps = false;\n".to_string(),
        };
        let apply = format!("  static float apply(float x) noexcept {{\n    {body}\n  }}\n");
        self.function(name, clamps + &apply)
    }

    /// The struct of a function of two elements.
    pub fn binary(&mut self, f: Binary) -> String {
        let (name, body) = function::binary(f);
        self.function(name, format!("  static float apply(float a, float b) noexcept {{\n    {body}\n  }}\n"))
    }

    fn function(&mut self, name: &str, text: String) -> String {
        if let Some((name, _)) = self.functions.iter().find(|(_, t)| *t == text) {
            return format!("kernel::{name}");
        }
        let name = self.function_namer.fresh(name);
        self.functions.push((name.clone(), text));
        format!("kernel::{name}")
    }

    /// Adds a line to the body.
    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.body, "  {text}");
    }

    /// The step's own part of the arena.
    pub fn scratch(&self, step: &Step) -> String {
        format!("arena + {}", step.scratch_at)
    }

    /// The node of a step and the function behind it.
    pub fn step(&self, step: &Step) -> (&'a Node, Option<Unary>) {
        (self.graph.node(step.node), Plan::activation(self.graph, step))
    }

    /// The kernels that are used, the functions, and the shapes: the text of two namespaces.
    pub fn templates(&self) -> String {
        let mut text = String::from("namespace kernel {\n\n");
        text.push_str(BASE);
        for (_, kernel) in KERNELS.iter().filter(|k| self.kernels.contains(k.0)) {
            let _ = write!(text, "\n{kernel}");
        }
        for (name, body) in &self.functions {
            let _ = write!(text, "\nstruct {name} {{\n{body}}};\n");
        }
        text.push_str("\n}  // namespace kernel\n\n// The sizes that the kernels are compiled for.\nnamespace shape {\n");
        for (name, body) in &self.shapes {
            let _ = write!(text, "\nstruct {name} {{\n{body}}};\n");
        }
        text.push_str("\n}  // namespace shape\n");
        text
    }

    /// Whether a kernel is used.
    pub fn uses(&self, name: &str) -> bool {
        self.kernels.contains(name)
    }
}

/// What every kernel may use.
const BASE: &str = "\
constexpr std::size_t least(std::size_t a, std::size_t b) noexcept { return a < b ? a : b; }

// The function of layers without an activation.
struct identity {
  static constexpr bool clamps = false;
  static float apply(float x) noexcept { return x; }
};
struct relu {
  static constexpr bool clamps = true;
  static constexpr float low = 0.0f, high = std::numeric_limits<float>::infinity();
  static float apply(float x) noexcept { return x < 0.0f ? 0.0f : x; }
};
";

/// Whether `word` stands in C++ text as a whole word.
pub fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == word)
}

/// The name of port `i` of `n`.
pub fn port(name: &str, i: usize, n: usize) -> String {
    if n == 1 { name.to_string() } else { format!("{name}_{i}") }
}

/// A line of a shape: `static constexpr std::size_t name[] = {…};`
pub fn list(name: &str, values: &[usize]) -> String {
    let values: Vec<String> = values.iter().map(usize::to_string).collect();
    format!("  static constexpr std::size_t {name}[{}] = {{{}}};\n", values.len(), values.join(", "))
}

/// A line of a shape: `static constexpr std::size_t name = …;`
pub fn size(name: &str, value: usize) -> String {
    format!("  static constexpr std::size_t {name} = {value};\n")
}
