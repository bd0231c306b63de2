//! Kernels from Keras' order of axes to that of the graph.
//!
//! In: numbers in row-major order as the file has them. Out: `[out, space…, in]`. Keras 2 and 3 store `(space…, in,
//! out)`, transposed convolutions `(space…, out, in)`, Keras 1 with `th` ordering `(out, in, space…)`; a kernel that
//! Theano trained is stored for true convolution and has its spatial axes reversed.

/// Reorders axes: axis `i` of the result is axis `order[i]` of `values`, reversed where `reversed[i]` says so.
///
/// Does without an index per element, because the largest weights decide the peak of memory.
pub(crate) fn reorder(values: &[f32], shape: &[usize], order: &[usize], reversed: &[bool]) -> Vec<f32> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        let next = shape.get(axis + 1).copied().unwrap_or(1) as isize;
        let after = strides.get(axis + 1).copied().unwrap_or(1);
        if let Some(stride) = strides.get_mut(axis) {
            *stride = after * next;
        }
    }
    let mut start = 0isize;
    let mut steps = Vec::with_capacity(order.len());
    for (position, &axis) in order.iter().enumerate() {
        let dim = shape.get(axis).copied().unwrap_or(1);
        let stride = strides.get(axis).copied().unwrap_or(1);
        let flip = reversed.get(position).copied().unwrap_or(false);
        if flip {
            start += stride * (dim as isize - 1);
        }
        steps.push((dim, if flip { -stride } else { stride }));
    }
    let mut out = Vec::with_capacity(values.len());
    copy(values, start, &steps, &mut out);
    out
}

fn copy(values: &[f32], start: isize, steps: &[(usize, isize)], out: &mut Vec<f32>) {
    let value = |at: isize| usize::try_from(at).ok().and_then(|at| values.get(at)).copied().unwrap_or(0.0);
    match steps {
        [] => out.push(value(start)),
        [(dim, step)] => out.extend((0..*dim as isize).map(|i| value(start + i * step))),
        [(dim, step), rest @ ..] => {
            for i in 0..*dim as isize {
                copy(values, start + i * step, rest, out);
            }
        }
    }
}

/// How a convolution kernel lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelOrder {
    /// `(space…, in, out)`
    SpaceInOut,
    /// `(space…, out, in)`
    SpaceOutIn,
    /// `(out, in, space…)`
    OutInSpace,
}

impl KernelOrder {
    /// The shape in the file of a kernel with these extents.
    pub fn shape(self, space: &[usize], inputs: usize, outputs: usize) -> Vec<usize> {
        let (before, after) = match self {
            KernelOrder::SpaceInOut => (vec![], vec![inputs, outputs]),
            KernelOrder::SpaceOutIn => (vec![], vec![outputs, inputs]),
            KernelOrder::OutInSpace => (vec![outputs, inputs], vec![]),
        };
        before.into_iter().chain(space.iter().copied()).chain(after).collect()
    }

    /// The kernel as `[out, space…, in]`, spatial axes reversed when `flip` is set.
    pub fn to_graph(self, values: &[f32], shape: &[usize], flip: bool) -> Vec<f32> {
        let rank = shape.len().saturating_sub(2);
        let (out, space, input): (usize, Vec<usize>, usize) = match self {
            KernelOrder::SpaceInOut => (rank + 1, (0..rank).collect(), rank),
            KernelOrder::SpaceOutIn => (rank, (0..rank).collect(), rank + 1),
            KernelOrder::OutInSpace => (0, (2..rank + 2).collect(), 1),
        };
        let order: Vec<usize> = std::iter::once(out).chain(space).chain([input]).collect();
        let reversed: Vec<bool> = (0..order.len()).map(|axis| flip && axis > 0 && axis <= rank).collect();
        reorder(values, shape, &order, &reversed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_gives_the_same_kernel() {
        // k[o][y][i] = 100 o + 10 y + i, for 2 outputs, 3 taps, 2 inputs.
        let at = |o: usize, y: usize, i: usize| (100 * o + 10 * y + i) as f32;
        let make = |shape: [usize; 3], read: &dyn Fn(usize, usize, usize) -> f32| {
            let mut values = Vec::new();
            for a in 0..shape[0] {
                for b in 0..shape[1] {
                    for c in 0..shape[2] {
                        values.push(read(a, b, c));
                    }
                }
            }
            values
        };
        let wanted = make([2, 3, 2], &|o, y, i| at(o, y, i));
        let space_in_out = make([3, 2, 2], &|y, i, o| at(o, y, i));
        let space_out_in = make([3, 2, 2], &|y, o, i| at(o, y, i));
        let out_in_space = make([2, 2, 3], &|o, i, y| at(o, y, i));
        assert_eq!(KernelOrder::SpaceInOut.to_graph(&space_in_out, &[3, 2, 2], false), wanted);
        assert_eq!(KernelOrder::SpaceOutIn.to_graph(&space_out_in, &[3, 2, 2], false), wanted);
        assert_eq!(KernelOrder::OutInSpace.to_graph(&out_in_space, &[2, 2, 3], false), wanted);
        let flipped = make([2, 3, 2], &|o, y, i| at(o, 2 - y, i));
        assert_eq!(KernelOrder::SpaceInOut.to_graph(&space_in_out, &[3, 2, 2], true), flipped);
        assert_eq!(KernelOrder::OutInSpace.shape(&[3], 4, 5), [5, 4, 3]);
    }
}
