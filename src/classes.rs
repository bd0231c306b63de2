//! `--head class` and `--head logits`: a classifier that gives the class alone, or its scores without a softmax.
//!
//! In: a graph whose outputs are scores, one per class, along the last axis. Out: the same graph with the place of the
//! greatest score in each output's stead. A softmax in front of it goes, since it changes no order, and so does a quantizer
//! of one scale that saturates: it keeps the order too, but makes equals of neighbours and of what lies beyond its codes.
//! Where it did, the class is the one of the greatest score before, and not the first of equals; a warning says so.
//! Quantizers that wrap stay. Refused: outputs that are no scores of at least two classes, and those that another layer
//! reads. For logits the softmax that makes an output goes and nothing else changes; without one, they are the scores.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::ArgReduce;
use unfloat_ir::{Diagnostic, Diagnostics, ElemType, Graph, Location, Node, Op, Overflow, Patch};

/// The graph with classes for scores. `warnings` receives what may differ from the classes of the scores.
pub fn classes(mut graph: Graph, warnings: &mut Diagnostics) -> Result<Graph, Diagnostics> {
    let users = graph.users();
    let mut found = Diagnostics::new();
    let mut patch = Patch::new(&graph);
    for output in graph.outputs() {
        let ty = graph.ty(output.value);
        let scores = (ty.elem.is_float() || matches!(ty.elem, ElemType::Int(_)))
            && ty.shape.last().is_some_and(|&n| n >= 2);
        let Some((_, node)) = graph.producer(output.value).filter(|_| scores) else {
            let text =
                format!("--head class: the output `{}`, {ty}, holds no scores of classes", output.name);
            found.push(Diagnostic::error(Location::default(), text));
            continue;
        };
        if !users[output.value.index()].is_empty() {
            let text = format!("--head class: another layer reads the output `{}`", output.name);
            found.push(Diagnostic::error(&node.origin, text));
            continue;
        }
        let axis = ty.rank() - 1;
        let (mut x, mut rounded) = (output.value, false);
        while let Some((_, front)) = graph.producer(x) {
            match &front.op {
                Op::Softmax(s) if s.axes == [axis] => x = front.inputs[0],
                Op::Dequantize(_) if of_one_scale(&graph, front) => match graph.producer(front.inputs[0]) {
                    Some((_, q)) if keeps_order(&graph, q) => (x, rounded) = (q.inputs[0], true),
                    _ => break,
                },
                _ => break,
            }
        }
        if rounded {
            let text = format!(
                "--head class: the class of `{}` is told before its quantizer: scores that this makes equal may give another \
                 class than the first of them",
                output.name
            );
            warnings.push(Diagnostic::warning(&node.origin, text));
        }
        let op = ArgReduce { max: true, axis, keep: false, last: false };
        let class =
            patch.node(op, &[x], &format!("{}.class", graph.value(output.value).name), &node.origin)?;
        patch.replace_retyped(output.value, class);
    }
    found.into_result(())?;
    let edit = patch.finish();
    graph.apply(edit);
    Ok(graph.compact())
}

/// The graph with what a softmax reads for the outputs that it makes.
pub fn logits(mut graph: Graph) -> Graph {
    let mut patch = Patch::new(&graph);
    for output in graph.outputs() {
        if let Some((_, Node { op: Op::Softmax(_), inputs, .. })) = graph.producer(output.value) {
            patch.replace_retyped(output.value, inputs[0]);
        }
    }
    let edit = patch.finish();
    graph.apply(edit);
    graph.compact()
}

/// Whether a quantizer makes no greater number of a lesser one.
fn keeps_order(graph: &Graph, node: &Node) -> bool {
    let Op::Quantize(q) = &node.op else { return false };
    let saturates = matches!(q.overflow, Overflow::Saturate | Overflow::SaturateSymmetric);
    saturates && matches!(q.to, ElemType::Int(_)) && of_one_scale(graph, node)
}

/// Whether all elements have one scale, above 0, and one zero point.
fn of_one_scale(graph: &Graph, node: &Node) -> bool {
    let scale = match graph.const_of(node.inputs[1]).and_then(|t| t.as_f32()) {
        Some([scale]) => *scale,
        _ => return false,
    };
    let zeros = graph.const_of(node.inputs[2]).map(|t| t.len());
    scale > 0.0 && scale.is_finite() && zeros == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Dequantize, Quantize, QuantizeOrder, Softmax, Unary};
    use unfloat_ir::{Layout, OpDef, Origin, Rounding, Tensor, TensorType};

    #[test]
    fn a_softmax_goes_and_the_class_comes() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let r = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
        let s = g.add_node(Softmax { axes: vec![0], log: false }, &[r], "s", &o).unwrap();
        g.add_output("y", s);
        let g = classes(g, &mut Diagnostics::new()).unwrap();
        let ops: Vec<&str> = g.live_nodes().map(|(_, n)| n.op.name()).collect();
        assert_eq!(ops, ["relu", "arg_max"]);
        assert_eq!(
            (g.outputs()[0].name.as_str(), g.ty(g.outputs()[0].value).to_string()),
            ("y", "i64[]".into())
        );
    }

    #[test]
    fn logits_are_what_the_softmax_reads() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let r = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
        let s = g.add_node(Softmax { axes: vec![0], log: true }, &[r], "s", &o).unwrap();
        g.add_output("y", s);
        g.add_output("z", r);
        let g = logits(g);
        assert_eq!(g.live_nodes().map(|(_, n)| n.op.name()).collect::<Vec<_>>(), ["relu"]);
        let outputs: Vec<(&str, &str)> =
            g.outputs().iter().map(|o| (o.name.as_str(), g.value(o.value).name.as_str())).collect();
        assert_eq!(outputs, [("y", "r"), ("z", "r")]);
    }

    #[test]
    fn what_has_no_classes_is_refused() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([4, 1], Layout::channels_last(1)));
        let r = g.add_node(Unary::Relu, &[x], "r", &Origin::default()).unwrap();
        g.add_output("y", r);
        assert!(
            classes(g, &mut Diagnostics::new())
                .unwrap_err()
                .to_string()
                .contains("`y`, f32[4,1] wc, holds no scores")
        );
    }

    /// Scores behind a quantizer: how it overflows, its scale, and that of the way back.
    fn behind_a_quantizer(overflow: Overflow, scale: f32, back: &[f32]) -> (Vec<&'static str>, usize) {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let number = |v: &[f32]| {
            let shape: &[usize] = if v.len() == 1 { &[] } else { &[3] };
            Tensor::f32(shape, Layout::anonymous(shape.len()), v.to_vec())
        };
        let (s, z) = (g.add_const("s", number(&[scale])), g.add_const("z", number(&[0.0])));
        let back = g.add_const("back", number(back));
        let (rounding, order) = (Rounding::HalfEven, QuantizeOrder::RoundThenSaturate);
        let op = Quantize { to: ElemType::signed(8), narrow: false, rounding, overflow, order };
        let q = g.add_node(op, &[x, s, z], "q", &o).unwrap();
        let y = g.add_node(Dequantize, &[q, back, z], "y", &o).unwrap();
        g.add_output("y", y);
        let mut warnings = Diagnostics::new();
        let g = classes(g, &mut warnings).unwrap();
        (g.live_nodes().map(|(_, n)| n.op.name()).collect(), warnings.0.len())
    }

    #[test]
    fn a_quantizer_goes_only_where_it_keeps_the_order() {
        let whole = ["quantize", "dequantize", "arg_max"];
        assert_eq!(behind_a_quantizer(Overflow::Saturate, 1.0, &[1.0]), (vec!["arg_max"], 1));
        for overflow in [Overflow::Wrap, Overflow::SaturateZero] {
            assert_eq!(behind_a_quantizer(overflow, 1.0, &[1.0]), (whole.to_vec(), 0));
        }
        // Each class with a scale of its own, and one that turns the order round.
        for back in [&[1.0, 2.0, 3.0][..], &[-1.0]] {
            assert_eq!(behind_a_quantizer(Overflow::Saturate, 1.0, back), (whole.to_vec(), 0));
        }
    }
}
