//! Max and average pooling, over windows and to a given size.

use unfloat_ir::ops::{AvgPool, MaxPool, Window};
use unfloat_ir::{Op, ValueId};

use super::conv::spatial;
use crate::pytorch::arch::cx::{Cx, Handled};

pub(in super::super) fn windowed(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let n = spatial(cx);
    let input = cx.input()?;
    let x = cx.channels_first(input, n)?;
    let extents = cx.ty(x).shape[1..].to_vec();
    let kernel = cx.sizes("kernel_size", n)?.ok_or("`kernel_size` is missing")?;
    let strides = cx.sizes("stride", n)?.unwrap_or(kernel.clone());
    let pads = cx.sizes("padding", n)?.unwrap_or(vec![0; n]);
    let average = cx.layer.kind.starts_with("Avg");
    let dilations = if average { vec![1; n] } else { cx.sizes("dilation", n)?.unwrap_or(vec![1; n]) };
    let include = cx.flag("count_include_pad", true)?;
    if !average && cx.parameter("count_include_pad").is_some() {
        return Err("`count_include_pad` is for average pooling".to_string());
    }
    if cx.parameter("divisor_override").is_some() || cx.flag("return_indices", false)? {
        return Err("`divisor_override` and `return_indices` are not supported".to_string());
    }
    if strides.contains(&0) || kernel.contains(&0) || dilations.contains(&0) {
        return Err("kernel, stride and dilation begin at 1".to_string());
    }
    if let Some(i) = (0..n).find(|&i| pads[i] > kernel[i] / 2) {
        return Err(format!("`padding` {} is more than half of the kernel {}", pads[i], kernel[i]));
    }
    let window = Window::new(kernel).strides(strides).dilations(dilations);
    let mut behind = pads.clone();
    if cx.flag("ceil_mode", false)? {
        for i in 0..n {
            behind[i] += beyond(&window, i, extents[i], pads[i]);
        }
    }
    if average && include && behind != pads {
        // PyTorch counts the padding that was asked for, and not the cells beyond it.
        return Err("`ceil_mode` cuts windows here, whose mean is not supported".to_string());
    }
    let window = window.pads(pads, behind);
    let op: Op = match average {
        true => AvgPool { count_include_pad: include && window.is_padded(), window }.into(),
        false => MaxPool { window }.into(),
    };
    cx.apply(op, &[x])
}

/// Cells beyond the padding that `ceil_mode` reaches. A last window that would begin behind the input is left out.
fn beyond(window: &Window, i: usize, extent: usize, pad: usize) -> usize {
    let (size, stride) = (window.extent(i), window.strides[i]);
    let Some(room) = (extent + 2 * pad).checked_sub(size) else { return 0 };
    let mut steps = room.div_ceil(stride);
    if steps * stride >= extent + pad {
        steps = steps.saturating_sub(1);
    }
    (steps * stride).saturating_sub(room)
}

pub(in super::super) fn adaptive(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let n = spatial(cx);
    let input = cx.input()?;
    let x = cx.channels_first(input, n)?;
    let extents = cx.ty(x).shape[1..].to_vec();
    let sizes = cx.sizes("output_size", n)?.ok_or("`output_size` is missing")?;
    if let Some(i) = (0..n).find(|&i| sizes[i] == 0 || !extents[i].is_multiple_of(sizes[i])) {
        return Err(format!(
            "`output_size` {} does not divide the {} cells of axis {i}: the windows would differ in size",
            sizes[i], extents[i]
        ));
    }
    let kernel: Vec<usize> = extents.iter().zip(&sizes).map(|(e, s)| e / s).collect();
    let window = Window::new(kernel.clone()).strides(kernel);
    if cx.layer.kind.contains("Max") {
        return cx.apply(MaxPool { window }, &[x]);
    }
    cx.apply(AvgPool { window, count_include_pad: false }, &[x])
}
