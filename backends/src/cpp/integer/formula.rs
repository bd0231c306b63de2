//! Functions of elements: what one node, and those fused behind it, do with each element of a result, as the body of a
//! C++ function.
//!
//! Numbers are computed in 32 bits where their ranges fit, else in 64; what wraps by its meaning is computed in
//! unsigned arithmetic. The formulas are those of the ops' reference evaluation.

use super::super::plan::Step;
use super::words::{Word, inside, literal};
use super::writer::Writer;
use std::collections::BTreeMap;
use std::fmt::Write;
use unfloat_ir::ops::{Binary, Bitwise, Cast, Compare, Lookup, Op, Requantize, Threshold, Unary};
use unfloat_ir::ranges::Range;
use unfloat_ir::{ElemType, Graph, IntType, Node, OpDef, Overflow, Shape, ValueId};

/// A local variable of the function.
#[derive(Clone, Debug)]
struct Var {
    name: String,
    range: Range,
}

impl Var {
    fn word(&self) -> Word {
        Word::computing(self.range)
    }
    /// The variable in another width.
    fn as_word(&self, word: Word) -> String {
        if self.word() == word { self.name.clone() } else { cast(word, &self.name) }
    }
}

fn cast(word: Word, text: &str) -> String {
    format!("static_cast<{}>({text})", word.name())
}

/// A function that is being written.
pub struct Formula<'w, 'a> {
    w: &'w mut Writer<'a>,
    shape: Shape,
    lines: String,
    vars: BTreeMap<ValueId, Var>,
    count: usize,
    /// Values that are read element by element: the parameters, in order.
    pub streams: Vec<ValueId>,
    /// Whether a constant is read by the index of the channel.
    pub by_channel: bool,
}

/// Whether the node computes each element of its result from elements of its operands alone.
pub fn is_pointwise(op: &Op) -> bool {
    matches!(
        op,
        Op::Requantize(_)
            | Op::Threshold(_)
            | Op::Lookup(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select(_)
            | Op::Bitwise(_)
            | Op::Cast(_)
    )
}

/// Whether a constant of that shape is one number, or one for each channel, of a result.
fn is_by_channel(constant: &Shape, result: &Shape) -> bool {
    let n = constant.rank();
    let last = result.last().copied().unwrap_or(1);
    n <= result.rank() && constant.iter().enumerate().all(|(i, &d)| d == 1 || (i + 1 == n && d == last))
}

/// Whether `next` can be computed on each element of `value` where that is made, without reading other values.
pub fn joins(graph: &Graph, value: ValueId, next: &Node) -> bool {
    let shape = &graph.ty(value).shape;
    if !is_pointwise(&next.op) || graph.ty(next.output).shape != *shape {
        return false;
    }
    let table = |i: usize| matches!(next.op, Op::Lookup(_) | Op::Threshold(_)) && i == 1;
    next.inputs.iter().enumerate().all(|(i, &v)| {
        v == value || (graph.const_of(v).is_some() && (table(i) || is_by_channel(&graph.ty(v).shape, shape)))
    })
}

/// Why C++ cannot write a pointwise node; nothing when it can.
pub fn fault(graph: &Graph, node: &Node) -> Option<String> {
    let computed = graph.const_of(*node.inputs.get(1)?).is_none();
    match &node.op {
        Op::Lookup(_) if computed => Some("its table is computed; C++ needs a constant".to_string()),
        Op::Threshold(_) if computed => Some("its thresholds are computed; C++ needs constants".to_string()),
        Op::Threshold(t)
            if t.axis + 1 != graph.ty(node.output).rank() && graph.ty(node.inputs[1]).shape[0] > 1 =>
        {
            Some("has channels that are not last; run the canonical passes".to_string())
        }
        _ => None,
    }
}

impl<'w, 'a> Formula<'w, 'a> {
    /// A function of elements of a result of that shape.
    pub fn new(w: &'w mut Writer<'a>, shape: &Shape) -> Self {
        Self {
            w,
            shape: shape.clone(),
            lines: String::new(),
            vars: BTreeMap::new(),
            count: 0,
            streams: Vec::new(),
            by_channel: false,
        }
    }

    /// Says that the function's first parameter `sum`, of type `word`, plus a bias, is that value.
    pub fn sum(&mut self, value: ValueId, bias: Option<ValueId>, word: Word) {
        let range = self.w.range(value);
        let mut text = "sum".to_string();
        if let Some(bias) = bias {
            let table = self.w.plain_constant(bias);
            self.by_channel = true;
            text = format!("kernel::add<{}>(sum, {})", word.name(), cast(word, &format!("{table}[c]")));
        }
        let var = self.define(text, word, range);
        self.vars.insert(value, var);
    }

    /// The function's text; `first` is its first parameter, if that is a sum.
    pub fn finish(
        mut self,
        wanted: &str,
        value: ValueId,
        first: Option<Word>,
    ) -> (String, Vec<ValueId>, bool) {
        let word = self.w.word(value);
        let var = self.operand(value);
        let mut parameters: Vec<String> = first.iter().map(|w| format!("{} sum", w.name())).collect();
        for (i, &v) in self.streams.iter().enumerate() {
            parameters.push(format!("{} x{i}", self.w.word(v).name()));
        }
        parameters.push(format!("std::size_t{}", if self.by_channel { " c" } else { "" }));
        let mut text = format!(
            "  static {} apply({}) noexcept {{\n{}    return {};\n  }}\n",
            word.name(),
            parameters.join(", "),
            self.lines,
            cast(word, &var.name)
        );
        if first.is_some() {
            text.insert_str(0, "  static constexpr bool has_rows = false;\n");
        }
        let name = self.w.function(wanted, text);
        (name, self.streams, self.by_channel)
    }

    /// Adds a variable; `text` is of type `word`, the variable of what its range needs.
    fn define(&mut self, text: String, word: Word, range: Range) -> Var {
        let target = Word::computing(range);
        let text = if word == target { text } else { cast(target, &text) };
        let name = format!("v{}", self.count);
        self.count += 1;
        let _ = writeln!(self.lines, "    const {} {name} = {text};", target.name());
        Var { name, range }
    }

    /// The variable of a value: a number, an element of a constant, a parameter, or what was computed.
    fn operand(&mut self, value: ValueId) -> Var {
        if let Some(var) = self.vars.get(&value) {
            return var.clone();
        }
        let range = self.w.range(value);
        let constant =
            self.w.codes(value).filter(|_| is_by_channel(&self.w.graph.ty(value).shape, &self.shape));
        let word = Word::computing(range);
        let var = match constant {
            Some(codes) if codes.len() == 1 => {
                let text = literal(codes[0]);
                Var { name: if word == Word::I64 { cast(word, &text) } else { text }, range }
            }
            Some(_) => {
                let table = self.w.constant(value, "narrow", "", Word::holding(range), |c| c.to_vec());
                self.by_channel = true;
                self.define(cast(word, &format!("{table}[c]")), word, range)
            }
            None => {
                self.streams.push(value);
                let name = format!("x{}", self.streams.len() - 1);
                self.define(cast(word, &name), word, range)
            }
        };
        self.vars.insert(value, var.clone());
        var
    }

    /// Two operands in the width that holds both, and `range` as well.
    fn both(&mut self, node: &Node, first: usize, range: Range) -> (String, String, Word) {
        let (a, b) = (self.operand(node.inputs[first]), self.operand(node.inputs[first + 1]));
        let word = a.word().max(b.word()).max(Word::computing(range));
        (a.as_word(word), b.as_word(word), word)
    }

    /// The result of a node: `text`, of type `word`, is `exact` in its low bits.
    fn wrapped(&mut self, node: &Node, text: String, word: Word, exact: Range) {
        let elem = &self.w.graph.ty(node.output).elem;
        match elem {
            ElemType::Int(int) if !inside(exact, range_of(*int)) => {
                let (text, word) = wrap(*int, text, word);
                self.result(node, text, word);
            }
            _ => self.result(node, text, word),
        }
    }

    fn result(&mut self, node: &Node, text: String, word: Word) {
        let range = self.w.range(node.output);
        let var = self.define(text, word, range);
        self.vars.insert(node.output, var);
    }

    /// Adds a node.
    pub fn node(&mut self, node: &Node) {
        match &node.op {
            Op::Requantize(op) => self.requantize(node, op),
            Op::Threshold(op) => self.threshold(node, op),
            Op::Lookup(_) => self.lookup(node),
            Op::Unary(f) => self.unary(node, *f),
            Op::Binary(f) => self.binary(node, *f),
            Op::Compare(f) => self.compare(node, *f),
            Op::Select(_) => self.select(node),
            Op::Bitwise(f) => self.bitwise(node, *f),
            Op::Cast(op) => self.cast(node, op),
            // Nothing else is pointwise.
            _ => {}
        }
    }

    fn requantize(&mut self, node: &Node, op: &Requantize) {
        let [x, m, a, s] = [0, 1, 2, 3].map(|i| self.operand(node.inputs[i]));
        let corners = [x.range.0, x.range.1].map(|x| [m.range.0, m.range.1].map(|m| x * m)).concat();
        let (lo, hi) = corners.iter().fold((i128::MAX, i128::MIN), |(lo, hi), &p| (lo.min(p), hi.max(p)));
        let sum = (lo + a.range.0, hi + a.range.1);
        let (low, high) = op.bounds();
        let rounding = format!("kernel::rounding::{}", op.rounding.name());
        self.w.kernel("rounding");
        let [x, m, a, shift] = [&x, &m, &a, &s].map(|v| v.as_word(Word::I64));
        const MOST: i128 = 1 << 61;
        if !inside(sum, (-MOST + 1, MOST - 1)) || s.range.1 > 61 {
            self.w.kernel("wide");
            let name = format!("v{}", self.count);
            self.count += 1;
            let _ = writeln!(
                self.lines,
                "    const kernel::wide {name} = kernel::divide<{rounding}>(kernel::plus(kernel::multiply({x}, {m}), {a}), {shift});"
            );
            let (low, high) = (literal(low), literal(high));
            let text = match op.overflow {
                Overflow::Wrap => wrap(op.to, format!("kernel::low_word({name})"), Word::I64).0,
                Overflow::SaturateZero => {
                    let word = format!("kernel::low_word({name})");
                    format!("kernel::fits({name}) && {word} >= {low} && {word} <= {high} ? {word} : 0")
                }
                _ => format!("kernel::clamp<std::int64_t>(kernel::nearest({name}), {low}, {high})"),
            };
            return self.result(node, text, Word::I64);
        }
        // Multiplications by 1 and sums with 0 are left out.
        let mut text = if m == "static_cast<std::int64_t>(1)" { x } else { format!("{x} * {m}") };
        if a != "static_cast<std::int64_t>(0)" {
            text = format!("{text} + {a}");
        }
        let total = self.define(text, Word::I64, (i64::MIN.into(), i64::MAX.into()));
        let rounded = |v: i128, other: i128| v >> if (v < 0) == (other < 0) { s.range.0 } else { s.range.1 };
        let range = (rounded(sum.0, -1), rounded(sum.1, 1) + 1);
        let quotient = format!("kernel::divide<{rounding}>({}, {shift})", total.name);
        let q = self.define(quotient, Word::I64, range);
        let word = q.word();
        let (least, most) = word.range();
        if inside(range, (low.into(), high.into())) {
            return self.result(node, q.name, word);
        }
        let text = match op.overflow {
            Overflow::Wrap => {
                let (text, word) = wrap(op.to, q.name, word);
                return self.result(node, text, word);
            }
            // Bounds that the quotient's own width does not have bound nothing.
            Overflow::SaturateZero => {
                let q = &q.name;
                let below = (i128::from(low) > least).then(|| format!("{q} < {}", literal(low)));
                let above = (i128::from(high) < most).then(|| format!("{q} > {}", literal(high)));
                let tests: Vec<String> = [below, above].into_iter().flatten().collect();
                format!("{} ? 0 : {q}", tests.join(" || "))
            }
            _ => {
                let bound = |b: i64| literal(i128::from(b).clamp(least, most) as i64);
                format!("kernel::clamp<{}>({}, {}, {})", word.name(), q.name, bound(low), bound(high))
            }
        };
        self.result(node, text, word);
    }

    fn threshold(&mut self, node: &Node, op: &Threshold) {
        let x = self.operand(node.inputs[0]);
        let table = node.inputs[1];
        let shape = self.w.graph.ty(table).shape.clone();
        let (rows, n) = (shape[0], shape[1]);
        // What no element can reach stays out of reach when it is cut to the next number above.
        let beyond = x.range.1 + 1;
        let sorted = |codes: &[i64]| -> Vec<i64> {
            let mut all: Vec<i64> = codes.to_vec();
            for row in all.chunks_mut(n.max(1)) {
                row.iter_mut()
                    .for_each(|t| *t = i128::from(*t).clamp(x.range.0, beyond.min(i64::MAX.into())) as i64);
                row.sort_unstable();
            }
            all
        };
        let codes = self.w.codes(table).unwrap_or_default();
        // The greatest number of 64 bits can be reached, and is not cut below itself.
        let reachable = beyond > i64::MAX.into();
        let limits = if reachable { codes.clone() } else { sorted(&codes) };
        let (lo, hi) = limits.iter().fold((0, 0), |(lo, hi): (i64, i64), &t| (lo.min(t), hi.max(t)));
        let word = Word::holding((lo.into(), hi.into())).max(Word::I32);
        let few = n <= 16 || reachable;
        if rows > 1 {
            self.by_channel = true;
        }
        let key = format!("limits {} {} {few}", x.range.0, x.range.1);
        let limits = self.w.constant(table, &key, "", word, |_| {
            if !few {
                return limits;
            }
            (0..n).flat_map(|k| (0..rows).map(move |r| r * n + k)).map(|i| limits[i]).collect()
        });
        let count = if few {
            let name = format!("n{}", self.count);
            self.count += 1;
            let at = match rows {
                1 => "k".to_string(),
                _ => format!("k * {rows} + c"),
            };
            let _ = writeln!(
                self.lines,
                "    std::int32_t {name} = 0;\n    for (std::size_t k = 0; k < {n}; ++k) {name} += {} >= {limits}[{at}] ? 1 : 0;",
                x.as_word(x.word().max(word))
            );
            name
        } else {
            self.w.kernel("reached");
            let from = if rows > 1 { format!("{limits} + c * {n}") } else { limits };
            format!("kernel::reached<{n}>({}, {from})", x.as_word(x.word().max(word)))
        };
        let range = self.w.range(node.output);
        let steps = i128::from(op.scale) * n as i128;
        let word = Word::computing((
            range.0.min(steps).min(op.scale.into()),
            range.1.max(steps).max(op.scale.into()),
        ));
        let count = if word == Word::I64 { cast(word, &count) } else { count };
        let text = match (op.scale, op.bias) {
            (1, 0) => count,
            (scale, bias) => format!("{} + {} * {count}", literal(bias), literal(scale)),
        };
        self.result(node, text, word);
    }

    fn lookup(&mut self, node: &Node) {
        let x = self.operand(node.inputs[0]);
        let (first, _) = Lookup::table_of(&self.w.graph.ty(node.inputs[0]).elem).unwrap_or((0, 0));
        let range =
            self.w.graph.const_of(node.inputs[1]).and_then(|_| self.w.ranges.of_value(node.inputs[1]));
        let word = Word::holding(range.unwrap_or_else(|| self.w.range(node.output)));
        let table = self.w.constant(node.inputs[1], "narrow", "", word, |c| c.to_vec());
        let by = if first == 0 { String::new() } else { format!(" - {}", literal(first)) };
        let target = Word::computing(self.w.range(node.output));
        let text = cast(target, &format!("{table}[static_cast<std::size_t>({}{by})]", x.name));
        self.result(node, text, target);
    }

    fn unary(&mut self, node: &Node, f: Unary) {
        let x = self.operand(node.inputs[0]);
        let (lo, hi) = x.range;
        let most = lo.abs().max(hi.abs());
        let exact = match f {
            Unary::Neg => (-hi, -lo),
            Unary::Abs => (0, most),
            _ => (lo.min(-1), hi.max(1)),
        };
        let word = x.word().max(Word::computing(exact));
        let (x, name) = (x.as_word(word), word.name());
        let text = match f {
            Unary::Relu => format!("{x} < 0 ? 0 : {x}"),
            Unary::Clip { lo, hi } => {
                let (least, most) = word.range();
                let bound = |b: f32| literal((b as i128).clamp(least, most) as i64);
                format!("kernel::clamp<{name}>({x}, {}, {})", bound(lo), bound(hi))
            }
            Unary::Neg => format!("kernel::sub<{name}>(0, {x})"),
            Unary::Abs => format!("{x} < 0 ? kernel::sub<{name}>(0, {x}) : {x}"),
            _ => format!("{x} > 0 ? 1 : {x} < 0 ? -1 : 0"),
        };
        let exact = if matches!(f, Unary::Neg | Unary::Abs) { exact } else { (0, 0) };
        self.wrapped(node, text, word, exact);
    }

    fn binary(&mut self, node: &Node, f: Binary) {
        let [(a, b), (c, d)] = [0, 1].map(|i| self.operand(node.inputs[i]).range);
        let products = [a * c, a * d, b * c, b * d];
        let product = products.iter().fold((0, 0), |(lo, hi): Range, &p| (lo.min(p), hi.max(p)));
        let most = a.abs().max(b.abs());
        let exact = match f {
            Binary::Add => (a + c, b + d),
            Binary::Sub => (a - d, b - c),
            Binary::Mul => product,
            Binary::Prelu => (product.0.min(a), product.1.max(b)),
            Binary::Div => (-most, most),
            Binary::Max | Binary::Min | Binary::Mod | Binary::Fmod => (0, 0),
            Binary::Pow => (i64::MIN.into(), i64::MAX.into()),
        };
        let (x, y, word) = self.both(node, 0, exact);
        let name = word.name();
        let text = match f {
            Binary::Add => format!("kernel::add<{name}>({x}, {y})"),
            Binary::Sub => format!("kernel::sub<{name}>({x}, {y})"),
            Binary::Mul => format!("kernel::mul<{name}>({x}, {y})"),
            Binary::Max => format!("kernel::larger<{name}>({x}, {y})"),
            Binary::Min => format!("kernel::lesser<{name}>({x}, {y})"),
            Binary::Prelu => format!("{x} >= 0 ? {x} : kernel::mul<{name}>({x}, {y})"),
            Binary::Div | Binary::Mod | Binary::Fmod | Binary::Pow => {
                self.w.kernel("arithmetic");
                let function = match f {
                    Binary::Div => "quotient",
                    Binary::Mod => "modulo",
                    Binary::Fmod => "remainder",
                    _ => "power",
                };
                format!("kernel::{function}<{name}>({x}, {y})")
            }
        };
        self.wrapped(node, text, word, exact);
    }

    fn compare(&mut self, node: &Node, f: Compare) {
        let (a, b, word) = self.both(node, 0, (0, 0));
        self.w.kernel("arithmetic");
        let text = format!("kernel::{}<{}>({a}, {b}) ? 1 : 0", f.name(), word.name());
        self.result(node, text, Word::I32);
    }

    fn select(&mut self, node: &Node) {
        let condition = self.operand(node.inputs[0]).name;
        let (a, b, word) = self.both(node, 1, (0, 0));
        self.result(node, format!("{condition} != 0 ? {a} : {b}"), word);
    }

    fn bitwise(&mut self, node: &Node, f: Bitwise) {
        let shift = |name: &str, a: &str, b: &str| format!("kernel::{name}<std::int64_t>({a}, {b})");
        let everything = (i64::MIN.into(), i64::MAX.into());
        let exact = if f == Bitwise::ShiftLeft { everything } else { (0, 0) };
        let shifts = matches!(f, Bitwise::ShiftLeft | Bitwise::ShiftRight);
        let (a, b, word) = self.both(node, 0, if shifts { everything } else { (0, 0) });
        if shifts {
            self.w.kernel("arithmetic");
        }
        let text = match f {
            Bitwise::And => format!("{a} & {b}"),
            Bitwise::Or => format!("{a} | {b}"),
            Bitwise::Xor => format!("{a} ^ {b}"),
            Bitwise::ShiftLeft => shift("shift_left", &a, &b),
            Bitwise::ShiftRight => shift("shift_right", &a, &b),
        };
        self.wrapped(node, text, word, exact);
    }

    fn cast(&mut self, node: &Node, op: &Cast) {
        let x = self.operand(node.inputs[0]);
        let word = x.word();
        match op.to {
            ElemType::Bit => self.result(node, format!("{} != 0 ? 1 : 0", x.name), Word::I32),
            ElemType::Ternary => {
                self.result(node, format!("kernel::clamp<{}>({}, -1, 1)", word.name(), x.name), word);
            }
            _ => self.wrapped(node, x.name, word, x.range),
        }
    }
}

fn range_of(int: IntType) -> Range {
    (int.min().into(), int.max().into())
}

/// The low bits of a number of type `word`, and the type of the result, which holds all that the integer type has.
fn wrap(int: IntType, text: String, word: Word) -> (String, Word) {
    let target = word.max(Word::computing(range_of(int)));
    let text = if word == target { text } else { cast(target, &text) };
    (format!("kernel::wrap<{}, {}>({text})", int.width, int.signed), target)
}

/// Adds the nodes that are fused behind a step's own, and ends the function.
pub fn finish(
    mut f: Formula,
    graph: &Graph,
    step: &Step,
    wanted: &str,
    first: Option<Word>,
) -> (String, Vec<ValueId>, bool) {
    for &id in &step.then {
        f.node(graph.node(id));
    }
    f.finish(wanted, step.output, first)
}
