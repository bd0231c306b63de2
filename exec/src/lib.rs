//! The native executor.
//!
//! [`mod@reference`] evaluates one op at a time and is obviously right; [`kernels`] are what the fast executor is
//! made of, each with a test against a safe twin; [`plan`] puts them together.

#![deny(unsafe_code)]

pub mod kernels;
pub mod plan;
pub mod reference;

pub use plan::{Plan, PlanOptions, Workspace};
