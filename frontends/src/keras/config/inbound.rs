//! The three spellings of a connection.
//!
//! In: one entry of `inbound_nodes`, or `input_layers`/`output_layers`. Out: names and indexes as written.
//! Keras 1 and 2 write `[["conv", 0, 0, {kwargs}], …]` (one tensor sometimes without the outer list), Keras 3
//! `{"args": [T or [T, …]], "kwargs": {…}}` with `T = {"class_name": "__keras_tensor__", "config":
//! {"keras_history": ["conv", 0, 0]}}`.

use serde_json::{Map, Value};

use crate::keras::problem::clip;

/// A connection as written: layer name, call index, output index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRef {
    pub layer: String,
    pub node: usize,
    pub tensor: usize,
}

/// One call as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawCall {
    pub args: Vec<RawRef>,
    pub extra: Vec<String>,
}

/// Reads `[name, node, tensor]`, with or without more items after it.
fn triple(items: &[Value]) -> Option<RawRef> {
    let index = |value: &Value| value.as_u64().and_then(|i| usize::try_from(i).ok());
    match items {
        [Value::String(layer), node, tensor, ..] => {
            Some(RawRef { layer: layer.clone(), node: index(node)?, tensor: index(tensor)? })
        }
        _ => None,
    }
}

/// Reads one entry of `inbound_nodes`.
pub(crate) fn call(entry: &Value) -> Result<RawCall, String> {
    let mut found = RawCall::default();
    match entry {
        Value::Array(items) if items.first().is_some_and(Value::is_string) => old_tensor(items, &mut found)?,
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Array(parts) => old_tensor(parts, &mut found)?,
                    other => return Err(unreadable(other)),
                }
            }
        }
        Value::Object(map) => {
            let args = map.get("args").and_then(Value::as_array).ok_or_else(|| unreadable(entry))?;
            for argument in args {
                new_argument("", argument, &mut found)?;
            }
            if let Some(Value::Object(kwargs)) = map.get("kwargs") {
                keyword_arguments(kwargs, &mut found)?;
            }
        }
        other => return Err(unreadable(other)),
    }
    Ok(found)
}

fn unreadable(value: &Value) -> String {
    format!("expected a connection [layer, node, tensor], found {}", clip(&value.to_string()))
}

fn old_tensor(parts: &[Value], found: &mut RawCall) -> Result<(), String> {
    // tf.keras writes a constant operand of an operator as ["_CONSTANT_VALUE", -1, value, {}].
    if parts.first().and_then(Value::as_str) == Some("_CONSTANT_VALUE") {
        let value = parts.get(2).map_or_else(String::new, |value| clip(&value.to_string()));
        found.extra.push(format!("constant {value}"));
        return Ok(());
    }
    found.args.push(triple(parts).ok_or_else(|| unreadable(&Value::Array(parts.to_vec())))?);
    match parts.get(3) {
        Some(Value::Object(kwargs)) => keyword_arguments(kwargs, found),
        _ => Ok(()),
    }
}

fn keyword_arguments(kwargs: &Map<String, Value>, found: &mut RawCall) -> Result<(), String> {
    for (key, value) in kwargs {
        // Neutral in inference.
        let neutral = value.is_null()
            || (key == "training" && (value == &Value::Bool(false) || value == &Value::from(0)));
        if !neutral {
            new_argument(key, value, found)?;
        }
    }
    Ok(())
}

/// An argument of Keras 3, or a keyword argument of any generation; `key` is empty for a positional one.
fn new_argument(key: &str, value: &Value, found: &mut RawCall) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Object(map) if map.get("class_name").and_then(Value::as_str) == Some("__keras_tensor__") => {
            let history =
                map.get("config").and_then(|config| config.get("keras_history")).and_then(Value::as_array);
            let tensor = history.and_then(|items| triple(items)).ok_or_else(|| unreadable(value))?;
            if key.is_empty() {
                found.args.push(tensor);
            } else {
                found.extra.push(format!("{key}=<tensor of {}>", clip(&tensor.layer)));
            }
            Ok(())
        }
        Value::Array(items) if key.is_empty() && !items.is_empty() => {
            items.iter().try_for_each(|item| new_argument(key, item, found))
        }
        other => {
            let shown = clip(&other.to_string());
            found.extra.push(if key.is_empty() { shown } else { format!("{}={shown}", clip(key)) });
            Ok(())
        }
    }
}

/// Reads `input_layers` or `output_layers`: one flat triple, a list of triples, or lists and objects of them. Keras
/// orders the entries of an object by key.
pub(crate) fn endpoints(value: &Value) -> Result<Vec<RawRef>, String> {
    let mut found = Vec::new();
    collect_endpoints(value, &mut found)?;
    Ok(found)
}

fn collect_endpoints(value: &Value, found: &mut Vec<RawRef>) -> Result<(), String> {
    match value {
        Value::Array(items) if items.first().is_some_and(Value::is_string) => {
            found.push(triple(items).ok_or_else(|| unreadable(value))?);
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| collect_endpoints(item, found)),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .filter_map(|key| map.get(key))
                .try_for_each(|item| collect_endpoints(item, found))
        }
        other => Err(unreadable(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(layer: &str, node: usize, tensor: usize) -> RawRef {
        RawRef { layer: layer.to_owned(), node, tensor }
    }

    #[test]
    fn every_generation_spells_the_same_call() {
        let wanted = RawCall { args: vec![at("a", 0, 0), at("b", 1, 0)], extra: vec![] };
        let keras2 = json!([["a", 0, 0, {}], ["b", 1, 0, {"mask": null, "training": false}]]);
        assert_eq!(call(&keras2), Ok(wanted.clone()));
        let keras1 = json!([["a", 0, 0], ["b", 1, 0]]);
        assert_eq!(call(&keras1), Ok(wanted.clone()));
        let tensor = |name, node| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "keras_history": [name, node, 0]}});
        let keras3 = json!({"args": [[tensor("a", 0), tensor("b", 1)]], "kwargs": {"training": false}});
        assert_eq!(call(&keras3), Ok(wanted.clone()));
        let separate = json!({"args": [tensor("a", 0), tensor("b", 1)], "kwargs": {}});
        assert_eq!(call(&separate), Ok(wanted));
    }

    #[test]
    fn arguments_that_change_numbers_are_kept() {
        let training = json!([["a", 0, 0, {"training": true}]]);
        assert_eq!(call(&training).map(|c| c.extra), Ok(vec!["training=true".to_owned()]));
        let operator = json!(["a", 0, 0, {"y": 2.0, "name": null}]);
        assert_eq!(call(&operator).map(|c| c.extra), Ok(vec!["y=2.0".to_owned()]));
        let constant = json!({"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}}, 2.5]});
        assert_eq!(call(&constant).map(|c| c.extra), Ok(vec!["2.5".to_owned()]));
    }

    #[test]
    fn endpoints_may_be_flat_or_nested() {
        assert_eq!(endpoints(&json!(["in", 0, 0])), Ok(vec![at("in", 0, 0)]));
        assert_eq!(endpoints(&json!([["a", 0, 0], ["b", 2, 1]])), Ok(vec![at("a", 0, 0), at("b", 2, 1)]));
        assert_eq!(
            endpoints(&json!({"y": ["b", 0, 0], "x": ["a", 0, 0]})),
            Ok(vec![at("a", 0, 0), at("b", 0, 0)])
        );
        assert!(endpoints(&json!(["in", -1, 0])).is_err());
        assert!(endpoints(&json!(3)).is_err());
    }

    #[test]
    fn malformed_calls_are_errors() {
        for bad in [
            json!(3),
            json!([3]),
            json!([["a"]]),
            json!([["a", -1, 0]]),
            json!({"kwargs": {}}),
            json!({"args": 1}),
        ] {
            assert!(call(&bad).is_err(), "{bad}");
        }
    }
}
