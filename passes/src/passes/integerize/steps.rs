//! A function from integers to few integers, as the places where it changes: found, and proved, from its definition.
//!
//! In: a base, functions and a quantizer ([`evaluate`]), and the range of the codes. Out: for each channel, the result at
//! the least code and every code at which the result becomes another.
//!
//! Where the lattice has at most [`ENUMERATE`] points, each is evaluated. Beyond that the functions must be known to be
//! monotone in floating point ([`Func::trends`]); then the changes are found by bisection, all at once, and the function
//! is evaluated on both sides of each: what lies between is enclosed. A sigmoid and its like, which a mathematical library
//! computes, are monotone as functions, but their last bits need not be: there some thousand points more are evaluated, and
//! the certificate says so. Refused: longer lattices under other functions, and more than [`MAX_CHANGES`] changes.

use super::function::{Func, Trend};
use super::lattice::{Lattice, evaluate};
use crate::report::Proof;

/// The most points of a lattice, over all channels, that are evaluated one by one.
pub const ENUMERATE: usize = 1 << 21;
/// The most changes of one channel.
pub const MAX_CHANGES: i64 = 1 << 12;
/// The most changes that are looked for at a time, over all channels.
const MAX_SOUGHT: i64 = 1 << 22;
/// Points that are evaluated beside the changes of a function that is only expected to be monotone.
const SAMPLES: usize = 1 << 16;
/// Changes of a channel up to which each is searched for by itself.
const FEW: usize = 16;
/// Points evaluated at a time, and the fewest that are worth a thread.
const BLOCK: usize = 1 << 15;

/// A step function of one channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Steps {
    /// The least and the greatest argument.
    pub range: (i64, i64),
    /// The result at the least argument.
    pub first: i64,
    /// Each argument, rising, from which on the result is another, and that result.
    pub changes: Vec<(i64, i64)>,
}

impl Steps {
    /// The result for an argument within the range.
    pub fn value(&self, x: i64) -> i64 {
        match self.changes.partition_point(|&(at, _)| at <= x) {
            0 => self.first,
            n => self.changes[n - 1].1,
        }
    }
    /// The result at the greatest argument.
    pub fn last(&self) -> i64 {
        self.changes.last().map_or(self.first, |c| c.1)
    }
    /// Whether results only rise, or only fall, and which; a constant rises.
    pub fn trend(&self) -> Option<Trend> {
        let values = || [self.first].into_iter().chain(self.changes.iter().map(|c| c.1));
        let pairs = || values().zip(values().skip(1));
        if pairs().all(|(a, b)| a < b) {
            Some(Trend::Rising)
        } else {
            pairs().all(|(a, b)| a > b).then_some(Trend::Falling)
        }
    }
    /// The runs of arguments with one result: first and last argument, and the result.
    pub fn runs(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        let starts = [(self.range.0, self.first)].into_iter().chain(self.changes.iter().copied());
        let ends = self.changes.iter().map(|c| c.0 - 1).chain([self.range.1]);
        starts.zip(ends).map(|((from, value), to)| (from, to, value))
    }
}

/// By how many codes results change, at most, when the accumulator is off as far as the lattice says.
pub fn moved_by(steps: &[Steps], lattice: &Lattice) -> u64 {
    let most = |(c, s): (usize, &Steps)| {
        let units = (lattice.off / lattice.base.line(c).0.abs()).ceil();
        if units.is_nan() || units <= 0.0 {
            return 0;
        }
        let units = units.min(1e15) as i64;
        let near = |&(at, _): &(i64, i64)| {
            let [a, b] = [at - units, at + units].map(|x| s.value(x.clamp(s.range.0, s.range.1)));
            a.abs_diff(b)
        };
        s.changes.iter().map(near).max().unwrap_or(0)
    };
    steps.iter().enumerate().map(most).max().unwrap_or(0)
}

/// How a step function was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Lattice points that the argument covers.
    pub points: u64,
    /// The argument.
    pub proof: Proof,
}

/// The step function of each channel.
pub fn find(lattice: &Lattice, quantizer: &Func) -> Option<(Vec<Steps>, Effort)> {
    let funcs: Vec<&Func> = lattice.funcs().chain([quantizer]).collect();
    let channels = lattice.channels().max(quantizer.channels());
    let ranges: Vec<(i64, i64)> = (0..channels).map(|c| lattice.range_of(c)).collect();
    if ranges.iter().any(|r| r.0 > r.1) {
        return None;
    }
    let lengths =
        ranges.iter().map(|r| u64::try_from(i128::from(r.1) - i128::from(r.0) + 1).unwrap_or(u64::MAX));
    let points = lengths.clone().fold(0, u64::saturating_add);
    let longest = lengths.max().unwrap_or(0);
    let problem = Problem { lattice, funcs, channels, ranges };
    if longest.saturating_mul(channels as u64) <= ENUMERATE as u64 {
        return Some((problem.enumerate(longest)?, Effort { points, proof: Proof::Enumerated }));
    }
    let (trends, proof) = match lattice.trends(&problem.funcs, channels) {
        Some(trends) => (trends, Proof::Monotone),
        None => (lattice.expected_trends(&problem.funcs, channels)?, Proof::Library),
    };
    let found = problem.bisect(&trends)?;
    let sampled = proof == Proof::Monotone || problem.sampled(&found, longest);
    sampled.then_some((found, Effort { points, proof }))
}

struct Problem<'a> {
    lattice: &'a Lattice,
    funcs: Vec<&'a Func>,
    channels: usize,
    ranges: Vec<(i64, i64)>,
}

/// For each of some levels of each channel, arguments on both sides of where results first go beyond it. Whatever is looked
/// at, that at `below` is not beyond the level, that at `reached` is, if any is.
struct Search<'a> {
    problem: &'a Problem<'a>,
    first: &'a [i64],
    trends: &'a [Trend],
    level: Vec<i64>,
    below: Vec<i64>,
    reached: Vec<i64>,
}

impl<'a> Search<'a> {
    /// `first` are the results at the least arguments; `level` has rows of one for each channel.
    fn new(problem: &'a Problem<'a>, first: &'a [i64], trends: &'a [Trend], level: Vec<i64>) -> Self {
        let all = |f: fn(&(i64, i64)) -> i64| -> Vec<i64> {
            problem.ranges.iter().map(f).cycle().take(level.len()).collect()
        };
        Self { problem, first, trends, below: all(|r| r.0), reached: all(|r| r.1), level }
    }

    /// Looks at one argument for each.
    fn look(&mut self, at: &[i64]) -> Option<()> {
        for (i, y) in self.problem.evaluate(at)?.into_iter().enumerate() {
            let c = i % self.problem.channels;
            let far = if self.trends[c] == Trend::Rising { y - self.first[c] } else { self.first[c] - y };
            if far > self.level[i] {
                self.reached[i] = self.reached[i].min(at[i]);
            } else {
                self.below[i] = self.below[i].max(at[i]);
            }
        }
        Some(())
    }

    /// Goes on by halves until nothing lies between.
    fn finish(&mut self) -> Option<()> {
        while self.below.iter().zip(&self.reached).any(|(a, b)| b - a > 1) {
            let middle: Vec<i64> =
                self.below.iter().zip(&self.reached).map(|(a, b)| a + (b - a) / 2).collect();
            self.look(&middle)?;
        }
        Some(())
    }
}

impl Problem<'_> {
    /// The results at codes, rows of one for each channel. They do not depend on each other, so threads share the rows.
    fn evaluate(&self, codes: &[i64]) -> Option<Vec<i64>> {
        let one = |codes: &[i64]| evaluate(&self.lattice.base, &self.funcs, self.channels, codes);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(codes.len() / BLOCK);
        if threads < 2 {
            return one(codes);
        }
        let rows = (codes.len() / self.channels).div_ceil(threads);
        std::thread::scope(|scope| {
            let parts = codes.chunks(rows * self.channels).map(|part| scope.spawn(move || one(part)));
            // All run before the first is waited for.
            let parts: Vec<_> = parts.collect();
            let mut all = Vec::with_capacity(codes.len());
            for part in parts {
                all.extend(part.join().ok()??);
            }
            Some(all)
        })
    }

    /// Every point of every channel; channels with a shorter range repeat their last one.
    fn enumerate(&self, longest: u64) -> Option<Vec<Steps>> {
        let mut found: Vec<Option<Steps>> = vec![None; self.channels];
        let rows = BLOCK / self.channels.clamp(1, BLOCK);
        let mut from = 0i64;
        while (from as u64) < longest {
            let to = (from + rows as i64).min(longest as i64);
            let row = |i: i64| self.ranges.iter().map(move |r| r.0.saturating_add(i).min(r.1));
            let codes: Vec<i64> = (from..to).flat_map(row).collect();
            for (i, y) in self.evaluate(&codes)?.into_iter().enumerate() {
                let (x, c) = (codes[i], i % self.channels);
                let steps = found[c].get_or_insert_with(|| Steps {
                    range: self.ranges[c],
                    first: y,
                    changes: Vec::new(),
                });
                if steps.last() != y {
                    steps.changes.push((x, y));
                }
                if steps.changes.len() as i64 > MAX_CHANGES {
                    return None;
                }
            }
            from = to;
        }
        found.into_iter().collect()
    }

    /// The changes of monotone functions: of each result between the two ends, the first argument that reaches it.
    fn bisect(&self, trends: &[Trend]) -> Option<Vec<Steps>> {
        let ends: Vec<i64> = self.ranges.iter().map(|r| r.0).chain(self.ranges.iter().map(|r| r.1)).collect();
        let ends = self.evaluate(&ends)?;
        let (first, last) = ends.split_at(self.channels);
        let levels = |c: usize| (last[c] - first[c]).abs();
        let most = (0..self.channels).map(levels).max().unwrap_or(0);
        if most > MAX_CHANGES || most.saturating_mul(self.channels as i64) > MAX_SOUGHT {
            return None;
        }
        // Row `k` of a channel looks for the first argument whose result is at least `k + 1` levels from the first.
        let rows = most as usize;
        let level = (0..rows).flat_map(|k| vec![k as i64; self.channels]).collect();
        let mut all = Search::new(self, first, trends, level);
        if rows > FEW {
            // Steps lie nearly evenly behind a quantizer: between the first and the last, a line tells where to look.
            let outermost = (0..self.channels).map(|_| 0).chain((0..self.channels).map(|c| levels(c) - 1));
            let mut ends = Search::new(self, first, trends, outermost.collect());
            ends.finish()?;
            for side in [-1, 1] {
                let near = |i: usize| {
                    let (k, c) = ((i / self.channels) as i64, i % self.channels);
                    let (a, b) = (ends.reached[c], ends.reached[self.channels + c]);
                    let n = i128::from((levels(c) - 1).max(1));
                    let step = (i128::from(b) - i128::from(a)) / n;
                    let at = i128::from(a) + (i128::from(b) - i128::from(a)) * i128::from(k) / n;
                    let (lo, hi) = self.ranges[c];
                    (at + side * (2 + step / 256)).clamp(lo.into(), hi.into()) as i64
                };
                let at: Vec<i64> = (0..rows * self.channels).map(near).collect();
                all.look(&at)?;
            }
        }
        all.finish()?;
        let reached = all.reached;
        let mut found = Vec::with_capacity(self.channels);
        let values = self.evaluate(&reached)?;
        for c in 0..self.channels {
            let mut steps = Steps { range: self.ranges[c], first: first[c], changes: Vec::new() };
            for k in 0..levels(c) as usize {
                let i = k * self.channels + c;
                if steps.changes.last().is_none_or(|l| l.0 != reached[i]) {
                    steps.changes.push((reached[i], values[i]));
                }
            }
            found.push(steps);
        }
        self.check(&found, last).then_some(found)
    }

    /// Evaluates some thousand points between: a function that is not monotone after all would show.
    fn sampled(&self, found: &[Steps], longest: u64) -> bool {
        let rows = (SAMPLES / self.channels.max(1)).max(64) as u64;
        let step = (longest / rows).max(1);
        let row = |k: u64| self.ranges.iter().map(move |r| r.0.saturating_add((k * step) as i64).min(r.1));
        let codes: Vec<i64> = (0..rows).flat_map(row).collect();
        let Some(y) = self.evaluate(&codes) else { return false };
        codes.iter().zip(y).enumerate().all(|(i, (&x, y))| found[i % self.channels].value(x) == y)
    }

    /// Evaluates both sides of every change again, in one block: the function says so itself.
    fn check(&self, found: &[Steps], last: &[i64]) -> bool {
        let rows = found.iter().map(|s| s.changes.len()).max().unwrap_or(0);
        let side = |shift: i64| -> Vec<i64> {
            let at = |k: usize, s: &Steps| s.changes.get(k).map_or(s.range.1, |c| c.0 + shift);
            (0..rows).flat_map(|k| found.iter().map(move |s| at(k, s))).collect()
        };
        let right = |codes: Vec<i64>| {
            let Some(y) = self.evaluate(&codes) else { return false };
            codes.iter().zip(y).enumerate().all(|(i, (&x, y))| found[i % self.channels].value(x) == y)
        };
        found.iter().zip(last).all(|(s, &last)| s.last() == last) && right(side(-1)) && right(side(0))
    }
}
