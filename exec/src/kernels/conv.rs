//! Convolution over one to three spatial axes, channels last.
//!
//! Direct convolution: the weights of all taps of one kernel row meet inputs that lie together in memory, so a row of
//! output pixels is a small matrix product on the input as it is, without a copy per tap. Where the input is padded,
//! one sample at a time is copied into a buffer with zeros around it.
//!
//! In: samples one after another, each [depth, height, width, channels]; weights [out, kd, kh, kw, in / groups].
//! Out: the same form with the output's extents. Refuses: extents or channels that do not fit together.

use super::activation::Activation;
use super::depthwise::Depthwise;
use super::error::{KernelError, at_least, exactly, product};
use super::isa::Isa;
use super::packed::{Packed, Rows, best_nv};
use super::pad::Padding;
use super::tile::Segment;

/// The shape of a convolution. Spatial axes are [depth, height, width]; 2-D has depth 1, 1-D also height 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input extents.
    pub input: [usize; 3],
    /// Input channels, a multiple of `groups`.
    pub in_channels: usize,
    /// Output channels, a multiple of `groups`.
    pub out_channels: usize,
    /// Kernel extents.
    pub kernel: [usize; 3],
    /// Distance of neighbouring outputs, in inputs.
    pub stride: [usize; 3],
    /// Distance of neighbouring kernel taps, in inputs.
    pub dilation: [usize; 3],
    /// Zeros before the first input.
    pub pad_begin: [usize; 3],
    /// Zeros after the last input.
    pub pad_end: [usize; 3],
    /// Output channel o sees the input channels of group o / (out_channels / groups) only.
    pub groups: usize,
}

impl ConvShape {
    /// A 2-D convolution with stride 1 and no padding, to be changed with `ConvShape { stride: ..., ..shape }`.
    pub fn conv2d(input: [usize; 2], channels: [usize; 2], kernel: [usize; 2]) -> ConvShape {
        ConvShape {
            input: [1, input[0], input[1]],
            in_channels: channels[0],
            out_channels: channels[1],
            kernel: [1, kernel[0], kernel[1]],
            stride: [1; 3],
            dilation: [1; 3],
            pad_begin: [0; 3],
            pad_end: [0; 3],
            groups: 1,
        }
    }

    /// Output extents: floor((input + pads - dilation * (kernel - 1) - 1) / stride) + 1, or 0 where the kernel does
    /// not fit into the padded input.
    pub fn output(&self) -> Result<[usize; 3], KernelError> {
        self.check()?;
        Ok(std::array::from_fn(|i| {
            let padded = self.input[i] + self.pad_begin[i] + self.pad_end[i];
            let span = self.dilation[i] * (self.kernel[i] - 1) + 1;
            if padded < span { 0 } else { (padded - span) / self.stride[i] + 1 }
        }))
    }

    /// Number of weights.
    pub fn weights_len(&self) -> Result<usize, KernelError> {
        self.check()?;
        let [d, h, w] = self.kernel;
        product("convolution weights", &[self.out_channels, d, h, w, self.in_channels / self.groups])
    }

    fn check(&self) -> Result<(), KernelError> {
        let bad = |text: String| Err(KernelError::Shape(format!("convolution: {text}")));
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
        for axis in 0..3 {
            let limit = isize::MAX as usize / 64;
            let sizes = [
                Some(self.input[axis]),
                Some(self.pad_begin[axis]),
                Some(self.pad_end[axis]),
                self.kernel[axis].checked_mul(self.dilation[axis]),
                Some(self.stride[axis]),
            ];
            if sizes.iter().any(|s| s.is_none_or(|s| s > limit)) {
                return bad(format!("extents of axis {axis} are too large for memory"));
            }
        }
        Ok(())
    }
}

/// How the sums are made.
#[derive(Clone, Debug)]
enum Method {
    /// One weight matrix per group.
    Direct(Vec<Packed>),
    /// One input channel per group.
    Depthwise(Depthwise),
}

/// A convolution ready to run: weights packed for one instruction set.
#[derive(Clone, Debug)]
pub struct Conv {
    shape: ConvShape,
    output: [usize; 3],
    padding: Padding,
    method: Method,
    input_len: usize,
    output_len: usize,
}

impl Conv {
    /// Packs `weights` [out, kd, kh, kw, in / groups] and `bias` `[out]`.
    pub fn new(
        isa: Isa,
        shape: &ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Conv, KernelError> {
        let output = shape.output()?;
        exactly("convolution weights", weights.len(), shape.weights_len()?)?;
        if let Some(bias) = bias {
            exactly("convolution bias", bias.len(), shape.out_channels)?;
        }
        let [d, h, w] = shape.input;
        let input_len = product("convolution input", &[d, h, w, shape.in_channels])?;
        let [d, h, w] = output;
        let output_len = product("convolution output", &[d, h, w, shape.out_channels])?;
        let depthwise = shape.groups > 1 && shape.in_channels == shape.groups;
        let repeat = if depthwise { shape.out_channels / shape.groups } else { 1 };
        let padding = Padding::new(shape.input, shape.in_channels, shape.pad_begin, shape.pad_end, repeat)?;
        let method = if depthwise {
            let channels = padding.channels();
            let taps = taps(shape, padding.extents(), channels, weights);
            Method::Depthwise(Depthwise::new(isa, (weights, bias), channels, &taps, activation))
        } else {
            Method::Direct(pack_groups(isa, shape, &padding, output, weights, bias, activation))
        };
        Ok(Conv { shape: shape.clone(), output, padding, method, input_len, output_len })
    }

    /// The shape that it was made for.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// f32 per input sample.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// f32 per output sample.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// f32 of scratch memory that [`Conv::run`] needs, whatever the batch.
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
        let inputs = product("convolution input", &[batch, self.input_len])?;
        let outputs = product("convolution output", &[batch, self.output_len])?;
        exactly("convolution input", input.len(), inputs)?;
        exactly("convolution output", output.len(), outputs)?;
        at_least("convolution scratch", scratch.len(), self.scratch_len())?;
        if outputs == 0 {
            return Ok(());
        }
        if !self.padding.is_needed() {
            self.samples(batch, input, output);
            return Ok(());
        }
        let outputs = output.chunks_exact_mut(self.output_len);
        self.padding.each(input, self.input_len, scratch, outputs, |padded, output| {
            self.samples(1, padded, output);
        });
        Ok(())
    }

    /// Convolves samples that are padded already.
    fn samples(&self, batch: usize, input: &[f32], output: &mut [f32]) {
        let rows = self.rows();
        match &self.method {
            Method::Direct(groups) => {
                let (ci, co) =
                    (self.shape.in_channels / self.shape.groups, self.shape.out_channels / self.shape.groups);
                let sample = self.padding.len();
                let batched =
                    Rows { outer: [rows.outer[0], rows.outer[1], (batch, sample, self.output_len)], ..rows }
                        .fold();
                for (g, packed) in groups.iter().enumerate() {
                    packed.run(batched, input, g * ci, output, g * co);
                }
            }
            Method::Depthwise(kernel) => {
                let (n, m) = (self.padding.len(), self.output_len);
                for (from, to) in input.chunks_exact(n).zip(output.chunks_exact_mut(m)) {
                    kernel.run(rows, from, to);
                }
            }
        }
    }

    /// The output pixels of one sample, and where their inputs are.
    fn rows(&self) -> Rows {
        let c = self.padding.channels();
        let [_, h, w] = self.padding.extents();
        let [sd, sh, sw] = self.shape.stride;
        let [od, oh, ow] = self.output;
        let o = self.shape.out_channels;
        Rows {
            pixels: ow,
            a_stride: sw * c,
            c_stride: o,
            outer: [(oh, sh * w * c, ow * o), (od, sd * h * w * c, oh * ow * o), (1, 0, 0)],
        }
    }
}

/// Offsets of the kernel's taps from an output's first input, in the order of the weights. Without weights there is
/// nothing to add up, however large the kernel.
fn taps(shape: &ConvShape, padded: [usize; 3], channels: usize, weights: &[f32]) -> Vec<usize> {
    if weights.is_empty() {
        return Vec::new();
    }
    let [kd, kh, kw] = shape.kernel;
    let [dd, dh, dw] = shape.dilation;
    let [_, h, w] = padded;
    let mut taps = Vec::with_capacity(kd * kh * kw);
    for z in 0..kd {
        for y in 0..kh {
            for x in 0..kw {
                taps.push(((z * dd * h + y * dh) * w + x * dw) * channels);
            }
        }
    }
    taps
}

/// One weight matrix per group; its columns follow the taps, and taps whose inputs touch become one segment.
fn pack_groups(
    isa: Isa,
    shape: &ConvShape,
    padding: &Padding,
    output: [usize; 3],
    weights: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Vec<Packed> {
    let ci = shape.in_channels / shape.groups;
    let co = shape.out_channels / shape.groups;
    let mut segments: Vec<Segment> = Vec::new();
    for offset in taps(shape, padding.extents(), padding.channels(), weights) {
        match segments.last_mut() {
            Some(last) if last.offset + last.len == offset => last.len += ci,
            _ => segments.push(Segment { offset, len: ci }),
        }
    }
    let pointwise = shape.kernel == [1; 3] && shape.stride == [1; 3] && !padding.is_needed();
    let pixels = if pointwise { output.iter().product() } else { output[2] };
    let nv = best_nv(isa, co, pixels);
    let inputs = weights.len().checked_div(shape.out_channels).unwrap_or(0);
    (0..shape.groups)
        .map(|g| {
            let w = &weights[g * co * inputs..(g + 1) * co * inputs];
            let b = bias.map(|b| &b[g * co..(g + 1) * co]);
            Packed::new(isa, (w, b), co, &segments, nv, activation)
        })
        .collect()
}
