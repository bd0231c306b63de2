//! The kernels on integers: convolutions, dense layers, poolings, and what is done to their sums. Exact: every result is
//! that of the ops' own definitions, on every instruction set.
//!
//! Codes lie in the narrowest word that holds them ([`Word`]); a kernel that multiplies reads 16-bit numbers, which it
//! makes of a sample first (`stage`).

mod conv;
mod depthwise;
mod pool;
mod post;
mod product;
mod quantize;
mod stage;
mod tile;
mod winograd;
mod word;

#[cfg(test)]
mod tests;

pub use conv::{Conv, ConvSpec};
pub use pool::MaxPool;
pub use post::{Levels, Map, Post, PostSpec};
pub use quantize::Quantizer;
pub(crate) use word::by_word;
pub use word::{AlignedBytes, Code, Word, bytes_of, bytes_of_mut, decode, encode, view, view_mut};
