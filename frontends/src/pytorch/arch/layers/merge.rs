//! Layers over several tensors: `Add`, `Sub`, `Mul`, `Div`, `Maximum`, `Minimum`, `Cat`.
//!
//! Tensors broadcast by torch's rule, the batch being an axis of each. One of the two may be a number: `value = 0.5`.

use unfloat_ir::ops::{Binary, Concat};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, sample_axis};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// Arithmetic on two tensors, or on one and a number.
struct Arithmetic {
    f: Binary,
    value: Option<f32>,
    /// Whether the number stands first.
    reverse: bool,
}

fn arithmetic(p: &mut Parameters<'_>, f: Binary) -> Box<dyn Layer> {
    let value = p.number("value").map(|v| v as f32);
    let reverse = p.flag("reverse").unwrap_or(false);
    if reverse && value.is_none() {
        p.fail("`reverse` puts `value` first, and there is none");
    }
    Box::new(Arithmetic { f, value, reverse })
}

/// Reads an `Add`.
pub(super) fn add(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Add)
}

/// Reads a `Sub`.
pub(super) fn sub(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Sub)
}

/// Reads a `Mul`.
pub(super) fn mul(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Mul)
}

/// Reads a `Div`.
pub(super) fn div(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Div)
}

/// Reads a `Maximum`.
pub(super) fn maximum(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Max)
}

/// Reads a `Minimum`.
pub(super) fn minimum(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    arithmetic(p, Binary::Min)
}

impl Layer for Arithmetic {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let wanted = if self.value.is_some() { 1 } else { 2 };
        if cx.inputs().len() != wanted && !(wanted == 2 && cx.inputs().len() > 2 && self.f == Binary::Add) {
            let n = cx.inputs().len();
            return Err(cx.error(format!("expected {wanted} tensors, `from = [\"a\", \"b\"]`, found {n}")));
        }
        let all = cx.inputs().to_vec();
        if let Some(value) = self.value {
            let value = cx.constant("value", Tensor::f32([], Layout::anonymous(0), vec![value]));
            let pair = if self.reverse { [value, all[0]] } else { [all[0], value] };
            return cx.node(self.f, &pair);
        }
        let mut sum = all[0];
        for &next in &all[1..] {
            let pair = self.alike(cx, sum, next)?;
            sum = cx.node(self.f, &pair)?;
        }
        Ok(sum)
    }
}

impl Arithmetic {
    /// Gives two tensors one layout, so that their axes meet as torch's do.
    fn alike(&self, cx: &mut Cx<'_, '_>, a: ValueId, b: ValueId) -> Outcome<[ValueId; 2]> {
        let (da, db) = (cx.dims(a), cx.dims(b));
        // Torch aligns axes from the last, and each tensor has a batch: other ranks would meet with the batch. A
        // constant has none and was shaped for that by its own layer.
        if da.len() != db.len() && !da.is_empty() && !db.is_empty() {
            return Err(cx.error(format!("tensors of {} and {} axes per sample", da.len(), db.len())));
        }
        let (la, lb) = (cx.layout(a), cx.layout(b));
        if la == lb || da.is_empty() || db.is_empty() {
            return Ok([a, b]);
        }
        let b = cx.reshape(b, &db, la)?;
        Ok([a, b])
    }
}

/// Tensors side by side.
struct Cat {
    dim: i64,
}

/// Reads a `Cat`.
pub(super) fn cat(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Cat { dim: p.int("dim").unwrap_or(1) })
}

impl Layer for Cat {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let all = cx.inputs().to_vec();
        let Some(&first) = all.first() else { return Err(cx.error("joins nothing")) };
        let (dims, layout) = (cx.dims(first), cx.layout(first));
        let axis = sample_axis(cx, "dim", self.dim, dims.len())?;
        let mut parts = Vec::new();
        for &part in &all {
            let own = cx.dims(part);
            if own.len() != dims.len() {
                return Err(cx.error(format!("joins {} and {}", show(&dims), show(&own))));
            }
            parts.push(cx.reshape(part, &own, layout)?);
        }
        cx.node(Concat { axis }, &parts)
    }
}
