//! Takes 0 for +1 in signs, by request (`--sign-zero plus`).
//!
//! In: the graph behind `binarize`, where signs of floats are thresholds to `ternary` with a code of 0 at 0, and weights of
//! binary layers may hold zeros. Out: those thresholds are `[x ≥ 0]` to `bipolar`, and the weights of the layers that read
//! them have +1 for 0, so that all of it is one bit. That is another function wherever a number is exactly 0: what changes is
//! counted on samples. A NaN stays −1.
//!
//! Left alone: thresholds of the source, weights of layers that read anything but such signs.

use super::binarize::{LEAST, is_quantized};
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::borrow::Cow;
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Dequantize, Threshold};
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, Layout, Location, Node, NodeId, Op, Patch, Stage, Tensor,
    ValueId,
};

/// The pass `sign-zero`.
pub struct SignZero;

static INFO: PassInfo = PassInfo {
    name: "sign-zero",
    summary: "take 0 for +1 in the signs of binary networks, and in the weights that meet them",
    details: "A sign that gives 0 at 0, as torch's does, has three values, and its layers take more than one bit. With this \
              pass the sign of 0 is +1, and so is the weight 0 of a layer that reads signs. It runs by request alone \
              (--sign-zero plus), and what it changes is counted on samples.",
    options: &[],
    from: Stage::Folded,
    to: Stage::Folded,
    claim: Claim::Lossy { metric: Cow::Borrowed("signs of 0 that became +1, on samples") },
};

impl Pass for SignZero {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Change, Diagnostics> {
        let users = graph.users();
        let mut patch = Patch::new(graph);
        let mut layers = BTreeMap::new();
        let mut count = 0;
        for (_, node) in graph.live_nodes().filter(|(_, n)| is_sign(graph, &users, n)) {
            let name = &graph.value(node.output).name;
            let level = Tensor::f32([1, 1], Layout::anonymous(2), vec![0.0]);
            let level = patch.constant(&format!("{name}.level"), level);
            let Op::Threshold(threshold) = &node.op else { continue };
            let op = Threshold { to: ElemType::Bipolar, scale: 2, bias: -1, ..threshold.clone() };
            let signs = patch.node(op, &[node.inputs[0], level], name, &node.origin)?;
            patch.replace_retyped(node.output, signs);
            readers(graph, &users, node.output, &mut layers);
            count += 1;
        }
        for (id, signs) in layers {
            let node = graph.node(id);
            if signs && let Some((weight, zeros)) = plus(graph, &mut patch, node)? {
                let inputs = [&[node.inputs[0], weight], &node.inputs[2..]].concat();
                let name = &graph.value(node.output).name;
                let layer = patch.node(node.op.clone(), &inputs, name, &node.origin)?;
                patch.replace(node.output, layer)?;
                let text = format!("--sign-zero plus: {zeros} weights that are 0 are +1 now");
                cx.warnings.push(Diagnostic::warning(Location::from(&node.origin), text));
                count += 1;
            }
        }
        let edit = patch.finish();
        if !edit.is_empty() {
            graph.apply(edit);
        }
        Ok(Change::of(count))
    }
}

/// Whether a node is a sign as `binarize` writes it, and its codes are read as numbers.
fn is_sign(graph: &Graph, users: &[Vec<NodeId>], node: &Node) -> bool {
    let Op::Threshold(t) = &node.op else { return false };
    let levels = graph.const_of(node.inputs[1]).and_then(|t| t.as_f32());
    let as_numbers = |&user: &NodeId| {
        let reader = graph.node(user);
        matches!(reader.op, Op::Dequantize(_)) && !reader.inputs[1..].contains(&node.output)
    };
    (t.scale, t.bias) == (1, -1)
        && t.to == ElemType::Ternary
        && levels == Some(&[0.0, LEAST][..])
        && !graph.is_output(node.output)
        && users[node.output.index()].iter().all(as_numbers)
}

/// The layers that read a value, through moves; each with whether nothing else speaks against it.
fn readers(graph: &Graph, users: &[Vec<NodeId>], value: ValueId, layers: &mut BTreeMap<NodeId, bool>) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        for &id in &users[value.index()] {
            let node = graph.node(id);
            match &node.op {
                Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => {
                    let signs = node.inputs[0] == value && is_quantized(graph, node.inputs[1]);
                    layers.entry(id).and_modify(|s| *s &= signs).or_insert(signs);
                }
                Op::Dequantize(_) | Op::MaxPool(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => {
                    open.push(node.output);
                }
                _ => {}
            }
        }
    }
}

/// The ternary weight of a layer with +1 for 0, and for how many; nothing where it has no 0 or is no such weight.
fn plus(graph: &Graph, patch: &mut Patch, node: &Node) -> Result<Option<(ValueId, usize)>, Diagnostic> {
    let Some((_, dequantized)) = graph.producer(node.inputs[1]) else { return Ok(None) };
    let [q, scale, zero] = dequantized.inputs[..] else { return Ok(None) };
    let ternary = graph.const_of(q).filter(|t| t.ty.elem == ElemType::Ternary);
    let centred = graph.const_of(zero).and_then(|t| t.as_f32()).is_some_and(|z| z.iter().all(|z| *z == 0.0));
    let Some(tensor) = ternary.filter(|_| centred) else { return Ok(None) };
    let codes: Vec<i64> = (0..tensor.len()).filter_map(|i| tensor.data.code(i)).collect();
    let zeros = codes.iter().filter(|&&c| c == 0).count();
    if zeros == 0 {
        return Ok(None);
    }
    let signs = codes.iter().map(|&c| if c == 0 { 1 } else { c });
    let tensor = Tensor::codes(tensor.ty.with_elem(ElemType::Bipolar), signs);
    let codes = patch.constant(&format!("{}.plus", graph.value(q).name), tensor);
    let name = format!("{}.plus", graph.value(node.inputs[1]).name);
    Ok(Some((patch.node(Dequantize, &[codes, scale, zero], &name, &dequantized.origin)?, zeros)))
}
