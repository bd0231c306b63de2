//! A step function as one multiplication, one addition and one shift: `y = overflow(⌊(x · m + a) / 2^s⌋)`.
//!
//! In: the step function of each channel and an estimate of its slope. Out: multiplier, addend and shift of each
//! channel that give the same result for every argument, or nothing. Between two changes the step function is constant
//! and the quotient is monotone, so it suffices that both agree at the first and at the last argument of each run: for a
//! given multiplier this is an interval of addends, and any of it is right (cf. Granlund and Montgomery, 1994).

use super::function::Trend;
use super::steps::Steps;
use unfloat_ir::ops::Requantize;
use unfloat_ir::{IntType, Overflow, Rounding};

/// Multiplier, addend and shift of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Multiply {
    pub multiplier: i64,
    pub addend: i64,
    pub shift: u8,
}

impl Multiply {
    /// The greatest magnitude of a sum, for arguments of that range.
    pub fn greatest(&self, (lo, hi): (i64, i64)) -> u128 {
        let sum =
            |x: i64| (i128::from(x) * i128::from(self.multiplier) + i128::from(self.addend)).unsigned_abs();
        sum(lo).max(sum(hi))
    }
}

/// Bits of a product with an argument, and of the sum: a machine adds them in 64 bits.
const PRODUCT_BITS: u32 = 61;
/// The most bits of a multiplier: that of a 32-bit word, signed.
const MULTIPLIER_BITS: u32 = 31;

/// The op that all channels share.
pub fn op(to: IntType) -> Requantize {
    Requantize { to, rounding: Rounding::Floor, overflow: Overflow::Saturate, narrow: false }
}

/// Finds the numbers of one channel; `slope` is an estimate of results per unit of argument, and `bounds` are the
/// codes at which the op saturates.
pub fn find(steps: &Steps, slope: f64, bounds: (i64, i64)) -> Option<Multiply> {
    if steps.changes.is_empty() {
        return Some(Multiply { multiplier: 0, addend: steps.first, shift: 0 });
    }
    steps.trend()?;
    let greatest = steps.range.0.unsigned_abs().max(steps.range.1.unsigned_abs()).max(1);
    let bits = (PRODUCT_BITS - (64 - greatest.leading_zeros()).min(PRODUCT_BITS - 1)).min(MULTIPLIER_BITS);
    // Few bits first: small multipliers are small hardware.
    let exponent = slope.abs().log2();
    if !exponent.is_finite() {
        return None;
    }
    let shift_for = |bits: u32| (f64::from(bits) - 1.0 - exponent).floor();
    let mut tried = None;
    for bits in [8, 12, 16, 20, 24, 28, 31].into_iter().filter(|&b| b <= bits) {
        let shift = shift_for(bits).clamp(0.0, f64::from(Requantize::MAX_SHIFT));
        if tried == Some(shift as u8) {
            continue;
        }
        tried = Some(shift as u8);
        let nearest = (slope * shift.exp2()).round();
        if nearest.abs() >= f64::from(MULTIPLIER_BITS).exp2() {
            continue;
        }
        for offset in [0, 1, -1, 2, -2] {
            let multiplier = nearest as i64 + offset;
            if let Some(addend) = addend(steps, multiplier, shift as u8, bounds) {
                return Some(Multiply { multiplier, addend, shift: shift as u8 });
            }
        }
    }
    None
}

/// The numbers of `slope · x + offset` where they are multiples of a power of two that a machine holds: nothing is
/// rounded then but the quotient.
pub fn dyadic(slope: f64, offset: f64, range: (i64, i64)) -> Option<Multiply> {
    if !slope.is_finite() || !offset.is_finite() {
        return None;
    }
    let scaled = |v: f64, shift: i32| v * f64::from(shift).exp2();
    let whole = |v: f64| v.fract() == 0.0;
    let shift = (0..=i32::from(Requantize::MAX_SHIFT))
        .find(|&s| whole(scaled(slope, s)) && whole(scaled(offset, s)))?;
    let (multiplier, addend) = (scaled(slope, shift), scaled(offset, shift));
    let greatest = range.0.unsigned_abs().max(range.1.unsigned_abs()) as f64;
    let fits = multiplier.abs() < f64::from(MULTIPLIER_BITS).exp2()
        && multiplier.abs() * greatest + addend.abs() < f64::from(PRODUCT_BITS).exp2();
    fits.then_some(Multiply { multiplier: multiplier as i64, addend: addend as i64, shift: shift as u8 })
}

/// An addend with which the quotient is right at both ends of every run; the middle of all those.
fn addend(steps: &Steps, multiplier: i64, shift: u8, bounds: (i64, i64)) -> Option<i64> {
    let (mut least, mut greatest) = (i128::MIN, i128::MAX);
    for (from, to, value) in steps.runs() {
        let (p, q) = (i128::from(from) * i128::from(multiplier), i128::from(to) * i128::from(multiplier));
        // value · 2^s ≤ x · m + a < (value + 1) · 2^s, but for the bounds, beyond which the op saturates.
        if value > bounds.0 {
            least = least.max((i128::from(value) << shift) - p.min(q));
        }
        if value < bounds.1 {
            greatest = greatest.min((i128::from(value + 1) << shift) - 1 - p.max(q));
        }
    }
    if least > greatest {
        return None;
    }
    let middle = match (least == i128::MIN, greatest == i128::MAX) {
        (true, true) => 0,
        (true, false) => greatest,
        (false, true) => least,
        _ => {
            // Half a step, where that is right, is what an engineer would have written.
            least + (greatest - least) / 2
        }
    };
    let limit = 1i128 << PRODUCT_BITS;
    i64::try_from(middle).ok().filter(|&a| i128::from(a).abs() < limit)
}

/// Whether the numbers, clipped to the bounds, give the step function: at both ends of each run, between which they are
/// monotone.
pub fn agrees(steps: &Steps, m: &Multiply, op: &Requantize, bounds: (i64, i64)) -> bool {
    let y = |x: i64| op.apply(x, m.multiplier, m.addend, m.shift).clamp(bounds.0, bounds.1);
    steps.runs().all(|(from, to, value)| y(from) == value && y(to) == value)
}

/// The slope of a step function between its outermost changes.
pub fn slope(steps: &Steps) -> f64 {
    let [(from, first), .., (to, last)] = steps.changes[..] else {
        // One change: any slope that makes one step over the range.
        let length = (steps.range.1 as f64 - steps.range.0 as f64).max(1.0);
        let sign = if steps.trend() == Some(Trend::Falling) { -1.0 } else { 1.0 };
        return sign / length;
    };
    (last - first) as f64 / (to - from).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_of(range: (i64, i64), f: impl Fn(i64) -> i64) -> Steps {
        let mut steps = Steps { range, first: f(range.0), changes: Vec::new() };
        for x in range.0..=range.1 {
            if f(x) != steps.last() {
                steps.changes.push((x, f(x)));
            }
        }
        steps
    }

    /// Scales of all sizes, both signs, ties that go to even: the same result for every argument.
    #[test]
    fn the_same_for_every_argument() {
        let op = op(IntType::signed(8));
        for (scale, offset) in
            [(0.0123, 3.7), (-0.0123, 0.0), (0.5, 0.0), (0.25, 0.5), (1.0, -4.0), (0.000_71, 100.2)]
        {
            let f = |x: i64| (x as f64 * scale + offset).round_ties_even().clamp(-128.0, 127.0) as i64;
            let steps = steps_of((-20_000, 20_000), f);
            let found = find(&steps, scale, op.bounds());
            // Ties to even are no line: at 0.5 they alternate.
            assert_eq!(found.is_some(), scale != 0.5 && scale != 0.25, "{scale}");
            let Some(m) = found else { continue };
            assert!(agrees(&steps, &m, &op, op.bounds()));
            assert!((-20_000..=20_000).all(|x| op.apply(x, m.multiplier, m.addend, m.shift) == f(x)));
        }
    }

    #[test]
    fn a_wrong_number_is_seen() {
        let op = op(IntType::signed(8));
        let steps = steps_of((-3000, 3000), |x| (x as f64 * 0.031).round().clamp(-128.0, 127.0) as i64);
        let m = find(&steps, 0.031, op.bounds()).unwrap();
        assert!(agrees(&steps, &m, &op, op.bounds()));
        assert!(!agrees(&steps, &Multiply { addend: m.addend + (1 << m.shift) / 8, ..m }, &op, op.bounds()));
    }

    #[test]
    fn constants_and_single_steps() {
        let op = op(IntType::unsigned(8));
        let constant = steps_of((-5, 5), |_| 7);
        assert!(agrees(&constant, &find(&constant, 0.0, op.bounds()).unwrap(), &op, op.bounds()));
        let step = steps_of((-50, 50), |x| i64::from(x >= 13));
        assert!(agrees(&step, &find(&step, slope(&step), op.bounds()).unwrap(), &op, op.bounds()));
    }
}
