//! What happens to sums, against the ops' own definitions.

use super::super::{AlignedBytes, Levels, Map, Post, PostSpec, Word, bytes_of, view};
use super::{Random, codes};
use crate::kernels::Isa;
use std::sync::Arc;
use unfloat_ir::ops::Requantize;
use unfloat_ir::{IntType, Overflow, Rounding};

/// Runs rows of sums through a post and compares with `want(channel, sum)`.
#[track_caller]
fn check(
    spec: &PostSpec,
    ranges: &[(i128, i128)],
    sums: &[i32],
    out: Word,
    want: impl Fn(usize, i64) -> i64,
) {
    let channels = ranges.len();
    for isa in Isa::available() {
        let post = Post::new(isa, spec, ranges, out).unwrap();
        let mut found = AlignedBytes::zeroed(sums.len() * out.bytes());
        post.run(Word::I32, bytes_of(sums), &mut found).unwrap();
        for (i, found) in codes(out, &found).into_iter().enumerate() {
            let x = sums[i].into();
            assert_eq!(found, want(i % channels, x), "{}: channel {}, sum {x}", isa.name(), i % channels);
        }
        // The same sums as 64-bit numbers.
        let wide: Vec<i64> = sums.iter().map(|&x| x.into()).collect();
        let mut again = AlignedBytes::zeroed(sums.len() * out.bytes());
        post.run(Word::I64, bytes_of(&wide), &mut again).unwrap();
        assert_eq!(found[..], again[..], "{}", isa.name());
    }
}

/// Every sum of a range, each through every channel: all modes, shifts at both ends, negative multipliers.
#[test]
fn requantization_of_every_sum_of_a_range() {
    let channels = 19;
    let (lo, hi) = (-700i64, 700i64);
    let mut r = Random::new(1);
    for rounding in Rounding::ALL {
        for overflow in Overflow::ALL {
            for to in [IntType::unsigned(8), IntType::signed(8), IntType::signed(3), IntType::signed(16)] {
                let op = Requantize { to, rounding, overflow, narrow: false };
                let mut all = (Vec::new(), Vec::new(), Vec::new());
                for c in 0..channels {
                    let shift = [0, 1, 2, 5, 31, 32, 33, 40, 62, 63][c % 10];
                    // The product takes about ten bits more than the shift, so that results are of all kinds.
                    let most = 1i64 << (shift as i64 - 2).clamp(1, 52);
                    all.0.push(if c == 3 { 0 } else { r.int(-most, most) });
                    all.1.push(r.int(-most, most) * r.int(0, 3));
                    all.2.push(shift);
                }
                let (multiplier, addend, shift) = all.clone();
                let map = Map::Requantize { op: op.clone(), multiplier, addend, shift };
                let (before, after) = r.pick(&[
                    ((i64::MIN, i64::MAX), (i64::MIN, i64::MAX)),
                    ((0, i64::MAX), (i64::MIN, 100)),
                    ((-300, 200), (0, i64::MAX)),
                ]);
                let spec = PostSpec { before, map, after };
                let sums: Vec<i32> = (lo..=hi).flat_map(|x| (0..channels).map(move |_| x as i32)).collect();
                let out = Word::holding(to.min().into(), to.max().into());
                check(&spec, &vec![(lo.into(), hi.into()); channels], &sums, out, |c, x| {
                    let y = op.apply(x.clamp(before.0, before.1), all.0[c], all.1[c], all.2[c]);
                    y.clamp(after.0, after.1)
                });
            }
        }
    }
}

/// Sums at the ends of 32 bits, with the greatest multipliers whose products fit 64 bits, and greater ones.
#[test]
fn requantization_at_the_limits() {
    let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
    let range = (i128::from(i32::MIN), i128::from(i32::MAX));
    let m = i64::from(i32::MAX);
    for rounding in Rounding::ALL {
        for (multiplier, addend, shift) in [
            (m, 0, 54),
            (-m - 1, 1 << 54, 55),
            (m, i64::MAX, 63),
            (i64::MAX, i64::MIN, 63),
            (i64::MIN, i64::MAX, 0),
            (1 << 33, -(1 << 40), 57),
            (1, 0, 24),
            (-1, 1 << 23, 24),
            (0, 1 << 40, 41),
            (0, 0, 63),
        ] {
            let op =
                Requantize { to: IntType::signed(8), rounding, overflow: Overflow::Saturate, narrow: true };
            let map = Map::Requantize {
                op: op.clone(),
                multiplier: vec![multiplier; 3],
                addend: vec![addend; 3],
                shift: vec![shift; 3],
            };
            let spec = PostSpec { map, ..PostSpec::default() };
            let sums: Vec<i32> = ends.iter().flat_map(|&x| [x; 3]).collect();
            check(&spec, &[range; 3], &sums, Word::I8, |_, x| op.apply(x, multiplier, addend, shift));
        }
    }
}

/// Whether a tie can be reached is found by arithmetic: only one sum of a wide range is one.
#[test]
fn a_single_tie_is_found() {
    for tie in [-7_654_321i64, 12_345, 1_000_001] {
        // (x · m + a) is half of 2^36 modulo 2^36 at x = tie alone, m being odd.
        let (m, shift) = (0x5_4321_0007i64 & 0x7fff_ffff | 1, 36u8);
        let addend = (1i64 << 35) - tie * m;
        for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfDown, Rounding::HalfCeil] {
            let op =
                Requantize { to: IntType::signed(24), rounding, overflow: Overflow::Saturate, narrow: false };
            let map = Map::Requantize {
                op: op.clone(),
                multiplier: vec![m],
                addend: vec![addend],
                shift: vec![shift],
            };
            let spec = PostSpec { map, ..PostSpec::default() };
            let sums: Vec<i32> = (-3..=3).map(|d| tie as i32 + d).collect();
            let ranges = [(-10_000_000, 10_000_000)];
            check(&spec, &ranges, &sums, Word::I32, |_, x| op.apply(x, m, addend, shift));
        }
    }
}

/// A tie whose 63 bits are all 0: the greatest shift.
#[test]
fn a_tie_at_the_greatest_shift() {
    for rounding in Rounding::ALL {
        let op = Requantize { to: IntType::signed(8), rounding, overflow: Overflow::Saturate, narrow: false };
        let (m, shift) = (1i64 << 62, 63);
        let map =
            Map::Requantize { op: op.clone(), multiplier: vec![m], addend: vec![0], shift: vec![shift] };
        let spec = PostSpec { map, ..PostSpec::default() };
        check(&spec, &[(-1, 0)], &[-1, 0], Word::I8, |_, x| op.apply(x, m, 0, shift));
    }
}

#[test]
fn thresholds_at_and_beside_every_one() {
    let mut r = Random::new(5);
    for (count, scale, bias) in [(1, 2, -1), (3, -1, 3), (15, 1, 0), (16, 1, -8), (255, 1, 0), (0, 1, 5)] {
        let channels = 11;
        let row = |r: &mut Random| (0..count).map(|_| r.int(-400, 400) * r.pick(&[1, 1, 1 << 40])).collect();
        let table: Vec<Vec<i64>> = (0..channels).map(|_| row(&mut r)).collect();
        let levels = Arc::new(Levels::new(table.concat(), channels, count).unwrap());
        let shared = Arc::new(Levels::new(table[0].clone(), 1, count).unwrap());
        let map = Map::Threshold { table: levels, first: 0, scale, bias };
        let spec = PostSpec { map, ..PostSpec::default() };
        for range in [(-405, 405), (i32::MIN.into(), i32::MAX.into())] {
            let sums: Vec<i32> = (-405..=405).flat_map(|x| (0..channels).map(move |_| x)).collect();
            check(&spec, &vec![range; channels], &sums, Word::I16, |c, x| {
                bias + scale * table[c].iter().filter(|&&t| x >= t).count() as i64
            });
            // The last channels alone, and one row for all.
            let last = PostSpec { map: spec.map.of(channels - 2..channels), ..PostSpec::default() };
            let sums: Vec<i32> = (-405..=405).flat_map(|x| [x; 2]).collect();
            check(&last, &[range; 2], &sums, Word::I16, |c, x| {
                bias + scale * table[channels - 2 + c].iter().filter(|&&t| x >= t).count() as i64
            });
            let map = Map::Threshold { table: shared.clone(), first: 0, scale, bias };
            check(&PostSpec { map, ..PostSpec::default() }, &[range; 2], &sums, Word::I16, |_, x| {
                bias + scale * table[0].iter().filter(|&&t| x >= t).count() as i64
            });
        }
    }
}

/// As behind a quantizer: nearly even, of other slopes, some out of reach of the sums; and two channels that are not even.
#[test]
fn many_thresholds_that_lie_evenly() {
    let mut r = Random::new(6);
    for (count, uneven, scale, bias) in
        [(255, false, 1, 0), (255, true, 1, 0), (100, false, -2, 7), (17, false, 1, 3)]
    {
        let channels = 21i64;
        let row = |r: &mut Random, c: i64| -> Vec<i64> {
            let (start, step) = (r.int(-9000, 100), 3 + c * 17);
            let at = |k: i64| if uneven && c > 18 { k * k } else { k * step };
            (0..count).map(|k| start + at(k) + r.int(0, 1)).collect()
        };
        let table: Vec<Vec<i64>> = (0..channels).map(|c| row(&mut r, c)).collect();
        let levels = Levels::new(table.concat(), channels as usize, count as usize).unwrap();
        let map = Map::Threshold { table: Arc::new(levels), first: 0, scale, bias };
        let spec = PostSpec { map, ..PostSpec::default() };
        let sums: Vec<i32> = (-10_005..=10_005).flat_map(|x| (0..channels).map(move |_| x)).collect();
        check(&spec, &vec![(-10_005, 10_005); channels as usize], &sums, Word::I16, |c, x| {
            bias + scale * table[c].partition_point(|&t| x >= t) as i64
        });
    }
}

#[test]
fn parameters_for_other_channels_are_refused() {
    let op = Requantize {
        to: IntType::signed(8),
        rounding: Rounding::Floor,
        overflow: Overflow::Saturate,
        narrow: false,
    };
    let map = Map::Requantize { op, multiplier: vec![1; 2], addend: vec![0; 3], shift: vec![0; 3] };
    let spec = PostSpec { map, ..PostSpec::default() };
    assert!(Post::new(Isa::portable(), &spec, &[(0, 1); 3], Word::I8).is_err());
    assert!(Levels::new(vec![0; 5], 2, 3).is_err());
    let table = Arc::new(Levels::new(vec![0; 4], 2, 2).unwrap());
    let spec = PostSpec { map: Map::Threshold { table, first: 0, scale: 1, bias: 0 }, ..PostSpec::default() };
    assert!(Post::new(Isa::portable(), &spec, &[(0, 1); 3], Word::I8).is_err());
    let post = Post::new(Isa::portable(), &PostSpec::default(), &[(0, 1); 3], Word::I8).unwrap();
    assert!(post.run(Word::I32, &[0; 16], &mut [0; 4]).is_err());
    assert!(view::<i64>(&AlignedBytes::zeroed(12)).is_empty());
}
