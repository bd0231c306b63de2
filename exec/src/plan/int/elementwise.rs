//! Functions of one or two codes, and codes to floats, by the ops' own formulas.
//!
//! In and out: words of any width. A block of codes is decoded into 64-bit numbers, computed, and encoded.

use crate::kernels::KernelError;
use crate::kernels::int::{Code, Word, by_word, decode, encode, view};
use unfloat_ir::{IntType, ops};

/// Codes that are decoded together.
const BLOCK: usize = 256;

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
            if let Some(f) = self.f {
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

impl Binary {
    pub fn run(&self, batch: usize, a: &[u8], b: &[u8], to: &mut [u8]) -> Result<(), KernelError> {
        use ops::Binary as F;
        let mut codes = [[0; BLOCK]; 2];
        let size = |x: &[u8]| x.len() / batch;
        let (a_size, b_size) = (size(a), size(b));
        for (s, to) in to.chunks_exact_mut((self.len * self.to.bytes()).max(1)).enumerate() {
            let from = [&a[s * a_size..][..a_size], &b[s * b_size..][..b_size]];
            for (i, to) in to.chunks_mut(BLOCK * self.to.bytes()).enumerate() {
                let n = to.len() / self.to.bytes();
                for ((codes, operand), x) in codes.iter_mut().zip(&self.operands).zip(from) {
                    operand.fetch(x, i * BLOCK, &mut codes[..n])?;
                }
                let [a, b] = &mut codes;
                let pairs = a[..n].iter_mut().zip(&b[..n]);
                // The common ones by themselves, so that they become vector loops.
                match self.f {
                    F::Add => pairs.for_each(|(a, &b)| *a = a.wrapping_add(b)),
                    F::Sub => pairs.for_each(|(a, &b)| *a = a.wrapping_sub(b)),
                    F::Max => pairs.for_each(|(a, &b)| *a = (*a).max(b)),
                    F::Min => pairs.for_each(|(a, &b)| *a = (*a).min(b)),
                    f => pairs.for_each(|(a, &b)| *a = f.apply_int(*a, b)),
                }
                a[..n].iter_mut().for_each(|c| *c = self.int.wrap(*c));
                encode(&a[..n], self.to, to)?;
            }
        }
        Ok(())
    }
}

impl Operand {
    /// The codes for the elements of the result from `first` on.
    fn fetch(&self, x: &[u8], first: usize, to: &mut [i64]) -> Result<(), KernelError> {
        fn mapped<T: Code>(x: &[T], map: &[u32], to: &mut [i64]) {
            to.iter_mut().zip(map).for_each(|(y, &i)| *y = x[i as usize].get());
        }
        match &self.map {
            None => decode(self.word, &x[first * self.word.bytes()..][..to.len() * self.word.bytes()], to),
            Some(map) => {
                by_word!(self.word, T => mapped::<T>(view(x), &map[first..], to), ());
                Ok(())
            }
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

/// The zero point; integers are subtracted exactly.
pub(super) enum Zero {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Dequantizer {
    pub fn run(&self, x: &[u8], to: &mut [f32]) -> Result<(), KernelError> {
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

    /// The float for element `at` of a sample.
    fn one(&self, at: usize, code: i64) -> f32 {
        let apart = match &self.zero {
            Zero::Float(zero) => code as f32 - zero[at % zero.len()],
            Zero::Int(zero) => (i128::from(code) - i128::from(zero[at % zero.len()])) as f32,
        };
        apart * self.scale[at % self.scale.len()]
    }
}
