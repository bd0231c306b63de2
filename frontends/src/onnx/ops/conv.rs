//! Conv and ConvTranspose.
//!
//! Weights are rearranged from ONNX' `[out, in/groups, space…]` (transposed: `[in, out/groups, space…]`) to
//! `[out, space…, in/groups]`.

use unfloat_ir::Layout;
use unfloat_ir::ops::{Conv, ConvTranspose};

use super::window;
use crate::onnx::cx::{Cx, sizes};
use crate::onnx::problem::Handled;
use crate::onnx::value::Val;

/// What a convolution's operands say: spatial extents of the input and of the weight, and the groups.
pub(super) struct Operands {
    pub(super) extents: Vec<usize>,
    pub(super) kernel: Vec<usize>,
    pub(super) groups: usize,
}

/// Checks the ranks of a convolution's operands.
pub(super) fn operands(cx: &mut Cx<'_, '_, '_>, x: &Val, w: &Val) -> Handled<Operands> {
    cx.same_for_all(w, "weight")?;
    let (rank, weight) = (cx.rank(x), cx.ty(w).shape);
    if rank < 3 || weight.rank() != rank {
        let shape = cx.ty(x).shape;
        return Err(format!(
            "expected an input [batch, channels, space…] and a weight of as many axes, found {rank} axes ({shape} \
             per sample) and the weight {weight}"
        )
        .into());
    }
    let sample = cx.ty(x).shape;
    let extents = sample[sample.rank() - (rank - 2)..].to_vec();
    let groups = sizes(&[cx.int_or("group", 1)?], "attribute `group`")?[0];
    Ok(Operands { extents, kernel: weight[2..].to_vec(), groups })
}

/// A weight `[out, in/groups, space…]` as the graph has it.
pub(super) fn weight(cx: &mut Cx<'_, '_, '_>, w: &Val) -> Handled<Val> {
    let rank = cx.ty(w).rank();
    let perm: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
    let w = cx.transpose(w, &perm)?;
    cx.relabel(&w, Layout::weight(rank - 2))
}

pub(super) fn conv(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let found = operands(cx, &x, &w)?;
    let spec = window::read(cx, &found.extents, Some(found.kernel))?;
    if let Some(bias) = &bias {
        cx.same_for_all(bias, "bias")?;
    }
    let w = weight(cx, &w)?;
    let op = Conv { window: spec.window, groups: found.groups };
    let y = cx.each_sample(&x, Layout::channels_first(found.extents.len()), |cx, x| {
        let operands: Vec<&Val> = [x, &w].into_iter().chain(&bias).collect();
        cx.apply(op.clone(), &operands)
    })?;
    Ok(vec![y])
}

pub(super) fn conv_transpose(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let found = operands(cx, &x, &w)?;
    if let Some(bias) = &bias {
        cx.same_for_all(bias, "bias")?;
    }
    let op = transposed(cx, &found)?;
    let w = transposed_weight(cx, &w, found.groups)?;
    let y = cx.each_sample(&x, Layout::channels_first(found.extents.len()), |cx, x| {
        let operands: Vec<&Val> = [x, &w].into_iter().chain(&bias).collect();
        cx.apply(op.clone(), &operands)
    })?;
    Ok(vec![y])
}

/// Which part of the full plane is the result: by `pads`, `output_padding`, `output_shape` or `auto_pad`.
fn transposed(cx: &mut Cx<'_, '_, '_>, found: &Operands) -> Handled<ConvTranspose> {
    let n = found.extents.len();
    let spec = window::read(cx, &found.extents, Some(found.kernel.clone()))?;
    let window = spec.window;
    let extra = sizes(&cx.ints("output_padding")?.unwrap_or(vec![0; n]), "attribute `output_padding`")?;
    let wanted = match cx.ints("output_shape")? {
        Some(shape) => Some(sizes(&shape, "attribute `output_shape`")?),
        None if spec.same.is_empty() => None,
        None => Some((0..n).map(|i| found.extents[i].saturating_mul(window.strides[i])).collect()),
    };
    // Some exporters write the batch and the channels too.
    let wanted = wanted.map(|w| w[w.len().saturating_sub(n)..].to_vec());
    if extra.len() != n || wanted.as_ref().is_some_and(|w| w.len() != n) {
        return Err(format!("`output_padding` and `output_shape` need {n} numbers").into());
    }
    let (mut crop, mut output) = (Vec::new(), Vec::new());
    for i in 0..n {
        let span = found.extents[i].saturating_sub(1).saturating_mul(window.strides[i]);
        let full = span.saturating_add(window.extent(i)).saturating_add(extra[i]);
        match &wanted {
            Some(wanted) => {
                let total = full.saturating_sub(wanted[i]);
                crop.push(if spec.same == "SAME_UPPER" { total / 2 } else { total - total / 2 });
                output.push(wanted[i]);
            }
            None => {
                let pads = window.pads_begin[i].saturating_add(window.pads_end[i]);
                crop.push(window.pads_begin[i]);
                output.push(
                    full.checked_sub(pads).ok_or_else(|| {
                        format!("spatial axis {i} has {full} cells and is cropped by {pads}")
                    })?,
                );
            }
        }
    }
    Ok(ConvTranspose {
        kernel: window.kernel,
        strides: window.strides,
        dilations: window.dilations,
        crop,
        output,
        groups: found.groups,
    })
}

/// A weight `[in, out/groups, space…]` as `[out, space…, in/groups]`.
fn transposed_weight(cx: &mut Cx<'_, '_, '_>, w: &Val, groups: usize) -> Handled<Val> {
    let shape = cx.ty(w).shape.to_vec();
    let (rank, spatial) = (shape.len(), shape.len() - 2);
    if groups == 0 || !shape[0].is_multiple_of(groups) {
        return Err(format!("{} input channels do not split into {groups} groups", shape[0]).into());
    }
    let mut split = vec![groups, shape[0] / groups];
    split.extend(&shape[1..]);
    let w = cx.reshape(w, &split, Layout::anonymous(rank + 1))?;
    let perm: Vec<usize> = [0, 2].into_iter().chain(3..rank + 1).chain([1]).collect();
    let w = cx.transpose(&w, &perm)?;
    let mut whole = vec![groups.saturating_mul(shape[1])];
    whole.extend(&shape[2..]);
    whole.push(shape[0] / groups);
    cx.reshape(&w, &whole, Layout::weight(spatial))
}
