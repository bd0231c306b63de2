//! BatchNorm1d, BatchNorm2d and LayerNorm.
//!
//! In front of a sign or a quantizer, batch normalisation is a `mul_add` with the factors that PyTorch computes on a CPU,
//! so that a sum which lies exactly on a threshold falls to the same side: `a = γ · (1 / sqrt(σ² + ε))`,
//! `c = fma(−μ, a, β)`, `y = fma(x, a, c)`, all in single precision. Elsewhere it is a `batch_norm`, which later passes
//! fold into the layer before it.

use unfloat_ir::ops::{BatchNorm, LayerNorm, MulAdd};
use unfloat_ir::{Layout, Tensor, ValueId};

use crate::pytorch::arch::cx::{Cx, Handled};

pub(in super::super) fn batch_norm(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let ty = cx.ty(x);
    let ranks: &[usize] = if cx.layer.kind == "BatchNorm1d" { &[1, 2] } else { &[3] };
    if !ranks.contains(&ty.rank()) {
        return Err(format!("expected {ranks:?} axes per sample, found {}", ty.shape));
    }
    let channels = ty.shape[0];
    cx.same("num_features", channels)?;
    cx.ignore(&["momentum"]);
    let eps = cx.number("eps")?.unwrap_or(1e-5);
    if !cx.flag("track_running_stats", true)? {
        return Err(
            "has no running statistics: it normalises by each batch, which is no inference".to_string()
        );
    }
    let (mean, variance) = (cx.vector("running_mean", channels)?, cx.vector("running_var", channels)?);
    let (gamma, beta) = scale_and_shift(cx, "affine", &[channels])?;
    if cx.feeds_steps {
        return fused(cx, x, eps, [&gamma, &beta, &mean, &variance]);
    }
    let mut operands = vec![x];
    for (name, values) in
        [("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)]
    {
        operands.push(cx.constant(name, Tensor::f32([channels], Layout::channels_last(0), values)));
    }
    cx.apply(BatchNorm { axis: 0, eps: eps as f32 }, &operands)
}

/// `[γ, β, μ, σ²]` as one factor and one term per channel.
fn fused(
    cx: &mut Cx<'_>,
    x: ValueId,
    eps: f64,
    [gamma, beta, mean, variance]: [&[f32]; 4],
) -> Handled<ValueId> {
    let factor: Vec<f32> =
        gamma.iter().zip(variance).map(|(&g, &v)| g * (1.0 / (v + eps as f32).sqrt())).collect();
    let term: Vec<f32> =
        beta.iter().zip(mean).zip(&factor).map(|((&b, &m), &a)| (-m).mul_add(a, b)).collect();
    let mut shape = vec![gamma.len()];
    shape.resize(cx.ty(x).rank(), 1);
    let layout = Layout::anonymous(shape.len());
    let factor = cx.constant("factor", Tensor::f32(shape.clone(), layout, factor));
    let term = cx.constant("term", Tensor::f32(shape, layout, term));
    cx.apply(MulAdd, &[x, factor, term])
}

/// `weight` and `bias`, or ones and zeros when `flag` is false or the state dict has none.
fn scale_and_shift(cx: &mut Cx<'_>, flag: &'static str, shape: &[usize]) -> Handled<(Vec<f32>, Vec<f32>)> {
    let stated = cx.parameter(flag).is_some();
    let affine = cx.flag(flag, true)?;
    let count = shape.iter().product();
    let mut read = |name: &str, default: f32| match cx.find(name)? {
        None if stated && affine => Err(cx.missing(&format!("{}.{name}", cx.layer.module))),
        None => Ok(vec![default; count]),
        Some(_) if !affine => Err(format!("`{flag} = false`, but the state dict has a {name}")),
        Some(t) if t.shape().dims() != shape => {
            Err(format!("`{name}` has the shape {}, expected {shape:?}", t.shape()))
        }
        Some(t) => cx.floats(name, &t),
    };
    Ok((read("weight", 1.0)?, read("bias", 0.0)?))
}

pub(in super::super) fn layer_norm(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let ty = cx.ty(x);
    let eps = cx.number_or("eps", 1e-5)?;
    let shape = cx.ints("normalized_shape")?.ok_or("`normalized_shape` is missing")?;
    let n = shape.len();
    let own: Vec<i64> = ty.shape.iter().map(|&d| d as i64).collect();
    if n == 0 || n > own.len() || own[own.len() - n..] != shape[..] {
        return Err(format!("`normalized_shape` is {shape:?}, the input {} does not end so", ty.shape));
    }
    let axes: Vec<usize> = (ty.rank() - n..ty.rank()).collect();
    let dims: Vec<usize> = axes.iter().map(|&a| ty.shape[a]).collect();
    let (gamma, beta) = scale_and_shift(cx, "elementwise_affine", &dims)?;
    cx.ignore(&["bias"]);
    let layout = Layout::anonymous(n);
    let gamma = cx.constant("weight", Tensor::f32(dims.clone(), layout, gamma));
    let beta = cx.constant("bias", Tensor::f32(dims, layout, beta));
    cx.apply(LayerNorm { axes, eps }, &[x, gamma, beta])
}
