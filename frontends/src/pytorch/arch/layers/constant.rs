//! A tensor of the state dict as a value: `Constant`, a buffer or parameter that the model's own `forward` uses.
//!
//! `key` names the tensor. Torch would align it with the last axes of what it meets, the batch being an axis there; it is
//! given as many axes as the sample that it meets has, `axes = 3` for an image.

use unfloat_ir::{Layout, Tensor, ValueId};

use super::{Layer, Wanted, needed};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// A constant.
struct Constant {
    axes: Option<usize>,
}

/// Reads a `Constant`.
pub(super) fn constant(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Constant { axes: p.size("axes", 0) })
}

impl Layer for Constant {
    fn tensors(&self) -> Vec<Wanted> {
        vec![needed(&[""])]
    }

    fn reads_nothing(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        if !cx.inputs().is_empty() {
            return Err(cx.error("a constant reads no other layer"));
        }
        let rank = cx.rank_of("").unwrap_or(0);
        let (mut shape, values) = cx.floats("", &vec![None; rank])?;
        let axes = self.axes.unwrap_or(rank);
        while shape.len() > axes && shape.first() == Some(&1) {
            shape.remove(0);
        }
        if shape.len() > axes || axes > 7 {
            return Err(cx.error(format!("{} does not fit {axes} axes per sample", show(&shape))));
        }
        while shape.len() < axes {
            shape.insert(0, 1);
        }
        let layout = match axes {
            0 | 2 => Layout::anonymous(axes),
            n => Layout::channels_first(n - 1),
        };
        Ok(cx.constant("", Tensor::f32(shape, layout, values)))
    }
}
