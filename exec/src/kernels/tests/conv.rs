use super::{Random, assert_close, assert_same_bits, guarded};
use crate::kernels::{
    Activation, Conv, ConvShape, ConvTranspose, ConvTransposeShape, Dense, Isa, KernelError,
};

/// The definition, in f64.
fn naive(shape: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], act: Activation) -> Vec<f64> {
    let [od, oh, ow] = shape.output().unwrap();
    let [id, ih, iw] = shape.input;
    let [kd, kh, kw] = shape.kernel;
    let (ci, co) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let at = |o: usize, k: usize, axis: usize, n: usize| {
        (o * shape.stride[axis] + k * shape.dilation[axis])
            .checked_sub(shape.pad_begin[axis])
            .filter(|&i| i < n)
    };
    let mut out = Vec::new();
    for (z, y, x0) in (0..od).flat_map(|z| (0..oh).flat_map(move |y| (0..ow).map(move |x| (z, y, x)))) {
        for o in 0..shape.out_channels {
            let g = o / co;
            let mut sum = bias[o] as f64;
            for (dz, dy, dx) in
                (0..kd).flat_map(|z| (0..kh).flat_map(move |y| (0..kw).map(move |x| (z, y, x))))
            {
                let (Some(pz), Some(py), Some(px)) = (at(z, dz, 0, id), at(y, dy, 1, ih), at(x0, dx, 2, iw))
                else {
                    continue;
                };
                for i in 0..ci {
                    let xi = x[((pz * ih + py) * iw + px) * shape.in_channels + g * ci + i];
                    let wi = w[(((o * kd + dz) * kh + dy) * kw + dx) * ci + i];
                    sum += xi as f64 * wi as f64;
                }
            }
            out.push(match act {
                Activation::None => sum,
                Activation::Relu => sum.max(0.0),
                Activation::Clip { lo, hi } => sum.max(lo as f64).min(hi as f64),
                Activation::Leaky { slope } => sum.max(0.0) + slope as f64 * sum.min(0.0),
            });
        }
    }
    out
}

/// Rounding errors of a sum of `terms` products of numbers below 1 grow like the square root of their number.
fn tolerance(terms: usize) -> f64 {
    2e-6 * (terms as f64).sqrt().max(1.0)
}

const ACTIVATIONS: [Activation; 4] = [
    Activation::None,
    Activation::Relu,
    Activation::Clip { lo: -0.3, hi: 0.4 },
    Activation::Leaky { slope: 0.25 },
];

/// Runs the convolution on every instruction set and checks values, guards, batch positions and equality of bits.
fn check(shape: &ConvShape, seed: u64) {
    let mut r = Random::new(seed);
    let context = format!("{shape:?} seed {seed}");
    let w = r.values(shape.weights_len().unwrap());
    let bias = r.values(shape.out_channels);
    let act = r.pick(&ACTIVATIONS);
    let n = shape.input.iter().product::<usize>() * shape.in_channels;
    let batch = 3;
    let x = r.values(batch * n);
    let mut fused: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        let conv = Conv::new(isa, shape, &w, Some(&bias), act).unwrap();
        assert_eq!(conv.input_len(), n);
        let run = |batch: usize, x: &[f32]| {
            // Scratch full of NaN: padding must be written, not assumed.
            let mut scratch = vec![f32::NAN; conv.scratch_len()];
            guarded(batch * conv.output_len(), |out| conv.run(batch, x, out, &mut scratch))
        };
        let got = run(batch, &x);
        for i in 0..batch {
            let one = &x[i * n..(i + 1) * n];
            let part = &got[i * conv.output_len()..(i + 1) * conv.output_len()];
            let want = naive(shape, one, &w, &bias, act);
            assert_close(
                part,
                &want,
                tolerance(w.len() / shape.out_channels.max(1)),
                &format!("{isa:?} {act:?} {context}"),
            );
            assert_same_bits(&run(1, one), part, &format!("batch position, {isa:?} {context}"));
        }
        if isa != Isa::portable() {
            if let Some(other) = &fused {
                assert_same_bits(&got, other, &format!("instruction sets, {context}"));
            }
            fused = Some(got);
        }
    }
}

#[test]
fn random_convolutions_of_all_ranks() {
    for seed in 0..250 {
        let mut r = Random::new(seed);
        let rank = r.int(1, 3);
        let axis = |r: &mut Random, i: usize, lo: usize, hi: usize, unused: usize| {
            if i + rank < 3 { unused } else { r.int(lo, hi) }
        };
        let groups = r.pick(&[1, 1, 1, 2, 3]);
        let most = [40, 19, 9][rank - 1];
        let shape = ConvShape {
            input: std::array::from_fn(|i| axis(&mut r, i, 1, most, 1)),
            in_channels: groups * r.pick(&[1, 2, 3, 4, 7, 16, 33]),
            out_channels: groups * r.pick(&[1, 3, 8, 10, 16, 17, 32, 40, 64, 70]),
            kernel: std::array::from_fn(|i| axis(&mut r, i, 1, 4, 1)),
            stride: std::array::from_fn(|i| axis(&mut r, i, 1, 3, 1)),
            dilation: std::array::from_fn(|i| axis(&mut r, i, 1, 2, 1)),
            pad_begin: std::array::from_fn(|i| axis(&mut r, i, 0, 2, 0)),
            pad_end: std::array::from_fn(|i| axis(&mut r, i, 0, 2, 0)),
            groups,
        };
        check(&shape, seed);
    }
}

#[test]
fn every_row_length_meets_its_own_tiles() {
    for width in 1..32 {
        for (i, o) in [(3, 32), (5, 64), (2, 16), (1, 7)] {
            let shape = ConvShape {
                pad_begin: [0, 1, 1],
                pad_end: [0, 1, 1],
                ..ConvShape::conv2d([2, width], [i, o], [3, 3])
            };
            check(&shape, (width * 100 + o) as u64);
        }
    }
}

#[test]
fn pointwise_convolutions_run_over_rows_and_samples() {
    for (h, w, i, o) in [(1, 1, 5, 9), (3, 5, 16, 64), (7, 7, 40, 33), (2, 9, 1, 1)] {
        check(&ConvShape::conv2d([h, w], [i, o], [1, 1]), 7);
        let strided = ConvShape { stride: [1, 2, 2], ..ConvShape::conv2d([h, w], [i, o], [1, 1]) };
        check(&strided, 8);
    }
}

#[test]
fn depthwise_convolutions_with_multipliers() {
    for seed in 0..120 {
        let mut r = Random::new(seed + 1000);
        let channels = r.pick(&[2, 3, 8, 15, 16, 17, 32, 48]);
        let shape = ConvShape {
            input: [r.pick(&[1, 1, 3]), r.int(1, 9), r.int(1, 17)],
            in_channels: channels,
            out_channels: channels * r.pick(&[1, 1, 2, 3]),
            kernel: [1, r.int(1, 3), r.int(1, 5)],
            stride: [1, r.int(1, 2), r.int(1, 2)],
            dilation: [1, r.int(1, 2), r.int(1, 2)],
            pad_begin: [0, r.int(0, 2), r.int(0, 2)],
            pad_end: [0, r.int(0, 2), r.int(0, 2)],
            groups: channels,
        };
        check(&shape, seed);
    }
}

#[test]
fn sums_longer_than_a_block() {
    check(&ConvShape::conv2d([4, 5], [300, 40], [3, 3]), 1);
    check(&ConvShape::conv2d([1, 3], [2500, 70], [1, 2]), 2);
}

#[test]
fn empty_dimensions_give_empty_or_bias_only_outputs() {
    // The kernel does not fit.
    check(&ConvShape::conv2d([2, 2], [3, 8], [3, 3]), 1);
    // No output channels, no input channels, no pixels.
    check(&ConvShape::conv2d([4, 4], [3, 0], [3, 3]), 2);
    check(&ConvShape::conv2d([4, 4], [0, 5], [3, 3]), 3);
    check(&ConvShape::conv2d([0, 4], [3, 5], [1, 1]), 4);
    // A kernel that has extents, but no weights.
    let shape = ConvShape {
        pad_end: [0, 0, 1 << 30],
        kernel: [1, 1, 1 << 30],
        ..ConvShape::conv2d([1, 1], [0, 3], [1, 1])
    };
    let conv = Conv::new(Isa::detect(), &shape, &[], Some(&[1.0; 3]), Activation::None).unwrap();
    assert_eq!(guarded(6, |out| conv.run(1, &[], out, &mut [])), [1.0; 6]);
    // No samples.
    let shape = ConvShape::conv2d([3, 3], [2, 2], [2, 2]);
    let conv = Conv::new(Isa::detect(), &shape, &[1.0; 16], None, Activation::None).unwrap();
    conv.run(0, &[], &mut [], &mut []).unwrap();
}

#[test]
fn wrong_lengths_and_shapes_are_refused() {
    let isa = Isa::detect();
    let shape = ConvShape { pad_begin: [0, 1, 1], ..ConvShape::conv2d([3, 3], [2, 4], [2, 2]) };
    let new = |s: &ConvShape, n: usize, b: usize| {
        Conv::new(isa, s, &vec![0.0; n], Some(&vec![0.0; b]), Activation::None)
    };
    let text = |e: KernelError| e.to_string();
    assert_eq!(text(new(&shape, 31, 4).unwrap_err()), "convolution weights: expected 32 values, got 31");
    assert_eq!(text(new(&shape, 32, 3).unwrap_err()), "convolution bias: expected 4 values, got 3");
    for bad in [
        ConvShape { groups: 0, ..shape.clone() },
        ConvShape { groups: 3, ..shape.clone() },
        ConvShape { stride: [1, 0, 1], ..shape.clone() },
        ConvShape { kernel: [1, 0, 1], ..shape.clone() },
        ConvShape { dilation: [0, 1, 1], ..shape.clone() },
        ConvShape { pad_end: [0, usize::MAX, 0], ..shape.clone() },
        ConvShape { input: [1 << 30, 1 << 30, 1 << 30], ..shape.clone() },
        ConvShape { dilation: [1, usize::MAX / 2, 1], ..shape.clone() },
    ] {
        assert!(matches!(new(&bad, 32, 4), Err(KernelError::Shape(_))), "{bad:?}");
    }
    let conv = new(&shape, 32, 4).unwrap();
    let (n, m, s) = (conv.input_len(), conv.output_len(), conv.scratch_len());
    let run = |a: usize, b: usize, c: usize, batch: usize| {
        conv.run(batch, &vec![0.0; a], &mut vec![0.0; b], &mut vec![0.0; c])
    };
    assert!(run(n, m, s, 1).is_ok());
    assert!(run(n, m, s, 2).is_err());
    assert!(run(n - 1, m, s, 1).is_err());
    assert!(run(n, m + 1, s, 1).is_err());
    assert!(run(n, m, s - 1, 1).is_err());
    assert!(run(n, m, s, usize::MAX).is_err());
}

#[test]
fn nan_reaches_the_output_through_every_activation() {
    let shape = ConvShape::conv2d([1, 1], [1, 32], [1, 1]);
    for isa in Isa::available() {
        for act in ACTIVATIONS {
            let conv = Conv::new(isa, &shape, &[1.0; 32], None, act).unwrap();
            let out = guarded(32, |out| conv.run(1, &[f32::NAN], out, &mut []));
            assert!(out.iter().all(|x| x.is_nan()), "{isa:?} {act:?}: {out:?}");
        }
    }
}

#[test]
fn dense_layers_of_all_batches() {
    for seed in 0..60 {
        let mut r = Random::new(seed);
        let (i, o) =
            (r.pick(&[1, 2, 17, 64, 100, 1023, 1024, 1025, 2304]), r.pick(&[1, 9, 10, 16, 31, 64, 65, 130]));
        let (w, bias) = (r.values(i * o), r.values(o));
        let batch = r.int(1, 20);
        let x = r.values(batch * i);
        let act = r.pick(&ACTIVATIONS);
        let shape = ConvShape::conv2d([1, 1], [i, o], [1, 1]);
        let mut fused: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let context = format!("dense {i}x{o} batch {batch} {act:?} {isa:?}");
            let dense = Dense::new(isa, i, o, &w, Some(&bias), act).unwrap();
            let got = guarded(batch * o, |out| dense.run(batch, &x, out));
            for (x, got) in x.chunks(i).zip(got.chunks(o)) {
                assert_close(got, &naive(&shape, x, &w, &bias, act), tolerance(i), &context);
                let alone = guarded(o, |out| dense.run(1, x, out));
                assert_same_bits(&alone, got, &context);
            }
            if isa != Isa::portable() {
                if let Some(other) = &fused {
                    assert_same_bits(&got, other, &context);
                }
                fused = Some(got);
            }
        }
    }
}

#[test]
fn dense_refuses_wrong_lengths() {
    let isa = Isa::detect();
    assert!(Dense::new(isa, 3, 2, &[0.0; 5], None, Activation::None).is_err());
    assert!(Dense::new(isa, 3, 2, &[0.0; 6], Some(&[0.0]), Activation::None).is_err());
    assert!(Dense::new(isa, usize::MAX, 2, &[0.0; 6], None, Activation::None).is_err());
    let dense = Dense::new(isa, 3, 2, &[0.0; 6], None, Activation::None).unwrap();
    assert!(dense.run(1, &[0.0; 3], &mut [0.0; 3]).is_err());
    assert!(dense.run(2, &[0.0; 3], &mut [0.0; 4]).is_err());
    assert!(dense.run(0, &[], &mut []).is_ok());
}

/// The definition of the transposed convolution, in f64.
fn naive_transpose(s: &ConvTransposeShape, x: &[f32], w: &[f32], bias: &[f32], act: Activation) -> Vec<f64> {
    let [od, oh, ow] = s.output;
    let [id, ih, iw] = s.input;
    let [kd, kh, kw] = s.kernel;
    let (ci, co) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut out: Vec<f64> = Vec::new();
    for _ in 0..od * oh * ow {
        out.extend(bias.iter().map(|&b| b as f64));
    }
    let grid = |n: [usize; 3]| {
        (0..n[0]).flat_map(move |z| (0..n[1]).flat_map(move |y| (0..n[2]).map(move |x| [z, y, x])))
    };
    for i in grid([id, ih, iw]) {
        for k in grid([kd, kh, kw]) {
            let at = |axis: usize| {
                (i[axis] * s.stride[axis] + k[axis] * s.dilation[axis])
                    .checked_sub(s.crop[axis])
                    .filter(|&o| o < s.output[axis])
            };
            let (Some(z), Some(y), Some(x0)) = (at(0), at(1), at(2)) else { continue };
            for o in 0..s.out_channels {
                for c in 0..ci {
                    let xi = x[((i[0] * ih + i[1]) * iw + i[2]) * s.in_channels + o / co * ci + c];
                    let wi = w[(((o * kd + k[0]) * kh + k[1]) * kw + k[2]) * ci + c];
                    out[((z * oh + y) * ow + x0) * s.out_channels + o] += xi as f64 * wi as f64;
                }
            }
        }
    }
    if act == Activation::Relu { out.iter().map(|v| v.max(0.0)).collect() } else { out }
}

#[test]
fn random_transposed_convolutions() {
    for seed in 0..300 {
        let mut r = Random::new(seed);
        let rank = r.int(1, 3);
        let axis = |r: &mut Random, i: usize, lo: usize, hi: usize, unused: usize| {
            if i + rank < 3 { unused } else { r.int(lo, hi) }
        };
        let groups = r.pick(&[1, 1, 1, 2, 3]);
        let mut s = ConvTransposeShape {
            input: std::array::from_fn(|i| axis(&mut r, i, 1, [17, 9, 4][rank - 1], 1)),
            in_channels: groups * r.pick(&[0, 1, 1, 2, 5, 16, 16]),
            out_channels: groups * r.pick(&[1, 3, 16, 33]),
            kernel: std::array::from_fn(|i| axis(&mut r, i, 1, 5, 1)),
            stride: std::array::from_fn(|i| axis(&mut r, i, 1, 4, 1)),
            dilation: std::array::from_fn(|i| axis(&mut r, i, 1, 3, 1)),
            crop: std::array::from_fn(|i| axis(&mut r, i, 0, 4, 0)),
            output: [0; 3],
            groups,
        };
        s.output = std::array::from_fn(|i| {
            let full = (s.input[i] - 1) * s.stride[i] + (s.kernel[i] - 1) * s.dilation[i] + 1;
            if i + rank < 3 { 1 } else { (full + r.int(0, 4)).saturating_sub(s.crop[i] + r.int(0, 3)) }
        });
        let w = r.values(s.out_channels * s.kernel.iter().product::<usize>() * s.in_channels / groups);
        let bias = r.values(s.out_channels);
        let act = r.pick(&[Activation::None, Activation::Relu]);
        for isa in Isa::available() {
            let kernel = ConvTranspose::new(isa, &s, &w, Some(&bias), act).unwrap();
            let n = kernel.input_len();
            let x = r.values(2 * n);
            let run = |batch: usize, x: &[f32]| {
                let mut scratch = vec![f32::NAN; kernel.scratch_len()];
                guarded(batch * kernel.output_len(), |out| kernel.run(batch, x, out, &mut scratch))
            };
            let context = format!("{isa:?} {act:?} {s:?}");
            let got = run(2, &x);
            for (i, got) in got.chunks(kernel.output_len().max(1)).enumerate() {
                let x = &x[i * n..(i + 1) * n];
                assert_close(got, &naive_transpose(&s, x, &w, &bias, act), 2e-5, &context);
                assert_same_bits(&run(1, x), got, &context);
            }
        }
    }
}

#[test]
fn transposed_convolutions_refuse_wrong_shapes_and_lengths() {
    let isa = Isa::detect();
    let shape = ConvTransposeShape {
        input: [1, 3, 3],
        in_channels: 2,
        out_channels: 4,
        kernel: [1, 2, 2],
        stride: [1, 2, 2],
        dilation: [1; 3],
        crop: [0; 3],
        output: [1, 6, 6],
        groups: 1,
    };
    let new = |s: &ConvTransposeShape, n: usize| {
        ConvTranspose::new(isa, s, &vec![0.0; n], Some(&[1.0; 4]), Activation::None)
    };
    assert!(matches!(new(&shape, 31), Err(KernelError::Length { expected: 32, .. })));
    for bad in [
        ConvTransposeShape { groups: 0, ..shape.clone() },
        ConvTransposeShape { groups: 3, ..shape.clone() },
        ConvTransposeShape { stride: [1, 0, 1], ..shape.clone() },
        ConvTransposeShape { dilation: [1, 1, usize::MAX], ..shape.clone() },
        ConvTransposeShape { crop: [0, usize::MAX, 0], ..shape.clone() },
        ConvTransposeShape { output: [1 << 40, 1 << 40, 1], ..shape.clone() },
    ] {
        assert!(matches!(new(&bad, 32), Err(KernelError::Shape(_))), "{bad:?}");
    }
    let kernel = new(&shape, 32).unwrap();
    let mut out = vec![0.0; kernel.output_len()];
    assert!(kernel.run(1, &[0.0; 17], &mut out, &mut []).is_err());
    kernel.run(1, &[0.0; 18], &mut out, &mut vec![0.0; kernel.scratch_len()]).unwrap();
    assert!(out.iter().all(|&y| y == 1.0), "bias");
}
