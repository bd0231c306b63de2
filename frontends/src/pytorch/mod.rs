//! PyTorch models: the tensors of a checkpoint, and an architecture that says what they are for.
//!
//! | module | does |
//! |---|---|
//! | `state` | the tensors of a model under their names |

mod state;

pub use state::{Entry, StateDict};
