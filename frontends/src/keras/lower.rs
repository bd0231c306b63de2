//! From layers to nodes.
//!
//! In: the typed layers of a model and the arrays assigned to them. Out: a [`Graph`]; each node's origin names the file,
//! the place and the layer. Refuses, with every finding of a run: weights of other shapes, weights that are NaN or
//! infinite, shapes that do not fit, values of more than [`MAX_VALUE`] elements, more than [`MAX_CALLS`] calls.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::{Diagnostic, Graph, Layout, Op, Origin, Shape, Tensor, TensorType, ValueId};

use super::config::{Call, Layer, Model, TensorRef};
use super::container::WeightSource;
use super::container::store::Part;
use super::facts::Facts;
use super::layers::input::InputSpec;
use super::layers::kernel::Reorder;
use super::layers::{self, Prepared};
use super::problem::{Annotate, Outcome, clip, error, show_shape};
use super::weights::Assignment;

/// Most elements of one value: 1 GiB of f32.
pub(crate) const MAX_VALUE: usize = 1 << 28;
/// Most elements of a constant that the file implies without holding it: 4 MiB of f32.
const MAX_IMPLIED: usize = 1 << 20;
/// Most calls of layers; nested models that call nested models multiply.
pub(crate) const MAX_CALLS: usize = 1 << 15;

/// State of one import.
pub(crate) struct Lowering<'a> {
    /// Label of the file with the architecture.
    label: &'a str,
    /// Where the architecture stood in it.
    facts: &'a Facts,
    source: Option<&'a WeightSource>,
    arrays: &'a Assignment,
    graph: Graph,
    /// Values made from weights, by layer and role, so that a layer that is called twice has them once.
    constants: BTreeMap<(Vec<usize>, String), ValueId>,
    /// Single numbers, by their bits; all layers share them.
    numbers_used: BTreeMap<u32, ValueId>,
    /// Next number for a name that is taken.
    numbers: BTreeMap<String, usize>,
    calls: usize,
    /// Elements that stand-ins for broken weights may still have.
    stand_ins: usize,
    findings: Vec<Diagnostic>,
}

/// Lowers a whole model. `findings` receives what is wrong; the graph is whole only when there was no error.
pub(crate) fn lower(
    label: &str,
    facts: &Facts,
    source: Option<&WeightSource>,
    arrays: &Assignment,
    model: &Model,
    prepared: &[Prepared],
    findings: &mut Vec<Diagnostic>,
) -> Graph {
    let mut state = Lowering {
        label,
        facts,
        source,
        arrays,
        graph: Graph::new(model.name.clone()),
        constants: BTreeMap::new(),
        numbers_used: BTreeMap::new(),
        numbers: BTreeMap::new(),
        calls: 0,
        stand_ins: MAX_IMPLIED,
        findings: Vec::new(),
    };
    let inputs: Vec<Option<ValueId>> =
        model.inputs.iter().map(|index| state.graph_input(model, prepared, *index)).collect();
    let results = state.model(model, prepared, &inputs, &mut Vec::new(), "");
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (output, value) in model.outputs.iter().zip(results) {
        let base = model.layers.get(output.layer).map_or_else(String::new, |layer| layer.name.clone());
        let mut name = base.clone();
        let mut number = 0;
        while names.contains(&name) {
            number += 1;
            name = format!("{base}_{number}");
        }
        if let Some(value) = value {
            state.graph.add_output(&name, value);
        }
        names.insert(name);
    }
    findings.append(&mut state.findings);
    state.graph
}

impl Lowering<'_> {
    fn graph_input(&mut self, model: &Model, prepared: &[Prepared], index: usize) -> Option<ValueId> {
        let layer = model.layers.get(index)?;
        let Some(Prepared::Input(spec)) = prepared.get(index) else { return None };
        match spec.fixed_shape(self.label, layer) {
            Ok(shape) => {
                let layout = layers::input::layout(model, index, shape.len());
                Some(self.graph.add_input(&layer.name, TensorType::f32(shape, layout)))
            }
            Err(problem) => {
                self.findings.push(*problem);
                None
            }
        }
    }

    /// Lowers one use of a model; a missing input makes everything that depends on it missing.
    fn model(
        &mut self,
        model: &Model,
        prepared: &[Prepared],
        inputs: &[Option<ValueId>],
        path: &mut Vec<usize>,
        prefix: &str,
    ) -> Vec<Option<ValueId>> {
        let mut values: BTreeMap<(usize, usize), Vec<Option<ValueId>>> = BTreeMap::new();
        for &(index, call) in &model.order {
            let (Some(layer), Some(kind)) = (model.layers.get(index), prepared.get(index)) else { continue };
            let Some(use_of) = layer.calls.get(call) else { continue };
            if self.calls >= MAX_CALLS {
                if self.calls == MAX_CALLS {
                    let message = format!("nested models multiply to more than {MAX_CALLS} calls of layers");
                    self.findings.push(*error(self.label, layer.place.clone(), message));
                    self.calls += 1;
                }
                return vec![None; model.outputs.len()];
            }
            self.calls += 1;
            let args: Vec<Option<ValueId>> = use_of.args.iter().map(|arg| look_up(&values, arg)).collect();
            path.push(index);
            let results = match kind {
                Prepared::Input(spec) => {
                    let position = model.inputs.iter().position(|input| *input == index);
                    let given = position.and_then(|p| inputs.get(p).copied().flatten());
                    vec![given.filter(|value| path.len() == 1 || self.fits(layer, spec, *value))]
                }
                Prepared::Model(inner) => self.nested(layer, inner, &args, path, prefix),
                Prepared::Layer(inner) => {
                    vec![self.layer(layer, use_of, inner.as_ref(), &args, path, prefix)]
                }
            };
            path.pop();
            values.insert((index, call), results);
        }
        model.outputs.iter().map(|output| look_up(&values, output)).collect()
    }

    fn nested(
        &mut self,
        layer: &Layer,
        inner: &[Prepared],
        args: &[Option<ValueId>],
        path: &mut Vec<usize>,
        prefix: &str,
    ) -> Vec<Option<ValueId>> {
        let Some(body) = &layer.body else { return Vec::new() };
        if args.len() != body.inputs.len() {
            let message = format!("the model takes {} inputs and is given {}", body.inputs.len(), args.len());
            self.findings.push(*error(self.label, layer.place.clone(), message).in_layer(layer.title()));
            return vec![None; body.outputs.len()];
        }
        let prefix = format!("{prefix}{}/", layer.name);
        self.model(body, inner, args, path, &prefix)
    }

    /// Checks what a nested model is given against what its input layer declares.
    fn fits(&mut self, layer: &Layer, spec: &InputSpec, value: ValueId) -> bool {
        let shape = self.graph.ty(value).shape.clone();
        let Some(message) = spec.mismatch(&shape) else { return true };
        self.findings.push(*error(self.label, layer.place.clone(), message).in_layer(layer.title()));
        false
    }

    fn layer(
        &mut self,
        layer: &Layer,
        call: &Call,
        kind: &dyn layers::Layer,
        args: &[Option<ValueId>],
        path: &[usize],
        prefix: &str,
    ) -> Option<ValueId> {
        let args: Option<Vec<ValueId>> = args.iter().copied().collect();
        let inputs = args?;
        let first_new = self.graph.num_values();
        let name = format!("{prefix}{}", layer.name);
        let origin = Origin::new("keras", self.label, &layer.place, &layer.title());
        let mut cx = Cx { state: self, path, origin, name: name.clone(), inputs };
        let result = if call.extra.is_empty() {
            kind.lower(&mut cx)
        } else {
            let message = format!("the call has arguments that are not supported: {}", call.extra.join(", "));
            Err(cx.error(message))
        };
        match result {
            Ok(value) => {
                let new = unfloat_ir::arena::Handle::index(value) >= first_new;
                if new && self.graph.producer(value).is_some() {
                    let name = self.unique(&name);
                    self.graph.rename(value, &name);
                }
                Some(value)
            }
            Err(problem) => {
                self.findings.push(*problem);
                None
            }
        }
    }

    /// `name`, or `name.1`, `name.2`, … when it is taken; remembers the number, so that many calls stay fast.
    fn unique(&mut self, name: &str) -> String {
        let number = self.numbers.entry(name.to_owned()).or_insert(0);
        let candidate = if *number == 0 { name.to_owned() } else { format!("{name}.{number}") };
        *number += 1;
        self.graph.fresh_name(&candidate)
    }
}

fn look_up(values: &BTreeMap<(usize, usize), Vec<Option<ValueId>>>, at: &TensorRef) -> Option<ValueId> {
    values.get(&(at.layer, at.call))?.get(at.tensor).copied().flatten()
}

/// What a layer sees while it is lowered.
pub(crate) struct Cx<'s, 'a> {
    state: &'s mut Lowering<'a>,
    path: &'s [usize],
    origin: Origin,
    name: String,
    inputs: Vec<ValueId>,
}

impl Cx<'_, '_> {
    /// Facts about the writer.
    pub fn facts(&self) -> &Facts {
        self.state.facts
    }

    /// An error about this layer.
    pub fn error(&self, message: impl Into<String>) -> Box<Diagnostic> {
        error(self.state.label, self.origin.place.to_string(), message)
            .in_layer(self.origin.layer.to_string())
    }

    /// The tensors that the layer is called on.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The only tensor that the layer is called on.
    pub fn input(&self) -> Outcome<ValueId> {
        match self.inputs.as_slice() {
            [only] => Ok(*only),
            several => Err(self.error(format!("the layer takes one input and is given {}", several.len()))),
        }
    }

    /// Type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.state.graph.ty(value)
    }

    /// Extents of a value, per sample.
    pub fn dims(&self, value: ValueId) -> Vec<usize> {
        self.ty(value).shape.to_vec()
    }

    /// Adds a node.
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Outcome<ValueId> {
        let op = op.into();
        let name = self.state.unique(&format!("{}.{}", self.name, unfloat_ir::OpDef::name(&op)));
        let value = self.state.graph.add_node(op, inputs, &name, &self.origin).map_err(Box::new)?;
        let ty = self.state.graph.ty(value);
        if ty.rank() > Shape::MAX_RANK || ty.shape.checked_len().is_none_or(|len| len > MAX_VALUE) {
            let shape = clip(&show_shape(&ty.shape));
            return Err(self.error(format!("the result of shape {shape} has more than {MAX_VALUE} elements")));
        }
        if ty.shape.contains(&0) {
            let shape = clip(&show_shape(&ty.shape));
            return Err(self.error(format!("the result of shape {shape} is empty")));
        }
        Ok(value)
    }

    /// The same value with axes of other names.
    pub fn with_layout(&mut self, value: ValueId, layout: Layout) -> Outcome<ValueId> {
        let ty = self.ty(value);
        if ty.layout == layout || ty.rank() != layout.rank() {
            return Ok(value);
        }
        let shape = ty.shape.clone();
        self.node(unfloat_ir::ops::Reshape { shape, layout }, &[value])
    }

    /// A constant that the layer makes without weights; made once for all calls. It may have [`MAX_IMPLIED`] elements.
    pub fn constant(
        &mut self,
        role: &str,
        shape: &[usize],
        make: impl FnOnce() -> Tensor,
    ) -> Outcome<ValueId> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements.is_none_or(|n| n > MAX_IMPLIED) {
            let shape = clip(&show_shape(shape));
            return Err(self.error(format!(
                "{role}: a constant of shape {shape} that the file does not hold is too large"
            )));
        }
        self.weight_constant(role, |_| Ok(make()))
    }

    /// A constant that the layer makes from its weights; made once for all calls.
    pub fn weight_constant(
        &mut self,
        role: &str,
        make: impl FnOnce(&mut Self) -> Outcome<Tensor>,
    ) -> Outcome<ValueId> {
        self.once(role, |cx| {
            let tensor = make(cx)?;
            let name = cx.state.unique(&format!("{}.{role}", cx.name));
            Ok(cx.state.graph.add_const(&name, tensor))
        })
    }

    /// A value that depends on the layer's weights alone; made once for all calls.
    pub fn once(&mut self, role: &str, make: impl FnOnce(&mut Self) -> Outcome<ValueId>) -> Outcome<ValueId> {
        let key = (self.path.to_vec(), role.to_owned());
        if let Some(value) = self.state.constants.get(&key) {
            return Ok(*value);
        }
        let value = make(self)?;
        self.state.constants.insert(key, value);
        Ok(value)
    }

    /// A single number, shared by all layers.
    pub fn number(&mut self, value: f32) -> Outcome<ValueId> {
        if let Some(known) = self.state.numbers_used.get(&value.to_bits()) {
            return Ok(*known);
        }
        let name = self.state.unique("number");
        let known = self.state.graph.add_const(&name, Tensor::f32([], Layout::anonymous(0), vec![value]));
        self.state.numbers_used.insert(value.to_bits(), known);
        Ok(known)
    }

    /// Gives a value the name of its role in the layer.
    pub fn name_role(&mut self, value: ValueId, role: &str) {
        let name = self.state.unique(&format!("{}.{role}", self.name));
        self.state.graph.rename(value, &name);
    }

    /// The numbers of weight `slot`, which must have the shape `wanted`.
    ///
    /// A missing or broken weight is reported and stood in for by zeros, so that the layers after it are checked in
    /// the same run; the import fails all the same.
    pub fn weight(&mut self, slot: usize, wanted: &[usize]) -> Outcome<Vec<f32>> {
        self.weight_as(slot, wanted, None)
    }

    /// The numbers of weight `slot` in another order, otherwise as [`Cx::weight`]. They are put in order while they are
    /// read, so that the largest weight is not in memory twice.
    pub fn reordered_weight(&mut self, slot: usize, reorder: &Reorder) -> Outcome<Vec<f32>> {
        self.weight_as(slot, reorder.shape(), Some(reorder))
    }

    fn weight_as(&mut self, slot: usize, wanted: &[usize], reorder: Option<&Reorder>) -> Outcome<Vec<f32>> {
        let count = wanted.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_VALUE);
        let problem = match self.read_weight(slot, wanted, reorder) {
            Ok(values) if count == Some(values.len()) => return Ok(values),
            Ok(values) => Some(self.error(format!("weight {slot} has {} elements", values.len()))),
            Err(problem) => problem,
        };
        let problem = match (count.and_then(|count| self.state.stand_ins.checked_sub(count)), problem) {
            (Some(left), problem) => {
                self.state.stand_ins = left;
                self.state.findings.extend(problem.map(|problem| *problem));
                return Ok(vec![0.0; count.unwrap_or(0)]);
            }
            (None, Some(problem)) => problem,
            (None, None) => self.error(format!("a weight of shape {} is missing", show_shape(wanted))),
        };
        Err(problem)
    }

    /// The shape in the file of weight `slot`, if there is one.
    pub fn stored_shape(&self, slot: usize) -> Option<Vec<usize>> {
        let path = self.state.arrays.get(self.path)?.get(slot)?;
        self.state.source?.store.shape(path).ok()
    }

    /// `Err(None)` when the weight is missing, which has been reported before.
    fn read_weight(
        &self,
        slot: usize,
        wanted: &[usize],
        reorder: Option<&Reorder>,
    ) -> Result<Vec<f32>, Option<Box<Diagnostic>>> {
        let source = self.state.source.ok_or(None)?;
        let path = self.state.arrays.get(self.path).and_then(|arrays| arrays.get(slot)).ok_or(None)?;
        let broken = |message: String| {
            Some(error(&source.label, path.as_str(), message).in_layer(self.origin.layer.to_string()))
        };
        let shape =
            source.store.shape(path).map_err(|reason| broken(format!("damaged weights: {reason}")))?;
        if shape != wanted {
            let (wanted, found) = (show_shape(wanted), clip(&show_shape(&shape)));
            return Err(broken(format!("expected a weight of shape {wanted}, found {found}")));
        }
        let mut values = Vec::new();
        let mut wrong = None;
        let read = match reorder {
            None => source.store.read(path).map(|read| {
                let start = vec![0; shape.len()];
                wrong = Part { start: &start, extents: &shape, values: &read }.non_finite();
                values = read;
            }),
            Some(reorder) => source.store.read_parts(path, &mut |part| {
                // Not before: that there is a part shows that the file has as many numbers as the shape says.
                if values.is_empty() {
                    values = vec![0.0; shape.iter().product()];
                }
                wrong = wrong.take().or_else(|| part.non_finite());
                reorder.place(&part, &mut values);
            }),
        };
        read.map_err(|reason| broken(format!("damaged weights: {reason}")))?;
        match wrong {
            None => Ok(values),
            Some((index, value)) => {
                let what = if value.is_nan() { "NaN" } else { "infinite" };
                Err(broken(format!("the weight at index {} is {what}", show_shape(&index))))
            }
        }
    }
}
