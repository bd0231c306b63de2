//! Dense layers: `Linear`, `QuantizedLinear`, `BinarizeLinear`.

use unfloat_ir::ops::{Binary, Dense};
use unfloat_ir::{Layout, ValueId};

use super::binarize::Input;
use super::weight::Form;
use super::{Layer, Wanted};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::Outcome;

/// A dense layer.
struct Linear {
    in_features: Option<usize>,
    out_features: Option<usize>,
    bias: bool,
    form: Form,
    binarises: Option<Input>,
}

impl Linear {
    fn layer(p: &mut Parameters<'_>, form: Form, binarises: Option<Input>) -> Box<dyn Layer> {
        let (in_features, out_features) = (p.size("in_features", 1), p.size("out_features", 1));
        let bias = p.flag("bias").unwrap_or(true);
        Box::new(Self { in_features, out_features, bias, form, binarises })
    }
}

impl Layer for Linear {
    fn tensors(&self) -> Vec<Wanted> {
        self.form.tensors(self.bias)
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let features = cx.dims(x).last().copied().unwrap_or(0);
        if let Some(said) = self.in_features.filter(|&n| n != features) {
            return Err(cx.error(format!("`in_features = {said}`: the input has {features} features")));
        }
        let weight = self.form.read(cx, &[self.out_features, Some(features)])?;
        let out = weight.dims[0];
        let weight = self.form.place(cx, weight, |t| t.reshaped([out, features], Layout::weight(0)))?;
        let Some(binarises) = &self.binarises else {
            let mut operands = vec![x, weight];
            if self.bias {
                operands.push(cx.vector("bias", out)?);
            }
            return cx.node(Dense, &operands);
        };
        let x = binarises.apply(cx, x)?;
        let y = cx.node(Dense, &[x, weight])?;
        if !self.bias {
            return Ok(y);
        }
        let bias = cx.vector("bias", out)?;
        cx.node(Binary::Add, &[y, bias])
    }
}

/// Reads a `Linear`.
pub(super) fn linear(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Linear::layer(p, Form::Real, None)
}

/// Reads a `QuantizedLinear`.
pub(super) fn quantized(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let form = Form::quantized(p);
    Linear::layer(p, form, None)
}

/// Features that a binarising dense layer takes for an MNIST image's and leaves as they are.
const IMAGE_FEATURES: usize = 784;

/// Reads a `BinarizeLinear`.
pub(super) fn binarize(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let input = Input::new(p, IMAGE_FEATURES);
    Linear::layer(p, Form::Sign, Some(input))
}
