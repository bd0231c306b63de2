//! Permutations of axes. `perm[i]` is the old axis that new axis `i` shows, as in [`unfloat_ir::ops::Transpose`].

use unfloat_ir::{Layout, TensorType};

/// The permutation of `rank` axes that moves nothing.
pub fn identity(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Whether nothing moves.
pub fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// The permutation that undoes `perm`; also: where each old axis went.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    inverse
}

/// `first`, then `second`, as one permutation.
pub fn then(first: &[usize], second: &[usize]) -> Vec<usize> {
    second.iter().map(|&i| first[i]).collect()
}

/// The entries of a list with one entry per old axis, in the order of the new axes.
pub fn pick<T: Clone>(perm: &[usize], list: &[T]) -> Vec<T> {
    perm.iter().map(|&p| list[p].clone()).collect()
}

/// The new places of the given old axes, rising.
pub fn map_axes(perm: &[usize], axes: &[usize]) -> Vec<usize> {
    (0..perm.len()).filter(|&i| axes.contains(&perm[i])).collect()
}

/// The permutation that moves `axis` to the end and leaves the others in their order.
pub fn axis_last(rank: usize, axis: usize) -> Vec<usize> {
    (0..rank).filter(|&i| i != axis).chain((axis < rank).then_some(axis)).collect()
}

/// The permutation that makes a layout channels-last; nothing without a channel axis.
pub fn channels_last(layout: &Layout) -> Option<Vec<usize>> {
    layout.channel().map(|c| axis_last(layout.rank(), c))
}

/// Whether all axes of extent other than 1 keep their order, so that the elements do not move in memory.
pub fn moves_only_units(dims: &[usize], perm: &[usize]) -> bool {
    let moving: Vec<usize> = perm.iter().copied().filter(|&p| dims[p] != 1).collect();
    moving.windows(2).all(|w| w[0] < w[1])
}

/// Whether every axis has a name, so that the layout alone tells in which order the axes lie.
pub fn is_named(layout: &Layout) -> bool {
    !layout.as_str().contains('_')
}

/// The permutation that carries the axes of `from` to those of `to`: nothing moves when the types are equal,
/// otherwise as the named axes of the layouts tell; nothing when they do not.
pub fn between(from: &TensorType, to: &TensorType) -> Option<Vec<usize>> {
    if from.shape == to.shape && from.layout == to.layout {
        return Some(identity(from.rank()));
    }
    let perm = from.layout.permutation_to(&to.layout)?;
    (pick(&perm, &from.shape) == to.shape.dims()).then_some(perm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algebra() {
        let p = [1, 2, 0];
        assert_eq!(inverse(&p), [2, 0, 1]);
        assert!(is_identity(&then(&p, &inverse(&p))));
        assert_eq!(pick(&p, &['c', 'h', 'w']), ['h', 'w', 'c']);
        assert_eq!(map_axes(&p, &[0]), [2]);
        assert_eq!(map_axes(&p, &[1, 2]), [0, 1]);
        assert_eq!(axis_last(3, 0), p);
        assert!(moves_only_units(&[4, 1, 1], &p) && !moves_only_units(&[4, 2, 1], &p));
    }

    #[test]
    fn layouts_tell_the_order() {
        let chw = TensorType::f32([3, 4, 5], Layout::channels_first(2));
        let hwc = TensorType::f32([4, 5, 3], Layout::channels_last(2));
        assert_eq!(between(&chw, &hwc), Some(vec![1, 2, 0]));
        assert_eq!(between(&hwc, &hwc), Some(vec![0, 1, 2]));
        let plain = TensorType::f32([3, 3], Layout::anonymous(2));
        assert_eq!(between(&plain, &plain), Some(vec![0, 1]));
        assert_eq!(between(&chw, &TensorType::f32([5, 4, 3], Layout::channels_last(2))), None);
    }
}
