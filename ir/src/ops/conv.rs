//! Convolution (cross-correlation, as every framework computes it) over one to three spatial axes.
//!
//! Operands: `x` with a channel axis and spatial axes in any order, `w` of shape `[out, space…, in/groups]`,
//! and optionally a bias `[out]`, all floats or all integers; the latter make the exact sum (see `accumulate`).
//! Output channel block `g` of `groups` reads input channel block `g`; a depthwise convolution has as many groups as
//! input channels. Padding cells are zero, also among bipolar ones. The result has `x`'s layout.

use super::accumulate::{self, Run};
use super::{OpDef, OpError, Window, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// Attributes of a convolution.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// Kernel, strides, dilations, padding.
    pub window: Window,
    /// The number of independent channel blocks, at least 1.
    pub groups: usize,
}

impl OpDef for Conv {
    const NAMES: &'static [&'static str] = &["conv"];

    fn attrs(&self, to: &mut AttrWriter) {
        self.window.attrs(to);
        if self.groups != 1 {
            to.int("groups", self.groups as u64);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let window = Window::parse(from)?;
        let groups = if from.has("groups") { from.size("groups")? } else { 1 };
        Ok(Self { window, groups })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 2, 3)?;
        let (x, w) = (inputs[0], inputs[1]);
        let spatial = self.window.check(x)?;
        let channels = check_weight(&self.window, self.groups, x, w, inputs.get(2).copied())?;
        let extents: Vec<usize> = spatial.iter().map(|&a| x.shape[a]).collect();
        let out = self.window.output(&extents)?;
        let mut dims = x.shape.to_vec();
        for (&axis, n) in spatial.iter().zip(out) {
            dims[axis] = n;
        }
        if let Some(c) = x.layout.channel() {
            dims[c] = channels;
        }
        let terms = self.window.taps().saturating_mul(w.shape[w.rank() - 1]);
        let elem = accumulate::elem(x, w, inputs.get(2).copied(), terms, self.window.is_padded())?;
        Ok(TensorType::new(elem, dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let xt = &inputs[0].ty;
        let spatial = self.window.check(xt)?;
        let c = xt.layout.channel().ok_or("the input has no channel axis")?;
        let (xs, os) = (xt.shape.strides(), out.shape.strides());
        let per_group = (xt.shape[c] / self.groups, out.shape[c] / self.groups);
        // The taps that lie inside the input, with the offsets that they read, for each place of the window.
        let mut places = Vec::new();
        let extents: Vec<usize> = spatial.iter().map(|&a| out.shape[a]).collect();
        for_each_index(&extents, |at| {
            let mut taps = Vec::with_capacity(self.window.taps());
            let mut tap_index = 0;
            for_each_index(&self.window.kernel, |tap| {
                let offset = spatial.iter().enumerate().try_fold(0, |sum, (i, &axis)| {
                    let source = self.window.source(i, at[i], tap[i], xt.shape[axis])?;
                    Some(sum + source * xs[axis])
                });
                taps.extend(offset.map(|o| (tap_index, o)));
                tap_index += 1;
            });
            places.push(taps);
        });
        let taps = self.window.taps();
        let channel = |i: usize| i / os[c] % out.shape[c];
        // Which place of the window an element belongs to: its position without the channel axis.
        let place = |i: usize| i / (os[c] * out.shape[c]) * os[c] + i % os[c];
        let (inputs_per_group, step) = (per_group.0, xs[c]);
        accumulate::sums(inputs, out, taps * inputs_per_group, channel, |i| {
            let o = channel(i);
            let first = o / per_group.1 * inputs_per_group;
            places[place(i)].iter().map(move |&(tap, offset)| {
                let row = (o * taps + tap) * inputs_per_group;
                Run { x: offset + first * step, x_step: step, w: row, w_step: 1, len: inputs_per_group }
            })
        })
    }

    fn macs(&self, inputs: &[&TensorType], out: &TensorType) -> u64 {
        let per_output = inputs[1].shape.num_elements() / inputs[1].shape[0].max(1);
        (out.shape.num_elements() as u64).saturating_mul(per_output as u64)
    }
}

/// Checks a weight `[out, space…, in/groups]` and a bias `[out]` against the input; returns `out`.
pub(super) fn check_weight(
    window: &Window,
    groups: usize,
    x: &TensorType,
    w: &TensorType,
    bias: Option<&TensorType>,
) -> Result<usize, OpError> {
    let channels = x.layout.channel().map_or(0, |c| x.shape[c]);
    if w.rank() != window.rank() + 2 || w.shape[1..=window.rank()] != window.kernel[..] {
        return Err(format!(
            "expected a weight [out, {:?}, in/groups], found the shape {}",
            window.kernel, w.shape
        )
        .into());
    }
    let (out, per_group) = (w.shape[0], w.shape[w.rank() - 1]);
    if groups == 0 || out % groups != 0 || per_group.checked_mul(groups) != Some(channels) {
        return Err(format!(
            "{channels} input channels and {out} outputs do not split into {groups} groups of {per_group} inputs"
        )
        .into());
    }
    match bias {
        Some(b) if b.shape.dims() != [out] => {
            Err(format!("expected a bias of shape [{out}], found {}", b.shape).into())
        }
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn both_layouts_give_the_same_numbers() {
        let op = Conv { window: Window::new([2, 2]).strides([1, 2]).pads([0, 0], [1, 0]), groups: 2 };
        let x = Tensor::f32([3, 4, 2], Layout::channels_last(2), (0..24).map(|i| i as f32).collect());
        let w = Tensor::f32([2, 2, 2, 1], Layout::weight(2), vec![1., 2., 3., 4., -1., 0., 0., 1.]);
        let b = Tensor::f32([2], Layout::channels_last(0), vec![0.5, -0.5]);
        let run = |x: &Tensor| {
            let ty = op.infer(&[&x.ty, &w.ty, &b.ty]).unwrap();
            Tensor { data: op.eval(&[x, &w, &b], &ty).unwrap(), ty }
        };
        let last = run(&x);
        assert_eq!(last.ty.shape.dims(), [3, 2, 2]);
        // Channel 0: 1·x(0,0) + 2·x(0,1) + 3·x(1,0) + 4·x(1,1) + 0.5, each x a step of 2 apart.
        assert_eq!(last.as_f32().unwrap()[0], 0. + 2. * 2. + 3. * 8. + 4. * 10. + 0.5);
        assert_eq!(last.as_f32().unwrap()[1], -1. + 11. - 0.5);
        let first = run(&x.transposed(&[2, 0, 1]));
        assert_eq!(first.ty.layout, Layout::channels_first(2));
        assert_eq!(first.transposed(&[1, 2, 0]), last);
    }

    #[test]
    fn padding_is_zero_among_bipolar_cells() {
        use crate::types::ElemType;
        let op = Conv { window: Window::new([3]).pads([1], [1]), groups: 1 };
        let bipolar = |shape: &[usize], layout, v: &[i64]| {
            Tensor::codes(TensorType::new(ElemType::Bipolar, shape, layout), v.to_vec())
        };
        let x = bipolar(&[3, 1], Layout::channels_last(1), &[1, -1, 1]);
        let w = bipolar(&[1, 3, 1], Layout::weight(1), &[1, 1, -1]);
        let ty = op.infer(&[&x.ty, &w.ty]).unwrap();
        assert_eq!(ty.to_string(), "i3[3,1] wc");
        assert_eq!(op.eval(&[&x, &w], &ty).unwrap(), Data::I8(vec![2, -1, 0]));
    }

    #[test]
    fn unsuitable_operands_are_refused() {
        let op = Conv { window: Window::new([3]), groups: 1 };
        let x = TensorType::f32([2, 4], Layout::channels_last(1));
        let w = |s: [usize; 3]| TensorType::f32(s, Layout::weight(1));
        assert!(op.infer(&[&x, &w([5, 3, 4])]).is_err(), "window larger than the input");
        let x = TensorType::f32([8, 4], Layout::channels_last(1));
        assert!(op.infer(&[&x, &w([5, 3, 4])]).is_ok());
        assert!(op.infer(&[&x, &w([5, 3, 3])]).is_err(), "input channels");
        assert!(op.infer(&[&TensorType::f32([8, 4], Layout::anonymous(2)), &w([5, 3, 4])]).is_err());
    }
}
