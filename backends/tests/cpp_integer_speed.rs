//! Two whole networks of integers: exact, and, with `UNFLOAT_SLOW` set, how fast they run.

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};
use support::ints::{Ints, cifar10_int8, exact, perceptron_16};
use support::{compilers, emit};
use unfloat_backends::Manifest;
use unfloat_backends::process::{self, TempDir};
use unfloat_exec::{Plan, PlanOptions};

/// Runs codes through the network for half a second, five times; prints the best.
const BENCH: &str = r#"
#include "@NAME@.hpp"
#include <chrono>
#include <cstdio>
int main() {
  static ::@NAME@::in_t in[16][::@NAME@::input_size];
  static ::@NAME@::out_t out[::@NAME@::output_size];
  static ::@NAME@::Workspace workspace;
  std::uint32_t z = 1;
  for (auto& sample : in) for (auto& code : sample) code = static_cast<::@NAME@::in_t>((z = z * 1664525u + 1013904223u) >> 16);
  double best = 0.0;
  long check = 0;
  for (int k = 0; k < 5; ++k) {
    const auto start = std::chrono::steady_clock::now();
    std::chrono::duration<double> passed{};
    long n = 0;
    for (; passed.count() < 0.5; passed = std::chrono::steady_clock::now() - start)
      for (int i = 0; i < 256; ++i, ++n) {
        ::@NAME@::run(in[i % 16], out, workspace);
        check += out[0];
      }
    const double rate = static_cast<double>(n) / passed.count();
    if (rate > best) best = rate;
  }
  std::printf("%.0f samples/s (%ld)\n", best, check % 10);
  return 0;
}
"#;

/// Samples that the native executor runs in a second, one at a time, quantizer and dequantizer included.
fn executor(net: &mut Ints) -> f64 {
    let plan = Plan::new(&net.graph, &PlanOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let samples = net.samples(16);
    let inputs: Vec<&[f32]> = samples.iter().filter_map(|s| s[0].as_f32()).collect();
    let mut workspace = plan.workspace();
    let (mut best, mut n) = (0.0f64, 0);
    for _ in 0..5 {
        let (start, before) = (Instant::now(), n);
        while start.elapsed() < Duration::from_millis(500) {
            plan.run_in(&mut workspace, &[inputs[n % inputs.len()]], 1).unwrap();
            n += 1;
        }
        best = best.max((n - before) as f64 / start.elapsed().as_secs_f64());
    }
    best
}

fn speed(net: &mut Ints) {
    if std::env::var_os("UNFLOAT_SLOW").is_none() {
        return;
    }
    let rate = executor(net);
    println!("{}, native executor: {rate:.0} samples/s", net.graph.name);
    let name = &net.graph.name;
    let temp = TempDir::new().unwrap();
    emit(&net.graph, &[]).write_to(&temp.join("out"), Manifest::new(&net.graph), false).unwrap();
    fs::write(temp.join("bench.cpp"), BENCH.replace("@NAME@", name)).unwrap();
    for flags in [&["-O3", "-march=native"][..], &["-O3"]] {
        for compiler in compilers(flags) {
            let program = temp.join("bench");
            let mut command = Command::new(&compiler.program);
            command.args(&compiler.arguments).arg("-I").arg(temp.join("out/cpp"));
            command.arg("-o").arg(&program).arg(temp.join("bench.cpp"));
            let limit = Duration::from_secs(300);
            let done = process::run(&mut command, limit).unwrap();
            assert!(done.status.success(), "{}", done.text);
            let output = Command::new(&program).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("samples/s"), "{text}");
            println!("{name}, {} {}: {}", compiler.program.display(), flags.join(" "), text.trim());
        }
    }
}

#[test]
fn cifar10() {
    let mut net = cifar10_int8();
    exact(&mut net, 2, &[], &["-O3", "-march=native"]);
    speed(&mut net);
}

#[test]
fn perceptron() {
    let mut net = perceptron_16();
    exact(&mut net, 20, &[], &["-O3", "-march=native"]);
    speed(&mut net);
}
