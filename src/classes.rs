//! `--head class`: a classifier that gives the class alone.
//!
//! In: a graph whose outputs are scores, one per class, along the last axis. Out: the same graph with the place of the
//! greatest score in each output's stead; a softmax and quantizers of one scale in front of it go, since they change no order. Refused: outputs that
//! are no scores of at least two classes, and those that another layer reads.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::ArgReduce;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Node, Op, Patch, ValueId};

/// The graph with classes for scores.
pub fn classes(mut graph: Graph) -> Result<Graph, Diagnostics> {
    let users = graph.users();
    let mut found = Diagnostics::new();
    let mut patch = Patch::new(&graph);
    for output in graph.outputs() {
        let ty = graph.ty(output.value);
        let scores = ty.elem.is_float() && ty.shape.last().is_some_and(|&n| n >= 2);
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
        let mut x = output.value;
        while let Some((_, front)) = graph.producer(x) {
            match &front.op {
                Op::Softmax(s) if s.axes == [axis] => x = front.inputs[0],
                Op::Dequantize(_) => match graph.producer(front.inputs[0]) {
                    // A quantizer of one scale changes no order either; it makes equals of neighbours.
                    Some((_, q)) if matches!(q.op, Op::Quantize(_)) && of_one_scale(&graph, q) => {
                        x = q.inputs[0]
                    }
                    _ => break,
                },
                _ => break,
            }
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

/// Whether all elements have one scale, above 0, and one zero point.
fn of_one_scale(graph: &Graph, quantizer: &Node) -> bool {
    let number = |v: ValueId| match graph.const_of(v)?.as_f32()? {
        [one] => Some(*one),
        _ => None,
    };
    number(quantizer.inputs[1]).is_some_and(|s| s > 0.0) && number(quantizer.inputs[2]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Softmax, Unary};
    use unfloat_ir::{Layout, OpDef, Origin, TensorType};

    #[test]
    fn a_softmax_goes_and_the_class_comes() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let r = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
        let s = g.add_node(Softmax { axes: vec![0], log: false }, &[r], "s", &o).unwrap();
        g.add_output("y", s);
        let g = classes(g).unwrap();
        let ops: Vec<&str> = g.live_nodes().map(|(_, n)| n.op.name()).collect();
        assert_eq!(ops, ["relu", "arg_max"]);
        assert_eq!(
            (g.outputs()[0].name.as_str(), g.ty(g.outputs()[0].value).to_string()),
            ("y", "i64[]".into())
        );
    }

    #[test]
    fn what_has_no_classes_is_refused() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([4, 1], Layout::channels_last(1)));
        let r = g.add_node(Unary::Relu, &[x], "r", &Origin::default()).unwrap();
        g.add_output("y", r);
        assert!(classes(g).unwrap_err().to_string().contains("`y`, f32[4,1] wc, holds no scores"));
    }
}
