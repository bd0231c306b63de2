//! Transposed convolutions: `ConvTranspose1d` and `ConvTranspose2d`.
//!
//! Weights `[in, out/groups, space…]` become `[out, space…, in/groups]`.

use unfloat_ir::ops::ConvTranspose as Op;
use unfloat_ir::{Layout, ValueId};

use super::weight::Form;
use super::{Layer, Wanted};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// A transposed convolution.
struct ConvTranspose {
    spatial: usize,
    kernel: Option<Vec<usize>>,
    stride: Vec<usize>,
    padding: Vec<usize>,
    output_padding: Vec<usize>,
    dilation: Vec<usize>,
    groups: usize,
    out_channels: Option<usize>,
    in_channels: Option<usize>,
    bias: bool,
}

fn read(p: &mut Parameters<'_>, spatial: usize) -> Box<dyn Layer> {
    p.word("padding_mode", &["zeros"]);
    Box::new(ConvTranspose {
        spatial,
        kernel: p.sizes("kernel_size", spatial, 1),
        stride: p.sizes("stride", spatial, 1).unwrap_or(vec![1; spatial]),
        padding: p.sizes("padding", spatial, 0).unwrap_or(vec![0; spatial]),
        output_padding: p.sizes("output_padding", spatial, 0).unwrap_or(vec![0; spatial]),
        dilation: p.sizes("dilation", spatial, 1).unwrap_or(vec![1; spatial]),
        groups: p.size("groups", 1).unwrap_or(1),
        out_channels: p.size("out_channels", 1),
        in_channels: p.size("in_channels", 1),
        bias: p.flag("bias").unwrap_or(true),
    })
}

/// Reads a `ConvTranspose1d`.
pub(super) fn conv_transpose1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 1)
}

/// Reads a `ConvTranspose2d`.
pub(super) fn conv_transpose2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 2)
}

impl Layer for ConvTranspose {
    fn tensors(&self) -> Vec<Wanted> {
        Form::Real.tensors(self.bias)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = cx.channels(x, self.spatial)?;
        let dims = cx.dims(x);
        let (channels, groups) = (dims[0], self.groups);
        if self.in_channels.is_some_and(|n| n != channels) || !channels.is_multiple_of(groups) {
            return Err(cx.error(format!("the input has {channels} channels, in {groups} groups")));
        }
        if self.out_channels.is_some_and(|n| !n.is_multiple_of(groups)) {
            return Err(cx.error(format!("`out_channels` does not split into {groups} groups")));
        }
        let mut expected = vec![Some(channels), self.out_channels.map(|n| n / groups)];
        expected.extend((0..self.spatial).map(|i| self.kernel.as_ref().map(|k| k[i])));
        let weight = Form::Real.read(cx, &expected)?;
        let (part, kernel) = (weight.dims[1], weight.dims[2..].to_vec());
        if kernel.contains(&0) || dims[1..].contains(&0) {
            let text = format!("a kernel {} over a sample {} has no cells", show(&kernel), show(&dims));
            return Err(cx.error(text));
        }
        let output = (0..self.spatial)
            .map(|i| {
                let full = (dims[i + 1] - 1) * self.stride[i] + self.dilation[i] * (kernel[i] - 1) + 1;
                (full + self.output_padding[i]).checked_sub(2 * self.padding[i]).filter(|&n| n > 0)
            })
            .collect::<Option<Vec<usize>>>();
        let Some(output) = output else { return Err(cx.error("`padding` leaves nothing of the result")) };
        let split = [&[groups, channels / groups, part], &kernel[..]].concat();
        let whole = [&[groups * part], &kernel[..], &[channels / groups]].concat();
        let perm: Vec<usize> = [0, 2].into_iter().chain(3..split.len()).chain([1]).collect();
        let layout = Layout::weight(self.spatial);
        let weight = Form::Real.place(cx, weight, |t| {
            let t = t.reshaped(split.clone(), Layout::anonymous(split.len())).transposed(&perm);
            t.reshaped(whole.clone(), layout)
        })?;
        let mut operands = vec![x, weight];
        if self.bias {
            operands.push(cx.vector("bias", groups * part)?);
        }
        let op = Op {
            kernel,
            strides: self.stride.clone(),
            dilations: self.dilation.clone(),
            crop: self.padding.clone(),
            output,
            groups,
        };
        cx.node(op, &operands)
    }
}
