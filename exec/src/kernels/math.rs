//! exp, sigmoid and tanh on vectors.

use super::simd::Vector;

/// log2(e).
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has so few bits that n * LN2_HI is exact for |n| < 2^14.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2: minimax polynomial in r, relative error of e^r below 6e-11.
const EXP: [f32; 6] = [0.5, 0.166_666_66, 0.041_666_295, 0.008_333_497, 0.001_394_466, 0.000_197_903_4];
/// (tanh(x) - x) / x^3 on |x| <= 0.63: minimax polynomial in x^2, relative error of tanh below 5e-9.
const TANH: [f32; 5] = [-0.333_332_78, 0.133_313_31, -0.053_730_007, 0.020_606_175, -0.005_666_975];

/// c0 + c1 x + c2 x^2 + ...
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
unsafe fn horner<V: Vector, const N: usize>(x: V, c: &[f32; N]) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let mut sum = V::splat(c[N - 1]);
        for i in (0..N - 1).rev() {
            sum = sum.mul_add(x, V::splat(c[i]));
        }
        sum
    }
}

/// e^x within 2 units in the last place, subnormal results included; NaN stays NaN.
///
/// e^x = 2^n e^r with n the integer nearest to x / ln 2.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        // Beyond these the result is infinity or 0; the constants go first so that a NaN comes through.
        let x = V::splat(89.0).min(V::splat(-104.0).max(x));
        let n = x.mul(V::splat(LOG2_E)).round();
        let r = n.mul_add(V::splat(-LN2_HI), x);
        let r = n.mul_add(V::splat(-LN2_LO), r);
        let p = horner(r, &EXP).mul_add(r.mul(r), r).add(V::splat(1.0));
        // 2^n in two factors: n reaches -150 and 128, beyond what one normal number holds.
        let half = n.mul(V::splat(0.5)).round();
        p.mul(half.exp2_int()).mul(n.sub(half).exp2_int())
    }
}

/// 1 / (1 + e^-x).
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let one = V::splat(1.0);
        one.div(one.add(exp(V::splat(0.0).sub(x))))
    }
}

/// tanh(x): a polynomial near 0, where 1 - 2 / (e^2x + 1) would lose its leading digits.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let one = V::splat(1.0);
        let square = x.mul(x);
        let near = horner(square, &TANH).mul_add(square.mul(x), x);
        let far = one.sub(V::splat(2.0).div(exp(x.add(x)).add(one)));
        square.select_lt(V::splat(0.39), near, far)
    }
}
