//! ONNX with quantizers, as QCDQ (`QuantizeLinear`, `Clip`, `DequantizeLinear`) or QONNX (`Quant`, `BipolarQuant`).
//!
//! **In:** a fake-quantized graph: floats, with pairs of `quantize` and `dequantize`, and constant codes behind a
//! `dequantize`. **Out:** `onnx/NAME.qcdq.onnx` or `onnx/NAME.qonnx.onnx`, the same bytes for the same graph; each input
//! and output has a first axis `N` of samples. **Refused**, by layer and all at once: ops that are not written yet, and
//! quantizers that the dialect cannot say.

mod ops;
mod proto;
mod quant;
mod writer;

use crate::backend::{Backend, BackendInfo, Options};
use crate::outdir::OutDir;
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Stage, Tensor};

/// How quantizers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// `QuantizeLinear`, `Clip`, `DequantizeLinear`.
    Qcdq,
    /// `Quant` and `BipolarQuant`.
    Qonnx,
}

/// The backend, in one dialect.
#[derive(Debug)]
pub struct Onnx(pub Dialect);

const QCDQ: BackendInfo = BackendInfo {
    name: "qcdq",
    summary: "ONNX with QuantizeLinear, Clip and DequantizeLinear (opset 21)",
    from: Stage::Folded,
    options: &[],
};
const QONNX: BackendInfo = BackendInfo {
    name: "qonnx",
    summary: "ONNX with the quantizers of QONNX: Quant and BipolarQuant",
    from: Stage::Folded,
    options: &[],
};

impl Backend for Onnx {
    fn info(&self) -> &'static BackendInfo {
        match self.0 {
            Dialect::Qcdq => &QCDQ,
            Dialect::Qonnx => &QONNX,
        }
    }

    fn wants_quantizers(&self) -> bool {
        true
    }

    fn check(&self, graph: &Graph, _: &Options) -> Result<(), Diagnostics> {
        writer::model(graph, self.0).map(|_| ())
    }

    fn emit(&self, graph: &Graph, _: &Options, out: &mut OutDir) -> Result<(), Diagnostics> {
        let bytes = writer::model(graph, self.0)?;
        let mut file = crate::File::new();
        file.bytes(bytes);
        out.add(&format!("onnx/{}.{}.onnx", graph.name, self.info().name), file)?;
        Ok(())
    }

    fn replay(&self, _: &Path, _: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
        let text = format!("an artefact of `{}` is not run from here", self.info().name);
        Err(Diagnostic::error(Location::default(), text)
            .help("import the .onnx file again, or run it in its own runtime")
            .into())
    }
}
