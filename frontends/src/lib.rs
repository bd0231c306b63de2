//! unfloat: frontends.
#![forbid(unsafe_code)]
pub mod keras;
