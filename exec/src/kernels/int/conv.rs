//! Convolution of integers over one to three spatial axes, channels last; a dense layer is one over a single pixel.
//!
//! In: samples one after another, each [depth, height, width, channels], as words; weights [out, kd, kh, kw, in / groups];
//! what every sum can be. Out: codes of the same form. Sums are exact. Refused: shapes that do not fit together; nothing
//! is built where operands have more than 16 bits or a sum of two products leaves 32 (callers have the definition).

use super::super::conv::ConvShape;
use super::super::error::{KernelError, at_least, exactly, product};
use super::super::isa::Isa;
use super::depthwise::Depthwise;
use super::post::{Post, PostSpec};
use super::product::{Matrix, Product, Rows};
use super::stage::{SLACK, Stage};
use super::winograd::{self, Winograd};
use super::word::{Code, Word, bytes_of, view, view_mut};

/// A convolution to be built.
pub struct ConvSpec<'a> {
    /// The shape.
    pub shape: &'a ConvShape,
    /// The word of the input, and the least and the greatest code.
    pub input: (Word, (i64, i64)),
    /// The weights.
    pub weights: &'a [i64],
    /// The bias, or zeros.
    pub bias: &'a [i64],
    /// The least and the greatest sum of each channel, bias included.
    pub sums: &'a [(i128, i128)],
    /// What happens to sums.
    pub post: &'a PostSpec,
    /// Whether the greatest code of every 2 × 2 pixels is wanted alone, those of a last odd row or column not at all. What
    /// happens to sums must keep their order.
    pub pooled: bool,
    /// The word of the result.
    pub out: Word,
}

#[derive(Clone, Debug)]
enum Method {
    /// One matrix per group, with the place of the group's first input and output.
    Direct(Vec<(Product, usize, usize)>),
    Depthwise(Box<Depthwise>),
    Winograd(Box<Winograd>),
}

/// A convolution ready to run.
#[derive(Clone, Debug)]
pub struct Conv {
    stage: Stage,
    method: Method,
    rows: Rows,
    /// Pixels that are staged together, where pixels do not overlap.
    pixels: Option<usize>,
    /// Whether inputs are staged as bytes.
    quads: bool,
    in_place: bool,
    input_len: usize,
    output_len: usize,
    words: (Word, Word),
}

/// 16-bit numbers that are staged together at most.
const STAGED: usize = 128 * 1024;

impl Conv {
    /// Builds it; nothing where these kernels cannot compute it.
    pub fn new(isa: Isa, spec: &ConvSpec) -> Result<Option<Conv>, KernelError> {
        let shape = spec.shape;
        let output = shape.output()?;
        let channels = shape.out_channels;
        exactly("convolution weights", spec.weights.len(), shape.weights_len()?)?;
        exactly("convolution bias", spec.bias.len(), channels)?;
        exactly("ranges of sums", spec.sums.len(), channels)?;
        let [d, h, w] = shape.input;
        let input_len = product("convolution input", &[d, h, w, shape.in_channels])?;
        let output_len = product("convolution output", &[output[0], output[1], output[2], channels])?;
        if input_len == 0 || output_len == 0 || spec.weights.is_empty() {
            return Ok(None);
        }
        let (word, range) = spec.input;
        let depthwise = shape.groups > 1 && shape.in_channels == shape.groups;
        let repeat = if depthwise { channels / shape.groups } else { 1 };
        let pointwise = shape.kernel == [1; 3] && shape.stride == [1; 3];
        let pads = [shape.pad_begin, shape.pad_end];
        let pixels = (pointwise && pads == [[0; 3]; 2] && !depthwise)
            .then(|| (STAGED / shape.in_channels.max(1)).max(8));
        let winograd = !isa.has_vnni() && winograd::suits(spec, output);
        let quads = !depthwise && !winograd && by_quads(isa, spec);
        let Some(offset) = (if quads { byte_offset(range) } else { offset(range) }) else { return Ok(None) };
        let stage = Stage::new(shape.input, (shape.in_channels, repeat), pads[0], pads[1], word, offset)?;
        let fast = match winograd && offset == 0 {
            true => Winograd::new(isa, spec, &stage, output)?.map(|w| Method::Winograd(Box::new(w))),
            false => None,
        };
        let direct = || method(isa, spec, &stage, (depthwise, quads));
        // Only the tiles of Winograd's form, which have 2 × 2 pixels, are pooled.
        if spec.pooled && (fast.is_none() || !spec.post.keeps_order()) {
            return Ok(None);
        }
        let Some(method) = fast.map_or_else(direct, |f| Ok(Some(f)))? else { return Ok(None) };
        let (group, staged) = if quads { (4, Word::U8) } else { (2, Word::I16) };
        let whole = (shape.in_channels / shape.groups).is_multiple_of(group);
        Ok(Some(Conv {
            in_place: stage.in_place(staged) && !depthwise && whole,
            rows: rows(shape, &stage, output),
            stage,
            method,
            pixels,
            quads,
            input_len,
            output_len: match spec.pooled {
                true => output[0] * (output[1] / 2) * (output[2] / 2) * channels,
                false => output_len,
            },
            words: (word, spec.out),
        }))
    }

    /// Whether a sample meets so many weights only once that samples should share them.
    pub fn wants_company(&self) -> bool {
        const FAR_FROM_CACHE: usize = 32 * 1024;
        self.pixels.is_some()
            && self.input_len == self.stage.channels()
            && self.input_len.saturating_mul(self.output_len) > FAR_FROM_CACHE
    }

    /// Elements per input sample.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// Elements per output sample.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// Bytes of scratch memory that [`Conv::run`] needs, whatever the batch.
    pub fn scratch_len(&self) -> usize {
        let own = if let Method::Winograd(w) = &self.method { w.scratch_len() } else { 0 };
        self.staged_len() + own
    }

    /// Bytes of it in which inputs are staged.
    fn staged_len(&self) -> usize {
        let size = if self.quads { 1 } else { 2 };
        size * match self.pixels {
            _ if self.in_place => 0,
            // A caller may give many samples at once.
            Some(pixels) => pixels * self.stage.channels() + SLACK,
            None => self.stage.len(),
        }
    }

    /// Convolves `batch` samples. The contents of `scratch`, which begins on the boundary of a 16-bit word, do not matter
    /// before, and mean nothing after.
    pub fn run(
        &self,
        batch: usize,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let bytes = |len: usize, word: Word| product("convolution", &[batch, len, word.bytes()]);
        exactly("convolution input", input.len(), bytes(self.input_len, self.words.0)?)?;
        exactly("convolution output", output.len(), bytes(self.output_len, self.words.1)?)?;
        at_least("convolution scratch", scratch.len(), self.scratch_len())?;
        if batch == 0 {
            return Ok(());
        }
        let (staged, rest) = scratch.split_at_mut(self.staged_len());
        match self.quads {
            true => self.run_staged::<u8>(batch, input, output, staged, rest),
            false => self.run_staged::<i16>(batch, input, output, view_mut(staged), rest),
        }
    }

    /// [`Conv::run`] with a place for staged inputs.
    fn run_staged<S: Code>(
        &self,
        batch: usize,
        input: &[u8],
        output: &mut [u8],
        staged: &mut [S],
        rest: &mut [u8],
    ) -> Result<(), KernelError> {
        exactly("convolution scratch", size_of_val(staged), self.staged_len())?;
        if let Some(pixels) = self.pixels {
            self.run_pixels(pixels, input, output, staged);
            return Ok(());
        }
        if !self.in_place {
            self.stage.clear(staged);
        }
        let (from, to) = (input.len() / batch, output.len() / batch);
        for (sample, output) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)) {
            if self.in_place {
                self.sample(self.rows, view::<S>(sample), output, rest);
            } else {
                self.stage.copy(sample, staged);
                self.sample(self.rows, staged, output, rest);
            }
        }
        Ok(())
    }

    /// Pixels of all samples, one as the other.
    fn run_pixels<S: Code>(&self, pixels: usize, input: &[u8], output: &mut [u8], staged: &mut [S]) {
        let (from, to) =
            (self.stage.channels() * self.words.0.bytes(), self.rows.c_stride * self.words.1.bytes());
        if !self.in_place {
            staged[pixels * self.stage.channels()..].fill(S::set(0));
        }
        for (input, output) in input.chunks(pixels * from).zip(output.chunks_mut(pixels * to)) {
            let rows = Rows { pixels: input.len() / from, outer: [(1, 0); 2], ..self.rows };
            if self.in_place {
                self.sample(rows, view::<S>(input), output, &mut []);
            } else {
                super::stage::words(self.words.0, input, self.stage.offset(), staged);
                self.sample(rows, staged, output, &mut []);
            }
        }
    }

    fn sample<S: Code>(&self, rows: Rows, a: &[S], output: &mut [u8], rest: &mut [u8]) {
        match &self.method {
            Method::Direct(groups) => {
                groups.iter().for_each(|(product, a0, c0)| product.run(rows, a, *a0, output, *c0));
            }
            // Depthwise convolutions are staged in 16 bits.
            Method::Depthwise(kernel) => kernel.run(rows, view(bytes_of(a)), output),
            // As are those of Winograd's form.
            Method::Winograd(kernel) => kernel.run(view(bytes_of(a)), output, rest),
        }
    }
}

/// Whether every sum fits 32 bits.
fn fits(spec: &ConvSpec) -> bool {
    spec.sums.iter().all(|r| r.0 >= i32::MIN.into() && r.1 <= i32::MAX.into())
}

/// Whether four products of bytes at once are exact, and the instruction set can: with VNNI they are; otherwise sums of
/// two must fit 16 bits, where the instruction (`pmaddubsw`) would saturate.
fn by_quads(isa: Isa, spec: &ConvSpec) -> bool {
    let Some(offset) = byte_offset(spec.input.1) else { return false };
    let bytes = spec.weights.iter().all(|w| i8::try_from(*w).is_ok());
    if !bytes || !fits(spec) || !isa.has_avx2() {
        return false;
    }
    let most = staged(spec, offset).1;
    // Which of a run meet depends on where it begins: any two neighbours, then.
    let ends = |pair: &[i64]| {
        let sum = |f: fn(i64) -> i64| pair.iter().map(|&w| f(w)).sum::<i64>() * most;
        sum(|w| w.max(0)) <= i16::MAX.into() && sum(|w| w.min(0)) >= i16::MIN.into()
    };
    isa.has_vnni() || spec.weights.windows(2).all(ends)
}

/// The least and the greatest number that products see: codes moved by an offset, and the padding, which is a code 0
/// moved likewise, whether the input has such a code or not.
fn staged(spec: &ConvSpec, offset: i64) -> (i64, i64) {
    let (lo, hi) = spec.input.1;
    let padded = [spec.shape.pad_begin, spec.shape.pad_end] != [[0; 3]; 2];
    let (lo, hi) = if padded { (lo.min(0), hi.max(0)) } else { (lo, hi) };
    (lo + offset, hi + offset)
}

/// What moves codes of a range into bytes without a sign.
fn byte_offset((lo, hi): (i64, i64)) -> Option<i64> {
    [0, 128].into_iter().find(|o| (0..=255).contains(&lo.saturating_add(*o)) && hi.saturating_add(*o) <= 255)
}

/// What moves codes of a range into 16 bits.
fn offset((lo, hi): (i64, i64)) -> Option<i64> {
    let fits = |offset: i64| lo + offset >= i16::MIN.into() && hi + offset <= i16::MAX.into();
    [0, i64::from(i16::MIN)].into_iter().find(|&o| lo.checked_add(o).is_some() && fits(o))
}

/// Offsets of the kernel's taps from an output's first input, in the order of the weights.
fn taps(shape: &ConvShape, padded: [usize; 3], channels: usize) -> Vec<usize> {
    let [kd, kh, kw] = shape.kernel;
    let [dd, dh, dw] = shape.dilation;
    let [_, h, w] = padded;
    let tap = |i: usize| ((i / (kh * kw) * dd * h + i / kw % kh * dh) * w + i % kw * dw) * channels;
    (0..kd * kh * kw).map(tap).collect()
}

fn method(
    isa: Isa,
    spec: &ConvSpec,
    stage: &Stage,
    (depthwise, quads): (bool, bool),
) -> Result<Option<Method>, KernelError> {
    let (shape, offset) = (spec.shape, stage.offset());
    let inputs = spec.weights.len().checked_div(shape.out_channels).unwrap_or(0);
    // What was moved by the offset is moved back in the sum, padding included.
    let start: Vec<i64> = (0..shape.out_channels)
        .map(|o| {
            let sum: i64 =
                spec.weights[o * inputs..(o + 1) * inputs].iter().fold(0, |s, w| s.wrapping_add(*w));
            spec.bias[o].wrapping_sub(sum.wrapping_mul(offset))
        })
        .collect();
    let fits = fits(spec);
    let taps = taps(shape, stage.extents(), stage.channels());
    if depthwise {
        if !fits {
            return Ok(None);
        }
        let post = Post::new(isa, spec.post, spec.sums, spec.out)?;
        return Ok(
            Depthwise::new(isa, spec.weights, &start, &taps, post).map(|d| Method::Depthwise(Box::new(d)))
        );
    }
    let (ci, co) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for offset in taps {
        match runs.last_mut() {
            Some(last) if last.0 + last.1 == offset => last.1 += ci,
            _ => runs.push((offset, ci)),
        }
    }
    let mut groups = Vec::new();
    for g in 0..shape.groups {
        let outs = g * co..(g + 1) * co;
        let mut post = spec.post.clone();
        post.map = post.map.of(outs.clone());
        let post = Post::new(isa, &post, &spec.sums[outs.clone()], spec.out)?;
        let matrix = Matrix {
            weights: &spec.weights[g * co * inputs..(g + 1) * co * inputs],
            runs: &runs,
            start: &start[outs],
            inputs: staged(spec, offset),
            fits,
            quads,
        };
        let Some(product) = Product::new(isa, &matrix, post) else { return Ok(None) };
        groups.push((product, g * ci, g * co));
    }
    Ok(Some(Method::Direct(groups)))
}

/// The output pixels of one sample, and where their inputs are.
fn rows(shape: &ConvShape, stage: &Stage, [od, oh, ow]: [usize; 3]) -> Rows {
    let (c, o) = (stage.channels(), shape.out_channels);
    let [_, h, w] = stage.extents();
    let [sd, sh, sw] = shape.stride;
    Rows { pixels: ow, a_stride: sw * c, c_stride: o, outer: [(oh, sh * w * c), (od, sd * h * w * c)] }
}
