//! The fast kernels of the native executor: these on f32, [`int`] on integers, and [`bits`] on packed signs. They know nothing of graphs: slices and
//! small shape structs.
//!
//! Activations are channels-last, [depth, height, width, channels], a batch is samples one after another. Weights come
//! as [out, kernel..., in] and are packed once, when a layer's kernel is built; running allocates nothing. Every
//! kernel exists for AVX-512, AVX2 with FMA, and in plain Rust, from one source; an [`Isa`] chooses at run time.
//!
//! Contracts:
//! * Lengths are checked before any unsafe code: a caller's mistake is an error, never undefined behaviour.
//! * A sample gives the same bits at every place of every batch.
//! * Convolutions and dense layers sum each output in the order of its weights, in blocks of at most 1024 inputs.
//!
//! This is the one place of the workspace with `unsafe` code; each block states why it is sound, and the tests hold
//! every kernel on every instruction set against a plain loop.

#![allow(unsafe_code)]

mod activation;
mod aligned;
pub mod bits;
mod conv;
mod conv_transpose;
mod dense;
mod depthwise;
mod elementwise;
mod error;
pub mod int;
mod isa;
mod math;
mod packed;
mod pad;
mod pool;
mod simd;
mod softmax;
mod tile;

#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use aligned::AlignedBuffer;
pub use conv::{Conv, ConvShape};
pub use conv_transpose::{ConvTranspose, ConvTransposeShape};
pub use dense::Dense;
pub use elementwise::{Binary, Unary, binary, binary_in_place, channel_affine, unary, unary_in_place};
pub use error::KernelError;
pub(crate) use error::exactly;
pub use isa::Isa;
pub use pool::{Pool, PoolKind, PoolShape, global_mean};
pub use softmax::{softmax, softmax_in_place};
