//! Graph to netlist.
//!
//! In: a graph of bits and small integers. Out: its netlist, and which bits each port has. Every layer of tables is a unit;
//! comparisons with constants, sums of groups of bits and the greatest of several numbers have theirs. Refuses, all at once:
//! floats, ops that have no form here, operands that are computed where constants are needed.

use super::heads;
use super::netlist::{Bit, Netlist, PINS, ZERO};
use std::collections::BTreeMap;
use unfloat_ir::ops::{ArgReduce, Compare, Op, OpDef, Reduce, ReduceFn};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, IntType, Layout, Location, Node, Tensor, TensorType, ValueId,
};

/// The most bits of one port: wider ones are no hardware.
const MAX_PORT: usize = 1 << 16;
/// The most entries of all tables together.
const MAX_ENTRIES: usize = 1 << 26;

/// A port's elements in the word.
#[derive(Clone, Debug)]
pub struct PortBits {
    /// The model's name of it.
    pub name: String,
    /// The type in the graph.
    pub ty: TensorType,
    /// The first bit of the data word.
    pub first: usize,
    /// How an element lies in the word, the first element lowest.
    pub element: IntType,
}

impl PortBits {
    /// Bits of the whole port.
    pub fn width(&self) -> usize {
        self.ty.shape.num_elements() * usize::from(self.element.width)
    }
}

/// A layer of tables as the graph has it, and where its bits went: what a proof compares the emitted module with.
#[derive(Debug)]
pub struct LayerBits {
    /// The unit that it became.
    pub unit: usize,
    /// Pins of each table.
    pub pins: usize,
    /// The layer's input and its results.
    pub inputs: Vec<Bit>,
    pub outputs: Vec<Bit>,
    /// `[outputs, pins]`, places in the input.
    pub connections: Vec<i64>,
    /// `[outputs, 2^pins]`.
    pub tables: Vec<i64>,
}

/// A network and its ports.
#[derive(Debug)]
pub struct Lowered {
    /// The bits.
    pub net: Netlist,
    /// The layers of tables.
    pub layers: Vec<LayerBits>,
    /// The inputs, in the model's order.
    pub inputs: Vec<PortBits>,
    /// The outputs, in the model's order.
    pub outputs: Vec<PortBits>,
}

impl Lowered {
    /// Bits of `in_data` and of `out_data`.
    pub fn widths(&self) -> (usize, usize) {
        let all = |ports: &[PortBits]| ports.iter().map(PortBits::width).sum();
        (all(&self.inputs), all(&self.outputs))
    }
}

/// An integer: its bits, the lowest first, in two's complement where it is signed.
#[derive(Clone, Debug)]
struct Number {
    bits: Vec<Bit>,
    signed: bool,
}

impl Number {
    /// Bit `i`, beyond the width as well.
    fn bit(&self, i: usize) -> Bit {
        let beyond = if self.signed { self.bits.last().copied() } else { None };
        self.bits.get(i).copied().or(beyond).unwrap_or(ZERO)
    }
    fn constant(value: i64, int: IntType) -> Number {
        let bits = (0..u32::from(int.width)).map(|i| Bit::Const(value >> i.min(63) & 1 == 1)).collect();
        Number { bits, signed: int.signed }
    }
}

/// The integers that a type has; nothing for other types.
fn int_of(elem: &ElemType) -> Option<IntType> {
    match elem {
        ElemType::Int(int) => Some(*int),
        ElemType::Bit => Some(IntType::unsigned(1)),
        _ => None,
    }
}

/// Lowers a compact graph.
pub fn lower(graph: &Graph) -> Result<Lowered, Diagnostics> {
    let mut found = Diagnostics::new();
    let fault = |at: Location, text: String| Diagnostic::error(at, text);
    let mut inputs = Vec::new();
    let mut first = 0;
    for &v in graph.inputs() {
        let (ty, name) = (graph.ty(v).clone(), graph.value(v).name.clone());
        let Some(element) = int_of(&ty.elem) else {
            let text = format!("input `{name}` is {ty}; Verilog takes bits and integers");
            found.push(
                fault(Location::default(), text).help("quantize the model, or give integer thresholds"),
            );
            continue;
        };
        let port = PortBits { name, ty, first, element };
        first += port.width().min(MAX_PORT + 1);
        inputs.push(port);
    }
    if first > MAX_PORT {
        found.push(fault(Location::default(), format!("the inputs have more than {MAX_PORT} bits")));
    }
    for (_, node) in graph.live_nodes() {
        if let Some(text) = refused(graph, node) {
            let name = &graph.value(node.output).name;
            found.push(fault((&node.origin).into(), format!("`{name}` ({}): {text}", node.op.name())));
        }
    }
    found.into_result(())?;
    let mut lowering = Lowering {
        graph,
        ranges: Ranges::of(graph),
        net: Netlist::new(first as u32),
        values: BTreeMap::new(),
        layers: Vec::new(),
    };
    for (&v, port) in graph.inputs().iter().zip(&inputs) {
        let width = usize::from(port.element.width);
        let nets = |i: usize| {
            let from = (port.first + i * width) as u32;
            let bits = (from..from + width as u32).map(Bit::Net).collect();
            Number { bits, signed: port.element.signed }
        };
        lowering.values.insert(v, (0..port.ty.shape.num_elements()).map(nets).collect());
    }
    let mut failed = Diagnostics::new();
    for (_, node) in graph.live_nodes() {
        match lowering.node(node) {
            Ok(made) => drop(lowering.values.insert(node.output, made)),
            Err(text) => {
                let name = &graph.value(node.output).name;
                failed.push(fault((&node.origin).into(), format!("`{name}` ({}): {text}", node.op.name())));
                // What reads it cannot be made either, and is not blamed.
                return Err(failed);
            }
        }
    }
    let outputs = lowering.outputs()?;
    let (mut net, layers) = (lowering.net, lowering.layers);
    if net.units.is_empty() {
        net.unit("wires", "");
        net.end_layer();
    }
    net.prune();
    Ok(Lowered { net, layers, inputs, outputs })
}

/// Why a node cannot be lowered; nothing when it can, as far as its types and constants tell.
fn refused(graph: &Graph, node: &Node) -> Option<String> {
    let constant = |i: usize| node.inputs.get(i).is_some_and(|&v| graph.const_of(v).is_some());
    let plain = |v: &ValueId| int_of(&graph.ty(*v).elem).is_some();
    if let Some(v) = node.inputs.iter().chain([&node.output]).find(|v| !plain(v)) {
        let ty = graph.ty(*v);
        return Some(format!("`{}` is {ty}; Verilog takes bits and integers", graph.value(*v).name));
    }
    let x = graph.ty(*node.inputs.first()?);
    match &node.op {
        Op::Lut(_) if !constant(1) || !constant(2) => {
            Some("its connections or tables are computed; Verilog needs constants".to_string())
        }
        Op::Lut(_) if graph.ty(node.inputs[2]).shape.num_elements() > MAX_ENTRIES => {
            Some(format!("its tables have more than {MAX_ENTRIES} entries"))
        }
        Op::Lut(_) | Op::Reshape(_) | Op::Cast(_) => None,
        Op::Compare(_) if !constant(0) && !constant(1) => {
            Some("both operands are computed; Verilog compares with constants".to_string())
        }
        Op::Compare(_) => None,
        Op::Reduce(Reduce { f: ReduceFn::Sum, .. }) => None,
        Op::ArgReduce(a) if x.shape[a.axis] != x.shape.num_elements() => {
            Some(format!("there are several rows in {x}; Verilog finds the greatest of one"))
        }
        Op::ArgReduce(_) => None,
        Op::Transpose(_) | Op::Slice(_) | Op::Expand(_) | Op::Reverse(_) => None,
        Op::Gather(_) if constant(1) => None,
        _ => Some(
            "Verilog has no such op yet; it has layers of tables, comparisons with constants, sums of groups of bits, \
             arg_max and moves"
                .to_string(),
        ),
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    ranges: Ranges,
    net: Netlist,
    values: BTreeMap<ValueId, Vec<Number>>,
    layers: Vec<LayerBits>,
}

impl Lowering<'_> {
    fn operand(&self, value: ValueId) -> Vec<Number> {
        if let Some(t) = self.graph.const_of(value) {
            let int = int_of(&t.ty.elem).unwrap_or(IntType::signed(64));
            return codes(t).into_iter().map(|c| Number::constant(c, int)).collect();
        }
        self.values.get(&value).cloned().unwrap_or_default()
    }

    fn node(&mut self, node: &Node) -> Result<Vec<Number>, String> {
        let origin = match node.origin.is_unknown() {
            true => self.graph.value(node.output).name.clone(),
            false => node.origin.to_string(),
        };
        match &node.op {
            Op::Lut(_) => Ok(self.lut(node, &origin)),
            Op::Reshape(_) => Ok(self.operand(node.inputs[0])),
            Op::Cast(c) => self.cast(node, &c.to),
            Op::Compare(op) => Ok(self.compare(node, *op, &origin)),
            Op::Reduce(op) => self.sum(node, op, &origin),
            Op::ArgReduce(op) => self.arg_reduce(node, op, &origin),
            _ => self.moved(node),
        }
    }

    fn lut(&mut self, node: &Node, origin: &str) -> Vec<Number> {
        let x: Vec<Bit> = self.operand(node.inputs[0]).iter().map(|n| n.bit(0)).collect();
        let constant = |i: usize| self.graph.const_of(node.inputs[i]).map(|t| codes(t)).unwrap_or_default();
        let (connections, tables) = (constant(1), constant(2));
        let pins = self.graph.ty(node.inputs[1]).shape[1];
        self.net.unit("layer", origin);
        let mut made = Vec::new();
        for (places, entries) in connections.chunks_exact(pins).zip(tables.chunks_exact(1 << pins)) {
            let pins: Vec<Bit> = places.iter().map(|&p| x.get(p as usize).copied().unwrap_or(ZERO)).collect();
            let bit = if pins.len() <= PINS {
                let table = entries.iter().enumerate().map(|(a, &e)| ((e & 1) as u64) << a).sum();
                self.net.lut(&pins, table)
            } else {
                let entries: Vec<bool> = entries.iter().map(|&e| e != 0).collect();
                self.net.wide_lut(&pins, &entries)
            };
            made.push(Number { bits: vec![bit], signed: false });
        }
        self.net.end_layer();
        let (unit, outputs) = (self.net.units.len() - 1, made.iter().map(|n| n.bit(0)).collect());
        self.layers.push(LayerBits { unit, pins, inputs: x, outputs, connections, tables });
        made
    }

    fn cast(&mut self, node: &Node, to: &ElemType) -> Result<Vec<Number>, String> {
        let x = self.operand(node.inputs[0]);
        match to {
            ElemType::Int(int) => {
                let width = usize::from(int.width);
                let bits = |n: &Number| (0..width).map(|i| n.bit(i)).collect();
                Ok(x.iter().map(|n| Number { bits: bits(n), signed: int.signed }).collect())
            }
            ElemType::Bit if x.iter().all(|n| n.bits.len() == 1) => Ok(x),
            _ => Err(format!("nothing is cast to {to} in Verilog")),
        }
    }

    /// Comparisons with constants: from the lowest bits up, as many at a time as a table takes beside the outcome so far.
    fn compare(&mut self, node: &Node, op: Compare, origin: &str) -> Vec<Number> {
        self.net.unit("encode", origin);
        let swapped = self.graph.const_of(node.inputs[0]).is_some();
        let (variable, fixed) =
            if swapped { (node.inputs[1], node.inputs[0]) } else { (node.inputs[0], node.inputs[1]) };
        let constants = self.graph.const_of(fixed).map(|t| codes(t)).unwrap_or_default();
        let x = self.operand(variable);
        let out = self.graph.ty(node.output).shape.clone();
        let (at_x, at_c) =
            (places(&self.graph.ty(variable).shape, &out), places(&self.graph.ty(fixed).shape, &out));
        let mut made = Vec::new();
        for (&i, &k) in at_x.iter().zip(&at_c) {
            let holds = |x: i64, c: i64| if swapped { op.apply(c, x) } else { op.apply(x, c) };
            let bit = compared(&mut self.net, &x[i], constants[k], &holds);
            made.push(Number { bits: vec![bit], signed: false });
        }
        self.net.end_layer();
        made
    }

    fn sum(&mut self, node: &Node, op: &Reduce, origin: &str) -> Result<Vec<Number>, String> {
        let x = self.operand(node.inputs[0]);
        let shape = &self.graph.ty(node.inputs[0]).shape;
        let Some(bits) = x.iter().map(single).collect::<Option<Vec<Bit>>>() else {
            return Err("it adds numbers of more than one bit; Verilog counts bits".to_string());
        };
        // The group of each element: its place without the axes that go.
        let kept: Vec<usize> = (0..shape.rank()).filter(|a| !op.axes.contains(a)).collect();
        let strides = shape.strides();
        let mut groups: BTreeMap<Vec<usize>, Vec<Bit>> = BTreeMap::new();
        for (i, &bit) in bits.iter().enumerate() {
            let key = kept.iter().map(|&a| i / strides[a] % shape[a]).collect();
            groups.entry(key).or_default().push(bit);
        }
        let size = groups.values().map(Vec::len).max().unwrap_or(0);
        let ty = &self.graph.ty(node.output).elem;
        if ty.code_range().is_none_or(|(_, hi)| (hi as u64) < size as u64) {
            return Err(format!("{ty} does not hold the number of set bits among {size}"));
        }
        let groups: Vec<Vec<Bit>> = groups.into_values().collect();
        let sums = heads::counts(&mut self.net, &groups, origin);
        Ok(sums.into_iter().map(|bits| Number { bits, signed: false }).collect())
    }

    fn arg_reduce(&mut self, node: &Node, op: &ArgReduce, origin: &str) -> Result<Vec<Number>, String> {
        let x = self.operand(node.inputs[0]);
        if x.iter().any(|n| n.signed) {
            return Err("its operands are signed; Verilog compares counts".to_string());
        }
        let scores: Vec<Vec<Bit>> = x.into_iter().map(|n| n.bits).collect();
        let bits = heads::arg_extreme(&mut self.net, &scores, (op.max, op.last), origin);
        Ok(vec![Number { bits, signed: false }])
    }

    /// Ops that only move elements: their own evaluation on the elements' numbers tells whence.
    fn moved(&mut self, node: &Node) -> Result<Vec<Number>, String> {
        let x = self.operand(node.inputs[0]);
        let (from, out) = (self.graph.ty(node.inputs[0]), self.graph.ty(node.output));
        let numbers = Tensor::f32(from.shape.clone(), from.layout, (0..x.len()).map(|i| i as f32).collect());
        let more = node.inputs[1..].iter().map(|&v| self.graph.const_of(v).map(|t| &**t));
        let operands: Option<Vec<&Tensor>> = std::iter::once(Some(&numbers)).chain(more).collect();
        let operands = operands.ok_or("an operand is computed; Verilog needs a constant")?;
        let data = node.op.eval(&operands, &out.with_elem(ElemType::F32)).map_err(|e| e.to_string())?;
        let ty = TensorType::new(ElemType::F32, out.shape.clone(), Layout::anonymous(out.rank()));
        let moved = Tensor { ty, data };
        let pick = |&i: &f32| x.get(i as usize).cloned();
        let all: Option<Vec<Number>> = moved.as_f32().unwrap_or_default().iter().map(pick).collect();
        all.ok_or_else(|| "moves what is not there".to_string())
    }

    /// The outputs: elements as wide as what they can be.
    fn outputs(&mut self) -> Result<Vec<PortBits>, Diagnostics> {
        let mut ports = Vec::new();
        let mut first = 0usize;
        for output in self.graph.outputs() {
            let ty = self.graph.ty(output.value).clone();
            let int = int_of(&ty.elem).unwrap_or(IntType::signed(64));
            let narrow = |r: unfloat_ir::ranges::Range| {
                let (lo, hi) = (i64::try_from(r.0).ok()?, i64::try_from(r.1).ok()?);
                Some(IntType::covering(lo, hi))
            };
            let element = self.ranges.of_value(output.value).and_then(narrow).unwrap_or(int);
            let port = PortBits { name: output.name.clone(), ty, first, element };
            first = first.saturating_add(port.width());
            if first > MAX_PORT {
                let text = format!("the outputs have more than {MAX_PORT} bits");
                return Err(Diagnostic::error(Location::default(), text).into());
            }
            for number in self.operand(output.value) {
                self.net.outputs.extend((0..usize::from(element.width)).map(|i| number.bit(i)));
            }
            ports.push(port);
        }
        Ok(ports)
    }
}

/// The only bit of a number that can be more than 0.
fn single(n: &Number) -> Option<Bit> {
    let (first, rest) = n.bits.split_first()?;
    (rest.iter().all(|&b| b == ZERO) && !(n.signed && rest.is_empty())).then_some(*first)
}

fn codes(t: &Tensor) -> Vec<i64> {
    (0..t.len()).filter_map(|i| t.data.code(i)).collect()
}

/// Where each element of the result finds an operand that broadcasts.
fn places(from: &unfloat_ir::Shape, out: &unfloat_ir::Shape) -> Vec<usize> {
    let (strides, lead) = (from.strides(), out.rank() - from.rank());
    let mut found = Vec::with_capacity(out.num_elements());
    unfloat_ir::tensor::for_each_index(out, |at| {
        let axis = |i: usize| if from[i] == 1 { 0 } else { at[lead + i] * strides[i] };
        found.push((0..from.rank()).map(axis).sum());
    });
    found
}

/// Whether a comparison with a constant holds. `holds` is the comparison itself.
fn compared(net: &mut Netlist, x: &Number, c: i64, holds: &dyn Fn(i64, i64) -> bool) -> Bit {
    // Signed numbers keep their order when the sign is turned and they are read as unsigned ones.
    let width = x.bits.len();
    let int = IntType { signed: x.signed, width: width as u8 };
    let (lo, hi) = (int.min(), int.max());
    if c < lo || c > hi {
        // Every number compares alike with one that is beyond them all.
        return Bit::Const(holds(lo, c));
    }
    // From the lowest bits up: whether the comparison holds if all higher bits are equal. That is one bit, which the next
    // table takes beside the bits that are new.
    let offset = c.wrapping_sub(lo) as u64;
    let mut outcome = Bit::Const(holds(0, 0));
    let mut at = 0;
    while at < width {
        let known = if let Bit::Const(known) = outcome { Some(known) } else { None };
        let n = (PINS - usize::from(known.is_none())).min(width - at);
        let mut pins: Vec<Bit> = x.bits[at..at + n].to_vec();
        pins.extend(known.is_none().then_some(outcome));
        let sign = x.signed && at + n == width;
        let part = (offset >> at & ((1 << n) - 1)) as i64;
        let entry = |a: i64| {
            let low = a & ((1 << n) - 1);
            let value = if sign { low ^ (1 << (n - 1)) } else { low };
            let before = known.unwrap_or(a >> n == 1);
            if value == part { before } else { holds(value, part) }
        };
        let entries: Vec<bool> = (0..1i64 << pins.len()).map(entry).collect();
        outcome = net.wide_lut(&pins, &entries);
        at += n;
    }
    outcome
}
