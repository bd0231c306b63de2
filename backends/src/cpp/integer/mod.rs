//! C++ of integer graphs: `run` takes and gives codes and computes on integers only; `run_float` stands around it.
//!
//! **In:** a graph whose floats are all at its boundary ([`crate::core`]), at stage `canonical` or later. **Out:** a header,
//! bit-exact with the reference evaluation. **Refuses:** ops that have no form on integers here, computed weights, indices
//! that could lie outside, and what [`crate::core::split`] refuses.
//!
//! | module | holds |
//! |---|---|
//! | `words` | which C++ type holds which integers |
//! | `ops` | which op becomes what; the rules of the plan |
//! | `formula` | functions of elements, written out: requantizers, thresholds, tables, arithmetic |
//! | `row` | requantizers of several sums at once |
//! | `packed`, `xnor` | what lies packed into bits; layers of bits |
//! | `product`, `moves` | sums of products; everything that moves or reduces |
//! | `kernels/*.hpp` | the C++ templates; a header gets those that it uses |
//! | `weights` | packing of constants |
//! | `boundary`, `header`, `program` | `run_float`; the files |

mod boundary;
mod formula;
mod header;
mod lut;
mod moves;
mod ops;
mod packed;
mod product;
mod program;
mod row;
mod weights;
mod words;
mod writer;
mod xnor;

use super::plan::Plan;
use crate::backend::Options;
use crate::core::{self, Core};
use crate::outdir::OutDir;
use packed::Packed;
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{Diagnostic, Diagnostics, ElemType, Graph, Location, OpDef, Shape};
use words::Word;

/// Finds everything in a compact graph that C++ cannot do; else its core.
pub fn check(graph: &Graph) -> Result<Core, Diagnostics> {
    let core = core::split(graph)?;
    let mut found = Diagnostics::new();
    let g = &core.graph;
    let ranges = Ranges::of(g);
    found.extend(boundary::faults(graph, &core, &ranges));
    for (id, value) in g.values() {
        if value.ty.shape.contains(&0) {
            let at = g.producer(id).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
            found.push(Diagnostic::error(at, format!("value `{}` has no elements", value.name)));
        }
    }
    for (_, node) in g.live_nodes() {
        if let Some(fault) = ops::fault(g, &ranges, node) {
            let text = format!("`{}` ({}): {fault}", g.value(node.output).name, node.op.name());
            found.push(Diagnostic::error(&node.origin, text));
        }
    }
    found.into_result(core)
}

/// The `.npy` file of codes of an integer type, in the type that C++ has them in.
pub fn npy(elem: &ElemType, shape: &Shape, codes: impl Iterator<Item = i64>) -> Vec<u8> {
    let word = Word::of(elem);
    let bytes: Vec<u8> = codes.flat_map(|c| c.to_le_bytes().into_iter().take(word.bytes())).collect();
    unfloat_npy::write_npy_bytes(shape, word.npy(), &bytes)
}

/// Adds the files of a graph and its core.
pub fn emit(graph: &Graph, core: &Core, options: &Options, out: &mut OutDir) -> Result<(), Diagnostics> {
    let ranges = Ranges::of(&core.graph);
    let packed = Packed::of(&core.graph, &ranges);
    let plan = Plan::with(&core.graph, &ops::Integers { ranges: &ranges, packed: &packed });
    out.add(&format!("cpp/{}.hpp", graph.name), header::file(graph, core, &plan, &ranges, &packed, options))?;
    out.add("cpp/main.cpp", program::main_cpp(graph, core))?;
    out.add("cpp/CMakeLists.txt", super::program::cmake(graph))?;
    out.add("cpp/unfloat_runtime.h", include_str!("unfloat_runtime.h").to_string())?;
    Ok(())
}
