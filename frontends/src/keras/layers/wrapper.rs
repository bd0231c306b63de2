//! TimeDistributed, and tfmot's PruneLowMagnitude.
//!
//! In: an inner layer. Out: for the latter the inner layer, whose weights in the file are pruned ones; for the former the inner layer itself, where it treats every step alike by nature (Dense, functions of each
//! element, normalisation of the last axis). Refuses: other inner layers.

use serde_json::Value;
use unfloat_ir::ValueId;

use super::{Layer, registry};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome, clip};
use crate::keras::weights::Wants;

struct TimeDistributed {
    inner: Box<dyn Layer>,
}

/// Reads the layer inside of a wrapper.
fn inner(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let expected = "a layer with class_name and config";
    let layer = config.get("layer").ok_or_else(|| config.missing("layer", expected))?;
    let class = layer.get("class_name").and_then(Value::as_str);
    let map = layer.get("config").and_then(Value::as_object);
    let (Some(class), Some(map)) = (class, map) else {
        return Err(config.expected("layer", expected, layer));
    };
    let nested = config.nested(format!("{}, inner {}", config.layer(), clip(class)), map);
    let Some(parse) = registry::find(class) else { return Err(registry::unsupported(class, &nested)) };
    let inner = parse(&nested, facts)?;
    nested.finish()?;
    Ok(inner)
}

/// Reads a TimeDistributed and its inner layer.
pub(crate) fn time_distributed(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    let inner = inner(config, facts)?;
    let class = config.get("layer").and_then(|layer| layer.get("class_name")).and_then(Value::as_str);
    let class = class.unwrap_or_default();
    if !inner.maps_over_time() {
        let problem = config.error(format!("TimeDistributed({}) is not supported", clip(class)));
        return Err(problem.with_help("nearest: TimeDistributed(Dense), or a convolution with one more axis"));
    }
    Ok(Box::new(TimeDistributed { inner }))
}

/// tfmot's PruneLowMagnitude: its masks have been applied to the weights of the file, so that what is left is the inner
/// layer.
struct Pruned {
    inner: Box<dyn Layer>,
}

/// Reads a PruneLowMagnitude and its inner layer.
pub(crate) fn pruned(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["pruning_schedule", "block_size", "block_pooling_type", "sparsity_m_by_n"]);
    Ok(Box::new(Pruned { inner: inner(config, facts)? }))
}

impl Layer for Pruned {
    fn wants(&self) -> Wants {
        self.inner.wants()
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        self.inner.lower(cx)
    }
    fn maps_over_time(&self) -> bool {
        self.inner.maps_over_time()
    }
    fn inner_group(&self) -> &'static str {
        "layer"
    }
    fn ignored_variables(&self) -> &'static [&'static str] {
        &["mask", "threshold", "pruning_step"]
    }
}

impl Layer for TimeDistributed {
    fn wants(&self) -> Wants {
        self.inner.wants()
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        self.inner.lower(cx)
    }
    fn maps_over_time(&self) -> bool {
        true
    }
    fn inner_group(&self) -> &'static str {
        "layer"
    }
}
