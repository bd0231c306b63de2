//! NumPy's `.npy` arrays and `.npz` archives, to and from IR tensors.
//!
//! **In:** versions 1 to 3 of the format; C and Fortran order; either byte order; `float16/32/64` (read as
//! f32), `bool` (read as `bit`), signed and unsigned integers of 8 to 64 bits (read as `i8` … `i64`, `u8` …).
//! **Out:** version 1, C order, little-endian; floats as `<f4`, codes as the narrowest integer that holds the
//! type. Archives are stored, not compressed, and carry no clock: the same tensors give the same bytes.
//! **Refused:** object arrays (they are pickles), complex, text and structured arrays, `u64` beyond `i64`, `f64` beyond `f32`,
//! headers that promise more elements than the file has.
//!
//! The header is read here and not by a library: the one that we tried allocates whatever the header's
//! length field says and multiplies the extents without looking, so a broken file could stop the process.
#![forbid(unsafe_code)]

mod header;
mod npz;

pub use header::Header as NpyHeader;
pub use npz::{Npz, write_npz};

use header::Header;
use unfloat_ir::{Data, ElemType, IntType, Layout, Shape, Tensor, TensorType};

/// Why bytes are no array that we read. The caller knows the file and adds its name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NpyError(pub String);

impl NpyError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Reads one `.npy` array. Its axes are unnamed.
pub fn read_npy(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, body) = Header::read(bytes)?;
    if header.is_object() {
        return Err(NpyError::new(
            "an array of Python objects (a pickle), which is never unpacked; save plain arrays instead",
        ));
    }
    let count = header.checked_len(body.len())?;
    let body = &body[..count * header.word];
    let (elem, data) = decode(&header, body)?;
    let fortran = header.fortran && header.rank() > 1;
    let shape = header.shape;
    if !fortran {
        return Ok(Tensor { ty: TensorType::new(elem, shape.clone(), Layout::anonymous(shape.len())), data });
    }
    // Fortran order is C order of the reversed axes.
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let layout = Layout::anonymous(shape.len());
    let perm: Vec<usize> = (0..shape.len()).rev().collect();
    Ok(Tensor { ty: TensorType::new(elem, reversed, layout), data }.transposed(&perm))
}

fn decode(header: &Header, body: &[u8]) -> Result<(ElemType, Data), NpyError> {
    let little = header.little;
    /// The words of `body`, each read by `from` after its bytes are put into little-endian order.
    fn words<const N: usize, T>(body: &[u8], little: bool, from: impl Fn([u8; N]) -> T) -> Vec<T> {
        let word = |chunk: &[u8]| {
            let mut word = [0; N];
            word.copy_from_slice(chunk);
            if !little {
                word.reverse();
            }
            from(word)
        };
        body.chunks_exact(N).map(word).collect()
    }
    let signed = |w| ElemType::Int(IntType::signed(w));
    let unsigned = |w| ElemType::Int(IntType::unsigned(w));
    Ok(match (header.kind, header.word) {
        ('f', 2) => (ElemType::F32, Data::F32(words(body, little, |b| half::f16::from_le_bytes(b).to_f32()))),
        ('f', 4) => (ElemType::F32, Data::F32(words(body, little, f32::from_le_bytes))),
        ('f', 8) => (ElemType::F32, Data::F32(singles(&words(body, little, f64::from_le_bytes))?)),
        ('b', 1) => {
            if body.iter().any(|&b| b > 1) {
                return Err(NpyError::new("a bool is neither 0 nor 1"));
            }
            (ElemType::Bit, Data::I8(body.iter().map(|&b| b as i8).collect()))
        }
        ('i', 1) => (signed(8), Data::I8(words(body, little, i8::from_le_bytes))),
        ('i', 2) => (signed(16), Data::I16(words(body, little, i16::from_le_bytes))),
        ('i', 4) => (signed(32), Data::I32(words(body, little, i32::from_le_bytes))),
        ('i', 8) => (signed(64), Data::I64(words(body, little, i64::from_le_bytes))),
        ('u', 1) => (unsigned(8), Data::I16(body.iter().map(|&b| b.into()).collect())),
        ('u', 2) => (unsigned(16), Data::I32(words(body, little, |b| u16::from_le_bytes(b).into()))),
        ('u', 4) => (unsigned(32), Data::I64(words(body, little, |b| u32::from_le_bytes(b).into()))),
        ('u', 8) => {
            let raw = words(body, little, u64::from_le_bytes);
            let codes: Result<Vec<i64>, _> = raw.into_iter().map(i64::try_from).collect();
            let codes = codes.map_err(|_| NpyError::new("an unsigned element is beyond 2^63 − 1"))?;
            (unsigned(63), Data::I64(codes))
        }
        _ => return Err(NpyError::new(format!("elements of type `{}` are not supported", header.descr))),
    })
}

/// Doubles in single precision. Refuses numbers that would become infinite.
fn singles(doubles: &[f64]) -> Result<Vec<f32>, NpyError> {
    let is_beyond = |d: &&f64| d.is_finite() && !(**d as f32).is_finite();
    if let Some(first) = doubles.iter().find(is_beyond) {
        return Err(NpyError::new(format!(
            "{} of {} elements of float64 are beyond the range of float32, the first is {first:e}",
            doubles.iter().filter(is_beyond).count(),
            doubles.len()
        )));
    }
    Ok(doubles.iter().map(|&d| d as f32).collect())
}

/// Writes one `.npy` array.
pub fn write_npy(tensor: &Tensor) -> Vec<u8> {
    write_npy_data(&tensor.ty.shape, &tensor.data, matches!(tensor.ty.elem, ElemType::Bit))
}

/// Writes elements under another shape, for example with a batch axis in front. `shape` must have as many
/// elements as `data`.
pub fn write_npy_data(shape: &Shape, data: &Data, is_bool: bool) -> Vec<u8> {
    let descr = match data {
        _ if is_bool => "|b1",
        Data::F32(_) => "<f4",
        Data::I8(_) => "|i1",
        Data::I16(_) => "<i2",
        Data::I32(_) => "<i4",
        Data::I64(_) => "<i8",
    };
    let mut out = write_npy_bytes(shape, descr, &[]);
    match data {
        Data::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::I8(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::I16(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::I32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Data::I64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
    }
    out
}

/// Writes elements that are little-endian bytes already, of the type that NumPy calls `descr`.
pub fn write_npy_bytes(shape: &Shape, descr: &str, elements: &[u8]) -> Vec<u8> {
    let mut out = header::write(descr, shape);
    out.extend_from_slice(elements);
    out
}

#[cfg(test)]
mod tests;
