//! Every integer kernel, on every instruction set of the machine, against a plain loop in 64 or 128 bits.

mod conv;
mod post;

use super::{Word, decode};

/// A small generator (xorshift64*): tests must not change from run to run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    /// lo..=hi, and the ends themselves often.
    fn int(&mut self, lo: i64, hi: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let z = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8;
        match z % 8 {
            0 => lo,
            1 => hi,
            _ => lo + (i128::from(z >> 3) % (i128::from(hi) - i128::from(lo) + 1)) as i64,
        }
    }
    fn size(&mut self, lo: usize, hi: usize) -> usize {
        self.int(lo as i64, hi as i64) as usize
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.size(0, from.len() - 1)]
    }
}

fn codes(word: Word, bytes: &[u8]) -> Vec<i64> {
    let mut codes = vec![0; bytes.len() / word.bytes()];
    decode(word, bytes, &mut codes).unwrap();
    codes
}
