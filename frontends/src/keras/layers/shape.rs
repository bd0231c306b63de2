//! Flatten, Reshape, Permute, RepeatVector.
//!
//! In: any tensor. Out: the same numbers under another shape. Flatten's own `data_format`, not that of the layers
//! before it, decides whether channels move to the end first; files that lack the key (Keras 2.1.5 and older) never
//! move them.

use unfloat_ir::ops::{Expand, Reshape as ReshapeOp, Transpose};
use unfloat_ir::{Layout, Shape, ValueId};

use super::Layer;
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Outcome, show_shape};

struct Flatten {
    channels_first: bool,
}

/// Reads a Flatten.
pub(crate) fn flatten(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let format = config.choice("data_format", "channels_last", &["channels_last", "channels_first"])?;
    Ok(Box::new(Flatten { channels_first: format == "channels_first" }))
}

impl Layer for Flatten {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let mut x = cx.input()?;
        let dims = cx.dims(x);
        if self.channels_first && dims.len() > 1 {
            let perm = (1..dims.len()).chain([0]).collect();
            x = cx.node(Transpose { perm }, &[x])?;
        }
        let shape = Shape::from([dims.iter().product::<usize>()]);
        cx.node(ReshapeOp { shape, layout: Layout::channels_last(0) }, &[x])
    }
}

struct Reshape {
    target: Vec<i64>,
}

/// Reads a Reshape; one extent may be −1 for whatever is left.
pub(crate) fn reshape(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let target = config.list("target_shape", -1)?;
    let target =
        target.ok_or_else(|| config.missing("target_shape", "a list of extents, one of them perhaps -1"))?;
    Ok(Box::new(Reshape { target }))
}

/// The target with its −1 worked out, when it holds `elements` elements.
fn resolve(target: &[i64], elements: usize) -> Option<Vec<usize>> {
    let known = target
        .iter()
        .filter(|dim| **dim != -1)
        .try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?))?;
    let open = target.iter().filter(|dim| **dim == -1).count();
    let rest = match open {
        0 if known == elements => 1,
        1 if known > 0 && elements.is_multiple_of(known) => elements / known,
        _ => return None,
    };
    target.iter().map(|dim| if *dim == -1 { Some(rest) } else { usize::try_from(*dim).ok() }).collect()
}

impl Layer for Reshape {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let elements = dims.iter().product();
        let shape = resolve(&self.target, elements).filter(|shape| shape.len() <= Shape::MAX_RANK);
        let Some(shape) = shape else {
            let message = format!(
                "'target_shape': {:?} does not hold the {elements} elements of {}",
                self.target,
                show_shape(&dims)
            );
            return Err(cx.error(message));
        };
        let layout = match shape.len() {
            0 => Layout::anonymous(0),
            rank => Layout::channels_last(rank - 1),
        };
        cx.node(ReshapeOp { shape: shape.into(), layout }, &[x])
    }
}

struct Permute {
    dims: Vec<i64>,
}

/// Reads a Permute; axes count from 1.
pub(crate) fn permute(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    let dims = config.list("dims", 1)?.ok_or_else(|| config.missing("dims", "a list of axes from 1"))?;
    Ok(Box::new(Permute { dims }))
}

impl Layer for Permute {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let rank = cx.ty(x).rank();
        let perm: Option<Vec<usize>> = self.dims.iter().map(|axis| super::sample_axis(*axis, rank)).collect();
        let sorted = perm.clone().map(|mut perm| {
            perm.sort_unstable();
            perm
        });
        match perm.filter(|_| sorted.is_some_and(|sorted| sorted.into_iter().eq(0..rank))) {
            Some(perm) => cx.node(Transpose { perm }, &[x]),
            None => Err(cx.error(format!("'dims': {:?} does not name each of {rank} axes once", self.dims))),
        }
    }
}

struct RepeatVector {
    count: usize,
}

/// Reads a RepeatVector.
pub(crate) fn repeat_vector(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    Ok(Box::new(RepeatVector { count: config.required("n")? }))
}

impl Layer for RepeatVector {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let [features] = dims.as_slice() else {
            return Err(cx.error(format!("expected a vector, found the shape {}", show_shape(&dims))));
        };
        let (one, all) = (Shape::from([1, *features]), Shape::from([self.count, *features]));
        let row = cx.node(ReshapeOp { shape: one, layout: Layout::channels_last(1) }, &[x])?;
        cx.node(Expand { shape: all }, &[row])
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn one_extent_may_be_open() {
        assert_eq!(resolve(&[3, -1], 12), Some(vec![3, 4]));
        assert_eq!(resolve(&[12], 12), Some(vec![12]));
        assert_eq!(resolve(&[-1, -1], 12), None);
        assert_eq!(resolve(&[5, -1], 12), None);
        assert_eq!(resolve(&[0, -1], 12), None);
        assert_eq!(resolve(&[i64::MAX, i64::MAX, -1], 12), None);
        assert_eq!(resolve(&[], 1), Some(vec![]));
    }
}
