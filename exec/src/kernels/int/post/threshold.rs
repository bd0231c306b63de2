//! Thresholds: how many of them a sum reaches.
//!
//! In: the thresholds of each channel, and the range that its sums can have. Out: `bias + scale · number`. Few thresholds
//! are compared one after another; many are found from an estimate where they lie evenly ([`Estimate`]), else by halves.

use super::{LANES, Levels, WRITTEN_OUT};
use std::sync::Arc;
use unfloat_ir::staircase::Estimate;

/// Most thresholds that are compared one after another.
const FEW: usize = 16;

/// Thresholds, from the row of the first channel on.
#[derive(Clone, Debug)]
pub(super) struct Thresholds {
    table: Arc<Levels>,
    first: usize,
    pub count: usize,
    pub scale: i64,
    pub bias: i64,
    /// For each [`LANES`] channels and each threshold, the greatest sum that does not reach it; empty where 32 bits do
    /// not hold them, or they are many.
    pub below: Vec<i32>,
    /// Where they are many.
    pub even: Option<Even>,
}

/// Many thresholds whose number is estimated. What is there for each channel is there for whole vectors of them.
#[derive(Clone, Debug)]
pub(super) struct Even {
    estimates: Vec<Estimate>,
    pub low: Vec<i32>,
    pub high: Vec<i32>,
    pub up: Vec<i32>,
    pub multiplier: Vec<i32>,
    pub addend: Vec<i32>,
    /// That of all channels.
    pub slack: i32,
    /// The place in `below` of a channel's first threshold.
    pub row: Vec<i32>,
    /// The greatest sum that does not reach a threshold, channel by channel; behind each channel's last, one that every sum
    /// stays below. Sums are clamped before: the lower estimate for any sum, in the range or not, is an index.
    pub below: Vec<i32>,
}

impl Thresholds {
    pub fn new(
        table: Arc<Levels>,
        first: usize,
        (scale, bias): (i64, i64),
        ranges: &[(i128, i128)],
    ) -> Thresholds {
        let count = table.count;
        let mut found = Thresholds { table, first, count, scale, bias, below: Vec::new(), even: None };
        let small = |v: i64| i32::try_from(v).is_ok();
        let narrow = ranges.iter().all(|r| r.0 > i32::MIN.into() && r.1 < i32::MAX.into());
        // One row for all is written out for each channel; that must not grow far beyond the row.
        let modest = found.table.rows != 1 || ranges.len().saturating_mul(count) <= WRITTEN_OUT;
        if !narrow || !modest || !small(scale.saturating_mul(count as i64)) || !small(bias) {
            return found;
        }
        if count > FEW {
            let rows: Vec<&[i64]> = (0..ranges.len()).map(|c| found.table.row(first + c)).collect();
            found.even = Even::new(&rows, count, ranges);
            return found;
        }
        found.below = vec![i32::MAX; ranges.len().next_multiple_of(2 * LANES) * count];
        for (c, &range) in ranges.iter().enumerate() {
            for (k, &t) in found.table.row(first + c).iter().enumerate() {
                found.below[(c / LANES * count + k) * LANES + c % LANES] = below(t, range);
            }
        }
        found
    }

    /// The code for a sum within the range of the channel.
    #[inline]
    pub fn code(&self, channel: usize, x: i64) -> i64 {
        let row = self.table.row(self.first + channel);
        let reached = match &self.even {
            Some(even) => {
                let (least, most) = even.estimates[channel].bounds(x as i32);
                let more = least != most && row.get(least as usize).is_some_and(|&t| t <= x);
                least as usize + usize::from(more)
            }
            None => row.partition_point(|&t| t <= x),
        };
        self.bias + self.scale * reached as i64
    }
}

/// The greatest sum that does not reach a threshold: what no sum reaches, and what every sum reaches, may move to the bounds,
/// which leave room in 32 bits.
fn below(threshold: i64, (lo, hi): (i128, i128)) -> i32 {
    (i128::from(threshold).clamp(lo, hi + 1) - 1) as i32
}

impl Even {
    /// Nothing where the thresholds of a channel lie too unevenly.
    fn new(table: &[&[i64]], count: usize, ranges: &[(i128, i128)]) -> Option<Even> {
        let rows = || table.iter().copied().zip(ranges);
        let estimates: Vec<Estimate> =
            rows().map(|(row, &range)| Estimate::of(row, range)).collect::<Option<_>>()?;
        i32::try_from((count + 1).checked_mul(ranges.len())?).ok()?;
        let lanes = ranges.len().next_multiple_of(2 * LANES);
        let each = |f: &dyn Fn(usize, &Estimate) -> i32| -> Vec<i32> {
            let mut all: Vec<i32> = estimates.iter().enumerate().map(|(c, e)| f(c, e)).collect();
            all.resize(lanes, 0);
            all
        };
        Some(Even {
            low: each(&|_, e| e.low),
            high: each(&|_, e| e.high),
            up: each(&|_, e| e.up.into()),
            multiplier: each(&|_, e| e.multiplier),
            addend: each(&|_, e| e.addend),
            slack: estimates.iter().map(|e| e.slack).max().unwrap_or(0),
            row: each(&|c, _| (c * (count + 1)) as i32),
            below: rows()
                .flat_map(|(row, &range)| row.iter().map(move |&t| below(t, range)).chain([i32::MAX]))
                .collect(),
            estimates,
        })
    }
}
