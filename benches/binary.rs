//! The binary VGG for CIFAR-10 (128-128-P-256-256-P-512-512-P-10) with random weights, as the compiler lowers it: a first layer
//! of bytes by signs, then XNOR and popcount, thresholds and OR. Beside it, the same layers in floats in onnxruntime. One
//! thread; CPU times, so that other work on the machine does not count. All sides take turns.
//!
//! The emitted C++ runs one image at a time, compiled without `-march`.
//!
//! `cargo bench --bench binary -- --against PYTHON`, with an interpreter that has onnxruntime, onnx and numpy. Without
//! `--against` only our own numbers are printed.
//!
//! The roof is what this machine does when it does nothing else: differing bits of seven registers counted by carry-save
//! adders and tables of nibbles, as the kernels for AVX2 do. An image has 604 million products of signs behind the
//! first layer.

mod common;

use common::emitted::{compiled, driver};
use common::{Outcome, Peer, against, median, roof, run};
use cpu_time::ProcessTime;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use unfloat_backends::cpp::Cpp;
use unfloat_backends::{Backend, Manifest, Options, OutDir};
use unfloat_exec::kernels::Isa;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::ops::{Conv, Dense, MaxPool, Reshape, Threshold, Window};
use unfloat_ir::{Data, ElemType, Graph, Layout, Origin, Stage, Tensor, TensorType, ValueId};

/// Rounds of each side.
const ROUNDS: usize = 9;
/// Seconds of a round.
const ROUND: f64 = 0.2;
/// Images that a caller gives at once.
const BATCHES: [usize; 2] = [1, 16];

/// One turn of a side: images per second.
type Round = Box<dyn FnMut() -> Outcome<f64>>;

fn main() -> Outcome<()> {
    let against = against()?;
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("binary");
    std::fs::create_dir_all(&work)?;
    let network = Network::vgg()?;
    let roof = roof(&work, ROOF)?;
    println!("{:.0} M products of signs an image", network.products / 1e6);
    println!("roof: {}", roof.map_or("not measured".to_string(), |r| format!("{r:.0} G products/s")));
    let dir = emission(&network.graph, &work)?;
    for batch in BATCHES {
        let mut sides: Vec<(String, Round)> = Vec::new();
        for isa in Isa::available() {
            sides.push((format!("executor, {}", isa.name()), executor(&network.graph, isa, batch)?));
        }
        if batch == 1 {
            sides.extend(emitted(&dir, &work)?);
        }
        if let Some(python) = &against {
            let onnx = work.join("vgg.onnx");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
            run(Command::new(python).arg(script).arg(&onnx).arg("--binary-vgg"))?;
            let mut peer = Peer::onnxruntime(python, &onnx, batch)?;
            sides.push(("onnxruntime, floats".to_string(), Box::new(move || peer.round())));
        }
        let mut rates = vec![Vec::new(); sides.len()];
        for _ in 0..ROUNDS {
            for ((_, round), rates) in sides.iter_mut().zip(&mut rates) {
                rates.push(round()?);
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        println!("batch {batch}:");
        let peer = against.as_ref().and(rates.last());
        for ((name, _), &rate) in sides.iter().zip(&rates) {
            let part = roof.map_or(String::new(), |roof| {
                format!(", {:.2} of the roof", rate * network.products / 1e9 / roof)
            });
            let ratio = peer.map_or(String::new(), |peer| format!(", {:5.2} times onnxruntime", rate / peer));
            println!("  {name:<40} {rate:6.1} images/s{ratio}{part}");
        }
    }
    Ok(())
}

/// Writes the network as C++: the median of CPU seconds, from the graph to the files.
fn emission(graph: &Graph, work: &Path) -> Outcome<PathBuf> {
    let mut graph = graph.clone();
    graph.stage = Stage::Folded;
    let dir = work.join("out");
    let mut seconds = Vec::new();
    for _ in 0..5 {
        let start = ProcessTime::now();
        let mut out = OutDir::new();
        Cpp.emit(&graph, &Options::defaults(Cpp.info()), &mut out).map_err(|e| e.to_string())?;
        out.write_to(&dir, Manifest::new(&graph), true).map_err(|e| e.to_string())?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let bytes = std::fs::metadata(dir.join("cpp/vgg.hpp"))?.len();
    println!("C++: written in {:.2} s of CPU, {:.2} MB", median(seconds), bytes as f64 / 1e6);
    Ok(dir)
}

/// The emitted C++, by the compilers that there are.
fn emitted(dir: &Path, work: &Path) -> Outcome<Vec<(String, Round)>> {
    let source = work.join("driver.cpp");
    std::fs::write(&source, driver("vgg", "run"))?;
    let mut sides: Vec<(String, Round)> = Vec::new();
    for compiler in ["g++", "clang++"] {
        for (unit, flags) in [
            ("", "-O3"),
            (", popcnt", "-O3 -DUNFLOAT_BEST_UNIT=1"),
            (", portable", "-O3 -DUNFLOAT_BEST_UNIT=0"),
        ] {
            let program = work.join(format!("driver{}", sides.len()));
            if let Some(seconds) = compiled(compiler, flags, dir, &source, &program)? {
                let mut peer = Peer::start(&mut Command::new(&program))?;
                let name = format!("{compiler} -O3{unit} (compiled in {seconds:.1} s)");
                sides.push((name, Box::new(move || peer.round())));
            }
        }
    }
    Ok(sides)
}

/// A graph in the making, with random weights.
struct Network {
    graph: Graph,
    last: ValueId,
    /// Products of signs of an image.
    products: f64,
    state: u64,
}

impl Network {
    fn vgg() -> Outcome<Network> {
        let mut graph = Graph::new("vgg");
        let last =
            graph.add_input("x", TensorType::new(ElemType::signed(8), [32, 32, 3], Layout::channels_last(2)));
        let mut network = Network { graph, last, products: 0.0, state: 1 };
        for (i, channels) in [128, 128, 256, 256, 512, 512].into_iter().enumerate() {
            network.conv(channels, i > 0)?;
            if i % 2 == 1 {
                let window = Window::new([2, 2]).strides([2, 2]);
                network.node(MaxPool { window }, &[])?;
            }
        }
        let n = network.graph.ty(network.last).shape.num_elements();
        network.node(Reshape { shape: vec![n].into(), layout: Layout::channels_last(0) }, &[])?;
        let weights = network.signs(&[10, n]);
        network.node(Dense, &[weights])?;
        network.products += (10 * n) as f64;
        network.graph.add_output("y", network.last);
        Ok(network)
    }

    /// A convolution and thresholds.
    fn conv(&mut self, out: usize, counts: bool) -> Outcome<()> {
        let channels = self.graph.ty(self.last).shape[2];
        let weights = self.signs(&[out, 3, 3, channels]);
        let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
        self.node(Conv { window, groups: 1 }, &[weights])?;
        if counts {
            self.products += (self.graph.ty(self.last).shape.num_elements() * 9 * channels) as f64;
        }
        let limits: Vec<i64> = (0..out).map(|_| (self.next() % 41) as i64 - 20).collect();
        let ty = TensorType::new(ElemType::signed(8), [out, 1], Layout::anonymous(2));
        let limits = self.graph.add_const("t", Tensor::codes(ty, limits));
        self.node(Threshold { axis: 2, to: ElemType::Bipolar, scale: 2, bias: -1 }, &[limits])
    }

    fn node(&mut self, op: impl Into<unfloat_ir::Op>, more: &[ValueId]) -> Outcome<()> {
        let inputs: Vec<ValueId> = [self.last].iter().chain(more).copied().collect();
        self.last = self.graph.add_node(op, &inputs, "v", &Origin::default()).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn signs(&mut self, shape: &[usize]) -> ValueId {
        let n = shape.iter().product::<usize>();
        let codes: Vec<i64> = (0..n).map(|_| if self.next().is_multiple_of(2) { 1 } else { -1 }).collect();
        let ty = TensorType::new(ElemType::Bipolar, shape, Layout::anonymous(shape.len()));
        self.graph.add_const("w", Tensor::codes(ty, codes))
    }

    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }
}

/// The native executor, on one instruction set.
fn executor(graph: &Graph, isa: Isa, batch: usize) -> Outcome<Box<dyn FnMut() -> Outcome<f64>>> {
    let plan = Plan::new(graph, &PlanOptions { isa, ..PlanOptions::default() })?;
    let mut workspace = plan.workspace();
    let input = Data::I8((0..batch * 3072).map(|i| (i * 37 % 251) as u8 as i8).collect());
    Ok(Box::new(move || {
        let start = ProcessTime::now();
        let mut count = 0;
        while start.elapsed().as_secs_f64() < ROUND {
            black_box(plan.run_data_in(&mut workspace, &[&input], batch)?);
            count += batch;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }))
}

/// Differing bits of seven registers at a time; prints 10^9 products of signs per second.
const ROOF: &str = r#"
#include <cstdio>
#include <ctime>
#include <immintrin.h>
using V = __m256i;
static inline void add(V a, V b, V c, V &s, V &carry) {
  const V u = a ^ b;
  carry = (a & b) | (u & c);
  s = u ^ c;
}
static inline V count(V x, V table) {
  const V nibble = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, x & nibble),
                         _mm256_shuffle_epi8(table, _mm256_srli_epi16(x, 4) & nibble));
}
int main() {
  const V one = _mm256_setr_epi8(0,1,1,2,1,2,2,3,1,2,2,3,2,3,3,4, 0,1,1,2,1,2,2,3,1,2,2,3,2,3,3,4);
  const V two = _mm256_add_epi8(one, one), four = _mm256_add_epi8(two, two);
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const long n = 10000000;
    V bytes = _mm256_setzero_si256(), x = _mm256_set1_epi8(0x35), w = _mm256_set1_epi8(0x6c);
    const std::clock_t start = std::clock();
    for (long i = 0; i < n; ++i) {
      V d[7], s, t, c0, c1, c2, c, cc;
      for (int k = 0; k < 7; ++k) {
        // The compiler must not know that inputs stay the same.
        __asm__ volatile("" : "+x"(x), "+x"(w));
        d[k] = x ^ w;
      }
      add(d[0], d[1], d[2], s, c0);
      add(s, d[3], d[4], t, c1);
      add(t, d[5], d[6], s, c2);
      add(c0, c1, c2, c, cc);
      bytes = _mm256_add_epi8(bytes, count(s, one));
      bytes = _mm256_add_epi8(bytes, count(c, two));
      bytes = _mm256_add_epi8(bytes, count(cc, four));
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    if (_mm256_extract_epi32(bytes, 0) == 1) std::puts("");
    const double rate = 7.0 * 256 * static_cast<double>(n) / seconds / 1e9;
    if (rate > best) best = rate;
  }
  std::printf("%.1f\n", best);
}
"#;
