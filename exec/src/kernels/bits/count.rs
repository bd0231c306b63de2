//! Number of differing bits between pixels and weights: the products that all binary layers are made of.
//!
//! In: pixels of `k` words one after another; weights in groups of [`LANES`] output channels, word by word, a channel in each
//! lane; a [`Sink`]. Out: for each pixel and channel the number of bits in which both differ, as a number, or as
//! the bit whether it is within a limit. A group's weights stay in the first-level cache while all pixels meet them.

use super::super::isa::Isa;

/// Output channels of a group.
pub(super) const LANES: usize = 8;

/// Where numbers of differing bits go.
pub(super) enum Sink<'a> {
    /// `to[pixel · stride + channel]`.
    Counts { to: &'a mut [u32], stride: usize },
    /// Bit `channel` of the `stride` words of each pixel: whether the number is at most `limits[row[pixel] · channels + channel]`.
    /// The words are 0 before.
    Bits { to: &'a mut [u64], stride: usize, limits: &'a [i64], rows: &'a [u32], channels: usize },
}

/// The instructions that count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Counter {
    /// The best that an instruction set allows on this machine.
    pub fn of(isa: Isa) -> Counter {
        #[cfg(target_arch = "x86_64")]
        {
            if isa.has_vnni() && is_x86_feature_detected!("avx512vpopcntdq") {
                return Counter::Avx512;
            }
            if isa.has_avx2() {
                return Counter::Avx2;
            }
        }
        let _ = isa;
        Counter::Portable
    }

    /// Counts for all pixels and all groups of `weights`. Lengths that do not fit are a panic of a slice, never worse.
    pub fn run(self, k: usize, pixels: &[u64], weights: &[u64], sink: &mut Sink) {
        match self {
            // SAFETY: `of` makes these values only where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Counter::Avx512 => unsafe { x86::all_avx512(k, pixels, weights, sink) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Counter::Avx2 => unsafe { x86::all_avx2(k, pixels, weights, sink) },
            Counter::Portable => all(k, pixels, weights, sink, portable, within),
        }
    }
}

/// Every group with every pixel; `count` gives the numbers of one pixel and one group.
#[inline(always)]
fn all(
    k: usize,
    pixels: &[u64],
    weights: &[u64],
    sink: &mut Sink,
    count: impl Fn(&[u64], &[u64]) -> [u64; LANES],
    within: impl Fn([u64; LANES], &[i64]) -> u64,
) {
    for (g, weights) in weights.chunks_exact(k * LANES).enumerate() {
        let first = g * LANES;
        for (p, pixel) in pixels.chunks_exact(k).enumerate() {
            let counts = count(pixel, weights);
            match sink {
                Sink::Counts { to, stride } => {
                    let to = &mut to[p * *stride + first..][..LANES];
                    to.iter_mut().zip(counts).for_each(|(to, n)| *to = n as u32);
                }
                Sink::Bits { to, stride, limits, rows, channels } => {
                    let bits = within(counts, &limits[rows[p] as usize * *channels + first..][..LANES]);
                    to[p * *stride + first / 64] |= bits << (first % 64);
                }
            }
        }
    }
}

fn portable(pixel: &[u64], weights: &[u64]) -> [u64; LANES] {
    let mut counts = [0; LANES];
    for (&x, weights) in pixel.iter().zip(weights.chunks_exact(LANES)) {
        counts.iter_mut().zip(weights).for_each(|(n, &w)| *n += u64::from((x ^ w).count_ones()));
    }
    counts
}

/// Bits whether each number is at most its limit.
fn within(counts: [u64; LANES], limits: &[i64]) -> u64 {
    counts.iter().zip(limits).rev().fold(0, |bits, (&n, &limit)| bits << 1 | u64::from(n as i64 <= limit))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Sink, all, within};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    pub fn all_avx512(k: usize, pixels: &[u64], weights: &[u64], sink: &mut Sink) {
        let count = |pixel: &[u64], weights: &[u64]| {
            let mut sum = _mm512_setzero_si512();
            for (&x, w) in pixel.iter().zip(weights.chunks_exact(LANES)) {
                // SAFETY: a chunk is eight words.
                let w = unsafe { _mm512_loadu_si512(w.as_ptr().cast()) };
                let differing = _mm512_xor_si512(_mm512_set1_epi64(x as i64), w);
                sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differing));
            }
            let mut counts = [0u64; LANES];
            // SAFETY: eight words.
            unsafe { _mm512_storeu_si512(counts.as_mut_ptr().cast(), sum) };
            counts
        };
        all(k, pixels, weights, sink, count, within);
    }

    /// As [`all`], but that limits meet numbers before they leave the registers.
    #[target_feature(enable = "avx2")]
    pub fn all_avx2(k: usize, pixels: &[u64], weights: &[u64], sink: &mut Sink) {
        for (g, weights) in weights.chunks_exact(k * LANES).enumerate() {
            let first = g * LANES;
            for (p, pixel) in pixels.chunks_exact(k).enumerate() {
                let (low, high) = (four(pixel, weights, 0), four(pixel, weights, 4));
                match sink {
                    Sink::Counts { to, stride } => {
                        let mut counts = [0u64; LANES];
                        // SAFETY: four words each.
                        unsafe {
                            _mm256_storeu_si256(counts[..4].as_mut_ptr().cast(), low);
                            _mm256_storeu_si256(counts[4..].as_mut_ptr().cast(), high);
                        }
                        let to = &mut to[p * *stride + first..][..LANES];
                        to.iter_mut().zip(counts).for_each(|(to, n)| *to = n as u32);
                    }
                    Sink::Bits { to, stride, limits, rows, channels } => {
                        let limits = &limits[rows[p] as usize * *channels + first..][..LANES];
                        let bits = at_most(low, &limits[..4]) | at_most(high, &limits[4..]) << 4;
                        to[p * *stride + first / 64] |= bits << (first % 64);
                    }
                }
            }
        }
    }

    /// Four bits: whether each number is at most its limit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn at_most(n: __m256i, limits: &[i64]) -> u64 {
        assert!(limits.len() >= 4);
        // SAFETY: four words.
        let limit = unsafe { _mm256_loadu_si256(limits.as_ptr().cast()) };
        let beyond = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(n, limit)));
        u64::from(!beyond as u32 & 15)
    }

    /// Sums for the four channels from lane `lane` on. Carry-save adders make one word of sums, of carries and of
    /// carries' carries from seven words of differing bits; only those three are counted, by tables of nibbles.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn four(pixel: &[u64], weights: &[u64], lane: usize) -> __m256i {
        let ones = table(1);
        let (twos, fours) = (table(2), table(4));
        let zero = _mm256_setzero_si256();
        let weights = &weights[..pixel.len() * LANES];
        let differing = |i: usize| {
            debug_assert!(i < pixel.len() && lane + 4 <= LANES);
            // SAFETY: callers take `i` below the number of words of the pixel, of which each has LANES weights, and
            // `lane` is 0 or 4.
            let (x, w) = unsafe {
                let w = weights.as_ptr().add(i * LANES + lane).cast();
                (*pixel.get_unchecked(i), _mm256_loadu_si256(w))
            };
            _mm256_xor_si256(_mm256_set1_epi64x(x as i64), w)
        };
        let mut sum = zero;
        let mut i = 0;
        while i + 7 <= pixel.len() {
            // A block adds at most 2 · 4 · (1 + 2 + 4) = 56 to a byte: four of them fit.
            let mut bytes = zero;
            let end = (pixel.len() - i) / 7;
            for _ in 0..end.min(4) {
                let (s0, c0) = add(differing(i), differing(i + 1), differing(i + 2));
                let (s1, c1) = add(s0, differing(i + 3), differing(i + 4));
                let (s, c2) = add(s1, differing(i + 5), differing(i + 6));
                let (c, cc) = add(c0, c1, c2);
                bytes = _mm256_add_epi8(bytes, count(s, ones));
                bytes = _mm256_add_epi8(bytes, count(c, twos));
                bytes = _mm256_add_epi8(bytes, count(cc, fours));
                i += 7;
            }
            sum = _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, zero));
        }
        let mut bytes = zero;
        if i + 3 <= pixel.len() {
            let (s, c) = add(differing(i), differing(i + 1), differing(i + 2));
            bytes = _mm256_add_epi8(count(s, ones), count(c, twos));
            i += 3;
        }
        while i < pixel.len() {
            bytes = _mm256_add_epi8(bytes, count(differing(i), ones));
            i += 1;
        }
        _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, zero))
    }

    /// `factor` times the number of ones in each nibble.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn table(factor: i8) -> __m256i {
        let n = |i: u8| i.count_ones() as i8 * factor;
        let low = _mm_setr_epi8(
            n(0),
            n(1),
            n(2),
            n(3),
            n(4),
            n(5),
            n(6),
            n(7),
            n(8),
            n(9),
            n(10),
            n(11),
            n(12),
            n(13),
            n(14),
            n(15),
        );
        _mm256_broadcastsi128_si256(low)
    }

    /// What the table says of both nibbles of each byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn count(x: __m256i, table: __m256i) -> __m256i {
        let nibble = _mm256_set1_epi8(15);
        let low = _mm256_and_si256(x, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(x), nibble);
        _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high))
    }

    /// Adds three bits in each place: the sum and the carry.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(a: __m256i, b: __m256i, c: __m256i) -> (__m256i, __m256i) {
        let u = _mm256_xor_si256(a, b);
        let carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(u, c));
        (_mm256_xor_si256(u, c), carry)
    }
}
