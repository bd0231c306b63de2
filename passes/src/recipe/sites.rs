//! Where a graph is quantized, and in which format, by a recipe.
//!
//! In: a folded graph and a [`Recipe`]. Out: [`Sites`], which name values of that graph. Refused, all at once: patterns
//! that name nothing, operands of a concatenation in formats that share no scale.
//!
//! * **Weights** and biases of sums of products ([`Role::Linear`]) that are float constants.
//! * **Activations.** A value that is read by anything but a chain op ([`Role::Chain`]) is quantized, once, behind its last
//!   chain op; all who read it read the quantized value. Moves pass the wish on to what they move, so the quantizer stands
//!   in front of them, and the operands of a concatenation share a scale. Graph inputs are quantized in any case. In front
//!   of a table, a softmax or an argmax integers are [`TABLE_BITS`] wide at least, and behind a softmax they are
//!   `ufixed<16,0>`, unless a rule says otherwise.
//! * **Results** of sums stay what the sums are: no quantizer, so nothing is lost. Other results are quantized.
//!
//! What is quantized already, or is no float, is left alone, and so is what a rule keeps.

use super::roles::{Role, data, role, varying};
use super::{Accumulator, Bias, Formats, Recipe, Rule};
use crate::analysis::range::is_nonnegative;
use std::collections::{BTreeMap, BTreeSet};
use unfloat_ir::arena::Handle;
use unfloat_ir::types::Q;
use unfloat_ir::{
    Def, Diagnostic, Diagnostics, Format, Graph, IntType, Location, Node, NodeId, Op, Overflow, Rounding,
    ValueId,
};

/// Bits of integers in front of tables, unless activations have more, up to 16: a table has an entry for each code.
pub const TABLE_BITS: u8 = 12;

/// The weight of a sum of products.
#[derive(Clone, Debug)]
pub struct WeightSite {
    /// The node.
    pub node: NodeId,
    /// Which operand the weight is.
    pub operand: usize,
    /// The format.
    pub format: Format,
}

/// The bias of a sum of products.
#[derive(Clone, Debug)]
pub struct BiasSite {
    /// The node.
    pub node: NodeId,
    /// What it becomes.
    pub bias: Bias,
}

/// A value that gets a quantizer.
#[derive(Clone, Debug)]
pub struct ActivationSite {
    /// The value.
    pub value: ValueId,
    /// The format as the recipe says it.
    pub format: Format,
    /// Whether no element can be negative, whatever the input.
    pub nonnegative: bool,
    /// Whether it is an input of the graph.
    pub input: bool,
    /// Sites with equal numbers share a scale: the index of the first of them.
    pub group: usize,
}

/// Where a graph is quantized.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// Weights, in the graph's order.
    pub weights: Vec<WeightSite>,
    /// Biases, in the graph's order.
    pub biases: Vec<BiasSite>,
    /// Activations, in the graph's order, inputs first.
    pub activations: Vec<ActivationSite>,
    /// Sums that are brought to a format: the node and its format.
    pub accumulators: Vec<(NodeId, Format)>,
}

impl Sites {
    /// Where `recipe` quantizes `graph`.
    pub fn of(graph: &Graph, recipe: &Recipe) -> Result<Sites, Diagnostics> {
        let mut finder = Finder::new(graph, recipe);
        finder.demands();
        finder.weights();
        finder.activations();
        finder.groups();
        let Finder { sites, mut found, used, .. } = finder;
        for rule in recipe.rules.iter().zip(used).filter(|(_, used)| !used).map(|(rule, _)| rule) {
            let text = format!("`{}` names no layer and no value of the model", rule.name);
            found.push(
                Diagnostic::error(Location::file(&recipe.source).at(format!("line {}", rule.line)), text)
                    .help(names_of(graph)),
            );
        }
        found.into_result(sites)
    }

    /// Whether a scale must be found from samples.
    pub fn needs_data(&self) -> bool {
        self.activations.iter().any(|s| !matches!(s.format, Format::Fixed { .. }))
    }
}

/// A few names, so that a person sees what a pattern could have meant.
fn names_of(graph: &Graph) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = graph.live_nodes().map(|(_, n)| graph.value(n.output).name.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the values are {shown}{more}; `unfloat recipe MODEL` lists all")
}

/// The name of a layer without its class: `conv1` of `conv1 (Conv2D)`.
pub fn layer_name(layer: &str) -> &str {
    layer.split_once(" (").map_or(layer, |(name, _)| name)
}

/// What readers want of a value.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Demand {
    wanted: bool,
    /// A table reads it.
    table: bool,
}

struct Finder<'r> {
    graph: &'r Graph,
    recipe: &'r Recipe,
    varies: Vec<bool>,
    roles: BTreeMap<NodeId, Role>,
    demand: Vec<Demand>,
    used: Vec<bool>,
    sites: Sites,
    found: Diagnostics,
}

impl<'r> Finder<'r> {
    fn new(graph: &'r Graph, recipe: &'r Recipe) -> Self {
        let varies = varying(graph);
        let roles = graph
            .live_nodes()
            .filter(|(_, n)| varies[n.output.index()])
            .map(|(id, n)| (id, role(graph, n, &varies)))
            .collect();
        let mut finder = Self {
            graph,
            recipe,
            varies,
            roles,
            demand: vec![Demand::default(); graph.num_values()],
            used: vec![false; recipe.rules.len()],
            sites: Sites::default(),
            found: Diagnostics::new(),
        };
        finder.mark_used();
        finder
    }

    /// Which rules name something.
    fn mark_used(&mut self) {
        let inputs = self.graph.inputs().iter().map(|&v| self.graph.value(v).name.as_str());
        let nodes = self
            .graph
            .live_nodes()
            .flat_map(|(_, n)| [self.graph.value(n.output).name.as_str(), layer_name(&n.origin.layer)]);
        let names: BTreeSet<&str> = inputs.chain(nodes).collect();
        for (rule, used) in self.recipe.rules.iter().zip(&mut self.used) {
            *used = names.iter().any(|n| rule.name.matches(n));
        }
    }

    fn role_of(&self, value: ValueId) -> Option<(Role, &'r Node)> {
        let (id, node) = self.graph.producer(value)?;
        Some((*self.roles.get(&id)?, node))
    }

    fn rules_for(&self, names: &[&str]) -> impl Iterator<Item = &'r Rule> + use<'r> {
        let hits: Vec<&'r Rule> =
            self.recipe.rules.iter().filter(|r| names.iter().any(|n| r.name.matches(n))).collect();
        hits.into_iter()
    }

    fn names(&self, node: &'r Node) -> [&'r str; 2] {
        [self.graph.value(node.output).name.as_str(), layer_name(&node.origin.layer)]
    }

    fn kept(&self, node: &'r Node) -> bool {
        self.rules_for(&self.names(node)).any(|r| r.keep_float)
    }

    fn want(&mut self, value: ValueId, table: bool) {
        if self.varies[value.index()] && self.graph.ty(value).elem.is_float() {
            let demand = &mut self.demand[value.index()];
            demand.wanted = true;
            demand.table |= table;
        }
    }

    /// Which values must be quantized, from the results to the inputs.
    fn demands(&mut self) {
        for output in self.graph.outputs() {
            self.output(output.value);
        }
        for (id, node) in self.graph.live_nodes().rev() {
            let Some(&role) = self.roles.get(&id) else { continue };
            if self.kept(node) {
                continue;
            }
            let behind = self.demand[node.output.index()];
            let operands: Vec<ValueId> = data(self.graph, node, &self.varies).collect();
            match role {
                Role::Chain | Role::Coded => {}
                Role::Move => {
                    if behind.wanted {
                        operands.iter().for_each(|&v| self.want(v, behind.table));
                    }
                }
                Role::Concat => operands.iter().for_each(|&v| self.want(v, behind.table)),
                Role::Table | Role::Softmax | Role::Choice => {
                    operands.iter().for_each(|&v| self.want(v, true));
                }
                Role::Linear | Role::Sum | Role::Other => operands.iter().for_each(|&v| self.want(v, false)),
            }
        }
        for &input in self.graph.inputs() {
            self.want(input, false);
        }
    }

    /// A result needs a quantizer unless it is a sum, or made of one step by step.
    fn output(&mut self, value: ValueId) {
        let mut at = value;
        loop {
            match self.role_of(at) {
                Some((Role::Chain | Role::Move, node)) if !self.kept(node) => {
                    let Some(next) = data(self.graph, node, &self.varies).next() else { return };
                    at = next;
                }
                Some((_, node)) if self.kept(node) => return,
                Some((Role::Table | Role::Softmax, _)) => return self.want(value, false),
                Some((Role::Other, _)) => return self.want(value, true),
                _ => return,
            }
        }
    }

    /// Weights and biases.
    fn weights(&mut self) {
        let mut formats: BTreeMap<ValueId, (Format, NodeId)> = BTreeMap::new();
        for (id, node) in self.graph.live_nodes() {
            if self.roles.get(&id) != Some(&Role::Linear) || self.kept(node) {
                continue;
            }
            let formats_here = self.formats(node);
            for (operand, &v) in node.inputs.iter().enumerate() {
                let constant = self.graph.const_of(v).is_some_and(|t| t.as_f32().is_some());
                if !constant {
                    continue;
                }
                if operand == 2 {
                    self.sites.biases.push(BiasSite { node: id, bias: formats_here.bias });
                } else if !formats_here.weights.is_float() {
                    let format = formats_here.weights;
                    let (first, of) = *formats.entry(v).or_insert((format, id));
                    if first != format {
                        let other = &self.graph.value(self.graph.node(of).output).name;
                        let text =
                            format!("shares its weight with `{other}`, which is to be {first}, not {format}");
                        self.found
                            .push(Diagnostic::error(&node.origin, text).help("give both the same format"));
                    }
                    self.sites.weights.push(WeightSite { node: id, operand, format });
                }
            }
            if let Accumulator::Format(format) = formats_here.accumulator {
                self.sites.accumulators.push((id, format));
            }
        }
    }

    /// The formats of one layer.
    fn formats(&self, node: &'r Node) -> Formats {
        self.rules_for(&self.names(node)).fold(self.recipe.formats, |f, r| Formats {
            weights: r.weights.unwrap_or(f.weights),
            bias: r.bias.unwrap_or(f.bias),
            activation: r.activation.unwrap_or(f.activation),
            accumulator: r.accumulator.unwrap_or(f.accumulator),
        })
    }

    fn activations(&mut self) {
        let mut values: Vec<ValueId> = self.graph.inputs().to_vec();
        values.extend(self.graph.live_nodes().map(|(_, n)| n.output));
        for value in values {
            let demand = self.demand[value.index()];
            let covered = matches!(self.role_of(value), Some((Role::Move | Role::Concat | Role::Coded, _)));
            if !demand.wanted || covered || self.read_as_codes(value) {
                continue;
            }
            let format = self.activation_format(value, demand.table);
            if !format.is_float() {
                self.add_site(value, format);
            }
        }
    }

    fn add_site(&mut self, value: ValueId, format: Format) {
        let group = self.sites.activations.len();
        let input = matches!(self.graph.value(value).def, Def::Input(_));
        let nonnegative = is_nonnegative(self.graph, value);
        self.sites.activations.push(ActivationSite { value, format, nonnegative, input, group });
    }

    /// Whether all readers are quantizers of the source.
    fn read_as_codes(&self, value: ValueId) -> bool {
        let mut readers = self.graph.live_nodes().filter(|(_, n)| n.inputs.contains(&value)).peekable();
        let any = readers.peek().is_some();
        any && readers.all(|(_, n)| matches!(n.op, Op::Quantize(_) | Op::FloatQuant(_) | Op::Threshold(_)))
    }

    /// The format of a value: what the last rule says that names any layer of its chain, else the default.
    fn activation_format(&self, value: ValueId, table: bool) -> Format {
        let mut names = vec![self.graph.value(value).name.as_str()];
        let mut at = value;
        while let Some((role, node)) = self.role_of(at) {
            names.push(self.graph.value(node.output).name.as_str());
            names.push(layer_name(&node.origin.layer));
            match (role, data(self.graph, node, &self.varies).next()) {
                (Role::Chain, Some(next)) => at = next,
                _ => break,
            }
        }
        if let Some(said) = self.rules_for(&names).filter_map(|r| r.activation).last() {
            return said;
        }
        if let Some(said) = self.recipe.input.filter(|_| matches!(self.graph.value(value).def, Def::Input(_)))
        {
            return said;
        }
        let behind_softmax = matches!(self.role_of(value), Some((Role::Softmax, n)) if matches!(&n.op, Op::Softmax(s) if !s.log));
        match self.recipe.formats.activation {
            Format::Float => Format::Float,
            _ if behind_softmax => probabilities(),
            Format::Int { int, rounding, overflow } if table => {
                let width = int.width.max(TABLE_BITS);
                Format::Int { int: IntType { width, ..int }, rounding, overflow }
            }
            Format::Ternary if table => Format::affine(IntType::signed(TABLE_BITS)),
            format => format,
        }
    }

    /// Operands of concatenations share a scale.
    fn groups(&mut self) {
        for (id, node) in self.graph.live_nodes() {
            if self.roles.get(&id) != Some(&Role::Concat) || self.kept(node) {
                continue;
            }
            let mut members: BTreeSet<usize> = BTreeSet::new();
            for &operand in &node.inputs {
                if self.graph.const_of(operand).is_some_and(|t| t.as_f32().is_some()) {
                    if !self.sites.activations.iter().any(|s| s.value == operand) {
                        self.add_site(operand, Format::Float);
                    }
                    let last = self.sites.activations.iter().position(|s| s.value == operand);
                    members.extend(last.map(|i| self.sites.activations[i].group));
                } else {
                    members
                        .extend(self.origins(operand).into_iter().map(|i| self.sites.activations[i].group));
                }
            }
            let Some(&first) = members.first() else { continue };
            self.sites
                .activations
                .iter_mut()
                .filter(|s| members.contains(&s.group))
                .for_each(|s| s.group = first);
        }
        self.unify();
    }

    /// The sites that a value's elements come from, through moves and concatenations.
    fn origins(&self, value: ValueId) -> Vec<usize> {
        let (mut open, mut hits) = (vec![value], Vec::new());
        let mut seen = BTreeSet::new();
        while let Some(v) = open.pop() {
            if !seen.insert(v) {
                continue;
            }
            if let Some(i) = self.sites.activations.iter().position(|s| s.value == v) {
                hits.push(i);
            } else if let Some((Role::Move | Role::Concat, node)) = self.role_of(v) {
                open.extend(data(self.graph, node, &self.varies));
            }
        }
        hits
    }

    /// Gives the members of each group one format: that of most bits, and a sign if any needs one.
    fn unify(&mut self) {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, site) in self.sites.activations.iter().enumerate() {
            groups.entry(site.group).or_default().push(i);
        }
        for members in groups.into_values().filter(|m| m.len() > 1) {
            let formats: Vec<Format> =
                members.iter().map(|&i| self.sites.activations[i].format).filter(|f| !f.is_float()).collect();
            let Some(&widest) = formats.iter().max_by_key(|f| f.bits()) else { continue };
            let fits =
                |f: &Format| *f == widest || matches!((f, widest), (Format::Int { .. }, Format::Int { .. }));
            if !formats.iter().all(fits) {
                let names: Vec<String> = members
                    .iter()
                    .map(|&i| &self.sites.activations[i])
                    .map(|s| format!("`{}` ({})", self.graph.value(s.value).name, s.format))
                    .collect();
                let text = format!("{} are joined by a concatenation and need one format", names.join(", "));
                self.found.push(Diagnostic::error(Location::file(&self.recipe.source), text));
            }
            let nonnegative = members.iter().all(|&i| self.sites.activations[i].nonnegative);
            for i in members {
                let site = &mut self.sites.activations[i];
                (site.format, site.nonnegative) = (widest, nonnegative);
            }
        }
    }
}

/// What a softmax makes: numbers from 0 to 1.
fn probabilities() -> Format {
    let q = Q { signed: false, width: 16, frac: 16 };
    Format::Fixed { q, rounding: Rounding::HalfEven, overflow: Overflow::Saturate }
}
