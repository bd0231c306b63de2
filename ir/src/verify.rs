//! What must hold of every graph, and more at each stage. Runs after every pass, in every build.
//!
//! | stage | beyond the one before |
//! |---|---|
//! | imported | handles exist, nodes come after what they read, every type is what its op infers, names are unique, constants have the elements that they say and suit the ops that read them, no tensor is too large to count |
//! | canonical | every value whose layout names a channel axis that a convolution, pooling or normalisation reads has it last; no identity nodes |
//! | folded | no node computes a constant, but for dequantizations: they say that a weight is quantized |
//! | quantized, lowered | no float value |

use crate::arena::Handle;
use crate::diag::{Diagnostic, Diagnostics, Location};
use crate::graph::{Def, Graph, Node};
use crate::ops::{Op, OpDef};
use crate::types::{Shape, Stage, TensorType};
use std::collections::BTreeSet;

/// The largest number of elements of one value. More is refused: it is a broken or hostile file, or a
/// network that none of our targets holds.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Checks the graph at its own stage. All findings are returned, each with the node's origin.
pub fn verify(graph: &Graph) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    let mut known = vec![false; graph.num_values()];
    let mut names = BTreeSet::new();
    for (id, value) in graph.values() {
        if !names.insert(value.name.as_str()) {
            found.push(Diagnostic::error(
                Location::default(),
                format!("two values are called `{}`", value.name),
            ));
        }
        known[id.index()] = !matches!(value.def, Def::Node(_));
        let fault = match value.def {
            Def::Const(_) => graph.const_of(id).and_then(|t| {
                if t.ty != value.ty {
                    Some(format!("holds {} and says {}", t.ty, value.ty))
                } else {
                    t.fault()
                }
            }),
            _ => type_fault(&value.ty),
        };
        if let Some(fault) = fault {
            let at = graph.producer(id).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
            found.push(Diagnostic::error(at, format!("value `{}`: {fault}", value.name)));
        }
    }
    for (_, node) in graph.live_nodes() {
        let name = &graph.value(node.output).name;
        let mut complain = |text: String| {
            found.push(Diagnostic::error(
                Location::from(&node.origin),
                format!("`{name}` ({}): {text}", node.op.name()),
            ));
        };
        if let Some(v) = node.inputs.iter().find(|v| !known[v.index()]) {
            complain(format!("reads `{}` before it is made", graph.value(*v).name));
        }
        known[node.output.index()] = true;
        let types: Vec<&TensorType> = node.inputs.iter().map(|&v| graph.ty(v)).collect();
        match node.op.infer(&types) {
            Err(e) => complain(e.to_string()),
            Ok(ty) if ty != *graph.ty(node.output) => {
                complain(format!("is {} but its op makes {ty}", graph.ty(node.output)));
            }
            Ok(_) => {
                let constants: Vec<_> =
                    node.inputs.iter().map(|&v| graph.const_of(v).map(|t| &**t)).collect();
                if let Err(e) = node.op.check_constants(&types, &constants) {
                    complain(e.to_string());
                }
            }
        }
        if let Some(text) = stage_fault(graph, node) {
            complain(format!("{text} at stage `{}`", graph.stage));
        }
    }
    for output in graph.outputs() {
        if !known[output.value.index()] {
            let text = format!("output `{}` shows a value that nothing makes", output.name);
            found.push(Diagnostic::error(Location::default(), text));
        }
    }
    if graph.outputs().is_empty() {
        found.push(Diagnostic::error(Location::default(), "the graph has no outputs"));
    }
    found.into_result(())
}

fn type_fault(ty: &TensorType) -> Option<String> {
    if let Some(fault) = ty.elem.fault() {
        return Some(fault);
    }
    if ty.rank() > Shape::MAX_RANK {
        return Some(format!("has {} axes; at most {} are supported", ty.rank(), Shape::MAX_RANK));
    }
    if ty.layout.rank() != ty.rank() {
        return Some(format!("has the layout `{}` beside the shape {}", ty.layout, ty.shape));
    }
    if let Some(fault) = ty.elem.fault_on(&ty.shape) {
        return Some(format!("has {fault}"));
    }
    match ty.shape.checked_len() {
        Some(n) if n <= MAX_ELEMENTS => None,
        _ => Some(format!("has more than {MAX_ELEMENTS} elements: {}", ty.shape)),
    }
}

/// What is wrong with a node at the graph's stage.
fn stage_fault(graph: &Graph, node: &Node) -> Option<String> {
    let input = node.inputs.first().map(|&v| graph.ty(v));
    if graph.stage >= Stage::Canonical {
        let reads_channels =
            matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_));
        let last = |axis: usize| input.is_some_and(|t| axis + 1 == t.rank());
        let fault = match &node.op {
            Op::BatchNorm(b) => !last(b.axis),
            _ => reads_channels && !input.is_some_and(|t| t.layout.is_channels_last()),
        };
        if fault {
            return Some(format!(
                "has channels that are not last ({})",
                input.map_or(String::new(), |t| t.to_string())
            ));
        }
        if matches!(&node.op, Op::Transpose(t) if t.is_identity()) {
            return Some("moves nothing".to_string());
        }
    }
    let constant = || node.inputs.iter().all(|&v| graph.const_of(v).is_some());
    if graph.stage >= Stage::Folded && constant() && !matches!(node.op, Op::Dequantize(_)) {
        return Some("computes a constant".to_string());
    }
    if graph.stage >= Stage::Quantized && graph.ty(node.output).elem.is_float() {
        return Some("is a float".to_string());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{MaxPool, Unary, Window};
    use crate::origin::Origin;
    use crate::tensor::Tensor;
    use crate::types::Layout;

    #[test]
    fn stages_allow_less_and_less() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([2, 4], Layout::channels_first(1)));
        let pool = MaxPool { window: Window::new([2]) };
        let origin = Origin::new("keras", "m.h5", "", "pool (MaxPooling1D)");
        let p = g.add_node(pool, &[x], "p", &origin).unwrap();
        let c = g.add_const("c", Tensor::f32([1], Layout::anonymous(1), vec![1.0]));
        let e = g.add_node(Unary::Exp, &[c], "e", &origin).unwrap();
        g.add_output("p", p);
        g.add_output("e", e);
        assert_eq!(verify(&g), Ok(()));
        let mut count = |stage| {
            g.stage = stage;
            verify(&g).err().map_or(0, |d| d.0.len())
        };
        assert_eq!([Stage::Canonical, Stage::Folded].map(&mut count), [1, 2]);
        let text = verify(&g).unwrap_err().to_string();
        assert!(
            text.contains("m.h5: layer pool (MaxPooling1D): `p` (max_pool): has channels that are not last")
        );
        assert!(text.contains("`e` (exp): computes a constant"));
    }

    #[test]
    fn huge_values_are_refused() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([usize::MAX, 2], Layout::anonymous(2)));
        g.add_output("x", x);
        assert!(verify(&g).unwrap_err().to_string().contains("more than"));
    }
}
