//! Depthwise convolution: every channel with its own kernel, vectors run over channels.

use super::activation::Activation;
use super::aligned::AlignedBuffer;
use super::isa::{Isa, dispatch};
use super::packed::Rows;
use super::simd::Vector;
use super::tile::split;

/// Pixels whose sums are in registers at once.
const PIXELS: usize = 8;

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
    for (p, n) in split(row.pixels, PIXELS) {
        let mut c = 0;
        while c < channels {
            let lanes = V::LANES.min(channels - c);
            // SAFETY: the pixels p .. p + n and the channels c .. c + lanes exist.
            unsafe {
                if lanes == V::LANES {
                    some_pixels::<V, true>(row, p, n, c, lanes);
                } else {
                    some_pixels::<V, false>(row, p, n, c, lanes);
                }
            }
            c += lanes;
        }
    }
}

/// [`pixels`] for `n` of them.
///
/// # Safety
/// As [`row_of`], for these pixels and channels, n <= [`PIXELS`].
#[inline(always)]
unsafe fn some_pixels<V: Vector, const FULL: bool>(
    row: &Row<'_>,
    p: usize,
    n: usize,
    c: usize,
    lanes: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        match n {
            1 => pixels::<V, 1, FULL>(row, p, c, lanes),
            2 => pixels::<V, 2, FULL>(row, p, c, lanes),
            3 => pixels::<V, 3, FULL>(row, p, c, lanes),
            4 => pixels::<V, 4, FULL>(row, p, c, lanes),
            5 => pixels::<V, 5, FULL>(row, p, c, lanes),
            6 => pixels::<V, 6, FULL>(row, p, c, lanes),
            7 => pixels::<V, 7, FULL>(row, p, c, lanes),
            _ => pixels::<V, PIXELS, FULL>(row, p, c, lanes),
        }
    }
}

/// A vector of which `lanes` values are read (`FULL`: all).
///
/// # Safety
/// `p` must be readable for that many values; features of `V`.
#[inline(always)]
unsafe fn load<V: Vector, const FULL: bool>(p: *const f32, lanes: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe { if FULL { V::load(p) } else { V::load_part(p, lanes, 0.0) } }
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
        let mut acc = [V::splat(0.0); N];
        let a = row.a.add(p * row.a_stride + c);
        let mut w = k.weights.as_ptr().add(c);
        for &tap in &k.taps {
            let weight = load::<V, FULL>(w, lanes);
            w = w.wrapping_add(k.channels);
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = load::<V, FULL>(a.add(tap + i * row.a_stride), lanes).mul_add(weight, *acc);
            }
        }
        let bias = load::<V, FULL>(k.bias.as_ptr().add(c), lanes);
        for acc in &mut acc {
            *acc = acc.add(bias);
        }
        // The choice once for all pixels, not once for each.
        if let Some((lo, hi)) = k.activation.limits() {
            let (lo, hi) = (V::splat(lo), V::splat(hi));
            for acc in &mut acc {
                *acc = hi.min(lo.max(*acc));
            }
        } else {
            for acc in &mut acc {
                *acc = k.activation.vector(*acc);
            }
        }
        let out = row.c.add(p * k.channels + c);
        for (i, acc) in acc.into_iter().enumerate() {
            let to = out.add(i * k.channels);
            if FULL {
                acc.store(to);
            } else {
                acc.store_part(to, lanes);
            }
        }
    }
}
