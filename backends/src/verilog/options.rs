//! The options of a Verilog artefact, and what they ask for.
//!
//! In: option values and the netlist that they are for. Out: a style, and behind which units there are registers. Refuses, all
//! at once: a latency that the network does not have, primitives for no device that has them.

use super::netlist::Netlist;
use crate::backend::{OptionInfo, Options};
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// What `--emit verilog` can be told.
pub const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "device",
        values: &["generic", "xilinx"],
        summary: "`xilinx` has primitives: tables of six pins and carry chains; `generic` is plain Verilog",
    },
    OptionInfo {
        name: "style",
        values: &["auto", "primitive", "case", "vector"],
        summary: "how a table stands in the source: a primitive with `INIT`, a `case`, or a bit of a constant vector; \
                  `auto` takes primitives for xilinx and `case` for others",
    },
    OptionInfo {
        name: "latency",
        values: &["auto", "per-layer", "N"],
        summary: "clock cycles from input to output: `per-layer` has a register behind every layer of the model, `auto` \
                  one behind every step of an encoder, a sum and a comparison as well, N spreads so many; 0 has no clock",
    },
    OptionInfo {
        name: "vectors",
        values: &["32", "N"],
        summary: "how many samples the testbench tries, with what the native executor says of them",
    },
];

/// Most samples of a testbench.
const MAX_VECTORS: usize = 100_000;

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Primitive,
    Case,
    Vector,
}

/// What the options ask for.
#[derive(Clone, Debug)]
pub struct Choices {
    /// How tables are written.
    pub style: Style,
    /// Samples of the testbench.
    pub vectors: usize,
}

/// Reads what does not depend on the network.
pub fn choices(options: &Options) -> Result<Choices, Diagnostics> {
    let mut found = Diagnostics::new();
    let fault = |text: String| Diagnostic::error(Location::default(), text);
    let xilinx = options.get("device") == "xilinx";
    let style = match options.get("style") {
        "primitive" => Style::Primitive,
        "case" => Style::Case,
        "vector" => Style::Vector,
        _ if xilinx => Style::Primitive,
        _ => Style::Case,
    };
    if style == Style::Primitive && !xilinx {
        found.push(
            fault("style `primitive` needs a device that has them".to_string()).help("add device `xilinx`"),
        );
    }
    let vectors = options.get("vectors").parse().unwrap_or(0);
    if !(1..=MAX_VECTORS).contains(&vectors) {
        found.push(fault(format!("{} vectors: expected 1 to {MAX_VECTORS}", options.get("vectors"))));
    }
    found.into_result(Choices { style, vectors })
}

/// For each unit, whether there is a register behind it.
pub fn registers(options: &Options, net: &Netlist) -> Result<Vec<bool>, Diagnostic> {
    let n = net.units.len();
    match options.get("latency") {
        "auto" => Ok(vec![true; n]),
        "per-layer" => Ok(net.units.iter().map(|u| u.ends_layer).collect()),
        number => match number.parse::<usize>() {
            Ok(wanted) if wanted <= n => {
                // Evenly, the last one behind the last unit.
                let ends: Vec<usize> = (1..=wanted).map(|i| (i * n).div_ceil(wanted.max(1))).collect();
                Ok((1..=n).map(|unit| ends.contains(&unit)).collect())
            }
            _ => {
                let text = format!("latency {number}: this network has {n} places for registers");
                Err(Diagnostic::error(Location::default(), text)
                    .help(format!("0 to {n}, `auto` or `per-layer`")))
            }
        },
    }
}
