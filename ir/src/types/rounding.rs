//! How a number between two integers is rounded.

use std::fmt;

/// A rounding mode. Up to [`Rounding::Floor`] they are QONNX's; the last two are `ap_fixed`'s beyond those.
///
/// | mode | −2.5 −1.5 −0.5 0.5 1.5 2.5 | `ap_fixed` |
/// |---|---|---|
/// | `half_even` | −2 −2 0 0 2 2 | `AP_RND_CONV` |
/// | `half_up` | −3 −2 −1 1 2 3 | `AP_RND_INF` |
/// | `half_down` | −2 −1 0 0 1 2 | `AP_RND_ZERO` |
/// | `up` | −3 −2 −1 1 2 3 | |
/// | `down` | −2 −1 0 0 1 2 | `AP_TRN_ZERO` |
/// | `ceil` | −2 −1 0 1 2 3 | |
/// | `floor` | −3 −2 −1 0 1 2 | `AP_TRN` |
/// | `half_ceil` | −2 −1 0 1 2 3 | `AP_RND` |
/// | `half_floor` | −3 −2 −1 0 1 2 | `AP_RND_MIN_INF` |
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rounding {
    /// To the nearest, ties to the even one (QONNX `ROUND` and `HALF_EVEN`).
    HalfEven,
    /// To the nearest, ties away from 0 (QONNX `HALF_UP`).
    HalfUp,
    /// To the nearest, ties toward 0 (QONNX `HALF_DOWN`).
    HalfDown,
    /// Away from 0 (QONNX `UP`).
    Up,
    /// Toward 0 (QONNX `DOWN`).
    Down,
    /// Toward +∞.
    Ceil,
    /// Toward −∞.
    Floor,
    /// To the nearest, ties toward +∞.
    HalfCeil,
    /// To the nearest, ties toward −∞.
    HalfFloor,
}

impl Rounding {
    /// All modes.
    pub const ALL: [Rounding; 9] = [
        Rounding::HalfEven,
        Rounding::HalfUp,
        Rounding::HalfDown,
        Rounding::Up,
        Rounding::Down,
        Rounding::Ceil,
        Rounding::Floor,
        Rounding::HalfCeil,
        Rounding::HalfFloor,
    ];

    /// The name used in text.
    pub fn name(self) -> &'static str {
        match self {
            Rounding::HalfEven => "half_even",
            Rounding::HalfUp => "half_up",
            Rounding::HalfDown => "half_down",
            Rounding::Up => "up",
            Rounding::Down => "down",
            Rounding::Ceil => "ceil",
            Rounding::Floor => "floor",
            Rounding::HalfCeil => "half_ceil",
            Rounding::HalfFloor => "half_floor",
        }
    }

    /// The mode of that name in text.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// The names of all modes, for messages.
    pub fn names() -> String {
        Self::ALL.map(Rounding::name).join(", ")
    }

    /// The mode that QONNX calls so, in whatever case.
    pub fn from_qonnx(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
            "HALF_UP" => Rounding::HalfUp,
            "HALF_DOWN" => Rounding::HalfDown,
            "UP" => Rounding::Up,
            "DOWN" => Rounding::Down,
            "CEIL" => Rounding::Ceil,
            "FLOOR" => Rounding::Floor,
            _ => return None,
        })
    }

    /// The name of the mode in `ap_fixed`, without its `AP_`; nothing for `up` and `ceil`, which that does not have.
    pub fn ap_name(self) -> Option<&'static str> {
        Some(match self {
            Rounding::HalfCeil => "RND",
            Rounding::HalfDown => "RND_ZERO",
            Rounding::HalfFloor => "RND_MIN_INF",
            Rounding::HalfUp => "RND_INF",
            Rounding::HalfEven => "RND_CONV",
            Rounding::Floor => "TRN",
            Rounding::Down => "TRN_ZERO",
            Rounding::Up | Rounding::Ceil => return None,
        })
    }

    /// The mode that `ap_fixed` calls so, in whatever case, with or without `AP_`.
    pub fn from_ap(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("AP_").unwrap_or(&name);
        Self::ALL.into_iter().find(|r| r.ap_name() == Some(name))
    }

    /// The integer that `v` rounds to, in single precision; infinities and NaN stay.
    ///
    /// QONNX's modes are computed as its executor computes them, each step rounded: `half_up` takes 0.49999997
    /// to 1, because `|v| + 0.5` is 1 in single precision. The modes of `ap_fixed` alone are exact.
    pub fn apply(self, v: f32) -> f32 {
        let sign = match v {
            _ if v > 0.0 => 1.0,
            _ if v < 0.0 => -1.0,
            _ if v == 0.0 => 0.0,
            _ => v,
        };
        // In double precision this is exact, or rounded far from one half.
        let above = |v: f32| f64::from(v) - f64::from(v.floor());
        match self {
            Rounding::HalfEven => v.round_ties_even(),
            Rounding::HalfUp => sign * (v.abs() + 0.5).floor(),
            Rounding::HalfDown => sign * (v.abs() - 0.5).ceil(),
            Rounding::Up => sign * v.abs().ceil(),
            Rounding::Down => v.trunc(),
            Rounding::Ceil => v.ceil(),
            Rounding::Floor => v.floor(),
            Rounding::HalfCeil if above(v) >= 0.5 => v.floor() + 1.0,
            Rounding::HalfFloor if above(v) > 0.5 => v.floor() + 1.0,
            Rounding::HalfCeil | Rounding::HalfFloor => v.floor(),
        }
    }

    /// The integer that `value / 2^shift` rounds to, exactly; `shift` is at most 126.
    pub fn shift_right(self, value: i128, shift: u32) -> i128 {
        if shift == 0 {
            return value;
        }
        let floor = value >> shift;
        // Of 2^shift parts of one: above the floor, and in a half.
        let (rest, half) = (value & ((1 << shift) - 1), 1 << (shift - 1));
        let up = match self {
            Rounding::HalfEven => rest > half || (rest == half && floor & 1 == 1),
            Rounding::HalfUp => rest > half || (rest == half && value > 0),
            Rounding::HalfDown => rest > half || (rest == half && value < 0),
            Rounding::Up => rest > 0 && value > 0,
            Rounding::Down => rest > 0 && value < 0,
            Rounding::Ceil => rest > 0,
            Rounding::Floor => false,
            Rounding::HalfCeil => rest >= half,
            Rounding::HalfFloor => rest > half,
        };
        floor + i128::from(up)
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the modes: ties, and what is beside them.
    #[test]
    fn every_mode_at_and_beside_ties() {
        let ties = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5];
        for (mode, want) in [
            (Rounding::HalfEven, [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0]),
            (Rounding::HalfUp, [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]),
            (Rounding::HalfDown, [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
            (Rounding::Up, [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]),
            (Rounding::Down, [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]),
            (Rounding::Ceil, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]),
            (Rounding::Floor, [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]),
            (Rounding::HalfCeil, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]),
            (Rounding::HalfFloor, [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]),
        ] {
            assert_eq!(ties.map(|v| mode.apply(v)), want, "{mode}");
            let nearest = mode.name().starts_with("half");
            for k in -2000i32..=2000 {
                let whole = k as f32;
                assert_eq!(mode.apply(whole), whole, "{mode} of an integer");
                for part in [0.125, 0.25, 0.375, 0.625, 0.75, 0.875] {
                    let v = whole + part;
                    let up = match mode {
                        _ if nearest => part > 0.5,
                        Rounding::Ceil => true,
                        Rounding::Floor => false,
                        Rounding::Up => v > 0.0,
                        _ => v < 0.0,
                    };
                    assert_eq!(mode.apply(v), if up { whole + 1.0 } else { whole }, "{mode} of {v}");
                }
            }
        }
    }

    /// Every multiple of 1/256 in ±128, against the definition in exact arithmetic.
    #[test]
    fn all_numbers_of_a_fixed_point_format() {
        for n in i32::from(i16::MIN)..=i32::from(i16::MAX) {
            let (floor, rest) = (n.div_euclid(256), n.rem_euclid(256));
            let up = |mode| match mode {
                Rounding::HalfEven => rest > 128 || (rest == 128 && floor % 2 != 0),
                Rounding::HalfUp => rest > 128 || (rest == 128 && n > 0),
                Rounding::HalfDown => rest > 128 || (rest == 128 && n < 0),
                Rounding::Up => rest > 0 && n > 0,
                Rounding::Down => rest > 0 && n < 0,
                Rounding::Ceil => rest > 0,
                Rounding::Floor => false,
                Rounding::HalfCeil => rest >= 128,
                Rounding::HalfFloor => rest > 128,
            };
            for mode in Rounding::ALL {
                let want = floor + i32::from(up(mode));
                assert_eq!(mode.apply(n as f32 / 256.0), want as f32, "{mode} of {n}/256");
            }
        }
    }

    /// Shifting is division by a power of two followed by the same rounding.
    #[test]
    fn shifts_round_as_numbers_do() {
        for mode in Rounding::ALL {
            for n in -3000i32..=3000 {
                for shift in 0..8 {
                    let want = mode.apply(n as f32 / (1 << shift) as f32);
                    assert_eq!(mode.shift_right(n.into(), shift) as f32, want, "{mode} of {n} / 2^{shift}");
                }
            }
            let up = [Rounding::HalfUp, Rounding::Up, Rounding::Ceil, Rounding::HalfCeil].contains(&mode);
            let half = mode.shift_right(1 << 125, 126);
            assert_eq!(half, i128::from(up), "{mode} of one half, in the widest numbers");
            assert_eq!(mode.shift_right(i128::MIN, 126), -2, "{mode}");
        }
    }

    #[test]
    fn single_precision_shows_where_qonnx_shows_it() {
        let below_half = f32::from_bits(0.5f32.to_bits() - 1);
        assert_eq!(Rounding::HalfUp.apply(below_half), 1.0);
        assert_eq!(Rounding::HalfUp.apply(-below_half), -1.0);
        for mode in [Rounding::HalfEven, Rounding::HalfDown, Rounding::HalfCeil, Rounding::HalfFloor] {
            assert_eq!(mode.apply(below_half), 0.0, "{mode}");
        }
        // 8388609 ± 0.5 is a tie between floats, which goes to the even one.
        assert_eq!(Rounding::HalfUp.apply(8_388_609.0), 8_388_610.0);
        assert_eq!(Rounding::HalfDown.apply(8_388_609.0), 8_388_608.0);
        assert_eq!(Rounding::HalfCeil.apply(8_388_609.0), 8_388_609.0);
    }

    #[test]
    fn what_is_no_number_stays() {
        for mode in Rounding::ALL {
            assert!(mode.apply(f32::NAN).is_nan(), "{mode}");
            assert_eq!(mode.apply(f32::INFINITY), f32::INFINITY, "{mode}");
            assert_eq!(mode.apply(f32::NEG_INFINITY), f32::NEG_INFINITY, "{mode}");
        }
    }

    #[test]
    fn names() {
        for mode in Rounding::ALL {
            assert_eq!(Rounding::from_name(mode.name()), Some(mode));
        }
        assert_eq!(Rounding::from_qonnx("round"), Some(Rounding::HalfEven));
        assert_eq!(Rounding::from_qonnx("Half_Up"), Some(Rounding::HalfUp));
        assert_eq!(Rounding::from_qonnx("half_ceil"), None);
        assert_eq!(Rounding::from_ap("AP_RND"), Some(Rounding::HalfCeil));
        assert_eq!(Rounding::from_ap("trn_zero"), Some(Rounding::Down));
        assert_eq!(Rounding::from_ap("ROUND"), None);
    }
}
