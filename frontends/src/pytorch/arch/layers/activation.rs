//! Activations and other functions of one element, and softmax.
//!
//! `inplace = true` overwrites the input, which matters where another layer reads that as well.

use unfloat_ir::ops::{Binary, Softmax as SoftmaxOp, Unary};
use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, Wanted, needed, sample_axis};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, with_help};

/// A function of each element.
struct Function {
    f: Unary,
    in_place: bool,
}

impl Layer for Function {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let y = cx.node(self.f, &[x])?;
        if self.in_place && cx.has_other_readers() {
            cx.overwrite(y)?;
        }
        Ok(y)
    }
}

fn function(p: &mut Parameters<'_>, f: Unary) -> Box<dyn Layer> {
    Box::new(Function { f, in_place: p.flag("inplace").unwrap_or(false) })
}

/// Reads a `ReLU`.
pub(super) fn relu(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    function(p, Unary::Relu)
}

/// Reads a `ReLU6`.
pub(super) fn relu6(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    function(p, Unary::Clip { lo: 0.0, hi: 6.0 })
}

/// Reads a `Hardtanh`.
pub(super) fn hardtanh(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let (lo, hi) = (p.float("min_val", -1.0), p.float("max_val", 1.0));
    if lo >= hi {
        p.fail(format!("`min_val` is {lo} and `max_val` {hi}"));
    }
    function(p, Unary::Clip { lo, hi })
}

/// Reads a `Clamp`, torch.clamp.
pub(super) fn clamp(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let (lo, hi) = (p.float("min", f64::NEG_INFINITY), p.float("max", f64::INFINITY));
    if lo > hi {
        p.fail(format!("`min` is {lo} and `max` {hi}"));
    }
    function(p, Unary::Clip { lo, hi })
}

/// Reads a `LeakyReLU`.
pub(super) fn leaky_relu(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let alpha = p.float("negative_slope", 0.01);
    function(p, Unary::LeakyRelu { alpha })
}

/// Reads an `ELU`.
pub(super) fn elu(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let alpha = p.float("alpha", 1.0);
    function(p, Unary::Elu { alpha })
}

/// Reads a `GELU`.
pub(super) fn gelu(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let f = if p.word("approximate", &["none", "tanh"]) == "tanh" { Unary::GeluTanh } else { Unary::Gelu };
    function(p, f)
}

/// Reads a `Hardsigmoid`.
pub(super) fn hardsigmoid(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    function(p, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 })
}

/// Reads a `Softplus`.
pub(super) fn softplus(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    // From 20 on, the function is the identity in single precision anyway.
    if p.number("threshold").is_some_and(|threshold| threshold < 20.0) {
        p.fail("only a `threshold` from 20 is supported");
    }
    if p.number("beta").is_some_and(|beta| beta != 1.0) {
        p.fail("only `beta = 1` is supported");
    }
    function(p, Unary::Softplus)
}

/// Declares readers of functions that have no parameter but `inplace`.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)+) => {
        $($(#[$doc])* pub(super) fn $name(p: &mut Parameters<'_>) -> Box<dyn Layer> { function(p, $f) })+
    };
}

plain! {
    /// Reads a `Sigmoid`.
    sigmoid = Unary::Sigmoid;
    /// Reads a `LogSigmoid`.
    log_sigmoid = Unary::LogSigmoid;
    /// Reads a `Tanh`.
    tanh = Unary::Tanh;
    /// Reads a `SiLU`.
    silu = Unary::Silu;
    /// Reads a `Hardswish`.
    hardswish = Unary::HardSwish;
    /// Reads a `Mish`.
    mish = Unary::Mish;
    /// Reads a `Softsign`.
    softsign = Unary::Softsign;
    /// Reads a `Sign`, torch.sign: 0 of 0.
    sign = Unary::Sign;
    /// Reads a `Round`: halves to even.
    round = Unary::Round;
    /// Reads a `Floor`.
    floor = Unary::Floor;
    /// Reads a `Ceil`.
    ceil = Unary::Ceil;
    /// Reads an `Abs`.
    abs = Unary::Abs;
    /// Reads a `Neg`.
    neg = Unary::Neg;
    /// Reads an `Exp`.
    exp = Unary::Exp;
    /// Reads a `Log`.
    log = Unary::Log;
    /// Reads a `Sqrt`.
    sqrt = Unary::Sqrt;
}

/// A ReLU whose slope was learned, for all channels or for each.
struct Prelu {
    parameters: Option<usize>,
}

/// Reads a `PReLU`.
pub(super) fn prelu(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    p.ignore(&["init"]);
    Box::new(Prelu { parameters: p.size("num_parameters", 1) })
}

impl Layer for Prelu {
    fn tensors(&self) -> Vec<Wanted> {
        vec![needed(&["weight"])]
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let (shape, slopes) = cx.floats("weight", &[self.parameters])?;
        let n = shape[0];
        if n != 1 && dims.first() != Some(&n) {
            return Err(cx.error(format!("{n} slopes for {} channels", dims.first().copied().unwrap_or(0))));
        }
        let spatial = dims.len().saturating_sub(1);
        let x = if n == 1 { x } else { cx.channels(x, spatial)? };
        let slopes = match n {
            1 => Tensor::f32([], Layout::anonymous(0), slopes),
            _ => Tensor::f32([vec![n], vec![1; spatial]].concat(), Layout::channels_first(spatial), slopes),
        };
        let slopes = cx.constant("weight", slopes);
        cx.node(Binary::Prelu, &[x, slopes])
    }
}

/// Softmax or its logarithm.
struct Softmax {
    dim: Option<i64>,
    log: bool,
}

/// Reads a `Softmax`.
pub(super) fn softmax(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Softmax { dim: p.int("dim"), log: false })
}

/// Reads a `LogSoftmax`.
pub(super) fn log_softmax(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Softmax { dim: p.int("dim"), log: true })
}

impl Layer for Softmax {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let rank = cx.dims(x).len();
        // Without `dim` torch takes axis 0 of tensors of 0, 1 or 3 axes, the batch included, and axis 1 of others.
        let dim = match self.dim {
            Some(dim) => dim,
            None if rank != 2 => 1,
            None => {
                let found = cx.error("without `dim`, torch normalises a tensor of 3 axes over the batch");
                return Err(with_help(found, "give the `dim` that the model means"));
            }
        };
        let axis = sample_axis(cx, "dim", dim, rank)?;
        cx.node(SoftmaxOp { axes: vec![axis], log: self.log }, &[x])
    }
}
