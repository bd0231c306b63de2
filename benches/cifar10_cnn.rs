//! The classic CIFAR-10 CNN (1.25 million parameters, 41 M floating-point operations), from the file to the answers:
//! what conversion costs, and how fast the native executor and the emitted C++ are beside onnxruntime on the same
//! weights. One thread; CPU times, so that other work on the machine does not count.
//!
//! `cargo bench --bench cifar10_cnn -- --against PYTHON`, with an interpreter that has onnxruntime, onnx and numpy.
//! Without `--against` only our own numbers are printed.

mod common;

use common::{Outcome, Peer, against, median, onnx_model, run};
use cpu_time::ProcessTime;
use nix::sys::resource::{UsageWho, getrusage};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use unfloat::cli::Import;
use unfloat::{load, model, samples};
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{Graph, Layout, Stage, Tensor};

/// Rounds of each side.
const ROUNDS: usize = 9;

fn main() -> Outcome<()> {
    let against = against()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras/cifar10_cnn.h5");
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cifar10_cnn");
    std::fs::create_dir_all(&work)?;
    let dir = conversion(&file, &work)?;
    let graph = model::at_stage(load::load_graph(&file, &Import::default())?, Stage::Folded)?;
    let onnx = match &against {
        Some(python) => Some(checked_model(python, &graph, &work)?),
        None => None,
    };
    let peer = |batch| -> Outcome<Option<Peer>> {
        let Some((python, onnx)) = against.as_ref().zip(onnx.as_ref()) else { return Ok(None) };
        Ok(Some(Peer::onnxruntime(python, onnx, batch)?))
    };
    for batch in [1, 64] {
        executor(&graph, batch, peer(batch)?)?;
    }
    for (compiler, flags) in
        [("g++", "-O3 -march=native"), ("clang++", "-O3 -march=native"), ("g++", "-O3"), ("clang++", "-O3")]
    {
        emitted(&dir, &work, compiler, flags, peer(1)?)?;
    }
    Ok(())
}

/// CPU seconds and peak memory of `unfloat convert`, beside the file's size.
fn conversion(file: &Path, work: &Path) -> Outcome<PathBuf> {
    let dir = work.join("out");
    let size = std::fs::metadata(file)?.len() as f64;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let done = Command::new(env!("CARGO_BIN_EXE_unfloat"))
            .arg("convert")
            .arg(file)
            .arg("-o")
            .arg(&dir)
            .args(["--emit", "cpp", "--force"])
            .stderr(Stdio::null())
            .status()?;
        if !done.success() {
            return Err("convert failed".into());
        }
        let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let seconds = |u: &nix::sys::resource::Usage| {
            let time = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
            time(u.user_time()) + time(u.system_time())
        };
        times.push(seconds(&after) - seconds(&before));
    }
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss() as f64 * 1024.0;
    let header = std::fs::metadata(dir.join("cpp/cifar10_cnn.hpp"))?.len() as f64;
    println!(
        "convert: {:.3} s of CPU (asked: 0.15), peak memory {:.1} MB = {:.2} x the file (asked: below 4), header {:.1} MB",
        median(times),
        peak / 1e6,
        peak / size,
        header / 1e6
    );
    Ok(dir)
}

/// The peer's model, which must give the same answers.
fn checked_model(python: &str, graph: &Graph, work: &Path) -> Outcome<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
    let onnx = onnx_model(python, graph, work)?;
    let inputs = samples::random(&samples::input_types(graph), 8, samples::SEED);
    let images = Tensor::f32([8, 32, 32, 3], Layout::anonymous(4), inputs.floats()[0].to_vec());
    let (from, to) = (work.join("in.npy"), work.join("out.npy"));
    std::fs::write(&from, unfloat_npy::write_npy(&images))?;
    run(Command::new(python).arg(script).arg(&onnx).arg("--run").arg(&from).arg(&to))?;
    let theirs = unfloat_npy::read_npy(&std::fs::read(&to)?)?;
    let ours = Plan::new(graph, &PlanOptions::default())?.run(&[&inputs.floats()[0]], 8, 1)?;
    let pairs = ours[0].iter().zip(theirs.as_f32().unwrap_or(&[]));
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    println!("onnxruntime on the same weights: outputs differ by at most {worst:.1e}");
    if worst > 2e-5 || theirs.len() != ours[0].len() {
        return Err("the peer computes something else".into());
    }
    Ok(onnx)
}

/// Takes turns with the peer and prints the medians and their ratio.
fn turns(what: &str, mut ours: impl FnMut() -> Outcome<f64>, peer: Option<Peer>) -> Outcome<()> {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let mut peer = peer;
    for _ in 0..ROUNDS {
        mine.push(ours()?);
        if let Some(peer) = &mut peer {
            theirs.push(peer.round()?);
        }
    }
    let mine = median(mine);
    match peer {
        None => println!("{what}: {mine:.0} images/s"),
        Some(_) => {
            let theirs = median(theirs);
            println!(
                "{what}: {mine:.0} images/s, onnxruntime {theirs:.0} images/s, ratio {:.2}",
                mine / theirs
            );
        }
    }
    Ok(())
}

fn executor(graph: &Graph, batch: usize, peer: Option<Peer>) -> Outcome<()> {
    let plan = Plan::new(graph, &PlanOptions::default())?;
    let mut workspace = plan.workspace();
    let inputs = samples::random(&samples::input_types(graph), batch, samples::SEED);
    let floats = inputs.floats();
    let round = || {
        let start = ProcessTime::now();
        let mut images = 0;
        while start.elapsed().as_secs_f64() < 0.2 {
            for _ in 0..64 / batch {
                black_box(plan.run_in(&mut workspace, &[&floats[0]], batch)?);
                images += batch;
            }
        }
        Ok(images as f64 / start.elapsed().as_secs_f64())
    };
    turns(&format!("executor, batch {batch}"), round, peer)
}

/// A program around the emitted header that speaks as [`Peer`] expects.
const DRIVER: &str = r#"
#include "cpp/cifar10_cnn.hpp"
#include <cstdio>
#include <ctime>
#include <string>
#include <iostream>
static float in[cifar10_cnn::input_size];
static float out[cifar10_cnn::output_size];
int main() {
  for (std::size_t i = 0; i < cifar10_cnn::input_size; ++i) in[i] = static_cast<float>((i * 2654435761u >> 8) % 1000u) / 500.0f - 1.0f;
  std::puts("ready");
  std::fflush(stdout);
  std::string line;
  volatile float sink = 0;
  while (std::getline(std::cin, line)) {
    const std::clock_t start = std::clock();
    double seconds = 0;
    long images = 0;
    do {
      for (int i = 0; i < 16; ++i) { cifar10_cnn::run(in, out); sink = sink + out[0]; }
      images += 16;
      seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    } while (seconds < 0.2);
    std::printf("%.1f\n", static_cast<double>(images) / seconds);
    std::fflush(stdout);
  }
}
"#;

fn emitted(dir: &Path, work: &Path, compiler: &str, flags: &str, peer: Option<Peer>) -> Outcome<()> {
    let (source, program) = (work.join("driver.cpp"), work.join("driver"));
    std::fs::write(&source, DRIVER)?;
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?.user_time();
    let compiled = Command::new(compiler)
        .args(["-std=c++17"])
        .args(flags.split(' '))
        .arg("-I")
        .arg(dir)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .status();
    match compiled {
        Err(e) => {
            println!("emitted C++, {compiler} {flags}: not measured ({e})");
            return Ok(());
        }
        Ok(status) if !status.success() => return Err(format!("{compiler} failed").into()),
        Ok(_) => {}
    }
    let after = getrusage(UsageWho::RUSAGE_CHILDREN)?.user_time();
    let compile =
        (after.tv_sec() - before.tv_sec()) as f64 + (after.tv_usec() - before.tv_usec()) as f64 / 1e6;
    let mut ours = Peer::start(&mut Command::new(&program))?;
    turns(&format!("emitted C++, {compiler} {flags} (compiled in {compile:.1} s)"), || ours.round(), peer)
}
