//! Transposed convolution: each input cell adds its weighted kernel to the output.
//!
//! Operands: `x` with a channel axis, `w` of shape `[out, space…, in/groups]` (tap `t` of input `i` lands at
//! `i · stride + t · dilation`), and optionally a bias `[out]`. The result takes `output` cells of that plane,
//! from `crop` on; cells that no tap reaches hold the bias alone. The result has `x`'s layout.

use super::conv::check_weight;
use super::{OpDef, OpError, Window, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// Attributes of a transposed convolution.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvTranspose {
    /// Extent of the kernel along each spatial axis.
    pub kernel: Vec<usize>,
    /// Distance between the kernels of neighbouring input cells.
    pub strides: Vec<usize>,
    /// Distance between neighbouring taps.
    pub dilations: Vec<usize>,
    /// Cells of the full plane dropped before the first output.
    pub crop: Vec<usize>,
    /// Spatial extents of the result.
    pub output: Vec<usize>,
    /// The number of independent channel blocks.
    pub groups: usize,
}

impl ConvTranspose {
    fn window(&self) -> Window {
        Window::new(self.kernel.clone()).strides(self.strides.clone()).dilations(self.dilations.clone())
    }
}

impl OpDef for ConvTranspose {
    const NAMES: &'static [&'static str] = &["conv_transpose"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("kernel", &self.kernel).sizes("strides", &self.strides);
        to.sizes("dilations", &self.dilations).sizes("crop", &self.crop).sizes("output", &self.output);
        to.int("groups", self.groups as u64);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self {
            kernel: from.sizes("kernel")?,
            strides: from.sizes("strides")?,
            dilations: from.sizes("dilations")?,
            crop: from.sizes("crop")?,
            output: from.sizes("output")?,
            groups: from.size("groups")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 3)?;
        all_float(inputs)?;
        let x = inputs[0];
        let window = self.window();
        let spatial = window.check(x)?;
        let channels = check_weight(&window, self.groups, x, inputs[1], inputs.get(2).copied())?;
        if self.crop.len() != spatial.len() || self.output.len() != spatial.len() {
            return Err("crop and output need one entry per spatial axis".into());
        }
        let mut dims = x.shape.to_vec();
        for (i, &axis) in spatial.iter().enumerate() {
            let full = x.shape[axis].saturating_sub(1).saturating_mul(self.strides[i]);
            let full = full.saturating_add(window.extent(i));
            // Frameworks add fewer cells than a stride or a dilation beyond what the taps reach.
            let room = full.saturating_add(self.strides[i].max(self.dilations[i]));
            if self.output[i].checked_add(self.crop[i]).is_none_or(|end| end > room) {
                return Err(format!(
                    "spatial axis {i}: {} cells from {} on, but the taps reach only {full}",
                    self.output[i], self.crop[i]
                )
                .into());
            }
            dims[axis] = self.output[i];
        }
        if let Some(c) = x.layout.channel() {
            dims[c] = channels;
        }
        Ok(TensorType::f32(dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let (x, w) = (floats(inputs, 0)?, floats(inputs, 1)?);
        let bias = if inputs.len() > 2 { Some(floats(inputs, 2)?) } else { None };
        let xt = &inputs[0].ty;
        let spatial = self.window().check(xt)?;
        let c = xt.layout.channel().ok_or("the input has no channel axis")?;
        let (xs, os) = (xt.shape.strides(), out.shape.strides());
        let per_group = (xt.shape[c] / self.groups, out.shape[c] / self.groups);
        let taps: usize = self.kernel.iter().product();
        let extents: Vec<usize> = spatial.iter().map(|&a| xt.shape[a]).collect();
        let mut y = vec![0f64; out.shape.num_elements()];
        if let Some(b) = bias {
            for_each_index(&out.shape, |at| {
                y[at.iter().zip(&os).map(|(i, s)| i * s).sum::<usize>()] = f64::from(b[at[c]]);
            });
        }
        for_each_index(&extents, |at| {
            let from: usize = spatial.iter().zip(at).map(|(&axis, i)| i * xs[axis]).sum();
            let mut tap_index = 0;
            for_each_index(&self.kernel, |tap| {
                let to = spatial.iter().enumerate().try_fold(0, |sum, (i, &axis)| {
                    let full = at[i] * self.strides[i] + tap[i] * self.dilations[i];
                    let cell = full.checked_sub(self.crop[i]).filter(|&p| p < out.shape[axis])?;
                    Some(sum + cell * os[axis])
                });
                if let Some(to) = to {
                    for o in 0..out.shape[c] {
                        let group = o / per_group.1;
                        let row = (o * taps + tap_index) * per_group.0;
                        for i in 0..per_group.0 {
                            let value = x[from + (group * per_group.0 + i) * xs[c]];
                            y[to + o * os[c]] += f64::from(value) * f64::from(w[row + i]);
                        }
                    }
                }
                tap_index += 1;
            });
        });
        Ok(Data::F32(y.into_iter().map(|v| v as f32).collect()))
    }

    fn macs(&self, inputs: &[&TensorType], _: &TensorType) -> u64 {
        let channels = inputs[0].layout.channel().map_or(1, |c| inputs[0].shape[c]).max(1);
        let cells = inputs[0].shape.num_elements() / channels;
        (cells as u64).saturating_mul(inputs[1].shape.num_elements() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn kernels_overlap_and_add() {
        let op = ConvTranspose {
            kernel: vec![3],
            strides: vec![2],
            dilations: vec![1],
            crop: vec![0],
            output: vec![6],
            groups: 1,
        };
        let x = Tensor::f32([2, 1], Layout::channels_last(1), vec![1.0, 10.0]);
        let w = Tensor::f32([1, 3, 1], Layout::weight(1), vec![1.0, 2.0, 3.0]);
        let b = Tensor::f32([1], Layout::channels_last(0), vec![0.5]);
        let ty = op.infer(&[&x.ty, &w.ty, &b.ty]).unwrap();
        let y = op.eval(&[&x, &w, &b], &ty).unwrap();
        assert_eq!(y, Data::F32(vec![1.5, 2.5, 13.5, 20.5, 30.5, 0.5]));
    }
}
