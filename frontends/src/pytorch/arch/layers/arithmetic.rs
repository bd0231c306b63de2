//! Sums, products and their like of several layers, constants of the state dict, and reductions.

use unfloat_ir::ops::{Binary, Concat, Reduce, ReduceFn};
use unfloat_ir::{Layout, ValueId};

use crate::pytorch::arch::cx::{Cx, Handled};

pub(in super::super) fn binary(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let f = match cx.layer.kind.as_str() {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        _ => Binary::Div,
    };
    let number = cx.number("other")?;
    let reversed = cx.flag("reversed", false)?;
    let (a, b) = match (&cx.inputs[..], number) {
        (&[x], Some(number)) => {
            let other = cx.scalar("other", number as f32);
            if reversed { (other, x) } else { (x, other) }
        }
        (&[a, b], None) if !reversed => (a, b),
        (all, _) => {
            let n = all.len();
            return Err(format!("expected two layers, or one and `other`; found {n} and `other` {number:?}"));
        }
    };
    let (a, b) = aligned(cx, a, b)?;
    cx.apply(f, &[a, b])
}

/// Operands with as many axes, as far as PyTorch's broadcasting over batches does not differ from that over samples.
fn aligned(cx: &mut Cx<'_>, a: ValueId, b: ValueId) -> Handled<(ValueId, ValueId)> {
    let (ta, tb) = (cx.ty(a), cx.ty(b));
    let constant = |cx: &Cx<'_>, v| cx.graph.const_of(v).is_some();
    if ta.rank() != tb.rank() && !constant(cx, a) && !constant(cx, b) {
        return Err(format!("{} and {} have their batch at different axes", ta.shape, tb.shape));
    }
    if ta.rank() == tb.rank() && ta.layout != tb.layout {
        let b = cx.reshape(b, &tb.shape, ta.layout)?;
        return Ok((a, b));
    }
    Ok((a, b))
}

pub(in super::super) fn cat(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let Some(&first) = cx.inputs.first() else { return Err("reads no layers".to_string()) };
    let dim = cx.int("dim")?.unwrap_or(0);
    let axis = cx.axis(first, dim)?;
    let layout = cx.ty(first).layout;
    let mut operands = Vec::new();
    for v in cx.inputs.clone() {
        let shape = cx.ty(v).shape;
        if shape.rank() != layout.rank() {
            return Err(format!("{shape} has another number of axes than {}", cx.ty(first).shape));
        }
        operands.push(cx.reshape(v, &shape, layout)?);
    }
    cx.apply(Concat { axis }, &operands)
}

pub(in super::super) fn reduce(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let dims = cx.ints("dim")?.ok_or("`dim` is missing: without it PyTorch reduces the batch too")?;
    let mut axes = dims.iter().map(|&d| cx.axis(x, d)).collect::<Handled<Vec<usize>>>()?;
    axes.sort_unstable();
    axes.dedup();
    let keep = cx.flag("keepdim", false)?;
    let f = if cx.layer.kind == "Sum" { ReduceFn::Sum } else { ReduceFn::Mean };
    cx.apply(Reduce { f, axes, keep }, &[x])
}

/// A parameter or buffer of the model that a function reads. An axis for the batch, of extent 1, is left out.
pub(in super::super) fn constant(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let key = cx.layer.module.clone();
    let tensor = cx.take(&key)?.ok_or_else(|| cx.missing(&key))?;
    let mut dims = tensor.shape().to_vec();
    if let (true, Some(batch)) = (cx.flag("batch", false)?, dims.first().copied()) {
        if batch != 1 {
            return Err(format!("`batch = true`, but the first axis of {} is not 1", tensor.shape()));
        }
        dims.remove(0);
    }
    let layout = Layout::anonymous(dims.len());
    cx.floats("", &tensor)?;
    Ok(cx.graph.add_const(&key, tensor.reshaped(dims, layout)))
}
