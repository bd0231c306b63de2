//! `BinarizeConv2d` and `BinarizeLinear` of BinaryNet.pytorch and the tutorials after it.
//!
//! The input is binarised unless `input.size(1)` is 3 (convolutions) or 784 (dense layers), which looks at nothing but
//! the shape: a first layer with one channel binarises its image, a hidden layer with 784 features does not. `sign(0)`
//! is 0. The weight is binarised. The bias is real and added afterwards, as a step of its own.
//!
//! The tutorial's modules write the signs over their input (`input.data = …`), later ones do not. Where another layer
//! reads that input too, the file must say which (`overwrites_input`).

use unfloat_ir::ValueId;
use unfloat_ir::ops::Unary;

use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, with_help};

/// How a module binarises its input.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The number of channels or features that is left as it is.
    spared: usize,
    overwrites: Option<bool>,
}

impl Input {
    /// Reads the parameters.
    pub(super) fn new(p: &mut Parameters<'_>, spared: usize) -> Self {
        Self { spared, overwrites: p.flag("overwrites_input") }
    }

    /// The input as the module uses it.
    pub(super) fn apply(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
        if cx.dims(x).first() == Some(&self.spared) {
            return Ok(x);
        }
        let signs = cx.node(Unary::Sign, &[x])?;
        match self.overwrites {
            _ if !cx.has_other_readers() => {}
            Some(false) => {}
            Some(true) => cx.overwrite(signs)?,
            None => {
                let found = cx.error("binarises its input, which another layer reads later");
                let help = "say `overwrites_input = true` for a module with `input.data = …`, which leaves the signs \
                            to the other layer, or `false` for one that makes a new tensor";
                return Err(with_help(found, help));
            }
        }
        Ok(signs)
    }
}
