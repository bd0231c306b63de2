//! The fast executor: a graph planned once, then run on any number of samples.
//!
//! **In:** a graph that passes the verifier, float throughout, at any stage; channels-last graphs are fast, ops
//! in other layouts fall back to their reference evaluation. **Out:** the graph's outputs, batch-major.
//! Constants that
//! are quantized count as the floats that they mean. **Refuses:** graphs with other values that are no floats, which [`crate::reference`] runs; graphs whose buffers would exceed the memory limit, with the layer that needs most.
//!
//! A plan packs every weight for the machine's instruction set, fuses activations into the convolution or dense
//! layer before them, and lays all values out in two arenas: one for values that live within a group's own
//! steps, one for values that a whole chunk of samples shares. Samples go in small groups through convolutions, which
//! keeps their maps in the cache, and all together through large dense layers, which reads those weights once.
//! Threads share a plan and take chunks of samples. A sample gives the same bits at every place of every
//! batch, under every number of threads.

mod lower;
mod place;
mod run;
mod step;
mod storage;

pub use run::Workspace;

use crate::kernels::{Isa, KernelError};
use step::{Segment, Source};
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location};

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

/// A graph ready to run.
pub struct Plan {
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
    /// Whether every value of the graph is a float, so that it can be planned. Others are for [`crate::reference`].
    pub fn takes(graph: &Graph) -> bool {
        graph.decoded().is_ok_and(|graph| lower::check_floats(&graph).is_ok())
    }

    /// Plans a graph.
    pub fn new(graph: &Graph, options: &PlanOptions) -> Result<Plan, Diagnostics> {
        lower::plan(graph, options)
    }

    /// f32 per sample of each input, in the graph's order.
    pub fn input_lens(&self) -> Vec<usize> {
        self.inputs.iter().map(|i| i.1).collect()
    }

    /// f32 per sample of each output, in the graph's order.
    pub fn output_lens(&self) -> Vec<usize> {
        self.outputs.iter().map(|o| o.1).collect()
    }

    /// Buffers for [`Plan::run_in`].
    pub fn workspace(&self) -> Workspace {
        Workspace::new(self)
    }

    /// Runs `batch` samples on up to `threads` threads (at least one). `inputs` has one slice per graph input,
    /// samples one after another; the result has one vector per graph output.
    pub fn run(&self, inputs: &[&[f32]], batch: usize, threads: usize) -> Result<Vec<Vec<f32>>, Diagnostics> {
        run::run(self, inputs, batch, threads)
    }

    /// Runs `batch` samples on the calling thread in buffers that are kept between calls.
    pub fn run_in(
        &self,
        workspace: &mut Workspace,
        inputs: &[&[f32]],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Diagnostics> {
        run::run_in(self, workspace, inputs, batch)
    }
}

fn kernel_fault(at: impl Into<Location>, error: &KernelError) -> Diagnostics {
    Diagnostic::error(at, error.to_string()).into()
}

#[cfg(test)]
mod tests;
