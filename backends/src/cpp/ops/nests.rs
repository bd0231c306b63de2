//! Loops over the axes of tensors, merged where they can be.

use super::super::writer::list;

/// One loop: how often, and the strides of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loop {
    pub extent: usize,
    pub a: usize,
    pub b: usize,
}

/// The loops over axes, outermost first, without those that run once, and with neighbours made one where both
/// strides allow.
pub fn merge(loops: impl IntoIterator<Item = Loop>) -> Vec<Loop> {
    let mut merged: Vec<Loop> = Vec::new();
    for inner in loops.into_iter().filter(|l| l.extent != 1) {
        match merged.last_mut() {
            Some(outer) if outer.a == inner.a * inner.extent && outer.b == inner.b * inner.extent => {
                *outer = Loop { extent: outer.extent * inner.extent, ..inner };
            }
            _ => merged.push(inner),
        }
    }
    merged
}

/// Takes the innermost loop off when its strides are as given; the length of that run, else 1.
pub fn split_run(loops: &mut Vec<Loop>, a: usize, b: usize) -> usize {
    match loops.last() {
        Some(l) if l.a == a && l.b == b => loops.pop().map_or(1, |l| l.extent),
        _ => 1,
    }
}

/// The loops as fields of a shape. C++ has no arrays of length 0: no loops are one that runs once.
pub fn fields(loops: &[Loop]) -> String {
    let once = [Loop { extent: 1, a: 0, b: 0 }];
    let loops = if loops.is_empty() { &once[..] } else { loops };
    let column = |f: fn(&Loop) -> usize| loops.iter().map(f).collect::<Vec<_>>();
    [list("extent", &column(|l| l.extent)), list("a", &column(|l| l.a)), list("b", &column(|l| l.b))].concat()
}

/// The loops as a struct inside a shape.
pub fn nested(name: &str, loops: &[Loop]) -> String {
    let inner: String = fields(loops).lines().map(|l| format!("  {l}\n")).collect();
    format!("  struct {name} {{\n{inner}  }};\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_merge_where_both_strides_allow() {
        let l = |extent, a, b| Loop { extent, a, b };
        assert_eq!(merge([l(2, 12, 12), l(1, 9, 9), l(3, 4, 4), l(4, 1, 1)]), [l(24, 1, 1)]);
        assert_eq!(merge([l(2, 12, 0), l(3, 4, 4), l(4, 1, 1)]), [l(2, 12, 0), l(12, 1, 1)]);
        assert_eq!(merge([l(5, 0, 0), l(2, 0, 0)]), [l(10, 0, 0)]);
        let mut loops = vec![l(2, 12, 0), l(12, 1, 1)];
        assert_eq!((split_run(&mut loops, 1, 1), loops.len()), (12, 1));
        assert_eq!((split_run(&mut loops, 1, 1), loops.len()), (1, 1));
    }
}
