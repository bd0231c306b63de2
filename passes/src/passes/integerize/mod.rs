//! Makes integers of a fake-quantized graph.
//!
//! In: a folded graph in which floats stand between quantizers: codes behind a dequantization, layers over them, functions
//! of each element, then a quantizer (as QONNX, QCDQ and the quantized Keras libraries write it, and as pass `quantize`
//! does). Out: the same codes, from integers alone:
//!
//! * convolutions, dense layers and matrix products over codes make exact sums ([`linear`]), with the zero point as part of
//!   the sum's offset;
//! * sums, differences and products of two quantized values become sums on one grid ([`pairs`]); means become sums ([`means`]);
//! * everything from there to the quantizer (scale, bias, batch normalisation, activation, rounding, clamping) is a step
//!   function of an integer ([`lattice`], [`function`], [`steps`]), found from the source's own arithmetic and proved for
//!   every value of the accumulator, and becomes thresholds, a multiplication with a shift, or a table ([`realise`]);
//! * wider results are a multiplication with a shift whose error has a bound ([`wide`]);
//! * a softmax becomes a table of exponentials and a division ([`softmax`]);
//! * outputs that no quantizer closes keep the exact accumulator, with the bias on a grid fine enough ([`outputs`]).
//!
//! Maxima and moves of elements go to the other side of a step function where that is monotone.
//!
//! A quantizer of a float input of the graph and the dequantizations of its outputs stay: they are the boundary. What has
//! no integer form stays as it is, and `unfloat audit` names it. Every step function goes into the certificate with the
//! number of accumulator values that it was proved for.

mod function;
mod lattice;
mod linear;
mod means;
mod multiply;
mod outputs;
mod pairs;
mod realise;
mod signs;
mod softmax;
mod steps;
mod transposed;
mod wide;
mod wrap;

use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use crate::report::Fold;
use function::{Func, is_quantizer, made};
use lattice::{Base, Lattice, Step};
use realise::Wanted;
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Cast, PadMode, Requantize, UpsampleMode};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, IntType, Layout, Node, Op, Overflow, Patch, Rounding, Stage,
    Tensor, ValueId,
};

/// The pass `integerize`.
pub struct Integerize;

static INFO: PassInfo = PassInfo {
    name: "integerize",
    summary: "make integers of what stands between quantizers",
    details: "Layers over quantized values become exact sums of integers; scale, bias, batch normalisation, activation and \
              quantizer behind them become thresholds, a multiplication with a shift, or a table, each proved for every \
              value of the accumulator. The quantizers of float inputs and the dequantizations of outputs stay as the \
              boundary. What has no integer form stays, and `unfloat audit` names it.",
    options: &[],
    from: Stage::Folded,
    to: Stage::Folded,
    claim: Claim::Within { abs: 0.0, rel: 2e-4 },
};

impl Pass for Integerize {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut work = Integerizer::new(graph);
        for (_, node) in graph.live_nodes() {
            work.visit(node)?;
        }
        work.outputs()?;
        let Integerizer { patch, folds, warnings, count, .. } = work;
        let edit = patch.finish();
        if !edit.is_empty() {
            graph.apply(edit);
        }
        cx.folds = folds;
        cx.warnings.extend(warnings);
        Ok(Change::of(count))
    }
}

/// Bits of the widest codes that a quantizer may make.
const WIDEST: u32 = 32;

/// The work under way.
pub(in crate::passes::integerize) struct Integerizer<'g> {
    graph: &'g Graph,
    patch: Patch<'g>,
    ranges: Ranges,
    /// For each float value, the integer that it is a function of.
    lattices: Vec<Option<Lattice>>,
    /// Where a pair of codes makes an accumulator: what its source computes.
    pairs: BTreeMap<ValueId, pairs::Pair>,
    /// Integer values of the graph that have been replaced.
    replaced: BTreeMap<ValueId, ValueId>,
    folds: Vec<Fold>,
    /// What a user should know of the result.
    warnings: Diagnostics,
    count: usize,
}

impl<'g> Integerizer<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            patch: Patch::new(graph),
            ranges: Ranges::of(graph),
            lattices: vec![None; graph.num_values()],
            pairs: BTreeMap::new(),
            replaced: BTreeMap::new(),
            folds: Vec::new(),
            warnings: Diagnostics::new(),
            count: 0,
        }
    }

    fn lattice(&self, value: ValueId) -> Option<&Lattice> {
        self.lattices[value.index()].as_ref()
    }

    /// The integer value that stands for one of the graph's.
    fn current(&self, value: ValueId) -> ValueId {
        self.replaced.get(&value).copied().unwrap_or(value)
    }

    fn name(&self, node: &Node, what: &str) -> String {
        format!("{}.{what}", self.graph.value(node.output).name)
    }

    fn visit(&mut self, node: &Node) -> Result<(), Diagnostic> {
        if is_quantizer(self.graph, node) {
            return self.quantizer(node);
        }
        if let Op::ArgReduce(arg) = &node.op {
            return self.class(node, arg);
        }
        if !self.graph.ty(node.output).elem.is_float() {
            return Ok(());
        }
        let found = match &node.op {
            Op::Dequantize(_) => self.dequantized(node),
            Op::Cast(_) => self.cast(node),
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => self.linear(node)?,
            Op::AvgPool(_) | Op::Reduce(_) => self.mean(node)?,
            Op::Softmax(s) => self.softmax(node, s)?,
            Op::MaxPool(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Upsample(_)
            | Op::Reverse(_)
            | Op::Pad(_)
            | Op::Expand(_) => self.moved(node)?,
            Op::Concat(_) => self.concat(node)?,
            Op::Binary(f) if node.inputs.iter().all(|&v| self.lattice(v).is_some()) => self.pair(node, *f)?,
            _ => self.function(node),
        };
        self.lattices[node.output.index()] = found;
        Ok(())
    }

    /// Codes with a constant scale: per tensor, or per channel of the last axis.
    fn dequantized(&self, node: &Node) -> Option<Lattice> {
        let [q, scale, zero] = node.inputs[..] else { return None };
        if self.graph.const_of(q).is_some() {
            return None;
        }
        let ty = self.graph.ty(q);
        let channel = |v: ValueId| {
            let tensor = self.graph.const_of(v)?;
            let n = tensor.len();
            let fits = n == 1 || tensor.ty.shape.last() == Some(&n) && ty.shape.last() == Some(&n);
            fits.then_some(tensor)
        };
        let (scale, zero) = (channel(scale)?, channel(zero)?);
        let zeros = match zero.as_f32() {
            Some(v) => v.iter().map(|&z| z.into()).collect(),
            None => (0..zero.len()).filter_map(|i| zero.data.code(i)).map(|z| z as f64).collect(),
        };
        let (lo, hi) = self.ranges.of_value(q)?;
        let range = vec![(i64::try_from(lo).ok()?, i64::try_from(hi).ok()?)];
        let base = Base::Codes { scale: scale.as_f32()?.to_vec(), zero: zeros };
        Some(Lattice::new(self.current(q), range, base))
    }

    /// Integers as floats of the same value.
    fn cast(&self, node: &Node) -> Option<Lattice> {
        let q = node.inputs[0];
        if self.graph.const_of(q).is_some() || !self.graph.ty(q).elem.is_integer() {
            return None;
        }
        let (lo, hi) = self.ranges.of_value(q)?;
        let range = vec![(i64::try_from(lo).ok()?, i64::try_from(hi).ok()?)];
        let base = Base::Sum { scale: vec![1.0], bias: vec![0.0] };
        Some(Lattice::new(self.current(q), range, base))
    }

    /// A function of each element of a value that is one of an integer.
    fn function(&self, node: &Node) -> Option<Lattice> {
        let x = node.inputs.iter().copied().find(|&v| self.lattice(v).is_some())?;
        let mut lattice = self.lattice(x)?.clone();
        let func = Func::of(self.graph, node, x)?;
        if func.channels() > 1 && !lattice.keeps_channels() {
            return None;
        }
        lattice.steps.push(Step::Func(func));
        Some(lattice)
    }

    /// A move of elements: of the codes at once where nothing but the base stands behind them and it is a
    /// dequantization, else later.
    fn moved(&mut self, node: &Node) -> Result<Option<Lattice>, Diagnostic> {
        let Some(mut lattice) = self.lattice(node.inputs[0]).cloned() else { return Ok(None) };
        if matches!(&node.op, Op::Upsample(u) if u.mode != UpsampleMode::Nearest) {
            return Ok(None);
        }
        let mut op = node.op.clone();
        if let Op::Pad(pad) = &mut op
            && let PadMode::Constant(v) = pad.mode
        {
            // The code of the padding; accumulators have none in general.
            let plain = lattice.base.plain().filter(|_| lattice.is_plain());
            let Some(code) = plain.map(|(scale, zero)| f64::from(v) / scale + zero as f64) else {
                return Ok(None);
            };
            let (lo, hi) = lattice.range_of(0);
            if code.fract() != 0.0 || code < lo as f64 || code > hi as f64 || f64::from(code as f32) != code {
                return Ok(None);
            }
            pad.mode = PadMode::Constant(code as f32);
        }
        let maximum = matches!(op, Op::MaxPool(_));
        let keeps = matches!(op, Op::MaxPool(_) | Op::Upsample(_));
        let codes = matches!(lattice.base, Base::Codes { .. });
        let rises = (0..lattice.base.channels()).all(|c| lattice.base.line(c).0 > 0.0);
        if lattice.is_plain() && codes && (keeps || lattice.channels() == 1) && (rises || !maximum) {
            let name = self.name(node, "codes");
            lattice.code = self.patch.node(op, &[lattice.code], &name, &node.origin)?;
            return Ok(Some(lattice));
        }
        if matches!(op, Op::Pad(_) | Op::Expand(_)) {
            return Ok(None);
        }
        lattice.steps.push(Step::Move(op));
        Ok(Some(lattice))
    }

    /// Codes of one scale side by side.
    fn concat(&mut self, node: &Node) -> Result<Option<Lattice>, Diagnostic> {
        let parts: Option<Vec<Lattice>> = node.inputs.iter().map(|&v| self.lattice(v).cloned()).collect();
        let Some(parts) = parts else { return Ok(None) };
        let plain = |l: &Lattice| l.base.plain().filter(|_| l.is_plain());
        let Some(first) = parts.first().and_then(plain) else { return Ok(None) };
        if !parts.iter().all(|l| plain(l) == Some(first)) {
            return Ok(None);
        }
        let hull = |(a, b): (i64, i64), (lo, hi): (i64, i64)| (a.min(lo), b.max(hi));
        let range = parts.iter().map(Lattice::hull).reduce(hull).unwrap_or((0, 0));
        let elem = self.patch.ty(parts[0].code).elem.clone();
        let name = self.name(node, "codes");
        let mut codes = Vec::new();
        let same = parts.iter().all(|l| self.patch.ty(l.code).elem == elem);
        for part in &parts {
            let to = ElemType::Int(IntType::covering(range.0, range.1));
            let cast = Cast { to };
            let wide =
                if same { part.code } else { self.patch.node(cast, &[part.code], &name, &node.origin)? };
            codes.push(wide);
        }
        let code = self.patch.node(node.op.clone(), &codes, &name, &node.origin)?;
        let joined = Lattice::new(code, vec![range], parts[0].base.clone());
        let off = parts.iter().map(|l| l.off).fold(0.0, f64::max);
        Ok(Some(Lattice { exact: parts.iter().all(|l| l.exact), off, ..joined }))
    }

    /// Where a chain ends: the quantizer, and all in front of it as far as an integer, become one step function.
    fn quantizer(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let x = node.inputs[0];
        let Some(lattice) = self.lattice(x).cloned() else {
            return match self.graph.producer(x) {
                Some((_, front)) if matches!(front.op, Op::Concat(_)) => self.quantized_parts(node, front),
                _ => self.boundary(node),
            };
        };
        let (Some(func), Some(to)) = (Func::of(self.graph, node, x), made(&node.op)) else { return Ok(()) };
        if func.channels() > 1 && !lattice.keeps_channels() {
            return Ok(());
        }
        let to = to.clone();
        if let Some(value) = self.fold(&lattice, &func, &to, node)? {
            match self.patch.ty(value).elem == to {
                true => self.patch.replace(node.output, value)?,
                // A sign that is never 0, which `signs` has made sure that readers take.
                false => self.patch.replace_retyped(node.output, value),
            }
            self.replaced.insert(node.output, value);
            self.count += 1;
        }
        Ok(())
    }

    /// A quantizer of values side by side is that of each of them.
    fn quantized_parts(&mut self, node: &Node, concat: &Node) -> Result<(), Diagnostic> {
        let parts: Option<Vec<Lattice>> = concat.inputs.iter().map(|&v| self.lattice(v).cloned()).collect();
        let (Some(parts), Some(to)) = (parts, made(&node.op).cloned()) else { return Ok(()) };
        let folds = self.folds.len();
        let mut codes = Vec::new();
        for (part, &x) in parts.iter().zip(&concat.inputs) {
            let quantizer = Func::of_value(self.graph, node, node.inputs[0], self.graph.ty(x));
            let Some(quantizer) = quantizer.filter(|q| q.channels() == 1) else { break };
            let Some(code) = self.fold(part, &quantizer, &to, node)? else { break };
            codes.push(code);
        }
        if codes.len() < parts.len() {
            self.folds.truncate(folds);
            return Ok(());
        }
        let name = self.name(node, "codes");
        let value = self.patch.node(concat.op.clone(), &codes, &name, &node.origin)?;
        self.patch.replace(node.output, value)?;
        self.replaced.insert(node.output, value);
        self.count += 1;
        Ok(())
    }

    /// A quantizer of an input of the graph goes in front of the moves between the two, which then move codes.
    fn boundary(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let scalar = |&v: &ValueId| self.graph.const_of(v).is_some_and(|t| t.len() == 1);
        if !matches!(node.op, Op::Quantize(_)) || !node.inputs[1..].iter().all(scalar) {
            return Ok(());
        }
        let mut moves = Vec::new();
        let mut x = node.inputs[0];
        while let Some((_, front)) = self.graph.producer(x) {
            match &front.op {
                Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Reverse(_) => {
                    moves.push(front.op.clone())
                }
                _ => return Ok(()),
            }
            x = front.inputs[0];
        }
        if moves.is_empty() || !self.graph.inputs().contains(&x) {
            return Ok(());
        }
        let mut constants = Vec::new();
        for &v in &node.inputs[1..] {
            // As scalars they go with any shape.
            let tensor = self.graph.const_of(v).map(|t| Tensor::clone(t).reshaped([], Layout::anonymous(0)));
            constants.extend(tensor.map(|t| self.patch.constant(&self.graph.value(v).name, t)));
        }
        let name = self.name(node, "codes");
        let mut code =
            self.patch.node(node.op.clone(), &[&[x], &constants[..]].concat(), &name, &node.origin)?;
        for op in moves.into_iter().rev() {
            code = self.patch.node(op, &[code], &name, &node.origin)?;
        }
        self.patch.replace(node.output, code)?;
        self.replaced.insert(node.output, code);
        self.count += 1;
        Ok(())
    }

    /// The codes that base, steps and a quantizer make, from integers.
    fn fold(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        if !lattice.is_narrow() || to.bits() > WIDEST {
            return Ok(None);
        }
        let Some(lattice) = self.settled(lattice, quantizer, node)? else { return Ok(None) };
        let moves: Vec<Op> = lattice
            .steps
            .iter()
            .filter_map(|s| match s {
                Step::Move(op) => Some(op.clone()),
                Step::Func(_) => None,
            })
            .collect();
        let folded = match self.unwrapped(&lattice, quantizer, to, node)? {
            Some(value) => Some(value),
            None => self.pieces(&lattice, quantizer, to, node)?,
        };
        let Some(mut value) = folded else { return Ok(None) };
        for op in moves {
            let name = self.name(node, "codes");
            value = self.patch.node(op, &[value], &name, &node.origin)?;
        }
        Ok(Some(value))
    }

    /// The step function; of a quantizer that wraps, if it must be, that to a wider type, and then the overflow.
    fn unwrapped(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let wider = wrap::unwrapped(lattice, quantizer);
        if let Some(same) = wider.as_ref().filter(|w| !w.overflows && ElemType::Int(w.int) == *to) {
            return self.step_function(lattice, &same.quantizer, to, node);
        }
        let direct = self.step_function(lattice, quantizer, to, node)?;
        let (None, Some(wrap::Unwrapped { quantizer: func, int, .. })) = (direct, wider) else {
            return Ok(direct);
        };
        let folds = self.folds.len();
        let value = self.step_function(lattice, &func, &ElemType::Int(int), node)?;
        let sure = self.folds[folds..].iter().all(|f| f.bound == 0.0);
        let (Some(value), true, Some((q, ..)), ElemType::Int(to)) = (value, sure, quantizer.quantizer(0), to)
        else {
            self.folds.truncate(folds);
            return Ok(None);
        };
        let overflow = q.overflow;
        let name = self.name(node, "codes");
        if overflow == Overflow::Wrap {
            let to = ElemType::Int(*to);
            return self.patch.node(Cast { to }, &[value], &name, &node.origin).map(Some);
        }
        let op = Requantize { to: *to, rounding: Rounding::Floor, overflow, narrow: q.narrow };
        let one = self.integers(&format!("{name}.one"), &[1]);
        let none = self.integers_of(&format!("{name}.none"), &[0], ElemType::Int(IntType::unsigned(1)));
        self.patch.node(op, &[value, one, none, none], &name, &node.origin).map(Some)
    }

    /// The lattice with maxima taken of the accumulators where they cannot be taken of results; nothing where neither
    /// is right.
    fn settled(
        &mut self,
        lattice: &Lattice,
        last: &Func,
        node: &Node,
    ) -> Result<Option<Lattice>, Diagnostic> {
        let mut lattice = lattice.clone();
        if lattice.maxima_commute(last) {
            return Ok(Some(lattice));
        }
        // Channels must stay where they are for the base and the functions up to the last maximum; what moves them behind
        // that is made of results.
        let last = lattice.steps.iter().rposition(|s| matches!(s, Step::Move(Op::MaxPool(_))));
        let behind = lattice.steps.split_off(last.map_or(0, |at| at + 1));
        if !lattice.maxima_of_codes() || !lattice.keeps_channels() {
            return Ok(None);
        }
        for step in std::mem::take(&mut lattice.steps) {
            match step {
                Step::Move(op) => {
                    let name = self.name(node, "sums");
                    lattice.code = self.patch.node(op, &[lattice.code], &name, &node.origin)?;
                }
                func => lattice.steps.push(func),
            }
        }
        lattice.steps.extend(behind);
        Ok(Some(lattice))
    }

    /// The step function by its changes, proved; or, where there are too many of them, by its line, within a bound.
    fn step_function(
        &mut self,
        lattice: &Lattice,
        quantizer: &Func,
        to: &ElemType,
        node: &Node,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let channels = lattice.channels().max(quantizer.channels());
        let lines = realise::lines(lattice, quantizer, channels);
        let rounding = quantizer.quantizer(0).map(|(q, _, _)| q.rounding);
        let name = self.name(node, "codes");
        let Some((steps, effort)) = steps::find(lattice, quantizer) else {
            return self.wide(lattice, quantizer, to, node, lines);
        };
        let to = &self.sign(&steps, lattice, to, node);
        let slopes = lines.as_ref().map(|l| l.iter().map(|l| (l.a, l.b)).collect());
        let wanted = Wanted { x: lattice.code, steps: &steps, to, node, lines: slopes, rounding, name };
        let Some(realised) = self.realise(&wanted)? else {
            // More levels than there are thresholds: ties that alternate, say, which no one line has.
            return self.wide(lattice, quantizer, to, node, lines);
        };
        let differs = self.pairs.get(&lattice.code).and_then(|pair| pair.check(lattice, quantizer, &steps));
        let checked = differs.is_some_and(|d| d.different == 0);
        let bound = if checked { 0.0 } else { steps::moved_by(&steps, lattice) as f64 };
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: realised.form.to_string(),
            channels,
            accumulator_bits: lattice.bits(),
            points: effort.points,
            proof: effort.proof,
            bound,
            exact: lattice.exact || checked,
            differs,
        });
        Ok(Some(realised.value))
    }
}
