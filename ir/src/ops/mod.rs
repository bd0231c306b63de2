//! The ops: a closed set, one file each.
//!
//! A file holds the op's attributes, its type inference, its reference evaluation (one sample, obviously right)
//! and its text. To add one: write the file, add a line to the table below; the compiler then names every
//! backend that has no answer for it yet.
//!
//! Reference evaluation accumulates in double precision and rounds once, so it is the nearest to the true
//! value of what the op means; the fast executor is measured against it. On integers it is exact; where a result
//! does not fit its type, the low bits stay, as in numpy and ONNX. The quantizers ([`Quantize`], [`Dequantize`],
//! [`FloatQuant`]) round to single precision after each step, as their sources do.
//!
//! Ops of mixed types: every op takes floats; which also take integers ([`ElemType::is_integer`]) is said in each
//! file. None converts between the two but [`Cast`] and the quantizers, and a [`Lookup`] in a table of floats.

mod accumulate;
mod arg_reduce;
mod avg_pool;
mod batch_norm;
mod binary;
mod bitwise;
mod broadcast;
mod cast;
mod compare;
mod concat;
mod conv;
mod conv_transpose;
mod dense;
mod dequantize;
mod expand;
mod float_quant;
mod gather;
mod layer_norm;
mod lookup;
mod lrn;
mod lut;
mod matmul;
mod max_pool;
mod pad;
mod quantize;
mod reduce;
mod requantize;
mod reshape;
mod resize;
mod reverse;
mod select;
mod slice;
mod softmax;
mod threshold;
mod transpose;
mod unary;
mod upsample;
mod window;

pub use arg_reduce::ArgReduce;
pub use avg_pool::AvgPool;
pub use batch_norm::{BatchNorm, BatchNormFormula};
pub use binary::Binary;
pub use bitwise::Bitwise;
pub use cast::Cast;
pub use compare::Compare;
pub use concat::Concat;
pub use conv::Conv;
pub use conv_transpose::ConvTranspose;
pub use dense::Dense;
pub use dequantize::Dequantize;
pub use expand::Expand;
pub use float_quant::{FloatOverflow, FloatQuant};
pub use gather::Gather;
pub use layer_norm::LayerNorm;
pub use lookup::Lookup;
pub use lrn::Lrn;
pub use lut::Lut;
pub use matmul::MatMul;
pub use max_pool::MaxPool;
pub use pad::{Pad, PadMode};
pub use quantize::{Quantize, QuantizeOrder};
pub use reduce::{Reduce, ReduceFn};
pub use requantize::Requantize;
pub use reshape::Reshape;
pub use resize::{Coordinates, NearestMode, Resize, ResizeMode};
pub use reverse::Reverse;
pub use select::Select;
pub use slice::Slice;
pub use softmax::Softmax;
pub use threshold::Threshold;
pub use transpose::Transpose;
pub use unary::Unary;
pub use upsample::{Upsample, UpsampleMode};
pub use window::Window;

use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::{ElemType, Shape, TensorType};

/// Why an op refuses its operands or attributes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpError(pub String);

impl From<String> for OpError {
    fn from(text: String) -> Self {
        Self(text)
    }
}
impl From<&str> for OpError {
    fn from(text: &str) -> Self {
        Self(text.to_string())
    }
}

/// What every op's payload offers.
pub trait OpDef: Sized {
    /// The names under which the op stands in text; most have one.
    const NAMES: &'static [&'static str];
    /// The name of this very op.
    fn name(&self) -> &'static str {
        Self::NAMES[0]
    }
    /// Writes the attributes.
    fn attrs(&self, to: &mut AttrWriter);
    /// Reads the attributes of the op that is called `name`.
    fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String>;
    /// The type of the result, or why the operands do not suit.
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError>;
    /// The result for one sample. `out` is what [`OpDef::infer`] said of the inputs' types, and the inputs
    /// have no [`Tensor::fault`].
    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError>;
    /// Why operands that are constants do not suit, beyond what their types tell. `types` are those that
    /// [`OpDef::infer`] took.
    fn check_constants(&self, _types: &[&TensorType], _constants: &[Option<&Tensor>]) -> Result<(), OpError> {
        Ok(())
    }
    /// Multiply-accumulates for one sample.
    fn macs(&self, _inputs: &[&TensorType], _out: &TensorType) -> u64 {
        0
    }
}

/// Declares the closed enum and passes each call on to the payload.
macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident),+ $(,)?) => {
        /// What a node does.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op { $($(#[$doc])* $op($op)),+ }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self { Op::$op(op) }
        })+

        impl OpDef for Op {
            const NAMES: &'static [&'static str] = &[];
            fn name(&self) -> &'static str {
                match self { $(Op::$op(op) => op.name()),+ }
            }
            fn attrs(&self, to: &mut AttrWriter) {
                match self { $(Op::$op(op) => op.attrs(to)),+ }
            }
            fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String> {
                $(if $op::NAMES.contains(&name) { return Ok(Op::$op($op::parse(name, from)?)); })+
                Err(format!("there is no op `{name}`"))
            }
            fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
                match self { $(Op::$op(op) => op.infer(inputs)),+ }
            }
            fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
                match self { $(Op::$op(op) => op.eval(inputs, out)),+ }
            }
            fn check_constants(
                &self,
                types: &[&TensorType],
                constants: &[Option<&Tensor>],
            ) -> Result<(), OpError> {
                match self { $(Op::$op(op) => op.check_constants(types, constants)),+ }
            }
            fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
                match self { $(Op::$op(op) => op.macs(inputs, out)),+ }
            }
        }

        /// The names of all ops.
        pub fn op_names() -> Vec<&'static str> {
            [$($op::NAMES),+].concat()
        }
    };
}

ops! {
    /// Convolution.
    Conv,
    /// Transposed convolution.
    ConvTranspose,
    /// Product with a weight matrix.
    Dense,
    /// Product of two matrices.
    MatMul,
    /// Batch normalisation with fixed statistics.
    BatchNorm,
    /// Layer normalisation.
    LayerNorm,
    /// Maximum over windows.
    MaxPool,
    /// Mean over windows.
    AvgPool,
    /// Sum, mean, maximum … over whole axes.
    Reduce,
    /// A function of each element.
    Unary,
    /// A function of two elements, broadcasting.
    Binary,
    /// Softmax and its logarithm.
    Softmax,
    /// Another shape over the same elements.
    Reshape,
    /// Another order of the axes.
    Transpose,
    /// Several tensors side by side.
    Concat,
    /// A part of a tensor.
    Slice,
    /// More cells at the borders.
    Pad,
    /// Broadcast to a larger shape.
    Expand,
    /// Enlargement by whole factors.
    Upsample,
    /// Another size by interpolation.
    Resize,
    /// Axes in reverse.
    Reverse,
    /// Cells picked by their index.
    Gather,
    /// One of two, element by element.
    Select,
    /// Where the greatest or least element is.
    ArgReduce,
    /// A comparison of two elements.
    Compare,
    /// Logic and shifts.
    Bitwise,
    /// The same number in another type.
    Cast,
    /// Floats to integer codes.
    Quantize,
    /// Integer codes to floats.
    Dequantize,
    /// Floats to fewer floats.
    FloatQuant,
    /// Integers to fewer integers.
    Requantize,
    /// A function of one small integer, as a table.
    Lookup,
    /// How many thresholds are reached.
    Threshold,
    /// Normalisation over neighbouring channels.
    Lrn,
    /// A layer of look-up tables over bits.
    Lut,
}

/// Checks the number of operands.
pub(crate) fn arity(inputs: &[&TensorType], least: usize, most: usize) -> Result<(), OpError> {
    if (least..=most).contains(&inputs.len()) {
        return Ok(());
    }
    let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    Err(format!("expected {wanted} operands, found {}", inputs.len()).into())
}

/// Checks that every operand is float.
pub(crate) fn all_float(inputs: &[&TensorType]) -> Result<(), OpError> {
    match inputs.iter().find(|t| !t.elem.is_float()) {
        None => Ok(()),
        Some(t) => Err(format!("expected f32 operands, found {t}").into()),
    }
}

/// The floats of operand `i`.
pub(crate) fn floats<'a>(inputs: &[&'a Tensor], i: usize) -> Result<&'a [f32], OpError> {
    inputs
        .get(i)
        .and_then(|t| t.as_f32())
        .ok_or_else(|| format!("operand {i} holds no floats to evaluate").into())
}

/// Checks that an operand is float, or integers.
pub(crate) fn float_or_integer(t: &TensorType) -> Result<(), OpError> {
    if t.elem.is_float() || t.elem.is_integer() {
        return Ok(());
    }
    Err(format!("expected an f32 or integer operand, found {t}").into())
}

/// Checks that an axis exists; returns its extent.
pub(crate) fn check_axis(axis: usize, t: &TensorType) -> Result<usize, OpError> {
    t.shape.get(axis).copied().ok_or_else(|| format!("axis {axis} of a tensor of shape {}", t.shape).into())
}

/// The codes of operand `i`.
pub(crate) fn codes(inputs: &[&Tensor], i: usize) -> Result<Vec<i64>, OpError> {
    let fault = || OpError(format!("operand {i} holds no integers to evaluate"));
    let t = inputs.get(i).ok_or_else(fault)?;
    (0..t.len()).map(|k| t.data.code(k)).collect::<Option<_>>().ok_or_else(fault)
}

/// Integers as the data of a tensor of type `elem`; of those that do not fit, the low bits.
pub(crate) fn wrapped(elem: &ElemType, values: impl IntoIterator<Item = i64>) -> Data {
    match elem {
        ElemType::Int(int) => Data::from_codes(elem, values.into_iter().map(|v| int.wrap(v))),
        _ => Data::from_codes(elem, values),
    }
}

/// Checks that `axes` are distinct axes below `rank`, in rising order.
pub(crate) fn check_axes(axes: &[usize], rank: usize) -> Result<(), OpError> {
    if axes.windows(2).all(|w| w[0] < w[1]) && axes.iter().all(|&a| a < rank) {
        return Ok(());
    }
    Err(format!("axes {axes:?} are not rising axes of a tensor of rank {rank}").into())
}

/// Splits a tensor along `axes`: the positions of the blocks over the other axes, in row-major order, and the
/// offsets of the cells within each block.
pub(crate) fn blocks(shape: &Shape, axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let strides = shape.strides();
    let positions = |axes: &[usize]| {
        let dims: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        let mut found = Vec::new();
        for_each_index(&dims, |at| found.push(axes.iter().zip(at).map(|(&a, i)| i * strides[a]).sum()));
        found
    };
    let others: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).collect();
    (positions(&others), positions(axes))
}
