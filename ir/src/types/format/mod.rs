//! Number formats as users ask for them: `fixed<16,6,RND,SAT>`, `Q2.6`, `int8`, `ternary`, `log2<4>`, `bipolar`, `float`.
//!
//! In comes text, out goes a [`Format`]; refused, each problem with its column, is what the grammar does not have.
//! [`Format`]'s `Display` prints the canonical spelling, the leftmost below, which reads back to the same format.
//!
//! | spelling | also | numbers | rounding, overflow unless given |
//! |---|---|---|---|
//! | `fixed<W,I,Q,O>`, `ufixed<…>` | `ap_fixed<W,I,Q,O,0>`, `ap_ufixed<…>`, `ac_fixed<W,I,S,Q,O>` | `n · 2^-(W−I)`, `n` of `W` bits, 1 to 32; `I` counts the sign and may be negative or exceed `W` | `TRN`, `WRAP` |
//! | `fixed<m+n,m,RND_CONV,SAT>` | `Qm.n` | as said above: `m + n` bits, `n` of them fractional | |
//! | `ufixed<m+n,m,RND_CONV,SAT>` | `UQm.n` | the same without a sign | |
//! | `int8<Q,O>`, `uint8<Q,O>` | | `scale · (n − zero)`, `n` of 1 to 32 bits, scale and zero point to be calibrated | `RND_CONV`, `SAT` |
//! | `ternary` | | −1, 0, +1 times a scale to be calibrated | |
//! | `log2<B,linear>`, `log2<B,log>` | `log2<B>` is `log2<B,linear>` | 0 and ± powers of two, see [`Log2`] | |
//! | `bipolar` | | −1, +1 times a scale to be calibrated | |
//! | `float` | `float32`, `f32` | single precision, as it is | |
//!
//! **`Q2.6` has 8 bits**: `m` counts the sign, as `I` does in `ap_fixed` and as ARM counts. It is the fixed point of
//! `clamp(round(x · 2^6), −128, 127) · 2^-6`, hence half-even and saturating. Where `m` does not count the sign (Texas
//! Instruments), the same format is called `Q1.6`.
//!
//! Rounding modes are `ap_fixed`'s (`AP_` or `AC_` may stand before them), QONNX's, or [`Rounding`]'s own names; overflow
//! modes are `ap_fixed`'s. Letters may be of any case, and blanks stand around every part. `AP_WRAP_SM` and a number of
//! saturation bits other than 0 are refused by name.

mod parse;
#[cfg(test)]
mod tests;

use super::{ElemType, IntType, Log2, Overflow, Q, Rounding};
use std::fmt;

/// A number format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// Single precision, not to be changed.
    Float,
    /// Fixed point: the scale is a power of two that the format says.
    Fixed {
        /// Width, sign and binary point.
        q: Q,
        /// What becomes of numbers between two codes.
        rounding: Rounding,
        /// What becomes of numbers outside the codes.
        overflow: Overflow,
    },
    /// Affine integers: scale and zero point are to be calibrated.
    Int {
        /// The type of the codes.
        int: IntType,
        /// What becomes of numbers between two codes.
        rounding: Rounding,
        /// What becomes of numbers outside the codes.
        overflow: Overflow,
    },
    /// −1, 0 or +1 times a scale.
    Ternary,
    /// 0 or a power of two, with a sign, times a scale.
    Log2(Log2),
    /// −1 or +1 times a scale.
    Bipolar,
}

impl Format {
    /// Fractional bits that a fixed-point format may have: the weight of the last bit is then a normal single.
    pub const FRACTION: std::ops::RangeInclusive<i32> = -127..=126;

    /// Affine integers that round half to even and saturate: what `int8` and `uint4` mean.
    pub fn affine(int: IntType) -> Self {
        Format::Int { int, rounding: Rounding::HalfEven, overflow: Overflow::Saturate }
    }

    /// Whether numbers stay floats.
    pub fn is_float(&self) -> bool {
        matches!(self, Format::Float)
    }

    /// The type whose elements are the codes: integers, also for fixed point; `f32` for floats.
    pub fn elem(&self) -> ElemType {
        match self {
            Format::Float => ElemType::F32,
            Format::Fixed { q, .. } => ElemType::Int(q.int()),
            Format::Int { int, .. } => ElemType::Int(*int),
            Format::Ternary => ElemType::Ternary,
            Format::Log2(log2) => ElemType::Int(IntType::covering(-log2.max(), log2.max())),
            Format::Bipolar => ElemType::Bipolar,
        }
    }

    /// Bits that a number needs in memory.
    pub fn bits(&self) -> u32 {
        match self {
            Format::Log2(log2) => log2.width.into(),
            other => other.elem().bits(),
        }
    }

    /// The number that code 1 stands for, where the format says it.
    pub fn lsb(&self) -> Option<f64> {
        match self {
            Format::Fixed { q, .. } => Some(q.lsb()),
            _ => None,
        }
    }

    /// How numbers become codes, where there is a choice.
    pub fn modes(&self) -> Option<(Rounding, Overflow)> {
        match *self {
            Format::Fixed { rounding, overflow, .. } | Format::Int { rounding, overflow, .. } => {
                Some((rounding, overflow))
            }
            _ => None,
        }
    }
}

/// Modes as arguments; those that would be taken anyway are left out.
fn modes(given: (Rounding, Overflow), unless: (Rounding, Overflow)) -> Vec<String> {
    let (rounding, overflow) = given;
    let words = [
        rounding.ap_name().map_or_else(|| rounding.name().to_ascii_uppercase(), str::to_string),
        overflow.ap_name().to_string(),
    ];
    let needed = match given {
        _ if given == unless => 0,
        _ if overflow == unless.1 => 1,
        _ => 2,
    };
    words.into_iter().take(needed).collect()
}

/// What `fixed` means without modes: `ap_fixed`'s own defaults.
const FIXED_MODES: (Rounding, Overflow) = (Rounding::Floor, Overflow::Wrap);
/// What integers and `Qm.n` mean without modes.
const INT_MODES: (Rounding, Overflow) = (Rounding::HalfEven, Overflow::Saturate);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Float => f.write_str("float"),
            Format::Ternary => f.write_str("ternary"),
            Format::Bipolar => f.write_str("bipolar"),
            Format::Log2(log2) => write!(f, "log2<{},{}>", log2.width, log2.midpoint),
            Format::Fixed { q, rounding, overflow } => {
                let integer = i32::from(q.width) - i32::from(q.frac);
                write!(f, "{}fixed<{},{integer}", if q.signed { "" } else { "u" }, q.width)?;
                for word in modes((*rounding, *overflow), FIXED_MODES) {
                    write!(f, ",{word}")?;
                }
                f.write_str(">")
            }
            Format::Int { int, rounding, overflow } => {
                write!(f, "{}int{}", if int.signed { "" } else { "u" }, int.width)?;
                match modes((*rounding, *overflow), INT_MODES).join(",") {
                    none if none.is_empty() => Ok(()),
                    words => write!(f, "<{words}>"),
                }
            }
        }
    }
}

/// Why a text is no format: every problem, with the column (from 1) where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatError {
    /// The text.
    pub text: String,
    /// The problems, in the order of the text.
    pub problems: Vec<(usize, String)>,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.text.chars().take(80).collect();
        let dots = if short.len() < self.text.len() { "…" } else { "" };
        write!(f, "`{short}{dots}` is no number format: ")?;
        for (i, (column, problem)) in self.problems.iter().enumerate() {
            write!(f, "{}column {column}: {problem}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for FormatError {}
