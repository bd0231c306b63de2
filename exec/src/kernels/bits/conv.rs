//! Convolution of packed maps over one to three spatial axes; a dense layer is one whose kernel is all of its input.
//!
//! In: samples [depth, height, width, words]; weights [out, kd, kh, kw, in] of −1 and +1. Out: sums in any word of integers,
//! or the packed bits of `sum ≥ threshold`. Refuses: groups, weights that are not ±1, sums beyond 32 bits, and maps
//! whose border has so many classes that a table of them would be large ([`BitConv::new`] gives nothing).
//!
//! The words that a pixel sees are gathered into a row; P is the number of bits in which it differs from the weights.
//! Padding is 0, a third value: its bits are 0, so it differs where the weight is +1, `pw` times. With `n` inputs that
//! are there, the sum is `n − 2 (P − pw)`. `n` and `pw` are the same for all pixels of a border class.

use super::super::conv::ConvShape;
use super::super::error::{KernelError, at_least, exactly, product};
use super::super::int::{Code, Word, by_word, view_mut};
use super::super::isa::Isa;
use super::count::{Counter, LANES, Sink};
use super::{BITS, words, words_mut};
use std::collections::BTreeMap;

/// Pixels that meet a group of weights one after another.
const TILE: usize = 32;

/// Most pixels, and most steps that the table of limits may take.
const MOST: usize = 1 << 24;

/// Along each axis, the first tap inside the input and how many there are.
type Taps = [(usize, usize); 3];

/// What comes out.
#[derive(Clone, Copy, Debug)]
pub enum BitOutput<'a> {
    /// Sums in a word that holds them.
    Sums(Word),
    /// For each channel, or for all, the least sum whose bit is 1.
    Bits(&'a [i64]),
}

/// A convolution to be built.
#[derive(Clone, Copy, Debug)]
pub struct BitConvSpec<'a> {
    /// Its shape.
    pub shape: &'a ConvShape,
    /// Codes −1 and +1, [out, kernel, in].
    pub weights: &'a [i64],
    /// What is added to the sums of each channel.
    pub bias: &'a [i64],
    /// What comes out.
    pub output: BitOutput<'a>,
}

/// A convolution of bits ready to run.
#[derive(Clone, Debug)]
pub struct BitConv {
    counter: Counter,
    shape: ConvShape,
    output: [usize; 3],
    /// Along each axis, for each output, the first tap inside the input and how many there are.
    taps: [Vec<(usize, usize)>; 3],
    /// Words of an input pixel.
    depth: usize,
    /// Words of a row: of all that an output pixel sees.
    row: usize,
    weights: Vec<u64>,
    /// Output channels in whole groups.
    channels: usize,
    /// The border class of each output pixel.
    class: Vec<u32>,
    /// For each class and channel: the sum at P = 0, or the greatest P whose bit is 1.
    table: Vec<i64>,
    /// The word of sums, or bits.
    sums: Option<Word>,
}

impl BitConv {
    /// Whether there is a kernel for this; [`BitConv::new`] gives one exactly then.
    pub fn takes(isa: Isa, spec: &BitConvSpec) -> Result<bool, KernelError> {
        Ok(Self::unpacked(isa, spec)?.is_some())
    }

    /// Packs weights; nothing where another kernel is needed.
    pub fn new(isa: Isa, spec: &BitConvSpec) -> Result<Option<BitConv>, KernelError> {
        let Some((mut conv, classes)) = Self::unpacked(isa, spec)? else { return Ok(None) };
        let ones = conv.pack(spec.weights);
        conv.fill(&classes, &ones, spec.bias, spec.output);
        Ok(Some(conv))
    }

    /// Everything but the weights and the table, and the taps of each border class.
    fn unpacked(isa: Isa, spec: &BitConvSpec) -> Result<Option<(BitConv, Vec<Taps>)>, KernelError> {
        let BitConvSpec { shape, weights, bias, output: out } = *spec;
        let output = shape.output()?;
        exactly("convolution weights", weights.len(), shape.weights_len()?)?;
        exactly("convolution bias", bias.len(), shape.out_channels)?;
        let [kd, kh, kw] = shape.kernel;
        let seen = product("convolution window", &[kd, kh, kw, shape.in_channels.next_multiple_of(BITS)])?;
        let pixels = product("convolution output", &output)?;
        let narrow = seen < 1 << 28 && bias.iter().all(|b| b.unsigned_abs() < 1 << 30);
        let sized = pixels > 0 && pixels < MOST && seen > 0 && shape.out_channels > 0;
        if shape.groups != 1 || !narrow || !sized || !weights.iter().all(|w| w.abs() == 1) {
            return Ok(None);
        }
        let taps: [Vec<_>; 3] =
            std::array::from_fn(|i| (0..output[i]).map(|at| inside(shape, i, at)).collect());
        let (class, classes) = classes(&taps);
        let channels = shape.out_channels.next_multiple_of(LANES);
        // Each entry is a sum over the taps.
        let work = classes.len().saturating_mul(channels).saturating_mul(kd * kh * kw);
        if work > MOST {
            return Ok(None);
        }
        let depth = shape.in_channels.div_ceil(BITS);
        let conv = BitConv {
            counter: Counter::of(isa),
            shape: shape.clone(),
            output,
            taps,
            depth,
            row: kd * kh * kw * depth,
            weights: Vec::new(),
            channels,
            class,
            table: vec![-1; classes.len() * channels],
            sums: match out {
                BitOutput::Sums(word) => Some(word),
                BitOutput::Bits(_) => None,
            },
        };
        Ok(Some((conv, classes)))
    }

    /// Packs the weights; the number of ones of each channel and tap.
    fn pack(&mut self, weights: &[i64]) -> Vec<u32> {
        let inputs = self.shape.in_channels;
        self.weights = vec![0; self.channels * self.row];
        let per_channel = self.row / self.depth;
        let mut ones = vec![0; self.shape.out_channels * per_channel];
        for (at, tap) in weights.chunks_exact(inputs).enumerate() {
            let (channel, tap_at) = (at / per_channel, at % per_channel);
            for (i, part) in tap.chunks(BITS).enumerate() {
                let word = part.iter().rev().fold(0u64, |word, &w| word << 1 | u64::from(w > 0));
                let k = tap_at * self.depth + i;
                self.weights[(channel / LANES * self.row + k) * LANES + channel % LANES] = word;
                ones[at] += word.count_ones();
            }
        }
        ones
    }

    /// Fills the table of every border class.
    fn fill(&mut self, classes: &[Taps], ones: &[u32], bias: &[i64], out: BitOutput) {
        let [kd, kh, kw] = self.shape.kernel;
        for (class, &[z, y, x]) in classes.iter().enumerate() {
            let within = |(first, count): (usize, usize), at: usize| at >= first && at - first < count;
            let present = (z.1 * y.1 * x.1 * self.shape.in_channels) as i64;
            for (c, &bias) in bias.iter().enumerate() {
                let ones = &ones[c * kd * kh * kw..][..kd * kh * kw];
                let outside = |at: &usize| {
                    !(within(z, at / (kh * kw)) && within(y, at / kw % kh) && within(x, at % kw))
                };
                let padded: i64 = (0..ones.len()).filter(outside).map(|at| i64::from(ones[at])).sum();
                let base = present + 2 * padded + bias;
                self.table[class * self.channels + c] = match out {
                    BitOutput::Sums(_) => base,
                    // base − 2 P ≥ t, in P; no sum has more than 32 bits.
                    BitOutput::Bits(limits) => {
                        let t = limits.get(c).or(limits.first()).copied().unwrap_or(i64::MAX);
                        (base - t.clamp(-(1 << 40), 1 << 40)).div_euclid(2)
                    }
                };
            }
        }
    }

    /// Bytes of scratch memory.
    pub fn scratch_len(&self) -> usize {
        TILE * (self.row * 8 + self.channels * 4)
    }

    /// Runs on `batch` samples.
    pub fn run(&self, batch: usize, x: &[u8], to: &mut [u8], scratch: &mut [u8]) -> Result<(), KernelError> {
        let pixels = self.class.len();
        let x = words(x);
        let input: usize = self.shape.input.iter().product::<usize>() * self.depth;
        exactly("packed input", x.len(), batch * input)?;
        at_least("scratch", scratch.len(), self.scratch_len())?;
        let (rows, counts) = scratch[..self.scratch_len()].split_at_mut(TILE * self.row * 8);
        let rows = words_mut(rows);
        exactly("scratch on a word's boundary", rows.len(), TILE * self.row)?;
        let width = self.shape.out_channels;
        match self.sums {
            None => {
                let (stride, to) = (width.div_ceil(BITS), words_mut(to));
                exactly("packed output", to.len(), batch * pixels * stride)?;
                to.fill(0);
                for (x, to) in x.chunks_exact(input).zip(to.chunks_exact_mut(pixels * stride)) {
                    for (t, to) in to.chunks_mut(TILE * stride).enumerate() {
                        let first = t * TILE;
                        let n = to.len() / stride;
                        self.gather(x, first, &mut rows[..n * self.row]);
                        let class = &self.class[first..first + n];
                        let (limits, channels) = (&self.table, self.channels);
                        let mut sink = Sink::Bits { to, stride, limits, rows: class, channels };
                        self.counter.run(self.row, &rows[..n * self.row], &self.weights, &mut sink);
                    }
                }
            }
            Some(word) => {
                let counts = self::counts(counts);
                exactly("packed sums", to.len(), batch * pixels * width * word.bytes())?;
                let samples = to.chunks_exact_mut(pixels * width * word.bytes());
                for (x, to) in x.chunks_exact(input).zip(samples) {
                    by_word!(word, T => self.sums::<T>(x, view_mut(to), rows, counts), ());
                }
            }
        }
        Ok(())
    }

    /// The sums of one sample.
    fn sums<T: Code>(&self, x: &[u64], to: &mut [T], rows: &mut [u64], counts: &mut [u32]) {
        let width = self.shape.out_channels;
        for (t, to) in to.chunks_mut(TILE * width).enumerate() {
            let first = t * TILE;
            let n = to.len() / width;
            self.gather(x, first, &mut rows[..n * self.row]);
            let mut sink = Sink::Counts { to: counts, stride: self.channels };
            self.counter.run(self.row, &rows[..n * self.row], &self.weights, &mut sink);
            let pixels = to.chunks_exact_mut(width).zip(counts.chunks_exact(self.channels));
            for ((to, counts), &class) in pixels.zip(&self.class[first..]) {
                let base = &self.table[class as usize * self.channels..][..width];
                for ((to, &n), &base) in to.iter_mut().zip(counts).zip(base) {
                    *to = T::set(base - 2 * i64::from(n));
                }
            }
        }
    }

    /// The words that output pixels from `first` on see.
    fn gather(&self, x: &[u64], first: usize, rows: &mut [u64]) {
        let s = &self.shape;
        let [_, oh, ow] = self.output;
        let [_, h, w] = s.input;
        let [_, kh, kw] = s.kernel;
        let depth = self.depth;
        for (i, row) in rows.chunks_exact_mut(self.row).enumerate() {
            let at = [(first + i) / (oh * ow), (first + i) / ow % oh, (first + i) % ow];
            let [(z0, zn), (y0, yn), (x0, xn)] = std::array::from_fn(|a| self.taps[a][at[a]]);
            if zn * yn * xn * depth < self.row {
                row.fill(0);
            }
            let cell = |a: usize, tap: usize| at[a] * s.stride[a] + tap * s.dilation[a] - s.pad_begin[a];
            for z in z0..z0 + zn {
                for y in y0..y0 + yn {
                    let from = (cell(0, z) * h + cell(1, y)) * w;
                    let to = (z * kh + y) * kw;
                    // Neighbouring cells lie together.
                    let (runs, len) = if s.dilation[2] == 1 { (xn.min(1), xn) } else { (xn, 1) };
                    for x_tap in x0..x0 + runs {
                        let from = (from + cell(2, x_tap)) * depth;
                        row[(to + x_tap) * depth..][..len * depth].copy_from_slice(&x[from..][..len * depth]);
                    }
                }
            }
        }
    }
}

/// Numbers in bytes.
fn counts(bytes: &mut [u8]) -> &mut [u32] {
    // SAFETY: every bit pattern is a number, and numbers have no padding; `align_to_mut` gives only what is aligned.
    unsafe { bytes.align_to_mut::<u32>().1 }
}

/// The taps inside the input along axis `i` for output `at`: the first, and how many.
fn inside(s: &ConvShape, i: usize, at: usize) -> (usize, usize) {
    let (first, step) = (at * s.stride[i], s.dilation[i]);
    let before = |cell: usize| cell.saturating_sub(first).div_ceil(step).min(s.kernel[i]);
    let (from, to) = (before(s.pad_begin[i]), before(s.pad_begin[i] + s.input[i]));
    (from, to - from)
}

/// The class of each output pixel, and the taps of each class.
fn classes(taps: &[Vec<(usize, usize)>; 3]) -> (Vec<u32>, Vec<Taps>) {
    let mut known = BTreeMap::new();
    let (mut class, mut all) = (Vec::new(), Vec::new());
    for &z in &taps[0] {
        for &y in &taps[1] {
            for &x in &taps[2] {
                let n = *known.entry([z, y, x]).or_insert_with(|| {
                    all.push([z, y, x]);
                    all.len() as u32 - 1
                });
                class.push(n);
            }
        }
    }
    (class, all)
}
