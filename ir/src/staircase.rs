//! How many of many thresholds a number reaches, without a search.
//!
//! In: the thresholds of one channel, rising, and the range of the argument. Out: an [`Estimate`] in integers that bounds
//! their number from below and from above, by one more at most, for every argument of the range. Refused (nothing is built):
//! ranges that reach the ends of 32 bits, more than [`MOST`] thresholds, and such as lie too unevenly.
//!
//! A quantizer behind a scale and a ReLU is a staircase whose steps are all but equal: it differs from a line only by
//! what the source's own arithmetic rounds. So the two bounds are nearly always the same number; where they are not, one
//! comparison decides. The bounds rise, and so does the number of thresholds reached: looking at both sides of every
//! threshold proves them for all arguments.

/// Bits behind the point of an estimate.
pub const FRACTION: u32 = 20;

/// The most thresholds: estimates have 31 bits.
pub const MOST: usize = 1000;

/// A line beside a staircase. For an argument `x`, with `t = (clamp(x, low, high) − low) << up` and
/// `p = (t · multiplier >> 32) + addend`, all of 31 bits, the number of thresholds reached is `p >> FRACTION` or
/// `(p + slack) >> FRACTION`, for this [`Estimate::slack`] and any greater one below `2^(FRACTION - 4)`; and where the two
/// differ, the first is less than the number of thresholds there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// The least argument that is told apart.
    pub low: i32,
    /// The greatest.
    pub high: i32,
    /// Makes as many bits of the argument as there is room for.
    pub up: u8,
    /// Thresholds per unit.
    pub multiplier: i32,
    /// The estimate at `low`.
    pub addend: i32,
    /// How far the estimate may be too small.
    pub slack: i32,
}

impl Estimate {
    /// The estimate for rising `thresholds`, and arguments from `range.0` to `range.1`.
    pub fn of(thresholds: &[i64], range: (i128, i128)) -> Option<Estimate> {
        let (lo, hi) = (i32::try_from(range.0).ok()?, i32::try_from(range.1).ok()?);
        if lo == i32::MIN || hi == i32::MAX {
            return None;
        }
        let reached = |x: i32| thresholds.partition_point(|&t| t <= x.into());
        let (first, end) = (reached(lo), reached(hi));
        if thresholds.len() > MOST {
            return None;
        }
        let inside = thresholds.get(first..end)?;
        let line = Estimate::line(lo, inside)?;
        // What may be added so that the estimate is not too great in front of any threshold, and not too small at it.
        let level = |k: usize| ((first + k + 1) as i64) << FRACTION;
        let (mut least, mut greatest) = (i64::MIN, i64::MAX);
        for (k, &t) in inside.iter().enumerate() {
            // Thresholds inside of the range are greater than its least number.
            greatest = greatest.min(level(k) - 1 - line.rise(t as i32 - 1));
            least = least.max(level(k) - line.rise(t as i32));
        }
        let (addend, slack) = match inside {
            [] => (((first as i64) << FRACTION) + (1 << (FRACTION - 1)), 0),
            _ if least <= greatest => (least + (greatest - least) / 2, 0),
            _ => (greatest, least - greatest),
        };
        let found =
            Estimate { addend: i32::try_from(addend).ok()?, slack: i32::try_from(slack).ok()?, ..line };
        // More slack would leave the two bounds different too often to be worth it.
        const MOST_SLACK: i64 = 1 << (FRACTION - 4);
        let top = addend + line.rise(line.high) + MOST_SLACK;
        let sides = inside.iter().flat_map(|&t| [t as i32 - 1, t as i32]).chain([lo, hi]);
        let right = |x: i32| {
            let (count, (least, most)) = (reached(x) as i32, found.bounds(x));
            (least..=most).contains(&count)
        };
        let narrow = slack < MOST_SLACK && addend >= 0 && top >> FRACTION <= thresholds.len() as i64;
        (narrow && sides.into_iter().all(right)).then_some(found)
    }

    /// The line through the first and the last of rising thresholds, all greater than `lo`, without an addend.
    fn line(lo: i32, thresholds: &[i64]) -> Option<Estimate> {
        let (Some(&a), Some(&b)) = (thresholds.first(), thresholds.last()) else {
            return Some(Estimate { low: lo, high: lo, up: 0, multiplier: 0, addend: 0, slack: 0 });
        };
        let step = match thresholds.len() {
            1 => 2.0,
            n => (b - a) as f64 / (n - 1) as f64,
        };
        // Half a step beyond the ends no two bounds differ.
        let half = (step / 2.0) as i64;
        let (low, high) = ((a - half.max(1)).max(i32::MIN.into()), (b + half).min(i32::MAX.into()));
        let width = i32::try_from(high - low).ok().filter(|&w| w > 0 && step >= 1.0)?;
        let up = width.leading_zeros() - 1;
        let multiplier = f64::from(1 << FRACTION) / step * (f64::from(32 - up)).exp2();
        let multiplier = (multiplier < f64::from(i32::MAX)).then(|| multiplier.round() as i32)?;
        // Both are within 32 bits.
        Some(Estimate { low: low as i32, high: high as i32, up: up as u8, multiplier, addend: 0, slack: 0 })
    }

    /// The estimate without its addend, which is no less than 0.
    fn rise(&self, x: i32) -> i64 {
        let t = (i64::from(x.clamp(self.low, self.high)) - i64::from(self.low)) << self.up;
        (t * i64::from(self.multiplier)) >> 32
    }

    /// Two numbers, the second at most one more than the first, between which is the number of thresholds that an argument
    /// of the range reaches.
    #[inline]
    pub fn bounds(&self, x: i32) -> (i32, i32) {
        let p = self.rise(x) as i32 + self.addend;
        (p >> FRACTION, (p + self.slack) >> FRACTION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is an estimate; if so, it is compared with the definition for every argument.
    fn check(thresholds: &[i64], range: (i64, i64)) -> bool {
        let Some(found) = Estimate::of(thresholds, (range.0.into(), range.1.into())) else { return false };
        for x in range.0..=range.1 {
            let count = thresholds.iter().filter(|&&t| t <= x).count() as i32;
            let (least, most) = found.bounds(x as i32);
            assert!(
                least <= count && count <= most && most <= least + 1,
                "{x}: {least}, {count}, {most} in {found:?}"
            );
        }
        true
    }

    /// Lines of all slopes, rounded, and with a little noise; every argument of the range.
    #[test]
    fn bounds_for_every_argument() {
        let mut z = 1u64;
        let mut random = |n: i64| {
            z = z.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (z >> 33) as i64 % n
        };
        for (count, step) in [
            (255, 1.0),
            (255, 3.0),
            (255, 130.37),
            (17, 999.5),
            (3, 9.25),
            (2, 5.0),
            (1, 1.0),
            (0, 1.0),
            (400, 70.1),
        ] {
            for start in [-20_000, -37, 0, 4_000] {
                let noise = 1 + (step / 100.0) as i64;
                let thresholds: Vec<i64> =
                    (0..count).map(|k| start + (k as f64 * step).ceil() as i64 + random(noise)).collect();
                let half = start + (count as f64 * step / 2.0) as i64;
                for range in [(-40_000, 40_000), (start - 1, half), (start + 7, start + 8), (half, half + 9)]
                {
                    assert!(check(&thresholds, range), "{count} {step} {start} {range:?}");
                }
            }
        }
    }

    /// A staircase that is a rounded line needs next to no comparisons.
    #[test]
    fn hardly_any_slack_where_there_is_no_noise() {
        let thresholds: Vec<i64> = (0..255).map(|k| (f64::from(k) * 771.3).ceil() as i64).collect();
        let found = Estimate::of(&thresholds, (-300_000, 300_000)).map(|e| e.slack);
        assert!(found.is_some_and(|slack| slack < 1 << (FRACTION - 9)), "{found:?}");
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let square: Vec<i64> = (0..100).map(|k| k * k).collect();
        assert!(!check(&square, (0, 10_000)));
        let twice: Vec<i64> = (0..100).map(|k| k / 2 * 10).collect();
        assert!(!check(&twice, (0, 500)));
        let line: Vec<i64> = (0..255).map(|k| k * 100).collect();
        assert_eq!(Estimate::of(&line, (0, 1 << 31)), None);
        assert_eq!(Estimate::of(&line, (-1 - (1 << 31), 100)), None);
        let many: Vec<i64> = (0..1001).map(|k| k * 100).collect();
        assert_eq!(Estimate::of(&many, (0, 1000)), None);
    }

    #[test]
    fn the_ends_of_32_bits() {
        let (lo, hi) = (i64::from(i32::MIN) + 1, i64::from(i32::MAX) - 1);
        let ends = (lo.into(), hi.into());
        for thresholds in
            [vec![lo, hi], vec![lo + 1, hi], vec![hi], vec![lo], vec![lo - 5, hi + 5], vec![-5, 0, 5]]
        {
            assert_eq!(Estimate::of(&thresholds, (i32::MIN.into(), i32::MAX.into())), None);
            let Some(found) = Estimate::of(&thresholds, ends) else { continue };
            for x in thresholds.iter().flat_map(|&t| [t - 1, t, t + 1]).chain([lo, hi]) {
                if !(lo..=hi).contains(&x) {
                    continue;
                }
                let count = thresholds.iter().filter(|&&t| t <= x).count() as i32;
                let (least, most) = found.bounds(x as i32);
                assert!((least..=most).contains(&count), "{thresholds:?} at {x}");
            }
        }
    }
}
