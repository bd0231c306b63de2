//! The layers.
//!
//! In: a layer's configuration, then its inputs and weights. Out: nodes. Each family has a file; [`registry::LAYERS`]
//! says which function reads which class. To add a layer: one type that implements [`Layer`], one function that reads
//! its configuration, one line in the table.

pub(crate) mod activation;
pub(crate) mod border;
pub(crate) mod conv;
pub(crate) mod conv_transpose;
pub(crate) mod course;
pub(crate) mod dense;
pub(crate) mod dot;
pub(crate) mod hgq;
pub(crate) mod identity;
pub(crate) mod input;
pub(crate) mod kernel;
pub(crate) mod larq;
pub(crate) mod merge;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod preprocess;
pub(crate) mod qkeras;
pub(crate) mod registry;
pub(crate) mod separable;
pub(crate) mod shape;
pub(crate) mod window;
pub(crate) mod wrapper;

use unfloat_ir::{Diagnostic, ValueId};

use super::config::Model;
use super::config::reader::Config;
use super::facts::Facts;
use super::lower::Cx;
use super::problem::Outcome;
use super::weights::{Content, Owner, Slot, Wants};

/// A layer whose configuration has been read.
pub(crate) trait Layer {
    /// The weights that it owns, in the order in which Keras files them.
    fn wants(&self) -> Wants {
        Wants::Slots(Vec::new())
    }

    /// Adds its nodes for one call and returns the result.
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId>;

    /// Whether applying the layer to a sequence gives the sequence of its results, as `TimeDistributed` asks.
    fn maps_over_time(&self) -> bool {
        false
    }

    /// Variables that are the training's own, by name.
    fn ignored_variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where the weights stand below the layer's own group in a numbered file.
    fn inner_group(&self) -> &'static str {
        ""
    }
}

/// Weights that must all be there.
pub(crate) fn slots(list: &[Slot]) -> Wants {
    Wants::Slots(list.to_vec())
}

/// Reads the configuration of one class.
pub(crate) type Parse = fn(&Config<'_>, &Facts) -> Outcome<Box<dyn Layer>>;

/// A layer of a model, ready to be lowered.
pub(crate) enum Prepared {
    /// An input of the model.
    Input(input::InputSpec),
    /// A layer.
    Layer(Box<dyn Layer>),
    /// A nested model.
    Model(Vec<Prepared>),
}

/// Reads all configurations of a model; every layer that can't be used adds a finding.
pub(crate) fn prepare(
    label: &str,
    facts: &Facts,
    model: &Model,
    findings: &mut Vec<Diagnostic>,
) -> Option<Vec<Prepared>> {
    let before = findings.len();
    let mut out = Vec::with_capacity(model.layers.len());
    for layer in &model.layers {
        if let Some(body) = &layer.body {
            out.extend(prepare(label, facts, body, findings).map(Prepared::Model));
            continue;
        }
        let config = Config::new(label, &layer.place, layer.title(), &layer.config);
        let read = if layer.is_input() {
            input::read(&config, findings).map(Prepared::Input)
        } else {
            registry::read(&layer.class, &config, facts, findings).map(Prepared::Layer)
        };
        match read {
            Ok(prepared) => out.push(prepared),
            Err(problem) => findings.push(*problem),
        }
    }
    let failed = findings.iter().skip(before).any(|d| d.severity == unfloat_ir::Severity::Error);
    (!failed).then_some(out)
}

/// The layers as owners of weights.
pub(crate) fn owners<'a>(model: &'a Model, prepared: &[Prepared], path: &[usize]) -> Vec<Owner<'a>> {
    let pairs = model.layers.iter().zip(prepared).enumerate();
    pairs
        .map(|(index, (layer, prepared))| {
            let path: Vec<usize> = path.iter().copied().chain([index]).collect();
            let (inner, content) = match (prepared, &layer.body) {
                (Prepared::Model(inner), Some(body)) => ("", Content::Model(owners(body, inner, &path))),
                (Prepared::Layer(layer), _) => (layer.inner_group(), Content::Leaf(layer.wants())),
                _ => ("", Content::Leaf(Wants::Slots(Vec::new()))),
            };
            let ignored = match prepared {
                Prepared::Layer(layer) => layer.ignored_variables(),
                _ => &[],
            };
            let trainable = layer.body.as_ref().map_or_else(
                || layer.config.get("trainable").and_then(serde_json::Value::as_bool).unwrap_or(true),
                |body| body.trainable,
            );
            let uncounted = layer.implied || layer.operator || (model.sequential && layer.is_input());
            // A numbered file says `functional`, whatever name the class had in the code.
            let class = match &layer.body {
                Some(body) if body.sequential => "Sequential",
                Some(_) => "Functional",
                None => layer.written_class.as_str(),
            };
            Owner {
                path,
                name: &layer.name,
                title: layer.title(),
                class,
                trainable,
                inner,
                ignored,
                counted: !uncounted,
                content,
            }
        })
        .collect()
}

/// Axis of a sample for an axis that counts the batch as 0; negative ones count from the end.
pub(crate) fn sample_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis - 1 };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}

/// Axes of a sample, rising and distinct.
pub(crate) fn sample_axes(cx: &Cx<'_, '_>, key: &str, axes: &[i64], rank: usize) -> Outcome<Vec<usize>> {
    let mut out = Vec::with_capacity(axes.len());
    for &axis in axes {
        let Some(found) = sample_axis(axis, rank) else {
            let message =
                format!("'{key}': axis {axis} is not one of the {rank} axes of a sample (0 is the batch)");
            return Err(cx.error(message));
        };
        out.push(found);
    }
    out.sort_unstable();
    if out.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(cx.error(format!("'{key}': {axes:?} names an axis twice")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::sample_axis;

    #[test]
    fn axes_count_the_batch() {
        assert_eq!(sample_axis(-1, 3), Some(2));
        assert_eq!(sample_axis(1, 3), Some(0));
        assert_eq!(sample_axis(3, 3), Some(2));
        assert_eq!(sample_axis(0, 3), None);
        assert_eq!(sample_axis(4, 3), None);
        assert_eq!(sample_axis(-4, 3), None);
        assert_eq!(sample_axis(i64::MAX, 3), None);
        assert_eq!(sample_axis(i64::MIN, 3), None);
    }
}
