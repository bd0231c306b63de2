//! `TensorProto` to a tensor.
//!
//! In: a tensor of the file, its bytes taken out so that they are freed when it is converted. Out: floats in single
//! precision, integer codes in the narrowest word. Refuses: element types that graphs do not have, negative or huge
//! extents, data that is missing or of another length than the shape says.

use half::{bf16, f16};
use unfloat_ir::{Data, Layout, Shape, Tensor, TensorType};

use super::dtype::DType;
use super::external::{self, Siblings};
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};

/// Most elements of one tensor.
const MAX_ELEMENTS: usize = 1 << 31;
/// Bytes that are converted before the source gives them back.
const BLOCK: usize = 4 << 20;

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
pub(crate) fn decode(from: &mut TensorProto, files: &dyn Siblings) -> Result<Decoded, String> {
    let code = from.data_type.unwrap_or(0);
    let dtype = DType::from_code(code)?;
    if from.segment.is_some() {
        return Err("is stored in segments, which no tool writes".to_string());
    }
    let shape = shape(&from.dims)?;
    let count = shape.num_elements();
    let kind = DataType::try_from(code).unwrap_or(DataType::Undefined);
    let external = from.data_location() == DataLocation::External;
    let raw = match from.raw_data.take() {
        Some(bytes) if !(external || bytes.is_empty() && count > 0) => Some(Vec::from(bytes)),
        _ if external => Some(external::read(from, raw_size(kind, count), files)?),
        _ => None,
    };
    let mut rounded = false;
    let data = match raw {
        Some(raw) => from_raw(raw, kind, dtype, count, &mut rounded)?,
        None => from_fields(from, kind, dtype, count, &mut rounded)?,
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

fn from_raw(
    raw: Vec<u8>,
    kind: DataType,
    dtype: DType,
    count: usize,
    rounded: &mut bool,
) -> Result<Data, String> {
    let wanted = raw_size(kind, count);
    if raw.len() != wanted {
        return Err(format!("holds {} bytes of data, its shape needs {wanted}", raw.len()));
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &b| word << 8 | u64::from(b));
    let step = raw_bits(kind).div_ceil(8);
    if dtype.is_float() {
        return Ok(Data::F32(floats_from_raw(raw, step, count, |bytes| float(kind, word(bytes), rounded))));
    }
    let bits = raw_bits(kind);
    if bits < 8 {
        let per_byte = 8 / bits;
        let codes = (0..count).map(|i| {
            let packed = raw[i / per_byte] >> (i % per_byte * bits);
            code(kind, u64::from(packed) & ((1 << bits) - 1))
        });
        return Ok(Data::from_codes(&dtype.elem(), codes));
    }
    match raw.chunks_exact(step).map(word).find(|&w| kind == DataType::Uint64 && w > i64::MAX as u64) {
        Some(w) => Err(format!("holds {w}, beyond the largest integer that is supported, 2^63 - 1")),
        None => Ok(Data::from_codes(&dtype.elem(), raw.chunks_exact(step).map(|b| code(kind, word(b))))),
    }
}

/// Converts from the end and shortens the source as it goes, so that both are never whole at once.
fn floats_from_raw(
    mut raw: Vec<u8>,
    step: usize,
    count: usize,
    mut one: impl FnMut(&[u8]) -> f32,
) -> Vec<f32> {
    let mut out = vec![0f32; count];
    while !raw.is_empty() {
        let keep = (raw.len().saturating_sub(1) / BLOCK) * BLOCK;
        let to = &mut out[keep / step..];
        for (to, bytes) in to.iter_mut().zip(raw[keep..].chunks_exact(step)) {
            *to = one(bytes);
        }
        raw.truncate(keep);
        raw.shrink_to_fit();
    }
    out
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
            let bytes = small.into_iter().map(|w| w as u8).collect();
            from_raw(bytes, kind, dtype, count, rounded)?
        }
        _ => {
            length(small.len(), count)?;
            let bool = |w: i32| if kind == DataType::Bool { i64::from(w != 0) } else { i64::from(w) };
            Data::from_codes(&dtype.elem(), small.into_iter().map(bool))
        }
    })
}
