//! What was seen of a value: extremes, and a histogram of magnitudes that grows with them.
//!
//! Bins are a power of two wide, the same for all. When a magnitude lies beyond the last bin, neighbours are joined until it
//! does not. As joined bins are exactly the bins of twice the width, the result depends on the elements alone and not on
//! their order: batches, threads and a second pass make no difference, and one pass is enough.

/// Bins; more than half of them are in use once anything was seen.
pub const BINS: usize = 8192;

/// What was seen of a value.
#[derive(Clone, PartialEq, Debug)]
pub struct Observed {
    /// The least element; infinite while nothing was seen.
    pub min: f32,
    /// The greatest element; minus infinity while nothing was seen.
    pub max: f32,
    /// Whether an element was NaN or infinite.
    pub odd: bool,
    /// How many magnitudes lie in each bin, if that is counted.
    histogram: Option<Vec<u64>>,
    /// Bins are `2^exponent` wide.
    exponent: i32,
}

impl Observed {
    /// Nothing seen yet.
    pub fn new(counted: bool) -> Self {
        let histogram = counted.then(|| vec![0; BINS]);
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, odd: false, histogram, exponent: i32::MIN }
    }

    /// The greatest magnitude.
    pub fn magnitude(&self) -> f32 {
        if self.min > self.max { 0.0 } else { self.max.max(-self.min) }
    }

    /// Takes elements in.
    pub fn add(&mut self, values: &[f32]) {
        let (mut min, mut max, mut odd) = (self.min, self.max, false);
        for &v in values {
            min = if v < min { v } else { min };
            max = if v > max { v } else { max };
            odd |= !v.is_finite();
        }
        (self.min, self.max) = (min, max);
        self.odd |= odd;
        if self.histogram.is_some() && !self.odd {
            self.grow();
            self.count(values);
        }
    }

    /// Joins bins until the greatest magnitude lies in one.
    fn grow(&mut self) {
        let magnitude = self.magnitude();
        let Some(bins) = &mut self.histogram else { return };
        if magnitude == 0.0 {
            return;
        }
        // 2^e ≤ magnitude < 2^(e+1), which BINS bins of this width reach.
        let e = (f64::from(magnitude).to_bits() >> 52) as i32 - 1023;
        let needed = e + 1 - BINS.ilog2() as i32;
        if self.exponent == i32::MIN {
            self.exponent = needed;
        }
        while self.exponent < needed {
            if bins[1..].iter().all(|&n| n == 0) {
                self.exponent = needed;
                return;
            }
            for i in 0..BINS / 2 {
                bins[i] = bins[2 * i] + bins[2 * i + 1];
            }
            bins[BINS / 2..].fill(0);
            self.exponent += 1;
        }
    }

    fn count(&mut self, values: &[f32]) {
        let Some(bins) = &mut self.histogram else { return };
        if self.exponent == i32::MIN {
            bins[0] += values.len() as u64;
            return;
        }
        let factor = f64::from(-self.exponent).exp2();
        if factor < f64::from(f32::MAX) && factor > f64::from(f32::MIN_POSITIVE) {
            // A product with a power of two is exact unless it is subnormal, and then it is in the first bin anyway.
            let factor = factor as f32;
            values.iter().for_each(|v| bins[((v.abs() * factor) as usize).min(BINS - 1)] += 1);
        } else {
            values.iter().for_each(|v| bins[((f64::from(v.abs()) * factor) as usize).min(BINS - 1)] += 1);
        }
    }

    /// The counts of the bins up to the last that is not empty, and the width of a bin. Nothing when only zeros were seen, or
    /// nothing was counted.
    pub fn bins(&self) -> Option<(&[u64], f64)> {
        let bins = self.histogram.as_deref().filter(|_| self.exponent != i32::MIN)?;
        let used = bins.iter().rposition(|&n| n > 0)? + 1;
        Some((&bins[..used], f64::from(self.exponent).exp2()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::SplitMix64;

    fn seen(parts: &[&[f32]]) -> Observed {
        let mut observed = Observed::new(true);
        parts.iter().for_each(|p| observed.add(p));
        observed
    }

    #[test]
    fn the_order_of_the_elements_makes_no_difference() {
        let mut random = SplitMix64::new(3);
        let mut values: Vec<f32> = (0..5000).map(|i| random.normal() * (1.0 + (i % 17) as f32)).collect();
        values.extend([0.0, -0.0, 1e-30, -1e-42, 77.7]);
        let whole = seen(&[&values]);
        let (one, rest) = values.split_at(1);
        assert_eq!(seen(&[one, rest]), whole);
        let singly: Vec<&[f32]> = values.chunks(1).collect();
        assert_eq!(seen(&singly), whole);
        values.reverse();
        let chunks: Vec<&[f32]> = values.chunks(13).collect();
        assert_eq!(seen(&chunks), whole);
        let (bins, width) = whole.bins().unwrap();
        assert_eq!(bins.iter().sum::<u64>(), 5005);
        assert!(bins.len() > BINS / 2 && bins.len() as f64 * width >= 77.7);
    }

    #[test]
    fn extremes_of_the_type() {
        for values in [vec![1e-45f32], vec![f32::MAX, 1e-45], vec![0.0, 0.0]] {
            let observed = seen(&[&values]);
            let counted = observed.bins().map(|(bins, _)| bins.iter().sum::<u64>());
            assert_eq!(counted.unwrap_or(2), values.len() as u64, "{values:?}");
            assert!(!observed.odd);
        }
        assert!(seen(&[&[1.0], &[f32::NAN]]).odd && seen(&[&[f32::INFINITY]]).odd);
        assert_eq!((seen(&[]).magnitude(), seen(&[&[-3.0, 2.0]]).magnitude()), (0.0, 3.0));
    }
}
