//! What the measurements of whole networks share: programs that take turns, and the peer's model.

#[allow(dead_code, reason = "not every measurement has emitted programs")]
pub mod emitted;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use unfloat_exec::kernels::Isa;
use unfloat_ir::Graph;

/// What may fail.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The value of `--against`; cargo's own `--bench` is left out, and anything else refused.
pub fn against() -> Outcome<Option<String>> {
    let mut args = std::env::args().skip(1);
    let mut against = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--against" => against = args.next(),
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(against)
}

/// Runs a command; its failure is one.
pub fn run(command: &mut Command) -> Outcome<()> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// The network in floats, with the same weights, as a file for onnxruntime.
#[allow(dead_code, reason = "not every measurement has this network")]
pub fn onnx_model(python: &str, graph: &Graph, work: &Path) -> Outcome<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
    let mut arrays = Vec::new();
    for (_, node) in graph.live_nodes() {
        if let [_, w, b] = node.inputs.as_slice() {
            let (Some(w), Some(b)) = (graph.const_of(*w), graph.const_of(*b)) else { continue };
            let layer = arrays.len() / 2;
            arrays.push((format!("w{layer}"), w.as_ref().clone()));
            arrays.push((format!("b{layer}"), b.as_ref().clone()));
        }
    }
    let (weights, onnx) = (work.join("weights.npz"), work.join("cifar10_cnn.onnx"));
    std::fs::write(&weights, unfloat_npy::write_npz(arrays.iter().map(|(n, t)| (n.as_str(), t)))?)?;
    run(Command::new(python).arg(script).arg(&onnx).arg("--cifar10-cnn").arg(&weights))?;
    Ok(onnx)
}

/// 10^9 products per second that 256-bit vectors can do, as a C++ program prints them; nothing without a compiler or AVX2.
#[allow(dead_code, reason = "not every measurement has a roof")]
pub fn roof(work: &Path, program: &str) -> Outcome<Option<f64>> {
    if Isa::detect() == Isa::portable() {
        return Ok(None);
    }
    let (source, binary) = (work.join("roof.cpp"), work.join("roof"));
    std::fs::write(&source, program)?;
    let compiled = Command::new("g++").args(["-O2", "-mavx2"]).arg(&source).arg("-o").arg(&binary).status();
    if !compiled.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    Ok(Some(String::from_utf8(Command::new(&binary).output()?.stdout)?.trim().parse()?))
}

/// A program that runs one round, and prints its images per second, for every line that it reads.
pub struct Peer {
    child: Child,
    ask: Option<ChildStdin>,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let mut peer = Self { child, ask, answers };
        peer.answers.next().ok_or("the peer ended early")??;
        Ok(peer)
    }
    /// onnxruntime on a model.
    pub fn onnxruntime(python: &str, onnx: &Path, batch: usize) -> Outcome<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
        Self::start(Command::new(python).arg(script).arg(onnx).args([
            "--serve",
            "--batch",
            &batch.to_string(),
        ]))
    }
    /// Runs one round.
    pub fn round(&mut self) -> Outcome<f64> {
        writeln!(self.ask.as_mut().ok_or("no pipe")?)?;
        Ok(self.answers.next().ok_or("the peer ended early")??.parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Closing its input ends it.
        self.ask = None;
        let _ = self.child.wait();
    }
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
