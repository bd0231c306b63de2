//! The extents of a tensor's axes.

use std::fmt;
use std::ops::Deref;

/// Extents of the axes of one sample, outermost first; `[]` is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The largest rank that the IR takes.
    pub const MAX_RANK: usize = 8;

    /// A shape of the given extents.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self(dims.into())
    }
    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }
    /// The product of the extents, 1 for a scalar; nothing when it does not fit a `usize`.
    pub fn checked_len(&self) -> Option<usize> {
        // A zero anywhere makes the product zero, whatever overflows beside it.
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }
    /// The product of the extents, saturating. The verifier refuses shapes that would saturate.
    pub fn num_elements(&self) -> usize {
        self.checked_len().unwrap_or(usize::MAX)
    }
    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1usize; self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i].saturating_mul(self.0[i]);
        }
        strides
    }
    /// The shape that two operands share under numpy's broadcasting rule, or nothing.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(1, |j| s.0[j]);
        (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}
impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let b = |x: &[usize], y: &[usize]| Shape::from(x).broadcast(&Shape::from(y)).map(|s| s.to_vec());
        assert_eq!(b(&[4, 1, 3], &[5, 1]), Some(vec![4, 5, 3]));
        assert_eq!(b(&[], &[2]), Some(vec![2]));
        assert_eq!(b(&[2], &[3]), None);
        assert_eq!(b(&[0], &[1]), Some(vec![0]));
    }

    #[test]
    fn huge_shapes_do_not_overflow() {
        assert_eq!(Shape::from([usize::MAX, 2]).checked_len(), None);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).checked_len(), Some(0));
        assert_eq!(Shape::from([]).checked_len(), Some(1));
    }
}
