//! Verilog-2001 of networks of look-up tables.
//!
//! **In:** a graph of bits and integers at stage `folded` or later: comparisons with constants, layers of tables, sums of
//! groups of bits, `arg_max`, moves. **Out:** `verilog/NAME.v` and a module for each unit, a testbench with its samples,
//! `NAME.ports.json`, a constraint stub, file lists. What is emitted gives, bit for bit, what the reference evaluator gives.
//! **Refuses,** all at once, before a file is written: what `lower` and `options` refuse, names that Verilog has.
//!
//! | module | holds |
//! |---|---|
//! | `lower` | graph to netlist |
//! | `netlist` | bits and what makes them, constants and equal nodes folded |
//! | `heads` | counts of bits, the greatest of several numbers |
//! | `options` | styles, registers |
//! | `unit`, `top`, `primitives.v` | text |
//! | `testbench.v.in`, `vectors` | the testbench and its samples |
//! | `ports` | `NAME.ports.json` |
//! | `proof` | each layer's tables for equivalence checkers, and the check |
//! | `simulate` | runs the testbench in Icarus Verilog or Verilator |

mod heads;
mod lower;
mod netlist;
mod options;
mod ports;
mod proof;
mod simulate;
mod top;
mod unit;
mod vectors;

pub use ports::Ports;
pub use proof::{Proof, prove};
pub use simulate::{Simulator, replay_in, self_check};

use crate::backend::{Backend, BackendInfo, Options, SelfCheck};
use crate::namer::{self, Language};
use crate::outdir::{File, OutDir};
use lower::{Lowered, lower};
use options::{Choices, Style};
use ports::{PortEntry, Stage as StageEntry, Word};
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Stage, Tensor};

/// The backend.
pub struct Verilog;

const INFO: BackendInfo = BackendInfo {
    name: "verilog",
    summary: "Verilog-2001 of networks of look-up tables, with a testbench",
    from: Stage::Folded,
    options: options::OPTIONS,
};

/// Modules that our own would hide.
const TAKEN: &[&str] = &["LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "CARRY4"];

/// All that is decided before text is written.
struct Design {
    graph: Graph,
    lowered: Lowered,
    choices: Choices,
    registers: Vec<bool>,
}

fn design(graph: &Graph, options: &Options) -> Result<Design, Diagnostics> {
    let mut found = Diagnostics::new();
    found.extend(namer::check(&graph.name, &[Language::Verilog]).err());
    let fault = |text: String| Diagnostic::error(Location::default(), text);
    if TAKEN.contains(&graph.name.as_str()) {
        found.push(
            fault(format!("the name `{}` is that of a primitive", graph.name)).help("choose another --name"),
        );
    }
    if graph.stage < INFO.from {
        let text = format!("the graph is at stage `{}`, Verilog needs `{}`", graph.stage, INFO.from);
        found.push(fault(text).help("run the pipeline `import` first"));
    }
    let mut keep = |faults: Diagnostics| found.extend(faults);
    let choices = options::choices(options).map_err(&mut keep).ok();
    let graph = graph.decoded().map(|g| g.compact()).map_err(|e| keep(e.into())).ok();
    let lowered = graph.as_ref().and_then(|g| lower(g).map_err(&mut keep).ok());
    let registers =
        lowered.as_ref().and_then(|l| options::registers(options, &l.net).map_err(|e| keep(e.into())).ok());
    match (found.0.is_empty(), graph, lowered, choices, registers) {
        (true, Some(graph), Some(lowered), Some(choices), Some(registers)) => {
            if lowered.widths().0 == 0 || lowered.widths().1 == 0 {
                return Err(fault("a model without inputs or outputs is no module".to_string()).into());
            }
            Ok(Design { graph, lowered, choices, registers })
        }
        _ => Err(found),
    }
}

impl Backend for Verilog {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check(&self, graph: &Graph, options: &Options) -> Result<(), Diagnostics> {
        design(graph, options).map(|_| ())
    }

    fn emit(&self, graph: &Graph, options: &Options, out: &mut OutDir) -> Result<(), Diagnostics> {
        let design = design(graph, options)?;
        let samples = samples(&design)?;
        design.write(&samples, out).map_err(Diagnostics::from)
    }

    fn replay(&self, dir: &Path, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
        simulate::replay(dir, samples)
    }

    fn self_check(&self, dir: &Path) -> Option<Result<SelfCheck, Diagnostics>> {
        Some(self_check(dir, None))
    }
}

/// The testbench's samples, and what comes of them.
fn samples(design: &Design) -> Result<[String; 2], Diagnostics> {
    let mut text = [String::new(), String::new()];
    for sample in vectors::random(&design.lowered.inputs, design.choices.vectors) {
        let results = vectors::evaluate(&design.graph, &sample)?;
        text[0].push_str(&vectors::line(&design.lowered.inputs, &sample));
        text[1].push_str(&vectors::line(&design.lowered.outputs, &results));
    }
    Ok(text)
}

impl Design {
    fn write(&self, samples: &[String; 2], out: &mut OutDir) -> Result<(), Diagnostic> {
        let name = &self.graph.name;
        let net = &self.lowered.net;
        let crossings = net.crossings();
        let modules: Vec<Option<String>> = (0..net.units.len())
            .map(|u| (!crossings[u + 1].is_empty()).then(|| format!("{name}_{u}_{}", net.units[u].kind)))
            .collect();
        let mut files = vec![format!("{name}.v")];
        let head = format!("Made by unfloat. {}: see {name}.ports.json.", name);
        for (u, module) in modules.iter().enumerate() {
            let Some(module) = module else { continue };
            let unit = unit::Unit {
                name: module,
                comment: &net.units[u].origin,
                inputs: &crossings[u],
                outputs: &crossings[u + 1],
                nodes: net.nodes.iter().filter(|p| p.unit == u).collect(),
                style: self.choices.style,
            };
            out.add(&format!("verilog/{module}.v"), unit::module(&unit))?;
            files.push(format!("{module}.v"));
        }
        for layer in &self.lowered.layers {
            if let Some(module) = &modules[layer.unit] {
                let (inputs, outputs) = (&crossings[layer.unit], &crossings[layer.unit + 1]);
                let text = proof::blif(layer, module, inputs, outputs);
                out.add(&format!("verilog/proof/{module}.blif"), text)?;
            }
        }
        let top = top::Top {
            name,
            lowered: &self.lowered,
            modules: &modules,
            crossings: &crossings,
            registers: &self.registers,
        };
        out.add(&format!("verilog/{name}.v"), top::module(&top, &head))?;
        let list = |files: &[String]| files.join("\n") + "\n";
        out.add("verilog/filelist.f", list(&files))?;
        files.insert(0, "+define+UNFLOAT_MODELS".to_string());
        if self.choices.style == Style::Primitive {
            out.add("verilog/primitives.v", include_str!("primitives.v").to_string())?;
            files.push("primitives.v".to_string());
        }
        files.push(format!("{name}_tb.v"));
        out.add("verilog/simulation.f", list(&files))?;
        let (in_width, out_width) = self.lowered.widths();
        let testbench = include_str!("testbench.v.in")
            .replace("@NAME@", name)
            .replace("@IN@", &(in_width - 1).to_string())
            .replace("@OUT@", &(out_width - 1).to_string())
            .replace("@IN_WIDTH@", &in_width.to_string())
            .replace("@OUT_WIDTH@", &out_width.to_string());
        out.add(&format!("verilog/{name}_tb.v"), testbench)?;
        out.add(&format!("verilog/{name}_in.hex"), File::from(samples[0].clone()))?;
        out.add(&format!("verilog/{name}_out.hex"), File::from(samples[1].clone()))?;
        let constraints = "# The clock that the design is to meet: 10 ns is a guess, not a promise.\n\
                           create_clock -name clk -period 10.000 [get_ports clk]\n";
        out.add(&format!("verilog/{name}.sdc"), constraints.to_string())?;
        let json = serde_json::to_string_pretty(&self.ports(&modules, &crossings)).unwrap_or_default();
        out.add(&format!("verilog/{name}.ports.json"), json + "\n")
    }

    fn ports(&self, modules: &[Option<String>], crossings: &[Vec<u32>]) -> Ports {
        let luts = self.lowered.net.luts();
        let units = self.lowered.net.units.iter().enumerate();
        let registers = |u: usize| if self.registers[u] { crossings[u + 1].len() } else { 0 };
        let latency = self.registers.iter().filter(|&&r| r).count();
        let stages: Vec<StageEntry> = units
            .filter_map(|(u, unit)| {
                let (module, origin) = (modules[u].clone()?, unit.origin.clone());
                Some(StageEntry { module, origin, luts: luts[u], registers: registers(u) })
            })
            .collect();
        let word = |ports: &[lower::PortBits], width| Word {
            width,
            tensors: ports.iter().map(PortEntry::new).collect(),
        };
        let (in_width, out_width) = self.lowered.widths();
        Ports {
            module: self.graph.name.clone(),
            clock: "clk".to_string(),
            reset: "rst".to_string(),
            latency,
            interval: 1,
            in_data: word(&self.lowered.inputs, in_width),
            out_data: word(&self.lowered.outputs, out_width),
            luts: stages.iter().map(|s| s.luts).sum(),
            registers: stages.iter().map(|s| s.registers).sum::<usize>() + latency,
            stages,
        }
    }
}
