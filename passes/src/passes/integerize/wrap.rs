//! Quantizers that wrap, or give 0 for what does not fit, behind functions that bend.
//!
//! In: a step function whose quantizer does not saturate. Out: the same quantizer to a type that holds every result, which
//! saturates nowhere ([`unwrapped`]), and the overflow behind it; so a bound of a ReLU comes in front of the overflow, as in
//! the source. Where all results fit the type itself, there is none. Left alone: results that are known within a bound only; what
//! is nearly the same number may be at the other end of the type.

use super::function::Func;
use super::lattice::{Lattice, evaluate};
use unfloat_ir::{ElemType, IntType, Overflow};

/// Bits of the type that is tried first: every float that is not beyond all sums has a code there.
const WIDE: u8 = 48;

/// A quantizer without its overflow.
pub struct Unwrapped {
    /// The quantizer to a type that holds every result.
    pub quantizer: Func,
    /// That type.
    pub int: IntType,
    /// Whether some result is beyond the bounds of the source's quantizer. A narrow one has a code that its bounds leave
    /// out, so the types do not tell.
    pub overflows: bool,
}

/// The quantizer to a type that holds every result; nothing where it saturates, or where that is not known.
pub fn unwrapped(lattice: &Lattice, quantizer: &Func) -> Option<Unwrapped> {
    let (q, _, _) = quantizer
        .quantizer(0)
        .filter(|(q, ..)| matches!(q.overflow, Overflow::Wrap | Overflow::SaturateZero))?;
    let unwrapped = |to: IntType| quantizer.retyped(to, Overflow::Saturate);
    let wide = unwrapped(IntType::signed(WIDE))?;
    let funcs: Vec<&Func> = lattice.funcs().chain([&wide]).collect();
    let channels = lattice.channels().max(quantizer.channels());
    // Between the ends of the range nothing is beyond them where all is monotone.
    lattice.trends(&funcs, channels)?;
    let ends = |f: fn((i64, i64)) -> i64| (0..channels).map(|c| f(lattice.range_of(c))).collect::<Vec<i64>>();
    let codes = [ends(|r| r.0), ends(|r| r.1)].concat();
    let results = evaluate(&lattice.base, &funcs, channels, &codes)?;
    let (lo, hi) = results.iter().fold((i64::MAX, i64::MIN), |(lo, hi), &y| (lo.min(y), hi.max(y)));
    let limit = 1i64 << (WIDE - 2);
    if lo <= -limit || hi >= limit {
        return None;
    }
    let own = q.bounds();
    let overflows = lo < own.0 || own.1 < hi;
    let int = match &q.to {
        ElemType::Int(int) if !overflows => *int,
        _ => IntType::covering(lo.min(own.0), hi.max(own.1)),
    };
    Some(Unwrapped { quantizer: unwrapped(int)?, int, overflows })
}
