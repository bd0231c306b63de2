//! The reference evaluator: one op at a time, each by its own [`OpDef::eval`], one sample.
//!
//! It is slow and obviously right; the fast executor and every backend are measured against it.

use std::sync::Arc;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Def, Diagnostic, Diagnostics, Graph, Location, OpDef, Tensor, ValueId};

/// Every value of one evaluation.
pub struct Values(Vec<Option<Arc<Tensor>>>);

impl Values {
    /// The tensor of a value; nothing for values that are not live.
    pub fn get(&self, value: ValueId) -> Option<&Arc<Tensor>> {
        self.0.get(value.index()).and_then(Option::as_ref)
    }
}

/// Evaluates a graph on one sample: one tensor per graph input, in the graph's order. Returns one per output.
///
/// The graph must pass [`unfloat_ir::verify::verify`].
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostics> {
    let values = evaluate_all(graph, inputs)?;
    let output = |id: ValueId| {
        values.get(id).map(|t| t.as_ref().clone()).ok_or_else(|| {
            let text = format!("output `{}` was not computed", graph.value(id).name);
            Diagnostics::from(Diagnostic::error(Location::default(), text))
        })
    };
    graph.outputs().iter().map(|o| output(o.value)).collect()
}

/// Evaluates a graph on one sample and keeps every value.
pub fn evaluate_all(graph: &Graph, inputs: &[Tensor]) -> Result<Values, Diagnostics> {
    check_inputs(graph, inputs)?;
    let mut values = Values(vec![None; graph.num_values()]);
    for (id, value) in graph.values() {
        values.0[id.index()] = match value.def {
            Def::Input(i) => Some(Arc::new(inputs[i].clone())),
            Def::Const(_) => graph.const_of(id).cloned(),
            Def::Node(_) => None,
        };
    }
    for (_, node) in graph.live_nodes() {
        let fault = |text: String| {
            let name = &graph.value(node.output).name;
            Diagnostics::from(Diagnostic::error(
                &node.origin,
                format!("`{name}` ({}): {text}", node.op.name()),
            ))
        };
        let operands: Option<Vec<&Tensor>> =
            node.inputs.iter().map(|&v| values.get(v).map(|t| t.as_ref())).collect();
        let operands = operands.ok_or_else(|| fault("reads a value that was not computed".to_string()))?;
        let ty = graph.ty(node.output).clone();
        let data = node.op.eval(&operands, &ty).map_err(|e| fault(e.to_string()))?;
        values.0[node.output.index()] = Some(Arc::new(Tensor { ty, data }));
    }
    Ok(values)
}

/// Checks one sample against the graph's inputs; all that is wrong is said at once.
pub fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    if inputs.len() != graph.inputs().len() {
        let text = format!("the model has {} inputs, {} were given", graph.inputs().len(), inputs.len());
        return Err(Diagnostic::error(Location::default(), text).into());
    }
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        let value = graph.value(id);
        let fault = tensor.fault().or_else(|| {
            (tensor.ty.elem != value.ty.elem || tensor.ty.shape != value.ty.shape)
                .then(|| format!("expected {}, found {}", value.ty, tensor.ty))
        });
        if let Some(fault) = fault {
            found.push(Diagnostic::error(Location::default(), format!("input `{}`: {fault}", value.name)));
        }
    }
    found.into_result(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Binary, Unary};
    use unfloat_ir::{Layout, Origin, TensorType};

    #[test]
    fn a_value_may_be_read_twice_and_be_an_output_too() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        let r = g.add_node(Unary::Relu, &[x], "r", &Origin::default()).unwrap();
        let s = g.add_node(Binary::Add, &[r, x], "s", &Origin::default()).unwrap();
        g.add_output("s", s);
        g.add_output("r", r);
        let sample = Tensor::f32([2], Layout::channels_last(0), vec![-1.0, 2.0]);
        let out = evaluate(&g, &[sample]).unwrap();
        assert_eq!(out[0].as_f32(), Some(&[-1.0, 4.0][..]));
        assert_eq!(out[1].as_f32(), Some(&[0.0, 2.0][..]));
    }

    #[test]
    fn wrong_samples_are_refused() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        g.add_output("x", x);
        let wrong = Tensor::f32([3], Layout::channels_last(0), vec![0.0; 3]);
        assert!(evaluate(&g, &[]).unwrap_err().to_string().contains("1 inputs, 0 were given"));
        assert!(evaluate(&g, &[wrong]).unwrap_err().to_string().contains("expected f32[2] c"));
    }
}
