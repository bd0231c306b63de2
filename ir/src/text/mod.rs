//! The `.uir` text form: line based, single assignment, and `parse(print(g)) == g`.
//!
//! ```text
//! uir 1
//! graph "tiny" imported
//! input %x : f32[2] c
//! const %w : f32[1,2] oi = [0.5, -1.0]
//! %y = dense %x, %w : f32[1] c @keras("m.h5", "model_weights/d", "d (Dense)")
//! output "y" %y
//! ```
//!
//! The printed names are the names. Floats are in shortest round-trip form. Constants of more than
//! [`INLINE_LIMIT`] elements stand outside, in a side-car archive under the constant's name, with a hash:
//! `const %w : f32[64,512] oi = @blob sha256=…`. `//` begins a comment.

mod lexer;
mod parse;
mod print;

pub use parse::parse;
pub use print::{Printed, print, type_and_data_hash};

/// Constants of at most this many elements are printed in the text itself.
pub const INLINE_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
