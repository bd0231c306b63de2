//! Max and average pooling over one to three spatial axes, and the mean over all of them; channels last.
//!
//! In: samples one after another, each [depth, height, width, channels]. Out: the same form with the output's extents.
//! Cells outside the input never take part in a maximum; whether they count in an average's divisor is an option.
//! A maximum over a window without any cell is -infinity, an average over one is 0. A NaN in a window makes
//! the maximum NaN.

use super::error::{KernelError, exactly, product};
use super::isa::{Isa, dispatch};
use super::simd::Vector;

/// What a window is reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest cell.
    Max,
    /// The sum divided by the number of cells inside the input.
    Average,
    /// The sum divided by the number of cells inside the input and its declared padding
    /// ([`PoolShape::ceil_extra`] does not count).
    AveragePadded,
}

/// The shape of a pooling. Spatial axes are [depth, height, width]; 2-D has depth 1, 1-D also height 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Input extents.
    pub input: [usize; 3],
    /// Channels.
    pub channels: usize,
    /// Window extents.
    pub kernel: [usize; 3],
    /// Distance of neighbouring windows.
    pub stride: [usize; 3],
    /// Distance of neighbouring cells in a window.
    pub dilation: [usize; 3],
    /// Cells of padding before the input.
    pub pad_begin: [usize; 3],
    /// Cells of padding after the input.
    pub pad_end: [usize; 3],
    /// Cells after the padding that exist only because the output extents were rounded up.
    pub ceil_extra: [usize; 3],
}

impl PoolShape {
    /// A 2-D pooling whose stride is its kernel, without padding.
    pub fn pool2d(input: [usize; 2], channels: usize, kernel: [usize; 2]) -> PoolShape {
        let kernel = [1, kernel[0], kernel[1]];
        PoolShape {
            input: [1, input[0], input[1]],
            channels,
            kernel,
            stride: kernel,
            dilation: [1; 3],
            pad_begin: [0; 3],
            pad_end: [0; 3],
            ceil_extra: [0; 3],
        }
    }

    /// Output extents: floor((input + pads + extra - dilation * (kernel - 1) - 1) / stride) + 1, or 0.
    pub fn output(&self) -> Result<[usize; 3], KernelError> {
        if self.kernel.contains(&0) || self.stride.contains(&0) || self.dilation.contains(&0) {
            return Err(KernelError::Shape(format!(
                "pooling: kernel {:?}, stride {:?} and dilation {:?} must be at least 1",
                self.kernel, self.stride, self.dilation
            )));
        }
        let mut out = [0; 3];
        for (i, out) in out.iter_mut().enumerate() {
            let all = [self.input[i], self.pad_begin[i], self.pad_end[i], self.ceil_extra[i]];
            let limit = isize::MAX as usize / 64;
            let span = product("pooling window", &[self.kernel[i] - 1, self.dilation[i]])? + 1;
            if all.iter().any(|&n| n > limit) {
                return Err(KernelError::Shape(format!(
                    "pooling: extents {all:?} of axis {i} are too large for memory"
                )));
            }
            let padded: usize = all.iter().sum();
            *out = if padded < span { 0 } else { (padded - span) / self.stride[i] + 1 };
        }
        Ok(out)
    }
}

/// The cells of one output along one axis.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// First cell inside the input.
    first: usize,
    /// Cells inside the input.
    count: usize,
    /// Cells that count in a padded average.
    padded: usize,
}

/// A pooling ready to run.
#[derive(Clone, Debug)]
pub struct Pool {
    isa: Isa,
    shape: PoolShape,
    kind: PoolKind,
    windows: [Vec<Window>; 3],
    /// Offsets of the cells of a window that is wholly inside the input.
    cells: Vec<usize>,
    input_len: usize,
    output_len: usize,
}

impl Pool {
    /// Plans the windows.
    pub fn new(isa: Isa, shape: &PoolShape, kind: PoolKind) -> Result<Pool, KernelError> {
        let [od, oh, ow] = shape.output()?;
        let [d, h, w] = shape.input;
        let input_len = product("pooling input", &[d, h, w, shape.channels])?;
        let output_len = product("pooling output", &[od, oh, ow, shape.channels])?;
        // Outputs of zero bytes each could make the tables larger than any buffer.
        product("pooling output", &[od, oh, ow])?;
        let axis = |i: usize, n: usize| (0..n).map(|o| window(shape, i, o)).collect();
        Ok(Pool {
            isa,
            windows: if output_len == 0 {
                [Vec::new(), Vec::new(), Vec::new()]
            } else {
                [axis(0, od), axis(1, oh), axis(2, ow)]
            },
            cells: if output_len == 0 { Vec::new() } else { cells(shape) },
            shape: shape.clone(),
            kind,
            input_len,
            output_len,
        })
    }

    /// f32 per input sample.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// f32 per output sample.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// Pools `batch` samples.
    pub fn run(&self, batch: usize, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        let inputs = product("pooling input", &[batch, self.input_len])?;
        let outputs = product("pooling output", &[batch, self.output_len])?;
        exactly("pooling input", input.len(), inputs)?;
        exactly("pooling output", output.len(), outputs)?;
        if outputs == 0 {
            return Ok(());
        }
        for (i, to) in output.chunks_exact_mut(self.output_len).enumerate() {
            let from = &input[i * self.input_len..(i + 1) * self.input_len];
            // SAFETY: `from` and `to` are one sample each, which is what `sample` asks for.
            unsafe {
                let (from, to) = (from.as_ptr(), to.as_mut_ptr());
                dispatch!(self.isa, |pool: &Pool, from: *const f32, to: *mut f32|, sample, self, from, to)
            }
        }
        Ok(())
    }
}

/// The cells of output `o` along `axis`.
fn window(shape: &PoolShape, axis: usize, o: usize) -> Window {
    let (n, d) = (shape.input[axis], shape.dilation[axis]);
    let begin = shape.pad_begin[axis];
    // Positions count from the first cell of padding.
    let start = o * shape.stride[axis];
    let below = |limit: usize| limit.saturating_sub(start).div_ceil(d).min(shape.kernel[axis]);
    let skipped = below(begin);
    Window {
        first: (start + skipped * d).saturating_sub(begin),
        count: below(begin + n) - skipped,
        padded: below(begin + n + shape.pad_end[axis]),
    }
}

/// Offsets of the cells of a whole window; none where no window can lie wholly inside the input.
fn cells(shape: &PoolShape) -> Vec<usize> {
    let span = |i: usize| (shape.kernel[i] - 1) * shape.dilation[i];
    if (0..3).any(|i| span(i) >= shape.input[i]) {
        return Vec::new();
    }
    let ([kd, kh, kw], [dd, dh, dw]) = (shape.kernel, shape.dilation);
    let [_, h, w] = shape.input;
    let mut cells = Vec::with_capacity(kd * kh * kw);
    for z in 0..kd {
        for y in 0..kh {
            for x in 0..kw {
                cells.push(((z * dd * h + y * dh) * w + x * dw) * shape.channels);
            }
        }
    }
    cells
}

/// # Safety
/// `from` must be readable for an input sample, `to` writable for an output sample; features of `V`.
#[inline(always)]
unsafe fn sample<V: Vector>(pool: &Pool, from: *const f32, to: *mut f32) {
    // SAFETY: the caller's contract is that of `outputs`.
    unsafe {
        match pool.kind {
            PoolKind::Max => outputs::<V, true>(pool, from, to),
            _ => outputs::<V, false>(pool, from, to),
        }
    }
}

/// All outputs of a sample.
///
/// # Safety
/// As [`sample`].
#[inline(always)]
unsafe fn outputs<V: Vector, const MAX: bool>(pool: &Pool, from: *const f32, mut to: *mut f32) {
    let [kd, kh, kw] = pool.shape.kernel;
    let [_, h, w] = pool.shape.input;
    let channels = pool.shape.channels;
    for z in &pool.windows[0] {
        for y in &pool.windows[1] {
            let rows_whole = z.count == kd && y.count == kh;
            for x in &pool.windows[2] {
                // SAFETY: the caller's contract: the windows lie inside the sample, one output after another.
                unsafe {
                    if rows_whole && x.count == kw {
                        let first = from.add(((z.first * h + y.first) * w + x.first) * channels);
                        match pool.cells.as_slice().try_into() {
                            Ok(four) => whole_four::<V, MAX>(four, channels, first, to),
                            Err(_) => whole::<V, MAX>(&pool.cells, channels, first, to),
                        }
                    } else {
                        part::<V, MAX>(pool, [z, y, x], from, to);
                    }
                    to = to.add(channels);
                }
            }
        }
    }
}

/// One output whose window is wholly inside the input, all channels.
///
/// # Safety
/// `first + cell` must be readable for every cell, and `to` writable, for `channels` values; features of `V`.
#[inline(always)]
unsafe fn whole<V: Vector, const MAX: bool>(
    cells: &[usize],
    channels: usize,
    first: *const f32,
    to: *mut f32,
) {
    let mut c = 0;
    while c < channels {
        let lanes = V::LANES.min(channels - c);
        // SAFETY: c + lanes <= channels.
        unsafe {
            let mut acc = V::splat(if MAX { f32::NEG_INFINITY } else { 0.0 });
            for &cell in cells {
                let v = load(first.add(cell + c), lanes);
                acc = if MAX { acc.max_nan(v) } else { acc.add(v) };
            }
            if !MAX {
                acc = acc.div(V::splat(cells.len() as f32));
            }
            store(acc, to.add(c), lanes);
        }
        c += lanes;
    }
}

/// [`whole`] for the most frequent window, 2 by 2: unrolled.
///
/// # Safety
/// As [`whole`].
#[inline(always)]
unsafe fn whole_four<V: Vector, const MAX: bool>(
    cells: &[usize; 4],
    channels: usize,
    first: *const f32,
    to: *mut f32,
) {
    // SAFETY: the caller's contract; with a constant number of cells the compiler unrolls `whole`.
    unsafe { whole::<V, MAX>(cells, channels, first, to) }
}

/// One output, only the cells inside the input, all channels.
///
/// # Safety
/// As [`sample`], `to` being the output.
#[inline(always)]
unsafe fn part<V: Vector, const MAX: bool>(
    pool: &Pool,
    window: [&Window; 3],
    from: *const f32,
    to: *mut f32,
) {
    let shape = &pool.shape;
    let channels = shape.channels;
    let [_, h, w] = shape.input;
    let [dd, dh, dw] = shape.dilation;
    let [z, y, x] = window;
    let divisor = match pool.kind {
        PoolKind::AveragePadded => z.padded * y.padded * x.padded,
        _ => z.count * y.count * x.count,
    };
    let base = ((z.first * h + y.first) * w + x.first) * channels;
    let steps = [dd * h * w * channels, dh * w * channels, dw * channels];
    let mut c = 0;
    while c < channels {
        let lanes = V::LANES.min(channels - c);
        // SAFETY: the window's cells are inside the sample and c + lanes <= channels.
        unsafe {
            let mut acc = V::splat(if MAX { f32::NEG_INFINITY } else { 0.0 });
            for iz in 0..z.count {
                for iy in 0..y.count {
                    for ix in 0..x.count {
                        let at = base + c + iz * steps[0] + iy * steps[1] + ix * steps[2];
                        let v = load(from.add(at), lanes);
                        acc = if MAX { acc.max_nan(v) } else { acc.add(v) };
                    }
                }
            }
            if !MAX {
                acc = acc.div(V::splat(divisor.max(1) as f32));
            }
            store(acc, to.add(c), lanes);
        }
        c += lanes;
    }
}

/// `lanes` values, the rest 0.
///
/// # Safety
/// `p` must be readable for `lanes` <= LANES values; features of `V`.
#[inline(always)]
unsafe fn load<V: Vector>(p: *const f32, lanes: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe { if lanes == V::LANES { V::load(p) } else { V::load_part(p, lanes, 0.0) } }
}

/// Writes `lanes` values.
///
/// # Safety
/// `p` must be writable for `lanes` <= LANES values; features of `V`.
#[inline(always)]
unsafe fn store<V: Vector>(v: V, p: *mut f32, lanes: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        if lanes == V::LANES {
            v.store(p);
        } else {
            v.store_part(p, lanes);
        }
    }
}

/// Pixels summed on their own before the sums are added: errors grow with the number of sums, not of pixels.
const MEAN_BLOCK: usize = 64;

/// The mean of each channel over all `pixels` of each sample: [pixels, channels] to `[channels]`.
///
/// No pixels give 0.
pub fn global_mean(
    isa: Isa,
    (batch, pixels, channels): (usize, usize, usize),
    input: &[f32],
    output: &mut [f32],
) -> Result<(), KernelError> {
    exactly("global mean input", input.len(), product("global mean input", &[batch, pixels, channels])?)?;
    exactly("global mean output", output.len(), product("global mean output", &[batch, channels])?)?;
    if output.is_empty() {
        return Ok(());
    }
    for (i, to) in output.chunks_exact_mut(channels).enumerate() {
        let from = input[i * pixels * channels..].as_ptr();
        let to = to.as_mut_ptr();
        // SAFETY: `from` has pixels * channels values and `to` `channels`, as the checks above say.
        unsafe {
            dispatch!(isa, |from: *const f32, to: *mut f32, pixels: usize, channels: usize|, mean,
                from, to, pixels, channels)
        }
    }
    Ok(())
}

/// # Safety
/// `from` must be readable for pixels * channels values, `to` writable for `channels`; features of `V`.
#[inline(always)]
unsafe fn mean<V: Vector>(from: *const f32, to: *mut f32, pixels: usize, channels: usize) {
    let mut c = 0;
    while c < channels {
        let lanes = V::LANES.min(channels - c);
        // SAFETY: p < pixels and c + lanes <= channels.
        unsafe {
            let mut total = V::splat(0.0);
            for first in (0..pixels).step_by(MEAN_BLOCK) {
                let mut acc = V::splat(0.0);
                for p in first..pixels.min(first + MEAN_BLOCK) {
                    let at = from.add(p * channels + c);
                    acc = acc.add(if lanes == V::LANES { V::load(at) } else { V::load_part(at, lanes, 0.0) });
                }
                total = total.add(acc);
            }
            store(total.div(V::splat(pixels.max(1) as f32)), to.add(c), lanes);
        }
        c += lanes;
    }
}
