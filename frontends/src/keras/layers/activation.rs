//! Activations, as layers of their own, as strings in other layers, and as objects in other layers.
//!
//! In: a name or an object. Out: one node (none for `linear`, several for `glu` and `sparsemax`). The meaning of `hard_sigmoid` depends on the generation:
//! `clip(0.2 x + 0.5)` in Keras 1 and 2, `clip(x / 6 + 0.5)` in Keras 3. Refuses: custom functions.

use serde_json::{Map, Value};
use unfloat_ir::ops::{Binary, Reduce, ReduceFn, Reshape, Slice, Softmax as SoftmaxOp, Unary};
use unfloat_ir::{Layout, Shape, Tensor, ValueId};

use super::{Layer, sample_axes, slots};
use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome, clip, show_shape};
use crate::keras::quant::{self, Quantizer};
use crate::keras::version::Generation;
use crate::keras::weights::{Slot, Wants};

/// A function of a tensor without weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Function {
    /// The tensor itself.
    Linear,
    /// A function of each element.
    Each(Unary),
    /// Softmax over axes that count the batch as 0, or its logarithm.
    Softmax { axes: Vec<i64>, log: bool },
    /// Keras' sparsemax along the last axis.
    Sparsemax,
    /// A quantizer.
    Quantized(Box<Quantizer>),
    /// First half of the last axis times the sigmoid of the second (Dauphin et al., 2017).
    Glu,
}

/// Klambauer et al., 2017.
const SELU: Unary = Unary::Selu { alpha: 1.673_263_2, scale: 1.050_701 };

/// The function of that name.
fn named(name: &str, generation: Generation) -> Option<Function> {
    let sigmoid = match generation {
        Generation::Keras3 => Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        _ => Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    };
    Some(Function::Each(match name {
        "linear" => return Some(Function::Linear),
        "softmax" => return Some(Function::Softmax { axes: vec![-1], log: false }),
        "log_softmax" => return Some(Function::Softmax { axes: vec![-1], log: true }),
        "sparsemax" => return Some(Function::Sparsemax),
        "glu" => return Some(Function::Glu),
        "relu" => Unary::Relu,
        "relu6" => Unary::Clip { lo: 0.0, hi: 6.0 },
        "leaky_relu" => Unary::LeakyRelu { alpha: 0.2 },
        "elu" => Unary::Elu { alpha: 1.0 },
        "selu" => SELU,
        "celu" => Unary::Celu { alpha: 1.0 },
        "gelu" => Unary::Gelu,
        "sigmoid" => Unary::Sigmoid,
        "hard_sigmoid" => sigmoid,
        "log_sigmoid" => Unary::LogSigmoid,
        "sparse_sigmoid" => Unary::HardSigmoid { alpha: 0.5, beta: 0.5 },
        "tanh" => Unary::Tanh,
        "hard_tanh" => Unary::Clip { lo: -1.0, hi: 1.0 },
        "tanh_shrink" => Unary::TanhShrink,
        "softplus" => Unary::Softplus,
        "softsign" => Unary::Softsign,
        "silu" | "swish" => Unary::Silu,
        "hard_silu" | "hard_swish" => Unary::HardSwish,
        "mish" => Unary::Mish,
        "exponential" => Unary::Exp,
        "squareplus" => Unary::Squareplus { b: 4.0 },
        "sparse_plus" => Unary::SparsePlus,
        "soft_shrink" => Unary::SoftShrink { lambda: 0.5 },
        "hard_shrink" => Unary::HardShrink { lambda: 0.5 },
        _ => return None,
    }))
}

/// The activation under `key`; a missing one is linear.
pub(crate) fn read(config: &Config<'_>, key: &str, facts: &Facts) -> Outcome<Function> {
    let Some(value) = config.get(key) else { return Ok(Function::Linear) };
    if !names_a_function(value, facts)
        && let Some(quantizer) = quant::of_any_family(config, key, value, facts)?
    {
        return Ok(Function::Quantized(Box::new(quantizer)));
    }
    match value {
        Value::String(name) => by_name(config, key, name, facts),
        Value::Object(object) => from_object(config, key, object, facts),
        _ => Err(config.expected(key, "the name of an activation", value)),
    }
}

/// Whether Keras itself has a function of that name; QKeras has others of the same.
fn names_a_function(value: &Value, facts: &Facts) -> bool {
    let name = value.as_str().or_else(|| value.get("config").and_then(Value::as_str));
    let name = name.or_else(|| value.get("class_name").and_then(Value::as_str));
    name.is_some_and(|name| named(name, facts.generation).is_some())
}

fn by_name(config: &Config<'_>, key: &str, name: &str, facts: &Facts) -> Outcome<Function> {
    named(name, facts.generation).ok_or_else(|| {
        config.error(format!("'{key}': the activation '{}' is not supported", clip(name))).with_help(
            "custom functions are not in the file; use one of Keras' own, such as relu, tanh or sigmoid",
        )
    })
}

/// An activation saved as an object: a function (`{"class_name": "function", "config": "relu"}`) or a layer.
fn from_object(
    config: &Config<'_>,
    key: &str,
    object: &Map<String, Value>,
    facts: &Facts,
) -> Outcome<Function> {
    let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
    match (class, object.get("config")) {
        ("function", Some(Value::String(name))) => by_name(config, key, name, facts),
        (_, Some(Value::Object(map))) => {
            let inner = config.nested(format!("{}, {key} {}", config.layer(), clip(class)), map);
            let function = match class {
                "Activation" => read(&inner, "activation", facts)?,
                "ReLU" => relu_function(&inner)?,
                "LeakyReLU" => leaky_relu_function(&inner)?,
                "ELU" => elu_function(&inner)?,
                "Softmax" => softmax_function(&inner)?,
                "ThresholdedReLU" => thresholded_relu_function(&inner)?,
                // An object of the function's name; a parameter in it that nobody reads is refused below.
                other => by_name(config, key, other, facts)?,
            };
            inner.finish()?;
            Ok(function)
        }
        _ => by_name(config, key, class, facts),
    }
}

impl Function {
    /// Adds the function.
    pub fn apply(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
        match self {
            Function::Linear => Ok(x),
            Function::Each(unary) => cx.node(*unary, &[x]),
            Function::Softmax { axes, log } => {
                let axes = sample_axes(cx, "axis", axes, cx.ty(x).rank())?;
                cx.node(SoftmaxOp { axes, log: *log }, &[x])
            }
            Function::Sparsemax => sparsemax(cx, x),
            Function::Glu => glu(cx, x),
            Function::Quantized(quantizer) => quantizer.emit(cx, "activation", x),
        }
    }

    /// Whether the function means the same with one more axis in front.
    pub fn maps_over_time(&self) -> bool {
        match self {
            Function::Linear | Function::Each(_) | Function::Sparsemax | Function::Glu => true,
            Function::Quantized(_) => true,
            Function::Softmax { axes, .. } => axes.iter().all(|axis| *axis < 0),
        }
    }
}

fn glu(cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<ValueId> {
    let dims = cx.dims(x);
    let half = match dims.last() {
        Some(last) if last % 2 == 0 => last / 2,
        _ => return Err(cx.error("glu halves the last axis, which must have an even extent")),
    };
    let part = |cx: &mut Cx<'_, '_>, from: usize| {
        let (mut begin, mut size) = (vec![0; dims.len()], dims.clone());
        if let (Some(begin), Some(size)) = (begin.last_mut(), size.last_mut()) {
            (*begin, *size) = (from, half);
        }
        cx.node(Slice { begin, size, step: vec![1; dims.len()] }, &[x])
    };
    let value = part(cx, 0)?;
    let gate = part(cx, half)?;
    let gate = cx.node(Unary::Sigmoid, &[gate])?;
    cx.node(Binary::Mul, &[value, gate])
}

/// Keras 3's `sparsemax`: `max(z − τ, 0)`, `τ = (Σ S_i − 1) / k` over the `k` elements of the support, `S_i` being the
/// sum of the elements down to the `i`-th in falling order. Martins and Astudillo (2016) have the last `S_i` where Keras
/// has their sum, so Keras' result does not sum to 1; a model trained with it is converted as it was trained.
///
/// Without sorting: the rank of an element is the number of elements before it, an element being before another when it
/// is greater, or equal and not later.
fn sparsemax(cx: &mut Cx<'_, '_>, z: ValueId) -> Outcome<ValueId> {
    let (dims, layout) = (cx.dims(z), cx.ty(z).layout);
    let Some((&n, lead)) = dims.split_last() else { return Err(cx.error("sparsemax of a scalar")) };
    if dims.len() >= Shape::MAX_RANK {
        return Err(cx.error(format!("sparsemax of the shape {} is not supported", show_shape(&dims))));
    }
    let last = dims.len();
    let reshaped = |cx: &mut Cx<'_, '_>, x: ValueId, tail: [usize; 2]| {
        let shape: Vec<usize> = lead.iter().copied().chain(tail).collect();
        let layout = Layout::anonymous(shape.len());
        cx.node(Reshape { shape: shape.into(), layout }, &[x])
    };
    let total = |cx: &mut Cx<'_, '_>, x: ValueId, axis: usize| {
        cx.node(Reduce { f: ReduceFn::Sum, axes: vec![axis], keep: true }, &[x])
    };
    let one = cx.constant("one", &[], || Tensor::f32([], Layout::anonymous(0), vec![1.0]))?;
    // 1 where the element of the column may stand before that of the row when both are equal.
    let earlier = cx.constant("earlier", &[n, n], || {
        let cell = |at: usize| if at % n <= at / n { 1.0 } else { 0.0 };
        Tensor::f32([n, n], Layout::anonymous(2), (0..n * n).map(cell).collect())
    })?;
    // 1 where x ≥ 0: no two floats of any use differ by less than 1e-30.
    let not_negative = Unary::HardSigmoid { alpha: 1e30, beta: 1.0 };
    let not_positive = Unary::HardSigmoid { alpha: -1e30, beta: 1.0 };
    let others = reshaped(cx, z, [1, n])?;
    let own = reshaped(cx, z, [n, 1])?;
    let difference = cx.node(Binary::Sub, &[others, own])?;
    let not_less = cx.node(not_negative, &[difference])?;
    let not_greater = cx.node(not_positive, &[difference])?;
    let greater = cx.node(Binary::Sub, &[one, not_greater])?;
    let equal = cx.node(Binary::Sub, &[not_less, greater])?;
    let equal_before = cx.node(Binary::Mul, &[equal, earlier])?;
    let before = cx.node(Binary::Add, &[greater, equal_before])?;
    let count = total(cx, before, last)?;
    let counted = cx.node(Binary::Mul, &[before, others])?;
    let sum = total(cx, counted, last)?;
    let excess = cx.node(Binary::Sub, &[sum, one])?;
    let bound = cx.node(Binary::Div, &[excess, count])?;
    let over = cx.node(Binary::Sub, &[own, bound])?;
    let outside = cx.node(not_positive, &[over])?;
    let support = cx.node(Binary::Sub, &[one, outside])?;
    let size = total(cx, support, last - 1)?;
    let kept = cx.node(Binary::Mul, &[support, sum])?;
    let kept = total(cx, kept, last - 1)?;
    let excess = cx.node(Binary::Sub, &[kept, one])?;
    let tau = cx.node(Binary::Div, &[excess, size])?;
    let shape: Vec<usize> = lead.iter().copied().chain([1]).collect();
    let tau = cx.node(Reshape { shape: shape.into(), layout }, &[tau])?;
    let shifted = cx.node(Binary::Sub, &[z, tau])?;
    cx.node(Unary::Relu, &[shifted])
}

impl Layer for Function {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        self.apply(cx, x)
    }
    fn maps_over_time(&self) -> bool {
        self.maps_over_time()
    }
}

fn boxed(function: Function) -> Box<dyn Layer> {
    Box::new(function)
}

/// `Activation`.
pub(crate) fn activation(config: &Config<'_>, facts: &Facts) -> Outcome<Box<dyn Layer>> {
    read(config, "activation", facts).map(boxed)
}

/// `ReLU`: `max_value` from there on, `x` from `threshold` on, else `negative_slope · (x − threshold)`.
pub(crate) fn relu(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    relu_function(config).map(boxed)
}

fn relu_function(config: &Config<'_>) -> Outcome<Function> {
    let max = config.optional_number("max_value")?;
    let slope = config.number("negative_slope", 0.0)? as f32;
    let threshold = config.number("threshold", 0.0)? as f32;
    Ok(Function::Each(match max {
        None if slope == 0.0 && threshold == 0.0 => Unary::Relu,
        None if threshold == 0.0 => Unary::LeakyRelu { alpha: slope },
        Some(max) if slope == 0.0 && threshold == 0.0 && max >= 0.0 => {
            Unary::Clip { lo: 0.0, hi: max as f32 }
        }
        _ => Unary::BoundedRelu { max: max.map_or(f32::INFINITY, |max| max as f32), slope, threshold },
    }))
}

/// `LeakyReLU`; the slope is called `alpha` before Keras 3.
pub(crate) fn leaky_relu(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    leaky_relu_function(config).map(boxed)
}

fn leaky_relu_function(config: &Config<'_>) -> Outcome<Function> {
    let old = config.optional_number("alpha")?;
    let slope = config.optional_number("negative_slope")?.or(old).unwrap_or(0.3);
    Ok(Function::Each(Unary::LeakyRelu { alpha: slope as f32 }))
}

/// `ELU`.
pub(crate) fn elu(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    elu_function(config).map(boxed)
}

fn elu_function(config: &Config<'_>) -> Outcome<Function> {
    Ok(Function::Each(Unary::Elu { alpha: config.number("alpha", 1.0)? as f32 }))
}

/// `ThresholdedReLU`: `x` above `theta`, else 0.
pub(crate) fn thresholded_relu(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    thresholded_relu_function(config).map(boxed)
}

fn thresholded_relu_function(config: &Config<'_>) -> Outcome<Function> {
    Ok(Function::Each(Unary::ThresholdedRelu { theta: config.number("theta", 1.0)? as f32 }))
}

/// `Softmax` over an axis or several.
pub(crate) fn softmax(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    softmax_function(config).map(boxed)
}

fn softmax_function(config: &Config<'_>) -> Outcome<Function> {
    Ok(Function::Softmax { axes: config.axes("axis", &[-1])?, log: false })
}

/// Learned slopes.
struct Prelu {
    shared: Vec<i64>,
}

/// `PReLU`: `x` from 0 on, else `alpha · x`, with a slope per element or one for all along `shared_axes`.
pub(crate) fn prelu(config: &Config<'_>, _: &Facts) -> Outcome<Box<dyn Layer>> {
    config.ignore(&["weights"]);
    Ok(Box::new(Prelu { shared: config.axes("shared_axes", &[])? }))
}

impl Layer for Prelu {
    fn wants(&self) -> Wants {
        slots(&[Slot::trainable("alpha")])
    }

    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let mut shape = cx.dims(x);
        for axis in sample_axes(cx, "shared_axes", &self.shared, shape.len())? {
            if let Some(dim) = shape.get_mut(axis) {
                *dim = 1;
            }
        }
        // Keras 1 does not save shared_axes; there, the shape of the slopes has to tell.
        if cx.facts().generation == Generation::Keras1
            && let Some(stored) = cx.stored_shape(0)
            && stored.len() == shape.len()
            && stored.iter().zip(&shape).all(|(stored, dim)| *stored == 1 || stored == dim)
        {
            shape = stored;
        }
        let layout: Layout = cx.ty(x).layout;
        let alpha = cx.weight_constant("alpha", |cx| {
            let values = cx.weight(0, &shape)?;
            Ok(Tensor::f32(shape, layout, values))
        })?;
        cx.node(Binary::Prelu, &[x, alpha])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keras::version::Backend;

    fn facts(generation: Generation) -> Facts {
        Facts {
            generation,
            version: None,
            inside_tensorflow: false,
            weights_generation: generation,
            backend: Backend::TensorFlow,
            channels_first: false,
            larq_weights: None,
        }
    }

    fn function(value: Value) -> Result<Function, String> {
        let mut map = Map::new();
        map.insert("activation".to_owned(), value);
        let config = Config::new("m.h5", "config", "a (Dense)".to_owned(), &map);
        read(&config, "activation", &facts(Generation::Keras3)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn hard_sigmoid_changed_between_generations() {
        let slope = |generation| match named("hard_sigmoid", generation) {
            Some(Function::Each(Unary::HardSigmoid { alpha, .. })) => alpha,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [Generation::Keras1, Generation::Keras2, Generation::Keras3].map(slope),
            [0.2, 0.2, 1.0 / 6.0]
        );
    }

    #[test]
    fn activations_may_be_objects() {
        let relu = Ok(Function::Each(Unary::Relu));
        assert_eq!(function(json!("relu")), relu);
        assert_eq!(function(json!(null)), Ok(Function::Linear));
        assert_eq!(function(json!({"class_name": "function", "config": "relu"})), relu);
        assert_eq!(
            function(json!({"class_name": "ReLU", "config": {"max_value": null, "trainable": true}})),
            relu
        );
        let leaky = json!({"class_name": "LeakyReLU", "config": {"alpha": 0.1}});
        assert_eq!(function(leaky), Ok(Function::Each(Unary::LeakyRelu { alpha: 0.1 })));
        assert!(function(json!("my_tanh")).unwrap_err().contains("'my_tanh' is not supported"));
        assert!(
            function(json!({"class_name": "ReLU", "config": {"max": 3}}))
                .unwrap_err()
                .contains("unknown option")
        );
        assert!(function(json!(3)).is_err());
        assert_eq!(function(json!({"class_name": "relu", "config": {}})), relu);
        let parameter = json!({"class_name": "leaky_relu", "config": {"negative_slope": 0.05}});
        assert!(function(parameter).unwrap_err().contains("'negative_slope'"), "no parameter is dropped");
    }

    #[test]
    fn relu_uses_the_simplest_function() {
        let with = |value: Value| function(json!({"class_name": "ReLU", "config": value}));
        assert_eq!(with(json!({"max_value": 6.0})), Ok(Function::Each(Unary::Clip { lo: 0.0, hi: 6.0 })));
        assert_eq!(with(json!({"negative_slope": 0.5})), Ok(Function::Each(Unary::LeakyRelu { alpha: 0.5 })));
        let all = Unary::BoundedRelu { max: 6.0, slope: 0.5, threshold: 1.0 };
        let three = json!({"max_value": 6.0, "negative_slope": 0.5, "threshold": 1.0});
        assert_eq!(with(three), Ok(Function::Each(all)));
    }
}
