//! The spellings of a quantizer in a configuration.
//!
//! In: `"name"`, `"name(4, 0, alpha='auto')"`, or an object with `class_name` and `config` as Keras 2, Keras 2.13,
//! QKeras' own serializer and Keras 3 write it. Out: a name without its package and arguments by name. Refuses: text
//! that is none of these.

use serde_json::{Map, Value};

/// A name and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    /// Name without package.
    pub name: String,
    positional: Vec<Value>,
    named: Map<String, Value>,
}

impl Spec {
    /// Reads any spelling; `None` for nothing.
    pub fn read(value: &Value) -> Result<Option<Spec>, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => from_text(text).map(Some),
            Value::Object(object) => from_object(object),
            other => Err(format!("expected a quantizer, found {other}")),
        }
    }

    /// Whether there are any arguments.
    pub fn has_arguments(&self) -> bool {
        !self.positional.is_empty() || !self.named.is_empty()
    }

    /// Whether this is Keras' word for no function at all.
    pub fn is_empty_function(&self) -> bool {
        self.name == "linear" && !self.has_arguments()
    }

    /// The arguments by name, when `names` is the order of those by position.
    pub fn arguments(&self, names: &[&str]) -> Result<Map<String, Value>, String> {
        let mut map = self.named.clone();
        if self.positional.len() > names.len() {
            return Err(format!("{} arguments, expected at most {}", self.positional.len(), names.len()));
        }
        for (name, value) in names.iter().zip(&self.positional) {
            if map.insert((*name).to_owned(), value.clone()).is_some() {
                return Err(format!("two values for '{name}'"));
            }
        }
        Ok(map)
    }
}

fn without_package(name: &str) -> String {
    name.rsplit('>').next().unwrap_or(name).trim().to_owned()
}

fn from_object(object: &Map<String, Value>) -> Result<Option<Spec>, String> {
    let Some(class) = object.get("class_name").and_then(Value::as_str) else {
        return Err("expected a quantizer with a class_name".to_owned());
    };
    match object.get("config") {
        // A function of Python code: its name is all there is.
        Some(Value::String(name)) => from_text(&without_package(name)).map(Some),
        Some(Value::Object(map)) => {
            Ok(Some(Spec { name: without_package(class), positional: Vec::new(), named: map.clone() }))
        }
        None | Some(Value::Null) => {
            Ok(Some(Spec { name: without_package(class), positional: Vec::new(), named: Map::new() }))
        }
        Some(other) => Err(format!("expected the arguments of {class}, found {other}")),
    }
}

fn from_text(text: &str) -> Result<Spec, String> {
    let text = text.trim();
    let damaged = || format!("expected name(argument, …), found \"{}\"", crate::keras::problem::clip(text));
    let (name, rest) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').ok_or_else(damaged)?)),
    };
    let mut spec = Spec { name: without_package(name), positional: Vec::new(), named: Map::new() };
    if spec.name.is_empty() {
        return Err(damaged());
    }
    for part in split(rest.unwrap_or_default()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (Some(key.trim()), value),
            None => (None, part.as_str()),
        };
        let value = literal(value).ok_or_else(damaged)?;
        match key {
            Some(key) => {
                if spec.named.insert(key.to_owned(), value).is_some() {
                    return Err(damaged());
                }
            }
            None if spec.named.is_empty() => spec.positional.push(value),
            None => return Err(damaged()),
        }
    }
    Ok(spec)
}

/// The parts between commas that stand in no brackets and no quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut quote) = (Vec::new(), String::new(), 0usize, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            (None, _) => {}
        }
        part.push(c);
    }
    // Python allows one comma at the end.
    if !part.trim().is_empty() {
        parts.push(part);
    }
    parts
}

/// A literal of Python: a number, a truth value, nothing, a text in quotes, a list of such.
fn literal(text: &str) -> Option<Value> {
    let text = text.trim();
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match text {
        "True" => return Some(Value::Bool(true)),
        "False" => return Some(Value::Bool(false)),
        "None" => return Some(Value::Null),
        _ => {}
    }
    if let Some(inner) = quoted('\'').or_else(|| quoted('"')) {
        return Some(Value::from(inner));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        if inner.contains('[') {
            return None;
        }
        return split(inner)
            .iter()
            .map(|item| literal(item))
            .collect::<Option<Vec<Value>>>()
            .map(Value::from);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(Value::from(number));
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value, names: &[&str]) -> Result<(String, Value), String> {
        let spec = Spec::read(&value)?.ok_or("nothing")?;
        Ok((spec.name.clone(), Value::Object(spec.arguments(names)?)))
    }

    #[test]
    fn every_spelling_is_read() {
        let names = ["bits", "integer", "symmetric"];
        let wanted = Ok(("quantized_bits".to_owned(), json!({"alpha": "auto", "bits": 4, "integer": 1})));
        let config = json!({"alpha": "auto", "bits": 4, "integer": 1});
        for value in [
            json!("quantized_bits(4, 1, alpha='auto')"),
            json!("quantized_bits(alpha=\"auto\",bits=4,integer=1)"),
            json!({"class_name": "quantized_bits", "config": config}),
            json!({"class_name": "qkeras>quantized_bits", "config": config}),
            json!({"module": "qkeras.quantizers", "class_name": "quantized_bits", "config": config,
                "registered_name": "quantized_bits"}),
            json!({"class_name": "quantized_bits", "config": config, "__passive_serialization__": true}),
        ] {
            assert_eq!(read(value.clone(), &names), wanted, "{value}");
        }
        let bare = Ok(("ste_sign".to_owned(), json!({})));
        assert_eq!(read(json!("ste_sign"), &[]), bare);
        assert_eq!(read(json!("ste_sign()"), &[]), bare);
        assert_eq!(read(json!({"class_name": "function", "config": "ste_sign"}), &[]), bare);
        assert_eq!(Spec::read(&Value::Null), Ok(None));
    }

    #[test]
    fn literals_of_python() {
        let read = |text: &str| read(json!(format!("f({text})")), &["a", "b"]).map(|(_, map)| map);
        assert_eq!(read("1,-2.5e-1"), Ok(json!({"a": 1, "b": -0.25})));
        assert_eq!(read("True, None"), Ok(json!({"a": true, "b": null})));
        assert_eq!(read("[1.0, 2], b='x,(y'"), Ok(json!({"a": [1.0, 2], "b": "x,(y"})));
        for bad in ["1,2,3", "b=1, 2", "a=1,a=2", "x", "1,a=2", "[[1]]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for bad in [
            json!("f(1"),
            json!("(1)"),
            json!(3),
            json!({"config": {}}),
            json!({"class_name": "f", "config": 3}),
        ] {
            assert!(Spec::read(&bad).is_err(), "{bad}");
        }
    }
}
