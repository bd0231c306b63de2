//! Runs an emitted testbench.
//!
//! In: a directory that was written, and a simulator. Out: whether the testbench passes, or what the module makes of samples.
//! Icarus Verilog builds in no time and runs slowly, Verilator the other way round: which one suits is told from the tables and
//! the samples. Refuses: directories without Verilog; says what to install where no simulator is there.

use super::ports::{PortEntry, Ports};
use super::vectors;
use crate::backend::SelfCheck;
use crate::manifest::Manifest;
use crate::process::{self, TempDir};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use unfloat_ir::{Diagnostic, Diagnostics, IntType, Location, Tensor, TensorType};

/// How long a simulator may take to build, and to run.
const LIMIT: Duration = Duration::from_secs(900);
/// Tables times samples from which Verilator has gained what its C++ compiler costs.
const LARGE: usize = 2_000_000;

/// A program that simulates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Simulator {
    /// Icarus Verilog.
    Icarus,
    /// Verilator.
    Verilator,
}

impl fmt::Display for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Simulator::Icarus => "Icarus Verilog",
            Simulator::Verilator => "Verilator",
        })
    }
}

fn error(place: &str, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(place), text)
}

impl Simulator {
    fn program(self) -> Option<PathBuf> {
        process::find(match self {
            Simulator::Icarus => "iverilog",
            Simulator::Verilator => "verilator",
        })
    }

    /// The one that suits so much work, of those that are installed.
    pub fn suiting(luts: usize, samples: usize) -> Result<Simulator, Diagnostic> {
        let large = luts.saturating_mul(samples) > LARGE;
        let order = if large {
            [Simulator::Verilator, Simulator::Icarus]
        } else {
            [Simulator::Icarus, Simulator::Verilator]
        };
        order.into_iter().find(|s| s.program().is_some()).ok_or_else(|| {
            error("", "simulating Verilog needs a simulator, and none is installed")
                .help("install one: `apt install iverilog` or `apt install verilator`")
        })
    }
}

/// A directory's Verilog.
pub(super) struct Source {
    pub dir: PathBuf,
    name: String,
    pub ports: Ports,
}

impl Source {
    pub fn open(dir: &Path) -> Result<Source, Diagnostics> {
        let manifest = Manifest::read(dir)?;
        let (dir, name) = (dir.join("verilog"), manifest.name);
        let plain = Path::new(&name).file_name().is_some_and(|n| n == name.as_str());
        let path = dir.join(format!("{name}.ports.json"));
        let at = path.display().to_string();
        if !plain {
            return Err(error(&at, "the manifest's name is no name of a file").into());
        }
        let text = fs::read(&path)
            .map_err(|e| error(&at, format!("cannot be read: {e}")).help("convert with --emit verilog"))?;
        let ports = serde_json::from_slice(&text).map_err(|e| error(&at, e.to_string()))?;
        Ok(Source { dir, name, ports })
    }

    fn types(&self, entries: &[PortEntry]) -> Result<Vec<(TensorType, IntType)>, Diagnostics> {
        let at = self.dir.join(format!("{}.ports.json", self.name)).display().to_string();
        let one = |e: &PortEntry| {
            e.read().ok_or_else(|| Diagnostics::from(error(&at, format!("`{}` is no tensor", e.name))))
        };
        entries.iter().map(one).collect()
    }

    /// Every Verilog file of the directory.
    fn files(&self) -> Result<Vec<PathBuf>, Diagnostics> {
        let fault =
            |e: std::io::Error| Diagnostics::from(error(&self.dir.display().to_string(), e.to_string()));
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|e| e == "v") {
                files.push(path);
            }
        }
        files.sort();
        // What is run elsewhere must be found from there.
        files.iter().map(|f| fs::canonicalize(f).map_err(fault)).collect()
    }

    /// Builds the testbench and runs it with those arguments. Returns what it printed.
    fn run(&self, simulator: Simulator, arguments: &[String], temp: &TempDir) -> Result<String, Diagnostics> {
        let top = format!("{}_tb", self.name);
        let program =
            simulator.program().ok_or_else(|| error("", format!("{simulator} is not installed")))?;
        let files = self.files()?;
        let mut build = Command::new(&program);
        let mut run = match simulator {
            Simulator::Icarus => {
                let sim = temp.join("sim.vvp");
                build.args(["-g2005", "-DUNFLOAT_MODELS", "-s", &top, "-o"]).arg(&sim).args(&files);
                let vvp = process::find("vvp").ok_or_else(|| error("", "vvp is not installed"))?;
                let mut run = Command::new(vvp);
                run.arg("-n").arg(&sim);
                run
            }
            Simulator::Verilator => {
                let objects = temp.join("objects");
                build.args([
                    "--binary",
                    "--timing",
                    "-Wno-fatal",
                    "-Wno-lint",
                    "-Wno-style",
                    "-DUNFLOAT_MODELS",
                ]);
                build
                    .args(["--top-module", &top, "-j", "2", "-o", "sim", "--Mdir"])
                    .arg(&objects)
                    .args(&files);
                Command::new(objects.join("sim"))
            }
        };
        let name = program.display().to_string();
        let built = process::run(build.current_dir(temp.path()), LIMIT);
        let built = built.map_err(|e| error(&name, e.to_string()))?;
        if !built.status.success() {
            let lines: Vec<&str> = built.text.lines().take(20).collect();
            return Err(error(&name, format!("cannot build {top}:\n{}", lines.join("\n"))).into());
        }
        let done = process::run(run.args(arguments).current_dir(temp.path()), LIMIT);
        let done = done.map_err(|e| Diagnostics::from(error(&top, e.to_string())))?;
        Ok(done.text)
    }
}

fn temporary() -> Result<TempDir, Diagnostics> {
    TempDir::new().map_err(|e| error("temporary files", e.to_string()).into())
}

/// Runs the testbench on its own samples, in the simulator that suits or in one of the caller's choice.
pub fn self_check(dir: &Path, simulator: Option<Simulator>) -> Result<SelfCheck, Diagnostics> {
    let source = Source::open(dir)?;
    let vectors = ["in", "out"].map(|part| source.dir.join(format!("{}_{part}.hex", source.name)));
    let mut arguments = Vec::new();
    let mut samples = 0;
    for (part, path) in ["in", "out"].iter().zip(&vectors) {
        let fault = |e: std::io::Error| Diagnostics::from(error(&path.display().to_string(), e.to_string()));
        samples = fs::read_to_string(path).map_err(fault)?.lines().count();
        arguments.push(format!("+{part}={}", fs::canonicalize(path).map_err(fault)?.display()));
    }
    let simulator = simulator.map_or_else(|| Simulator::suiting(source.ports.luts, samples), Ok)?;
    let text = source.run(simulator, &arguments, &temporary()?)?;
    let passed = text.contains("PASS:") && !text.contains("FAIL");
    let lines: Vec<&str> =
        text.lines().filter(|l| ["PASS", "FAIL", "sample"].iter().any(|w| l.starts_with(w))).collect();
    if lines.is_empty() {
        return Err(error(
            &format!("{}_tb", source.name),
            format!("says neither PASS nor FAIL:\n{}", text.trim()),
        )
        .into());
    }
    Ok(SelfCheck { passed, text: format!("{} (testbench in {simulator})", lines.join("\n")) })
}

/// Runs samples in the simulator that suits.
pub fn replay(dir: &Path, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
    replay_in(dir, samples, None)
}

/// Runs samples in a simulator of the caller's choice.
pub fn replay_in(
    dir: &Path,
    samples: &[Vec<Tensor>],
    simulator: Option<Simulator>,
) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
    let source = Source::open(dir)?;
    let (inputs, outputs) =
        (source.types(&source.ports.in_data.tensors)?, source.types(&source.ports.out_data.tensors)?);
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Diagnostics::new();
    let mut text = String::new();
    for (n, sample) in samples.iter().enumerate() {
        let fits = sample.len() == inputs.len() && sample.iter().zip(&inputs).all(|(t, (ty, _))| t.ty == *ty);
        if !fits {
            found.push(error(&format!("sample {n}"), "does not have the types of the inputs"));
            continue;
        }
        text.push_str(&vectors::word(&inputs, sample));
    }
    found.into_result(())?;
    let temp = temporary()?;
    let io = |e: std::io::Error| Diagnostics::from(error("temporary files", e.to_string()));
    fs::write(temp.join("in.hex"), text).map_err(io)?;
    let simulator = simulator.map_or_else(|| Simulator::suiting(source.ports.luts, samples.len()), Ok)?;
    let arguments = ["+in=in.hex".to_string(), "+dump=out.hex".to_string()];
    let said = source.run(simulator, &arguments, &temp)?;
    if !said.contains("PASS:") {
        return Err(error(&format!("{}_tb", source.name), format!("fails:\n{}", said.trim())).into());
    }
    let dumped = fs::read_to_string(temp.join("out.hex")).map_err(io)?;
    let results = vectors::read(&dumped, &outputs, "the simulated outputs")?;
    if results.len() != samples.len() {
        let text = format!("gave {} results for {} samples", results.len(), samples.len());
        return Err(error(&format!("{}_tb", source.name), text).into());
    }
    Ok(results)
}
