//! Element types of checkpoints, and how their bytes become numbers.
//!
//! In: names of PyTorch, NumPy and safetensors; bytes in either order. Out: floats in single precision, integer codes.
//! Refuses: complex numbers, 8-bit floats and the like by their names, truth values other than 0 and 1, unsigned
//! integers from 2^63 on.

use half::{bf16, f16};
use unfloat_ir::{Data, ElemType, IntType};

use super::view::Positions;

/// How a checkpoint stores an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    QInt8,
    QUInt8,
    QInt32,
}

/// The types with PyTorch's names, the class of their storages before PyTorch's 2, and safetensors' names.
const NAMES: [(Element, &str, &str, &str); 16] = [
    (Element::F16, "float16", "HalfStorage", "F16"),
    (Element::Bf16, "bfloat16", "BFloat16Storage", "BF16"),
    (Element::F32, "float32", "FloatStorage", "F32"),
    (Element::F64, "float64", "DoubleStorage", "F64"),
    (Element::I8, "int8", "CharStorage", "I8"),
    (Element::I16, "int16", "ShortStorage", "I16"),
    (Element::I32, "int32", "IntStorage", "I32"),
    (Element::I64, "int64", "LongStorage", "I64"),
    (Element::U8, "uint8", "ByteStorage", "U8"),
    (Element::U16, "uint16", "", "U16"),
    (Element::U32, "uint32", "", "U32"),
    (Element::U64, "uint64", "", "U64"),
    (Element::Bool, "bool", "BoolStorage", "BOOL"),
    (Element::QInt8, "qint8", "QInt8Storage", ""),
    (Element::QUInt8, "quint8", "QUInt8Storage", ""),
    (Element::QInt32, "qint32", "QInt32Storage", ""),
];

impl Element {
    /// PyTorch's name.
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|n| n.0 == self).map_or("", |n| n.1)
    }
    /// The type of that name of PyTorch's, `float32`, or of its older one, `float`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "half" => "float16",
            "float" => "float32",
            "double" => "float64",
            "short" => "int16",
            "int" => "int32",
            "long" => "int64",
            name => name,
        };
        NAMES.iter().find(|n| n.1 == name).map(|n| n.0)
    }
    /// The type of a storage class, `FloatStorage`.
    pub(crate) fn from_storage(class: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.2 == class && !class.is_empty()).map(|n| n.0)
    }
    /// The type of that name in safetensors.
    pub(crate) fn from_safetensors(name: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.3 == name && !name.is_empty()).map(|n| n.0)
    }
    /// The type of a NumPy code without its byte order, `f4`.
    pub(crate) fn from_numpy(code: &str) -> Option<Self> {
        Some(match code {
            "f2" => Element::F16,
            "f4" => Element::F32,
            "f8" => Element::F64,
            "i1" => Element::I8,
            "i2" => Element::I16,
            "i4" => Element::I32,
            "i8" => Element::I64,
            "u1" => Element::U8,
            "u2" => Element::U16,
            "u4" => Element::U32,
            "u8" => Element::U64,
            "b1" => Element::Bool,
            _ => return None,
        })
    }
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Element::I8 | Element::U8 | Element::Bool | Element::QInt8 | Element::QUInt8 => 1,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::F32 | Element::I32 | Element::U32 | Element::QInt32 => 4,
            Element::F64 | Element::I64 | Element::U64 => 8,
        }
    }
    /// Bytes of an element in memory.
    pub(crate) fn word(self) -> usize {
        match self {
            Element::I8 | Element::Bool | Element::QInt8 => 1,
            Element::U8 | Element::I16 | Element::QUInt8 => 2,
            Element::F16 | Element::Bf16 | Element::F32 | Element::F64 => 4,
            Element::U16 | Element::I32 | Element::QInt32 => 4,
            Element::U32 | Element::I64 | Element::U64 => 8,
        }
    }
    /// Whether elements are codes of a scale.
    pub(crate) fn is_quantized(self) -> bool {
        matches!(self, Element::QInt8 | Element::QUInt8 | Element::QInt32)
    }
    /// The integers that stand for elements; nothing for floats and truth values.
    pub(crate) fn int(self) -> Option<IntType> {
        Some(match self {
            Element::I8 | Element::QInt8 => IntType::signed(8),
            Element::I16 => IntType::signed(16),
            Element::I32 | Element::QInt32 => IntType::signed(32),
            Element::I64 => IntType::signed(64),
            Element::U8 | Element::QUInt8 => IntType::unsigned(8),
            Element::U16 => IntType::unsigned(16),
            Element::U32 => IntType::unsigned(32),
            // The largest unsigned type of the IR; greater values are refused when they are read.
            Element::U64 => IntType::unsigned(63),
            Element::F16 | Element::Bf16 | Element::F32 | Element::F64 | Element::Bool => return None,
        })
    }
    /// What an element means, scale apart.
    pub(crate) fn elem(self) -> ElemType {
        match self.int() {
            Some(int) => ElemType::Int(int),
            None if self == Element::Bool => ElemType::Bit,
            None => ElemType::F32,
        }
    }
}

/// Elements of `bytes` at `positions`, counted in elements, all of which must lie inside. Says whether a double was
/// rounded.
pub(crate) fn decode(
    element: Element,
    bytes: &[u8],
    big_endian: bool,
    positions: Positions<'_>,
) -> Result<(Data, bool), String> {
    let mut rounded = false;
    let source = Words { bytes, big_endian, positions };
    let data = match element {
        Element::F16 => Data::F32(source.collect(|b| f16::from_le_bytes(b).to_f32())),
        Element::Bf16 => Data::F32(source.collect(|b| bf16::from_le_bytes(b).to_f32())),
        Element::F32 => Data::F32(source.collect(f32::from_le_bytes)),
        Element::F64 => Data::F32(source.collect(|b| {
            let double = f64::from_le_bytes(b);
            let single = double as f32;
            rounded |= f64::from(single) != double && !double.is_nan();
            single
        })),
        Element::I8 | Element::QInt8 => Data::I8(source.collect(i8::from_le_bytes)),
        Element::I16 => Data::I16(source.collect(i16::from_le_bytes)),
        Element::I32 | Element::QInt32 => Data::I32(source.collect(i32::from_le_bytes)),
        Element::I64 => Data::I64(source.collect(i64::from_le_bytes)),
        Element::U8 | Element::QUInt8 => Data::I16(source.collect(|b| u8::from_le_bytes(b).into())),
        Element::U16 => Data::I32(source.collect(|b| u16::from_le_bytes(b).into())),
        Element::U32 => Data::I64(source.collect(|b| u32::from_le_bytes(b).into())),
        Element::U64 => {
            let mut beyond = false;
            let codes = source.collect(|b| {
                let value = u64::from_le_bytes(b);
                beyond |= value > i64::MAX as u64;
                value as i64
            });
            if beyond {
                return Err("an unsigned element is beyond 2^63 - 1".to_string());
            }
            Data::I64(codes)
        }
        Element::Bool => {
            let codes = source.collect(i8::from_le_bytes);
            if codes.iter().any(|&c| c != 0 && c != 1) {
                return Err("a bool is neither 0 nor 1".to_string());
            }
            Data::I8(codes)
        }
    };
    Ok((data, rounded))
}

/// Words of `N` bytes at some places.
struct Words<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    positions: Positions<'a>,
}

impl Words<'_> {
    fn collect<const N: usize, T>(self, mut from: impl FnMut([u8; N]) -> T) -> Vec<T> {
        let (words, _) = self.bytes.as_chunks::<N>();
        let big_endian = self.big_endian;
        let mut word = |mut bytes: [u8; N]| {
            if big_endian {
                bytes.reverse();
            }
            from(bytes)
        };
        let mut out = Vec::with_capacity(self.positions.len());
        match self.positions {
            Positions::Run { start, len } => {
                out.extend(words.iter().skip(start).take(len).map(|&b| word(b)));
            }
            Positions::Strided(steps) => steps.walk(|at| out.extend(words.get(at).map(|&b| word(b)))),
        }
        out
    }
}
