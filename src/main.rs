//! The `unfloat` command line.
fn main() {}
