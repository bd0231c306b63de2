//! Quantizers of weights whose scale or threshold follows from the weights themselves.
//!
//! In: latent floats, in the file's own order of axes (the last one is the channel). Out: integer codes and a scale per
//! channel. Every step is the library's own, in single precision; means alone are summed in double precision, so a scale
//! that is no power of two may differ from the library's by its rounding.

use unfloat_ir::ops::Unary;
use unfloat_ir::{ElemType, IntType};

use super::array::{Array, Scale, by_last_axis, for_each_channel};
use super::grid::{Back, Coded, Grid, pow2};

/// Keras' `epsilon()`.
const EPSILON: f32 = 1e-7;
/// Rounds of alternating codes and scale.
const ROUNDS: usize = 5;

/// A quantizer that looks at all weights of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fit {
    /// QKeras' `quantized_bits` with `alpha='auto'` or `'auto_po2'`.
    Bits {
        /// Bits, sign included.
        bits: u8,
        /// Bits before the point.
        integer: i64,
        /// Scales are powers of two.
        po2: bool,
        /// Codes are taken once more with the last scale (qkeras-v3).
        again: bool,
        /// A scale from the file instead of one from the weights.
        frozen: Option<Scale>,
    },
    /// qkeras-v3's `quantized_linear` with `alpha='auto'` or `'auto_po2'`.
    Linear {
        /// The least and the greatest code; those of one bit are −1/2 and 1/2.
        bounds: (f32, f32),
        /// Type of the codes.
        int: IntType,
        /// Whether the codes have a sign.
        signed: bool,
        /// Scales are powers of two.
        po2: bool,
    },
    /// QKeras' `binary` with such an alpha.
    Binary {
        /// Codes are 0 and 1.
        zero_one: bool,
        /// Scales are powers of two.
        po2: bool,
    },
    /// QKeras' `ternary` with such an alpha.
    Ternary {
        /// Scales are powers of two.
        po2: bool,
        /// Rounds of alternating codes and scale.
        rounds: usize,
    },
    /// A sign and an exponent.
    PowerOfTwo(super::po2::PowerOfTwo),
    /// Larq's `MagnitudeAwareSign`: the sign, times the mean magnitude of the channel.
    Magnitude,
    /// Larq's `SteTern` of ternary weight networks (Li et al., 2016): a threshold of 0.7 times the mean magnitude of the
    /// whole tensor.
    TernaryWeights,
    /// Larq's `DoReFa` in the mode of weights.
    DoReFa {
        /// Bits.
        bits: u8,
    },
}

/// `2^round(log2(v + ε))`.
fn nearest_po2(v: f32) -> f32 {
    let log = Unary::Log.apply(v + EPSILON) / std::f32::consts::LN_2;
    (f64::from(log.round_ties_even())).exp2() as f32
}

/// The greatest magnitude of each channel; of a vector, that of all.
fn greatest(w: &Array<f32>, per_element: bool) -> Scale {
    if w.shape.len() < 2 && per_element {
        return w.map(f32::abs);
    }
    if w.shape.len() < 2 {
        return Scale::one(w.values.iter().fold(0.0, |m, x| x.abs().max(m)));
    }
    let mut most = vec![0f32; w.shape.last().copied().unwrap_or(1)];
    for_each_channel(w, |channel, x| {
        if let Some(most) = most.get_mut(channel) {
            *most = most.max(x.abs());
        }
    });
    by_last_axis(&w.shape, most)
}

/// The scale that fits codes to weights best: `mean(w q) / (mean(q q) + ε)` of each channel, of each element of a vector.
fn least_squares(w: &Array<f32>, q: &[f32], po2: bool) -> Scale {
    let finish = |wq: f32, qq: f32| {
        let scale = wq / (qq + EPSILON);
        if po2 { nearest_po2(scale) } else { scale }
    };
    if w.shape.len() < 2 {
        let values = w.values.iter().zip(q).map(|(w, q)| finish(w * q, q * q)).collect();
        return Array { shape: w.shape.clone(), values };
    }
    let channels = w.shape.last().copied().unwrap_or(1).max(1);
    let count = (w.values.len() / channels).max(1) as f64;
    let mut sums = vec![(0f64, 0f64); channels];
    for (at, (w, q)) in w.values.iter().zip(q).enumerate() {
        if let Some((wq, qq)) = sums.get_mut(at % channels) {
            *wq += f64::from(w * q);
            *qq += f64::from(q * q);
        }
    }
    let values = sums.into_iter().map(|(wq, qq)| finish((wq / count) as f32, (qq / count) as f32));
    by_last_axis(&w.shape, values.collect())
}

fn mean_magnitude(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|x| f64::from(x.abs())).sum();
    (sum / values.len().max(1) as f64) as f32
}

fn affine(
    elem: ElemType,
    shape: &[usize],
    codes: impl IntoIterator<Item = i64>,
    scale: Scale,
    zero: f32,
) -> Coded {
    let codes = Array { shape: shape.to_vec(), values: codes.into_iter().collect() };
    Coded { elem, codes, back: Back::Affine { scale, zero } }
}

fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

impl Fit {
    /// The same for values that are not known, where it looks at one element at a time.
    pub fn grid(&self) -> Option<Grid> {
        match self {
            Fit::PowerOfTwo(f) => f.grid(),
            _ => None,
        }
    }

    /// The codes of weights; `None` where a scale of the file does not fit them.
    pub fn code(&self, w: &Array<f32>) -> Option<Coded> {
        match self {
            Fit::Bits { bits, integer, po2, again, frozen } => {
                bits_of(w, *bits, pow2(*integer), *po2, *again, frozen.as_ref())
            }
            Fit::Linear { bounds, int, signed, po2 } => linear(w, *bounds, *int, *signed, *po2),
            Fit::Binary { zero_one, po2 } => {
                let low = if *zero_one { 0.0 } else { -1.0 };
                let q: Vec<f32> = w.values.iter().map(|x| if *x >= 0.0 { 1.0 } else { low }).collect();
                let scale = least_squares(w, &q, *po2);
                if *zero_one { Grid::sign_01(&scale) } else { Grid::sign(scale) }.code(w)
            }
            Fit::Ternary { po2, rounds } => ternary(w, *po2, *rounds),
            Fit::PowerOfTwo(f) => {
                let codes = w.values.iter().map(|x| if f.apply(*x) < 0.0 { -1 } else { 1 });
                Some(affine(ElemType::Bipolar, &w.shape, codes, w.map(|x| f.apply(x).abs()), 0.0))
            }
            Fit::Magnitude => {
                let channels = w.shape.last().copied().unwrap_or(1).max(1);
                let mut sums = vec![0f64; channels];
                for_each_channel(w, |channel, x| {
                    if let Some(sum) = sums.get_mut(channel) {
                        *sum += f64::from(x.abs());
                    }
                });
                let count = (w.values.len() / channels).max(1) as f64;
                let means = sums.into_iter().map(|sum| (sum / count) as f32).collect();
                Grid::sign(by_last_axis(&w.shape, means)).code(w)
            }
            Fit::TernaryWeights => Grid::ternary(0.7 * mean_magnitude(&w.values), Scale::one(1.0)).code(w),
            Fit::DoReFa { bits } => Some(dorefa(w, *bits)),
        }
    }
}

fn bits_of(
    w: &Array<f32>,
    bits: u8,
    unit: f32,
    po2: bool,
    again: bool,
    frozen: Option<&Scale>,
) -> Option<Coded> {
    let most = ((1u64 << (bits - 1)) - 1) as f32;
    let x = w.map(|w| w / unit);
    // Half away from zero, unlike everywhere else.
    let code = |scale: &Scale| -> Option<Vec<f32>> {
        let scale = scale.spread(&w.shape)?;
        let code = |(x, s): (&f32, f32)| {
            let v = (x.abs() / s + 0.5).floor();
            sign(*x) * if v < most { v } else { most }
        };
        Some(x.values.iter().zip(scale).map(code).collect())
    };
    let levels = most * 2.0;
    let (scale, codes) = match frozen {
        // The file's scale counts in steps of the unscaled grid.
        Some(frozen) => {
            let scale = frozen.map(|s| s / pow2(i64::from(bits) - 1));
            let codes = code(&scale)?;
            (scale, codes)
        }
        None => {
            let mut scale = greatest(&x, false).map(|m| m * 2.0 / levels);
            let mut codes = Vec::new();
            if po2 {
                scale = scale.map(nearest_po2);
                for _ in 0..ROUNDS {
                    codes = code(&scale)?;
                    scale = least_squares(&x, &codes, true);
                }
            }
            if !po2 || again {
                codes = code(&scale)?;
            }
            (scale, codes)
        }
    };
    let int = ElemType::Int(IntType::signed(bits));
    let codes = codes.into_iter().map(|q| q as i64);
    Some(affine(int, &w.shape, codes, scale.map(|s| s * unit), 0.0))
}

fn linear(w: &Array<f32>, (lo, hi): (f32, f32), int: IntType, signed: bool, po2: bool) -> Option<Coded> {
    let half = if lo == -0.5 { 0.5 } else { 0.0 };
    let code = |scale: &Scale| -> Option<Vec<f32>> {
        let scale = scale.spread(&w.shape)?;
        let code = |(x, s): (&f32, f32)| {
            let v = x / s;
            let v = if v > hi {
                hi
            } else if v < lo {
                lo
            } else {
                v
            };
            (v - half).round_ties_even() + half
        };
        Some(w.values.iter().zip(scale).map(code).collect())
    };
    let range = hi - lo;
    let mut scale = if signed {
        greatest(w, true).map(|m| m * 2.0 / range)
    } else {
        greatest(&w.map(|x| x.max(0.0)), true).map(|m| m / range)
    };
    scale = scale.map(|s| s.max(EPSILON));
    if po2 {
        scale = scale.map(nearest_po2);
        for _ in 0..if half > 0.0 { 1 } else { ROUNDS } {
            let codes = code(&scale)?;
            scale = least_squares(w, &codes, true);
        }
    }
    let codes = code(&scale)?.into_iter().map(|q| (q - half) as i64);
    Some(affine(ElemType::Int(int), &w.shape, codes, scale, -half))
}

fn ternary(w: &Array<f32>, po2: bool, rounds: usize) -> Option<Coded> {
    let mut scale = greatest(w, false).map(|m| 2.0 * m / 3.0);
    if po2 {
        scale = scale.map(nearest_po2);
    }
    let mut q: Vec<f32> = vec![0.0; w.values.len()];
    for _ in 0..rounds {
        let each = scale.spread(&w.shape)?;
        for ((q, x), s) in q.iter_mut().zip(&w.values).zip(each) {
            let v = s * (x / s).round_ties_even();
            *q = if v.abs() >= s / 2.0 { sign(*x) } else { 0.0 };
        }
        scale = least_squares(w, &q, po2);
    }
    Some(affine(ElemType::Ternary, &w.shape, q.into_iter().map(|q| q as i64), scale, 0.0))
}

fn dorefa(w: &Array<f32>, bits: u8) -> Coded {
    let n = ((1u64 << bits) - 1) as f32;
    let limited: Vec<f32> = w.values.iter().map(|x| Unary::Tanh.apply(*x)).collect();
    let most = 2.0 * limited.iter().fold(0f32, |m, x| m.max(x.abs()));
    let code = |x: &f32| {
        let share = if most == 0.0 { 0.0 } else { x / most };
        ((share + 0.5) * n).round_ties_even() as i64
    };
    let codes: Vec<i64> = limited.iter().map(code).collect();
    let int = ElemType::Int(IntType::unsigned(bits));
    affine(int, &w.shape, codes, Scale::one(2.0 / n), n / 2.0)
}
