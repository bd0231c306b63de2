//! The graph under construction: names, constants, and the two orders of axes in which a value may stand.
//!
//! A value has up to two *forms*: with its axes as in the graph, and with the channels first, as ONNX's windows want
//! them. A form that is missing is made by a `Transpose`, once, when an op asks for it.

use super::Dialect;
use super::proto::{Attribute, Dim, GraphProto, Model, NodeProto, Opset, ShapeProto, TensorProto};
use super::proto::{TensorTypeProto, TypeProto, ValueInfo};
use prost::Message;
use std::collections::BTreeMap;
use unfloat_ir::{Data, Diagnostic, Diagnostics, Graph, Location, Tensor, TensorType, ValueId};

/// ONNX' numbers of the element types.
pub(super) const FLOAT: i32 = 1;
pub(super) const UINT8: i32 = 2;
pub(super) const INT8: i32 = 3;
pub(super) const UINT16: i32 = 4;
pub(super) const INT16: i32 = 5;
pub(super) const INT32: i32 = 6;
pub(super) const INT64: i32 = 7;

/// In which order the axes of a value stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As in the graph.
    Graph,
    /// The channel axis before the others.
    ChannelsFirst,
}

pub(super) struct Writer<'a> {
    pub graph: &'a Graph,
    pub dialect: Dialect,
    pub to: GraphProto,
    forms: BTreeMap<ValueId, [Option<String>; 2]>,
    fresh: usize,
}

/// The file's bytes.
pub(super) fn model(graph: &Graph, dialect: Dialect) -> Result<Vec<u8>, Diagnostics> {
    let to = GraphProto { name: graph.name.clone(), ..GraphProto::default() };
    let mut w = Writer { graph, dialect, to, forms: BTreeMap::new(), fresh: 0 };
    let mut found = Diagnostics::new();
    for &id in graph.inputs() {
        let value = graph.value(id);
        if !value.ty.elem.is_float() {
            let text = format!("input `{}`: expected floats, found {}", value.name, value.ty);
            found.push(Diagnostic::error(Location::default(), text));
        }
        w.to.input.push(port(&value.name, &value.ty));
        w.set(id, Form::Graph, value.name.clone());
    }
    for (_, node) in graph.live_nodes() {
        if let Err(why) = w.node(node) {
            found.push(
                Diagnostic::error(&node.origin, format!("{why} (`{}`)", graph.value(node.output).name))
                    .help("emit `uir` or `cpp`, or keep this layer out of the model"),
            );
        }
    }
    found.into_result(())?;
    for output in graph.outputs() {
        let from = w.want(output.value, Form::Graph).map_err(|why| {
            Diagnostic::error(Location::default(), format!("output `{}`: {why}", output.name))
        })?;
        let name = format!("{}.out", output.name);
        w.push("Identity", vec![from], &name, vec![]);
        w.to.output.push(port(&name, graph.ty(output.value)));
    }
    let mut opset_import = vec![Opset { domain: String::new(), version: 21 }];
    if dialect == Dialect::Qonnx {
        opset_import.push(Opset { domain: "qonnx.custom_op.general".into(), version: 1 });
    }
    let model = Model { ir_version: 10, producer_name: "unfloat".into(), graph: Some(w.to), opset_import };
    Ok(model.encode_to_vec())
}

fn port(name: &str, ty: &TensorType) -> ValueInfo {
    let mut dim = vec![Dim { value: None, param: Some("N".into()) }];
    dim.extend(ty.shape.iter().map(|&n| Dim { value: Some(n as i64), param: None }));
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(ShapeProto { dim }) };
    ValueInfo { name: name.into(), ty: Some(TypeProto { tensor: Some(tensor) }) }
}

/// Which axis of the graph's order stands at each place of a form.
pub(super) fn order(ty: &TensorType, form: Form) -> Vec<usize> {
    let all = 0..ty.rank();
    match (form, ty.layout.channel()) {
        (Form::ChannelsFirst, Some(c)) => std::iter::once(c).chain(all.filter(|&a| a != c)).collect(),
        _ => all.collect(),
    }
}

impl Writer<'_> {
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
    pub fn want(&mut self, id: ValueId, form: Form) -> Result<String, String> {
        if let Some(name) = self.has(id, form) {
            return Ok(name);
        }
        let other = if form == Form::Graph { Form::ChannelsFirst } else { Form::Graph };
        if let Some(from) = self.has(id, other) {
            let ty = self.graph.ty(id);
            let (has, wants) = (order(ty, other), order(ty, form));
            let place = |axis: &usize| has.iter().position(|a| a == axis).map_or(0, |p| p as i64 + 1);
            let perm: Vec<i64> = std::iter::once(0).chain(wants.iter().map(place)).collect();
            let name = self.name(id, "moved");
            self.push("Transpose", vec![from], &name, vec![ints("perm", perm)]);
            self.set(id, form, name.clone());
            return Ok(name);
        }
        Err(format!("its operand `{}` cannot be written", self.graph.value(id).name))
    }
    /// A name that no value of the graph has: those are never followed by a number behind a colon.
    pub fn name(&mut self, id: ValueId, what: &str) -> String {
        self.fresh += 1;
        format!("{}:{what}:{}", self.graph.value(id).name, self.fresh)
    }
    pub fn push(&mut self, op: &str, input: Vec<String>, output: &str, attribute: Vec<Attribute>) {
        let domain = if op.ends_with("Quant") { "qonnx.custom_op.general".into() } else { String::new() };
        let name = format!("{op}_{}", self.to.node.len());
        let output = vec![output.to_string()];
        self.to.node.push(NodeProto { input, output, name, op_type: op.into(), attribute, domain });
    }
    /// A node whose result is a value of the graph.
    pub fn result(&mut self, op: &str, input: Vec<String>, id: ValueId, form: Form, attrs: Vec<Attribute>) {
        let name = self.name(id, "value");
        self.push(op, input, &name, attrs);
        self.set(id, form, name);
    }
    /// A constant in the given type of ONNX.
    pub fn initializer(&mut self, name: String, dims: &[usize], data_type: i32, data: &Data) -> String {
        let codes = || (0..data.len()).filter_map(|i| data.code(i));
        let raw_data = match (data, data_type) {
            (Data::F32(v), _) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            (_, UINT8 | INT8) => codes().map(|c| c as u8).collect(),
            (_, UINT16 | INT16) => codes().flat_map(|c| (c as u16).to_le_bytes()).collect(),
            (_, INT32) => codes().flat_map(|c| (c as u32).to_le_bytes()).collect(),
            _ => codes().flat_map(i64::to_le_bytes).collect(),
        };
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.to.initializer.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        name
    }
    pub fn floats(&mut self, id: ValueId, dims: &[usize], values: Vec<f32>) -> String {
        let name = self.name(id, "const");
        self.initializer(name, dims, FLOAT, &Data::F32(values))
    }
    pub fn list(&mut self, id: ValueId, values: Vec<i64>) -> String {
        let name = self.name(id, "const");
        let dims = [values.len()];
        self.initializer(name, &dims, INT64, &Data::I64(values))
    }
    /// The floats of a constant that is not quantized.
    pub fn float_const(&mut self, id: ValueId, tensor: &Tensor) -> Result<String, String> {
        let values = tensor.as_f32().ok_or("expected a constant of floats")?.to_vec();
        Ok(self.floats(id, tensor.shape().dims(), values))
    }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), kind: 2, ..Attribute::default() }
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
