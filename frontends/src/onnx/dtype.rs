//! ONNX' element types, and what stands for them in a graph.
//!
//! Floats of every width are computed in single precision; integers keep their width; booleans are bits. 64-bit
//! unsigned integers have 63 bits here, so that every value fits an `i64`. Refused: strings, complex numbers, and the
//! floats of 8 bits and fewer.

use unfloat_ir::{ElemType, IntType};

/// An element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DType {
    /// Single precision.
    F32,
    /// Double precision, computed in single.
    F64,
    /// Half precision, computed in single.
    F16,
    /// The upper half of single precision, computed in single.
    Bf16,
    /// An integer.
    Int(IntType),
    /// False or true.
    Bool,
}

impl DType {
    /// The 64-bit integers of shapes and indices.
    pub(crate) const I64: DType = DType::Int(IntType::signed(64));

    /// The type of that number in the schema, or its name there.
    pub(crate) fn from_code(code: i32) -> Result<Self, String> {
        use crate::onnx::proto::tensor_proto::DataType as T;
        let known =
            T::try_from(code).map_err(|_| format!("element type {code}, which no ONNX version has"))?;
        Ok(match known {
            T::Float => DType::F32,
            T::Double => DType::F64,
            T::Float16 => DType::F16,
            T::Bfloat16 => DType::Bf16,
            T::Int2 => DType::Int(IntType::signed(2)),
            T::Int4 => DType::Int(IntType::signed(4)),
            T::Int8 => DType::Int(IntType::signed(8)),
            T::Int16 => DType::Int(IntType::signed(16)),
            T::Int32 => DType::Int(IntType::signed(32)),
            T::Int64 => DType::I64,
            T::Uint2 => DType::Int(IntType::unsigned(2)),
            T::Uint4 => DType::Int(IntType::unsigned(4)),
            T::Uint8 => DType::Int(IntType::unsigned(8)),
            T::Uint16 => DType::Int(IntType::unsigned(16)),
            T::Uint32 => DType::Int(IntType::unsigned(32)),
            T::Uint64 => DType::Int(IntType::unsigned(63)),
            T::Bool => DType::Bool,
            other => return Err(format!("element type {}", other.as_str_name())),
        })
    }

    /// What stands for it in a graph.
    pub(crate) fn elem(self) -> ElemType {
        match self {
            DType::Int(int) => ElemType::Int(int),
            DType::Bool => ElemType::Bit,
            _ => ElemType::F32,
        }
    }

    /// Whether it is a float of any width.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::Bf16)
    }

    /// The type of values of that element type that the importer makes itself.
    pub(crate) fn of(elem: &ElemType) -> Self {
        match elem {
            ElemType::Int(int) => DType::Int(*int),
            ElemType::Bit => DType::Bool,
            _ => DType::F32,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DType::F32 => f.write_str("float"),
            DType::F64 => f.write_str("double"),
            DType::F16 => f.write_str("float16"),
            DType::Bf16 => f.write_str("bfloat16"),
            DType::Bool => f.write_str("bool"),
            DType::Int(int) if int.width == 63 => f.write_str("uint64"),
            DType::Int(int) => write!(f, "{}int{}", if int.signed { "" } else { "u" }, int.width),
        }
    }
}
