//! `TensorProto` to a tensor.
//!
//! In: a tensor of the file, its bytes in the message or still in the file, which are converted a block at a time. Out:
//! floats in single precision, integer codes in the narrowest word. Refuses: element types that graphs do not have, negative or huge
//! extents, data that is missing or of another length than the shape says.

use std::io::Read;

use half::{bf16, f16};
use unfloat_ir::{Data, Layout, Shape, Tensor, TensorType};

use super::dtype::DType;
use super::external::{self, Files};
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};

/// Most elements of one tensor.
const MAX_ELEMENTS: usize = 1 << 31;
/// Bytes that are read before they are converted: they fit a second-level cache. A multiple of every element's size.
const BLOCK: usize = 1 << 18;

/// A decoded tensor and the type that the file gives it.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) tensor: Tensor,
    pub(crate) dtype: DType,
    /// Whether a double was no single-precision number and was rounded.
    pub(crate) rounded: bool,
}

/// The shape of a tensor of the file.
pub(crate) fn shape(dims: &[i64]) -> Result<Shape, String> {
    let wrong = || format!("has the shape {dims:?}");
    let dims: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = Shape::from(dims.ok_or_else(wrong)?);
    if shape.rank() > Shape::MAX_RANK {
        return Err(format!("has {} axes; at most {} are supported", shape.rank(), Shape::MAX_RANK));
    }
    match shape.checked_len() {
        Some(n) if n <= MAX_ELEMENTS => Ok(shape),
        _ => Err(format!("has more than {MAX_ELEMENTS} elements: {shape}")),
    }
}

/// Converts a tensor, taking its data.
pub(crate) fn decode(from: &mut TensorProto, files: &Files<'_>) -> Result<Decoded, String> {
    let code = from.data_type.unwrap_or(0);
    let dtype = DType::from_code(code)?;
    if from.segment.is_some() {
        return Err("is stored in segments, which no tool writes".to_string());
    }
    let shape = shape(&from.dims)?;
    let count = shape.num_elements();
    let kind = DataType::try_from(code).unwrap_or(DataType::Undefined);
    let wanted = raw_size(kind, count);
    let mut rounded = false;
    let mut convert = |from: &mut dyn Read| from_raw(from, kind, dtype, count, &mut rounded);
    let data = match from.raw_data.take() {
        _ if from.data_location() == DataLocation::External => {
            convert(&mut external::open(from, wanted, files.siblings)?)?
        }
        Some(field) if !(field.is_empty() && count > 0) => match files.length(&field) {
            length if length == wanted as u64 => files.with_raw(&field, convert)?,
            length => return Err(format!("holds {length} bytes of data, its shape needs {wanted}")),
        },
        _ => from_fields(from, kind, dtype, count, &mut rounded)?,
    };
    let layout = Layout::anonymous(shape.rank());
    let tensor = Tensor { ty: TensorType::new(dtype.elem(), shape, layout), data };
    match tensor.fault() {
        Some(fault) => Err(fault),
        None => Ok(Decoded { tensor, dtype, rounded }),
    }
}

/// Bits of an element in `raw_data`.
fn raw_bits(kind: DataType) -> usize {
    match kind {
        DataType::Int2 | DataType::Uint2 => 2,
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 8,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => 32,
    }
}

fn raw_size(kind: DataType, count: usize) -> usize {
    count.saturating_mul(raw_bits(kind)).div_ceil(8)
}

/// Converts `raw_data`. The caller knows that there are as many bytes as the shape needs.
fn from_raw(
    from: &mut dyn Read,
    kind: DataType,
    dtype: DType,
    count: usize,
    rounded: &mut bool,
) -> Result<Data, String> {
    let mut data = if dtype.is_float() { Data::F32(Vec::new()) } else { Data::from_codes(&dtype.elem(), []) };
    let (mut rest, mut block) = (raw_size(kind, count), Vec::new());
    while rest > 0 {
        block.resize(rest.min(BLOCK), 0);
        from.read_exact(&mut block).map_err(|e| format!("its data cannot be read: {e}"))?;
        rest -= block.len();
        // The last byte of small integers may be only partly used.
        let elements = (block.len() * 8 / raw_bits(kind)).min(count - data.len());
        // Not before there are bytes for it.
        match &mut data {
            Data::F32(out) => {
                out.reserve_exact(count - out.len());
                floats(out, &block, kind, rounded);
            }
            Data::I8(out) => out.extend(codes(&block, kind, elements).map(|c| c as i8)),
            Data::I16(out) => out.extend(codes(&block, kind, elements).map(|c| c as i16)),
            Data::I32(out) => out.extend(codes(&block, kind, elements).map(|c| c as i32)),
            Data::I64(out) => out.extend(codes(&block, kind, elements)),
        }
        if kind == DataType::Uint64
            && let Some(word) = block.chunks_exact(8).map(word).find(|&w| w > i64::MAX as u64)
        {
            return Err(format!("holds {word}, beyond the largest integer that is supported, 2^63 - 1"));
        }
    }
    Ok(data)
}

/// A little-endian word.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0u64, |word, &b| word << 8 | u64::from(b))
}

fn floats(out: &mut Vec<f32>, block: &[u8], kind: DataType, rounded: &mut bool) {
    // Single precision, which nearly all weights are, by itself: the general conversion is much slower.
    if kind == DataType::Float {
        let (words, _) = block.as_chunks::<4>();
        out.extend(words.iter().map(|&bytes| f32::from_le_bytes(bytes)));
    } else {
        out.extend(block.chunks_exact(raw_bits(kind) / 8).map(|bytes| float(kind, word(bytes), rounded)));
    }
}

fn codes(block: &[u8], kind: DataType, elements: usize) -> impl Iterator<Item = i64> {
    let bits = raw_bits(kind);
    (0..elements).map(move |i| {
        if bits < 8 {
            let packed = block[i * bits / 8] >> (i * bits % 8);
            code(kind, u64::from(packed) & ((1 << bits) - 1))
        } else {
            let size = bits / 8;
            code(kind, word(&block[i * size..(i + 1) * size]))
        }
    })
}

fn float(kind: DataType, word: u64, rounded: &mut bool) -> f32 {
    match kind {
        DataType::Double => narrowed(f64::from_bits(word), rounded),
        DataType::Float16 => f16::from_bits(word as u16).to_f32(),
        DataType::Bfloat16 => bf16::from_bits(word as u16).to_f32(),
        _ => f32::from_bits(word as u32),
    }
}

fn narrowed(value: f64, rounded: &mut bool) -> f32 {
    let narrow = value as f32;
    *rounded |= f64::from(narrow) != value && !value.is_nan();
    narrow
}

/// The value of a stored word.
fn code(kind: DataType, word: u64) -> i64 {
    match kind {
        DataType::Int2 => ((word as i64) << 62) >> 62,
        DataType::Int4 => ((word as i64) << 60) >> 60,
        DataType::Int8 => i64::from(word as u8 as i8),
        DataType::Int16 => i64::from(word as u16 as i16),
        DataType::Int32 => i64::from(word as u32 as i32),
        DataType::Bool => i64::from(word != 0),
        _ => word as i64,
    }
}

/// The data of the typed fields.
fn from_fields(
    from: &mut TensorProto,
    kind: DataType,
    dtype: DType,
    count: usize,
    rounded: &mut bool,
) -> Result<Data, String> {
    let length = |found: usize, wanted: usize| {
        if found == wanted {
            return Ok(());
        }
        Err(format!("holds {found} elements of data, its shape needs {wanted}"))
    };
    let small = std::mem::take(&mut from.int32_data);
    let bits = raw_bits(kind);
    Ok(match kind {
        DataType::Float => {
            let data = std::mem::take(&mut from.float_data);
            length(data.len(), count)?;
            Data::F32(data)
        }
        DataType::Double => {
            let data = std::mem::take(&mut from.double_data);
            length(data.len(), count)?;
            Data::F32(data.into_iter().map(|v| narrowed(v, rounded)).collect())
        }
        DataType::Float16 | DataType::Bfloat16 => {
            length(small.len(), count)?;
            Data::F32(small.into_iter().map(|w| float(kind, w as u32 as u64, rounded)).collect())
        }
        DataType::Int64 => {
            let data = std::mem::take(&mut from.int64_data);
            length(data.len(), count)?;
            Data::I64(data)
        }
        DataType::Uint32 | DataType::Uint64 => {
            let data = std::mem::take(&mut from.uint64_data);
            length(data.len(), count)?;
            let codes: Result<Vec<i64>, _> = data.into_iter().map(i64::try_from).collect();
            let codes = codes.map_err(|_| "holds an integer beyond 2^63 - 1, the largest supported")?;
            Data::from_codes(&dtype.elem(), codes)
        }
        _ if bits < 8 => {
            length(small.len(), raw_size(kind, count))?;
            let bytes: Vec<u8> = small.into_iter().map(|w| w as u8).collect();
            from_raw(&mut bytes.as_slice(), kind, dtype, count, rounded)?
        }
        _ => {
            length(small.len(), count)?;
            let bool = |w: i32| if kind == DataType::Bool { i64::from(w != 0) } else { i64::from(w) };
            Data::from_codes(&dtype.elem(), small.into_iter().map(bool))
        }
    })
}
