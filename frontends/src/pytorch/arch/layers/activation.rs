//! Functions of each element, PReLU, and the softmaxes.

use unfloat_ir::ops::{Binary, Softmax, Unary};
use unfloat_ir::{Layout, Tensor, ValueId};

use crate::pytorch::arch::cx::{Cx, Handled};

/// The kinds that are one function of one operand.
pub(in super::super) fn plain(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    cx.ignore(&["inplace"]);
    let f = match cx.layer.kind.as_str() {
        "ReLU" => Unary::Relu,
        "ReLU6" => Unary::Clip { lo: 0.0, hi: 6.0 },
        "Hardtanh" => bounded(cx.number_or("min_val", -1.0)?, cx.number_or("max_val", 1.0)?)?,
        "Clamp" => bounded(cx.number_or("min", f64::NEG_INFINITY)?, cx.number_or("max", f64::INFINITY)?)?,
        "LeakyReLU" => Unary::LeakyRelu { alpha: cx.number_or("negative_slope", 0.01)? },
        "ELU" => Unary::Elu { alpha: cx.number_or("alpha", 1.0)? },
        "CELU" => Unary::Celu { alpha: cx.number_or("alpha", 1.0)? },
        "SELU" => Unary::Selu { alpha: 1.673_263_2, scale: 1.050_701 },
        "GELU" => match cx.word("approximate", "none", &["none", "tanh"])?.as_str() {
            "tanh" => Unary::GeluTanh,
            _ => Unary::Gelu,
        },
        "SiLU" => Unary::Silu,
        "Mish" => Unary::Mish,
        "Hardswish" => Unary::HardSwish,
        "Hardsigmoid" => Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        "Sigmoid" => Unary::Sigmoid,
        "LogSigmoid" => Unary::LogSigmoid,
        "Tanh" => Unary::Tanh,
        "Tanhshrink" => Unary::TanhShrink,
        "Hardshrink" => Unary::HardShrink { lambda: cx.number_or("lambd", 0.5)? },
        "Softshrink" => Unary::SoftShrink { lambda: cx.number_or("lambd", 0.5)? },
        "Softplus" => {
            let (beta, threshold) = (cx.number_or("beta", 1.0)?, cx.number_or("threshold", 20.0)?);
            // Beyond 20 the function is the identity in single precision anyway.
            if beta != 1.0 || threshold < 20.0 {
                return Err(format!("expected beta = 1 and threshold from 20, found {beta} and {threshold}"));
            }
            Unary::Softplus
        }
        "Softsign" => Unary::Softsign,
        "Sign" => Unary::Sign,
        "Abs" => Unary::Abs,
        "Neg" => Unary::Neg,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        other => return Err(format!("`{other}` is no function of one operand")),
    };
    cx.apply(f, &[x])
}

fn bounded(lo: f32, hi: f32) -> Handled<Unary> {
    match (lo, hi) {
        (lo, hi) if lo > hi => Err(format!("the least result {lo} is above the greatest {hi}")),
        (0.0, f32::INFINITY) => Ok(Unary::Relu),
        (lo, hi) => Ok(Unary::Clip { lo, hi }),
    }
}

pub(in super::super) fn prelu(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    let weight = cx.tensor("weight")?;
    let slopes = cx.floats("weight", &weight)?;
    cx.same("num_parameters", slopes.len())?;
    cx.ignore(&["init"]);
    let ty = cx.ty(x);
    if weight.ty.rank() != 1 || !(slopes.len() == 1 || slopes.len() == ty.shape[0]) {
        return Err(format!("`weight` has the shape {}, the input {}", weight.shape(), ty.shape));
    }
    let mut shape = vec![slopes.len()];
    shape.resize(ty.rank(), 1);
    let layout = Layout::anonymous(shape.len());
    let slopes = cx.constant("weight", Tensor::f32(shape, layout, slopes));
    cx.apply(Binary::Prelu, &[x, slopes])
}

pub(in super::super) fn softmax(cx: &mut Cx<'_>) -> Handled<ValueId> {
    let x = cx.input()?;
    // Without a dim, PyTorch takes 0 for tensors of 1 and 3 axes, which would be the batch, and 1 otherwise.
    let dim = match cx.int("dim")? {
        Some(dim) => dim,
        None if cx.ty(x).rank() == 2 => {
            return Err("`dim` is missing: PyTorch would work along the batch here".to_string());
        }
        None => 1,
    };
    let axes = vec![cx.axis(x, dim)?];
    let log = cx.layer.kind == "LogSoftmax";
    cx.apply(Softmax { axes, log }, &[x])
}
