//! Integer codes in memory: the words that hold them, and byte buffers seen as such words.
//!
//! In: bytes that begin on a word's boundary, a whole number of words. Out: the same memory as a slice of words. A
//! view that does not fit is empty, which every kernel's own length check then refuses.

use super::super::error::{KernelError, exactly};

/// The words that values are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// 0 to 255.
    U8,
    /// −128 to 127.
    I8,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// A float.
    F32,
}

impl Word {
    /// The narrowest word of integers that holds `lo..=hi`; 64 bits hold every code.
    pub fn holding(lo: i128, hi: i128) -> Word {
        let fits = |a: i128, b: i128| lo >= a && hi <= b;
        match () {
            _ if fits(0, 255) => Word::U8,
            _ if fits(-128, 127) => Word::I8,
            _ if fits(i16::MIN.into(), i16::MAX.into()) => Word::I16,
            _ if fits(i32::MIN.into(), i32::MAX.into()) => Word::I32,
            _ => Word::I64,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Word::U8 | Word::I8 => 1,
            Word::I16 => 2,
            Word::I32 | Word::F32 => 4,
            Word::I64 => 8,
        }
    }
}

/// A Rust type that a [`Word`] stands for. Sealed: the views rely on every bit pattern being a value.
pub trait Code: Copy + Default + PartialOrd + Send + Sync + 'static + sealed::Plain {
    /// The word.
    const WORD: Word;
    /// The number itself; of a float, the integer part.
    fn get(self) -> i64;
    /// The low bits of a number.
    fn set(value: i64) -> Self;
}

mod sealed {
    /// Types without padding or forbidden bit patterns.
    pub trait Plain {}
}

macro_rules! codes {
    ($($ty:ident $word:ident),+) => {$(
        impl sealed::Plain for $ty {}
        impl Code for $ty {
            const WORD: Word = Word::$word;
            #[inline(always)]
            fn get(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn set(value: i64) -> Self {
                value as $ty
            }
        }
    )+};
}
codes!(u8 U8, i8 I8, i16 I16, i32 I32, i64 I64, f32 F32);

/// Calls a block with the Rust type of a [`Word`] of integers as `$t`; floats go to `$float`.
macro_rules! by_word {
    ($word:expr, $t:ident => $body:expr, $float:expr) => {
        match $word {
            Word::U8 => {
                type $t = u8;
                $body
            }
            Word::I8 => {
                type $t = i8;
                $body
            }
            Word::I16 => {
                type $t = i16;
                $body
            }
            Word::I32 => {
                type $t = i32;
                $body
            }
            Word::I64 => {
                type $t = i64;
                $body
            }
            Word::F32 => $float,
        }
    };
}
pub(crate) use by_word;

/// The words in `bytes`; none where they do not begin or end on a word's boundary.
pub fn view<T: Code>(bytes: &[u8]) -> &[T] {
    // SAFETY: `Code` is sealed to primitive numbers, for which every bit pattern is a value; `align_to` gives only
    // what is aligned.
    let (before, words, after) = unsafe { bytes.align_to::<T>() };
    if before.is_empty() && after.is_empty() { words } else { &[] }
}

/// The words in `bytes`, to be written.
pub fn view_mut<T: Code>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: as in `view`, and numbers have no padding, so whatever is written leaves valid bytes.
    let (before, words, after) = unsafe { bytes.align_to_mut::<T>() };
    if before.is_empty() && after.is_empty() { words } else { &mut [] }
}

/// The bytes of words.
pub fn bytes_of<T: Code>(words: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding, and bytes no alignment.
    unsafe { words.align_to::<u8>().1 }
}

/// The bytes of words, to be written.
pub fn bytes_of_mut<T: Code>(words: &mut [T]) -> &mut [u8] {
    // SAFETY: numbers have no padding, every byte pattern is a number, and bytes have no alignment.
    unsafe { words.align_to_mut::<u8>().1 }
}

/// The codes in `bytes` as 64-bit numbers.
pub fn decode(word: Word, bytes: &[u8], to: &mut [i64]) -> Result<(), KernelError> {
    fn widen<T: Code>(from: &[T], to: &mut [i64]) -> Result<(), KernelError> {
        exactly("codes", from.len(), to.len())?;
        to.iter_mut().zip(from).for_each(|(y, &x)| *y = x.get());
        Ok(())
    }
    by_word!(word, T => widen::<T>(view(bytes), to), Err(KernelError::Shape("floats are no codes".to_string())))
}

/// Numbers as codes in `bytes`; of those that the word does not hold, the low bits.
pub fn encode(from: &[i64], word: Word, bytes: &mut [u8]) -> Result<(), KernelError> {
    fn narrow<T: Code>(from: &[i64], to: &mut [T]) -> Result<(), KernelError> {
        exactly("codes", to.len(), from.len())?;
        to.iter_mut().zip(from).for_each(|(y, &x)| *y = T::set(x));
        Ok(())
    }
    by_word!(word, T => narrow::<T>(from, view_mut(bytes)), Err(KernelError::Shape("floats are no codes".to_string())))
}

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A fixed-length buffer of bytes that begins on a 64-byte boundary.
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line([0; 64]); len.div_ceil(64)], len }
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: a Line is 64 bytes without padding, and `len` is at most 64 * lines.len() by construction.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
