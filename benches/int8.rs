//! Graphs of integers as the compiler makes them: the CIFAR-10 CNN quantized to 8 bits, lowered and proved, in the native
//! executor and in emitted C++, beside onnxruntime's own static quantization of the same weights (QDQ, one scale per
//! channel); the 16-64-32-32-5 perceptron in 16 bits; and what the conversion takes. One thread; CPU times, so that other
//! work on the machine does not count. All sides take turns.
//!
//! `cargo bench --bench int8 -- --against PYTHON`, with an interpreter that has onnxruntime, onnx and numpy. Without
//! `--against` only our own numbers are printed.
//!
//! The roof is what this machine does when it does nothing else: products of 16-bit numbers, two to a lane of 32 bits
//! (`vpmaddwd` and an addition), all in registers. Products are counted as the definition of the network has them, 20.7
//! million for an image; a faster form of a convolution may do with fewer.

mod common;

use common::emitted::{compiled, driver};
use common::{Outcome, Peer, against, median, onnx_model, roof, run};
use cpu_time::ProcessTime;
use nix::sys::resource::{UsageWho, getrusage};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use unfloat::cli::{Import, Quantization};
use unfloat::quantization::Request;
use unfloat::{load, model};
use unfloat_exec::kernels::Isa;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::{Graph, Layout, Stage, Tensor};

/// Rounds of each side.
const ROUNDS: usize = 9;
/// Seconds of a round.
const ROUND: f64 = 0.2;
/// Samples of the calibration.
const CALIBRATION: usize = 512;
/// Products of an image.
const PRODUCTS: f64 = 20.74e6;

fn main() -> Outcome<()> {
    let against = against()?;
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("int8");
    std::fs::create_dir_all(&work)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras/cifar10_cnn.h5");
    let calibration = calibration(&work)?;
    let dir = conversion(&file, &calibration, &work)?;
    let floats = model::at_stage(load::load_graph(&file, &Import::default())?, Stage::Folded)?;
    let peers = match &against {
        Some(python) => Some((python.as_str(), onnx_models(python, &floats, &work)?)),
        None => None,
    };
    let network = quantized(floats.clone(), "int8", vec![calibration])?;
    let roof = roof(&work, ROOF)?;
    println!("roof: {}", roof.map_or("not measured".to_string(), |r| format!("{r:.1} G products/s")));
    for batch in [1, 64] {
        let mut sides = vec![executor("executor", &network, Isa::detect(), batch)?];
        if let Some((python, [_, int8])) = &peers {
            sides.push(Side::program("onnxruntime int8", Peer::onnxruntime(python, int8, batch)?));
        }
        sides.push(executor("executor, floats", &floats, Isa::detect(), batch)?);
        if let Some((python, [floats, _])) = &peers {
            sides.push(Side::program("onnxruntime, floats", Peer::onnxruntime(python, floats, batch)?));
        }
        sides.push(executor("executor, portable kernels", &network, Isa::portable(), batch)?);
        if batch == 1 {
            sides.extend(emitted(&dir, &work)?);
        }
        println!("cifar10_cnn in 8 bits, batch {batch}, {}:", Isa::detect().name());
        turns(sides, roof)?;
    }
    perceptron(&work)
}

/// Something that is measured: what it is, and samples per second of a round.
struct Side<'a> {
    name: String,
    round: Box<dyn FnMut() -> Outcome<f64> + 'a>,
}

impl Side<'_> {
    fn program(name: &str, mut peer: Peer) -> Self {
        Side { name: name.to_string(), round: Box::new(move || peer.round()) }
    }
}

/// Lets all sides take turns; prints medians and their ratios to the first side, whose own is to the second.
fn turns(mut sides: Vec<Side>, roof: Option<f64>) -> Outcome<()> {
    let mut rates = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (side, rates) in sides.iter_mut().zip(&mut rates) {
            rates.push((side.round)()?);
        }
    }
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    for (side, &rate) in sides.iter().zip(&rates) {
        let part =
            roof.map_or(String::new(), |roof| format!(", {:.2} of the roof", rate * PRODUCTS / 1e9 / roof));
        println!("  {:<42} {rate:6.0}/s, executor / this {:5.2}{part}", side.name, rates[0] / rate);
    }
    Ok(())
}

/// Images with numbers between 0 and 1, the same on every machine, as a file.
fn calibration(work: &Path) -> Outcome<PathBuf> {
    let images = Tensor::f32([CALIBRATION, 32, 32, 3], Layout::anonymous(4), pixels(CALIBRATION * 3072));
    let path = work.join("calibration.npz");
    std::fs::write(&path, unfloat_npy::write_npz([("input_0", &images)])?)?;
    Ok(path)
}

/// Numbers between 0 and 1.
fn pixels(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

/// CPU and wall-clock seconds of `unfloat convert --quantize int8` with calibration, report and C++.
fn conversion(file: &Path, calibration: &Path, work: &Path) -> Outcome<PathBuf> {
    let dir = work.join("out");
    let cpu = || -> Outcome<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let time = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        Ok(time(usage.user_time()) + time(usage.system_time()))
    };
    let (mut cpus, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (before, start) = (cpu()?, Instant::now());
        let mut command = Command::new(env!("CARGO_BIN_EXE_unfloat"));
        command.arg("convert").arg(file).arg("-o").arg(&dir).args(["--emit", "cpp", "--force"]);
        command.args(["--quantize", "int8", "--calibrate"]).arg(calibration);
        run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        walls.push(start.elapsed().as_secs_f64());
        cpus.push(cpu()? - before);
    }
    println!(
        "conversion with {CALIBRATION} samples: {:.2} s of CPU, {:.2} s (asked: below 2)",
        median(cpus),
        median(walls)
    );
    Ok(dir)
}

/// The network for onnxruntime, in floats and quantized.
fn onnx_models(python: &str, graph: &Graph, work: &Path) -> Outcome<[PathBuf; 2]> {
    let floats = onnx_model(python, graph, work)?;
    let int8 = work.join("int8.onnx");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
    run(Command::new(python).arg(script).arg(&floats).arg("--quantize").arg(&int8).stderr(Stdio::null()))?;
    Ok([floats, int8])
}

/// What the compiler makes of a graph.
fn quantized(graph: Graph, spec: &str, calibrate: Vec<PathBuf>) -> Outcome<Graph> {
    let quantize = Some(spec.to_string());
    let request = Request::of(&Quantization { quantize, calibrate, ..Quantization::default() })?;
    Ok(request.ok_or("nothing to quantize")?.apply(graph)?.graph)
}

/// The native executor.
fn executor<'a>(name: &str, graph: &'a Graph, isa: Isa, batch: usize) -> Outcome<Side<'a>> {
    let plan = Plan::new(graph, &PlanOptions { isa, ..PlanOptions::default() })?;
    let mut workspace = plan.workspace();
    let len = graph.ty(graph.inputs()[0]).shape.num_elements();
    let input = pixels(len * batch);
    let round = move || {
        let start = ProcessTime::now();
        let mut count = 0;
        while start.elapsed().as_secs_f64() < ROUND {
            for _ in 0..64usize.div_ceil(batch) {
                black_box(plan.run_in(&mut workspace, &[&input], batch)?);
                count += batch;
            }
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    };
    Ok(Side { name: name.to_string(), round: Box::new(round) })
}

/// The perceptron in 16 bits: the executor, and the emitted C++ on codes and on floats.
fn perceptron(work: &Path) -> Outcome<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantize/mlp.keras");
    let floats = model::at_stage(load::load_graph(&file, &Import::default())?, Stage::Folded)?;
    let network = quantized(floats, "fixed<16,6>", Vec::new())?;
    let mut sides = Vec::new();
    for batch in [64, 1] {
        sides.push(executor(&format!("executor, batch {batch}"), &network, Isa::detect(), batch)?);
    }
    let dir = work.join("mlp");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unfloat"));
    command.arg("convert").arg(file).arg("-o").arg(&dir).args(["--emit", "cpp", "--force"]);
    run(command.args(["--quantize", "fixed<16,6>"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
    for (what, call) in [("codes", "run"), ("floats", "run_float")] {
        let source = work.join(format!("perceptron_{call}.cpp"));
        std::fs::write(&source, driver("mlp", call))?;
        for compiler in ["g++", "clang++"] {
            let program = work.join(format!("perceptron_{call}_{compiler}"));
            if compiled(compiler, "-O3 -march=native", &dir, &source, &program)?.is_some() {
                let name = format!("{compiler} -O3 -march=native, {what}");
                sides.push(Side::program(&name, Peer::start(&mut Command::new(&program))?));
            }
        }
    }
    println!("16-64-32-32-5 in 16 bits, softmax included (asked: 1000000/s):");
    turns(sides, None)
}

/// The emitted C++, by the compilers that there are.
fn emitted(dir: &Path, work: &Path) -> Outcome<Vec<Side<'static>>> {
    let source = work.join("driver.cpp");
    std::fs::write(&source, driver("cifar10_cnn", "run_float"))?;
    let mut sides = Vec::new();
    for (compiler, flags) in
        [("g++", "-O3 -march=native"), ("clang++", "-O3 -march=native"), ("g++", "-O3"), ("clang++", "-O3")]
    {
        let program = work.join(format!("driver{}", sides.len()));
        if let Some(seconds) = compiled(compiler, flags, dir, &source, &program)? {
            let name = format!("{compiler} {flags} (compiled in {seconds:.1} s)");
            sides.push(Side::program(&name, Peer::start(&mut Command::new(&program))?));
        }
    }
    Ok(sides)
}

/// Products of 16-bit numbers with twelve independent sums, as many as registers hold; prints 10^9 products per second.
const ROOF: &str = r#"
#include <cstdio>
#include <ctime>
#include <immintrin.h>
int main() {
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const long n = 4000000;
    __m256i s[12], x = _mm256_set1_epi16(3), w = _mm256_set1_epi16(5);
#pragma GCC unroll 12
    for (int k = 0; k < 12; ++k) s[k] = _mm256_setzero_si256();
    const std::clock_t start = std::clock();
    for (long i = 0; i < n; ++i) {
      // The compiler must not know that inputs stay the same.
      __asm__ volatile("" : "+x"(x), "+x"(w));
#pragma GCC unroll 12
      for (int k = 0; k < 12; ++k) {
        __m256i p;
        __asm__ volatile("vpmaddwd %1, %2, %0" : "=x"(p) : "x"(x), "x"(w));
        s[k] = _mm256_add_epi32(s[k], p);
      }
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    int sum = 0;
#pragma GCC unroll 12
    for (int k = 0; k < 12; ++k) sum += _mm256_extract_epi32(s[k], 0);
    if (sum == 1) std::puts("");
    const double rate = 12.0 * 16 * static_cast<double>(n) / seconds / 1e9;
    if (rate > best) best = rate;
  }
  std::printf("%.2f\n", best);
}
"#;
