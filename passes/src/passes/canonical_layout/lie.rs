//! How a rewritten value lies, compared with the value that it stands for.

use crate::analysis::perm;
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Data, Tensor};

/// Where the elements of a value went.
#[derive(Clone, PartialEq, Debug)]
pub enum Lie {
    /// New axis `i` shows old axis `perm[i]`.
    Axes(Vec<usize>),
    /// The axes are in place; the elements along the last one are in another order, run by run.
    Last(Vec<Run>),
}

/// A stretch of the last axis whose elements were the cells of a block of axes that were put in another order:
/// what flattening a moved map makes.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The extents of the block's axes, in the new order.
    pub dims: Vec<usize>,
    /// New axis `i` of the block is old axis `perm[i]`.
    pub perm: Vec<usize>,
}

impl Run {
    /// A stretch of `n` elements in place.
    pub fn still(n: usize) -> Self {
        Self { dims: vec![n], perm: vec![0] }
    }
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Lie {
    /// Nothing moved.
    pub fn still(rank: usize) -> Self {
        Lie::Axes(perm::identity(rank))
    }
    /// Whether nothing moved.
    pub fn is_still(&self) -> bool {
        matches!(self, Lie::Axes(p) if perm::is_identity(p))
    }
}

/// For each new position along the last axis, the old one.
pub fn order(runs: &[Run]) -> Vec<usize> {
    let mut order = Vec::new();
    for run in runs {
        let from = order.len();
        let old_dims = perm::pick(&perm::inverse(&run.perm), &run.dims);
        let old_strides = unfloat_ir::Shape::from(old_dims).strides();
        let steps = perm::pick(&run.perm, &old_strides);
        for_each_index(&run.dims, |at| {
            order.push(from + at.iter().zip(&steps).map(|(i, s)| i * s).sum::<usize>());
        });
    }
    order
}

/// The tensor with its last axis in another order: element `i` is old element `order[i]`.
pub fn gather_last(tensor: &Tensor, order: &[usize]) -> Tensor {
    fn rows<T: Copy>(v: &[T], order: &[usize]) -> Vec<T> {
        let mut out = Vec::with_capacity(v.len());
        v.chunks_exact(order.len().max(1)).for_each(|row| out.extend(order.iter().map(|&i| row[i])));
        out
    }
    let data = match &tensor.data {
        Data::F32(v) => Data::F32(rows(v, order)),
        Data::I8(v) => Data::I8(rows(v, order)),
        Data::I16(v) => Data::I16(rows(v, order)),
        Data::I32(v) => Data::I32(rows(v, order)),
        Data::I64(v) => Data::I64(rows(v, order)),
    };
    Tensor { ty: tensor.ty.clone(), data }
}

/// What a reshape becomes over a moved operand.
#[derive(Clone, PartialEq, Debug)]
pub struct Reshaped {
    /// The extents of the new result.
    pub dims: Vec<usize>,
    /// How it lies.
    pub lie: Lie,
}

/// Carries a reshape from `from` to `to` over an operand whose axes moved by `moved`; nothing when the moved
/// elements are no reshape of the result's.
///
/// The two shapes fall into groups of axes with the same product. A group whose axes stay together, in order,
/// moves as a whole. When `flat` is allowed and only the axes of the last group moved, and it becomes one axis, the
/// result is that axis with its elements in another order.
pub fn reshape_through(from: &[usize], moved: &[usize], to: &[usize], flat: bool) -> Option<Reshaped> {
    let units_only = perm::moves_only_units(from, moved);
    if units_only {
        return Some(Reshaped { dims: to.to_vec(), lie: Lie::still(to.len()) });
    }
    // Axes of extent 1 lie anywhere; they are left out and put back at the end.
    let big = |dims: &[usize]| (0..dims.len()).filter(|&i| dims[i] != 1).collect::<Vec<_>>();
    let (from_axes, to_axes) = (big(from), big(to));
    let new_order: Vec<usize> = moved.iter().filter_map(|a| from_axes.iter().position(|b| a == b)).collect();
    let groups = groups(&perm::pick(&from_axes, from), &perm::pick(&to_axes, to))?;
    let group_of = |axis: usize| groups.iter().position(|g| g.0.contains(&axis));
    let mut sequence: Vec<usize> = Vec::new();
    // Each group is entered at its first axis, gone through in order, and left behind its last.
    let (first, last) = (*new_order.first()?, *new_order.last()?);
    let mut whole = first == groups[group_of(first)?].0.start && last + 1 == groups[group_of(last)?].0.end;
    for pair in new_order.windows(2) {
        let (a, b) = (group_of(pair[0])?, group_of(pair[1])?);
        whole &= if a == b { pair[1] == pair[0] + 1 } else { pair[0] + 1 == groups[a].0.end };
        whole &= a == b || pair[1] == groups[b].0.start;
    }
    for &axis in &new_order {
        let g = group_of(axis)?;
        if sequence.last() != Some(&g) {
            sequence.push(g);
        }
    }
    if whole {
        let axes: Vec<usize> =
            sequence.iter().flat_map(|&g| groups[g].1.clone()).map(|i| to_axes[i]).collect();
        return Some(with_units(to, axes));
    }
    let (last, leading) = groups.split_last()?;
    let in_place = new_order[..last.0.start].iter().copied().eq(0..last.0.start);
    let single = last.1.len() == 1 && to_axes.last() == Some(&to.len().checked_sub(1)?);
    if !(flat && in_place && single) || leading.iter().any(|g| g.0.end > last.0.start) {
        return None;
    }
    let perm: Vec<usize> = new_order[last.0.start..].iter().map(|a| a - last.0.start).collect();
    let dims = new_order[last.0.start..].iter().map(|&a| from[from_axes[a]]).collect();
    Some(Reshaped { dims: to.to_vec(), lie: Lie::Last(vec![Run { dims, perm }]) })
}

type Range = std::ops::Range<usize>;

/// The finest split of two shapes without unit axes into groups of equal product.
fn groups(from: &[usize], to: &[usize]) -> Option<Vec<(Range, Range)>> {
    let (mut groups, mut i, mut j) = (Vec::new(), 0, 0);
    while i < from.len() && j < to.len() {
        let (start_i, start_j) = (i, j);
        let (mut a, mut b) = (from[i], to[j]);
        (i, j) = (i + 1, j + 1);
        while a != b {
            if a < b {
                a = a.checked_mul(*from.get(i)?)?;
                i += 1;
            } else {
                b = b.checked_mul(*to.get(j)?)?;
                j += 1;
            }
        }
        groups.push((start_i..i, start_j..j));
    }
    (i == from.len() && j == to.len()).then_some(groups)
}

/// Puts the unit axes of `to` back among its other axes, which come in the order `axes`: where they were if the
/// others are, else in front.
fn with_units(to: &[usize], axes: Vec<usize>) -> Reshaped {
    let in_place = axes.windows(2).all(|w| w[0] < w[1]);
    let perm: Vec<usize> = if in_place {
        perm::identity(to.len())
    } else {
        (0..to.len()).filter(|&i| to[i] == 1).chain(axes).collect()
    };
    Reshaped { dims: perm::pick(&perm, to), lie: Lie::Axes(perm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a carried reshape against the elements themselves.
    fn check(from: &[usize], moved: &[usize], to: &[usize]) -> Option<Reshaped> {
        let carried = reshape_through(from, moved, to, true)?;
        let n: usize = from.iter().product();
        let plain = |dims: &[usize], data: Vec<f32>| {
            Tensor::f32(dims, unfloat_ir::Layout::anonymous(dims.len()), data)
        };
        let old_in = plain(from, (0..n).map(|i| i as f32).collect());
        let new_in = old_in.transposed(moved);
        let old_out = plain(to, old_in.as_f32()?.to_vec());
        let want = match &carried.lie {
            Lie::Axes(p) => old_out.transposed(p),
            Lie::Last(runs) => gather_last(&old_out, &order(runs)),
        };
        assert_eq!(want.as_f32(), new_in.as_f32(), "{from:?} {moved:?} {to:?}");
        assert_eq!(want.shape().dims(), carried.dims);
        Some(carried)
    }

    #[test]
    fn groups_move_as_a_whole() {
        let lie = |r: Option<Reshaped>| r.map(|r| r.lie);
        assert_eq!(lie(check(&[3, 4, 5], &[1, 2, 0], &[3, 20])), Some(Lie::Axes(vec![1, 0])));
        assert_eq!(lie(check(&[6, 4], &[1, 0], &[2, 3, 4])), Some(Lie::Axes(vec![2, 0, 1])));
        assert_eq!(lie(check(&[3, 4, 5], &[0, 2, 1], &[12, 5])), None);
        assert_eq!(lie(check(&[3, 4, 5], &[1, 2, 0], &[12, 5])), None);
        assert_eq!(lie(check(&[3, 1, 1], &[1, 2, 0], &[3])), Some(Lie::still(1)));
        assert_eq!(lie(check(&[3, 1, 5], &[2, 1, 0], &[3, 5, 1])), Some(Lie::Axes(vec![2, 1, 0])));
    }

    #[test]
    fn flattening_reorders_elements() {
        let flat = Run { dims: vec![4, 5, 3], perm: vec![1, 2, 0] };
        assert_eq!(check(&[3, 4, 5], &[1, 2, 0], &[60]).unwrap().lie, Lie::Last(vec![flat]));
        let run = Run { dims: vec![5, 4], perm: vec![1, 0] };
        assert_eq!(check(&[3, 4, 5], &[0, 2, 1], &[3, 20]).unwrap().lie, Lie::Last(vec![run]));
        assert_eq!(reshape_through(&[3, 4, 5], &[1, 2, 0], &[60], false), None);
        assert_eq!(check(&[3, 4, 5], &[1, 2, 0], &[30, 2]), None);
    }

    #[test]
    fn runs_follow_one_another() {
        let runs = [Run::still(2), Run { dims: vec![2, 3], perm: vec![1, 0] }];
        assert_eq!(order(&runs), [0, 1, 2, 4, 6, 3, 5, 7]);
    }
}
