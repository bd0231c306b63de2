//! Graph to steps: which kernel does each node, and which nodes a kernel takes in.

use super::super::PlanOptions;
use super::super::lower::{Aliases, channels_last, root, three};
use super::IntPlan;
use super::bits::Packed;
use super::elementwise::{Binary, Dequantizer, Function, Operand, Reduction, Zero};
use super::fuse::{self, Tables, codes};
use super::place::place;
use super::step::{FILL, Reference, Work};
use crate::kernels::int::{self, AlignedBytes, ConvSpec, PostSpec, Word, encode};
use crate::kernels::{ConvShape, KernelError, PoolShape};
use unfloat_ir::arena::Handle;
use unfloat_ir::boundary::Boundary;
use unfloat_ir::ops::{self, Lookup, PadMode, ReduceFn, UpsampleMode};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, Location, Node, NodeId, Op, OpDef, Shape, Tensor, TensorType,
    ValueId, accumulator,
};

pub(in super::super) fn plan(graph: &Graph, options: &PlanOptions) -> Result<IntPlan, Diagnostics> {
    check(graph)?;
    let mut lowering = Lowering {
        graph,
        options,
        users: graph.users(),
        ranges: Ranges::of(graph),
        tables: Tables::default(),
        packed: Packed::none(graph),
    };
    let mut packed = Packed::none(graph);
    packed.settle(&lowering);
    lowering.packed = packed;
    let (steps, alias) = lowering.steps()?;
    place(graph, options, steps, &alias, &|v| lowering.word(v), &lowering.packed)
}

/// Whether the graph is integers, but for the quantizers of its inputs and the dequantizers of its outputs.
pub(in super::super) fn is_integer_graph(graph: &Graph) -> bool {
    Boundary::of(graph).holds_integers(graph) && check(graph).is_ok()
}

/// Refuses values that are neither floats nor integers.
fn check(graph: &Graph) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    let mut one = |at: Location, v: ValueId| {
        let elem = &graph.ty(v).elem;
        if !elem.is_float() && !elem.is_integer() {
            let text = format!(
                "`{}` is {}; only floats and integers can be planned",
                graph.value(v).name,
                graph.ty(v)
            );
            found.push(Diagnostic::error(at, text));
        }
    };
    for (_, node) in graph.live_nodes() {
        node.inputs.iter().chain([&node.output]).for_each(|&v| one((&node.origin).into(), v));
    }
    for v in graph.inputs().iter().copied().chain(graph.outputs().iter().map(|o| o.value)) {
        if graph.producer(v).is_none() {
            one(Location::default(), v);
        }
    }
    found.into_result(())
}

/// A step whose operands are still values.
pub(super) struct Draft<'g> {
    pub work: Work,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
    pub node: &'g Node,
    /// Whether a whole chunk of samples goes through it at once.
    pub together: bool,
}

/// What a node is done with, and which operands it still reads; nothing if its reference evaluation is best.
type Fast = Result<Option<(Work, Vec<ValueId>)>, KernelError>;

/// Most entries of a table that a plan makes for a value: broken files can ask for any size. Numbers up to here are
/// exact in single precision.
pub(super) const TABLE: usize = 1 << 23;

pub(super) struct Lowering<'g> {
    pub graph: &'g Graph,
    pub options: &'g PlanOptions,
    pub users: Vec<Vec<NodeId>>,
    pub ranges: Ranges,
    pub tables: Tables,
    pub packed: Packed,
}

impl<'g> Lowering<'g> {
    fn steps(&self) -> Result<(Vec<Draft<'g>>, Aliases), Diagnostics> {
        let mut drafts = Vec::new();
        let mut alias = Aliases::new();
        let mut fused = vec![false; self.graph.num_values()];
        let mut found = Diagnostics::new();
        for (_, node) in self.graph.live_nodes() {
            if fused[node.output.index()] {
                continue;
            }
            if self.is_alias(node) {
                alias.insert(node.output, node.inputs[0]);
                continue;
            }
            match self.work(node).map(|found| self.packing(found)) {
                Ok((work, inputs, output)) => {
                    let constant = |v: &ValueId| self.graph.const_of(root(&alias, *v)).is_some();
                    let together = work.wants_company() && !inputs.iter().any(constant);
                    drafts.push(Draft { work, inputs, output, node, together });
                    // What the kernel takes in makes no step: all nodes from this one to the output.
                    let mut at = output;
                    while at != node.output {
                        fused[at.index()] = true;
                        at = self.graph.producer(at).map_or(node.output, |(_, n)| n.inputs[0]);
                    }
                }
                Err(e) => {
                    let name = &self.graph.value(node.output).name;
                    let text = format!("`{name}` ({}): {e}", node.op.name());
                    found.push(Diagnostic::error(&node.origin, text));
                }
            }
        }
        found.into_result((drafts, alias))
    }

    /// Whether the node's result lies where its operand does.
    fn is_alias(&self, node: &Node) -> bool {
        match &node.op {
            Op::Reshape(_) => self.word(node.output) == self.word(node.inputs[0]),
            Op::Cast(_) => {
                fuse::keeps(self.graph, &self.ranges, node)
                    && self.word(node.output) == self.word(node.inputs[0])
            }
            _ => false,
        }
    }

    pub fn ty(&self, value: ValueId) -> &'g TensorType {
        self.graph.ty(value)
    }

    /// The word of a value: the narrowest that holds what it can be.
    pub fn word(&self, value: ValueId) -> Word {
        if self.ty(value).elem.is_float() {
            return Word::F32;
        }
        self.ranges.of_value(value).map_or(Word::I64, |(lo, hi)| Word::holding(lo, hi))
    }

    /// What does the node and what follows it, the operands that it still reads, and the value that comes out.
    fn work(&self, node: &Node) -> Result<(Work, Vec<ValueId>, ValueId), KernelError> {
        if node.inputs.first().is_some_and(|&x| self.packed.holds(x))
            && let Some((work, output)) = self.bits(node)?
        {
            return Ok((work, vec![node.inputs[0]], output));
        }
        if self.ty(node.output).elem.is_integer()
            && let Op::Conv(_) | Op::Dense(_) = &node.op
        {
            let chain = fuse::behind(self.graph, &self.ranges, &self.users, &self.tables, node);
            let pooled = self.pooled(chain.output).map(|output| (chain.spec.clone(), output, true));
            let others = [(chain.spec, chain.output, false), (PostSpec::default(), node.output, false)];
            for (spec, output, pooled) in pooled.into_iter().chain(others) {
                if let Some(work) = self.sums(node, &spec, (output, pooled))? {
                    return Ok((work, vec![node.inputs[0]], output));
                }
            }
        }
        if let Op::Requantize(_) | Op::Threshold(_) = &node.op
            && let Some((work, output)) = self.post(node)?
        {
            return Ok((work, vec![node.inputs[0]], output));
        }
        if let Op::Lut(_) = &node.op
            && let Some((luts, output)) = self.luts(node)?
        {
            return Ok((Work::Luts(Box::new(luts)), vec![node.inputs[0]], output));
        }
        let fast = match &node.op {
            Op::MaxPool(p) => self.max_pool(node, &p.window)?,
            Op::Unary(f) => self.function(node, Some(*f)),
            Op::Cast(_) => self.function(node, None),
            Op::Binary(f) => self.binary(node, *f),
            Op::Quantize(q) => self.quantize(node, q),
            Op::Dequantize(_) => self.dequantize(node),
            Op::Lookup(_) => self.lookup(node),
            Op::Concat(c) => self.concat(node, c.axis),
            Op::Reduce(r) => self.reduce(node, r),
            Op::Transpose(_)
            | Op::Slice(_)
            | Op::Expand(_)
            | Op::Pad(_)
            | Op::Upsample(_)
            | Op::Reverse(_)
            | Op::Gather(_) => self.moved(node),
            _ => None,
        };
        let (work, inputs) = fast.unwrap_or_else(|| {
            let inputs = node.inputs.iter().map(|&v| (self.ty(v).clone(), self.word(v))).collect();
            let out = (self.ty(node.output).clone(), self.word(node.output));
            (Work::Reference(Reference { op: node.op.clone(), inputs, out }), node.inputs.clone())
        });
        Ok((work, inputs, node.output))
    }

    /// What a pooling over each 2 × 2 pixels makes of a value that nothing else reads.
    fn pooled(&self, value: ValueId) -> Option<ValueId> {
        let node = self.graph.node(self.graph.sole_user(&self.users, value)?);
        let Op::MaxPool(p) = &node.op else { return None };
        let w = &p.window;
        let plain = w.kernel == [2, 2] && w.strides == [2, 2] && w.dilations == [1, 1];
        let inside = w.pads_begin == [0, 0] && w.pads_end == [0, 0];
        (plain && inside && channels_last(self.ty(value), 2).is_some()).then_some(node.output)
    }

    /// A convolution or a dense layer with constant weights, and what happens to its sums up to `output`, with a pooling
    /// or not.
    fn sums(
        &self,
        node: &Node,
        spec: &PostSpec,
        (output, pooled): (ValueId, bool),
    ) -> Result<Option<Work>, KernelError> {
        let x = node.inputs[0];
        let shape = match &node.op {
            Op::Conv(c) => self.conv_shape(node, c),
            _ => self.dense_shape(node),
        };
        let constant = |i: usize| self.graph.const_of(node.inputs[i]).and_then(|t| codes(t));
        let (Some(shape), Some(weights), Some((lo, hi))) = (shape, constant(1), self.ranges.of_value(x))
        else {
            return Ok(None);
        };
        let bias = if node.inputs.len() > 2 { constant(2) } else { Some(vec![0; shape.out_channels]) };
        let (Some(bias), Ok(lo), Ok(hi)) = (bias, i64::try_from(lo), i64::try_from(hi)) else {
            return Ok(None);
        };
        let Ok(sums) = accumulator::of_node(self.graph, node, Some(&[(lo, hi)])) else { return Ok(None) };
        let out = self.word(output);
        let spec = ConvSpec {
            shape: &shape,
            input: (self.word(x), (lo, hi)),
            weights: &weights,
            bias: &bias,
            sums: &sums.channels,
            post: spec,
            pooled,
            out,
        };
        Ok(int::Conv::new(self.options.isa, &spec)?.map(|conv| Work::Conv(Box::new(conv))))
    }

    /// The kernel's shape of a channels-last convolution over at most three axes.
    pub fn conv_shape(&self, node: &Node, conv: &ops::Conv) -> Option<ConvShape> {
        let (input, in_channels) = channels_last(self.ty(node.inputs[0]), conv.window.rank())?;
        Some(ConvShape {
            input,
            in_channels,
            out_channels: *self.ty(node.output).shape.last()?,
            kernel: three(&conv.window.kernel, 1),
            stride: three(&conv.window.strides, 1),
            dilation: three(&conv.window.dilations, 1),
            pad_begin: three(&conv.window.pads_begin, 0),
            pad_end: three(&conv.window.pads_end, 0),
            groups: conv.groups,
        })
    }

    /// A dense layer is a convolution over its vectors as pixels.
    fn dense_shape(&self, node: &Node) -> Option<ConvShape> {
        let (x, w) = (self.ty(node.inputs[0]), self.ty(node.inputs[1]));
        let rows = x.shape[..x.rank() - 1].iter().product();
        Some(ConvShape::conv2d([1, rows], [w.shape[1], w.shape[0]], [1, 1]))
    }

    /// A requantization or thresholds of codes that no kernel made, and the clamps that follow.
    fn post(&self, node: &Node) -> Result<Option<(Work, ValueId)>, KernelError> {
        let mut spec = PostSpec::default();
        let x = node.inputs[0];
        let ranges = (self.ranges.of_value(x), self.ty(x).shape.last());
        let (Some(range), Some(&channels)) = ranges else { return Ok(None) };
        if channels == 0
            || channels > TABLE
            || self.ty(x).elem.is_float()
            || !fuse::add(self.graph, &self.ranges, &self.tables, node, &mut spec)
        {
            return Ok(None);
        }
        let word = self.word(node.output);
        let post = int::Post::new(self.options.isa, &spec, &vec![range; channels], word)?;
        Ok(Some((Work::Post { post, from: self.word(x) }, node.output)))
    }

    fn max_pool(&self, node: &Node, window: &ops::Window) -> Fast {
        let x = self.ty(node.inputs[0]);
        let word = self.word(node.inputs[0]);
        let (Some(shape), true) =
            (self.pool_shape(node, window), x.elem.is_integer() && word == self.word(node.output))
        else {
            return Ok(None);
        };
        let pool = int::MaxPool::new(self.options.isa, &shape, word)?;
        Ok(Some((Work::MaxPool(pool), node.inputs.clone())))
    }

    /// The kernel's shape of a channels-last pooling over at most three axes.
    pub fn pool_shape(&self, node: &Node, window: &ops::Window) -> Option<PoolShape> {
        let (input, channels) = channels_last(self.ty(node.inputs[0]), window.rank())?;
        Some(PoolShape {
            input,
            channels,
            kernel: three(&window.kernel, 1),
            stride: three(&window.strides, 1),
            dilation: three(&window.dilations, 1),
            pad_begin: three(&window.pads_begin, 0),
            pad_end: three(&window.pads_end, 0),
            ceil_extra: [0; 3],
        })
    }

    fn function(&self, node: &Node, f: Option<ops::Unary>) -> Option<(Work, Vec<ValueId>)> {
        let (ElemType::Int(int), true) =
            (&self.ty(node.output).elem, self.ty(node.inputs[0]).elem.is_integer())
        else {
            return None;
        };
        let (from, to) = (self.word(node.inputs[0]), self.word(node.output));
        Some((Work::Function(Function { from, to, int: *int, f }), node.inputs.clone()))
    }

    fn binary(&self, node: &Node, f: ops::Binary) -> Option<(Work, Vec<ValueId>)> {
        let ElemType::Int(int) = self.ty(node.output).elem else { return None };
        let out = &self.ty(node.output).shape;
        if out.num_elements() > TABLE {
            return None;
        }
        let operand = |v: ValueId| {
            let len = self.ty(v).shape.num_elements();
            let map = (len != out.num_elements()).then(|| broadcast(&self.ty(v).shape, out));
            Operand { word: self.word(v), len, map }
        };
        let operands = [operand(node.inputs[0]), operand(node.inputs[1])];
        let binary = Binary { f, operands, to: self.word(node.output), int, len: out.num_elements() };
        Some((Work::Binary(binary), node.inputs.clone()))
    }

    /// The constant floats of an operand, if they repeat over the leading axes of the result.
    fn repeating(&self, node: &Node, operand: usize) -> Option<&'g Tensor> {
        let out = &self.ty(node.output).shape;
        let t = self.graph.const_of(node.inputs[operand])?;
        let first = t.shape().iter().position(|&d| d != 1).unwrap_or(t.shape().rank());
        (!t.is_empty() && out.ends_with(&t.shape()[first..])).then_some(t)
    }

    fn quantize(&self, node: &Node, op: &ops::Quantize) -> Option<(Work, Vec<ValueId>)> {
        let one = |i| match self.repeating(node, i)?.as_f32()? {
            [v] => Some(*v),
            _ => None,
        };
        let q = int::Quantizer::new(self.options.isa, op, one(1)?, one(2)?, self.word(node.output));
        Some((Work::Quantize(q), vec![node.inputs[0]]))
    }

    fn dequantize(&self, node: &Node) -> Option<(Work, Vec<ValueId>)> {
        let scale = self.repeating(node, 1)?.as_f32()?.to_vec();
        let zero = self.repeating(node, 2)?;
        let zero = match zero.as_f32() {
            Some(zero) => Zero::Float(zero.to_vec()),
            None => Zero::Int(codes(zero)?),
        };
        let from = self.word(node.inputs[0]);
        let len = self.ty(node.output).shape.num_elements();
        Some((Work::Dequantize(Dequantizer { from, scale, zero, len }), vec![node.inputs[0]]))
    }

    fn lookup(&self, node: &Node) -> Option<(Work, Vec<ValueId>)> {
        let (first, _) = Lookup::table_of(&self.ty(node.inputs[0]).elem)?;
        self.graph.const_of(node.inputs[1]).filter(|t| t.ty.elem.is_integer())?;
        let table = self.tables.codes(self.graph, node.inputs[1])?;
        let (from, to) = (self.word(node.inputs[0]), self.word(node.output));
        Some((Work::Lookup { from, to, first, table }, vec![node.inputs[0]]))
    }

    fn concat(&self, node: &Node, axis: usize) -> Option<(Work, Vec<ValueId>)> {
        let (out, word) = (self.ty(node.output), self.word(node.output));
        if node.inputs.iter().any(|&v| self.word(v) != word) {
            return None;
        }
        let inner: usize = out.shape[axis + 1..].iter().product();
        let rows = node.inputs.iter().map(|&v| self.ty(v).shape[axis] * inner * word.bytes()).collect();
        Some((Work::Concat { outer: out.shape[..axis].iter().product(), rows }, node.inputs.clone()))
    }

    fn reduce(&self, node: &Node, op: &ops::Reduce) -> Option<(Work, Vec<ValueId>)> {
        let x = self.ty(node.inputs[0]);
        let ElemType::Int(int) = self.ty(node.output).elem else { return None };
        let large = x.shape.num_elements() > TABLE;
        if op.f == ReduceFn::Mean || !x.elem.is_integer() || x.shape.contains(&0) || large {
            return None;
        }
        let strides = x.shape.strides();
        let positions = |axes: &[usize]| {
            let dims: Vec<usize> = axes.iter().map(|&a| x.shape[a]).collect();
            let mut found = Vec::new();
            for_each_index(&dims, |at| found.push(axes.iter().zip(at).map(|(&a, i)| i * strides[a]).sum()));
            found
        };
        let others: Vec<usize> = (0..x.rank()).filter(|a| !op.axes.contains(a)).collect();
        let (from, to) = (self.word(node.inputs[0]), self.word(node.output));
        let (bases, cells) = (positions(&others), positions(&op.axes));
        let reduction = Reduction { f: op.f, bases, cells, from, to, int, len: x.shape.num_elements() };
        Some((Work::Reduce(reduction), node.inputs.clone()))
    }

    /// Ops that only move elements: their own reference evaluation on the elements' numbers tells whence.
    fn moved(&self, node: &Node) -> Option<(Work, Vec<ValueId>)> {
        let (x, out) = (self.ty(node.inputs[0]), self.ty(node.output));
        let word = self.word(node.output);
        let n = x.shape.num_elements();
        if n > TABLE || out.shape.num_elements() > TABLE || word != self.word(node.inputs[0]) {
            return None;
        }
        let mut fill = AlignedBytes::zeroed(word.bytes());
        let op = match &node.op {
            Op::Upsample(u) if u.mode != UpsampleMode::Nearest => return None,
            Op::Pad(p) => match p.mode {
                PadMode::Constant(value) => {
                    match word {
                        Word::F32 => fill.copy_from_slice(&value.to_ne_bytes()),
                        word => encode(&[value as i64], word, &mut fill).ok()?,
                    }
                    let mut marked = p.clone();
                    marked.mode = PadMode::Constant(-1.0);
                    Op::Pad(marked)
                }
                _ => node.op.clone(),
            },
            other => other.clone(),
        };
        let numbers = Tensor::f32(x.shape.clone(), x.layout, (0..n).map(|i| i as f32).collect());
        let more = node.inputs[1..].iter().map(|&v| self.graph.const_of(v).map(|t| &**t));
        let operands: Vec<&Tensor> = std::iter::once(Some(&numbers)).chain(more).collect::<Option<_>>()?;
        let ty = out.with_elem(ElemType::F32);
        let moved = Tensor { data: op.eval(&operands, &ty).ok()?, ty };
        let map = moved.as_f32()?.iter().map(|&i| if i < 0.0 { FILL } else { i as u32 }).collect();
        Some((Work::Gather { map, fill: fill.to_vec() }, vec![node.inputs[0]]))
    }
}

/// Where each element of the result finds a broadcast operand.
fn broadcast(from: &Shape, out: &Shape) -> Vec<u32> {
    let strides = from.strides();
    let lead = out.rank() - from.rank();
    let mut map = Vec::with_capacity(out.num_elements());
    for_each_index(out, |at| {
        let axis = |i: usize| if from[i] == 1 { 0 } else { at[lead + i] * strides[i] };
        map.push((0..from.rank()).map(axis).sum::<usize>() as u32);
    });
    map
}
