//! Maximum over windows of integers, channels last.
//!
//! In: samples of one word; padding never wins, and no window is padding alone. Out: codes of the same word.

use super::super::error::{KernelError, exactly, product};
use super::super::isa::{Isa, Level};
use super::super::pool::PoolShape;
use super::word::{Code, Word, by_word, view, view_mut};

/// A max pooling ready to run.
#[derive(Clone, Debug)]
pub struct MaxPool {
    isa: Isa,
    shape: PoolShape,
    output: [usize; 3],
    /// Of each output along each axis, the cells inside the input: the first, and how many.
    windows: [Vec<(usize, usize)>; 3],
    word: Word,
    input_len: usize,
    output_len: usize,
}

impl MaxPool {
    /// A pooling of codes of one word.
    pub fn new(isa: Isa, shape: &PoolShape, word: Word) -> Result<MaxPool, KernelError> {
        let output = shape.output()?;
        let [d, h, w] = shape.input;
        let input_len = product("pooling input", &[d, h, w, shape.channels])?;
        let [d, h, w] = output;
        let output_len = product("pooling output", &[d, h, w, shape.channels])?;
        let windows = std::array::from_fn(|i| (0..output[i]).map(|at| inside(shape, i, at)).collect());
        Ok(MaxPool { isa, shape: shape.clone(), output, windows, word, input_len, output_len })
    }

    /// Pools `batch` samples.
    pub fn run(&self, batch: usize, input: &[u8], output: &mut [u8]) -> Result<(), KernelError> {
        let bytes = |len: usize| product("pooling", &[batch, len, self.word.bytes()]);
        exactly("pooling input", input.len(), bytes(self.input_len)?)?;
        exactly("pooling output", output.len(), bytes(self.output_len)?)?;
        if output.is_empty() {
            return Ok(());
        }
        by_word!(self.word, T => self.samples::<T>(view(input), view_mut(output)), ());
        Ok(())
    }

    fn samples<T: Code>(&self, input: &[T], output: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2<T: Code>(pool: &MaxPool, input: &[T], output: &mut [T]) {
            pool.sample(input, output);
        }
        let samples = output.chunks_exact_mut(self.output_len).zip(input.chunks_exact(self.input_len));
        for (output, input) in samples {
            match self.isa.level() {
                // SAFETY: an instruction set exists only where the machine has it.
                #[cfg(target_arch = "x86_64")]
                Level::Vnni | Level::Avx512 | Level::Avx2 => unsafe { avx2(self, input, output) },
                Level::Portable => self.sample(input, output),
            }
        }
    }

    #[inline(always)]
    fn sample<T: Code>(&self, input: &[T], output: &mut [T]) {
        let (c, step) = (self.shape.channels, self.shape.dilation);
        let [_, oh, ow] = self.output;
        let [_, h, w] = self.shape.input;
        for (row, output) in output.chunks_exact_mut(ow * c).enumerate() {
            let ((z0, depth), (y0, height)) = (self.windows[0][row / oh], self.windows[1][row % oh]);
            for (output, &(x0, width)) in output.chunks_exact_mut(c).zip(&self.windows[2]) {
                let mut first = true;
                for z in (0..depth).map(|t| z0 + t * step[0]) {
                    for y in (0..height).map(|t| y0 + t * step[1]) {
                        for x in (0..width).map(|t| x0 + t * step[2]) {
                            let input = &input[((z * h + y) * w + x) * c..][..c];
                            match first {
                                true => output.copy_from_slice(input),
                                false => greater(output, input),
                            }
                            first = false;
                        }
                    }
                }
            }
        }
    }
}

/// The cells inside the input along axis `i` for output `at`: the first, and how many.
fn inside(s: &PoolShape, i: usize, at: usize) -> (usize, usize) {
    let (first, step) = (at * s.stride[i], s.dilation[i]);
    let before = |cell: usize| cell.saturating_sub(first).div_ceil(step).min(s.kernel[i]);
    let (from, to) = (before(s.pad_begin[i]), before(s.pad_begin[i] + s.input[i]));
    ((first + from * step).saturating_sub(s.pad_begin[i]), to - from)
}

/// The greater of two, element by element.
#[inline(always)]
fn greater<T: Code>(a: &mut [T], b: &[T]) {
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = if b > *a { b } else { *a });
}
