//! Weights to codes.
//!
//! In: the floats of a weight, blocks of equal length per output channel, and a [`Format`]. Out: a scale per block, or
//! one for all ([`scales`]), and with them the codes ([`codes`]). Nothing but the weight decides.
//!
//! | format | scale | codes |
//! |---|---|---|
//! | `intN`, more than 4 bits | `max|w| / (2^(N−1) − 1)` per channel | symmetric, without the lowest code |
//! | `intN`, up to 4 bits | the one with the least squared error, of [`STEPS`] between a fifth of that and all of it | the same |
//! | `fixed<W,I>` | `2^-(W−I)` | as its modes say |
//! | `ternary` | the mean of the `k` greatest magnitudes, `k` with the least squared error (Li, Zhang, Liu, Ternary weight networks, 2016) | −1, 0, 1, the nearest |
//! | `bipolar` | `mean|w|`, which has the least squared error (Rastegari et al., XNOR-Net, 2016) | the sign, +1 for 0; or at random ([`stochastic`]) |
//! | `log2<B>` | the power of two with the least squared error, of three around the greatest magnitude | [`unfloat_ir::types::Log2::level`] |

use crate::validate::SplitMix64;
use unfloat_ir::{ElemType, Format, IntType};

/// Scales that are tried.
pub const STEPS: usize = 128;

/// Whether each output channel has a scale of its own.
pub fn per_channel(format: Format) -> bool {
    !matches!(format, Format::Fixed { .. } | Format::Float)
}

/// The type of the codes.
pub fn elem(format: Format) -> ElemType {
    format.elem()
}

/// The scale of each of `blocks` equal parts; one scale where the format says it.
pub fn scales(weights: &[f32], blocks: usize, format: Format) -> Vec<f32> {
    if let Some(lsb) = format.lsb() {
        return vec![lsb as f32];
    }
    let len = (weights.len() / blocks.max(1)).max(1);
    let mut scales: Vec<f32> = weights.chunks(len).map(|block| scale(block, format)).collect();
    scales.resize(blocks.max(1), 1.0);
    scales
}

/// The codes of all weights; `scales` has one entry, or one for each of as many equal parts.
pub fn codes(weights: &[f32], scales: &[f32], format: Format) -> Vec<i64> {
    let len = (weights.len() / scales.len().max(1)).max(1);
    let block =
        |(block, &scale): (&[f32], &f32)| block.iter().map(|&w| code(w, scale, format)).collect::<Vec<_>>();
    weights.chunks(len).zip(scales).flat_map(block).collect()
}

/// −1 and +1 at random: +1 with the probability `clamp((w + 1) / 2, 0, 1)` (Courbariaux et al., Binarized neural networks,
/// 2016). The seed and the layer's name decide, so a rerun gives the same, whatever else is in the graph.
pub fn stochastic(weights: &[f32], seed: u64, name: &str) -> Vec<i64> {
    // FNV-1a
    let layer =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut random = SplitMix64::new(seed ^ layer);
    let code = |w: &f32| {
        let likely = ((f64::from(*w) + 1.0) / 2.0).clamp(0.0, 1.0);
        if f64::from(random.uniform()) < likely { 1 } else { -1 }
    };
    weights.iter().map(code).collect()
}

/// The code of one weight.
pub fn code(w: f32, scale: f32, format: Format) -> i64 {
    match format {
        Format::Int { int, rounding, overflow } => {
            // The lowest code has no opposite.
            overflow_of(rounding.apply(w / scale), overflow, int).max(-int.max())
        }
        Format::Fixed { q, rounding, overflow } => overflow_of(rounding.apply(w / scale), overflow, q.int()),
        Format::Ternary => (w / scale).round_ties_even().clamp(-1.0, 1.0) as i64,
        Format::Bipolar => {
            if w >= 0.0 {
                1
            } else {
                -1
            }
        }
        Format::Log2(log2) => log2.level(w / scale),
        Format::Float => 0,
    }
}

fn overflow_of(rounded: f32, overflow: unfloat_ir::Overflow, int: IntType) -> i64 {
    const MOST: f32 = (1i128 << 100) as f32;
    overflow.apply(rounded.clamp(-MOST, MOST) as i128, int, false)
}

fn magnitude(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |m, w| m.max(w.abs()))
}

fn scale(block: &[f32], format: Format) -> f32 {
    let max = magnitude(block);
    if max == 0.0 {
        return if format == Format::Bipolar { f32::MIN_POSITIVE } else { 1.0 };
    }
    let scale = match format {
        Format::Int { int, .. } => {
            let full = (f64::from(max) / int.max() as f64) as f32;
            match int.width {
                ..=4 => best(
                    block,
                    format,
                    (0..STEPS).map(|i| full * (0.2 + 0.8 * (i + 1) as f32 / STEPS as f32)),
                ),
                _ => full,
            }
        }
        Format::Ternary => ternary(block),
        Format::Bipolar => {
            let sum: f64 = block.iter().map(|w| f64::from(w.abs())).sum();
            (sum / block.len() as f64) as f32
        }
        Format::Log2(log2) => {
            let top = (f64::from(max) / log2.max() as f64).log2().round();
            best(block, format, [-1.0, 0.0, 1.0].into_iter().map(|d: f64| (top + d).exp2() as f32))
        }
        Format::Fixed { .. } | Format::Float => 1.0,
    };
    // A scale of 0, or a subnormal one, would divide to infinity.
    scale.max(f32::MIN_POSITIVE)
}

/// The scale with the least squared error; the first of several.
fn best(block: &[f32], format: Format, candidates: impl Iterator<Item = f32>) -> f32 {
    let error = |scale: f32| -> f64 {
        let apart = |w: &f32| f64::from(*w) - code(*w, scale, format) as f64 * f64::from(scale);
        block.iter().map(apart).map(|d| d * d).sum()
    };
    let scored = candidates.map(|s| s.max(f32::MIN_POSITIVE)).map(|s| (error(s), s));
    scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |best| best.1)
}

/// With the `k` greatest magnitudes at ±s the error is least for their mean, and then it is `Σw² − (Σ)²/k`.
fn ternary(block: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = block.iter().map(|w| w.abs()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut best) = (0.0f64, (0.0f64, 1.0f64));
    for (k, size) in (1..).zip(&sizes) {
        sum += f64::from(*size);
        let gain = sum * sum / f64::from(k);
        if gain > best.0 {
            best = (gain, sum / f64::from(k));
        }
    }
    best.1 as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Format {
        crate::recipe::format::weights(text).unwrap()
    }
    fn error(weights: &[f32], scale: f32, format: Format) -> f64 {
        let apart = |w: &f32| f64::from(*w) - code(*w, scale, format) as f64 * f64::from(scale);
        weights.iter().map(apart).map(|d| d * d).sum()
    }
    /// Bell-shaped, as weights are.
    fn bell(n: usize) -> Vec<f32> {
        let mut random = crate::validate::SplitMix64::new(7);
        (0..n).map(|_| random.normal() * 0.1).collect()
    }

    #[test]
    fn stochastic_signs_follow_the_seed_and_the_weight() {
        let weights = [vec![-1.5f32, 1.5], vec![0.5; 4000], vec![0.0; 4000]].concat();
        let codes = stochastic(&weights, 7, "conv");
        assert_eq!(codes, stochastic(&weights, 7, "conv"));
        assert!(codes != stochastic(&weights, 8, "conv") && codes != stochastic(&weights, 7, "other"));
        assert_eq!(codes[..2], [-1, 1]);
        // +1 with the probabilities 3/4 and 1/2: six standard deviations.
        let plus = |part: &[i64]| part.iter().filter(|c| **c == 1).count() as f64 / part.len() as f64;
        assert!((plus(&codes[2..4002]) - 0.75).abs() < 0.042 && (plus(&codes[4002..]) - 0.5).abs() < 0.048);
    }

    #[test]
    fn eight_bits_reach_the_greatest_weight_of_each_channel() {
        let w = [1.0, -0.5, 0.25, 0.0, -4.0, 2.0];
        let s = scales(&w, 2, format("int8"));
        assert_eq!(s, [1.0 / 127.0, 4.0 / 127.0]);
        assert_eq!(codes(&w, &s, format("int8")), [127, -64, 32, 0, -127, 64]);
        assert_eq!(scales(&[0.0; 4], 2, format("int8")), [1.0, 1.0]);
    }

    /// Against every scale of a finer search, for the formats whose scale is said to be the best one.
    #[test]
    fn few_bits_have_the_least_error() {
        let w = bell(300);
        let max = w.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (text, slack) in
            [("int4", 1.02), ("int3", 1.02), ("int2", 1.02), ("ternary", 1.0), ("bipolar", 1.0)]
        {
            let format = format(text);
            let own = error(&w, scales(&w, 1, format)[0], format);
            let least =
                (1..4000).map(|i| error(&w, max * i as f32 / 4000.0, format)).fold(f64::MAX, f64::min);
            assert!(own <= least * slack + 1e-9, "{text}: {own} where {least} is possible");
        }
    }

    #[test]
    fn fixed_point_and_powers_of_two() {
        let fixed = format("fixed<8,2>");
        assert_eq!(scales(&[0.3, 5.0], 2, fixed), [1.0 / 64.0]);
        assert_eq!(codes(&[0.3, 5.0, -5.0, 0.0234375], &[1.0 / 64.0], fixed), [19, 127, -128, 2]);
        assert_eq!(codes(&[-2.1], &[1.0 / 64.0], format("fixed<8,2,TRN,WRAP>")), [121]);
        let log = format("log2<4>");
        let s = scales(&[0.5, -0.25, 0.03, 0.0], 1, log);
        assert_eq!((s[0].log2().fract(), codes(&[0.5, -0.25, 0.0], &s, log)[2]), (0.0, 0));
        let back: Vec<f32> = codes(&[0.5, -0.25], &s, log).iter().map(|&c| c as f32 * s[0]).collect();
        assert_eq!(back, [0.5, -0.25]);
    }
}
