//! `BatchNorm1d` to `BatchNorm3d` with their running statistics, and `LayerNorm`.
//!
//! A batch normalisation is computed as PyTorch does on a CPU, to the last bit: a sign may follow it.

use unfloat_ir::ops::{BatchNorm as BatchNormOp, LayerNorm as LayerNormOp};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, Wanted, needed, spare};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// A batch normalisation.
struct BatchNorm {
    /// How many axes a sample may have.
    ranks: [usize; 2],
    features: Option<usize>,
    eps: f32,
    affine: bool,
}

fn read(p: &mut Parameters<'_>, ranks: [usize; 2]) -> Box<dyn Layer> {
    p.ignore(&["momentum"]);
    let why = "without running statistics it normalises by the batch at hand, and a sample's result depends on others";
    p.only_flag("track_running_stats", true, why);
    Box::new(BatchNorm {
        ranks,
        features: p.size("num_features", 1),
        eps: p.float("eps", 1e-5),
        affine: p.flag("affine").unwrap_or(true),
    })
}

/// Reads a `BatchNorm1d`.
pub(super) fn batch_norm1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, [1, 2])
}

/// Reads a `BatchNorm2d`.
pub(super) fn batch_norm2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, [3, 3])
}

/// Reads a `BatchNorm3d`.
pub(super) fn batch_norm3d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, [4, 4])
}

impl Layer for BatchNorm {
    fn tensors(&self) -> Vec<Wanted> {
        let mut list =
            vec![needed(&["running_mean"]), needed(&["running_var"]), spare(&["num_batches_tracked"])];
        if self.affine {
            list.extend([needed(&["weight"]), needed(&["bias"])]);
        }
        list
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        if !(self.ranks[0]..=self.ranks[1]).contains(&dims.len()) {
            let all = if self.ranks[0] == self.ranks[1] { "" } else { "1 or " };
            let text = format!("expected {all}{} axes per sample, found {}", self.ranks[1], show(&dims));
            return Err(cx.error(text));
        }
        let n = dims[0];
        if let Some(said) = self.features.filter(|&f| f != n) {
            return Err(cx.error(format!("`num_features = {said}`: the input has {n}")));
        }
        let (gamma, beta) = if self.affine {
            (cx.vector("weight", n)?, cx.vector("bias", n)?)
        } else {
            let mut still = |part: &str, number| cx.filled(part, &[n], Layout::channels_last(0), number);
            (still("ones", 1.0)?, still("zeros", 0.0)?)
        };
        let mean = cx.vector("running_mean", n)?;
        let (_, variances) = cx.floats("running_var", &[Some(n)])?;
        if let Some(i) = variances.iter().position(|&v| v + self.eps <= 0.0) {
            let text = format!(
                "`{}`: the variance {} (element {i}) has no root",
                cx.key("running_var"),
                variances[i]
            );
            return Err(cx.error(text));
        }
        let variance = cx.vector("running_var", n)?;
        let x = cx.channels(x, dims.len() - 1)?;
        cx.node(BatchNormOp::fused(0, self.eps), &[x, gamma, beta, mean, variance])
    }
}

/// A layer normalisation over the last axes.
struct LayerNorm {
    shape: Vec<usize>,
    eps: f32,
    affine: bool,
    bias: bool,
}

/// Reads a `LayerNorm`.
pub(super) fn layer_norm(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let shape = p.ints("normalized_shape");
    if shape.is_none() {
        p.fail("`normalized_shape` is missing");
    }
    let shape = shape.unwrap_or_default().iter().filter_map(|&i| usize::try_from(i).ok()).collect();
    Box::new(LayerNorm {
        shape,
        eps: p.float("eps", 1e-5),
        affine: p.flag("elementwise_affine").unwrap_or(true),
        bias: p.flag("bias").unwrap_or(true),
    })
}

impl Layer for LayerNorm {
    fn tensors(&self) -> Vec<Wanted> {
        match (self.affine, self.bias) {
            (false, _) => Vec::new(),
            (true, false) => vec![needed(&["weight"])],
            (true, true) => vec![needed(&["weight"]), needed(&["bias"])],
        }
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        if self.shape.is_empty() || !dims.ends_with(&self.shape) {
            let text = format!("`normalized_shape` is {}, a sample is {}", show(&self.shape), show(&dims));
            return Err(cx.error(text));
        }
        let layout = Layout::anonymous(self.shape.len());
        let expected: Vec<Option<usize>> = self.shape.iter().map(|&n| Some(n)).collect();
        let mut parameter = |part: &str, present: bool, default: f32| -> Outcome<ValueId> {
            if !present {
                return cx.filled(&format!("still_{part}"), &self.shape, layout, default);
            }
            let (_, values) = cx.floats(part, &expected)?;
            Ok(cx.constant(part, Tensor::f32(self.shape.clone(), layout, values)))
        };
        let gamma = parameter("weight", self.affine, 1.0)?;
        let beta = parameter("bias", self.affine && self.bias, 0.0)?;
        let axes = (dims.len() - self.shape.len()..dims.len()).collect();
        cx.node(LayerNormOp { axes, eps: self.eps }, &[x, gamma, beta])
    }
}
