//! Layers that act in training only: Dropout and its kin, noise, regularization, random augmentation.
//!
//! In: anything. Out: the same value; no node. The state of their random generators is ignored.

use unfloat_ir::ValueId;

use super::Layer;
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::Outcome;
use crate::keras::weights::Wants;

struct Identity;

/// Reads any of them; none of their options matters.
pub(crate) fn identity(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&[
        "rate",
        "noise_shape",
        "stddev",
        "sigma",
        "l1",
        "l2",
        "data_format",
        "mode",
        "factor",
        "fill_mode",
        "fill_value",
        "interpolation",
        "height_factor",
        "width_factor",
        "value_range",
        "x_factor",
        "y_factor",
    ]);
    Ok(Box::new(Identity))
}

impl Layer for Identity {
    fn wants(&self) -> Wants {
        Wants::Anything
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        cx.input()
    }
    fn maps_over_time(&self) -> bool {
        true
    }
}
