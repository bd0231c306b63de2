//! Graph to steps: which kernel does each node.

use super::place::place;
use super::step::{FILL, Work};
use super::{FloatPlan, PlanOptions};
use crate::kernels::{self, Activation, ConvShape, ConvTransposeShape, KernelError, PoolKind, PoolShape};
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{
    BatchNorm, BatchNormFormula, Binary, Conv, ConvTranspose, PadMode, ReduceFn, Unary, UpsampleMode, Window,
};
use unfloat_ir::{
    Diagnostic, Diagnostics, Graph, Location, Node, NodeId, Op, OpDef, Tensor, TensorType, ValueId,
};

pub(super) fn plan(graph: &Graph, options: &PlanOptions) -> Result<FloatPlan, Diagnostics> {
    let graph = &*graph.decoded()?;
    check_floats(graph)?;
    let lowering = Lowering { graph, options, users: graph.users() };
    let (steps, alias) = lowering.steps()?;
    place(graph, options, steps, &alias)
}

/// Refuses graphs that hold anything but floats.
pub(super) fn check_floats(graph: &Graph) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    let mut check = |at: Location, v: ValueId| {
        if !graph.ty(v).elem.is_float() {
            let text = format!("`{}` is {}; only floats can be planned", graph.value(v).name, graph.ty(v));
            found.push(Diagnostic::error(at, text));
        }
    };
    for (_, node) in graph.live_nodes() {
        node.inputs.iter().chain([&node.output]).for_each(|&v| check((&node.origin).into(), v));
    }
    // An output may show an input or a constant that no node reads.
    graph.inputs().iter().copied().chain(graph.outputs().iter().map(|o| o.value)).for_each(|v| {
        if graph.producer(v).is_none() {
            check(Location::default(), v);
        }
    });
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

/// Values that lie where another one lies.
pub(super) type Aliases = BTreeMap<ValueId, ValueId>;

/// The value in whose place `value` lies.
pub(super) fn root(alias: &Aliases, mut value: ValueId) -> ValueId {
    while let Some(&next) = alias.get(&value) {
        value = next;
    }
    value
}

struct Lowering<'g> {
    graph: &'g Graph,
    options: &'g PlanOptions,
    users: Vec<Vec<NodeId>>,
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
            if matches!(node.op, Op::Reshape(_)) {
                alias.insert(node.output, node.inputs[0]);
                continue;
            }
            let (activation, output) = self.fusable(node);
            if output != node.output {
                fused[output.index()] = true;
            }
            match self.work(node, activation) {
                Ok((work, inputs)) => {
                    // A constant is the same for every sample: there is no chunk of them to take.
                    let constant = |v: &ValueId| self.graph.const_of(root(&alias, *v)).is_some();
                    let together = work.wants_company() && !inputs.iter().any(constant);
                    drafts.push(Draft { work, inputs, output, node, together });
                }
                Err(e) => {
                    let name = &self.graph.value(node.output).name;
                    found
                        .push(Diagnostic::error(&node.origin, format!("`{name}` ({}): {e}", node.op.name())));
                }
            }
        }
        found.into_result((drafts, alias))
    }

    /// The activation that the node's kernel can apply itself, and the value that then results.
    fn fusable(&self, node: &Node) -> (Activation, ValueId) {
        let plain = (Activation::None, node.output);
        let fast = match &node.op {
            Op::Conv(c) => self.conv_shape(node, c).is_some(),
            Op::ConvTranspose(c) => self.transpose_shape(node, c).is_some(),
            Op::Dense(_) => true,
            _ => false,
        };
        let constant = node.inputs[1..].iter().all(|&v| self.graph.const_of(v).is_some());
        if !fast || !constant {
            return plain;
        }
        let Some(user) = self.graph.sole_user(&self.users, node.output) else { return plain };
        let user = self.graph.node(user);
        let activation = match user.op {
            Op::Unary(Unary::Relu) => Activation::Relu,
            Op::Unary(Unary::LeakyRelu { alpha }) => Activation::Leaky { slope: alpha },
            Op::Unary(Unary::Clip { lo, hi }) if lo <= hi => Activation::Clip { lo, hi },
            _ => return plain,
        };
        (activation, user.output)
    }

    fn ty(&self, value: ValueId) -> &'g TensorType {
        self.graph.ty(value)
    }

    fn floats(&self, value: ValueId) -> Option<&'g [f32]> {
        self.graph.const_of(value).and_then(|t| t.as_f32())
    }

    /// What does the node, and which operands it still reads.
    fn work(&self, node: &Node, activation: Activation) -> Result<(Work, Vec<ValueId>), KernelError> {
        let fast = match &node.op {
            Op::Conv(c) => self.conv(node, c, activation)?,
            Op::ConvTranspose(c) => self.conv_transpose(node, c, activation)?,
            Op::Dense(_) => self.dense(node, activation)?,
            Op::MaxPool(p) => self.pool(node, &p.window, PoolKind::Max)?,
            Op::AvgPool(p) if p.count_include_pad => self.pool(node, &p.window, PoolKind::AveragePadded)?,
            Op::AvgPool(p) => self.pool(node, &p.window, PoolKind::Average)?,
            Op::BatchNorm(b) => self.affine(node, b),
            Op::Unary(f) => Some((unary(*f), node.inputs.clone())),
            Op::Binary(f) => self.binary(node, *f),
            Op::Softmax(s) if !s.log && s.axes == [self.ty(node.output).rank().wrapping_sub(1)] => {
                let classes = self.ty(node.output).shape.last().copied().unwrap_or(1);
                Some((Work::Softmax { classes }, node.inputs.clone()))
            }
            Op::Reduce(r) if r.f == ReduceFn::Mean => self.global_mean(node, &r.axes),
            Op::Concat(c) => self.concat(node, c.axis),
            Op::Transpose(_) | Op::Slice(_) | Op::Expand(_) | Op::Pad(_) | Op::Upsample(_) => {
                self.gather(node)
            }
            Op::Reverse(_) => self.gather(node),
            _ => None,
        };
        Ok(fast.unwrap_or_else(|| {
            let types = node.inputs.iter().map(|&v| self.ty(v).clone()).collect();
            let work = Work::Reference { op: node.op.clone(), types, out: self.ty(node.output).clone() };
            (work, node.inputs.clone())
        }))
    }

    /// The kernel's shape of a channels-last convolution over at most three axes.
    fn conv_shape(&self, node: &Node, conv: &Conv) -> Option<ConvShape> {
        let x = self.ty(node.inputs[0]);
        let (extents, channels) = channels_last(x, conv.window.rank())?;
        Some(ConvShape {
            input: extents,
            in_channels: channels,
            out_channels: *self.ty(node.output).shape.last()?,
            kernel: three(&conv.window.kernel, 1),
            stride: three(&conv.window.strides, 1),
            dilation: three(&conv.window.dilations, 1),
            pad_begin: three(&conv.window.pads_begin, 0),
            pad_end: three(&conv.window.pads_end, 0),
            groups: conv.groups,
        })
    }

    fn conv(&self, node: &Node, conv: &Conv, activation: Activation) -> Fast {
        let (Some(shape), Some((weight, bias))) = (self.conv_shape(node, conv), self.weights(node)) else {
            return Ok(None);
        };
        let kernel = kernels::Conv::new(self.options.isa, &shape, weight, bias, activation)?;
        Ok(Some((Work::Conv(kernel), vec![node.inputs[0]])))
    }

    /// The constant weight and bias of a node.
    fn weights(&self, node: &Node) -> Option<(&'g [f32], Option<&'g [f32]>)> {
        let weight = self.floats(node.inputs[1])?;
        match node.inputs.get(2) {
            None => Some((weight, None)),
            Some(&b) => Some((weight, Some(self.floats(b)?))),
        }
    }

    fn conv_transpose(&self, node: &Node, op: &ConvTranspose, activation: Activation) -> Fast {
        let (Some(shape), Some((weight, bias))) = (self.transpose_shape(node, op), self.weights(node)) else {
            return Ok(None);
        };
        let kernel = kernels::ConvTranspose::new(self.options.isa, &shape, weight, bias, activation)?;
        Ok(Some((Work::ConvTranspose(kernel), vec![node.inputs[0]])))
    }

    /// The kernel's shape of a channels-last transposed convolution over at most three axes.
    fn transpose_shape(&self, node: &Node, op: &ConvTranspose) -> Option<ConvTransposeShape> {
        let (extents, channels) = channels_last(self.ty(node.inputs[0]), op.kernel.len())?;
        Some(ConvTransposeShape {
            input: extents,
            in_channels: channels,
            out_channels: *self.ty(node.output).shape.last()?,
            kernel: three(&op.kernel, 1),
            stride: three(&op.strides, 1),
            dilation: three(&op.dilations, 1),
            crop: three(&op.crop, 0),
            output: three(&op.output, 1),
            groups: op.groups,
        })
    }

    fn dense(&self, node: &Node, activation: Activation) -> Fast {
        let Some((weight, bias)) = self.weights(node) else { return Ok(None) };
        let [outputs, inputs] = [self.ty(node.inputs[1]).shape[0], self.ty(node.inputs[1]).shape[1]];
        let kernel = kernels::Dense::new(self.options.isa, inputs, outputs, weight, bias, activation)?;
        let x = self.ty(node.inputs[0]);
        let rows = x.shape[..x.rank() - 1].iter().product();
        Ok(Some((Work::Dense { kernel, rows }, vec![node.inputs[0]])))
    }

    fn pool(&self, node: &Node, window: &Window, kind: PoolKind) -> Fast {
        let Some((extents, channels)) = channels_last(self.ty(node.inputs[0]), window.rank()) else {
            return Ok(None);
        };
        let shape = PoolShape {
            input: extents,
            channels,
            kernel: three(&window.kernel, 1),
            stride: three(&window.strides, 1),
            dilation: three(&window.dilations, 1),
            pad_begin: three(&window.pads_begin, 0),
            pad_end: three(&window.pads_end, 0),
            ceil_extra: [0; 3],
        };
        let pool = kernels::Pool::new(self.options.isa, &shape, kind)?;
        Ok(Some((Work::Pool(pool), node.inputs.clone())))
    }

    /// Batch normalisation over the last axis as one multiplication and one addition.
    fn affine(&self, node: &Node, op: &BatchNorm) -> Option<(Work, Vec<ValueId>)> {
        let [gamma, beta] = [self.floats(node.inputs[1])?, self.floats(node.inputs[2])?];
        let [mean, variance] = [self.floats(node.inputs[3])?, self.floats(node.inputs[4])?];
        if op.axis + 1 != self.ty(node.output).rank() {
            return None;
        }
        let exact = op.formula == BatchNormFormula::Fused;
        let factor = |c: usize| f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(op.eps)).sqrt();
        let both = |c: usize| match op.formula {
            BatchNormFormula::Fused => {
                BatchNormFormula::fused(gamma[c], beta[c], mean[c], variance[c], op.eps)
            }
            BatchNormFormula::Definition => {
                (factor(c) as f32, (f64::from(beta[c]) - f64::from(mean[c]) * factor(c)) as f32)
            }
        };
        let (scale, shift) = (0..gamma.len()).map(both).unzip();
        Some((Work::Affine { scale, shift, exact }, vec![node.inputs[0]]))
    }

    /// A function of two elements where the second operand has the first one's shape, or repeats over its
    /// leading axes.
    fn binary(&self, node: &Node, f: Binary) -> Option<(Work, Vec<ValueId>)> {
        let (a, b) = (self.ty(node.inputs[0]), self.ty(node.inputs[1]));
        let out = self.ty(node.output);
        let unpadded: &[usize] = {
            let first = b.shape.iter().position(|&d| d != 1).unwrap_or(b.rank());
            &b.shape[first..]
        };
        let repeats = a.shape == out.shape && out.shape.ends_with(unpadded);
        if !repeats || out.shape.contains(&0) {
            return None;
        }
        let kernel = match f {
            Binary::Add => kernels::Binary::Add,
            Binary::Sub => kernels::Binary::Sub,
            Binary::Mul => kernels::Binary::Mul,
            Binary::Div => kernels::Binary::Div,
            Binary::Max => kernels::Binary::Max,
            Binary::Min => kernels::Binary::Min,
            Binary::Pow | Binary::Prelu | Binary::Mod | Binary::Fmod => {
                return Some((Work::BinaryPlain(f), node.inputs.clone()));
            }
        };
        Some((Work::Binary(kernel), node.inputs.clone()))
    }

    fn global_mean(&self, node: &Node, axes: &[usize]) -> Option<(Work, Vec<ValueId>)> {
        let x = self.ty(node.inputs[0]);
        let leading = axes.iter().copied().eq(0..x.rank().checked_sub(1)?);
        let channels = *x.shape.last()?;
        let pixels = x.shape[..x.rank() - 1].iter().product();
        (leading && pixels > 0).then(|| (Work::GlobalMean { pixels, channels }, node.inputs.clone()))
    }

    fn concat(&self, node: &Node, axis: usize) -> Option<(Work, Vec<ValueId>)> {
        let out = self.ty(node.output);
        let inner: usize = out.shape[axis + 1..].iter().product();
        let rows = node.inputs.iter().map(|&v| self.ty(v).shape[axis] * inner).collect();
        Some((Work::Concat { outer: out.shape[..axis].iter().product(), rows }, node.inputs.clone()))
    }

    /// Ops that only move elements: their own reference evaluation on the elements' numbers tells whence.
    fn gather(&self, node: &Node) -> Option<(Work, Vec<ValueId>)> {
        // Numbers up to here are exact in single precision.
        const EXACT: usize = 1 << 24;
        let x = self.ty(node.inputs[0]);
        let out = self.ty(node.output);
        let n = x.shape.num_elements();
        // Larger results would need a larger table than is worth while.
        if n >= EXACT || out.shape.num_elements() >= EXACT {
            return None;
        }
        let (op, fill) = match &node.op {
            Op::Upsample(u) if u.mode != UpsampleMode::Nearest => return None,
            Op::Pad(p) => match p.mode {
                PadMode::Constant(value) => {
                    let mut marked = p.clone();
                    marked.mode = PadMode::Constant(-1.0);
                    (Op::Pad(marked), value)
                }
                _ => (node.op.clone(), 0.0),
            },
            other => (other.clone(), 0.0),
        };
        let numbers = Tensor::f32(x.shape.clone(), x.layout, (0..n).map(|i| i as f32).collect());
        let moved = Tensor { data: op.eval(&[&numbers], out).ok()?, ty: out.clone() };
        let map = moved.as_f32()?.iter().map(|&i| if i < 0.0 { FILL } else { i as u32 }).collect();
        Some((Work::Gather { map, fill }, node.inputs.clone()))
    }
}

/// What a node is done with, if there is something better than its reference evaluation.
type Fast = Result<Option<(Work, Vec<ValueId>)>, KernelError>;

fn unary(f: Unary) -> Work {
    let activation = |a| Work::Unary(kernels::Unary::Activation(a));
    match f {
        Unary::Relu => activation(Activation::Relu),
        Unary::LeakyRelu { alpha } => activation(Activation::Leaky { slope: alpha }),
        Unary::Clip { lo, hi } if lo <= hi => activation(Activation::Clip { lo, hi }),
        Unary::Sigmoid => Work::Unary(kernels::Unary::Sigmoid),
        Unary::HardSigmoid { alpha, beta } => Work::Unary(kernels::Unary::HardSigmoid { alpha, beta }),
        Unary::Tanh => Work::Unary(kernels::Unary::Tanh),
        Unary::Exp => Work::Unary(kernels::Unary::Exp),
        Unary::Elu { alpha } => Work::Unary(kernels::Unary::Elu { alpha, scale: 1.0 }),
        Unary::Selu { alpha, scale } => Work::Unary(kernels::Unary::Elu { alpha, scale }),
        Unary::Silu => Work::Unary(kernels::Unary::Silu),
        Unary::HardSwish => Work::Unary(kernels::Unary::HardSwish),
        Unary::Gelu => Work::Unary(kernels::Unary::Gelu),
        Unary::GeluTanh => Work::Unary(kernels::Unary::GeluTanh),
        Unary::Softplus => Work::Unary(kernels::Unary::Softplus),
        Unary::Softsign => Work::Unary(kernels::Unary::Softsign),
        other => Work::UnaryPlain(other),
    }
}

/// The extents, as three, and the channels of a channels-last map with `spatial` axes.
pub(super) fn channels_last(ty: &TensorType, spatial: usize) -> Option<([usize; 3], usize)> {
    let fits = spatial <= 3 && ty.rank() == spatial + 1 && ty.layout.is_channels_last();
    fits.then(|| (three(&ty.shape[..spatial], 1), ty.shape[spatial]))
}

/// One to three numbers as three, with `fill` in front.
pub(super) fn three(values: &[usize], fill: usize) -> [usize; 3] {
    let mut all = [fill; 3];
    all[3 - values.len().min(3)..].copy_from_slice(&values[..values.len().min(3)]);
    all
}
