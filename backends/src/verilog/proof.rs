//! Proofs that the emitted modules of layers are their tables.
//!
//! **Written:** for each layer a BLIF of the graph's own tables, made without the netlist from which the Verilog was made: its
//! inputs are those of the module, and bits of the layer before that the module claims not to need. **Proved:** Yosys reads the
//! module as it lies in the directory, ABC shows that it equals the BLIF for every input (`cec`), layer by layer. Encoders, sums
//! and comparisons are not proved here, but by the testbench's samples alone. **Refuses:** directories without Verilog; says
//! what to install.

use super::lower::LayerBits;
use super::netlist::Bit;
use super::simulate::Source;
use crate::process::{self, TempDir};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// How long a tool may take for one layer.
const LIMIT: Duration = Duration::from_secs(900);

/// Primitives as Yosys' own tables.
const TABLES: &str = include_str!("tables.v");

/// What was found of one module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The module.
    pub module: String,
    /// Whether it equals its tables, for every input.
    pub equal: bool,
    /// How many bits of results were compared.
    pub outputs: usize,
    /// By which means.
    pub by: String,
    /// What the checker says where they differ.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// Bit `i` of a port of `width` bits, as Yosys calls it.
fn bit_of(port: &str, i: usize, width: usize) -> String {
    if width == 1 { port.to_string() } else { format!("{port}[{i}]") }
}

/// A BLIF that is being written.
struct Blif<'a> {
    layer: &'a LayerBits,
    inputs: &'a [u32],
    /// Bits that the module does not take: free ones of the same name in every table.
    free: BTreeMap<u32, usize>,
    body: String,
}

impl Blif<'_> {
    fn input(&self, net: u32) -> Option<String> {
        self.inputs.binary_search(&net).ok().map(|i| bit_of("x", i, self.inputs.len()))
    }

    /// The table of that number, as the signal `name`.
    fn table(&mut self, o: usize, name: &str) {
        let layer = self.layer;
        let pins: Vec<Bit> = layer.connections[o * layer.pins..(o + 1) * layer.pins]
            .iter()
            .map(|&p| layer.inputs.get(p as usize).copied().unwrap_or(Bit::Const(false)))
            .collect();
        let mut nets: Vec<u32> =
            pins.iter().filter_map(|b| if let Bit::Net(n) = b { Some(*n) } else { None }).collect();
        nets.sort_unstable();
        nets.dedup();
        let mut names = String::new();
        for &n in &nets {
            let next = self.free.len();
            let known = self.input(n);
            names += &known.unwrap_or_else(|| format!("free{}", self.free.entry(n).or_insert(next)));
            names.push(' ');
        }
        let _ = writeln!(self.body, ".names {names}{name}");
        let entries = &layer.tables[o << layer.pins..(o + 1) << layer.pins];
        for row in 0..1usize << nets.len() {
            let value = |bit: &Bit| match bit {
                Bit::Const(value) => usize::from(*value),
                Bit::Net(net) => row >> nets.binary_search(net).unwrap_or(0) & 1,
            };
            let address: usize = pins.iter().enumerate().map(|(j, bit)| value(bit) << j).sum();
            if entries[address] != 0 {
                let digits: String =
                    (0..nets.len()).map(|k| if row >> k & 1 == 1 { '1' } else { '0' }).collect();
                let _ = writeln!(self.body, "{digits}{}1", if nets.is_empty() { "" } else { " " });
            }
        }
    }
}

/// The tables of a layer whose module takes the nets `inputs` and gives the nets `outputs`.
///
/// A table that became a constant, or whose bit is that of another one, has no output of its own: there is one more, `same`
/// and a number, which says whether that is right, and must always be 1.
pub fn blif(layer: &LayerBits, module: &str, inputs: &[u32], outputs: &[u32]) -> String {
    let mut w = Blif { layer, inputs, free: BTreeMap::new(), body: String::new() };
    let mut written = vec![false; layer.outputs.len()];
    for (i, &net) in outputs.iter().enumerate() {
        let y = bit_of("y", i, outputs.len());
        match layer.outputs.iter().position(|&b| b == Bit::Net(net)) {
            Some(o) => {
                w.table(o, &y);
                written[o] = true;
            }
            None => {
                // Passed on from an earlier layer.
                let x = w.input(net).unwrap_or_default();
                let _ = writeln!(w.body, ".names {x} {y}\n1 1");
            }
        }
    }
    let mut same = 0;
    for (o, &bit) in layer.outputs.iter().enumerate().filter(|(o, _)| !written[*o]) {
        let rows = match bit {
            Bit::Const(value) => format!(".names t{same} same{same}\n{} 1", u8::from(value)),
            Bit::Net(net) => match outputs.binary_search(&net) {
                Ok(i) => format!(".names t{same} {} same{same}\n00 1\n11 1", bit_of("y", i, outputs.len())),
                // Nothing reads it.
                Err(_) => continue,
            },
        };
        w.table(o, &format!("t{same}"));
        let _ = writeln!(w.body, "{rows}");
        same += 1;
    }
    let ports =
        |port: &str, n: usize| -> String { (0..n).map(|i| " ".to_string() + &bit_of(port, i, n)).collect() };
    let more = |name: &str, n: usize| -> String { (0..n).map(|i| format!(" {name}{i}")).collect() };
    format!(
        "# The tables of {module}, as the graph has them.\n.model {module}\n.inputs{}{}\n.outputs{}{}\n{}.end\n",
        ports("x", inputs.len()),
        more("free", w.free.len()),
        ports("y", outputs.len()),
        more("same", same),
        w.body
    )
}

fn error(place: &str, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(place), text)
}

/// Compares every layer's module with its tables.
pub fn prove(dir: &Path) -> Result<Vec<Proof>, Diagnostics> {
    let source = Source::open(dir)?;
    let tool = |name: &str| {
        process::find(name).ok_or_else(|| {
            error("", format!("proofs need {name}, which is not installed"))
                .help("install Yosys: `apt install yosys`")
        })
    };
    let mut found = Diagnostics::new();
    let mut programs = Vec::new();
    for name in ["yosys", "yosys-abc"] {
        match tool(name) {
            Ok(program) => programs.push(program),
            Err(e) => found.push(e),
        }
    }
    found.into_result(())?;
    let io = |e: std::io::Error| Diagnostics::from(error("temporary files", e.to_string()));
    let temp = TempDir::new().map_err(io)?;
    fs::write(temp.join("tables.v"), TABLES).map_err(io)?;
    let mut proofs = Vec::new();
    for stage in &source.ports.stages {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let reference = source.dir.join("proof").join(format!("{}.blif", stage.module));
        if !stage.module.chars().all(plain) || !reference.is_file() {
            continue;
        }
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|e| Diagnostics::from(error(&path.display().to_string(), e.to_string())))
        };
        let module = read(&source.dir.join(format!("{}.v", stage.module)))?;
        let reference = read(&reference)?;
        fs::write(temp.join("module.v"), module).map_err(io)?;
        fs::write(temp.join("reference.blif"), &reference).map_err(io)?;
        proofs.push(one(&stage.module, &reference, [&programs[0], &programs[1]], &temp)?);
    }
    if proofs.is_empty() {
        return Err(error(
            &source.dir.display().to_string(),
            "holds no layer of tables that could be proved",
        )
        .into());
    }
    Ok(proofs)
}

/// Compares one module.
fn one(module: &str, reference: &str, tools: [&Path; 2], temp: &TempDir) -> Result<Proof, Diagnostics> {
    let run = |program: &Path, arguments: &[&str]| {
        let done = process::run(Command::new(program).args(arguments).current_dir(temp.path()), LIMIT);
        done.map_err(|e| Diagnostics::from(error(&program.display().to_string(), e.to_string())))
    };
    let script = format!(
        "read_verilog module.v; hierarchy -top {module}; proc; memory; opt_clean; techmap; techmap -map tables.v; opt_clean; \
         write_blif module.blif"
    );
    let done = run(tools[0], &["-q", "-p", &script])?;
    if !done.status.success() {
        return Err(error(module, format!("Yosys does not read it:\n{}", done.text.trim())).into());
    }
    // Bits that the module claims not to need are inputs of both sides; what says that tables are the same is 1.
    let io = |e: std::io::Error| Diagnostics::from(error("temporary files", e.to_string()));
    let line = |what: &str| reference.lines().find(|l| l.starts_with(what)).unwrap_or_default();
    let words = |what: &str, prefix: &str| -> Vec<String> {
        line(what).split_whitespace().filter(|w| w.starts_with(prefix)).map(str::to_string).collect()
    };
    let (free, same) = (words(".inputs", "free"), words(".outputs", "same"));
    let ones: String = same.iter().map(|name| format!(".names {name}\n1\n")).collect();
    let text = fs::read_to_string(temp.join("module.blif")).map_err(io)?;
    let text = text
        .replacen(".inputs", &format!(".inputs {}", free.join(" ")), 1)
        .replacen(".outputs", &format!(".outputs {}", same.join(" ")), 1)
        .replacen(".end", &format!("{ones}.end"), 1);
    fs::write(temp.join("module.blif"), text).map_err(io)?;
    let done = run(tools[1], &["-q", "cec reference.blif module.blif"])?;
    let equal = done.text.contains("Networks are equivalent") && done.status.success();
    let differ = done.text.contains("NOT EQUIVALENT");
    if !equal && !differ {
        return Err(error(module, format!("ABC does not decide:\n{}", done.text.trim())).into());
    }
    let outputs = line(".outputs").split_whitespace().count().saturating_sub(1);
    let text = if differ { done.text.trim().to_string() } else { String::new() };
    Ok(Proof {
        module: module.to_string(),
        equal,
        outputs,
        by: "combinational equivalence, Yosys and ABC".to_string(),
        text,
    })
}
