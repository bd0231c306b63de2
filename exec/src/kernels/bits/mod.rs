//! Kernels on maps of −1 and +1 packed into bits: convolutions and dense layers by XNOR and popcount, and max pooling by OR;
//! and [`Luts`], which says itself how its bits lie.
//!
//! In and out: samples channels-last, the channels of each pixel in whole words of 64 bits, the first channel lowest;
//! a bit of 1 is +1, and the bits behind the last channel are 0. Weights are packed when a layer's kernel is built.
//! Results are exact on every instruction set: AVX-512 with VPOPCNTDQ, AVX2, and plain Rust.

mod conv;
mod count;
mod lut;
mod pool;

#[cfg(test)]
mod tests;

pub use conv::{BitConv, BitConvSpec, BitOutput};
pub use lut::{LutSpec, Luts};
pub use pool::BitPool;

pub use unfloat_ir::xnor::BITS;

use super::error::{KernelError, exactly};

/// The words in `bytes`; none where they do not begin or end on a word's boundary.
pub(crate) fn words(bytes: &[u8]) -> &[u64] {
    // SAFETY: every bit pattern is a number; `align_to` gives only what is aligned.
    let (before, words, after) = unsafe { bytes.align_to::<u64>() };
    if before.is_empty() && after.is_empty() { words } else { &[] }
}

/// The words in `bytes`, to be written.
pub(crate) fn words_mut(bytes: &mut [u8]) -> &mut [u64] {
    // SAFETY: as in `words`, and numbers have no padding, so whatever is written leaves valid bytes.
    let (before, words, after) = unsafe { bytes.align_to_mut::<u64>() };
    if before.is_empty() && after.is_empty() { words } else { &mut [] }
}

/// Packs pixels of `channels` codes −1 or +1, a byte each, into bits.
pub fn pack(channels: usize, codes: &[u8], bits: &mut [u8]) -> Result<(), KernelError> {
    let bits = words_mut(bits);
    let per_pixel = channels.div_ceil(BITS);
    exactly("packed words", bits.len(), codes.len().checked_div(channels).unwrap_or(0) * per_pixel)?;
    let pixels = codes.chunks_exact(channels.max(1)).zip(bits.chunks_exact_mut(per_pixel.max(1)));
    for (codes, bits) in pixels {
        for (codes, word) in codes.chunks(BITS).zip(bits) {
            *word = word_of(codes);
        }
    }
    Ok(())
}

/// At most 64 codes as bits: the sign of −1 is set, that of +1 is not.
fn word_of(codes: &[u8]) -> u64 {
    // Signs of eight bytes meet in the top byte of a product: each factor of 2 to the 7 moves one sign to its place.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let mut word = 0;
    for (i, eight) in codes.chunks(8).enumerate() {
        let mut bytes = [0x80; 8];
        bytes[..eight.len()].copy_from_slice(eight);
        let plus = (!u64::from_le_bytes(bytes) >> 7) & 0x0101_0101_0101_0101;
        word |= (plus.wrapping_mul(GATHER << 7) >> 56) << (8 * i);
    }
    word
}
