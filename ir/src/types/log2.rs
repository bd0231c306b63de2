//! Power-of-two weights: 0 and ± a few consecutive powers of two, so that a product is a shift.

use std::fmt;

/// Where the boundary between two neighbouring powers of two lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Midpoint {
    /// Their arithmetic mean, `1.5 · 2^k`: each number goes to the nearest level. Below the least power, one half of
    /// it. A number on the boundary goes to the greater magnitude.
    Linear,
    /// Their geometric mean, `√2 · 2^k`: `log2` is rounded to the nearest integer. Below the least power, `1/√2` of
    /// it: what would round to the next lower power is 0. No float lies on a boundary.
    Log,
}

impl Midpoint {
    /// The name used in text.
    pub fn name(self) -> &'static str {
        match self {
            Midpoint::Linear => "linear",
            Midpoint::Log => "log",
        }
    }
}

impl fmt::Display for Midpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Power-of-two weights of `width` bits: a sign, and `width − 1` bits that name 0 or one of `2^(width−1) − 1`
/// consecutive powers of two.
///
/// As integers the levels are `0, ±1, ±2, ±4, … ±2^(powers−1)`; the real number that 1 stands for is a power of two
/// that calibration finds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Log2 {
    /// Bits of a weight, sign included: 2 to 6.
    pub width: u8,
    /// Where the boundary between two powers lies.
    pub midpoint: Midpoint,
}

impl Log2 {
    /// The widths that there are. One more bit than the last would need integers of 64 bits.
    pub const WIDTHS: std::ops::RangeInclusive<u8> = 2..=6;

    /// How many powers of two there are: 1, 3, 7, 15 or 31.
    pub fn powers(self) -> u32 {
        (1 << (self.width.clamp(*Self::WIDTHS.start(), *Self::WIDTHS.end()) - 1)) - 1
    }

    /// The greatest level, `2^(powers−1)`.
    pub fn max(self) -> i64 {
        1 << (self.powers() - 1)
    }

    /// The level that `v` goes to, `v` being in units of the least power. Greater numbers go to the greatest level; a
    /// NaN to 0. Exact: no logarithm is computed.
    pub fn level(self, v: f32) -> i64 {
        let size = f64::from(v.abs());
        let lowest = match self.midpoint {
            Midpoint::Linear => size >= 0.5,
            // The square of a single has 48 bits: it is exact.
            Midpoint::Log => size * size >= 0.5,
        };
        if !lowest {
            return 0;
        }
        let mut level = 1i64;
        while level < self.max() {
            let k = level as f64;
            let reached = match self.midpoint {
                Midpoint::Linear => size >= 1.5 * k,
                Midpoint::Log => size * size >= 2.0 * k * k,
            };
            if !reached {
                break;
            }
            level *= 2;
        }
        if v < 0.0 { -level } else { level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_widths() {
        for (width, powers, max) in [(2, 1, 1), (3, 3, 4), (4, 7, 64), (5, 15, 1 << 14), (6, 31, 1 << 30)] {
            let format = Log2 { width, midpoint: Midpoint::Linear };
            assert_eq!((format.powers(), format.max()), (powers, max));
            assert_eq!(format.level(f32::INFINITY), max);
            assert_eq!(format.level(f32::NEG_INFINITY), -max);
            assert_eq!(format.level(f32::NAN), 0);
        }
    }

    /// Each level is the nearest, by the difference or by the ratio, of all levels.
    #[test]
    fn the_nearest_of_all_levels() {
        for midpoint in [Midpoint::Linear, Midpoint::Log] {
            let format = Log2 { width: 4, midpoint };
            let powers: Vec<i64> = (0..7).map(|k| 1 << k).collect();
            for n in 0..=70_000u32 {
                let v = n as f32 / 1024.0;
                let got = format.level(v);
                let want = match midpoint {
                    Midpoint::Linear => {
                        let apart = |l: i64| (f64::from(v) - l as f64).abs();
                        // Of two that are as near, the later: the greater.
                        let all = std::iter::once(0).chain(powers.iter().copied());
                        all.reduce(|a, b| if apart(b) <= apart(a) { b } else { a })
                    }
                    Midpoint::Log if n == 0 => Some(0),
                    Midpoint::Log => match f64::from(v).log2().round() as i64 {
                        ..0 => Some(0),
                        k => powers.get(k.min(6) as usize).copied(),
                    },
                };
                assert_eq!(Some(got), want, "{midpoint} of {v}");
                assert_eq!(format.level(-v), -got, "{midpoint} of −{v}");
            }
        }
    }

    #[test]
    fn boundaries() {
        let below = |v: f32| f32::from_bits(v.to_bits() - 1);
        let linear = Log2 { width: 4, midpoint: Midpoint::Linear };
        assert_eq!(
            [below(0.5), 0.5, below(1.5), 1.5, below(48.0), 48.0].map(|v| linear.level(v)),
            [0, 1, 1, 2, 32, 64]
        );
        let log = Log2 { width: 4, midpoint: Midpoint::Log };
        // The singles nearest to √2 and 1/√2 lie below them.
        let (root, inverse) = (std::f32::consts::SQRT_2, std::f32::consts::FRAC_1_SQRT_2);
        let above = |v: f32| f32::from_bits(v.to_bits() + 1);
        assert_eq!([inverse, above(inverse), root, above(root)].map(|v| log.level(v)), [0, 1, 1, 2]);
    }
}
