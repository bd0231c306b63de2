//! `.mif`: Intel's (Altera's) memory initialization files, addresses and words in hexadecimal digits.

use super::{Words, fault};
use crate::parameters::Format;
use std::io::{self, Write};
use unfloat_ir::Tensor;

/// The format.
pub static MIF: Format = Format {
    name: "mif",
    extension: "mif",
    summary: "memory images for Intel's (Altera's) block memories",
    fault,
    one: write,
    all: None,
    packs: false,
};

fn write(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    for (key, tensor) in tensors {
        let words = Words::of(tensor);
        let (width, depth) = (words.width, words.count());
        writeln!(to, "-- {}", words.description(key))?;
        writeln!(to, "WIDTH={width};\nDEPTH={depth};\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN")?;
        let digits = width.div_ceil(4) as usize;
        for address in 0..depth {
            writeln!(to, "{address:x} : {:0digits$x};", words.at(address))?;
        }
        writeln!(to, "END;")?;
    }
    Ok(())
}
