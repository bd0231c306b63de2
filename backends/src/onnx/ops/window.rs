//! Windows: convolutions, pools, normalisation over channels, enlargement. All with the channels first.
//!
//! Refused: transposed convolutions in groups, and those whose extents no padding gives; resizing whose factors ONNX would
//! round to other extents.

use super::super::constant::constant;
use super::super::proto::Attribute;
use super::super::writer::{Form, Result, Writer, arranged, flag, float, int, ints, order, text};
use unfloat_ir::ops::{
    AvgPool, Conv, ConvTranspose, Coordinates, Lrn, MaxPool, NearestMode, Resize, ResizeMode, Upsample,
    UpsampleMode, Window,
};
use unfloat_ir::{Node, ValueId};

const FIRST: Form = Form::ChannelsFirst;

fn list(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&n| n as i64).collect()
}

/// The attributes of a window; what is 1 or 0 everywhere goes without saying.
fn window(at: &Window) -> Vec<Attribute> {
    let mut attrs = vec![ints("kernel_shape", list(&at.kernel)), ints("strides", list(&at.strides))];
    if at.is_padded() {
        attrs.push(ints("pads", [list(&at.pads_begin), list(&at.pads_end)].concat()));
    }
    if dilated(&at.dilations) {
        attrs.push(ints("dilations", list(&at.dilations)));
    }
    attrs
}

fn dilated(dilations: &[usize]) -> bool {
    dilations.iter().any(|&d| d != 1)
}

/// The names of the modes, and the opset that has them.
fn coordinates(c: Coordinates) -> (&'static str, i64) {
    match c {
        Coordinates::HalfPixel => ("half_pixel", 13),
        Coordinates::HalfPixelSymmetric => ("half_pixel_symmetric", 19),
        Coordinates::PytorchHalfPixel => ("pytorch_half_pixel", 13),
        Coordinates::AlignCorners => ("align_corners", 13),
        Coordinates::Asymmetric => ("asymmetric", 13),
        Coordinates::CropAndResize => ("tf_crop_and_resize", 13),
    }
}

impl Writer<'_> {
    /// A node of one operand that keeps the order of axes, with the channels first.
    fn first(&mut self, node: &Node, name: &str, attrs: Vec<Attribute>) -> Result {
        let x = self.want(node.inputs[0], FIRST)?;
        self.result(name, vec![x], node.output, FIRST, attrs);
        Ok(())
    }

    /// The operands of a layer: values, weights with their axes in order, a bias.
    fn weighted(&mut self, node: &Node, perm: &[usize]) -> Result<Vec<String>> {
        let mut inputs = vec![self.want(node.inputs[0], FIRST)?, constant(self, node.inputs[1], Some(perm))?];
        if let Some(&bias) = node.inputs.get(2) {
            inputs.push(constant(self, bias, None)?);
        }
        Ok(inputs)
    }

    pub(super) fn conv(&mut self, node: &Node, op: &Conv) -> Result {
        let last = op.window.rank() + 1;
        let perm: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
        let inputs = self.weighted(node, &perm)?;
        let mut attrs = window(&op.window);
        if op.groups != 1 {
            attrs.push(int("group", op.groups as i64));
        }
        self.result("Conv", inputs, node.output, FIRST, attrs);
        Ok(())
    }

    pub(super) fn conv_transpose(&mut self, node: &Node, op: &ConvTranspose) -> Result {
        if op.groups != 1 {
            return Err("a transposed convolution in groups has its weights in another order".into());
        }
        let rank = op.kernel.len();
        let ty = self.graph.ty(node.inputs[0]);
        let space: Vec<usize> = order(ty, FIRST).iter().skip(1).map(|&a| ty.shape[a]).collect();
        let (mut end, mut extra) = (vec![0; rank], vec![0; rank]);
        for i in 0..rank {
            let full = (space[i] as i64 - 1) * op.strides[i] as i64
                + (op.kernel[i] as i64 - 1) * op.dilations[i] as i64
                + 1;
            let rest = full - op.crop[i] as i64 - op.output[i] as i64;
            (end[i], extra[i]) = (rest.max(0), (-rest).max(0));
            if extra[i] >= (op.strides[i].max(op.dilations[i])) as i64 {
                return Err("a transposed convolution has cells that no stride gives".into());
            }
        }
        let perm: Vec<usize> = [rank + 1, 0].into_iter().chain(1..=rank).collect();
        let inputs = self.weighted(node, &perm)?;
        let mut attrs = vec![ints("kernel_shape", list(&op.kernel)), ints("strides", list(&op.strides))];
        attrs.push(ints("pads", [list(&op.crop), end].concat()));
        if dilated(&op.dilations) {
            attrs.push(ints("dilations", list(&op.dilations)));
        }
        if extra.iter().any(|&e| e != 0) {
            attrs.push(ints("output_padding", extra));
        }
        self.result("ConvTranspose", inputs, node.output, FIRST, attrs);
        Ok(())
    }

    pub(super) fn max_pool(&mut self, node: &Node, op: &MaxPool) -> Result {
        self.first(node, "MaxPool", window(&op.window))
    }

    pub(super) fn avg_pool(&mut self, node: &Node, op: &AvgPool) -> Result {
        if dilated(&op.window.dilations) {
            self.need(19);
        }
        let mut attrs = window(&op.window);
        if op.window.is_padded() {
            attrs.push(flag("count_include_pad", op.count_include_pad));
        }
        self.first(node, "AveragePool", attrs)
    }

    pub(super) fn lrn(&mut self, node: &Node, op: &Lrn) -> Result {
        if self.graph.ty(node.inputs[0]).layout.channel() != Some(op.axis) {
            return Err("its channels are an axis without that name".into());
        }
        let attrs = [("alpha", op.alpha), ("beta", op.beta), ("bias", op.bias)].map(|(n, v)| float(n, v));
        self.first(node, "LRN", [&attrs[..], &[int("size", op.size as i64)]].concat())
    }

    pub(super) fn upsample(&mut self, node: &Node, op: &Upsample) -> Result {
        let factors: Vec<f32> = op.factors.iter().map(|&f| f as f32).collect();
        let modes = match op.mode {
            UpsampleMode::Nearest => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
            UpsampleMode::Linear => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
            }
            UpsampleMode::LinearAsymmetric => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "asymmetric")]
            }
        };
        self.scaled(node, &factors, String::new(), modes)
    }

    /// A `Resize` by factors, one for each axis of the graph.
    fn scaled(&mut self, node: &Node, factors: &[f32], roi: String, attrs: Vec<Attribute>) -> Result {
        let x = self.want(node.inputs[0], FIRST)?;
        let places = order(self.graph.ty(node.inputs[0]), FIRST);
        let scales: Vec<f32> = std::iter::once(1.0).chain(arranged(factors, &places)).collect();
        let dims = [scales.len()];
        let scales = self.floats(node.output, "scales", &dims, scales);
        self.result("Resize", vec![x, roi, scales], node.output, FIRST, attrs);
        Ok(())
    }

    pub(super) fn resize(&mut self, node: &Node, op: &Resize) -> Result {
        let (transformation, since) = coordinates(op.coordinates);
        self.need(since);
        let mut attrs = vec![text("coordinate_transformation_mode", transformation)];
        match op.mode {
            ResizeMode::Nearest(mode) => {
                let mode = match mode {
                    NearestMode::RoundPreferFloor => "round_prefer_floor",
                    NearestMode::RoundPreferCeil => "round_prefer_ceil",
                    NearestMode::Floor => "floor",
                    NearestMode::Ceil => "ceil",
                };
                attrs.extend([text("mode", "nearest"), text("nearest_mode", mode)]);
            }
            ResizeMode::Linear => attrs.push(text("mode", "linear")),
            ResizeMode::Cubic { a } => attrs.extend([text("mode", "cubic"), float("cubic_coeff_a", a)]),
        }
        if op.antialias {
            self.need(18);
            attrs.push(flag("antialias", true));
        }
        if op.exclude_outside {
            attrs.push(flag("exclude_outside", true));
        }
        if op.coordinates == Coordinates::CropAndResize {
            attrs.push(float("extrapolation_value", op.extrapolation));
        }
        let ty = self.graph.ty(node.inputs[0]);
        let places = order(ty, FIRST);
        if !op.scales.is_empty() {
            let cells = |a: usize| (f64::from(op.scales[a]) * ty.shape[a] as f64).floor();
            if (0..ty.rank()).any(|a| cells(a) != op.sizes[a] as f64) {
                return Err("its factors give other extents".into());
            }
            let roi = match op.roi.is_empty() {
                true => String::new(),
                false => self.region(node.output, op, &places),
            };
            return self.scaled(node, &op.scales, roi, attrs);
        }
        // Without the axis of samples, whose extent is open.
        self.need(18);
        attrs.push(ints("axes", (1..=places.len() as i64).collect()));
        let x = self.want(node.inputs[0], FIRST)?;
        let roi = match op.roi.is_empty() {
            true => String::new(),
            false => {
                let (begin, end) = op.roi.split_at(op.roi.len() / 2);
                let roi = [arranged(begin, &places), arranged(end, &places)].concat();
                let dims = [roi.len()];
                self.floats(node.output, "roi", &dims, roi)
            }
        };
        let sizes: Vec<i64> = arranged(&list(&op.sizes), &places);
        let sizes = self.list(node.output, "sizes", sizes);
        self.result("Resize", vec![x, roi, String::new(), sizes], node.output, FIRST, attrs);
        Ok(())
    }

    /// The region of a crop, with all of the axis of samples.
    fn region(&mut self, out: ValueId, op: &Resize, places: &[usize]) -> String {
        let (begin, end) = op.roi.split_at(op.roi.len() / 2);
        let roi = [vec![0.0], arranged(begin, places), vec![1.0], arranged(end, places)].concat();
        let dims = [roi.len()];
        self.floats(out, "roi", &dims, roi)
    }
}
