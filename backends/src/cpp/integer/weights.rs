//! Constants of integer graphs: their order in memory, and how they stand in source text.
//!
//! As text they are base-85 digits as floats are ([`super::super::weights`]); a word of 32 bits holds as many codes as
//! their greatest and least need: 16 of 2 bits, 8 of 4, 4 of 8, 2 of 16, or one, or half of one. They are unpacked when
//! the program starts, into memory of their own type. As literals they stay where constants do.

use super::super::weights::{Form, LINE, PIECE, five};
use super::words::{Word, literal};
use crate::outdir::Render;
use std::io::{self, Write};
use std::sync::Arc;
use unfloat_ir::Data;

/// A constant of the header.
#[derive(Clone)]
pub struct Constant {
    /// Its identifier.
    pub name: String,
    /// The type of its elements in C++.
    pub word: Word,
    /// Its elements, in the order in which the program reads them.
    pub data: Arc<Data>,
}

/// Values in the narrowest storage.
pub fn stored(word: Word, values: impl IntoIterator<Item = i64>) -> Data {
    let values = values.into_iter();
    // The word holds every value, so no bits are lost; bytes without sign are kept as wider ones with it, and 64 bits as
    // the number with sign that has them.
    match word {
        Word::I8 => Data::I8(values.map(|v| v as i8).collect()),
        Word::U8 | Word::I16 => Data::I16(values.map(|v| v as i16).collect()),
        Word::U16 | Word::I32 => Data::I32(values.map(|v| v as i32).collect()),
        Word::I64 | Word::U64 => Data::I64(values.collect()),
    }
}

impl Constant {
    fn values(&self) -> impl Iterator<Item = i64> {
        (0..self.data.len()).filter_map(|i| self.data.code(i))
    }
    /// Bits of a code as text, and whether one is its sign.
    fn packing(&self) -> (u32, bool) {
        if self.word == Word::U64 {
            return (64, false);
        }
        let (lo, hi) = self.values().fold((0, 0), |(lo, hi): (i64, i64), v| (lo.min(v), hi.max(v)));
        let signed = lo < 0;
        let needed = |v: i64| 64 - (if v < 0 { !v } else { v }).leading_zeros();
        let bits = needed(lo).max(needed(hi)) + u32::from(signed);
        let widths = [2, 4, 8, 16, 32, 64];
        (widths.into_iter().find(|&w| bits <= w).unwrap_or(64), signed)
    }
    /// The statement that unpacks it.
    pub fn unpack(&self) -> String {
        let (bits, signed) = self.packing();
        format!("    unpack<{bits}, {signed}>(from, {}, {});\n", self.name, self.data.len())
    }
    /// Its declaration, without a value.
    pub fn member(&self) -> String {
        format!("  alignas(64) {} {}[{}];\n", self.word.name(), self.name, self.data.len())
    }
}

/// A constant that writes itself when the file is written.
pub struct Encoded {
    /// The constant.
    pub constant: Constant,
    /// Its form.
    pub form: Form,
}

impl Render for Encoded {
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 14, to);
        let mut values = self.constant.values();
        match self.form {
            Form::Literals => {
                for (n, v) in values.enumerate() {
                    out.write_all(if n % 16 == 0 { b"\n    " } else { b" " })?;
                    match self.constant.word {
                        Word::U64 => write!(out, "{:#x},", v as u64)?,
                        _ => write!(out, "{},", literal(v))?,
                    }
                }
            }
            Form::Text => {
                let (bits, _) = self.constant.packing();
                let mut text = Text { out: &mut out, at: 0 };
                let mask = u64::MAX >> (64 - bits);
                loop {
                    let (mut word, mut filled) = (0u64, 0);
                    while filled < 32 {
                        let Some(v) = values.next() else { break };
                        word |= (v as u64 & mask) << filled;
                        filled += bits;
                    }
                    if filled == 0 {
                        break;
                    }
                    text.word(word as u32)?;
                    if bits == 64 {
                        text.word((word >> 32) as u32)?;
                    }
                }
                text.end()?;
            }
        }
        out.flush()
    }
}

/// Strings of digits. Each is in parentheses, since Clang doubts that a string among others is meant to have parts.
struct Text<'a, W: Write> {
    out: &'a mut W,
    at: usize,
}

impl<W: Write> Text<'_, W> {
    fn word(&mut self, bits: u32) -> io::Result<()> {
        if self.at.is_multiple_of(PIECE) {
            self.out.write_all(if self.at > 0 { b"\"),\n    (\"" } else { b"    (\"" })?;
        } else if self.at.is_multiple_of(LINE) {
            self.out.write_all(b"\"\n     \"")?;
        }
        self.at += 5;
        self.out.write_all(&five(bits))
    }
    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(if self.at > 0 { b"\"),\n" } else { b"" })
    }
}

/// The C++ that undoes this and the packing.
pub const DECODER: &str = r#"// The constants, as 5 base-85 digits for each 32 bits, the lowest first; codes lie in them side by side, the first one
// lowest. The digits are the characters from '#' on, without '?' and '\'. Unpacked once, when the program starts.
struct reader {
  const char* const* piece;
  const char* at;
  static std::uint32_t digit(char c) noexcept {
    return static_cast<std::uint32_t>(c) - 35u - (c > '?' ? 1u : 0u) - (c > '\\' ? 1u : 0u);
  }
  std::uint32_t next() noexcept {
    while (*at == '\0') at = *++piece;
    const char* const d = at;
    at += 5;
    return digit(d[0]) + 85u * (digit(d[1]) + 85u * (digit(d[2]) + 85u * (digit(d[3]) + 85u * digit(d[4]))));
  }
};

template <unsigned Bits, bool Signed, class T> void unpack(reader& from, T* to, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n;) {
    std::uint64_t word = from.next();
    if constexpr (Bits > 32) word |= static_cast<std::uint64_t>(from.next()) << 32;
    for (unsigned used = 0; used < 32 && i < n; used += Bits, ++i, word >>= Bits % 64)
      to[i] = static_cast<T>(kernel::wrap<Bits, Signed>(static_cast<std::int64_t>(word)));
  }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn packing(values: &[i64]) -> (u32, bool) {
        let data = Arc::new(stored(Word::I64, values.iter().copied()));
        Constant { name: "c".into(), word: Word::I64, data }.packing()
    }

    #[test]
    fn codes_take_no_more_bits_than_they_need() {
        assert_eq!(packing(&[0]), (2, false));
        assert_eq!(packing(&[3, 0]), (2, false));
        assert_eq!(packing(&[4]), (4, false));
        assert_eq!(packing(&[-1, 1]), (2, true));
        assert_eq!(packing(&[-2, 1]), (2, true));
        assert_eq!(packing(&[-1, 2]), (4, true));
        assert_eq!(packing(&[-8, 7]), (4, true));
        assert_eq!(packing(&[-9]), (8, true));
        assert_eq!(packing(&[-128, 127]), (8, true));
        assert_eq!(packing(&[255]), (8, false));
        assert_eq!(packing(&[-1, 128]), (16, true));
        assert_eq!(packing(&[1 << 31]), (32, false));
        assert_eq!(packing(&[i64::MIN, i64::MAX]), (64, true));
        assert_eq!(packing(&[i64::MAX]), (64, false));
    }
}
