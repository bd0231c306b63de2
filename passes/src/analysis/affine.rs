//! Functions of the form `y = a · x + b` with one factor and one term per channel, and the linear layers that can
//! take them up. Channels are the last axis: at stage canonical they are wherever it matters.

use super::floats;
use unfloat_ir::ops::Binary;
use unfloat_ir::{Graph, Node, Op, ValueId};

/// `y[…, c] = a[c] · x[…, c] + b[c]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Affine {
    /// The factor of each channel.
    pub a: Vec<f64>,
    /// The term of each channel.
    pub b: Vec<f64>,
}

impl Affine {
    /// Whether every number can be told in single precision.
    pub fn is_finite(&self) -> bool {
        self.a.iter().chain(&self.b).all(|x| (*x as f32).is_finite())
    }
    /// Whether it only scales.
    pub fn is_scale(&self) -> bool {
        self.b.iter().all(|&b| b == 0.0)
    }
    /// Whether it only shifts.
    pub fn is_shift(&self) -> bool {
        self.a.iter().all(|&a| a == 1.0)
    }
    /// This function, then `next`.
    pub fn then(&self, next: &Affine) -> Affine {
        let pairs = || self.a.iter().zip(&self.b).zip(next.a.iter().zip(&next.b));
        Affine {
            a: pairs().map(|((a, _), (c, _))| a * c).collect(),
            b: pairs().map(|((_, b), (c, d))| b * c + d).collect(),
        }
    }
    /// The same function over `n` elements that go through the channels again and again.
    pub fn repeated(&self, n: usize) -> Affine {
        let cycle = |v: &[f64]| v.iter().copied().cycle().take(n).collect();
        Affine { a: cycle(&self.a), b: cycle(&self.b) }
    }
}

/// The function that a node computes, and of what, if it is one: a batch normalisation, or a sum, difference,
/// product or quotient with a constant that varies along the last axis at most.
pub fn affine_of(graph: &Graph, node: &Node) -> Option<(ValueId, Affine)> {
    let n = *graph.ty(node.output).shape.last()?;
    let (x, affine) = match &node.op {
        Op::BatchNorm(op) if op.axis + 1 == graph.ty(node.output).rank() => {
            let p = |i: usize| floats(graph, *node.inputs.get(i)?);
            let (gamma, beta, mean, variance) = (p(1)?, p(2)?, p(3)?, p(4)?);
            let a: Vec<f64> = (0..n)
                .map(|c| f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(op.eps)).sqrt())
                .collect();
            let b = (0..n).map(|c| f64::from(beta[c]) - f64::from(mean[c]) * a[c]).collect();
            (node.inputs[0], Affine { a, b })
        }
        Op::Binary(f) => of_binary(graph, *f, node, n)?,
        _ => return None,
    };
    (graph.ty(x) == graph.ty(node.output) && affine.is_finite()).then_some((x, affine))
}

fn of_binary(graph: &Graph, f: Binary, node: &Node, n: usize) -> Option<(ValueId, Affine)> {
    let [left, right] = node.inputs[..] else { return None };
    let (x, c, constant_first) = match (per_channel(graph, left, n), per_channel(graph, right, n)) {
        (None, Some(c)) => (left, c, false),
        (Some(c), None) => (right, c, true),
        _ => return None,
    };
    let same = |v: f64| vec![v; n];
    let (a, b) = match (f, constant_first) {
        (Binary::Add, _) => (same(1.0), c),
        (Binary::Sub, false) => (same(1.0), c.iter().map(|c| -c).collect()),
        (Binary::Sub, true) => (same(-1.0), c),
        (Binary::Mul, _) => (c, same(0.0)),
        (Binary::Div, false) => (c.iter().map(|c| 1.0 / c).collect(), same(0.0)),
        _ => return None,
    };
    Some((x, Affine { a, b }))
}

/// A constant that varies along the last axis at most, as one number for each of `n` channels.
fn per_channel(graph: &Graph, value: ValueId, n: usize) -> Option<Vec<f64>> {
    let (shape, v) = (&graph.ty(value).shape, floats(graph, value)?);
    let varies = shape.last().copied().unwrap_or(1);
    match v {
        [one] => Some(vec![f64::from(*one); n]),
        _ if v.len() == varies && varies == n => Some(v.iter().map(|&x| x.into()).collect()),
        _ => None,
    }
}

/// A layer that is linear but for its bias, with constant weight `[out, taps…, in]`.
pub struct Linear<'g> {
    /// The node.
    pub node: &'g Node,
    /// The weight.
    pub weight: &'g [f32],
    /// The bias, if there is one.
    pub bias: Option<&'g [f32]>,
    /// Output channels.
    pub out: usize,
    /// Inputs of one output channel, per tap.
    pub per_group: usize,
    /// Independent channel blocks.
    pub groups: usize,
}

impl Linear<'_> {
    /// The node as a linear layer, if it is one with constant weight and bias and channels last.
    pub fn of<'g>(graph: &'g Graph, node: &'g Node) -> Option<Linear<'g>> {
        let groups = match &node.op {
            Op::Dense(_) => 1,
            Op::Conv(c) => c.groups,
            Op::ConvTranspose(c) => c.groups,
            _ => return None,
        };
        let dense = matches!(node.op, Op::Dense(_));
        if !dense && !graph.ty(node.output).layout.is_channels_last() {
            return None;
        }
        let weight = floats(graph, *node.inputs.get(1)?)?;
        let bias = match node.inputs.get(2) {
            None => None,
            Some(&b) => Some(floats(graph, b)?),
        };
        let shape = &graph.ty(node.inputs[1]).shape;
        let (out, per_group) = (*shape.first()?, *shape.last()?);
        Some(Linear { node, weight, bias, out, per_group, groups })
    }

    /// Whether every output is a sum over all taps, none of them in zero padding.
    pub fn is_unpadded(&self) -> bool {
        match &self.node.op {
            Op::Dense(_) => true,
            Op::Conv(c) => !c.window.is_padded(),
            // Cells at the border, and between strides, miss taps.
            _ => false,
        }
    }

    /// Weight and bias of this layer followed by `next`.
    pub fn followed_by(&self, next: &Affine) -> Option<(Vec<f32>, Vec<f32>)> {
        let row = self.weight.len().checked_div(self.out)?;
        let weight = self.weight.chunks_exact(row.max(1)).zip(&next.a);
        let weight =
            weight.flat_map(|(row, a)| row.iter().map(move |&w| (f64::from(w) * a) as f32)).collect();
        let bias = (0..self.out).map(|o| (self.bias_of(o) * next.a[o] + next.b[o]) as f32).collect();
        finite(weight, bias)
    }

    /// Weight and bias of this layer behind `first`.
    pub fn behind(&self, first: &Affine) -> Option<(Vec<f32>, Vec<f32>)> {
        let row = self.weight.len().checked_div(self.out)?;
        let outs_per_group = self.out.checked_div(self.groups)?.max(1);
        let mut weight = Vec::with_capacity(self.weight.len());
        let mut bias = Vec::with_capacity(self.out);
        for o in 0..self.out {
            let from = o / outs_per_group * self.per_group;
            let mut sum = self.bias_of(o);
            for tap in self.weight[o * row..(o + 1) * row].chunks_exact(self.per_group.max(1)) {
                for (i, &w) in tap.iter().enumerate() {
                    weight.push((f64::from(w) * first.a[from + i]) as f32);
                    sum += f64::from(w) * first.b[from + i];
                }
            }
            bias.push(sum as f32);
        }
        finite(weight, bias)
    }

    fn bias_of(&self, out: usize) -> f64 {
        self.bias.map_or(0.0, |b| b[out].into())
    }
}

fn finite(weight: Vec<f32>, bias: Vec<f32>) -> Option<(Vec<f32>, Vec<f32>)> {
    weight.iter().chain(&bias).all(|x| x.is_finite()).then_some((weight, bias))
}
