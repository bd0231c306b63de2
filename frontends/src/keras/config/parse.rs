//! JSON to [`Model`].
//!
//! In: the architecture and the generation that wrote it. Out: a model whose connections are indexes. All findings
//! of a run are collected; a model is returned only when there was none.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use unfloat_ir::Diagnostic;

use super::inbound::{self, RawCall, RawRef};
use super::keras1::{class_name, modernise};
use super::order::sort_calls;
use super::{Call, Layer, MAX_ENDS, MAX_LAYERS, MAX_NESTING, Model, TensorRef};
use crate::keras::problem::{Annotate, clip, error};
use crate::keras::version::Generation;

/// Operators of Keras 3 that mean the same as the layer of that name.
const OPERATORS_LIKE_LAYERS: &[&str] = &["Add", "Subtract", "Multiply", "Maximum", "Minimum"];

/// Parses an architecture; `place` is where its text stood in the file.
pub(crate) fn parse(
    file: &str,
    place: &str,
    json: Value,
    generation: Generation,
) -> Result<Model, Vec<Diagnostic>> {
    let mut parser = Parser { file, generation, problems: Vec::new() };
    let prefix = if place.is_empty() { "config".to_owned() } else { format!("{place}: config") };
    let model = parser.model(json, &prefix, 0);
    match model {
        Some(model) if parser.problems.is_empty() => Ok(model),
        _ => Err(parser.problems),
    }
}

/// True for classes that hold layers of their own.
fn is_model(class: &str) -> bool {
    class == "Sequential" || class == "Functional"
}

struct Parser<'a> {
    file: &'a str,
    generation: Generation,
    problems: Vec<Diagnostic>,
}

/// A layer whose connections are still names.
struct RawLayer {
    layer: Layer,
    calls: Vec<RawCall>,
}

impl Parser<'_> {
    fn report(&mut self, place: &str, message: impl Into<String>) {
        self.problems.push(*error(self.file, place, message));
    }

    fn model(&mut self, json: Value, place: &str, depth: usize) -> Option<Model> {
        if depth > MAX_NESTING {
            self.report(place, format!("models are nested more than {MAX_NESTING} deep"));
            return None;
        }
        let Value::Object(mut map) = json else {
            self.report(place, "expected an object with class_name and config");
            return None;
        };
        let written = map.get("class_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let class = class_name(&written);
        if !is_model(class) {
            let message = format!("the model's class '{}' is not Sequential or Functional", clip(&written));
            let help = "only models built from layers can be converted; a subclass of Model keeps its computation in Python code";
            self.problems.push(*error(self.file, place, message).with_help(help));
            return None;
        }
        let outer_name = map.remove("name");
        let build = map.remove("build_config").and_then(|mut b| b.get_mut("input_shape").map(Value::take));
        let config = map.remove("config").unwrap_or_default();
        if class == "Sequential" {
            self.sequential(config, outer_name, build, place, depth)
        } else {
            self.functional(config, outer_name, place, depth)
        }
    }

    /// Name of a model or layer: in the config, or beside it.
    fn name(config: &Map<String, Value>, outer: Option<&Value>, fallback: &str) -> String {
        let text = outer.and_then(Value::as_str).or_else(|| config.get("name").and_then(Value::as_str));
        text.unwrap_or(fallback).to_owned()
    }

    fn layer_list(&mut self, value: Option<Value>, place: &str, depth: usize) -> Option<Vec<RawLayer>> {
        let Some(Value::Array(items)) = value else {
            self.report(place, "expected a list of layers");
            return None;
        };
        if items.len() > MAX_LAYERS {
            self.report(place, format!("{} layers are more than the {MAX_LAYERS} supported", items.len()));
            return None;
        }
        let before = self.problems.len();
        let mut layers = Vec::with_capacity(items.len());
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("{place}[{index}]");
            let Some(raw) = self.layer(item, &at, index, depth) else {
                continue;
            };
            if let Some(other) = seen.insert(raw.layer.name.clone(), index) {
                let name = clip(&raw.layer.name);
                self.report(&at, format!("two layers are called '{name}': entries {other} and {index}"));
            }
            layers.push(raw);
        }
        (self.problems.len() == before).then_some(layers)
    }

    fn layer(&mut self, json: Value, place: &str, index: usize, depth: usize) -> Option<RawLayer> {
        let Value::Object(mut map) = json else {
            self.report(place, "expected a layer: an object with class_name and config");
            return None;
        };
        let Some(written) = map.get("class_name").and_then(Value::as_str).map(str::to_owned) else {
            self.report(place, "the layer has no class_name");
            return None;
        };
        let calls = self.calls(map.remove("inbound_nodes"), place);
        let mut class = class_name(&written).to_owned();
        let module = map.get("module").and_then(Value::as_str).unwrap_or_default();
        let operator = module.starts_with("keras.src.ops") || module.starts_with("keras.ops");
        if operator && !OPERATORS_LIKE_LAYERS.contains(&class.as_str()) {
            class = format!("ops.{class}");
        }
        if module.starts_with("hgq.") || written.starts_with("hgq>") {
            // HGQ2's layers are called as QKeras' are.
            class = format!("hgq>{}", class.trim_start_matches("hgq>"));
        }
        let fallback = format!("{}_{}", class.to_lowercase(), index + 1);
        let (name, config, body) = if is_model(&class) {
            let name = map.get("name").cloned();
            let model = self.model(Value::Object(map), place, depth + 1)?;
            let name =
                name.as_ref().and_then(Value::as_str).map_or_else(|| model.name.clone(), str::to_owned);
            (name, Map::new(), Some(Box::new(model)))
        } else {
            let config = map.remove("config").unwrap_or_default();
            let Value::Object(mut config) = config else {
                self.report(place, "the layer's config is not an object");
                return None;
            };
            let name = Self::name(&config, map.get("name"), &fallback);
            if self.generation == Generation::Keras1 {
                class = modernise(&class, &written, &mut config);
            }
            self.modernise_inner(&mut config);
            (name, config, None)
        };
        let layer = Layer {
            name,
            class,
            written_class: written,
            place: place.to_owned(),
            config,
            body,
            calls: Vec::new(),
            implied: false,
            operator,
        };
        Some(RawLayer { layer, calls: calls? })
    }

    /// Wrappers keep their layer in `config.layer`.
    fn modernise_inner(&self, config: &mut Map<String, Value>) {
        let Some(Value::Object(inner)) = config.get_mut("layer") else {
            return;
        };
        let written = inner.get("class_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut class = class_name(&written).to_owned();
        if self.generation == Generation::Keras1
            && let Some(Value::Object(config)) = inner.get_mut("config")
        {
            class = modernise(&class, &written, config);
        }
        inner.insert("class_name".to_owned(), Value::from(class));
    }

    fn calls(&mut self, nodes: Option<Value>, place: &str) -> Option<Vec<RawCall>> {
        let list = match nodes {
            None => return Some(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.report(place, "inbound_nodes is not a list");
                return None;
            }
        };
        let mut calls = Vec::with_capacity(list.len());
        for (index, entry) in list.iter().enumerate() {
            match inbound::call(entry) {
                Ok(call) => calls.push(call),
                Err(message) => {
                    self.report(&format!("{place}.inbound_nodes[{index}]"), message);
                    return None;
                }
            }
        }
        Some(calls)
    }

    fn sequential(
        &mut self,
        config: Value,
        outer_name: Option<Value>,
        build: Option<Value>,
        place: &str,
        depth: usize,
    ) -> Option<Model> {
        let trainable = config.get("trainable").and_then(Value::as_bool).unwrap_or(true);
        let (name, list, shape) = match config {
            Value::Array(_) => ("sequential".to_owned(), Some(config), build),
            Value::Object(mut map) => {
                let shape = map.remove("build_input_shape").filter(|shape| !shape.is_null()).or(build);
                let name = Self::name(&map, outer_name.as_ref(), "sequential");
                (name, map.remove("layers"), shape)
            }
            _ => (String::new(), None, None),
        };
        let layers_at = format!("{place}.layers");
        let raw = self.layer_list(list, &layers_at, depth)?;
        let mut layers: Vec<Layer> = raw.into_iter().map(|raw| raw.layer).collect();
        if !layers.first().is_some_and(Layer::is_input) {
            layers.insert(0, implied_input(&layers, shape, place));
        }
        if let Some(stray) = layers.iter().skip(1).find(|layer| layer.is_input()) {
            let at = stray.place.clone();
            self.report(&at, "an InputLayer can only be the first layer of a Sequential model");
            return None;
        }
        for (index, layer) in layers.iter_mut().enumerate() {
            let args = match index.checked_sub(1) {
                Some(previous) => vec![TensorRef { layer: previous, call: 0, tensor: 0 }],
                None => Vec::new(),
            };
            layer.calls = vec![Call { args, extra: Vec::new() }];
        }
        let last = layers.len() - 1;
        let outputs = vec![TensorRef { layer: last, call: 0, tensor: 0 }];
        let order = (0..=last).map(|index| (index, 0)).collect();
        Some(Model { name, sequential: true, trainable, layers, inputs: vec![0], outputs, order })
    }

    fn functional(
        &mut self,
        config: Value,
        outer_name: Option<Value>,
        place: &str,
        depth: usize,
    ) -> Option<Model> {
        let Value::Object(mut map) = config else {
            self.report(place, "the model's config is not an object with layers");
            return None;
        };
        let name = Self::name(&map, outer_name.as_ref(), "model");
        let trainable = map.get("trainable").and_then(Value::as_bool).unwrap_or(true);
        let raw = self.layer_list(map.remove("layers"), &format!("{place}.layers"), depth)?;
        let ends =
            |parser: &mut Self, key: &str| match inbound::endpoints(map.get(key).unwrap_or(&Value::Null)) {
                Ok(list) if list.len() > MAX_ENDS => {
                    let message = format!("{} entries are more than the {MAX_ENDS} supported", list.len());
                    parser.report(&format!("{place}.{key}"), message);
                    None
                }
                Ok(list) if !list.is_empty() => Some(list),
                Ok(_) => {
                    parser.report(&format!("{place}.{key}"), "the list is empty");
                    None
                }
                Err(message) => {
                    parser.report(&format!("{place}.{key}"), message);
                    None
                }
            };
        let (inputs, outputs) = (ends(self, "input_layers"), ends(self, "output_layers"));
        let (inputs, outputs) = (inputs?, outputs?);
        let linked = self.link(raw, &inputs, &outputs, place)?;
        let Linked { layers, inputs, outputs } = linked;
        match sort_calls(&layers) {
            Ok(order) => Some(Model { name, sequential: false, trainable, layers, inputs, outputs, order }),
            Err(stuck) => {
                let names: Vec<String> = stuck.iter().take(8).map(|name| clip(name)).collect();
                self.report(place, format!("the connections form a cycle through {}", names.join(", ")));
                None
            }
        }
    }

    /// Turns names into indexes and checks that everything referred to exists.
    fn link(
        &mut self,
        raw: Vec<RawLayer>,
        inputs: &[RawRef],
        outputs: &[RawRef],
        place: &str,
    ) -> Option<Linked> {
        let before = self.problems.len();
        let table = Table::new(&raw, outputs, self.generation);
        let mut layers = Vec::with_capacity(raw.len());
        for RawLayer { mut layer, calls } in raw {
            let input = layer.is_input();
            if input != calls.is_empty() {
                let what = if input {
                    "an input layer has a connection"
                } else {
                    "the layer is connected to nothing"
                };
                let problem = error(self.file, layer.place.clone(), what).in_layer(layer.title());
                self.problems.push(*problem);
                continue;
            }
            for (index, call) in calls.iter().enumerate() {
                let at = format!("{}.inbound_nodes[{index}]", layer.place);
                let args = call.args.iter().filter_map(|arg| self.resolve(&table, arg, false, &at)).collect();
                layer.calls.push(Call { args, extra: call.extra.clone() });
            }
            if input {
                layer.calls.push(Call::default());
            }
            layers.push(layer);
        }
        let resolve_all = |parser: &mut Self, list: &[RawRef], key: &str| -> Vec<TensorRef> {
            let at = format!("{place}.{key}");
            list.iter().filter_map(|end| parser.resolve(&table, end, true, &at)).collect()
        };
        let input_refs = resolve_all(self, inputs, "input_layers");
        let outputs = resolve_all(self, outputs, "output_layers");
        if self.problems.len() != before {
            return None;
        }
        let inputs: Vec<usize> = input_refs.iter().map(|end| end.layer).collect();
        self.check_inputs(&layers, &inputs, place);
        (self.problems.len() == before).then_some(Linked { layers, inputs, outputs })
    }

    /// Inputs must be distinct input layers, and every input layer must be an input.
    fn check_inputs(&mut self, layers: &[Layer], inputs: &[usize], place: &str) {
        for (position, index) in inputs.iter().enumerate() {
            let Some(layer) = layers.get(*index) else {
                continue;
            };
            let name = clip(&layer.name);
            if !layer.is_input() {
                self.report(&format!("{place}.input_layers"), format!("'{name}' is not an InputLayer"));
            }
            if inputs.iter().take(position).any(|other| other == index) {
                self.report(&format!("{place}.input_layers"), format!("'{name}' is listed twice"));
            }
        }
        for (index, layer) in layers.iter().enumerate() {
            if layer.is_input() && !inputs.contains(&index) {
                let place = layer.place.clone();
                self.report(
                    &place,
                    format!("input layer '{}' is not among the model's inputs", clip(&layer.name)),
                );
            }
        }
    }

    fn resolve(&mut self, table: &Table, raw: &RawRef, at_end: bool, place: &str) -> Option<TensorRef> {
        let name = clip(&raw.layer);
        let Some(entry) = table.by_name.get(&raw.layer) else {
            self.report(place, format!("there is no layer called '{name}'"));
            return None;
        };
        let first = if at_end { entry.first_at_end } else { entry.first_inside };
        let call = raw.node.checked_sub(first).filter(|call| *call < entry.calls);
        let Some(call) = call else {
            let count = entry.calls;
            self.report(
                place,
                format!("call {} of '{name}' does not exist: it is called {count} times", raw.node),
            );
            return None;
        };
        if raw.tensor >= entry.outputs {
            let count = entry.outputs;
            self.report(place, format!("output {} of '{name}' does not exist: it has {count}", raw.tensor));
            return None;
        }
        Some(TensorRef { layer: entry.index, call, tensor: raw.tensor })
    }
}

struct Linked {
    layers: Vec<Layer>,
    inputs: Vec<usize>,
    outputs: Vec<TensorRef>,
}

/// What a connection may refer to.
struct Entry {
    index: usize,
    calls: usize,
    /// Index that a connection between layers gives to the first call.
    first_inside: usize,
    /// Index that `output_layers` gives to the first call.
    first_at_end: usize,
    outputs: usize,
}

struct Table {
    by_name: BTreeMap<String, Entry>,
}

/// Smallest and largest call index by which each layer is referred to.
fn ranges<'r>(references: impl Iterator<Item = &'r RawRef>) -> BTreeMap<&'r str, (usize, usize)> {
    let mut found: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for reference in references {
        let entry = found.entry(&reference.layer).or_insert((reference.node, reference.node));
        *entry = (entry.0.min(reference.node), entry.1.max(reference.node));
    }
    found
}

impl Table {
    fn new(raw: &[RawLayer], outputs: &[RawRef], generation: Generation) -> Table {
        let inside = || raw.iter().flat_map(|raw| &raw.calls).flat_map(|call| &call.args);
        let keras3 = generation == Generation::Keras3;
        let all = ranges(inside().chain(outputs));
        let ends = ranges(outputs.iter());
        let mut by_name = BTreeMap::new();
        for (index, RawLayer { layer, calls }) in raw.iter().enumerate() {
            let calls = if layer.is_input() { 1 } else { calls.len() };
            // Before Keras 3, a model that knows its own inputs has made its node 0 by itself, so its calls count
            // from 1; a Sequential without an InputLayer has not, and which of the two it was shows in the
            // references. Keras 3 counts from 0 inside, but its list of outputs still counts a Functional from 1.
            let from_one = |range: &BTreeMap<&str, (usize, usize)>| {
                range.get(layer.name.as_str()).is_some_and(|(least, most)| *least >= 1 && *most <= calls)
            };
            let body = layer.body.as_deref();
            let (first_inside, first_at_end) = match (body, keras3) {
                (None, _) => (false, false),
                (Some(_), false) => (from_one(&all), from_one(&all)),
                (Some(body), true) => (false, !body.sequential && from_one(&ends)),
            };
            let entry = Entry {
                index,
                calls,
                first_inside: usize::from(first_inside),
                first_at_end: usize::from(first_at_end),
                outputs: layer.output_count(),
            };
            by_name.entry(layer.name.clone()).or_insert(entry);
        }
        Table { by_name }
    }
}

/// The input layer that a Sequential implies: its shape stands in the first layer, in the first layer's own first
/// layer, or beside the list.
fn implied_input(layers: &[Layer], build: Option<Value>, place: &str) -> Layer {
    let shape = layers.first().and_then(declared_shape).or(build);
    let mut config = Map::new();
    if let Some(shape) = shape {
        config.insert("batch_shape".to_owned(), shape);
    }
    let mut name = layers.first().map_or_else(|| "input".to_owned(), |layer| format!("{}_input", layer.name));
    while layers.iter().any(|layer| layer.name == name) {
        name.push('_');
    }
    Layer {
        name,
        class: "InputLayer".to_owned(),
        written_class: "InputLayer".to_owned(),
        place: place.to_owned(),
        config,
        body: None,
        calls: Vec::new(),
        implied: true,
        operator: false,
    }
}

fn declared_shape(layer: &Layer) -> Option<Value> {
    if let Some(body) = &layer.body {
        return body.inputs.first().and_then(|index| body.layers.get(*index)).and_then(declared_shape);
    }
    shape_in(&layer.config)
}

fn shape_in(config: &Map<String, Value>) -> Option<Value> {
    let direct = ["batch_input_shape", "batch_shape"].iter().find_map(|key| config.get(*key));
    if let Some(shape) = direct.filter(|shape| shape.is_array()) {
        return Some(shape.clone());
    }
    if let Some(Value::Array(dims)) = config.get("input_shape") {
        return Some(std::iter::once(Value::Null).chain(dims.iter().cloned()).collect());
    }
    let inner = config.get("layer").and_then(|layer| layer.get("config")).and_then(Value::as_object);
    inner.and_then(shape_in)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
