//! Transposed convolution over one to three spatial axes, channels last.
//!
//! Tap k of input i lands at output i * stride + k * dilation - crop. The outputs fall into stride classes ("phases"):
//! those of one phase are reached by the same taps, from neighbouring inputs. So each phase is a small convolution of
//! the input with stride 1, whose outputs are a stride apart, and no product with a stuffed zero is computed.
//!
//! In: samples one after another, each [depth, height, width, channels]; weights [out, kd, kh, kw, in / groups].
//! Out: the same form with the output's extents; cells that no tap reaches hold activation(bias). Refuses: extents or
//! channels that do not fit together.

use super::activation::Activation;
use super::error::{KernelError, at_least, exactly, product};
use super::isa::Isa;
use super::packed::{Packed, Rows, best_nv};
use super::pad::Padding;
use super::tile::Segment;
use std::collections::BTreeMap;

/// The shape of a transposed convolution. Spatial axes are [depth, height, width]; 2-D has depth 1, 1-D also height 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTransposeShape {
    /// Input extents.
    pub input: [usize; 3],
    /// Input channels, a multiple of `groups`.
    pub in_channels: usize,
    /// Output channels, a multiple of `groups`.
    pub out_channels: usize,
    /// Kernel extents.
    pub kernel: [usize; 3],
    /// Distance of neighbouring inputs, in outputs.
    pub stride: [usize; 3],
    /// Distance of neighbouring kernel taps, in outputs.
    pub dilation: [usize; 3],
    /// Cells dropped before the first output.
    pub crop: [usize; 3],
    /// Output extents.
    pub output: [usize; 3],
    /// Output channel o sees the input channels of group o / (out_channels / groups) only.
    pub groups: usize,
}

/// The outputs of one residue modulo the stride, along one axis.
#[derive(Clone, Debug)]
struct Phase {
    /// First output.
    first: usize,
    /// Outputs, a stride apart.
    count: usize,
    /// First output's position in steps of the stride, counted on the uncropped plane.
    position: usize,
    /// (tap, how many inputs it lies behind the position), the farthest behind first. Never empty.
    taps: Vec<(usize, usize)>,
}

impl Phase {
    fn farthest(&self) -> usize {
        self.taps.first().map_or(0, |t| t.1)
    }

    /// (zeros before, zeros after) that the taps need around `n` inputs.
    fn pads(&self, n: usize) -> (usize, usize) {
        let nearest = self.taps.last().map_or(0, |t| t.1);
        let last = self.position + self.count;
        (self.farthest().saturating_sub(self.position), last.saturating_sub(nearest + n))
    }
}

/// One phase of all axes and one group, packed.
#[derive(Clone, Debug)]
struct Part {
    packed: Packed,
    rows: Rows,
    /// First input and output of the first pixel.
    first: (usize, usize),
}

/// A transposed convolution ready to run: weights packed for one instruction set.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    padding: Padding,
    parts: Vec<Part>,
    /// What a pixel holds that no tap reaches, where there may be such pixels.
    fill: Option<Vec<f32>>,
    input_len: usize,
    output_len: usize,
}

impl ConvTranspose {
    /// Packs `weights` [out, kd, kh, kw, in / groups] and `bias` `[out]`.
    pub fn new(
        isa: Isa,
        shape: &ConvTransposeShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<ConvTranspose, KernelError> {
        shape.check()?;
        let [kd, kh, kw] = shape.kernel;
        let (ci, co) = (shape.in_channels / shape.groups, shape.out_channels);
        exactly(
            "transposed convolution weights",
            weights.len(),
            product("transposed convolution weights", &[co, kd, kh, kw, ci])?,
        )?;
        if let Some(bias) = bias {
            exactly("transposed convolution bias", bias.len(), co)?;
        }
        let [d, h, w] = shape.input;
        let input_len = product("transposed convolution input", &[d, h, w, shape.in_channels])?;
        let [d, h, w] = shape.output;
        let output_len = product("transposed convolution output", &[d, h, w, co])?;
        // Without weights there is nothing to add up, however large the kernel.
        let phases: [Vec<Phase>; 3] =
            std::array::from_fn(|i| if weights.is_empty() { Vec::new() } else { phases(shape, i) });
        let reached = (0..3).all(|i| phases[i].len() == shape.stride[i].min(shape.output[i]));
        let fill = (!reached).then(|| match bias {
            Some(bias) => bias.iter().map(|&b| activation.scalar(b)).collect(),
            None => vec![activation.scalar(0.0); co],
        });
        let pads: [(usize, usize); 3] = std::array::from_fn(|i| {
            let each = phases[i].iter().map(|p| p.pads(shape.input[i]));
            each.fold((0, 0), |all, one| (all.0.max(one.0), all.1.max(one.1)))
        });
        let padding = Padding::new(shape.input, shape.in_channels, pads.map(|p| p.0), pads.map(|p| p.1), 1)?;
        let mut parts = Vec::new();
        for z in &phases[0] {
            for y in &phases[1] {
                for x in &phases[2] {
                    for group in 0..shape.groups {
                        let axes = [z, y, x];
                        parts.push(part(isa, shape, &padding, axes, group, (weights, bias), activation));
                    }
                }
            }
        }
        Ok(ConvTranspose { padding, parts, fill, input_len, output_len })
    }

    /// f32 per input sample.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// f32 per output sample.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// f32 of scratch memory that [`ConvTranspose::run`] needs, whatever the batch.
    pub fn scratch_len(&self) -> usize {
        self.padding.scratch_len()
    }

    /// Convolves `batch` samples. The contents of `scratch` do not matter before, and mean nothing after.
    pub fn run(
        &self,
        batch: usize,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let inputs = product("transposed convolution input", &[batch, self.input_len])?;
        let outputs = product("transposed convolution output", &[batch, self.output_len])?;
        exactly("transposed convolution input", input.len(), inputs)?;
        exactly("transposed convolution output", output.len(), outputs)?;
        at_least("transposed convolution scratch", scratch.len(), self.scratch_len())?;
        if outputs == 0 {
            return Ok(());
        }
        let outputs = output.chunks_exact_mut(self.output_len);
        self.padding.each(input, self.input_len, scratch, outputs, |padded, output| {
            if let Some(fill) = &self.fill {
                output.chunks_exact_mut(fill.len()).for_each(|pixel| pixel.copy_from_slice(fill));
            }
            for p in &self.parts {
                p.packed.run(p.rows, padded, p.first.0, output, p.first.1);
            }
        });
        Ok(())
    }
}

impl ConvTransposeShape {
    fn check(&self) -> Result<(), KernelError> {
        let bad = |text: String| Err(KernelError::Shape(format!("transposed convolution: {text}")));
        if self.kernel.contains(&0) || self.stride.contains(&0) || self.dilation.contains(&0) {
            return bad(format!(
                "kernel {:?}, stride {:?} and dilation {:?} must be at least 1",
                self.kernel, self.stride, self.dilation
            ));
        }
        let (g, i, o) = (self.groups, self.in_channels, self.out_channels);
        if g == 0 || i % g != 0 || o % g != 0 {
            return bad(format!("{i} input and {o} output channels do not divide into {g} groups"));
        }
        let limit = isize::MAX as usize / 64;
        for axis in 0..3 {
            let sizes = [
                Some(self.input[axis]),
                Some(self.crop[axis]),
                Some(self.output[axis]),
                Some(self.stride[axis]),
                self.kernel[axis].checked_mul(self.dilation[axis]),
            ];
            if sizes.iter().any(|s| s.is_none_or(|s| s > limit)) {
                return bad(format!("extents of axis {axis} are too large for memory"));
            }
        }
        Ok(())
    }
}

/// The phases of an axis that have taps and outputs.
fn phases(shape: &ConvTransposeShape, axis: usize) -> Vec<Phase> {
    let (stride, dilation) = (shape.stride[axis], shape.dilation[axis]);
    let (crop, output) = (shape.crop[axis], shape.output[axis]);
    let mut taps_of: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for k in (0..shape.kernel[axis]).rev() {
        taps_of.entry(k * dilation % stride).or_default().push((k, k * dilation / stride));
    }
    taps_of
        .into_iter()
        .map(|(residue, taps)| {
            let first = (residue + stride - crop % stride) % stride;
            let count = output.saturating_sub(first).div_ceil(stride);
            Phase { first, count, position: (first + crop) / stride, taps }
        })
        .filter(|p| p.count > 0)
        .collect()
}

/// Packs one phase of one group.
fn part(
    isa: Isa,
    shape: &ConvTransposeShape,
    padding: &Padding,
    axes: [&Phase; 3],
    group: usize,
    (weights, bias): (&[f32], Option<&[f32]>),
    activation: Activation,
) -> Part {
    let (c, o) = (shape.in_channels, shape.out_channels);
    let (ci, co) = (c / shape.groups, o / shape.groups);
    let [kd, kh, kw] = shape.kernel;
    let [_, ph, pw] = padding.extents();
    let [z, y, x] = axes;

    // Offsets from the farthest tap, ascending; the tap numbers say which weights belong to them.
    let mut segments: Vec<Segment> = Vec::new();
    let mut order = Vec::new();
    for &(tz, oz) in &z.taps {
        for &(ty, oy) in &y.taps {
            for &(tx, ox) in &x.taps {
                let steps = [z.farthest() - oz, y.farthest() - oy, x.farthest() - ox];
                let offset = ((steps[0] * ph + steps[1]) * pw + steps[2]) * c;
                order.push((tz * kh + ty) * kw + tx);
                match segments.last_mut() {
                    Some(last) if last.offset + last.len == offset => last.len += ci,
                    _ => segments.push(Segment { offset, len: ci }),
                }
            }
        }
    }
    let mut sorted = Vec::with_capacity(co * order.len() * ci);
    for out in group * co..(group + 1) * co {
        for tap in &order {
            let at = (out * kd * kh * kw + tap) * ci;
            sorted.extend_from_slice(&weights[at..at + ci]);
        }
    }
    let bias = bias.map(|b| &b[group * co..(group + 1) * co]);
    let nv = best_nv(isa, co, x.count);
    let [_, oh, ow] = shape.output;
    let [sd, sh, sw] = shape.stride;
    let begin = padding.begin();
    let first = |i: usize| axes[i].position + begin[i] - axes[i].farthest();
    Part {
        packed: Packed::new(isa, (&sorted, bias), co, &segments, nv, activation),
        rows: Rows {
            pixels: x.count,
            a_stride: c,
            c_stride: sw * o,
            outer: [(y.count, pw * c, sh * ow * o), (z.count, ph * pw * c, sd * oh * ow * o), (1, 0, 0)],
        },
        first: (
            ((first(0) * ph + first(1)) * pw + first(2)) * c + group * ci,
            ((z.first * oh + y.first) * ow + x.first) * o + group * co,
        ),
    }
}
