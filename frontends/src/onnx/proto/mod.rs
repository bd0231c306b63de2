//! ONNX' messages, and how a file becomes them.
//!
//! `onnx.proto` is the ONNX project's own schema (Apache-2.0); `generated.rs` is made from it by
//! `UNFLOAT_BLESS=1 cargo test -p unfloat-frontends --test onnx_proto`, which also says when it is stale.

#[rustfmt::skip]
#[allow(missing_docs, clippy::all)]
mod generated;
mod scan;
mod stream;

pub(crate) use generated::*;
pub(crate) use stream::{Later, decode};
