//! What happens to sums before they are stored: clamp, requantize or count thresholds, clamp, narrow.
//!
//! In: rows of sums, one for each channel, and the range that the sums of each channel can have. Out: codes, bit for bit
//! those of [`Requantize::apply`] and of `threshold`'s definition. Refused: parameters for another number of channels.
//!
//! A requantization `(x · m + a) / 2^s` becomes `u = x · m + a'`, `y = u >> s`: the rounding goes into `a'`. The modes that
//! look at a tie are `half_ceil` and, where `u`'s low `s` bits are all 0, one less if the mode says so; whether any sum
//! in the range is a tie is decided by solving a congruence, and seldom one is. When `u` fits 64 bits and `s` is 32 or
//! more (`m` is scaled up where it is less), `y` is the upper half of `u`, shifted: that needs no 64-bit shift.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod threshold;

use super::super::error::{KernelError, at_least, exactly};
use super::super::isa::Isa;
use super::word::{Code, Word, by_word, decode, view, view_mut};
use std::sync::Arc;
use threshold::Thresholds;
use unfloat_ir::ops::Requantize;
use unfloat_ir::{IntType, Overflow, Rounding};

/// Channels that one vector holds. The same for all instruction sets, so that parameters are.
pub(crate) const LANES: usize = 8;

/// What turns a sum into a code.
#[derive(Clone, Debug)]
pub enum Map {
    /// The sum is the code.
    Keep,
    /// Multiplication, addition, shift and overflow, with parameters for each channel.
    Requantize {
        /// Type, rounding and overflow.
        op: Requantize,
        /// Multipliers.
        multiplier: Vec<i64>,
        /// Addends.
        addend: Vec<i64>,
        /// Shifts.
        shift: Vec<u8>,
    },
    /// `bias + scale · (number of thresholds that the sum reaches)`.
    Threshold {
        /// The thresholds of each channel, or one row for all.
        table: Arc<Levels>,
        /// The row of the first channel.
        first: usize,
        /// What each threshold adds.
        scale: i64,
        /// What is there without any.
        bias: i64,
    },
}

impl Map {
    /// The same for some of the channels.
    pub(crate) fn of(&self, channels: std::ops::Range<usize>) -> Map {
        let part = |v: &[i64]| v.get(channels.clone()).unwrap_or(&[]).to_vec();
        match self {
            Map::Keep => Map::Keep,
            Map::Requantize { op, multiplier, addend, shift } => Map::Requantize {
                op: op.clone(),
                multiplier: part(multiplier),
                addend: part(addend),
                shift: shift.get(channels.clone()).unwrap_or(&[]).to_vec(),
            },
            Map::Threshold { table, first, scale, bias } => Map::Threshold {
                table: table.clone(),
                first: first + channels.start,
                scale: *scale,
                bias: *bias,
            },
        }
    }
}

/// Rows of thresholds, each sorted; nodes and plans share them.
#[derive(Clone, Debug)]
pub struct Levels {
    limits: Vec<i64>,
    rows: usize,
    count: usize,
}

impl Levels {
    /// `rows` times `count` thresholds, those of a row in any order. Refused: another number of them.
    pub fn new(mut limits: Vec<i64>, rows: usize, count: usize) -> Result<Levels, KernelError> {
        exactly("thresholds", limits.len(), rows.saturating_mul(count))?;
        limits.chunks_exact_mut(count.max(1)).for_each(<[i64]>::sort_unstable);
        Ok(Levels { limits, rows, count })
    }

    /// The threshold of each row, where each has one.
    pub(crate) fn single(&self) -> Option<&[i64]> {
        (self.count == 1).then_some(&self.limits)
    }

    /// A row, or the one for all.
    pub(super) fn row(&self, row: usize) -> &[i64] {
        let row = if self.rows == 1 { 0 } else { row };
        &self.limits[row * self.count..(row + 1) * self.count]
    }
}

/// What happens to sums.
#[derive(Clone, Debug)]
pub struct PostSpec {
    /// Bounds of the sum.
    pub before: (i64, i64),
    /// What turns it into a code.
    pub map: Map,
    /// Bounds of the code.
    pub after: (i64, i64),
}

impl PostSpec {
    /// Whether a greater sum never gets a lesser code.
    pub fn keeps_order(&self) -> bool {
        match &self.map {
            Map::Keep => true,
            Map::Requantize { op, multiplier, .. } => {
                let cut = matches!(op.overflow, Overflow::Saturate | Overflow::SaturateSymmetric);
                cut && multiplier.iter().all(|&m| m >= 0)
            }
            Map::Threshold { scale, .. } => *scale >= 0,
        }
    }
}

impl Default for PostSpec {
    /// The sum as it is.
    fn default() -> Self {
        Self { before: (i64::MIN, i64::MAX), map: Map::Keep, after: (i64::MIN, i64::MAX) }
    }
}

/// What becomes of a tie, given `half_ceil`'s answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ties {
    /// It stays.
    Up,
    /// One less if it is odd.
    Even,
    /// One less if it is 0 or below.
    Away,
    /// One less if it is above 0.
    Zero,
}

impl Ties {
    #[inline(always)]
    fn takes(self, y: i64) -> bool {
        match self {
            Ties::Up => false,
            Ties::Even => y & 1 == 1,
            Ties::Away => y <= 0,
            Ties::Zero => y > 0,
        }
    }
}

/// A requantization whose sum fits 64 bits, for each channel: `(x · mul + add) >> shift`.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub mul: Vec<i64>,
    pub add: Vec<i64>,
    pub shift: Vec<u8>,
    pub ties: Ties,
    /// Bits of `x · mul + add` that are 0 at a tie; all ones where there is none.
    pub tie_mask: Vec<i64>,
}

/// [`Scale`] in the order that vectors read, with `shift` less 32: for each [`LANES`] channels, what is 64 bits wide
/// has the even ones first.
#[derive(Clone, Debug)]
pub(crate) struct Halves {
    pub mul: Vec<i32>,
    pub add: Vec<i64>,
    pub shift: Vec<i32>,
    pub tie_mask: Vec<i64>,
}

/// How codes are made.
#[derive(Clone, Debug)]
enum Form {
    Keep,
    Scale(Scale, Option<Halves>),
    /// By the definition, in 128 bits.
    Exact(Requantize, Vec<i64>, Vec<i64>, Vec<u8>),
    Threshold(Thresholds),
}

/// Sums to codes, for a number of channels.
#[derive(Clone, Debug)]
pub struct Post {
    isa: Isa,
    channels: usize,
    before: (i64, i64),
    form: Form,
    /// Wrap codes to so many bits first.
    wrap: Option<IntType>,
    after: (i64, i64),
    out: Word,
}

/// Sums that are fetched together, where they are codes.
const BLOCK: usize = 512;
/// As many where there are no more.
const SMALL: usize = 64;

/// Most thresholds that one row becomes, written out for each channel.
const WRITTEN_OUT: usize = 1 << 16;

impl Post {
    /// `ranges` are the sums of each channel before any clamping.
    pub fn new(isa: Isa, spec: &PostSpec, ranges: &[(i128, i128)], out: Word) -> Result<Post, KernelError> {
        let channels = ranges.len();
        let clamp = |v: i128| v.clamp(spec.before.0.into(), spec.before.1.into());
        let ranges: Vec<(i128, i128)> = ranges.iter().map(|&(lo, hi)| (clamp(lo), clamp(hi))).collect();
        let (form, wrap, after) = match &spec.map {
            Map::Keep => (Form::Keep, None, spec.after),
            Map::Requantize { op, multiplier, addend, shift } => {
                exactly("multipliers", multiplier.len(), channels)?;
                exactly("addends", addend.len(), channels)?;
                exactly("shifts", shift.len(), channels)?;
                requantizer(op, [multiplier, addend], shift, &ranges, spec.after)
            }
            Map::Threshold { table, first, scale, bias } => {
                if table.rows != 1 {
                    at_least("rows of thresholds", table.rows, first + channels)?;
                }
                let thresholds = Thresholds::new(table.clone(), *first, (*scale, *bias), &ranges);
                (Form::Threshold(thresholds), None, spec.after)
            }
        };
        Ok(Post { isa, channels, before: spec.before, form, wrap, after, out })
    }

    /// The word of the codes.
    pub fn word(&self) -> Word {
        self.out
    }

    /// Channels of a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The code for one sum.
    #[inline]
    fn one(&self, channel: usize, x: i64) -> i64 {
        let x = x.clamp(self.before.0, self.before.1);
        let y = match &self.form {
            Form::Keep => x,
            Form::Scale(s, _) => {
                s.code(x, (&s.mul[channel], &s.add[channel]), (&s.shift[channel], &s.tie_mask[channel]))
            }
            Form::Exact(op, m, a, s) => op.apply(x, m[channel], a[channel], s[channel]),
            Form::Threshold(t) => t.code(channel, x),
        };
        let y = self.wrap.map_or(y, |int| int.wrap(y));
        y.clamp(self.after.0, self.after.1)
    }

    /// The codes of `rows` rows of 64-bit sums, `width` apart, of which the first `cols` are for the channels from
    /// `first` on. Row `r` goes to element `at + r * stride` of `out` and on.
    pub(crate) fn run64(&self, sums: &[i64], to: Rows, out: &mut [u8]) {
        fn rows<T: Code>(post: &Post, sums: &[i64], to: Rows, out: &mut [T]) {
            for (r, sums) in sums.chunks_exact(to.width).take(to.rows).enumerate() {
                let out = &mut out[to.at + r * to.stride..][..to.cols];
                if let (Form::Scale(s, _), None) = (&post.form, post.wrap) {
                    let (before, after) = (post.before, post.after);
                    let of = to.first..to.first + to.cols;
                    let factors = s.mul[of.clone()].iter().zip(&s.add[of.clone()]);
                    let rest = s.shift[of.clone()].iter().zip(&s.tie_mask[of]);
                    for ((y, &x), (factors, rest)) in out.iter_mut().zip(sums).zip(factors.zip(rest)) {
                        let y64 = s.code(x.clamp(before.0, before.1), factors, rest);
                        *y = T::set(y64.clamp(after.0, after.1));
                    }
                    continue;
                }
                for (c, (y, &x)) in out.iter_mut().zip(sums).enumerate() {
                    *y = T::set(post.one(to.first + c, x));
                }
            }
        }
        by_word!(self.out, T => rows::<T>(self, sums, to, view_mut(out)), ())
    }

    /// [`Post::run64`] for sums of 32 bits; `width` is a multiple of [`LANES`], and `first` too.
    pub(crate) fn run32(&self, sums: &[i32], to: Rows, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if self.isa.has_avx2() && self.out != Word::I64 && self.vectors() {
            return self.vectors32(sums, to, out);
        }
        self.scalar32(sums, to, out)
    }

    /// The codes of any number of rows of codes, taken as sums; of one word of integers, or nothing is done.
    pub fn run(&self, from: Word, x: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        let row = self.channels * from.bytes();
        let rows = x.len().checked_div(row).unwrap_or(0);
        exactly("codes", x.len(), rows * row)?;
        exactly("codes", to.len(), rows * self.channels * self.out.bytes())?;
        // Buffers are cleared each time: small ones for little.
        match rows * self.channels.next_multiple_of(LANES) {
            ..=SMALL => self.run_blocks::<SMALL>(from, x, to, rows),
            _ => self.run_blocks::<BLOCK>(from, x, to, rows),
        }
    }

    /// [`Post::run`] on so many rows, in blocks of `BLOCK` sums.
    fn run_blocks<const BLOCK: usize>(
        &self,
        from: Word,
        x: &[u8],
        to: &mut [u8],
        rows: usize,
    ) -> Result<(), KernelError> {
        // Rows that go together, or a part of a long one.
        let width = self.channels.next_multiple_of(LANES).min(BLOCK);
        let together = BLOCK / width.max(1);
        for r in (0..rows).step_by(together.max(1)) {
            for first in (0..self.channels).step_by(width) {
                let cols = width.min(self.channels - first);
                let place = Rows {
                    rows: together.min(rows - r),
                    width,
                    cols,
                    first,
                    at: r * self.channels + first,
                    stride: self.channels,
                };
                if from == Word::I64 {
                    let mut sums = [0; BLOCK];
                    for (i, sums) in sums.chunks_exact_mut(width).take(place.rows).enumerate() {
                        let at = (place.at + i * self.channels) * 8;
                        decode(from, &x[at..at + cols * 8], &mut sums[..cols])?;
                    }
                    self.run64(&sums, place, to);
                } else {
                    let mut sums = [0; BLOCK];
                    by_word!(from, T => fetch::<T>(view(x), place, &mut sums), ());
                    self.run32(&sums, place, to);
                }
            }
        }
        Ok(())
    }

    fn scalar32(&self, sums: &[i32], to: Rows, out: &mut [u8]) {
        fn rows<T: Code>(post: &Post, sums: &[i32], to: Rows, out: &mut [T]) {
            for (r, sums) in sums.chunks_exact(to.width).take(to.rows).enumerate() {
                let out = &mut out[to.at + r * to.stride..][..to.cols];
                for (c, (y, &x)) in out.iter_mut().zip(sums).enumerate() {
                    *y = T::set(post.one(to.first + c, x.into()));
                }
            }
        }
        by_word!(self.out, T => rows::<T>(self, sums, to, view_mut(out)), ())
    }
}

/// Where rows of codes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub rows: usize,
    /// Sums in a row.
    pub width: usize,
    /// Those of a row that are stored.
    pub cols: usize,
    /// The channel of the first one.
    pub first: usize,
    /// The element of the output for the first row.
    pub at: usize,
    /// Distance of rows in the output.
    pub stride: usize,
}

/// Codes to sums.
fn fetch<T: Code>(x: &[T], place: Rows, sums: &mut [i32]) {
    for (i, sums) in sums.chunks_exact_mut(place.width).take(place.rows).enumerate() {
        let x = &x[place.at + i * place.stride..][..place.cols];
        sums.iter_mut().zip(x).for_each(|(y, &x)| *y = x.get() as i32);
    }
}

/// The form of a requantization, whether codes wrap, and their bounds.
fn requantizer(
    op: &Requantize,
    [multiplier, addend]: [&[i64]; 2],
    shift: &[u8],
    ranges: &[(i128, i128)],
    after: (i64, i64),
) -> (Form, Option<IntType>, (i64, i64)) {
    let shift: Vec<u8> = shift.iter().map(|&s| s.min(Requantize::MAX_SHIFT)).collect();
    let exact = || Form::Exact(op.clone(), multiplier.to_vec(), addend.to_vec(), shift.clone());
    let bounds = op.bounds();
    // Clamping twice is clamping once, between where the first bounds end up.
    let both = (bounds.0.clamp(after.0, after.1), bounds.1.clamp(after.0, after.1));
    let Some(scale) = Scale::new(op.rounding, [multiplier, addend], &shift, ranges) else {
        return (exact(), None, after);
    };
    let reached = |c: usize, x: i128| {
        (x * i128::from(scale.mul[c]) + i128::from(scale.add[c])) >> u32::from(scale.shift[c])
    };
    let inside = |y: i128| i128::from(bounds.0) < y && y < i128::from(bounds.1);
    let fits = ranges.iter().enumerate().all(|(c, r)| inside(reached(c, r.0)) && inside(reached(c, r.1)));
    let wrap = match op.overflow {
        Overflow::Wrap if !fits => Some(op.to),
        Overflow::SaturateZero if !fits => return (exact(), None, after),
        _ => None,
    };
    let halves = Halves::new(&scale, ranges);
    (Form::Scale(scale, halves), wrap, if wrap.is_some() { after } else { both })
}

impl Scale {
    /// The code for a sum, with a channel's factor and addend, shift and mask.
    #[inline(always)]
    fn code(&self, x: i64, (mul, add): (&i64, &i64), (shift, tie_mask): (&u8, &i64)) -> i64 {
        let u = x.wrapping_mul(*mul).wrapping_add(*add);
        let y = u >> *shift;
        y - i64::from(u & *tie_mask == 0 && self.ties.takes(y))
    }

    /// Nothing where a number on the way may leave 64 bits, or the rounding depends on more than ties.
    fn new(
        rounding: Rounding,
        [multiplier, addend]: [&[i64]; 2],
        shift: &[u8],
        ranges: &[(i128, i128)],
    ) -> Option<Scale> {
        let mut scale = Scale {
            mul: multiplier.to_vec(),
            add: Vec::new(),
            shift: shift.to_vec(),
            ties: Ties::Up,
            tie_mask: Vec::new(),
        };
        let ties = match rounding {
            Rounding::HalfEven => Ties::Even,
            Rounding::HalfUp => Ties::Away,
            Rounding::HalfDown => Ties::Zero,
            Rounding::Up | Rounding::Down => return None,
            _ => Ties::Up,
        };
        for (c, &range) in ranges.iter().enumerate() {
            let (m, s) = (i128::from(multiplier[c]), u32::from(shift[c]));
            let more = match (rounding, s) {
                (_, 0) | (Rounding::Floor, _) => 0,
                (Rounding::Ceil, _) => (1i128 << s) - 1,
                (Rounding::HalfFloor, _) => (1 << (s - 1)) - 1,
                _ => 1 << (s - 1),
            };
            let add = i64::try_from(i128::from(addend[c]) + more).ok()?;
            for x in [range.0, range.1] {
                i64::try_from(x.checked_mul(m)?.checked_add(add.into())?).ok()?;
            }
            scale.add.push(add);
            let tie = ties != Ties::Up && s > 0 && tie_within(m, add.into(), s, range);
            scale.tie_mask.push(if tie { i64::MAX >> (63 - s) } else { -1 });
            if tie {
                scale.ties = ties;
            }
        }
        // `u & mask` must not be 0 where there is no tie; with all ones it is only for u = 0.
        if scale.ties != Ties::Up {
            let zero = |c: usize| scale.tie_mask[c] == -1 && !never_zero(&scale, c, ranges[c]);
            if (0..ranges.len()).any(zero) {
                return None;
            }
        }
        Some(scale)
    }
}

/// Whether `x · m + a` is no 0 for any x of the range.
fn never_zero(scale: &Scale, c: usize, (lo, hi): (i128, i128)) -> bool {
    let (m, a) = (i128::from(scale.mul[c]), i128::from(scale.add[c]));
    if m == 0 {
        return a != 0;
    }
    -a % m != 0 || !(lo..=hi).contains(&(-a / m))
}

/// Whether `x · m + a` is a multiple of `2^s` for some x of the range.
fn tie_within(m: i128, a: i128, s: u32, (lo, hi): (i128, i128)) -> bool {
    let modulus = 1i128 << s;
    let twos = if m == 0 { s } else { m.trailing_zeros().min(s) };
    if a.rem_euclid(1 << twos) != 0 {
        return false;
    }
    if twos == s {
        return true;
    }
    // x · odd ≡ c modulo 2^left.
    let (odd, c, left) = (m >> twos, -a.rem_euclid(modulus) >> twos, s - twos);
    // Newton's iteration doubles the right bits of the inverse, from three.
    let odd = odd as u64;
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    let period = 1i128 << left;
    let x = i128::from((c as u64).wrapping_mul(inverse)) & (period - 1);
    lo + (x - lo).rem_euclid(period) <= hi
}

impl Halves {
    /// Nothing where a multiplier has more than 32 bits, or a sum would leave 64.
    fn new(scale: &Scale, ranges: &[(i128, i128)]) -> Option<Halves> {
        let n = ranges.len().next_multiple_of(2 * LANES);
        let mut halves =
            Halves { mul: vec![0; n], add: vec![0; n], shift: vec![0; n], tie_mask: vec![-1; n] };
        for (c, range) in ranges.iter().enumerate() {
            let up = 32u32.saturating_sub(scale.shift[c].into());
            let mul = i32::try_from(i128::from(scale.mul[c]) << up).ok()?;
            let add = i64::try_from(i128::from(scale.add[c]) << up).ok()?;
            for x in [range.0, range.1] {
                i32::try_from(x).ok()?;
                i64::try_from(x * i128::from(mul) + i128::from(add)).ok()?;
            }
            let lane = c % LANES;
            let split = c - lane + lane / 2 + lane % 2 * (LANES / 2);
            halves.mul[c] = mul;
            halves.shift[c] = i32::from(scale.shift[c]) + up as i32 - 32;
            halves.add[split] = add;
            // The bits that came in below are 0: a tie has its own bits 0, as before.
            halves.tie_mask[split] = if scale.tie_mask[c] == -1 { -1 } else { scale.tie_mask[c] << up };
        }
        Some(halves)
    }
}
