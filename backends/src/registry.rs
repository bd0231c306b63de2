//! Every backend, and every format of parameters, by name. Only this file knows them all.

use crate::backend::Backend;
use crate::onnx::{Dialect, Onnx};
use crate::parameters::Format;
use crate::{cpp, mat, memory, npy, txt, verilog};
use unfloat_ir::{Diagnostic, Location};

/// Every backend.
pub const BACKENDS: &[&dyn Backend] =
    &[&cpp::Cpp, &verilog::Verilog, &Onnx(Dialect::Qcdq), &Onnx(Dialect::Qonnx)];

/// Every format of parameters.
pub static FORMATS: &[&Format] =
    &[&mat::FORMAT, &txt::FORMAT, &npy::FORMAT, &memory::MEM, &memory::MEMB, &memory::COE, &memory::MIF];

/// The backend of that name, or an error that names them all.
pub fn backend(name: &str) -> Result<&'static dyn Backend, Diagnostic> {
    BACKENDS.iter().copied().find(|b| b.info().name == name).ok_or_else(|| {
        let names: Vec<&str> = BACKENDS.iter().map(|b| b.info().name).collect();
        Diagnostic::error(Location::default(), format!("there is no backend `{name}`"))
            .help(format!("backends: {}", names.join(", ")))
    })
}

/// The format of that name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|f| f.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_found_by_its_name() {
        for each in BACKENDS {
            let info = each.info();
            assert!(std::ptr::eq(backend(info.name).unwrap().info(), info));
            assert!(info.options.iter().all(|o| !o.values.is_empty() && !o.summary.is_empty()));
        }
        assert!(backend("cobol").err().unwrap().to_string().contains("cpp"));
    }
}
