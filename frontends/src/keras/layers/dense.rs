//! Dense.
//!
//! In: `units`, `use_bias`, `activation`; kernel `(in, out)`. Out: a product with the last axis, the bias in it, then
//! the activation. An input of more axes keeps them, as Keras does.

use unfloat_ir::ops::Dense as DenseOp;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::activation::{self, Function};
use super::kernel::Reorder;
use super::{Layer, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::weights::{Slot, Wants};

struct Dense {
    units: usize,
    bias: bool,
    activation: Function,
}

/// Reads a Dense layer.
pub(crate) fn dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["weights"]);
    let units = config.required("units")?;
    let bias = config.flag("use_bias", true)?;
    let activation = activation::read(config, "activation", facts)?;
    Ok(Box::new(Dense { units, bias, activation }))
}

/// Slots of a kernel and, perhaps, a bias.
pub(crate) fn kernel_and_bias(bias: bool) -> Wants {
    let all = [Slot::trainable("kernel"), Slot::trainable("bias")];
    slots(all.get(..1 + usize::from(bias)).unwrap_or_default())
}

/// The bias in `slot` as a constant.
pub(crate) fn bias_constant(cx: &mut Cx<'_, '_>, slot: usize, outputs: usize) -> Outcome<ValueId> {
    cx.weight_constant("bias", |cx| {
        Ok(Tensor::f32([outputs], Layout::channels_last(0), cx.weight(slot, &[outputs])?))
    })
}

impl Layer for Dense {
    fn wants(&self) -> Wants {
        kernel_and_bias(self.bias)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let Some(&inputs) = dims.last() else {
            return Err(cx.error("expected an input with at least one axis, found a scalar"));
        };
        let (shape, units) = ([inputs, self.units], self.units);
        let kernel = cx.weight_constant("kernel", |cx| {
            let values = cx.reordered_weight(0, &Reorder::new(&shape, &[1, 0], &[]))?;
            Ok(Tensor::f32([units, inputs], Layout::weight(0), values))
        })?;
        let mut operands = vec![x, kernel];
        if self.bias {
            operands.push(bias_constant(cx, 1, units)?);
        }
        let y = cx.node(DenseOp, &operands)?;
        self.activation.apply(cx, y)
    }

    fn maps_over_time(&self) -> bool {
        self.activation.maps_over_time()
    }
}
