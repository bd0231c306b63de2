//! unfloat: frontends.
