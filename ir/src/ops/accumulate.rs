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

/// What is multiplied: `len` neighbours of `x` with as many of `w`, each so many elements apart.
pub(super) struct Run {
    pub x: usize,
    pub x_step: usize,
    pub w: usize,
    pub w_step: usize,
    pub len: usize,
}

impl Run {
    /// The pairs of indices.
    fn terms(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.len).map(move |k| (self.x + k * self.x_step, self.w + k * self.w_step))
    }
}

/// The sums: element `i` of the result is that of the products `runs(i)`, in that order, and of the bias at
/// `channel(i)`, which comes first. No sum has more than `most` products. Floats are added in double precision and
/// rounded once. Where all are small whole numbers, sums are exact in any order, and are made in 32 bits.
pub(super) fn sums<I: Iterator<Item = Run>>(
    inputs: &[&Tensor],
    out: &TensorType,
    most: usize,
    channel: impl Fn(usize) -> usize + Sync,
    runs: impl Fn(usize) -> I + Sync,
) -> Result<Data, OpError> {
    let n = out.shape.num_elements();
    if out.elem.is_float() {
        let (x, w) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let bias = if inputs.len() > 2 { Some(floats(inputs, 2)?) } else { None };
        let from = |i: usize| bias.map_or(0.0, |b| f64::from(b[channel(i)]));
        if bias.is_none_or(adds_exactly)
            && let Some(small) = Small::of(most, || whole(x), || whole(w))
        {
            let sum = |i: usize| (from(i) + f64::from(small.sum(runs(i)))) as f32;
            return Ok(Data::F32(each(n, inputs, sum)));
        }
        let sum = |i: usize| {
            let terms = runs(i).flat_map(Run::terms);
            terms.fold(from(i), |sum, (a, b)| sum + f64::from(x[a]) * f64::from(w[b])) as f32
        };
        return Ok(Data::F32(each(n, inputs, sum)));
    }
    let (x, w) = (codes(inputs, 0)?, codes(inputs, 1)?);
    let bias = if inputs.len() > 2 { Some(codes(inputs, 2)?) } else { None };
    let from = |i: usize| bias.as_ref().map_or(0, |b| b[channel(i)]);
    let narrow = |codes: &[i64]| codes.iter().map(|&c| i16::try_from(c).ok()).collect();
    let sums = match Small::of(most, || narrow(&x), || narrow(&w)) {
        Some(small) => each(n, inputs, |i| from(i).wrapping_add(i64::from(small.sum(runs(i))))),
        None => each(n, inputs, |i| {
            let terms = runs(i).flat_map(Run::terms);
            terms.fold(from(i), |sum, (a, b)| sum.wrapping_add(x[a].wrapping_mul(w[b])))
        }),
    };
    Ok(Data::from_codes(&out.elem, sums))
}

/// Operands of 16 bits whose sums of products 32 bits hold, whatever is added first.
struct Small {
    x: Vec<i16>,
    w: Vec<i16>,
}

impl Small {
    /// Nothing where an element is no such number, or where so many products could be too much.
    fn of(
        most: usize,
        x: impl FnOnce() -> Option<Vec<i16>>,
        w: impl FnOnce() -> Option<Vec<i16>>,
    ) -> Option<Small> {
        let (x, w) = (x()?, w()?);
        let greatest = |v: &[i16]| v.iter().map(|c| u64::from(c.unsigned_abs())).max().unwrap_or(0);
        let bound = (greatest(&x) * greatest(&w)).checked_mul(u64::try_from(most).ok()?)?;
        (bound < 1 << 31).then_some(Small { x, w })
    }

    fn sum(&self, runs: impl Iterator<Item = Run>) -> i32 {
        let product = |a: i16, b: i16| i32::from(a) * i32::from(b);
        runs.map(|run| match run {
            Run { x, x_step: 1, w, w_step: 1, len } => {
                let (x, w) = (&self.x[x..][..len], &self.w[w..][..len]);
                x.iter().zip(w).map(|(&a, &b)| product(a, b)).sum::<i32>()
            }
            run => run.terms().map(|(a, b)| product(self.x[a], self.w[b])).sum(),
        })
        .sum()
    }
}

/// Floats as numbers of 16 bits, if all are.
fn whole(values: &[f32]) -> Option<Vec<i16>> {
    // What is not whole, or beyond, comes back as another number; NaN is unlike itself.
    values.iter().map(|&v| Some(v as i16).filter(|&c| f32::from(c) == v)).collect()
}

/// Whether double precision adds sums of 32 bits to such biases without rounding, and in any order: they are multiples of
/// 2^-20 below 2^31, and not −0, whose sign a sum of products would keep.
fn adds_exactly(bias: &[f32]) -> bool {
    let fits = |b: f64| (b * f64::from(1 << 20)).fract() == 0.0 && b.abs() < 2f64.powi(31);
    bias.iter().all(|&b| fits(b.into()) && (b != 0.0 || b.is_sign_positive()))
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

    /// One order of additions for all, whether operands are small whole numbers or not.
    #[test]
    fn small_numbers_make_the_same_sums() {
        let mut state = 5u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let layout = Layout::anonymous(1);
        for (scale, bias_scale, most) in
            [(1.0, 1.0, 3u64), (1.0, 0.125, 255), (0.3, 1.0, 200), (1.0, 1e-7, 3), (1.0, -0.0, 3)]
        {
            let mut values = |n: usize, scale: f32| -> Vec<f32> {
                (0..n).map(|_| (next(most) as f32 - (most / 2) as f32) * scale).collect()
            };
            let (x, w, b) = (values(40, scale), values(60, 1.0), values(6, bias_scale));
            // Two runs of five: neighbours, and every second.
            let runs = |i: usize| {
                [(1, 1), (2, 1)].map(|(x_step, w_step)| Run { x: i * 5, x_step, w: i * 10, w_step, len: 5 })
            };
            let out = TensorType::new(ElemType::F32, [6], layout);
            let tensors = [(40, &x), (60, &w), (6, &b)].map(|(n, v)| Tensor::f32([n], layout, v.clone()));
            let inputs: Vec<&Tensor> = tensors.iter().collect();
            let got = sums(&inputs, &out, 10, |i| i, |i| runs(i).into_iter()).unwrap();
            for i in 0..6 {
                let terms = runs(i).into_iter().flat_map(Run::terms);
                let want =
                    terms.fold(f64::from(b[i]), |sum, (a, c)| sum + f64::from(x[a]) * f64::from(w[c])) as f32;
                let Data::F32(got) = &got else { panic!("floats make floats") };
                assert_eq!(got[i].to_bits(), want.to_bits(), "{scale}, {bias_scale}, {i}");
            }
        }
    }

    #[test]
    fn what_is_small() {
        assert_eq!(whole(&[-32768.0, 32767.0, -0.0]), Some(vec![-32768, 32767, 0]));
        for beyond in [32768.0, 0.5, f32::NAN, f32::INFINITY, -1e9] {
            assert_eq!(whole(&[1.0, beyond]), None, "{beyond}");
        }
        let of = |most, x: i16| Small::of(most, || Some(vec![x]), || Some(vec![x])).is_some();
        assert!(
            of(2, i16::MAX) && !of(3, i16::MAX) && of(1, i16::MIN) && !of(2, i16::MIN) && !of(usize::MAX, 9)
        );
        assert!(adds_exactly(&[0.5, -3.0, 1e6]) && !adds_exactly(&[1e-7]) && !adds_exactly(&[f32::NAN]));
        assert!(!adds_exactly(&[-0.0]) && !adds_exactly(&[f32::INFINITY]) && !adds_exactly(&[3e9]));
    }

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
