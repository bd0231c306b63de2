//! Functions of one or two codes, reductions, and codes to floats, by the ops' own formulas.
//!
//! In and out: words of any width. A block of codes is decoded into 64-bit numbers, computed, and encoded.

use super::fuse;
use crate::kernels::int::{Code, Word, by_word, decode, encode, view};
use crate::kernels::{KernelError, exactly};
use unfloat_ir::IntType;
use unfloat_ir::ops::{self, ReduceFn};

/// Codes that are decoded together: few, as their buffers are cleared each time.
const BLOCK: usize = 64;

/// A function of one code.
pub(super) struct Function {
    pub from: Word,
    pub to: Word,
    /// The type of the result, which keeps its low bits.
    pub int: IntType,
    /// Nothing for a cast.
    pub f: Option<ops::Unary>,
}

impl Function {
    pub fn run(&self, x: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        let mut codes = [0; BLOCK];
        for (x, to) in x.chunks(BLOCK * self.from.bytes()).zip(to.chunks_mut(BLOCK * self.to.bytes())) {
            let codes = &mut codes[..x.len() / self.from.bytes()];
            decode(self.from, x, codes)?;
            if let Some((lo, hi)) = self.f.and_then(fuse::bounds) {
                codes.iter_mut().for_each(|c| *c = (*c).clamp(lo, hi));
            } else if let Some(f) = self.f {
                for c in codes.iter_mut() {
                    *c = f
                        .apply_int(*c)
                        .ok_or_else(|| KernelError::Shape("is no function of integers".into()))?;
                }
            }
            codes.iter_mut().for_each(|c| *c = self.int.wrap(*c));
            encode(codes, self.to, to)?;
        }
        Ok(())
    }
}

/// An operand of a function of two.
pub(super) struct Operand {
    pub word: Word,
    /// Elements of a sample.
    pub len: usize,
    /// The element for each of the result; nothing where they are the same.
    pub map: Option<Vec<u32>>,
}

/// A function of two codes.
pub(super) struct Binary {
    pub f: ops::Binary,
    pub operands: [Operand; 2],
    pub to: Word,
    /// The type of the result, which keeps its low bits.
    pub int: IntType,
    /// Elements of the result per sample.
    pub len: usize,
}

/// Some elements of some samples: of one sample, or all of several.
#[derive(Clone, Copy)]
struct Part {
    sample: usize,
    samples: usize,
    first: usize,
    elements: usize,
}

impl Binary {
    /// A constant operand is given once, for all samples.
    pub fn run(&self, batch: usize, a: &[u8], b: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        let mut codes = [[0; BLOCK]; 2];
        // Small samples go together, so that loops are long.
        let together = (BLOCK / self.len.max(1)).max(1);
        for sample in (0..batch).step_by(together) {
            let samples = together.min(batch - sample);
            for first in (0..self.len).step_by(BLOCK) {
                let part = Part { sample, samples, first, elements: BLOCK.min(self.len - first) };
                let n = samples * part.elements;
                for ((codes, operand), x) in codes.iter_mut().zip(&self.operands).zip([a, b]) {
                    operand.fetch(x, part, &mut codes[..n])?;
                }
                let [a, b] = &mut codes;
                self.apply(&mut a[..n], &b[..n]);
                let at = (sample * self.len + first) * self.to.bytes();
                encode(&a[..n], self.to, &mut to[at..at + n * self.to.bytes()])?;
            }
        }
        Ok(())
    }

    /// The results, instead of the first operands.
    fn apply(&self, a: &mut [i64], b: &[i64]) {
        use ops::Binary as F;
        let pairs = a.iter_mut().zip(b);
        // The common ones by themselves, so that they become vector loops.
        match self.f {
            F::Add => pairs.for_each(|(a, &b)| *a = a.wrapping_add(b)),
            F::Sub => pairs.for_each(|(a, &b)| *a = a.wrapping_sub(b)),
            F::Mul => pairs.for_each(|(a, &b)| *a = a.wrapping_mul(b)),
            F::Max => pairs.for_each(|(a, &b)| *a = (*a).max(b)),
            F::Min => pairs.for_each(|(a, &b)| *a = (*a).min(b)),
            f => pairs.for_each(|(a, &b)| *a = f.apply_int(*a, b)),
        }
        a.iter_mut().for_each(|c| *c = self.int.wrap(*c));
    }
}

impl Operand {
    /// The codes for some elements of the result.
    fn fetch(&self, x: &[u8], part: Part, to: &mut [i64]) -> Result<(), KernelError> {
        let size = self.word.bytes();
        // What has no more than one sample's elements is the same for all.
        let each = if x.len() == self.len * size { 0 } else { self.len };
        if self.map.is_none() && (each > 0 || part.samples == 1) {
            return decode(self.word, &x[(part.sample * each + part.first) * size..][..to.len() * size], to);
        }
        by_word!(self.word, T => self.spread::<T>(view(x), each, part, to), ());
        Ok(())
    }

    /// [`Operand::fetch`] sample by sample, `each` elements apart.
    fn spread<T: Code>(&self, x: &[T], each: usize, part: Part, to: &mut [i64]) {
        for (s, to) in to.chunks_exact_mut(part.elements).enumerate() {
            let x = &x[(part.sample + s) * each..][..self.len];
            match (&self.map, x) {
                (_, [x]) => to.fill(x.get()),
                (Some(map), x) => {
                    to.iter_mut().zip(&map[part.first..]).for_each(|(y, &i)| *y = x[i as usize].get())
                }
                (None, x) => to.iter_mut().zip(&x[part.first..]).for_each(|(y, x)| *y = x.get()),
            }
        }
    }
}

/// The least, the greatest or the sum of the elements `base + cell` for all cells, for each base.
pub(super) struct Reduction {
    pub f: ReduceFn,
    pub bases: Vec<usize>,
    pub cells: Vec<usize>,
    pub from: Word,
    pub to: Word,
    /// The type of the result, which keeps its low bits.
    pub int: IntType,
    /// Elements of an operand.
    pub len: usize,
}

impl Reduction {
    pub fn run(&self, x: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        by_word!(self.from, T => self.words::<T>(view(x), to), Ok(()))
    }

    fn words<T: Code>(&self, x: &[T], to: &mut [u8]) -> Result<(), KernelError> {
        let mut codes = [0; BLOCK];
        // The place of each result: its sample's elements, and its base.
        let samples = x.chunks_exact(self.len.max(1));
        let mut places = samples.flat_map(|x| self.bases.iter().map(move |&base| &x[base..]));
        for to in to.chunks_mut(BLOCK * self.to.bytes()) {
            let codes = &mut codes[..to.len() / self.to.bytes()];
            for (y, x) in codes.iter_mut().zip(&mut places) {
                *y = self.int.wrap(self.one(x));
            }
            encode(codes, self.to, to)?;
        }
        Ok(())
    }

    /// The result of the cells in `x`.
    #[inline]
    fn one<T: Code>(&self, x: &[T]) -> i64 {
        let values = self.cells.iter().map(|&c| x[c].get());
        match self.f {
            ReduceFn::Max => values.max().unwrap_or(0),
            ReduceFn::Min => values.min().unwrap_or(0),
            ReduceFn::Prod => values.fold(1, i64::wrapping_mul),
            ReduceFn::SumSquare => values.map(|v| v.wrapping_mul(v)).fold(0, i64::wrapping_add),
            ReduceFn::Sum | ReduceFn::Mean => values.fold(0, i64::wrapping_add),
        }
    }
}

/// Codes to floats; scales and zero points repeat.
pub(super) struct Dequantizer {
    pub from: Word,
    pub scale: Vec<f32>,
    pub zero: Zero,
    /// Elements per sample.
    pub len: usize,
}

/// Codes of up to 16 bits, which floats hold: the same numbers as one by one, in a loop that compilers make vectors of.
fn short<T: Copy + Into<f32>>(x: &[T], to: &mut [f32], scale: f32, zero: f32) -> Result<(), KernelError> {
    exactly("codes", x.len(), to.len())?;
    to.iter_mut().zip(x).for_each(|(y, &x)| *y = (x.into() - zero) * scale);
    Ok(())
}

/// The zero point; integers are subtracted exactly.
pub(super) enum Zero {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Dequantizer {
    pub fn run(&self, x: &[u8], to: &mut [f32]) -> Result<(), KernelError> {
        if let (&[scale], Some(zero)) = (self.scale.as_slice(), self.small_zero()) {
            match self.from {
                Word::I8 => return short::<i8>(view(x), to, scale, zero),
                Word::U8 => return short::<u8>(view(x), to, scale, zero),
                Word::I16 => return short::<i16>(view(x), to, scale, zero),
                _ => {}
            }
        }
        let mut codes = [0; BLOCK];
        let len = self.len.max(1);
        for (x, to) in x.chunks(len * self.from.bytes()).zip(to.chunks_mut(len)) {
            for (i, (x, to)) in x.chunks(BLOCK * self.from.bytes()).zip(to.chunks_mut(BLOCK)).enumerate() {
                decode(self.from, x, &mut codes[..to.len()])?;
                for (k, (y, &code)) in to.iter_mut().zip(&codes).enumerate() {
                    *y = self.one(i * BLOCK + k, code);
                }
            }
        }
        Ok(())
    }

    /// The only zero point, if single precision has room for its difference to any short code.
    fn small_zero(&self) -> Option<f32> {
        match &self.zero {
            Zero::Float(zero) => (zero.len() == 1).then(|| zero[0]),
            Zero::Int(zero) => (zero.len() == 1 && zero[0].unsigned_abs() < 1 << 23).then(|| zero[0] as f32),
        }
    }

    /// The float for element `at` of a sample.
    fn one(&self, at: usize, code: i64) -> f32 {
        let apart = match &self.zero {
            Zero::Float(zero) => code as f32 - zero[at % zero.len()],
            Zero::Int(zero) => (i128::from(code) - i128::from(zero[at % zero.len()])) as f32,
        };
        apart * self.scale[at % self.scale.len()]
    }
}
