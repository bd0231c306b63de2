//! unfloat: ir.
