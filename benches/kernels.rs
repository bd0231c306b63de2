//! cifar10_cnn written out by hand on the executor's kernels: images per second at batch 1 and 64, and GFLOP/s of each
//! layer. One thread.
//!
//! `cargo bench --bench kernels [-- avx512|avx2|portable]`. The comparison with onnxruntime is in `cifar10_cnn.rs`.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;
use unfloat_exec::kernels::{
    Activation, AlignedBuffer, Conv, ConvShape, Dense, Isa, KernelError, Pool, PoolKind, PoolShape,
    softmax_in_place,
};

/// The network: 1.25 million parameters, 20.7 million multiply-adds.
struct Net {
    isa: Isa,
    convs: [Conv; 4],
    pools: [Pool; 2],
    dense: [Dense; 2],
}

/// Activations: two buffers for one sample, the flattened features and the hidden layer of a batch, scratch.
struct Arena {
    a: AlignedBuffer,
    b: AlignedBuffer,
    features: AlignedBuffer,
    hidden: AlignedBuffer,
    scratch: AlignedBuffer,
}

const FEATURES: usize = 6 * 6 * 64;

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

impl Net {
    fn new(isa: Isa) -> Result<Net, KernelError> {
        let conv = |size: usize, i: usize, o: usize, pad: usize| {
            let shape = ConvShape {
                pad_begin: [0, pad, pad],
                pad_end: [0, pad, pad],
                ..ConvShape::conv2d([size, size], [i, o], [3, 3])
            };
            let weights = numbers(9 * i * o, (8.0 / (9 * i) as f32).sqrt());
            Conv::new(isa, &shape, &weights, Some(&numbers(o, 0.1)), Activation::Relu)
        };
        let pool = |size: usize, channels: usize| {
            let shape = PoolShape::pool2d([size, size], channels, [2, 2]);
            Pool::new(isa, &shape, PoolKind::Max)
        };
        let dense = |i: usize, o: usize, act| {
            let weights = numbers(i * o, (8.0 / i as f32).sqrt());
            Dense::new(isa, i, o, &weights, Some(&numbers(o, 0.1)), act)
        };
        Ok(Net {
            isa,
            convs: [conv(32, 3, 32, 1)?, conv(32, 32, 32, 0)?, conv(15, 32, 64, 1)?, conv(15, 64, 64, 0)?],
            pools: [pool(30, 32)?, pool(13, 64)?],
            dense: [dense(FEATURES, 512, Activation::Relu)?, dense(512, 10, Activation::None)?],
        })
    }

    fn arena(&self, batch: usize) -> Arena {
        let scratch = self.convs.iter().map(Conv::scratch_len).max().unwrap_or(0);
        Arena {
            a: AlignedBuffer::zeroed(32 * 32 * 32),
            b: AlignedBuffer::zeroed(30 * 30 * 32),
            features: AlignedBuffer::zeroed(batch * FEATURES),
            hidden: AlignedBuffer::zeroed(batch * 512),
            scratch: AlignedBuffer::zeroed(scratch),
        }
    }

    /// One layer on `batch` samples; `lap` is called after each with its number. The convolutional part goes sample by
    /// sample, so that it stays in the second-level cache; the dense part takes the whole batch.
    fn run(
        &self,
        batch: usize,
        x: &[f32],
        y: &mut [f32],
        m: &mut Arena,
        mut lap: impl FnMut(usize),
    ) -> Result<(), KernelError> {
        let [c1, c2, c3, c4] = &self.convs;
        let [p1, p2] = &self.pools;
        for (x, features) in x.chunks(c1.input_len()).zip(m.features.chunks_mut(FEATURES)) {
            let (a, b, s) = (&mut m.a, &mut m.b, &mut m.scratch);
            c1.run(1, x, &mut a[..c1.output_len()], s)?;
            lap(0);
            c2.run(1, &a[..c2.input_len()], &mut b[..c2.output_len()], s)?;
            lap(1);
            p1.run(1, &b[..p1.input_len()], &mut a[..p1.output_len()])?;
            lap(2);
            c3.run(1, &a[..c3.input_len()], &mut b[..c3.output_len()], s)?;
            lap(3);
            c4.run(1, &b[..c4.input_len()], &mut a[..c4.output_len()], s)?;
            lap(4);
            p2.run(1, &a[..p2.input_len()], features)?;
            lap(5);
        }
        self.dense[0].run(batch, &m.features, &mut m.hidden)?;
        lap(6);
        self.dense[1].run(batch, &m.hidden, y)?;
        lap(7);
        softmax_in_place(self.isa, (batch, 10), y)?;
        lap(8);
        Ok(())
    }
}

/// Multiply-adds per image of each lap.
const MACS: [(&str, usize); 9] = [
    ("conv 3x3 3-32 same", 32 * 32 * 32 * 27),
    ("conv 3x3 32-32 valid", 30 * 30 * 32 * 288),
    ("max pool 2x2", 0),
    ("conv 3x3 32-64 same", 15 * 15 * 64 * 288),
    ("conv 3x3 64-64 valid", 13 * 13 * 64 * 576),
    ("max pool 2x2", 0),
    ("dense 2304-512", FEATURES * 512),
    ("dense 512-10", 5120),
    ("softmax 10", 0),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut wanted = Vec::new();
    wanted.extend(std::env::args().skip(1).filter(|arg| arg != "--bench"));
    for isa in Isa::available() {
        if wanted.is_empty() || wanted.iter().any(|w| w == isa.name()) {
            for batch in [1, 64] {
                layers(isa, batch)?;
            }
        }
    }
    Ok(())
}

/// Prints the least time of each layer.
fn layers(isa: Isa, batch: usize) -> Result<(), KernelError> {
    let net = Net::new(isa)?;
    let mut arena = net.arena(batch);
    let x = numbers(batch * net.convs[0].input_len(), 1.0);
    let mut y = vec![0.0; batch * 10];
    let (mut total, mut laps) = (f64::INFINITY, [f64::INFINITY; 9]);
    for _ in 0..1280 / batch {
        let start = Instant::now();
        net.run(batch, &x, &mut y, &mut arena, |_| ())?;
        total = total.min(start.elapsed().as_secs_f64());
        black_box(&y);
        let mut times = [0.0; 9];
        let mut last = Instant::now();
        net.run(batch, &x, &mut y, &mut arena, |i| {
            let now = Instant::now();
            times[i] += now.duration_since(last).as_secs_f64();
            last = now;
        })?;
        for (best, t) in laps.iter_mut().zip(times) {
            *best = best.min(t);
        }
    }
    let images = batch as f64;
    println!("{isa:?}, batch {batch}: at best {:.0} images/s", images / total);
    for ((name, macs), t) in MACS.iter().zip(laps) {
        let t = t / images;
        let flops = 2.0 * *macs as f64 / t / 1e9;
        println!("  {name:22} {:8.2} us {flops:8.1} GFLOP/s", t * 1e6);
    }
    Ok(())
}
