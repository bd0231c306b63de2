//! From what was seen of a value to its range.
//!
//! In: [`Observed`], and how many codes there are on the positive side. Out: the magnitude that the greatest code stands for.
//! [`Method::MinMax`] needs extremes only, the others the histogram. Where nothing but zeros was seen the range is 0.

use super::histogram::Observed;
use crate::recipe::Method;

/// Bins of the distributions that [`Method::Kl`] compares, at most.
const KL_BINS: usize = 2048;
/// Ranges that [`Method::Mse`] tries.
const MSE_STEPS: usize = 256;
/// Of the elements that are not 0, the part that [`Method::Kl`] may leave beyond the range. For a bell this is 3.3 σ.
const KL_BEYOND: f64 = 0.001;

/// The magnitude that code `top` is to stand for. Never more than the greatest magnitude that was seen.
pub fn range(observed: &Observed, top: i64, method: Method) -> f64 {
    let most = f64::from(observed.magnitude());
    let Some((bins, width)) = observed.bins() else { return most };
    let found = match method {
        Method::MinMax => most,
        Method::Percentile(p) => percentile(bins, width, p),
        // Steps finer than the bins: there is nothing to choose.
        _ if top as usize >= bins.len() / 4 => most,
        Method::Mse => mse(bins, width, most, top as f64),
        Method::Kl => kl(bins, width, top as usize + 1),
    };
    found.min(most)
}

/// The upper end of the first bin up to which this many per cent of all elements lie.
fn percentile(bins: &[u64], width: f64, per_cent: f64) -> f64 {
    let all: u64 = bins.iter().sum();
    // 99.9 · 1000 / 100 is 999, where 99.9 / 100 · 1000 is a little more.
    let wanted = (per_cent * all as f64 / 100.0).ceil() as u64;
    let mut sum = 0;
    let reached = |n: &u64| {
        sum += n;
        sum >= wanted
    };
    let bin = bins.iter().position(reached).unwrap_or(bins.len() - 1);
    (bin + 1) as f64 * width
}

/// The range with the least squared error, every element counted at the middle of its bin.
fn mse(bins: &[u64], width: f64, most: f64, top: f64) -> f64 {
    let error = |range: f64| {
        let step = range / top;
        let one = |(bin, &n): (usize, &u64)| {
            let x = (bin as f64 + 0.5) * width;
            let apart = x - (x / step).round_ties_even().min(top) * step;
            n as f64 * apart * apart
        };
        bins.iter().enumerate().map(one).sum::<f64>()
    };
    let tried = (1..=MSE_STEPS).rev().map(|i| most * i as f64 / MSE_STEPS as f64).map(|r| (error(r), r));
    tried.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(most, |best| best.1)
}

/// The range whose quantized distribution is nearest to the clipped one by the Kullback-Leibler divergence (S. Migacz, 8-bit
/// inference with TensorRT, GTC 2017): what lies beyond the range is counted in
/// its last bin that is not empty, and each level spreads what falls
/// to it evenly over the bins that are not empty. Zeros do not count.
///
/// A level cannot spread a spike (what a blank background gives behind a convolution), so spikes speak for ranges whose levels are
/// single bins, however much lies beyond. Ranges that leave more than [`KL_BEYOND`] beyond them are not taken.
fn kl(bins: &[u64], width: f64, levels: usize) -> f64 {
    let joined = bins.len().div_ceil(KL_BINS);
    let mut bins: Vec<f64> = bins.chunks(joined).map(|c| c.iter().sum::<u64>() as f64).collect();
    let width = width * joined as f64;
    let allowed = bins.iter().skip(1).sum::<f64>() * KL_BEYOND;
    // Zeros have a code of their own at any range. Behind a ReLU they are so many that they would decide alone.
    if let [zeros, next, ..] = bins.as_mut_slice() {
        *zeros = *next;
    }
    let mut beyond: Vec<f64> =
        bins.iter().rev().scan(0.0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
    beyond.reverse();
    let mut best = (f64::INFINITY, bins.len());
    for end in (levels.min(bins.len())..=bins.len()).filter(|end| beyond[end - 1] <= allowed) {
        let divergence = divergence(&bins[..end], beyond[end - 1], levels);
        if divergence < best.0 {
            best = (divergence, end);
        }
    }
    best.1 as f64 * width
}

fn divergence(inside: &[f64], beyond: f64, levels: usize) -> f64 {
    let end = inside.len();
    let Some(last) = inside.iter().rposition(|&n| n > 0.0) else { return f64::INFINITY };
    let total: f64 = inside.iter().sum::<f64>() + beyond;
    let kept = total - beyond;
    let mut sum = 0.0;
    for level in 0..levels {
        let from = level * end / levels;
        let part = &inside[from..(level + 1) * end / levels];
        let (mass, filled) = part.iter().fold((0.0, 0usize), |(m, f), &n| (m + n, f + usize::from(n > 0.0)));
        let q = mass / filled.max(1) as f64 / kept;
        for (i, &n) in part.iter().enumerate().filter(|(_, n)| **n > 0.0) {
            let p = if from + i == last { n + beyond } else { n } / total;
            sum += p * (p / q).ln();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::SplitMix64;

    fn observed(values: &[f32]) -> Observed {
        let mut observed = Observed::new(true);
        observed.add(values);
        observed
    }
    /// A bell with a few elements far out.
    fn long_tailed() -> Vec<f32> {
        let mut random = SplitMix64::new(1);
        let mut values: Vec<f32> = (0..200_000).map(|_| random.normal()).collect();
        values.extend([40.0, -50.0]);
        values
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let values: Vec<f32> = (1..=1000).map(|i| i as f32).collect();
        let seen = observed(&values);
        for p in [50.0, 90.0, 99.9, 100.0] {
            let range = range(&seen, 127, Method::Percentile(p));
            let exact = p * 10.0;
            assert!(range >= exact && range <= exact + 0.13, "{p}: {range}");
        }
    }

    /// The error of each range by the elements themselves.
    #[test]
    fn the_squared_error_is_least() {
        let values = long_tailed();
        let seen = observed(&values);
        let error = |range: f64| -> f64 {
            let step = range / 127.0;
            let apart = |v: &f32| {
                let x = f64::from(v.abs());
                x - (x / step).round().min(127.0) * step
            };
            values.iter().map(apart).map(|d| d * d).sum()
        };
        let own = range(&seen, 127, Method::Mse);
        let least = (1..400).map(|i| error(f64::from(i) / 8.0)).fold(f64::MAX, f64::min);
        assert!(error(own) <= least * 1.05, "{own}: {} where {least} is possible", error(own));
        assert!(own < 49.0, "what lies far out counts for less than what it costs the others");
    }

    #[test]
    fn divergence_cuts_a_long_tail_and_keeps_a_flat_one() {
        let cut = range(&observed(&long_tailed()), 127, Method::Kl);
        assert!((2.0..6.0).contains(&cut), "{cut}");
        let flat: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        let kept = range(&observed(&flat), 127, Method::Kl);
        assert!(kept > 0.95, "{kept}");
    }

    /// Behind a ReLU half of all elements are 0, which says nothing about the range of the others.
    #[test]
    fn divergence_is_not_misled_by_zeros() {
        let values: Vec<f32> = long_tailed().iter().map(|v| v.abs()).collect();
        let mut with = values.clone();
        with.resize(values.len() * 8, 0.0);
        let [a, b] = [values, with].map(|v| range(&observed(&v), 255, Method::Kl));
        assert!((a - b).abs() < 0.3, "{a} {b}");
    }

    /// What a blank background gives behind a convolution, one spike per channel.
    #[test]
    fn divergence_is_not_misled_by_spikes() {
        let mut values: Vec<f32> = long_tailed().iter().map(|v| v.abs() * 2.0).filter(|v| *v < 8.0).collect();
        for spike in [0.013, 0.171, 0.3333, 0.52] {
            values.resize(values.len() + 200_000, spike);
        }
        let range = range(&observed(&values), 255, Method::Kl);
        assert!(range > 4.0, "{range}: a twentieth of what is no spike is beyond");
    }

    #[test]
    fn zeros_have_no_range() {
        for method in [Method::MinMax, Method::Percentile(99.0), Method::Mse, Method::Kl] {
            assert_eq!(range(&observed(&[0.0; 10]), 127, method), 0.0);
            assert_eq!(
                range(&observed(&[0.0, 3.0]), 127, method).min(3.0),
                range(&observed(&[0.0, 3.0]), 127, method)
            );
        }
    }
}
