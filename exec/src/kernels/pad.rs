//! Copying a sample into a buffer with zeros around it.

use super::error::{KernelError, product};

/// The padded form of one channels-last sample.
#[derive(Clone, Debug)]
pub(crate) struct Padding {
    input: [usize; 3],
    channels: usize,
    begin: [usize; 3],
    extents: [usize; 3],
    /// Each channel appears this many times in a row: depthwise convolutions with a channel multiplier.
    repeat: usize,
    len: usize,
}

impl Padding {
    /// `begin` and `end` zeros around `input` pixels, each channel `repeat` times.
    pub fn new(
        input: [usize; 3],
        channels: usize,
        begin: [usize; 3],
        end: [usize; 3],
        repeat: usize,
    ) -> Result<Padding, KernelError> {
        let extents: [usize; 3] = std::array::from_fn(|i| begin[i] + input[i] + end[i]);
        let [d, h, w] = extents;
        Ok(Padding {
            input,
            channels,
            begin,
            extents,
            repeat,
            len: product("padded input", &[d, h, w, channels, repeat])?,
        })
    }

    /// Extents with the zeros.
    pub fn extents(&self) -> [usize; 3] {
        self.extents
    }

    /// Channels after repetition.
    pub fn channels(&self) -> usize {
        self.channels * self.repeat
    }

    /// f32 of the padded sample.
    pub fn len(&self) -> usize {
        self.len
    }

    /// False where the padded form is the sample itself.
    pub fn is_needed(&self) -> bool {
        self.extents != self.input || self.repeat != 1
    }

    /// Zeros before the sample.
    pub fn begin(&self) -> [usize; 3] {
        self.begin
    }

    /// f32 of scratch memory for [`Padding::each`].
    pub fn scratch_len(&self) -> usize {
        if self.is_needed() { self.len } else { 0 }
    }

    /// Calls `f` with each sample of `input`, padded (in `scratch`) where that is needed, and its output.
    pub fn each<'a>(
        &self,
        input: &[f32],
        input_len: usize,
        scratch: &mut [f32],
        outputs: impl Iterator<Item = &'a mut [f32]>,
        mut f: impl FnMut(&[f32], &mut [f32]),
    ) {
        let padded = &mut scratch[..self.scratch_len()];
        if self.is_needed() {
            self.clear(padded);
        }
        for (i, output) in outputs.enumerate() {
            let sample = &input[i * input_len..(i + 1) * input_len];
            if self.is_needed() {
                self.copy(sample, padded);
                f(padded, output);
            } else {
                f(sample, output);
            }
        }
    }

    /// Writes the zeros, and nothing else. [`Padding::copy`] leaves them alone, so once is enough for all samples.
    fn clear(&self, padded: &mut [f32]) {
        let c = self.channels();
        let [_, h, w] = self.extents;
        let inside = |i: usize, at: usize| (self.begin[i]..self.begin[i] + self.input[i]).contains(&at);
        let row_len = w * c;
        if row_len == 0 {
            return;
        }
        let (left, right) = (self.begin[2] * c, (self.begin[2] + self.input[2]) * c);
        for (i, row) in padded.chunks_exact_mut(row_len).enumerate() {
            if inside(0, i / h) && inside(1, i % h) {
                row[..left].fill(0.0);
                row[right..].fill(0.0);
            } else {
                row.fill(0.0);
            }
        }
    }

    /// Writes a sample into its place between the zeros.
    fn copy(&self, sample: &[f32], padded: &mut [f32]) {
        let [d, h, w] = self.input;
        let [_, ph, pw] = self.extents;
        let (from, to) = (w * self.channels, w * self.channels());
        for z in 0..d {
            for y in 0..h {
                let row = &sample[(z * h + y) * from..][..from];
                let at =
                    (((z + self.begin[0]) * ph + y + self.begin[1]) * pw + self.begin[2]) * self.channels();
                let out = &mut padded[at..at + to];
                if self.repeat == 1 {
                    out.copy_from_slice(row);
                } else {
                    for (out, &x) in out.chunks_exact_mut(self.repeat).zip(row) {
                        out.fill(x);
                    }
                }
            }
        }
    }
}
