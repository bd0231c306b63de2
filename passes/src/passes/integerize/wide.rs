//! Results of many levels: a multiplication with a shift, within a bound; and tables, for functions that are no line.
//!
//! In: a base and functions that are lines with bounds, and a quantizer to more levels than can be listed. Out: one
//! `requantize` with the quantizer's own rounding and overflow. Where the functions have bounds inside the type, or the zero
//! point must be added behind the rounding, quotients are rounded in a type that holds all of them first ([`Tail`]).
//! Where slope and offset are multiples of a power of two the quotient is exact, and the result differs from the source's
//! only where the source itself rounds on the way. Else multiplier and addend are rounded: the quotient is off by at most
//! `(|x| + 1) / 2^(s + 1)` codes, which goes into the certificate; results then differ by at most one code where that is
//! below one.
//!
//! A leaky ReLU, a PReLU and a magnitude are the greater, or the lesser, of two lines, so the result is that of two results,
//! where nothing behind falls. Any other function of codes of at most 16 bits is a table, where all channels share it.

use super::Integerizer;
use super::function::{Clamped, Func};
use super::lattice::{Lattice, Step};
use super::multiply::{Multiply, dyadic};
use super::realise::Wanted;
use crate::report::{Fold, Proof};
use unfloat_ir::ops::{Binary, Cast, Lookup, QuantizeOrder, Requantize, Unary};
use unfloat_ir::{
    Diagnostic, ElemType, IntType, Layout, Node, Overflow, Rounding, Tensor, TensorType, ValueId,
};

/// Bits of a multiplier, without its sign.
const MULTIPLIER_BITS: f64 = 30.0;
/// Bits of a product and of the sum.
const PRODUCT_BITS: f64 = 61.0;

/// The end of a `wide` result that a bound inside the type, a zero point behind the rounding, or both need.
struct Tail {
    /// Whether the quotients may go straight to the type: nothing stands between rounding and overflow.
    none: bool,
    /// What is added to the rounded quotients.
    zero: i64,
    /// Bounds of each channel, zero point included.
    bounds: Vec<(i64, i64)>,
}

impl Integerizer<'_> {
    pub fn wide(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
        lines: Option<Vec<Clamped>>,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let (Some(mut lines), Some((q, _, _)), ElemType::Int(int)) = (lines, quantizer.quantizer(0), to)
        else {
            return Ok(None);
        };
        let Some(tail) = tail(&mut lines, quantizer) else { return Ok(None) };
        let op = Requantize { to: *int, rounding: q.rounding, overflow: q.overflow, narrow: q.narrow };
        let mut bound = 0f64;
        let mut numbers = Vec::with_capacity(lines.len());
        let mut whole = true;
        for (c, line) in lines.iter().enumerate() {
            let range = lattice.range_of(c);
            let (number, off) = match dyadic(line.a, line.b, range) {
                Some(exact) => (exact, 0.0),
                None => match nearest(line, range) {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            let own = lattice.off / lattice.base.line(c).0.abs() * line.a.abs();
            bound = bound.max(off + if own.is_finite() { own } else { 0.0 });
            whole &= number.greatest(range) < 1 << f32::MANTISSA_DIGITS;
            numbers.push(number);
        }
        // What is nearly the same number may be at the other end of the type.
        if bound > 0.0 && !matches!(q.overflow, Overflow::Saturate | Overflow::SaturateSymmetric) {
            return Ok(None);
        }
        let name = self.name(node, "codes");
        let wanted = Wanted { x: lattice.code, steps: &[], to, node, lines: None, rounding: None, name };
        let value = match tail.none {
            true => self.multiply(&wanted, &op, &numbers)?,
            false => match self.tailed(lattice, &wanted, &op, &numbers, &tail)? {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        let points =
            (0..lines.len()).map(|c| lattice.range_of(c)).map(|(lo, hi)| hi.abs_diff(lo).saturating_add(1));
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: "requantize".to_string(),
            channels: lines.len(),
            accumulator_bits: lattice.bits(),
            points: points.fold(0, u64::saturating_add),
            proof: Proof::Bounded,
            bound,
            // Numbers of which single precision holds every bit are not rounded on the way.
            exact: lattice.exact && bound == 0.0 && whole && lattice.funcs().all(Func::only_bounds),
            differs: None,
        });
        Ok(Some(value))
    }

    /// Rounded quotients in a type that holds all of them, then the zero point, then the bounds, then the type's own.
    fn tailed(
        &mut self,
        lattice: &Lattice,
        wanted: &Wanted,
        op: &Requantize,
        numbers: &[Multiply],
        tail: &Tail,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let ends = |(c, m): (usize, &Multiply)| {
            let (lo, hi) = lattice.range_of(c);
            let end = |x: i64| {
                let sum = i128::from(x) * i128::from(m.multiplier) + i128::from(m.addend);
                op.rounding.shift_right(sum, m.shift.into())
            };
            let (a, b) = (end(lo), end(hi));
            (a.min(b), a.max(b))
        };
        let hull = |a: (i128, i128), b: (i128, i128)| (a.0.min(b.0), a.1.max(b.1));
        let quotients = numbers.iter().enumerate().map(ends).reduce(hull).unwrap_or((0, 0));
        let own = op.bounds();
        let zero = i128::from(tail.zero);
        let mut all = hull(quotients, (quotients.0 + zero, quotients.1 + zero));
        all = hull(all, (own.0.into(), own.1.into()));
        all = hull(all, (zero, zero));
        let (Ok(lo), Ok(hi)) = (i64::try_from(all.0), i64::try_from(all.1)) else { return Ok(None) };
        let int = IntType::covering(lo, hi);
        let (elem, name) = (ElemType::Int(int), wanted.name.clone());
        let middle = Requantize { to: int, overflow: Overflow::Saturate, narrow: false, ..op.clone() };
        let mut value = self.multiply(wanted, &middle, numbers)?;
        if tail.zero != 0 {
            let zero = self.integers_of(&format!("{name}.zero"), &[tail.zero], elem.clone());
            value = self.patch.node(Binary::Add, &[value, zero], &name, &wanted.node.origin)?;
        }
        // Where the type saturates its bounds are bounds like the others.
        let saturates = matches!(op.overflow, Overflow::Saturate | Overflow::SaturateSymmetric);
        let bound = |(least, greatest): (i64, i64)| match saturates {
            true => (least.clamp(own.0, own.1), greatest.clamp(own.0, own.1)),
            false => (least.clamp(lo, hi), greatest.clamp(lo, hi)),
        };
        let bounds: Vec<(i64, i64)> = tail.bounds.iter().copied().map(bound).collect();
        let held = |v: i64| v as f32 as i64 == v;
        match bounds[..] {
            [first, ref rest @ ..] if rest.iter().all(|b| *b == first) && held(first.0) && held(first.1) => {
                let clip = Unary::Clip { lo: first.0 as f32, hi: first.1 as f32 };
                value = self.patch.node(clip, &[value], &name, &wanted.node.origin)?;
            }
            _ => {
                let of = |f: fn(&(i64, i64)) -> i64| bounds.iter().map(f).collect::<Vec<i64>>();
                for (f, what, limits) in
                    [(Binary::Max, "least", of(|b| b.0)), (Binary::Min, "most", of(|b| b.1))]
                {
                    let limits = self.integers_of(&format!("{name}.{what}"), &limits, elem.clone());
                    value = self.patch.node(f, &[value, limits], &name, &wanted.node.origin)?;
                }
            }
        }
        let to = ElemType::Int(op.to);
        self.patch.node(Cast { to }, &[value], &name, &wanted.node.origin).map(Some)
    }

    /// A function that is no line: two lines of a leaky ReLU, or a table over codes of 16 bits.
    pub fn pieces(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let bent = lattice.steps.iter().position(|s| matches!(s, Step::Func(f) if f.bent().is_some()));
        if let Some(at) = bent {
            return self.bent(lattice, at, quantizer, to, node);
        }
        self.table(lattice, quantizer, to, node)
    }

    fn bent(
        &mut self,
        lattice: &Lattice,
        at: usize,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let Step::Func(bent) = &lattice.steps[at] else { return Ok(None) };
        let Some((other, which)) = bent.bent() else { return Ok(None) };
        let behind = lattice.steps[at + 1..].iter().filter_map(|s| match s {
            Step::Func(f) => Some(f),
            Step::Move(_) => None,
        });
        let rises =
            |f: &Func| f.trends().is_some_and(|t| t.iter().all(|t| *t == super::function::Trend::Rising));
        if !matches!(to, ElemType::Int(_)) || !behind.chain([quantizer]).all(rises) {
            return Ok(None);
        }
        let (mut straight, mut flat) = (lattice.clone(), lattice.clone());
        straight.steps.remove(at);
        flat.steps[at] = Step::Func(other);
        let folds = self.folds.len();
        let a = self.step_function(&straight, quantizer, to, node)?;
        let b = match a {
            Some(_) => self.step_function(&flat, quantizer, to, node)?,
            None => None,
        };
        let (Some(a), Some(b)) = (a, b) else {
            self.folds.truncate(folds);
            return Ok(None);
        };
        // One entry for the value: what holds for both of the two results.
        if let [.., first, second] = &mut self.folds[folds..] {
            first.points = first.points.saturating_add(second.points);
            first.bound = first.bound.max(second.bound);
            first.exact &= second.exact;
            first.proof = first.proof.max(second.proof);
            self.folds.pop();
        }
        let name = self.name(node, "codes");
        self.patch.node(which, &[a, b], &name, &node.origin).map(Some)
    }

    /// Whatever stands behind codes of at most 16 bits is a table.
    fn table(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let elem = self.patch.ty(lattice.code).elem.clone();
        let rest: Vec<&Func> = lattice.funcs().chain([quantizer]).collect();
        let channels = lattice.base.channels().max(quantizer.channels());
        let Some((first, n)) = Lookup::table_of(&elem).filter(|_| channels.max(lattice.channels()) == 1)
        else {
            return Ok(None);
        };
        let all: Vec<i64> = (0..n as i64).map(|i| first + i).collect();
        let Some(entries) = super::lattice::evaluate(&lattice.base, &rest, 1, &all) else { return Ok(None) };
        let table = Tensor::codes(TensorType::new(to.clone(), [n], Layout::anonymous(1)), entries);
        let name = self.name(node, "codes");
        let table = self.patch.constant(&format!("{name}.table"), table);
        let value = self.patch.node(Lookup, &[lattice.code, table], &name, &node.origin)?;
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: "lookup".to_string(),
            channels: 1,
            accumulator_bits: lattice.bits(),
            points: n as u64,
            proof: Proof::Enumerated,
            bound: 0.0,
            exact: lattice.exact,
            differs: None,
        });
        Ok(Some(value))
    }
}

/// What stands between rounding and overflow; lines lose their zero point where it must come behind the rounding. Nothing
/// where the quantizer is not understood.
fn tail(lines: &mut [Clamped], quantizer: &Func) -> Option<Tail> {
    let (q, _, zero) = quantizer.quantizer(0)?;
    let each = || (0..lines.len()).map(|c| quantizer.quantizer(c).map(|(_, _, zero)| zero));
    let one = each().all(|z| z == Some(zero));
    // Where the zero point comes first there is no other order.
    let before = q.order == QuantizeOrder::ClampThenRound;
    let behind = match q.rounding {
        Rounding::Floor | Rounding::Ceil | Rounding::HalfCeil | Rounding::HalfFloor => {
            each().any(|z| z.is_none_or(|z| z.fract() != 0.0))
        }
        Rounding::HalfEven => each().any(|z| z.is_none_or(|z| z.rem_euclid(2.0) != 0.0)),
        _ => each().any(|z| z != Some(0.0)),
    };
    let moved = behind && !before;
    if moved && (!one || zero.fract() != 0.0 || zero.abs() > f64::from(1 << 24)) {
        return None;
    }
    let shift = if moved { zero } else { 0.0 };
    for line in lines.iter_mut() {
        (line.b, line.lo, line.hi) = (line.b - shift, line.lo - shift, line.hi - shift);
    }
    let end = |v: f64, open: i64| {
        if v.is_finite() { f64::from(q.rounding.apply(v as f32)) as i64 + shift as i64 } else { open }
    };
    let bounds: Vec<(i64, i64)> = lines.iter().map(|l| (end(l.lo, i64::MIN), end(l.hi, i64::MAX))).collect();
    let (least, greatest) = q.bounds();
    let saturates = matches!(q.overflow, Overflow::Saturate | Overflow::SaturateSymmetric);
    let wide = |&(lo, hi): &(i64, i64)| match saturates {
        true => lo <= least && hi >= greatest,
        false => lo == i64::MIN && hi == i64::MAX,
    };
    if !saturates && q.overflow != Overflow::Wrap && (moved || !bounds.iter().all(wide)) {
        return None;
    }
    Some(Tail { none: !moved && bounds.iter().all(wide), zero: shift as i64, bounds })
}

/// The nearest numbers that a machine holds, and by how many codes a quotient may be off.
pub fn nearest(line: &Clamped, range: (i64, i64)) -> Option<(Multiply, f64)> {
    let greatest = range.0.unsigned_abs().max(range.1.unsigned_abs()).max(1) as f64;
    if !line.a.is_finite() || !line.b.is_finite() {
        return None;
    }
    let room = MULTIPLIER_BITS.min(PRODUCT_BITS - 1.0 - greatest.log2());
    // A channel whose factor is 0 is a constant: only the offset has a say.
    let by_slope = room - line.a.abs().max(1e-300).log2();
    let by_offset = PRODUCT_BITS - 1.0 - line.b.abs().max(1e-300).log2();
    let shift = by_slope.min(by_offset).floor().clamp(0.0, f64::from(Requantize::MAX_SHIFT));
    let (multiplier, addend) = ((line.a * shift.exp2()).round(), (line.b * shift.exp2()).round());
    if multiplier.abs() > MULTIPLIER_BITS.exp2() + 1.0 || addend.abs() > PRODUCT_BITS.exp2() {
        return None;
    }
    let off = (greatest + 1.0) / (shift + 1.0).exp2();
    Some((Multiply { multiplier: multiplier as i64, addend: addend as i64, shift: shift as u8 }, off))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::{IntType, Rounding};

    /// The bound holds: quotients of rounded numbers are never farther off.
    #[test]
    fn results_are_within_the_bound() {
        let op = Requantize {
            to: IntType::signed(16),
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            narrow: false,
        };
        for (a, b) in [(0.001234, 17.3), (-1.7e-6, -3.0), (0.37, 0.0), (13.7, -1e4), (0.0, 0.1)] {
            let line = Clamped { a, b, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
            let range = (-(1 << 24), 1 << 24);
            let (m, off) = nearest(&line, range).unwrap();
            assert!(off < 0.51, "{a}: off by {off}");
            for x in (range.0..=range.1).step_by(7919) {
                let exact = x as f64 * a + b;
                let got = op.apply(x, m.multiplier, m.addend, m.shift) as f64;
                let wanted = exact.clamp(-32768.0, 32767.0);
                assert!((got - wanted).abs() <= 0.5 + off + 1e-6, "{a} · {x} + {b}: {got}, not {wanted}");
            }
        }
    }
}
