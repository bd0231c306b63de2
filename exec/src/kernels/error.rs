//! What a kernel refuses.

use std::fmt;

/// Why a kernel cannot be built or run. The text names the argument, what it is and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// A slice has the wrong number of f32.
    Length {
        /// The kernel and the argument.
        what: &'static str,
        /// f32 needed.
        expected: usize,
        /// f32 given.
        got: usize,
    },
    /// A shape that has no meaning, or whose size does not fit into memory.
    Shape(String),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::Length { what, expected, got } => {
                write!(f, "{what}: expected {expected} values, got {got}")
            }
            KernelError::Shape(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for KernelError {}

/// The slice must hold exactly `expected` values.
pub(crate) fn exactly(what: &'static str, got: usize, expected: usize) -> Result<(), KernelError> {
    if got == expected { Ok(()) } else { Err(KernelError::Length { what, expected, got }) }
}

/// The slice must hold `expected` values or more.
pub(crate) fn at_least(what: &'static str, got: usize, expected: usize) -> Result<(), KernelError> {
    if got >= expected { Ok(()) } else { Err(KernelError::Length { what, expected, got }) }
}

/// The product, refused when it does not fit (a buffer of that many f32 could not exist).
pub(crate) fn product(what: &str, factors: &[usize]) -> Result<usize, KernelError> {
    let mut all = 1usize;
    for &f in factors {
        all = all
            .checked_mul(f)
            .filter(|&n| n <= isize::MAX as usize / 16)
            .ok_or_else(|| KernelError::Shape(format!("{what}: {factors:?} is too large for memory")))?;
    }
    Ok(all)
}
