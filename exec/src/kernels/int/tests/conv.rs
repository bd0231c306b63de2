//! Convolutions and poolings against plain loops, with codes at the ends of their types.

use super::super::{AlignedBytes, Conv, ConvSpec, MaxPool, PostSpec, Word, encode};
use super::{Random, codes};
use crate::kernels::{ConvShape, Isa, PoolShape};

/// The sums of one sample.
fn plain(s: &ConvShape, x: &[i64], w: &[i64], bias: &[i64]) -> Vec<i64> {
    let out = s.output().unwrap();
    let (ci, co) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut y = Vec::new();
    for at in 0..out.iter().product() {
        let at = [at / (out[1] * out[2]), at / out[2] % out[1], at % out[2]];
        for o in 0..s.out_channels {
            let mut sum = bias[o];
            for t in 0..s.kernel.iter().product() {
                let tap = [t / (s.kernel[1] * s.kernel[2]), t / s.kernel[2] % s.kernel[1], t % s.kernel[2]];
                let cell: Option<Vec<usize>> = (0..3)
                    .map(|i| {
                        (at[i] * s.stride[i] + tap[i] * s.dilation[i])
                            .checked_sub(s.pad_begin[i])
                            .filter(|&c| c < s.input[i])
                    })
                    .collect();
                let Some(cell) = cell else { continue };
                let pixel = (cell[0] * s.input[1] + cell[1]) * s.input[2] + cell[2];
                for k in 0..ci {
                    let taps: usize = s.kernel.iter().product();
                    sum += x[pixel * s.in_channels + o / co * ci + k] * w[(o * taps + t) * ci + k];
                }
            }
            y.push(sum);
        }
    }
    y
}

/// Compares on every instruction set; `range` and `weight` are the least and the greatest code. Returns whether the
/// kernel takes it.
#[track_caller]
fn check(r: &mut Random, s: &ConvShape, range: (i64, i64), weight: (i64, i64)) -> bool {
    let w: Vec<i64> = (0..s.weights_len().unwrap()).map(|_| r.int(weight.0, weight.1)).collect();
    check_with(r, s, range, &w)
}

/// [`check`] for weights.
#[track_caller]
fn check_with(r: &mut Random, s: &ConvShape, range: (i64, i64), w: &[i64]) -> bool {
    let word = Word::holding(range.0.into(), range.1.into());
    let n: usize = s.input.iter().product::<usize>() * s.in_channels;
    let batch = 2;
    let x: Vec<i64> = (0..batch * n).map(|_| r.int(range.0, range.1)).collect();
    let bias: Vec<i64> = (0..s.out_channels).map(|_| r.int(-(1 << 20), 1 << 20)).collect();
    let per_channel = w.len() / s.out_channels;
    let corner = |w: i64| {
        let all = [0, w * range.0, w * range.1];
        (i128::from(*all.iter().min().unwrap()), i128::from(*all.iter().max().unwrap()))
    };
    let sums: Vec<(i128, i128)> = (0..s.out_channels)
        .map(|o| {
            w[o * per_channel..(o + 1) * per_channel]
                .iter()
                .map(|&w| corner(w))
                .fold((bias[o].into(), bias[o].into()), |a, b| (a.0 + b.0, a.1 + b.1))
        })
        .collect();
    let mut input = AlignedBytes::zeroed(x.len() * word.bytes());
    encode(&x, word, &mut input).unwrap();
    let want: Vec<i64> = x.chunks(n).flat_map(|x| plain(s, x, w, &bias)).collect();
    let out = Word::I64;
    let post = PostSpec::default();
    let mut taken = true;
    for isa in Isa::available() {
        let spec = ConvSpec {
            shape: s,
            input: (word, range),
            weights: w,
            bias: &bias,
            sums: &sums,
            post: &post,
            pooled: false,
            out,
        };
        let Some(conv) = Conv::new(isa, &spec).unwrap() else {
            taken = false;
            continue;
        };
        assert!(taken, "one instruction set takes it, another does not");
        // Guards around the output, and scratch memory full of other numbers.
        let len = batch * conv.output_len() * 8;
        let mut found = AlignedBytes::zeroed(len + 128);
        found.fill(0x55);
        let mut scratch = AlignedBytes::zeroed(conv.scratch_len());
        scratch.fill(0x77);
        conv.run(batch, &input, &mut found[64..64 + len], &mut scratch).unwrap();
        assert_eq!(codes(out, &found[64..64 + len]), want, "{} on {s:?}", isa.name());
        assert!(found[..64].iter().chain(&found[64 + len..]).all(|&b| b == 0x55), "wrote beside the output");
        assert!(conv.run(batch, &input, &mut found[..len - 8], &mut scratch).is_err());
    }
    taken
}

#[test]
fn bytes_at_their_ends() {
    let mut r = Random::new(1);
    for range in [(-128, 127), (0, 255), (-128, -128), (255, 255), (0, 127), (-1, 1)] {
        for weight in [(-128, 127), (-128, -128), (127, 127), (-64, 64), (-8, 7), (-1, 1)] {
            let padded = ConvShape {
                pad_begin: [0, 1, 1],
                pad_end: [0, 1, 1],
                ..ConvShape::conv2d([4, 9], [5, 18], [3, 3])
            };
            assert!(check(&mut r, &padded, range, weight));
            assert!(check(&mut r, &ConvShape::conv2d([1, 7], [129, 33], [1, 1]), range, weight));
        }
    }
}

/// Shapes that Winograd's form takes: whole and half tiles, padding, inputs and taps at the ends of what it can add up.
#[test]
fn three_by_three_taps() {
    let mut r = Random::new(7);
    for (input, range, weight) in [
        ([4, 4], (0, 255), (-128, 127)),
        ([7, 9], (-128, 127), (-128, 127)),
        ([5, 30], (255, 255), (127, 127)),
        ([9, 6], (-8191, 8191), (-100, 100)),
        ([8, 8], (-8191, -8191), (-1, 1)),
        ([6, 7], (0, 1), (3640, 3640)),
        ([6, 7], (0, 1), (-3641, 3641)),
    ] {
        for (channels, pad) in [([16, 16], 1), ([32, 48], 0), ([16, 24], 2), ([48, 16], 1)] {
            let s = ConvShape {
                pad_begin: [0, pad, pad],
                pad_end: [0, pad, 1],
                ..ConvShape::conv2d(input, channels, [3, 3])
            };
            assert!(check(&mut r, &s, range, weight));
        }
    }
}

#[test]
fn sixteen_bits_at_their_ends() {
    let mut r = Random::new(2);
    for range in [(-32768, 32767), (-32768, -32768), (0, 65535), (0, 32767)] {
        for weight in [(-32768, 32767), (-32767, 32767), (-300, 300), (-1, 1), (-128, 127)] {
            for n in [1, 2, 7, 64] {
                let taken = check(&mut r, &ConvShape::conv2d([1, 3], [n, 17], [1, 1]), range, weight);
                // Two products of the least numbers are 2^31, which 32 bits do not hold.
                assert!(taken || weight.0 == -32768 || range.0 == 0, "{range:?} {weight:?} {n}");
            }
        }
    }
    // A sum that fits 32 bits though its parts do not: they wrap, and the end is right.
    let s = ConvShape::conv2d([1, 1], [6, 1], [1, 1]);
    let (x, w) = ([32767i64; 6], [32767, 32767, 32767, -32767, -32767, -32766]);
    let post = PostSpec::default();
    let mut input = AlignedBytes::zeroed(12);
    encode(&x, Word::I16, &mut input).unwrap();
    for isa in Isa::available() {
        let spec = ConvSpec {
            shape: &s,
            input: (Word::I16, (32767, 32767)),
            weights: &w,
            bias: &[5],
            sums: &[(32772, 32772)],
            post: &post,
            pooled: false,
            out: Word::I32,
        };
        let conv = Conv::new(isa, &spec).unwrap().unwrap();
        let (mut found, mut scratch) = (AlignedBytes::zeroed(4), AlignedBytes::zeroed(conv.scratch_len()));
        conv.run(1, &input, &mut found, &mut scratch).unwrap();
        assert_eq!(codes(Word::I32, &found), [32772], "{}", isa.name());
    }
}

#[test]
fn the_zeros_of_padding_count_where_the_input_has_none() {
    let mut r = Random::new(5);
    // A window whose taps at the border meet zeros: what the others add up to is not balanced by their weights.
    let border = ConvShape { pad_begin: [0, 0, 1], ..ConvShape::conv2d([3, 3], [2, 1], [3, 2]) };
    let weights = [[-16000, -16000, 16000, 16000]; 3].concat();
    for range in [(32000, 32767), (-32767, -32000), (60000, 65535)] {
        assert!(check_with(&mut r, &border, range, &weights));
    }
    // With signed bytes moved by 128, a zero is more than any code.
    let padded =
        ConvShape { pad_begin: [0, 1, 1], pad_end: [0, 1, 1], ..ConvShape::conv2d([4, 5], [4, 9], [3, 3]) };
    assert!(check(&mut r, &padded, (-128, -100), (-128, 127)));
}

#[test]
fn random_shapes() {
    let mut r = Random::new(3);
    for _ in 0..150 {
        let depthwise = r.int(0, 3) == 0;
        let groups = if depthwise { r.size(2, 40) } else { r.pick(&[1, 1, 2, 3]) };
        let ci = if depthwise { 1 } else { r.size(1, 20) };
        let co = if depthwise { r.size(1, 2) } else { r.size(1, 40) };
        let mut two = |lo, hi| [0, 1].map(|_| r.size(lo, hi));
        let [[h, w], [kh, kw], [sh, sw], [dh, dw]] = [two(5, 9), two(1, 3), two(1, 2), two(1, 2)];
        let [[top, left], [bottom, right]] = [two(0, 2), two(0, 2)];
        let s = ConvShape {
            input: [1, h, w],
            kernel: [1, kh, kw],
            stride: [1, sh, sw],
            dilation: [1, dh, dw],
            pad_begin: [0, top, left],
            pad_end: [0, bottom, right],
            in_channels: groups * ci,
            out_channels: groups * co,
            groups,
        };
        let range = r.pick(&[(-128, 127), (0, 255), (0, 15), (-2, 1), (-32768, 32767), (0, 65535)]);
        let weight = r.pick(&[(-127, 127), (-64, 63), (-8, 7), (-1, 1), (-2000, 2000)]);
        check(&mut r, &s, range, weight);
    }
}

#[test]
fn maxima_of_every_word() {
    let mut r = Random::new(4);
    for (word, lo, hi) in [
        (Word::U8, 0, 255),
        (Word::I8, -128, 127),
        (Word::I16, -32768, 32767),
        (Word::I32, i32::MIN.into(), i32::MAX.into()),
        (Word::I64, i64::MIN / 4, i64::MAX / 4),
    ] {
        let s = PoolShape {
            kernel: [1, 3, 2],
            stride: [1, 2, 1],
            dilation: [1, 1, 2],
            pad_begin: [0, 1, 1],
            pad_end: [0, 2, 1],
            ..PoolShape::pool2d([6, 7], 35, [3, 2])
        };
        let x: Vec<i64> = (0..2 * 6 * 7 * 35).map(|_| r.int(lo, hi)).collect();
        let mut input = AlignedBytes::zeroed(x.len() * word.bytes());
        encode(&x, word, &mut input).unwrap();
        let [_, h, w] = s.output().unwrap();
        let mut want = Vec::new();
        for i in 0..2 * h * w * 35 {
            let (b, y, ox, c) = (i / (h * w * 35), i / (w * 35) % h, i / 35 % w, i % 35);
            let cell = |t: usize| {
                let row = (y * 2 + t / 2).checked_sub(1).filter(|&v| v < 6)?;
                let col = (ox + t % 2 * 2).checked_sub(1).filter(|&v| v < 7)?;
                Some(x[((b * 6 + row) * 7 + col) * 35 + c])
            };
            want.push((0..6).filter_map(cell).max().unwrap());
        }
        for isa in Isa::available() {
            let pool = MaxPool::new(isa, &s, word).unwrap();
            let mut found = AlignedBytes::zeroed(want.len() * word.bytes());
            pool.run(2, &input, &mut found).unwrap();
            assert_eq!(codes(word, &found), want, "{} {word:?}", isa.name());
            assert!(pool.run(1, &input, &mut found).is_err());
        }
    }
}
