//! From the JSON of an architecture to one typed form.
//!
//! In: `{"class_name": …, "config": …}` as Keras 1, 2 or 3 writes it. Out: [`Model`], in which Sequential and Functional
//! look the same, connections are resolved to indexes, Keras 1 spellings are replaced, and the calls have an order.
//! Refuses, all at once: unknown or duplicate names, references to calls that do not exist, cycles, nesting beyond
//! [`MAX_NESTING`], more than [`MAX_LAYERS`] layers.

pub(crate) mod inbound;
pub(crate) mod keras1;
pub(crate) mod order;
pub(crate) mod parse;
pub(crate) mod reader;

use serde_json::{Map, Value};

/// Deepest nesting of models in models.
pub(crate) const MAX_NESTING: usize = 16;

/// Most layers of one model; the largest published ones have about a thousand.
pub(crate) const MAX_LAYERS: usize = 1 << 14;

/// Most inputs, and most outputs, of one model.
pub(crate) const MAX_ENDS: usize = 1 << 10;

/// A Sequential or Functional model, or one nested in another.
#[derive(Debug)]
pub(crate) struct Model {
    /// The model's own name.
    pub name: String,
    /// True for Sequential: it counts its layers without the InputLayer when weights are numbered.
    pub sequential: bool,
    /// False for a model that is frozen as a whole.
    pub trainable: bool,
    /// Layers in the order of the configuration.
    pub layers: Vec<Layer>,
    /// Input layers in the order of the model's inputs.
    pub inputs: Vec<usize>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorRef>,
    /// Every call of every layer, producers first.
    pub order: Vec<(usize, usize)>,
}

/// One layer of a model.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Name, unique within its model.
    pub name: String,
    /// Class in the spelling of Keras 2 and 3.
    pub class: String,
    /// Class as the file spells it.
    pub written_class: String,
    /// Path in the JSON: `config.layers[3]`.
    pub place: String,
    /// Configuration in the spelling of Keras 2 and 3.
    pub config: Map<String, Value>,
    /// The layers of a nested model.
    pub body: Option<Box<Model>>,
    /// Calls, in order; an input layer has one without arguments.
    pub calls: Vec<Call>,
    /// True for an input layer that a Sequential implies without listing it.
    pub implied: bool,
    /// True for an operator of Keras 3 (`x + y`), which is no layer when weights are numbered.
    pub operator: bool,
}

/// One use of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    /// Tensor arguments in order.
    pub args: Vec<TensorRef>,
    /// Arguments that are neither tensors nor neutral: `training=true`, a constant operand.
    pub extra: Vec<String>,
}

/// Output `tensor` of call `call` of layer `layer` of the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorRef {
    pub layer: usize,
    pub call: usize,
    pub tensor: usize,
}

impl Layer {
    /// `name (Class)` for messages, with the class as the file spells it.
    pub fn title(&self) -> String {
        format!("{} ({})", super::problem::clip(&self.name), super::problem::clip(&self.written_class))
    }

    /// Outputs of one call.
    pub fn output_count(&self) -> usize {
        self.body.as_ref().map_or(1, |body| body.outputs.len())
    }

    /// True for an input of the model.
    pub fn is_input(&self) -> bool {
        self.class == "InputLayer"
    }
}
