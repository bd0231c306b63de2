//! Places in an arena for values with known life times.

/// A value that needs `len` units from step `from` to step `to`, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub len: usize,
    pub from: usize,
    pub to: usize,
}

/// Gives each life an offset so that no two that overlap in time overlap in space; returns the offsets and the
/// size of the arena.
///
/// Largest first, each at the lowest free place (Pisarchyk and Lee, 2020, "greedy by size"); offsets are
/// multiples of `align`. Deterministic: equal sizes go in the order given.
pub(crate) fn assign(lives: &[Life], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].len), i));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let life = lives[i];
        if life.len == 0 {
            continue;
        }
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| lives[j].from <= life.to && life.from <= lives[j].to)
            .map(|&j| (offsets[j], offsets[j] + lives[j].len))
            .collect();
        taken.sort_unstable();
        let mut at = 0;
        for (begin, end) in taken {
            if at + life.len <= begin {
                break;
            }
            at = at.max(end.next_multiple_of(align));
        }
        offsets[i] = at;
        total = total.max(at + life.len);
        placed.push(i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let lives = [(10, 0, 1), (30, 1, 2), (20, 2, 3)].map(|(len, from, to)| Life { len, from, to });
        let (offsets, total) = assign(&lives, 1);
        assert_eq!((offsets, total), (vec![30, 0, 30], 50));
    }

    proptest! {
        #[test]
        fn lives_never_collide(spec in proptest::collection::vec((0usize..50, 0usize..10, 0usize..5), 0..20)) {
            let lives: Vec<Life> =
                spec.iter().map(|&(len, from, more)| Life { len, from, to: from + more }).collect();
            let (offsets, total) = assign(&lives, 4);
            for (i, a) in lives.iter().enumerate() {
                prop_assert!(a.len == 0 || offsets[i] + a.len <= total);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    let in_time = a.from <= b.to && b.from <= a.to;
                    let in_space = offsets[i] < offsets[j] + b.len && offsets[j] < offsets[i] + a.len;
                    prop_assert!(!(in_time && in_space && a.len > 0 && b.len > 0));
                }
            }
        }
    }
}
