//! unfloat: passes.
