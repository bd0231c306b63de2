//! What a plan is made of: steps that read some places and write one.

use crate::kernels::{self, Isa, KernelError};
use std::sync::Arc;
use unfloat_ir::ops::{Binary, Unary};
use unfloat_ir::{Data, Location, Op, OpDef, Tensor, TensorType};

/// Where a step reads.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Input `n` of the graph.
    Input(usize),
    /// A constant of the graph.
    Const(Arc<Tensor>),
    /// A buffer of the plan.
    Buffer(Place),
}

/// A buffer: `len` f32 per sample, from `offset` on in its arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Whether it lies in the arena that a chunk of samples shares.
    pub shared: bool,
    /// f32 per sample before it.
    pub offset: usize,
    /// f32 per sample.
    pub len: usize,
}

/// One node, or a node with the activation after it.
pub(super) struct Step {
    pub work: Work,
    pub sources: Vec<Source>,
    pub to: Place,
    /// Whether it takes one sample at a time.
    pub single: bool,
    /// For errors.
    pub at: Location,
}

/// Steps that are run for a few samples after a few others, or one step that takes a whole chunk.
pub(super) enum Segment {
    Grouped(Vec<Step>),
    Together(Box<Step>),
}

/// What a step does, on samples one after another.
pub(super) enum Work {
    Conv(kernels::Conv),
    ConvTranspose(kernels::ConvTranspose),
    /// A dense layer, over `rows` vectors per sample.
    Dense {
        kernel: kernels::Dense,
        rows: usize,
    },
    Pool(kernels::Pool),
    /// A function that has a kernel.
    Unary(kernels::Unary),
    /// A function by its reference formula.
    UnaryPlain(Unary),
    /// Operands of one shape, or a second one that repeats.
    Binary(kernels::Binary),
    /// Operands by their reference formula, under the same rule as `Binary`.
    BinaryPlain(Binary),
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        /// Whether multiplication and addition must round once, on any machine.
        exact: bool,
    },
    Softmax {
        classes: usize,
    },
    /// Means over all but the last axis.
    GlobalMean {
        pixels: usize,
        channels: usize,
    },
    /// Element `i` of the result is element `map[i]` of the operand, or `fill`.
    Gather {
        map: Vec<u32>,
        fill: f32,
    },
    /// `rows[k]` elements of operand `k` in turn, `outer` times.
    Concat {
        outer: usize,
        rows: Vec<usize>,
    },
    /// The op's own reference evaluation, one sample.
    Reference {
        op: Op,
        types: Vec<TensorType>,
        out: TensorType,
    },
}

/// In [`Work::Gather`], an element that the operand does not have.
pub(super) const FILL: u32 = u32::MAX;

impl Work {
    /// f32 of scratch memory.
    pub fn scratch_len(&self) -> usize {
        match self {
            Work::Conv(conv) => conv.scratch_len(),
            Work::ConvTranspose(conv) => conv.scratch_len(),
            _ => 0,
        }
    }

    /// Whether it takes any number of samples, when each of its operands varies with the sample (`constant` tells
    /// which do not) and is as long as the result (`repeats` tells which are shorter).
    pub fn takes_several(&self, constant: &[bool], repeats: &[bool]) -> bool {
        match self {
            Work::Reference { .. } => false,
            // The second operand starts again with each sample: a shorter one may, if every sample has the same.
            Work::Binary(_) | Work::BinaryPlain(_) => !constant[0] && (constant[1] || !repeats[1]),
            _ => !constant.contains(&true),
        }
    }

    /// Whether the weights are read so much more slowly than the sample that samples should share them.
    pub fn wants_company(&self) -> bool {
        const FAR_FROM_CACHE: usize = 32 * 1024;
        match self {
            Work::Dense { kernel, rows: 1 } => {
                kernel.input_len().saturating_mul(kernel.output_len()) > FAR_FROM_CACHE
            }
            _ => false,
        }
    }

    /// Runs on `batch` samples.
    pub fn run(
        &self,
        isa: Isa,
        batch: usize,
        from: &[&[f32]],
        to: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let x: &[f32] = from.first().copied().unwrap_or(&[]);
        match self {
            Work::Conv(conv) => conv.run(batch, x, to, scratch),
            Work::ConvTranspose(conv) => conv.run(batch, x, to, scratch),
            Work::Dense { kernel, rows } => kernel.run(batch * rows, x, to),
            Work::Pool(pool) => pool.run(batch, x, to),
            Work::Unary(f) => kernels::unary(isa, *f, x, to),
            Work::UnaryPlain(f) => {
                to.iter_mut().zip(x).for_each(|(y, &x)| *y = f.apply(x));
                Ok(())
            }
            Work::Binary(f) => kernels::binary(isa, *f, x, from[1], to),
            Work::BinaryPlain(f) => {
                let b = from[1].iter().cycle();
                to.iter_mut().zip(x.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f.apply(a, b));
                Ok(())
            }
            Work::Affine { scale, shift, exact: true } if !isa.fuses() => {
                let channels = scale.iter().zip(shift).cycle();
                to.iter_mut().zip(x).zip(channels).for_each(|((y, &x), (&a, &c))| *y = x.mul_add(a, c));
                Ok(())
            }
            Work::Affine { scale, shift, .. } => {
                kernels::channel_affine(isa, (scale, shift), kernels::Activation::None, x, to)
            }
            Work::Softmax { classes } => {
                kernels::softmax(isa, (to.len().checked_div(*classes).unwrap_or(0), *classes), x, to)
            }
            Work::GlobalMean { pixels, channels } => {
                kernels::global_mean(isa, (batch, *pixels, *channels), x, to)
            }
            Work::Gather { map, fill } => {
                let len = x.len().checked_div(batch).unwrap_or(0);
                for (s, to) in to.chunks_exact_mut(map.len().max(1)).enumerate() {
                    gather(map, *fill, &x[s * len..(s + 1) * len], to);
                }
                Ok(())
            }
            Work::Concat { outer, rows } => {
                let mut to = to;
                for i in 0..batch * outer {
                    for (part, &n) in from.iter().zip(rows) {
                        let (row, rest) = to.split_at_mut(n);
                        row.copy_from_slice(&part[i * n..(i + 1) * n]);
                        to = rest;
                    }
                }
                Ok(())
            }
            Work::Reference { op, types, out } => reference(op, types, out, from, to),
        }
    }
}

fn gather(map: &[u32], fill: f32, from: &[f32], to: &mut [f32]) {
    for (y, &i) in to.iter_mut().zip(map) {
        *y = if i == FILL { fill } else { from[i as usize] };
    }
}

fn reference(
    op: &Op,
    types: &[TensorType],
    out: &TensorType,
    from: &[&[f32]],
    to: &mut [f32],
) -> Result<(), KernelError> {
    let operands: Vec<Tensor> = types
        .iter()
        .zip(from)
        .map(|(ty, x)| Tensor { ty: ty.clone(), data: Data::F32(x.to_vec()) })
        .collect();
    let operands: Vec<&Tensor> = operands.iter().collect();
    match op.eval(&operands, out) {
        Ok(Data::F32(y)) if y.len() == to.len() => {
            to.copy_from_slice(&y);
            Ok(())
        }
        Ok(_) => Err(KernelError::Shape(format!("{}: the result is not {out}", op.name()))),
        Err(e) => Err(KernelError::Shape(format!("{}: {e}", op.name()))),
    }
}
