//! Who computes the values that are compared.

use crate::analysis::work;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, Graph, Location, Node, NodeId, Op, OpDef, Tensor, TensorType, ValueId,
};

/// A graph made ready to be run: sample in, the wanted values out, in the order in which they were wanted.
pub type Prepared<'g> = Box<dyn FnMut(&[Tensor]) -> Result<Vec<Arc<Tensor>>, Diagnostics> + 'g>;

/// Computes values of a graph.
pub trait Evaluator: Sync {
    /// The name that reports show for this graph.
    fn name(&self, graph: &Graph) -> &'static str;
    /// What one sample costs, in multiply-accumulates of the native executor.
    fn cost(&self, graph: &Graph) -> u64;
    /// Makes a graph ready to compute the wanted values.
    fn prepare<'g>(&self, graph: &'g Graph, wanted: &[ValueId]) -> Result<Prepared<'g>, Diagnostics>;
}

/// How many times more a multiply-accumulate costs in reference evaluation than in the native executor.
const REFERENCE_SLOWNESS: u64 = 32;

/// Each op by its own reference evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Evaluator for Reference {
    fn name(&self, _: &Graph) -> &'static str {
        "reference"
    }
    fn cost(&self, graph: &Graph) -> u64 {
        let all = graph.live_nodes().map(|(_, n)| work(graph, n));
        all.fold(0, u64::saturating_add).saturating_mul(REFERENCE_SLOWNESS)
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

/// The native executor; reference evaluation for graphs in which floats and integers mix.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Evaluator for Native {
    fn name(&self, graph: &Graph) -> &'static str {
        if Plan::takes(graph) { "native executor" } else { Reference.name(graph) }
    }
    fn cost(&self, graph: &Graph) -> u64 {
        if !Plan::takes(graph) {
            return Reference.cost(graph);
        }
        let cost = |node: &Node| {
            // Layers that do not read channels last go by reference evaluation.
            let first = node.inputs.first().map(|&v| graph.ty(v).layout);
            let windowed =
                matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_));
            let slow = windowed && first.is_some_and(|l| !l.is_channels_last());
            work(graph, node).saturating_mul(if slow { REFERENCE_SLOWNESS } else { 1 })
        };
        graph.live_nodes().fold(0, |sum: u64, (_, n)| sum.saturating_add(cost(n)))
    }
    fn prepare<'g>(&self, graph: &'g Graph, wanted: &[ValueId]) -> Result<Prepared<'g>, Diagnostics> {
        if !Plan::takes(graph) {
            return Reference.prepare(graph, wanted);
        }
        let shown = graph.outputs().len();
        let mut probed = graph.clone();
        wanted.iter().for_each(|&v| probed.add_output("probe", v));
        let plan = Plan::new(&probed, &PlanOptions { max_batch: 1, ..PlanOptions::default() })?;
        let mut workspace = plan.workspace();
        let types: Vec<_> = wanted.iter().map(|&v| graph.ty(v).clone()).collect();
        Ok(Box::new(move |sample| {
            unfloat_exec::reference::check_inputs(graph, sample)?;
            let inputs: Vec<&Data> = sample.iter().map(|t| &t.data).collect();
            let values = plan.run_data_in(&mut workspace, &inputs, 1)?.into_iter().skip(shown);
            let tensor = |(ty, data): (&TensorType, Data)| Tensor { ty: ty.clone(), data };
            Ok(types.iter().zip(values).map(tensor).map(Arc::new).collect())
        }))
    }
}

/// Computes the wanted values by reference evaluation, taking the known ones as they are and going only through
/// what is needed beyond them.
pub fn evaluate_from(
    graph: &Graph,
    known: impl IntoIterator<Item = (ValueId, Arc<Tensor>)>,
    wanted: &[ValueId],
) -> Result<Vec<Arc<Tensor>>, Diagnostics> {
    evaluate_through(graph, known, wanted, &mut |_, tensor| Ok(tensor))
}

/// As [`evaluate_from`]; `seen` is shown each value that a node makes, and gives what its readers see.
pub fn evaluate_through(
    graph: &Graph,
    known: impl IntoIterator<Item = (ValueId, Arc<Tensor>)>,
    wanted: &[ValueId],
    seen: &mut dyn FnMut(ValueId, Arc<Tensor>) -> Result<Arc<Tensor>, Diagnostics>,
) -> Result<Vec<Arc<Tensor>>, Diagnostics> {
    let mut values: BTreeMap<ValueId, Arc<Tensor>> = known.into_iter().collect();
    let order = needed(graph, &values, wanted);
    // How many readers still wait for each value: nothing is kept for longer than it is needed.
    let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
    let inputs = order.iter().flat_map(|&n| &graph.node(n).inputs);
    inputs.chain(wanted).for_each(|&v| *readers.entry(v).or_default() += 1);
    for id in order {
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
        values.insert(node.output, seen(node.output, Arc::new(Tensor { ty, data }))?);
        for v in &node.inputs {
            if let Some(left) = readers.get_mut(v) {
                *left -= 1;
                if *left == 0 {
                    values.remove(v);
                }
            }
        }
    }
    wanted.iter().map(|&v| fetch(graph, &values, v)).collect()
}

/// The nodes that make the wanted values of the known ones, each after what it reads.
fn needed(graph: &Graph, known: &BTreeMap<ValueId, Arc<Tensor>>, wanted: &[ValueId]) -> Vec<NodeId> {
    let mut order = Vec::new();
    let mut entered = BTreeSet::new();
    let mut stack: Vec<(ValueId, bool)> = wanted.iter().rev().map(|&v| (v, false)).collect();
    while let Some((value, done)) = stack.pop() {
        let Some((id, node)) = graph.producer(value).filter(|_| !known.contains_key(&value)) else {
            continue;
        };
        if done {
            order.push(id);
        } else if entered.insert(id) {
            stack.push((value, true));
            stack.extend(node.inputs.iter().rev().map(|&v| (v, false)));
        }
    }
    order
}

fn fetch(
    graph: &Graph,
    values: &BTreeMap<ValueId, Arc<Tensor>>,
    id: ValueId,
) -> Result<Arc<Tensor>, Diagnostics> {
    if let Some(tensor) = values.get(&id).or(graph.const_of(id)) {
        return Ok(tensor.clone());
    }
    let text = format!("`{}` is needed and not known", graph.value(id).name);
    Err(Diagnostic::error(Location::default(), text).into())
}
