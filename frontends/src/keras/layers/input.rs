//! InputLayer.
//!
//! In: `batch_input_shape` (Keras 1, 2) or `batch_shape` (Keras 3), whose first entry is the batch. Out: the shape of a
//! sample. Refuses: unknown extents of the whole model's inputs, sparse and ragged inputs, text.

use serde_json::Value;
use unfloat_ir::{Diagnostic, Layout, Shape};

use crate::keras::config::reader::{Config, as_integer, as_positive};
use crate::keras::config::{Layer, Model};
use crate::keras::problem::{Annotate, Outcome, error, show_shape};

/// What an input layer declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputSpec {
    /// Extents of a sample, `None` where they are open; nothing when the layer declares no shape.
    dims: Option<Vec<Option<usize>>>,
}

/// Reads an input layer.
pub(crate) fn read(config: &Config<'_>, findings: &mut Vec<Diagnostic>) -> Outcome<InputSpec> {
    super::registry::check_dtype_of_input(config)?;
    for key in ["sparse", "ragged"] {
        if config.flag(key, false)? {
            return Err(config.error(format!("{key} inputs are not supported")));
        }
    }
    config.ignore(&["optional", "input_tensor", "type_spec", "build_input_shape"]);
    let value = config.get("batch_shape").or_else(|| config.get("batch_input_shape"));
    config.finish()?;
    let Some(value) = value else { return Ok(InputSpec { dims: None }) };
    let expected = "a list of extents ≥ 1 or null, the batch first";
    let Value::Array(items) = value else { return Err(config.expected("batch_shape", expected, value)) };
    let mut dims = Vec::with_capacity(items.len());
    for (position, item) in items.iter().enumerate() {
        let dim = as_positive(item);
        if dim.is_none() && !item.is_null() {
            return Err(config.expected("batch_shape", expected, value));
        }
        if position > 0 {
            dims.push(dim);
        }
    }
    if items.is_empty() || dims.len() > Shape::MAX_RANK {
        return Err(config.expected("batch_shape", expected, value));
    }
    // A batch of one baked into the file changes nothing; another one only says how the model was once used.
    if items.first().and_then(as_integer).is_some_and(|batch| batch > 1) {
        let message = "the batch size is fixed in the file; a single sample is converted";
        let mut finding = *config.error(message);
        finding.severity = unfloat_ir::Severity::Warning;
        findings.push(finding);
    }
    Ok(InputSpec { dims: Some(dims) })
}

impl InputSpec {
    /// The shape of an input of the whole model, which must be known.
    pub fn fixed_shape(&self, label: &str, layer: &Layer) -> Outcome<Vec<usize>> {
        let problem = |message: String| {
            error(label, layer.place.clone(), message)
                .with_help(
                    "save the model with an input of fixed size, for example `keras.Input((32, 32, 3))`",
                )
                .in_layer(layer.title())
        };
        let Some(dims) = &self.dims else {
            return Err(problem("the model does not say the shape of its input".to_owned()));
        };
        let fixed: Option<Vec<usize>> = dims.iter().copied().collect();
        let Some(shape) = fixed else {
            let shown: Vec<String> =
                dims.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect();
            return Err(problem(format!("the input has open extents: ({})", shown.join(", "))));
        };
        if Shape::from(shape.clone()).checked_len().is_none_or(|len| len > crate::keras::lower::MAX_VALUE) {
            return Err(problem(format!("the input of shape {} is too large", show_shape(&shape))));
        }
        Ok(shape)
    }

    /// Why a value of `shape` does not suit; nothing when it does.
    pub fn mismatch(&self, shape: &[usize]) -> Option<String> {
        let dims = self.dims.as_ref()?;
        let fits = dims.len() == shape.len()
            && dims.iter().zip(shape).all(|(dim, found)| dim.is_none_or(|dim| dim == *found));
        if fits {
            return None;
        }
        let shown: Vec<String> = dims.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect();
        Some(format!("the nested model expects ({}), found {}", shown.join(", "), show_shape(shape)))
    }
}

/// The layout of an input of `rank` axes: channels-first when the first layer on its way that cares says so.
pub(crate) fn layout(model: &Model, input: usize, rank: usize) -> Layout {
    let Some(spatial) = rank.checked_sub(1) else { return Layout::anonymous(0) };
    match data_format(model, input, 0) {
        Some("channels_first") => Layout::channels_first(spatial),
        _ => Layout::channels_last(spatial),
    }
}

/// The `data_format` of the first consumer of `start` that has one. Flatten's own key says how it flattens, not how
/// its input lies, and layers that move axes end the search.
fn data_format(model: &Model, start: usize, depth: usize) -> Option<&str> {
    let mut reached = vec![false; model.layers.len()];
    *reached.get_mut(start)? = true;
    for &(index, call) in &model.order {
        let layer = model.layers.get(index)?;
        let uses = layer.calls.get(call)?.args.iter().position(|arg| reached.get(arg.layer) == Some(&true));
        let Some(position) = uses else { continue };
        if let Some(body) = &layer.body {
            let inner = body.inputs.get(position).filter(|_| depth < crate::keras::config::MAX_NESTING);
            if let Some(found) = inner.and_then(|inner| data_format(body, *inner, depth + 1)) {
                return Some(found);
            }
            continue;
        }
        if ["Flatten", "Reshape", "Permute", "RepeatVector"].contains(&layer.class.as_str()) {
            continue;
        }
        if let Some(format) = layer.config.get("data_format").and_then(Value::as_str) {
            return Some(format);
        }
        if let Some(flag) = reached.get_mut(index) {
            *flag = true;
        }
    }
    None
}
