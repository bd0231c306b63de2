//! What one element of a tensor is, and which integers stand for it.
//!
//! Every type but `F32` is stored as integer *codes* ([`crate::Data`]); the type says what real number a code
//! means. No type converts to another silently: an op of mixed types either has an exact result type or is
//! refused by its inference.

use std::fmt;
use std::sync::Arc;

/// An integer of 1 to 64 bits, two's complement when signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IntType {
    /// Whether negative values exist.
    pub signed: bool,
    /// The number of bits, sign included: 1 to 64, unsigned at most 63 so that every value fits an `i64`.
    pub width: u8,
}

impl IntType {
    /// A signed integer of `width` bits.
    pub const fn signed(width: u8) -> Self {
        Self { signed: true, width }
    }
    /// An unsigned integer of `width` bits.
    pub const fn unsigned(width: u8) -> Self {
        Self { signed: false, width }
    }
    /// Whether the width is one that the IR takes.
    pub fn is_valid(self) -> bool {
        (1..=if self.signed { 64 } else { 63 }).contains(&self.width)
    }
    /// The least value.
    pub fn min(self) -> i64 {
        if self.signed { i64::MIN >> (64 - u32::from(self.width.clamp(1, 64))) } else { 0 }
    }
    /// The greatest value.
    pub fn max(self) -> i64 {
        let bits = u32::from(self.width.clamp(1, 64)) - u32::from(self.signed);
        i64::MAX >> (63 - bits.min(63))
    }
    /// The value with the same low bits: what is left of `value` in a register of this type.
    #[inline]
    pub fn wrap(self, value: i64) -> i64 {
        let spare = 64 - u32::from(self.width.clamp(1, 64));
        if self.signed { value << spare >> spare } else { ((value as u64) << spare >> spare) as i64 }
    }
    /// The type that is called so, `i8` or `u12`, if it is valid.
    pub fn from_name(name: &str) -> Option<Self> {
        let signed = name.starts_with('i');
        let width = name.strip_prefix(['i', 'u'])?.parse().ok()?;
        Some(Self { signed, width }).filter(|i| i.is_valid())
    }
    /// The narrowest type that holds every value of `lo..=hi`; signed only if `lo` is negative.
    pub fn covering(lo: i64, hi: i64) -> Self {
        let bits = |v: i64| (64 - (if v < 0 { !v } else { v }).leading_zeros()) as u8;
        let width = bits(lo).max(bits(hi));
        if lo < 0 { Self::signed(width + 1) } else { Self::unsigned(width.max(1)) }
    }
}

impl fmt::Display for IntType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.signed { 'i' } else { 'u' }, self.width)
    }
}

/// A fixed-point format: code `n` means `n · 2^-frac`.
///
/// `frac` may be negative or exceed the width, as in `ap_fixed`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Q {
    /// Whether codes are two's complement.
    pub signed: bool,
    /// Bits of the code, sign included: 1 to 32.
    pub width: u8,
    /// Bits to the right of the binary point.
    pub frac: i16,
}

impl Q {
    /// The integer type of the codes.
    pub fn int(self) -> IntType {
        IntType { signed: self.signed, width: self.width }
    }
    /// The weight of the last bit, `2^-frac`.
    pub fn lsb(self) -> f64 {
        f64::from(-i32::from(self.frac)).exp2()
    }
}

impl fmt::Display for Q {
    /// `fixed<W,I>` with `I = W - frac` integer bits, sign included, as `ap_fixed` counts them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let integer = i32::from(self.width) - i32::from(self.frac);
        write!(f, "{}fixed<{},{integer}>", if self.signed { "" } else { "u" }, self.width)
    }
}

/// An affine integer format: code `q` means `scale · (q - zero)`, per tensor or per channel.
#[derive(Clone, Debug)]
pub struct Affine {
    /// The integer type of the codes.
    pub int: IntType,
    /// The axis along which scales and zero points vary; nothing when there is one of each.
    pub axis: Option<usize>,
    /// One positive scale, or one per entry of the axis.
    pub scale: Vec<f32>,
    /// One zero point, or one per entry of the axis.
    pub zero: Vec<i64>,
}

impl Affine {
    fn key(&self) -> (IntType, Option<usize>, Vec<u32>, &[i64]) {
        (self.int, self.axis, self.scale.iter().map(|s| s.to_bits()).collect(), &self.zero)
    }
}
// Types are compared and hashed by the bits of their scales: two graphs are equal when they print equal.
impl PartialEq for Affine {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Affine {}
impl std::hash::Hash for Affine {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// What one element is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ElemType {
    /// IEEE single precision.
    F32,
    /// A plain integer; the code is the value.
    Int(IntType),
    /// Fixed point; the code is a count of last bits.
    Fixed(Q),
    /// Affine integer.
    Quant(Arc<Affine>),
    /// −1 or +1; the code is the value.
    Bipolar,
    /// −1, 0 or +1; the code is the value.
    Ternary,
    /// 0 or 1; the code is the value.
    Bit,
}

impl ElemType {
    /// A signed integer of `width` bits.
    pub const fn signed(width: u8) -> Self {
        ElemType::Int(IntType::signed(width))
    }
    /// Whether elements are floats.
    pub fn is_float(&self) -> bool {
        matches!(self, ElemType::F32)
    }
    /// Whether an element is an integer and the code is its value: `Int`, `Bipolar`, `Ternary` and `Bit`.
    pub fn is_integer(&self) -> bool {
        matches!(self, ElemType::Int(_) | ElemType::Bipolar | ElemType::Ternary | ElemType::Bit)
    }
    /// The type of that name, for types whose name is one word.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "f32" => Some(ElemType::F32),
            "bipolar" => Some(ElemType::Bipolar),
            "ternary" => Some(ElemType::Ternary),
            "bit" => Some(ElemType::Bit),
            other => IntType::from_name(other).map(ElemType::Int),
        }
    }
    /// The least and the greatest code, for every type but floats. `Bipolar` has no code 0 between them.
    pub fn code_range(&self) -> Option<(i64, i64)> {
        Some(match self {
            ElemType::F32 => return None,
            ElemType::Int(i) => (i.min(), i.max()),
            ElemType::Fixed(q) => (q.int().min(), q.int().max()),
            ElemType::Quant(a) => (a.int.min(), a.int.max()),
            ElemType::Bipolar | ElemType::Ternary => (-1, 1),
            ElemType::Bit => (0, 1),
        })
    }
    /// Whether `code` is one that the type has.
    pub fn has_code(&self, code: i64) -> bool {
        let inside = self.code_range().is_some_and(|(lo, hi)| (lo..=hi).contains(&code));
        inside && !(matches!(self, ElemType::Bipolar) && code == 0)
    }
    /// Bits that one element needs in a packed memory.
    pub fn bits(&self) -> u32 {
        match self {
            ElemType::F32 => 32,
            ElemType::Int(i) => u32::from(i.width),
            ElemType::Fixed(q) => u32::from(q.width),
            ElemType::Quant(a) => u32::from(a.int.width),
            ElemType::Ternary => 2,
            ElemType::Bipolar | ElemType::Bit => 1,
        }
    }
    /// Why this is not a type that a graph may hold; nothing when it is one.
    pub fn fault(&self) -> Option<String> {
        let int =
            |i: IntType| (!i.is_valid()).then(|| format!("{i} has a width outside 1..=64 (unsigned: 63)"));
        match self {
            ElemType::Int(i) => int(*i),
            ElemType::Fixed(q) => {
                (!(1..=32).contains(&q.width)).then(|| format!("{q} has a width outside 1..=32"))
            }
            ElemType::Quant(a) => int(a.int).or_else(|| {
                if a.scale.len() != a.zero.len() || a.scale.is_empty() {
                    Some(format!("{} scales beside {} zero points", a.scale.len(), a.zero.len()))
                } else if a.axis.is_none() && a.scale.len() != 1 {
                    Some(format!("{} scales and no axis", a.scale.len()))
                } else {
                    let bad = a.scale.iter().find(|s| !s.is_finite() || **s <= 0.0);
                    bad.map(|s| format!("scale {s} is not a positive number"))
                }
            }),
            _ => None,
        }
    }
}

impl ElemType {
    /// Why this does not go with a tensor of that shape: scales for an axis that has another extent.
    pub fn fault_on(&self, shape: &[usize]) -> Option<String> {
        let ElemType::Quant(a) = self else { return None };
        let axis = a.axis?;
        (shape.get(axis) != Some(&a.scale.len()))
            .then(|| format!("{} scales along axis {axis} of the shape {shape:?}", a.scale.len()))
    }
    /// The same type where axis `i` of the tensor is what axis `perm[i]` was.
    pub fn permuted(&self, perm: &[usize]) -> Self {
        match self {
            ElemType::Quant(a) if a.axis.is_some() => {
                let axis = perm.iter().position(|&p| Some(p) == a.axis);
                ElemType::Quant(Arc::new(Affine { axis, ..Affine::clone(a) }))
            }
            other => other.clone(),
        }
    }
}

impl fmt::Display for ElemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElemType::F32 => f.write_str("f32"),
            ElemType::Int(i) => i.fmt(f),
            ElemType::Fixed(q) => q.fmt(f),
            ElemType::Quant(a) => {
                write!(f, "quant<{}", a.int)?;
                if let Some(axis) = a.axis {
                    write!(f, ",axis={axis}")?;
                }
                f.write_str(",scale=[")?;
                for (i, s) in a.scale.iter().enumerate() {
                    write!(f, "{}{s:?}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("],zero=[")?;
                for (i, z) in a.zero.iter().enumerate() {
                    write!(f, "{}{z}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]>")
            }
            ElemType::Bipolar => f.write_str("bipolar"),
            ElemType::Ternary => f.write_str("ternary"),
            ElemType::Bit => f.write_str("bit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_ranges() {
        assert_eq!((IntType::signed(8).min(), IntType::signed(8).max()), (-128, 127));
        assert_eq!((IntType::signed(1).min(), IntType::signed(1).max()), (-1, 0));
        assert_eq!((IntType::signed(64).min(), IntType::signed(64).max()), (i64::MIN, i64::MAX));
        assert_eq!((IntType::unsigned(1).min(), IntType::unsigned(1).max()), (0, 1));
        assert_eq!(IntType::unsigned(63).max(), i64::MAX);
    }

    #[test]
    fn wrapping_keeps_the_low_bits() {
        for (ty, value, want) in [
            (IntType::signed(8), 128, -128),
            (IntType::signed(8), -129, 127),
            (IntType::unsigned(8), -1, 255),
            (IntType::unsigned(8), 256, 0),
            (IntType::signed(64), i64::MIN, i64::MIN),
            (IntType::unsigned(63), -1, i64::MAX),
            (IntType::signed(1), 1, -1),
        ] {
            assert_eq!(ty.wrap(value), want, "{ty} of {value}");
        }
    }

    #[test]
    fn names_of_one_word() {
        for name in ["f32", "bipolar", "ternary", "bit", "i1", "u63", "i64"] {
            assert_eq!(ElemType::from_name(name).map(|e| e.to_string()), Some(name.to_string()));
        }
        assert!(["u64", "i0", "i", "fixed", "i8x", "i-8"].iter().all(|n| ElemType::from_name(n).is_none()));
    }

    #[test]
    fn covering_is_the_narrowest() {
        for (lo, hi, want) in [
            (0, 0, IntType::unsigned(1)),
            (0, 255, IntType::unsigned(8)),
            (0, 256, IntType::unsigned(9)),
            (-128, 127, IntType::signed(8)),
            (-129, 0, IntType::signed(9)),
            (-1, 0, IntType::signed(1)),
            (i64::MIN, i64::MAX, IntType::signed(64)),
        ] {
            assert_eq!(IntType::covering(lo, hi), want, "{lo}..={hi}");
        }
    }

    #[test]
    fn bipolar_has_no_zero() {
        assert!(!ElemType::Bipolar.has_code(0) && ElemType::Bipolar.has_code(-1));
        assert!(ElemType::Ternary.has_code(0) && !ElemType::Bit.has_code(-1));
    }
}
