//! `.npy`: NumPy's arrays.
//!
//! **In:** tensors under their names. **Out:** per tensor an `.npy` of version 1 in C order, little-endian: `float32`,
//! `bool` for 0 and 1, `int8` for −1 and +1, and for other integers the narrowest signed or unsigned type that holds
//! theirs. **Refuses:** nothing that a graph holds.

use crate::parameters::{Format, Word};
use std::io::{self, Write};
use unfloat_ir::Tensor;

/// The format.
pub static FORMAT: Format = Format {
    name: "npy",
    extension: "npy",
    summary: "NumPy's arrays, one per file",
    fault: |_| None,
    one: write,
    all: None,
    packs: true,
};

fn write(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    for (_, tensor) in tensors {
        let word = Word::of(&tensor.ty.elem);
        let letter = match word {
            Word::F32 => 'f',
            Word::Bool => 'b',
            Word::Signed(_) => 'i',
            Word::Unsigned(_) => 'u',
        };
        let order = if word.bytes() == 1 { '|' } else { '<' };
        let descr = format!("{order}{letter}{}", word.bytes());
        to.write_all(&unfloat_npy::write_npy_bytes(tensor.shape(), &descr, &[]))?;
        for i in 0..tensor.len() {
            to.write_all(&word.element(&tensor.data, i)[..word.bytes()])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::{ElemType, IntType, Layout, TensorType};

    #[test]
    fn every_type_is_read_back() {
        let codes = |elem: ElemType, codes: &[i64]| {
            let ty = TensorType::new(elem, [codes.len()], Layout::anonymous(1));
            Tensor::codes(ty, codes.iter().copied())
        };
        for (tensor, descr) in [
            (Tensor::f32([2], Layout::anonymous(1), vec![1.5, f32::NAN]), "'<f4'"),
            (codes(ElemType::Bipolar, &[-1, 1]), "'|i1'"),
            (codes(ElemType::Bit, &[0, 1]), "'|b1'"),
            (codes(ElemType::Int(IntType::unsigned(8)), &[0, 255]), "'|u1'"),
            (codes(ElemType::Int(IntType::unsigned(12)), &[4095]), "'<u2'"),
            (codes(ElemType::signed(17), &[-65536, 65535]), "'<i4'"),
            (codes(ElemType::signed(64), &[i64::MIN, i64::MAX]), "'<i8'"),
        ] {
            let mut bytes = Vec::new();
            write(&[("x", &tensor)], &mut bytes).unwrap();
            assert!(String::from_utf8_lossy(&bytes).contains(descr), "{descr}");
            assert_eq!(unfloat_npy::read_npy(&bytes).unwrap().data, tensor.data);
        }
    }
}
