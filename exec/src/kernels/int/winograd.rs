//! Convolution of 3 by 3 taps in Winograd's form F(2 × 2, 3 × 3) (Lavin and Gray, 2016), in whole numbers: four outputs of
//! a channel take 16 products with each input channel instead of 36.
//!
//! With the 4 × 4 inputs `d` of a tile and the taps `g`, `4 · Y = Aᵀ[(2G) g (2G)ᵀ ⊙ Bᵀ d B]A`, where 2G has no fractions. All of
//! it is exact: transformed inputs and taps fit 16 bits, sums wrap at 32, and four times the true sum fits those.
//! In: staged numbers, not moved by an offset. Out: codes. Refused (nothing is built): any other shape, channels that are
//! no whole vectors, and numbers for which the above does not hold.

use super::super::error::KernelError;
use super::super::isa::{Isa, Level};
use super::conv::ConvSpec;
use super::post::{LANES, Post, PostSpec, Rows as Codes};
use super::product::{Matrix, PANEL, Product};
use super::stage::Stage;
use super::word::{Word, view_mut};

/// Inputs that a vector holds.
const WIDTH: usize = 2 * LANES;
/// Products of a tile.
const POINTS: usize = 16;
/// Tiles that are multiplied together, about: as many as keep the weights busy and the second-level cache unfilled.
const TILES: usize = 12;

/// A convolution of that form.
#[derive(Clone, Debug)]
pub(crate) struct Winograd {
    isa: Isa,
    /// The matrix of each point, [out, in].
    products: Vec<Product>,
    start: Vec<i32>,
    post: Post,
    channels: [usize; 2],
    /// Rows and columns of the staged input, and of the sums.
    input: [usize; 2],
    output: [usize; 2],
    /// Whether the greatest sum of each tile goes out alone: a pooling over 2 × 2.
    pooled: bool,
}

/// Whether the numbers and the shape of a convolution suit.
pub(crate) fn suits(spec: &ConvSpec, output: [usize; 3]) -> bool {
    let s = spec.shape;
    let plain = s.kernel == [1, 3, 3]
        && s.stride == [1; 3]
        && s.dilation == [1; 3]
        && s.groups == 1
        && output[0] == 1;
    let whole = s.in_channels.is_multiple_of(WIDTH) && s.out_channels.is_multiple_of(WIDTH);
    let most = |all: &mut dyn Iterator<Item = i64>| all.map(i64::unsigned_abs).max().unwrap_or(0);
    let (lo, hi) = spec.input.1;
    // Inputs are added up to four at a time, taps up to nine.
    let small = most(&mut [lo, hi].into_iter()) <= i16::MAX as u64 / 4
        && most(&mut spec.weights.iter().copied()) <= i16::MAX as u64 / 9;
    let room = |(sum, bias): (&(i128, i128), &i64)| {
        let most = sum.0.unsigned_abs().max(sum.1.unsigned_abs()) + u128::from(bias.unsigned_abs());
        most < 1 << 29
    };
    plain && whole && small && output[1] * output[2] >= POINTS && spec.sums.iter().zip(spec.bias).all(room)
}

impl Winograd {
    /// A convolution that [`suits`].
    pub fn new(
        isa: Isa,
        spec: &ConvSpec,
        stage: &Stage,
        output: [usize; 3],
    ) -> Result<Option<Winograd>, KernelError> {
        let (ci, co) = (spec.shape.in_channels, spec.shape.out_channels);
        let points = transformed(spec.weights, ci, co);
        let mut products = Vec::with_capacity(POINTS);
        for weights in &points {
            let matrix = Matrix {
                weights,
                runs: &[(0, ci)],
                start: &vec![0; co],
                inputs: (i16::MIN.into(), i16::MAX.into()),
                // They wrap.
                fits: true,
                quads: false,
            };
            // Never asked: sums are taken as they are.
            let keep = Post::new(isa, &PostSpec::default(), spec.sums, Word::I32)?;
            let Some(product) = Product::new(isa, &matrix, keep) else { return Ok(None) };
            products.push(product);
        }
        let [_, height, width] = stage.extents();
        Ok(Some(Winograd {
            isa,
            products,
            // Biases of 29 bits, see `suits`.
            start: spec.bias.iter().map(|&b| b as i32).collect(),
            post: Post::new(isa, spec.post, spec.sums, spec.out)?,
            channels: [ci, co],
            input: [height, width],
            // What is not pooled is not wanted.
            output: [output[1], output[2]].map(|n| if spec.pooled { n / 2 * 2 } else { n }),
            pooled: spec.pooled,
        }))
    }

    /// Rows and columns of tiles, and rows that go together.
    fn tiles(&self) -> (usize, usize, usize) {
        let [rows, columns] = self.output.map(|n| n.div_ceil(2));
        (rows, columns, TILES.div_ceil(columns).min(rows))
    }

    /// Numbers of 32 bits that the transformed inputs, the products, and the sums of a row of tiles take.
    fn parts(&self) -> [usize; 3] {
        let (_, columns, together) = self.tiles();
        let tiles = POINTS * together * columns;
        let outputs = if self.pooled { 1 } else { 4 };
        [tiles * self.channels[0] / 2, tiles * self.channels[1], outputs * columns * self.channels[1]]
    }

    /// Bytes of scratch memory that [`Winograd::run`] needs, wherever they begin.
    pub fn scratch_len(&self) -> usize {
        self.parts().iter().sum::<usize>() * 4 + 64
    }

    /// Convolves one staged sample.
    pub fn run(&self, x: &[i16], out: &mut [u8], scratch: &mut [u8]) {
        let skip = scratch.as_ptr().align_offset(64).min(64);
        let [inputs, products, sums] = self.parts();
        let (v, rest) = scratch[skip..].split_at_mut(inputs * 4);
        let (m, rest) = rest.split_at_mut(products * 4);
        let (v, m, sums) = (view_mut::<i16>(v), view_mut::<i32>(m), view_mut::<i32>(&mut rest[..sums * 4]));
        let (rows, columns, together) = self.tiles();
        let [ci, co] = self.channels;
        for first in (0..rows).step_by(together) {
            let count = together.min(rows - first);
            let tiles = count * columns;
            for t in 0..tiles {
                self.forward(x, [first + t / columns, t % columns], &mut v[t * ci..], tiles * ci);
            }
            let (v, m) = (&v[..POINTS * tiles * ci], &mut m[..POINTS * tiles * co]);
            let points = v.chunks_exact(tiles * ci).zip(m.chunks_exact_mut(tiles * co));
            for (product, (v, m)) in self.products.iter().zip(points) {
                product.raw(v, tiles, ci, m);
            }
            for row in 0..count {
                for t in 0..columns {
                    self.inverse(m, [tiles, row * columns + t], sums, t);
                }
                self.codes(first + row, sums, out);
            }
        }
    }

    /// The transformed inputs of a tile; `apart` is the distance of the points.
    fn forward(&self, x: &[i16], tile: [usize; 2], v: &mut [i16], apart: usize) {
        let ci = self.channels[0];
        // What lies beyond the last pixel is for outputs that there are none of.
        let cell = |axis: usize, i: usize| (2 * tile[axis] + i).min(self.input[axis] - 1);
        let mut at = [0; POINTS];
        for (i, at) in at.iter_mut().enumerate() {
            *at = (cell(0, i / 4) * self.input[1] + cell(1, i % 4)) * ci;
        }
        match self.isa.level() {
            // SAFETY: an instruction set exists only where the machine has it.
            #[cfg(target_arch = "x86_64")]
            Level::Vnni | Level::Avx512 | Level::Avx2 => unsafe { x86::forward(x, &at, ci, v, apart) },
            Level::Portable => portable::forward(x, &at, ci, v, apart),
        }
    }

    /// The sums of one of some tiles, tile `t` of its row: two rows of outputs, one behind the other, or one if pooled.
    fn inverse(&self, m: &[i32], [tiles, tile]: [usize; 2], sums: &mut [i32], t: usize) {
        let co = self.channels[1];
        let below = sums.len() / 2;
        for (panel, start) in self.start.chunks_exact(PANEL).enumerate() {
            let m = &m[(panel * tiles + tile) * PANEL..];
            let at = [2 * t, 2 * t + 1].map(|x| x * co + panel * PANEL);
            let at = [at[0], at[1], below + at[0], below + at[1]];
            let apart = tiles * co;
            let pooled = t * co + panel * PANEL;
            match self.isa.level() {
                // SAFETY: as in `forward`.
                #[cfg(target_arch = "x86_64")]
                Level::Vnni | Level::Avx512 | Level::Avx2 if self.pooled => unsafe {
                    x86::greatest(m, apart, start, &mut sums[pooled..])
                },
                Level::Portable if self.pooled => portable::greatest(m, apart, start, &mut sums[pooled..]),
                // SAFETY: as in `forward`.
                #[cfg(target_arch = "x86_64")]
                Level::Vnni | Level::Avx512 | Level::Avx2 => unsafe {
                    x86::inverse(m, apart, start, sums, &at)
                },
                Level::Portable => portable::inverse(m, apart, start, sums, &at),
            }
        }
    }

    /// The codes of row `row` of tiles: of two rows of outputs, or of one if pooled.
    fn codes(&self, row: usize, sums: &mut [i32], out: &mut [u8]) {
        let (co, [height, width]) = (self.channels[1], self.output);
        let (y, lines, width) = if self.pooled { (row, 1, width / 2) } else { (2 * row, 2, width) };
        for (i, sums) in sums.chunks_exact(sums.len() / lines).enumerate().take(height - y) {
            let at = (y + i) * width * co;
            self.post.run32(sums, Codes { rows: width, width: co, cols: co, first: 0, at, stride: co }, out);
        }
    }
}

/// `(2G) g (2G)ᵀ` for all channels: of each point, the matrix [out, in].
fn transformed(weights: &[i64], ci: usize, co: usize) -> Vec<Vec<i64>> {
    let line = |[a, b, c]: [i64; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let mut points = vec![vec![0; ci * co]; POINTS];
    for o in 0..co {
        for i in 0..ci {
            let tap = |y: usize, x: usize| weights[((o * 3 + y) * 3 + x) * ci + i];
            let columns: [[i64; 4]; 3] = std::array::from_fn(|x| line([tap(0, x), tap(1, x), tap(2, x)]));
            for y in 0..4 {
                for (x, value) in line([columns[0][y], columns[1][y], columns[2][y]]).into_iter().enumerate()
                {
                    points[4 * y + x][o * ci + i] = value;
                }
            }
        }
    }
    points
}

/// `Bᵀ d B` for [`WIDTH`] channels at a time, with `$load(slice)`, `$add`, `$sub` and `$store(slice, vector)`.
macro_rules! forward_loop {
    ($x:ident, $at:ident, $channels:ident, $v:ident, $apart:ident, $load:expr, $add:expr, $sub:expr, $store:expr) => {{
        for k in (0..$channels).step_by(WIDTH) {
            let mut d = [$load(&$x[$at[0] + k..]); POINTS];
            for i in 1..POINTS {
                d[i] = $load(&$x[$at[i] + k..]);
            }
            for j in 0..4 {
                let [a, b, c, e] = [d[j], d[4 + j], d[8 + j], d[12 + j]];
                [d[j], d[4 + j], d[8 + j], d[12 + j]] = [$sub(a, c), $add(b, c), $sub(c, b), $sub(b, e)];
            }
            for i in (0..POINTS).step_by(4) {
                let [a, b, c, e] = [d[i], d[i + 1], d[i + 2], d[i + 3]];
                [d[i], d[i + 1], d[i + 2], d[i + 3]] = [$sub(a, c), $add(b, c), $sub(c, b), $sub(b, e)];
            }
            for (i, d) in d.iter().enumerate() {
                $store(&mut $v[i * $apart + k..], *d);
            }
        }
    }};
}

/// `Aᵀ m A` for [`LANES`] channels at a time: `$out(channel, start, sums)` takes the four, and divides them by 4.
macro_rules! inverse_loop {
    ($m:ident, $apart:ident, $start:ident, $load:expr, $add:expr, $sub:expr, $out:expr) => {{
        for k in (0..$start.len()).step_by(LANES) {
            let start = $load(&$start[k..]);
            let mut y = [[start; 4]; 2];
            for j in 0..4 {
                let b = $load(&$m[(4 + j) * $apart + k..]);
                let c = $load(&$m[(8 + j) * $apart + k..]);
                y[0][j] = $add($load(&$m[j * $apart + k..]), $add(b, c));
                y[1][j] = $sub($sub(b, c), $load(&$m[(12 + j) * $apart + k..]));
            }
            let [upper, lower] = y.map(|[a, b, c, e]| [$add(a, $add(b, c)), $sub($sub(b, c), e)]);
            $out(k, start, [upper[0], upper[1], lower[0], lower[1]]);
        }
    }};
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, POINTS, WIDTH};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load16(from: &[i16]) -> __m256i {
        let from: &[i16; WIDTH] = from.first_chunk().expect("whole vectors of channels");
        // SAFETY: sixteen numbers are 32 bytes, and the load takes any alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store16(to: &mut [i16], v: __m256i) {
        let to: &mut [i16; WIDTH] = to.first_chunk_mut().expect("whole vectors of channels");
        // SAFETY: sixteen numbers are 32 bytes, and the store takes any alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load32(from: &[i32]) -> __m256i {
        let from: &[i32; LANES] = from.first_chunk().expect("whole vectors of channels");
        // SAFETY: eight numbers are 32 bytes, and the load takes any alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store32(to: &mut [i32], v: __m256i) {
        let to: &mut [i32; LANES] = to.first_chunk_mut().expect("whole vectors of channels");
        // SAFETY: eight numbers are 32 bytes, and the store takes any alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn quarter(v: __m256i) -> __m256i {
        _mm256_srai_epi32::<2>(v)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn forward(x: &[i16], at: &[usize; POINTS], channels: usize, v: &mut [i16], apart: usize) {
        forward_loop!(x, at, channels, v, apart, load16, _mm256_add_epi16, _mm256_sub_epi16, store16)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn inverse(m: &[i32], apart: usize, start: &[i32], sums: &mut [i32], at: &[usize; 4]) {
        let mut out = |k: usize, start, four: [__m256i; 4]| {
            for (&at, sum) in at.iter().zip(four) {
                store32(&mut sums[at + k..], _mm256_add_epi32(quarter(sum), start));
            }
        };
        inverse_loop!(m, apart, start, load32, _mm256_add_epi32, _mm256_sub_epi32, out)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn greatest(m: &[i32], apart: usize, start: &[i32], sums: &mut [i32]) {
        let mut out = |k: usize, start, [a, b, c, d]: [__m256i; 4]| {
            let most = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
            store32(&mut sums[k..], _mm256_add_epi32(quarter(most), start));
        };
        inverse_loop!(m, apart, start, load32, _mm256_add_epi32, _mm256_sub_epi32, out)
    }
}

mod portable {
    use super::{LANES, POINTS, WIDTH};
    use std::array::from_fn;

    type Words = [i16; WIDTH];
    type Sums = [i32; LANES];

    fn load16(from: &[i16]) -> Words {
        *from.first_chunk().expect("whole vectors of channels")
    }
    fn load32(from: &[i32]) -> Sums {
        *from.first_chunk().expect("whole vectors of channels")
    }

    pub(super) fn forward(x: &[i16], at: &[usize; POINTS], channels: usize, v: &mut [i16], apart: usize) {
        let add = |a: Words, b: Words| -> Words { from_fn(|i| a[i].wrapping_add(b[i])) };
        let sub = |a: Words, b: Words| -> Words { from_fn(|i| a[i].wrapping_sub(b[i])) };
        let store = |to: &mut [i16], v: Words| to[..WIDTH].copy_from_slice(&v);
        forward_loop!(x, at, channels, v, apart, load16, add, sub, store)
    }

    fn add(a: Sums, b: Sums) -> Sums {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    fn sub(a: Sums, b: Sums) -> Sums {
        from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    /// A quarter of four times a sum, and what it begins with.
    fn whole(four: Sums, start: Sums) -> Sums {
        add(four.map(|x| x >> 2), start)
    }

    pub(super) fn inverse(m: &[i32], apart: usize, start: &[i32], sums: &mut [i32], at: &[usize; 4]) {
        let mut out = |k: usize, start, four: [Sums; 4]| {
            for (&at, sum) in at.iter().zip(four) {
                sums[at + k..][..LANES].copy_from_slice(&whole(sum, start));
            }
        };
        inverse_loop!(m, apart, start, load32, add, sub, out)
    }

    pub(super) fn greatest(m: &[i32], apart: usize, start: &[i32], sums: &mut [i32]) {
        let mut out = |k: usize, start, [a, b, c, d]: [Sums; 4]| {
            let most = from_fn(|i| a[i].max(b[i]).max(c[i]).max(d[i]));
            sums[k..][..LANES].copy_from_slice(&whole(most, start));
        };
        inverse_loop!(m, apart, start, load32, add, sub, out)
    }
}
