//! What a float value is a function of: an integer, the numbers that its codes stand for, and functions of each element.
//!
//! A [`Lattice`] says `value = steps(base(code))`. `code` is an integer value of the graph or of the patch under way;
//! [`Base`] gives the first float for a code of each channel, as the source computes it; steps follow in order, functions
//! of each element ([`Func`]) and moves of whole elements, which commute with those where [`Lattice`] allows them.

use super::function::{Func, Trend, block};
use unfloat_ir::{IntType, Op, ValueId};

/// The first float for a code. Each list has one entry, or one per channel.
#[derive(Clone, PartialEq, Debug)]
pub enum Base {
    /// `fl(fl(code − zero) · scale)` in single precision: a dequantization.
    Codes {
        /// Real number per code.
        scale: Vec<f32>,
        /// The code of 0; QONNX allows one that is no integer.
        zero: Vec<f64>,
    },
    /// `fl(code · scale + bias)`, rounded once: a sum of products.
    Sum {
        /// Real number per unit of the accumulator.
        scale: Vec<f64>,
        /// What is added.
        bias: Vec<f64>,
    },
}

/// The greatest magnitude of codes that are worked with: 48 bits.
const LIMIT: i64 = 1 << 48;

/// The entry of a list of one, or of one per channel.
fn at<T: Copy>(list: &[T], channel: usize) -> T {
    list[if list.len() == 1 { 0 } else { channel }]
}

impl Base {
    /// The number of channels that it tells apart.
    pub fn channels(&self) -> usize {
        match self {
            Base::Codes { scale, zero } => scale.len().max(zero.len()),
            Base::Sum { scale, bias } => scale.len().max(bias.len()),
        }
    }
    /// The float of a code.
    pub fn value(&self, code: i64, channel: usize) -> f32 {
        match self {
            Base::Codes { scale, zero } => (code as f64 - at(zero, channel)) as f32 * at(scale, channel),
            Base::Sum { scale, bias } => (code as f64 * at(scale, channel) + at(bias, channel)) as f32,
        }
    }
    /// Scale and offset of the line that it is, `scale · code + offset`.
    pub fn line(&self, channel: usize) -> (f64, f64) {
        match self {
            Base::Codes { scale, zero } => {
                let scale = f64::from(at(scale, channel));
                (scale, -scale * at(zero, channel))
            }
            Base::Sum { scale, bias } => (at(scale, channel), at(bias, channel)),
        }
    }
    /// Scale and integer zero point, where all codes have the same: a sum too, whose bias is a multiple of its scale.
    pub fn plain(&self) -> Option<(f64, i64)> {
        let (scale, zero) = match self {
            Base::Codes { scale, zero } => match (&scale[..], &zero[..]) {
                ([scale], [zero]) => (f64::from(*scale), *zero),
                _ => return None,
            },
            Base::Sum { scale, bias } => match (&scale[..], &bias[..]) {
                ([scale], [bias]) => (*scale, -bias / scale),
                _ => return None,
            },
        };
        (zero.fract() == 0.0 && zero.abs() < 1e9).then_some((scale, zero as i64))
    }
}

/// What happens to the elements behind the base.
#[derive(Clone, Debug)]
pub enum Step {
    /// A function of each.
    Func(Func),
    /// A move of whole elements, or a maximum of several of them.
    Move(Op),
}

/// A float value as a function of an integer.
#[derive(Clone, Debug)]
pub struct Lattice {
    /// The integer value.
    pub code: ValueId,
    /// Its least and greatest code: one pair, or one per channel.
    pub range: Vec<(i64, i64)>,
    /// Whether the codes of a channel are all odd or all even, where that is known: sums of products of −1 and 1 are. One
    /// entry per channel, or none at all.
    pub odd: Vec<Option<bool>>,
    /// The first float.
    pub base: Base,
    /// What follows.
    pub steps: Vec<Step>,
    /// Whether base and steps are the source's own arithmetic to the last bit. Else the source rounds on the way.
    pub exact: bool,
    /// How far the base may be from the number that the source means, its roundings apart: what grids that are not exact do.
    pub off: f64,
}

/// Bits of the mantissa of a number: 1 for a power of two.
pub fn significant(v: f64) -> u32 {
    let mantissa = v.to_bits() << 12 >> 12 | u64::from(v.is_normal()) << 52;
    64 - mantissa.leading_zeros() - if mantissa == 0 { 0 } else { mantissa.trailing_zeros() }
}

/// Bits of the greatest magnitude of a range.
pub fn magnitude_bits((lo, hi): (i64, i64)) -> u32 {
    64 - lo.unsigned_abs().max(hi.unsigned_abs()).leading_zeros()
}

impl Lattice {
    /// What a base makes of a code, as the source does.
    pub fn new(code: ValueId, range: Vec<(i64, i64)>, base: Base) -> Self {
        Self { code, range, odd: Vec::new(), base, steps: Vec::new(), exact: true, off: 0.0 }
    }

    /// Least and greatest code of all channels.
    pub fn hull(&self) -> (i64, i64) {
        let hull = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        self.range.iter().copied().reduce(hull).unwrap_or((0, 0))
    }

    /// Whether the float of each code less its zero point is the exact product with the scale: nothing was rounded yet.
    pub fn products_are_exact(&self, scale: f64, zero: i64) -> bool {
        let (lo, hi) = self.hull();
        let bits = magnitude_bits((lo.saturating_sub(zero), hi.saturating_sub(zero)));
        self.exact && self.off == 0.0 && significant(scale) + bits <= f32::MANTISSA_DIGITS
    }

    /// Whether the value is the base's own.
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty()
    }

    /// The functions, in order, without the moves.
    pub fn funcs(&self) -> impl Iterator<Item = &Func> {
        self.steps.iter().filter_map(|s| match s {
            Step::Func(f) => Some(f),
            Step::Move(_) => None,
        })
    }

    /// Whether a channel keeps its place through the moves so far: functions behind may look at channels then.
    pub fn keeps_channels(&self) -> bool {
        let keeps = |op: &Op| matches!(op, Op::MaxPool(_) | Op::Upsample(_));
        self.steps.iter().all(|s| !matches!(s, Step::Move(op) if !keeps(op)))
    }

    /// The number of channels that base and functions tell apart.
    pub fn channels(&self) -> usize {
        let ranges = self.range.len().max(self.odd.len());
        self.funcs().map(Func::channels).fold(self.base.channels().max(ranges), usize::max)
    }

    /// Whether sums and differences of its codes, and their products with a zero point, fit 64 bits with room to spare.
    pub fn is_narrow(&self) -> bool {
        self.range.iter().all(|&(lo, hi)| lo >= -LIMIT && hi <= LIMIT)
    }

    /// Bits of a register that holds every code.
    pub fn bits(&self) -> u8 {
        let (lo, hi) = self.hull();
        IntType::covering(lo.min(0), hi.max(0)).width
    }

    /// The range of a channel.
    pub fn range_of(&self, channel: usize) -> (i64, i64) {
        at(&self.range, channel)
    }

    /// Whether a channel has a code in an interval, as far as that is known.
    pub fn meets(&self, channel: usize, (lo, hi): (i64, i64)) -> bool {
        match self.odd.get(channel) {
            Some(&Some(odd)) if lo == hi => (lo.rem_euclid(2) == 1) == odd,
            _ => lo <= hi,
        }
    }

    /// The trend of each channel in the code, where it is known without trying every code.
    pub fn trends(&self, funcs: &[&Func], channels: usize) -> Option<Vec<Trend>> {
        let mut trends: Vec<Trend> = (0..channels).map(|c| Trend::of_factor(self.base.line(c).0)).collect();
        for func in funcs {
            let next = func.trends()?;
            trends.iter_mut().enumerate().for_each(|(c, t)| *t = t.then(at(&next, c)));
        }
        Some(trends)
    }

    /// The trend of each channel as mathematics has it.
    pub fn expected_trends(&self, funcs: &[&Func], channels: usize) -> Option<Vec<Trend>> {
        let mut trends: Vec<Trend> = (0..channels).map(|c| Trend::of_factor(self.base.line(c).0)).collect();
        for func in funcs {
            let next = func.trends().or_else(|| func.expected_trend().map(|t| vec![t]))?;
            trends.iter_mut().enumerate().for_each(|(c, t)| *t = t.then(at(&next, c)));
        }
        Some(trends)
    }

    /// Whether the maxima among the moves may be taken of results: nothing behind one of them falls.
    pub fn maxima_commute(&self, last: &Func) -> bool {
        let mut behind = false;
        let mut funcs: Vec<&Func> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Move(Op::MaxPool(_)) => behind = true,
                Step::Func(f) if behind => funcs.push(f),
                _ => {}
            }
        }
        if !behind {
            return true;
        }
        funcs.push(last);
        let rises = |f: &&Func| f.trends().is_some_and(|t| t.iter().all(|t| *t == Trend::Rising));
        funcs.iter().all(rises)
    }

    /// Whether the maxima among the moves may be taken of the codes: nothing in front of them falls.
    pub fn maxima_of_codes(&self) -> bool {
        let rises = |t: Option<Vec<Trend>>| t.is_some_and(|t| t.iter().all(|t| *t == Trend::Rising));
        let channels = self.base.channels();
        if (0..channels).any(|c| self.base.line(c).0 < 0.0) {
            return false;
        }
        let last = self.steps.iter().rposition(|s| matches!(s, Step::Move(Op::MaxPool(_))));
        self.steps[..last.unwrap_or(0)].iter().all(|s| match s {
            Step::Func(f) => rises(f.trends()),
            Step::Move(_) => true,
        })
    }
}

/// The results of base, functions and quantizer for codes `[points, channels]`, row-major.
pub fn evaluate(base: &Base, funcs: &[&Func], channels: usize, codes: &[i64]) -> Option<Vec<i64>> {
    let first = codes.iter().enumerate().map(|(i, &q)| base.value(q, i % channels)).collect();
    let mut x = block(channels, first);
    for func in funcs {
        x = func.eval(x)?;
    }
    super::function::codes(&x)
}
