//! The graph under construction: names, nodes, initializers, and the two orders of axes in which a value may stand.
//!
//! A value has up to two *forms*: with its axes as in the graph, and with the channels first, as ONNX's windows want
//! them. A form that is missing is made by a `Transpose`, once, when an op asks for it. Every value that is no constant
//! has an axis of samples in front.

use super::Dialect;
use super::proto::{Attribute, GraphProto, NodeProto, TensorProto};
use std::collections::{BTreeMap, BTreeSet};
use unfloat_ir::{Data, Graph, NodeId, TensorType, ValueId};

/// ONNX' numbers of the element types.
pub(super) const FLOAT: i32 = 1;
pub(super) const UINT8: i32 = 2;
pub(super) const INT8: i32 = 3;
pub(super) const UINT16: i32 = 4;
pub(super) const INT16: i32 = 5;
pub(super) const INT32: i32 = 6;
pub(super) const INT64: i32 = 7;

/// The domain of QONNX's operators.
pub(super) const QONNX_DOMAIN: &str = "qonnx.custom_op.general";

/// Why a node is not written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It reads integers that were refused, and that has been said.
    Follows,
    /// What it has that cannot be said.
    Because(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal::Because(text)
    }
}
impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Refusal::Because(text.to_string())
    }
}

pub(super) type Result<T = ()> = std::result::Result<T, Refusal>;

/// In which order the axes of a value stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As in the graph.
    Graph,
    /// The channel axis before the others.
    ChannelsFirst,
}

/// Which axis of the graph's order stands at each place of a form.
pub(super) fn order(ty: &TensorType, form: Form) -> Vec<usize> {
    let all = 0..ty.rank();
    match (form, ty.layout.channel()) {
        (Form::ChannelsFirst, Some(c)) => std::iter::once(c).chain(all.filter(|&a| a != c)).collect(),
        _ => all.collect(),
    }
}

/// The axis of ONNX, behind that of the samples, at which an axis of the graph stands.
pub(super) fn place(ty: &TensorType, form: Form, axis: usize) -> i64 {
    order(ty, form).iter().position(|&a| a == axis).map_or(0, |p| p as i64 + 1)
}

/// A list with one entry per axis of the graph, in the order of a form.
pub(super) fn arranged<T: Copy>(list: &[T], order: &[usize]) -> Vec<T> {
    order.iter().filter_map(|&a| list.get(a).copied()).collect()
}

pub(super) struct Writer<'a> {
    pub graph: &'a Graph,
    pub dialect: Dialect,
    /// The opset that is written for.
    pub opset: i64,
    /// The least opset that has everything written so far.
    pub needs: i64,
    pub to: GraphProto,
    /// Who reads each value.
    pub users: Vec<Vec<NodeId>>,
    /// Values that were not written, and why has been said.
    pub refused: BTreeSet<ValueId>,
    /// Constants that have been written, by value and order of axes.
    pub constants: BTreeMap<(ValueId, Option<Vec<usize>>), String>,
    forms: BTreeMap<ValueId, [Option<String>; 2]>,
    taken: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    pub fn new(graph: &'a Graph, dialect: Dialect, opset: i64) -> Self {
        Self {
            graph,
            dialect,
            opset,
            needs: 0,
            to: GraphProto { name: graph.name.clone(), ..GraphProto::default() },
            users: graph.users(),
            refused: BTreeSet::new(),
            constants: BTreeMap::new(),
            forms: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }
    /// Notes that something needs an opset.
    pub fn need(&mut self, opset: i64) {
        self.needs = self.needs.max(opset);
    }
    /// A name that nothing has: the one wished for, or that with a number behind it.
    pub fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut n = 1usize;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}:{n}");
            n += 1;
        }
        name
    }
    /// A name for something that belongs to a value.
    pub fn name(&mut self, id: ValueId, what: &str) -> String {
        let wanted = format!("{}:{what}", self.graph.value(id).name);
        self.fresh(&wanted)
    }
    pub fn set(&mut self, id: ValueId, form: Form, name: String) {
        let same = order(self.graph.ty(id), Form::ChannelsFirst) == order(self.graph.ty(id), Form::Graph);
        let forms = self.forms.entry(id).or_default();
        if same {
            *forms = [Some(name.clone()), Some(name)];
        } else {
            forms[form as usize] = Some(name);
        }
    }
    pub fn has(&self, id: ValueId, form: Form) -> Option<String> {
        self.forms.get(&id).and_then(|f| f[form as usize].clone())
    }
    /// The form in which a value already stands; that with the channels first if both do.
    pub fn form_of(&self, id: ValueId) -> Form {
        if self.has(id, Form::ChannelsFirst).is_some() { Form::ChannelsFirst } else { Form::Graph }
    }
    /// The name of a value in one form.
    pub fn want(&mut self, id: ValueId, form: Form) -> Result<String> {
        if let Some(name) = self.has(id, form) {
            return Ok(name);
        }
        let other = if form == Form::Graph { Form::ChannelsFirst } else { Form::Graph };
        if let Some(from) = self.has(id, other) {
            let ty = self.graph.ty(id);
            let wants = order(ty, form);
            let perm = std::iter::once(0).chain(wants.iter().map(|&a| place(ty, other, a))).collect();
            let name = self.name(id, "moved");
            self.push("Transpose", vec![from], &name, vec![ints("perm", perm)]);
            self.set(id, form, name.clone());
            return Ok(name);
        }
        let name = &self.graph.value(id).name;
        Err(format!("reads the constant `{name}` where only computed values can be read").into())
    }
    /// Whether a value depends on no input.
    pub fn is_constant(&self, id: ValueId) -> bool {
        !self.forms.contains_key(&id)
    }
    /// Goes on as if a value had been written, to find what else is to be refused: the file will not be.
    pub fn refuse(&mut self, id: ValueId) {
        self.refused.insert(id);
        self.set(id, Form::Graph, String::new());
    }
    pub fn push(&mut self, op: &str, input: Vec<String>, output: &str, attribute: Vec<Attribute>) {
        let domain = if op.ends_with("Quant") { QONNX_DOMAIN.into() } else { String::new() };
        let (name, output) = (output.to_string(), vec![output.to_string()]);
        self.to.node.push(NodeProto { input, output, name, op_type: op.into(), attribute, domain });
    }
    /// A node whose result is a value of the graph, under that value's name.
    pub fn result(&mut self, op: &str, input: Vec<String>, id: ValueId, form: Form, attrs: Vec<Attribute>) {
        let wanted = self.graph.value(id).name.clone();
        let name = self.fresh(&wanted);
        self.push(op, input, &name, attrs);
        self.set(id, form, name);
    }
    /// Shows a value under a port's name, which has been taken before.
    pub fn show(&mut self, from: &str, port: &str) {
        let made = self.to.node.iter().any(|n| n.output.iter().any(|o| o == from));
        let shown = self.to.output.iter().any(|o| o.name == from);
        if !made || shown {
            self.push("Identity", vec![from.to_string()], port, vec![]);
            return;
        }
        let nodes = self.to.node.iter_mut();
        for name in nodes.flat_map(|n| n.input.iter_mut().chain(&mut n.output)).filter(|name| *name == from) {
            *name = port.to_string();
        }
        // Another output may show the same value.
        for name in self.forms.values_mut().flatten().flatten().filter(|name| *name == from) {
            *name = port.to_string();
        }
    }
    /// A constant in the given type of ONNX.
    pub fn initializer(&mut self, id: ValueId, what: &str, dims: &[usize], kind: i32, data: &Data) -> String {
        let name = self.name(id, what);
        let codes = || (0..data.len()).filter_map(|i| data.code(i));
        let raw_data = match (data, kind) {
            (Data::F32(v), _) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            (_, UINT8 | INT8) => codes().map(|c| c as u8).collect(),
            (_, UINT16 | INT16) => codes().flat_map(|c| (c as u16).to_le_bytes()).collect(),
            (_, INT32) => codes().flat_map(|c| (c as u32).to_le_bytes()).collect(),
            _ => codes().flat_map(i64::to_le_bytes).collect(),
        };
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.to.initializer.push(TensorProto { dims, data_type: kind, name: name.clone(), raw_data });
        name
    }
    pub fn floats(&mut self, id: ValueId, what: &str, dims: &[usize], values: Vec<f32>) -> String {
        self.initializer(id, what, dims, FLOAT, &Data::F32(values))
    }
    pub fn number(&mut self, id: ValueId, what: &str, value: f32) -> String {
        self.floats(id, what, &[], vec![value])
    }
    pub fn list(&mut self, id: ValueId, what: &str, values: Vec<i64>) -> String {
        let dims = [values.len()];
        self.initializer(id, what, &dims, INT64, &Data::I64(values))
    }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), kind: 2, ..Attribute::default() }
}
pub(super) fn flag(name: &str, value: bool) -> Attribute {
    int(name, value.into())
}
pub(super) fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), kind: 1, ..Attribute::default() }
}
pub(super) fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.into()), kind: 3, ..Attribute::default() }
}
pub(super) fn ints(name: &str, values: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints: values, kind: 7, ..Attribute::default() }
}
