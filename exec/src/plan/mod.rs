//! The fast executor: a graph planned once, then run on any number of samples.
//!
//! **In:** a graph that passes the verifier, at any stage; channels-last graphs are fast, ops in other layouts fall back to
//! their reference evaluation. **Out:** the graph's outputs, batch-major. Constants that are quantized count as the
//! floats that they mean. **Refuses:** graphs with values of fixed-point or affine types, which [`crate::reference`] runs; graphs
//! whose buffers would exceed the memory limit, with the layer that needs most.
//!
//! A plan packs every weight for the machine's instruction set, fuses activations into the convolution or dense
//! layer before them, and lays all values out in two arenas: one for values that live within a group's own
//! steps, one for values that a whole chunk of samples shares. Samples go in small groups through convolutions, which
//! keeps their maps in the cache, and all together through large dense layers, which reads those weights once.
//! Threads share a plan and take chunks of samples. A sample gives the same bits at every place of every
//! batch, under every number of threads.
//!
//! There are two kinds. Graphs of floats throughout agree with the reference but for rounding. All others are planned by
//! `int`, whose results are the reference's, to the bit.

mod arena;
mod int;
mod layout;
mod lower;
mod place;
mod run;
mod schedule;
mod step;
mod storage;

use crate::kernels::int::bytes_of;
use crate::kernels::{Isa, KernelError};
use step::{Segment, Source};
use unfloat_ir::{Data, Diagnostic, Diagnostics, Graph, Location};

/// Choices for a plan.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The instruction set.
    pub isa: Isa,
    /// The most bytes that one thread's buffers may take.
    pub memory_limit: usize,
    /// The most samples that a caller means to run at once. Fewer need smaller buffers.
    pub max_batch: usize,
}

impl Default for PlanOptions {
    /// The machine's fastest instruction set, 4 GiB, and any number of samples.
    fn default() -> Self {
        Self { isa: Isa::detect(), memory_limit: 4 << 30, max_batch: usize::MAX }
    }
}

/// The most samples that go through a dense layer together. More would not read its weights noticeably less often.
const CHUNK: usize = 32;

/// Samples that go through the other layers together: their maps still fit the second-level cache, and a layer's
/// weights stay in the first one for all of them.
const GROUP: usize = 4;

/// Bytes of values that a group may always have: more samples go together where they are this small, so that what a
/// step costs by itself is shared. Half of a first-level cache.
const SMALL: usize = 16 * 1024;

/// A graph ready to run.
pub struct Plan(Kind);

enum Kind {
    Float(FloatPlan),
    Int(int::IntPlan),
}

/// The buffers of one thread.
pub struct Workspace(Buffers);

enum Buffers {
    Float(run::Buffers),
    Int(int::Buffers),
}

/// A plan of floats.
struct FloatPlan {
    isa: Isa,
    segments: Vec<Segment>,
    /// f32 of arena per sample, for values that live within one group's steps.
    local_len: usize,
    /// f32 of arena per sample of a chunk, for values that a chunk shares.
    shared_len: usize,
    scratch_len: usize,
    /// Samples that share an arena.
    chunk: usize,
    /// Samples that go through a segment's steps together.
    group: usize,
    /// Per graph input: its name, and f32 per sample.
    inputs: Vec<(String, usize)>,
    /// Per graph output: where it lies, and f32 per sample.
    outputs: Vec<(Source, usize)>,
}

impl Plan {
    /// Whether the graph can be planned with kernels for what costs most: it is float throughout, or integer but for
    /// quantizers of its inputs and dequantizers of its outputs. Others can be planned too, but go by reference
    /// evaluation where they are float.
    pub fn takes(graph: &Graph) -> bool {
        graph
            .decoded()
            .is_ok_and(|graph| lower::check_floats(&graph).is_ok() || int::is_integer_graph(&graph))
    }

    /// Plans a graph.
    pub fn new(graph: &Graph, options: &PlanOptions) -> Result<Plan, Diagnostics> {
        let decoded = graph.decoded()?;
        if lower::check_floats(&decoded).is_ok() {
            return Ok(Plan(Kind::Float(lower::plan(&decoded, options)?)));
        }
        Ok(Plan(Kind::Int(int::plan(&decoded, options)?)))
    }

    /// Elements per sample of each input, in the graph's order.
    pub fn input_lens(&self) -> Vec<usize> {
        match &self.0 {
            Kind::Float(plan) => plan.inputs.iter().map(|i| i.1).collect(),
            Kind::Int(plan) => plan.inputs.iter().map(|i| i.len).collect(),
        }
    }

    /// Elements per sample of each output, in the graph's order.
    pub fn output_lens(&self) -> Vec<usize> {
        match &self.0 {
            Kind::Float(plan) => plan.outputs.iter().map(|o| o.1).collect(),
            Kind::Int(plan) => plan.outputs.iter().map(|o| o.len).collect(),
        }
    }

    /// Buffers for [`Plan::run_in`].
    pub fn workspace(&self) -> Workspace {
        Workspace(match &self.0 {
            Kind::Float(plan) => Buffers::Float(run::Buffers::new(plan)),
            Kind::Int(plan) => Buffers::Int(int::Buffers::new(plan)),
        })
    }

    /// Runs `batch` samples on up to `threads` threads (at least one), of a graph whose inputs and outputs are floats.
    /// `inputs` has one slice per graph input, samples one after another; the result has one vector per graph output.
    pub fn run(&self, inputs: &[&[f32]], batch: usize, threads: usize) -> Result<Vec<Vec<f32>>, Diagnostics> {
        match &self.0 {
            Kind::Float(plan) => run::run(plan, inputs, batch, threads),
            Kind::Int(plan) => {
                plan.check_floats()?;
                let inputs = lent(inputs);
                Ok(plan.floats(int::run(plan, &inputs, batch, threads)?))
            }
        }
    }

    /// [`Plan::run`] on the calling thread, in buffers that are kept between calls. They must be of this plan.
    pub fn run_in(
        &self,
        workspace: &mut Workspace,
        inputs: &[&[f32]],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Diagnostics> {
        match (&self.0, &mut workspace.0) {
            (Kind::Float(plan), Buffers::Float(buffers)) => run::run_in(plan, buffers, inputs, batch),
            (Kind::Int(plan), Buffers::Int(buffers)) => {
                plan.check_floats()?;
                let inputs = lent(inputs);
                Ok(plan.floats(int::run_in(plan, buffers, &inputs, batch)?))
            }
            _ => Err(foreign()),
        }
    }

    /// [`Plan::run`] for inputs and outputs of any types: floats, or codes in any word.
    pub fn run_data(&self, inputs: &[&Data], batch: usize, threads: usize) -> Result<Vec<Data>, Diagnostics> {
        match &self.0 {
            Kind::Float(plan) => {
                let outputs = run::run(plan, &floats(inputs)?, batch, threads)?;
                Ok(outputs.into_iter().map(Data::F32).collect())
            }
            Kind::Int(plan) => Ok(plan.data(int::run(plan, &plan.words(inputs)?, batch, threads)?)),
        }
    }

    /// [`Plan::run_data`] on the calling thread, in buffers that are kept between calls. They must be of this plan.
    pub fn run_data_in(
        &self,
        workspace: &mut Workspace,
        inputs: &[&Data],
        batch: usize,
    ) -> Result<Vec<Data>, Diagnostics> {
        match (&self.0, &mut workspace.0) {
            (Kind::Float(plan), Buffers::Float(buffers)) => {
                let outputs = run::run_in(plan, buffers, &floats(inputs)?, batch)?;
                Ok(outputs.into_iter().map(Data::F32).collect())
            }
            (Kind::Int(plan), Buffers::Int(buffers)) => {
                Ok(plan.data(int::run_in(plan, buffers, &plan.words(inputs)?, batch)?))
            }
            _ => Err(foreign()),
        }
    }
}

fn lent<'a>(inputs: &[&'a [f32]]) -> Vec<int::Bytes<'a>> {
    inputs.iter().map(|x| int::Bytes::Lent(bytes_of(x))).collect()
}

fn floats<'a>(inputs: &[&'a Data]) -> Result<Vec<&'a [f32]>, Diagnostics> {
    let one = |data: &&'a Data| match data {
        Data::F32(v) => Ok(v.as_slice()),
        _ => {
            Err(Diagnostic::error(Location::default(), "the model reads floats, integers were given").into())
        }
    };
    inputs.iter().map(one).collect()
}

fn foreign() -> Diagnostics {
    Diagnostic::error(Location::default(), "the buffers are those of another kind of plan").into()
}

fn kernel_fault(at: impl Into<Location>, error: &KernelError) -> Diagnostics {
    Diagnostic::error(at, error.to_string()).into()
}

#[cfg(test)]
mod tests;
