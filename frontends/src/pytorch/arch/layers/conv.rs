//! Convolutions: `Conv1d` to `Conv3d`, `QuantizedConv2d` and its kin, and `BinarizeConv2d`.
//!
//! Weights `[out, in/groups, space…]` become `[out, space…, in/groups]`. Refuses padding other than zeros.

use unfloat_ir::ops::{Binary, Conv as ConvOp, Window};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::binarize::Input;
use super::weight::Form;
use super::{Layer, Wanted};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::Outcome;

/// Padding along each axis.
#[derive(Clone, Debug)]
enum Padding {
    /// The same on both sides.
    Given(Vec<usize>),
    /// As much as keeps the extent; an odd cell at the end.
    Same,
}

/// A convolution.
struct Conv {
    spatial: usize,
    kernel: Option<Vec<usize>>,
    stride: Vec<usize>,
    padding: Padding,
    dilation: Vec<usize>,
    groups: usize,
    out_channels: Option<usize>,
    in_channels: Option<usize>,
    bias: bool,
    form: Form,
    binarises: Option<Input>,
}

impl Conv {
    fn new(p: &mut Parameters<'_>, spatial: usize, form: Form, binarises: Option<Input>) -> Self {
        let stride = p.sizes("stride", spatial, 1).unwrap_or(vec![1; spatial]);
        let padding = if p.is_text("padding") {
            match p.word("padding", &["valid", "same"]) {
                "same" => Padding::Same,
                _ => Padding::Given(vec![0; spatial]),
            }
        } else {
            Padding::Given(p.sizes("padding", spatial, 0).unwrap_or(vec![0; spatial]))
        };
        if matches!(padding, Padding::Same) && stride.iter().any(|&s| s != 1) {
            p.fail("torch takes `padding = \"same\"` with a stride of 1 only");
        }
        let mode = p.word("padding_mode", &["zeros", "reflect", "replicate", "circular"]);
        if mode != "zeros" {
            p.fail_with(format!("`padding_mode = \"{mode}\"` is not supported"), "only zeros are");
        }
        Self {
            spatial,
            kernel: p.sizes("kernel_size", spatial, 1),
            stride,
            padding,
            dilation: p.sizes("dilation", spatial, 1).unwrap_or(vec![1; spatial]),
            groups: p.size("groups", 1).unwrap_or(1),
            out_channels: p.size("out_channels", 1),
            in_channels: p.size("in_channels", 1),
            bias: p.flag("bias").unwrap_or(true),
            form,
            binarises,
        }
    }

    fn window(&self, kernel: &[usize]) -> Window {
        let window = Window::new(kernel).strides(self.stride.clone()).dilations(self.dilation.clone());
        match &self.padding {
            Padding::Given(pads) => window.pads(pads.clone(), pads.clone()),
            Padding::Same => {
                let total: Vec<usize> = (0..self.spatial).map(|i| window.extent(i) - 1).collect();
                let begin: Vec<usize> = total.iter().map(|t| t / 2).collect();
                let end = total.iter().zip(&begin).map(|(t, b)| t - b).collect::<Vec<usize>>();
                window.pads(begin, end)
            }
        }
    }
}

impl Layer for Conv {
    fn tensors(&self) -> Vec<Wanted> {
        self.form.tensors(self.bias)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = cx.channels(x, self.spatial)?;
        let channels = cx.dims(x).first().copied().unwrap_or(0);
        if self.in_channels.is_some_and(|n| n != channels) || !channels.is_multiple_of(self.groups) {
            let said = self.in_channels.map_or(String::new(), |n| format!("`in_channels = {n}`, "));
            return Err(
                cx.error(format!("{said}`groups = {}`: the input has {channels} channels", self.groups))
            );
        }
        let mut expected = vec![self.out_channels, Some(channels / self.groups)];
        expected.extend((0..self.spatial).map(|i| self.kernel.as_ref().map(|k| k[i])));
        let weight = self.form.read(cx, &expected)?;
        let out = weight.dims[0];
        let window = self.window(&weight.dims[2..]);
        let perm: Vec<usize> = std::iter::once(0).chain(2..self.spatial + 2).chain([1]).collect();
        let layout = Layout::weight(self.spatial);
        let weight = self.form.place(cx, weight, |t| {
            let t = t.transposed(&perm);
            let shape = t.ty.shape.clone();
            t.reshaped(shape, layout)
        })?;
        let op = ConvOp { window, groups: self.groups };
        let Some(binarises) = &self.binarises else {
            let mut operands = vec![x, weight];
            if self.bias {
                operands.push(cx.vector("bias", out)?);
            }
            return cx.node(op, &operands);
        };
        let x = binarises.apply(cx, x)?;
        let y = cx.node(op, &[x, weight])?;
        if !self.bias {
            return Ok(y);
        }
        let (_, bias) = cx.floats("bias", &[Some(out)])?;
        let shape = [vec![out], vec![1; self.spatial]].concat();
        let bias = cx.constant("bias", Tensor::f32(shape, Layout::channels_first(self.spatial), bias));
        cx.node(Binary::Add, &[y, bias])
    }
}

/// Reads a `Conv1d`.
pub(super) fn conv1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Conv::new(p, 1, Form::Real, None))
}

/// Reads a `Conv2d`.
pub(super) fn conv2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Conv::new(p, 2, Form::Real, None))
}

/// Reads a `Conv3d`.
pub(super) fn conv3d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Conv::new(p, 3, Form::Real, None))
}

/// Reads a `QuantizedConv1d`.
pub(super) fn quantized1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let form = Form::quantized(p);
    Box::new(Conv::new(p, 1, form, None))
}

/// Reads a `QuantizedConv2d`.
pub(super) fn quantized2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let form = Form::quantized(p);
    Box::new(Conv::new(p, 2, form, None))
}

/// Channels that a binarising convolution takes for an image's and leaves as they are.
const IMAGE_CHANNELS: usize = 3;

/// Reads a `BinarizeConv2d`.
pub(super) fn binarize2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let input = Input::new(p, IMAGE_CHANNELS);
    Box::new(Conv::new(p, 2, Form::Sign, Some(input)))
}
