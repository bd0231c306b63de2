//! Running a plan: chunks of samples, threads over chunks.

use super::arena::Halves;
use super::schedule::{Task, shares, spread, tasks};
use super::step::{Place, Segment, Source, Step};
use super::{FloatPlan, kernel_fault};
use crate::kernels::{AlignedBuffer, Isa};
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// The buffers of one thread.
pub(super) struct Buffers {
    local: AlignedBuffer,
    shared: AlignedBuffer,
    scratch: AlignedBuffer,
}

impl Buffers {
    pub(super) fn new(plan: &FloatPlan) -> Self {
        Self {
            local: AlignedBuffer::zeroed(plan.local_len * plan.group),
            shared: AlignedBuffer::zeroed(plan.shared_len * plan.chunk),
            scratch: AlignedBuffer::zeroed(plan.scratch_len),
        }
    }
}

pub(super) fn run(
    plan: &FloatPlan,
    inputs: &[&[f32]],
    batch: usize,
    threads: usize,
) -> Result<Vec<Vec<f32>>, Diagnostics> {
    let (chunk, threads) = shares(plan.chunk, batch, threads);
    if threads == 1 {
        return run_in(plan, &mut Buffers::new(plan), inputs, batch);
    }
    check(plan, inputs, batch)?;
    let mut results = buffers(plan, batch);
    let tasks = cut(plan, &mut results, batch, chunk);
    spread(tasks, threads, || Buffers::new(plan), |own, task| run_task(plan, own, inputs, task))?;
    Ok(results)
}

pub(super) fn run_in(
    plan: &FloatPlan,
    workspace: &mut Buffers,
    inputs: &[&[f32]],
    batch: usize,
) -> Result<Vec<Vec<f32>>, Diagnostics> {
    check(plan, inputs, batch)?;
    let mut results = buffers(plan, batch);
    for task in cut(plan, &mut results, batch, plan.chunk) {
        run_task(plan, workspace, inputs, task)?;
    }
    Ok(results)
}

fn buffers(plan: &FloatPlan, batch: usize) -> Vec<Vec<f32>> {
    plan.outputs.iter().map(|o| vec![0.0; o.1 * batch]).collect()
}

fn cut<'o>(plan: &FloatPlan, results: &'o mut [Vec<f32>], batch: usize, chunk: usize) -> Vec<Task<'o, f32>> {
    let sizes: Vec<usize> = plan.outputs.iter().map(|o| o.1).collect();
    tasks(results.iter_mut().map(Vec::as_mut_slice).collect(), &sizes, batch, chunk)
}

fn check(plan: &FloatPlan, inputs: &[&[f32]], batch: usize) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    if inputs.len() != plan.inputs.len() {
        let text = format!("the model has {} inputs, {} were given", plan.inputs.len(), inputs.len());
        found.push(Diagnostic::error(Location::default(), text));
    }
    for ((name, len), given) in plan.inputs.iter().zip(inputs) {
        if len.checked_mul(batch) != Some(given.len()) {
            let text =
                format!("input `{name}`: {batch} samples of {len} values, but {} were given", given.len());
            found.push(Diagnostic::error(Location::default(), text));
        }
    }
    found.into_result(())
}

fn run_task(
    plan: &FloatPlan,
    workspace: &mut Buffers,
    inputs: &[&[f32]],
    task: Task<f32>,
) -> Result<(), Diagnostics> {
    let Buffers { local, shared, scratch } = workspace;
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
    for ((source, len), to) in plan.outputs.iter().zip(task.outputs) {
        match source {
            Source::Const(t) => {
                let data = t.as_f32().unwrap_or(&[]);
                to.chunks_exact_mut((*len).max(1)).for_each(|sample| sample.copy_from_slice(data));
            }
            _ => to.copy_from_slice(Halves::of(shared).source(
                &chunk,
                source,
                0,
                task.count,
                &Halves::of(local),
            )),
        }
    }
    Ok(())
}

struct Chunk<'a> {
    plan: &'a FloatPlan,
    inputs: &'a [&'a [f32]],
    start: usize,
}

impl<'a> Halves<'a, f32> {
    /// The values of `count` samples from `sample` on; `self` is the shared arena.
    fn source(
        &self,
        chunk: &Chunk<'a>,
        source: &'a Source,
        sample: usize,
        count: usize,
        local: &Halves<'a, f32>,
    ) -> &'a [f32] {
        match source {
            Source::Input(i) => {
                let len = chunk.plan.inputs[*i].1;
                &chunk.inputs[*i][(chunk.start + sample) * len..][..count * len]
            }
            Source::Const(t) => t.as_f32().unwrap_or(&[]),
            Source::Buffer(place) => {
                let arena = if place.shared { self } else { local };
                arena.slice(chunk.begin(place, sample), place.len * count)
            }
        }
    }
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

    fn step(
        &self,
        step: &'a Step,
        sample: usize,
        count: usize,
        local: &'a mut [f32],
        shared: &'a mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), Diagnostics> {
        let (begin, len) = (self.begin(&step.to, sample), step.to.len * count);
        let (local, shared, to) = if step.to.shared {
            let (shared, to) = Halves::split(shared, begin, len);
            (Halves::of(local), shared, to)
        } else {
            let (local, to) = Halves::split(local, begin, len);
            (local, Halves::of(shared), to)
        };
        let from: Vec<&[f32]> =
            step.sources.iter().map(|s| shared.source(self, s, sample, count, &local)).collect();
        step.work.run(self.isa(), count, &from, to, scratch).map_err(|e| kernel_fault(step.at.clone(), &e))
    }

    fn isa(&self) -> Isa {
        self.plan.isa
    }
}
