//! Arrays of numbers with the shape that the file gives them, and scales that broadcast to them.
//!
//! In: row-major numbers. Out: the same numbers by element, by channel, or in another order of axes. Nothing here
//! knows what a quantizer is.

/// Numbers in the file's own order of axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array<T> {
    /// Extents.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<T>,
}

/// A scale: one number (no axes), or an array that broadcasts by numpy's rule.
pub(crate) type Scale = Array<f32>;

impl Array<f32> {
    /// One number for all.
    pub fn one(value: f32) -> Scale {
        Array { shape: Vec::new(), values: vec![value] }
    }

    /// Every number by `f`.
    pub fn map(&self, f: impl FnMut(f32) -> f32) -> Scale {
        Array { shape: self.shape.clone(), values: self.values.iter().copied().map(f).collect() }
    }
}

impl<T: Copy> Array<T> {
    /// One number for each element of an array of shape `shape`; `None` where it does not broadcast to it.
    pub fn spread(&self, shape: &[usize]) -> Option<Vec<T>> {
        let own = self.aligned(shape.len())?;
        if own.iter().zip(shape).any(|(own, dim)| *own != 1 && own != dim) {
            return None;
        }
        let mut steps = vec![0usize; shape.len()];
        let mut step = 1usize;
        for (to, dim) in steps.iter_mut().zip(&own).rev() {
            *to = if *dim == 1 { 0 } else { step };
            step = step.checked_mul(*dim)?;
        }
        let mut out = Vec::with_capacity(shape.iter().product());
        collect(&self.values, shape, &steps, 0, &mut out)?;
        Some(out)
    }

    /// The shape with leading ones until it has `rank` axes; leading ones beyond them are dropped.
    pub fn aligned(&self, rank: usize) -> Option<Vec<usize>> {
        let own = &self.shape;
        if let Some(missing) = rank.checked_sub(own.len()) {
            return Some(std::iter::repeat_n(1, missing).chain(own.iter().copied()).collect());
        }
        let (lead, rest) = own.split_at(own.len() - rank);
        lead.iter().all(|dim| *dim == 1).then(|| rest.to_vec())
    }

    /// Axis `i` of the result is axis `order[i]`.
    pub fn permuted(&self, order: &[usize], reversed: &[bool]) -> Option<Array<T>> {
        let mut steps = vec![0usize; self.shape.len()];
        let mut step = 1usize;
        for (to, dim) in steps.iter_mut().zip(&self.shape).rev() {
            *to = step;
            step = step.checked_mul(*dim)?;
        }
        let dims: Option<Vec<usize>> = order.iter().map(|axis| self.shape.get(*axis).copied()).collect();
        let dims = dims?;
        let mut values = Vec::with_capacity(self.values.len());
        let mut index = vec![0usize; dims.len()];
        for _ in 0..self.values.len() {
            let mut at = 0usize;
            for (position, axis) in order.iter().enumerate() {
                let i = if reversed.get(position).copied().unwrap_or(false) {
                    dims.get(position)? - 1 - index.get(position)?
                } else {
                    *index.get(position)?
                };
                at += i * steps.get(*axis)?;
            }
            values.push(*self.values.get(at)?);
            for (i, dim) in index.iter_mut().zip(&dims).rev() {
                *i += 1;
                if *i < *dim {
                    break;
                }
                *i = 0;
            }
        }
        Some(Array { shape: dims, values })
    }
}

fn collect<T: Copy>(
    values: &[T],
    shape: &[usize],
    steps: &[usize],
    at: usize,
    out: &mut Vec<T>,
) -> Option<()> {
    match (shape, steps) {
        ([dim, shape @ ..], [step, steps @ ..]) => {
            for i in 0..*dim {
                collect(values, shape, steps, at + i * step, out)?;
            }
        }
        _ => out.push(*values.get(at)?),
    }
    Some(())
}

/// One scale per entry of the last axis, in a shape that broadcasts to `shape`.
pub(crate) fn by_last_axis(shape: &[usize], values: Vec<f32>) -> Scale {
    let lead = shape.len().saturating_sub(1);
    Array { shape: std::iter::repeat_n(1, lead).chain([values.len()]).collect(), values }
}

/// Calls `visit` with the entry of the last axis, for each element in order.
pub(crate) fn for_each_channel(array: &Array<f32>, mut visit: impl FnMut(usize, f32)) {
    let channels = array.shape.last().copied().unwrap_or(1).max(1);
    for (at, value) in array.values.iter().enumerate() {
        visit(at % channels, *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_broadcast_from_the_last_axis() {
        let scale = by_last_axis(&[2, 3], vec![1., 2., 3.]);
        assert_eq!(scale.shape, [1, 3]);
        assert_eq!(scale.spread(&[2, 3]), Some(vec![1., 2., 3., 1., 2., 3.]));
        assert_eq!(Scale::one(5.0).spread(&[2]), Some(vec![5., 5.]));
        let batch = Array { shape: vec![1, 2], values: vec![1., 2.] };
        assert_eq!(batch.spread(&[2]), Some(vec![1., 2.]));
        assert_eq!(batch.spread(&[3]), None);
        assert_eq!(Array { shape: vec![2, 2], values: vec![1.; 4] }.spread(&[2]), None);
    }

    #[test]
    fn axes_are_put_in_another_order() {
        let array = Array { shape: vec![2, 3], values: vec![0, 1, 2, 3, 4, 5] };
        let turned = array.permuted(&[1, 0], &[]).unwrap();
        assert_eq!((turned.shape, turned.values), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        let flipped = array.permuted(&[0, 1], &[false, true]).unwrap();
        assert_eq!(flipped.values, [2, 1, 0, 5, 4, 3]);
        assert!(array.permuted(&[0, 2], &[]).is_none());
    }
}
