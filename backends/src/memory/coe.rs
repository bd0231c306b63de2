//! `.coe`: AMD's (Xilinx') coefficient files for block memories, in hexadecimal digits.

use super::{Words, fault};
use crate::parameters::Format;
use std::io::{self, Write};
use unfloat_ir::Tensor;

/// The format.
pub static COE: Format = Format {
    name: "coe",
    extension: "coe",
    summary: "memory images for AMD's (Xilinx') block memories",
    fault,
    one: write,
    all: None,
    packs: false,
};

fn write(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    for (key, tensor) in tensors {
        let words = Words::of(tensor);
        writeln!(to, "; {}", words.description(key))?;
        writeln!(to, "memory_initialization_radix=16;\nmemory_initialization_vector=")?;
        words.write(to, true, "", ",")?;
        writeln!(to, ";")?;
    }
    Ok(())
}
