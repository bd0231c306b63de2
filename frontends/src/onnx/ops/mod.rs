//! The operators, one file per family, and the registry that finds them.
//!
//! A handler takes a [`super::cx::Cx`] and returns the node's results in the file's order. To add one: the function in
//! its family's file, one line in `registry.rs`.

mod activation;
mod binary;
mod channels_last;
mod conv;
mod gemm;
mod layout;
mod microsoft;
mod norm;
mod pool;
mod qonnx;
mod qoperator;
mod quantize;
mod reduce;
pub(crate) mod registry;
mod resize;
mod shape;
mod slice;
mod window;

use super::cx::Cx;
use super::problem::Handled;
use super::value::Val;

/// Lowers one node; returns its results.
pub(crate) type Handler = fn(&mut Cx<'_, '_, '_>) -> Handled<Vec<Val>>;
