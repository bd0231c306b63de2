//! What reads other tools' model files into a graph.
//!
//! | module | reads |
//! |---|---|
//! | [`keras`] | `.h5`, `.keras`, `.weights.h5` and JSON of Keras 1 to 3 |
//! | [`luts`] | `.npz` of networks of look-up tables: connections and tables |
//! | [`onnx`] | ONNX, with QONNX and the quantized operators |
//! | [`pytorch`] | checkpoints of PyTorch: `.pt`, `.npz`, `.safetensors`, folders of `.npy` |
#![forbid(unsafe_code)]

pub mod keras;
pub mod luts;
pub mod onnx;
pub mod pytorch;
