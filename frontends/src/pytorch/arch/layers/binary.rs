//! BinarizeConv2d, BinarizeLinear and BinarySign: modules that PyTorch users copy from each other for binary networks.
//!
//! The binarize functions are `tensor.sign()`, of which 0 is a third value: an input, or a latent weight, of exactly 0
//! stays 0. A layer does not binarize its input when that has 3 channels (`BinarizeConv2d`) or 784 features
//! (`BinarizeLinear`), wherever it stands. The bias is a float that is added to the sum, in a step of its own.
//!
//! State dicts hold latent weights, or signs already: the sign of either is the same. A `weight_org` beside the weight
//! is the latent one; it is not read, but a difference of signs is told.

use unfloat_ir::ops::{Binary, Dense, Quantize, QuantizeOrder, Unary};
use unfloat_ir::{ElemType, Layout, Overflow, Rounding, Tensor, ValueId};

use super::conv::{self, Geometry};
use crate::pytorch::arch::cx::{Cx, Handled};

pub(in super::super) fn conv(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let weight = cx.tensor("weight")?;
    let weight = signs(cx, weight)?;
    let bias = conv::bias_values(cx, weight.shape().first().copied().unwrap_or(0))?;
    let geometry = Geometry::read(cx, x, &weight)?;
    let weight = cx.constant("weight", geometry.rearranged(&weight));
    let x = if cx.ty(x).shape[0] == 3 { x } else { cx.apply(Unary::Sign, &[x])? };
    let y = geometry.apply(cx, x, weight, None)?;
    with_bias(cx, y, bias)
}

pub(in super::super) fn linear(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let weight = conv::matrix(cx, x)?;
    let weight = signs(cx, weight)?;
    let bias = conv::bias_values(cx, weight.shape()[0])?;
    let ty = cx.ty(x);
    if ty.rank() != 1 {
        return Err(format!("expected one axis per sample, found {}", ty.shape));
    }
    let weight = cx.constant("weight", weight);
    let x = if ty.shape[0] == 784 { x } else { cx.apply(Unary::Sign, &[x])? };
    let y = cx.apply(Dense, &[x, weight])?;
    with_bias(cx, y, bias)
}

/// The signs of a weight. Zeros stay, and are told.
fn signs(cx: &mut Cx<'_>, weight: Tensor) -> Handled<Tensor> {
    let values = cx.floats("weight", &weight)?;
    let sign = |v: f32| if v == 0.0 { 0.0 } else { v.signum() };
    let signs: Vec<f32> = values.iter().map(|&v| sign(v)).collect();
    let zeros = signs.iter().filter(|&&s| s == 0.0).count();
    if zeros > 0 {
        cx.warn(format!(
            "{zeros} of {} elements of `{}.weight` are exactly 0, whose sign is 0 in PyTorch: they stay 0",
            signs.len(),
            cx.layer.module
        ));
    }
    if let Some(latent) = cx.find("weight_org")? {
        let latent = cx.floats("weight_org", &latent)?;
        let differ = latent.iter().zip(&signs).filter(|&(&l, &s)| sign(l) != s).count();
        if differ > 0 || latent.len() != signs.len() {
            cx.warn(format!(
                "`weight` and `weight_org` differ in {differ} signs; `weight` is what the layer computes with"
            ));
        }
    }
    Ok(Tensor::f32(weight.ty.shape.clone(), weight.ty.layout, signs))
}

/// The sum and a bias per channel. Not the convolution's own bias, which would be added before the products.
fn with_bias(cx: &mut Cx<'_>, y: ValueId, bias: Option<Vec<f32>>) -> Handled<ValueId> {
    let Some(bias) = bias else { return Ok(y) };
    let mut shape = vec![bias.len()];
    shape.resize(cx.ty(y).rank(), 1);
    let layout = Layout::anonymous(shape.len());
    let bias = cx.constant("bias", Tensor::f32(shape, layout, bias));
    cx.apply(Binary::Add, &[y, bias])
}

/// `+1` for `x ≥ 0`, else `−1`: as `2 · (x >= 0) − 1`, or `where(x >= 0, 1, −1)`.
pub(in super::super) fn binary_sign(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let (one, zero) = (cx.scalar("scale", 1.0), cx.scalar("zero_point", 0.0));
    let op = Quantize {
        to: ElemType::Bipolar,
        narrow: false,
        rounding: Rounding::HalfEven,
        overflow: Overflow::Saturate,
        order: QuantizeOrder::ClampThenRound,
    };
    let codes = cx.apply(op, &[x, one, zero])?;
    cx.apply(unfloat_ir::ops::Dequantize, &[codes, one, zero])
}
