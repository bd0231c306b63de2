//! Programs around emitted C++ that take turns with other sides.

use super::Outcome;
use nix::sys::resource::{UsageWho, getrusage};
use std::path::Path;
use std::process::Command;

/// A program around an emitted header that speaks as [`super::Peer`] expects; `NET` and `CALL` are replaced.
const DRIVER: &str = r#"
#include "cpp/NET.hpp"
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>
#include <string_view>
#include <type_traits>
constexpr bool floats = std::string_view("CALL") == "run_float";
using in_t = std::conditional_t<floats, float, NET::in_t>;
using out_t = std::conditional_t<floats, float, NET::out_t>;
static in_t in[NET::input_size];
static out_t out[NET::output_size];
int main() {
  for (std::size_t i = 0; i < NET::input_size; ++i) {
    const unsigned v = static_cast<unsigned>(i * 2654435761u >> 8) % 1000u;
    in[i] = floats ? static_cast<in_t>(static_cast<float>(v) / 1000.0f) : static_cast<in_t>(v);
  }
  std::puts("ready");
  std::fflush(stdout);
  std::string line;
  volatile out_t sink = 0;
  while (std::getline(std::cin, line)) {
    const std::clock_t start = std::clock();
    double seconds = 0;
    long samples = 0;
    do {
      for (int i = 0; i < 16; ++i) { NET::CALL(in, out); sink = static_cast<out_t>(sink + out[0]); }
      samples += 16;
      seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    } while (seconds < 0.2);
    std::printf("%.1f\n", static_cast<double>(samples) / seconds);
    std::fflush(stdout);
  }
}
"#;

/// The program that measures a function of an emitted network.
pub fn driver(net: &str, call: &str) -> String {
    DRIVER.replace("NET", net).replace("CALL", call)
}

/// Compiles a program around an emitted header: seconds of CPU, or nothing without the compiler.
pub fn compiled(
    compiler: &str,
    flags: &str,
    dir: &Path,
    source: &Path,
    program: &Path,
) -> Outcome<Option<f64>> {
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?.user_time();
    let mut command = Command::new(compiler);
    command.arg("-std=c++17").args(flags.split(' ')).arg("-I").arg(dir).arg(source).arg("-o").arg(program);
    match command.status() {
        Err(e) => {
            println!("{compiler}: not measured ({e})");
            Ok(None)
        }
        Ok(status) if !status.success() => Err(format!("{compiler} failed").into()),
        Ok(_) => {
            let after = getrusage(UsageWho::RUSAGE_CHILDREN)?.user_time() - before;
            Ok(Some(after.tv_sec() as f64 + after.tv_usec() as f64 / 1e6))
        }
    }
}
