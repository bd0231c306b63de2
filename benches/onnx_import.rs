//! Reading an ONNX file of 500 MB: CPU time of `unfloat inspect` beside reading the bytes and hashing them (SHA-256), and
//! peak memory beside the file's size. Both sides take turns in the same run.
//!
//! `cargo bench --bench onnx_import`. The model is a chain of dense layers, written by this program.

use cpu_time::ProcessTime;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds of each side.
const ROUNDS: usize = 5;
/// Features of each layer: 100 MB of weights each.
const FEATURES: usize = 5000;
const LAYERS: usize = 5;

fn main() -> Outcome<()> {
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = work.join("large.onnx");
    write_model(&file)?;
    let size = std::fs::metadata(&file)?.len() as f64;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = ProcessTime::now();
        let digest = Sha256::digest(std::fs::read(&file)?);
        theirs.push(start.elapsed().as_secs_f64());
        std::hint::black_box(digest);
        let before = cpu_seconds(&getrusage(UsageWho::RUSAGE_CHILDREN)?);
        let done = Command::new(env!("CARGO_BIN_EXE_unfloat"))
            .arg("inspect")
            .arg(&file)
            .stdout(Stdio::null())
            .status()?;
        if !done.success() {
            return Err("inspect failed".into());
        }
        ours.push(cpu_seconds(&getrusage(UsageWho::RUSAGE_CHILDREN)?) - before);
    }
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss() as f64 * 1024.0;
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "inspect {:.0} MB: {ours:.3} s of CPU; reading and hashing {theirs:.3} s; {:.2} of its speed (asked: 0.5)",
        size / 1e6,
        theirs / ours
    );
    println!("peak memory {:.0} MB = {:.2} x the file (asked: below 1.3)", peak / 1e6, peak / size);
    std::fs::remove_file(&file)?;
    Ok(())
}

fn cpu_seconds(usage: &Usage) -> f64 {
    let time = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    time(usage.user_time()) + time(usage.system_time())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A protobuf field of a message's bytes.
fn field(to: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(to, number << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// A protobuf field of an integer.
fn integer(to: &mut Vec<u8>, number: u64, value: u64) {
    varint(to, number << 3);
    varint(to, value);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A `ValueInfoProto` of floats, a batch of any size in front.
fn port(name: &str) -> Vec<u8> {
    let (mut open, mut known, mut shape, mut tensor, mut ty, mut out) = Default::default();
    field(&mut open, 2, b"N");
    integer(&mut known, 1, FEATURES as u64);
    field(&mut shape, 1, &open);
    field(&mut shape, 1, &known);
    integer(&mut tensor, 1, 1);
    field(&mut tensor, 2, &shape);
    field(&mut ty, 1, &tensor);
    field(&mut out, 1, name.as_bytes());
    field(&mut out, 2, &ty);
    out
}

/// `y0 = input; y(i+1) = relu(y(i) · w(i))`. Weights are written as they are made, so that this program stays small.
fn write_model(path: &Path) -> Outcome<()> {
    let mut graph = Vec::new();
    for i in 0..LAYERS {
        for (op, inputs, output) in [
            ("MatMul", vec![format!("y{i}"), format!("w{i}")], format!("z{i}")),
            ("Relu", vec![format!("z{i}")], format!("y{}", i + 1)),
        ] {
            let mut node = Vec::new();
            inputs.iter().for_each(|name| field(&mut node, 1, name.as_bytes()));
            field(&mut node, 2, output.as_bytes());
            field(&mut node, 4, op.as_bytes());
            field(&mut graph, 1, &node);
        }
    }
    field(&mut graph, 2, b"large");
    field(&mut graph, 11, &port("y0"));
    field(&mut graph, 12, &port(&format!("y{LAYERS}")));
    let bytes = FEATURES * FEATURES * 4;
    let tensor_head = |i: usize| {
        let mut tensor = Vec::new();
        integer(&mut tensor, 1, FEATURES as u64);
        integer(&mut tensor, 1, FEATURES as u64);
        integer(&mut tensor, 2, 1);
        field(&mut tensor, 8, format!("w{i}").as_bytes());
        varint(&mut tensor, 9 << 3 | 2);
        varint(&mut tensor, bytes as u64);
        let mut head = Vec::new();
        varint(&mut head, 5 << 3 | 2);
        varint(&mut head, (tensor.len() + bytes) as u64);
        head.extend_from_slice(&tensor);
        head
    };
    let heads: Vec<Vec<u8>> = (0..LAYERS).map(tensor_head).collect();
    let length = graph.len() + heads.iter().map(|h| h.len() + bytes).sum::<usize>();
    let (mut head, mut opset) = (Vec::new(), Vec::new());
    integer(&mut head, 1, 8);
    integer(&mut opset, 2, 17);
    field(&mut head, 8, &opset);
    varint(&mut head, 7 << 3 | 2);
    varint(&mut head, length as u64);
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&head)?;
    out.write_all(&graph)?;
    let mut state = 1u32;
    for head in heads {
        out.write_all(&head)?;
        for _ in 0..FEATURES * FEATURES {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            out.write_all(&((state >> 8) as f32 / (1 << 24) as f32 - 0.5).to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}
