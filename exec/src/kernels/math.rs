//! exp, tanh and the activation functions made of them, on vectors.
//!
//! The vector type's operations are inlined into functions with the right target features; a closure would be a
//! function of its own without them, so there is none here.

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

/// (atanh(s) - s) / s^3 on 0 <= s <= 1/3: minimax polynomial in s^2, relative error of atanh below 2e-10.
const ATANH: [f32; 5] = [0.333_333_37, 0.199_994_44, 0.143_082_99, 0.107_153_69, 0.121_447_854];
/// erfc(z) e^(z^2) as a polynomial in t = 1 / (1 + 0.3 z) without a constant term, relative error below 2e-8.
const ERFC: [f32; 9] = [
    0.169_187_41,
    0.170_723_83,
    0.148_286_18,
    0.215_107_58,
    -0.095_029_086,
    0.548_212_35,
    -0.512_669_15,
    0.485_736_9,
    -0.129_555_97,
];

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

/// n and p with e^x = 2^n (1 + p), n the integer nearest to x / ln 2; x within -104..=89.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
unsafe fn exp_parts<V: Vector>(x: V) -> (V, V) {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let n = x.mul(V::splat(LOG2_E)).round();
        let r = n.mul_add(V::splat(-LN2_HI), x);
        let r = n.mul_add(V::splat(-LN2_LO), r);
        (n, horner(r, &EXP).mul_add(r.mul(r), r))
    }
}

/// e^x within 2 units in the last place, subnormal results included; NaN stays NaN.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        // Beyond these the result is infinity or 0; the constants go first so that a NaN comes through.
        let (n, p) = exp_parts(V::splat(89.0).min(V::splat(-104.0).max(x)));
        // 2^n in two factors: n reaches -150 and 128, beyond what one normal number holds.
        let half = n.mul(V::splat(0.5)).round();
        p.add(V::splat(1.0)).mul(half.exp2_int()).mul(n.sub(half).exp2_int())
    }
}

/// |x|; NaN stays NaN.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn abs<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe { x.max(V::splat(0.0).sub(x)) }
}

/// min(max(alpha * x + beta, 0), 1).
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn hard_sigmoid<V: Vector>(x: V, alpha: f32, beta: f32) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let y = x.mul_add(V::splat(alpha), V::splat(beta));
        V::splat(1.0).min(V::splat(0.0).max(y))
    }
}

/// scale * x for x > 0, else scale * alpha * (e^x - 1), accurate near 0.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn elu<V: Vector>(x: V, alpha: f32, scale: f32) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        // Only arguments below 0 matter; e^x - 1 is -1 from about -17 on.
        let (n, p) = exp_parts(V::splat(0.0).min(V::splat(-80.0).max(x)));
        let power = n.exp2_int();
        let expm1 = power.mul_add(p, power.sub(V::splat(1.0)));
        let below = expm1.mul(V::splat(alpha));
        x.select_lt(V::splat(0.0), below, x).mul(V::splat(scale))
    }
}

/// x Φ(x), as max(x, 0) - |x|/2 erfc(|x| / sqrt 2).
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn gelu<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let one = V::splat(1.0);
        // Beyond 15 the second term is 0; infinity would make it NaN.
        let size = V::splat(15.0).min(abs(x));
        let z = size.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = one.div(z.mul_add(V::splat(0.3), one));
        let scaled = horner(t, &ERFC).mul(t);
        let half_erfc = scaled.mul(exp(V::splat(-0.5).mul(size.mul(size)))).mul(V::splat(0.5));
        V::splat(0.0).max(x).sub(size.mul(half_erfc))
    }
}

/// x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let inner = x.mul(x).mul(x).mul_add(V::splat(0.044_715), x);
        let th = tanh(inner.mul(V::splat(0.797_884_6)));
        x.mul(V::splat(0.5)).mul(V::splat(1.0).add(th))
    }
}

/// ln(1 + e^x), as max(x, 0) + ln(1 + t) with t = e^-|x| and ln(1 + t) = 2 atanh(t / (2 + t)).
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
pub(crate) unsafe fn softplus<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the features of `V`.
    unsafe {
        let t = exp(V::splat(0.0).sub(abs(x)));
        let s = t.div(t.add(V::splat(2.0)));
        let square = s.mul(s);
        let atanh = horner(square, &ATANH).mul_add(square.mul(s), s);
        V::splat(0.0).max(x).add(atanh.add(atanh))
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
