//! Broadcasting by numpy's rule, which several ops share: axes of extent 1, and missing leading ones, repeat.
//!
//! The result has the layout of the operands of its rank; two named layouts that differ are refused, so a `hwc`
//! map never meets a `chw` one.

use super::OpError;
use crate::tensor::{Tensor, for_each_index};
use crate::types::{Layout, Shape, TensorType};

/// The shape and the layout that operands share.
pub(super) fn common(inputs: &[&TensorType]) -> Result<(Shape, Layout), OpError> {
    let mut shape = Shape::default();
    for t in inputs {
        shape = shape.broadcast(&t.shape).ok_or_else(|| {
            let shapes: Vec<String> = inputs.iter().map(|t| t.shape.to_string()).collect();
            OpError(format!("{} do not broadcast", shapes.join(" and ")))
        })?;
    }
    let plain = Layout::anonymous(shape.rank());
    let mut layout = plain;
    for t in inputs.iter().filter(|t| t.rank() == shape.rank() && t.layout != plain) {
        if layout != plain && layout != t.layout {
            return Err(format!("the layouts `{layout}` and `{}` do not agree", t.layout).into());
        }
        layout = t.layout;
    }
    Ok((shape, layout))
}

/// Checks that the other operands broadcast to the first one's shape and agree with its layout.
pub(super) fn to_first(inputs: &[&TensorType]) -> Result<(), OpError> {
    let (shape, layout) = common(inputs)?;
    if shape != inputs[0].shape || layout != inputs[0].layout {
        let others: Vec<String> = inputs[1..].iter().map(|t| format!("{t}")).collect();
        return Err(format!("{} do not broadcast to {}", others.join(" and "), inputs[0]).into());
    }
    Ok(())
}

/// The stride of each of `rank` axes in an operand: 0 where it is repeated.
pub(super) fn steps(shape: &Shape, rank: usize) -> Vec<usize> {
    let strides = shape.strides();
    (0..rank)
        .map(|a| {
            (a + shape.rank()).checked_sub(rank).map_or(0, |i| if shape[i] == 1 { 0 } else { strides[i] })
        })
        .collect()
}

/// Calls `visit` for every element of the result, in row-major order, with the offset in each operand.
pub(super) fn for_each(inputs: &[&Tensor], out: &TensorType, mut visit: impl FnMut(&[usize])) {
    let steps: Vec<Vec<usize>> = inputs.iter().map(|t| steps(&t.ty.shape, out.rank())).collect();
    let mut offsets = vec![0; inputs.len()];
    let Some((&run, outer)) = out.shape.split_last() else { return visit(&offsets) };
    // Along the last axis each offset moves by the same step.
    let along: Vec<usize> = steps.iter().map(|s| s[outer.len()]).collect();
    for_each_index(outer, |index| {
        for (offset, steps) in offsets.iter_mut().zip(&steps) {
            *offset = index.iter().zip(steps).map(|(i, s)| i * s).sum();
        }
        for _ in 0..run {
            visit(&offsets);
            offsets.iter_mut().zip(&along).for_each(|(offset, step)| *offset += step);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_never_mix() {
        let hwc = TensorType::f32([2, 2, 2], Layout::channels_last(2));
        let chw = TensorType::f32([2, 2, 2], Layout::channels_first(2));
        let c = TensorType::f32([2], Layout::channels_last(0));
        let one = TensorType::f32([], Layout::anonymous(0));
        assert!(common(&[&hwc, &c, &chw]).is_err());
        assert_eq!(common(&[&one, &c, &hwc]), Ok((hwc.shape.clone(), hwc.layout)));
        assert!(to_first(&[&hwc, &c, &one]).is_ok() && to_first(&[&c, &hwc]).is_err());
        let plain = TensorType::f32([2, 2, 2], Layout::anonymous(3));
        assert!(to_first(&[&hwc, &plain]).is_ok() && to_first(&[&plain, &hwc]).is_err());
    }
}
