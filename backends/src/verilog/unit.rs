//! One unit as a combinational module: `x` comes in, `y` goes out.
//!
//! In: the nodes of a unit, the nets that cross into it and out of it. Out: the module's text, in one of the styles. Every
//! table's result is a wire of its own, and `y` is put together once, which simulators like better than writing single bits of
//! wide vectors. Nets keep their numbers through all units: `n12` is what the certificate and reports call it.

use super::netlist::{Bit, Node, Placed};
use super::options::Style;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a unit is made of.
pub struct Unit<'a> {
    /// The module's name.
    pub name: &'a str,
    /// Comment lines.
    pub comment: &'a str,
    /// The nets that come in and go out, in the order of the bits.
    pub inputs: &'a [u32],
    pub outputs: &'a [u32],
    /// Its nodes, in order.
    pub nodes: Vec<&'a Placed>,
    pub style: Style,
}

struct Writer {
    names: BTreeMap<u32, String>,
    text: String,
    /// Wires that have bits which nothing reads.
    unread: Vec<String>,
}

/// The module.
pub fn module(unit: &Unit) -> String {
    let mut w = Writer { names: BTreeMap::new(), text: String::new(), unread: Vec::new() };
    for (i, &net) in unit.inputs.iter().enumerate() {
        w.names.insert(net, format!("x[{i}]"));
    }
    for placed in &unit.nodes {
        w.node(placed, unit.style);
    }
    let mut text = String::new();
    for line in unit.comment.lines() {
        let _ = writeln!(text, "// {line}");
    }
    let _ = writeln!(text, "module {} (", unit.name);
    let last = |n: usize| n.saturating_sub(1);
    if !unit.inputs.is_empty() {
        let _ = writeln!(text, "  input wire [{}:0] x,", last(unit.inputs.len()));
    }
    let _ = writeln!(text, "  output wire [{}:0] y\n);", last(unit.outputs.len()));
    text.push_str(&w.text);
    if !w.unread.is_empty() {
        let _ = writeln!(text, "  wire unused = &{{1'b0, {}}};", w.unread.join(", "));
    }
    let bits: Vec<String> = unit.outputs.iter().rev().map(|net| w.net(*net)).collect();
    text.push_str("  assign y = ");
    text.push_str(&concatenation(&bits));
    text.push_str(";\nendmodule\n");
    text
}

/// `{a, b, …}` in lines of some bits each, the highest first.
pub fn concatenation(bits: &[String]) -> String {
    let lines: Vec<String> = bits.chunks(8).map(|chunk| chunk.join(", ")).collect();
    format!("{{{}}}", lines.join(",\n    "))
}

impl Writer {
    fn net(&self, net: u32) -> String {
        self.names.get(&net).cloned().unwrap_or_else(|| format!("n{net}"))
    }
    fn bit(&self, bit: Bit) -> String {
        match bit {
            Bit::Const(value) => format!("1'b{}", u8::from(value)),
            Bit::Net(net) => self.net(net),
        }
    }
    fn bits(&self, bits: impl DoubleEndedIterator<Item = Bit>) -> String {
        let all: Vec<String> = bits.rev().map(|b| self.bit(b)).collect();
        format!("{{{}}}", all.join(", "))
    }

    fn node(&mut self, placed: &Placed, style: Style) {
        let (first, width) = (placed.first, placed.width);
        match (&placed.node, style) {
            (Node::Lut { pins, table }, _) => {
                let pins: Vec<Bit> = pins.iter().map(|&p| Bit::Net(p)).collect();
                self.lut(&format!("n{first}"), &pins, *table, style);
            }
            (Node::Pair { pins, tables }, Style::Primitive) => {
                let pins: Vec<Bit> = pins.iter().map(|&p| Bit::Net(p)).collect();
                let name = format!("n{}", first + 1);
                let _ = writeln!(self.text, "  wire n{first}, {name};");
                let init = fill(tables[1], pins.len()) << 32 | fill(tables[0], pins.len());
                self.two(&format!("lut_{first}"), init, &pins, &format!("n{first}"), &name);
            }
            (Node::Pair { pins, tables }, _) => {
                let pins: Vec<Bit> = pins.iter().map(|&p| Bit::Net(p)).collect();
                for (i, &table) in (0..).zip(tables) {
                    self.lut(&format!("n{}", first + i), &pins, table, style);
                }
            }
            (Node::Add { columns, more }, Style::Primitive) => self.carry_add(first, width, columns, *more),
            (Node::Add { columns, more }, _) => self.plain_add(first, width, columns, *more),
            (Node::Greater { a, b, or_equal }, Style::Primitive) => {
                self.carry_greater(first, a, b, *or_equal);
            }
            (Node::Greater { a, b, or_equal }, _) => {
                let (a, b) = (self.bits(a.iter().copied()), self.bits(b.iter().copied()));
                let sign = if *or_equal { ">=" } else { ">" };
                let _ = writeln!(self.text, "  wire n{first} = {a} {sign} {b};");
            }
        }
    }

    /// A table, as a wire of that name.
    fn lut(&mut self, name: &str, pins: &[Bit], table: u64, style: Style) {
        let n = pins.len();
        let digits = (1usize << n).div_ceil(4);
        match style {
            Style::Primitive => {
                let ports: Vec<String> =
                    pins.iter().enumerate().map(|(j, &p)| format!(", .I{j}({})", self.bit(p))).collect();
                let _ = writeln!(
                    self.text,
                    "  wire {name};\n  LUT{n} #(.INIT({}'h{table:0digits$x})) lut_{name} (.O({name}){});",
                    1 << n,
                    ports.concat()
                );
            }
            Style::Vector => {
                let address = self.bits(pins.iter().copied());
                let _ = writeln!(
                    self.text,
                    "  localparam [{}:0] T_{name} = {}'h{table:0digits$x};\n  wire {name} = T_{name}[{address}];",
                    (1 << n) - 1,
                    1 << n
                );
            }
            Style::Case => {
                let address = self.bits(pins.iter().copied());
                let ones = table.count_ones() as usize;
                let rare = u64::from(2 * ones <= 1 << n);
                let entries: Vec<String> = (0..1usize << n)
                    .filter(|a| table >> a & 1 == rare)
                    .map(|a| format!("{n}'d{a}"))
                    .collect();
                let entries: Vec<String> = entries.chunks(8).map(|c| c.join(", ")).collect();
                let _ = writeln!(
                    self.text,
                    "  reg {name};\n  always @* case ({address})\n    {}: {name} = 1'b{rare};\n    default: {name} = \
                     1'b{};\n  endcase",
                    entries.join(",\n    "),
                    1 - rare
                );
            }
        }
    }

    /// A table with two results, of at most five pins.
    fn two(&mut self, name: &str, init: u64, pins: &[Bit], low: &str, high: &str) {
        let pin = |j: usize| pins.get(j).map_or("1'b0".to_string(), |&p| self.bit(p));
        let ports: Vec<String> = (0..5).map(|j| format!(", .I{j}({})", pin(j))).collect();
        let _ = writeln!(
            self.text,
            "  LUT6_2 #(.INIT(64'h{init:016x})) {name} (.O5({low}), .O6({high}){}, .I5(1'b1));",
            ports.concat()
        );
    }

    fn plain_add(&mut self, first: u32, width: u32, columns: &[[Bit; 3]], more: [Bit; 2]) {
        let row = |k: usize| columns.iter().map(move |c| c[k]);
        let mut terms: Vec<Vec<Bit>> = (0..3).map(|k| row(k).collect()).collect();
        terms.extend(more.map(|b| vec![b]));
        let terms: Vec<String> = terms
            .into_iter()
            .filter(|t| t.iter().any(|&b| b != Bit::Const(false)))
            .map(|mut t| {
                t.resize(width as usize, Bit::Const(false));
                self.bits(t.into_iter())
            })
            .collect();
        let sum = if terms.is_empty() { format!("{width}'d0") } else { terms.join(" + ") };
        let _ = writeln!(self.text, "  wire [{}:0] s{first} = {sum};", width - 1);
        for i in 0..width {
            self.names.insert(first + i, format!("s{first}[{i}]"));
        }
        self.unread.push(format!("s{first}"));
    }

    /// Three rows on a carry chain: a table gives the parity of its column and of the bit that the column below hands on, and
    /// what it hands on itself, the majority of its three bits.
    fn carry_add(&mut self, first: u32, width: u32, columns: &[[Bit; 3]], more: [Bit; 2]) {
        let mut handed = self.bit(more[0]);
        let (mut select, mut data) = (Vec::new(), Vec::new());
        const NONE: &str = "1'b0";
        for i in 0..width as usize {
            let column = columns.get(i).copied().unwrap_or([Bit::Const(false); 3]);
            let mut items: Vec<String> = column.iter().map(|&b| self.bit(b)).collect();
            items.retain(|b| b != NONE);
            let rows = items.len();
            if handed != NONE {
                items.push(handed.clone());
            }
            let next = match (items.len(), rows) {
                (0 | 1, _) => {
                    select.push(items.pop().unwrap_or(NONE.to_string()));
                    data.push(NONE.to_string());
                    NONE.to_string()
                }
                (2, _) => {
                    let p = format!("p{first}_{i}");
                    let _ = writeln!(
                        self.text,
                        "  wire {p};\n  LUT2 #(.INIT(4'h6)) lut_{p} (.O({p}), .I0({}), .I1({}));",
                        items[0], items[1]
                    );
                    select.push(p);
                    data.push(items[0].clone());
                    NONE.to_string()
                }
                (n, rows) => {
                    let (p, m) = (format!("p{first}_{i}"), format!("m{first}_{i}"));
                    let parity: u64 =
                        (0..32u64).map(|a| u64::from((a & ((1 << n) - 1)).count_ones() & 1) << a).sum();
                    let majority: u64 =
                        (0..32u64).map(|a| u64::from((a & ((1 << rows) - 1)).count_ones() >= 2) << a).sum();
                    let _ = writeln!(self.text, "  wire {p}, {m};");
                    let pin = |j: usize| items.get(j).map_or(NONE, String::as_str);
                    let ports: Vec<String> = (0..5).map(|j| format!(", .I{j}({})", pin(j))).collect();
                    let _ = writeln!(
                        self.text,
                        "  LUT6_2 #(.INIT(64'h{:016x})) lut_{p} (.O5({m}), .O6({p}){}, .I5(1'b1));",
                        parity << 32 | majority,
                        ports.concat()
                    );
                    select.push(p);
                    data.push(handed.clone());
                    m
                }
            };
            handed = next;
        }
        let cin = self.bit(more[1]);
        let sums = self.chain(first, &select, &data, &cin);
        for i in 0..width {
            self.names.insert(first + i, format!("{}[{}]", sums[i as usize / 4].0, i % 4));
        }
        let words: Vec<String> = sums.into_iter().flat_map(|(o, c)| [o, c]).collect();
        self.unread.extend(words);
    }

    /// Two bits of both numbers per table: equal passes the comparison of the lower bits on.
    fn carry_greater(&mut self, first: u32, a: &[Bit], b: &[Bit], or_equal: bool) {
        let (mut select, mut data) = (Vec::new(), Vec::new());
        for (i, (a, b)) in a.chunks(2).zip(b.chunks(2)).enumerate() {
            let pins: Vec<Bit> = a.iter().chain(b).copied().collect();
            let n = a.len();
            let part = |v: u64| (v & ((1 << n) - 1), v >> n & ((1 << n) - 1));
            let table = |f: fn(u64, u64) -> bool| -> u64 {
                (0..32u64).map(part).enumerate().map(|(v, (a, b))| u64::from(f(a, b)) << v).sum()
            };
            let (equal, greater) = (table(|a, b| a == b), table(|a, b| a > b));
            let (p, g) = (format!("p{first}_{i}"), format!("g{first}_{i}"));
            let _ = writeln!(self.text, "  wire {p}, {g};");
            self.two(&format!("lut_{p}"), equal << 32 | greater, &pins, &g, &p);
            select.push(p);
            data.push(g);
        }
        let words = self.chain(first, &select, &data, if or_equal { "1'b1" } else { "1'b0" });
        let at = select.len().saturating_sub(1);
        self.names.insert(first, format!("{}[{}]", words[at / 4].1, at % 4));
        let words: Vec<String> = words.into_iter().flat_map(|(o, c)| [o, c]).collect();
        self.unread.extend(words);
    }

    /// A carry chain. Returns the names of the sums and of the carries, four bits each.
    fn chain(&mut self, first: u32, select: &[String], data: &[String], cin: &str) -> Vec<(String, String)> {
        let mut words = Vec::new();
        let mut before = "1'b0".to_string();
        for (k, (s, d)) in select.chunks(4).zip(data.chunks(4)).enumerate() {
            let (o, c) = (format!("o{first}_{k}"), format!("c{first}_{k}"));
            let word = |bits: &[String]| {
                let mut all = vec!["1'b0"; 4 - bits.len()];
                all.extend(bits.iter().rev().map(String::as_str));
                format!("{{{}}}", all.join(", "))
            };
            let init = if k == 0 { cin } else { "1'b0" };
            let _ = writeln!(
                self.text,
                "  wire [3:0] {o}, {c};\n  CARRY4 carry_{first}_{k} (.CO({c}), .O({o}), .CI({before}), .CYINIT({init}), \
                 .DI({}), .S({}));",
                word(d),
                word(s)
            );
            before = format!("{c}[3]");
            words.push((o, c));
        }
        words
    }
}

/// A table of `n` pins as one of five that ignores the others.
fn fill(table: u64, n: usize) -> u64 {
    (0..32).map(|a| (table >> (a & ((1 << n) - 1)) & 1) << a).sum()
}
