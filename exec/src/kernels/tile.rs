//! The inner loop of convolutions and dense layers: a tile of MR pixels by NV vectors of output channels, held in
//! registers while the sum over inputs runs.
//!
//! Every output is summed in the order of the packed weights (tap by tap, input channel by input channel), whatever
//! tile it falls into: the choice of tiles changes speed, never bits.

use super::activation::Activation;
use super::isa::{Isa, Level};
use super::simd::Vector;
use std::mem::MaybeUninit;

/// A run of consecutive inputs that meets a run of consecutive packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Offset of the first input from the pixel's own address, in f32.
    pub offset: usize,
    /// Number of inputs.
    pub len: usize,
}

/// What one call of a tile kernel works on.
pub(crate) struct Tile<'a> {
    /// Input of the first pixel.
    pub a: *const f32,
    /// Distance of two neighbouring pixels in the input, in f32.
    pub a_stride: usize,
    /// The inputs of a pixel, relative to its address, in the order of the packed weights.
    pub segments: &'a [Segment],
    /// Packed weights: for each input, NV vectors.
    pub b: *const f32,
    /// Distance of the weights of two inputs, in f32: NV vectors or more (a part of a wider panel).
    pub b_stride: usize,
    /// First output of the first pixel.
    pub c: *mut f32,
    /// Distance of two neighbouring pixels in the output, in f32.
    pub c_stride: usize,
    /// Output channels to write, 1..=NV * LANES.
    pub cols: usize,
    /// NV vectors.
    pub bias: *const f32,
    /// Applied after the bias.
    pub activation: Activation,
    /// Add to what the output holds already: not the first block of inputs.
    pub accumulate: bool,
    /// Add the bias and apply the activation: the last block of inputs.
    pub finish: bool,
}

/// Computes one [`Tile`].
///
/// # Safety
/// `a + m * a_stride + segment` must be readable for m < MR and every segment, `b` for NV vectors at every input's
/// `b_stride`, `bias` for NV vectors, `c + m * c_stride` writable for `cols` values; the target features must be there.
pub(crate) type TileFn = unsafe fn(&Tile);

/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: every address is one of those that the contract of TileFn names.
    unsafe {
        let mut acc = [[V::splat(0.0); NV]; MR];
        let mut b = t.b;
        for s in t.segments {
            let a = t.a.add(s.offset);
            for k in 0..s.len {
                let mut w = [V::splat(0.0); NV];
                for (j, w) in w.iter_mut().enumerate() {
                    *w = V::load(b.add(j * V::LANES));
                }
                // Wrapping: behind the last input it may leave the weights.
                b = b.wrapping_add(t.b_stride);
                for (m, acc) in acc.iter_mut().enumerate() {
                    let x = V::splat(*a.add(m * t.a_stride + k));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = x.mul_add(w, *acc);
                    }
                }
            }
        }
        finish::<V, MR, NV>(t, acc);
    }
}

/// Bias, activation and the write to memory.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices are constants once unrolled")]
unsafe fn finish<V: Vector, const MR: usize, const NV: usize>(t: &Tile, acc: [[V; NV]; MR]) {
    // SAFETY: every address is one of those that the contract of TileFn names; the buffer holds MR * NV vectors.
    unsafe {
        let whole = t.cols == NV * V::LANES && !t.accumulate && t.finish;
        if let (true, Some((lo, hi))) = (whole, t.activation.limits()) {
            // The common case, straight from the registers. Loops without exits, so that they unroll completely:
            // a sum that is indexed at run time would live in memory.
            let (lo, hi) = (V::splat(lo), V::splat(hi));
            for j in 0..NV {
                let bias = V::load(t.bias.add(j * V::LANES));
                for m in 0..MR {
                    let v = hi.min(lo.max(acc[m][j].add(bias)));
                    v.store(t.c.add(m * t.c_stride + j * V::LANES));
                }
            }
        } else {
            let mut buffer = MaybeUninit::<[[V; NV]; MR]>::uninit();
            let p = buffer.as_mut_ptr().cast::<f32>();
            for m in 0..MR {
                for j in 0..NV {
                    acc[m][j].store(p.add((m * NV + j) * V::LANES));
                }
            }
            finish_any(t, p, MR, NV * V::LANES);
        }
    }
}

/// [`finish`] for every case, from sums in memory: `rows` pixels of `width` channels.
///
/// # Safety
/// As [`TileFn`]; `sums` must be readable for `rows * width` values.
#[inline(never)]
unsafe fn finish_any(t: &Tile, sums: *const f32, rows: usize, width: usize) {
    for m in 0..rows {
        for n in 0..t.cols.min(width) {
            // SAFETY: m < rows and n < cols, so each address is inside what the contract names.
            unsafe {
                let c = t.c.add(m * t.c_stride + n);
                let mut v = *sums.add(m * width + n);
                if t.accumulate {
                    v += *c;
                }
                if t.finish {
                    v = t.activation.scalar(v + *t.bias.add(n));
                }
                *c = v;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn tile_avx512<const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: the caller's contract; the features are on in this function.
    unsafe { tile::<std::arch::x86_64::__m512, MR, NV>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: the caller's contract; the features are on in this function.
    unsafe { tile::<std::arch::x86_64::__m256, MR, NV>(t) }
}

unsafe fn tile_portable<const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: the caller's contract; plain Rust needs no feature.
    unsafe { tile::<super::simd::F32x4, MR, NV>(t) }
}

macro_rules! table {
    ($f:ident, $nv:literal, $($mr:literal)*) => { &[$($f::<$mr, $nv> as TileFn),*] };
}

#[cfg(target_arch = "x86_64")]
static AVX512: [&[TileFn]; 3] = [
    table!(tile_avx512, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    table!(tile_avx512, 2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    table!(tile_avx512, 4, 1 2 3 4 5 6),
];
#[cfg(target_arch = "x86_64")]
static AVX2: [&[TileFn]; 3] = [
    table!(tile_avx2, 1, 1 2 3 4 5 6 7 8 9 10 11 12),
    table!(tile_avx2, 2, 1 2 3 4 5 6),
    table!(tile_avx2, 4, 1 2),
];
static PORTABLE: [&[TileFn]; 3] = [
    table!(tile_portable, 1, 1 2 3 4 5 6 7 8),
    table!(tile_portable, 2, 1 2 3 4 5),
    table!(tile_portable, 4, 1 2),
];

/// The kernels with `nv` vectors of output channels: entry MR - 1 is the one for MR pixels.
///
/// `nv` is 1, 2 or 4 (anything else gives the table of 1).
pub(crate) fn tile_table(isa: Isa, nv: usize) -> &'static [TileFn] {
    let row = match nv {
        4 => 2,
        2 => 1,
        _ => 0,
    };
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Vnni | Level::Avx512 => AVX512[row],
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => AVX2[row],
        Level::Portable => PORTABLE[row],
    }
}

/// Bytes per cycle that weights arrive at from the second-level cache, with room for everything else.
const STREAM: f64 = 24.0;

/// Estimated cycles per input for a row of `pixels` pixels on tiles of `nv` vectors, when cut evenly.
pub(crate) fn row_cost(isa: Isa, nv: usize, pixels: usize) -> f64 {
    let tiles = pixels.div_ceil(tile_table(isa, nv).len()).max(1);
    let (size, larger) = (pixels / tiles, pixels % tiles);
    let cost = |mr: usize| {
        let fma = (mr * nv) as f64 / 2.0;
        let loads = (mr + nv) as f64 / 2.0;
        let stream = (nv * isa.lanes() * 4) as f64 / STREAM;
        // Two multiply-adds of four cycles' latency per cycle: eight sums must be under way.
        fma.max(loads).max(stream).max(4.0)
    };
    larger as f64 * cost(size + 1) + (tiles - larger) as f64 * cost(size)
}

/// Cuts `pixels` into as few tiles of at most `most` as possible, their sizes as equal as possible: (first, size).
pub(crate) fn split(pixels: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = pixels.div_ceil(most.max(1)).max(1);
    let (size, larger) = (pixels / tiles, pixels % tiles);
    (0..tiles)
        .map(move |i| (i * size + i.min(larger), size + usize::from(i < larger)))
        .filter(|&(_, n)| n > 0)
}
