//! Depthwise convolution: every channel with its own kernel, vectors run over channels.

use super::activation::Activation;
use super::aligned::AlignedBuffer;
use super::isa::{Isa, dispatch};
use super::packed::Rows;
use super::simd::Vector;

/// Pixels whose sums are in registers at once.
const PIXELS: usize = 6;

/// Weights [tap, channel] with bias and activation.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    isa: Isa,
    channels: usize,
    /// Offset of each tap from an output's first input.
    taps: Vec<usize>,
    weights: AlignedBuffer,
    bias: AlignedBuffer,
    activation: Activation,
}

/// What the inner loops read and write.
struct Row<'a> {
    kernel: &'a Depthwise,
    a: *const f32,
    a_stride: usize,
    c: *mut f32,
    pixels: usize,
}

impl Depthwise {
    /// Turns `weights` [channel, tap] around. Callers have checked the lengths.
    pub fn new(
        isa: Isa,
        (weights, bias): (&[f32], Option<&[f32]>),
        channels: usize,
        taps: &[usize],
        activation: Activation,
    ) -> Depthwise {
        assert_eq!(weights.len(), channels * taps.len(), "depthwise weights");
        let mut packed = AlignedBuffer::zeroed(weights.len());
        for (c, row) in weights.chunks_exact(taps.len().max(1)).enumerate() {
            for (t, &w) in row.iter().enumerate() {
                packed[t * channels + c] = w;
            }
        }
        let bias = match bias {
            Some(bias) => AlignedBuffer::from_slice(bias),
            None => AlignedBuffer::zeroed(channels),
        };
        assert_eq!(bias.len(), channels, "depthwise bias");
        Depthwise { isa, channels, taps: taps.to_vec(), weights: packed, bias, activation }
    }

    /// Convolves one padded sample.
    pub fn run(&self, rows: Rows, a: &[f32], c: &mut [f32]) {
        let [(n0, a0, c0), (n1, a1, c1), (n2, ..)] = rows.outer;
        if rows.pixels == 0 || n0 == 0 || n1 == 0 || self.channels == 0 {
            return;
        }
        assert_eq!(n2, 1, "one sample");
        assert_eq!(rows.c_stride, self.channels, "one output per channel");
        let far_a = (rows.pixels - 1) * rows.a_stride + (n0 - 1) * a0 + (n1 - 1) * a1;
        let far_c = (rows.pixels - 1) * rows.c_stride + (n0 - 1) * c0 + (n1 - 1) * c1;
        let reach = self.taps.iter().max().map_or(0, |t| t + self.channels);
        assert!(far_a + reach <= a.len(), "input too short for the plan");
        assert!(far_c + self.channels <= c.len(), "output too short for the plan");
        for i1 in 0..n1 {
            for i0 in 0..n0 {
                let row = Row {
                    kernel: self,
                    a: a[i1 * a1 + i0 * a0..].as_ptr(),
                    a_stride: rows.a_stride,
                    c: c[i1 * c1 + i0 * c0..].as_mut_ptr(),
                    pixels: rows.pixels,
                };
                // SAFETY: the asserts above bound the inputs and outputs of the last row, which reaches furthest.
                unsafe { dispatch!(self.isa, |row: &Row<'_>|, row_of, &row) }
            }
        }
    }
}

/// One row of output pixels, all channels.
///
/// # Safety
/// For every pixel, all taps and channels must be readable and all channels writable; features of `V`.
#[inline(always)]
unsafe fn row_of<V: Vector>(row: &Row<'_>) {
    let channels = row.kernel.channels;
    let mut p = 0;
    while p < row.pixels {
        let n = PIXELS.min(row.pixels - p);
        let mut c = 0;
        while c < channels {
            let lanes = V::LANES.min(channels - c);
            // SAFETY: the pixels p .. p + n and the channels c .. c + lanes exist.
            unsafe {
                match (n == PIXELS, lanes == V::LANES) {
                    (true, true) => pixels::<V, PIXELS, true>(row, p, c, lanes),
                    (true, false) => pixels::<V, PIXELS, false>(row, p, c, lanes),
                    (false, true) => (p..p + n).for_each(|p| pixels::<V, 1, true>(row, p, c, lanes)),
                    (false, false) => (p..p + n).for_each(|p| pixels::<V, 1, false>(row, p, c, lanes)),
                }
            }
            c += lanes;
        }
        p += n;
    }
}

/// `N` pixels from `p` on, `lanes` channels from `c` on (`FULL`: a whole vector of them).
///
/// # Safety
/// As [`row_of`], for these pixels and channels.
#[inline(always)]
unsafe fn pixels<V: Vector, const N: usize, const FULL: bool>(
    row: &Row<'_>,
    p: usize,
    c: usize,
    lanes: usize,
) {
    let k = row.kernel;
    // SAFETY: the caller's contract; `weights` holds `channels` values per tap, `bias` `channels` values.
    unsafe {
        let load = |from: *const f32| {
            if FULL { V::load(from) } else { V::load_part(from, lanes, 0.0) }
        };
        let mut acc = [V::splat(0.0); N];
        let a = row.a.add(p * row.a_stride + c);
        let mut w = k.weights.as_ptr().add(c);
        for &tap in &k.taps {
            let weight = load(w);
            w = w.wrapping_add(k.channels);
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = load(a.add(tap + i * row.a_stride)).mul_add(weight, *acc);
            }
        }
        let bias = load(k.bias.as_ptr().add(c));
        let out = row.c.add(p * k.channels + c);
        for (i, acc) in acc.into_iter().enumerate() {
            let v = k.activation.vector(acc.add(bias));
            let to = out.add(i * k.channels);
            if FULL {
                v.store(to);
            } else {
                v.store_part(to, lanes);
            }
        }
    }
}
