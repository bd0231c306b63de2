//! What becomes of an integer that its type does not hold.

use super::IntType;
use std::fmt;

/// An overflow mode: those of `ap_fixed`, applied after the rounding, which can push a number over the top.
///
/// | mode | a number outside `lo..=hi` | `ap_fixed` |
/// |---|---|---|
/// | `wrap` | modulo `2^W` | `AP_WRAP` |
/// | `sat` | the nearest bound | `AP_SAT` |
/// | `sat_zero` | 0 | `AP_SAT_ZERO` |
/// | `sat_sym` | the nearest bound, where a signed type's `lo` is `−hi` | `AP_SAT_SYM` |
///
/// `lo..=hi` are all codes of the type ([`Overflow::bounds`]); so `sat_sym` also moves `−2^(W−1)`, and on unsigned types
/// it is `sat`. A narrow range has one code less: the lowest of a signed type, the highest of an unsigned one.
///
/// `AP_WRAP_SM`, and `AP_WRAP` with saturation bits, are not there: [`super::Format`] refuses them by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Overflow {
    /// The low bits stay.
    Wrap,
    /// To the nearest bound.
    #[default]
    Saturate,
    /// To 0.
    SaturateZero,
    /// To the nearest bound of a range that is symmetric about 0.
    SaturateSymmetric,
}

impl Overflow {
    /// All modes.
    pub const ALL: [Overflow; 4] =
        [Overflow::Wrap, Overflow::Saturate, Overflow::SaturateZero, Overflow::SaturateSymmetric];

    /// The name used in text.
    pub fn name(self) -> &'static str {
        match self {
            Overflow::Wrap => "wrap",
            Overflow::Saturate => "sat",
            Overflow::SaturateZero => "sat_zero",
            Overflow::SaturateSymmetric => "sat_sym",
        }
    }

    /// The mode of that name in text.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    /// The name of the mode in `ap_fixed`, without its `AP_`.
    pub fn ap_name(self) -> &'static str {
        match self {
            Overflow::Wrap => "WRAP",
            Overflow::Saturate => "SAT",
            Overflow::SaturateZero => "SAT_ZERO",
            Overflow::SaturateSymmetric => "SAT_SYM",
        }
    }

    /// The mode that `ap_fixed` calls so, in whatever case, with or without `AP_`.
    pub fn from_ap(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("AP_").unwrap_or(&name);
        Self::ALL.into_iter().find(|o| o.ap_name() == name)
    }

    /// The names of all modes, for messages.
    pub fn names() -> String {
        Self::ALL.map(Overflow::name).join(", ")
    }

    /// The least and the greatest code that come out, in a type of which `narrow` takes one code.
    ///
    /// A signed type of 1 bit has only 0 when it is narrow or symmetric.
    pub fn bounds(self, int: IntType, narrow: bool) -> (i64, i64) {
        let symmetric = narrow || self == Overflow::SaturateSymmetric;
        match int.signed {
            true => (int.min() + i64::from(symmetric), int.max()),
            false => (0, int.max() - i64::from(narrow)),
        }
    }

    /// Why the mode does not go with a narrow range; nothing when it does.
    pub fn fault(self, narrow: bool) -> Option<String> {
        let both = narrow && self == Overflow::Wrap;
        both.then(|| "numbers wrap at a power of two; a narrow range can only saturate".to_string())
    }

    /// The code that `value` becomes in a type. With `wrap` there is no narrow range ([`Overflow::fault`]).
    pub fn apply(self, value: i128, int: IntType, narrow: bool) -> i64 {
        let (lo, hi) = self.bounds(int, narrow);
        match self {
            // The low 64 bits hold the low bits of every type.
            Overflow::Wrap => int.wrap(value as i64),
            Overflow::SaturateZero if !(lo.into()..=hi.into()).contains(&value) => 0,
            _ => value.clamp(lo.into(), hi.into()) as i64,
        }
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the modes, at the bounds and far beyond them.
    #[test]
    fn every_mode_at_the_bounds() {
        let values = [i128::MIN, -129, -128, -127, -1, 0, 127, 128, 255, 256, i128::MAX];
        let (i8, u8) = (IntType::signed(8), IntType::unsigned(8));
        for (mode, int, narrow, want) in [
            (Overflow::Wrap, i8, false, [0, 127, -128, -127, -1, 0, 127, -128, -1, 0, -1]),
            (Overflow::Wrap, u8, false, [0, 127, 128, 129, 255, 0, 127, 128, 255, 0, 255]),
            (Overflow::Saturate, i8, false, [-128, -128, -128, -127, -1, 0, 127, 127, 127, 127, 127]),
            (Overflow::Saturate, i8, true, [-127, -127, -127, -127, -1, 0, 127, 127, 127, 127, 127]),
            (Overflow::Saturate, u8, false, [0, 0, 0, 0, 0, 0, 127, 128, 255, 255, 255]),
            (Overflow::Saturate, u8, true, [0, 0, 0, 0, 0, 0, 127, 128, 254, 254, 254]),
            (Overflow::SaturateZero, i8, false, [0, 0, -128, -127, -1, 0, 127, 0, 0, 0, 0]),
            (Overflow::SaturateZero, i8, true, [0, 0, 0, -127, -1, 0, 127, 0, 0, 0, 0]),
            (Overflow::SaturateZero, u8, false, [0, 0, 0, 0, 0, 0, 127, 128, 255, 0, 0]),
            (
                Overflow::SaturateSymmetric,
                i8,
                false,
                [-127, -127, -127, -127, -1, 0, 127, 127, 127, 127, 127],
            ),
            (Overflow::SaturateSymmetric, u8, false, [0, 0, 0, 0, 0, 0, 127, 128, 255, 255, 255]),
        ] {
            assert_eq!(
                values.map(|v| mode.apply(v, int, narrow)),
                want,
                "{mode} into {int}, narrow: {narrow}"
            );
            assert_eq!(mode.fault(narrow), None);
        }
        assert!(Overflow::Wrap.fault(true).is_some());
    }

    #[test]
    fn one_bit() {
        let (i1, u1) = (IntType::signed(1), IntType::unsigned(1));
        let all = |mode: Overflow, int| [-2, -1, 0, 1, 2].map(|v| mode.apply(v, int, false));
        assert_eq!(all(Overflow::Wrap, i1), [0, -1, 0, -1, 0]);
        assert_eq!(all(Overflow::Saturate, i1), [-1, -1, 0, 0, 0]);
        assert_eq!(all(Overflow::SaturateSymmetric, i1), [0; 5]);
        assert_eq!(all(Overflow::SaturateZero, u1), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn names() {
        for mode in Overflow::ALL {
            assert_eq!(Overflow::from_name(mode.name()), Some(mode));
            assert_eq!(Overflow::from_ap(mode.ap_name()), Some(mode));
        }
        assert_eq!(Overflow::from_name("wrap_sm"), None);
        assert_eq!(Overflow::from_ap("AP_SAT_sym"), Some(Overflow::SaturateSymmetric));
        assert_eq!(Overflow::default(), Overflow::Saturate);
    }
}
