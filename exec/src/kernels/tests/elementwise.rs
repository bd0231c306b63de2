use super::{Random, assert_close, guarded};
use crate::kernels::{
    Activation, AlignedBuffer, Binary, Isa, Unary, binary, binary_in_place, channel_affine, softmax,
    softmax_in_place, unary, unary_in_place,
};

const LENGTHS: [usize; 10] = [0, 1, 3, 7, 8, 15, 16, 17, 33, 100];

/// |got - want| in units of the last place of `want` (of the smallest subnormal near 0).
fn ulps(got: f32, want: f64) -> f64 {
    let ulp = (f32::from_bits((want as f32).abs().to_bits().max(1) + 1)
        - f32::from_bits((want as f32).abs().to_bits().max(1))) as f64;
    (got as f64 - want).abs() / ulp
}

/// Values dense around 0 and out to where every function has saturated, with the special ones.
fn arguments() -> Vec<f32> {
    let mut x: Vec<f32> = (-24_000..24_000).map(|i| i as f32 / 200.0).collect();
    x.extend((1..2000).flat_map(|i| [i as f32 * 1e-5, i as f32 * -1e-5]));
    x.extend([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 88.72, -87.33, -103.9]);
    x
}

#[test]
fn exp_sigmoid_tanh_are_accurate() {
    let x = arguments();
    for isa in Isa::available() {
        let run = |f: Unary| guarded(x.len(), |out| unary(isa, f, &x, out));
        let worst = |got: &[f32], f: fn(f64) -> f64| {
            let mut worst = (0.0, 0.0);
            for (&x, &g) in x.iter().zip(got) {
                let want = f(x as f64);
                let error = if want > f32::MAX as f64 {
                    if g == f32::INFINITY { 0.0 } else { f64::MAX }
                } else {
                    ulps(g, want)
                };
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            worst
        };
        let e = worst(&run(Unary::Exp), f64::exp);
        assert!(e.0 <= 2.0, "{isa:?} exp: {e:?}");
        let s = worst(&run(Unary::Sigmoid), |x| 1.0 / (1.0 + (-x).exp()));
        assert!(s.0 <= 4.0 || s.1 < -87.0, "{isa:?} sigmoid: {s:?}");
        let t = worst(&run(Unary::Tanh), f64::tanh);
        assert!(t.0 <= 4.0, "{isa:?} tanh: {t:?}");
    }
}

#[test]
fn composed_activations_are_accurate() {
    // From the series and the continued fraction of the error function (Abramowitz and Stegun 7.1.6, 7.1.14).
    fn erfc(z: f64) -> f64 {
        if z < 3.0 {
            let (mut term, mut sum) = (z, z);
            for n in 1..100 {
                term *= 2.0 * z * z / (2 * n + 1) as f64;
                sum += term;
            }
            1.0 - 2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum
        } else {
            let fraction = (1..60).rev().fold(z, |f, n| z + n as f64 / 2.0 / f);
            (-z * z).exp() / std::f64::consts::PI.sqrt() / fraction
        }
    }
    type Function = fn(f64) -> f64;
    let cases: [(Unary, Function); 9] = [
        (Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, |x| (0.2f32 as f64 * x + 0.5).clamp(0.0, 1.0)),
        (Unary::Elu { alpha: 1.0, scale: 1.0 }, |x| if x > 0.0 { x } else { x.exp_m1() }),
        (Unary::Elu { alpha: 1.5, scale: 2.0 }, |x| 2.0 * if x > 0.0 { x } else { 1.5 * x.exp_m1() }),
        (Unary::Silu, |x| x / (1.0 + (-x).exp())),
        (Unary::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (Unary::Gelu, |x| {
            if x < 0.0 { 0.5 * x * erfc(-x / 2f64.sqrt()) } else { x - 0.5 * x * erfc(x / 2f64.sqrt()) }
        }),
        (Unary::GeluTanh, |x| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }),
        (Unary::Softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        (Unary::Softsign, |x| x / (1.0 + x.abs())),
    ];
    let x: Vec<f32> = arguments().into_iter().filter(|x| x.abs() < 1e10).collect();
    for (f, definition) in cases {
        let want: Vec<f64> = x.iter().map(|&x| definition(x as f64)).collect();
        for isa in Isa::available() {
            let got = guarded(x.len(), |out| unary(isa, f, &x, out));
            assert_close(&got, &want, 3e-7, &format!("{isa:?} {f:?}"));
            let small = x.iter().zip(&got).zip(&want).filter(|((x, _), _)| x.abs() < 0.01);
            for ((x, &g), &w) in small {
                if !matches!(f, Unary::HardSigmoid { .. } | Unary::Softplus) {
                    assert!(
                        (g as f64 - w).abs() <= 8e-7 * w.abs() + 1e-40,
                        "{isa:?} {f:?}({x}): {g}, not {w}"
                    );
                }
            }
            let limits = guarded(3, |out| unary(isa, f, &[f32::NAN, f32::INFINITY, -60.0], out));
            assert!(limits[0].is_nan(), "{isa:?} {f:?} hides a NaN");
            assert!(limits[1] == f32::INFINITY || limits[1] == 1.0 || f == Unary::Softsign, "{isa:?} {f:?}");
            assert!(f != Unary::Softplus || limits[2] > 0.0, "{isa:?}");
        }
    }
}

#[test]
fn special_values_of_unary_functions() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for isa in Isa::available() {
        for (f, high, low) in [
            (Unary::Exp, f32::INFINITY, 0.0),
            (Unary::Sigmoid, 1.0, 0.0),
            (Unary::Tanh, 1.0, -1.0),
            (Unary::Activation(Activation::Relu), f32::INFINITY, 0.0),
            (Unary::Activation(Activation::Clip { lo: -2.0, hi: 6.0 }), 6.0, -2.0),
            (Unary::Activation(Activation::None), f32::INFINITY, f32::NEG_INFINITY),
            (Unary::Activation(Activation::Leaky { slope: 0.1 }), f32::INFINITY, f32::NEG_INFINITY),
        ] {
            let got = guarded(3, |out| unary(isa, f, &x, out));
            assert!(got[0].is_nan(), "{isa:?} {f:?}");
            assert_eq!(got[1..], [high, low], "{isa:?} {f:?}");
        }
    }
}

#[test]
fn activations_in_place_and_not() {
    let mut r = Random::new(5);
    for n in LENGTHS {
        let x = r.values(n);
        for act in [
            Activation::None,
            Activation::Relu,
            Activation::Clip { lo: -0.5, hi: 0.25 },
            Activation::Leaky { slope: 0.3 },
        ] {
            let want: Vec<f64> = x.iter().map(|&x| act.scalar(x) as f64).collect();
            for isa in Isa::available() {
                let f = Unary::Activation(act);
                let got = guarded(n, |out| unary(isa, f, &x, out));
                assert_close(&got, &want, 0.0, &format!("{isa:?} {act:?} {n}"));
                let mut y = x.clone();
                unary_in_place(isa, f, &mut y);
                assert_eq!(y, got);
            }
        }
    }
    assert_eq!(Activation::Clip { lo: 0.0, hi: 6.0 }.scalar(7.0), 6.0);
    assert_eq!(Activation::Leaky { slope: 0.5 }.scalar(-2.0), -1.0);
}

#[test]
fn arithmetic_with_broadcast() {
    let mut r = Random::new(6);
    type Scalar = fn(f32, f32) -> f32;
    let ops: [(Binary, Scalar); 6] = [
        (Binary::Add, |a, b| a + b),
        (Binary::Sub, |a, b| a - b),
        (Binary::Mul, |a, b| a * b),
        (Binary::Div, |a, b| a / b),
        (Binary::Max, f32::max),
        (Binary::Min, f32::min),
    ];
    for channels in LENGTHS {
        for rows in [0, 1, 4] {
            let a = r.values(rows * channels);
            for b_len in [channels, rows * channels, 1] {
                let b = r.values(b_len);
                for (op, f) in ops {
                    if b_len == 0 && !a.is_empty() {
                        continue;
                    }
                    let want: Vec<f64> =
                        a.iter().enumerate().map(|(i, &a)| f(a, b[i % b_len]) as f64).collect();
                    for isa in Isa::available() {
                        let got = guarded(a.len(), |out| binary(isa, op, &a, &b, out));
                        assert_close(&got, &want, 0.0, &format!("{isa:?} {op:?} {channels}"));
                        let mut c = a.clone();
                        binary_in_place(isa, op, &mut c, &b).unwrap();
                        assert_eq!(c, got);
                    }
                }
            }
        }
    }
    for isa in Isa::available() {
        for op in [Binary::Max, Binary::Min] {
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                let got = guarded(20, |out| binary(isa, op, &[a; 20], &[b; 20], out));
                assert!(got.iter().all(|x| x.is_nan()), "{isa:?} {op:?} {a} {b}");
            }
        }
    }
    let isa = Isa::detect();
    assert!(binary(isa, Binary::Add, &[0.0; 4], &[0.0; 3], &mut [0.0; 4]).is_err());
    assert!(binary(isa, Binary::Add, &[0.0; 4], &[], &mut [0.0; 4]).is_err());
    assert!(binary(isa, Binary::Add, &[0.0; 4], &[0.0], &mut [0.0; 3]).is_err());
    assert!(binary_in_place(isa, Binary::Add, &mut [0.0; 4], &[0.0; 8]).is_err());
}

#[test]
fn affine_per_channel() {
    let mut r = Random::new(7);
    for channels in LENGTHS {
        let (scale, shift) = (r.values(channels), r.values(channels));
        let x = r.values(3 * channels);
        for act in [Activation::None, Activation::Relu, Activation::Leaky { slope: 0.5 }] {
            let want: Vec<f64> = x
                .iter()
                .enumerate()
                .map(|(i, &x)| {
                    let c = i % channels;
                    act.scalar((x as f64 * scale[c] as f64 + shift[c] as f64) as f32) as f64
                })
                .collect();
            for isa in Isa::available() {
                let got = guarded(x.len(), |out| channel_affine(isa, (&scale, &shift), act, &x, out));
                assert_close(&got, &want, 3e-7, &format!("{isa:?} {act:?} {channels}"));
            }
        }
    }
    let isa = Isa::detect();
    let bad = |s: usize, t: usize, x: usize| {
        let (s, t) = (vec![0.0; s], vec![0.0; t]);
        channel_affine(isa, (&s, &t), Activation::None, &vec![0.0; x], &mut vec![0.0; x])
    };
    assert!(bad(3, 3, 6).is_ok());
    assert!(bad(3, 2, 6).is_err());
    assert!(bad(3, 3, 7).is_err());
    assert!(bad(0, 0, 7).is_err());
}

#[test]
fn softmax_of_all_lengths() {
    let mut r = Random::new(8);
    for classes in LENGTHS {
        for rows in [0, 1, 5] {
            let x: Vec<f32> = r.values(rows * classes).iter().map(|x| x * 30.0).collect();
            let mut want: Vec<f64> = Vec::new();
            for row in x.chunks(classes.max(1)) {
                let max = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x as f64));
                let e: Vec<f64> = row.iter().map(|&x| (x as f64 - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                want.extend(e.iter().map(|e| e / sum));
            }
            for isa in Isa::available() {
                let got = guarded(x.len(), |out| softmax(isa, (rows, classes), &x, out));
                assert_close(&got, &want, 3e-7, &format!("{isa:?} {classes}"));
                let mut y = x.clone();
                softmax_in_place(isa, (rows, classes), &mut y).unwrap();
                assert_eq!(y, got);
            }
        }
    }
    let isa = Isa::detect();
    assert!(softmax(isa, (2, 3), &[0.0; 6], &mut [0.0; 5]).is_err());
    assert!(softmax_in_place(isa, (usize::MAX, 3), &mut [0.0; 6]).is_err());
}

#[test]
fn softmax_keeps_large_logits_and_nan() {
    for isa in Isa::available() {
        let got = guarded(3, |out| softmax(isa, (1, 3), &[1e30, 1e30, -1e30], out));
        assert_eq!(got, [0.5, 0.5, 0.0], "{isa:?}");
        let mut x = vec![0.5; 40];
        x[3] = f32::NAN;
        let got = guarded(40, |out| softmax(isa, (2, 20), &x, out));
        assert!(got[..20].iter().all(|x| x.is_nan()), "{isa:?} {got:?}");
        assert!(got[20..].iter().all(|x| *x == 0.05), "{isa:?} {got:?}");
    }
}

#[test]
fn aligned_buffers_begin_on_a_cache_line() {
    for n in LENGTHS {
        let values = Random::new(9).values(n);
        let mut buffer = AlignedBuffer::from_slice(&values);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert_eq!(buffer[..], values[..]);
        buffer.fill(1.0);
        assert!(buffer.iter().all(|&x| x == 1.0) && buffer.len() == n);
        assert!(AlignedBuffer::zeroed(n).iter().all(|&x| x == 0.0));
    }
}
