//! Running a plan of integers: chunks of samples, threads over chunks. As for floats, but in bytes.

use super::super::arena::Halves;
use super::super::kernel_fault;
use super::super::schedule::{Task, shares, spread, tasks};
use super::super::step::Place;
use super::step::{Segment, Source, Step};
use super::{Bytes, IntPlan};
use crate::kernels::int::AlignedBytes;
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// The buffers of one thread.
pub(in super::super) struct Buffers {
    local: AlignedBytes,
    shared: AlignedBytes,
    scratch: AlignedBytes,
}

/// The outputs, in their words.
pub(in super::super) struct Results(pub(super) Vec<AlignedBytes>);

impl Buffers {
    pub(in super::super) fn new(plan: &IntPlan) -> Self {
        Self {
            local: AlignedBytes::zeroed(plan.local_len * plan.group),
            shared: AlignedBytes::zeroed(plan.shared_len * plan.chunk),
            scratch: AlignedBytes::zeroed(plan.scratch_len),
        }
    }
}

pub(in super::super) fn run(
    plan: &IntPlan,
    inputs: &[Bytes],
    batch: usize,
    threads: usize,
) -> Result<Results, Diagnostics> {
    let (chunk, threads) = shares(plan.chunk, batch, threads);
    if threads == 1 {
        return run_in(plan, &mut Buffers::new(plan), inputs, batch);
    }
    check(plan, inputs, batch)?;
    let mut results = results(plan, batch);
    let tasks = cut(plan, &mut results, batch, chunk);
    spread(tasks, threads, || Buffers::new(plan), |own, task| run_task(plan, own, inputs, task))?;
    Ok(results)
}

pub(in super::super) fn run_in(
    plan: &IntPlan,
    buffers: &mut Buffers,
    inputs: &[Bytes],
    batch: usize,
) -> Result<Results, Diagnostics> {
    check(plan, inputs, batch)?;
    let mut results = results(plan, batch);
    for task in cut(plan, &mut results, batch, plan.chunk) {
        run_task(plan, buffers, inputs, task)?;
    }
    Ok(results)
}

/// Bytes per sample of each output.
fn output_sizes(plan: &IntPlan) -> impl Iterator<Item = usize> {
    plan.outputs.iter().map(|o| o.len * o.word.bytes())
}

fn results(plan: &IntPlan, batch: usize) -> Results {
    Results(output_sizes(plan).map(|n| AlignedBytes::zeroed(n * batch)).collect())
}

fn cut<'o>(plan: &IntPlan, results: &'o mut Results, batch: usize, chunk: usize) -> Vec<Task<'o, u8>> {
    let sizes: Vec<usize> = output_sizes(plan).collect();
    tasks(results.0.iter_mut().map(|r| &mut **r).collect(), &sizes, batch, chunk)
}

fn check(plan: &IntPlan, inputs: &[Bytes], batch: usize) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    if inputs.len() != plan.inputs.len() {
        let text = format!("the model has {} inputs, {} were given", plan.inputs.len(), inputs.len());
        found.push(Diagnostic::error(Location::default(), text));
    }
    for (port, given) in plan.inputs.iter().zip(inputs) {
        let size = port.word.bytes();
        if port.len.checked_mul(batch).and_then(|n| n.checked_mul(size)) != Some(given.len()) {
            let (name, len, given) = (&port.name, port.len, given.len() / size);
            let text = format!("input `{name}`: {batch} samples of {len} values, but {given} were given");
            found.push(Diagnostic::error(Location::default(), text));
        }
    }
    found.into_result(())
}

fn run_task(
    plan: &IntPlan,
    buffers: &mut Buffers,
    inputs: &[Bytes],
    task: Task<u8>,
) -> Result<(), Diagnostics> {
    let Buffers { local, shared, scratch } = buffers;
    let chunk = Chunk { plan, inputs, start: task.start };
    for segment in &plan.segments {
        match segment {
            Segment::Together(step) => chunk.step(step, 0, task.count, local, shared, scratch)?,
            Segment::Grouped(steps) => {
                for first in (0..task.count).step_by(plan.group) {
                    let count = plan.group.min(task.count - first);
                    for step in steps {
                        let size = if step.single { 1 } else { count };
                        for sample in (first..first + count).step_by(size) {
                            chunk.step(step, sample, size, local, shared, scratch)?;
                        }
                    }
                }
            }
        }
    }
    for (source, to) in plan.shown.iter().zip(task.outputs) {
        match source {
            Source::Const(bytes) => {
                to.chunks_exact_mut(bytes.len().max(1)).for_each(|sample| sample.copy_from_slice(bytes));
            }
            _ => {
                to.copy_from_slice(chunk.read(source, 0, task.count, &Halves::of(local), &Halves::of(shared)))
            }
        }
    }
    Ok(())
}

struct Chunk<'a> {
    plan: &'a IntPlan,
    inputs: &'a [Bytes<'a>],
    start: usize,
}

impl<'a> Chunk<'a> {
    /// Where `sample` of a place begins in its arena.
    fn begin(&self, place: &Place, sample: usize) -> usize {
        if place.shared {
            place.offset * self.plan.chunk + sample * place.len
        } else {
            place.offset * self.plan.group + sample % self.plan.group * place.len
        }
    }

    /// The values of `count` samples from `sample` on.
    fn read(
        &self,
        source: &'a Source,
        sample: usize,
        count: usize,
        local: &Halves<'a, u8>,
        shared: &Halves<'a, u8>,
    ) -> &'a [u8] {
        match source {
            Source::Input(i) => {
                let len = self.plan.inputs[*i].len * self.plan.inputs[*i].word.bytes();
                &self.inputs[*i][(self.start + sample) * len..][..count * len]
            }
            Source::Const(bytes) => bytes,
            Source::Buffer(place) => {
                let arena = if place.shared { shared } else { local };
                arena.slice(self.begin(place, sample), place.len * count)
            }
        }
    }

    fn step(
        &self,
        step: &'a Step,
        sample: usize,
        count: usize,
        local: &'a mut [u8],
        shared: &'a mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), Diagnostics> {
        let (begin, len) = (self.begin(&step.to, sample), step.to.len * count);
        let (local, shared, to) = if step.to.shared {
            let (shared, to) = Halves::split(shared, begin, len);
            (Halves::of(local), shared, to)
        } else {
            let (local, to) = Halves::split(local, begin, len);
            (local, Halves::of(shared), to)
        };
        let read = |s: &'a Source| self.read(s, sample, count, &local, &shared);
        // Most steps have one or two operands: no allocation for those.
        let done = match step.sources.as_slice() {
            [a] => step.work.run(count, &[read(a)], to, scratch),
            [a, b] => step.work.run(count, &[read(a), read(b)], to, scratch),
            more => step.work.run(count, &more.iter().map(read).collect::<Vec<_>>(), to, scratch),
        };
        done.map_err(|e| kernel_fault(step.at.clone(), &e))
    }
}
