//! A weight matrix of integers [out, in], packed, and what happens to its sums.
//!
//! In: inputs of 16 bits, or of 8, whose place each [`Segment`] tells; the range that inputs have. Out: codes. Panels of 8 or 16
//! output channels hold the weights of two or four inputs together. Where the whole sum fits 32 bits, so do registers;
//! where it does not, inputs are cut into blocks whose sums do, which are added up in 64 bits. Refused (nothing is
//! built): weights beyond 16 bits, and pairs whose own sum leaves 32 bits.

use super::super::isa::Isa;
use super::super::tile::split;
use super::post::{LANES, Post, Rows as Codes};
use super::tile::{Form, Segment, Tile, tiles};
use super::word::{AlignedBytes, Code};

/// Channels that one tile covers.
#[derive(Clone, Copy, Debug)]
struct Panel {
    /// Vectors of channels, 1 or 2.
    nv: usize,
    /// The first channel.
    first: usize,
    /// Channels in use.
    cols: usize,
    /// Offset of its weights, in groups of inputs and channels.
    weights: usize,
}

/// Inputs whose sums fit 32 bits.
#[derive(Clone, Debug)]
struct Block {
    segments: Vec<Segment>,
    /// The first group of inputs.
    first: usize,
}

/// Weights with what happens to their sums.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    isa: Isa,
    panels: Vec<Panel>,
    blocks: Vec<Block>,
    weights: AlignedBytes,
    form: Form,
    /// What the sum of each channel begins with; the low 32 bits of it, and all.
    start: Vec<i32>,
    start64: Vec<i64>,
    /// Whether sums need 64 bits.
    wide: bool,
    post: Post,
    /// Bytes from a pixel's address to behind its last input.
    reach: usize,
}

/// Rows of pixels for one call of [`Product::run`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Pixels in a row.
    pub pixels: usize,
    /// Distance of pixels in the input.
    pub a_stride: usize,
    /// Distance of pixels in the output.
    pub c_stride: usize,
    /// Further axes, (count, distance in the input), innermost first. In the output, all pixels are evenly spaced.
    pub outer: [(usize, usize); 2],
}

/// A matrix to be packed.
pub(crate) struct Matrix<'a> {
    /// [out, in].
    pub weights: &'a [i64],
    /// Numbers of inputs that lie together, with the offset of the first.
    pub runs: &'a [(usize, usize)],
    /// What each sum begins with.
    pub start: &'a [i64],
    /// The least and the greatest input.
    pub inputs: (i64, i64),
    /// Whether every final sum fits 32 bits.
    pub fits: bool,
    /// Whether inputs are bytes, in groups of four; otherwise they have 16 bits and go in pairs.
    pub quads: bool,
}

/// Bytes of 16-bit weights from which on 8 bits are better, where they suffice: memory is then the limit.
const LARGE: usize = 256 * 1024;

impl Product {
    /// Nothing where it cannot be packed.
    pub fn new(isa: Isa, matrix: &Matrix, post: Post) -> Option<Product> {
        let out = post.channels();
        let inputs: usize = matrix.runs.iter().map(|r| r.1).sum();
        assert_eq!(matrix.weights.len(), out * inputs, "packed weights");
        let (least, most) =
            matrix.weights.iter().fold((0, 0), |(lo, hi): (i64, i64), &w| (lo.min(w), hi.max(w)));
        if least < i16::MIN.into() || most > i16::MAX.into() {
            return None;
        }
        let (group, size) = if matrix.quads { (4, 1) } else { (2, 2) };
        let segments: Vec<Segment> = matrix
            .runs
            .iter()
            .map(|&(offset, n)| Segment { offset: offset * size, groups: n.div_ceil(group) })
            .collect();
        let groups: usize = segments.iter().map(|s| s.groups).sum();
        let small = least >= i8::MIN.into() && most <= i8::MAX.into();
        let form = match matrix.quads {
            true if small && matrix.fits => Form::Quads,
            true => return None,
            false if small && out * groups * 4 > LARGE => Form::Narrow,
            false => Form::Pairs,
        };
        let blocks = match matrix.fits {
            true => vec![Block { segments: segments.clone(), first: 0 }],
            false => blocks(matrix, &segments)?,
        };
        let panels = panels(out, groups);
        let channels = out.next_multiple_of(2 * LANES);
        let mut start64 = matrix.start.to_vec();
        start64.resize(channels, 0);
        let lanes: usize = panels.iter().map(|p| p.nv * LANES).sum();
        let mut product = Product {
            isa,
            blocks,
            weights: AlignedBytes::zeroed(lanes * groups * form.bytes()),
            panels,
            form,
            start: if matrix.fits { start64.iter().map(|&b| b as i32).collect() } else { vec![0; channels] },
            start64,
            wide: !matrix.fits,
            post,
            reach: segments.iter().map(|s| s.offset + 4 * s.groups).max().unwrap_or(0),
        };
        product.pack(matrix, inputs, group);
        Some(product)
    }

    /// Writes the weights: for each panel, for each group of inputs, the weights of each channel.
    fn pack(&mut self, matrix: &Matrix, inputs: usize, group: usize) {
        let size = self.form.bytes() / group;
        for p in &self.panels {
            let width = p.nv * LANES;
            for c in 0..p.cols {
                let row = &matrix.weights[(p.first + c) * inputs..][..inputs];
                let (mut from, mut first) = (0, 0);
                for &(_, n) in matrix.runs {
                    for (k, &w) in row[from..from + n].iter().enumerate() {
                        let at = ((p.weights + (first + k / group) * width + c) * group + k % group) * size;
                        self.weights[at..at + size].copy_from_slice(&w.to_le_bytes()[..size]);
                    }
                    from += n;
                    first += n.div_ceil(group);
                }
            }
        }
    }

    /// Computes all outputs of all pixels.
    ///
    /// The inputs of the pixel (i, j, ...) begin at `a[a0 + its distances]`, its codes are the elements of `out` from `c0` +
    /// its number times their distance on.
    pub fn run<S: Code>(&self, rows: Rows, a: &[S], a0: usize, out: &mut [u8], c0: usize) {
        let counts = rows.outer.map(|o| o.0);
        match rows.pixels * counts[0] * counts[1] {
            0 => (),
            // Buffers are cleared each time: small ones for little.
            1..=FEW => self.run_rows::<S, { FEW * PANEL }>(rows, a, a0, out, c0),
            _ => self.run_rows::<S, { ROW * PANEL }>(rows, a, a0, out, c0),
        }
    }

    /// [`Product::run`] on at least one pixel, with buffers for `N` sums, all of one panel that go together.
    fn run_rows<S: Code, const N: usize>(&self, rows: Rows, a: &[S], a0: usize, out: &mut [u8], c0: usize) {
        let counts = rows.outer.map(|o| o.0);
        // The last pixel reaches furthest: everything inside the slice, checked once for all tiles.
        let far = rows.outer.iter().fold((rows.pixels - 1) * rows.a_stride, |far, o| far + (o.0 - 1) * o.1);
        let size = size_of::<S>();
        assert_eq!(size, if self.form == Form::Quads { 1 } else { 2 }, "inputs of the plan's width");
        assert!((a0 + far) * size + self.reach <= size_of_val(a), "input too short for the plan");
        let a = a.as_ptr().wrapping_add(a0).cast::<u8>();
        let pixels = rows.pixels * counts[0] * counts[1];
        let mut sums = Sums([0; N]);
        let mut addresses = [a; ROW];
        // As many pixels at once as full tiles have.
        let most = ROW / tiles(self.isa, 2, self.form).len() * tiles(self.isa, 2, self.form).len();
        for first in (0..pixels).step_by(most) {
            let count = most.min(pixels - first);
            let addresses = &mut addresses[..count];
            let (mut row, mut i) = (first / rows.pixels, first % rows.pixels);
            let place = |row: usize| row / counts[0] * rows.outer[1].1 + row % counts[0] * rows.outer[0].1;
            let mut at = place(row) + i * rows.a_stride;
            for address in addresses.iter_mut() {
                *address = a.wrapping_add(at * size);
                (i, at) = (i + 1, at + rows.a_stride);
                if i == rows.pixels {
                    (row, i) = (row + 1, 0);
                    at = place(row);
                }
            }
            for panel in &self.panels {
                let to = Codes {
                    rows: count,
                    width: panel.nv * LANES,
                    cols: panel.cols,
                    first: panel.first,
                    at: c0 + first * rows.c_stride + panel.first,
                    stride: rows.c_stride,
                };
                // SAFETY: the assert above bounds the inputs of every pixel, of which these are some.
                unsafe {
                    if self.wide {
                        self.codes64::<N>(panel, addresses, to, out);
                    } else {
                        self.sums(panel, &self.blocks[0], addresses, &mut sums.0);
                        self.post.run32(&sums.0, to, out);
                    }
                }
            }
        }
    }

    /// The sums alone, of evenly spaced pixels: as many as fit in `sums`, panel by panel, for each pixel those of
    /// [`PANEL`] channels. Sums wrap at 32 bits. Weights are packed for it where channels are whole panels and inputs are
    /// 16-bit numbers.
    pub fn raw(&self, a: &[i16], pixels: usize, a_stride: usize, sums: &mut [i32]) {
        let width = PANEL;
        assert!(!self.wide && self.form != Form::Quads && self.panels.iter().all(|p| p.cols == width));
        assert_eq!(sums.len(), self.panels.len() * pixels * width, "sums of all pixels");
        let far = pixels.saturating_sub(1) * a_stride;
        assert!(far * 2 + self.reach <= size_of_val(a), "input too short for the plan");
        let mut addresses = [a.as_ptr().cast::<u8>(); ROW];
        let most = ROW / tiles(self.isa, 2, self.form).len() * tiles(self.isa, 2, self.form).len();
        for first in (0..pixels).step_by(most) {
            let addresses = &mut addresses[..most.min(pixels - first)];
            for (i, address) in addresses.iter_mut().enumerate() {
                *address = a.as_ptr().wrapping_add((first + i) * a_stride).cast();
            }
            for (panel, sums) in self.panels.iter().zip(sums.chunks_exact_mut(pixels * width)) {
                // SAFETY: the assert above bounds the inputs of every pixel.
                unsafe { self.sums(panel, &self.blocks[0], addresses, &mut sums[first * width..]) }
            }
        }
    }

    /// The sums over one block of some pixels, at most [`ROW`].
    ///
    /// # Safety
    /// Each address must be readable for [`Product::reach`] bytes.
    unsafe fn sums(&self, panel: &Panel, block: &Block, addresses: &[*const u8], sums: &mut [i32]) {
        let kernels = tiles(self.isa, panel.nv, self.form);
        let width = panel.nv * LANES;
        let weights = &self.weights[(panel.weights + block.first * width) * self.form.bytes()..];
        let start = &self.start[panel.first..][..width];
        for (first, mr) in split(addresses.len(), kernels.len()) {
            let tile = Tile {
                a: addresses[first..first + mr].as_ptr(),
                segments: &block.segments,
                b: weights.as_ptr(),
                start: start.as_ptr(),
                sums: sums[first * width..][..mr * width].as_mut_ptr(),
            };
            // SAFETY: the caller's contract for the addresses; `weights` holds `width` groups for each group of inputs of
            // the block (see `new`); `start` and `sums` were sliced. The table is that of `self.isa`, which exists only
            // where its instructions do.
            unsafe { kernels[mr - 1](&tile) }
        }
    }

    /// The codes of pixels whose sums need 64 bits.
    ///
    /// # Safety
    /// As [`Product::sums`].
    unsafe fn codes64<const N: usize>(
        &self,
        panel: &Panel,
        addresses: &[*const u8],
        to: Codes,
        out: &mut [u8],
    ) {
        let mut sums = Sums([0; N]);
        let mut wide = [0i64; N];
        for wide in wide.chunks_exact_mut(to.width).take(to.rows) {
            wide.copy_from_slice(&self.start64[panel.first..][..to.width]);
        }
        for block in &self.blocks {
            // SAFETY: the caller's contract.
            unsafe { self.sums(panel, block, addresses, &mut sums.0) }
            let used = to.rows * to.width;
            for (wide, &sum) in wide[..used].iter_mut().zip(&sums.0) {
                *wide = wide.wrapping_add(sum.into());
            }
        }
        self.post.run64(&wide, to, out);
    }
}

/// Channels of a whole panel.
pub(crate) const PANEL: usize = 2 * LANES;

/// Pixels whose sums are kept together: they stay in the first-level cache.
const ROW: usize = 64;

/// So few pixels that smaller buffers are worth it.
const FEW: usize = 4;

#[repr(align(64))]
struct Sums<const N: usize>([i32; N]);

/// Cuts `out` channels into panels.
fn panels(out: usize, groups: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    let (mut first, mut weights) = (0, 0);
    while first < out {
        let nv = if out - first > LANES { 2 } else { 1 };
        panels.push(Panel { nv, first, cols: (nv * LANES).min(out - first), weights });
        first += nv * LANES;
        weights += nv * LANES * groups;
    }
    panels
}

/// Cuts the pairs of inputs into as few blocks as the sums of all channels allow; nothing where a pair is too much.
fn blocks(matrix: &Matrix, segments: &[Segment]) -> Option<Vec<Block>> {
    let inputs: usize = matrix.runs.iter().map(|r| r.1).sum();
    let product = |w: i64| {
        let (a, b) = (w * matrix.inputs.0, w * matrix.inputs.1);
        (a.min(b), a.max(b))
    };
    let fits = |&(lo, hi): &(i64, i64)| lo >= i32::MIN.into() && hi <= i32::MAX.into();
    let mut ranges = vec![(0i64, 0i64); matrix.start.len()];
    let mut blocks = vec![Block { segments: Vec::new(), first: 0 }];
    let (mut from, mut pair) = (0, 0);
    for (s, &(_, n)) in segments.iter().zip(matrix.runs) {
        for k in 0..s.groups {
            let of_pair = |c: usize| {
                let row = &matrix.weights[c * inputs + from..][..n];
                let both = row[2 * k..].iter().take(2).map(|&w| product(w));
                both.fold((0, 0), |sum, p| (sum.0 + p.0, sum.1 + p.1))
            };
            let more: Vec<(i64, i64)> = (0..ranges.len()).map(of_pair).collect();
            if !more.iter().all(fits) {
                return None;
            }
            let sum: Vec<(i64, i64)> =
                ranges.iter().zip(&more).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect();
            let full = !sum.iter().all(fits);
            if full {
                blocks.push(Block { segments: Vec::new(), first: pair });
            }
            ranges = if full { more } else { sum };
            let block = blocks.last_mut()?;
            let offset = s.offset + 4 * k;
            match block.segments.last_mut() {
                Some(last) if k > 0 && last.offset + 4 * last.groups == offset => last.groups += 1,
                _ => block.segments.push(Segment { offset, groups: 1 }),
            }
            pair += 1;
        }
        from += n;
    }
    Some(blocks)
}
