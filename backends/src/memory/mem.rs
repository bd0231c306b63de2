//! `.mem`: what Verilog's `$readmemh` and `$readmemb` read: a comment, then a word per line.

use super::{Words, fault};
use crate::parameters::Format;
use std::io::{self, Write};
use unfloat_ir::Tensor;

/// In hexadecimal digits.
pub static MEM: Format = Format {
    name: "mem",
    extension: "mem",
    summary: "memory images in hexadecimal digits, for Verilog's $readmemh",
    fault,
    one: |tensors, to| write(tensors, to, true),
    all: None,
    packs: false,
};

/// In binary digits.
pub static MEMB: Format = Format {
    name: "memb",
    extension: "mem",
    summary: "memory images in binary digits, for Verilog's $readmemb",
    fault,
    one: |tensors, to| write(tensors, to, false),
    all: None,
    packs: false,
};

fn write(tensors: &[(&str, &Tensor)], to: &mut dyn Write, is_hex: bool) -> io::Result<()> {
    for (key, tensor) in tensors {
        let words = Words::of(tensor);
        writeln!(to, "// {}", words.description(key))?;
        words.write(to, is_hex, "", "")?;
    }
    Ok(())
}
