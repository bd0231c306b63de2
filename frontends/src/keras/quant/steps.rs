//! Step functions whose levels lie on no line: powers of two, the µ-law, a bound that is no level.
//!
//! In: a function of a float that takes few values and turns at known places. Out: where it changes, found by
//! bisection over the floats themselves, so that the steps are where the function's own arithmetic has them.

use unfloat_ir::{ElemType, IntType};

use super::grid::{Back, Coder, Grid};

/// Most levels of a table.
pub(crate) const MAX_LEVELS: usize = 1 << 12;

/// A float's place in the order of all floats.
fn rank(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7fff_ffff);
    if x.is_sign_negative() { -bits } else { bits }
}

fn unrank(rank: i64) -> f32 {
    let magnitude = f32::from_bits(u32::try_from(rank.unsigned_abs()).unwrap_or(0));
    if rank < 0 { -magnitude } else { magnitude }
}

/// The grid of a step function that never turns between two of the `cuts`; `None` when it has too many steps.
pub(crate) fn table(cuts: &[f32], f: impl Fn(f32) -> f32) -> Option<Grid> {
    let most = rank(f32::MAX);
    let mut ends: Vec<i64> = cuts.iter().map(|cut| rank(*cut)).chain([most + 1]).collect();
    ends.sort_unstable();
    let mut at = rank(f32::MIN);
    let mut levels = vec![f(unrank(at))];
    let mut thresholds = Vec::new();
    for end in ends {
        while at < end {
            let value = f(unrank(at));
            if levels.last() != Some(&value) {
                levels.push(value);
                thresholds.push(unrank(at));
            }
            if levels.len() > MAX_LEVELS {
                return None;
            }
            // The first place in this segment with another value.
            let (mut low, mut high) = (at + 1, end);
            while low < high {
                let middle = low + (high - low) / 2;
                if f(unrank(middle)) == value { low = middle + 1 } else { high = middle }
            }
            at = low;
        }
    }
    let last = levels.len().saturating_sub(1) as i64;
    let coder =
        Coder::Count { to: ElemType::Int(IntType::covering(0, last.max(1))), thresholds, scale: 1, bias: 0 };
    Some(Grid { before: Vec::new(), coder, back: Back::Table(levels) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keras::quant::array::Array;

    #[test]
    fn steps_are_found_to_the_last_bit() {
        let f = |x: f32| {
            if x > 0.3 {
                2.0
            } else if x >= -1.0 {
                0.5
            } else {
                -7.0
            }
        };
        let grid = table(&[], f).unwrap();
        let x = vec![-1e30, (-1.0f32).next_down(), -1.0, -0.0, 0.0, 0.3, 0.3f32.next_up(), f32::MAX];
        let wanted: Vec<f32> = x.iter().map(|x| f(*x)).collect();
        let coded = grid.code(&Array { shape: vec![x.len()], values: x }).unwrap();
        assert_eq!(coded.values().unwrap(), wanted);
        assert_eq!(unrank(rank(-2.5)), -2.5);
        assert!(table(&[], |x| x).is_none());
    }

    #[test]
    fn a_function_may_turn_at_a_cut() {
        let grid = table(&[1.0], |x| {
            if x < 1.0 {
                3.0
            } else if x < 2.0 {
                1.0
            } else {
                3.0
            }
        })
        .unwrap();
        let array = Array { shape: vec![4], values: vec![0.0, 1.0, 1.5, 2.0] };
        assert_eq!(grid.code(&array).unwrap().values().unwrap(), [3.0, 1.0, 1.0, 3.0]);
    }
}
