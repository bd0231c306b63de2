//! The integers of a graph: the *core* between its quantizers, and the boundary around it.
//!
//! **In:** a compact graph in which every float input is read by `quantize` nodes only, every float output is a
//! `dequantize` that no node reads, both with constant scales and zero points, and every other value is of an integer type.
//! **Out:** the core as a graph of its own, whose inputs and outputs are codes, and what stands between each of them and
//! the model's own. **Refuses,** all at once: every node that computes floats, or takes or makes what is no plain integer,
//! inside; scales that are no numbers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use unfloat_ir::boundary::Boundary;
use unfloat_ir::ops::{Op, Quantize};
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Node, OpDef, Tensor, ValueId};

/// What codes mean: `(code − zero) · scale`, the two broadcast to the port's shape.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Floats.
    pub scale: Arc<Tensor>,
    /// Floats or integers.
    pub zero: Arc<Tensor>,
}

/// An input of the core.
#[derive(Clone, Debug)]
pub struct CoreInput {
    /// Which of the model's inputs it comes from.
    pub model: usize,
    /// How its codes are made of floats; nothing where the model's input has an integer type already.
    pub quantize: Option<(Quantize, Scale)>,
}

/// A graph of integers, and its boundary.
#[derive(Clone, Debug)]
pub struct Core {
    /// The core. Its outputs are the model's, in order.
    pub graph: Graph,
    /// Where each of its inputs comes from, in the order of the model's inputs.
    pub inputs: Vec<CoreInput>,
    /// What the codes of each output mean; nothing where the model's output has an integer type.
    pub outputs: Vec<Option<Scale>>,
}

/// Whether a graph, whose quantized constants are decoded, is meant to be one of integers: it quantizes something, or has
/// no floats at all.
pub fn has_integers(graph: &Graph) -> bool {
    let quantizes = |n: &Node| matches!(n.op, Op::Quantize(_) | Op::Dequantize(_) | Op::Requantize(_));
    graph.live_nodes().any(|(_, n)| quantizes(n)) || graph.values().all(|(_, v)| !v.ty.elem.is_float())
}

/// Splits a compact graph.
pub fn split(graph: &Graph) -> Result<Core, Diagnostics> {
    let boundary = Boundary::of(graph);
    // A layer that computes on floats explains the quantizers around it, which are no finding of their own then.
    let (mut found, mut around) = (Diagnostics::new(), Diagnostics::new());
    for (_, node) in graph.live_nodes() {
        let quantizes = matches!(node.op, Op::Quantize(_) | Op::Dequantize(_)) && !boundary.has(graph, node);
        (if quantizes { &mut around } else { &mut found }).extend(fault(graph, &boundary, node));
    }
    if found.0.is_empty() {
        found = around;
    }
    for (i, output) in graph.outputs().iter().enumerate() {
        if graph.ty(output.value).elem.is_float() && graph.producer(output.value).is_none() {
            let name = &output.name;
            let text = format!("output {i}, `{name}`, is a float input or constant beside an integer graph");
            found.push(Diagnostic::error(Location::default(), text));
        }
    }
    found.into_result(())?;
    Ok(cut(graph)?)
}

/// The constant scale and zero point of a node.
fn scale(graph: &Graph, node: &Node) -> Option<Scale> {
    let constant = |i: usize| node.inputs.get(i).and_then(|&v| graph.const_of(v)).cloned();
    Some(Scale { scale: constant(1)?, zero: constant(2)? })
}

/// Why a node can be neither in the core nor at the boundary.
fn fault(graph: &Graph, boundary: &Boundary, node: &Node) -> Option<Diagnostic> {
    let name = &graph.value(node.output).name;
    let error =
        |text: String| Diagnostic::error(&node.origin, format!("`{name}` ({}): {text}", node.op.name()));
    if boundary.has(graph, node) {
        let numbers = scale(graph, node)?;
        let all = [&numbers.scale, &numbers.zero].map(|t| t.as_f32().unwrap_or_default());
        let finite = all.iter().all(|v| v.iter().all(|x| x.is_finite()));
        let operand = graph.ty(node.inputs[0]);
        let plain = operand.elem.is_float() || operand.elem.is_integer();
        return match (finite, plain) {
            (true, true) => None,
            (false, _) => Some(error("its scale or zero point is no finite number".to_string())),
            (_, false) => Some(error(format!("takes {operand}, which is no plain integer"))),
        };
    }
    let whole = |v: ValueId| graph.ty(v).elem.is_integer();
    let help = match node.op {
        Op::Quantize(_) => {
            "in the integer graph only inputs are quantized, by a constant scale and zero point"
        }
        Op::Dequantize(_) => {
            "only outputs are dequantized, by a constant scale and zero point, for no other node"
        }
        _ => {
            "a recipe keeps it in floats, or there is no integer form of it: `unfloat audit` says what would give it one; \
             --emit uir, qcdq and qonnx take models that are partly floats"
        }
    };
    if !whole(node.output) {
        return Some(error(format!("computes {} between integers", graph.ty(node.output))).help(help));
    }
    let operand = node.inputs.iter().find(|&&v| !whole(v))?;
    let (ty, from) = (graph.ty(*operand), &graph.value(*operand).name);
    Some(error(format!("takes `{from}`, {ty}, between integers")).help(help))
}

/// Cuts the boundary off a graph that has no faults.
fn cut(graph: &Graph) -> Result<Core, Diagnostic> {
    let mut core = Graph::new(graph.name.clone());
    core.stage = graph.stage;
    let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut inputs: Vec<CoreInput> = Vec::new();
    for (model, &input) in graph.inputs().iter().enumerate() {
        let ty = graph.ty(input);
        if !ty.elem.is_float() {
            map.insert(input, core.add_input(&graph.value(input).name, ty.clone()));
            inputs.push(CoreInput { model, quantize: None });
            continue;
        }
        // Equal quantizers of one input share their codes.
        let mut seen: Vec<(&Quantize, Scale, ValueId)> = Vec::new();
        for (_, node) in graph.live_nodes().filter(|(_, n)| n.inputs.first() == Some(&input)) {
            let (Op::Quantize(op), Some(numbers)) = (&node.op, scale(graph, node)) else { continue };
            let same = |s: &Scale| s.scale == numbers.scale && s.zero == numbers.zero;
            if let Some((_, _, value)) = seen.iter().find(|(o, s, _)| *o == op && same(s)) {
                map.insert(node.output, *value);
                continue;
            }
            let value = core.add_input(&graph.value(node.output).name, graph.ty(node.output).clone());
            map.insert(node.output, value);
            inputs.push(CoreInput { model, quantize: Some((op.clone(), numbers.clone())) });
            seen.push((op, numbers, value));
        }
    }
    let fetch = |core: &mut Graph, map: &mut BTreeMap<ValueId, ValueId>, v: ValueId| match map.get(&v) {
        Some(&there) => Some(there),
        None => {
            let value = core.add_const(&graph.value(v).name, graph.const_of(v)?.clone());
            map.insert(v, value);
            Some(value)
        }
    };
    for (_, node) in graph.live_nodes().filter(|(_, n)| graph.ty(n.output).elem.is_integer()) {
        if map.contains_key(&node.output) {
            continue;
        }
        let operands: Vec<ValueId> =
            node.inputs.iter().filter_map(|&v| fetch(&mut core, &mut map, v)).collect();
        let name = &graph.value(node.output).name;
        let value = core.add_node(node.op.clone(), &operands, name, &node.origin)?;
        map.insert(node.output, value);
    }
    let mut outputs = Vec::new();
    for output in graph.outputs() {
        let shown = graph.producer(output.value).filter(|(_, n)| matches!(n.op, Op::Dequantize(_)));
        let codes = shown.map_or(output.value, |(_, n)| n.inputs[0]);
        if let Some(value) = fetch(&mut core, &mut map, codes) {
            core.add_output(&output.name, value);
        }
        outputs.push(shown.and_then(|(_, n)| scale(graph, n)));
    }
    Ok(Core { graph: core.compact(), inputs, outputs })
}

/// What the codes of a port mean, for the manifest: `(code − zero) · scale`, the two of the shape `shape` and broadcast
/// to the port's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Codes {
    /// The integer type of the codes.
    #[serde(rename = "type")]
    pub elem: String,
    /// The extents of the scale.
    pub shape: Vec<usize>,
    /// The scale.
    pub scale: Vec<f32>,
    /// The extents of the zero point.
    pub zero_shape: Vec<usize>,
    /// The zero point, which need not be whole.
    pub zero: Vec<f64>,
    /// How numbers between codes are rounded; nothing at outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<String>,
}

impl Codes {
    fn new(elem: String, numbers: &Scale, rounding: Option<String>) -> Self {
        let zero = |i: usize| match numbers.zero.as_f32() {
            Some(v) => f64::from(v[i]),
            None => numbers.zero.data.code(i).unwrap_or(0) as f64,
        };
        Self {
            elem,
            shape: numbers.scale.shape().to_vec(),
            scale: numbers.scale.as_f32().unwrap_or_default().to_vec(),
            zero_shape: numbers.zero.shape().to_vec(),
            zero: (0..numbers.zero.len()).map(zero).collect(),
            rounding,
        }
    }
}

impl Core {
    /// The codes of each of the model's `inputs` inputs: one set for each quantizer that reads it.
    pub fn input_codes(&self, inputs: usize) -> Vec<Vec<Codes>> {
        let mut all = vec![Vec::new(); inputs];
        for (input, &value) in self.inputs.iter().zip(self.graph.inputs()) {
            if let Some((op, numbers)) = &input.quantize {
                let elem = self.graph.ty(value).elem.to_string();
                all[input.model].push(Codes::new(elem, numbers, Some(op.rounding.to_string())));
            }
        }
        all
    }

    /// The codes of each output.
    pub fn output_codes(&self) -> Vec<Option<Codes>> {
        let elem = |i: usize| self.graph.ty(self.graph.outputs()[i].value).elem.to_string();
        let codes = |(i, numbers): (usize, &Option<Scale>)| {
            numbers.as_ref().map(|numbers| Codes::new(elem(i), numbers, None))
        };
        self.outputs.iter().enumerate().map(codes).collect()
    }
}
