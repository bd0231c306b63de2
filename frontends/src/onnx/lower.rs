//! From the nodes of a file to the nodes of a graph.
//!
//! In: a [`Model`]. Out: a [`Graph`] at stage `imported`. What is known when the file is read is computed at once, by
//! the graph's own ops, so that the chains that exporters write to compute shapes vanish. Refuses, with every finding
//! of a run: operators that the registry does not know, operands that do not fit.
//!
//! **The batch.** A graph's shapes are per sample; a model's are not. When the first axis of every input is the batch,
//! it is dropped from every value, and each handler either works on samples or says that it mixes them
//! ([`Fault::Mixes`]); then the caller starts again and keeps the graph whole, as one sample. An unknown batch size is
//! probed: whatever depends on it is computed for each of [`PROBES`], and must come to the same graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use unfloat_ir::ops::Dequantize;
use unfloat_ir::{Diagnostic, Graph, Layout, Op, OpDef, Origin, Tensor, TensorType, ValueId};

use super::OnnxOptions;
use super::cx::Cx;
use super::dtype::DType;
use super::external::Files;
use super::inputs::{self, Batch};
use super::model::{Model, NodeDef};
use super::ops::registry;
use super::problem::{Annotate, Fault, Handled, clip, error, warning};
use super::tensor;
use super::value::{Kind, Slot, Val};

/// Batch sizes that stand for an unknown one. Primes, so that no other extent is one of them by accident.
pub(crate) const PROBES: [usize; 2] = [13, 29];
/// Most elements of a constant that the file implies without holding it: 64 MiB of f32.
const MAX_IMPLIED: usize = 1 << 24;
/// Most elements of all such constants together.
const MAX_IMPLIED_TOTAL: usize = 1 << 27;

/// State of one import.
pub(crate) struct Lowering<'a> {
    pub(crate) label: &'a str,
    /// Where tensors' bytes lie.
    pub(crate) files: &'a Files<'a>,
    pub(crate) graph: Graph,
    /// Whether the first axis of each value of the model is the batch, and the size that it has now.
    pub(crate) batch: Option<Batch>,
    /// Values of the graph for constants, by where they lie; the tensor is kept so that none other lies there.
    constants: BTreeMap<usize, (Arc<Tensor>, ValueId)>,
    /// Dequantizers of constants, by where their codes lie.
    decoded: BTreeMap<usize, (Arc<Tensor>, ValueId)>,
    implied: usize,
    findings: Vec<Diagnostic>,
}

/// What came of lowering.
pub(crate) enum Lowered {
    /// A graph; whole only when `findings` has no error.
    Graph(Box<Graph>),
    /// The first node that computes across samples, and how.
    Mixes(Box<Diagnostic>),
}

/// Lowers a whole model. `initializers` are taken from the model one by one, as they are used.
pub(crate) fn lower<'a>(
    label: &'a str,
    model: &mut Model,
    batch: Option<Batch>,
    options: &OnnxOptions,
    files: &'a Files<'a>,
    findings: &mut Vec<Diagnostic>,
) -> Lowered {
    let mut state = Lowering {
        label,
        files,
        graph: Graph::new(model.name.clone()),
        batch,
        constants: BTreeMap::new(),
        decoded: BTreeMap::new(),
        implied: 0,
        findings: Vec::new(),
    };
    let result = state.model(model, options);
    findings.append(&mut state.findings);
    match result {
        Ok(()) => Lowered::Graph(Box::new(state.graph.compact())),
        Err(mixes) => Lowered::Mixes(mixes),
    }
}

impl Lowering<'_> {
    fn model(&mut self, model: &mut Model, options: &OnnxOptions) -> Result<(), Box<Diagnostic>> {
        let mut values: BTreeMap<String, Slot> = inputs::add(self, model, options);
        // A value is dropped after its last reader: a weight that a node rearranges is not kept twice.
        let mut readers: BTreeMap<String, usize> = BTreeMap::new();
        let read = model.nodes.iter().flat_map(|n| &n.inputs).chain(&model.outputs);
        read.for_each(|name| *readers.entry(name.clone()).or_default() += 1);
        let nodes = std::mem::take(&mut model.nodes);
        for node in &nodes {
            for name in &node.inputs {
                self.fetch(name, model, &mut values);
            }
            let operands: Vec<Option<Slot>> = node.inputs.iter().map(|n| values.get(n).cloned()).collect();
            for name in &node.inputs {
                if let Some(left) = readers.get_mut(name) {
                    *left -= 1;
                    if *left == 0 {
                        values.remove(name);
                    }
                }
            }
            let results = self.node(node, operands)?;
            for (name, mut slot) in node.outputs.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
                match &mut slot {
                    Slot::Val(Val { kind: Kind::Node(id), .. }) => self.name(*id, name),
                    Slot::Val(known) => drop(known.name.get_or_insert_with(|| name.as_str().into())),
                    Slot::Broken => {}
                }
                values.insert(name.clone(), slot);
            }
        }
        model.nodes = nodes;
        for name in model.outputs.clone() {
            self.fetch(&name, model, &mut values);
            let found = match values.get(&name) {
                Some(Slot::Val(val)) => self.output(&name, val.clone())?,
                _ => continue,
            };
            self.graph.add_output(&name, found);
        }
        Ok(())
    }

    /// Gives a value the model's name, unless the graph knows it under one already.
    fn name(&mut self, id: ValueId, name: &str) {
        if self.graph.producer(id).is_some() {
            self.graph.rename(id, name);
        }
    }

    /// Decodes an initializer when it is first read.
    fn fetch(&mut self, name: &str, model: &mut Model, values: &mut BTreeMap<String, Slot>) {
        if values.contains_key(name) {
            return;
        }
        let Some(stored) = model.initializers.get_mut(name) else { return };
        // Taken, so that no second copy of a large weight is ever held.
        let slot = match tensor::decode(&mut std::mem::take(stored), self.files) {
            Ok(decoded) => {
                if decoded.rounded {
                    let text = "holds doubles that were rounded to single precision";
                    let place = format!("initializer {}", clip(name));
                    self.findings.push(*warning(self.label, place, text));
                }
                Slot::Val(Val::constant(decoded.tensor, decoded.dtype).named(name))
            }
            Err(message) => {
                let place = format!("initializer {}", clip(name));
                self.findings.push(*error(self.label, place, message));
                Slot::Broken
            }
        };
        values.insert(name.to_string(), slot);
    }

    /// A result of the model as a value of the graph.
    fn output(&mut self, name: &str, val: Val) -> Result<ValueId, Box<Diagnostic>> {
        match val.kind {
            Kind::Node(id) => Ok(id),
            Kind::Const(_) if self.batch.is_none() => {
                let origin = Origin::new("onnx", self.label, "graph", name);
                self.place(&val, &origin).map_err(|_| error(self.label, "graph", "has no constant output"))
            }
            _ => Err(error(
                self.label,
                "graph",
                format!("the output `{}` does not depend on the samples", clip(name)),
            )),
        }
    }

    /// Lowers one node, for each batch size if it asks for it.
    fn node(&mut self, node: &NodeDef, operands: Vec<Option<Slot>>) -> Result<Vec<Slot>, Box<Diagnostic>> {
        let broken = || Ok(vec![Slot::Broken; node.outputs.len()]);
        // Operators without a handler have been refused by `registry::check`.
        if operands.iter().flatten().any(|o| matches!(o, Slot::Broken)) || registry::find(node).is_err() {
            return broken();
        }
        let operands: Vec<Option<Val>> = operands
            .into_iter()
            .map(|o| match o {
                Some(Slot::Val(val)) => Some(val),
                _ => None,
            })
            .collect();
        match self.probe(node, &operands) {
            Ok(results) => Ok(results.into_iter().map(Slot::Val).collect()),
            Err(Fault::Mixes(how)) => {
                let text = format!("computes across samples: {how}");
                Err(error(self.label, node.place.clone(), text).in_layer(node.title()))
            }
            Err(Fault::Wrong { message, help }) => {
                let found = error(self.label, node.place.clone(), message).in_layer(node.title());
                self.findings.push(*found.with_help(help));
                broken()
            }
        }
    }

    fn probe(&mut self, node: &NodeDef, operands: &[Option<Val>]) -> Handled<Vec<Val>> {
        let handler = registry::find(node)?;
        let sizes = self.batch.map_or(vec![1], |b| b.sizes().to_vec());
        let varies = operands.iter().flatten().any(|o| matches!(o.kind, Kind::PerBatch(_)));
        let mut results: Vec<Vec<Val>> = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            let given = operands.iter().map(|o| o.as_ref().map(|o| at_size(o, i))).collect();
            let mut cx = Cx::new(self, node, given, size);
            results.push(handler(&mut cx)?);
            let (asked, ignored) = cx.finish();
            if i == 0 && !ignored.is_empty() {
                let text = format!("attributes that this operator does not have: {}", ignored.join(", "));
                self.findings.push(*warning(self.label, node.place.clone(), text).in_layer(node.title()));
            }
            if !asked && !varies {
                break;
            }
        }
        let mut results = results.into_iter();
        let Some(first) = results.next() else { return Ok(Vec::new()) };
        let others: Vec<Vec<Val>> = results.collect();
        (0..first.len()).map(|r| self.merge(&first[r], &others, r)).collect()
    }

    /// One value for the results that all batch sizes gave.
    fn merge(&self, first: &Val, others: &[Vec<Val>], r: usize) -> Handled<Val> {
        let all: Vec<&Val> = std::iter::once(first).chain(others.iter().filter_map(|o| o.get(r))).collect();
        if all.iter().all(|v| v.is_node()) {
            if all.iter().all(|v| self.same(first, v)) {
                return Ok(first.clone());
            }
            return Err(Fault::mixes("the result depends on the number of samples"));
        }
        let known: Option<Vec<Arc<Tensor>>> = all.iter().map(|v| v.known().cloned()).collect();
        let Some(known) = known else {
            return Err(Fault::mixes("whether the result is known depends on the number of samples"));
        };
        if known.iter().all(|t| *t == known[0]) {
            return Ok(first.clone());
        }
        Ok(Val { kind: Kind::PerBatch(known), dtype: first.dtype, codes: None, name: None })
    }

    /// Whether two values are computed in the same way.
    fn same(&self, a: &Val, b: &Val) -> bool {
        let (Kind::Node(a), Kind::Node(b)) = (&a.kind, &b.kind) else { return false };
        let mut open = vec![(*a, *b)];
        while let Some((a, b)) = open.pop() {
            if a == b {
                continue;
            }
            let same = match (self.graph.const_of(a), self.graph.const_of(b)) {
                (Some(x), Some(y)) => x == y,
                _ => match (self.graph.producer(a), self.graph.producer(b)) {
                    (Some((_, x)), Some((_, y))) => {
                        open.extend(x.inputs.iter().copied().zip(y.inputs.iter().copied()));
                        x.op == y.op && x.inputs.len() == y.inputs.len()
                    }
                    _ => false,
                },
            };
            if !same {
                return false;
            }
        }
        true
    }

    /// The value of the graph for a constant; the same one for the same tensor.
    fn constant(&mut self, tensor: &Arc<Tensor>, name: &str) -> ValueId {
        let place = Arc::as_ptr(tensor) as usize;
        if let Some((_, id)) = self.constants.get(&place) {
            return *id;
        }
        let id = self.graph.add_const(name, tensor.clone());
        self.constants.insert(place, (tensor.clone(), id));
        id
    }

    /// Applies an op: at once when all operands are known, else as a node.
    pub(crate) fn apply(
        &mut self,
        op: Op,
        operands: &[&Val],
        origin: &Origin,
    ) -> Handled<(Kind, TensorType)> {
        let known: Option<Vec<&Tensor>> = operands.iter().map(|v| v.known().map(Arc::as_ref)).collect();
        if let Some(known) = known {
            return self.evaluate(&op, &known);
        }
        let ids = operands.iter().map(|v| self.place(v, origin)).collect::<Handled<Vec<ValueId>>>()?;
        let id = self.graph.add_node(op, &ids, "v", origin)?;
        Ok((Kind::Node(id), self.graph.ty(id).clone()))
    }

    /// A value as an operand of a node.
    pub(crate) fn place(&mut self, val: &Val, origin: &Origin) -> Handled<ValueId> {
        match &val.kind {
            Kind::Node(id) => Ok(*id),
            Kind::Const(tensor) => match &val.codes {
                None => Ok(self.constant(tensor, val.name.as_deref().unwrap_or("c"))),
                Some(parts) => self.coded(parts, val.name.as_deref().unwrap_or("c"), origin),
            },
            Kind::PerBatch(_) => Err(Fault::mixes("an operand depends on the number of samples")),
        }
    }

    /// A known value by its codes; the same node for the same codes.
    fn coded(&mut self, parts: &[Arc<Tensor>; 3], name: &str, origin: &Origin) -> Handled<ValueId> {
        let place = Arc::as_ptr(&parts[0]) as usize;
        if let Some((_, id)) = self.decoded.get(&place) {
            return Ok(*id);
        }
        let [codes, scale, zero] = parts;
        let ids = [
            self.constant(codes, &format!("{name}.codes")),
            self.constant(scale, &format!("{name}.scale")),
            self.constant(zero, &format!("{name}.zero_point")),
        ];
        let id = self.graph.add_node(Dequantize, &ids, name, origin)?;
        self.decoded.insert(place, (parts[0].clone(), id));
        Ok(id)
    }

    fn evaluate(&mut self, op: &Op, known: &[&Tensor]) -> Handled<(Kind, TensorType)> {
        let types: Vec<&TensorType> = known.iter().map(|t| &t.ty).collect();
        let ty = op.infer(&types)?;
        let given = known.iter().map(|t| t.len()).max().unwrap_or(0);
        let made = ty.shape.num_elements();
        if made > given {
            self.implied = self.implied.saturating_add(made);
            if made > MAX_IMPLIED || self.implied > MAX_IMPLIED_TOTAL {
                return Err(format!("makes a constant of {made} elements from {given} in the file").into());
            }
        }
        let data = op.eval(known, &ty)?;
        Ok((Kind::Const(Arc::new(Tensor { ty: ty.clone(), data })), ty))
    }

    /// Adds a finding.
    pub(crate) fn find(&mut self, found: Diagnostic) {
        self.findings.push(found);
    }
}

/// An operand as batch size `i` has it.
fn at_size(operand: &Val, i: usize) -> Val {
    match &operand.kind {
        Kind::PerBatch(all) => {
            Val { kind: Kind::Const(all[i.min(all.len() - 1)].clone()), ..operand.clone() }
        }
        _ => operand.clone(),
    }
}

/// A constant of one element type and any values.
pub(crate) fn tensor_of(dtype: DType, shape: &[usize], values: impl IntoIterator<Item = f64>) -> Tensor {
    let layout = Layout::anonymous(shape.len());
    if dtype.is_float() {
        return Tensor::f32(shape, layout, values.into_iter().map(|v| v as f32).collect());
    }
    Tensor::codes(TensorType::new(dtype.elem(), shape, layout), values.into_iter().map(|v| v as i64))
}
