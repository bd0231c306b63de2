//! Weights: as reals, or as the codes that a binarising or quantizing module makes of them.
//!
//! Codes stay typed constants in front of a `dequantize`, so that later passes know what a weight is. A latent weight of
//! exactly 0 has sign 0 in torch, a third value; it is kept, and reported.

use unfloat_ir::ops::Dequantize;
use unfloat_ir::{ElemType, Layout, Tensor, TensorType, ValueId};

use super::quantize::Quantizer;
use super::{Wanted, needed, spare};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::Outcome;

/// What a module does with its weight before it uses it.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// Nothing.
    Real,
    /// `weight.sign()`.
    Sign,
    /// A quantizer.
    Quantized(Quantizer),
}

impl Form {
    /// The form of a `Quantized…` module, with the quantizer's own parameters beside the layer's.
    pub(super) fn quantized(p: &mut Parameters<'_>) -> Self {
        match p.word("quantizer", &["None", "Int8Float", "FixedPoint", "BinarySign"]) {
            "Int8Float" => Form::Quantized(Quantizer::int8(p)),
            "FixedPoint" => Form::Quantized(Quantizer::fixed(p)),
            "BinarySign" => Form::Quantized(Quantizer::sign(p)),
            _ => Form::Real,
        }
    }

    /// The tensors that such a module has.
    pub(super) fn tensors(&self, bias: bool) -> Vec<Wanted> {
        let mut list = match self {
            Form::Sign => {
                vec![needed(&["weight", "weight_org"]), spare(&["weight_org"]), spare(&["bias_org"])]
            }
            _ => vec![needed(&["weight"])],
        };
        if bias {
            list.push(needed(&["bias"]));
        }
        list
    }

    /// Reads the weight; its shape is `expected`, where known.
    pub(super) fn read(&self, cx: &mut Cx<'_, '_>, expected: &[Option<usize>]) -> Outcome<Weight> {
        let part = if cx.has("weight") { "weight" } else { "weight_org" };
        let (dims, values) = cx.floats(part, expected)?;
        if matches!(self, Form::Sign) && part == "weight" && cx.has("weight_org") {
            let (_, latent) = cx.floats("weight_org", expected)?;
            let apart = latent.iter().zip(&values).filter(|(a, b)| sign(**a) != sign(**b)).count();
            if apart > 0 {
                let key = cx.key("weight");
                let text = format!(
                    "{apart} of {} signs of `{key}` differ from those of `{key}_org`; `{key}` is taken, as torch does \
                     when it loads the file",
                    values.len()
                );
                cx.warn(&key, text);
            }
        }
        Ok(Weight { part, dims, values })
    }

    /// The weight as a value. `arrange` brings its axes into the graph's order.
    pub(super) fn place(
        &self,
        cx: &mut Cx<'_, '_>,
        weight: Weight,
        arrange: impl Fn(Tensor) -> Tensor,
    ) -> Outcome<ValueId> {
        let Weight { part, dims, values } = weight;
        let (elem, codes, scale) = match self {
            Form::Real => {
                let tensor = arrange(Tensor::f32(dims.clone(), Layout::anonymous(dims.len()), values));
                return Ok(cx.constant(part, tensor));
            }
            Form::Sign | Form::Quantized(Quantizer::Sign { zero: 0 }) => {
                let codes: Vec<i64> = values.iter().map(|&v| sign(v)).collect();
                let zeros = codes.iter().filter(|&&c| c == 0).count();
                if zeros > 0 {
                    let key = cx.key(part);
                    let text = format!(
                        "{zeros} of {} elements of `{key}` are exactly 0, whose sign is 0",
                        codes.len()
                    );
                    cx.warn(&key, text);
                }
                (if zeros > 0 { ElemType::Ternary } else { ElemType::Bipolar }, codes, 1.0)
            }
            Form::Quantized(quantizer) => {
                let codes = values.iter().map(|&v| quantizer.code(v)).collect();
                (quantizer.elem(), codes, quantizer.scale())
            }
        };
        let ty = TensorType::new(elem, dims.clone(), Layout::anonymous(dims.len()));
        let codes = arrange(Tensor::codes(ty, codes));
        let codes = cx.constant(&format!("{part}.codes"), codes);
        let [scale, zero] = [("scale", scale), ("zero", 0.0)].map(|(what, v)| {
            cx.constant(&format!("{part}.{what}"), Tensor::f32([], Layout::anonymous(0), vec![v]))
        });
        cx.node(Dequantize, &[codes, scale, zero])
    }
}

/// A weight as the state dict has it.
pub(super) struct Weight {
    part: &'static str,
    /// Its shape.
    pub dims: Vec<usize>,
    values: Vec<f32>,
}

/// torch's sign: 0 of 0.
fn sign(x: f32) -> i64 {
    i64::from(x > 0.0) - i64::from(x < 0.0)
}
