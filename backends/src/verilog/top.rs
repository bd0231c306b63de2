//! The top module: units in a row, registers between them, and the handshake.
//!
//! In: a lowered graph, and behind which units there are registers. Out: its text. All stages move together: when the result is
//! taken, or there is none. `in_ready` says so; it does not depend on `in_valid`. Reset is synchronous and clears what is
//! valid, not the data. Without registers nothing depends on the clock.

use super::lower::Lowered;
use super::netlist::Bit;
use super::unit::concatenation;
use std::fmt::Write;

/// What the top module is made of.
pub struct Top<'a> {
    /// Its name.
    pub name: &'a str,
    /// The network.
    pub lowered: &'a Lowered,
    /// For each unit its module's name; nothing for those through which nothing goes.
    pub modules: &'a [Option<String>],
    /// The nets in front of each unit, and behind the last.
    pub crossings: &'a [Vec<u32>],
    /// Whether there is a register behind each unit.
    pub registers: &'a [bool],
}

/// The module.
pub fn module(top: &Top, comment: &str) -> String {
    let (in_width, out_width) = top.lowered.widths();
    let latency = top.registers.iter().filter(|&&r| r).count();
    let mut text = comment.lines().fold(String::new(), |text, line| text + "// " + line + "\n");
    let _ = write!(
        text,
        "module {} (\n  input wire clk,\n  input wire rst,\n  input wire in_valid,\n  output wire in_ready,\n  \
         input wire [{}:0] in_data,\n  output wire out_valid,\n  input wire out_ready,\n  output wire [{}:0] out_data\n);\n",
        top.name,
        in_width - 1,
        out_width - 1
    );
    handshake(&mut text, latency);
    let mut source = String::new();
    for (u, module) in top.modules.iter().enumerate() {
        let nets = &top.crossings[u + 1];
        let Some(module) = module else { continue };
        let x = match (top.crossings[u].is_empty(), source.is_empty()) {
            (true, _) => String::new(),
            (false, true) => {
                let bits: Vec<String> =
                    top.crossings[u].iter().rev().map(|net| format!("in_data[{net}]")).collect();
                format!(".x({}), ", concatenation(&bits))
            }
            (false, false) => format!(".x({source}), "),
        };
        let high = nets.len() - 1;
        let _ = writeln!(text, "  wire [{high}:0] y{u};\n  {module} u{u} ({x}.y(y{u}));");
        source = format!("y{u}");
        if top.registers[u] {
            source = format!("r{u}");
            let _ =
                writeln!(text, "  reg [{high}:0] r{u};\n  always @(posedge clk) if (advance) r{u} <= y{u};");
        }
    }
    let last = top.crossings.last().map(Vec::as_slice).unwrap_or_default();
    let bits = top.lowered.net.outputs.iter().rev().map(|&bit| match bit {
        Bit::Const(value) => format!("1'b{}", u8::from(value)),
        Bit::Net(net) if source.is_empty() => format!("in_data[{net}]"),
        Bit::Net(net) => format!("{source}[{}]", last.binary_search(&net).unwrap_or(0)),
    });
    let bits: Vec<String> = bits.collect();
    let _ = writeln!(text, "  assign out_data = {};", concatenation(&bits));
    // Data bits that no table reads, and those of the last unit that are read as one word.
    text.push_str("  wire unused = &{1'b0, in_data");
    if latency == 0 {
        text.push_str(", clk, rst");
    }
    text.push_str("};\nendmodule\n");
    text
}

fn handshake(text: &mut String, latency: usize) {
    let lines = match latency {
        0 => "  assign in_ready = out_ready;\n  assign out_valid = in_valid;\n".to_string(),
        _ => {
            let high = latency - 1;
            let next = match latency {
                1 => "in_valid".to_string(),
                2 => "{valid[0], in_valid}".to_string(),
                _ => format!("{{valid[{}:0], in_valid}}", latency - 2),
            };
            format!(
                "  reg [{high}:0] valid;\n  wire advance = out_ready | ~valid[{high}];\n  assign in_ready = advance;\n  \
                 assign out_valid = valid[{high}];\n  always @(posedge clk)\n    if (rst) valid <= {latency}'d0;\n    \
                 else if (advance) valid <= {next};\n"
            )
        }
    };
    text.push_str(&lines);
}
