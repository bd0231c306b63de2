//! Sums of products: the element type that convolutions and matrix products make, and the two ways to add up.
//!
//! Floats make floats. Integers of any types make the narrowest `Int` that holds every sum that the operands' types
//! allow: nothing overflows, and a `Bipolar` times a `Bipolar` is what hardware makes of XNOR and a popcount. Where
//! 64 bits do not hold them all (operands of 32 bits or more) the result is an `i64` of which the low bits are right.

use super::{OpError, codes, floats};
use crate::tensor::{Data, Tensor};
use crate::types::{ElemType, IntType, TensorType};

/// The element type of a sum of `terms` products of an element of `x` and one of `w`, plus a bias. `padded` says
/// that some products may be missing.
pub(super) fn elem(
    x: &TensorType,
    w: &TensorType,
    bias: Option<&TensorType>,
    terms: usize,
    padded: bool,
) -> Result<ElemType, OpError> {
    let all = || [Some(x), Some(w), bias].into_iter().flatten();
    if all().all(|t| t.elem.is_float()) {
        return Ok(ElemType::F32);
    }
    if !all().all(|t| t.elem.is_integer()) {
        let types: Vec<String> = all().map(ToString::to_string).collect();
        return Err(format!("expected floats or integers throughout, found {}", types.join(", ")).into());
    }
    let range = |t: &TensorType| t.elem.code_range().map(|(lo, hi)| (i128::from(lo), i128::from(hi)));
    let bounds = || {
        let ((a, b), (c, d)) = (range(x)?, range(w)?);
        let corners = [a * c, a * d, b * c, b * d];
        let (mut lo, mut hi) = (*corners.iter().min()?, *corners.iter().max()?);
        if padded {
            (lo, hi) = (lo.min(0), hi.max(0));
        }
        let terms = i128::try_from(terms).ok()?;
        let (from, to) = bias.map_or(Some((0, 0)), range)?;
        let (lo, hi) = (lo.checked_mul(terms)?.checked_add(from)?, hi.checked_mul(terms)?.checked_add(to)?);
        Some(IntType::covering(i64::try_from(lo).ok()?, i64::try_from(hi).ok()?))
    };
    Ok(ElemType::Int(bounds().unwrap_or(IntType::signed(64))))
}

/// What is multiplied: an element of `x` and one of `w`.
pub(super) struct Term {
    pub x: usize,
    pub w: usize,
}

/// The sums: element `i` of the result is that of the products `terms(i)`, in that order, and of the bias at
/// `channel(i)`, which comes first. Floats are added in double precision and rounded once.
pub(super) fn sums<I: Iterator<Item = Term>>(
    inputs: &[&Tensor],
    out: &TensorType,
    channel: impl Fn(usize) -> usize + Sync,
    terms: impl Fn(usize) -> I + Sync,
) -> Result<Data, OpError> {
    let n = out.shape.num_elements();
    if out.elem.is_float() {
        let (x, w) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let bias = if inputs.len() > 2 { Some(floats(inputs, 2)?) } else { None };
        let sum = |i: usize| {
            let bias = bias.map_or(0.0, |b| f64::from(b[channel(i)]));
            terms(i).fold(bias, |sum, at| sum + f64::from(x[at.x]) * f64::from(w[at.w])) as f32
        };
        return Ok(Data::F32(each(n, inputs, sum)));
    }
    let (x, w) = (codes(inputs, 0)?, codes(inputs, 1)?);
    let bias = if inputs.len() > 2 { Some(codes(inputs, 2)?) } else { None };
    let sum = |i: usize| {
        let bias = bias.as_ref().map_or(0, |b| b[channel(i)]);
        terms(i).fold(bias, |sum, at| sum.wrapping_add(x[at.x].wrapping_mul(w[at.w])))
    };
    Ok(Data::from_codes(&out.elem, each(n, inputs, sum)))
}

/// Products below which a thread is not worth its start.
const FEW: usize = 1 << 18;

/// All sums in order. Each is one thread's alone, so their number makes no difference.
fn each<T: Send>(n: usize, inputs: &[&Tensor], sum: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let per_row = inputs[1].len() / inputs[1].shape().iter().next().copied().unwrap_or(1).max(1);
    let worth = n.saturating_mul(per_row) / FEW;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(worth);
    if threads < 2 {
        return (0..n).map(sum).collect();
    }
    let (share, sum) = (n.div_ceil(threads), &sum);
    std::thread::scope(|scope| {
        let part = |t: usize| move || (t * share..n.min((t + 1) * share)).map(sum).collect::<Vec<T>>();
        let parts: Vec<_> = (0..threads).map(|t| scope.spawn(part(t))).collect();
        parts.into_iter().flat_map(|p| p.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn the_type_is_the_narrowest_that_holds_every_sum() {
        let ty = |e: ElemType| TensorType::new(e, [1], Layout::channels_last(0));
        let (i8, u8) = (ElemType::signed(8), ElemType::Int(IntType::unsigned(8)));
        let sum = |x: &ElemType, w: &ElemType, terms, padded| {
            elem(&ty(x.clone()), &ty(w.clone()), None, terms, padded).map(|e| e.to_string())
        };
        let named = |name: &str| Ok(name.to_string());
        // (−128)² is 2^14, which 15 bits and a sign hold; −128 · 127 needs no more.
        assert_eq!(sum(&i8, &i8, 1, false), named("i16"));
        assert_eq!(sum(&u8, &u8, 1, false), named("u16"));
        assert_eq!(sum(&u8, &i8, 9, false), named("i20"));
        assert_eq!(sum(&ElemType::Bipolar, &ElemType::Bipolar, 7, true), named("i4"));
        assert_eq!(sum(&ElemType::Bit, &ElemType::Bit, 15, true), named("u4"));
        assert_eq!(sum(&ElemType::Bit, &ElemType::Ternary, 0, true), named("u1"));
        assert_eq!(sum(&ElemType::signed(32), &ElemType::signed(32), 2, false), named("i64"));
        assert_eq!(sum(&ElemType::signed(64), &ElemType::signed(64), usize::MAX, true), named("i64"));
        assert_eq!(sum(&ElemType::F32, &ElemType::F32, 5, true), named("f32"));
        assert!(sum(&ElemType::F32, &i8, 5, true).is_err());
        let with_bias = elem(&ty(i8.clone()), &ty(i8), Some(&ty(ElemType::signed(32))), 9, false);
        assert_eq!(with_bias, Ok(ElemType::signed(33)));
    }
}
