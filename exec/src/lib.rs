//! unfloat: exec.

#![deny(unsafe_code)]

pub mod kernels;
