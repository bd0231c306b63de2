//! Constants: their order in memory, and how they stand in source text.
//!
//! Measured for 1.25 million floats (5 MB) with g++ 12 and clang++ 14, `-O3 -c`:
//!
//! | form | source | g++ | clang++ |
//! |---|---|---|---|
//! | `uint32_t`, decimal | 13.8 MB | 2.4 s, 377 MB | 1.2 s, 418 MB |
//! | `uint32_t`, hexadecimal | 13.9 MB | 2.1 s, 296 MB | 1.0 s, 404 MB |
//! | `uint64_t`, two floats each, decimal | 13.5 MB | 0.8 s, 177 MB | 0.4 s, 250 MB |
//! | `uint64_t`, two floats each, hexadecimal | 12.0 MB | 1.0 s, 183 MB | 0.5 s, 256 MB |
//! | `float`, hexadecimal | 28.3 MB | 2.0 s, 373 MB | 1.9 s, 726 MB |
//! | `float`, shortest decimal | 19.0 MB | 2.2 s, 365 MB | 3.0 s, 717 MB |
//! | string of bytes, octal escapes | 13.8 MB | 0.3 s, 76 MB | 0.4 s, 463 MB |
//! | **string of base-85 digits** | **6.4 MB** | **0.1 s, 55 MB** | **0.1 s, 118 MB** |
//!
//! So large constants are base-85 strings: five digits, the lowest first, make the bits of one float, whatever the
//! machine's byte order; they are decoded once when the program starts (milliseconds), into memory that holds
//! floats as such, so no kernel reads floats through another type. Strings of bytes would depend on the byte
//! order. The price is RAM: a machine that keeps constants in flash wants `float` literals, whose cost to the
//! compiler does not matter for the sizes that fit there. Once decoded, all forms run equally fast.

use crate::outdir::Render;
use std::io::{self, Write};
use std::sync::Arc;
use unfloat_ir::Tensor;

/// Up to this many floats, `weights=auto` writes literals.
pub const FEW: usize = 1 << 16;

/// The widths of the blocks into which `rest` output channels are packed; `block_width` in `conv.hpp` is its
/// twin.
fn blocks(mut rest: usize) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    while rest > 0 {
        let width = match rest {
            64.. => 64,
            32.. => 32,
            9.. => 16,
            5.. => 8,
            _ => 4,
        };
        blocks.push((width, rest.min(width)));
        rest = rest.saturating_sub(width);
    }
    blocks
}

/// An order of a constant's elements, and the zeros that fill its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pack {
    /// As it is.
    Plain,
    /// A weight `[groups · out, taps, inputs]` as `[group][block][tap][input][output in block]`.
    Blocks { groups: usize, out: usize, taps: usize, inputs: usize },
    /// A bias `[groups · out]` as `[group][block][output in block]`.
    Bias { groups: usize, out: usize },
    /// A weight `[channels, taps, 1]` as `[tap][channel]`.
    Taps { channels: usize, taps: usize },
}

impl Pack {
    /// Floats of one group of `out` outputs, each with `depth` of them, packed.
    pub fn group(out: usize, depth: usize) -> usize {
        blocks(out).iter().map(|(width, _)| width * depth).sum()
    }

    /// The number of elements once packed.
    pub fn len(self, elements: usize) -> usize {
        match self {
            Pack::Plain | Pack::Taps { .. } => elements,
            Pack::Blocks { groups, out, taps, inputs } => groups * Self::group(out, taps * inputs),
            Pack::Bias { groups, out } => groups * Self::group(out, 1),
        }
    }

    /// Calls `visit` with every element in its new order.
    fn for_each(self, data: &[f32], mut visit: impl FnMut(f32) -> io::Result<()>) -> io::Result<()> {
        match self {
            Pack::Plain => data.iter().try_for_each(|&v| visit(v)),
            Pack::Taps { channels, taps } => {
                (0..taps).try_for_each(|t| (0..channels).try_for_each(|c| visit(data[c * taps + t])))
            }
            Pack::Bias { groups, out } => {
                Pack::Blocks { groups, out, taps: 1, inputs: 1 }.for_each(data, visit)
            }
            Pack::Blocks { groups, out, taps, inputs } => {
                let depth = taps * inputs;
                for group in 0..groups {
                    let mut first = group * out;
                    for (width, valid) in blocks(out) {
                        for i in 0..depth {
                            for o in 0..width {
                                visit(if o < valid { data[(first + o) * depth + i] } else { 0.0 })?;
                            }
                        }
                        first += valid;
                    }
                }
                Ok(())
            }
        }
    }
}

/// How constants stand in the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Base-85 strings, decoded when the program starts.
    Text,
    /// Float literals.
    Literals,
}

/// A constant that writes itself when the file is written.
pub struct Encoded {
    /// The constant.
    pub tensor: Arc<Tensor>,
    /// Its order.
    pub pack: Pack,
    /// Its form.
    pub form: Form,
}

/// Digits to a line, and to a string literal: Clang's portable limit is 65536 characters.
pub const LINE: usize = 120;
/// Digits to a string.
pub const PIECE: usize = 500 * LINE;

/// Floats that a constant of `len` takes in text form: it ends where the next may begin.
pub fn padded(len: usize) -> usize {
    len.next_multiple_of(super::plan::ALIGN)
}

impl Render for Encoded {
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        let data = self.tensor.as_f32().unwrap_or(&[]);
        let mut out = io::BufWriter::with_capacity(1 << 14, to);
        match self.form {
            Form::Text => {
                let mut at = 0;
                self.pack.for_each(data, |v| digits(&mut out, &mut at, v.to_bits()))?;
                while !(at / 5).is_multiple_of(super::plan::ALIGN) {
                    digits(&mut out, &mut at, 0)?;
                }
                out.write_all(if at > 0 { b"\",\n" } else { b"" })?;
            }
            Form::Literals => {
                let mut n = 0;
                self.pack.for_each(data, |v| {
                    out.write_all(if n % 8 == 0 { b"\n    " } else { b" " })?;
                    n += 1;
                    write!(out, "{},", super::function::literal(v))
                })?;
            }
        }
        out.flush()
    }
}

/// Writes the five digits of a word, and the quotes and commas between lines and pieces. `at` counts digits.
fn digits(out: &mut impl Write, at: &mut usize, bits: u32) -> io::Result<()> {
    if at.is_multiple_of(PIECE) {
        out.write_all(if *at > 0 { b"\",\n    \"" } else { b"    \"" })?;
    } else if at.is_multiple_of(LINE) {
        out.write_all(b"\"\n    \"")?;
    }
    *at += 5;
    out.write_all(&five(bits))
}

/// The five digits of a word.
pub fn five(mut bits: u32) -> [u8; 5] {
    let mut text = [0; 5];
    for digit in &mut text {
        // From `#` on, without `?`, which begins trigraphs, and without the backslash.
        let code = (bits % 85) as u8 + b'#';
        *digit = code + u8::from(code > b'>') + u8::from(code >= b'\\' - 1);
        bits /= 85;
    }
    text
}

/// The C++ that undoes [`digits`].
pub const DECODER: &str = r#"// The constants, as 5 base-85 digits each, the lowest first: together they are the bits of one float. The digits
// are the characters from '#' on, without '?' and '\'. Decoded once, when the program starts.
constexpr std::uint32_t digit(char c) noexcept {
  return static_cast<std::uint32_t>(c) - 35u - (c > '?' ? 1u : 0u) - (c > '\\' ? 1u : 0u);
}
struct store {
  alignas(64) float data[size];
  store() noexcept {
    float* to = data;
    for (const char* d : text) {
      for (; *d != '\0'; d += 5, ++to) {
        const std::uint32_t bits = digit(d[0]) + 85u * (digit(d[1]) + 85u * (digit(d[2]) + 85u * (digit(d[3]) + 85u * digit(d[4]))));
        std::memcpy(to, &bits, sizeof bits);
      }
    }
  }
};
inline const store all;
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::Layout;

    fn render(pack: Pack, form: Form, data: Vec<f32>) -> String {
        let tensor = Arc::new(Tensor::f32([data.len()], Layout::anonymous(1), data));
        let mut bytes = Vec::new();
        Encoded { tensor, pack, form }.render(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn decode(text: &str) -> Vec<u32> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b" \n\",".contains(b) || *b == b',').collect();
        // A comma is a digit too: one that ends a line behind a quote is not, and none of ours does here.
        let digits = &digits[..digits.len() / 5 * 5];
        let value = |c: u8| u32::from(c) - 35 - u32::from(c > 63) - u32::from(c > 92);
        digits.chunks(5).map(|w| w.iter().rev().fold(0, |n, &c| n * 85 + value(c))).collect()
    }

    #[test]
    fn digits_are_plain_characters_and_read_back() {
        let mut words: Vec<u32> = vec![0, 1, 84, 85, u32::MAX, 0x7fc0_0001, 0x8000_0000, 0x3f80_0000];
        words.extend((0..120u32).map(|i| i.wrapping_mul(0x9e37_79b9)));
        let text = render(Pack::Plain, Form::Text, words.iter().map(|&w| f32::from_bits(w)).collect());
        assert!(
            text.bytes()
                .all(|b| (b'!'..=b'~').contains(&b) && b != b'?' && b != b'\\' || b == b'\n' || b == b' ')
        );
        assert!(text.lines().all(|l| l.len() <= LINE + 8));
        assert_eq!(decode(&text), words);
    }

    #[test]
    fn every_digit_has_a_character_of_its_own() {
        let codes: Vec<Vec<u8>> = (0..85u32)
            .map(|d| {
                let (mut out, mut at) = (Vec::new(), 5);
                digits(&mut out, &mut at, d).unwrap();
                out
            })
            .collect();
        assert!(codes.windows(2).all(|w| w[0][0] < w[1][0]));
        assert!(codes.iter().all(|c| c[0] != b'"' && c[0] != b'?' && c[0] != b'\\' && c[0] < 127));
    }

    #[test]
    fn blocks_hold_every_channel_once() {
        for out in 1..200 {
            let blocks = blocks(out);
            assert_eq!(blocks.iter().map(|b| b.1).sum::<usize>(), out);
            assert!(blocks.iter().all(|(width, valid)| valid <= width && [4, 8, 16, 32, 64].contains(width)));
        }
        assert_eq!(blocks(100), [(64, 64), (32, 32), (4, 4)]);
        assert_eq!(blocks(10), [(16, 10)]);
    }

    #[test]
    fn packing_puts_outputs_side_by_side() {
        let pack = Pack::Blocks { groups: 2, out: 1, taps: 1, inputs: 2 };
        let text = render(pack, Form::Literals, vec![1., 2., 3., 4.]);
        let numbers: Vec<f32> =
            text.split(',').filter_map(|t| t.trim().strip_suffix('f')?.parse().ok()).collect();
        let want = [1., 0., 0., 0., 2., 0., 0., 0., 3., 0., 0., 0., 4., 0., 0., 0.];
        assert_eq!(numbers, want);
        assert_eq!(pack.len(4), want.len());
        let taps = render(Pack::Taps { channels: 2, taps: 2 }, Form::Literals, vec![1., 2., 3., 4.]);
        assert_eq!(taps.trim(), "1.0f, 3.0f, 2.0f, 4.0f,");
    }
}
