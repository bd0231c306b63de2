//! Functions of each element whose constants vary per channel at most: what stands between an integer and a quantizer.
//!
//! A [`Func`] is one node of the graph, taken out of its shape: it is evaluated on a block of `[points, channels]`, by the
//! op's own reference evaluation, so that a fold sees exactly what the source computes. `channels` is 1 where nothing
//! varies. Refused are nodes whose constants vary along another axis than the last.

use unfloat_ir::ops::{Binary, Quantize, QuantizeOrder, Threshold, Unary};
use unfloat_ir::{
    Data, ElemType, Graph, IntType, Layout, Node, Op, OpDef, Overflow, Rounding, Tensor, TensorType, ValueId,
};

/// How results move when the argument rises: up (or not at all), or down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trend {
    Rising,
    Falling,
}

impl Trend {
    /// The trend of a function after a function.
    pub fn then(self, next: Trend) -> Trend {
        if self == next { Trend::Rising } else { Trend::Falling }
    }
    /// The trend of multiplying by a number.
    pub fn of_factor(factor: f64) -> Trend {
        if factor < 0.0 { Trend::Falling } else { Trend::Rising }
    }
}

/// One node as a function of one element.
#[derive(Clone, Debug)]
pub struct Func {
    op: Op,
    /// The operands; nothing where the argument goes.
    operands: Vec<Option<Tensor>>,
}

impl Func {
    /// The node as a function of the value `x`, which is its only operand that is no constant.
    pub fn of(graph: &Graph, node: &Node, x: ValueId) -> Option<Func> {
        Self::of_value(graph, node, x, graph.ty(x))
    }

    /// The node as a function of another value in the place of `x`, of that type, with as many axes.
    pub fn of_value(graph: &Graph, node: &Node, x: ValueId, ty: &TensorType) -> Option<Func> {
        let mut op = node.op.clone();
        match &mut op {
            Op::Unary(_) | Op::Binary(_) | Op::FloatQuant(_) | Op::Quantize(_) => {}
            Op::BatchNorm(b) if b.axis + 1 == ty.rank() => b.axis = 1,
            Op::Threshold(t) if t.axis + 1 == ty.rank() => t.axis = 1,
            // Thresholds that are the same for all channels look at none.
            Op::Threshold(t) if graph.ty(node.inputs[1]).shape[0] == 1 => t.axis = 1,
            _ => return None,
        }
        let moves = graph.ty(node.output).shape != graph.ty(x).shape;
        if node.inputs.iter().filter(|&&v| v == x).count() != 1 || moves || ty.rank() != graph.ty(x).rank() {
            return None;
        }
        let operand = |&v: &ValueId| {
            if v == x {
                return Some(None);
            }
            let constant = constant(graph, v)?;
            if matches!(op, Op::Threshold(_)) {
                return Some(Some(constant));
            }
            per_channel(constant, ty, matches!(op, Op::BatchNorm(_))).map(Some)
        };
        let operands = node.inputs.iter().map(operand).collect::<Option<Vec<_>>>()?;
        Some(Func { op, operands })
    }

    /// A quantizer to codes of one scale: half to even, saturating.
    pub fn to_codes(int: IntType, scale: f32) -> Option<Func> {
        let scalar = |v: f32| Some(Tensor::f32([], Layout::anonymous(0), vec![v]));
        let op = Quantize {
            to: ElemType::Int(int),
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        (scale > 0.0).then(|| Func { op: op.into(), operands: vec![None, scalar(scale), scalar(0.0)] })
    }

    /// The maximum or the minimum of the argument and its product with something, if it is that: the other function, and
    /// which of the two.
    pub fn bent(&self) -> Option<(Func, Binary)> {
        let (slopes, operand) = match (&self.op, self.operands.get(1)) {
            (Op::Unary(Unary::LeakyRelu { alpha }), _) => (vec![*alpha], None),
            (Op::Unary(Unary::Abs), _) => (vec![-1.0], None),
            (Op::Binary(Binary::Prelu), Some(Some(t))) => (t.as_f32()?.to_vec(), Some(t.clone())),
            _ => return None,
        };
        let which = match slopes {
            s if s.iter().all(|a| *a <= 1.0) => Binary::Max,
            s if s.iter().all(|a| (1.0..=f32::MAX).contains(a)) => Binary::Min,
            _ => return None,
        };
        let slope = match (&self.op, operand) {
            (_, Some(slopes)) => slopes,
            (Op::Unary(Unary::LeakyRelu { alpha }), _) => Tensor::f32([], Layout::anonymous(0), vec![*alpha]),
            _ => Tensor::f32([], Layout::anonymous(0), vec![-1.0]),
        };
        Some((Func { op: Binary::Mul.into(), operands: vec![None, Some(slope)] }, which))
    }

    /// What never leaves these bounds.
    pub fn clip(lo: f32, hi: f32) -> Func {
        Func { op: Unary::Clip { lo, hi }.into(), operands: vec![None] }
    }

    /// Beyond which magnitude a curve is flat to 16 bits.
    pub fn reach(&self) -> Option<f32> {
        match self.op {
            Op::Unary(Unary::Sigmoid) => Some(12.0),
            Op::Unary(Unary::Tanh) => Some(6.0),
            _ => None,
        }
    }

    /// Whether numbers inside its bounds stay what they are.
    pub fn only_bounds(&self) -> bool {
        matches!(self.op, Op::Unary(Unary::Relu | Unary::Clip { .. }))
    }

    /// The quantizer with another type and another overflow.
    pub fn retyped(&self, to: IntType, overflow: Overflow) -> Option<Func> {
        let Op::Quantize(q) = &self.op else { return None };
        let q = Quantize { to: ElemType::Int(to), narrow: false, overflow, ..q.clone() };
        Some(Func { op: q.into(), operands: self.operands.clone() })
    }

    /// Whether it is `max(x, 0)`.
    pub fn is_relu(&self) -> bool {
        matches!(self.op, Op::Unary(Unary::Relu))
    }

    /// The number of channels that the constants tell apart.
    pub fn channels(&self) -> usize {
        let constants = self.operands.iter().flatten();
        let threshold = matches!(self.op, Op::Threshold(_));
        constants.map(|t| if threshold { t.ty.shape[0] } else { t.len() }).max().unwrap_or(1)
    }

    /// The results for a block of arguments `[points, channels]`.
    pub fn eval(&self, x: Tensor) -> Option<Tensor> {
        let operands: Vec<&Tensor> = self.operands.iter().map(|o| o.as_ref().unwrap_or(&x)).collect();
        let types: Vec<&TensorType> = operands.iter().map(|t| &t.ty).collect();
        let ty = self.op.infer(&types).ok()?;
        let data = self.op.eval(&operands, &ty).ok()?;
        Some(Tensor { ty, data })
    }

    /// The trend of each channel (of all, when there is one entry), where every step of the evaluation is monotone in
    /// floating point too; nothing where that is not known, as for functions that come from a mathematical library.
    pub fn trends(&self) -> Option<Vec<Trend>> {
        let constant = |i: usize| self.operands.get(i)?.as_ref()?.as_f32();
        let by = |v: &[f32]| v.iter().map(|&c| Trend::of_factor(c.into())).collect();
        let rising = || Some(vec![Trend::Rising]);
        match &self.op {
            Op::Unary(f) => match *f {
                Unary::Relu | Unary::Clip { .. } | Unary::Sign => rising(),
                Unary::Floor | Unary::Ceil | Unary::Round => rising(),
                Unary::LeakyRelu { alpha } if alpha >= 0.0 => rising(),
                Unary::HardSigmoid { alpha, .. } if alpha >= 0.0 => rising(),
                Unary::ThresholdedRelu { theta } if theta >= 0.0 => rising(),
                Unary::Neg => Some(vec![Trend::Falling]),
                _ => None,
            },
            Op::Binary(f) => match (f, constant(0), constant(1)) {
                (Binary::Add | Binary::Max | Binary::Min, _, _) => rising(),
                (Binary::Sub, None, Some(_)) => rising(),
                (Binary::Sub, Some(_), None) => Some(vec![Trend::Falling]),
                (Binary::Mul, Some(c), None) | (Binary::Mul | Binary::Div, None, Some(c)) => Some(by(c)),
                (Binary::Prelu, None, Some(c)) if c.iter().all(|&c| c >= 0.0) => rising(),
                _ => None,
            },
            Op::BatchNorm(_) => constant(1).map(by),
            Op::Quantize(q) if q.overflow != Overflow::Wrap && q.overflow != Overflow::SaturateZero => {
                constant(1).map(by)
            }
            Op::Threshold(t) => Some(vec![Trend::of_factor(t.scale as f64)]),
            _ => None,
        }
    }

    /// Whether different arguments have different results, but for rounding.
    pub fn rises_strictly(&self) -> bool {
        match &self.op {
            Op::Unary(Unary::LeakyRelu { alpha }) => *alpha > 0.0,
            Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) => self
                .operands
                .iter()
                .flatten()
                .all(|t| t.as_f32().is_some_and(|v| v.iter().all(|&c| c != 0.0))),
            _ => false,
        }
    }

    /// The trend of a function from a mathematical library, as mathematics has it.
    pub fn expected_trend(&self) -> Option<Trend> {
        let Op::Unary(f) = self.op else { return None };
        let rises = match f {
            Unary::Sigmoid
            | Unary::Tanh
            | Unary::Exp
            | Unary::Softplus
            | Unary::Softsign
            | Unary::LogSigmoid => true,
            Unary::Elu { alpha } | Unary::Celu { alpha } => alpha >= 0.0,
            Unary::Selu { alpha, scale } => alpha >= 0.0 && scale >= 0.0,
            _ => false,
        };
        rises.then_some(Trend::Rising)
    }

    /// `y = clamp(a · x + b, lo, hi)` with numbers per channel, where the function is that in real numbers, up to the
    /// rounding of its evaluation. A quantizer is left out.
    pub fn affine(&self, channels: usize) -> Option<Vec<Clamped>> {
        let at = |i: usize, c: usize| {
            let v = self.operands.get(i)?.as_ref()?.as_f32()?;
            v.get(if v.len() == 1 { 0 } else { c }).map(|&x| f64::from(x)).filter(|x| x.is_finite())
        };
        let line = |a: f64, b: f64| Clamped { a, b, lo: f64::NEG_INFINITY, hi: f64::INFINITY };
        let each = |c: usize| {
            Some(match (&self.op, self.operands.first()?.is_none()) {
                (Op::Unary(Unary::Relu), _) => Clamped { lo: 0.0, ..line(1.0, 0.0) },
                (Op::Unary(Unary::Clip { lo, hi }), _) if lo <= hi => {
                    Clamped { lo: f64::from(*lo), hi: f64::from(*hi), ..line(1.0, 0.0) }
                }
                (Op::Unary(Unary::Neg), _) => line(-1.0, 0.0),
                (Op::Unary(Unary::HardSigmoid { alpha, beta }), _) => {
                    Clamped { a: f64::from(*alpha), b: f64::from(*beta), lo: 0.0, hi: 1.0 }
                }
                (Op::Binary(Binary::Add), first) => line(1.0, at(usize::from(first), c)?),
                (Op::Binary(Binary::Sub), true) => line(1.0, -at(1, c)?),
                (Op::Binary(Binary::Sub), false) => line(-1.0, at(0, c)?),
                (Op::Binary(Binary::Mul), first) => line(at(usize::from(first), c)?, 0.0),
                (Op::Binary(Binary::Div), true) => line(1.0 / at(1, c)?, 0.0),
                (Op::Binary(Binary::Max), first) => {
                    Clamped { lo: at(usize::from(first), c)?, ..line(1.0, 0.0) }
                }
                (Op::Binary(Binary::Min), first) => {
                    Clamped { hi: at(usize::from(first), c)?, ..line(1.0, 0.0) }
                }
                (Op::BatchNorm(b), _) => {
                    let (gamma, beta, mean, variance) = (at(1, c)?, at(2, c)?, at(3, c)?, at(4, c)?);
                    let a = gamma / (variance + f64::from(b.eps)).sqrt();
                    line(a, beta - mean * a)
                }
                _ => return None,
            })
        };
        (0..channels).map(each).collect()
    }

    /// The quantizer, with scale and zero point of a channel, if it is one.
    pub fn quantizer(&self, channel: usize) -> Option<(&Quantize, f64, f64)> {
        let Op::Quantize(q) = &self.op else { return None };
        let at = |i: usize| {
            let v = self.operands.get(i)?.as_ref()?.as_f32()?;
            v.get(if v.len() == 1 { 0 } else { channel }).map(|&x| f64::from(x))
        };
        Some((q, at(1)?, at(2)?))
    }
}

/// `clamp(a · x + b, lo, hi)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clamped {
    pub a: f64,
    pub b: f64,
    pub lo: f64,
    pub hi: f64,
}

impl Clamped {
    /// This function, then `next`.
    pub fn then(self, next: Clamped) -> Clamped {
        let end = |v: f64| if v.is_finite() || next.a != 0.0 { next.a * v + next.b } else { next.b };
        let (lo, hi) = if next.a < 0.0 { (end(self.hi), end(self.lo)) } else { (end(self.lo), end(self.hi)) };
        Clamped {
            a: self.a * next.a,
            b: self.b * next.a + next.b,
            lo: lo.clamp(next.lo, next.hi),
            hi: hi.clamp(next.lo, next.hi),
        }
    }
}

/// The constant behind a value, also where it is quantized.
pub fn constant(graph: &Graph, value: ValueId) -> Option<Tensor> {
    if let Some(tensor) = graph.const_of(value) {
        return Some(Tensor::clone(tensor));
    }
    let (_, node) = graph.producer(value)?;
    if !matches!(node.op, Op::Dequantize(_)) {
        return None;
    }
    let operands = node.inputs.iter().map(|&v| graph.const_of(v).map(AsRef::as_ref));
    let operands = operands.collect::<Option<Vec<&Tensor>>>()?;
    let ty = graph.ty(value).clone();
    let data = node.op.eval(&operands, &ty).ok()?;
    Some(Tensor { ty, data })
}

/// A constant that varies along the last axis of `x` at most, as a scalar or a vector; as a vector alone, if that is wanted.
fn per_channel(tensor: Tensor, x: &TensorType, vector: bool) -> Option<Tensor> {
    let n = tensor.len();
    if n == 1 && !vector {
        return Some(tensor.reshaped([], Layout::anonymous(0)));
    }
    let last = tensor.ty.shape.last().copied();
    (last == Some(n) && x.shape.last() == Some(&n)).then(|| tensor.reshaped([n], Layout::channels_last(0)))
}

/// A block of arguments.
pub fn block(channels: usize, values: Vec<f32>) -> Tensor {
    let points = values.len().checked_div(channels).unwrap_or(0);
    Tensor::f32([points, channels], Layout::channels_last(1), values)
}

/// Whether a node makes integers of floats: where a chain of functions ends.
pub fn is_quantizer(graph: &Graph, node: &Node) -> bool {
    let from_float = node.inputs.first().is_some_and(|&v| graph.ty(v).elem.is_float());
    from_float && matches!(node.op, Op::Quantize(_) | Op::Threshold(_))
}

/// The codes of a block of results.
pub fn codes(t: &Tensor) -> Option<Vec<i64>> {
    match &t.data {
        Data::F32(_) => None,
        data => (0..data.len()).map(|i| data.code(i)).collect(),
    }
}

/// The element type that a quantizer makes.
pub fn made(op: &Op) -> Option<&ElemType> {
    match op {
        Op::Quantize(q) => Some(&q.to),
        Op::Threshold(Threshold { to, .. }) => Some(to),
        _ => None,
    }
}
