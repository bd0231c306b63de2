//! One file per family of kinds: parameters and tensors of a layer to nodes.

pub(super) mod activation;
pub(super) mod arithmetic;
pub(super) mod binary;
pub(super) mod conv;
pub(super) mod norm;
pub(super) mod pool;
pub(super) mod quantizers;
pub(super) mod shape;
