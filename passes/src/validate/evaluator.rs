//! Who computes the values that are compared.

use std::sync::Arc;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, OpDef, Tensor, ValueId};

/// A graph made ready to be run: sample in, the wanted values out, in the order in which they were wanted.
pub type Prepared<'g> = Box<dyn FnMut(&[Tensor]) -> Result<Vec<Arc<Tensor>>, Diagnostics> + 'g>;

/// Computes values of a graph.
pub trait Evaluator: Sync {
    /// The name that reports show.
    fn name(&self) -> &str;
    /// How many times more a multiply-accumulate costs than one of the fast executor.
    fn slowness(&self) -> u64;
    /// Makes a graph ready to compute the wanted values.
    fn prepare<'g>(&self, graph: &'g Graph, wanted: &[ValueId]) -> Result<Prepared<'g>, Diagnostics>;
}

/// Each op by its own reference evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Evaluator for Reference {
    fn name(&self) -> &str {
        "reference"
    }
    fn slowness(&self) -> u64 {
        32
    }
    fn prepare<'g>(&self, graph: &'g Graph, wanted: &[ValueId]) -> Result<Prepared<'g>, Diagnostics> {
        let wanted = wanted.to_vec();
        Ok(Box::new(move |sample| {
            unfloat_exec::reference::check_inputs(graph, sample)?;
            let known = graph.inputs().iter().zip(sample).map(|(&v, t)| (v, Arc::new(t.clone())));
            evaluate_from(graph, known, &wanted)
        }))
    }
}

/// Computes the wanted values by reference evaluation, taking the known ones as they are and only what is needed
/// beyond them.
pub fn evaluate_from(
    graph: &Graph,
    known: impl IntoIterator<Item = (ValueId, Arc<Tensor>)>,
    wanted: &[ValueId],
) -> Result<Vec<Arc<Tensor>>, Diagnostics> {
    let mut values: Vec<Option<Arc<Tensor>>> = vec![None; graph.num_values()];
    for (id, tensor) in known {
        values[id.index()] = Some(tensor);
    }
    // How many readers still wait for each value: nothing is kept for longer than it is needed.
    let mut readers = vec![0usize; graph.num_values()];
    wanted.iter().for_each(|v| readers[v.index()] += 1);
    let mut needed = Vec::new();
    for (id, node) in graph.live_nodes().rev() {
        if readers[node.output.index()] > 0 && values[node.output.index()].is_none() {
            needed.push(id);
            node.inputs.iter().for_each(|v| readers[v.index()] += 1);
        }
    }
    for id in needed.into_iter().rev() {
        let node = graph.node(id);
        let operands: Result<Vec<Arc<Tensor>>, Diagnostics> =
            node.inputs.iter().map(|&v| fetch(graph, &values, v)).collect();
        let operands = operands?;
        let operands: Vec<&Tensor> = operands.iter().map(Arc::as_ref).collect();
        let ty = graph.ty(node.output).clone();
        let data = node.op.eval(&operands, &ty).map_err(|e| {
            let text = format!("`{}` ({}): {e}", graph.value(node.output).name, node.op.name());
            Diagnostic::error(&node.origin, text)
        })?;
        values[node.output.index()] = Some(Arc::new(Tensor { ty, data }));
        for v in &node.inputs {
            readers[v.index()] -= 1;
            if readers[v.index()] == 0 {
                values[v.index()] = None;
            }
        }
    }
    wanted.iter().map(|&v| fetch(graph, &values, v)).collect()
}

fn fetch(graph: &Graph, values: &[Option<Arc<Tensor>>], id: ValueId) -> Result<Arc<Tensor>, Diagnostics> {
    if let Some(tensor) = values[id.index()].as_ref().or(graph.const_of(id)) {
        return Ok(tensor.clone());
    }
    let text = format!("`{}` is needed and not known", graph.value(id).name);
    Err(Diagnostic::error(Location::default(), text).into())
}
