//! The same elements under another shape, shapes as values, and constants.
//!
//! A shape's first extent is the batch: whatever leaves it first keeps the samples apart, row-major order being what
//! it is, and whatever does not mixes them.

use unfloat_ir::ops::{Concat, Expand};
use unfloat_ir::{Layout, Tensor, TensorType};

use crate::onnx::cx::{Cx, normal_axis};
use crate::onnx::dtype::DType;
use crate::onnx::lower::tensor_of;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// The names of a new shape's axes: features are channels.
fn plain(rank: usize, lead: usize) -> Layout {
    if rank == 1 && lead == 1 { Layout::channels_first(0) } else { Layout::anonymous(rank) }
}

/// `x` under a shape of the model, the batch included.
pub(super) fn to_shape(cx: &mut Cx<'_, '_, '_>, x: &Val, target: &[usize]) -> Handled<Val> {
    let lead = cx.lead(x);
    let shape = cx.shape(x);
    if shape == target {
        return Ok(x.clone());
    }
    if lead == 1 && target.first() != shape.first() {
        return Err(Fault::mixes("the reshaped tensor does not begin with the batch"));
    }
    if target.len() - lead > unfloat_ir::Shape::MAX_RANK {
        return Err(format!("the result would have {} axes", target.len()).into());
    }
    cx.reshape(x, &target[lead..], plain(target.len() - lead, lead))
}

pub(super) fn reshape(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["consumed_inputs"]);
    let keep_zero = cx.flag("allowzero", false)?;
    let wanted = match cx.opset() {
        ..5 => cx.ints("shape")?,
        _ => cx.known_ints(1, "shape")?,
    };
    let wanted = wanted.ok_or_else(|| Fault::from("the shape is missing"))?;
    let shape = cx.shape(&x);
    let mut target = Vec::new();
    for (i, &n) in wanted.iter().enumerate() {
        target.push(match n {
            -1 => 0,
            0 if !keep_zero => {
                *shape.get(i).ok_or_else(|| format!("extent {i} of {wanted:?} is copied from nothing"))?
            }
            n => usize::try_from(n).map_err(|_| format!("the shape is {wanted:?}"))?,
        });
    }
    let total = TensorType::f32(shape.clone(), Layout::anonymous(0)).shape.num_elements();
    if let Some(open) = wanted.iter().position(|&n| n == -1) {
        if wanted.iter().filter(|&&n| n == -1).count() > 1 {
            return Err(format!("the shape {wanted:?} has two open extents").into());
        }
        let rest = target.iter().enumerate().filter(|(i, _)| *i != open);
        let rest = rest.fold(1usize, |product, (_, &n)| product.saturating_mul(n));
        if rest == 0 || !total.is_multiple_of(rest) {
            return Err(format!("{shape:?} does not have the elements for {wanted:?}").into());
        }
        target[open] = total / rest;
    }
    Ok(vec![to_shape(cx, &x, &target)?])
}

pub(super) fn flatten(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let axis = cx.int_or("axis", 1)?;
    let shape = cx.shape(&x);
    let at = if axis == shape.len() as i64 { shape.len() } else { normal_axis(axis, shape.len())? };
    let (rows, columns) = shape.split_at(at);
    let target = [rows, columns].map(|dims| dims.iter().fold(1usize, |p, &n| p.saturating_mul(n)));
    Ok(vec![to_shape(cx, &x, &target)?])
}

/// Axes of Squeeze and Unsqueeze: an attribute up to opset 12, then an operand.
fn axes(cx: &mut Cx<'_, '_, '_>) -> Handled<Option<Vec<i64>>> {
    if cx.opset() < 13 { cx.ints("axes") } else { cx.known_ints(1, "axes") }
}

pub(super) fn squeeze(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let shape = cx.shape(&x);
    let gone: Vec<usize> = match axes(cx)? {
        None => (0..shape.len()).filter(|&a| shape[a] == 1).collect(),
        Some(axes) => axes.iter().map(|&a| normal_axis(a, shape.len())).collect::<Handled<_>>()?,
    };
    if let Some(a) = gone.iter().find(|&&a| shape[a] != 1) {
        if *a == 0 && cx.lead(&x) == 1 {
            return Err(Fault::mixes("it drops the batch"));
        }
        return Err(format!("axis {a} of {shape:?} is not 1").into());
    }
    let target: Vec<usize> = (0..shape.len()).filter(|a| !gone.contains(a)).map(|a| shape[a]).collect();
    Ok(vec![to_shape(cx, &x, &target)?])
}

pub(super) fn unsqueeze(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let shape = cx.shape(&x);
    let new = axes(cx)?.ok_or_else(|| Fault::from("the axes are missing"))?;
    let rank = shape.len() + new.len();
    let new = new.iter().map(|&a| normal_axis(a, rank)).collect::<Handled<Vec<usize>>>()?;
    let mut rest = shape.iter();
    let target: Vec<usize> =
        (0..rank).map(|a| if new.contains(&a) { 1 } else { rest.next().copied().unwrap_or(1) }).collect();
    if rest.next().is_some() {
        return Err(format!("an axis stands twice in {new:?}").into());
    }
    Ok(vec![to_shape(cx, &x, &target)?])
}

pub(super) fn expand(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let wanted = cx.known_ints(1, "shape")?.ok_or_else(|| Fault::from("the shape is missing"))?;
    let wanted = crate::onnx::cx::sizes(&wanted, "the shape")?;
    let shape = cx.shape(&x);
    let common = unfloat_ir::Shape::from(&shape[..]).broadcast(&wanted.clone().into());
    let target = common.ok_or_else(|| format!("{shape:?} does not broadcast to {wanted:?}"))?.to_vec();
    let lead = cx.lead(&x);
    if target == shape {
        return Ok(vec![x]);
    }
    if lead == 1 && (target.len() != shape.len() || target[0] != shape[0]) {
        return Err(Fault::mixes("the batch is expanded"));
    }
    Ok(vec![cx.apply(Expand { shape: target[lead..].into() }, &[&x])?])
}

/// Shape: extents `start..end` as integers.
pub(super) fn shape_of(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let shape = cx.shape(&x);
    let rank = shape.len() as i64;
    let (start, end) = (cx.int_or("start", 0)?, cx.int_or("end", rank)?);
    let bound = |a: i64| (if a < 0 { a.saturating_add(rank) } else { a }).clamp(0, rank) as usize;
    let (start, end) = (bound(start), bound(end));
    let part = if start < end { &shape[start..end] } else { &[] };
    Ok(vec![integers(part.iter().map(|&n| n as i64).collect())])
}

/// A list of 64-bit integers.
fn integers(values: Vec<i64>) -> Val {
    let ty = TensorType::new(DType::I64.elem(), [values.len()], Layout::anonymous(1));
    Val::constant(Tensor { ty, data: unfloat_ir::Data::I64(values) }, DType::I64)
}

pub(super) fn size(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let count = cx.shape(&x).iter().fold(1usize, |p, &n| p.saturating_mul(n));
    let ty = TensorType::new(DType::I64.elem(), [], Layout::anonymous(0));
    Ok(vec![Val::constant(Tensor::codes(ty, [count as i64]), DType::I64)])
}

pub(super) fn identity(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    Ok(vec![cx.input(0)?])
}

/// Dropout does nothing at inference; its mask is all ones.
pub(super) fn dropout(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["ratio", "seed", "is_test", "consumed_inputs"]);
    if cx.opset() >= 12 {
        let training = cx.known_optional(2, "training mode")?.and_then(|t| t.data.code(0)).unwrap_or(0) != 0;
        let ratio = cx.known_floats(1, "ratio")?.and_then(|r| r.first().copied()).unwrap_or(0.5);
        if training && ratio != 0.0 {
            return Err(Fault::with_help("the node is in training mode", "export the model for inference"));
        }
    }
    let mut results = vec![x.clone()];
    if cx.wants(1) {
        let shape = cx.shape(&x);
        let dtype = if cx.opset() < 10 { x.dtype } else { DType::Bool };
        let ones = tensor_of(dtype, &[], [1.0]);
        results.push(cx.apply(Expand { shape: shape.into() }, &[&Val::constant(ones, dtype)])?);
    }
    Ok(results)
}

pub(super) fn constant(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    if let Some(tensor) = cx.tensor("value")? {
        return Ok(vec![tensor]);
    }
    if cx.has("value_int") {
        let value = cx.int_or("value_int", 0)?;
        let ty = TensorType::new(DType::I64.elem(), [], Layout::anonymous(0));
        return Ok(vec![Val::constant(Tensor::codes(ty, [value]), DType::I64)]);
    }
    if let Some(values) = cx.ints("value_ints")? {
        return Ok(vec![integers(values)]);
    }
    if cx.has("value_float") {
        let value = cx.float_or("value_float", 0.0)?;
        return Ok(vec![Val::constant(Tensor::f32([], Layout::anonymous(0), vec![value]), DType::F32)]);
    }
    if let Some(values) = cx.floats("value_floats")? {
        let tensor = Tensor::f32([values.len()], Layout::anonymous(1), values);
        return Ok(vec![Val::constant(tensor, DType::F32)]);
    }
    Err("holds a sparse tensor, or text: expected a tensor or numbers".into())
}

pub(super) fn constant_of_shape(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let wanted = cx.known_ints(0, "shape")?.unwrap_or_default();
    let shape = crate::onnx::cx::sizes(&wanted, "the shape")?;
    let value = match cx.tensor("value")? {
        Some(value) => value,
        None => Val::constant(tensor_of(DType::F32, &[], [0.0]), DType::F32),
    };
    let dtype = value.dtype;
    let value = cx.reshape(&value, &[], Layout::anonymous(0))?;
    Ok(vec![cx.apply(Expand { shape: shape.into() }, &[&value])?.with_dtype(dtype)])
}

/// Range of known bounds, as exporters write it into shape computations.
pub(super) fn range(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let dtype = cx.input(0)?.dtype;
    let mut bounds = [0i64; 3];
    for (i, what) in ["start", "limit", "step"].into_iter().enumerate() {
        let values = cx.known_ints(i, what)?;
        bounds[i] =
            values.and_then(|v| v.first().copied()).ok_or_else(|| format!("the {what} is missing"))?;
    }
    let [start, limit, step] = bounds.map(i128::from);
    if step == 0 {
        return Err("the step is 0".into());
    }
    let count = (limit - start + step - step.signum()).checked_div(step).unwrap_or(0).max(0);
    let count = usize::try_from(count).ok().filter(|&n| n <= 1 << 20);
    let count = count.ok_or_else(|| format!("{start} to {limit} by {step} is too long"))?;
    let ty = TensorType::new(dtype.elem(), [count], Layout::anonymous(1));
    let codes = (0..count).map(|i| (start + step * i as i128) as i64);
    Ok(vec![Val::constant(Tensor::codes(ty, codes), dtype)])
}

pub(super) fn concat(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = cx.all()?;
    let axis = match cx.opset() {
        ..4 => cx.int_or("axis", 1)?,
        _ => cx.int("axis")?.ok_or_else(|| Fault::from("attribute `axis` is missing"))?,
    };
    let first = all.first().ok_or_else(|| Fault::from("has no operands"))?;
    let lead = usize::from(all.iter().any(|v| cx.lead(v) == 1));
    let at = normal_axis(axis, cx.rank(first))?;
    let at = at.checked_sub(lead).ok_or_else(|| Fault::mixes("it lengthens the batch"))?;
    let dtype = first.dtype;
    let all = cx.aligned(&all)?;
    if let [one] = &all[..] {
        return Ok(vec![one.clone()]);
    }
    // Known operands that came with a batch axis of 1 belong to every sample; their names follow the others'.
    let layout = all.iter().map(|v| cx.ty(v).layout).find(|l| *l != Layout::anonymous(l.rank()));
    let mut same = Vec::with_capacity(all.len());
    for v in &all {
        let own = cx.ty(v).layout;
        let wanted = layout.filter(|l| l.rank() == own.rank()).unwrap_or(own);
        same.push(cx.relabel(v, wanted)?);
    }
    Ok(vec![cx.apply(Concat { axis: at }, &same.iter().collect::<Vec<_>>())?.with_dtype(dtype)])
}
