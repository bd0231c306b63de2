//! Which C++ type holds which integers.

use unfloat_ir::ElemType;
use unfloat_ir::ranges::Range;

/// A C++ integer type that values are stored in: the smallest that holds every code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Word {
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    /// 64 bits of a packed value or weight.
    U64,
}

impl Word {
    /// All words that numbers are stored in, the smaller first.
    const ALL: [Word; 6] = [Word::U8, Word::I8, Word::U16, Word::I16, Word::I32, Word::I64];

    /// The word for codes of a range.
    pub fn holding(range: Range) -> Self {
        let fits = |w: &Word| {
            let (lo, hi) = w.range();
            lo <= range.0 && range.1 <= hi
        };
        Self::ALL.into_iter().find(fits).unwrap_or(Word::I64)
    }
    /// The word for elements of an integer type.
    pub fn of(elem: &ElemType) -> Self {
        let (lo, hi) = elem.code_range().unwrap_or((i64::MIN, i64::MAX));
        Self::holding((lo.into(), hi.into()))
    }
    /// The least and the greatest number.
    pub fn range(self) -> Range {
        match self {
            Word::U8 => (0, u8::MAX.into()),
            Word::I8 => (i8::MIN.into(), i8::MAX.into()),
            Word::U16 => (0, u16::MAX.into()),
            Word::I16 => (i16::MIN.into(), i16::MAX.into()),
            Word::I32 => (i32::MIN.into(), i32::MAX.into()),
            Word::I64 => (i64::MIN.into(), i64::MAX.into()),
            Word::U64 => (0, u64::MAX.into()),
        }
    }
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Word::U8 | Word::I8 => 1,
            Word::U16 | Word::I16 => 2,
            Word::I32 => 4,
            Word::I64 | Word::U64 => 8,
        }
    }
    /// The type in C++.
    pub fn name(self) -> &'static str {
        match self {
            Word::U8 => "std::uint8_t",
            Word::I8 => "std::int8_t",
            Word::U16 => "std::uint16_t",
            Word::I16 => "std::int16_t",
            Word::I32 => "std::int32_t",
            Word::I64 => "std::int64_t",
            Word::U64 => "std::uint64_t",
        }
    }
    /// The type in a `.npy` file.
    pub fn npy(self) -> &'static str {
        match self {
            Word::U8 => "|u1",
            Word::I8 => "|i1",
            Word::U16 => "<u2",
            Word::I16 => "<i2",
            Word::I32 => "<i4",
            Word::I64 => "<i8",
            Word::U64 => "<u8",
        }
    }
    /// The type that numbers of a range are computed in: 32 bits where they hold them all, else 64.
    pub fn computing(range: Range) -> Self {
        Self::holding(range).max(Word::I32)
    }
}

/// A number as a C++ constant of type `int`, or of a wider one where it must be.
pub fn literal(value: i64) -> String {
    if value == i64::MIN { "INT64_MIN".to_string() } else { value.to_string() }
}

/// Whether all of `inner` is inside `outer`.
pub fn inside(inner: Range, outer: Range) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}
