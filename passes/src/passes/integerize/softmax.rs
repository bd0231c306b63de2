//! A softmax over integers: tables of exponentials, a sum, a division.
//!
//! In: a value on a grid, over the last axis. Out: codes of 16 bits with the scale `2^-16`. With `d = max(x) − x` in units
//! of the grid, `e = ⌊2^16 · exp(−scale · d)⌉` and `y = ⌊(2^16 · e + Σe / 2) / Σe⌋`:
//!
//! * where at most [`MAX_ENTRIES`] differences matter, `e` is a table over `d`;
//! * else `d` goes to a step of [`REACH`]` / 2^16`, and `e` is the product of two entries, for the high and the low byte.
//!
//! Accumulators whose channels have scales or biases of their own are brought to one fine grid first.
//!
//! Every step is monotone, so no two classes change places; equal codes say that the two are closer than the bound, which
//! goes into the certificate. Left alone: logarithms, other axes, more than 2^16 classes, accumulators that can be so large
//! that no grid holds them finely enough.

use super::Integerizer;
use super::function::{Clamped, Func, Trend};
use super::lattice::{Base, Lattice, Step};
use super::realise::Wanted;
use crate::report::{Fold, Proof};
use unfloat_ir::ops::{ArgReduce, Binary, Cast, Lookup, Reduce, ReduceFn, Requantize, Softmax, Unary};
use unfloat_ir::{
    Diagnostic, ElemType, IntType, Layout, Node, Op, Overflow, Rounding, Tensor, TensorType, ValueId,
};

/// Bits of an exponential, and of a result.
const BITS: i32 = 16;
/// The most entries of a table over all differences.
const MAX_ENTRIES: i64 = 1 << 12;
/// From this difference on `2^16 · exp(−d)` is less than a half: `17 · ln 2`, rounded up.
const REACH: f64 = 12.0;
/// The greatest error of an operand that a softmax takes: two operands off by that move a result by 0.0005 at most.
const COARSEST: f64 = 1.0 / 1024.0;
/// Bits of the fine grid.
const FINE_BITS: i32 = 26;

/// How far a result of `classes` classes may be from the softmax of the operand: each exponential is off by `own` units
/// of 2^-16 and by the relative error `relative`, their sum by as much for each, the quotient by half a unit, and the
/// greatest result by a unit.
fn bound(classes: usize, own: f64, relative: f64) -> f64 {
    let unit = (-f64::from(BITS)).exp2();
    unit * (1.5 + own * (classes as f64 + 1.0)) + relative / 2.0
}

/// What one table is off by, in its units; and the product of two, each half a unit off, which is rounded once more.
const OFF: [f64; 2] = [0.5, 1.51];

fn arg_name(arg: &ArgReduce) -> &'static str {
    if arg.max { "arg_max" } else { "arg_min" }
}

/// Nodes for one softmax.
struct Chain<'a, 'g> {
    work: &'a mut Integerizer<'g>,
    node: &'a Node,
    name: String,
}

impl Chain<'_, '_> {
    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.work.patch.node(op, inputs, &self.name, &self.node.origin)
    }
    fn cast(&mut self, to: IntType, x: ValueId) -> Result<ValueId, Diagnostic> {
        self.node(Cast { to: ElemType::Int(to) }, &[x])
    }
    fn clip(&mut self, x: ValueId, hi: i64) -> Result<ValueId, Diagnostic> {
        self.node(Unary::Clip { lo: 0.0, hi: hi as f32 }, &[x])
    }
    fn last_axis(&mut self, f: ReduceFn, x: ValueId) -> Result<ValueId, Diagnostic> {
        let axes = vec![self.work.patch.ty(x).rank() - 1];
        self.node(Reduce { f, axes, keep: true }, &[x])
    }
    /// `⌊(x · m + a) / 2^s⌋`
    fn shifted(&mut self, x: ValueId, (m, a, s): (i64, i64, u8), to: IntType) -> Result<ValueId, Diagnostic> {
        let op = Requantize { to, rounding: Rounding::Floor, overflow: Overflow::Saturate, narrow: false };
        let name = self.name.clone();
        let u6 = ElemType::Int(IntType::unsigned(6));
        let multiplier = self.work.integers(&format!("{name}.multiplier"), &[m]);
        let addend = self.work.integers(&format!("{name}.addend"), &[a]);
        let shift = self.work.integers_of(&format!("{name}.shift"), &[s.into()], u6);
        self.node(op, &[x, multiplier, addend, shift])
    }
    /// A table of `⌊2^16 · exp(−step · i)⌉` over the codes of `x`; 0 from `end` on.
    fn exponentials(&mut self, x: ValueId, step: f64, end: Option<i64>) -> Result<ValueId, Diagnostic> {
        let n = self.work.patch.ty(x).elem.code_range().map_or(0, |(_, hi)| hi + 1);
        let power = f64::from(BITS).exp2();
        let entry = |i: i64| {
            if end.is_some_and(|e| i >= e) { 0 } else { (power * (-step * i as f64).exp()).round() as i64 }
        };
        let ty = TensorType::new(ElemType::Int(EXP), [n as usize], Layout::anonymous(1));
        let table = Tensor::codes(ty, (0..n).map(entry));
        let table = self.work.patch.constant(&format!("{}.exp", self.name), table);
        self.node(Lookup, &[x, table])
    }
}

/// The type of an exponential, 0 to 2^16.
const EXP: IntType = IntType::unsigned(17);

impl Integerizer<'_> {
    pub fn softmax(&mut self, node: &Node, op: &Softmax) -> Result<Option<Lattice>, Diagnostic> {
        let ty = self.graph.ty(node.output).clone();
        let classes = ty.shape.last().copied().unwrap_or(0);
        if op.log || op.axes != [ty.rank().saturating_sub(1)] || !(1..=1 << 16).contains(&classes) {
            return Ok(None);
        }
        let Some(lattice) = self.lattice(node.inputs[0]).cloned() else { return Ok(None) };
        let Some((x, scale, off)) = self.on_one_grid(lattice, node)? else { return Ok(None) };
        if off > COARSEST {
            return Ok(None);
        }
        let (lo, hi) = x.range_of(0);
        let apart = hi - lo;
        let end = (REACH / scale).ceil();
        let name = self.name(node, "softmax");
        let mut chain = Chain { work: self, node, name };
        let code = chain.cast(IntType::covering(lo.min(-apart - 1), hi.max(apart)), x.code)?;
        let max = chain.last_axis(ReduceFn::Max, code)?;
        let below = chain.node(Binary::Sub, &[max, code])?;
        let (exp, points, own, relative) = if end.min(apart as f64) < MAX_ENTRIES as f64 {
            let last = if end < apart as f64 { end as i64 } else { apart };
            let below = chain.clip(below, last)?;
            let below = chain.cast(IntType::covering(0, last.max(1)), below)?;
            let end = (last < apart).then_some(last);
            (chain.exponentials(below, scale, end)?, last as u64 + 1, OFF[0], 0.0)
        } else {
            let step = REACH / f64::from(1u32 << 16);
            let shift = (30.0 - (scale / step).log2()).floor().clamp(1.0, 60.0) as u8;
            let m = (scale / step * f64::from(shift).exp2()).round() as i64;
            let index = chain.shifted(below, (m, 1 << (shift - 1), shift), IntType::unsigned(16))?;
            let high = chain.shifted(index, (1, 0, 8), IntType::unsigned(8))?;
            let wide = IntType::signed(17);
            let (whole, part) = (chain.cast(wide, index)?, chain.cast(wide, high)?);
            let bytes = chain.work.integers_of(&format!("{}.byte", chain.name), &[256], ElemType::Int(wide));
            let part = chain.node(Binary::Mul, &[part, bytes])?;
            let low = chain.node(Binary::Sub, &[whole, part])?;
            let low = chain.cast(IntType::unsigned(8), low)?;
            let (high, low) =
                (chain.exponentials(high, step * 256.0, None)?, chain.exponentials(low, step, None)?);
            let product = IntType::unsigned(34);
            let (high, low) = (chain.cast(product, high)?, chain.cast(product, low)?);
            let product = chain.node(Binary::Mul, &[high, low])?;
            let half = 1i64 << (BITS - 1);
            (chain.shifted(product, (1, half, BITS as u8), EXP)?, 512, OFF[1], step / 2.0 + 2f64.powi(-16))
        };
        let wide = IntType::signed((2 * BITS + 3 + classes.ilog2() as i32) as u8);
        let exp = chain.cast(wide, exp)?;
        let sum = chain.last_axis(ReduceFn::Sum, exp)?;
        let half = chain.shifted(sum, (1, 0, 1), wide)?;
        let power =
            chain.work.integers_of(&format!("{}.power", chain.name), &[1 << BITS], ElemType::Int(wide));
        let scaled = chain.node(Binary::Mul, &[exp, power])?;
        let scaled = chain.node(Binary::Add, &[scaled, half])?;
        let quotient = chain.node(Binary::Div, &[scaled, sum])?;
        let most = (1i64 << BITS) - 1;
        let quotient = chain.clip(quotient, most)?;
        let code = chain.cast(IntType::unsigned(BITS as u8), quotient)?;
        let bound = bound(classes, own, relative + 2.0 * off);
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: "softmax".to_string(),
            channels: 1,
            accumulator_bits: IntType::covering(lo, hi).width,
            points,
            proof: Proof::Bounded,
            bound,
            exact: false,
            differs: None,
        });
        let base = Base::Codes { scale: vec![(-BITS as f32).exp2()], zero: vec![0.0] };
        Ok(Some(Lattice { exact: false, off: bound, ..Lattice::new(code, vec![(0, most)], base) }))
    }

    /// The place of the greatest element needs no softmax: integers on one grid tell it.
    pub fn class(&mut self, node: &Node, arg: &ArgReduce) -> Result<(), Diagnostic> {
        let last = arg.axis + 1 == self.graph.ty(node.inputs[0]).rank();
        if !last || self.lattice(node.inputs[0]).is_none() {
            return Ok(());
        }
        let Some(lattice) = self.lattice(node.inputs[0]).cloned() else { return Ok(()) };
        let Some((x, _, off)) = self.ranked(lattice, node)? else { return Ok(()) };
        let name = self.name(node, "class");
        let value = self.patch.node(arg.clone(), &[x.code], &name, &node.origin)?;
        // Scores that are nearer to each other than twice the bound may change places.
        self.certify(node, arg_name(arg), &x, 0, off);
        self.patch.replace(node.output, value)?;
        self.replaced.insert(node.output, value);
        self.count += 1;
        Ok(())
    }

    /// What has the order of the operand: functions that rise the same way for all are left out.
    fn ranked(
        &mut self,
        mut lattice: Lattice,
        node: &Node,
    ) -> Result<Option<(Lattice, f64, f64)>, Diagnostic> {
        while let Some(Step::Func(f)) = lattice.steps.last() {
            let trend =
                f.trends().filter(|_| f.rises_strictly()).or_else(|| f.expected_trend().map(|t| vec![t]));
            if f.channels() > 1 || !trend.is_some_and(|t| t.iter().all(|t| *t == Trend::Rising)) {
                break;
            }
            lattice.steps.pop();
        }
        self.on_one_grid(lattice, node)
    }

    /// The operand as integers of one scale, and how far an element may be off by that.
    fn on_one_grid(
        &mut self,
        lattice: Lattice,
        node: &Node,
    ) -> Result<Option<(Lattice, f64, f64)>, Diagnostic> {
        if let Some((x, scale, _)) = self.plain_of(lattice.clone(), node)? {
            let off = x.off;
            return Ok((scale > 0.0).then_some((x, scale, off)));
        }
        if !lattice.is_narrow() {
            return Ok(None);
        }
        let Some(base) = super::outputs::straight(&lattice) else {
            let codes = self.narrowed(&lattice, node, super::outputs::FINE)?;
            return Ok(codes.map(|(x, scale)| {
                let off = x.off;
                (x, scale, off)
            }));
        };
        let off = super::outputs::carried(&lattice, &base);
        self.gridded(&Lattice { off, base, steps: Vec::new(), ..lattice }, node)
    }

    /// Sums with scales and biases of their own on one grid: its scale, and how far an element may be off.
    pub fn gridded(
        &mut self,
        lattice: &Lattice,
        node: &Node,
    ) -> Result<Option<(Lattice, f64, f64)>, Diagnostic> {
        let channels = lattice.channels();
        let end = |c: usize| {
            let ((scale, bias), (lo, hi)) = (lattice.base.line(c), lattice.range_of(c));
            (scale * lo as f64 + bias).abs().max((scale * hi as f64 + bias).abs())
        };
        let greatest = (0..channels).map(end).fold(f64::MIN_POSITIVE, f64::max);
        let grid = greatest / f64::from(FINE_BITS).exp2();
        let Some((value, codes_off)) = self.regridded(lattice, grid, node)? else { return Ok(None) };
        let reach = (1i64 << FINE_BITS) + 1;
        let base = Base::Sum { scale: vec![grid], bias: vec![0.0] };
        let off = grid * codes_off + lattice.off;
        let new = Lattice::new(value, vec![(-reach, reach)], base);
        Ok(Some((Lattice { exact: false, off, ..new }, grid, off)))
    }

    /// Sums with scales and biases of their own as 32-bit integers on one grid, and how many of its units they may be off.
    fn regridded(
        &mut self,
        lattice: &Lattice,
        grid: f64,
        node: &Node,
    ) -> Result<Option<(ValueId, f64)>, Diagnostic> {
        let (mut numbers, mut off) = (Vec::new(), 0f64);
        for c in 0..lattice.channels() {
            let (scale, bias) = lattice.base.line(c);
            let line = Clamped { a: scale / grid, b: bias / grid, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
            let nearest = super::wide::nearest(&line, lattice.range_of(c));
            let Some((mut number, own)) = nearest else { return Ok(None) };
            // The shift rounds down; half a unit more makes it round to the nearest.
            number.addend += if number.shift > 0 { 1 << (number.shift - 1) } else { 0 };
            off = off.max(own + 0.5);
            numbers.push(number);
        }
        let to = ElemType::Int(IntType::signed(32));
        let name = self.name(node, "grid");
        let op = super::multiply::op(IntType::signed(32));
        let wanted = Wanted { x: lattice.code, steps: &[], to: &to, node, lines: None, rounding: None, name };
        let value = self.multiply(&wanted, &op, &numbers)?;
        Ok(Some((value, off)))
    }

    /// A value on a grid as codes of so many bits: the scale is the power of two that just holds it. Nothing where its steps
    /// are not known to be monotone.
    pub fn narrowed(
        &mut self,
        lattice: &Lattice,
        node: &Node,
        bits: u8,
    ) -> Result<Option<(Lattice, f64)>, Diagnostic> {
        let channels = lattice.channels();
        let mut greatest = 0f64;
        for c in 0..channels {
            let (lo, hi) = lattice.range_of(c);
            let mut y = [lo, hi].map(|q| {
                let mut x = super::function::block(
                    channels,
                    (0..channels).map(|_| lattice.base.value(q, c)).collect(),
                );
                for func in lattice.funcs() {
                    x = func.eval(x)?;
                }
                x.as_f32().map(|v| f64::from(v[c]))
            });
            if lattice.trends(&lattice.funcs().collect::<Vec<_>>(), channels).is_none() {
                return Ok(None);
            }
            let (Some(a), Some(b)) = (y[0].take(), y[1].take()) else { return Ok(None) };
            greatest = greatest.max(a.abs()).max(b.abs());
        }
        if !greatest.is_finite() {
            return Ok(None);
        }
        let int = IntType::signed(bits);
        let scale =
            (greatest.max(f64::MIN_POSITIVE) / int.max() as f64).log2().ceil().max(-100.0).exp2() as f32;
        let Some(func) = Func::to_codes(int, scale) else { return Ok(None) };
        let folds = self.folds.len();
        let Some(code) = self.fold(lattice, &func, &ElemType::Int(int), node)? else { return Ok(None) };
        let codes_off = self.folds[folds..].iter().map(|f| f.bound).fold(0.0, f64::max) + 0.5;
        let base = Base::Codes { scale: vec![scale], zero: vec![0.0] };
        let new = Lattice::new(code, vec![(int.min(), int.max())], base);
        let scale = f64::from(scale);
        Ok(Some((Lattice { exact: false, off: scale * codes_off, ..new }, scale)))
    }
}
