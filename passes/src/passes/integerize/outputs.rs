//! Results of the graph that no quantizer closes: the exact accumulator, and what it means.
//!
//! In: an output whose value is a base and moves, or functions of each element behind it. Out: integers behind the last
//! dequantization. A bias that lies on the accumulator's grid is added as an integer. Another one needs a finer grid: the
//! sums are multiplied by a power of two, so that the bias is off by at most [`OFF`] of the greatest result. A ReLU is taken
//! of the integers. Where channels with scales of their own change places, and behind functions that bend, codes of [`FINE`]
//! bits on one grid are made; behind other functions a table over codes of [`INDEX`] bits.

use super::Integerizer;
use super::function::Func;
use super::lattice::{Base, Lattice, Step};
use crate::report::{Fold, Proof};
use unfloat_ir::ops::{Dequantize, Requantize, Unary};
use unfloat_ir::{Diagnostic, ElemType, IntType, Layout, Node, Op, Overflow, Rounding, Tensor, ValueId};

/// How far a bias may be off, relative to the greatest result.
const OFF: f64 = 1.0 / (1 << 22) as f64;
/// Bits of a result.
const BITS: u32 = 48;
/// Bits of codes on a grid of their own: a float holds no more.
pub const FINE: u8 = 25;
/// Bits of codes that are the index of a table.
pub const INDEX: u8 = 16;

impl Integerizer<'_> {
    /// Gives each float output its integers.
    pub fn outputs(&mut self) -> Result<(), Diagnostic> {
        let mut done: Vec<ValueId> = Vec::new();
        for output in self.graph.outputs() {
            let value = output.value;
            let Some((_, node)) = self.graph.producer(value) else { continue };
            // A dequantization of codes is a boundary already.
            if done.contains(&value) || matches!(node.op, Op::Dequantize(_)) {
                continue;
            }
            let Some(lattice) = self.lattice(value).cloned() else { continue };
            if let Some(new) = self.shown(&lattice, node)? {
                self.patch.replace(value, new)?;
                self.count += 1;
                done.push(value);
            }
        }
        Ok(())
    }

    fn shown(&mut self, lattice: &Lattice, node: &Node) -> Result<Option<ValueId>, Diagnostic> {
        let relu = |s: &Step| matches!(s, Step::Func(f) if f.is_relu());
        let sums = matches!(lattice.base, Base::Sum { .. });
        let simple = lattice.steps.iter().all(|s| relu(s) || matches!(s, Step::Move(_)));
        if sums
            && simple
            && lattice.maxima_of_codes()
            && (lattice.keeps_channels() || lattice.channels() == 1)
        {
            return self.sums_shown(lattice, node);
        }
        if lattice.is_plain() {
            return self.dequantize(lattice.code, &lattice.base, node).map(Some);
        }
        if let Some(base) = straight(lattice) {
            let lattice =
                Lattice { off: carried(lattice, &base), base, steps: Vec::new(), ..lattice.clone() };
            return self.sums_shown(&lattice, node);
        }
        // Channels that change places cannot keep scales of their own: one fine grid for all.
        if sums && simple && lattice.maxima_of_codes() {
            return self.grid_shown(lattice, node);
        }
        // Fine codes; behind a function from a mathematical library, a table over codes of 16 bits.
        let curved = lattice.funcs().any(|f| f.trends().is_none());
        let mut front = lattice.clone();
        if curved {
            let Some(last) = front.steps.pop() else { return Ok(None) };
            let Step::Func(last) = last else { return Ok(None) };
            return self.curve_shown(&front, &last, node);
        }
        let Some((codes, _)) = self.narrowed(lattice, node, FINE)? else { return Ok(None) };
        self.certify(node, "codes on one grid", &codes, 0, codes.off);
        self.dequantize(codes.code, &codes.base, node).map(Some)
    }

    /// Sums on one grid for all channels, then ReLUs and moves.
    fn grid_shown(&mut self, lattice: &Lattice, node: &Node) -> Result<Option<ValueId>, Diagnostic> {
        let sums = Lattice { steps: Vec::new(), ..lattice.clone() };
        let Some((grid, scale, off)) = self.gridded(&sums, node)? else { return Ok(None) };
        let name = self.name(node, "codes");
        let mut code = grid.code;
        for step in &lattice.steps {
            code = match step {
                Step::Move(op) => self.patch.node(op.clone(), &[code], &name, &node.origin)?,
                Step::Func(_) => self.patch.node(Unary::Relu, &[code], &name, &node.origin)?,
            };
        }
        self.certify(node, "sums on one grid", lattice, 0, off + scale);
        self.dequantize(code, &grid.base, node).map(Some)
    }

    /// A sigmoid or the like of a value on a grid: a table of 16-bit codes.
    fn curve_shown(
        &mut self,
        front: &Lattice,
        last: &Func,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        if last.channels() > 1 || front.funcs().any(|f| f.trends().is_none()) {
            return Ok(None);
        }
        let mut front = front.clone();
        let reach = last.reach();
        if let Some(reach) = reach {
            front.steps.push(Step::Func(Func::clip(-reach, reach)));
        }
        let Some((codes, step)) = self.narrowed(&front, node, INDEX)? else { return Ok(None) };
        let (lo, hi) = codes.range_of(0);
        let values = (lo..=hi).map(|q| codes.base.value(q, 0)).collect();
        let Some(values) = last.eval(super::function::block(1, values)) else { return Ok(None) };
        let greatest = values.as_f32().map_or(0.0, |v| v.iter().fold(0f32, |m, x| m.max(x.abs())));
        let int = IntType::signed(16);
        let scale = (f64::from(greatest).max(1e-30) / int.max() as f64).log2().ceil().exp2() as f32;
        let Some(quantizer) = Func::to_codes(int, scale) else { return Ok(None) };
        let mut curve = codes.clone();
        curve.steps.push(Step::Func(last.clone()));
        let all: Vec<i64> = (lo..=hi).collect();
        let Some(entries) = super::lattice::evaluate(&curve.base, &[last, &quantizer], 1, &all) else {
            return Ok(None);
        };
        // The argument may be off by so many codes, which a jump makes as many whole steps of the result; that is rounded. What
        // lies beyond the reach is flat but for the difference to 1.
        let codes_off = (codes.off / step).ceil().max(1.0);
        let steepest = entries.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap_or(0);
        let flat = if reach.is_some() { 1.0 - f64::from(greatest) } else { 0.0 };
        let bound = f64::from(scale) * (steepest as f64 * codes_off + 1.0) + flat;
        let ty = unfloat_ir::TensorType::new(ElemType::Int(int), [entries.len()], Layout::anonymous(1));
        let name = self.name(node, "codes");
        let table = self.patch.constant(&format!("{name}.table"), Tensor::codes(ty, entries));
        let value = self.patch.node(unfloat_ir::ops::Lookup, &[codes.code, table], &name, &node.origin)?;
        self.certify(node, "lookup behind 16 bits", &codes, all.len() as u64, bound);
        let base = Base::Codes { scale: vec![scale], zero: vec![0.0] };
        self.dequantize(value, &base, node).map(Some)
    }

    /// An entry of the certificate for a result that has a bound.
    pub fn certify(&mut self, node: &Node, form: &str, lattice: &Lattice, points: u64, bound: f64) {
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: form.to_string(),
            channels: lattice.channels(),
            accumulator_bits: lattice.bits(),
            points,
            proof: Proof::Bounded,
            bound,
            exact: lattice.exact,
            differs: None,
        });
    }

    fn sums_shown(&mut self, lattice: &Lattice, node: &Node) -> Result<Option<ValueId>, Diagnostic> {
        let channels = lattice.base.channels().max(lattice.range.len());
        let lines: Vec<(f64, f64)> = (0..channels).map(|c| lattice.base.line(c)).collect();
        let ranges: Vec<(i64, i64)> = (0..channels).map(|c| lattice.range_of(c)).collect();
        let greatest = lines
            .iter()
            .zip(&ranges)
            .map(|((s, b), r)| (s * r.0 as f64 + b).abs().max((s * r.1 as f64 + b).abs()));
        let greatest = greatest.fold(f64::MIN_POSITIVE, f64::max);
        if !greatest.is_finite() || lines.iter().any(|l| l.0 == 0.0) {
            return Ok(None);
        }
        // The coarsest grid on which every bias is near enough.
        let off = |k: i32| {
            let each = lines.iter().map(|(s, b)| {
                let unit = s.abs() / f64::from(k).exp2();
                ((b / unit).round() * unit - b).abs()
            });
            each.fold(0.0, f64::max)
        };
        let bits = |k: i32| {
            let widest = lines.iter().zip(&ranges).map(|((s, b), r)| {
                let reach = r.0.unsigned_abs().max(r.1.unsigned_abs()) as f64 + (b / s).abs() + 1.0;
                (reach * f64::from(k).exp2()).log2()
            });
            widest.fold(0.0, f64::max)
        };
        let fits = |k: i32| bits(k) < f64::from(BITS - 1);
        let Some(k) = (0..=24).take_while(|&k| fits(k)).find(|&k| off(k) <= OFF * greatest) else {
            return Ok(None);
        };
        let factor = f64::from(k).exp2();
        let terms: Vec<i64> = lines.iter().map(|(s, b)| (b / s * factor).round() as i64).collect();
        let mut code = lattice.code;
        let name = self.name(node, "codes");
        if k > 0 || terms.iter().any(|&t| t != 0) {
            let ends = ranges.iter().zip(&terms).map(|(r, t)| {
                let m = 1i64 << k;
                (r.0 * m + t, r.1 * m + t)
            });
            let (lo, hi) = ends.fold((0, 0), |(a, b), (lo, hi)| (a.min(lo), b.max(hi)));
            let to = IntType::covering(lo, hi);
            let op =
                Requantize { to, rounding: Rounding::Floor, overflow: Overflow::Saturate, narrow: false };
            let multiplier = self.integers(&format!("{name}.multiplier"), &[1 << k]);
            let addend = self.integers(&format!("{name}.bias"), &terms);
            let shift = self.integers_of(&format!("{name}.shift"), &[0], ElemType::Int(IntType::unsigned(1)));
            code = self.patch.node(op, &[code, multiplier, addend, shift], &name, &node.origin)?;
        }
        for step in &lattice.steps {
            code = match step {
                Step::Move(op) => self.patch.node(op.clone(), &[code], &name, &node.origin)?,
                Step::Func(_) => {
                    let int = self.int(code, &name, node)?;
                    self.patch.node(Unary::Relu, &[int], &name, &node.origin)?
                }
            };
        }
        let points = ranges.iter().map(|r| r.1.abs_diff(r.0).saturating_add(1)).fold(0, u64::saturating_add);
        // Code, scale and product are numbers in single precision, and so is the source's.
        let rounded = greatest * f64::from(f32::EPSILON) * 2.0;
        self.certify(node, "sums", lattice, points, off(k) + lattice.off + rounded);
        let scale: Vec<f32> = lines.iter().map(|l| (l.0 / factor) as f32).collect();
        let scale = if scale.windows(2).all(|w| w[0] == w[1]) { scale[..1].to_vec() } else { scale };
        let base = Base::Codes { scale, zero: vec![0.0] };
        self.dequantize(code, &base, node).map(Some)
    }

    /// The boundary behind codes.
    fn dequantize(&mut self, code: ValueId, base: &Base, node: &Node) -> Result<ValueId, Diagnostic> {
        let (scale, zero) = match base {
            Base::Codes { scale, zero } => (scale.clone(), zero.iter().map(|&z| z as f32).collect()),
            Base::Sum { scale, .. } => (scale.iter().map(|&s| s as f32).collect(), vec![0.0]),
        };
        let name = self.graph.value(node.output).name.clone();
        let mut constant = |what: &str, v: Vec<f32>| {
            let tensor = match &v[..] {
                [_] => Tensor::f32([], Layout::anonymous(0), v),
                _ => Tensor::f32([v.len()], Layout::anonymous(1), v),
            };
            self.patch.constant(&format!("{name}.{what}"), tensor)
        };
        let (scale, zero) = (constant("scale", scale), constant("zero", zero));
        self.patch.node(Dequantize, &[code, scale, zero], &name, &node.origin)
    }
}

/// How far a line behind the base of a lattice is off.
pub fn carried(lattice: &Lattice, line: &Base) -> f64 {
    let each = (0..lattice.channels()).map(|c| lattice.off * (line.line(c).0 / lattice.base.line(c).0).abs());
    each.filter(|off| off.is_finite()).fold(0.0, f64::max)
}

/// Base and functions as one line per channel, where they are lines without bounds.
pub fn straight(lattice: &Lattice) -> Option<Base> {
    let channels = lattice.channels();
    let mut lines: Vec<(f64, f64)> = (0..channels).map(|c| lattice.base.line(c)).collect();
    for step in &lattice.steps {
        let Step::Func(func) = step else { return None };
        let next = func.affine(channels)?;
        for (line, n) in lines.iter_mut().zip(next) {
            if n.lo.is_finite() || n.hi.is_finite() {
                return None;
            }
            *line = (line.0 * n.a, line.1 * n.a + n.b);
        }
    }
    let (scale, bias) = lines.into_iter().unzip();
    Some(Base::Sum { scale, bias })
}
