//! Conv1d, Conv2d and Linear, with floats or with weights that a quantizer has gone over.
//!
//! Weights are rearranged from PyTorch's `[out, in/groups, space…]` to `[out, space…, in/groups]`.

use unfloat_ir::ops::{Conv, Dense, Window};
use unfloat_ir::{Layout, Tensor, TensorType, ValueId};

use super::quantizers;
use crate::pytorch::arch::cx::{Cx, Handled};

/// Spatial axes of a kind: the digit in front of its `d`.
pub(super) fn spatial(cx: &Cx<'_>) -> usize {
    if cx.layer.kind.ends_with("1d") { 1 } else { 2 }
}

pub(in super::super) fn conv(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let weight = cx.tensor("weight")?;
    let bias = bias(cx, weight.shape().first().copied().unwrap_or(0))?;
    let geometry = Geometry::read(cx, x, &weight)?;
    let weight = quantizers::weight(cx, geometry.rearranged(&weight))?;
    geometry.apply(cx, x, weight, bias)
}

pub(in super::super) fn linear(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let weight = matrix(cx, x)?;
    let bias = bias(cx, weight.shape()[0])?;
    let weight = quantizers::weight(cx, weight)?;
    let operands: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
    cx.apply(Dense, &operands)
}

/// The weight `[out, in]` of a layer that reads `x`.
pub(super) fn matrix(cx: &mut Cx<'_>, x: ValueId) -> Handled<Tensor> {
    let mut weight = cx.tensor("weight")?;
    let dims = weight.shape().to_vec();
    let features = cx.ty(x).shape.last().copied().unwrap_or(1);
    if dims.len() != 2 || dims[1] != features {
        return Err(format!(
            "`weight` has the shape {}, expected [out, {features}] for an input {}",
            weight.shape(),
            cx.ty(x).shape
        ));
    }
    cx.same("in_features", dims[1])?;
    cx.same("out_features", dims[0])?;
    weight.ty.layout = Layout::weight(0);
    Ok(weight)
}

/// The bias as a constant; `bias = false` says that there is none, and so does a state dict without one, unless
/// `bias = true` stands in the architecture.
fn bias(cx: &mut Cx<'_>, outputs: usize) -> Handled<Option<ValueId>> {
    Ok(bias_values(cx, outputs)?.map(|values| {
        let tensor = Tensor::f32([outputs], Layout::channels_last(0), values);
        cx.constant("bias", tensor)
    }))
}

/// The bias, if the layer has one.
pub(super) fn bias_values(cx: &mut Cx<'_>, outputs: usize) -> Handled<Option<Vec<f32>>> {
    let stated = cx.parameter("bias").is_some();
    let wanted = cx.flag("bias", true)?;
    match cx.find("bias")? {
        Some(_) if !wanted => Err("`bias = false`, but the state dict has a bias".to_string()),
        Some(_) => cx.vector("bias", outputs).map(Some),
        None if stated && wanted => Err(cx.missing(&format!("{}.bias", cx.layer.module))),
        None => Ok(None),
    }
}

/// Window and groups of a convolution.
pub(super) struct Geometry {
    window: Window,
    groups: usize,
}

impl Geometry {
    /// Reads the parameters of a layer over `x` with a weight `[out, in/groups, space…]`.
    pub(super) fn read(cx: &mut Cx<'_>, x: ValueId, weight: &Tensor) -> Handled<Self> {
        let n = spatial(cx);
        let dims = weight.shape().to_vec();
        let ty = cx.ty(x);
        if dims.len() != n + 2 || ty.rank() != n + 1 {
            return Err(format!(
                "expected a weight with {} axes and an input with {} per sample, found {} and {}",
                n + 2,
                n + 1,
                weight.shape(),
                ty.shape
            ));
        }
        let groups = cx.size("groups")?.unwrap_or(1);
        if groups == 0 || dims[1].checked_mul(groups) != Some(ty.shape[0]) {
            return Err(format!(
                "the weight {} with {groups} groups reads {} channels, the input has {}",
                weight.shape(),
                dims[1].saturating_mul(groups),
                ty.shape[0]
            ));
        }
        cx.same("in_channels", ty.shape[0])?;
        cx.same("out_channels", dims[0])?;
        if let Some(kernel) = cx.sizes("kernel_size", n)?
            && kernel != dims[2..]
        {
            return Err(format!("`kernel_size` is {kernel:?}, but the weight says {:?}", &dims[2..]));
        }
        cx.word("padding_mode", "zeros", &["zeros"])?;
        let strides = cx.sizes("stride", n)?.unwrap_or(vec![1; n]);
        let dilations = cx.sizes("dilation", n)?.unwrap_or(vec![1; n]);
        let window = Window::new(&dims[2..]).strides(strides).dilations(dilations);
        let (begin, end) = padding(cx, &window)?;
        Ok(Self { window: window.pads(begin, end), groups })
    }
    /// A weight as the graph has it.
    pub(super) fn rearranged(&self, weight: &Tensor) -> Tensor {
        let rank = weight.ty.rank();
        let perm: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        let mut turned = weight.transposed(&perm);
        turned.ty = TensorType::new(turned.ty.elem, turned.ty.shape, Layout::weight(rank - 2));
        turned
    }
    /// Adds the convolution.
    pub(super) fn apply(
        &self,
        cx: &mut Cx<'_>,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
    ) -> Handled<ValueId> {
        let x = cx.channels_first(x, self.window.rank())?;
        let operands: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
        cx.apply(Conv { window: self.window.clone(), groups: self.groups }, &operands)
    }
}

/// Cells in front and behind. PyTorch's `same` puts the odd one behind, and takes strides of 1 only.
fn padding(cx: &mut Cx<'_>, window: &Window) -> Handled<(Vec<usize>, Vec<usize>)> {
    let n = window.rank();
    let word = match cx.parameter("padding") {
        Some(toml::Value::String(word)) => Some(word.clone()),
        _ => None,
    };
    match word.as_deref() {
        None => {
            let pads = cx.sizes("padding", n)?.unwrap_or(vec![0; n]);
            Ok((pads.clone(), pads))
        }
        Some("valid") => Ok((vec![0; n], vec![0; n])),
        Some("same") if window.strides.iter().all(|&s| s == 1) => {
            let total: Vec<usize> = (0..n).map(|i| window.extent(i).saturating_sub(1)).collect();
            Ok((total.iter().map(|t| t / 2).collect(), total.iter().map(|t| t - t / 2).collect()))
        }
        Some("same") => Err("`padding`: \"same\" goes with strides of 1 only".to_string()),
        Some(other) => Err(format!("`padding`: expected sizes, \"same\" or \"valid\", found \"{other}\"")),
    }
}
