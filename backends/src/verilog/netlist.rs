//! A network as bits and what makes them: look-up tables, adders of three rows, comparators.
//!
//! In: calls that ask for functions of bits. Out: nodes in an order in which each comes after what it reads, every one in the
//! *unit* (a combinational module) that was current when it was made. Constants are carried through, tables are brought to the
//! pins that they need, and what was made already is not made again. Tables have at most [`PINS`] pins; wider ones become trees.

use std::collections::BTreeMap;

/// Pins of the widest table.
pub const PINS: usize = 6;

/// One bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bit {
    /// Always the same.
    Const(bool),
    /// What a node makes, or an input: the inputs are the first nets.
    Net(u32),
}

/// No bit.
pub const ZERO: Bit = Bit::Const(false);

/// What makes bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Node {
    /// A table; pin 0 is the lowest bit of the address.
    Lut { pins: Vec<u32>, table: u64 },
    /// Two tables of the same pins, at most five: one table of six that gives both.
    Pair { pins: Vec<u32>, tables: [u64; 2] },
    /// The sum of the columns, each of at most three bits, and of two more bits of the lowest weight.
    Add { columns: Vec<[Bit; 3]>, more: [Bit; 2] },
    /// Whether `a > b`, or `a ≥ b`: unsigned numbers of as many bits, the lowest first.
    Greater { a: Vec<Bit>, b: Vec<Bit>, or_equal: bool },
}

impl Node {
    /// The nets that it reads.
    pub fn reads(&self) -> Vec<u32> {
        let nets = |bits: &mut dyn Iterator<Item = &Bit>| -> Vec<u32> {
            bits.filter_map(|b| if let Bit::Net(n) = b { Some(*n) } else { None }).collect()
        };
        match self {
            Node::Lut { pins, .. } | Node::Pair { pins, .. } => pins.clone(),
            Node::Add { columns, more } => nets(&mut columns.iter().flatten().chain(more)),
            Node::Greater { a, b, .. } => nets(&mut a.iter().chain(b)),
        }
    }

    /// Six-input tables that it takes where carry chains are there.
    pub fn luts(&self) -> usize {
        match self {
            Node::Lut { .. } | Node::Pair { .. } => 1,
            Node::Add { columns, .. } => columns.len(),
            Node::Greater { a, .. } => a.len().div_ceil(2),
        }
    }
}

/// A node in its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What it is.
    pub node: Node,
    /// The unit that it is in.
    pub unit: usize,
    /// Its first net; it makes `width` of them.
    pub first: u32,
    /// How many bits it makes.
    pub width: u32,
}

/// What a unit is.
#[derive(Clone, Debug)]
pub struct UnitInfo {
    /// `layer`, `encode`, …
    pub kind: &'static str,
    /// Where it comes from, for comments.
    pub origin: String,
    /// Whether it is the last one of a layer of the model.
    pub ends_layer: bool,
}

/// The whole network.
#[derive(Debug)]
pub struct Netlist {
    /// The nodes.
    pub nodes: Vec<Placed>,
    /// The units, in the order in which data goes through them.
    pub units: Vec<UnitInfo>,
    /// The outputs.
    pub outputs: Vec<Bit>,
    nets: u32,
    made: BTreeMap<Node, u32>,
}

/// Bits that a number needs.
pub fn width_of(most: u64) -> usize {
    (u64::BITS - most.leading_zeros()) as usize
}

/// The entries of a table with `pins` pins.
fn mask(pins: usize) -> u64 {
    if pins >= PINS { u64::MAX } else { (1 << (1 << pins)) - 1 }
}

/// The table of one pin less, in which pin `j` is what `value` says of the rest of the address.
fn without(table: u64, pins: usize, j: usize, value: impl Fn(usize) -> usize) -> u64 {
    let low = (1 << j) - 1;
    let entry = |a: usize| table >> ((a & low) | ((a & !low) << 1) | (value(a) << j)) & 1;
    (0..1 << (pins - 1)).map(|a| entry(a) << a).sum()
}

impl Netlist {
    /// No nodes yet; the inputs are the nets from 0.
    pub fn new(inputs: u32) -> Self {
        let (nodes, units, outputs, made) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        Self { nodes, units, outputs, nets: inputs, made }
    }

    /// Begins a unit: what is made from now on is in it.
    pub fn unit(&mut self, kind: &'static str, origin: &str) {
        self.units.push(UnitInfo { kind, origin: origin.to_string(), ends_layer: false });
    }

    /// Says that the layer ends here.
    pub fn end_layer(&mut self) {
        if let Some(unit) = self.units.last_mut() {
            unit.ends_layer = true;
        }
    }

    fn push(&mut self, node: Node, width: u32) -> u32 {
        if let Some(&first) = self.made.get(&node) {
            return first;
        }
        let first = self.nets;
        self.nets += width;
        self.made.insert(node.clone(), first);
        self.nodes.push(Placed { node, unit: self.units.len().saturating_sub(1), first, width });
        first
    }

    /// A function of at most six bits.
    pub fn lut(&mut self, pins: &[Bit], table: u64) -> Bit {
        let mut nets: Vec<u32> = Vec::new();
        let mut table = table & mask(pins.len());
        for &pin in pins {
            match pin {
                Bit::Net(n) => nets.push(n),
                // Marked, and taken away below, where the number of pins is known.
                Bit::Const(value) => nets.push(if value { u32::MAX } else { u32::MAX - 1 }),
            }
        }
        for j in (0..nets.len()).rev() {
            let n = nets.len();
            let reduced = match nets[j] {
                u32::MAX => Some(without(table, n, j, |_| 1)),
                net if net == u32::MAX - 1 => Some(without(table, n, j, |_| 0)),
                net => nets[..j].iter().position(|&m| m == net).map(|i| without(table, n, j, |a| a >> i & 1)),
            };
            if let Some(reduced) = reduced {
                table = reduced;
                nets.remove(j);
            }
        }
        for j in (0..nets.len()).rev() {
            let n = nets.len();
            let (zero, one) = (without(table, n, j, |_| 0), without(table, n, j, |_| 1));
            if zero == one {
                table = zero;
                nets.remove(j);
            }
        }
        match (nets.as_slice(), table) {
            ([], t) => Bit::Const(t & 1 == 1),
            (&[net], 0b10) => Bit::Net(net),
            _ => {
                let (pins, table) = sorted(nets, table);
                Bit::Net(self.push(Node::Lut { pins, table }, 1))
            }
        }
    }

    /// A function of any number of bits: trees of tables and selectors.
    pub fn wide_lut(&mut self, pins: &[Bit], entries: &[bool]) -> Bit {
        let (mut pins, mut entries) = (pins.to_vec(), entries.to_vec());
        // Pins that are known, or that read what another one reads, choose nothing: they go before the tree is made.
        for j in (0..pins.len()).rev() {
            let twin = pins[..j].iter().position(|&p| p == pins[j]);
            let known = if let Bit::Const(value) = pins[j] { Some(usize::from(value)) } else { None };
            if known.is_none() && twin.is_none() {
                continue;
            }
            let low = (1 << j) - 1;
            let value = |a: usize| known.unwrap_or_else(|| twin.map_or(0, |i| a >> i & 1));
            let entry = |a: usize| entries[(a & low) | ((a & !low) << 1) | (value(a) << j)];
            entries = (0..entries.len() / 2).map(entry).collect();
            pins.remove(j);
        }
        if pins.len() <= PINS {
            let table = entries.iter().enumerate().map(|(a, &e)| u64::from(e) << a).sum();
            return self.lut(&pins, table);
        }
        // Two pins choose among four quarters where that fills a table, else one pin between halves.
        let choosers = if pins.len() >= PINS + 2 { 2 } else { 1 };
        let (low, high) = pins.split_at(pins.len() - choosers);
        let parts: Vec<Bit> =
            entries.chunks(entries.len() >> choosers).map(|part| self.wide_lut(low, part)).collect();
        let n = parts.len();
        let select = |a: usize| u64::from(a >> (a >> n) & 1 == 1) << a;
        let table = (0..1usize << (n + choosers)).map(select).sum();
        let pins: Vec<Bit> = parts.iter().chain(high).copied().collect();
        self.lut(&pins, table)
    }

    /// Two functions of the same bits, at most five.
    pub fn pair(&mut self, pins: &[Bit], tables: [u64; 2]) -> [Bit; 2] {
        let nets: Option<Vec<u32>> =
            pins.iter().map(|b| if let Bit::Net(n) = b { Some(*n) } else { None }).collect();
        let distinct = |nets: &[u32]| (1..nets.len()).all(|j| !nets[..j].contains(&nets[j]));
        match nets.filter(|n| distinct(n)) {
            Some(pins) => {
                let tables = tables.map(|t| t & mask(pins.len()));
                let first = self.push(Node::Pair { pins, tables }, 2);
                [Bit::Net(first), Bit::Net(first + 1)]
            }
            // With constants or one bit twice, each is simpler alone.
            None => tables.map(|table| self.lut(pins, table)),
        }
    }

    /// The sum of columns of at most three bits and of two more bits of the lowest weight, which is `most` at most.
    pub fn add(&mut self, columns: Vec<[Bit; 3]>, more: [Bit; 2], most: u64) -> Vec<Bit> {
        let width = width_of(most) as u32;
        let first = self.push(Node::Add { columns, more }, width);
        (first..first + width).map(Bit::Net).collect()
    }

    /// Whether `a > b`, or `a ≥ b`.
    pub fn greater(&mut self, a: &[Bit], b: &[Bit], or_equal: bool) -> Bit {
        let n = a.len().max(b.len());
        let padded = |v: &[Bit]| -> Vec<Bit> { (0..n).map(|i| v.get(i).copied().unwrap_or(ZERO)).collect() };
        Bit::Net(self.push(Node::Greater { a: padded(a), b: padded(b), or_equal }, 1))
    }

    /// `one` where `by` is set, else `zero`, bit by bit; two selections share a table.
    pub fn choose(&mut self, by: Bit, zero: &[Bit], one: &[Bit]) -> Vec<Bit> {
        let n = zero.len().max(one.len());
        let at = |v: &[Bit], i: usize| v.get(i).copied().unwrap_or(ZERO);
        let simple = |z: Bit, o: Bit| z == o || matches!(z, Bit::Const(_)) || matches!(o, Bit::Const(_));
        let mut chosen = vec![ZERO; n];
        let mut hard = Vec::new();
        for (i, chosen) in chosen.iter_mut().enumerate() {
            let (z, o) = (at(zero, i), at(one, i));
            match simple(z, o) {
                true => *chosen = self.lut(&[by, z, o], SELECT_TABLE),
                false => hard.push(i),
            }
        }
        for two in hard.chunks(2) {
            match *two {
                [i, j] => {
                    let pins = [by, at(zero, i), at(one, i), at(zero, j), at(one, j)];
                    let tables = [[1, 2], [3, 4]].map(|[z, o]| {
                        let entry = |a: usize| (if a & 1 == 1 { a >> o } else { a >> z }) & 1;
                        (0..32).map(|a| (entry(a) as u64) << a).sum()
                    });
                    [chosen[i], chosen[j]] = self.pair(&pins, tables);
                }
                [i] => chosen[i] = self.lut(&[by, at(zero, i), at(one, i)], SELECT_TABLE),
                _ => {}
            }
        }
        chosen
    }

    /// Drops the nodes that no output needs.
    pub fn prune(&mut self) {
        let mut live = vec![false; self.nets as usize];
        for bit in &self.outputs {
            if let Bit::Net(n) = bit {
                live[*n as usize] = true;
            }
        }
        for placed in self.nodes.iter().rev() {
            if (placed.first..placed.first + placed.width).any(|n| live[n as usize]) {
                placed.node.reads().iter().for_each(|&n| live[n as usize] = true);
            }
        }
        self.nodes.retain(|p| (p.first..p.first + p.width).any(|n| live[n as usize]));
    }

    /// Six-input tables of each unit, where carry chains are there.
    pub fn luts(&self) -> Vec<usize> {
        let mut all = vec![0; self.units.len()];
        self.nodes.iter().for_each(|p| all[p.unit] += p.node.luts());
        all
    }

    /// The nets that cross each boundary between units, and behind the last one those that are outputs, rising.
    pub fn crossings(&self) -> Vec<Vec<u32>> {
        let n = self.units.len();
        // The unit that makes a net, 0 for inputs, and the last one that reads it: `n` for outputs.
        let mut made = vec![0; self.nets as usize];
        let mut read: Vec<Option<usize>> = vec![None; self.nets as usize];
        for placed in &self.nodes {
            (placed.first..placed.first + placed.width).for_each(|net| made[net as usize] = placed.unit + 1);
            for net in placed.node.reads() {
                let last = &mut read[net as usize];
                *last = (*last).max(Some(placed.unit));
            }
        }
        for bit in &self.outputs {
            if let Bit::Net(net) = bit {
                read[*net as usize] = Some(n);
            }
        }
        // Boundary `b` stands in front of unit `b`.
        let crosses = |b: usize, net: usize| made[net] <= b && read[net].is_some_and(|last| last >= b);
        (0..=n).map(|b| (0..self.nets).filter(|&net| crosses(b, net as usize)).collect()).collect()
    }
}

/// Pins `by`, `zero`, `one`: `by ? one : zero`.
const SELECT_TABLE: u64 = 0b1110_0100;

/// The same function with pins in rising order.
fn sorted(nets: Vec<u32>, table: u64) -> (Vec<u32>, u64) {
    let mut order: Vec<usize> = (0..nets.len()).collect();
    order.sort_by_key(|&j| nets[j]);
    let old = |a: usize| order.iter().enumerate().map(|(k, &j)| (a >> k & 1) << j).sum::<usize>();
    let table = (0..1usize << nets.len()).map(|a| (table >> old(a) & 1) << a).sum();
    (order.iter().map(|&j| nets[j]).collect(), table)
}
