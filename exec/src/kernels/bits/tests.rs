//! Packing, and the counters against each other. Convolutions and poolings are held against the reference evaluator by the
//! tests of plans.

use super::super::Isa;
use super::count::{Counter, LANES, Sink};
use super::pack;

#[test]
fn codes_become_bits() {
    for channels in [1usize, 7, 8, 63, 64, 65, 130] {
        let codes: Vec<u8> = (0..3 * channels).map(|i| if i * i % 7 < 3 { 1 } else { 0xff }).collect();
        let per_pixel = channels.div_ceil(64);
        let mut bits = super::super::int::AlignedBytes::zeroed(3 * per_pixel * 8);
        pack(channels, &codes, &mut bits).unwrap();
        let words = super::words(&bits);
        for p in 0..3 {
            for c in 0..per_pixel * 64 {
                let bit = words[p * per_pixel + c / 64] >> (c % 64) & 1;
                let plus = c < channels && codes[p * channels + c] == 1;
                assert_eq!(bit == 1, plus, "pixel {p}, channel {c} of {channels}");
            }
        }
        assert!(pack(channels, &codes, &mut bits[8..]).is_err());
    }
}

#[test]
fn counters_agree() {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    for k in (1..40).chain([72, 128]) {
        let pixels: Vec<u64> = (0..3 * k).map(|i| if i % 5 == 0 { u64::MAX } else { next() }).collect();
        let weights: Vec<u64> = (0..2 * LANES * k).map(|i| if i % 5 == 1 { 0 } else { next() }).collect();
        for isa in Isa::available() {
            let mut counts = vec![0; 3 * 2 * LANES];
            let mut sink = Sink::Counts { to: &mut counts, stride: 2 * LANES };
            Counter::of(isa).run(k, &pixels, &weights, &mut sink);
            for (at, &n) in counts.iter().enumerate() {
                let (p, c) = (at / (2 * LANES), at % (2 * LANES));
                let weight = |i: usize| weights[(c / LANES * k + i) * LANES + c % LANES];
                let want: u32 = (0..k).map(|i| (pixels[p * k + i] ^ weight(i)).count_ones()).sum();
                assert_eq!(n, want, "{} words, {}", k, isa.name());
            }
        }
    }
}
