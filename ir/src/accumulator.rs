//! What an accumulator can hold: interval analysis of sums of products on the weights that are really there.
//!
//! In comes a convolution, a dense layer or a matrix product over integers, with its constant weights and bias and the
//! codes that its input can have; out goes the least and the greatest sum of each output channel, exactly: both are
//! reached by some input. Zero padding counts: a sum at the border misses its taps, which can make it greater. Refused
//! are other ops, operands that are not integers, weights without elements, and sums beyond 125 bits.
//!
//! The type that the op itself infers holds every sum that any weights of their type could make; the one from here is
//! what a register needs for these. Sums on the way to the last may go beyond it; in two's complement, where overflow
//! wraps, the last one is right again.

use crate::graph::{Graph, Node};
use crate::ops::{Conv, Op, OpDef, OpError};
use crate::tensor::Tensor;
use crate::types::{IntType, TensorType};
use std::collections::BTreeSet;

/// Sums have at most so many bits, beside the sign.
const MAX_BITS: u32 = 125;

/// The least and the greatest sum of each output channel, bias included.
///
/// Channels are what the weight tells apart: the first axis of the weight of a convolution or a dense layer, the last one
/// of a matrix product's right operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccumulatorRange {
    /// The bounds of each channel; both are reached.
    pub channels: Vec<(i128, i128)>,
}

impl AccumulatorRange {
    /// The least and the greatest sum of all channels; 0 where there are none.
    pub fn hull(&self) -> (i128, i128) {
        let all = self.channels.iter().copied();
        all.reduce(|(a, b), (lo, hi)| (a.min(lo), b.max(hi))).unwrap_or((0, 0))
    }
    /// The narrowest type that holds every sum of every channel; nothing where that has more than 64 bits.
    pub fn int(&self) -> Option<IntType> {
        narrowest(self.hull())
    }
    /// The narrowest type for each channel.
    pub fn ints(&self) -> Vec<Option<IntType>> {
        self.channels.iter().map(|&range| narrowest(range)).collect()
    }
}

/// The narrowest type that holds `lo..=hi`, signed only if `lo` is negative; nothing where that has more than 64 bits.
pub fn narrowest((lo, hi): (i128, i128)) -> Option<IntType> {
    Some(IntType::covering(lo.try_into().ok()?, hi.try_into().ok()?))
}

/// The range of the accumulators of a node whose weight, and bias if there is one, are constants of the graph.
///
/// `codes` are the codes of the input, as in [`range`]; without them it is all that the input's type has.
pub fn of_node(
    graph: &Graph,
    node: &Node,
    codes: Option<&[(i64, i64)]>,
) -> Result<AccumulatorRange, OpError> {
    let constant = |i: usize, what: &str| {
        let id = node.inputs.get(i).copied();
        let tensor = id.and_then(|v| graph.const_of(v));
        tensor.ok_or_else(|| OpError(format!("expected a constant {what}")))
    };
    let x = node.inputs.first().map(|&v| graph.ty(v)).ok_or("expected an operand")?;
    let bias = if node.inputs.len() > 2 { Some(&**constant(2, "bias")?) } else { None };
    let all: Vec<(i64, i64)> = x.elem.code_range().into_iter().collect();
    range(&node.op, x, codes.unwrap_or(&all), constant(1, "weight")?, bias)
}

/// The range of the accumulators of `op` over inputs of the type `x`.
///
/// `codes` are the least and the greatest code of the input: one pair, or one for each input channel (for each cell of
/// the axis along which a dense layer or a matrix product sums).
pub fn range(
    op: &Op,
    x: &TensorType,
    codes: &[(i64, i64)],
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<AccumulatorRange, OpError> {
    let types: Vec<&TensorType> =
        [Some(x), Some(&weight.ty), bias.map(|b| &b.ty)].into_iter().flatten().collect();
    let out = op.infer(&types)?;
    if !out.elem.is_integer() || weight.is_empty() {
        return Err(format!("expected sums of integers, found {out} of a weight {}", weight.ty).into());
    }
    let inputs = match op {
        Op::Conv(_) => x.layout.channel().map_or(0, |c| x.shape[c]),
        Op::Dense(_) | Op::MatMul(_) => x.shape.last().copied().unwrap_or(0),
        _ => return Err(format!("`{}` sums no products with weights", op.name()).into()),
    };
    if codes.len() != 1 && codes.len() != inputs || codes.iter().any(|(lo, hi)| lo > hi) {
        let found = codes.len();
        return Err(format!("expected rising pairs of codes, 1 or {inputs}, found {found}: {codes:?}").into());
    }
    let terms = Terms { codes, weight: all_codes(weight)? };
    let bias = bias.map(all_codes).transpose()?;
    terms.check_size(bias.as_deref().unwrap_or_default())?;
    let mut channels = match op {
        Op::Conv(conv) => terms.conv(conv, x, weight)?,
        Op::MatMul(_) => terms.matmul(weight),
        _ => terms.dense(inputs),
    };
    for (range, &b) in channels.iter_mut().zip(bias.iter().flatten()) {
        *range = plus(*range, (b.into(), b.into()));
    }
    Ok(AccumulatorRange { channels })
}

fn all_codes(t: &Tensor) -> Result<Vec<i64>, OpError> {
    if let Some(fault) = t.fault() {
        return Err(fault.into());
    }
    (0..t.len()).map(|i| t.data.code(i)).collect::<Option<_>>().ok_or_else(|| "expected integers".into())
}

fn plus(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    (a.0 + b.0, a.1 + b.1)
}

fn hull(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    (a.0.min(b.0), a.1.max(b.1))
}

/// Products of weights with codes of the input.
struct Terms<'a> {
    codes: &'a [(i64, i64)],
    weight: Vec<i64>,
}

impl Terms<'_> {
    /// Checks that no sum of any of the products, and no difference of two such sums, leaves an `i128`.
    fn check_size(&self, bias: &[i64]) -> Result<(), OpError> {
        let greatest = |v: &mut dyn Iterator<Item = i64>| v.map(i64::unsigned_abs).max().unwrap_or(0);
        let x = greatest(&mut self.codes.iter().flat_map(|&(lo, hi)| [lo, hi]));
        let w = greatest(&mut self.weight.iter().copied());
        let product = u128::from(x) * u128::from(w);
        let sum = product.checked_mul(self.weight.len() as u128);
        let sum = sum.and_then(|s| s.checked_add(greatest(&mut bias.iter().copied()).into()));
        if sum.is_some_and(|s| s < 1 << MAX_BITS) {
            return Ok(());
        }
        Err(format!("{} products of up to {product} may sum beyond {MAX_BITS} bits", self.weight.len())
            .into())
    }

    /// The range of the product of weight `w` with an element of input channel `i`.
    fn product(&self, w: usize, i: usize) -> (i128, i128) {
        let (lo, hi) = if self.codes.len() == 1 { self.codes[0] } else { self.codes[i] };
        let w = i128::from(self.weight[w]);
        let (a, b) = (w * i128::from(lo), w * i128::from(hi));
        (a.min(b), a.max(b))
    }

    /// The range of the sum of `n` products: weights from `row` on with elements of input channels from `first` on.
    fn sum(&self, row: usize, first: usize, n: usize) -> (i128, i128) {
        let [(lo, hi)] = *self.codes else {
            return (0..n).map(|k| self.product(row + k, first + k)).fold((0, 0), plus);
        };
        // One range for all: the weights above 0 and those below meet the same two ends.
        let (lo, hi) = (i128::from(lo), i128::from(hi));
        let weights = &self.weight[row..row + n];
        let above: i128 = weights.iter().map(|&w| i128::from(w.max(0))).sum();
        let below: i128 = weights.iter().map(|&w| i128::from(w.min(0))).sum();
        (above * lo + below * hi, above * hi + below * lo)
    }

    /// A weight `[out, in]`.
    fn dense(&self, inputs: usize) -> Vec<(i128, i128)> {
        let rows = self.weight.len() / inputs.max(1);
        (0..rows).map(|o| self.sum(o * inputs, 0, inputs)).collect()
    }

    /// A right operand `[…, in, out]`: the hull over the leading axes.
    fn matmul(&self, weight: &Tensor) -> Vec<(i128, i128)> {
        let shape = &weight.ty.shape;
        let (inputs, outs) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
        let blocks = self.weight.len() / (inputs * outs).max(1);
        let column = |block: usize, n: usize| {
            let at = |k: usize| (block * inputs + k) * outs + n;
            (0..inputs).map(|k| self.product(at(k), k)).fold((0, 0), plus)
        };
        let channel = |n| (0..blocks).map(|b| column(b, n)).reduce(hull).unwrap_or((0, 0));
        (0..outs).map(channel).collect()
    }

    /// A weight `[out, space…, in/groups]`.
    fn conv(&self, op: &Conv, x: &TensorType, weight: &Tensor) -> Result<Vec<(i128, i128)>, OpError> {
        let spatial = op.window.check(x)?;
        let extents: Vec<usize> = spatial.iter().map(|&a| x.shape[a]).collect();
        let outs = op.window.output(&extents)?;
        let inside: Vec<Vec<(usize, usize)>> =
            (0..outs.len()).map(|i| taps_inside(op, i, outs[i], extents[i])).collect();
        let shape = &weight.ty.shape;
        let (channels, per_group, taps) = (shape[0], shape[shape.rank() - 1], op.window.taps());
        let outs_per_group = (channels / op.groups).max(1);
        let channel = |o: usize| {
            let first = o / outs_per_group * per_group;
            let tap = |t: usize| self.sum((o * taps + t) * per_group, first, per_group);
            let mut sums: Vec<(i128, i128)> = (0..taps).map(tap).collect();
            for (axis, parts) in inside.iter().enumerate() {
                let inner: usize = op.window.kernel[axis + 1..].iter().product();
                sums = sums_of_parts(&sums, op.window.kernel[axis], inner, parts);
            }
            sums.into_iter().reduce(hull).unwrap_or((0, 0))
        };
        Ok((0..channels).map(channel).collect())
    }
}

/// The runs `from..to` of taps along spatial axis `i` that lie inside the input, for all places of the window: one
/// that is whole, and those at the borders.
fn taps_inside(op: &Conv, i: usize, outs: usize, extent: usize) -> Vec<(usize, usize)> {
    let w = &op.window;
    let (kernel, step, dilation) = (w.kernel[i], w.strides[i], w.dilations[i]);
    let (pad, end) = (w.pads_begin[i], w.pads_begin[i].saturating_add(extent));
    let mut runs = BTreeSet::new();
    let mut out = 0;
    while out < outs {
        let at = out.saturating_mul(step);
        // Tap t reads the cell at + t · dilation − pad, which must lie in 0..extent.
        let before = |cell: usize| cell.saturating_sub(at).div_ceil(dilation).min(kernel);
        let run = (before(pad), before(end));
        runs.insert(run);
        // The next place where a tap enters or leaves; an axis can have far more places than a kernel has taps.
        let change = |cell: usize, taps: usize| {
            let at = cell.saturating_sub(taps.checked_sub(1)?.saturating_mul(dilation));
            Some(at.div_ceil(step).max(out + 1))
        };
        let next = [change(pad, run.0), change(end, run.1)].into_iter().flatten().min();
        out = next.unwrap_or(outs);
    }
    runs.into_iter().collect()
}

/// Sums along one axis of `n` cells, each of `inner` elements: every run of `parts` becomes a cell.
fn sums_of_parts(v: &[(i128, i128)], n: usize, inner: usize, parts: &[(usize, usize)]) -> Vec<(i128, i128)> {
    let mut sums = Vec::with_capacity(v.len() / n.max(1) * parts.len());
    for block in v.chunks(n * inner) {
        // Of each element, the sum of all cells before.
        let mut before = vec![(0, 0); inner];
        for (i, &cell) in block.iter().enumerate() {
            before.push(plus(before[i], cell));
        }
        for &(from, to) in parts {
            let runs = before[from * inner..].iter().zip(&before[to * inner..]).take(inner);
            sums.extend(runs.map(|(a, b)| (b.0 - a.0, b.1 - a.1)));
        }
    }
    sums
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
