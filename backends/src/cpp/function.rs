//! Functions of one and two elements in C++: a struct each, with a static `apply`.
//!
//! The formulas are those of [`Unary::apply`] and [`Binary::apply`] in single precision, which keeps NaN and
//! does not overflow where the result would not.

use unfloat_ir::ops::{Binary, OpDef, Unary};

/// A float literal that reads back to the same bits; a NaN loses its payload.
pub fn literal(x: f32) -> String {
    if x.is_nan() {
        "std::numeric_limits<float>::quiet_NaN()".to_string()
    } else if x.is_infinite() {
        format!("{}std::numeric_limits<float>::infinity()", if x < 0.0 { "-" } else { "" })
    } else {
        format!("{x:?}f")
    }
}

/// The name of a function without regard to its parameters, and the body of its `apply(float x)`.
pub fn unary(f: Unary) -> (&'static str, String) {
    let l = literal;
    let body = match f {
        Unary::Relu => "return x < 0.0f ? 0.0f : x;".to_string(),
        Unary::LeakyRelu { alpha } => format!("return x >= 0.0f ? x : {} * x;", l(alpha)),
        Unary::BoundedRelu { max, slope, threshold } => bounded_relu(max, slope, threshold),
        Unary::ThresholdedRelu { theta } => format!("return x <= {} ? 0.0f : x;", l(theta)),
        Unary::Clip { lo, hi } => {
            format!("return x < {} ? {} : x > {} ? {} : x;", l(lo), l(lo), l(hi), l(hi))
        }
        Unary::Sigmoid => "return 1.0f / (1.0f + std::exp(-x));".to_string(),
        Unary::HardSigmoid { alpha, beta } => format!(
            "const float y = {} * x + {};\n    return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;",
            l(alpha),
            l(beta)
        ),
        Unary::LogSigmoid => {
            "return (x > 0.0f ? 0.0f : x) - std::log1p(std::exp(-std::fabs(x)));".to_string()
        }
        Unary::Tanh => "return std::tanh(x);".to_string(),
        Unary::TanhShrink => "return x - std::tanh(x);".to_string(),
        Unary::Elu { alpha } => format!("return x > 0.0f ? x : {} * std::expm1(x);", l(alpha)),
        Unary::Selu { alpha, scale } => {
            format!("return {} * (x > 0.0f ? x : {} * std::expm1(x));", l(scale), l(alpha))
        }
        Unary::Celu { alpha } => {
            format!("return x > 0.0f ? x : {} * std::expm1(x / {});", l(alpha), l(alpha))
        }
        Unary::Gelu => {
            format!("return 0.5f * x * (1.0f + std::erf(x * {}));", l(std::f32::consts::FRAC_1_SQRT_2))
        }
        Unary::GeluTanh => format!(
            "return 0.5f * x * (1.0f + std::tanh({} * (x + 0.044715f * x * x * x)));",
            l((2.0 / std::f64::consts::PI).sqrt() as f32)
        ),
        Unary::Softplus => "return (x < 0.0f ? 0.0f : x) + std::log1p(std::exp(-std::fabs(x)));".to_string(),
        Unary::Softsign => "return x / (1.0f + std::fabs(x));".to_string(),
        Unary::Silu => "return x / (1.0f + std::exp(-x));".to_string(),
        Unary::HardSwish => format!(
            "const float y = {} * x + 0.5f;\n    return x * (y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y);",
            l(1.0 / 6.0)
        ),
        Unary::Mish => {
            "return x * std::tanh((x < 0.0f ? 0.0f : x) + std::log1p(std::exp(-std::fabs(x))));".to_string()
        }
        // In double precision: below 0 this is the difference of two near numbers.
        Unary::Squareplus { b } => format!(
            "const double d = x;\n    return static_cast<float>(0.5 * (d + std::sqrt(d * d + static_cast<double>({}))));",
            l(b)
        ),
        Unary::SparsePlus => {
            "return x <= -1.0f ? 0.0f : x >= 1.0f ? x : 0.25f * (x + 1.0f) * (x + 1.0f);".to_string()
        }
        Unary::SoftShrink { lambda } => soft_shrink(lambda),
        Unary::HardShrink { lambda } => format!("return std::fabs(x) <= {} ? 0.0f : x;", l(lambda)),
        Unary::Exp => "return std::exp(x);".to_string(),
        Unary::Log => "return std::log(x);".to_string(),
        Unary::Sqrt => "return std::sqrt(x);".to_string(),
        Unary::Rsqrt => "return 1.0f / std::sqrt(x);".to_string(),
        Unary::Square => "return x * x;".to_string(),
        Unary::Reciprocal => "return 1.0f / x;".to_string(),
        Unary::Abs => "return std::fabs(x);".to_string(),
        Unary::Neg => "return -x;".to_string(),
        Unary::Erf => "return std::erf(x);".to_string(),
        Unary::Floor => "return std::floor(x);".to_string(),
        Unary::Ceil => "return std::ceil(x);".to_string(),
        // The nearest, ties to even, in the rounding mode that every program starts in.
        Unary::Round => "return std::nearbyint(x);".to_string(),
        Unary::Sign => "return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? 0.0f : x;".to_string(),
    };
    (f.name(), body)
}

fn bounded_relu(max: f32, slope: f32, threshold: f32) -> String {
    let [max, slope, threshold] = [max, slope, threshold].map(literal);
    format!("return x >= {max} ? {max} : x >= {threshold} ? x : {slope} * (x - {threshold});")
}

fn soft_shrink(lambda: f32) -> String {
    let [more, less] = [lambda, -lambda].map(literal);
    format!("return x > {more} ? x - {more} : x < {less} ? x + {more} : 0.0f * x;")
}

/// The name of a function and the body of its `apply(float a, float b)`.
pub fn binary(f: Binary) -> (&'static str, &'static str) {
    let body = match f {
        Binary::Add => "return a + b;",
        Binary::Sub => "return a - b;",
        Binary::Mul => "return a * b;",
        Binary::Div => "return a / b;",
        Binary::Max => "return a > b || a != a ? a : b;",
        Binary::Min => "return a < b || a != a ? a : b;",
        Binary::Pow => "return std::pow(a, b);",
        Binary::Prelu => "return a >= 0.0f ? a : a * b;",
        Binary::Mod => {
            "const float r = std::fmod(a, b);\n    return r == 0.0f ? std::copysign(r, b) : (r < 0.0f) != (b < 0.0f) ? r + b : r;"
        }
        Binary::Fmod => "return std::fmod(a, b);",
    };
    (f.name(), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_read_back() {
        for x in [0.0f32, -0.0, 1.0, 0.1, 1e-45, f32::MAX, f32::MIN_POSITIVE, 16777216.0, -1e30] {
            let text = literal(x);
            let number = text.strip_suffix('f').unwrap();
            assert_eq!(number.parse::<f32>().unwrap().to_bits(), x.to_bits());
            assert!(number.contains(['.', 'e']), "{text} is no float literal");
        }
        assert_eq!(literal(f32::NEG_INFINITY), "-std::numeric_limits<float>::infinity()");
    }
}
