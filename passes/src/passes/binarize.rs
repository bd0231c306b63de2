//! Makes explicit quantizers of signs that feed layers of quantized weights.
//!
//! In: a folded graph in which a float `sign` stands in front of convolutions, dense layers or matrix products whose weight
//! is a dequantized constant, or a float one with no other numbers than −s, 0 and s in each output channel, as torch and
//! ONNX write a binary network. Out: that sign is a `threshold` to `ternary` (its value at 0 is 0) with a `dequantize` of
//! scale 1 behind it, which `integerize` understands; such float weights are codes with a `dequantize`, in a network with
//! such signs also those of other layers; and constants of type `ternary` that have no 0 are `bipolar`. Numbers stay what
//! they are, but a NaN, of which a code cannot tell, is −1, and a sign of −0 is 0.
//!
//! Left alone: signs of the graph's own inputs, which are not results of layers; signs that no such layer reads, or one with
//! other weights as well, since a network that computes in floats gains nothing by codes; signs that the graph shows;
//! constants that anything but a `dequantize` reads.

use super::signed_weights::SignedWeight;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Dequantize, Threshold, Unary};
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, Layout, Node, NodeId, Op, Patch, Stage, Tensor, TensorType,
    ValueId,
};

/// The pass `binarize`.
pub struct Binarize;

static INFO: PassInfo = PassInfo {
    name: "binarize",
    summary: "make explicit quantizers of the signs in front of layers with quantized weights",
    details: "A float sign whose readers are convolutions, dense layers and matrix products with dequantized constants, or \
              constants of -s, 0 and s in each channel, becomes thresholds to ternary codes and their dequantization, so \
              that integerize takes the layers; such constants become codes. Ternary constants without a 0 become bipolar. \
              Signs of inputs, and signs that layers of floats read, stay.",
    options: &[],
    from: Stage::Folded,
    to: Stage::Folded,
    claim: Claim::Within { abs: 0.0, rel: 0.0 },
};

/// The least float above 0: what is at least that is positive.
pub(super) const LEAST: f32 = f32::from_bits(1);

impl Pass for Binarize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let users = graph.users();
        let mut patch = Patch::new(graph);
        let mut count = 0;
        let is_sign = |node: &Node| is_sign(graph, node) && feeds_layers(graph, &users, node.output);
        for (_, node) in graph.live_nodes().filter(|(_, n)| is_sign(n)) {
            let signs = quantized(graph, &mut patch, node)?;
            patch.replace(node.output, signs)?;
            count += 1;
        }
        let signs = count > 0;
        for (id, _) in graph.values() {
            if let Some(tensor) = without_zeros(graph, &users, id) {
                let constant = patch.constant(&graph.value(id).name, tensor);
                patch.replace_retyped(id, constant);
                count += 1;
            }
        }
        let edit = patch.finish();
        if !edit.is_empty() {
            graph.apply(edit);
        }
        // A network without such signs computes in floats, whatever its weights are.
        let weights = if signs { weights(graph)? } else { 0 };
        Ok(Change::of(count + weights))
    }
}

/// Makes codes of the float weights that are signs with a scale; returns how many.
fn weights(graph: &mut Graph) -> Result<usize, Diagnostic> {
    let users = graph.users();
    let mut patch = Patch::new(graph);
    for (_, node) in graph.live_nodes() {
        let Some(weight) = SignedWeight::of(graph, node) else { continue };
        let value = node.inputs[1];
        let as_weight = |&id: &NodeId| SignedWeight::of(graph, graph.node(id)).is_some();
        if users[value.index()].iter().all(as_weight) && !graph.is_output(value) {
            let weight = weight.dequantized(graph, &mut patch, node)?;
            patch.replace(value, weight)?;
        }
    }
    let edit = patch.finish();
    let count = edit.len();
    if count > 0 {
        graph.apply(edit);
    }
    Ok(count)
}

/// Whether a node is the sign of floats that are computed.
fn is_sign(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Unary(Unary::Sign))
        && graph.ty(node.output).elem.is_float()
        && graph.ty(node.output).rank() > 0
        && graph.producer(node.inputs[0]).is_some()
}

/// Whether a layer with quantized weights reads a value, through moves of whole elements, and no layer with others does.
fn feeds_layers(graph: &Graph, users: &[Vec<NodeId>], value: ValueId) -> bool {
    let (mut open, mut layers) = (vec![value], 0);
    while let Some(value) = open.pop() {
        if graph.is_output(value) || users[value.index()].is_empty() {
            return false;
        }
        for node in users[value.index()].iter().map(|&id| graph.node(id)) {
            match &node.op {
                Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => {
                    let weight = node.inputs[1];
                    if weight == value
                        || !(is_quantized(graph, weight) || SignedWeight::of(graph, node).is_some())
                    {
                        return false;
                    }
                    layers += 1;
                }
                Op::MaxPool(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Pad(_) => {
                    open.push(node.output);
                }
                _ => {}
            }
        }
    }
    layers > 0
}

/// Whether a value is the dequantization of constants.
pub(super) fn is_quantized(graph: &Graph, value: ValueId) -> bool {
    graph.producer(value).is_some_and(|(_, node)| {
        matches!(node.op, Op::Dequantize(_)) && node.inputs.iter().all(|&v| graph.const_of(v).is_some())
    })
}

/// The sign as thresholds and what they stand for: one at 0, one above it.
fn quantized(graph: &Graph, patch: &mut Patch, node: &Node) -> Result<ValueId, Diagnostic> {
    let name = &graph.value(node.output).name;
    let mut constant = |what: &str, shape: &[usize], values: Vec<f32>| {
        let tensor = Tensor::f32(shape.to_vec(), Layout::anonymous(shape.len()), values);
        patch.constant(&format!("{name}.{what}"), tensor)
    };
    let levels = constant("levels", &[1, 2], vec![0.0, LEAST]);
    let (scale, zero) = (constant("scale", &[], vec![1.0]), constant("zero", &[], vec![0.0]));
    let axis = graph.ty(node.output).rank() - 1;
    let threshold = Threshold { axis, to: ElemType::Ternary, scale: 1, bias: -1 };
    let codes = patch.node(threshold, &[node.inputs[0], levels], &format!("{name}.codes"), &node.origin)?;
    patch.node(Dequantize, &[codes, scale, zero], name, &node.origin)
}

/// A ternary constant as a bipolar one, where none of its elements is 0 and the type matters to no reader.
fn without_zeros(graph: &Graph, users: &[Vec<NodeId>], id: ValueId) -> Option<Tensor> {
    let tensor = graph.const_of(id).filter(|t| t.ty.elem == ElemType::Ternary && !graph.is_output(id))?;
    let is_codes = |&user: &NodeId| {
        let node = graph.node(user);
        matches!(node.op, Op::Dequantize(_)) && node.inputs[0] == id && !node.inputs[1..].contains(&id)
    };
    if users[id.index()].is_empty() || !users[id.index()].iter().all(is_codes) {
        return None;
    }
    let codes: Vec<i64> = (0..tensor.len()).map(|i| tensor.data.code(i)).collect::<Option<_>>()?;
    let ty: TensorType = tensor.ty.with_elem(ElemType::Bipolar);
    (!codes.contains(&0)).then(|| Tensor::codes(ty, codes))
}
