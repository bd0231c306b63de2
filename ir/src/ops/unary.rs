//! Functions of one element: activations and elementary functions.
//!
//! One operand, of floats; the result has its type. Evaluated in double precision and rounded once, so that the
//! result does not depend on a machine's own mathematical library. `relu`, `clip` (with bounds that are integers
//! or infinite), `abs`, `neg` and `sign` take an `Int` too; the low bits of the true result stay.
//!
//! To add one: a line in the table below and an arm in [`Unary::apply`].

use super::{OpDef, OpError, all_float, arity, codes, floats, wrapped};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, IntType, TensorType};

/// Declares the functions with their names and parameters, and their text.
macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident $({ $($(#[$pdoc:meta])* $param:ident),+ })? = $name:literal),+ $(,)?) => {
        /// The functions. `x` is the element.
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Unary {
            $($(#[$doc])* $variant $({ $($(#[$pdoc])* $param: f32),+ })?),+
        }

        impl OpDef for Unary {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn name(&self) -> &'static str {
                match self { $(Unary::$variant $({ $($param: _),+ })? => $name),+ }
            }
            fn attrs(&self, to: &mut AttrWriter) {
                match *self {
                    $(Unary::$variant $({ $($param),+ })? => { $($(to.float(stringify!($param), $param);)+)? })+
                }
                // Functions without parameters leave `to` as it is.
                let _ = to;
            }
            fn parse(name: &str, from: &mut AttrReader) -> Result<Self, String> {
                match name {
                    $($name => Ok(Unary::$variant $({ $($param: from.float(stringify!($param))?),+ })?),)+
                    _ => Err(format!("there is no function `{name}` of one element")),
                }
            }
            fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
                arity(inputs, 1, 1)?;
                match inputs[0].elem {
                    ElemType::Int(int) if self.takes(int) => {}
                    _ => all_float(inputs)?,
                }
                Ok(inputs[0].clone())
            }
            fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
                if out.elem.is_float() {
                    return Ok(Data::F32(floats(inputs, 0)?.iter().map(|&x| self.apply(x)).collect()));
                }
                let y: Option<Vec<i64>> = codes(inputs, 0)?.into_iter().map(|x| self.apply_int(x)).collect();
                Ok(wrapped(&out.elem, y.ok_or("is no function of integers")?))
            }
        }
    };
}

functions! {
    /// `max(x, 0)`
    Relu = "relu",
    /// `x` for `x ≥ 0`, else `alpha · x`
    LeakyRelu {
        /// The slope below 0.
        alpha
    } = "leaky_relu",
    /// Keras' three-parameter ReLU: `max` from `x ≥ max` on, `x` from `x ≥ threshold` on,
    /// else `slope · (x − threshold)`
    BoundedRelu {
        /// The greatest result; infinite for none.
        max,
        /// The slope below the threshold.
        slope,
        /// Where the identity begins.
        threshold
    } = "bounded_relu",
    /// `x` for `x > theta`, else 0 (Keras' `threshold` and ONNX's ThresholdedRelu)
    ThresholdedRelu {
        /// The greatest `x` that gives 0.
        theta
    } = "thresholded_relu",
    /// `x` clamped to `lo..=hi`
    Clip {
        /// The least result.
        lo,
        /// The greatest result.
        hi
    } = "clip",
    /// `1 / (1 + exp(−x))`
    Sigmoid = "sigmoid",
    /// `clamp(alpha · x + beta, 0, 1)`
    HardSigmoid {
        /// The slope.
        alpha,
        /// The value at 0.
        beta
    } = "hard_sigmoid",
    /// `ln(sigmoid(x))`
    LogSigmoid = "log_sigmoid",
    /// Hyperbolic tangent
    Tanh = "tanh",
    /// `x − tanh(x)`
    TanhShrink = "tanh_shrink",
    /// `x` for `x > 0`, else `alpha · (exp(x) − 1)` (Clevert et al., 2016)
    Elu {
        /// The limit at −∞ is `−alpha`.
        alpha
    } = "elu",
    /// `scale · elu(x, alpha)` (Klambauer et al., 2017)
    Selu {
        /// About 1.6733.
        alpha,
        /// About 1.0507.
        scale
    } = "selu",
    /// `x` for `x > 0`, else `alpha · (exp(x / alpha) − 1)` (Barron, 2017)
    Celu {
        /// The limit at −∞ is `−alpha`.
        alpha
    } = "celu",
    /// `x · Φ(x)` with the exact normal distribution (Hendrycks and Gimpel, 2016)
    Gelu = "gelu",
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`
    GeluTanh = "gelu_tanh",
    /// `ln(1 + exp(x))`
    Softplus = "softplus",
    /// `x / (1 + |x|)`
    Softsign = "softsign",
    /// `x · sigmoid(x)`, also called swish
    Silu = "silu",
    /// `x · clamp(x/6 + 1/2, 0, 1)`
    HardSwish = "hard_swish",
    /// `x · tanh(softplus(x))` (Misra, 2019)
    Mish = "mish",
    /// `(x + sqrt(x² + b)) / 2`
    Squareplus {
        /// The curvature.
        b
    } = "squareplus",
    /// 0 for `x ≤ −1`, `x` for `x ≥ 1`, else `(x + 1)² / 4`
    SparsePlus = "sparse_plus",
    /// `x` moved towards 0 by `lambda`, 0 within it
    SoftShrink {
        /// How far.
        lambda
    } = "soft_shrink",
    /// `x` for `|x| > lambda`, else 0
    HardShrink {
        /// The greatest `|x|` that gives 0.
        lambda
    } = "hard_shrink",
    /// The exponential
    Exp = "exp",
    /// The natural logarithm
    Log = "log",
    /// The square root
    Sqrt = "sqrt",
    /// `1 / sqrt(x)`
    Rsqrt = "rsqrt",
    /// `x²`
    Square = "square",
    /// `1 / x`
    Reciprocal = "reciprocal",
    /// `|x|`
    Abs = "abs",
    /// `−x`
    Neg = "neg",
    /// The error function
    Erf = "erf",
    /// The greatest integer up to `x`
    Floor = "floor",
    /// The least integer from `x` on
    Ceil = "ceil",
    /// The nearest integer, ties to the even one
    Round = "round",
    /// −1 below 0, 1 above, 0 at 0
    Sign = "sign",
}

impl Unary {
    /// The function itself.
    pub fn apply(self, x: f32) -> f32 {
        // These need no more than single precision, and keep the sign of zero and NaN as comparisons do.
        match self {
            Unary::Relu => return if x < 0.0 { 0.0 } else { x },
            Unary::Clip { lo, hi } => {
                return if x < lo {
                    lo
                } else if x > hi {
                    hi
                } else {
                    x
                };
            }
            Unary::Neg => return -x,
            Unary::Abs => return x.abs(),
            _ => {}
        }
        self.apply_f64(f64::from(x)) as f32
    }

    /// Whether it is a function of integers of that type.
    fn takes(self, int: IntType) -> bool {
        let inside = |x: i64| self.apply_int(x).is_some_and(|y| (int.min()..=int.max()).contains(&y));
        match self {
            Unary::Clip { .. } => inside(int.min()) && inside(int.max()),
            _ => self.apply_int(0).is_some(),
        }
    }

    /// The function of an integer, where it is one; of results that do not fit 64 bits, the low ones stay.
    pub fn apply_int(self, x: i64) -> Option<i64> {
        // A float that is an integer or infinite is one of 128 bits, or as good as one.
        let bound = |b: f32| (b.trunc() == b).then_some(b as i128);
        Some(match self {
            Unary::Relu => x.max(0),
            Unary::Clip { lo, hi } => {
                let (lo, hi) = (bound(lo)?, bound(hi)?);
                let clipped = if i128::from(x) < lo { lo } else { i128::from(x).min(hi) };
                i64::try_from(clipped).ok()?
            }
            Unary::Abs => x.wrapping_abs(),
            Unary::Neg => x.wrapping_neg(),
            Unary::Sign => x.signum(),
            _ => return None,
        })
    }

    fn apply_f64(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        // ln(1 + exp(x)) without overflow for large x or loss for small.
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let elu = |x: f64, alpha: f32| if x > 0.0 { x } else { f64::from(alpha) * x.exp_m1() };
        let hard_sigmoid = |x: f64, a: f64, b: f64| (a * x + b).clamp(0.0, 1.0);
        match self {
            Unary::Relu => x.max(0.0),
            Unary::Clip { lo, hi } => x.max(f64::from(lo)).min(f64::from(hi)),
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::LeakyRelu { alpha } => leaky_relu(x, alpha.into()),
            Unary::BoundedRelu { max, slope, threshold } => {
                bounded_relu(x, max.into(), slope.into(), threshold.into())
            }
            Unary::ThresholdedRelu { theta } => thresholded_relu(x, theta.into()),
            Unary::Sigmoid => sigmoid(x),
            Unary::HardSigmoid { alpha, beta } => hard_sigmoid(x, f64::from(alpha), f64::from(beta)),
            Unary::LogSigmoid => -softplus(-x),
            Unary::Tanh => x.tanh(),
            Unary::TanhShrink => x - x.tanh(),
            Unary::Elu { alpha } => elu(x, alpha),
            Unary::Selu { alpha, scale } => f64::from(scale) * elu(x, alpha),
            Unary::Celu { alpha } => {
                let a = f64::from(alpha);
                if x > 0.0 { x } else { a * (x / a).exp_m1() }
            }
            Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Unary::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Unary::Softplus => softplus(x),
            Unary::Softsign => x / (1.0 + x.abs()),
            Unary::Silu => x * sigmoid(x),
            Unary::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Unary::Mish => x * softplus(x).tanh(),
            Unary::Squareplus { b } => 0.5 * (x + (x * x + f64::from(b)).sqrt()),
            Unary::SparsePlus => sparse_plus(x),
            Unary::SoftShrink { lambda } => soft_shrink(x, lambda.into()),
            Unary::HardShrink { lambda } => hard_shrink(x, lambda.into()),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Square => x * x,
            Unary::Reciprocal => 1.0 / x,
            Unary::Erf => libm::erf(x),
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            Unary::Sign if x == 0.0 => 0.0,
            Unary::Sign if x.is_nan() => x,
            Unary::Sign => x.signum(),
        }
    }
}

// Functions of several pieces; a NaN stays one.

fn leaky_relu(x: f64, alpha: f64) -> f64 {
    if x >= 0.0 { x } else { alpha * x }
}

fn bounded_relu(x: f64, max: f64, slope: f64, threshold: f64) -> f64 {
    if x >= max {
        max
    } else if x >= threshold {
        x
    } else {
        slope * (x - threshold)
    }
}

fn thresholded_relu(x: f64, theta: f64) -> f64 {
    if x > theta || x.is_nan() { x } else { 0.0 }
}

fn sparse_plus(x: f64) -> f64 {
    if x <= -1.0 {
        0.0
    } else if x >= 1.0 {
        x
    } else {
        0.25 * (x + 1.0).powi(2)
    }
}

fn soft_shrink(x: f64, lambda: f64) -> f64 {
    if x > lambda {
        x - lambda
    } else if x < -lambda {
        x + lambda
    } else {
        0.0 * x
    }
}

fn hard_shrink(x: f64, lambda: f64) -> f64 {
    if x.abs() <= lambda { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keras_relu_has_three_parts() {
        let f = Unary::BoundedRelu { max: 6.0, slope: 0.5, threshold: 1.0 };
        assert_eq!([7.0, 6.0, 2.0, 1.0, 0.0, -1.0].map(|x| f.apply(x)), [6.0, 6.0, 2.0, 1.0, -0.5, -1.0]);
    }

    #[test]
    fn tails_neither_overflow_nor_vanish() {
        assert_eq!(Unary::Softplus.apply(1000.0), 1000.0);
        assert!(Unary::Softplus.apply(-50.0) > 0.0);
        assert_eq!(Unary::Sigmoid.apply(-1000.0), 0.0);
        assert_eq!(Unary::LogSigmoid.apply(-1000.0), -1000.0);
        assert_eq!(Unary::Silu.apply(-1000.0), 0.0);
        assert_eq!(Unary::Mish.apply(1000.0), 1000.0);
    }

    #[test]
    fn integers_stay_integers() {
        use crate::types::Layout;
        let run = |f: Unary, int, v: [i64; 3]| {
            let x = Tensor::codes(TensorType::new(ElemType::Int(int), [3], Layout::channels_last(0)), v);
            let y = Tensor { data: f.eval(&[&x], &f.infer(&[&x.ty]).unwrap()).unwrap(), ty: x.ty };
            assert_eq!(y.fault(), None);
            [0, 1, 2].map(|i| y.data.code(i).unwrap())
        };
        let i8 = IntType::signed(8);
        assert_eq!(run(Unary::Relu, i8, [-1, 0, 5]), [0, 0, 5]);
        assert_eq!(run(Unary::Abs, i8, [-1, -128, 5]), [1, -128, 5]);
        assert_eq!(run(Unary::Neg, i8, [-1, -128, 5]), [1, -128, -5]);
        assert_eq!(run(Unary::Neg, IntType::unsigned(8), [1, 0, 255]), [255, 0, 1]);
        assert_eq!(run(Unary::Sign, i8, [-9, 0, 9]), [-1, 0, 1]);
        assert_eq!(run(Unary::Clip { lo: -2.0, hi: f32::INFINITY }, i8, [-9, 0, 9]), [-2, 0, 9]);
        let x = TensorType::new(ElemType::signed(8), [3], Layout::channels_last(0));
        for f in [
            Unary::Clip { lo: 0.5, hi: 2.0 },
            Unary::Clip { lo: 200.0, hi: 300.0 },
            Unary::Clip { lo: 0.0, hi: f32::NAN },
            Unary::Exp,
        ] {
            assert!(f.infer(&[&x]).is_err(), "{f:?}");
        }
        assert!(Unary::Clip { lo: 0.0, hi: 200.0 }.infer(&[&x]).is_ok());
    }

    #[test]
    fn rounding_functions() {
        let all = |f: Unary| [-1.5, -0.5, 0.5, 1.5, 2.5, -0.0].map(|x| f.apply(x));
        assert_eq!(all(Unary::Floor), [-2.0, -1.0, 0.0, 1.0, 2.0, 0.0]);
        assert_eq!(all(Unary::Ceil), [-1.0, 0.0, 1.0, 2.0, 3.0, 0.0]);
        assert_eq!(all(Unary::Round), [-2.0, 0.0, 0.0, 2.0, 2.0, 0.0]);
        assert_eq!(all(Unary::Sign), [-1.0, -1.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn nan_stays_visible() {
        for name in Unary::NAMES {
            let mut attrs = AttrWriter::default();
            let text: Vec<(String, crate::attrs::Attr)> =
                ["alpha", "beta", "lo", "hi", "max", "slope", "threshold", "theta", "b", "scale", "lambda"]
                    .map(|n| (n.to_string(), crate::attrs::Attr::Float(0.5)))
                    .to_vec();
            let op = Unary::parse(name, &mut AttrReader::new(text).unwrap()).unwrap();
            op.attrs(&mut attrs);
            assert!(op.apply(f32::NAN).is_nan(), "{name} hides a NaN");
        }
    }
}
