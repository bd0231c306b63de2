//! Graphs of integers in the executor: images per second of a cifar10_cnn in 8 bits beside the same shape in floats, and
//! samples per second of a 16-64-32-32-5 network in 16 bits. One thread; CPU times, so that other work on the machine does
//! not count. The weights are random codes; a requantization follows each layer.
//!
//! `cargo bench --bench int8 -- --against PYTHON`, with an interpreter that has onnxruntime, onnx and numpy: the network in
//! floats is then quantized by onnxruntime's own static quantization (QDQ, one scale per channel), and takes turns.

use cpu_time::ProcessTime;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use unfloat_exec::kernels::Isa;
use unfloat_exec::{Plan, PlanOptions};
use unfloat_ir::ops::{
    Conv, Dense, Dequantize, MaxPool, Quantize, QuantizeOrder, Requantize, Reshape, Softmax, Unary, Window,
};
use unfloat_ir::{
    ElemType, Graph, IntType, Layout, Op, Origin, Overflow, Rounding, Tensor, TensorType, ValueId,
    accumulator,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds of each side.
const ROUNDS: usize = 9;

const MACS: f64 = 20.7e6;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let mut against = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--against" => against = args.next(),
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let models = match &against {
        Some(python) => Some(onnx_models(python)?),
        None => None,
    };
    let (int8, floats) = (cifar10_cnn(true)?, cifar10_cnn(false)?);
    for isa in Isa::available() {
        for batch in [1, 64] {
            let mut rates = Vec::new();
            for (what, graph, model) in [("floats", &floats, 0), ("int8", &int8, 1)] {
                // The peer chooses its own instruction set: only the best is compared with it.
                let peer = match (&models, &against) {
                    (Some(models), Some(python)) if isa == Isa::detect() => {
                        Some(Peer::onnxruntime(python, &models[model], batch)?)
                    }
                    _ => None,
                };
                let name = format!("cifar10_cnn in {what}, {}, batch {batch}", isa.name());
                rates.push(images(&name, graph, isa, batch, 3072, peer)?);
            }
            println!(
                "  int8 / floats {:.2}, {:.1} G multiply-adds/s",
                rates[1] / rates[0],
                rates[1] * MACS / 1e9
            );
        }
        images(&format!("16-64-32-32-5 in 16 bits, {}, batch 64", isa.name()), &mlp()?, isa, 64, 16, None)?;
    }
    Ok(())
}

/// Takes turns with the peer, if there is one; prints and returns the median of samples per second.
fn images(
    what: &str,
    graph: &Graph,
    isa: Isa,
    batch: usize,
    len: usize,
    mut peer: Option<Peer>,
) -> Outcome<f64> {
    let plan = Plan::new(graph, &PlanOptions { isa, ..PlanOptions::default() })?;
    let mut workspace = plan.workspace();
    let input: Vec<f32> = numbers(len * batch, 4.0);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = ProcessTime::now();
        let mut count = 0;
        while start.elapsed().as_secs_f64() < 0.2 {
            for _ in 0..64usize.div_ceil(batch) {
                black_box(plan.run_in(&mut workspace, &[&input], batch)?);
                count += batch;
            }
        }
        ours.push(count as f64 / start.elapsed().as_secs_f64());
        if let Some(peer) = &mut peer {
            theirs.push(peer.round()?);
        }
    }
    let ours = median(ours);
    match peer {
        None => println!("{what}: {ours:.0}/s"),
        Some(_) => {
            let theirs = median(theirs);
            println!("{what}: {ours:.0}/s, onnxruntime {theirs:.0}/s, ratio {:.2}", ours / theirs);
        }
    }
    Ok(ours)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Numbers in -0.5..0.5 times `scale`.
fn numbers(n: usize, scale: f32) -> Vec<f32> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * scale
        })
        .collect()
}

/// A graph under construction.
struct Net {
    g: Graph,
    last: ValueId,
    /// Bits of weights and activations; none for floats.
    bits: Option<u8>,
}

impl Net {
    fn new(shape: &[usize], bits: Option<u8>) -> Outcome<Net> {
        let mut g = Graph::new("net");
        let layout = Layout::channels_last(shape.len() - 1);
        let last = g.add_input("x", TensorType::f32(shape, layout));
        let mut net = Net { g, last, bits };
        if let Some(bits) = bits {
            let (scale, zero) = net.scale(2f32.powi(2 - i32::from(bits)));
            let op = Quantize {
                to: ElemType::signed(bits),
                narrow: false,
                rounding: Rounding::HalfEven,
                overflow: Overflow::Saturate,
                order: QuantizeOrder::RoundThenSaturate,
            };
            net.op(op, &[scale, zero])?;
        }
        Ok(net)
    }

    fn scale(&mut self, scale: f32) -> (ValueId, ValueId) {
        let mut scalar = |v: f32| self.g.add_const("c", Tensor::f32([], Layout::anonymous(0), vec![v]));
        (scalar(scale), scalar(0.0))
    }

    fn op(&mut self, op: impl Into<Op>, more: &[ValueId]) -> Outcome<&mut Self> {
        let inputs: Vec<ValueId> = [self.last].iter().chain(more).copied().collect();
        self.last = self.g.add_node(op, &inputs, "v", &Origin::default())?;
        Ok(self)
    }

    /// A constant of numbers in -0.5..0.5 times `scale`, or of codes of so many bits.
    fn constant(&mut self, shape: &[usize], scale: f32, bits: u8) -> ValueId {
        let (n, layout) = (shape.iter().product(), Layout::anonymous(shape.len()));
        let t = match self.bits {
            None => Tensor::f32(shape, layout, numbers(n, scale)),
            Some(_) => {
                let most = 2f32.powi(i32::from(bits)) - 1.0;
                let codes = numbers(n, most).into_iter().map(|v| v as i64);
                Tensor::codes(TensorType::new(ElemType::signed(bits), shape, layout), codes)
            }
        };
        self.g.add_const("c", t)
    }

    fn layer(&mut self, op: impl Into<Op>, shape: &[usize], relu: bool) -> Outcome<&mut Self> {
        let fan_in = shape[1..].iter().product::<usize>() as f32;
        let bits = self.bits.unwrap_or(32);
        let w = self.constant(shape, (8.0 / fan_in).sqrt(), bits.min(12));
        let b = self.constant(&shape[..1], 0.1, bits);
        self.op(op, &[w, b])?;
        match self.bits {
            None if relu => self.op(Unary::Relu, &[]),
            None => Ok(self),
            Some(bits) => self.requantize(bits, relu),
        }
    }

    /// A requantization per channel so that the greatest sums take three quarters of the codes.
    fn requantize(&mut self, bits: u8, relu: bool) -> Outcome<&mut Self> {
        let (_, node) = self.g.producer(self.last).ok_or("no layer")?;
        let sums = accumulator::of_node(&self.g, node, None)?;
        let to = if relu && bits == 8 { IntType::unsigned(bits) } else { IntType::signed(bits) };
        let most = 2f64.powi(i32::from(bits) - i32::from(to.signed)) * 3.0;
        let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
        for (lo, hi) in &sums.channels {
            // 2^30 or more, over a power of two.
            let factor = most / (lo.abs().max(hi.abs()) as f64);
            let shift = 30 - factor.log2().floor() as i64;
            multipliers.push((factor * 2f64.powi(shift as i32)) as i64);
            shifts.push(shift);
        }
        let n = shifts.len();
        let mut add = |elem: ElemType, codes: Vec<i64>| {
            self.g.add_const("q", Tensor::codes(TensorType::new(elem, [n], Layout::anonymous(1)), codes))
        };
        let unsigned6 = ElemType::Int(IntType::unsigned(6));
        let more = [
            add(ElemType::signed(32), multipliers),
            add(ElemType::signed(8), vec![0; n]),
            add(unsigned6, shifts),
        ];
        self.op(
            Requantize { to, rounding: Rounding::HalfUp, overflow: Overflow::Saturate, narrow: false },
            &more,
        )?;
        if relu && to.signed { self.op(Unary::Relu, &[]) } else { Ok(self) }
    }

    fn finish(&mut self) -> Outcome<Graph> {
        match self.bits {
            None => self.op(Softmax { axes: vec![0], log: false }, &[])?,
            Some(_) => {
                let (scale, zero) = self.scale(0.1);
                self.op(Dequantize, &[scale, zero])?
            }
        };
        self.g.add_output("y", self.last);
        Ok(self.g.clone())
    }
}

fn cifar10_cnn(int8: bool) -> Outcome<Graph> {
    let mut net = Net::new(&[32, 32, 3], int8.then_some(8))?;
    let conv = |pad: usize| Conv { window: Window::new([3, 3]).pads([pad; 2], [pad; 2]), groups: 1 };
    let pool = || MaxPool { window: Window::new([2, 2]).strides([2, 2]) };
    net.layer(conv(1), &[32, 3, 3, 3], true)?.layer(conv(0), &[32, 3, 3, 32], true)?.op(pool(), &[])?;
    net.layer(conv(1), &[64, 3, 3, 32], true)?.layer(conv(0), &[64, 3, 3, 64], true)?.op(pool(), &[])?;
    net.op(Reshape { shape: [2304].into(), layout: Layout::channels_last(0) }, &[])?;
    net.layer(Dense, &[512, 2304], true)?.layer(Dense, &[10, 512], false)?.finish()
}

fn mlp() -> Outcome<Graph> {
    let mut net = Net::new(&[16], Some(16))?;
    net.layer(Dense, &[64, 16], true)?.layer(Dense, &[32, 64], true)?;
    net.layer(Dense, &[32, 32], true)?.layer(Dense, &[5, 32], false)?.finish()
}

/// The network in floats, and quantized, as files for onnxruntime.
fn onnx_models(python: &str) -> Outcome<[PathBuf; 2]> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("int8");
    std::fs::create_dir_all(&work)?;
    let shapes: [&[usize]; 6] =
        [&[32, 3, 3, 3], &[32, 3, 3, 32], &[64, 3, 3, 32], &[64, 3, 3, 64], &[512, 2304], &[10, 512]];
    let mut arrays = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        let fan_in = shape[1..].iter().product::<usize>();
        let w = numbers(shape.iter().product(), (8.0 / fan_in as f32).sqrt());
        arrays.push((format!("w{i}"), Tensor::f32(*shape, Layout::anonymous(shape.len()), w)));
        arrays.push((format!("b{i}"), Tensor::f32([shape[0]], Layout::anonymous(1), numbers(shape[0], 0.1))));
    }
    let (weights, floats, int8) =
        (work.join("weights.npz"), work.join("floats.onnx"), work.join("int8.onnx"));
    std::fs::write(&weights, unfloat_npy::write_npz(arrays.iter().map(|(n, t)| (n.as_str(), t)))?)?;
    let run = |command: &mut Command| -> Outcome<()> {
        if command.stderr(Stdio::null()).status()?.success() {
            Ok(())
        } else {
            Err(format!("{command:?} failed").into())
        }
    };
    run(Command::new(python).arg(script).arg(&floats).arg("--cifar10-cnn").arg(&weights))?;
    run(Command::new(python).arg(script).arg(&floats).arg("--quantize").arg(&int8))?;
    Ok([floats, int8])
}

/// onnxruntime, which runs one round and prints its images per second for every line that it reads.
struct Peer {
    child: Child,
    ask: Option<ChildStdin>,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn onnxruntime(python: &str, onnx: &std::path::Path, batch: usize) -> Outcome<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/onnxruntime.py");
        let mut command = Command::new(python);
        command.arg(script).arg(onnx).args(["--serve", "--batch", &batch.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let mut peer = Self { child, ask, answers };
        peer.answers.next().ok_or("the peer ended early")??;
        Ok(peer)
    }
    fn round(&mut self) -> Outcome<f64> {
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
