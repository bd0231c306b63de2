//! Every kernel, on every instruction set of the machine, against a plain loop in f64 on random shapes.

mod conv;
mod elementwise;
mod pool;

use super::Isa;

/// A small generator (xorshift64*): tests must not change from run to run.
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// lo..=hi.
    pub fn int(&mut self, lo: usize, hi: usize) -> usize {
        lo + (self.next() >> 33) as usize % (hi - lo + 1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.int(0, from.len() - 1)]
    }

    /// -1..1.
    pub fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Calls `f` with an output slice between guard values, and checks that the guards are untouched.
pub(super) fn guarded<E: std::fmt::Debug>(
    len: usize,
    f: impl FnOnce(&mut [f32]) -> Result<(), E>,
) -> Vec<f32> {
    const GUARD: f32 = 12345.678;
    let mut buffer = vec![GUARD; len + 64];
    buffer[32..32 + len].fill(f32::NAN);
    f(&mut buffer[32..32 + len]).unwrap();
    assert!(buffer[..32].iter().all(|&x| x == GUARD), "wrote before the output");
    assert!(buffer[32 + len..].iter().all(|&x| x == GUARD), "wrote behind the output");
    buffer[32..32 + len].to_vec()
}

#[track_caller]
pub(super) fn assert_close(got: &[f32], want: &[f64], tolerance: f64, context: &str) {
    assert_eq!(got.len(), want.len(), "{context}: length");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((g as f64 - w).abs() <= tolerance * (1.0 + w.abs()), "{context}: [{i}] is {g}, expected {w}");
    }
}

#[track_caller]
pub(super) fn assert_same_bits(a: &[f32], b: &[f32], context: &str) {
    assert_eq!(a.len(), b.len(), "{context}: length");
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!(x.to_bits() == y.to_bits(), "{context}: [{i}] is {x} and {y}");
    }
}

#[test]
fn an_instruction_set_is_found_and_portable_is_always_there() {
    let all = Isa::available();
    assert_eq!(Isa::detect(), all[0]);
    assert_eq!(all.last().unwrap().name(), "portable");
}
