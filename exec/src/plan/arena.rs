//! Reading from an arena while a part of it is written.

/// An arena with a hole: what is being written is left out, so that the rest can be read.
pub(super) struct Halves<'a, T> {
    low: &'a [T],
    high: &'a [T],
    /// Where `high` begins in the arena.
    resume: usize,
}

impl<'a, T> Halves<'a, T> {
    pub fn of(arena: &'a [T]) -> Self {
        Self { low: arena, high: &[], resume: arena.len() }
    }
    pub fn split(arena: &'a mut [T], from: usize, len: usize) -> (Self, &'a mut [T]) {
        let (low, rest) = arena.split_at_mut(from);
        let (hole, high) = rest.split_at_mut(len);
        (Self { low, high, resume: from + len }, hole)
    }
    pub fn slice(&self, from: usize, len: usize) -> &'a [T] {
        if from >= self.resume { &self.high[from - self.resume..][..len] } else { &self.low[from..][..len] }
    }
}
