//! What every integer value of a graph can be: interval analysis on the weights and tables that are really there.
//!
//! In comes a graph that passes the verifier; out goes, for every value that is not float, the least and the greatest
//! code that it can have. Both hold for every input; they need not both be reached, but those of a sum of products whose
//! operand's bounds are reached are (see [`crate::accumulator`]). An op that wraps gives all that its type has, unless
//! the true result always fits. Refuses nothing: what is not understood has the range of its type.

use crate::accumulator;
use crate::arena::Handle;
use crate::graph::{Def, Graph, Node, ValueId};
use crate::ops::{Binary, Bitwise, Op, PadMode, Reduce, ReduceFn, Unary};
use crate::tensor::Tensor;
use crate::types::{ElemType, IntType};

/// A least and a greatest code.
pub type Range = (i128, i128);

/// The ranges of all values of one graph.
#[derive(Clone, Debug)]
pub struct Ranges(Vec<Option<Range>>);

impl Ranges {
    /// Analyses a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut found = Self(vec![None; graph.num_values()]);
        for (id, value) in graph.values() {
            found.0[id.index()] = match value.def {
                Def::Const(_) => graph.const_of(id).and_then(|t| constant(t)),
                Def::Input(_) => of_type(&value.ty.elem),
                Def::Node(_) => None,
            };
        }
        for (_, node) in graph.live_nodes() {
            let all = of_type(&graph.ty(node.output).elem);
            let range = all.map(|all| {
                let narrowed = found.node(graph, node).map(|r| meet(r, all));
                narrowed.unwrap_or(all)
            });
            found.0[node.output.index()] = range;
        }
        found
    }

    /// The least and the greatest code of a value; nothing for floats and for nodes that are not live.
    pub fn of_value(&self, value: ValueId) -> Option<Range> {
        self.0.get(value.index()).copied().flatten()
    }

    /// The narrowest type that holds every code of a value.
    pub fn int(&self, value: ValueId) -> Option<IntType> {
        self.of_value(value).and_then(accumulator::narrowest)
    }

    /// Whether a node's arithmetic may have a true result that its type does not hold, so that only the low bits of it
    /// stay. Functions that low bits define (casts, logic of bits), and requantizers that say that they wrap, do not
    /// count.
    pub fn may_wrap(&self, graph: &Graph, node: &Node) -> bool {
        let elem = &graph.ty(node.output).elem;
        let reaches = |range: Option<Range>| range.is_none_or(|r| fitting(r, elem).is_none());
        match &node.op {
            _ if !elem.is_integer() => false,
            // Their type holds every sum that operands of their types can have, as far as 64 bits do.
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => {
                let widest = of_type(elem) == of_type(&ElemType::signed(64));
                widest && reaches(self.exact(graph, node))
            }
            Op::Unary(Unary::Neg | Unary::Abs)
            | Op::Binary(
                Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow | Binary::Prelu,
            )
            | Op::Bitwise(Bitwise::ShiftLeft)
            | Op::Reduce(Reduce { f: ReduceFn::Sum | ReduceFn::Prod | ReduceFn::SumSquare, .. }) => {
                reaches(self.exact(graph, node))
            }
            _ => false,
        }
    }

    /// What the true result of arithmetic can be, whatever its type; nothing where that is not understood.
    fn exact(&self, graph: &Graph, node: &Node) -> Option<Range> {
        let operand = |i: usize| node.inputs.get(i).and_then(|&v| self.of_value(v));
        match &node.op {
            Op::Conv(_) | Op::Dense(_) | Op::MatMul(_) => {
                let (lo, hi) = operand(0)?;
                let codes = [(i64::try_from(lo).ok()?, i64::try_from(hi).ok()?)];
                accumulator::of_node(graph, node, Some(&codes)).ok().map(|r| r.hull())
            }
            Op::Cast(_) => operand(0),
            Op::Unary(f) => unary(*f, operand(0)?),
            Op::Binary(f) => binary(*f, operand(0)?, operand(1)?),
            Op::Bitwise(Bitwise::ShiftLeft) => {
                let (least, most) = operand(1).filter(|by| by.0 >= 0 && by.1 < 63)?;
                binary(Binary::Mul, operand(0)?, (1 << least, 1 << most))
            }
            Op::Reduce(r) => {
                let (lo, hi) = operand(0)?;
                let ty = graph.ty(node.inputs[0]);
                let n: i128 = r.axes.iter().map(|&a| ty.shape[a] as i128).product();
                let most = lo.abs().max(hi.abs());
                match r.f {
                    ReduceFn::Max | ReduceFn::Min if n > 0 => Some((lo, hi)),
                    ReduceFn::Sum => Some((lo.checked_mul(n)?, hi.checked_mul(n)?)),
                    ReduceFn::SumSquare => Some((0, most.checked_mul(most)?.checked_mul(n)?)),
                    ReduceFn::Prod => {
                        let product = most.checked_pow(u32::try_from(n).ok()?)?;
                        Some((if lo < 0 { -product } else { 0 }, product))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What a node's result can be, before the type has its say; nothing where that is all that is known.
    fn node(&self, graph: &Graph, node: &Node) -> Option<Range> {
        let operand = |i: usize| node.inputs.get(i).and_then(|&v| self.of_value(v));
        match &node.op {
            Op::Conv(_)
            | Op::Dense(_)
            | Op::MatMul(_)
            | Op::Cast(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Bitwise(_)
            | Op::Reduce(_) => fitting(self.exact(graph, node)?, &graph.ty(node.output).elem),
            Op::MaxPool(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Expand(_)
            | Op::Upsample(_)
            | Op::Reverse(_)
            | Op::Gather(_) => operand(0),
            Op::Concat(_) => (0..node.inputs.len()).map(operand).reduce(|a, b| Some(hull(a?, b?)))?,
            Op::Select(_) => Some(hull(operand(1)?, operand(2)?)),
            Op::Pad(pad) => match pad.mode {
                PadMode::Constant(v) => Some(hull(operand(0)?, (v as i128, v as i128))),
                _ => operand(0),
            },
            Op::Quantize(q) => Some(wide(q.bounds())),
            Op::Requantize(r) => {
                let exact = requantized(operand(0)?, [1, 2, 3].map(|i| graph.const_of(node.inputs[i])), r);
                Some(exact.unwrap_or(wide(r.bounds())))
            }
            Op::Threshold(t) => {
                let most = i128::from(t.scale) * graph.ty(node.inputs[1]).shape[1] as i128;
                let bias = i128::from(t.bias);
                Some((bias + most.min(0), bias + most.max(0)))
            }
            Op::Lookup(_) => {
                looked_up(operand(0)?, &graph.ty(node.inputs[0]).elem, graph.const_of(node.inputs[1])?)
            }
            Op::ArgReduce(a) => {
                let n = graph.ty(node.inputs[0]).shape[a.axis] as i128;
                Some((0, (n - 1).max(0)))
            }
            _ => None,
        }
    }
}

fn of_type(elem: &ElemType) -> Option<Range> {
    elem.code_range().map(wide)
}

fn wide((lo, hi): (i64, i64)) -> Range {
    (lo.into(), hi.into())
}

fn hull(a: Range, b: Range) -> Range {
    (a.0.min(b.0), a.1.max(b.1))
}

/// The part of a range that a type has, for what saturates and what never leaves it; what lies outside altogether may be
/// anything.
fn meet(range: Range, all: Range) -> Range {
    if range.0 > all.1 || range.1 < all.0 { all } else { (range.0.max(all.0), range.1.min(all.1)) }
}

/// The range, if the type holds all of it; what does not fit would wrap.
fn fitting(range: Range, elem: &ElemType) -> Option<Range> {
    of_type(elem).filter(|all| all.0 <= range.0 && range.1 <= all.1).map(|_| range)
}

fn constant(tensor: &Tensor) -> Option<Range> {
    if tensor.ty.elem.is_float() {
        return None;
    }
    let codes = (0..tensor.len()).map(|i| tensor.data.code(i).map(|c| (c.into(), c.into())));
    codes.reduce(|a, b| Some(hull(a?, b?))).unwrap_or(of_type(&tensor.ty.elem))
}

fn looked_up((lo, hi): Range, index: &ElemType, table: &Tensor) -> Option<Range> {
    let (first, n) = crate::ops::Lookup::table_of(index)?;
    let at = |x: i128| usize::try_from(x - i128::from(first)).ok().filter(|&i| i < n);
    let entries = (at(lo)?..=at(hi)?).map(|i| table.data.code(i).map(|c| (c.into(), c.into())));
    entries.reduce(|a, b| Some(hull(a?, b?)))?
}

/// The exact range where multiplier, addend and shift are constants that vary together, or not at all.
fn requantized(
    (lo, hi): Range,
    constants: [Option<&std::sync::Arc<Tensor>>; 3],
    op: &crate::ops::Requantize,
) -> Option<Range> {
    let [m, a, s] = [constants[0]?, constants[1]?, constants[2]?];
    let n = [m.len(), a.len(), s.len()].into_iter().max()?;
    if [m, a, s].iter().any(|t| t.len() != 1 && t.len() != n) || n == 0 {
        return None;
    }
    let at = |t: &Tensor, i: usize| t.data.code(if t.len() == 1 { 0 } else { i });
    let (lo, hi) = (i64::try_from(lo).ok()?, i64::try_from(hi).ok()?);
    let mut range: Option<Range> = None;
    for i in 0..n {
        let (m, a, s) = (at(m, i)?, at(a, i)?, u32::try_from(at(s, i)?).ok()?);
        let end = |x: i64| op.rounding.shift_right(i128::from(x) * i128::from(m) + i128::from(a), s);
        let (p, q) = (end(lo), end(hi));
        // A quotient between the two ends comes out as it is only if neither is beyond the type.
        let (least, greatest) = wide(op.bounds());
        let ends = if (least..=greatest).contains(&p) && (least..=greatest).contains(&q) {
            hull((p, p), (q, q))
        } else if op.overflow == crate::types::Overflow::Saturate {
            hull((p.clamp(least, greatest), p.clamp(least, greatest)), {
                let q = q.clamp(least, greatest);
                (q, q)
            })
        } else {
            (least, greatest)
        };
        range = Some(range.map_or(ends, |r| hull(r, ends)));
    }
    range
}

fn unary(f: Unary, (lo, hi): Range) -> Option<Range> {
    Some(match f {
        Unary::Relu => (lo.max(0), hi.max(0)),
        Unary::Neg => (-hi, -lo),
        Unary::Abs => (if lo <= 0 && hi >= 0 { 0 } else { lo.abs().min(hi.abs()) }, lo.abs().max(hi.abs())),
        Unary::Clip { lo: least, hi: greatest } if least <= greatest => {
            let clip = |x: i128| {
                let x = if (x as f64) < f64::from(least) { least as i128 } else { x };
                if (x as f64) > f64::from(greatest) { greatest as i128 } else { x }
            };
            (clip(lo), clip(hi))
        }
        _ => return None,
    })
}

fn binary(f: Binary, a: Range, b: Range) -> Option<Range> {
    let corners = |g: fn(i128, i128) -> Option<i128>| {
        let all = [g(a.0, b.0)?, g(a.0, b.1)?, g(a.1, b.0)?, g(a.1, b.1)?];
        Some((*all.iter().min()?, *all.iter().max()?))
    };
    match f {
        Binary::Add => Some((a.0 + b.0, a.1 + b.1)),
        Binary::Sub => Some((a.0 - b.1, a.1 - b.0)),
        Binary::Mul => corners(i128::checked_mul),
        Binary::Max => Some((a.0.max(b.0), a.1.max(b.1))),
        Binary::Min => Some((a.0.min(b.0), a.1.min(b.1))),
        // Truncation toward 0 is monotone in the dividend, and in the divisor on either side of 0.
        Binary::Div if b.0 > 0 || b.1 < 0 => corners(i128::checked_div),
        // What is divided by 0 gives 0; by -1, its negative.
        Binary::Div => {
            let most = a.0.abs().max(a.1.abs());
            Some((-most, most))
        }
        // Itself from 0 on, a product below.
        Binary::Prelu => Some(hull(a, corners(i128::checked_mul)?)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
