//! The graph: nodes in order, the values between them, the constants.

use crate::arena::{Arena, Handle, handle};
use crate::diag::{Diagnostic, Location};
use crate::ops::{Op, OpDef};
use crate::origin::Origin;
use crate::tensor::Tensor;
use crate::types::{Stage, TensorType};
use std::collections::BTreeSet;
use std::sync::Arc;

handle! {
    /// Names a node of one graph.
    NodeId
}
handle! {
    /// Names a value of one graph.
    ValueId
}
handle! {
    /// Names a constant of one graph.
    ConstId
}

/// An op applied to values. Every node makes exactly one value.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads, in the op's own order.
    pub inputs: Vec<ValueId>,
    /// What it makes.
    pub output: ValueId,
    /// Where it came from.
    pub origin: Origin,
}

/// Who makes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// The caller: input `n` of the graph.
    Input(usize),
    /// A node.
    Node(NodeId),
    /// Nobody: it is a constant.
    Const(ConstId),
}

/// A typed edge of the graph.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// The name in text, unique in its graph.
    pub name: String,
    /// What it holds.
    pub ty: TensorType,
    /// Who makes it.
    pub def: Def,
}

/// A result of the graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// The name that the source model gives it.
    pub name: String,
    /// The value that it shows.
    pub value: ValueId,
}

/// A network: inputs, nodes in an order in which they can be run, outputs.
///
/// Nodes and values are only ever added; [`Graph::compact`] drops what no output needs. Passes change a graph
/// through a [`crate::Patch`].
#[derive(Clone, Debug)]
pub struct Graph {
    /// The model's name, an identifier for emitted code.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    pub(crate) nodes: Arena<NodeId, Node>,
    pub(crate) values: Arena<ValueId, Value>,
    pub(crate) consts: Arena<ConstId, Arc<Tensor>>,
    pub(crate) order: Vec<NodeId>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<Output>,
    names: BTreeSet<String>,
}

impl Graph {
    /// An empty graph at stage [`Stage::Imported`].
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stage: Stage::Imported,
            nodes: Arena::new(),
            values: Arena::new(),
            consts: Arena::new(),
            order: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    /// `wanted`, or `wanted.1`, `wanted.2`, … when that is taken. An empty wish becomes `v`.
    pub fn fresh_name(&self, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "v" } else { wanted };
        if !self.names.contains(wanted) {
            return wanted.to_string();
        }
        let mut n = 1usize;
        loop {
            let name = format!("{wanted}.{n}");
            if !self.names.contains(&name) {
                return name;
            }
            n += 1;
        }
    }

    pub(crate) fn push_value(&mut self, name: &str, ty: TensorType, def: Def) -> ValueId {
        let name = self.fresh_name(name);
        self.names.insert(name.clone());
        self.values.push(Value { name, ty, def })
    }

    /// Adds an input of the graph.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let id = self.push_value(name, ty, Def::Input(self.inputs.len()));
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> ValueId {
        let tensor = tensor.into();
        let ty = tensor.ty.clone();
        let id = self.consts.push(tensor);
        self.push_value(name, ty, Def::Const(id))
    }

    /// Adds a node whose type the op infers, at the end of the order.
    ///
    /// Fails, with the origin as the place, when the op refuses its operands.
    pub fn add_node(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        name: &str,
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| &self.values[v].ty).collect();
        let ty = op
            .infer(&types)
            .map_err(|e| Diagnostic::error(Location::from(origin), format!("{}: {e}", op.name())))?;
        let node = NodeId::from_index(self.nodes.len());
        let output = self.push_value(name, ty, Def::Node(node));
        self.nodes.push(Node { op, inputs: inputs.to_vec(), output, origin: origin.clone() });
        self.order.push(node);
        Ok(output)
    }

    /// Adds a result.
    pub fn add_output(&mut self, name: &str, value: ValueId) {
        self.outputs.push(Output { name: name.to_string(), value });
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id]
    }
    /// A value's type.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.values[id].ty
    }
    /// The constant behind a value, if it is one.
    pub fn const_of(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        match self.values[id].def {
            Def::Const(c) => Some(&self.consts[c]),
            _ => None,
        }
    }
    /// The node that makes a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, &Node)> {
        match self.values[id].def {
            Def::Node(n) => Some((n, &self.nodes[n])),
            _ => None,
        }
    }
    /// The live nodes in an order in which they can be run.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }
    /// The live nodes themselves, in order.
    pub fn live_nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|&n| (n, &self.nodes[n]))
    }
    /// The inputs, in the model's order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }
    /// The results, in the model's order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
    /// All values with their handles, dead ones included.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter()
    }
    /// The number of values, dead ones included: an upper bound of every handle's index.
    pub fn num_values(&self) -> usize {
        self.values.len()
    }
    /// For each value, the live nodes that read it (once per operand), in order.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for (id, node) in self.live_nodes() {
            for &v in &node.inputs {
                users[v.index()].push(id);
            }
        }
        users
    }
    /// Whether the value is a result of the graph.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.iter().any(|o| o.value == value)
    }
    /// The only live reader of a value that is not a result as well; nothing otherwise.
    pub fn sole_user(&self, users: &[Vec<NodeId>], value: ValueId) -> Option<NodeId> {
        match users[value.index()].as_slice() {
            [only] if !self.is_output(value) => Some(*only),
            _ => None,
        }
    }

    /// Renames a value; the old name becomes free. A taken name gets a number.
    pub fn rename(&mut self, value: ValueId, name: &str) {
        let old = std::mem::take(&mut self.values[value].name);
        self.names.remove(&old);
        let name = self.fresh_name(name);
        self.names.insert(name.clone());
        self.values[value].name = name;
    }

    /// The same graph with only what its outputs need (and all its inputs), handles numbered in order.
    pub fn compact(&self) -> Graph {
        let mut live = vec![false; self.values.len()];
        for output in &self.outputs {
            live[output.value.index()] = true;
        }
        let mut keep = Vec::new();
        for (id, node) in self.live_nodes().rev() {
            if live[node.output.index()] {
                keep.push(id);
                node.inputs.iter().for_each(|v| live[v.index()] = true);
            }
        }
        let mut out = Graph::new(self.name.clone());
        out.stage = self.stage;
        let mut map: Vec<Option<ValueId>> = vec![None; self.values.len()];
        for &input in &self.inputs {
            let value = &self.values[input];
            map[input.index()] = Some(out.add_input(&value.name, value.ty.clone()));
        }
        // A constant is placed before its first reader, so that equal graphs get equal handles.
        let fetch = |out: &mut Graph, map: &mut Vec<Option<ValueId>>, v: ValueId| {
            if let (None, Def::Const(c)) = (map[v.index()], self.values[v].def) {
                map[v.index()] = Some(out.add_const(&self.values[v].name, self.consts[c].clone()));
            }
            map[v.index()]
        };
        for id in keep.into_iter().rev() {
            let node = &self.nodes[id];
            let inputs = node.inputs.iter().filter_map(|&v| fetch(&mut out, &mut map, v)).collect();
            let new = NodeId::from_index(out.nodes.len());
            let value = &self.values[node.output];
            let output = out.push_value(&value.name, value.ty.clone(), Def::Node(new));
            out.nodes.push(Node { op: node.op.clone(), inputs, output, origin: node.origin.clone() });
            out.order.push(new);
            map[node.output.index()] = Some(output);
        }
        for output in &self.outputs {
            if let Some(value) = fetch(&mut out, &mut map, output.value) {
                out.add_output(&output.name, value);
            }
        }
        out
    }
}

/// Two graphs are equal when their live parts are: same names, types, ops, operands, constants, origins, order.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.compact(), other.compact());
        a.name == b.name
            && a.stage == b.stage
            && a.nodes == b.nodes
            && a.values == b.values
            && a.consts == b.consts
            && a.inputs == b.inputs
            && a.outputs == b.outputs
    }
}
