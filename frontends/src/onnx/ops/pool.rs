//! MaxPool, AveragePool and their global forms.
//!
//! `ceil_mode` is turned into padding at the end: a last window counts only if it begins before the end of the input
//! and its own padding (torch's rule, which ONNX has since opset 19). Cells that `ceil_mode` adds are never counted by
//! `count_include_pad`.

use unfloat_ir::Layout;
use unfloat_ir::ops::{AvgPool, MaxPool, Pad, PadMode, Reduce, ReduceFn, Window};

use super::window;
use crate::onnx::cx::Cx;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// The spatial extents of an image `[batch, channels, space…]`.
pub(super) fn extents(cx: &Cx<'_, '_, '_>, x: &Val) -> Handled<Vec<usize>> {
    let (rank, sample) = (cx.rank(x), cx.ty(x).shape);
    if rank < 3 {
        return Err(format!("expected an input [batch, channels, space…], found {rank} axes").into());
    }
    Ok(sample[sample.rank() - (rank - 2)..].to_vec())
}

/// A window whose end padding is what its last output reads; and how much of it `ceil_mode` added.
fn rounded(
    cx: &mut Cx<'_, '_, '_>,
    mut window: Window,
    extents: &[usize],
    same: bool,
) -> Handled<(Window, Vec<usize>)> {
    let ceil = cx.flag("ceil_mode", false)? && !same;
    let mut added = vec![0; extents.len()];
    for i in (0..extents.len()).filter(|_| ceil) {
        let before = extents[i].saturating_add(window.pads_begin[i]);
        let room = before.saturating_add(window.pads_end[i]);
        let Some(spare) = room.checked_sub(window.extent(i)) else { continue };
        let mut steps = spare.div_ceil(window.strides[i]);
        if steps.saturating_mul(window.strides[i]) >= before {
            steps -= 1;
        }
        added[i] = (steps.saturating_mul(window.strides[i])).saturating_sub(spare);
        window.pads_end[i] = window.pads_end[i].saturating_add(added[i]);
    }
    Ok((window, added))
}

pub(super) fn max_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["storage_order"]);
    if cx.wants(1) {
        return Err(Fault::with_help(
            "the indices of the maxima are read by another node",
            "unpooling is not supported; leave the second result unused",
        ));
    }
    let extents = extents(cx, &x)?;
    let spec = window::read(cx, &extents, None)?;
    let (window, _) = rounded(cx, spec.window, &extents, !spec.same.is_empty())?;
    let y = cx.each_sample(&x, Layout::channels_first(extents.len()), |cx, x| {
        cx.apply(MaxPool { window: window.clone() }, &[x])
    })?;
    Ok(vec![y])
}

pub(super) fn average_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let extents = extents(cx, &x)?;
    let count = cx.flag("count_include_pad", false)?;
    let spec = window::read(cx, &extents, None)?;
    let (window, added) = rounded(cx, spec.window, &extents, !spec.same.is_empty())?;
    let y = cx.each_sample(&x, Layout::channels_first(extents.len()), |cx, x| {
        let whole = AvgPool { window: window.clone(), count_include_pad: count };
        // Where all padding counts alike, one op says it all.
        let simple = !count || (added.iter().all(|&a| a == 0) && reaches_cells(&window));
        if simple {
            return cx.apply(whole, &[x]);
        }
        let pad = |own: &[usize]| [&[0], own].concat();
        let own_end: Vec<usize> = window.pads_end.iter().zip(&added).map(|(p, a)| p - a).collect();
        let padded = cx.apply(
            Pad { before: pad(&window.pads_begin), after: pad(&own_end), mode: PadMode::Constant(0.0) },
            &[x],
        )?;
        let rest = window.clone().pads(vec![0; added.len()], added.clone());
        cx.apply(AvgPool { window: rest, count_include_pad: false }, &[&padded])
    })?;
    Ok(vec![y])
}

/// Whether no window can lie in the padding alone, by its extent.
fn reaches_cells(window: &Window) -> bool {
    (0..window.rank()).all(|i| {
        let extent = window.extent(i);
        window.dilations[i] == 1 && window.pads_begin[i] < extent && window.pads_end[i] < extent
    })
}

fn global(cx: &mut Cx<'_, '_, '_>, f: ReduceFn) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let axes: Vec<usize> = (2 - cx.lead(&x)..cx.ty(&x).rank()).collect();
    extents(cx, &x)?;
    let x = if cx.lead(&x) == 1 { cx.relabel(&x, Layout::channels_first(axes.len()))? } else { x };
    Ok(vec![cx.apply(Reduce { f, axes, keep: true }, &[&x])?])
}

pub(super) fn global_average_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    global(cx, ReduceFn::Mean)
}

pub(super) fn global_max_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    global(cx, ReduceFn::Max)
}
