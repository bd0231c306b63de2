//! A step function as nodes of the graph: whichever of these is right everywhere, in this order.
//!
//! | form | when |
//! |---|---|
//! | nothing, or a cast | every result is its argument |
//! | `threshold` | at most [`FEW`] levels, results rise or fall |
//! | `requantize` | multiplication, addition and shift agree with the steps at both ends of every run |
//! | `lookup` | one function for all channels, an index of at most [`INDEX_BITS`] bits |
//! | `threshold` | at most [`MANY`] levels, results rise or fall |
//!
//! Results that never reach the ends of the type, as behind a ReLU6, are clipped behind a `requantize`. Channels that fall
//! are turned round in front of a `threshold`, which counts upwards.

use super::Integerizer;
use super::function::{Func, Trend};
use super::lattice::Lattice;
use super::multiply::{self, Multiply};
use super::steps::Steps;
use unfloat_ir::ops::{Binary, Cast, Lookup, Requantize, Threshold, Unary};
use unfloat_ir::{Diagnostic, ElemType, IntType, Layout, Node, Rounding, Tensor, TensorType, ValueId};

/// Levels up to which thresholds come first.
const FEW: i64 = 15;
/// Levels up to which thresholds come at all.
const MANY: i64 = 255;
/// Bits of an index of a table.
const INDEX_BITS: u32 = 12;

/// What a step function has become.
pub struct Realised {
    /// The value.
    pub value: ValueId,
    /// How, in a word for the report.
    pub form: &'static str,
}

/// What is to be realised.
pub struct Wanted<'a> {
    /// The argument.
    pub x: ValueId,
    /// The function of each channel.
    pub steps: &'a [Steps],
    /// The element type of the result.
    pub to: &'a ElemType,
    /// The node whose work this is.
    pub node: &'a Node,
    /// Estimates of the slope and the offset of each channel in real numbers, results per unit of argument.
    pub lines: Option<Vec<(f64, f64)>>,
    /// How the source rounds.
    pub rounding: Option<Rounding>,
    /// The name of the result.
    pub name: String,
}

impl Wanted<'_> {
    fn least(&self) -> i64 {
        self.steps.iter().map(|s| s.first.min(s.last())).min().unwrap_or(0)
    }
    fn greatest(&self) -> i64 {
        self.steps.iter().map(|s| s.first.max(s.last())).max().unwrap_or(0)
    }
    fn monotone(&self) -> bool {
        self.steps.iter().all(|s| s.trend().is_some())
    }
    /// The step between neighbouring levels: 2 for `bipolar`, which has no 0.
    fn level(&self) -> i64 {
        if *self.to == ElemType::Bipolar { 2 } else { 1 }
    }
    fn levels(&self) -> i64 {
        (self.greatest() - self.least()) / self.level()
    }
}

impl Integerizer<'_> {
    /// The nodes for a step function; nothing when no form fits.
    pub fn realise(&mut self, wanted: &Wanted) -> Result<Option<Realised>, Diagnostic> {
        let from = self.patch.ty(wanted.x).elem.clone();
        let identity = |s: &Steps| s.runs().all(|(from, to, value)| from == to && value == from);
        if wanted.steps.iter().all(identity) {
            if from == *wanted.to {
                return Ok(Some(Realised { value: wanted.x, form: "identity" }));
            }
            if matches!(wanted.to, ElemType::Int(_)) {
                let value = self.node(Cast { to: wanted.to.clone() }, &[wanted.x], wanted)?;
                return Ok(Some(Realised { value, form: "cast" }));
            }
        }
        if wanted.monotone() && wanted.levels() <= FEW {
            return self.threshold(wanted).map(Some);
        }
        if let Some(value) = self.requantize(wanted)? {
            return Ok(Some(Realised { value, form: "requantize" }));
        }
        if let Some(value) = self.lookup(wanted)? {
            return Ok(Some(Realised { value, form: "lookup" }));
        }
        if wanted.monotone() && wanted.levels() <= MANY {
            return self.threshold(wanted).map(Some);
        }
        Ok(None)
    }

    fn node(
        &mut self,
        op: impl Into<unfloat_ir::Op>,
        inputs: &[ValueId],
        wanted: &Wanted,
    ) -> Result<ValueId, Diagnostic> {
        self.patch.node(op, inputs, &wanted.name, &wanted.node.origin)
    }

    /// Integers as a constant of the narrowest type: a scalar when they are all the same, else one per channel.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> ValueId {
        let (lo, hi) = values.iter().fold((0, 0), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        self.integers_of(name, values, ElemType::Int(IntType::covering(lo, hi)))
    }

    /// Integers as a constant of a type that holds them.
    pub fn integers_of(&mut self, name: &str, values: &[i64], elem: ElemType) -> ValueId {
        let same = values.windows(2).all(|w| w[0] == w[1]);
        let (shape, values): (Vec<usize>, _) =
            if same { (vec![], &values[..1]) } else { (vec![values.len()], values) };
        // Whatever the last axis of the value is called.
        let layout = Layout::anonymous(shape.len());
        let tensor = Tensor::codes(TensorType::new(elem, shape, layout), values.iter().copied());
        self.patch.constant(name, tensor)
    }

    fn threshold(&mut self, wanted: &Wanted) -> Result<Realised, Diagnostic> {
        let (least, level) = (wanted.least(), wanted.level());
        let (bias, scale) = match wanted.to {
            ElemType::Bipolar => (-1, 2),
            // A constant is a level that is always reached, or, at the end of the type, one that never is.
            _ if least == wanted.greatest() && wanted.to.has_code(least - 1) => (least - 1, 1),
            _ => (least, 1),
        };
        let falling: Vec<bool> = wanted.steps.iter().map(|s| s.trend() == Some(Trend::Falling)).collect();
        let k = ((wanted.greatest() - bias) / level).max(1) as usize;
        // The first argument, in the direction in which results rise, at which a level is reached; one beyond the range
        // where it never is, and the least where it always is.
        let row = |(s, &falls): (&Steps, &bool)| -> Vec<i64> {
            let reached = |want: i64| {
                // How many changes still lead to what the level wants, or do not yet.
                let n = s.changes.partition_point(|c| (c.1 >= want) == falls);
                let next = s.changes.get(n).map(|c| c.0);
                match (falls, s.first >= want) {
                    (true, true) => next.map_or(s.range.1, |x| x - 1).saturating_neg(),
                    (true, false) => s.range.0.saturating_neg().saturating_add(1),
                    (false, true) => s.range.0,
                    (false, false) => next.unwrap_or(s.range.1.saturating_add(1)),
                }
            };
            (1..=k as i64).map(|i| reached(bias + i * level)).collect()
        };
        let rows: Vec<Vec<i64>> = wanted.steps.iter().zip(&falling).map(row).collect();
        let x = if falling.contains(&true) { self.turned(wanted, &falling)? } else { wanted.x };
        let one = rows.windows(2).all(|w| w[0] == w[1]);
        let rows = if one { &rows[..1] } else { &rows[..] };
        let flat: Vec<i64> = rows.concat();
        let (lo, hi) = flat.iter().fold((0, 0), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        let ty =
            TensorType::new(ElemType::Int(IntType::covering(lo, hi)), [rows.len(), k], Layout::anonymous(2));
        let table = self.patch.constant(&format!("{}.thresholds", wanted.name), Tensor::codes(ty, flat));
        let axis = self.patch.ty(x).rank().saturating_sub(1);
        let op = Threshold { axis, to: wanted.to.clone(), scale, bias };
        let value = self.node(op, &[x, table], wanted)?;
        Ok(Realised { value, form: "threshold" })
    }

    /// The argument with another sign in some channels.
    fn turned(&mut self, wanted: &Wanted, falling: &[bool]) -> Result<ValueId, Diagnostic> {
        let ranges = wanted.steps.iter().map(|s| s.range);
        let (lo, hi) = ranges.fold((0, 0), |(a, b), (lo, hi)| {
            (a.min(lo).min(hi.saturating_neg()), b.max(hi).max(lo.saturating_neg()))
        });
        let elem = ElemType::Int(IntType::covering(lo.min(-1), hi.max(1)));
        let name = format!("{}.turned", wanted.name);
        let origin = &wanted.node.origin;
        let x = match self.patch.ty(wanted.x).elem == elem {
            true => wanted.x,
            false => self.patch.node(Cast { to: elem.clone() }, &[wanted.x], &name, origin)?,
        };
        let signs: Vec<i64> = falling.iter().map(|&f| if f { -1 } else { 1 }).collect();
        let signs = self.integers_of(&format!("{}.signs", wanted.name), &signs, elem);
        self.patch.node(Binary::Mul, &[x, signs], &name, origin)
    }

    fn requantize(&mut self, wanted: &Wanted) -> Result<Option<ValueId>, Diagnostic> {
        let ElemType::Int(to) = *wanted.to else { return Ok(None) };
        if !wanted.monotone() {
            return Ok(None);
        }
        for op in candidates(wanted, to) {
            // Levels at which all channels stop in front of the type's own ends: a clip goes there.
            let bounds = (op.bounds().0.max(wanted.least()), op.bounds().1.min(wanted.greatest()));
            for bounds in [op.bounds(), bounds] {
                let numbers: Option<Vec<Multiply>> = wanted
                    .steps
                    .iter()
                    .enumerate()
                    .map(|(c, s)| numbers(wanted, c, s, &op, bounds))
                    .collect();
                let Some(numbers) = numbers else { continue };
                // A clip takes its bounds in single precision.
                let held = |v: i64| v as f32 as i64 == v;
                if bounds != op.bounds() && !(held(bounds.0) && held(bounds.1)) {
                    continue;
                }
                let right = |(s, m): (&Steps, &Multiply)| multiply::agrees(s, m, &op, bounds);
                if !wanted.steps.iter().zip(&numbers).all(right) {
                    continue;
                }
                let value = self.multiply(wanted, &op, &numbers)?;
                let clip = Unary::Clip { lo: bounds.0 as f32, hi: bounds.1 as f32 };
                let value = if bounds == op.bounds() { value } else { self.node(clip, &[value], wanted)? };
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The node for multipliers, addends and shifts.
    pub fn multiply(
        &mut self,
        wanted: &Wanted,
        op: &Requantize,
        numbers: &[Multiply],
    ) -> Result<ValueId, Diagnostic> {
        let of = |f: fn(&Multiply) -> i64| numbers.iter().map(f).collect::<Vec<i64>>();
        let name = &wanted.name;
        let multiplier = self.integers(&format!("{name}.multiplier"), &of(|m| m.multiplier));
        let addend = self.integers(&format!("{name}.addend"), &of(|m| m.addend));
        let shift = self.integers_of(
            &format!("{name}.shift"),
            &of(|m| m.shift.into()),
            ElemType::Int(IntType::unsigned(6)),
        );
        self.node(op.clone(), &[wanted.x, multiplier, addend, shift], wanted)
    }

    fn lookup(&mut self, wanted: &Wanted) -> Result<Option<ValueId>, Diagnostic> {
        let from = self.patch.ty(wanted.x).elem.clone();
        let [steps] = wanted.steps else { return Ok(None) };
        let Some((first, n)) = Lookup::table_of(&from).filter(|_| from.bits() <= INDEX_BITS) else {
            return Ok(None);
        };
        // Codes that never come have the result of the nearest that does.
        let entry = |i: usize| steps.value((first + i as i64).clamp(steps.range.0, steps.range.1));
        let ty = TensorType::new(wanted.to.clone(), [n], Layout::anonymous(1));
        let table = Tensor::codes(ty, (0..n).map(entry));
        if table.fault().is_some() {
            return Ok(None);
        }
        let table = self.patch.constant(&format!("{}.table", wanted.name), table);
        self.node(Lookup, &[wanted.x, table], wanted).map(Some)
    }
}

/// The ops that may do it: the source's own rounding, where its numbers are exact; then the plain shift.
fn candidates(wanted: &Wanted, to: IntType) -> Vec<Requantize> {
    let plain = multiply::op(to);
    let own = wanted.rounding.map(|rounding| Requantize { rounding, ..plain.clone() });
    own.into_iter().filter(|_| wanted.lines.is_some()).chain([plain]).collect()
}

fn numbers(
    wanted: &Wanted,
    channel: usize,
    steps: &Steps,
    op: &Requantize,
    bounds: (i64, i64),
) -> Option<Multiply> {
    if op.rounding != Rounding::Floor || wanted.rounding == Some(Rounding::Floor) {
        let line = wanted.lines.as_ref().map(|l| l[channel]);
        let exact = line.and_then(|(slope, offset)| multiply::dyadic(slope, offset, steps.range));
        if exact.is_some() {
            return exact;
        }
        if op.rounding != Rounding::Floor {
            return None;
        }
    }
    let estimate = wanted.lines.as_ref().map(|l| l[channel].0).filter(|s| s.is_finite() && *s != 0.0);
    let own = multiply::slope(steps);
    multiply::find(steps, estimate.unwrap_or(own), bounds).or_else(|| multiply::find(steps, own, bounds))
}

/// The line of each channel in units of the result, where base, functions and quantizer are lines with bounds.
pub fn lines(lattice: &Lattice, quantizer: &Func, channels: usize) -> Option<Vec<super::function::Clamped>> {
    let mut lines: Vec<super::function::Clamped> = (0..channels)
        .map(|c| {
            let (a, b) = lattice.base.line(c);
            super::function::Clamped { a, b, lo: f64::NEG_INFINITY, hi: f64::INFINITY }
        })
        .collect();
    for func in lattice.funcs() {
        let next = func.affine(channels)?;
        lines.iter_mut().zip(next).for_each(|(l, n)| *l = l.then(n));
    }
    for (c, line) in lines.iter_mut().enumerate() {
        let (_, scale, zero) = quantizer.quantizer(c)?;
        let to_codes =
            super::function::Clamped { a: 1.0 / scale, b: zero, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
        *line = line.then(to_codes);
    }
    Some(lines)
}
