//! The functions that a convolution or a dense layer applies to its result before it writes it.

use super::simd::Vector;

/// A pointwise function fused into the kernel that produces its argument.
///
/// NaN goes through every one of them unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, lo), hi)`: ReLU6 is `Clip { lo: 0.0, hi: 6.0 }`.
    Clip {
        /// Lower limit.
        lo: f32,
        /// Upper limit; wins where `hi < lo`.
        hi: f32,
    },
    /// `x` where `x >= 0`, `slope * x` elsewhere.
    Leaky {
        /// Factor of negative arguments.
        slope: f32,
    },
}

impl Activation {
    /// The same function on one number.
    pub fn scalar(self, x: f32) -> f32 {
        match self {
            Activation::None => x,
            Activation::Relu => {
                if 0.0 > x {
                    0.0
                } else {
                    x
                }
            }
            Activation::Clip { lo, hi } => {
                let x = if lo > x { lo } else { x };
                if hi < x { hi } else { x }
            }
            Activation::Leaky { slope } => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
        }
    }

    /// `(lo, hi)` when the function is `min(hi, max(lo, x))`: one form for none, ReLU and clip.
    pub(crate) fn limits(self) -> Option<(f32, f32)> {
        match self {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Clip { lo, hi } => Some((lo, hi)),
            Activation::Leaky { .. } => None,
        }
    }

    /// The same function on a vector.
    ///
    /// # Safety
    /// Only inside a function with the target features of `V`.
    #[inline(always)]
    pub(crate) unsafe fn vector<V: Vector>(self, x: V) -> V {
        // SAFETY: the caller has the features of `V`.
        unsafe {
            match self {
                Activation::None => x,
                // The constant goes first: where x is NaN, max and min give their second operand.
                Activation::Relu => V::splat(0.0).max(x),
                Activation::Clip { lo, hi } => V::splat(hi).min(V::splat(lo).max(x)),
                Activation::Leaky { slope } => x.select_lt(V::splat(0.0), x.mul(V::splat(slope)), x),
            }
        }
    }
}
