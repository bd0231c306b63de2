//! Sums, differences and products of two quantized values.
//!
//! In: two values with one scale and one zero point each. Out: an accumulator over both codes. A product of codes means
//! the product of the scales. A sum needs one grid: where the quotient of the scales is a fraction with a small power of
//! two, the grid is exact; else the larger scale is [`FINE`] units, and the other the nearest number of them.
//!
//! The source adds two rounded floats, so where a step function is found over the accumulator it is held against the
//! source for every pair of codes ([`Pair::check`]), up to [`MAX_PAIRS`] of them; the certificate says for how many pairs the
//! results differ. What a grid that is not exact does to the sum goes into the bound of each result.

use super::Integerizer;
use super::function::{Func, block, codes};
use super::lattice::{Base, Lattice, magnitude_bits, significant};
use super::steps::Steps;
use crate::report::Differs;
use unfloat_ir::ops::{Binary, Cast};
use unfloat_ir::{Diagnostic, ElemType, IntType, Node, ValueId};

/// Bits of a sum where two scales have no exact grid: codes of 8 bits fit 32-bit words then, wider ones take 64.
const BITS: [u32; 2] = [30, 44];
/// The most pairs that are tried.
const MAX_PAIRS: u64 = 1 << 22;

/// What an accumulator over two codes stands for.
#[derive(Clone, Debug)]
pub struct Pair {
    f: Binary,
    /// Base, range and units per code.
    sides: [(Base, (i64, i64), i64); 2],
    zeros: [i64; 2],
}

impl Pair {
    fn accumulator(&self, a: i64, b: i64) -> i64 {
        let [(_, _, ma), (_, _, mb)] = &self.sides;
        match self.f {
            Binary::Mul => (a - self.zeros[0]) * (b - self.zeros[1]),
            _ => a * ma + b * mb,
        }
    }

    /// For how many pairs of codes the step function differs from the source, and by how much at most; nothing where
    /// there are too many pairs to try.
    pub fn check(&self, lattice: &Lattice, quantizer: &Func, steps: &[Steps]) -> Option<Differs> {
        let [(left, (a0, a1), _), (right, (b0, b1), _)] = &self.sides;
        let funcs: Vec<&Func> = lattice.funcs().chain([quantizer]).collect();
        let channels = steps.len();
        let count = |lo: i64, hi: i64| u64::try_from(i128::from(hi) - i128::from(lo) + 1).unwrap_or(u64::MAX);
        let pairs = count(*a0, *a1).saturating_mul(count(*b0, *b1));
        if pairs.saturating_mul(channels as u64) > MAX_PAIRS {
            return None;
        }
        let mut differs = Differs { pairs, different: 0, most: 0 };
        for a in *a0..=*a1 {
            let x = left.value(a, 0);
            let value = |b: i64| self.f.apply(x, right.value(b, 0));
            let values = (*b0..=*b1).flat_map(|b| std::iter::repeat_n(value(b), channels)).collect();
            let mut y = block(channels, values);
            for func in &funcs {
                y = func.eval(y)?;
            }
            for (i, y) in codes(&y)?.into_iter().enumerate() {
                let b = b0 + (i / channels) as i64;
                let apart = steps[i % channels].value(self.accumulator(a, b)).abs_diff(y);
                differs.different += u64::from(apart > 0);
                differs.most = differs.most.max(apart);
            }
        }
        Some(differs)
    }
}

/// Units of each scale on a common grid, and the grid, for codes of at most that magnitude.
fn grid(a: f64, b: f64, greatest: u64) -> (i64, i64, f64) {
    for k in 0..=16 {
        let power = f64::from(1u32 << k);
        let (x, y) = (a / b * power, b / a * power);
        if x.fract() == 0.0 && x <= f64::from(1u32 << 16) {
            return (x as i64, 1 << k, b / power);
        }
        if y.fract() == 0.0 && y <= f64::from(1u32 << 16) {
            return (1 << k, y as i64, a / power);
        }
    }
    let own = 64 - greatest.leading_zeros();
    let bits = BITS[usize::from(own > 8)].saturating_sub(own).max(8);
    let unit = a.max(b) / f64::from(bits).exp2();
    ((a / unit).round() as i64, (b / unit).round() as i64, unit)
}

impl Integerizer<'_> {
    /// A code less its zero point, times its units, in a type that holds all of it.
    fn term(
        &mut self,
        node: &Node,
        code: ValueId,
        elem: &ElemType,
        units: i64,
        zero: i64,
    ) -> Result<ValueId, Diagnostic> {
        let name = self.name(node, "term");
        let mut x = self.patch.node(Cast { to: elem.clone() }, &[code], &name, &node.origin)?;
        if zero != 0 {
            let zero = self.integers_of(&format!("{name}.zero"), &[zero], elem.clone());
            x = self.patch.node(Binary::Sub, &[x, zero], &name, &node.origin)?;
        }
        if units != 1 {
            let units = self.integers_of(&format!("{name}.units"), &[units], elem.clone());
            x = self.patch.node(Binary::Mul, &[x, units], &name, &node.origin)?;
        }
        Ok(x)
    }

    pub fn pair(&mut self, node: &Node, f: Binary) -> Result<Option<Lattice>, Diagnostic> {
        let [left, right] = node.inputs[..] else { return Ok(None) };
        let (Some(a), Some(b)) = (self.plain(left, node)?, self.plain(right, node)?) else { return Ok(None) };
        let ((a, sa, za), (b, sb, zb)) = (a, b);
        if sa <= 0.0 || sb <= 0.0 {
            return Ok(None);
        }
        let (ra, rb) = (a.range_of(0), b.range_of(0));
        let (units, base, off) = match f {
            Binary::Add | Binary::Sub => {
                let greatest = [ra.0, ra.1, rb.0, rb.1].map(i64::unsigned_abs).into_iter().max().unwrap_or(1);
                let (ma, mb, unit) = grid(sa, sb, greatest);
                let mb = if f == Binary::Sub { -mb } else { mb };
                let offset = -unit * (ma as f64 * za as f64 + mb as f64 * zb as f64);
                // Where the grid is not exact each code is off by as much as its units are.
                let apart = |units: i64, scale: f64, (lo, hi): (i64, i64), zero: i64| {
                    let most = i128::from(lo).abs_diff(zero.into()).max(i128::from(hi).abs_diff(zero.into()));
                    (units.unsigned_abs() as f64 * unit - scale).abs() * most as f64
                };
                let off = apart(ma, sa, ra, za) + apart(mb, sb, rb, zb) + a.off + b.off;
                ((ma, mb), Base::Sum { scale: vec![unit], bias: vec![offset] }, off)
            }
            Binary::Mul => {
                let scale = sa * sb;
                let greatest = |(lo, hi): (i64, i64), zero: i64, scale: f64| {
                    let most = i128::from(lo).abs_diff(zero.into()).max(i128::from(hi).abs_diff(zero.into()));
                    most as f64 * scale
                };
                let off = a.off * greatest(rb, zb, sb) + b.off * greatest(ra, za, sa) + a.off * b.off;
                ((1, 1), Base::Sum { scale: vec![scale], bias: vec![0.0] }, off)
            }
            _ => return Ok(None),
        };
        let pair = Pair {
            f,
            sides: [(a.base.clone(), ra, units.0), (b.base.clone(), rb, units.1)],
            zeros: [za, zb],
        };
        // In 128 bits: every intermediate number must fit the type that is chosen.
        let wide = |v: i64, m: i64| i128::from(v) * i128::from(m);
        let apart = |v: i64, zero: i64| i128::from(v) - i128::from(zero);
        let mut all = vec![ra.0.into(), ra.1.into(), rb.0.into(), rb.1.into()];
        if f == Binary::Mul {
            all.extend([
                za.into(),
                zb.into(),
                apart(ra.0, za),
                apart(ra.1, za),
                apart(rb.0, zb),
                apart(rb.1, zb),
            ]);
        } else {
            all.extend([units.0, units.1].map(i128::from));
            all.extend([wide(ra.0, units.0), wide(ra.1, units.0), wide(rb.0, units.1), wide(rb.1, units.1)]);
        }
        let corners = [(ra.0, rb.0), (ra.0, rb.1), (ra.1, rb.0), (ra.1, rb.1)];
        let sums = corners.map(|(x, y)| match f {
            Binary::Mul => apart(x, za) * apart(y, zb),
            _ => wide(x, units.0) + wide(y, units.1),
        });
        let hull = |v: &[i128], start: (i128, i128)| v.iter().fold(start, |(l, h), &x| (l.min(x), h.max(x)));
        let ends = hull(&sums, (sums[0], sums[0]));
        let (least, greatest) = hull(&all, ends);
        let narrow = |v: i128| i64::try_from(v).ok();
        let (Some(lo), Some(hi)) = (narrow(ends.0), narrow(ends.1)) else { return Ok(None) };
        let (Some(least), Some(greatest)) = (narrow(least), narrow(greatest)) else { return Ok(None) };
        let elem = ElemType::Int(IntType::covering(least, greatest));
        let op = if f == Binary::Mul { Binary::Mul } else { Binary::Add };
        let centre = f == Binary::Mul;
        let x = self.term(node, a.code, &elem, units.0, if centre { za } else { 0 })?;
        let y = self.term(node, b.code, &elem, units.1, if centre { zb } else { 0 })?;
        let name = self.name(node, "sums");
        let code = self.patch.node(op, &[x, y], &name, &node.origin)?;
        self.pairs.insert(code, pair);
        let products = a.products_are_exact(sa, za) && b.products_are_exact(sb, zb);
        let bits = significant(base.line(0).0) + magnitude_bits((lo, hi));
        let exact = products && off == 0.0 && bits <= f64::MANTISSA_DIGITS;
        Ok(Some(Lattice { exact, off, ..Lattice::new(code, vec![(lo, hi)], base) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_exact_where_they_can_be() {
        assert_eq!(grid(0.5, 0.125, 255), (4, 1, 0.125));
        assert_eq!(grid(0.125, 0.5, 255), (1, 4, 0.125));
        assert_eq!(grid(0.3, 0.3, 255), (1, 1, 0.3));
        assert_eq!(grid(0.75, 0.5, 255), (3, 2, 0.25));
        let (a, b, unit) = grid(0.1, 0.037, 255);
        assert_eq!(a, 1 << 22);
        assert!((b as f64 * unit - 0.037).abs() <= unit / 2.0);
    }
}
