//! Axes in another order: Transpose, DepthToSpace, SpaceToDepth.

use unfloat_ir::Layout;

use crate::onnx::cx::{Cx, normal_axis, sizes};
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

pub(super) fn transpose(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let (rank, lead) = (cx.rank(&x), cx.lead(&x));
    let perm = match cx.ints("perm")? {
        Some(perm) => perm.iter().map(|&a| normal_axis(a, rank)).collect::<Handled<Vec<usize>>>()?,
        None => (0..rank).rev().collect(),
    };
    if lead == 1 && perm.first() != Some(&0) {
        return Err(Fault::mixes("it moves the batch"));
    }
    let own: Option<Vec<usize>> = perm.iter().skip(lead).map(|p| p.checked_sub(lead)).collect();
    let own = own.ok_or_else(|| format!("{perm:?} is no permutation"))?;
    Ok(vec![cx.transpose(&x, &own)?])
}

/// An image's channels, height and width, and the extents before them.
fn image(cx: &mut Cx<'_, '_, '_>, x: &Val) -> Handled<(Vec<usize>, [usize; 3], usize)> {
    let block = cx.int("blocksize")?.ok_or_else(|| Fault::from("attribute `blocksize` is missing"))?;
    let block = sizes(&[block], "attribute `blocksize`")?[0];
    let shape = cx.ty(x).shape.to_vec();
    match (cx.rank(x), &shape[..]) {
        (4, [lead @ .., c, h, w]) if block > 0 => Ok((lead.to_vec(), [*c, *h, *w], block)),
        (rank, _) => {
            Err(format!("expected [batch, channels, height, width] and a block size, found {rank} axes")
                .into())
        }
    }
}

/// Splits, permutes and joins the axes behind `lead`.
fn rearrange(
    cx: &mut Cx<'_, '_, '_>,
    x: &Val,
    lead: &[usize],
    split: &[usize],
    perm: &[usize],
    joined: [usize; 3],
) -> Handled<Val> {
    let n = lead.len();
    let shape = [lead, split].concat();
    let y = cx.reshape(x, &shape, Layout::anonymous(shape.len()))?;
    let perm: Vec<usize> = (0..n).chain(perm.iter().map(|p| p + n)).collect();
    let y = cx.transpose(&y, &perm)?;
    let shape = [lead, &joined].concat();
    let layout = if n == 0 { Layout::channels_first(2) } else { Layout::anonymous(shape.len()) };
    cx.reshape(&y, &shape, layout)
}

pub(super) fn depth_to_space(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let (lead, [c, h, w], b) = image(cx, &x)?;
    let rows_first = cx.word("mode", "DCR", &["DCR", "CRD"])? == "DCR";
    if !c.is_multiple_of(b * b) {
        return Err(format!("{c} channels do not split into blocks of {b} by {b}").into());
    }
    let depth = c / (b * b);
    let (split, perm) = if rows_first {
        ([b, b, depth, h, w], [2, 3, 0, 4, 1])
    } else {
        ([depth, b, b, h, w], [0, 3, 1, 4, 2])
    };
    Ok(vec![rearrange(cx, &x, &lead, &split, &perm, [depth, h * b, w * b])?])
}

pub(super) fn space_to_depth(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let (lead, [c, h, w], b) = image(cx, &x)?;
    let rows_first = cx.word("mode", "DCR", &["DCR", "CRD"])? == "DCR";
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(format!("{h} by {w} does not split into blocks of {b} by {b}").into());
    }
    let perm = if rows_first { [2, 4, 0, 1, 3] } else { [0, 2, 4, 1, 3] };
    Ok(vec![rearrange(cx, &x, &lead, &[c, h / b, b, w / b, b], &perm, [c * b * b, h / b, w / b])?])
}
