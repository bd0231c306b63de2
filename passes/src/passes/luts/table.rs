//! One look-up table with pins of its own: what can be said of it, and made of it, without changing what it computes.

/// A table of bits over pins; pin `j` is bit `j` of the address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Table {
    /// The places of the bits that spell the address.
    pub pins: Vec<usize>,
    /// `2^pins` entries.
    pub entries: Vec<bool>,
}

impl Table {
    /// Whether the entry is the same whatever pin `j` says.
    pub fn ignores(&self, j: usize) -> bool {
        let bit = 1 << j;
        (0..self.entries.len()).filter(|a| a & bit == 0).all(|a| self.entries[a] == self.entries[a | bit])
    }

    /// The value of a table that has but one.
    pub fn constant(&self) -> Option<bool> {
        let first = *self.entries.first()?;
        self.entries.iter().all(|&e| e == first).then_some(first)
    }

    /// The table for those inputs where pin `j` reads what `value` says of the address without that pin.
    fn without(&mut self, j: usize, value: impl Fn(usize) -> bool) {
        self.pins.remove(j);
        let low = (1 << j) - 1;
        let entry = |a: usize| {
            // The bits from `j` on move up, and make room for the pin's value.
            self.entries[(a & low) | ((a & !low) << 1) | (usize::from(value(a)) << j)]
        };
        self.entries = (0..self.entries.len() / 2).map(entry).collect();
    }

    /// Takes every pin away whose bit is known.
    pub fn set(&mut self, known: impl Fn(usize) -> Option<bool>) -> bool {
        let before = self.pins.len();
        for j in (0..before).rev() {
            if let Some(value) = known(self.pins[j]) {
                self.without(j, |_| value);
            }
        }
        self.pins.len() != before
    }

    /// The same function with no pin twice, none that it ignores, and pins in rising order.
    pub fn simplified(&self) -> Table {
        let mut t = self.clone();
        for j in (1..t.pins.len()).rev() {
            if let Some(i) = t.pins[..j].iter().position(|&p| p == t.pins[j]) {
                t.without(j, |a| a >> i & 1 == 1);
            }
        }
        for j in (0..t.pins.len()).rev() {
            if t.ignores(j) {
                t.without(j, |_| false);
            }
        }
        t.sorted()
    }

    fn sorted(self) -> Table {
        let mut order: Vec<usize> = (0..self.pins.len()).collect();
        order.sort_by_key(|&j| self.pins[j]);
        if order.is_sorted() {
            return self;
        }
        // Bit `k` of a new address is the pin `order[k]`.
        let old = |a: usize| order.iter().enumerate().map(|(k, &j)| (a >> k & 1) << j).sum::<usize>();
        Table {
            pins: order.iter().map(|&j| self.pins[j]).collect(),
            entries: (0..self.entries.len()).map(|a| self.entries[old(a)]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(t: &Table, bits: usize) -> bool {
        t.entries[t.pins.iter().enumerate().map(|(j, &p)| (bits >> p & 1) << j).sum::<usize>()]
    }

    #[test]
    fn simplified_tables_compute_the_same() {
        let mut state = 1u64;
        for round in 0..2000 {
            let mut next = |n: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % n
            };
            let n = next(5) + 1;
            let pins: Vec<usize> = (0..n).map(|_| next(6)).collect();
            // Half of the tables ignore what is beyond their lowest pins.
            let seen = if round % 2 == 0 { n } else { next(n + 1) };
            let low: Vec<bool> = (0..1 << seen).map(|_| next(2) == 1).collect();
            let t = Table { pins, entries: (0..1 << n).map(|a| low[a & ((1 << seen) - 1)]).collect() };
            let s = t.simplified();
            assert!((0..64).all(|bits| value(&t, bits) == value(&s, bits)), "{t:?} {s:?}");
            assert!(s.pins.windows(2).all(|w| w[0] < w[1]));
            assert!((0..s.pins.len()).all(|j| !s.ignores(j)));
            assert_eq!(s.simplified(), s);
            let mut set = t.clone();
            let changed = set.set(|p| (p == 2).then_some(true));
            assert_eq!(changed, t.pins.contains(&2));
            assert!((0..64).all(|bits| value(&t, bits | 4) == value(&set, bits)));
        }
    }
}
