//! What stands behind layers of tables: counts of set bits, and where the greatest count is.
//!
//! **Counts.** Bits go by sixes into counters, three tables each; the numbers that come out go by threes into adders on carry
//! chains, each of which takes two more single bits for nothing. How many counters there are is chosen by the tables that the
//! whole takes. (Kumm and Zipf, "Pipelined compressor tree optimization using integer linear programming", FPL 2014, have
//! the adders; the choice is ours.)
//!
//! **The greatest.** Neighbours meet in rounds; a comparator takes two bits of both numbers per table. The index of a winner
//! is the bit that the comparison gives, in front of the bits that its half had already.

use super::netlist::{Bit, Netlist, ZERO, width_of};

/// Bits of a counter.
const SIX: usize = 6;

/// A number, its lowest bit first, and the greatest that it can be.
#[derive(Clone, Debug)]
struct Number {
    bits: Vec<Bit>,
    most: u64,
}

/// How a count is made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Counters of six bits.
    counters: usize,
    /// Single bits that are rows of adders.
    rows: usize,
}

/// Takes the places of the three least of several numbers, or of the two least where that leaves an odd number.
fn next_rows(most: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..most.len()).collect();
    order.sort_by_key(|&i| (most[i], i));
    order.truncate(if most.len().is_multiple_of(2) { 2 } else { 3 });
    order
}

impl Shape {
    /// Single bits beside counters and rows that adders take.
    fn room(self) -> usize {
        2 * (self.counters + self.rows).saturating_sub(1).div_ceil(2)
    }
    /// The tables that a count of `n` bits takes.
    fn cost(self, n: usize) -> usize {
        let mut most = vec![SIX as u64; self.counters];
        most.resize(self.counters + self.rows, 1);
        let mut spare = n - SIX * self.counters - self.rows;
        let mut cost = 3 * self.counters;
        while most.len() > 1 {
            let rows = next_rows(&most);
            let more = spare.min(2);
            spare -= more;
            let sum = rows.iter().map(|&i| most[i]).sum::<u64>() + more as u64;
            // What the uppermost column of three rows hands on goes through a table of its own to its carry chain.
            cost += rows.iter().map(|&i| width_of(most[i])).max().unwrap_or(0) + usize::from(rows.len() == 3);
            let mut kept = 0..;
            most.retain(|_| kept.next().is_some_and(|i| !rows.contains(&i)));
            most.push(sum);
        }
        cost
    }
    /// The cheapest for `n` bits.
    fn of(n: usize) -> Shape {
        let all = (0..=n / SIX).flat_map(|counters| {
            let left = n - SIX * counters;
            // The fewest rows that leave no more single bits than adders take.
            let rows = (0..=left).find(|&rows| left - rows <= Shape { counters, rows }.room());
            rows.map(|rows| Shape { counters, rows })
        });
        // Of equal ones the one with most counters: carry chains are fewer than tables.
        let best = all.min_by_key(|shape| (shape.cost(n), std::cmp::Reverse(shape.counters)));
        best.unwrap_or(Shape { counters: 0, rows: n })
    }
}

/// How many bits of each group are set. Makes the units that it needs; all groups go through them side by side.
pub fn counts(net: &mut Netlist, groups: &[Vec<Bit>], origin: &str) -> Vec<Vec<Bit>> {
    net.unit("count", origin);
    let mut open: Vec<(Vec<Number>, Vec<Bit>)> = groups.iter().map(|g| counted(net, g)).collect();
    while open.iter().any(|(numbers, _)| numbers.len() > 1) {
        net.unit("sum", origin);
        for (numbers, spare) in &mut open {
            // All that is there now meets at once; what comes of it waits for the next unit.
            let (mut now, mut sums) = (std::mem::take(numbers), Vec::new());
            while now.len() > 1 {
                let most: Vec<u64> = now.iter().map(|n| n.most).collect();
                // The number of rows decides what is left over in the end: it is that of all numbers together.
                let all: Vec<u64> =
                    most.iter().copied().chain(sums.iter().map(|n: &Number| n.most)).collect();
                let count = if all.len().is_multiple_of(2) { 2 } else { 3 };
                if now.len() < count {
                    break;
                }
                let mut rows = next_rows(&[&most[..], &vec![u64::MAX; sums.len()]].concat());
                rows.sort_unstable();
                let taken: Vec<Number> = rows.iter().rev().map(|&i| now.remove(i)).collect();
                sums.push(sum(net, &taken, spare));
            }
            now.append(&mut sums);
            *numbers = now;
        }
    }
    net.end_layer();
    open.into_iter().map(|(mut numbers, _)| numbers.pop().map(|n| n.bits).unwrap_or_default()).collect()
}

/// The counters of one group, its rows, and the bits that are left over.
fn counted(net: &mut Netlist, bits: &[Bit]) -> (Vec<Number>, Vec<Bit>) {
    let bits: Vec<Bit> = bits.iter().copied().filter(|&b| b != ZERO).collect();
    if bits.len() <= SIX {
        return (vec![six(net, &bits)], Vec::new());
    }
    let shape = Shape::of(bits.len());
    let (sixes, rest) = bits.split_at(SIX * shape.counters);
    let (rows, spare) = rest.split_at(shape.rows);
    let mut numbers: Vec<Number> = sixes.chunks(SIX).map(|six_bits| six(net, six_bits)).collect();
    numbers.extend(rows.iter().map(|&b| Number { bits: vec![b], most: 1 }));
    (numbers, spare.to_vec())
}

/// The number of set bits among at most six.
fn six(net: &mut Netlist, bits: &[Bit]) -> Number {
    let most = bits.len() as u64;
    let digit = |net: &mut Netlist, k: usize| {
        let table = (0..1u64 << bits.len()).map(|a| u64::from(a.count_ones() >> k & 1) << a).sum();
        net.lut(bits, table)
    };
    let digits = (0..width_of(most)).map(|k| digit(net, k)).collect();
    Number { bits: digits, most }
}

/// The sum of two or three numbers, and of up to two of the spare bits.
fn sum(net: &mut Netlist, rows: &[Number], spare: &mut Vec<Bit>) -> Number {
    let width = rows.iter().map(|n| n.bits.len()).max().unwrap_or(0);
    let at = |k: usize, i: usize| rows.get(k).and_then(|n| n.bits.get(i)).copied().unwrap_or(ZERO);
    let columns = (0..width).map(|i| [at(0, i), at(1, i), at(2, i)]).collect();
    let more = [spare.pop(), spare.pop()];
    let most = rows.iter().map(|n| n.most).sum::<u64>() + more.iter().flatten().count() as u64;
    let bits = net.add(columns, more.map(|b| b.unwrap_or(ZERO)), most);
    Number { bits, most }
}

/// One that is still in the running.
struct Candidate {
    score: Vec<Bit>,
    index: Vec<Bit>,
}

/// The place of the greatest of unsigned numbers, the least with `max` false; of equal ones the first, or the last.
pub fn arg_extreme(
    net: &mut Netlist,
    scores: &[Vec<Bit>],
    (max, last): (bool, bool),
    origin: &str,
) -> Vec<Bit> {
    let mut open: Vec<Candidate> =
        scores.iter().map(|score| Candidate { score: score.clone(), index: Vec::new() }).collect();
    while open.len() > 1 {
        net.unit("class", origin);
        let final_round = open.len() == 2;
        let mut next = Vec::new();
        let mut rest = open.into_iter();
        while let Some(left) = rest.next() {
            let Some(right) = rest.next() else {
                // Alone in its round, it is what would have been the left one.
                let index = [&left.index[..], &[ZERO]].concat();
                next.push(Candidate { index, ..left });
                break;
            };
            // The right one wins if it is better, or as good where the last of equals is sought.
            let (a, b) = if max { (&right.score, &left.score) } else { (&left.score, &right.score) };
            let by = net.greater(a, b, last);
            let mut index = net.choose(by, &left.index, &right.index);
            index.push(by);
            let score = if final_round { Vec::new() } else { net.choose(by, &left.score, &right.score) };
            next.push(Candidate { score, index });
        }
        open = next;
    }
    net.end_layer();
    open.pop().map(|c| c.index).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_fifty_bits_takes_few_tables() {
        // 44 is what counters alone would take at least: three tables take three bits away.
        let cost = Shape::of(50).cost(50);
        assert!(cost <= 40, "{cost}");
        for n in 7..200 {
            let shape = Shape::of(n);
            assert!(SIX * shape.counters + shape.rows <= n);
            assert!(n - SIX * shape.counters - shape.rows <= shape.room(), "{n}: {shape:?}");
            assert!(shape.cost(n) <= n + 1, "{n}: {shape:?} {}", shape.cost(n));
        }
    }
}
