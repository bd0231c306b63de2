//! How two tensors differ.

use crate::analysis::perm;
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Data, ElemType, Tensor};

/// What a comparison saw.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Difference {
    /// How many pairs were finite on both sides.
    pub points: u64,
    /// The greatest magnitude of a finite element of the first tensor: what differences are relative to.
    pub magnitude: f64,
    /// The greatest difference; infinite where one side alone is infinite or NaN, or the infinities differ.
    pub max_abs: f64,
    /// Where that is, and the two elements.
    pub worst: Option<(Vec<usize>, f64, f64)>,
    /// Whether any two elements are not the same bits (two NaN count as the same).
    pub any_bit: bool,
}

impl Difference {
    /// The greatest difference relative to the magnitude; 0 when nothing differs.
    pub fn max_rel(&self) -> f64 {
        if self.max_abs == 0.0 { 0.0 } else { self.max_abs / self.magnitude }
    }
}

/// Compares two tensors of equal shape, or of equal shape after the axes of the first are put in the order `order`.
/// Codes count as the numbers that they mean.
pub fn compare(before: &Tensor, after: &Tensor, order: &[usize]) -> Difference {
    let moved;
    let before = if perm::is_identity(order) {
        before
    } else {
        moved = before.transposed(order);
        &moved
    };
    let mut seen = Difference::default();
    let mut worst = None;
    let mut note = |i: usize, a: f64, b: f64, same_bits: bool| {
        let both_nan = a.is_nan() && b.is_nan();
        seen.any_bit |= !same_bits && !both_nan;
        if a.is_finite() {
            seen.magnitude = seen.magnitude.max(a.abs());
            seen.points += u64::from(b.is_finite());
        }
        let apart = match a - b {
            _ if both_nan || a == b => 0.0,
            d if d.is_finite() => d.abs(),
            _ => f64::INFINITY,
        };
        if apart > seen.max_abs {
            seen.max_abs = apart;
            worst = Some((i, a, b));
        }
    };
    match (&before.data, &after.data) {
        (Data::F32(a), Data::F32(b)) => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                note(i, (*x).into(), (*y).into(), x.to_bits() == y.to_bits());
            }
        }
        _ => {
            let (a, b) = (numbers(before), numbers(after));
            for (i, (x, y)) in a.iter().zip(&b).enumerate() {
                note(i, *x, *y, x.to_bits() == y.to_bits());
            }
        }
    }
    if before.len() != after.len() {
        (seen.max_abs, seen.any_bit) = (f64::INFINITY, true);
    }
    seen.worst = worst.map(|(i, a, b)| (index(before.shape(), i), a, b));
    seen
}

fn index(dims: &[usize], mut flat: usize) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (i, d) in dims.iter().enumerate().rev() {
        at[i] = flat % d.max(&1);
        flat /= d.max(&1);
    }
    at
}

/// The numbers that the elements mean.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let code = |i: usize| tensor.data.code(i).unwrap_or(0) as f64;
    match (&tensor.data, &tensor.ty.elem) {
        (Data::F32(v), _) => v.iter().map(|&x| x.into()).collect(),
        (_, ElemType::Fixed(q)) => (0..tensor.len()).map(|i| code(i) * q.lsb()).collect(),
        (_, ElemType::Quant(affine)) => {
            let mut out = Vec::with_capacity(tensor.len());
            for_each_index(tensor.shape(), |at| {
                let channel = affine.axis.map_or(0, |a| at[a]);
                let scale = affine.scale.get(channel).map_or(f64::NAN, |&s| s.into());
                let zero = affine.zero.get(channel).map_or(f64::NAN, |&z| z as f64);
                out.push(scale * (code(out.len()) - zero));
            });
            out
        }
        _ => (0..tensor.len()).map(code).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use unfloat_ir::{Affine, IntType, Layout, Q, TensorType};

    fn floats(v: &[f32]) -> Tensor {
        Tensor::f32([v.len()], Layout::channels_last(0), v.to_vec())
    }

    #[test]
    fn what_is_not_finite_is_compared_too() {
        let d = compare(&floats(&[f32::NAN, 1.0, -4.0]), &floats(&[f32::NAN, 1.5, -4.0]), &[0]);
        assert_eq!((d.points, d.magnitude, d.max_abs, d.max_rel()), (2, 4.0, 0.5, 0.125));
        assert_eq!(d.worst, Some((vec![1], 1.0, 1.5)));
        for (a, b) in
            [(f32::NAN, 0.0), (0.0, f32::NAN), (f32::INFINITY, f32::NEG_INFINITY), (f32::INFINITY, 1.0)]
        {
            assert_eq!(compare(&floats(&[a]), &floats(&[b]), &[0]).max_abs, f64::INFINITY, "{a} {b}");
        }
        let zeros = compare(&floats(&[0.0]), &floats(&[-0.0]), &[0]);
        assert!(zeros.any_bit && zeros.max_abs == 0.0);
        assert!(!compare(&floats(&[f32::INFINITY]), &floats(&[f32::INFINITY]), &[0]).any_bit);
    }

    #[test]
    fn axes_are_put_in_order_first() {
        let a = Tensor::f32([2, 3], Layout::channels_first(1), (0..6).map(|i| i as f32).collect());
        assert!(!compare(&a, &a.transposed(&[1, 0]), &[1, 0]).any_bit);
        assert!(compare(&a, &a.transposed(&[1, 0]), &[0, 1]).any_bit);
    }

    #[test]
    fn codes_count_as_what_they_mean() {
        let ty = |elem| TensorType::new(elem, [2], Layout::channels_last(0));
        let fixed = ElemType::Fixed(Q { signed: true, width: 8, frac: 1 });
        assert_eq!(numbers(&Tensor::codes(ty(fixed), [3, -1])), [1.5, -0.5]);
        let affine =
            Affine { int: IntType::signed(8), axis: Some(0), scale: vec![0.5, 2.0], zero: vec![1, -1] };
        assert_eq!(numbers(&Tensor::codes(ty(ElemType::Quant(Arc::new(affine))), [3, 3])), [1.0, 8.0]);
    }
}
