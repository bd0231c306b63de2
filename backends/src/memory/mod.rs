//! Memory images for FPGA tools: `.mem` for `$readmemh` and `$readmemb`, `.coe`, `.mif`.
//!
//! **In:** one tensor and its key. **Out:** text with one word per element, in row-major order from address 0. A word has
//! the bits of the element's type, two's complement: −1 and +1 are one bit, 0 and 1, as XNOR takes them; −1, 0 and +1
//! are two bits; floats are the 32 bits of IEEE-754 single precision. No minus sign stands in any file: the tools refuse
//! it. Comments tell key, shape and width. **Refuses:** tensors without elements, since a memory has a word at least.
//!
//! | module | writes |
//! |---|---|
//! | `mem` | `.mem`, hexadecimal or binary (IEEE 1364-2005, 17.2.9) |
//! | `coe` | `.coe`, AMD's coefficient files |
//! | `mif` | `.mif`, Intel's memory initialization files |

mod coe;
mod mem;
mod mif;

pub use coe::COE;
pub use mem::{MEM, MEMB};
pub use mif::MIF;

use crate::parameters::line;
use std::io::{self, Write};
use unfloat_ir::{Data, ElemType, Tensor};

/// The words of a tensor.
struct Words<'t> {
    tensor: &'t Tensor,
    width: u32,
}

impl<'t> Words<'t> {
    fn of(tensor: &'t Tensor) -> Self {
        Self { tensor, width: tensor.ty.elem.bits() }
    }
    /// What a comment says of them: no line break in it, and no semicolon, which ends statements.
    fn description(&self, key: &str) -> String {
        let kind = match &self.tensor.ty.elem {
            ElemType::F32 => "IEEE-754 single precision".to_string(),
            ElemType::Bipolar => "0 is -1, 1 is +1".to_string(),
            ElemType::Bit => "0 and 1".to_string(),
            elem if elem.code_range().is_some_and(|(lo, _)| lo < 0) => "two's complement".to_string(),
            _ => "unsigned".to_string(),
        };
        let bits = if self.width == 1 { "bit" } else { "bits" };
        let text = format!("{}, {} {bits}, {kind}", line(key, self.tensor.shape().dims()), self.width);
        text.replace(';', "_").replace("*/", "__").replace("/*", "__")
    }
    fn count(&self) -> usize {
        self.tensor.len()
    }
    /// The word at an address.
    fn at(&self, address: usize) -> u64 {
        let bits = match &self.tensor.data {
            Data::F32(v) => v.get(address).copied().unwrap_or_default().to_bits().into(),
            codes => codes.code(address).unwrap_or(0) as u64,
        };
        match self.tensor.ty.elem {
            // The code is −1 or +1; the bit says whether it is +1.
            ElemType::Bipolar => u64::from(bits == 1),
            _ => bits & (u64::MAX >> (64 - self.width.clamp(1, 64))),
        }
    }
    /// Writes each word in hexadecimal or binary digits, as many as its width has.
    fn write(&self, to: &mut dyn Write, is_hex: bool, before: &str, between: &str) -> io::Result<()> {
        let digits = if is_hex { self.width.div_ceil(4) } else { self.width } as usize;
        for address in 0..self.count() {
            let word = self.at(address);
            let end = if address + 1 < self.count() { between } else { "" };
            match is_hex {
                true => writeln!(to, "{before}{word:0digits$x}{end}")?,
                false => writeln!(to, "{before}{word:0digits$b}{end}")?,
            }
        }
        Ok(())
    }
}

/// Why a tensor cannot be a memory.
fn fault(tensor: &Tensor) -> Option<String> {
    tensor.is_empty().then(|| format!("has the shape {}: a memory has a word at least", tensor.shape()))
}

#[cfg(test)]
mod tests;
