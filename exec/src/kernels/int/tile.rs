//! The inner loop of integer convolutions and dense layers: a tile of MR pixels by NV vectors of output channels, held in
//! registers while the sum over groups of inputs runs.
//!
//! A group is four bytes: two neighbouring inputs of 16 bits, or four of 8. It meets a lane's weights in one step:
//! `pmaddwd` and an addition, or `vpdpwssd`; `pmaddubsw`, `pmaddwd` and an addition, or `vpdpbusd`. Sums wrap at 32 bits, so
//! the order does not matter, and a sum that fits is right.

use super::super::isa::{Isa, Level};
use super::post::LANES;

/// How inputs and weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Two inputs of 16 bits to a group, weights of 16 bits.
    Pairs,
    /// Two inputs of 16 bits to a group, weights of 8.
    Narrow,
    /// Four inputs of 8 bits without a sign to a group, weights of 8 with one. But for VNNI, sums of two products (the
    /// first two of a group, and the last two) must fit 16 bits.
    Quads,
}

impl Form {
    /// Bytes of the weights that one channel has for a group.
    pub fn bytes(self) -> usize {
        if self == Form::Narrow { 2 } else { 4 }
    }
}

/// A run of groups of inputs that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Offset of the first input from the pixel's own address, in bytes.
    pub offset: usize,
    /// Number of groups.
    pub groups: usize,
}

/// What one call of a tile kernel works on.
pub(crate) struct Tile<'a> {
    /// The input of each pixel.
    pub a: *const *const u8,
    /// The inputs of a pixel, relative to its address, in the order of the packed weights.
    pub segments: &'a [Segment],
    /// Packed weights: for each group, those of NV vectors of LANES channels.
    pub b: *const u8,
    /// What each sum begins with: NV vectors.
    pub start: *const i32,
    /// The sums: for each pixel, NV vectors.
    pub sums: *mut i32,
}

/// Computes one [`Tile`].
///
/// # Safety
/// `a` must hold the addresses of MR pixels, each readable at every segment, `b` for NV vectors at every group in the
/// kernel's own [`Form`], `start` for NV vectors, `sums` writable for MR * NV vectors; the target features must be there.
pub(crate) type TileFn = unsafe fn(&Tile);

/// [`Form`] as a parameter of types.
const PAIRS: u8 = Form::Pairs as u8;
const NARROW: u8 = Form::Narrow as u8;
const QUADS: u8 = Form::Quads as u8;

/// The loops of a tile, for vectors of one instruction set: how to begin with the sums `$zero`, and the macros
/// `$start(j)` for what they begin with, `$weights(pointer)` for a vector of weights, `$splat(group)` for a group in all
/// lanes, `$add(sums, inputs, weights)`, and `$store(pointer, sums)`; `$step` bytes of weights and `$lanes` sums in a
/// vector.
macro_rules! tile_loops {
    ($t:ident, $mr:ident, $nv:ident, $zero:expr, $step:expr, $lanes:expr,
     $start:expr, $weights:expr, $splat:expr, $add:expr, $store:expr) => {{
        let mut acc = [[$zero; $nv]; $mr];
        for j in 0..$nv {
            let start = $start($t.start.add(j * $lanes));
            acc.iter_mut().for_each(|acc| acc[j] = start);
        }
        let mut b = $t.b;
        for s in $t.segments {
            let mut a = [std::ptr::null::<u8>(); $mr];
            for (m, a) in a.iter_mut().enumerate() {
                *a = (*$t.a.add(m)).add(s.offset);
            }
            for k in 0..s.groups {
                let mut w = [$zero; $nv];
                for (j, w) in w.iter_mut().enumerate() {
                    *w = $weights(b.add(j * $step));
                }
                // Wrapping: behind the last group it may leave the weights.
                b = b.wrapping_add($nv * $step);
                for (m, acc) in acc.iter_mut().enumerate() {
                    let x = $splat(a[m].add(4 * k).cast::<i32>().read_unaligned());
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = $add(*acc, x, w);
                    }
                }
            }
        }
        for (m, acc) in acc.iter().enumerate() {
            for (j, acc) in acc.iter().enumerate() {
                $store($t.sums.add((m * $nv + j) * $lanes), *acc);
            }
        }
    }};
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, NARROW, QUADS, Tile};
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`super::TileFn`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2<const MR: usize, const NV: usize, const FORM: u8>(t: &Tile) {
        // SAFETY: every address is one of those that the contract of TileFn names.
        unsafe {
            tile_loops!(
                t,
                MR,
                NV,
                _mm256_setzero_si256(),
                LANES * if FORM == NARROW { 2 } else { 4 },
                LANES,
                |p: *const i32| _mm256_loadu_si256(p.cast()),
                |p: *const u8| match FORM {
                    NARROW => _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())),
                    _ => _mm256_loadu_si256(p.cast()),
                },
                |group| _mm256_set1_epi32(group),
                |acc, x, w| {
                    let pairs = match FORM {
                        QUADS => _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)),
                        _ => _mm256_madd_epi16(x, w),
                    };
                    _mm256_add_epi32(acc, pairs)
                },
                |p: *mut i32, acc| _mm256_storeu_si256(p.cast(), acc)
            )
        }
    }

    /// Eight channels to a vector.
    ///
    /// # Safety
    /// As [`super::TileFn`].
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn vnni8<const MR: usize, const NV: usize, const FORM: u8>(t: &Tile) {
        // SAFETY: every address is one of those that the contract of TileFn names.
        unsafe {
            tile_loops!(
                t,
                MR,
                NV,
                _mm256_setzero_si256(),
                LANES * if FORM == NARROW { 2 } else { 4 },
                LANES,
                |p: *const i32| _mm256_loadu_si256(p.cast()),
                |p: *const u8| match FORM {
                    NARROW => _mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())),
                    _ => _mm256_loadu_si256(p.cast()),
                },
                |group| _mm256_set1_epi32(group),
                |acc, x, w| match FORM {
                    QUADS => _mm256_dpbusd_epi32(acc, x, w),
                    _ => _mm256_dpwssd_epi32(acc, x, w),
                },
                |p: *mut i32, acc| _mm256_storeu_si256(p.cast(), acc)
            )
        }
    }

    /// Sixteen channels to a vector: NV counts those, and two vectors of LANES are one.
    ///
    /// # Safety
    /// As [`super::TileFn`], with vectors of 2 * LANES.
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn vnni16<const MR: usize, const NV: usize, const FORM: u8>(t: &Tile) {
        // SAFETY: every address is one of those that the contract of TileFn names.
        unsafe {
            tile_loops!(
                t,
                MR,
                NV,
                _mm512_setzero_si512(),
                2 * LANES * if FORM == NARROW { 2 } else { 4 },
                2 * LANES,
                |p: *const i32| _mm512_loadu_si512(p.cast()),
                |p: *const u8| match FORM {
                    NARROW => _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast())),
                    _ => _mm512_loadu_si512(p.cast()),
                },
                |group| _mm512_set1_epi32(group),
                |acc, x, w| match FORM {
                    QUADS => _mm512_dpbusd_epi32(acc, x, w),
                    _ => _mm512_dpwssd_epi32(acc, x, w),
                },
                |p: *mut i32, acc| _mm512_storeu_si512(p.cast(), acc)
            )
        }
    }
}

/// Eight sums, in plain Rust.
type Lanes = [i32; LANES];

/// # Safety
/// As [`TileFn`].
unsafe fn portable<const MR: usize, const NV: usize, const FORM: u8>(t: &Tile) {
    // SAFETY: every address is one of those that the contract of TileFn names; arrays are read at any alignment.
    unsafe {
        tile_loops!(
            t,
            MR,
            NV,
            [0; LANES],
            LANES * if FORM == NARROW { 2 } else { 4 },
            LANES,
            |p: *const i32| p.cast::<Lanes>().read_unaligned(),
            |p: *const u8| match FORM {
                // Two weights of 16 bits to a lane, as in the wider form.
                NARROW =>
                    p.cast::<[[i8; 2]; LANES]>().read_unaligned().map(|[a, b]| pair(a.into(), b.into())),
                _ => p.cast::<Lanes>().read_unaligned(),
            },
            |group: i32| [group; LANES],
            |acc: Lanes, x: Lanes, w: Lanes| {
                std::array::from_fn(|i| {
                    let sum = if FORM == QUADS { dot4(x[i], w[i]) } else { dot2(x[i], w[i]) };
                    acc[i].wrapping_add(sum)
                })
            },
            |p: *mut i32, acc: Lanes| p.cast::<Lanes>().write_unaligned(acc)
        )
    }
}

/// Two numbers of 16 bits in the memory of one of 32.
#[inline(always)]
fn pair(a: i16, b: i16) -> i32 {
    let ([a0, a1], [b0, b1]) = (a.to_ne_bytes(), b.to_ne_bytes());
    i32::from_ne_bytes([a0, a1, b0, b1])
}

/// The sum of two products of 16 bits each.
#[inline(always)]
fn dot2(x: i32, w: i32) -> i32 {
    let ([x0, x1, x2, x3], [w0, w1, w2, w3]) = (x.to_ne_bytes(), w.to_ne_bytes());
    let product =
        |x: [u8; 2], w: [u8; 2]| i32::from(i16::from_ne_bytes(x)) * i32::from(i16::from_ne_bytes(w));
    product([x0, x1], [w0, w1]).wrapping_add(product([x2, x3], [w2, w3]))
}

/// The sum of four products of a byte without a sign and one with.
#[inline(always)]
fn dot4(x: i32, w: i32) -> i32 {
    let products = x.to_ne_bytes().into_iter().zip(w.to_ne_bytes());
    products.map(|(x, w)| i32::from(x) * i32::from(w as i8)).sum()
}

macro_rules! kernels {
    ($f:path, $nv:literal, $form:expr, $($mr:literal)*) => {{
        use $f as f;
        match $form {
            Form::Pairs => &[$(f::<$mr, $nv, PAIRS> as TileFn),*],
            Form::Narrow => &[$(f::<$mr, $nv, NARROW> as TileFn),*],
            Form::Quads => &[$(f::<$mr, $nv, QUADS> as TileFn),*],
        }
    }};
}

/// The kernels for `nv` vectors of channels, 1 or 2: entry MR - 1 is the one for MR pixels.
pub(crate) fn tiles(isa: Isa, nv: usize, form: Form) -> &'static [TileFn] {
    match (isa.level(), nv) {
        #[cfg(target_arch = "x86_64")]
        (Level::Vnni, 1) => kernels!(x86::vnni8, 1, form, 1 2 3 4 5 6 7 8),
        #[cfg(target_arch = "x86_64")]
        (Level::Vnni, _) => kernels!(x86::vnni16, 1, form, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Avx2, 1) => kernels!(x86::avx2, 1, form, 1 2 3 4 5 6 7 8),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Avx2, _) => kernels!(x86::avx2, 2, form, 1 2 3 4 5 6),
        (Level::Portable, 1) => kernels!(portable, 1, form, 1 2 3 4),
        (Level::Portable, _) => kernels!(portable, 2, form, 1 2 3),
    }
}
