//! From layers to nodes.
//!
//! In: the layers in the order in which they run, and the state dict. Out: a graph; each node's origin names the
//! checkpoint, the layer's prefix in it, and name and kind. Refuses, all at once: layers that read what is not there,
//! tensors of other shapes, weights that are not finite, shapes that do not fit.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::{
    Diagnostic, ElemType, Graph, Layout, Location, Op, Origin, Shape, Tensor, TensorType, ValueId,
};

use super::document::{Decl, Document};
use super::layers::Layer;
use super::problem::{Outcome, at_line, clip, near, show, with_help};
use crate::pytorch::StateDict;

/// Most elements of one value: 1 GiB of f32.
const MAX_VALUE: usize = 1 << 28;

/// Most elements of all constants that no file holds: 64 MiB of f32.
const MAX_IMPLIED: usize = 1 << 24;

/// The tensors of a state dict by their keys.
pub(crate) struct Tensors<'s> {
    /// The state dict.
    pub state: &'s StateDict,
    by_key: BTreeMap<&'s str, usize>,
}

impl<'s> Tensors<'s> {
    /// Sorts the keys.
    pub fn new(state: &'s StateDict) -> Self {
        let by_key = state.entries.iter().enumerate().map(|(i, e)| (e.key.as_str(), i)).collect();
        Self { state, by_key }
    }
    /// The tensor of a key.
    pub fn get(&self, key: &str) -> Option<&'s crate::pytorch::Entry> {
        self.by_key.get(key).and_then(|&i| self.state.entries.get(i))
    }
    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &'s str> + '_ {
        self.by_key.keys().copied()
    }
}

/// State of one import.
struct Lowering<'a> {
    label: &'a str,
    tensors: &'a Tensors<'a>,
    graph: Graph,
    /// What stands under each name; nothing where a layer failed.
    names: BTreeMap<&'a str, Option<Bound>>,
    /// For each name, the last layer that reads it: what is overwritten in place matters to those alone.
    readers: BTreeMap<&'a str, usize>,
    /// For each view, the value whose memory it shares in torch, which is no view itself.
    memory: BTreeMap<ValueId, ValueId>,
    /// Constants made from tensors, by key and use.
    constants: BTreeMap<(String, String), ValueId>,
    /// Elements of constants that were made without a tensor of the state dict.
    implied: usize,
    found: Vec<Diagnostic>,
}

/// A value under a name. Every layer asks all names whose memory they show and who still reads them, so both are at
/// hand.
#[derive(Clone, Copy)]
struct Bound {
    value: ValueId,
    /// The value whose memory this is; itself unless it is a view.
    root: ValueId,
    /// The last layer that reads the name; the greatest number for an output.
    last_reader: usize,
}

/// Lowers all layers. The graph is whole only when no error was found.
pub(crate) fn lower(
    label: &str,
    tensors: &Tensors<'_>,
    name: &str,
    document: &Document,
    layers: &[Option<Box<dyn Layer>>],
) -> (Graph, Vec<Diagnostic>) {
    let mut state = Lowering {
        label,
        tensors,
        graph: Graph::new(name),
        names: BTreeMap::new(),
        readers: readers(document),
        memory: BTreeMap::new(),
        constants: BTreeMap::new(),
        implied: 0,
        found: Vec::new(),
    };
    for port in &document.inputs {
        let reads = |decl: &&Decl| decl.from.as_ref().is_none_or(|from| from.contains(&port.name));
        let line = document.layers.iter().find(reads).is_some_and(|decl| decl.kind.ends_with("1d"));
        let layout = match port.shape.len() {
            2 if !line => Layout::anonymous(2),
            rank => Layout::channels_first(rank - 1),
        };
        if port.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > MAX_VALUE) {
            let text = format!("input `{}` has more than {MAX_VALUE} elements", clip(&port.name));
            state.found.push(*at_line(label, port.line, text));
            state.bind(&port.name, None);
            continue;
        }
        let value = state.graph.add_input(&port.name, TensorType::f32(port.shape.clone(), layout));
        state.bind(&port.name, Some(value));
    }
    let mut last = first(document);
    for (index, (decl, layer)) in document.layers.iter().zip(layers).enumerate() {
        let value = state.layer(decl, layer.as_deref(), last, index);
        state.bind(&decl.name, value);
        last = Some(&decl.name);
    }
    state.outputs(&outputs(document), document);
    (state.graph, state.found)
}

/// What the first layer reads unless it says so: the only input.
fn first(document: &Document) -> Option<&str> {
    match document.inputs.as_slice() {
        [only] => Some(only.name.as_str()),
        _ => None,
    }
}

/// The names of the results: the last layer's unless the file says so.
fn outputs(document: &Document) -> Vec<&str> {
    match &document.outputs {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => {
            document.layers.last().map(|decl| decl.name.as_str()).or(first(document)).into_iter().collect()
        }
    }
}

/// For each name, the last layer that reads it.
fn readers(document: &Document) -> BTreeMap<&str, usize> {
    let mut readers = BTreeMap::new();
    let mut last = first(document);
    for (index, decl) in document.layers.iter().enumerate() {
        match &decl.from {
            Some(from) => readers.extend(from.iter().map(|name| (name.as_str(), index))),
            None => readers.extend(last.map(|name| (name, index))),
        }
        last = Some(&decl.name);
    }
    readers.extend(outputs(document).into_iter().map(|name| (name, usize::MAX)));
    readers
}

impl<'a> Lowering<'a> {
    /// Puts a value under a name.
    fn bind(&mut self, name: &'a str, value: Option<ValueId>) {
        let last_reader = self.readers.get(name).copied().unwrap_or(0);
        let bound = value.map(|value| Bound { value, root: self.root(value), last_reader });
        self.names.insert(name, bound);
    }

    /// The value whose memory a value shows.
    fn root(&self, value: ValueId) -> ValueId {
        self.memory.get(&value).copied().unwrap_or(value)
    }

    fn outputs(&mut self, outputs: &[&str], document: &Document) {
        let mut seen = BTreeSet::new();
        for &name in outputs {
            if !seen.insert(name) {
                self.found.push(*at_line(self.label, 1, format!("output `{}` stands twice", clip(name))));
                continue;
            }
            match self.names.get(name) {
                Some(Some(bound)) => self.graph.add_output(name, bound.value),
                Some(None) => {}
                None => {
                    let known = document.layers.iter().map(|d| d.name.as_str());
                    let found =
                        at_line(self.label, 1, format!("output `{}`: no layer has that name", clip(name)));
                    let near = near(name, known);
                    let help =
                        if near.is_empty() { String::new() } else { format!("did you mean `{}`?", near[0]) };
                    self.found.push(*with_help(found, help));
                }
            }
        }
        if outputs.is_empty() {
            self.found.push(*at_line(self.label, 1, "the model has no output"));
        }
    }

    /// What a layer reads; nothing where that is not there, which is a finding unless the layer above failed.
    fn operands(
        &mut self,
        decl: &Decl,
        layer: Option<&dyn Layer>,
        last: Option<&str>,
    ) -> Option<Vec<ValueId>> {
        let fail = |message: String, help: String| {
            let mut found = with_help(at_line(self.label, decl.line, message), help);
            found.at.layer = decl.title();
            *found
        };
        let wanted: Vec<&str> = match &decl.from {
            Some(from) => from.iter().map(String::as_str).collect(),
            None if layer.is_some_and(Layer::reads_nothing) => Vec::new(),
            None => match last {
                Some(name) => vec![name],
                None => {
                    let help = "say which of the inputs it reads: `from = \"…\"`".to_string();
                    self.found.push(fail("the first layer of a model of several inputs".to_string(), help));
                    return None;
                }
            },
        };
        let mut inputs = Vec::new();
        let mut whole = true;
        for name in &wanted {
            match self.names.get(name) {
                Some(Some(bound)) => inputs.push(bound.value),
                Some(None) => whole = false,
                None => {
                    let near = near(name, self.names.keys().copied());
                    let hint =
                        if near.is_empty() { String::new() } else { format!("did you mean `{}`? ", near[0]) };
                    let help =
                        format!("{hint}layers run in the order of the file and read what is above them");
                    self.found.push(fail(format!("`from`: nothing above is called `{}`", clip(name)), help));
                    whole = false;
                }
            }
        }
        whole.then_some(inputs)
    }

    fn layer(
        &mut self,
        decl: &'a Decl,
        layer: Option<&dyn Layer>,
        last: Option<&str>,
        index: usize,
    ) -> Option<ValueId> {
        let inputs = self.operands(decl, layer, last)?;
        let layer = layer?;
        let origin = Origin::new("pytorch", &self.tensors.state.label, &decl.key, &decl.title());
        let (mut overwritten, mut shared, mut read_later) = (Vec::new(), false, false);
        if let Some(&x) = inputs.first() {
            let root = self.root(x);
            for (&name, bound) in self.names.iter().filter_map(|(n, b)| Some((n, b.as_ref()?))) {
                let later = bound.last_reader > index;
                if bound.value == x {
                    overwritten.push(name);
                    read_later |= later;
                } else {
                    shared |= later && bound.root == root;
                }
            }
        }
        let has_other_readers = shared || read_later;
        let mut cx = Cx { state: self, decl, origin, inputs, has_other_readers, shared, overwrites: None };
        let result = layer.lower(&mut cx);
        let (overwrites, inputs) = (cx.overwrites, cx.inputs);
        match result {
            Ok(value) => {
                if let Some(new) = overwrites {
                    for name in overwritten {
                        self.bind(name, Some(new));
                    }
                }
                if let (true, Some(&x)) = (layer.is_view(), inputs.first())
                    && value != x
                {
                    self.memory.insert(value, self.root(x));
                }
                if self.graph.producer(value).is_some() && !inputs.contains(&value) && overwrites.is_none() {
                    self.graph.rename(value, &decl.name);
                }
                Some(value)
            }
            Err(problem) => {
                self.found.push(*problem);
                None
            }
        }
    }
}

/// What a layer sees while it is lowered.
pub(crate) struct Cx<'s, 'a> {
    state: &'s mut Lowering<'a>,
    decl: &'s Decl,
    origin: Origin,
    inputs: Vec<ValueId>,
    has_other_readers: bool,
    shared: bool,
    overwrites: Option<ValueId>,
}

impl Cx<'_, '_> {
    /// An error about this layer.
    pub fn error(&self, message: impl Into<String>) -> Box<Diagnostic> {
        let mut found = at_line(self.state.label, self.decl.line, message);
        found.at.layer = self.decl.title();
        found
    }

    /// A warning about a tensor of this layer.
    pub fn warn(&mut self, key: &str, message: impl Into<String>) {
        let place = self.state.tensors.get(key).map_or(key, |e| e.place.as_str());
        let at = Location::file(&self.state.tensors.state.label).at(place).layer(self.decl.title());
        self.state.found.push(Diagnostic::warning(at, message));
    }

    /// What the layer reads.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The only tensor that the layer reads.
    pub fn input(&self) -> Outcome<ValueId> {
        match self.inputs.as_slice() {
            [only] => Ok(*only),
            several => Err(self.error(format!("the layer reads one tensor and is given {}", several.len()))),
        }
    }

    /// The shape of a value, per sample.
    pub fn dims(&self, value: ValueId) -> Vec<usize> {
        self.state.graph.ty(value).shape.to_vec()
    }

    /// The layout of a value.
    pub fn layout(&self, value: ValueId) -> Layout {
        self.state.graph.ty(value).layout
    }

    /// Whether a later layer, or an output, reads what this layer reads.
    pub fn has_other_readers(&self) -> bool {
        self.has_other_readers
    }

    /// Says that torch overwrites the memory of this layer's input with `value`, so that later readers see that.
    pub fn overwrite(&mut self, value: ValueId) -> Outcome<()> {
        if self.shared {
            let found =
                self.error("overwrites its input in place, whose memory a view that is read later shares");
            return Err(with_help(found, "clone the tensor first in the model, or take `inplace` away"));
        }
        self.overwrites = Some(value);
        Ok(())
    }

    /// Adds a node.
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Outcome<ValueId> {
        let name = format!("{}.v", self.decl.name);
        match self.state.graph.add_node(op, inputs, &name, &self.origin) {
            Ok(value) => {
                if self.state.graph.ty(value).shape.num_elements() > MAX_VALUE {
                    let ty = self.state.graph.ty(value);
                    return Err(self.error(format!("makes {ty}, more than {MAX_VALUE} elements")));
                }
                Ok(value)
            }
            Err(found) => Err(self.error(found.message)),
        }
    }

    /// The same elements under other axes.
    pub fn reshape(&mut self, x: ValueId, shape: &[usize], layout: Layout) -> Outcome<ValueId> {
        let ty = self.state.graph.ty(x);
        if ty.shape.dims() == shape && ty.layout == layout {
            return Ok(x);
        }
        self.node(unfloat_ir::ops::Reshape { shape: Shape::new(shape), layout }, &[x])
    }

    /// Another value of the same elements.
    pub fn same_elements(&mut self, x: ValueId) -> Outcome<ValueId> {
        let ty = self.state.graph.ty(x);
        let (shape, layout) = (ty.shape.clone(), ty.layout);
        self.node(unfloat_ir::ops::Reshape { shape, layout }, &[x])
    }

    /// The input as a tensor of channels and `spatial` axes.
    pub fn channels(&mut self, x: ValueId, spatial: usize) -> Outcome<ValueId> {
        let dims = self.dims(x);
        if dims.len() != spatial + 1 {
            let axes = ["channels", "channels and length", "channels, height and width"];
            let expected = axes.get(spatial).copied().unwrap_or("other axes");
            return Err(self.error(format!("expected {expected} per sample, found {}", show(&dims))));
        }
        self.reshape(x, &dims, Layout::channels_first(spatial))
    }

    /// The full key of one of the layer's tensors.
    pub fn key(&self, part: &str) -> String {
        full_key(&self.decl.key, part)
    }

    /// Whether the state dict has it.
    pub fn has(&self, part: &str) -> bool {
        self.state.tensors.get(&self.key(part)).is_some()
    }

    /// The number of axes of a tensor.
    pub fn rank_of(&self, part: &str) -> Option<usize> {
        self.state.tensors.get(&self.key(part)).map(|entry| entry.tensor.shape().rank())
    }

    /// The floats of a tensor whose shape must be `expected`, where known; with its shape.
    pub fn floats(&self, part: &str, expected: &[Option<usize>]) -> Outcome<(Vec<usize>, Vec<f32>)> {
        let key = self.key(part);
        let Some(entry) = self.state.tensors.get(&key) else {
            // Missing keys were all said before the first layer was lowered.
            return Err(self.error(format!("`{}` is missing", clip(&key))));
        };
        let tensor = &entry.tensor;
        let fail = |message: String| {
            let at =
                Location::file(&self.state.tensors.state.label).at(&entry.place).layer(self.decl.title());
            Box::new(Diagnostic::error(at, message))
        };
        let dims = tensor.shape().to_vec();
        let fits =
            dims.len() == expected.len() && dims.iter().zip(expected).all(|(&d, e)| e.is_none_or(|e| e == d));
        if !fits {
            let wanted: Vec<String> =
                expected.iter().map(|e| e.map_or("any".to_string(), |e| e.to_string())).collect();
            let text = format!("`{}`: expected [{}], found {}", clip(&key), wanted.join(", "), show(&dims));
            return Err(fail(text));
        }
        let values: Option<Vec<f32>> = match (&tensor.ty.elem, tensor.as_f32()) {
            (_, Some(values)) => Some(values.to_vec()),
            (ElemType::Int(_), None) => {
                (0..tensor.len()).map(|i| tensor.data.code(i).and_then(exact)).collect()
            }
            _ => None,
        };
        let Some(values) = values else {
            let text = format!(
                "`{}` is {}; expected floats, or integers that floats hold",
                clip(&key),
                entry.stored
            );
            return Err(fail(text));
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(fail(format!("`{}` holds {} (element {i})", clip(&key), values[i]))),
            None => Ok((dims, values)),
        }
    }

    /// A constant of this layer.
    pub fn constant(&mut self, part: &str, tensor: Tensor) -> ValueId {
        let name = self.key(part);
        let what = format!("{} {:?}", tensor.ty, tensor.ty.layout);
        // A layer that is used twice has its parameters once; the same key in another form is another constant.
        if let Some(&made) = self.state.constants.get(&(name.clone(), what.clone()))
            && self.state.graph.const_of(made).is_some_and(|t| **t == tensor)
        {
            return made;
        }
        let value = self.state.graph.add_const(&name, tensor);
        self.state.constants.insert((name, what), value);
        value
    }

    /// A constant of one number, of a shape that takes no bytes of any file.
    pub fn filled(&mut self, part: &str, shape: &[usize], layout: Layout, number: f32) -> Outcome<ValueId> {
        let n = Shape::from(shape).num_elements();
        self.state.implied = self.state.implied.saturating_add(n);
        if self.state.implied > MAX_IMPLIED {
            let text =
                format!("would make a constant {}; all that no file holds may be {MAX_IMPLIED}", show(shape));
            return Err(self.error(format!("{text} numbers")));
        }
        Ok(self.constant(part, Tensor::f32(shape.to_vec(), layout, vec![number; n])))
    }

    /// A constant vector from a tensor of the state dict.
    pub fn vector(&mut self, part: &str, len: usize) -> Outcome<ValueId> {
        let (_, values) = self.floats(part, &[Some(len)])?;
        Ok(self.constant(part, Tensor::f32([len], Layout::channels_last(0), values)))
    }
}

/// An integer that single precision holds.
fn exact(code: i64) -> Option<f32> {
    (code.unsigned_abs() <= 1 << 24).then_some(code as f32)
}

/// `prefix.part`; an empty prefix is the model itself, an empty part the tensor that the prefix names.
pub(crate) fn full_key(prefix: &str, part: &str) -> String {
    match (prefix, part) {
        ("", part) => part.to_string(),
        (prefix, "") => prefix.to_string(),
        (prefix, part) => format!("{prefix}.{part}"),
    }
}
