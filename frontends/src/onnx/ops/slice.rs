//! Parts of tensors and more of them: Slice, Split, Gather, Pad, Tile.

use unfloat_ir::ops::{Gather, Pad, PadMode, Reverse, Slice};

use crate::onnx::cx::{Cx, normal_axis, sizes};
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// Most copies of a tensor along an axis.
const MAX_TILES: i64 = 1 << 12;

/// What Slice takes along one axis.
struct Part {
    axis: usize,
    begin: usize,
    size: usize,
    step: usize,
    reversed: bool,
}

/// numpy's `start:end:step` of an axis of `n` cells.
fn part(axis: usize, n: usize, start: i64, end: i64, step: i64) -> Handled<Part> {
    let n = n as i64;
    if step == 0 {
        return Err("a step is 0".into());
    }
    let (lo, hi) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(lo, hi);
    let (start, end) = (bound(start), bound(end));
    let stride = step.unsigned_abs() as usize;
    let span = if step > 0 { end - start } else { start - end };
    let size = (span.max(0) as usize).div_ceil(stride);
    let last = size.saturating_sub(1).saturating_mul(stride);
    let begin = if step > 0 { start.max(0) as usize } else { (start.max(0) as usize).saturating_sub(last) };
    let begin = if size == 0 { 0 } else { begin };
    Ok(Part { axis, begin, size, step: if size <= 1 { 1 } else { stride }, reversed: step < 0 && size > 1 })
}

pub(super) fn slice(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let [starts, ends, axes, steps] = if cx.opset() < 10 {
        [cx.ints("starts")?, cx.ints("ends")?, cx.ints("axes")?, None]
    } else {
        let mut lists = [None, None, None, None];
        for (i, what) in ["starts", "ends", "axes", "steps"].into_iter().enumerate() {
            lists[i] = cx.known_ints(i + 1, what)?;
        }
        lists
    };
    let (Some(starts), Some(ends)) = (starts, ends) else { return Err("starts or ends are missing".into()) };
    let count = starts.len();
    let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    let (rank, lead) = (cx.rank(&x), cx.lead(&x));
    let mut parts = Vec::new();
    for i in 0..count {
        let axis = normal_axis(axes[i], rank)?;
        // Only a part of the batch needs its size: cutting nothing off is common.
        let n = match axis.checked_sub(lead) {
            Some(own) => cx.ty(&x).shape[own],
            None => cx.shape(&x)[0],
        };
        let found = part(axis, n, starts[i], ends[i], steps[i])?;
        if axis < lead {
            if found.size != n || found.reversed {
                return Err(Fault::mixes("it takes a part of the batch"));
            }
            continue;
        }
        parts.push(Part { axis: axis - lead, ..found });
    }
    Ok(vec![take(cx, &x, &parts)?])
}

fn take(cx: &mut Cx<'_, '_, '_>, x: &Val, parts: &[Part]) -> Handled<Val> {
    let shape = cx.ty(x).shape.to_vec();
    let mut op = Slice { begin: vec![0; shape.len()], size: shape.clone(), step: vec![1; shape.len()] };
    for p in parts {
        (op.begin[p.axis], op.size[p.axis], op.step[p.axis]) = (p.begin, p.size, p.step);
    }
    let y = if op.size == shape { x.clone() } else { cx.apply(op, &[x])? };
    let mut axes: Vec<usize> = parts.iter().filter(|p| p.reversed).map(|p| p.axis).collect();
    axes.sort_unstable();
    if axes.is_empty() { Ok(y) } else { cx.apply(Reverse { axes }, &[&y]) }
}

pub(super) fn split(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(&x, axis)?;
    let n = cx.ty(&x).shape[axis];
    let said =
        if cx.opset() < 13 && cx.has("split") { cx.ints("split")? } else { cx.known_ints(1, "split")? };
    let count = match cx.int("num_outputs")? {
        Some(count) => sizes(&[count], "attribute `num_outputs`")?[0],
        None => cx.results(),
    };
    let parts = match said {
        Some(parts) => sizes(&parts, "the split")?,
        None if count == 0 || count > n.max(1) => {
            return Err(format!("{n} cells do not split into {count}").into());
        }
        None => {
            let each = n.div_ceil(count);
            (0..count).map(|i| each.min(n.saturating_sub(i * each))).collect()
        }
    };
    if parts.iter().fold(0usize, |sum, &p| sum.saturating_add(p)) != n {
        return Err(format!("the parts {parts:?} do not add up to {n}").into());
    }
    let mut begin = 0;
    let mut results = Vec::with_capacity(parts.len());
    for size in parts {
        results.push(cx.narrow(&x, axis, begin, size)?);
        begin += size;
    }
    Ok(results)
}

pub(super) fn gather(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = normal_axis(cx.int_or("axis", 0)?, cx.rank(&x))?;
    let axis = match (cx.lead(&x), cx.lead(&indices)) {
        (0, 0) => axis,
        (0, 1) if axis == 0 => 0,
        (1, 0) if axis > 0 => axis - 1,
        _ => return Err(Fault::mixes("it picks samples, or for each sample from another")),
    };
    let dtype = x.dtype;
    Ok(vec![cx.apply(Gather { axis }, &[&x, &indices])?.with_dtype(dtype)])
}

pub(super) fn pad(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let mode = cx.word("mode", "constant", &["constant", "reflect", "edge", "wrap"])?;
    let (pads, value, axes) = if cx.opset() < 11 {
        let name = if cx.opset() < 2 { "paddings" } else { "pads" };
        (cx.ints(name)?, cx.float_or("value", 0.0)?, None)
    } else {
        let value = match cx.known_optional(2, "value")? {
            None => 0.0,
            Some(t) => {
                let own = t.as_f32().and_then(|v| v.first().copied());
                own.or_else(|| t.data.code(0).map(|c| c as f32)).unwrap_or(0.0)
            }
        };
        (cx.known_ints(1, "pads")?, value, cx.known_ints(3, "axes")?)
    };
    let pads = pads.ok_or_else(|| Fault::from("the pads are missing"))?;
    let rank = cx.rank(&x);
    let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()).into());
    }
    let own = cx.ty(&x).rank();
    let (mut before, mut after) = (vec![0i64; own], vec![0i64; own]);
    for (i, &axis) in axes.iter().enumerate() {
        let (first, last) = (pads[i], pads[i + axes.len()]);
        if (first, last) == (0, 0) {
            continue;
        }
        let axis = cx.axis(&x, axis)?;
        (before[axis], after[axis]) = (first, last);
    }
    let x = crop(cx, &x, &before, &after)?;
    let grow = |pads: &[i64]| -> Vec<usize> { pads.iter().map(|&p| p.max(0) as usize).collect() };
    let (before, after) = (grow(&before), grow(&after));
    if before.iter().chain(&after).all(|&p| p == 0) {
        return Ok(vec![x]);
    }
    let mode = match mode.as_str() {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        _ => return Ok(vec![wrap(cx, x, &before, &after)?]),
    };
    Ok(vec![cx.apply(Pad { before, after, mode }, &[&x])?])
}

/// Negative pads cut cells off.
fn crop(cx: &mut Cx<'_, '_, '_>, x: &Val, before: &[i64], after: &[i64]) -> Handled<Val> {
    let mut y = x.clone();
    for axis in 0..before.len() {
        let n = cx.ty(&y).shape[axis];
        let cut = |pad: i64| pad.min(0).unsigned_abs() as usize;
        let (first, last) = (cut(before[axis]), cut(after[axis]));
        let size = n.checked_sub(first.saturating_add(last));
        let size =
            size.ok_or_else(|| format!("axis {axis} has {n} cells, too few to cut off {first} and {last}"))?;
        y = cx.narrow(&y, axis, first, size)?;
    }
    Ok(y)
}

/// Pads with the cells of the other end.
fn wrap(cx: &mut Cx<'_, '_, '_>, mut x: Val, before: &[usize], after: &[usize]) -> Handled<Val> {
    for axis in 0..before.len() {
        let n = cx.ty(&x).shape[axis];
        if before[axis].max(after[axis]) > n {
            return Err(format!("axis {axis} has {n} cells, too few to wrap around").into());
        }
        let mut parts = Vec::new();
        if before[axis] > 0 {
            parts.push(cx.narrow(&x, axis, n - before[axis], before[axis])?);
        }
        parts.push(x.clone());
        if after[axis] > 0 {
            parts.push(cx.narrow(&x, axis, 0, after[axis])?);
        }
        x = cx.concat(&parts, axis)?;
    }
    Ok(x)
}

pub(super) fn tile(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let mut x = cx.input(0)?;
    let repeats = cx.known_ints(1, "repeats")?.ok_or_else(|| Fault::from("the repeats are missing"))?;
    if repeats.len() != cx.rank(&x) {
        return Err(format!("{} repeats for {} axes", repeats.len(), cx.rank(&x)).into());
    }
    for (axis, &count) in repeats.iter().enumerate().filter(|(_, c)| **c != 1) {
        if !(1..=MAX_TILES).contains(&count) {
            return Err(format!("{count} repeats: 1 to {MAX_TILES} are supported").into());
        }
        let axis = cx.axis(&x, axis as i64)?;
        let copies = vec![x; count as usize];
        x = cx.concat(&copies, axis)?;
    }
    Ok(vec![x])
}
