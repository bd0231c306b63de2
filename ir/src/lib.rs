//! The intermediate representation of unfloat: what every other part speaks.
//!
//! A [`Graph`] is an ordered list of [`Node`]s, each an [`Op`] applied to [`Value`]s, each value with a
//! [`TensorType`]: element, shape *per sample* and layout. The batch axis is not part of the IR; it is the
//! executor's business.
//!
//! | module | holds |
//! |---|---|
//! | [`types`] | element types, shapes, layouts, number formats, rounding and overflow modes |
//! | [`tensor`] | constant data |
//! | [`graph`], [`arena`] | the graph, its typed handles, how to build it |
//! | [`ops`] | one file per op: attributes, type inference, reference evaluation, text |
//! | [`accumulator`] | what sums of products can be, from the weights that are there |
//! | [`boundary`] | where floats become integers, and integers floats again |
//! | [`ranges`] | what every integer value can be |
//! | [`staircase`] | how many of many thresholds a number reaches, without a search |
//! | [`patch`] | the only way in which passes change a graph |
//! | [`verify`] | what must hold at each [`Stage`] |
//! | [`text`] | the `.uir` text form, `parse(print(g)) == g` |
//! | [`diag`], [`origin`] | errors that name file, place and layer; where a node came from |
//!
//! This crate knows no file format but its own text, does no input or output, and depends on no sibling.
#![forbid(unsafe_code)]

pub mod accumulator;
pub mod arena;
pub mod attrs;
pub mod boundary;
mod decode;
pub mod diag;
pub mod graph;
pub mod ops;
pub mod origin;
pub mod patch;
mod permute;
pub mod ranges;
pub mod staircase;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;
pub mod xnor;

pub use diag::{Diagnostic, Diagnostics, Location, Severity};
pub use graph::{ConstId, Def, Graph, Node, NodeId, Output, Value, ValueId};
pub use ops::{Op, OpDef, OpError};
pub use origin::Origin;
pub use patch::{Edit, Patch};
pub use tensor::{Data, Tensor};
pub use types::{Affine, ElemType, Format, IntType, Layout, Overflow, Q, Rounding, Shape, Stage, TensorType};
