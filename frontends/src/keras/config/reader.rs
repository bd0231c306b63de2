//! Typed access to the `config` object of one layer.
//!
//! In: a JSON map. Out: values of the expected type, or a [`Diagnostic`] that names layer, key, expectation and finding.
//! Every key that a layer reads is remembered: [`Config::finish`] refuses the ones that nobody read and that could
//! change numbers, so an option this importer has never heard of is never dropped in silence.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value};
use unfloat_ir::Diagnostic;

use crate::keras::problem::{Annotate, Outcome, clip, error};

/// Keys that concern training, naming or storage and cannot change an inference.
const HARMLESS: &[&str] = &[
    "name",
    "trainable",
    "dtype",
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "input_dim",
    "input_length",
    "input_dtype",
    "batch_size",
    "seed",
    "implementation",
    "autocast",
    "init",
    "lora_rank",
    "lora_alpha",
    "activity_regularizer",
];

/// Largest extent, stride or dilation of a kernel along one axis.
const MAX_EXTENT: usize = 1 << 16;

/// Endings of keys that concern training only.
const HARMLESS_ENDINGS: &[&str] =
    &["_initializer", "_regularizer", "_constraint", "_learning_rate_multiplier"];

/// The configuration of one layer, with enough of its surroundings for a good message.
pub(crate) struct Config<'a> {
    file: &'a str,
    place: &'a str,
    layer: String,
    map: &'a Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
    notes: Rc<RefCell<Vec<Diagnostic>>>,
}

impl<'a> Config<'a> {
    /// A reader of `map`; `layer` is `name (Class)`, `place` the path of the layer in the JSON.
    pub fn new(file: &'a str, place: &'a str, layer: String, map: &'a Map<String, Value>) -> Config<'a> {
        Config { file, place, layer, map, used: RefCell::default(), notes: Rc::default() }
    }

    /// A reader of a nested map (the layer inside of a wrapper) with the same surroundings.
    pub fn nested<'b>(&self, layer: String, map: &'b Map<String, Value>) -> Config<'b>
    where
        'a: 'b,
    {
        let notes = Rc::clone(&self.notes);
        Config { file: self.file, place: self.place, layer, map, used: RefCell::default(), notes }
    }

    /// Adds a warning about this layer.
    pub fn note(&self, message: impl Into<String>, help: impl Into<String>) {
        let mut note = *self.error(message).with_help(help);
        note.severity = unfloat_ir::Severity::Warning;
        self.notes.borrow_mut().push(note);
    }

    /// The value, or `otherwise` with the problem kept: what follows is checked in the same run.
    pub fn or_report<T>(&self, outcome: Outcome<T>, otherwise: T) -> T {
        outcome.unwrap_or_else(|problem| {
            self.notes.borrow_mut().push(*problem);
            otherwise
        })
    }

    /// The warnings and problems kept so far, those of nested readers included.
    pub fn take_notes(&self) -> Vec<Diagnostic> {
        self.notes.take()
    }

    /// Layer as `name (Class)`.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// An error about this layer.
    pub fn error(&self, message: impl Into<String>) -> Box<Diagnostic> {
        error(self.file, self.place, message).in_layer(self.layer.clone())
    }

    /// An error about one key: expected this, found that.
    pub fn expected(&self, key: &str, expected: &str, found: &Value) -> Box<Diagnostic> {
        self.error(format!("'{key}': expected {expected}, found {}", clip(&found.to_string())))
    }

    /// The value of `key`; null counts as missing. Marks the key as read.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.used.borrow_mut().insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there at all, if only as null.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Marks keys as read whose value cannot matter to this layer.
    pub fn ignore(&self, keys: &[&str]) {
        self.used.borrow_mut().extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// Error for a key that must be there.
    pub fn missing(&self, key: &str, expected: &str) -> Box<Diagnostic> {
        self.error(format!("'{key}' is missing: expected {expected}"))
    }

    /// A boolean; Keras 1 wrote some as numbers.
    pub fn flag(&self, key: &str, default: bool) -> Outcome<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => match value.as_u64() {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                _ => Err(self.expected(key, "true or false", value)),
            },
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Outcome<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.expected(key, "a text", value)),
        }
    }

    /// One of several words.
    pub fn choice(&self, key: &str, default: &str, allowed: &[&'static str]) -> Outcome<&'static str> {
        let word = self.text(key)?.unwrap_or(default);
        match allowed.iter().find(|candidate| **candidate == word) {
            Some(found) => Ok(found),
            None => {
                let expected = format!("one of {}", allowed.join(", "));
                Err(self.expected(key, &expected, &Value::from(word)))
            }
        }
    }

    /// An integer ≥ 1.
    pub fn positive(&self, key: &str) -> Outcome<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match as_positive(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.expected(key, "an integer ≥ 1", value)),
            },
        }
    }

    /// An integer ≥ 1 that must be there.
    pub fn required(&self, key: &str) -> Outcome<usize> {
        self.positive(key)?.ok_or_else(|| self.missing(key, "an integer ≥ 1"))
    }

    /// An integer of either sign.
    pub fn integer(&self, key: &str, default: i64) -> Outcome<i64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => as_integer(value).ok_or_else(|| self.expected(key, "an integer", value)),
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str, default: f64) -> Outcome<f64> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A finite number or nothing.
    pub fn optional_number(&self, key: &str) -> Outcome<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match as_number(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.expected(key, "a finite number", value)),
            },
        }
    }

    /// A number per spatial axis: one integer for all or a list of exactly `rank`, each from 1 to [`MAX_EXTENT`].
    pub fn spatial(&self, key: &str, rank: usize) -> Outcome<Option<Vec<usize>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let list: Option<Vec<usize>> = match value {
            Value::Array(items) if items.len() == rank => items.iter().map(as_positive).collect(),
            other => as_positive(other).map(|number| vec![number; rank]),
        };
        let words = ["no", "one integer", "two integers", "three integers"];
        let most = list.as_ref().and_then(|list| list.iter().max());
        let bound = if most.is_some_and(|most| *most > MAX_EXTENT) {
            format!("from 1 to {MAX_EXTENT}")
        } else {
            "≥ 1".to_owned()
        };
        let expected = format!("{} {bound}", words.get(rank).unwrap_or(&"integers"));
        let list = list.filter(|list| list.iter().all(|number| *number <= MAX_EXTENT));
        list.map(Some).ok_or_else(|| self.expected(key, &expected, value))
    }

    /// An axis or a list of axes; negative ones count from the end.
    pub fn axes(&self, key: &str, default: &[i64]) -> Outcome<Vec<i64>> {
        match self.get(key) {
            None => Ok(default.to_vec()),
            Some(value) => {
                let list = match value {
                    Value::Array(items) => items.iter().map(as_integer).collect(),
                    other => as_integer(other).map(|axis| vec![axis]),
                };
                list.ok_or_else(|| self.expected(key, "an axis or a list of axes", value))
            }
        }
    }

    /// Integers of a list, each ≥ `least`.
    pub fn list(&self, key: &str, least: i64) -> Outcome<Option<Vec<i64>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let items: Option<Vec<i64>> = value
            .as_array()
            .and_then(|items| items.iter().map(|item| as_integer(item).filter(|&i| i >= least)).collect());
        items.map(Some).ok_or_else(|| self.expected(key, &format!("a list of integers ≥ {least}"), value))
    }

    /// Refuses every key that was not read and that could change numbers.
    pub fn finish(&self) -> Outcome<()> {
        let used = self.used.borrow();
        let unread: Vec<String> = self
            .map
            .iter()
            .filter(|(key, value)| {
                !value.is_null()
                    && !used.contains(*key)
                    && !HARMLESS.contains(&key.as_str())
                    && !HARMLESS_ENDINGS.iter().any(|ending| key.ends_with(ending))
            })
            .map(|(key, value)| format!("'{}': {}", clip(key), clip(&value.to_string())))
            .collect();
        if unread.is_empty() {
            return Ok(());
        }
        Err(self
            .error(format!("unknown option {}: it might change the result", unread.join(", ")))
            .with_help("if the option concerns training only, remove it from the configuration"))
    }
}

/// An integer, also when written as `3.0`.
pub(crate) fn as_integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

/// An integer ≥ 1.
pub(crate) fn as_positive(value: &Value) -> Option<usize> {
    as_integer(value).filter(|&number| number >= 1).and_then(|number| usize::try_from(number).ok())
}

/// A finite number; Keras writes NumPy scalars as `{"class_name": "__numpy__", "config": {"value": …}}` or as
/// `{"type": "ndarray", "value": …}`.
pub(crate) fn as_number(value: &Value) -> Option<f64> {
    let inner = value.get("value").or_else(|| value.get("config").and_then(|config| config.get("value")));
    inner.unwrap_or(value).as_f64().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(json: Value, read: impl FnOnce(&Config<'_>) -> T) -> T {
        let Value::Object(map) = json else { panic!("an object") };
        read(&Config::new("m.h5", "config.layers[3]", "conv2d_3 (Conv2D)".to_owned(), &map))
    }

    #[test]
    fn errors_name_layer_key_expectation_and_finding() {
        let problem = with(json!({"strides": [1, 0]}), |c| c.spatial("strides", 2)).unwrap_err();
        assert_eq!(problem.at.layer, "conv2d_3 (Conv2D)");
        assert_eq!(problem.at.place, "config.layers[3]");
        assert_eq!(problem.message, "'strides': expected two integers ≥ 1, found [1,0]");
        let problem = with(json!({}), |c| c.required("filters")).unwrap_err();
        assert_eq!(problem.message, "'filters' is missing: expected an integer ≥ 1");
        let problem = with(json!({"padding": "full"}), |c| c.choice("padding", "valid", &["valid", "same"]));
        assert_eq!(problem.unwrap_err().message, "'padding': expected one of valid, same, found \"full\"");
    }

    #[test]
    fn values_of_several_spellings_are_read() {
        assert_eq!(with(json!({"k": 3}), |c| c.spatial("k", 2)), Ok(Some(vec![3, 3])));
        assert_eq!(with(json!({"k": [3, 5.0]}), |c| c.spatial("k", 2)), Ok(Some(vec![3, 5])));
        assert!(with(json!({"k": [3]}), |c| c.spatial("k", 2)).is_err());
        let huge = with(json!({"k": 100000}), |c| c.spatial("k", 2)).unwrap_err();
        assert_eq!(huge.message, "'k': expected two integers from 1 to 65536, found 100000");
        assert_eq!(with(json!({"axis": [3]}), |c| c.axes("axis", &[-1])), Ok(vec![3]));
        assert_eq!(with(json!({"axis": 1}), |c| c.axes("axis", &[-1])), Ok(vec![1]));
        assert_eq!(with(json!({"a": null}), |c| c.number("a", 0.3)), Ok(0.3));
        assert_eq!(with(json!({"a": {"type": "ndarray", "value": 0.25}}), |c| c.number("a", 0.3)), Ok(0.25));
        assert_eq!(with(json!({"bias": 1}), |c| c.flag("bias", false)), Ok(true));
        assert!(with(json!({"units": -1}), |c| c.required("units")).is_err());
        assert!(with(json!({"units": 1e300}), |c| c.required("units")).is_err());
    }

    #[test]
    fn an_unread_key_is_refused_unless_it_cannot_matter() {
        let json =
            json!({"units": 3, "kernel_initializer": {"a": 1}, "trainable": true, "lora": null, "twist": 2});
        let problem = with(json, |c| c.required("units").and_then(|_| c.finish())).unwrap_err();
        assert!(
            problem.message.contains("'twist': 2") && !problem.message.contains("lora"),
            "{}",
            problem.message
        );
        let fine = json!({"units": 3, "kernel_constraint": {}, "name": "d"});
        assert_eq!(with(fine, |c| c.required("units").and_then(|_| c.finish())), Ok(()));
    }
}
