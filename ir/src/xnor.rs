//! Sums of products of −1 and +1 as XNOR and popcount: the numbers that every kernel on packed bits derives from weights.
//!
//! **In:** a window that slides over a map, and weights −1 and +1. **Out:** words of bits, the classes of border cells, and
//! what turns a number of differing bits into a sum or into the bit of a threshold.
//!
//! A bit of 1 is +1. P is the number of bits in which a patch and the weights differ. Cells outside of the map are 0, a
//! third value: their bits are 0, so they differ where the weight is +1, `pw` times. With `n` inputs that are there, the sum
//! is `n − 2 (P − pw)`. `n` and `pw` are the same for all cells of a border class, those that see the same taps.

use std::collections::BTreeMap;

/// Bits of a word.
pub const BITS: usize = 64;

/// The bits of at most [`BITS`] codes, the first one lowest: 1 where a code is above 0.
pub fn word(codes: &[i64]) -> u64 {
    codes.iter().rev().fold(0, |word, &code| word << 1 | u64::from(code > 0))
}

/// A window that slides over three spatial axes; those that a map lacks have one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sliding {
    /// Cells of the map.
    pub input: [usize; 3],
    /// Places of the window.
    pub output: [usize; 3],
    /// Taps.
    pub kernel: [usize; 3],
    /// Cells between neighbouring places.
    pub stride: [usize; 3],
    /// Cells between neighbouring taps.
    pub dilation: [usize; 3],
    /// Cells of padding in front.
    pub pad_begin: [usize; 3],
}

/// The taps that lie inside along an axis: the first, and how many.
pub type Taps = (usize, usize);

/// Which taps of a window lie inside of the map, for each of its places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Border {
    /// Along each axis, for each place, its kind.
    pub kinds: [Vec<u32>; 3],
    /// Along each axis, the taps of each kind.
    pub taps: [Vec<Taps>; 3],
}

impl Border {
    /// The border of a window's places.
    pub fn of(window: &Sliding) -> Border {
        let mut border = Border { kinds: Default::default(), taps: Default::default() };
        for axis in 0..3 {
            let (kinds, taps) = (&mut border.kinds[axis], &mut border.taps[axis]);
            let mut known = BTreeMap::new();
            for place in 0..window.output[axis] {
                let inside = inside(window, axis, place);
                kinds.push(*known.entry(inside).or_insert_with(|| {
                    taps.push(inside);
                    taps.len() as u32 - 1
                }));
            }
        }
        border
    }

    /// The number of classes: one for each kind along each axis.
    pub fn classes(&self) -> usize {
        self.taps.iter().fold(1, |n, taps| n.saturating_mul(taps.len()))
    }

    /// The class of a place.
    pub fn class(&self, place: [usize; 3]) -> usize {
        (0..3).fold(0, |class, axis| class * self.taps[axis].len() + self.kinds[axis][place[axis]] as usize)
    }

    /// The sum at P = 0 of each class and channel: what is there, twice the ones of the weights that lie outside, and the
    /// bias. `ones` has the number of ones of each channel and tap, whose kernel is that; a tap has `inputs` codes.
    pub fn bases(&self, kernel: [usize; 3], inputs: usize, ones: &[u32], bias: &[i64]) -> Vec<i64> {
        let [kd, kh, kw] = kernel;
        let within = |(first, count): Taps, at: usize| at >= first && at - first < count;
        let mut bases = Vec::with_capacity(self.classes() * bias.len());
        for &z in &self.taps[0] {
            for &y in &self.taps[1] {
                for &x in &self.taps[2] {
                    let present = (z.1 * y.1 * x.1 * inputs) as i64;
                    let outside: Vec<usize> = (0..kd * kh * kw)
                        .filter(|&at| {
                            !(within(z, at / (kh * kw)) && within(y, at / kw % kh) && within(x, at % kw))
                        })
                        .collect();
                    bases.extend(bias.iter().zip(ones.chunks_exact(kd * kh * kw)).map(|(bias, ones)| {
                        let padded: i64 = outside.iter().map(|&at| i64::from(ones[at])).sum();
                        present + 2 * padded + bias
                    }));
                }
            }
        }
        bases
    }
}

/// The greatest P whose sum `base − 2 P` is at least `threshold`; below 0 where none is. Sums have at most 32 bits.
pub fn limit(base: i64, threshold: i64) -> i64 {
    (base - threshold.clamp(-(1 << 40), 1 << 40)).div_euclid(2)
}

/// The taps inside the map along an axis for a place.
fn inside(window: &Sliding, axis: usize, place: usize) -> Taps {
    let (first, step) = (place * window.stride[axis], window.dilation[axis]);
    let before = |cell: usize| cell.saturating_sub(first).div_ceil(step).min(window.kernel[axis]);
    let pad = window.pad_begin[axis];
    let (from, to) = (before(pad), before(pad + window.input[axis]));
    (from, to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(input: usize, output: usize, kernel: usize, dilation: usize, pad: usize) -> Sliding {
        let only = |n| [1, 1, n];
        Sliding {
            input: only(input),
            output: only(output),
            kernel: only(kernel),
            stride: [1; 3],
            dilation: only(dilation),
            pad_begin: [0, 0, pad],
        }
    }

    #[test]
    fn the_first_code_is_the_lowest_bit() {
        assert_eq!(word(&[1, -1, -1, 1]), 0b1001);
        assert_eq!(word(&[1; 64]), u64::MAX);
        assert_eq!(word(&[]), 0);
    }

    #[test]
    fn border_classes_see_the_same_taps() {
        let border = Border::of(&line(5, 5, 3, 1, 1));
        assert_eq!(border.kinds[2], [0, 1, 1, 1, 2]);
        assert_eq!(border.taps[2], [(1, 2), (0, 3), (0, 2)]);
        assert_eq!((border.classes(), border.class([0, 0, 4])), (3, 2));
        // A kernel larger than the map, and taps that lie apart.
        let border = Border::of(&line(2, 2, 5, 1, 2));
        assert_eq!(border.taps[2], [(2, 2), (1, 2)]);
        let border = Border::of(&line(4, 4, 3, 2, 2));
        assert_eq!(border.taps[2], [(1, 2), (0, 2)]);
    }

    /// Every sum of a small convolution, and every threshold.
    #[test]
    fn bases_and_limits_give_sums_and_bits() {
        let (x, w) = ([1i64, -1, -1, 1, -1, 1], [1i64, 1, -1, -1, 1, 1]);
        let window = line(3, 3, 3, 1, 1);
        let border = Border::of(&window);
        let ones: Vec<u32> = w.chunks(2).map(|tap| word(tap).count_ones()).collect();
        let bases = border.bases(window.kernel, 2, &ones, &[5]);
        for place in 0..3usize {
            let (mut sum, mut differing) = (5, 0);
            for (tap, w) in w.chunks(2).enumerate() {
                let cell = (place + tap).checked_sub(1).filter(|&c| c < 3);
                let x = cell.map(|c| &x[2 * c..2 * c + 2]);
                sum += x.map_or(0, |x| x[0] * w[0] + x[1] * w[1]);
                differing += i64::from((x.map_or(0, word) ^ word(w)).count_ones());
            }
            let base = bases[border.class([0, 0, place])];
            assert_eq!(base - 2 * differing, sum);
            for t in -12..12 {
                assert_eq!(differing <= limit(base, t), sum >= t);
            }
            assert!(differing <= limit(base, i64::MIN) && limit(base, i64::MAX) < 0);
        }
    }
}
