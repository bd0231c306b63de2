//! Weights in the form that the tile kernels read: panels of output channels, and blocks of inputs.
//!
//! A panel holds NV vectors of output channels; for each input, in order, the NV * LANES weights lie together. A block
//! is a range of inputs whose part of a panel stays in the second-level cache while all pixels pass over it; the sums
//! of the blocks are added up in the output, which also keeps rounding errors of long sums small.

use super::activation::Activation;
use super::aligned::AlignedBuffer;
use super::isa::Isa;
use super::tile::{Segment, Tile, TileFn, row_cost, split, tile_table};

/// Most inputs in one block. The same for every instruction set, so that sums do not depend on it.
const BLOCK: usize = 1024;

/// A group of output channels that one tile covers.
#[derive(Clone, Copy, Debug)]
struct Panel {
    /// Vectors of output channels: 1, 2 or 4.
    nv: usize,
    /// First output channel.
    first: usize,
    /// Output channels in use: fewer than NV * LANES in the last panel.
    cols: usize,
    /// Offset of the panel's weights.
    weights: usize,
    /// Offset of the panel's bias.
    bias: usize,
}

/// A range of inputs.
#[derive(Clone, Debug)]
struct Block {
    /// First input.
    first: usize,
    /// Where the inputs lie, relative to a pixel's address.
    segments: Vec<Segment>,
}

/// A weight matrix [out, in] with bias and activation.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    isa: Isa,
    panels: Vec<Panel>,
    blocks: Vec<Block>,
    weights: AlignedBuffer,
    bias: AlignedBuffer,
    activation: Activation,
    /// f32 from a pixel's address to behind its last input.
    reach: usize,
}

/// Rows of pixels for one call of [`Packed::run`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Pixels in a row.
    pub pixels: usize,
    /// Distance of pixels in the input.
    pub a_stride: usize,
    /// Distance of pixels in the output.
    pub c_stride: usize,
    /// Further axes, (count, distance in the input, distance in the output), innermost first.
    pub outer: [(usize, usize, usize); 3],
}

impl Rows {
    /// Joins axes that are evenly spaced in input and output into longer rows.
    pub fn fold(mut self) -> Rows {
        for axis in &mut self.outer {
            if self.pixels * self.a_stride == axis.1 && self.pixels * self.c_stride == axis.2 {
                self.pixels *= axis.0;
                *axis = (1, 0, 0);
            } else if axis.0 != 1 {
                break;
            }
        }
        self
    }
}

impl Packed {
    /// Packs `weights` [out, in], whose inputs lie at `segments` from a pixel's address; `nv` vectors to a panel.
    ///
    /// Callers have checked that `weights` holds `out` times the segments' total length, and `bias` `out` values.
    pub fn new(
        isa: Isa,
        (weights, bias): (&[f32], Option<&[f32]>),
        out: usize,
        segments: &[Segment],
        nv: usize,
        activation: Activation,
    ) -> Packed {
        let inputs: usize = segments.iter().map(|s| s.len).sum();
        assert_eq!(weights.len(), out * inputs, "packed weights");
        let panels = panels(isa, out, inputs, nv);
        let padded: usize = panels.iter().map(|p| p.nv * isa.lanes()).sum();
        let mut packed = Packed {
            isa,
            blocks: blocks(segments, inputs),
            weights: AlignedBuffer::zeroed(padded * inputs),
            bias: AlignedBuffer::zeroed(padded),
            activation,
            reach: segments.iter().map(|s| s.offset + s.len).max().unwrap_or(0),
            panels,
        };
        for p in &packed.panels {
            let width = p.nv * isa.lanes();
            let to = &mut packed.weights[p.weights..p.weights + width * inputs];
            pack_panel(&weights[p.first * inputs..(p.first + p.cols) * inputs], inputs, to, width);
            if let Some(bias) = bias {
                packed.bias[p.bias..p.bias + p.cols].copy_from_slice(&bias[p.first..p.first + p.cols]);
            }
        }
        packed
    }

    /// Computes all outputs of all pixels.
    ///
    /// The input of the pixel (i, j, ...) begins at `a[a0 + its distances]`, its outputs at `c[c0 + its distances]`.
    pub fn run(&self, rows: Rows, a: &[f32], a0: usize, c: &mut [f32], c0: usize) {
        let counts = rows.outer.map(|o| o.0);
        if rows.pixels == 0 || counts.contains(&0) || self.panels.is_empty() {
            return;
        }
        // The last pixel reaches furthest: everything inside the slices, checked once for all tiles.
        let mut far = ((rows.pixels - 1) * rows.a_stride, (rows.pixels - 1) * rows.c_stride);
        for (n, a, c) in rows.outer {
            far = (far.0 + (n - 1) * a, far.1 + (n - 1) * c);
        }
        let cols = self.panels.last().map_or(0, |p| p.first + p.cols);
        assert!(a0 + far.0 + self.reach <= a.len(), "input too short for the plan");
        assert!(c0 + far.1 + cols <= c.len(), "output too short for the plan");

        for (i, block) in self.blocks.iter().enumerate() {
            for panel in &self.panels {
                let width = panel.nv * self.isa.lanes();
                let nv = self.tile_nv(panel.nv, rows.pixels);
                for part in (0..panel.cols).step_by(nv * self.isa.lanes()) {
                    let tile = Tile {
                        a: a.as_ptr().wrapping_add(a0),
                        a_stride: rows.a_stride,
                        segments: &block.segments,
                        b: self.weights[panel.weights + block.first * width..].as_ptr().wrapping_add(part),
                        b_stride: width,
                        c: c.as_mut_ptr().wrapping_add(c0 + panel.first + part),
                        c_stride: rows.c_stride,
                        cols: (panel.cols - part).min(nv * self.isa.lanes()),
                        bias: self.bias[panel.bias + part..].as_ptr(),
                        activation: self.activation,
                        accumulate: i > 0,
                        finish: i + 1 == self.blocks.len(),
                    };
                    // SAFETY: the asserts above bound every pixel's inputs and outputs; `weights` holds `width` values
                    // per input from `panel.weights` on, and `bias` `width` values from `panel.bias` on (see `new`),
                    // of which part .. part + nv * lanes are within the panel, nv dividing its width; the table is
                    // that of `self.isa`, which exists only where its instructions do.
                    unsafe { all_tiles(tile_table(self.isa, nv), tile, rows) }
                }
            }
        }
    }

    /// The width of the tiles, in vectors, that is fastest on panels of `panel` vectors for rows of `pixels`.
    fn tile_nv(&self, panel: usize, pixels: usize) -> usize {
        let mut best = (panel, row_cost(self.isa, panel, pixels));
        let mut nv = panel / 2;
        while nv > 0 {
            let cost = row_cost(self.isa, nv, pixels) * (panel / nv) as f64;
            if cost < best.1 {
                best = (nv, cost);
            }
            nv /= 2;
        }
        best.0
    }
}

/// Runs the kernels of one panel and one block over all pixels.
///
/// # Safety
/// Every pixel of `rows`, counted from the first pixel of `tile`, must meet the contract of [`TileFn`].
unsafe fn all_tiles(kernels: &[TileFn], tile: Tile, rows: Rows) {
    let [(n0, a0, c0), (n1, a1, c1), (n2, a2, c2)] = rows.outer;
    let mut t = Tile { ..tile };
    for i2 in 0..n2 {
        for i1 in 0..n1 {
            for i0 in 0..n0 {
                let a = tile.a.wrapping_add(i2 * a2 + i1 * a1 + i0 * a0);
                let c = tile.c.wrapping_add(i2 * c2 + i1 * c1 + i0 * c0);
                for (first, mr) in split(rows.pixels, kernels.len()) {
                    t.a = a.wrapping_add(first * rows.a_stride);
                    t.c = c.wrapping_add(first * rows.c_stride);
                    // SAFETY: the caller's contract, for the pixels first .. first + mr of this row.
                    unsafe { kernels[mr - 1](&t) }
                }
            }
        }
    }
}

/// Cuts `out` channels into panels of `nv` vectors; the rest goes into narrower ones, so that few lanes idle.
fn panels(isa: Isa, out: usize, inputs: usize, nv: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    let (mut first, mut weights, mut bias) = (0, 0, 0);
    while first < out {
        let vectors = (out - first).div_ceil(isa.lanes());
        let nv = [4, 2, 1].into_iter().find(|&n| n <= nv && n <= vectors).unwrap_or(1);
        let width = nv * isa.lanes();
        let cols = width.min(out - first);
        panels.push(Panel { nv, first, cols, weights, bias });
        first += cols;
        weights += width * inputs;
        bias += width;
    }
    panels
}

/// Cuts the inputs into as few blocks of at most [`BLOCK`] as possible, of equal size.
fn blocks(segments: &[Segment], inputs: usize) -> Vec<Block> {
    let count = inputs.div_ceil(BLOCK).max(1);
    let size = inputs.div_ceil(count).max(1);
    let mut blocks = vec![Block { first: 0, segments: Vec::new() }];
    let mut at = 0;
    for s in segments {
        let mut done = 0;
        while done < s.len {
            if at == blocks.len() * size {
                blocks.push(Block { first: at, segments: Vec::new() });
            }
            let room = blocks.len() * size - at;
            let len = room.min(s.len - done);
            if let Some(block) = blocks.last_mut() {
                block.segments.push(Segment { offset: s.offset + done, len });
            }
            done += len;
            at += len;
        }
    }
    blocks
}

/// Transposes rows of `inputs` weights into `to`: for each input, `width` output channels.
fn pack_panel(from: &[f32], inputs: usize, to: &mut [f32], width: usize) {
    // Sixteen inputs at a time: they fill one cache line of each row read.
    for (i, to) in to.chunks_mut(16 * width).enumerate() {
        let k0 = i * 16;
        for (n, row) in from.chunks_exact(inputs).enumerate() {
            let row = &row[k0..(k0 + 16).min(inputs)];
            for (to, &w) in to.chunks_exact_mut(width).zip(row) {
                to[n] = w;
            }
        }
    }
}

/// The panel width, in vectors, that is fastest for rows of `pixels` and `out` channels by [`row_cost`].
pub(crate) fn best_nv(isa: Isa, out: usize, pixels: usize) -> usize {
    let cost =
        |nv: usize| -> f64 { panels(isa, out, 0, nv).iter().map(|p| row_cost(isa, p.nv, pixels)).sum() };
    // Ties go to 2, whose tiles have the most pixels and so read the weights least often.
    let mut best = (2, cost(2));
    for nv in [4, 1] {
        let c = cost(nv);
        if c < best.1 {
            best = (nv, c);
        }
    }
    best.0
}
