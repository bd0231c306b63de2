//! How each op is rewritten for operands that lie otherwise.

use super::Mover;
use super::lie::{Lie, Run, reshape_through};
use crate::analysis::perm::{axis_last, channels_last, identity, inverse, is_identity, map_axes, pick};
use std::cmp::Ordering;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::*;
use unfloat_ir::{Diagnostic, Layout, Node, Op, ValueId};

impl Mover<'_> {
    /// Makes the node anew.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), Diagnostic> {
        match &node.op {
            Op::Unary(_) | Op::Softmax(_) | Op::Pad(_) | Op::Slice(_) | Op::Upsample(_) | Op::Reduce(_) => {
                self.one_operand(node)
            }
            Op::Cast(_) | Op::Reverse(_) | Op::Resize(_) | Op::Lrn(_) | Op::ArgReduce(_) => {
                self.one_operand(node)
            }
            Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_) => self.windowed(node),
            Op::BatchNorm(op) => self.batch_norm(node, op),
            Op::LayerNorm(op) => self.layer_norm(node, op),
            Op::Dense(op) => self.dense(node, op),
            Op::Binary(_) | Op::Compare(_) | Op::Bitwise(_) | Op::Select(_) => self.broadcasting(node),
            Op::Quantize(_) | Op::Dequantize(_) | Op::FloatQuant(_) => self.broadcasting(node),
            Op::Requantize(_) => self.broadcasting(node),
            Op::Lookup(op) => {
                let lie = self.preferred(node.inputs[0]);
                let inputs = vec![self.bring(node.inputs[0], &lie)?, self.still(node.inputs[1])?];
                self.emit(node, op.clone(), inputs, lie)
            }
            Op::Threshold(op) => self.threshold(node, op),
            Op::Gather(op) => self.gather(node, op),
            Op::Concat(op) => self.concat(node, op),
            Op::Reshape(op) => self.reshape(node, op),
            Op::Transpose(op) => self.transpose(node, op),
            Op::Expand(op) => self.expand(node, op),
            Op::MatMul(_) | Op::Lut(_) => {
                let inputs = self.all_still(&node.inputs)?;
                self.emit(node, node.op.clone(), inputs, Lie::still(self.graph.ty(node.output).rank()))
            }
        }
    }

    fn rank(&self, old: ValueId) -> usize {
        self.graph.ty(old).rank()
    }

    fn still(&mut self, old: ValueId) -> Result<ValueId, Diagnostic> {
        self.bring(old, &Lie::still(self.rank(old)))
    }

    fn all_still(&mut self, old: &[ValueId]) -> Result<Vec<ValueId>, Diagnostic> {
        old.iter().map(|&v| self.still(v)).collect()
    }

    /// Ops with one operand that work in any order of axes.
    fn one_operand(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let lie = self.preferred(x);
        let rank = self.rank(x);
        if let Lie::Last(_) = &lie {
            let last = rank - 1;
            let out = self.rank(node.output);
            let (fits, behind) = match &node.op {
                Op::Unary(_) | Op::Softmax(_) => (true, lie.clone()),
                Op::Pad(p) => (p.before[last] + p.after[last] == 0, lie.clone()),
                Op::Slice(s) => (s.size[last] == self.graph.ty(x).shape[last], lie.clone()),
                Op::Upsample(u) => (u.factors[last] == 1, lie.clone()),
                Op::Resize(r) => (r.keeps(last, self.graph.ty(x).shape[last]), lie.clone()),
                Op::Reverse(r) => (!r.axes.contains(&last), lie.clone()),
                Op::Lrn(l) => (l.axis != last, lie.clone()),
                Op::ArgReduce(a) => (a.axis != last, lie.clone()),
                Op::Reduce(r) if r.axes.contains(&last) => (true, Lie::still(out)),
                _ => (true, lie.clone()),
            };
            if fits {
                let input = self.bring(x, &lie)?;
                return self.emit(node, node.op.clone(), vec![input], behind);
            }
        }
        let p = match lie {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(rank),
        };
        let input = self.bring(x, &Lie::Axes(p.clone()))?;
        let mut behind = p.clone();
        let op: Op = match &node.op {
            Op::Softmax(s) => Softmax { axes: map_axes(&p, &s.axes), log: s.log }.into(),
            Op::Pad(s) => Pad { before: pick(&p, &s.before), after: pick(&p, &s.after), mode: s.mode }.into(),
            Op::Slice(s) => {
                Slice { begin: pick(&p, &s.begin), size: pick(&p, &s.size), step: pick(&p, &s.step) }.into()
            }
            Op::Upsample(u) => Upsample { factors: pick(&p, &u.factors), mode: u.mode }.into(),
            Op::Resize(r) => r.permuted(&p).into(),
            Op::Reverse(r) => Reverse { axes: map_axes(&p, &r.axes) }.into(),
            Op::Lrn(l) => Lrn { axis: inverse(&p)[l.axis], ..l.clone() }.into(),
            Op::ArgReduce(a) => {
                if !a.keep {
                    behind = without(&p, &[a.axis]);
                }
                ArgReduce { axis: inverse(&p)[a.axis], ..a.clone() }.into()
            }
            Op::Reduce(r) => {
                if !r.keep {
                    behind = without(&p, &r.axes);
                }
                Reduce { f: r.f, axes: map_axes(&p, &r.axes), keep: r.keep }.into()
            }
            other => other.clone(),
        };
        self.emit(node, op, vec![input], Lie::Axes(behind))
    }

    /// Ops that read channels last. Their windows name spatial axes by position, which stay in order.
    fn windowed(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let p = channels_last(&self.graph.ty(x).layout).unwrap_or_else(|| identity(self.rank(x)));
        let lie = Lie::Axes(p);
        let mut inputs = vec![self.bring(x, &lie)?];
        inputs.extend(self.all_still(&node.inputs[1..])?);
        self.emit(node, node.op.clone(), inputs, lie)
    }

    fn batch_norm(&mut self, node: &Node, op: &BatchNorm) -> Result<(), Diagnostic> {
        let (x, rank) = (node.inputs[0], self.rank(node.inputs[0]));
        let lie = self.preferred(x);
        if let (Lie::Last(runs), true) = (&lie, op.axis + 1 == rank)
            && let Some(parameters) =
                node.inputs[1..].iter().map(|&v| self.gathered(v, runs)).collect::<Option<Vec<_>>>()
        {
            let inputs = [vec![self.bring(x, &lie)?], parameters].concat();
            return self.emit(node, op.clone(), inputs, lie);
        }
        let p = match lie {
            Lie::Axes(p) if p.last() == Some(&op.axis) => p,
            _ => axis_last(rank, op.axis),
        };
        let lie = Lie::Axes(p);
        let mut inputs = vec![self.bring(x, &lie)?];
        inputs.extend(self.all_still(&node.inputs[1..])?);
        self.emit(node, BatchNorm { axis: rank - 1, ..op.clone() }, inputs, lie)
    }

    fn layer_norm(&mut self, node: &Node, op: &LayerNorm) -> Result<(), Diagnostic> {
        let (x, rank) = (node.inputs[0], self.rank(node.inputs[0]));
        let lie = self.preferred(x);
        if let Lie::Last(runs) = &lie {
            let with_last = op.axes.last() == Some(&(rank - 1));
            let parameters = if with_last {
                node.inputs[1..].iter().map(|&v| self.gathered(v, runs)).collect::<Option<Vec<_>>>()
            } else {
                Some(self.all_still(&node.inputs[1..])?)
            };
            if let Some(parameters) = parameters {
                let inputs = [vec![self.bring(x, &lie)?], parameters].concat();
                return self.emit(node, op.clone(), inputs, lie);
            }
        }
        let p = match lie {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(rank),
        };
        // Gamma and beta have the normalised axes in rising order, which may be another order now.
        let moved: Vec<usize> = p.iter().filter_map(|a| op.axes.iter().position(|b| a == b)).collect();
        let mut inputs = vec![self.bring(x, &Lie::Axes(p.clone()))?];
        for &parameter in &node.inputs[1..] {
            inputs.push(self.bring(parameter, &Lie::Axes(moved.clone()))?);
        }
        self.emit(node, LayerNorm { axes: map_axes(&p, &op.axes), eps: op.eps }, inputs, Lie::Axes(p))
    }

    fn dense(&mut self, node: &Node, op: &Dense) -> Result<(), Diagnostic> {
        let (x, rank) = (node.inputs[0], self.rank(node.inputs[0]));
        let lie = self.lie(x);
        if let Lie::Last(runs) = &lie
            && let Some(w) = self.gathered(node.inputs[1], runs)
        {
            let mut inputs = vec![self.bring(x, &lie)?, w];
            inputs.extend(self.all_still(&node.inputs[2..])?);
            return self.emit(node, op.clone(), inputs, Lie::still(rank));
        }
        let lie = match lie {
            Lie::Axes(p) if p.last() == Some(&(rank - 1)) => Lie::Axes(p),
            _ => Lie::still(rank),
        };
        let mut inputs = vec![self.bring(x, &lie)?];
        inputs.extend(self.all_still(&node.inputs[1..])?);
        self.emit(node, op.clone(), inputs, lie)
    }

    /// Ops whose operands broadcast.
    fn broadcasting(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let rank = self.rank(node.output);
        let full: Vec<ValueId> = node.inputs.iter().copied().filter(|&v| self.rank(v) == rank).collect();
        let lie = self.common(node.output, &full);
        let inputs = match &lie {
            Lie::Last(runs) => node.inputs.iter().map(|&v| self.along_last(v, &lie, runs)).collect(),
            Lie::Axes(p) => {
                let computed = |v: ValueId| self.rank(v) == rank && self.graph.const_of(v).is_none();
                let full: Vec<bool> = node.inputs.iter().map(|&v| computed(v)).collect();
                let mut inputs = Vec::new();
                for (i, &v) in node.inputs.iter().enumerate() {
                    let other_is_full = full.iter().enumerate().any(|(k, &f)| k != i && f);
                    inputs.push(self.broadcast(v, p, other_is_full)?);
                }
                Some(inputs)
            }
        };
        match inputs {
            Some(inputs) => self.emit(node, node.op.clone(), inputs, lie),
            None => {
                let inputs = self.all_still(&node.inputs)?;
                self.emit(node, node.op.clone(), inputs, Lie::still(rank))
            }
        }
    }

    fn threshold(&mut self, node: &Node, op: &Threshold) -> Result<(), Diagnostic> {
        let (x, rank) = (node.inputs[0], self.rank(node.inputs[0]));
        let shared = self.graph.ty(node.inputs[1]).shape.first() == Some(&1);
        let lie = match self.preferred(x) {
            Lie::Last(_) if op.axis + 1 == rank && !shared => Lie::still(rank),
            lie => lie,
        };
        let axis = match &lie {
            Lie::Axes(p) => inverse(p)[op.axis],
            Lie::Last(_) => op.axis,
        };
        let inputs = vec![self.bring(x, &lie)?, self.still(node.inputs[1])?];
        self.emit(node, Threshold { axis, ..op.clone() }, inputs, lie)
    }

    /// The axes of the indices take the place of the axis along which cells are picked.
    fn gather(&mut self, node: &Node, op: &Gather) -> Result<(), Diagnostic> {
        let (x, indices) = (node.inputs[0], node.inputs[1]);
        let p = match self.lie(x) {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(self.rank(x)),
        };
        let new = self.rank(indices);
        let behind = p.iter().flat_map(|&a| match a.cmp(&op.axis) {
            Ordering::Less => a..a + 1,
            Ordering::Equal => a..a + new,
            Ordering::Greater => a + new - 1..a + new,
        });
        let behind = Lie::Axes(behind.collect());
        let inputs = vec![self.bring(x, &Lie::Axes(p.clone()))?, self.still(indices)?];
        self.emit(node, Gather { axis: inverse(&p)[op.axis] }, inputs, behind)
    }

    /// How the operands of one op, all of the result's rank, best lie together: as the readers of the result wish,
    /// else so that the fewest must be moved.
    fn common(&self, out: ValueId, operands: &[ValueId]) -> Lie {
        let computed = operands.iter().filter(|&&v| self.graph.const_of(v).is_none());
        let there: Vec<&[(Lie, ValueId)]> = computed.map(|v| self.places[v.index()].as_slice()).collect();
        let moves = |lie: &Lie| there.iter().filter(|p| !p.iter().any(|(l, _)| l == lie)).count();
        let still = Lie::still(self.rank(out));
        // Elements out of order can't be asked of an operand that has them in order, except by a concatenation,
        // which mixes; so they come first.
        let first = there.iter().filter_map(|p| p.first()).map(|p| &p.0);
        if let Some(last) = first.clone().find(|l| matches!(l, Lie::Last(_))) {
            return last.clone();
        }
        if let Some(wish) = self.wishes.axes(self.graph, out) {
            return Lie::Axes(wish);
        }
        let best = first.filter(|l| !l.is_still()).min_by_key(|&l| moves(l));
        best.filter(|&l| moves(l) <= moves(&still)).cloned().unwrap_or(still)
    }

    /// An operand beside one whose last axis lies as `runs` say; nothing when it can't lie so.
    fn along_last(&mut self, old: ValueId, lie: &Lie, runs: &[Run]) -> Option<ValueId> {
        let repeated = self.graph.ty(old).shape.last().is_none_or(|&n| n == 1);
        if self.lie(old) == *lie || (repeated && self.lie(old).is_still()) {
            return self.places[old.index()].first().map(|p| p.1);
        }
        self.gathered(old, runs)
    }

    /// An operand of a broadcast whose result has its axes in the order `p`.
    fn broadcast(&mut self, old: ValueId, p: &[usize], other_is_full: bool) -> Result<ValueId, Diagnostic> {
        let (ty, rank) = (self.graph.ty(old).clone(), p.len());
        if ty.rank() == rank && self.graph.const_of(old).is_none() {
            return self.bring(old, &Lie::Axes(p.to_vec()));
        }
        if is_identity(p) || (ty.shape.num_elements() == 1 && ty.rank() < rank) {
            return self.still(old);
        }
        let missing = rank - ty.rank();
        let full: Vec<usize> = std::iter::repeat_n(1, missing).chain(ty.shape.iter().copied()).collect();
        let layout = if missing == 0 { ty.layout } else { Layout::anonymous(rank) };
        let name = format!("{}.moved", self.graph.value(old).name);
        if let Some(tensor) = self.graph.const_of(old) {
            let moved = tensor.as_ref().clone().reshaped(full, layout).transposed(p);
            // Leading axes of extent 1 say nothing where the other operand has them.
            let units = moved.shape().iter().take_while(|&&n| n == 1).count();
            let units = if other_is_full { units.min(rank - 1) } else { 0 };
            let dims = moved.shape()[units..].to_vec();
            let rest = Layout::new(&moved.ty.layout.as_str()[units..]);
            let moved = moved.reshaped(dims, rest.unwrap_or(Layout::anonymous(rank - units)));
            return Ok(self.patch.constant(&name, moved));
        }
        let value = self.still(old)?;
        let origin = self.origin(old);
        let value = self.patch.node(Reshape { shape: full.into(), layout }, &[value], &name, &origin)?;
        self.transposed(value, p, &name, &origin)
    }

    fn concat(&mut self, node: &Node, op: &Concat) -> Result<(), Diagnostic> {
        let rank = self.rank(node.output);
        let lies: Vec<Lie> = node.inputs.iter().map(|&v| self.lie(v)).collect();
        let lie = self.common(node.output, &node.inputs);
        if let Lie::Last(_) = lie {
            let values =
                node.inputs.iter().filter_map(|v| self.places[v.index()].first()).map(|p| p.1).collect();
            if op.axis + 1 < rank && lies.iter().all(|l| *l == lie) {
                return self.emit(node, op.clone(), values, lie);
            }
            let runs = |(l, &v): (&Lie, &ValueId)| match l {
                Lie::Last(runs) => Some(runs.clone()),
                _ if l.is_still() => Some(vec![Run::still(self.graph.ty(v).shape[op.axis])]),
                _ => None,
            };
            let runs: Option<Vec<_>> = lies.iter().zip(&node.inputs).map(runs).collect();
            if let (Some(runs), true) = (runs, op.axis + 1 == rank) {
                return self.emit(node, op.clone(), values, Lie::Last(runs.concat()));
            }
        }
        let p = match lie {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(rank),
        };
        let lie = Lie::Axes(p.clone());
        let mut inputs = Vec::new();
        for &v in &node.inputs {
            inputs.push(self.bring(v, &lie)?);
        }
        self.emit(node, Concat { axis: inverse(&p)[op.axis] }, inputs, lie)
    }

    fn reshape(&mut self, node: &Node, op: &Reshape) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let from = self.graph.ty(x).shape.clone();
        match self.lie(x) {
            Lie::Axes(p) if !is_identity(&p) => {
                let flat = self.wishes.any_order[node.output.index()];
                if let Some(carried) = reshape_through(&from, &p, &op.shape, flat) {
                    let layout = match &carried.lie {
                        Lie::Axes(q) => op.layout.permuted(q),
                        Lie::Last(_) => op.layout,
                    };
                    let input = self.bring(x, &Lie::Axes(p))?;
                    let op = Reshape { shape: carried.dims.into(), layout };
                    return self.emit(node, op, vec![input], carried.lie);
                }
            }
            lie @ Lie::Last(_) if from == op.shape => {
                let input = self.bring(x, &lie)?;
                return self.emit(node, op.clone(), vec![input], lie);
            }
            _ => {}
        }
        let input = self.still(x)?;
        self.emit(node, op.clone(), vec![input], Lie::still(op.shape.rank()))
    }

    /// A transposition becomes a note of how its operand lies.
    fn transpose(&mut self, node: &Node, op: &Transpose) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let p = match self.lie(x) {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(self.rank(x)),
        };
        let value = self.bring(x, &Lie::Axes(p.clone()))?;
        let went = inverse(&op.perm);
        let places = &mut self.places[node.output.index()];
        places.push((Lie::Axes(p.iter().map(|&a| went[a]).collect()), value));
        if value == x && !op.is_identity() {
            // The old node itself, for those that need this order.
            places.push((Lie::still(p.len()), node.output));
        } else {
            self.count += 1;
        }
        Ok(())
    }

    fn expand(&mut self, node: &Node, op: &Expand) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let new = op.shape.rank() - self.rank(x);
        let p = match self.lie(x) {
            Lie::Axes(p) => p,
            Lie::Last(_) => identity(self.rank(x)),
        };
        let input = self.bring(x, &Lie::Axes(p.clone()))?;
        let behind: Vec<usize> = (0..new).chain(p.iter().map(|a| a + new)).collect();
        self.emit(node, Expand { shape: pick(&behind, &op.shape).into() }, vec![input], Lie::Axes(behind))
    }
}

/// The order of the axes that are left when `gone` vanish.
fn without(p: &[usize], gone: &[usize]) -> Vec<usize> {
    let rest: Vec<usize> = (0..p.len()).filter(|a| !gone.contains(a)).collect();
    p.iter().filter_map(|a| rest.iter().position(|b| a == b)).collect()
}
