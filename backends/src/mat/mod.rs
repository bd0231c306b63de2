//! `.mat`: MAT-file version 5, as `scipy.io.savemat` lays it out, uncompressed and without a clock.
//!
//! **In:** named tensors. **Out:** the bytes of one file: a header, then each tensor as a matrix in column-major order.
//! Floats are `single`; integers are the narrowest `int8` to `uint64` of their type, −1 and +1 `int8`; 0 and 1 are
//! `logical`. A tensor of one axis is 1×N, one without axes 1×1. **Refuses:** 2 GiB and more in a matrix, extents
//! beyond 2³¹ − 1, and in a file of one tensor nothing else: NaN, infinities and tensors without elements are what they
//! are.
//!
//! A file of one tensor calls it `array`, whatever its key, as the tutorials' `savemat(name, {'array': v})`; a file of
//! all gives each the name that the manifest lists.

use crate::parameters::{Format, Word};
use std::io::{self, Write};
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Shape, Tensor};

/// The format.
pub static FORMAT: Format = Format {
    name: "mat",
    extension: "mat",
    summary: "MATLAB's MAT-file version 5; a file per tensor with the variable `array`, and one with all",
    fault,
    one: write_one,
    all: Some(write_all),
    packs: true,
};

/// The 116 bytes of text that a file begins with, padded with spaces.
const TEXT: &[u8] = b"MATLAB 5.0 MAT-file, written by unfloat";
/// The most bytes that MATLAB reads of a matrix.
const MOST: u64 = i32::MAX as u64;

/// Types of data elements (MAT-File Format, table 1-1).
const MI_INT8: u32 = 1;
const MI_UINT8: u32 = 2;
const MI_INT32: u32 = 5;
const MI_UINT32: u32 = 6;
const MI_MATRIX: u32 = 14;
/// The flag of a logical array, in the second byte of the array flags.
const LOGICAL: u32 = 0x0200;

fn fault(tensor: &Tensor) -> Option<String> {
    let bytes = (tensor.len() as u64).saturating_mul(Word::of(&tensor.ty.elem).bytes() as u64);
    if bytes > MOST - 1024 {
        return Some(format!("has {bytes} bytes, and a matrix of a MAT-file less than 2 GiB"));
    }
    let wide = tensor.shape().iter().find(|&&d| d as u64 > MOST)?;
    Some(format!("has an axis of {wide}, and a MAT-file counts to {MOST}"))
}

fn write_one(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    let renamed: Vec<(&str, &Tensor)> = tensors.iter().map(|&(_, tensor)| ("array", tensor)).collect();
    write_all(&renamed, to)
}

/// Writes a file of tensors as variables of these names.
fn write_all(tensors: &[(&str, &Tensor)], to: &mut dyn Write) -> io::Result<()> {
    let mut header = [b' '; 128];
    header[..TEXT.len()].copy_from_slice(TEXT);
    // No data of subsystems; version 1; little-endian.
    header[116..124].fill(0);
    header[124..].copy_from_slice(b"\x00\x01IM");
    to.write_all(&header)?;
    tensors.iter().try_for_each(|(name, tensor)| matrix(name, tensor, to))
}

/// MATLAB's class of an array, the type of its data, and flags.
fn class(word: Word) -> (u32, u32, u32) {
    match word {
        Word::F32 => (7, 7, 0),
        Word::Bool => (9, MI_UINT8, LOGICAL),
        Word::Signed(1) => (8, MI_INT8, 0),
        Word::Signed(2) => (10, 3, 0),
        Word::Signed(4) => (12, MI_INT32, 0),
        Word::Signed(_) => (14, 12, 0),
        Word::Unsigned(1) => (9, MI_UINT8, 0),
        Word::Unsigned(2) => (11, 4, 0),
        Word::Unsigned(4) => (13, MI_UINT32, 0),
        Word::Unsigned(_) => (15, 13, 0),
    }
}

/// The extents of the matrix, which has two at least.
fn extents(shape: &Shape) -> Vec<usize> {
    match shape.dims() {
        [] => vec![1, 1],
        [n] => vec![1, *n],
        dims => dims.to_vec(),
    }
}

fn matrix(name: &str, tensor: &Tensor, to: &mut dyn Write) -> io::Result<()> {
    let word = Word::of(&tensor.ty.elem);
    let (class, kind, flags) = class(word);
    let dims = extents(tensor.shape());
    let data = tensor.len() * word.bytes();
    let dim_bytes: Vec<u8> = dims.iter().flat_map(|&d| (d as u32).to_le_bytes()).collect();
    let parts = [8, dim_bytes.len(), name.len()].map(element_bytes);
    let data_bytes = if data <= 4 { 8 } else { element_bytes(data) };
    tag(MI_MATRIX, parts.iter().sum::<usize>() + data_bytes, to)?;
    tag(MI_UINT32, 8, to)?;
    to.write_all(&(class | flags).to_le_bytes())?;
    to.write_all(&[0; 4])?;
    element(MI_INT32, &dim_bytes, to)?;
    element(MI_INT8, name.as_bytes(), to)?;
    // Data of at most four bytes stand in their tag.
    if data <= 4 {
        to.write_all(&(kind | (data as u32) << 16).to_le_bytes())?;
        column_major(tensor, word, to)?;
        return to.write_all(&[0; 4][data..]);
    }
    tag(kind, data, to)?;
    column_major(tensor, word, to)?;
    to.write_all(&[0; 8][..padding(data)])
}

fn tag(kind: u32, bytes: usize, to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&kind.to_le_bytes())?;
    to.write_all(&(bytes as u32).to_le_bytes())
}

fn element(kind: u32, bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
    tag(kind, bytes.len(), to)?;
    to.write_all(bytes)?;
    to.write_all(&[0; 8][..padding(bytes.len())])
}

/// Bytes of a data element: its tag, and its bytes, padded.
fn element_bytes(bytes: usize) -> usize {
    8 + bytes + padding(bytes)
}

fn padding(bytes: usize) -> usize {
    bytes.wrapping_neg() % 8
}

/// The elements, the first axis varying fastest.
fn column_major(tensor: &Tensor, word: Word, to: &mut dyn Write) -> io::Result<()> {
    let reversed: Vec<usize> = tensor.shape().iter().rev().copied().collect();
    let mut steps = tensor.shape().strides();
    steps.reverse();
    let mut done = Ok(());
    for_each_index(&reversed, |index| {
        let at = index.iter().zip(&steps).map(|(i, s)| i * s).sum();
        if done.is_ok() {
            done = to.write_all(&word.element(&tensor.data, at)[..word.bytes()]);
        }
    });
    done
}

#[cfg(test)]
mod tests;
