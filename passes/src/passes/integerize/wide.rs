//! Results of many levels: a multiplication with a shift, within a bound; and tables, for functions that are no line.
//!
//! In: a base and functions that are lines with bounds, and a quantizer to more levels than can be listed. Out: one
//! `requantize` with the quantizer's own rounding and overflow, and a clip where the functions have bounds inside the type.
//! Where slope and offset are multiples of a power of two the quotient is exact, and the result differs from the source's
//! only where the source itself rounds on the way. Else multiplier and addend are rounded: the quotient is off by at most
//! `(|x| + 1) / 2^(s + 1)` codes, which goes into the certificate; results then differ by at most one code where that is
//! below one.
//!
//! A leaky ReLU with a slope of 0 to 1 is the greater of two lines, so its result is the greater of two results, where
//! nothing behind it falls. Any other function of codes of at most 16 bits is a table, where all channels share it.

use super::Integerizer;
use super::function::{Clamped, Func};
use super::lattice::{Lattice, Step};
use super::multiply::{Multiply, dyadic};
use super::realise::Wanted;
use crate::report::{Fold, Proof};
use unfloat_ir::ops::{Binary, Lookup, Requantize, Unary};
use unfloat_ir::{Diagnostic, ElemType, Layout, Node, Overflow, Tensor, TensorType, ValueId};

/// Bits of a multiplier, without its sign.
const MULTIPLIER_BITS: f64 = 30.0;
/// Bits of a product and of the sum.
const PRODUCT_BITS: f64 = 61.0;

impl Integerizer<'_> {
    pub fn wide(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
        lines: Option<Vec<Clamped>>,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let (Some(lines), Some((q, _, _)), ElemType::Int(int)) = (lines, quantizer.quantizer(0), to) else {
            return Ok(None);
        };
        let op = Requantize { to: *int, rounding: q.rounding, overflow: q.overflow, narrow: q.narrow };
        let mut bound = 0f64;
        let mut numbers = Vec::with_capacity(lines.len());
        for (c, line) in lines.iter().enumerate() {
            let range = lattice.range_of(c);
            let (number, off) = match dyadic(line.a, line.b, range) {
                Some(exact) => (exact, 0.0),
                None => match nearest(line, range) {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            bound = bound.max(off);
            numbers.push(number);
        }
        let name = self.name(node, "codes");
        let wanted = Wanted { x: lattice.code, steps: &[], to, node, lines: None, rounding: None, name };
        let mut value = self.multiply(&wanted, &op, &numbers)?;
        let code = |v: f64| f64::from(q.rounding.apply(v as f32));
        let (least, greatest) = op.bounds();
        let lo: Vec<f64> = lines.iter().map(|l| code(l.lo).max(least as f64)).collect();
        let hi: Vec<f64> = lines.iter().map(|l| code(l.hi).min(greatest as f64)).collect();
        let same = |v: &[f64]| v.windows(2).all(|w| w[0] == w[1]);
        let inside = lo.iter().any(|&l| l > least as f64) || hi.iter().any(|&h| h < greatest as f64);
        if inside {
            // A bound inside the type and a wrap in front of it do not commute.
            if q.overflow != Overflow::Saturate || !same(&lo) || !same(&hi) || int.width > 24 {
                return Ok(None);
            }
            let clip = Unary::Clip { lo: lo[0] as f32, hi: hi[0].max(lo[0]) as f32 };
            value = self.patch.node(clip, &[value], &wanted.name, &node.origin)?;
        }
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
            differs: None,
        });
        Ok(Some(value))
    }

    /// A function that is no line: two lines of a leaky ReLU, or a table over codes of 16 bits.
    pub fn pieces(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let bent = lattice.steps.iter().position(|s| matches!(s, Step::Func(f) if f.leaky().is_some()));
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
        let Step::Func(leaky) = &lattice.steps[at] else { return Ok(None) };
        let Some(alpha) = leaky.leaky() else { return Ok(None) };
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
        flat.steps[at] = Step::Func(Func::scaling(alpha));
        let Some(a) = self.step_function(&straight, quantizer, to, node)? else { return Ok(None) };
        let Some(b) = self.step_function(&flat, quantizer, to, node)? else { return Ok(None) };
        let name = self.name(node, "codes");
        self.patch.node(Binary::Max, &[a, b], &name, &node.origin).map(Some)
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
            differs: None,
        });
        Ok(Some(value))
    }
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
