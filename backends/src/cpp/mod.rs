//! Header-only C++17: `NAME.hpp`, a `main.cpp` that runs it on `.npy` files, and a `CMakeLists.txt`.
//!
//! **In:** a float graph at stage `folded` or later, whose weights are constants; or an integer graph (`integer`).
//! **Out:** `cpp/NAME.hpp` with
//! `namespace NAME { input_size, output_size, Workspace, run, run_float }`, the standard library its only
//! dependency, no heap, no exceptions; warning-free under `-Wall -Wextra -Wconversion -Wshadow -Wpedantic`.
//! **Refuses:** values that are not `f32` in a float graph (constants that are quantized count as the floats that they mean), values without elements, layers whose weights are computed.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | which nodes become calls, which are fused or free, and where each value lies |
//! | `ops` | one file per op, or family of ops: the call, and the shape that it is compiled for |
//! | `kernels/*.hpp` | the C++ templates; a header gets those that it uses |
//! | `function` | functions of one and two elements |
//! | `weights` | packing of constants and their encoding in source text, with the measurements |
//! | `header`, `program` | the files |
//! | `replay` | compiles and runs them |
//! | `integer` | all of this for graphs of integers, but for the plan and the loops, which are the same |
//!
//! Values of each layer lie in one arena whose cells are shared by values that never live together.

mod function;
mod header;
mod integer;
mod ops;
mod plan;
mod program;
mod replay;
mod weights;
mod writer;

pub use replay::{Compiler, replay};

use crate::backend::{Backend, BackendInfo, OptionInfo, Options};
use crate::core;
use crate::namer::{self, Language};
use crate::outdir::OutDir;
use plan::Plan;
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, OpDef, Stage, Tensor};

/// The backend.
pub struct Cpp;

const INFO: BackendInfo = BackendInfo {
    name: "cpp",
    summary: "header-only C++17 with static buffers",
    from: Stage::Canonical,
    options: &[OptionInfo {
        name: "weights",
        values: &["auto", "text", "literals"],
        summary: "how constants stand in the source: `text` is compact and quick to compile, and decoded into RAM \
                  when the program starts; `literals` are float constants, which stay in flash; `auto` takes \
                  literals up to 256 KiB",
    }],
};

impl Backend for Cpp {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check(&self, graph: &Graph, _: &Options) -> Result<(), Diagnostics> {
        let mut found = Diagnostics::new();
        found.extend(namer::check(&graph.name, &[Language::Cpp]).err());
        let graph = graph.decoded()?.compact();
        if graph.stage >= INFO.from && core::has_integers(&graph) {
            found.extend(integer::check(&graph).err().into_iter().flatten());
            return found.into_result(());
        }
        if graph.stage < INFO.from {
            let text = format!("the graph is at stage `{}`, C++ needs `{}`", graph.stage, INFO.from);
            found.push(Diagnostic::error(Location::default(), text).help("run the canonical passes first"));
            return Err(found);
        }
        for (id, value) in graph.values() {
            let at = graph.producer(id).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
            if !value.ty.elem.is_float() {
                let text =
                    format!("value `{}` is {} among floats, which C++ does not mix", value.name, value.ty);
                found.push(Diagnostic::error(at, text));
            } else if value.ty.shape.contains(&0) {
                found.push(Diagnostic::error(at, format!("value `{}` has no elements", value.name)));
            }
        }
        for (_, node) in graph.live_nodes() {
            if let Some(fault) = ops::fault(&graph, node) {
                let name = &graph.value(node.output).name;
                let text = format!("`{name}` ({}): {fault}", node.op.name());
                found.push(Diagnostic::error(&node.origin, text));
            }
        }
        found.into_result(())
    }

    fn emit(&self, graph: &Graph, options: &Options, out: &mut OutDir) -> Result<(), Diagnostics> {
        let compact = graph.decoded()?.compact();
        if compact.stage >= INFO.from && core::has_integers(&compact) {
            namer::check(&graph.name, &[Language::Cpp])?;
            let core = integer::check(&compact)?;
            return integer::emit(&compact, &core, options, out);
        }
        self.check(graph, options)?;
        let graph = compact;
        let plan = Plan::new(&graph);
        out.add(&format!("cpp/{}.hpp", graph.name), header::file(&graph, &plan, options))?;
        out.add("cpp/main.cpp", program::main_cpp(&graph))?;
        out.add("cpp/CMakeLists.txt", program::cmake(&graph))?;
        Ok(())
    }

    fn replay(&self, dir: &Path, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
        replay(dir, samples, &Compiler::find()?)
    }
}
