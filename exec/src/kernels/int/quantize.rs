//! Floats to codes: the boundary of a graph of integers.
//!
//! In: floats, one scale and one zero point. Out: the codes of [`Quantize::apply`], bit for bit. The usual case, integers
//! of few bits that saturate and round half to even, is computed in single precision, where every step of the definition
//! is; all others go by the definition itself.

use super::super::error::{KernelError, exactly};
use super::super::isa::{Isa, Level};
use super::word::{Code, Word, by_word, view_mut};
use unfloat_ir::ops::{Quantize, QuantizeOrder};
use unfloat_ir::{ElemType, Overflow, Rounding};

/// A quantizer of one scale and zero point.
#[derive(Clone, Debug)]
pub struct Quantizer {
    isa: Isa,
    op: Quantize,
    scale: f32,
    zero: f32,
    word: Word,
    /// What is added before the rounding, the bounds then, and what is added after.
    plain: Option<(f32, [f32; 2], f32)>,
}

impl Quantizer {
    /// Codes go to words that hold the op's bounds.
    pub fn new(isa: Isa, op: &Quantize, scale: f32, zero: f32, word: Word) -> Quantizer {
        Quantizer { isa, op: op.clone(), scale, zero, word, plain: plain(op, zero) }
    }

    /// Quantizes all of `x`.
    pub fn run(&self, x: &[f32], to: &mut [u8]) -> Result<(), KernelError> {
        exactly("codes", to.len(), x.len() * self.word.bytes())?;
        by_word!(self.word, T => self.words::<T>(x, view_mut(to)), ());
        Ok(())
    }

    fn words<T: Code>(&self, x: &[f32], to: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2<T: Code>(scale: f32, plain: (f32, [f32; 2], f32), x: &[f32], to: &mut [T]) {
            all(scale, plain, x, to)
        }
        match (self.plain, self.isa.level()) {
            // SAFETY: an instruction set exists only where the machine has it.
            #[cfg(target_arch = "x86_64")]
            (Some(plain), Level::Vnni | Level::Avx512 | Level::Avx2) => unsafe {
                avx2(self.scale, plain, x, to)
            },
            (Some(plain), Level::Portable) => all(self.scale, plain, x, to),
            (None, _) => {
                to.iter_mut().zip(x).for_each(|(y, &x)| *y = T::set(self.op.apply(x, self.scale, self.zero)));
            }
        }
    }
}

/// The usual case, if this is it. Codes and zero points of at most 23 bits are exact, and so are their sums.
fn plain(op: &Quantize, zero: f32) -> Option<(f32, [f32; 2], f32)> {
    const EXACT: i64 = 1 << 22;
    let (lo, hi) = op.bounds();
    let usual = matches!(op.to, ElemType::Int(_))
        && op.rounding == Rounding::HalfEven
        && matches!(op.overflow, Overflow::Saturate | Overflow::SaturateSymmetric);
    if !usual || lo < -EXACT || hi > EXACT || zero.is_nan() || zero.abs() > EXACT as f32 {
        return None;
    }
    let (lo, hi) = (lo as f32, hi as f32);
    Some(match op.order {
        QuantizeOrder::ClampThenRound => (zero, [lo, hi], 0.0),
        QuantizeOrder::RoundThenSaturate => {
            let zero = zero.round_ties_even();
            (0.0, [lo - zero, hi - zero], zero)
        }
    })
}

#[inline(always)]
fn all<T: Code>(scale: f32, (before, [lo, hi], after): (f32, [f32; 2], f32), x: &[f32], to: &mut [T]) {
    for (y, &x) in to.iter_mut().zip(x) {
        // Bounds are integers, so clamping before or after the rounding is the same. A NaN becomes the lower one.
        let v = (x / scale + before).max(lo).min(hi).round_ties_even() + after;
        *y = T::set((v as i32).into());
    }
}
