//! Convolutions: blocked in general, channel by channel when depthwise, and transposed.
//!
//! Padding is made explicit: a padded copy of the input lies in the step's own part of the arena, so that the
//! kernel's inner loops have no borders.

use super::super::plan::Step;
use super::super::weights::Pack;
use super::super::writer::{Writer, list, size};
use super::nests::{self, Loop};
use unfloat_ir::ops::{Conv, ConvTranspose, Unary, Window};
use unfloat_ir::{Node, TensorType};

/// One to three spatial extents as three, with `fill` in front.
pub fn three(values: &[usize], fill: usize) -> [usize; 3] {
    let mut all = [fill; 3];
    let n = values.len().min(3);
    all[3 - n..].copy_from_slice(&values[..n]);
    all
}

/// Spatial extents and channels of a channels-last type.
pub fn extents(ty: &TensorType) -> ([usize; 3], usize) {
    match ty.shape.split_last() {
        Some((&channels, spatial)) => (three(spatial, 1), channels),
        None => ([1; 3], 1),
    }
}

/// An input with its padding.
pub struct Padded {
    /// Extents of the input.
    pub inside: [usize; 3],
    /// Cells in front of it.
    pub before: [usize; 3],
    /// Extents with the padding.
    pub extents: [usize; 3],
    channels: usize,
}

impl Padded {
    /// Elements of the padded input.
    pub fn len(&self) -> usize {
        self.extents.iter().product::<usize>() * self.channels
    }
}

/// The padded input of a window; nothing when it pads nothing.
pub fn padded(window: &Window, x: &TensorType) -> Option<Padded> {
    let (inside, channels) = extents(x);
    let (before, after) = (three(&window.pads_begin, 0), three(&window.pads_end, 0));
    let sum = |i: usize| inside[i] + before[i] + after[i];
    window.is_padded().then(|| Padded { inside, before, extents: [sum(0), sum(1), sum(2)], channels })
}

/// Writes the padded copy; returns where the input is read from, and its extents.
fn input(w: &mut Writer, step: &Step, node: &Node, window: &Window) -> (String, [usize; 3]) {
    let x = w.read(node.inputs[0]);
    let ty = w.graph.ty(node.inputs[0]);
    let Some(p) = padded(window, ty) else { return (x, extents(ty).0) };
    let to = w.scratch(step);
    let c = p.channels;
    let rows = [
        Loop { extent: p.inside[0], a: p.inside[1] * p.inside[2] * c, b: p.extents[1] * p.extents[2] * c },
        Loop { extent: p.inside[1], a: p.inside[2] * c, b: p.extents[2] * c },
    ];
    let text = nests::fields(&nests::merge(rows)) + &size("run", p.inside[2] * c);
    let name = w.graph.value(node.output).name.clone();
    let shape = w.shape(&format!("{name}_padding"), text);
    let (fill, copy) = (w.kernel("fill"), w.kernel("copy"));
    let offset = ((p.before[0] * p.extents[1] + p.before[1]) * p.extents[2] + p.before[2]) * c;
    let at = step.scratch_at + offset;
    w.line(&format!("{fill}({to}, {}, 0.0f);", p.len()));
    w.line(&format!("{copy}<{shape}>({x}, arena + {at});"));
    (to, p.extents)
}

/// The weight and the bias, packed; without a bias the weight stands in for it and is not read.
fn parameters(w: &mut Writer, node: &Node, weight: Pack, bias: Pack) -> (String, String) {
    let kernel = w.constant(node.inputs[1], weight, "");
    let bias = match node.inputs.get(2) {
        Some(&b) => w.constant(b, bias, ""),
        None => kernel.clone(),
    };
    (kernel, bias)
}

/// What the shapes of all products have in common.
pub struct Product {
    /// Extents of the result.
    pub out: [usize; 3],
    /// Elements of x between neighbouring results.
    pub step: [usize; 3],
    /// Taps along each axis.
    pub taps: [usize; 3],
    /// Elements of x between neighbouring taps.
    pub reach: [usize; 3],
    /// Neighbouring elements of x that a tap reads.
    pub run: usize,
    /// Independent channel blocks.
    pub groups: usize,
    /// Output channels of a block.
    pub group_out: usize,
    /// Whether a bias is added.
    pub has_bias: bool,
    /// The length of a row of a plain matrix of weights; 0 when they are packed.
    pub row: usize,
}

impl Product {
    /// The fields of the C++ shape.
    pub fn fields(&self) -> String {
        let depth = self.taps.iter().product::<usize>() * self.run;
        let packed = if self.groups > 1 { Pack::group(self.group_out, depth) } else { 0 };
        let packed_bias = if self.groups > 1 { Pack::group(self.group_out, 1) } else { 0 };
        [
            list("out", &self.out),
            list("step", &self.step),
            list("taps", &self.taps),
            list("reach", &self.reach),
            size("run", self.run),
            size("groups", self.groups),
            size("group_out", self.group_out),
            size("group_weights", packed),
            size("group_bias", packed_bias),
            size("channels", self.groups * self.group_out),
            size("row", self.row),
            format!("  static constexpr bool has_bias = {};\n", self.has_bias),
        ]
        .concat()
    }
}

/// Writes a convolution.
pub fn conv(w: &mut Writer, step: &Step, node: &Node, op: &Conv, act: Option<Unary>) {
    let (x, n) = input(w, step, node, &op.window);
    let name = w.graph.value(node.output).name.clone();
    let (_, channels) = extents(w.graph.ty(node.inputs[0]));
    let (out, out_channels) = extents(w.graph.ty(node.output));
    let window = &op.window;
    let (kernel, strides, dilations) =
        (three(&window.kernel, 1), three(&window.strides, 1), three(&window.dilations, 1));
    let distance = [n[1] * n[2] * channels, n[2] * channels, channels];
    let inputs = channels / op.groups;
    let has_bias = node.inputs.len() > 2;
    let mut product = Product {
        out,
        step: [0, 1, 2].map(|i| strides[i] * distance[i]),
        taps: kernel,
        reach: [0, 1, 2].map(|i| dilations[i] * distance[i]),
        run: inputs,
        groups: op.groups,
        group_out: out_channels / op.groups,
        has_bias,
        row: 0,
    };
    let act = w.activation(act);
    let taps = window.taps();
    if op.groups == channels && out_channels == channels && channels > 1 {
        let packs = (Pack::Taps { channels, taps }, Pack::Plain);
        let (weight, bias) = parameters(w, node, packs.0, packs.1);
        let shape = w.shape(&name, product.fields());
        let (call, y) = (w.kernel("depthwise"), w.target(step));
        return w.line(&format!("{call}<{shape}, {act}>({x}, {weight}, {bias}, {y});"));
    }
    if op.groups == 1 && dilations[2] == 1 {
        // Neighbouring columns lie side by side: a row of taps is one run.
        product.run = kernel[2] * channels;
        product.taps[2] = 1;
        product.reach[2] = 0;
    }
    if taps == 1 && strides == [1; 3] {
        // Cells are independent of where they lie: one long row makes the fullest tiles.
        product.out = [1, 1, out.iter().product()];
        product.step = [0, 0, channels];
    }
    let pack = Pack::Blocks { groups: op.groups, out: product.group_out, taps, inputs };
    let (weight, bias) = parameters(w, node, pack, Pack::Bias { groups: op.groups, out: product.group_out });
    let shape = w.shape(&name, product.fields());
    let (call, y) = (w.kernel("conv"), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({x}, {weight}, {bias}, {y});"));
}

/// Writes a transposed convolution.
pub fn conv_transpose(w: &mut Writer, step: &Step, node: &Node, op: &ConvTranspose, act: Option<Unary>) {
    let x = w.read(node.inputs[0]);
    let name = w.graph.value(node.output).name.clone();
    let (n, channels) = extents(w.graph.ty(node.inputs[0]));
    let (out, out_channels) = extents(w.graph.ty(node.output));
    let (inputs, group_out) = (channels / op.groups, out_channels / op.groups);
    let taps: usize = op.kernel.iter().product();
    let group = |depth| if op.groups > 1 { Pack::group(group_out, depth) } else { 0 };
    let text = [
        list("in", &n),
        list("out", &out),
        list("taps", &three(&op.kernel, 1)),
        list("stride", &three(&op.strides, 1)),
        list("dilation", &three(&op.dilations, 1)),
        list("crop", &three(&op.crop, 0)),
        size("run", inputs),
        size("in_channels", channels),
        size("groups", op.groups),
        size("group_out", group_out),
        size("group_weights", group(taps * inputs)),
        size("channels", out_channels),
        format!("  static constexpr bool has_bias = {};\n", node.inputs.len() > 2),
    ]
    .concat();
    let pack = Pack::Blocks { groups: op.groups, out: group_out, taps, inputs };
    let (weight, bias) = parameters(w, node, pack, Pack::Plain);
    let (shape, act) = (w.shape(&name, text), w.activation(act));
    let (call, y) = (w.kernel("conv_transpose"), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({x}, {weight}, {bias}, {y});"));
}
