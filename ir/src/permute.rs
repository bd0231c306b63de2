//! Elements in another order of the axes.
//!
//! In: elements, row-major, the extents of the result, and for each of its axes the step between neighbours in the
//! source. Out: the elements of the result, row-major. Nothing but the result is allocated.

/// Cells of a tile's side: a tile of 8-byte elements fills half of a first-level cache.
const TILE: usize = 32;

/// The elements of the source in the order of the result.
pub(crate) fn permuted<T: Copy + Default>(from: &[T], dims: &[usize], steps: &[usize]) -> Vec<T> {
    let total = dims.iter().product();
    let mut out = vec![T::default(); total];
    let Some((&columns, outer)) = dims.split_last() else {
        out.copy_from_slice(&from[..total]);
        return out;
    };
    if total == 0 {
        return out;
    }
    let step = steps[outer.len()];
    // Neighbours of the source lie along this axis of the result. Tiles over it and the last axis read and write
    // whole cache lines on both sides.
    let along = match outer.iter().zip(steps).rposition(|(&extent, &s)| s == 1 && extent > 1) {
        Some(axis) if step != 1 => axis,
        _ => {
            rows(outer, steps, |i, start| {
                let row = &mut out[i * columns..(i + 1) * columns];
                if step == 1 {
                    row.copy_from_slice(&from[start..start + columns]);
                } else {
                    row.iter_mut().enumerate().for_each(|(k, to)| *to = from[start + k * step]);
                }
            });
            return out;
        }
    };
    // The distance in the result between neighbours along that axis.
    let stride: usize = dims[along + 1..].iter().product();
    let mut others = outer.to_vec();
    let extent = std::mem::replace(&mut others[along], 1);
    let block = extent * stride;
    let inner: usize = outer[along + 1..].iter().product();
    rows(&others, steps, |i, start| {
        let base = i / inner * block + i % inner * columns;
        for top in (0..extent).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for a in top..extent.min(top + TILE) {
                    for k in left..columns.min(left + TILE) {
                        out[base + a * stride + k] = from[start + a + k * step];
                    }
                }
            }
        }
    });
    out
}

/// Calls `visit` with the number of each row and where it starts in the source.
fn rows(outer: &[usize], steps: &[usize], mut visit: impl FnMut(usize, usize)) {
    let mut number = 0;
    crate::tensor::for_each_index(outer, |index| {
        visit(number, index.iter().zip(steps).map(|(i, s)| i * s).sum());
        number += 1;
    });
}

#[cfg(test)]
mod tests {
    use super::permuted;
    use crate::tensor::for_each_index;

    #[test]
    fn every_order_of_axes() {
        for shape in [&[2, 3, 4, 5][..], &[70, 1, 33], &[1, 40, 41, 3], &[7], &[3, 0, 2], &[33, 65]] {
            let n: usize = shape.iter().product();
            let from: Vec<usize> = (0..n).collect();
            let mut strides = vec![1; shape.len()];
            (1..shape.len()).rev().for_each(|a| strides[a - 1] = strides[a] * shape[a]);
            for_each_index(&vec![shape.len(); shape.len()], |perm| {
                if (0..shape.len()).any(|a| !perm.contains(&a)) {
                    return;
                }
                let dims: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
                let steps: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
                let mut want = Vec::new();
                for_each_index(&dims, |i| want.push(i.iter().zip(&steps).map(|(i, s)| i * s).sum()));
                assert_eq!(permuted(&from, &dims, &steps), want, "{shape:?} by {perm:?}");
            });
        }
    }

    #[test]
    fn a_scalar_stays() {
        assert_eq!(permuted(&[5], &[], &[]), [5]);
    }
}
