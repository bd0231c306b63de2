use super::{Random, assert_close, assert_same_bits, guarded};
use crate::kernels::{Isa, Pool, PoolKind, PoolShape, global_mean};

/// The definition, in f64.
fn naive(s: &PoolShape, kind: PoolKind, x: &[f32]) -> Vec<f64> {
    let out = s.output().unwrap();
    let mut result = Vec::new();
    let cells = |axis: usize, o: usize| -> Vec<(usize, bool, bool)> {
        (0..s.kernel[axis])
            .map(|k| {
                let p = o * s.stride[axis] + k * s.dilation[axis];
                let (b, n) = (s.pad_begin[axis], s.input[axis]);
                let inside = p >= b && p < b + n;
                (p.wrapping_sub(b), inside, p < b + n + s.pad_end[axis])
            })
            .collect()
    };
    for z in 0..out[0] {
        for y in 0..out[1] {
            for x0 in 0..out[2] {
                for c in 0..s.channels {
                    let (mut max, mut sum, mut valid, mut padded) = (f64::NEG_INFINITY, 0.0, 0, 0);
                    for (pz, iz, qz) in cells(0, z) {
                        for (py, iy, qy) in cells(1, y) {
                            for (px, ix, qx) in cells(2, x0) {
                                padded += usize::from(qz && qy && qx);
                                if iz && iy && ix {
                                    let at = (pz * s.input[1] + py) * s.input[2] + px;
                                    let v = x[at * s.channels + c] as f64;
                                    max = max.max(v);
                                    sum += v;
                                    valid += 1;
                                }
                            }
                        }
                    }
                    result.push(match kind {
                        PoolKind::Max => max,
                        PoolKind::Average => sum / valid.max(1) as f64,
                        PoolKind::AveragePadded => sum / padded.max(1) as f64,
                    });
                }
            }
        }
    }
    result
}

#[test]
fn random_pools() {
    for seed in 0..300 {
        let mut r = Random::new(seed);
        let rank = r.int(1, 3);
        let axis = |r: &mut Random, i: usize, lo: usize, hi: usize, unused: usize| {
            if i + rank < 3 { unused } else { r.int(lo, hi) }
        };
        let shape = PoolShape {
            input: std::array::from_fn(|i| axis(&mut r, i, 1, 11, 1)),
            channels: r.pick(&[1, 3, 8, 15, 16, 17, 32, 37]),
            kernel: std::array::from_fn(|i| axis(&mut r, i, 1, 4, 1)),
            stride: std::array::from_fn(|i| axis(&mut r, i, 1, 3, 1)),
            dilation: std::array::from_fn(|i| axis(&mut r, i, 1, 2, 1)),
            pad_begin: std::array::from_fn(|i| axis(&mut r, i, 0, 3, 0)),
            pad_end: std::array::from_fn(|i| axis(&mut r, i, 0, 3, 0)),
            ceil_extra: std::array::from_fn(|i| axis(&mut r, i, 0, 1, 0)),
        };
        let kind = r.pick(&[PoolKind::Max, PoolKind::Average, PoolKind::AveragePadded]);
        for isa in Isa::available() {
            let pool = Pool::new(isa, &shape, kind).unwrap();
            let x = r.values(2 * pool.input_len());
            let got = guarded(2 * pool.output_len(), |out| pool.run(2, &x, out));
            let mut want = naive(&shape, kind, &x[..pool.input_len()]);
            want.extend(naive(&shape, kind, &x[pool.input_len()..]));
            let context = format!("{isa:?} {kind:?} {shape:?}");
            let (finite_got, finite_want): (Vec<f32>, Vec<f64>) =
                got.iter().zip(&want).filter(|(_, w)| w.is_finite()).map(|(&g, &w)| (g, w)).unzip();
            assert_close(&finite_got, &finite_want, 1e-6, &context);
            let empty = |x: f64| x == f64::NEG_INFINITY;
            assert_eq!(
                got.iter().filter(|&&g| empty(g as f64)).count(),
                want.iter().filter(|&&w| empty(w)).count(),
                "{context}"
            );
        }
    }
}

#[test]
fn a_window_that_only_rounding_up_created_counts_real_and_padded_cells() {
    // Five inputs, windows of 2, stride 2, rounded up: the third window has one cell.
    let shape = PoolShape { ceil_extra: [0, 0, 1], ..PoolShape::pool2d([1, 5], 1, [1, 2]) };
    let x = [1.0, 3.0, 5.0, 7.0, 9.0];
    for isa in Isa::available() {
        for (kind, last) in [(PoolKind::Max, 9.0), (PoolKind::Average, 9.0), (PoolKind::AveragePadded, 9.0)] {
            let pool = Pool::new(isa, &shape, kind).unwrap();
            let got = guarded(3, |out| pool.run(1, &x, out));
            assert_eq!(got[2], last, "{isa:?} {kind:?}");
        }
        let padded = PoolShape { pad_end: [0, 0, 1], ceil_extra: [0; 3], ..shape.clone() };
        let pool = Pool::new(isa, &padded, PoolKind::AveragePadded).unwrap();
        assert_eq!(guarded(3, |out| pool.run(1, &x, out))[2], 4.5);
    }
}

#[test]
fn global_means() {
    for (batch, pixels, channels) in [(1, 1, 1), (2, 49, 20), (3, 1000, 3), (2, 7, 64), (0, 3, 3), (2, 0, 3)]
    {
        let mut r = Random::new(pixels as u64);
        let x = r.values(batch * pixels * channels);
        let mut want = vec![0.0f64; batch * channels];
        for (i, &v) in x.iter().enumerate() {
            want[i / (pixels * channels) * channels + i % channels] += v as f64 / pixels as f64;
        }
        for isa in Isa::available() {
            let got = guarded(batch * channels, |out| global_mean(isa, (batch, pixels, channels), &x, out));
            assert_close(&got, &want, 1e-6, &format!("{isa:?} {pixels}"));
            if batch > 0 {
                let one = guarded(channels, |out| {
                    global_mean(isa, (1, pixels, channels), &x[..pixels * channels], out)
                });
                assert_same_bits(&one, &got[..channels], "batch");
            }
        }
    }
}

#[test]
fn pools_refuse_wrong_shapes_and_lengths() {
    let isa = Isa::detect();
    let shape = PoolShape::pool2d([4, 4], 3, [2, 2]);
    for bad in [
        PoolShape { kernel: [1, 0, 2], ..shape.clone() },
        PoolShape { stride: [0, 1, 1], ..shape.clone() },
        PoolShape { dilation: [1, 1, usize::MAX], ..shape.clone() },
        PoolShape { pad_end: [0, 0, usize::MAX], ..shape.clone() },
        PoolShape { channels: usize::MAX, ..shape.clone() },
        PoolShape { channels: 0, input: [1, 1 << 40, 1 << 40], ..shape.clone() },
    ] {
        assert!(Pool::new(isa, &bad, PoolKind::Max).is_err(), "{bad:?}");
    }
    let pool = Pool::new(isa, &shape, PoolKind::Max).unwrap();
    assert!(pool.run(1, &[0.0; 48], &mut [0.0; 12]).is_ok());
    assert!(pool.run(1, &[0.0; 47], &mut [0.0; 12]).is_err());
    assert!(pool.run(2, &[0.0; 48], &mut [0.0; 12]).is_err());
    assert!(global_mean(isa, (1, 2, 3), &[0.0; 6], &mut [0.0; 4]).is_err());
    // A window larger than the input has no output.
    let none = Pool::new(isa, &PoolShape::pool2d([1, 1], 3, [2, 2]), PoolKind::Max).unwrap();
    assert_eq!(none.output_len(), 0);
    assert!(none.run(1, &[0.0; 3], &mut []).is_ok());
}

#[test]
fn nan_wins_wherever_it_stands() {
    for isa in Isa::available() {
        for at in 0..4 {
            for kernel in [2, 3] {
                // A window of four, and one that hangs over the edge.
                let shape = PoolShape {
                    pad_end: [0, kernel - 2, kernel - 2],
                    ..PoolShape::pool2d([2, 2], 17, [kernel, kernel])
                };
                let pool = Pool::new(isa, &shape, PoolKind::Max).unwrap();
                let mut x = vec![1.0; 68];
                x[at * 17..][..17].fill(f32::NAN);
                let got = guarded(17, |out| pool.run(1, &x, out));
                assert!(got.iter().all(|v| v.is_nan()), "{isa:?} {at}: {got:?}");
            }
        }
    }
}
