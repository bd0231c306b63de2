//! ONNX with quantizers, as QCDQ (`QuantizeLinear`, `Clip`, `DequantizeLinear`) or QONNX (`Quant`, `BipolarQuant`).
//!
//! **In:** a fake-quantized graph: floats, with pairs of `quantize` and `dequantize`, and constant codes behind a
//! `dequantize`. **Out:** `qcdq/NAME.onnx` or `qonnx/NAME.onnx`, the same bytes for the same graph, whose quantizers make
//! the same codes. Ports have the source's names, and a first axis `batch` of any extent. **Refused**, by layer and all at once: ops that have no node of the same meaning
//! in ONNX, and quantizers that the dialect cannot say.
//!
//! | module | holds |
//! |---|---|
//! | `model` | ports, order, opsets |
//! | `writer` | names, nodes, forms of a value |
//! | `ops` | one file per family of ops |
//! | `quant` | quantizers of values |
//! | `constant` | constants, quantized or not |
//! | `proto` | the messages |

mod constant;
mod model;
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

impl Dialect {
    /// The name in messages.
    fn name(self) -> &'static str {
        match self {
            Dialect::Qcdq => "QCDQ",
            Dialect::Qonnx => "QONNX",
        }
    }
}

/// The backend, in one dialect.
#[derive(Debug)]
pub struct Onnx(pub Dialect);

const QCDQ: BackendInfo = BackendInfo {
    name: "qcdq",
    summary: "ONNX with QuantizeLinear, Clip and DequantizeLinear",
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
        if graph.stage < Stage::Folded {
            let text = format!("the graph is at stage `{}`, {} needs `folded`", graph.stage, self.0.name());
            let fault = Diagnostic::error(Location::default(), text);
            return Err(fault.help("run the pipeline `import` first").into());
        }
        model::model(graph, self.0).map(|_| ())
    }

    fn emit(&self, graph: &Graph, options: &Options, out: &mut OutDir) -> Result<(), Diagnostics> {
        self.check(graph, options)?;
        let mut file = crate::File::new();
        file.bytes(model::model(graph, self.0)?);
        out.add(&format!("{}/{}.onnx", self.info().name, graph.name), file)?;
        Ok(())
    }

    fn replay(&self, _: &Path, _: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
        let text = format!("what `{}` wrote is a model, not a program", self.info().name);
        let fault = Diagnostic::error(Location::default(), text);
        Err(fault.help("import its .onnx file, or run it in its own runtime").into())
    }
}
