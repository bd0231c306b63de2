//! `.txt`: one value per line.
//!
//! **In:** one tensor and its key. **Out:** a line `key,shape`, then the values in row-major order (C order, the last axis
//! fastest), one per line. Integers are decimal. Floats are the shortest decimals that read back to the same bits as
//! single precision, `NaN`, `inf` and `-inf` among them (of a NaN its bits are not kept); −0.0 keeps its sign.
//! **Refuses:** nothing. A tensor without elements is the first line alone.

use crate::parameters::{Format, line};
use std::io::{self, Write};
use unfloat_ir::{Data, Tensor};

/// The format.
pub static FORMAT: Format = Format {
    name: "txt",
    extension: "txt",
    summary: "text: a line `key,shape`, then one value per line, the last axis fastest",
    fault: |_| None,
    one: write,
    all: None,
    packs: false,
};

fn write(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    for (key, tensor) in tensors {
        writeln!(to, "{}", line(key, tensor.shape().dims()))?;
        match &tensor.data {
            Data::F32(values) => values.iter().try_for_each(|v| writeln!(to, "{v:?}"))?,
            codes => {
                (0..codes.len()).filter_map(|i| codes.code(i)).try_for_each(|code| writeln!(to, "{code}"))?
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::Layout;

    #[test]
    fn floats_read_back_to_the_same_bits() {
        let values = vec![0.1, -0.0, 1e-45, 16777216.0, f32::MAX, 1.0 / 3.0, f32::NAN, f32::NEG_INFINITY];
        let tensor = Tensor::f32([2, 4], Layout::anonymous(2), values.clone());
        let mut bytes = Vec::new();
        write(&[("a\nb", &tensor)], &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, rest) = text.split_once('\n').unwrap();
        assert_eq!(head, r"a\nb,(2, 4)");
        let read: Vec<f32> = rest.lines().map(|l| l.parse().unwrap()).collect();
        assert_eq!(read.len(), values.len());
        for (a, b) in read.iter().zip(&values) {
            assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{a} {b}");
        }
    }
}
