//! unfloat: a compiler that takes a trained neural network, removes the floats, and proves every step.
//!
//! This crate is the command line and the face of the library: it knows every other crate, and no other knows it.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | what a user can type |
//! | [`commands`] | one file per command |
//! | [`load`] | model files and `.uir` to graphs, whatever their format |
//! | [`model`] | what computes: a graph, or an artefact directory |
//! | [`checkpoint`] | tensors without a graph |
//! | [`samples`], [`compare`] | samples in and out of files, and how far results are apart |
//! | [`evaluation`], [`page`] | what `eval` counts, and its page |
//! | [`uir`] | `.uir` files with their archive |
//! | [`output`], [`report`] | where text goes, exit statuses, what is said of the passes |
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod classes;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod evaluation;
pub mod load;
pub mod model;
pub mod output;
pub mod page;
pub mod quantization;
pub mod report;
pub mod samples;
pub mod uir;
