//! The values of a graph on many samples, and the classes of one.
//!
//! In: a graph, and which of its values are wanted. Out: batch after batch, the elements of each wanted value, samples one
//! after another; of a [`Shipped`] graph, the class of each sample, from exactly the numbers that the graph stands for, and
//! what its codes stand for. The fast executor computes them; where the graph holds anything but floats, and its quantizers
//! cannot be written as float steps either, it is the reference evaluator, a sample at a time.

use super::report::greatest;
use crate::validate::evaluate_from;
use std::sync::Arc;
use unfloat_exec::reference::evaluate;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::ops::Dequantize;
use unfloat_ir::{Data, Diagnostics, ElemType, Graph, Layout, Origin, Tensor, TensorType, ValueId};

/// Floats of wanted values that are held at once, about: what the allocator gives again, and caches half hold.
const HELD: usize = 2 << 20;
/// Samples per batch, at most.
const MOST: usize = 64;

/// A graph made ready to show values.
pub struct Runner {
    graph: Graph,
    probes: Vec<ValueId>,
    plan: Option<Plan>,
    batch: usize,
}

impl Runner {
    /// Prepares a graph.
    pub fn new(graph: &Graph, probes: &[ValueId]) -> Result<Self, Diagnostics> {
        let sizes = probes.iter().map(|&v| graph.ty(v).shape.num_elements());
        let held: usize = sizes.fold(0, usize::saturating_add);
        let batch = (HELD / held.max(1)).clamp(1, MOST);
        let mut probed = graph.clone();
        probes.iter().for_each(|&v| probed.add_output("probe", v));
        let plan = match Plan::takes(&probed) {
            true => Some(Plan::new(&probed, &PlanOptions { max_batch: batch, ..PlanOptions::default() })?),
            false => None,
        };
        Ok(Self { graph: graph.clone(), probes: probes.to_vec(), plan, batch })
    }

    /// How many samples go at once, at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Runs samples and shows the wanted values of each batch, with its number of samples.
    pub fn run(
        &self,
        inputs: &[Data],
        count: usize,
        threads: usize,
        mut show: impl FnMut(usize, &[Vec<f32>]) -> Result<(), Diagnostics>,
    ) -> Result<(), Diagnostics> {
        let mut at = 0;
        while at < count {
            let n = self.batch.min(count - at);
            show(n, &self.batch_of(inputs, at, n, threads)?)?;
            at += n;
        }
        Ok(())
    }

    /// The wanted values of `n` samples from sample `at` on; `n` is at most [`Runner::batch`].
    pub fn batch_of(
        &self,
        inputs: &[Data],
        at: usize,
        n: usize,
        threads: usize,
    ) -> Result<Vec<Vec<f32>>, Diagnostics> {
        let types: Vec<TensorType> = self.graph.inputs().iter().map(|&v| self.graph.ty(v).clone()).collect();
        match &self.plan {
            Some(plan) => planned(plan, inputs, &types, at, n, threads, self.graph.outputs().len()),
            None => self.by_reference(inputs, &types, at, n),
        }
    }

    fn by_reference(
        &self,
        inputs: &[Data],
        types: &[TensorType],
        at: usize,
        n: usize,
    ) -> Result<Vec<Vec<f32>>, Diagnostics> {
        let mut values = vec![Vec::new(); self.probes.len()];
        for s in at..at + n {
            let tensors = types
                .iter()
                .zip(inputs)
                .map(|(ty, data)| Arc::new(Tensor { ty: ty.clone(), data: part(ty, data, s, 1) }));
            let known = self.graph.inputs().iter().copied().zip(tensors);
            let results = evaluate_from(&self.graph, known, &self.probes)?;
            for (all, result) in values.iter_mut().zip(&results) {
                all.extend(result.as_f32().unwrap_or_default());
            }
        }
        Ok(values)
    }
}

/// Samples from `at` on, `n` of them.
fn part(ty: &TensorType, data: &Data, at: usize, n: usize) -> Data {
    let len = ty.shape.num_elements();
    let place = at * len..(at + n) * len;
    match data {
        Data::F32(v) => Data::F32(v[place].to_vec()),
        codes => Data::from_codes(&ty.elem, place.filter_map(|i| codes.code(i))),
    }
}

/// A value of the float graph that the graph that ships may have too.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is there.
    pub place: Place,
    /// The float value's type.
    pub like: TensorType,
}

/// Where a value of the float graph is in the graph that ships.
#[derive(Clone, Debug)]
pub enum Place {
    /// As integers.
    Codes {
        /// Their name.
        name: String,
        /// What kind of integers they are.
        elem: ElemType,
        /// What code 1 stands for.
        scale: f32,
    },
    /// As the graph's result of this number, a float.
    Result(usize),
}

/// The graph that ships, made ready to tell classes and values.
pub struct Shipped {
    graph: Graph,
    inputs: Vec<TensorType>,
    plan: Option<Plan>,
    /// The wanted values, which follow the graph's own results; none if it does not have them all.
    shown: Option<usize>,
    batch: usize,
}

impl Shipped {
    /// Prepares a graph.
    pub fn new(graph: &Graph, wanted: &[Wanted]) -> Result<Self, Diagnostics> {
        let with_values = shown(graph, wanted).filter(Plan::takes);
        let shown = with_values.is_some().then_some(wanted.len());
        let held: usize = wanted.iter().map(|w| w.like.shape.num_elements()).fold(0, usize::saturating_add);
        let batch = if shown.is_some() { (HELD / held.max(1)).clamp(1, MOST) } else { MOST };
        let graph = with_values.unwrap_or_else(|| graph.clone());
        let options = PlanOptions { max_batch: batch, ..PlanOptions::default() };
        let plan = Plan::takes(&graph).then(|| Plan::new(&graph, &options)).transpose()?;
        let inputs = graph.inputs().iter().map(|&v| graph.ty(v).clone()).collect();
        Ok(Self { graph, inputs, plan, shown, batch })
    }

    /// How many samples go at once, at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the wanted values are shown.
    pub fn shows(&self) -> bool {
        self.shown.is_some()
    }

    /// Elements of the first result.
    pub fn result_len(&self) -> usize {
        self.graph.outputs().first().map_or(0, |o| self.graph.ty(o.value).shape.num_elements())
    }

    /// The classes of `n` samples from sample `at` on: where the first result is greatest, or that result itself if it is
    /// one number. Behind them the wanted values, if they are shown.
    pub fn batch_of(
        &self,
        inputs: &[Data],
        at: usize,
        n: usize,
        threads: usize,
    ) -> Result<(Vec<i64>, Vec<Vec<f32>>), Diagnostics> {
        let parts = |at, n| self.inputs.iter().zip(inputs).map(move |(ty, data)| part(ty, data, at, n));
        let Some(plan) = &self.plan else {
            let one = |s: usize| {
                let tensors = self.inputs.iter().zip(parts(s, 1));
                let tensors: Vec<Tensor> =
                    tensors.map(|(ty, data)| Tensor { ty: ty.clone(), data }).collect();
                let results = evaluate(&self.graph, &tensors)?;
                Ok(results.first().map_or(0, |y| class(&y.data)))
            };
            let classes: Result<_, Diagnostics> = (at..at + n).map(one).collect();
            return Ok((classes?, Vec::new()));
        };
        let parts: Vec<Data> = parts(at, n).collect();
        let mut results = plan.run_data(&parts.iter().collect::<Vec<_>>(), n, threads)?;
        let own = results.len() - self.shown.unwrap_or(0);
        let floats = |data| match data {
            Data::F32(v) => v,
            codes => (0..codes.len()).filter_map(|i| codes.code(i)).map(|c| c as f32).collect(),
        };
        let values = results.split_off(own).into_iter().map(floats).collect();
        let output = self.graph.outputs().first().map(|o| self.graph.ty(o.value).clone());
        let classes = match (output, results.first()) {
            (Some(ty), Some(result)) => (0..n).map(|s| class(&part(&ty, result, s, 1))).collect(),
            _ => vec![0; n],
        };
        Ok((classes, values))
    }
}

/// The graph with the wanted values as floats behind its own results; nothing where one of them is missing.
fn shown(graph: &Graph, wanted: &[Wanted]) -> Option<Graph> {
    let mut out = graph.clone();
    for Wanted { place, like } in wanted {
        let (value, elem) = match place {
            Place::Codes { name, elem, .. } => (graph.values().find(|(_, v)| v.name == *name)?.0, elem),
            Place::Result(i) => (graph.outputs().get(*i)?.value, &like.elem),
        };
        let ty = graph.ty(value);
        let same = ty.elem == *elem && ty.shape == like.shape && ty.layout == like.layout;
        if !same || graph.const_of(value).is_some() {
            return None;
        }
        let value = match place {
            Place::Result(_) => value,
            Place::Codes { scale, .. } => {
                let mut scalar = |v| out.add_const("scalar", Tensor::f32([], Layout::anonymous(0), vec![v]));
                let inputs = [value, scalar(*scale), scalar(0.0)];
                out.add_node(Dequantize, &inputs, "shown", &Origin::default()).ok()?
            }
        };
        out.add_output("shown", value);
    }
    Some(out)
}

/// The class that one result tells.
fn class(result: &Data) -> i64 {
    match result {
        Data::F32(v) if v.len() == 1 => v[0] as i64,
        Data::F32(v) => greatest(v) as i64,
        codes if codes.len() == 1 => codes.code(0).unwrap_or(0),
        codes => greatest(&(0..codes.len()).filter_map(|i| codes.code(i)).collect::<Vec<_>>()) as i64,
    }
}

fn planned(
    plan: &Plan,
    inputs: &[Data],
    types: &[TensorType],
    at: usize,
    n: usize,
    threads: usize,
    shown: usize,
) -> Result<Vec<Vec<f32>>, Diagnostics> {
    let floats = |(ty, data): (&TensorType, &Data)| {
        let len = ty.shape.num_elements();
        match data {
            Data::F32(v) => v[at * len..(at + n) * len].to_vec(),
            codes => (at * len..(at + n) * len).filter_map(|i| codes.code(i)).map(|c| c as f32).collect(),
        }
    };
    let parts: Vec<Vec<f32>> = types.iter().zip(inputs).map(floats).collect();
    let slices: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
    let mut values = plan.run(&slices, n, threads)?;
    values.drain(..shown);
    Ok(values)
}
