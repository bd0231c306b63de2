//! [`Post::run32`] in vectors of 256 bits: sixteen channels at a time, or eight.
//!
//! In: 32-bit sums in whole vectors, where [`Post::vectors`] says so. Out: the same codes as [`Post::one`]'s.

use super::threshold::Even;
use super::*;
use std::arch::x86_64::*;
use unfloat_ir::staircase::FRACTION;

impl Post {
    /// Whether there is a vector form.
    pub(super) fn vectors(&self) -> bool {
        let small = |b: (i64, i64)| b.0 <= i32::MAX.into() && b.1 >= i32::MIN.into();
        let form = match &self.form {
            Form::Keep => true,
            Form::Scale(_, halves) => halves.is_some(),
            Form::Exact(..) => false,
            Form::Threshold(t) => !t.below.is_empty() || t.even.is_some() || t.count == 0,
        };
        // A negative number that wraps to an unsigned one of 32 bits or more leaves the lane.
        let wraps = self.wrap.is_none_or(|int| int.signed || int.width < 32);
        form && wraps && small(self.before) && small(self.after)
    }

    /// [`Post::run32`]. The instruction set must have AVX2.
    pub(super) fn vectors32(&self, sums: &[i32], to: Rows, out: &mut [u8]) {
        assert!(self.isa.has_avx2(), "AVX2");
        // SAFETY: the instruction set is that of the machine, and has AVX2.
        unsafe {
            match (&self.form, self.out) {
                (_, Word::U8) => rows::<u8>(self, sums, to, out),
                (_, Word::I8) => rows::<i8>(self, sums, to, view_mut(out)),
                (_, Word::I16) => rows::<i16>(self, sums, to, view_mut(out)),
                (_, Word::I32) => rows::<i32>(self, sums, to, view_mut(out)),
                _ => self.scalar32(sums, to, out),
            }
        }
    }
}

/// A word that lanes of 32 bits are narrowed to.
trait Narrow: Code {
    /// The least and the greatest code.
    const RANGE: (i64, i64);
    /// Sixteen codes that the word holds.
    ///
    /// # Safety
    /// AVX2 must be there.
    unsafe fn narrow(low: __m256i, high: __m256i) -> [Self; 2 * LANES];
}

impl Narrow for u8 {
    const RANGE: (i64, i64) = (0, 255);
    #[inline(always)]
    unsafe fn narrow(low: __m256i, high: __m256i) -> [u8; 2 * LANES] {
        // SAFETY: the trait's contract; arrays of 16 bytes and vectors of as many have the same bits.
        unsafe {
            let words = _mm256_packs_epi32(low, high);
            let bytes = _mm256_packus_epi16(words, words);
            std::mem::transmute::<__m128i, [u8; 16]>(in_order(bytes))
        }
    }
}

impl Narrow for i8 {
    const RANGE: (i64, i64) = (-128, 127);
    #[inline(always)]
    unsafe fn narrow(low: __m256i, high: __m256i) -> [i8; 2 * LANES] {
        // SAFETY: as for bytes without a sign.
        unsafe {
            let words = _mm256_packs_epi32(low, high);
            let bytes = _mm256_packs_epi16(words, words);
            std::mem::transmute::<__m128i, [i8; 16]>(in_order(bytes))
        }
    }
}

/// Packing goes by halves of 128 bits: brings the groups of four bytes in order.
#[target_feature(enable = "avx2")]
#[inline]
fn in_order(bytes: __m256i) -> __m128i {
    _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5)))
}

impl Narrow for i16 {
    const RANGE: (i64, i64) = (i16::MIN as i64, i16::MAX as i64);
    #[inline(always)]
    unsafe fn narrow(low: __m256i, high: __m256i) -> [i16; 2 * LANES] {
        // SAFETY: the trait's contract; arrays of 32 bytes and vectors of as many have the same bits.
        unsafe {
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            std::mem::transmute::<__m256i, [i16; 2 * LANES]>(words)
        }
    }
}

impl Narrow for i32 {
    const RANGE: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
    #[inline(always)]
    unsafe fn narrow(low: __m256i, high: __m256i) -> [i32; 2 * LANES] {
        // SAFETY: two vectors of 32 bytes have the bits of an array of 64.
        unsafe { std::mem::transmute::<[__m256i; 2], [i32; 2 * LANES]>([low, high]) }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(from: &[i32; LANES]) -> __m256i {
    // SAFETY: eight numbers are 32 bytes, and the load takes any alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load64(from: &[i64]) -> __m256i {
    let from: &[i64; LANES / 2] = from.first_chunk().expect("four numbers");
    // SAFETY: four numbers are 32 bytes, and the load takes any alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Both bounds in 32 bits: what lies beyond them bounds nothing.
fn bounds(b: (i64, i64)) -> [i32; 2] {
    [b.0, b.1].map(|v| v.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
}

/// The parameters of eight channels of a requantization.
#[derive(Clone, Copy)]
struct Lanes {
    mul: [__m256i; 2],
    add: [__m256i; 2],
    tie: [__m256i; 2],
    shift: __m256i,
}

impl Lanes {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(h: &Halves, first: usize) -> Lanes {
        let eight = |v: &[i32]| load(v[first..].first_chunk().expect("eight channels"));
        let both = |v: &[i64]| [load64(&v[first..]), load64(&v[first + LANES / 2..])];
        let mul = eight(&h.mul);
        Lanes {
            mul: [mul, _mm256_srli_epi64::<32>(mul)],
            add: both(&h.add),
            tie: both(&h.tie_mask),
            shift: eight(&h.shift),
        }
    }

    /// The requantized sums.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn apply(&self, x: __m256i, ties: Ties) -> __m256i {
        let even = _mm256_add_epi64(_mm256_mul_epi32(x, self.mul[0]), self.add[0]);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64::<32>(x), self.mul[1]), self.add[1]);
        let high = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
        let y = _mm256_srav_epi32(high, self.shift);
        if ties == Ties::Up {
            return y;
        }
        let zero = _mm256_setzero_si256();
        let is_tie = |u, i: usize| _mm256_cmpeq_epi64(_mm256_and_si256(u, self.tie[i]), zero);
        let tie = _mm256_blend_epi32::<0xaa>(is_tie(even, 0), is_tie(odd, 1));
        let one = _mm256_set1_epi32(1);
        let less = match ties {
            Ties::Even => _mm256_and_si256(y, one),
            Ties::Away => _mm256_and_si256(_mm256_cmpgt_epi32(one, y), one),
            _ => _mm256_and_si256(_mm256_cmpgt_epi32(y, zero), one),
        };
        _mm256_sub_epi32(y, _mm256_and_si256(tie, less))
    }
}

/// What happens to eight channels, parameters in registers.
struct Eight<'a> {
    post: &'a Post,
    first: usize,
    scale: Option<(Lanes, Ties)>,
    even: Option<Stairs<'a>>,
    before: Option<[i32; 2]>,
    after: Option<[i32; 2]>,
}

impl<'a> Eight<'a> {
    /// For the channels from `first` on; codes of the range `word` need no clamping to bounds beyond it.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(post: &'a Post, first: usize, word: (i64, i64)) -> Self {
        let scale = match &post.form {
            Form::Scale(s, Some(h)) => Some((Lanes::new(h, first), s.ties)),
            _ => None,
        };
        let even = match &post.form {
            Form::Threshold(t) => t.even.as_ref().map(|even| Stairs::new(even, first)),
            _ => None,
        };
        let before = (post.before != (i64::MIN, i64::MAX)).then(|| bounds(post.before));
        // Narrowing saturates, and so clamps to all that the word holds.
        let whole = post.after.0 <= word.0 && post.after.1 >= word.1;
        Self { post, first, scale, even, before, after: (!whole).then(|| bounds(post.after)) }
    }

    /// The codes of eight sums.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn apply(&self, sums: &[i32; LANES]) -> __m256i {
        let mut v = load(sums);
        if let Some(before) = self.before {
            v = clamp(v, before);
        }
        match (&self.post.form, &self.scale) {
            (_, Some((lanes, ties))) => v = lanes.apply(v, *ties),
            (Form::Threshold(t), _) => {
                let reached = match &self.even {
                    Some(stairs) => stairs.count(v),
                    None => count(t, self.first, v),
                };
                v = scaled(t, reached);
            }
            _ => {}
        }
        if let Some(int) = self.post.wrap {
            v = wrapped(v, int);
        }
        if let Some(after) = self.after {
            v = clamp(v, after);
        }
        v
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn clamp(v: __m256i, [lo, hi]: [i32; 2]) -> __m256i {
    _mm256_min_epi32(_mm256_max_epi32(v, _mm256_set1_epi32(lo)), _mm256_set1_epi32(hi))
}

/// [`Post::run32`] for one word.
#[target_feature(enable = "avx2")]
fn rows<T: Narrow>(post: &Post, sums: &[i32], to: Rows, out: &mut [T]) {
    for part in (0..to.cols).step_by(2 * LANES) {
        let cols = (2 * LANES).min(to.cols - part);
        let low = Eight::new(post, to.first + part, T::RANGE);
        // A row may end with the first eight.
        let high = (part + LANES < to.width).then(|| Eight::new(post, to.first + part + LANES, T::RANGE));
        let outs = out[to.at + part..].chunks_mut(to.stride.max(1));
        for (sums, out) in sums.chunks_exact(to.width).take(to.rows).zip(outs) {
            let (first, rest) = sums[part..].split_first_chunk().expect("whole vectors of sums");
            let low = low.apply(first);
            let high = match (&high, rest.first_chunk()) {
                (Some(high), Some(rest)) => high.apply(rest),
                _ => low,
            };
            // SAFETY: this function has the feature.
            let codes = unsafe { T::narrow(low, high) };
            match out.first_chunk_mut::<{ 2 * LANES }>() {
                Some(out) if cols == 2 * LANES => *out = codes,
                _ => out[..cols].copy_from_slice(&codes[..cols]),
            }
        }
    }
}

/// What thresholds make of eight sums.
#[target_feature(enable = "avx2")]
#[inline]
fn count(t: &Thresholds, first: usize, x: __m256i) -> __m256i {
    let mut reached = _mm256_setzero_si256();
    for below in t.below[first * t.count..].chunks_exact(LANES).take(t.count) {
        let below = load(below.first_chunk().expect("eight thresholds"));
        reached = _mm256_sub_epi32(reached, _mm256_cmpgt_epi32(x, below));
    }
    reached
}

/// The codes for numbers of thresholds.
#[target_feature(enable = "avx2")]
#[inline]
fn scaled(t: &Thresholds, reached: __m256i) -> __m256i {
    if (t.scale, t.bias) == (1, 0) {
        return reached;
    }
    let scaled = _mm256_mullo_epi32(reached, _mm256_set1_epi32(t.scale as i32));
    _mm256_add_epi32(scaled, _mm256_set1_epi32(t.bias as i32))
}

/// The parameters of eight channels of [`Even`] thresholds; those of 64 bits for the even and for the odd ones.
struct Stairs<'a> {
    low: __m256i,
    high: __m256i,
    up: __m256i,
    multiplier: [__m256i; 2],
    addend: __m256i,
    slack: __m256i,
    row: __m256i,
    below: &'a [i32],
}

impl<'a> Stairs<'a> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(even: &'a Even, first: usize) -> Self {
        let eight = |v: &[i32]| load(v[first..].first_chunk().expect("eight channels"));
        let multiplier = eight(&even.multiplier);
        Self {
            low: eight(&even.low),
            high: eight(&even.high),
            up: eight(&even.up),
            multiplier: [multiplier, _mm256_srli_epi64::<32>(multiplier)],
            addend: eight(&even.addend),
            slack: _mm256_set1_epi32(even.slack),
            row: eight(&even.row),
            below: &even.below,
        }
    }

    /// How many thresholds eight sums reach.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn count(&self, x: __m256i) -> __m256i {
        let inside = _mm256_min_epi32(_mm256_max_epi32(x, self.low), self.high);
        let t = _mm256_sllv_epi32(_mm256_sub_epi32(inside, self.low), self.up);
        let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(t, self.multiplier[0]));
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(t), self.multiplier[1]);
        let p = _mm256_add_epi32(_mm256_blend_epi32::<0xaa>(even, odd), self.addend);
        let least = _mm256_srli_epi32::<{ FRACTION as i32 }>(p);
        let most = _mm256_srli_epi32::<{ FRACTION as i32 }>(_mm256_add_epi32(p, self.slack));
        let same = _mm256_cmpeq_epi32(least, most);
        if _mm256_movemask_epi8(same) == -1 { least } else { self.decided(x, least) }
    }

    /// The same where some estimate leaves two numbers.
    #[target_feature(enable = "avx2")]
    #[cold]
    fn decided(&self, x: __m256i, least: __m256i) -> __m256i {
        let at = _mm256_add_epi32(least, self.row);
        // SAFETY: `at` is an index of `below` whatever x is, as `Even` says.
        let below = unsafe { _mm256_i32gather_epi32::<4>(self.below.as_ptr(), at) };
        _mm256_sub_epi32(least, _mm256_cmpgt_epi32(x, below))
    }
}

/// The low bits that an integer type has.
#[target_feature(enable = "avx2")]
#[inline]
fn wrapped(v: __m256i, int: IntType) -> __m256i {
    if int.width >= 32 {
        return v;
    }
    let spare = _mm_cvtsi32_si128(32 - i32::from(int.width));
    let up = _mm256_sll_epi32(v, spare);
    if int.signed { _mm256_sra_epi32(up, spare) } else { _mm256_srl_epi32(up, spare) }
}
