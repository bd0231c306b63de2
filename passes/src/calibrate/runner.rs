//! The values of a graph on many samples, and the classes of one.
//!
//! In: a graph, and which of its values are wanted. Out: batch after batch, the elements of each wanted value, samples one
//! after another; of a [`Shipped`] graph, the class of each sample, from exactly the numbers that the graph stands for. The fast executor computes them; where the graph holds anything but floats, and its quantizers cannot be
//! written as float steps either, it is the reference evaluator, a sample at a time.

use super::report::greatest;
use crate::validate::evaluate_from;
use std::sync::Arc;
use unfloat_exec::reference::evaluate;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{Data, Diagnostics, Graph, Tensor, TensorType, ValueId};

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

/// The graph that ships, made ready to tell classes.
pub struct Shipped {
    graph: Graph,
    inputs: Vec<TensorType>,
    plan: Option<Plan>,
}

impl Shipped {
    /// Prepares a graph.
    pub fn new(graph: &Graph) -> Result<Self, Diagnostics> {
        let plan = match Plan::takes(graph) {
            true => Some(Plan::new(graph, &PlanOptions { max_batch: MOST, ..PlanOptions::default() })?),
            false => None,
        };
        let inputs = graph.inputs().iter().map(|&v| graph.ty(v).clone()).collect();
        Ok(Self { graph: graph.clone(), inputs, plan })
    }

    /// Elements of the first result.
    pub fn result_len(&self) -> usize {
        self.graph.outputs().first().map_or(0, |o| self.graph.ty(o.value).shape.num_elements())
    }

    /// The classes of `n` samples from sample `at` on: where the first result is greatest, or that result itself if it is
    /// one number.
    pub fn classes(
        &self,
        inputs: &[Data],
        at: usize,
        n: usize,
        threads: usize,
    ) -> Result<Vec<i64>, Diagnostics> {
        let parts = |at, n| self.inputs.iter().zip(inputs).map(move |(ty, data)| part(ty, data, at, n));
        let Some(plan) = &self.plan else {
            let one = |s: usize| {
                let tensors = self.inputs.iter().zip(parts(s, 1));
                let tensors: Vec<Tensor> =
                    tensors.map(|(ty, data)| Tensor { ty: ty.clone(), data }).collect();
                let results = evaluate(&self.graph, &tensors)?;
                Ok(results.first().map_or(0, |y| class(&y.data)))
            };
            return (at..at + n).map(one).collect();
        };
        let parts: Vec<Data> = parts(at, n).collect();
        let results = plan.run_data(&parts.iter().collect::<Vec<_>>(), n, threads)?;
        let output = self.graph.outputs().first().map(|o| self.graph.ty(o.value).clone());
        let (Some(ty), Some(result)) = (output, results.first()) else { return Ok(vec![0; n]) };
        Ok((0..n).map(|s| class(&part(&ty, result, s, 1))).collect())
    }
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
