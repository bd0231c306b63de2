//! What is known about the writer of a model, in one place for all layers.
//!
//! In: the metadata of architecture and weights, the user's word, the layers. Out: [`Facts`], and a warning for every
//! fact that had to be assumed.

use unfloat_ir::Diagnostic;

use super::KerasOptions;
use super::config::keras1::guess_generation;
use super::config::{Layer, Model};
use super::container::Opened;
use super::problem::{Annotate, clip, error, warning};
use super::quant::larq::LarqWeights;
use super::version::{Backend, Generation, KerasVersion, Metadata};

/// Facts that change what a layer computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Generation that wrote the architecture: decides defaults and formulas.
    pub generation: Generation,
    /// Its exact version, when the file says it.
    pub version: Option<KerasVersion>,
    /// True for the Keras inside of TensorFlow (`2.2.4-tf`).
    pub inside_tensorflow: bool,
    /// Generation that wrote the weights: decides the order of a kernel's axes.
    pub weights_generation: Generation,
    /// Library that the model was trained with: decides kernel flips and `same` padding.
    pub backend: Backend,
    /// What a layer without a `data_format` means. Keras 1 does not save that of ZeroPadding, Cropping and UpSampling;
    /// they follow the setting of the whole program, which the other layers show.
    pub channels_first: bool,
    /// What the user says of weights with Larq's quantizers.
    pub larq_weights: Option<LarqWeights>,
}

/// The generation of an architecture, from its version or from its keys.
pub(crate) fn generation_of(metadata: &Metadata, json: &serde_json::Value) -> Generation {
    match metadata.keras_version.as_deref().and_then(KerasVersion::parse) {
        Some(version) => generation(version),
        None => guess_generation(json),
    }
}

fn generation(version: KerasVersion) -> Generation {
    match version.major {
        0 | 1 => Generation::Keras1,
        2 => Generation::Keras2,
        _ => Generation::Keras3,
    }
}

/// Classes whose kernels Theano stores for true convolution.
fn depends_on_backend(layer: &Layer) -> bool {
    let class = layer.class.as_str();
    let padded_pool = class.contains("Pooling") && layer.config.get("padding").is_some_and(|p| p == "same");
    class.contains("Conv") || padded_pool
}

fn is_channels_first(layer: &Layer) -> bool {
    layer.config.get("data_format").is_some_and(|format| format == "channels_first")
}

fn any_layer(model: &Model, test: &dyn Fn(&Layer) -> bool) -> bool {
    model
        .layers
        .iter()
        .any(|layer| test(layer) || layer.body.as_ref().is_some_and(|body| any_layer(body, test)))
}

/// Gathers the facts. `weights` is the file that the weights come from.
pub(crate) fn gather(
    label: &str,
    architecture: &Metadata,
    weights: Option<&Opened>,
    generation_found: Generation,
    model: &Model,
    options: &KerasOptions,
) -> (Facts, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let stored = weights.map_or(architecture, |opened| &opened.metadata);
    let version_of = |metadata: &Metadata| metadata.keras_version.as_deref().and_then(KerasVersion::parse);
    let version = version_of(architecture).or_else(|| version_of(stored));
    let text = architecture.keras_version.as_deref().or(stored.keras_version.as_deref()).unwrap_or_default();
    let weights_generation = version_of(stored).map_or(generation_found, generation);
    let backend = options.backend.unwrap_or_else(|| {
        let written = stored.backend.as_deref().or(architecture.backend.as_deref());
        let version = version_of(stored).or(version);
        let (backend, finding) = assume_backend(label, written, weights_generation, version, model);
        findings.extend(finding);
        backend
    });
    if version.is_some_and(|v| v.major > 3) {
        let message =
            format!("the model was written by Keras {}, which is newer than this importer knows", clip(text));
        findings.push(
            *warning(label, "keras_version", message).with_help("check the outputs against the framework's"),
        );
    }
    if version.is_some_and(|v| v.major == 0) {
        let message = format!("the model was written by Keras {}, older than 1.0", clip(text));
        findings
            .push(*error(label, "keras_version", message).with_help("load and save it with Keras 1 or 2"));
    }
    let inside_tensorflow = text.contains("-tf");
    let channels_first = generation_found == Generation::Keras1 && any_layer(model, &is_channels_first);
    let facts = Facts {
        generation: generation_found,
        version,
        inside_tensorflow,
        weights_generation,
        backend,
        channels_first,
        larq_weights: options.larq_weights,
    };
    (facts, findings)
}

/// The backend when the user does not name one.
fn assume_backend(
    label: &str,
    written: Option<&str>,
    generation: Generation,
    version: Option<KerasVersion>,
    model: &Model,
) -> (Backend, Option<Diagnostic>) {
    let known = written.and_then(Backend::parse);
    if let Some(backend) = known {
        return (backend, None);
    }
    let channels_first = any_layer(model, &is_channels_first);
    let backend = if generation == Generation::Keras1 && channels_first && written.is_none() {
        Backend::Theano
    } else {
        Backend::TensorFlow
    };
    // Keras 3 computes alike on every backend, and Keras 2 has none but TensorFlow since 2.4, so a missing name is no
    // loss. The `.keras` files of Keras 2.12 to 2.15 never have one.
    let alone = version.is_some_and(|v| v.major == 2 && v.minor >= 4) && written.is_none();
    if alone || generation == Generation::Keras3 || !any_layer(model, &depends_on_backend) {
        return (backend, None);
    }
    let name = if backend == Backend::Theano { "theano" } else { "tensorflow" };
    let what = match written {
        Some(other) => format!("the backend '{}' is unknown", clip(other)),
        None => "the file does not say which backend the model was trained with".to_owned(),
    };
    let message = format!("{what}; {name} is assumed (Theano stores kernels flipped and pads symmetrically)");
    let finding = warning(label, "backend", message)
        .with_help("say it with --keras-backend theano or --keras-backend tensorflow");
    (backend, Some(*finding))
}
