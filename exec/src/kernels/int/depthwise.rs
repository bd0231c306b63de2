//! Depthwise convolution of integers: each output channel sees one input channel, so vectors run over channels.
//!
//! In: staged numbers whose channels are those of the output; sums that fit 32 bits. Out: codes.

use super::super::isa::{Isa, Level};
use super::super::tile::split;
use super::post::{LANES, Post, Rows as Codes};
use super::product::Rows;

/// Channels that go together.
const WIDTH: usize = 2 * LANES;

/// Pixels that go together.
const PIXELS: usize = 8;

/// One weight for each tap and channel.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    isa: Isa,
    taps: Vec<usize>,
    /// For each [`WIDTH`] channels, for each tap, their weights.
    weights: Vec<[i16; WIDTH]>,
    start: Vec<[i32; WIDTH]>,
    post: Post,
}

impl Depthwise {
    /// Packs `weights` [out, taps]; nothing where they have more than 16 bits.
    pub fn new(isa: Isa, weights: &[i64], start: &[i64], taps: &[usize], post: Post) -> Option<Depthwise> {
        let groups = post.channels().div_ceil(WIDTH);
        let mut packed = vec![[0; WIDTH]; groups * taps.len()];
        let mut sums = vec![[0; WIDTH]; groups];
        for (c, &bias) in start.iter().enumerate() {
            sums[c / WIDTH][c % WIDTH] = bias as i32;
            for t in 0..taps.len() {
                packed[c / WIDTH * taps.len() + t][c % WIDTH] =
                    i16::try_from(weights[c * taps.len() + t]).ok()?;
            }
        }
        Some(Depthwise { isa, taps: taps.to_vec(), weights: packed, start: sums, post })
    }

    /// Computes all outputs of all pixels; as [`super::product::Product::run`].
    pub fn run(&self, rows: Rows, a: &[i16], out: &mut [u8]) {
        for (g, (start, weights)) in
            self.start.iter().zip(self.weights.chunks(self.taps.len().max(1))).enumerate()
        {
            let first = g * WIDTH;
            for i1 in 0..rows.outer[1].0 {
                for i0 in 0..rows.outer[0].0 {
                    let a0 = i1 * rows.outer[1].1 + i0 * rows.outer[0].1 + first;
                    let c0 = (i1 * rows.outer[0].0 + i0) * rows.pixels * rows.c_stride + first;
                    for (pixel, count) in split(rows.pixels, PIXELS) {
                        let mut sums = [[0; WIDTH]; PIXELS];
                        let from = (a0 + pixel * rows.a_stride, rows.a_stride);
                        self.sums(&mut sums[..count], (start, weights), a, from);
                        let to = Codes {
                            rows: count,
                            width: WIDTH,
                            cols: WIDTH.min(self.post.channels() - first),
                            first,
                            at: c0 + pixel * rows.c_stride,
                            stride: rows.c_stride,
                        };
                        self.post.run32(sums.as_flattened(), to, out);
                    }
                }
            }
        }
    }

    /// The sums of some pixels, `from.1` apart from `from.0` on.
    fn sums(
        &self,
        sums: &mut [[i32; WIDTH]],
        of: (&[i32; WIDTH], &[[i16; WIDTH]]),
        a: &[i16],
        from: (usize, usize),
    ) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2(
            sums: &mut [[i32; WIDTH]],
            of: (&[i32; WIDTH], &[[i16; WIDTH]]),
            taps: &[usize],
            a: &[i16],
            from: (usize, usize),
        ) {
            sums_of(sums, of, taps, a, from)
        }
        match self.isa.level() {
            // SAFETY: an instruction set exists only where the machine has it.
            #[cfg(target_arch = "x86_64")]
            Level::Vnni | Level::Avx512 | Level::Avx2 => unsafe { avx2(sums, of, &self.taps, a, from) },
            Level::Portable => sums_of(sums, of, &self.taps, a, from),
        }
    }
}

#[inline(always)]
fn sums_of(
    sums: &mut [[i32; WIDTH]],
    (start, weights): (&[i32; WIDTH], &[[i16; WIDTH]]),
    taps: &[usize],
    a: &[i16],
    (begin, stride): (usize, usize),
) {
    for (m, sums) in sums.iter_mut().enumerate() {
        let a = &a[begin + m * stride..];
        let mut acc = *start;
        for (w, &tap) in weights.iter().zip(taps) {
            let x: &[i16; WIDTH] = a[tap..].first_chunk().expect("staged numbers behind the last");
            for (acc, (&x, &w)) in acc.iter_mut().zip(x.iter().zip(w)) {
                *acc = acc.wrapping_add(i32::from(x) * i32::from(w));
            }
        }
        *sums = acc;
    }
}
