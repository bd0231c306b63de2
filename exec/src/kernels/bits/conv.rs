//! Convolution of packed maps over one to three spatial axes; a dense layer is one whose kernel is all of its input.
//!
//! In: samples [depth, height, width, words]; weights [out, kd, kh, kw, in] of −1 and +1. Out: sums in any word of integers,
//! or the packed bits of `sum ≥ threshold`. Refuses: groups, weights that are not ±1, sums beyond 32 bits, and maps
//! whose border has so many classes that a table of them would be large ([`BitConv::new`] gives nothing).
//!
//! The words that a pixel sees are gathered into a row; what the number of bits in which it differs from the weights means
//! is said by [`unfloat_ir::xnor`].

use super::super::conv::ConvShape;
use super::super::error::{KernelError, at_least, exactly, product};
use super::super::int::{Code, Word, by_word, view_mut};
use super::super::isa::Isa;
use super::count::{Counter, LANES, Sink};
use super::{BITS, words, words_mut};
use unfloat_ir::xnor::{self, Border, Sliding};

/// Pixels that meet a group of weights one after another.
const TILE: usize = 32;

/// Most pixels, and most steps that the table of limits may take.
const MOST: usize = 1 << 24;

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
    border: Border,
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
        let Some(mut conv) = Self::unpacked(isa, spec)? else { return Ok(None) };
        let ones = conv.pack(spec.weights);
        conv.fill(&ones, spec.bias, spec.output);
        Ok(Some(conv))
    }

    /// Everything but the weights and the table.
    fn unpacked(isa: Isa, spec: &BitConvSpec) -> Result<Option<BitConv>, KernelError> {
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
        let border = Border::of(&Sliding {
            input: shape.input,
            output,
            kernel: shape.kernel,
            stride: shape.stride,
            dilation: shape.dilation,
            pad_begin: shape.pad_begin,
        });
        let channels = shape.out_channels.next_multiple_of(LANES);
        // Each entry is a sum over the taps.
        let work = border.classes().saturating_mul(channels).saturating_mul(kd * kh * kw);
        if work > MOST {
            return Ok(None);
        }
        let depth = shape.in_channels.div_ceil(BITS);
        let [_, oh, ow] = output;
        let class = |p: usize| border.class([p / (oh * ow), p / ow % oh, p % ow]) as u32;
        Ok(Some(BitConv {
            counter: Counter::of(isa),
            shape: shape.clone(),
            output,
            depth,
            row: kd * kh * kw * depth,
            weights: Vec::new(),
            channels,
            class: (0..pixels).map(class).collect(),
            table: vec![-1; border.classes() * channels],
            border,
            sums: match out {
                BitOutput::Sums(word) => Some(word),
                BitOutput::Bits(_) => None,
            },
        }))
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
                let word = xnor::word(part);
                let k = tap_at * self.depth + i;
                self.weights[(channel / LANES * self.row + k) * LANES + channel % LANES] = word;
                ones[at] += word.count_ones();
            }
        }
        ones
    }

    /// Fills the table of every border class.
    fn fill(&mut self, ones: &[u32], bias: &[i64], out: BitOutput) {
        let bases = self.border.bases(self.shape.kernel, self.shape.in_channels, ones, bias);
        let rows = self.table.chunks_exact_mut(self.channels).zip(bases.chunks_exact(bias.len()));
        for (row, bases) in rows {
            for (c, (to, &base)) in row.iter_mut().zip(bases).enumerate() {
                *to = match out {
                    BitOutput::Sums(_) => base,
                    BitOutput::Bits(limits) => {
                        let t = limits.get(c).or(limits.first()).copied().unwrap_or(i64::MAX);
                        xnor::limit(base, t)
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
            let [(z0, zn), (y0, yn), (x0, xn)] =
                std::array::from_fn(|a| self.border.taps[a][self.border.kinds[a][at[a]] as usize]);
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
