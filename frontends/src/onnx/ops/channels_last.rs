//! QONNX's operators on images whose channels are the last axis: the domain `qonnx.custom_op.channels_last`, and
//! MaxPoolNHWC.
//!
//! In: an image `[batch, space…, channels]`, and for Conv a weight `[out, space…, in/groups]`. Out: the same as ONNX'
//! own operator between two transpositions, which later passes take away. Other operands are as ONNX has them.

use super::{conv, norm, pool};
use crate::onnx::cx::Cx;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

type Inner = fn(&mut Cx<'_, '_, '_>) -> Handled<Vec<Val>>;

/// Moves one axis of the model, counted with the batch.
fn moved(cx: &mut Cx<'_, '_, '_>, x: &Val, from: usize, to: usize) -> Handled<Val> {
    let (rank, lead) = (cx.rank(x), cx.lead(x));
    if rank < 3 {
        return Err(format!("expected an image or a weight of 3 axes or more, found {rank}").into());
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    let axis = perm.remove(from);
    perm.insert(to, axis);
    let own: Vec<usize> = perm.into_iter().skip(lead).map(|p| p - lead).collect();
    cx.transpose(x, &own)
}

/// Runs an operator on the image with its channels first. The first `count` operands are images or weights.
fn channels_first(cx: &mut Cx<'_, '_, '_>, count: usize, inner: Inner) -> Handled<Vec<Val>> {
    for i in 0..count {
        let operand = cx.input(i)?;
        let last = cx.rank(&operand).saturating_sub(1);
        let operand = moved(cx, &operand, last, 1)?;
        cx.replace_input(i, operand);
    }
    let results = inner(cx)?;
    let [y] = &results[..] else { return Err(Fault::from("expected one result")) };
    let last = cx.rank(y).saturating_sub(1);
    Ok(vec![moved(cx, y, 1, last)?])
}

pub(super) fn conv(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    channels_first(cx, 2, conv::conv)
}

pub(super) fn max_pool(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    channels_first(cx, 1, pool::max_pool)
}

pub(super) fn batch_norm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    channels_first(cx, 1, norm::batch_norm)
}
