//! What a kind sees of its layer: parameters, tensors of the state dict, operands; and the graph to build on.
//!
//! Parameters that no kind asked for, and keys that no layer asked for, are found out afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::Value;
use unfloat_ir::ops::Reshape;
use unfloat_ir::{Diagnostic, Graph, Layout, Location, Op, Origin, Tensor, TensorType, ValueId};

use super::spec::LayerSpec;
use crate::pytorch::StateDict;

/// What a handler returns: a value of the graph, or what is wrong.
pub(super) type Handled<T> = Result<T, String>;

/// One layer while it becomes nodes.
pub(super) struct Cx<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) layer: &'a LayerSpec,
    pub(super) inputs: Vec<ValueId>,
    /// Whether a step function of the network reads, directly or not, what this layer makes.
    pub(super) feeds_steps: bool,
    state: &'a StateDict,
    used_keys: &'a mut BTreeSet<String>,
    used: BTreeSet<&'static str>,
    origin: Origin,
    warnings: Vec<Diagnostic>,
}

impl<'a> Cx<'a> {
    pub(super) fn new(
        graph: &'a mut Graph,
        (label, place, layer): (&'a str, &'a str, &'a LayerSpec),
        inputs: Vec<ValueId>,
        state: &'a StateDict,
        used_keys: &'a mut BTreeSet<String>,
    ) -> Self {
        let origin = Origin::new("pytorch", label, place, &format!("{} ({})", layer.name, layer.kind));
        let (used, warnings) = (BTreeSet::new(), Vec::new());
        Self { graph, layer, inputs, feeds_steps: false, state, used_keys, used, origin, warnings }
    }
    /// Parameters that the kind did not ask for, and what there is to say.
    pub(super) fn finish(self) -> (Vec<String>, Vec<Diagnostic>) {
        let unused = self.layer.parameters.keys().filter(|k| !self.used.contains(k.as_str()));
        (unused.cloned().collect(), self.warnings)
    }
    /// Says something about the layer.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(Diagnostic::warning(Location::from(&self.origin), text));
    }
}

/// Parameters.
impl Cx<'_> {
    pub(super) fn parameter(&mut self, name: &'static str) -> Option<&Value> {
        self.used.insert(name);
        self.layer.parameters.get(name)
    }
    /// Takes note of parameters that change nothing at inference.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        self.used.extend(names);
    }
    /// A whole number, if it is given.
    pub(super) fn int(&mut self, name: &'static str) -> Handled<Option<i64>> {
        match self.parameter(name) {
            None => Ok(None),
            Some(Value::Integer(n)) => Ok(Some(*n)),
            Some(other) => Err(format!("`{name}`: expected a whole number, found {other}")),
        }
    }
    /// A size from 0.
    pub(super) fn size(&mut self, name: &'static str) -> Handled<Option<usize>> {
        let fault = |n: i64| format!("`{name}`: expected a number from 0, found {n}");
        self.int(name)?.map(|n| usize::try_from(n).map_err(|_| fault(n))).transpose()
    }
    /// A number.
    pub(super) fn number(&mut self, name: &'static str) -> Handled<Option<f64>> {
        match self.parameter(name) {
            None => Ok(None),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            Some(Value::Float(x)) if !x.is_nan() => Ok(Some(*x)),
            Some(other) => Err(format!("`{name}`: expected a number, found {other}")),
        }
    }
    /// A number in single precision.
    pub(super) fn number_or(&mut self, name: &'static str, default: f64) -> Handled<f32> {
        Ok(self.number(name)?.unwrap_or(default) as f32)
    }
    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Handled<bool> {
        match self.parameter(name) {
            None => Ok(default),
            Some(Value::Boolean(b)) => Ok(*b),
            Some(other) => Err(format!("`{name}`: expected true or false, found {other}")),
        }
    }
    /// One of several words.
    pub(super) fn word(&mut self, name: &'static str, default: &str, allowed: &[&str]) -> Handled<String> {
        match self.parameter(name) {
            None => Ok(default.to_string()),
            Some(Value::String(word)) if allowed.contains(&word.as_str()) => Ok(word.clone()),
            Some(other) => Err(format!("`{name}`: expected {}, found {other}", allowed.join(" or "))),
        }
    }
    /// Whole numbers, one or a list.
    pub(super) fn ints(&mut self, name: &'static str) -> Handled<Option<Vec<i64>>> {
        let fault = |found: &Value| format!("`{name}`: expected whole numbers, found {found}");
        match self.parameter(name) {
            None => Ok(None),
            Some(Value::Integer(n)) => Ok(Some(vec![*n])),
            Some(Value::Array(all)) => {
                let found = || Value::Array(all.clone());
                all.iter()
                    .map(|v| v.as_integer().ok_or_else(|| fault(&found())))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            Some(other) => Err(fault(other)),
        }
    }
    /// One size for each of `n` axes, from a number or a list.
    pub(super) fn sizes(&mut self, name: &'static str, n: usize) -> Handled<Option<Vec<usize>>> {
        let Some(found) = self.ints(name)? else { return Ok(None) };
        let sizes: Option<Vec<usize>> = found.iter().map(|&v| usize::try_from(v).ok()).collect();
        match sizes {
            Some(one) if one.len() == 1 => Ok(Some(vec![one[0]; n])),
            Some(all) if all.len() == n => Ok(Some(all)),
            _ => Err(format!("`{name}`: expected a size from 0, or {n} of them, found {found:?}")),
        }
    }
    /// Checks a size that the weight tells as well.
    pub(super) fn same(&mut self, name: &'static str, actual: usize) -> Handled<()> {
        match self.size(name)? {
            Some(n) if n != actual => Err(format!("`{name}` is {n}, but the tensors say {actual}")),
            _ => Ok(()),
        }
    }
}

/// Tensors of the state dict.
impl Cx<'_> {
    /// The tensor under `module.NAME`, if there is one.
    pub(super) fn find(&mut self, name: &str) -> Handled<Option<Tensor>> {
        let key = format!("{}.{name}", self.layer.module);
        self.take(&key)
    }
    /// The tensor under `module.NAME`.
    pub(super) fn tensor(&mut self, name: &str) -> Handled<Tensor> {
        let key = format!("{}.{name}", self.layer.module);
        self.take(&key)?.ok_or_else(|| self.missing(&key))
    }
    /// The tensor under a whole key, as floats or integers.
    pub(super) fn take(&mut self, key: &str) -> Handled<Option<Tensor>> {
        let Some(entry) = self.state.get(key) else { return Ok(None) };
        self.used_keys.insert(key.to_string());
        Ok(Some(entry.tensor.clone()))
    }
    /// Says that a key is missing, and which one may be meant.
    pub(super) fn missing(&self, key: &str) -> String {
        let near = self.state.keys().map(|k| (distance(k, key), k)).min();
        match near.filter(|(d, _)| *d <= key.chars().count() / 3) {
            Some((_, near)) => {
                format!("there is no tensor `{key}` in {}; there is `{near}`", self.state.label)
            }
            None => format!("there is no tensor `{key}` in {}", self.state.label),
        }
    }
    /// Floats of a shape under `module.NAME`.
    pub(super) fn vector(&mut self, name: &str, extent: usize) -> Handled<Vec<f32>> {
        let tensor = self.tensor(name)?;
        if tensor.shape().dims() != [extent] {
            let key = format!("{}.{name}", self.layer.module);
            return Err(format!("`{key}` has the shape {}, expected [{extent}]", tensor.shape()));
        }
        self.floats(name, &tensor)
    }
    /// The elements of a tensor, which must be floats.
    pub(super) fn floats(&self, name: &str, tensor: &Tensor) -> Handled<Vec<f32>> {
        let fault = || format!("`{}.{name}` is {}, expected floats", self.layer.module, tensor.ty.elem);
        tensor.as_f32().map(<[f32]>::to_vec).ok_or_else(fault)
    }
}

/// The number of letters to insert, delete or change to make one word of another (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(200).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Building.
impl Cx<'_> {
    /// The operand of a layer that reads one.
    pub(super) fn input(&self) -> Handled<ValueId> {
        match self.inputs[..] {
            [x] => Ok(x),
            _ => Err(format!("reads {} layers, expected one", self.inputs.len())),
        }
    }
    /// The type of a value: per sample.
    pub(super) fn ty(&self, value: ValueId) -> TensorType {
        self.graph.ty(value).clone()
    }
    /// Adds a node.
    pub(super) fn apply(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Handled<ValueId> {
        let found = self.graph.add_node(op.into(), operands, &self.layer.name, &self.origin);
        found.map_err(|e| e.message)
    }
    /// Adds a constant, named after the key that it came from.
    pub(super) fn constant(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> ValueId {
        self.graph.add_const(&format!("{}.{name}", self.layer.module), tensor.into())
    }
    /// A number as a constant.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> ValueId {
        self.constant(name, Tensor::f32([], Layout::anonymous(0), vec![value]))
    }
    /// The same elements under another shape and other names of axes.
    pub(super) fn reshape(&mut self, value: ValueId, shape: &[usize], layout: Layout) -> Handled<ValueId> {
        let ty = self.ty(value);
        if ty.shape.dims() == shape && ty.layout == layout {
            return Ok(value);
        }
        self.apply(Reshape { shape: shape.into(), layout }, &[value])
    }
    /// The operand as channels and `spatial` axes, in PyTorch's order.
    pub(super) fn channels_first(&mut self, value: ValueId, spatial: usize) -> Handled<ValueId> {
        let ty = self.ty(value);
        if ty.rank() != spatial + 1 {
            return Err(format!("expected {} axes per sample, found {}", spatial + 1, ty.shape));
        }
        self.reshape(value, &ty.shape, Layout::channels_first(spatial))
    }
    /// The axis of a sample for one of PyTorch's, which count the batch and may count from the end.
    pub(super) fn axis(&self, value: ValueId, dim: i64) -> Handled<usize> {
        let rank = self.ty(value).rank() as i64 + 1;
        let axis = if dim < 0 { dim + rank } else { dim };
        match axis {
            0 => Err(format!("dim {dim} is the batch")),
            a if (1..rank).contains(&a) => Ok(a as usize - 1),
            _ => Err(format!("dim {dim} of a tensor with {rank} axes, the batch included")),
        }
    }
}
