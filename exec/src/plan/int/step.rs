//! What a plan of integers is made of: steps that read some places and write one.

use super::super::step::Place;
use super::elementwise::{Binary, Dequantizer, Function, Reduction};
use crate::kernels::KernelError;
use crate::kernels::bits::{self, BitConv, BitPool, Luts};
use crate::kernels::int::{self, AlignedBytes, Code, Word, by_word, decode, encode, view, view_mut};
use std::sync::Arc;
use unfloat_ir::{Data, Location, Op, OpDef, Tensor, TensorType};

/// Where a step reads.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Input `n` of the graph.
    Input(usize),
    /// A constant of the graph, in its own word.
    Const(Arc<AlignedBytes>),
    /// A buffer of the plan.
    Buffer(Place),
}

/// One node, or a node with what follows it.
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
    Conv(Box<int::Conv>),
    /// A convolution or a dense layer of packed bits.
    BitConv(Box<BitConv>),
    /// A max pooling of packed bits.
    BitPool(BitPool),
    /// Layers of look-up tables.
    Luts(Box<Luts>),
    /// Another step, one sample, whose `len` codes −1 and +1 are packed at once, `channels` to a pixel.
    Packing {
        work: Box<Work>,
        len: usize,
        channels: usize,
    },
    /// Rows of codes, as sums, through what follows sums.
    Post {
        post: int::Post,
        from: Word,
    },
    MaxPool(int::MaxPool),
    Function(Function),
    Binary(Binary),
    Quantize(int::Quantizer),
    Dequantize(Dequantizer),
    /// `table[x − first]`.
    Lookup {
        from: Word,
        to: Word,
        first: i64,
        table: Arc<Vec<i64>>,
    },
    /// Element `i` of the result, `size` bytes, is element `map[i]` of the operand, or `fill`.
    Gather {
        map: Vec<u32>,
        fill: Vec<u8>,
    },
    /// `rows[k]` bytes of operand `k` in turn, `outer` times.
    Concat {
        outer: usize,
        rows: Vec<usize>,
    },
    Reduce(Reduction),
    /// The op's own reference evaluation, one sample.
    Reference(Reference),
}

/// An op with what its operands and its result are.
pub(super) struct Reference {
    pub op: Op,
    pub inputs: Vec<(TensorType, Word)>,
    pub out: (TensorType, Word),
}

/// Buffers begin on a cache line.
const LINE: usize = 64;

/// In [`Work::Gather`], an element that the operand does not have.
pub(super) const FILL: u32 = u32::MAX;

impl Work {
    /// Bytes of scratch memory.
    pub fn scratch_len(&self) -> usize {
        match self {
            Work::Conv(conv) => conv.scratch_len(),
            Work::BitConv(conv) => conv.scratch_len(),
            Work::Luts(luts) => luts.scratch_len(),
            Work::Packing { work, len, .. } => len.next_multiple_of(LINE).saturating_add(work.scratch_len()),
            _ => 0,
        }
    }

    /// Whether samples should share what is read for each: weights that are read so much more slowly than the sample, or
    /// tables that take as long for many samples as for one.
    pub fn wants_company(&self) -> bool {
        match self {
            Work::Conv(conv) => conv.wants_company(),
            Work::Luts(_) => true,
            _ => false,
        }
    }

    /// Runs on `batch` samples.
    pub fn run(
        &self,
        batch: usize,
        from: &[&[u8]],
        to: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let x: &[u8] = from.first().copied().unwrap_or(&[]);
        match self {
            Work::Conv(conv) => conv.run(batch, x, to, scratch),
            Work::Post { post, from } => post.run(*from, x, to),
            Work::MaxPool(pool) => pool.run(batch, x, to),
            Work::BitConv(conv) => conv.run(batch, x, to, scratch),
            Work::BitPool(pool) => pool.run(batch, x, to),
            Work::Luts(luts) => luts.run(batch, x, to, scratch),
            Work::Packing { work, len, channels } => {
                let (codes, scratch) = scratch.split_at_mut(len.next_multiple_of(LINE));
                let codes = &mut codes[..*len];
                work.run(batch, from, codes, scratch)?;
                bits::pack(*channels, codes, to)
            }
            Work::Function(f) => f.run(x, to),
            Work::Binary(f) => f.run(batch, x, from.get(1).copied().unwrap_or(&[]), to),
            Work::Quantize(q) => q.run(view(x), to),
            Work::Dequantize(d) => d.run(x, view_mut(to)),
            Work::Lookup { from, to: word, first, table } => {
                by_word!(*from, T => looked_up::<T>(view(x), *first, table, *word, to), Ok(()))
            }
            Work::Gather { map, fill } => {
                let len = x.len().checked_div(batch).unwrap_or(0);
                for (s, to) in to.chunks_exact_mut((map.len() * fill.len()).max(1)).enumerate() {
                    gather(map, fill, &x[s * len..(s + 1) * len], to);
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
            Work::Reduce(r) => r.run(x, to),
            Work::Reference(reference) => reference.run(from, to),
        }
    }
}

fn gather(map: &[u32], fill: &[u8], from: &[u8], to: &mut [u8]) {
    let n = fill.len();
    for (y, &i) in to.chunks_exact_mut(n).zip(map) {
        y.copy_from_slice(if i == FILL { fill } else { &from[i as usize * n..][..n] });
    }
}

fn looked_up<T: Code>(
    x: &[T],
    first: i64,
    table: &[i64],
    word: Word,
    to: &mut [u8],
) -> Result<(), KernelError> {
    let mut codes = [0; 256];
    for (x, to) in x.chunks(codes.len()).zip(to.chunks_mut(codes.len() * word.bytes())) {
        for (y, &x) in codes.iter_mut().zip(x) {
            let entry = usize::try_from(x.get() - first).ok().and_then(|i| table.get(i));
            *y = *entry
                .ok_or_else(|| KernelError::Shape(format!("the table has no entry for {}", x.get())))?;
        }
        encode(&codes[..x.len()], word, to)?;
    }
    Ok(())
}

impl Reference {
    fn run(&self, from: &[&[u8]], to: &mut [u8]) -> Result<(), KernelError> {
        let fault = |text: String| KernelError::Shape(format!("{}: {text}", self.op.name()));
        let mut operands = Vec::with_capacity(from.len());
        for ((ty, word), x) in self.inputs.iter().zip(from) {
            let data = match word {
                Word::F32 => Data::F32(view::<f32>(x).to_vec()),
                word => {
                    let mut codes = vec![0; ty.shape.num_elements()];
                    decode(*word, x, &mut codes)?;
                    Data::from_codes(&ty.elem, codes)
                }
            };
            operands.push(Tensor { ty: ty.clone(), data });
        }
        let operands: Vec<&Tensor> = operands.iter().collect();
        let (ty, word) = &self.out;
        match (self.op.eval(&operands, ty).map_err(|e| fault(e.to_string()))?, word) {
            (Data::F32(y), Word::F32) if y.len() * 4 == to.len() => view_mut(to).copy_from_slice(&y),
            (Data::F32(_), _) | (_, Word::F32) => return Err(fault(format!("the result is not {ty}"))),
            (y, word) => {
                let codes: Vec<i64> = (0..y.len()).filter_map(|i| y.code(i)).collect();
                encode(&codes, *word, to)?;
            }
        }
        Ok(())
    }
}
