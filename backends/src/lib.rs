//! unfloat: backends.
