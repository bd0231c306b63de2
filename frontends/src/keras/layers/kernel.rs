//! Kernels from Keras' order of axes to that of the graph.
//!
//! In: numbers in row-major order as the file has them. Out: `[out, space…, in]`. Keras 2 and 3 store `(space…, in,
//! out)`, transposed convolutions `(space…, out, in)`, Keras 1 with `th` ordering `(out, in, space…)`; a kernel that
//! Theano trained is stored for true convolution and has its spatial axes reversed.

use unfloat_ir::Layout;

use crate::keras::container::store::Part;
use crate::keras::quant::weights::Placing;

/// Where the numbers of an array go when its axes are put in another order.
pub(crate) struct Reorder {
    shape: Vec<usize>,
    /// Axis of the array for each axis of the result.
    order: Vec<usize>,
    /// Steps in the result along each axis of the array.
    steps: Vec<isize>,
    /// Where the first number of the array goes.
    first: isize,
}

impl Reorder {
    /// Axis `i` of the result is axis `order[i]` of an array of shape `shape`, reversed where `reversed[i]` says so.
    pub fn new(shape: &[usize], order: &[usize], reversed: &[bool]) -> Reorder {
        // A shape of more numbers than memory holds wraps around; no array is read for it.
        let (mut steps, mut first, mut step) = (vec![0; shape.len()], 0isize, 1isize);
        for (position, &axis) in order.iter().enumerate().rev() {
            let dim = shape.get(axis).copied().unwrap_or(1) as isize;
            let flip = reversed.get(position).copied().unwrap_or(false);
            if flip {
                first = first.wrapping_add(step.wrapping_mul(dim.wrapping_sub(1)));
            }
            if let Some(own) = steps.get_mut(axis) {
                *own = if flip { step.wrapping_neg() } else { step };
            }
            step = step.wrapping_mul(dim);
        }
        Reorder { shape: shape.to_vec(), order: order.to_vec(), steps, first }
    }

    /// The shape of the array.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Puts the numbers of a part of the array in their places in `out`, which holds the whole result.
    ///
    /// Does without an index per element, because the largest weights decide the peak of memory.
    pub fn place(&self, part: &Part<'_>, out: &mut [f32]) {
        if part.values.is_empty() {
            return;
        }
        let start = part.start.iter().zip(&self.steps);
        let to =
            start.fold(self.first, |to, (&index, &step)| to.wrapping_add(step.wrapping_mul(index as isize)));
        let axis = |&axis: &usize| Axis {
            extent: part.extents.get(axis).copied().unwrap_or(1),
            from: part.extents.iter().skip(axis + 1).product(),
            to: self.steps.get(axis).copied().unwrap_or(0),
        };
        let axes: Vec<Axis> = self.order.iter().map(axis).collect();
        copy(part.values, 0, out, to, &axes);
    }
}

/// An axis of a part: its extent and the steps along it in the part and in the result.
struct Axis {
    extent: usize,
    from: usize,
    to: isize,
}

fn copy(values: &[f32], from: usize, out: &mut [f32], to: isize, axes: &[Axis]) {
    let mut put = |from: usize, to: isize| {
        let place = usize::try_from(to).ok().and_then(|to| out.get_mut(to));
        if let (Some(value), Some(place)) = (values.get(from), place) {
            *place = *value;
        }
    };
    match axes {
        [] => put(from, to),
        [last] => (0..last.extent).for_each(|i| put(from + i * last.from, to + i as isize * last.to)),
        [axis, rest @ ..] => {
            for i in 0..axis.extent {
                copy(values, from + i * axis.from, out, to + i as isize * axis.to, rest);
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

    /// Where the axes of a kernel with `rank` spatial ones go: `[out, space…, in]`.
    pub fn placing(self, rank: usize, flip: bool) -> Placing {
        let (order, reversed) = self.to_graph_axes(rank, flip);
        Placing::ordered(order, reversed, Layout::weight(rank))
    }

    fn to_graph_axes(self, rank: usize, flip: bool) -> (Vec<usize>, Vec<bool>) {
        let (out, space, input): (usize, Vec<usize>, usize) = match self {
            KernelOrder::SpaceInOut => (rank + 1, (0..rank).collect(), rank),
            KernelOrder::SpaceOutIn => (rank, (0..rank).collect(), rank + 1),
            KernelOrder::OutInSpace => (0, (2..rank + 2).collect(), 1),
        };
        let order: Vec<usize> = std::iter::once(out).chain(space).chain([input]).collect();
        let reversed = (0..order.len()).map(|axis| flip && axis > 0 && axis <= rank).collect();
        (order, reversed)
    }

    /// A kernel of shape `shape` as `[out, space…, in]`, spatial axes reversed when `flip` is set.
    pub fn to_graph(self, shape: &[usize], flip: bool) -> Reorder {
        let (order, reversed) = self.to_graph_axes(shape.len().saturating_sub(2), flip);
        Reorder::new(shape, &order, &reversed)
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
        let whole = |order: KernelOrder, values: &[f32], shape: &[usize], flip: bool| {
            let mut out = vec![0.0; values.len()];
            order.to_graph(shape, flip).place(&Part { start: &[0; 3], extents: shape, values }, &mut out);
            out
        };
        assert_eq!(whole(KernelOrder::SpaceInOut, &space_in_out, &[3, 2, 2], false), wanted);
        assert_eq!(whole(KernelOrder::SpaceOutIn, &space_out_in, &[3, 2, 2], false), wanted);
        assert_eq!(whole(KernelOrder::OutInSpace, &out_in_space, &[2, 2, 3], false), wanted);
        let flipped = make([2, 3, 2], &|o, y, i| at(o, 2 - y, i));
        assert_eq!(whole(KernelOrder::SpaceInOut, &space_in_out, &[3, 2, 2], true), flipped);
        // In parts of one output of one input.
        let mut parts = vec![0.0; space_in_out.len()];
        let reorder = KernelOrder::SpaceInOut.to_graph(&[3, 2, 2], true);
        for (number, values) in space_in_out.chunks(1).enumerate() {
            let start = [number / 4, number / 2 % 2, number % 2];
            reorder.place(&Part { start: &start, extents: &[1, 1, 1], values }, &mut parts);
        }
        assert_eq!(parts, flipped);
        assert_eq!(KernelOrder::OutInSpace.shape(&[3], 4, 5), [5, 4, 3]);
    }
}
