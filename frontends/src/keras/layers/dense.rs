//! Dense.
//!
//! In: `units`, `use_bias`, `activation`; kernel `(in, out)`. Out: a product with the last axis, the bias in it, then
//! the activation. An input of more axes keeps them, as Keras does.

use unfloat_ir::ops::Dense as DenseOp;
use unfloat_ir::{Layout, Tensor, ValueId};

use super::activation::Function;
use super::kernel::Reorder;
use super::{Layer, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::quant::layer::{Library, Quantizers};
use crate::keras::quant::weights::Placing;
use crate::keras::weights::{Slot, Wants};

struct Dense {
    units: usize,
    bias: bool,
    activation: Function,
    quantizers: Quantizers,
}

/// Reads a Dense layer.
pub(crate) fn dense(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    dense_of(config, facts, Library::Keras)
}

/// Reads a Dense layer as a library has it.
pub(crate) fn dense_of(config: &Config<'_>, facts: &Facts, library: Library) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["weights"]);
    let units = config.required("units")?;
    let bias = config.flag("use_bias", true)?;
    let activation = library.activation(config, facts)?;
    let quantizers = Quantizers::read(config, library, &["kernel"], bias, facts)?;
    Ok(Box::new(Dense { units, bias, activation, quantizers }))
}

/// Slots of a kernel and, perhaps, a bias, and of what the quantizers need.
pub(crate) fn kernel_and_bias(bias: bool, quantizers: &Quantizers) -> Wants {
    let all = [Slot::trainable("kernel"), Slot::trainable("bias")];
    let mut list = all.get(..1 + usize::from(bias)).unwrap_or_default().to_vec();
    list.extend(quantizers.extra_slots());
    slots(&list)
}

/// The bias behind its quantizer, if the layer has one or comes to have one.
pub(crate) fn bias_operand(
    cx: &mut Cx<'_, '_>,
    quantizers: &Quantizers,
    slot: Option<usize>,
    outputs: usize,
) -> Outcome<Option<ValueId>> {
    match (quantizers.implies_bias(), slot) {
        (false, None) => Ok(None),
        (implied, slot) => match (quantizers.bias(cx, slot, outputs)?, slot) {
            (None, Some(slot)) if !implied => bias_constant(cx, slot, outputs).map(Some),
            (found, _) => Ok(found),
        },
    }
}

/// The bias in `slot` as a constant.
pub(crate) fn bias_constant(cx: &mut Cx<'_, '_>, slot: usize, outputs: usize) -> Outcome<ValueId> {
    cx.weight_constant("bias", |cx| {
        Ok(Tensor::f32([outputs], Layout::channels_last(0), cx.weight(slot, &[outputs])?))
    })
}

impl Layer for Dense {
    fn wants(&self) -> Wants {
        kernel_and_bias(self.bias, &self.quantizers)
    }

    fn ignored_variables(&self) -> &'static [&'static str] {
        self.quantizers.ignored_variables()
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = self.quantizers.input(cx, x)?;
        let dims = cx.dims(x);
        let Some(&inputs) = dims.last() else {
            return Err(cx.error("expected an input with at least one axis, found a scalar"));
        };
        let (shape, units) = ([inputs, self.units], self.units);
        let placing = Placing::ordered(vec![1, 0], Vec::new(), Layout::weight(0));
        let kernel = match self.quantizers.kernel(cx, "kernel", 0, 0, &shape, &placing)? {
            Some(kernel) => kernel,
            None => cx.weight_constant("kernel", |cx| {
                let values = cx.reordered_weight(0, &Reorder::new(&shape, &[1, 0], &[]))?;
                Ok(Tensor::f32([units, inputs], Layout::weight(0), values))
            })?,
        };
        let mut operands = vec![x, kernel];
        operands.extend(bias_operand(cx, &self.quantizers, self.bias.then_some(1), units)?);
        let y = cx.node(DenseOp, &operands)?;
        let y = self.activation.apply(cx, y)?;
        self.quantizers.output(cx, y)
    }

    fn maps_over_time(&self) -> bool {
        self.activation.maps_over_time() && self.quantizers.maps_over_time()
    }
}
