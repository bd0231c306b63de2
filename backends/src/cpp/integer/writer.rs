//! What the steps of an integer graph write into: the parts of a header, collected while the steps are walked.

use super::super::plan::{Place, Plan, Step};
use super::super::writer::{has_word, port};
use super::packed::Packed;
use super::weights::{Constant, stored};
use super::words::Word;
use super::xnor;
use crate::namer::{Language, Namer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use unfloat_ir::ranges::{Range, Ranges};
use unfloat_ir::{Graph, ValueId};

/// The C++ templates, each after those that it uses.
const KERNELS: &[(&str, &str)] = &[
    ("base", include_str!("kernels/base.hpp")),
    ("arithmetic", include_str!("kernels/arithmetic.hpp")),
    ("rounding", include_str!("kernels/rounding.hpp")),
    ("wide", include_str!("kernels/wide.hpp")),
    ("reached", include_str!("kernels/reached.hpp")),
    ("nest", include_str!("../kernels/nest.hpp")),
    ("each", include_str!("kernels/each.hpp")),
    ("fill", include_str!("kernels/fill.hpp")),
    ("copy", include_str!("kernels/copy.hpp")),
    ("pick", include_str!("kernels/pick.hpp")),
    ("gather", include_str!("kernels/gather.hpp")),
    ("lut", include_str!("kernels/lut.hpp")),
    ("dot", include_str!("kernels/dot.hpp")),
    ("store", include_str!("kernels/store.hpp")),
    ("rows", include_str!("kernels/rows.hpp")),
    ("stairs", include_str!("kernels/stairs.hpp")),
    ("product", include_str!("kernels/product.hpp")),
    ("plain_product", include_str!("kernels/plain_product.hpp")),
    ("depthwise", include_str!("kernels/depthwise.hpp")),
    ("matmul", include_str!("kernels/matmul.hpp")),
    ("taps", include_str!("kernels/taps.hpp")),
    ("max_pool", include_str!("kernels/pool.hpp")),
    ("bits", include_str!("kernels/bits.hpp")),
    ("pack", include_str!("kernels/pack.hpp")),
    ("bytes_to_bits", include_str!("kernels/bytes_to_bits.hpp")),
    ("or_pool", include_str!("kernels/or_pool.hpp")),
    ("gather_bits", include_str!("kernels/gather_bits.hpp")),
    ("xnor_bits", include_str!("kernels/xnor_bits.hpp")),
    ("xnor_sums", include_str!("kernels/xnor_sums.hpp")),
    ("reduce", include_str!("kernels/reduce.hpp")),
    ("arg_reduce", include_str!("kernels/arg_reduce.hpp")),
];

/// What a kernel is written with.
const NEEDS: &[(&str, &[&str])] = &[
    ("wide", &["rounding"]),
    ("copy", &["nest"]),
    ("product", &["dot", "fill"]),
    ("rows", &["dot", "rounding", "store"]),
    ("stairs", &["store"]),
    ("matmul", &["nest"]),
    ("max_pool", &["taps"]),
    ("pack", &["bits"]),
    ("bytes_to_bits", &["product", "dot", "fill", "bits", "pack"]),
    ("or_pool", &["taps"]),
    ("xnor_bits", &["taps", "bits", "gather_bits"]),
    ("xnor_sums", &["taps", "bits", "gather_bits"]),
    ("reduce", &["nest"]),
];

/// Collects the parts of a header.
pub struct Writer<'a> {
    /// The core.
    pub graph: &'a Graph,
    /// Its plan.
    pub plan: &'a Plan,
    /// What its values can be.
    pub ranges: &'a Ranges,
    /// What lies packed.
    pub packed: &'a Packed,
    /// The constants, in the order of their first use.
    pub constants: Vec<Constant>,
    /// The body of `run`.
    pub body: String,
    shapes: Vec<(String, String)>,
    functions: Vec<(String, String)>,
    kernels: BTreeSet<&'static str>,
    constant_names: BTreeMap<(ValueId, String), String>,
    locals: BTreeMap<ValueId, String>,
    to_pack: Option<String>,
    shape_namer: Namer,
    function_namer: Namer,
    constant_namer: Namer,
    local_namer: Namer,
}

impl<'a> Writer<'a> {
    /// A writer with nothing in it; `taken` are the names of the header's own scope.
    pub fn new(
        graph: &'a Graph,
        plan: &'a Plan,
        ranges: &'a Ranges,
        packed: &'a Packed,
        taken: &[&str],
    ) -> Self {
        let namer = |reserved: &[&str]| Namer::new(Language::Cpp, reserved);
        Self {
            graph,
            plan,
            ranges,
            packed,
            constants: Vec::new(),
            body: String::new(),
            shapes: Vec::new(),
            functions: Vec::new(),
            kernels: BTreeSet::from(["base"]),
            constant_names: BTreeMap::new(),
            locals: BTreeMap::new(),
            to_pack: None,
            shape_namer: namer(&[]),
            function_namer: namer(&["apply", "row", "has_rows"]),
            constant_namer: namer(&[
                "all", "at", "c", "d", "digit", "from", "next", "piece", "reader", "store", "text", "to",
                "unpack", "word", "kernel", "n", "i", "used",
            ]),
            local_namer: namer(taken),
        }
    }

    /// What a value can be.
    pub fn range(&self, value: ValueId) -> Range {
        let all = self.graph.ty(value).elem.code_range().unwrap_or((i64::MIN, i64::MAX));
        self.ranges.of_value(value).unwrap_or((all.0.into(), all.1.into()))
    }

    /// The type in which a value is stored.
    pub fn word(&self, value: ValueId) -> Word {
        Word::of(&self.graph.ty(value).elem)
    }

    /// Where a value is read from, as an expression that points to its word.
    pub fn read(&mut self, value: ValueId) -> String {
        match self.plan.at(value) {
            Place::Input(i) => port("in", i, self.graph.inputs().len()),
            Place::Output(i) => port("out", i, self.graph.outputs().len()),
            Place::Const(v) => self.plain_constant(v),
            Place::Arena(at) => {
                let root = self.plan.root(value);
                self.locals.get(&root).cloned().unwrap_or_else(|| format!("arena + {at}"))
            }
        }
    }

    /// Where a step's result goes, as codes. Where that lies packed, they go to the step's own memory first.
    pub fn target(&mut self, step: &Step) -> String {
        let ty = self.graph.ty(step.output);
        let (word, n) = (Word::of(&ty.elem), ty.shape.num_elements());
        if xnor::comes_as_codes(self.graph, self.packed, step) {
            let name = format!("{}_codes", self.graph.value(step.output).name);
            let name = self.begin(&name, word, step.scratch_at + step.scratch - n * word.bytes(), n);
            self.to_pack = Some(name.clone());
            return name;
        }
        match self.plan.at(step.output) {
            Place::Arena(at) => {
                let name = self.begin(&self.graph.value(step.output).name, word, at, n);
                self.locals.insert(step.output, name.clone());
                name
            }
            _ => self.read(step.output),
        }
    }

    /// Where a packed result goes.
    pub fn packed_target(&mut self, step: &Step) -> String {
        // Packed values are inside of the graph, and no other place is there.
        let Place::Arena(at) = self.plan.at(step.output) else { return self.read(step.output) };
        let words = self.packed.words(self.graph, step.output);
        let name = self.begin(&self.graph.value(step.output).name, Word::U64, at, words);
        self.locals.insert(step.output, name.clone());
        name
    }

    /// The codes that the step before has left to be packed.
    pub fn codes_to_pack(&mut self) -> Option<String> {
        self.to_pack.take()
    }

    /// Begins `n` words at a place of the arena.
    pub fn begin(&mut self, wanted: &str, word: Word, at: usize, n: usize) -> String {
        let (name, word) = (self.local_namer.fresh(wanted), word.name());
        self.line(&format!("{word}* const {name} = kernel::place<{word}>(arena + {at}, {n});"));
        name
    }

    /// The codes of a constant; nothing of other values.
    pub fn codes(&self, value: ValueId) -> Option<Vec<i64>> {
        let t = self.graph.const_of(value)?;
        (0..t.len()).map(|i| t.data.code(i)).collect()
    }

    /// A constant as it is, in the word of its type.
    pub fn plain_constant(&mut self, value: ValueId) -> String {
        let word = self.word(value);
        self.constant(value, "plain", "", word, |codes| codes.to_vec())
    }

    /// A constant in some order, made of its codes by `arrange`; `key` tells arrangements of one constant apart.
    pub fn constant(
        &mut self,
        value: ValueId,
        key: &str,
        suffix: &str,
        word: Word,
        arrange: impl FnOnce(&[i64]) -> Vec<i64>,
    ) -> String {
        let arranged = |w: &Self| arrange(&w.codes(value).unwrap_or_default());
        self.made_of(value, key, suffix, word, arranged)
    }

    /// What is made of a constant; `key` tells things that are made of one constant apart.
    pub fn made_of(
        &mut self,
        value: ValueId,
        key: &str,
        suffix: &str,
        word: Word,
        make: impl FnOnce(&Self) -> Vec<i64>,
    ) -> String {
        let key = (value, format!("{key} {word:?}"));
        if let Some(name) = self.constant_names.get(&key) {
            return format!("weights::{name}");
        }
        let name = self.constant_namer.fresh(&format!("{}{suffix}", self.graph.value(value).name));
        let data = stored(word, make(self));
        self.constants.push(Constant { name: name.clone(), word, data: Arc::new(data) });
        self.constant_names.insert(key, name.clone());
        format!("weights::{name}")
    }

    /// A constant of numbers that no value of the graph has, such as what is derived from several.
    pub fn derived(&mut self, wanted: &str, word: Word, values: Vec<i64>) -> String {
        let data = Arc::new(stored(word, values));
        if let Some(same) = self.constants.iter().find(|c| c.word == word && c.data == data) {
            return format!("weights::{}", same.name);
        }
        let name = self.constant_namer.fresh(wanted);
        self.constants.push(Constant { name: name.clone(), word, data });
        format!("weights::{name}")
    }

    /// A struct of sizes that a kernel is compiled for; equal ones share a name.
    pub fn shape(&mut self, wanted: &str, text: String) -> String {
        if let Some((name, _)) = self.shapes.iter().find(|(_, t)| *t == text) {
            return format!("shape::{name}");
        }
        let name = fresh_struct(&mut self.shape_namer, wanted, &text);
        self.shapes.push((name.clone(), text));
        format!("shape::{name}")
    }

    /// A struct with a function of elements; equal ones share a name.
    pub fn function(&mut self, wanted: &str, text: String) -> String {
        if let Some((name, _)) = self.functions.iter().find(|(_, t)| *t == text) {
            return format!("function::{name}");
        }
        let name = fresh_struct(&mut self.function_namer, wanted, &text);
        self.functions.push((name.clone(), text));
        format!("function::{name}")
    }

    /// Notes that a kernel is used; returns its qualified name.
    pub fn kernel(&mut self, name: &'static str) -> String {
        self.kernels.insert(name);
        if let Some((_, needs)) = NEEDS.iter().find(|(n, _)| *n == name) {
            self.kernels.extend(needs.iter());
        }
        format!("kernel::{name}")
    }

    /// Whether a kernel is used.
    pub fn uses(&self, name: &str) -> bool {
        self.kernels.contains(name)
    }

    /// Adds a line to the body.
    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.body, "  {text}");
    }

    /// A name in the body that no other thing has.
    pub fn local(&mut self, wanted: &str) -> String {
        self.local_namer.fresh(wanted)
    }

    /// The step's own part of the arena.
    pub fn scratch(&self, step: &Step) -> String {
        format!("arena + {}", step.scratch_at)
    }

    /// The name of what a step makes, for the names of its parts.
    pub fn name(&self, step: &Step) -> String {
        self.graph.value(step.output).name.clone()
    }

    /// The kernels that are used.
    pub fn templates(&self) -> String {
        let used: Vec<&str> = KERNELS.iter().filter(|k| self.kernels.contains(k.0)).map(|k| k.1).collect();
        format!("namespace kernel {{\n\n{}\n}}  // namespace kernel\n", used.join("\n"))
    }

    /// The shapes, and the functions, which read constants.
    pub fn structs(&self) -> String {
        let mut text = String::new();
        let spaces = [
            ("shape", "The sizes that the kernels are compiled for.", &self.shapes),
            ("function", "What is done with each sum or element.", &self.functions),
        ];
        for (space, what, structs) in spaces {
            if !structs.is_empty() {
                let _ = write!(text, "// {what}\nnamespace {space} {{\n");
                for (name, body) in structs {
                    let _ = write!(text, "\nstruct {name} {{\n{body}}};\n");
                }
                let _ = write!(text, "\n}}  // namespace {space}\n\n");
            }
        }
        text
    }
}

/// A struct may have no member of its own name, and one called `std` would hide the library.
fn fresh_struct(namer: &mut Namer, wanted: &str, text: &str) -> String {
    loop {
        let name = namer.fresh(wanted);
        if !has_word(text, &name) {
            return name;
        }
    }
}
