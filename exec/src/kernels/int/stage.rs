//! One sample in the form that integer kernels read: numbers of 16 bits, or of 8 without a sign, with codes of 0 around it.
//!
//! In: codes of any word whose numbers, moved by an offset, fit. Out: the moved numbers, channels last, padded;
//! the padding is the code 0, moved likewise. A few more numbers follow that mean nothing: kernels read two or four at once.

use super::super::error::{KernelError, product};
use super::word::{Code, Word, by_word, view};

/// Numbers behind the last that kernels may read.
pub(crate) const SLACK: usize = 32;

/// The staged form of one channels-last sample.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    input: [usize; 3],
    channels: usize,
    begin: [usize; 3],
    extents: [usize; 3],
    /// Each channel appears this many times in a row.
    repeat: usize,
    word: Word,
    offset: i64,
    len: usize,
}

impl Stage {
    /// `begin` and `end` codes of 0 around `input` pixels, each channel `repeat` times, all moved by `offset`.
    pub fn new(
        input: [usize; 3],
        (channels, repeat): (usize, usize),
        begin: [usize; 3],
        end: [usize; 3],
        word: Word,
        offset: i64,
    ) -> Result<Stage, KernelError> {
        let extents: [usize; 3] = std::array::from_fn(|i| begin[i] + input[i] + end[i]);
        let [d, h, w] = extents;
        let len = product("staged input", &[d, h, w, channels, repeat])?;
        Ok(Stage { input, channels, begin, extents, repeat, word, offset, len })
    }

    /// Extents with the padding.
    pub fn extents(&self) -> [usize; 3] {
        self.extents
    }

    /// What codes are moved by.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Channels after repetition.
    pub fn channels(&self) -> usize {
        self.channels * self.repeat
    }

    /// Whether the sample is its own staged form in such words, but for the numbers behind it.
    pub fn in_place(&self, word: Word) -> bool {
        self.word == word && self.offset == 0 && self.extents == self.input && self.repeat == 1
    }

    /// Numbers of a staged sample, those behind it included.
    pub fn len(&self) -> usize {
        self.len + SLACK
    }

    /// Writes the padding, and nothing else. [`Stage::copy`] leaves it alone, so once is enough for all samples.
    pub fn clear<S: Code>(&self, staged: &mut [S]) {
        let zero = S::set(self.offset);
        let c = self.channels();
        let [_, h, w] = self.extents;
        let inside = |i: usize, at: usize| (self.begin[i]..self.begin[i] + self.input[i]).contains(&at);
        staged[self.len..].fill(S::set(0));
        if w * c == 0 || self.extents == self.input {
            return;
        }
        let (left, right) = (self.begin[2] * c, (self.begin[2] + self.input[2]) * c);
        for (i, row) in staged[..self.len].chunks_exact_mut(w * c).enumerate() {
            if inside(0, i / h) && inside(1, i % h) {
                row[..left].fill(zero);
                row[right..].fill(zero);
            } else {
                row.fill(zero);
            }
        }
    }

    /// Writes a sample into its place.
    pub fn copy<S: Code>(&self, sample: &[u8], staged: &mut [S]) {
        by_word!(self.word, T => self.copy_words::<T, S>(view(sample), staged), ())
    }

    fn copy_words<T: Code, S: Code>(&self, sample: &[T], staged: &mut [S]) {
        let [d, h, w] = self.input;
        let [_, ph, pw] = self.extents;
        let (from, to) = (w * self.channels, w * self.channels());
        for z in 0..d {
            for y in 0..h {
                let row = &sample[(z * h + y) * from..][..from];
                let at =
                    (((z + self.begin[0]) * ph + y + self.begin[1]) * pw + self.begin[2]) * self.channels();
                let out = &mut staged[at..at + to];
                if self.repeat == 1 {
                    moved(row, self.offset, out);
                } else {
                    for (out, &x) in out.chunks_exact_mut(self.repeat).zip(row) {
                        out.fill(S::set(x.get().wrapping_add(self.offset)));
                    }
                }
            }
        }
    }
}

/// Codes as other words, moved by an offset that makes them fit.
pub(crate) fn moved<T: Code, S: Code>(from: &[T], offset: i64, to: &mut [S]) {
    to.iter_mut().zip(from).for_each(|(y, &x)| *y = S::set(x.get().wrapping_add(offset)));
}

/// [`moved`] for codes of any word of integers; what is longer than the codes stays as it is.
pub(crate) fn words<S: Code>(word: Word, from: &[u8], offset: i64, to: &mut [S]) {
    by_word!(word, T => moved::<T, S>(view(from), offset, to), ())
}
