//! Max pooling of packed maps: OR.
//!
//! In and out: samples [depth, height, width, words]. Padding never wins: its bits are 0.

use super::super::error::{KernelError, exactly, product};
use super::super::pool::PoolShape;
use super::{BITS, words, words_mut};

/// A max pooling of bits ready to run.
#[derive(Clone, Debug)]
pub struct BitPool {
    shape: PoolShape,
    output: [usize; 3],
    depth: usize,
}

impl BitPool {
    /// Refuses shapes that have no meaning.
    pub fn new(shape: &PoolShape) -> Result<BitPool, KernelError> {
        let output = shape.output()?;
        let depth = shape.channels.div_ceil(BITS);
        for [d, h, w] in [shape.input, output] {
            product("pooling", &[d, h, w, depth])?;
        }
        Ok(BitPool { shape: shape.clone(), output, depth })
    }

    /// Pools `batch` samples.
    pub fn run(&self, batch: usize, x: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        let (x, to) = (words(x), words_mut(to));
        let [input, output] =
            [self.shape.input, self.output].map(|e| e.iter().product::<usize>() * self.depth);
        exactly("packed pooling input", x.len(), batch * input)?;
        exactly("packed pooling output", to.len(), batch * output)?;
        for (x, to) in x.chunks_exact(input.max(1)).zip(to.chunks_exact_mut(output.max(1))) {
            self.sample(x, to);
        }
        Ok(())
    }

    fn sample(&self, x: &[u64], to: &mut [u64]) {
        let s = &self.shape;
        let [_, oh, ow] = self.output;
        let [_, h, w] = s.input;
        for (p, to) in to.chunks_exact_mut(self.depth).enumerate() {
            let at = [p / (oh * ow), p / ow % oh, p % ow];
            let cells = |i: usize| {
                let first = at[i] * s.stride[i];
                let all =
                    (0..s.kernel[i]).map(move |t| (first + t * s.dilation[i]).wrapping_sub(s.pad_begin[i]));
                all.filter(move |&cell| cell < s.input[i])
            };
            to.fill(0);
            for z in cells(0) {
                for y in cells(1) {
                    for x_at in cells(2) {
                        let x = &x[((z * h + y) * w + x_at) * self.depth..][..self.depth];
                        to.iter_mut().zip(x).for_each(|(to, x)| *to |= x);
                    }
                }
            }
        }
    }
}
