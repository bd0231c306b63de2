//! The vector operations that the kernels are written in, once for every instruction set.
//!
//! Every method is `unsafe` for one common reason: the caller runs inside a function that has the target features of
//! the type (see `dispatch!`). They are inlined there, which is what makes them instructions; so no closure may call
//! them: it would be a function of its own, without the features. Methods that take a pointer also need the stated number of valid f32 behind it; no
//! alignment beyond that of f32 is needed.

/// A vector of [`Vector::LANES`] f32.
pub(crate) trait Vector: Copy {
    /// Number of f32 in the vector.
    const LANES: usize;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Reads `LANES` values.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes `LANES` values.
    unsafe fn store(self, p: *mut f32);
    /// Reads `n < LANES` values; the other lanes are `fill`.
    unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self;
    /// Writes the first `n < LANES` values.
    unsafe fn store_part(self, p: *mut f32, n: usize);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * b + c`, fused where the instruction set has it.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self > x ? self : x`: gives `x` when either is NaN.
    unsafe fn max(self, x: Self) -> Self;
    /// `self < x ? self : x`: gives `x` when either is NaN.
    unsafe fn min(self, x: Self) -> Self;
    /// Nearest integer, ties to even, for |self| < 2^22.
    unsafe fn round(self) -> Self;
    /// 2^self for an integral self in -126..=127.
    unsafe fn exp2_int(self) -> Self;
    /// `self < limit ? below : other`, lane by lane (a NaN is not below).
    unsafe fn select_lt(self, limit: Self, below: Self, other: Self) -> Self;
    /// `self is NaN ? self : other`, lane by lane.
    unsafe fn nan_or(self, other: Self) -> Self;
    /// The greater; NaN if either is.
    #[inline(always)]
    unsafe fn max_nan(self, x: Self) -> Self {
        // SAFETY: the caller has the features of `Self`. `max` gives x, so also an x that is NaN, if either is.
        unsafe { self.nan_or(self.max(x)) }
    }
    /// The lesser; NaN if either is.
    #[inline(always)]
    unsafe fn min_nan(self, x: Self) -> Self {
        // SAFETY: the caller has the features of `Self`. `min` gives x, so also an x that is NaN, if either is.
        unsafe { self.nan_or(self.min(x)) }
    }
}

/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer: the sum has no fraction bits left.
const ROUND_MAGIC: f32 = 12_582_912.0;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    #[inline(always)]
    unsafe fn mask16(n: usize) -> __mmask16 {
        debug_assert!(n < 16);
        ((1u32 << n) - 1) as __mmask16
    }

    impl Vector for __m512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the trait's contract (features on, 16 values readable).
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the trait's contract (features on, 16 values writable).
            unsafe { _mm512_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self {
            // SAFETY: the trait's contract; masked lanes are not touched.
            unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask16(n), p) }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            // SAFETY: the trait's contract; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(p, mask16(n), self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_div_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn max(self, x: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_max_ps(self, x) }
        }
        #[inline(always)]
        unsafe fn min(self, x: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_min_ps(self, x) }
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
        }
        #[inline(always)]
        unsafe fn exp2_int(self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let n = _mm512_cvtps_epi32(self);
                let biased = _mm512_add_epi32(n, _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        unsafe fn select_lt(self, limit: Self, below: Self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let m = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self, limit);
                _mm512_mask_blend_ps(m, other, below)
            }
        }
        #[inline(always)]
        unsafe fn nan_or(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let m = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                _mm512_mask_blend_ps(m, other, self)
            }
        }
    }

    /// Lane masks for `n` leading lanes: eight consecutive values starting at `8 - n`.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn mask8(n: usize) -> __m256i {
        debug_assert!(n < 8);
        // SAFETY: 8 - n lies in 1..=8, so eight values are inside the table.
        unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - (n & 7)).cast()) }
    }

    impl Vector for __m256 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: the trait's contract (features on, 8 values readable).
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: the trait's contract (features on, 8 values writable).
            unsafe { _mm256_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self {
            // SAFETY: the trait's contract; masked lanes are not touched.
            unsafe {
                let m = mask8(n);
                let v = _mm256_maskload_ps(p, m);
                _mm256_blendv_ps(_mm256_set1_ps(fill), v, _mm256_castsi256_ps(m))
            }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            // SAFETY: the trait's contract; masked lanes are not touched.
            unsafe { _mm256_maskstore_ps(p, mask8(n), self) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_div_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn max(self, x: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_max_ps(self, x) }
        }
        #[inline(always)]
        unsafe fn min(self, x: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_min_ps(self, x) }
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
        }
        #[inline(always)]
        unsafe fn exp2_int(self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let n = _mm256_cvtps_epi32(self);
                let biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        unsafe fn select_lt(self, limit: Self, below: Self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let m = _mm256_cmp_ps::<_CMP_LT_OQ>(self, limit);
                _mm256_blendv_ps(other, below, m)
            }
        }
        #[inline(always)]
        unsafe fn nan_or(self, other: Self) -> Self {
            // SAFETY: the trait's contract (features on).
            unsafe {
                let m = _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self);
                _mm256_blendv_ps(other, self, m)
            }
        }
    }
}

/// Four f32 in plain Rust: one SSE or NEON register after autovectorisation.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F32x4([f32; 4]);

impl F32x4 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for (o, &b) in out.iter_mut().zip(&other.0) {
            *o = f(*o, b);
        }
        F32x4(out)
    }
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        F32x4(self.0.map(f))
    }
}

impl Vector for F32x4 {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        F32x4([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract: 4 values readable; [f32; 4] has the alignment of f32.
        F32x4(unsafe { p.cast::<[f32; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract: 4 values writable; [f32; 4] has the alignment of f32.
        unsafe { p.cast::<[f32; 4]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self {
        let mut out = [fill; 4];
        for (i, o) in out.iter_mut().enumerate().take(n) {
            // SAFETY: the trait's contract: n values readable.
            *o = unsafe { p.add(i).read() };
        }
        F32x4(out)
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for (i, &v) in self.0.iter().enumerate().take(n) {
            // SAFETY: the trait's contract: n values writable.
            unsafe { p.add(i).write(v) }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            F32x4(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
        } else {
            // Without an FMA instruction f32::mul_add is a slow library call.
            self.zip(b, |x, y| x * y).zip(c, |p, z| p + z)
        }
    }
    #[inline(always)]
    unsafe fn max(self, x: Self) -> Self {
        self.zip(x, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, x: Self) -> Self {
        self.zip(x, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        self.map(|a| (a + ROUND_MAGIC) - ROUND_MAGIC)
    }
    #[inline(always)]
    unsafe fn exp2_int(self) -> Self {
        self.map(|a| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, below: Self, other: Self) -> Self {
        let mut out = other.0;
        for (i, o) in out.iter_mut().enumerate() {
            if self.0[i] < limit.0[i] {
                *o = below.0[i];
            }
        }
        F32x4(out)
    }
    #[inline(always)]
    unsafe fn nan_or(self, other: Self) -> Self {
        self.zip(other, |a, b| if a.is_nan() { a } else { b })
    }
}
