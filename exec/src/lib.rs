//! unfloat: exec.
