//! Backends: what a graph becomes.
//!
//! **In:** a verified [`unfloat_ir::Graph`] at the stage that the backend asks for. **Out:** files, in an
//! [`OutDir`] in memory, that [`OutDir::write_to`] puts on the disk: all or nothing.
//!
//! | module | holds |
//! |---|---|
//! | [`backend`] | the [`Backend`] trait, options, the registry |
//! | [`outdir`] | files in memory, the atomic write, `manifest.json` |
//! | [`namer`] | identifiers of the target languages |
//! | [`core`] | what of a graph is integers, and what stands around it |
//! | [`cpp`] | header-only C++17 |
//! | [`verilog`] | Verilog-2001 of networks of look-up tables |
//! | [`onnx`] | ONNX with quantizers: QCDQ and QONNX |
//! | [`parameters`] | parameters as data: what all formats share, and their registry |
//! | [`mat`], [`txt`], [`npy`], [`memory`] | formats of parameters |
//!
//! To add a backend: a folder here that implements [`Backend`], and a line in [`registry::BACKENDS`]. To add a format of
//! parameters: a folder here with its [`parameters::Format`], and a line in [`registry::FORMATS`].
#![forbid(unsafe_code)]

pub mod backend;
pub mod core;
pub mod cpp;
pub mod manifest;
pub mod mat;
pub mod memory;
pub mod namer;
pub mod npy;
pub mod onnx;
pub mod outdir;
pub mod parameters;
pub mod process;
pub mod registry;
pub mod scratch;
pub mod txt;
pub mod verilog;

mod install;

pub use backend::{Backend, BackendInfo, OptionInfo, Options, SelfCheck};
pub use manifest::{Manifest, ParameterEntry, Port};
pub use outdir::{File, OutDir};
