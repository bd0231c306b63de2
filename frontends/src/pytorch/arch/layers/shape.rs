//! Layers that move elements, or do nothing at inference. Elements keep PyTorch's own order throughout.

use unfloat_ir::ops::{Pad, PadMode, Transpose, Upsample, UpsampleMode};
use unfloat_ir::{Layout, ValueId};

use crate::pytorch::arch::cx::{Cx, Handled};

pub(in super::super) fn identity(cx: &mut Cx<'_>) -> Handled<ValueId> {
    cx.ignore(&["p", "inplace"]);
    cx.input()
}

/// The layout of what a reshape makes: a vector is features, a map keeps no names.
fn plain(rank: usize) -> Layout {
    if rank == 1 { Layout::channels_last(0) } else { Layout::anonymous(rank) }
}

pub(in super::super) fn flatten(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let shape = cx.ty(x).shape.to_vec();
    let start = cx.int("start_dim")?.unwrap_or(1);
    let end = cx.int("end_dim")?.unwrap_or(-1);
    // A sample that is a single number is flattened to one feature.
    if shape.is_empty() && start == 1 {
        return cx.reshape(x, &[1], plain(1));
    }
    let (start, end) = (cx.axis(x, start)?, cx.axis(x, end)?);
    if start > end {
        return Err("`start_dim` is behind `end_dim`".to_string());
    }
    let mut dims = shape[..start].to_vec();
    dims.push(shape[start..=end].iter().product());
    dims.extend(&shape[end + 1..]);
    let layout = plain(dims.len());
    cx.reshape(x, &dims, layout)
}

pub(in super::super) fn view(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let total = cx.ty(x).shape.num_elements();
    let shape = cx.ints("shape")?.ok_or("`shape` is missing")?;
    let Some((&batch, rest)) = shape.split_first() else { return Err("`shape` is empty".to_string()) };
    let open = shape.iter().filter(|&&d| d == -1).count();
    if open > 1 || shape.iter().any(|&d| d < -1 || d == 0) {
        return Err(format!("`shape`: expected sizes and at most one -1, found {shape:?}"));
    }
    let known: usize = rest.iter().filter(|&&d| d > 0).map(|&d| d as usize).product();
    if batch != -1 && (open != 1 || batch != 1) {
        return Err(format!("`shape` {shape:?}: the first axis is the batch, -1"));
    }
    if known == 0 || !total.is_multiple_of(known) || (open == 1 && batch == -1 && known != total) {
        return Err(format!("a sample of {total} elements does not become {shape:?}"));
    }
    let dims: Vec<usize> = rest.iter().map(|&d| if d == -1 { total / known } else { d as usize }).collect();
    let layout = plain(dims.len());
    cx.reshape(x, &dims, layout)
}

pub(in super::super) fn permute(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let dims = cx.ints("dims")?.ok_or("`dims` is missing")?;
    let rank = cx.ty(x).rank();
    let fault = || format!("`dims` {dims:?} is no order of {} axes with the batch first", rank + 1);
    if dims.first() != Some(&0) {
        return Err(fault());
    }
    let perm = dims[1..].iter().map(|&d| cx.axis(x, d)).collect::<Handled<Vec<usize>>>()?;
    if perm.len() != rank || (0..rank).any(|a| !perm.contains(&a)) {
        return Err(fault());
    }
    transposed(cx, x, perm)
}

pub(in super::super) fn transpose(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let axis = |cx: &mut Cx<'_>, name| {
        let dim = cx.int(name)?.ok_or_else(|| format!("`{name}` is missing"))?;
        cx.axis(x, dim)
    };
    let (a, b) = (axis(cx, "dim0")?, axis(cx, "dim1")?);
    let mut perm: Vec<usize> = (0..cx.ty(x).rank()).collect();
    perm.swap(a, b);
    transposed(cx, x, perm)
}

/// Axes in another order. They lose their names: what they mean is for the next layer to say.
fn transposed(cx: &mut Cx<'_>, x: ValueId, perm: Vec<usize>) -> Handled<ValueId> {
    let op = Transpose { perm };
    let y = if op.is_identity() { x } else { cx.apply(op, &[x])? };
    let shape = cx.ty(y).shape;
    let layout = plain(shape.rank());
    cx.reshape(y, &shape, layout)
}

pub(in super::super) fn squeeze(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let dim = cx.int("dim")?.ok_or("`dim` is missing: without it PyTorch removes a batch of 1 too")?;
    let axis = cx.axis(x, dim)?;
    let mut dims = cx.ty(x).shape.to_vec();
    if dims[axis] != 1 {
        return Ok(x);
    }
    dims.remove(axis);
    let layout = plain(dims.len());
    cx.reshape(x, &dims, layout)
}

pub(in super::super) fn unsqueeze(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let dim = cx.int("dim")?.ok_or("`dim` is missing")?;
    let mut dims = cx.ty(x).shape.to_vec();
    let rank = dims.len() as i64 + 2;
    let at = if dim < 0 { dim + rank } else { dim };
    if !(1..rank).contains(&at) {
        return Err(format!("`dim` {dim} is the batch, or beyond the last axis"));
    }
    dims.insert(at as usize - 1, 1);
    let layout = plain(dims.len());
    cx.reshape(x, &dims, layout)
}

pub(in super::super) fn upsample(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let spatial = cx.ty(x).rank().saturating_sub(1);
    let x = cx.channels_first(x, spatial)?;
    cx.word("mode", "nearest", &["nearest"])?;
    let factors = match cx.parameter("scale_factor") {
        Some(toml::Value::Float(f)) if f.fract() == 0.0 && *f >= 1.0 && *f <= 1e6 => {
            vec![*f as usize; spatial]
        }
        _ => cx.sizes("scale_factor", spatial)?.ok_or("`scale_factor` is missing")?,
    };
    let factors = std::iter::once(1).chain(factors).collect();
    cx.apply(Upsample { factors, mode: UpsampleMode::Nearest }, &[x])
}

pub(in super::super) fn zero_pad(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let input = cx.input()?;
    let x = cx.channels_first(input, 2)?;
    let pads = cx.sizes("padding", 4)?.ok_or("`padding` is missing")?;
    // left, right, top, bottom
    let op = Pad {
        before: vec![0, pads[2], pads[0]],
        after: vec![0, pads[3], pads[1]],
        mode: PadMode::Constant(0.0),
    };
    cx.apply(op, &[x])
}
