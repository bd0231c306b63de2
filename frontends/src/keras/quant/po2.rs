//! Powers of two: QKeras' `quantized_po2` and `quantized_relu_po2`.
//!
//! In: a float. Out: `±2^e`, the exponent rounded in the domain of the logarithm (0.71 gives 1) and clamped; there is no
//! 0. Weights become a sign and a scale per element, activations a table behind thresholds.

use super::grid::{Grid, pow2};
use super::steps;

/// Below it, Keras takes the least exponent.
const EPSILON: f32 = 1e-7;

/// A quantizer to powers of two.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PowerOfTwo {
    /// The least and the greatest exponent, before they are doubled.
    pub exponents: (i64, i64),
    /// The greatest magnitude.
    pub max: Option<f32>,
    /// Exponents are even.
    pub quadratic: bool,
    /// Exponents are rounded down.
    pub floor: bool,
    /// What becomes of negative numbers.
    pub below: Below,
}

/// What becomes of negative numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Below {
    /// The same, with a sign.
    Mirrored,
    /// The least power.
    Least,
    /// Their multiples by a slope, with a sign.
    Sloped(f32),
}

impl PowerOfTwo {
    fn factor(&self) -> i64 {
        if self.quadratic { 2 } else { 1 }
    }

    /// The power for a magnitude.
    fn power(&self, magnitude: f32) -> f32 {
        let (least, most) = self.exponents;
        if magnitude < EPSILON {
            return pow2(least);
        }
        let x = self.max.map_or(magnitude, |max| if magnitude >= max { max } else { magnitude });
        let x = if self.quadratic { x.sqrt() } else { x };
        // The library divides two logarithms in single precision; the quotient of its own, which errs by a unit or
        // two in the last place, is a tie where this one is.
        let log = f64::from(x).log2() as f32;
        let e = if self.floor { log.floor() } else { log.round_ties_even() };
        pow2(self.factor() * (e as i64).clamp(least, most))
    }

    /// The quantized number.
    pub fn apply(&self, x: f32) -> f32 {
        match self.below {
            _ if x >= 0.0 => self.power(x),
            Below::Mirrored => -self.power(-x),
            Below::Least => self.power(0.0),
            Below::Sloped(slope) => -self.power(-x * slope),
        }
    }

    /// As a step function; `None` when it has too many levels.
    pub fn grid(&self) -> Option<Grid> {
        // What is below ε gets the least exponent undoubled, so the function turns there.
        let mut cuts = vec![0.0, EPSILON, -EPSILON];
        if let Below::Sloped(slope) = self.below {
            cuts.push(-EPSILON / slope);
        }
        // The places where a quotient crosses ε are found to a few units: what lies between is cut, too.
        let near = cuts.iter().flat_map(|cut| [cut.next_down(), *cut, cut.next_up()]).collect::<Vec<f32>>();
        steps::table(&near, |x| self.apply(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_rounded_as_logarithms() {
        let f = PowerOfTwo {
            exponents: (-4, 3),
            max: None,
            quadratic: false,
            floor: false,
            below: Below::Mirrored,
        };
        let x = [0.71, 0.7, 1e9, 0.0, -0.0, -1e-9, -3.0, 0.01];
        assert_eq!(x.map(|x| f.apply(x)), [1., 0.5, 8., 0.0625, 0.0625, -0.0625, -4., 0.0625]);
        let down = PowerOfTwo { floor: true, ..f.clone() };
        assert_eq!(down.apply(0.99), 0.5);
        let relu = PowerOfTwo { below: Below::Sloped(0.25), ..f.clone() };
        assert_eq!(relu.apply(-4.0), -1.0);
        let capped = PowerOfTwo { max: Some(2.0), quadratic: true, exponents: (-4, 2), ..f };
        assert_eq!([100.0, 1e-8].map(|x| capped.apply(x)), [1.0, 0.0625]);
    }
}
