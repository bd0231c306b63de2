//! The inner loop of integer convolutions and dense layers: a tile of MR pixels by NV vectors of output channels, held in
//! registers while the sum over pairs of inputs runs.
//!
//! Inputs are 16-bit numbers, and two neighbours that meet one channel's weights are multiplied and added by one
//! instruction (`pmaddwd`). Sums wrap at 32 bits, so the order does not matter, and a sum that fits is right.

use super::super::isa::{Isa, Level};
use super::post::LANES;

/// A run of pairs of inputs that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Offset of the first input from the pixel's own address, in inputs.
    pub offset: usize,
    /// Number of pairs.
    pub pairs: usize,
}

/// What one call of a tile kernel works on.
pub(crate) struct Tile<'a> {
    /// Input of the first pixel.
    pub a: *const i16,
    /// Distance of two neighbouring pixels, in inputs.
    pub a_stride: usize,
    /// The inputs of a pixel, relative to its address, in the order of the packed weights.
    pub segments: &'a [Segment],
    /// Packed weights: for each pair, NV vectors of LANES pairs.
    pub b: *const u8,
    /// What each sum begins with: NV vectors.
    pub start: *const i32,
    /// The sums: for each pixel, NV vectors.
    pub sums: *mut i32,
}

/// Computes one [`Tile`].
///
/// # Safety
/// `a + m * a_stride + segment` must be readable for m < MR and every segment, `b` for NV vectors at every pair in the
/// kernel's own width, `start` for NV vectors, `sums` writable for MR * NV vectors; the target features must be there.
pub(crate) type TileFn = unsafe fn(&Tile);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Tile};
    use std::arch::x86_64::*;

    /// Weights of 16 bits, or of 8 with `BYTES`.
    ///
    /// # Safety
    /// As [`super::TileFn`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2<const MR: usize, const NV: usize, const BYTES: bool>(t: &Tile) {
        // SAFETY: every address is one of those that the contract of TileFn names.
        unsafe {
            let mut acc = [[_mm256_setzero_si256(); NV]; MR];
            for (j, start) in (0..NV).map(|j| (j, _mm256_loadu_si256(t.start.add(j * LANES).cast()))) {
                acc.iter_mut().for_each(|acc| acc[j] = start);
            }
            let size = if BYTES { 1 } else { 2 };
            let mut b = t.b;
            for s in t.segments {
                let a = t.a.add(s.offset);
                for k in 0..s.pairs {
                    let mut w = [_mm256_setzero_si256(); NV];
                    for (j, w) in w.iter_mut().enumerate() {
                        let at = b.add(j * LANES * 2 * size);
                        *w = if BYTES {
                            _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast()))
                        } else {
                            _mm256_loadu_si256(at.cast())
                        };
                    }
                    // Wrapping: behind the last pair it may leave the weights.
                    b = b.wrapping_add(NV * LANES * 2 * size);
                    for (m, acc) in acc.iter_mut().enumerate() {
                        let pair = a.add(m * t.a_stride + 2 * k).cast::<i32>().read_unaligned();
                        let x = _mm256_set1_epi32(pair);
                        for (acc, w) in acc.iter_mut().zip(w) {
                            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(x, w));
                        }
                    }
                }
            }
            for (m, acc) in acc.iter().enumerate() {
                for (j, acc) in acc.iter().enumerate() {
                    _mm256_storeu_si256(t.sums.add((m * NV + j) * LANES).cast(), *acc);
                }
            }
        }
    }
}

/// Weights of 16 bits, or of 8 with `BYTES`, in plain Rust.
///
/// # Safety
/// As [`TileFn`].
unsafe fn portable<const MR: usize, const NV: usize, const BYTES: bool>(t: &Tile) {
    // SAFETY: every address is one of those that the contract of TileFn names.
    unsafe {
        let mut acc = [[[0i32; LANES]; NV]; MR];
        for acc in &mut acc {
            *acc = t.start.cast::<[[i32; LANES]; NV]>().read_unaligned();
        }
        let mut b = t.b;
        for s in t.segments {
            let a = t.a.add(s.offset);
            for k in 0..s.pairs {
                let w: [[[i16; 2]; LANES]; NV];
                if BYTES {
                    let bytes = b.cast::<[[[i8; 2]; LANES]; NV]>().read_unaligned();
                    b = b.wrapping_add(size_of_val(&bytes));
                    w = bytes.map(|w| w.map(|w| w.map(i16::from)));
                } else {
                    w = b.cast::<[[[i16; 2]; LANES]; NV]>().read_unaligned();
                    b = b.wrapping_add(size_of_val(&w));
                }
                for (m, acc) in acc.iter_mut().enumerate() {
                    let x = a.add(m * t.a_stride + 2 * k).cast::<[i16; 2]>().read_unaligned();
                    for (acc, w) in acc.iter_mut().flatten().zip(w.iter().flatten()) {
                        let [first, second] = [0, 1].map(|i| i32::from(x[i]) * i32::from(w[i]));
                        *acc = acc.wrapping_add(first.wrapping_add(second));
                    }
                }
            }
        }
        t.sums.cast::<[[[i32; LANES]; NV]; MR]>().write_unaligned(acc);
    }
}

macro_rules! kernels {
    ($f:ident, $nv:literal, $bytes:literal, $($mr:literal)*) => { &[$($f::<$mr, $nv, $bytes> as TileFn),*] };
}

/// The kernels for `nv` vectors of channels, 1 or 2: entry MR - 1 is the one for MR pixels.
pub(crate) fn tiles(isa: Isa, nv: usize, bytes: bool) -> &'static [TileFn] {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 => {
            use x86::avx2;
            match (nv, bytes) {
                (1, false) => kernels!(avx2, 1, false, 1 2 3 4 5 6 7 8),
                (1, true) => kernels!(avx2, 1, true, 1 2 3 4 5 6 7 8),
                (_, false) => kernels!(avx2, 2, false, 1 2 3 4 5 6),
                (_, true) => kernels!(avx2, 2, true, 1 2 3 4 5 6),
            }
        }
        Level::Portable => match (nv, bytes) {
            (1, false) => kernels!(portable, 1, false, 1 2 3 4),
            (1, true) => kernels!(portable, 1, true, 1 2 3 4),
            (_, false) => kernels!(portable, 2, false, 1 2 3),
            (_, true) => kernels!(portable, 2, true, 1 2 3),
        },
    }
}
