//! Quantizers of Keras layers: QKeras, qkeras-v3, Larq, HGQ2, and those of course code.
//!
//! In: what a layer's configuration says under a key, in any of its spellings, and latent weights. Out: a
//! [`Quantizer`], which gives weights integer codes and activations typed nodes. Refuses: quantizers that are random,
//! unknown, or that look at the batch, each by layer, key and name.
//!
//! | file | does |
//! |---|---|
//! | `spec` | spellings to a name and arguments |
//! | `qkeras`, `larq`, `hgq`, `course` | the quantizers of a library, as tables |
//! | `layer` | the quantizers of one layer with weights |
//! | `grid`, `steps`, `po2` | quantizers of each element |
//! | `fit` | scales that follow from the weights |
//! | `weights` | codes to constants in the graph's order of axes |

pub(crate) mod array;
pub(crate) mod course;
pub(crate) mod fit;
pub(crate) mod grid;
pub(crate) mod hgq;
pub(crate) mod larq;
pub(crate) mod layer;
pub(crate) mod po2;
pub(crate) mod qkeras;
pub(crate) mod spec;
pub(crate) mod steps;
pub(crate) mod weights;

#[cfg(test)]
mod tests;

use serde_json::Value;
use unfloat_ir::ValueId;

use super::config::reader::Config;
use super::facts::Facts;
use super::layers::activation::Function;
use super::lower::Cx;
use super::problem::{Annotate, Outcome, clip};
use super::version::Generation;
use array::Array;
use fit::Fit;
use grid::{Coded, Grid, Step};
use spec::Spec;

/// What a layer does to a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Quantizer {
    /// The same to every element.
    Each(Grid),
    /// Something that follows from all elements.
    Fitted(Fit),
    /// A function, which is no quantizer at all.
    Plain(Vec<Step>),
}

/// What a quantizer is for, as far as that changes what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Weights whose quantizer takes `alpha='auto_po2'` when none is given: kernels, gamma, variance.
    Kernel,
    /// Other weights.
    Weight,
    /// An activation, which may also be a plain function.
    Activation,
}

/// What surrounds a quantizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// What it is for.
    pub of: Use,
    /// Whether qkeras-v3 wrote the file.
    pub version3: bool,
}

impl Around {
    fn new(of: Use, facts: &Facts) -> Around {
        Around { of, version3: facts.generation == Generation::Keras3 }
    }
}

/// A reader of one quantizer's arguments, and the names that they have by position.
pub(crate) type Entry =
    (&'static str, &'static [&'static str], fn(&Config<'_>, Around) -> Outcome<Quantizer>);

/// Which library's names a layer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// QKeras and qkeras-v3.
    QKeras,
    /// Larq.
    Larq,
    /// Course code.
    Course,
}

impl Family {
    fn entries(self) -> &'static [Entry] {
        match self {
            Family::QKeras => qkeras::QUANTIZERS,
            Family::Larq => larq::QUANTIZERS,
            Family::Course => course::QUANTIZERS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Family::QKeras => "QKeras",
            Family::Larq => "Larq",
            Family::Course => "course code",
        }
    }
}

/// The quantizer under `key`, if there is one.
pub(crate) fn read(
    config: &Config<'_>,
    key: &str,
    family: Family,
    of: Use,
    facts: &Facts,
) -> Outcome<Option<Quantizer>> {
    let Some(value) = config.get(key) else { return Ok(None) };
    let Some(spec) = Spec::read(value).map_err(|text| config.error(format!("'{key}': {text}")))? else {
        return Ok(None);
    };
    match find(config, key, &spec, family, of, facts)? {
        Some(quantizer) => Ok(Some(quantizer)),
        None if spec.is_empty_function() => Ok(None),
        None => Err(unknown(config, key, &spec.name, family)),
    }
}

/// The activation under `key`: a quantizer of the family, or one of Keras' functions.
pub(crate) fn activation(config: &Config<'_>, key: &str, family: Family, facts: &Facts) -> Outcome<Function> {
    let Some(value) = config.get(key) else { return Ok(Function::Linear) };
    let spec = Spec::read(value).map_err(|text| config.error(format!("'{key}': {text}")))?;
    let found = match &spec {
        Some(spec) => find(config, key, spec, family, Use::Activation, facts)?,
        None => return Ok(Function::Linear),
    };
    match (found, spec) {
        (Some(quantizer), _) => Ok(Function::Quantized(Box::new(quantizer))),
        (None, Some(spec)) if spec.has_arguments() => Err(unknown(config, key, &spec.name, family)),
        (None, _) => super::layers::activation::read(config, key, facts),
    }
}

/// The quantizer that a plain layer of Keras names where it expects a function, from whichever library.
pub(crate) fn of_any_family(
    config: &Config<'_>,
    key: &str,
    value: &Value,
    facts: &Facts,
) -> Outcome<Option<Quantizer>> {
    let Ok(Some(spec)) = Spec::read(value) else { return Ok(None) };
    for family in [Family::QKeras, Family::Larq, Family::Course] {
        if let Some(found) = find(config, key, &spec, family, Use::Activation, facts)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The quantizer `name` that is a layer itself: its arguments are the layer's own keys.
pub(crate) fn of_layer(config: &Config<'_>, name: &str, family: Family, facts: &Facts) -> Outcome<Quantizer> {
    let Some((_, _, build)) = family.entries().iter().find(|(own, ..)| *own == name) else {
        return Err(unknown(config, "class_name", name, family));
    };
    let quantizer = build(config, Around::new(Use::Activation, facts))?;
    quantizer.suits_activations(config)?;
    Ok(quantizer)
}

fn find(
    config: &Config<'_>,
    key: &str,
    spec: &Spec,
    family: Family,
    of: Use,
    facts: &Facts,
) -> Outcome<Option<Quantizer>> {
    let Some((name, names, build)) = family.entries().iter().find(|(name, ..)| *name == spec.name) else {
        return Ok(None);
    };
    let map = spec.arguments(names).map_err(|text| config.error(format!("'{key}': {name}: {text}")))?;
    let inner = config.nested(format!("{}, {key} {name}", config.layer()), &map);
    let quantizer = build(&inner, Around::new(of, facts))?;
    inner.finish()?;
    if of == Use::Activation {
        quantizer.suits_activations(&inner)?;
    }
    Ok(Some(quantizer))
}

fn unknown(config: &Config<'_>, key: &str, name: &str, family: Family) -> Box<unfloat_ir::Diagnostic> {
    let known: Vec<&str> = family.entries().iter().map(|(name, ..)| *name).collect();
    config.error(format!("'{key}': the quantizer '{}' is not supported", clip(name))).with_help(format!(
        "quantizers of {}: {}",
        family.name(),
        known.join(", ")
    ))
}

impl Quantizer {
    /// The codes of weights.
    pub fn code(&self, w: &Array<f32>) -> Option<Coded> {
        match self {
            Quantizer::Each(grid) => grid.code(w),
            Quantizer::Fitted(fit) => fit.code(w),
            Quantizer::Plain(_) => None,
        }
    }

    /// The quantized numbers.
    pub fn values(&self, w: &Array<f32>) -> Option<Vec<f32>> {
        match self {
            Quantizer::Plain(steps) => grid::apply(steps, w),
            _ => self.code(w)?.values(),
        }
    }

    /// Whether a value that differs from sample to sample can go through it.
    fn suits_activations(&self, config: &Config<'_>) -> Outcome<()> {
        match self {
            Quantizer::Each(_) | Quantizer::Plain(_) | Quantizer::Fitted(Fit::PowerOfTwo(_)) => Ok(()),
            Quantizer::Fitted(_) => {
                let problem = config.error("on an activation, the quantizer takes its scale from the batch");
                Err(problem
                    .with_help("nearest: alpha=None or a number, which do not depend on other samples"))
            }
        }
    }

    /// Adds the quantizer behind a value.
    pub fn emit(&self, cx: &mut Cx<'_, '_>, role: &str, x: ValueId) -> Outcome<ValueId> {
        match self {
            Quantizer::Each(grid) => grid.emit(cx, role, x),
            Quantizer::Plain(steps) => grid::emit_steps(cx, role, steps, x),
            // What no grid stands for has been refused where it was read.
            Quantizer::Fitted(fit) => match fit.grid() {
                Some(grid) => grid.emit(cx, role, x),
                None => Err(cx.error(format!("{role}: the quantizer suits weights only"))),
            },
        }
    }
}
