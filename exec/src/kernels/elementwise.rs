//! Functions of each value on its own: activations, arithmetic of two tensors, scale and shift per channel.

use super::activation::Activation;
use super::error::{KernelError, exactly};
use super::isa::{Isa, dispatch};
use super::math;
use super::simd::Vector;

/// A function of one value. NaN gives NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// None, ReLU, clip or leaky ReLU.
    Activation(Activation),
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// min(max(alpha * x + beta, 0), 1).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// e^x, within 2 units in the last place.
    Exp,
    /// scale * x for x > 0, else scale * alpha * (e^x - 1): ELU (scale 1) and SELU.
    Elu {
        /// -scale * alpha is the limit at -infinity.
        alpha: f32,
        /// Slope for positive arguments.
        scale: f32,
    },
    /// x / (1 + e^-x), also called swish.
    Silu,
    /// x * min(max(x / 6 + 1/2, 0), 1).
    HardSwish,
    /// x times the normal distribution function of x.
    Gelu,
    /// x/2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
    GeluTanh,
    /// ln(1 + e^x).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
}

impl Unary {
    /// The function on a vector.
    ///
    /// # Safety
    /// Only inside a function with the target features of `V`.
    #[inline(always)]
    unsafe fn vector<V: Vector>(self, x: V) -> V {
        // SAFETY: the caller has the features of `V`.
        unsafe {
            match self {
                Unary::Activation(a) => a.vector(x),
                Unary::Sigmoid => math::sigmoid(x),
                Unary::HardSigmoid { alpha, beta } => math::hard_sigmoid(x, alpha, beta),
                Unary::Tanh => math::tanh(x),
                Unary::Exp => math::exp(x),
                Unary::Elu { alpha, scale } => math::elu(x, alpha, scale),
                Unary::Silu => x.mul(math::sigmoid(x)),
                Unary::HardSwish => x.mul(math::hard_sigmoid(x, 1.0 / 6.0, 0.5)),
                Unary::Gelu => math::gelu(x),
                Unary::GeluTanh => math::gelu_tanh(x),
                Unary::Softplus => math::softplus(x),
                Unary::Softsign => x.div(V::splat(1.0).add(math::abs(x))),
            }
        }
    }
}

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The greater; NaN if either is.
    Max,
    /// The lesser; NaN if either is.
    Min,
}

impl Binary {
    /// The function on vectors.
    ///
    /// # Safety
    /// Only inside a function with the target features of `V`.
    #[inline(always)]
    unsafe fn vector<V: Vector>(self, a: V, b: V) -> V {
        // SAFETY: the caller has the features of `V`.
        unsafe {
            match self {
                Binary::Add => a.add(b),
                Binary::Sub => a.sub(b),
                Binary::Mul => a.mul(b),
                Binary::Div => a.div(b),
                Binary::Max => a.max_nan(b),
                Binary::Min => a.min_nan(b),
            }
        }
    }
}

/// `output[i] = f(input[i])`.
pub fn unary(isa: Isa, f: Unary, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
    exactly("elementwise output", output.len(), input.len())?;
    // SAFETY: both pointers are good for `input.len()` values.
    unsafe { unary_any(isa, f, input.as_ptr(), output.as_mut_ptr(), input.len()) }
    Ok(())
}

/// `values[i] = f(values[i])`.
pub fn unary_in_place(isa: Isa, f: Unary, values: &mut [f32]) {
    let p = values.as_mut_ptr();
    // SAFETY: the pointer is good for `values.len()` values; reading and writing the same place is allowed.
    unsafe { unary_any(isa, f, p, p, values.len()) }
}

/// # Safety
/// `from` must be readable and `to` writable for `n` values; they may be the same, but not overlap otherwise.
unsafe fn unary_any(isa: Isa, f: Unary, from: *const f32, to: *mut f32, n: usize) {
    // SAFETY: the caller's contract is that of `unary_loop`.
    unsafe {
        dispatch!(isa, |f: Unary, from: *const f32, to: *mut f32, n: usize|, unary_loop, f, from, to, n)
    }
}

/// # Safety
/// As [`unary_any`]; features of `V`.
#[inline(always)]
unsafe fn unary_loop<V: Vector>(f: Unary, from: *const f32, to: *mut f32, n: usize) {
    let whole = n - n % V::LANES;
    // SAFETY: i + LANES <= n in the loop; the rest is `n - whole < LANES` values.
    unsafe {
        let mut i = 0;
        while i < whole {
            f.vector(V::load(from.add(i))).store(to.add(i));
            i += V::LANES;
        }
        if whole < n {
            f.vector(V::load_part(from.add(whole), n - whole, 0.0)).store_part(to.add(whole), n - whole);
        }
    }
}

/// `output[i] = f(a[i], b[i % b.len()])`: `b` is a tensor like `a`, one value per channel (the last axis of `a`), or
/// one value. The length of `b` must divide that of `a`.
pub fn binary(isa: Isa, f: Binary, a: &[f32], b: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
    exactly("elementwise output", output.len(), a.len())?;
    divides("second operand", a.len(), b.len())?;
    // SAFETY: `a` and `output` are good for `a.len()` values, a multiple of `b.len()`.
    unsafe { binary_any(isa, f, a.as_ptr(), b, output.as_mut_ptr(), a.len()) }
    Ok(())
}

/// `a[i] = f(a[i], b[i % b.len()])`, as [`binary`].
pub fn binary_in_place(isa: Isa, f: Binary, a: &mut [f32], b: &[f32]) -> Result<(), KernelError> {
    divides("second operand", a.len(), b.len())?;
    let p = a.as_mut_ptr();
    // SAFETY: `p` is good for `a.len()` values, a multiple of `b.len()`.
    unsafe { binary_any(isa, f, p, b, p, a.len()) }
    Ok(())
}

fn divides(what: &'static str, whole: usize, part: usize) -> Result<(), KernelError> {
    if whole == 0 || (part != 0 && whole.is_multiple_of(part)) {
        Ok(())
    } else {
        Err(KernelError::Shape(format!(
            "elementwise: {what} of {part} values does not divide {whole} values"
        )))
    }
}

/// # Safety
/// `a` must be readable and `to` writable for `n` values, a multiple of `b.len()`; they may be the same, but not
/// overlap otherwise.
unsafe fn binary_any(isa: Isa, f: Binary, a: *const f32, b: &[f32], to: *mut f32, n: usize) {
    if n == 0 {
        return;
    }
    // SAFETY: the caller's contract is that of `binary_loop`.
    unsafe {
        dispatch!(isa, |f: Binary, a: *const f32, b: &[f32], to: *mut f32, n: usize|, binary_loop, f, a, b, to, n)
    }
}

/// # Safety
/// As [`binary_any`], n > 0; features of `V`.
#[inline(always)]
unsafe fn binary_loop<V: Vector>(f: Binary, a: *const f32, b: &[f32], to: *mut f32, n: usize) {
    let (step, one) = match b {
        // One value for all: a single row of n.
        [x] => (n, Some(*x)),
        _ => (b.len(), None),
    };
    let whole = step - step % V::LANES;
    let left = step - whole;
    // SAFETY: every offset is below n for `a` and `to`, and below b.len() for `b`, which is read where `one` is None.
    unsafe {
        let b = b.as_ptr();
        for first in (0..n).step_by(step) {
            let (a, to) = (a.add(first), to.add(first));
            let mut i = 0;
            while i < whole {
                let y = match one {
                    Some(y) => V::splat(y),
                    None => V::load(b.add(i)),
                };
                f.vector(V::load(a.add(i)), y).store(to.add(i));
                i += V::LANES;
            }
            if left > 0 {
                let y = match one {
                    Some(y) => V::splat(y),
                    None => V::load_part(b.add(whole), left, 1.0),
                };
                f.vector(V::load_part(a.add(whole), left, 1.0), y).store_part(to.add(whole), left);
            }
        }
    }
}

/// `output = activation(input * scale[c] + shift[c])`, c being the last axis; one rounding per multiply-add where the
/// instruction set fuses them.
pub fn channel_affine(
    isa: Isa,
    (scale, shift): (&[f32], &[f32]),
    activation: Activation,
    input: &[f32],
    output: &mut [f32],
) -> Result<(), KernelError> {
    exactly("affine output", output.len(), input.len())?;
    exactly("affine shift", shift.len(), scale.len())?;
    divides("scale", input.len(), scale.len())?;
    if input.is_empty() {
        return Ok(());
    }
    let job = Affine {
        scale: scale.as_ptr(),
        shift: shift.as_ptr(),
        channels: scale.len(),
        activation,
        from: input.as_ptr(),
        to: output.as_mut_ptr(),
        pixels: input.len() / scale.len(),
    };
    // SAFETY: the checks above say that the pointers are good for the stated numbers of values.
    unsafe { dispatch!(isa, |job: &Affine|, affine_loop, &job) }
    Ok(())
}

/// The operands of [`channel_affine`].
struct Affine {
    scale: *const f32,
    shift: *const f32,
    channels: usize,
    activation: Activation,
    from: *const f32,
    to: *mut f32,
    pixels: usize,
}

/// # Safety
/// `scale` and `shift` must be readable for `channels` values, `from` readable and `to` writable for `pixels` times as
/// many; features of `V`.
#[inline(always)]
unsafe fn affine_loop<V: Vector>(job: &Affine) {
    for p in 0..job.pixels {
        let mut c = 0;
        while c < job.channels {
            let lanes = V::LANES.min(job.channels - c);
            let at = p * job.channels + c;
            // SAFETY: p < pixels and c + lanes <= channels.
            unsafe {
                if lanes == V::LANES {
                    let x = V::load(job.from.add(at));
                    let y = x.mul_add(V::load(job.scale.add(c)), V::load(job.shift.add(c)));
                    job.activation.vector(y).store(job.to.add(at));
                } else {
                    let x = V::load_part(job.from.add(at), lanes, 0.0);
                    let scale = V::load_part(job.scale.add(c), lanes, 0.0);
                    let shift = V::load_part(job.shift.add(c), lanes, 0.0);
                    let y = job.activation.vector(x.mul_add(scale, shift));
                    y.store_part(job.to.add(at), lanes);
                }
            }
            c += lanes;
        }
    }
}
