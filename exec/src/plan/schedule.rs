//! Samples to chunks, chunks to threads: what plans of floats and of integers have in common.
//!
//! In: outputs of `T` per sample, a number of samples, a chunk. Out: tasks, each a run of samples with its own part of every
//! output, so that threads share nothing that is written. Tasks go round the threads in order, and each thread has one set of
//! buffers. Of several faults the first thread's is returned.

use unfloat_ir::Diagnostics;

/// Samples `start..start + count`, and where their outputs go.
pub(super) struct Task<'o, T> {
    pub start: usize,
    pub count: usize,
    pub outputs: Vec<&'o mut [T]>,
}

/// The chunk and the threads that so many samples keep busy.
pub(super) fn shares(chunk: usize, batch: usize, threads: usize) -> (usize, usize) {
    let chunk = chunk.min(batch.div_ceil(threads.max(1))).max(1);
    (chunk, threads.clamp(1, batch.div_ceil(chunk).max(1)))
}

/// Cuts the outputs, of `sizes` elements per sample, into chunks of samples.
pub(super) fn tasks<'o, T>(
    mut outputs: Vec<&'o mut [T]>,
    sizes: &[usize],
    batch: usize,
    chunk: usize,
) -> Vec<Task<'o, T>> {
    let task = |start: usize| {
        let count = chunk.min(batch - start);
        let parts = outputs.iter_mut().zip(sizes).map(|(rest, &n)| {
            let (head, tail) = std::mem::take(rest).split_at_mut(n * count);
            *rest = tail;
            head
        });
        Task { start, count, outputs: parts.collect() }
    };
    (0..batch).step_by(chunk).map(task).collect()
}

/// Runs the tasks on threads.
pub(super) fn spread<T: Send, B>(
    tasks: Vec<Task<T>>,
    threads: usize,
    buffers: impl Fn() -> B + Sync,
    run: impl Fn(&mut B, Task<T>) -> Result<(), Diagnostics> + Sync,
) -> Result<(), Diagnostics> {
    let mut queues: Vec<Vec<Task<T>>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, task) in tasks.into_iter().enumerate() {
        queues[i % threads].push(task);
    }
    let work = |queue: Vec<Task<T>>| {
        let mut own = buffers();
        queue.into_iter().try_for_each(|task| run(&mut own, task))
    };
    let faults: Vec<Diagnostics> = std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = queues.into_iter().map(|queue| scope.spawn(move || work(queue))).collect();
        let ends = handles.into_iter().map(|h| h.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        ends.filter_map(Result::err).collect()
    });
    // Threads may meet the same fault: one report is enough.
    faults.into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_run_once_into_its_own_place() {
        for (batch, threads) in [(1, 1), (7, 2), (10, 3), (3, 8), (0, 2)] {
            let (mut a, mut b) = (vec![0usize; batch * 2], vec![0usize; batch]);
            let (chunk, threads) = shares(4, batch, threads);
            assert!(chunk * threads <= batch.max(1) + threads * 3, "{chunk} {threads}");
            let tasks = tasks(vec![&mut a[..], &mut b[..]], &[2, 1], batch, chunk);
            let run = |own: &mut usize, task: Task<usize>| {
                *own += task.count;
                let Task { start, outputs, .. } = task;
                let [a, b] = <[&mut [usize]; 2]>::try_from(outputs).map_err(|_| Diagnostics::new())?;
                a.iter_mut().enumerate().for_each(|(i, v)| *v += 2 * start + i + 1);
                b.iter_mut().enumerate().for_each(|(i, v)| *v += start + i + 1);
                Ok(())
            };
            spread(tasks, threads, || 0, run).unwrap();
            assert_eq!(a, (1..=batch * 2).collect::<Vec<_>>());
            assert_eq!(b, (1..=batch).collect::<Vec<_>>());
        }
    }
}
