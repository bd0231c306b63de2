//! The user's own classes of layers, as our layers.
//!
//! In: the text of a TOML file with a table per class. Out: models in which these classes are ours. Refuses: text that is
//! no such file, every line that cannot be read, all at once.
//!
//! ```toml
//! [MyBinaryDense]
//! as = "BinaryDense"
//! rename = { n_units = "units" }
//! set = { H = 1.0 }
//! ignore = ["temperature"]
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use unfloat_ir::{Diagnostic, Diagnostics};

use super::config::Model;
use super::layers::registry;
use super::problem::{Annotate, clip, error, warning};

/// Which of our layers the user's own classes are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerMap {
    classes: BTreeMap<String, Ours>,
}

/// One class of the user.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ours {
    class: String,
    /// Our key for each of theirs.
    rename: BTreeMap<String, String>,
    /// Values for keys of ours.
    set: BTreeMap<String, Value>,
    /// Keys of theirs that do not matter.
    ignore: Vec<String>,
}

/// Where a class of the map has been found.
type Seen<'a> = BTreeSet<&'a str>;

const HELP: &str = "each table is a class of yours: [MyDense], as = \"QDense\", and, if need be, rename = { theirs = \
                    \"ours\" }, set = { ours = value }, ignore = [\"theirs\"]";

impl LayerMap {
    /// Reads the text of a file called `label`.
    ///
    /// # Errors
    /// Everything in it that is not understood.
    pub fn parse(label: &str, text: &str) -> Result<LayerMap, Diagnostics> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let message = format!("the layer map is not valid TOML: {}", clip(e.message()));
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map(|before| format!("line {}", before.matches('\n').count() + 1));
            Diagnostics(vec![*error(label, line.unwrap_or_default(), message).with_help(HELP)])
        })?;
        let (mut classes, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, entry) in table {
            match ours(&entry) {
                Ok(ours) => {
                    classes.insert(name, ours);
                }
                Err(message) => {
                    let place = format!("[{}]", clip(&name));
                    problems.push(*error(label, place, message).with_help(HELP));
                }
            }
        }
        if problems.is_empty() { Ok(LayerMap { classes }) } else { Err(Diagnostics(problems)) }
    }

    /// Replaces the user's classes in a model and in the models inside of it; warns of classes that it does not have.
    pub(crate) fn apply(&self, label: &str, model: &mut Model, findings: &mut Vec<Diagnostic>) {
        let mut seen = Seen::new();
        self.apply_within(label, model, findings, &mut seen);
        for class in self.classes.keys().filter(|class| !seen.contains(class.as_str())) {
            let message =
                format!("the layer map has the class '{}', of which the model has no layer", clip(class));
            let help =
                "the class must be spelled as in the file; `unfloat inspect` names those it does not know";
            findings.push(*warning(label, "", message).with_help(help));
        }
    }

    fn apply_within<'a>(
        &'a self,
        label: &str,
        model: &mut Model,
        findings: &mut Vec<Diagnostic>,
        seen: &mut Seen<'a>,
    ) {
        if self.classes.is_empty() {
            return;
        }
        for layer in &mut model.layers {
            if let Some(body) = &mut layer.body {
                self.apply_within(label, body, findings, seen);
                continue;
            }
            if let Err(message) = self.replace(&mut layer.class, &mut layer.config, seen) {
                findings.push(*error(label, layer.place.clone(), message).in_layer(layer.title()));
            }
            // A wrapper's layer.
            if let Some(Value::Object(inner)) = layer.config.get_mut("layer") {
                let mut class =
                    inner.get("class_name").and_then(Value::as_str).unwrap_or_default().to_owned();
                if let Some(Value::Object(config)) = inner.get_mut("config")
                    && let Err(message) = self.replace(&mut class, config, seen)
                {
                    findings.push(*error(label, layer.place.clone(), message).in_layer(layer.name.clone()));
                }
                inner.insert("class_name".to_owned(), Value::from(class));
            }
        }
    }

    fn replace<'a>(
        &'a self,
        class: &mut String,
        config: &mut Map<String, Value>,
        seen: &mut Seen<'a>,
    ) -> Result<(), String> {
        let plain = class.rsplit('>').next().unwrap_or(class);
        let entry = |name: &str| self.classes.get_key_value(name);
        let Some((name, ours)) = entry(class.as_str()).or_else(|| entry(plain)) else { return Ok(()) };
        seen.insert(name);
        for key in &ours.ignore {
            config.shift_remove(key);
        }
        for (theirs, own) in &ours.rename {
            if let Some(value) = config.shift_remove(theirs)
                && config.insert(own.clone(), value).is_some()
            {
                return Err(format!(
                    "the layer map calls '{}' '{}', which there is already",
                    clip(theirs),
                    clip(own)
                ));
            }
        }
        for (key, value) in &ours.set {
            if let Some(there) = config.insert(key.clone(), value.clone()).filter(|there| !there.is_null())
                && there != *value
            {
                let (key, there) = (clip(key), clip(&there.to_string()));
                return Err(format!("the layer map sets '{key}', which the file has: {there}"));
            }
        }
        class.clone_from(&ours.class);
        Ok(())
    }
}

fn ours(entry: &toml::Value) -> Result<Ours, String> {
    let Some(table) = entry.as_table() else { return Err("expected a table for a class".to_owned()) };
    let mut ours = Ours::default();
    for (key, value) in table {
        let wrong = |what: &str| format!("'{key}': expected {what}");
        match key.as_str() {
            "as" => ours.class = value.as_str().ok_or_else(|| wrong("the name of a layer"))?.to_owned(),
            "rename" => {
                for (theirs, own) in value.as_table().ok_or_else(|| wrong("a table of keys"))? {
                    let own = own.as_str().ok_or_else(|| wrong("keys as texts"))?;
                    ours.rename.insert(theirs.clone(), own.to_owned());
                }
            }
            "set" => {
                for (own, value) in value.as_table().ok_or_else(|| wrong("a table of values"))? {
                    let value =
                        json(value, 0).ok_or_else(|| wrong("numbers, texts, truth values, lists, tables"))?;
                    ours.set.insert(own.clone(), value);
                }
            }
            "ignore" => {
                let list = value.as_array().ok_or_else(|| wrong("a list of keys"))?;
                let keys: Option<Vec<String>> =
                    list.iter().map(|key| key.as_str().map(str::to_owned)).collect();
                ours.ignore = keys.ok_or_else(|| wrong("a list of keys"))?;
            }
            other => return Err(format!("'{}' is not known: expected as, rename, set, ignore", clip(other))),
        }
    }
    if !table.contains_key("as") {
        return Err("'as' is missing: expected the name of a layer".to_owned());
    }
    if registry::find(&ours.class).is_none() {
        let near =
            registry::nearest(&ours.class).map_or_else(String::new, |near| format!("; nearest: {near}"));
        return Err(format!("'as': '{}' is no layer that is supported{near}", clip(&ours.class)));
    }
    Ok(ours)
}

fn json(value: &toml::Value, depth: usize) -> Option<Value> {
    if depth > 16 {
        return None;
    }
    Some(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Array(items) => {
            Value::from(items.iter().map(|item| json(item, depth + 1)).collect::<Option<Vec<Value>>>()?)
        }
        toml::Value::Table(table) => {
            let pair = |(key, value): (&String, &toml::Value)| Some((key.clone(), json(value, depth + 1)?));
            Value::Object(table.iter().map(pair).collect::<Option<Map<String, Value>>>()?)
        }
        toml::Value::Datetime(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_becomes_ours() {
        let text = "[MyDense]\nas = \"BinaryDense\"\nrename = { n = \"units\" }\nset = { H = 0.5 }\nignore = [\"t\"]\n";
        let map = LayerMap::parse("map.toml", text).unwrap();
        let mut class = "pkg>MyDense".to_owned();
        let Value::Object(mut config) = serde_json::json!({"n": 3, "t": 1.5}) else { unreachable!() };
        let mut seen = Seen::new();
        map.replace(&mut class, &mut config, &mut seen).unwrap();
        assert!(seen.contains("MyDense"));
        assert_eq!(class, "BinaryDense");
        assert_eq!(Value::Object(config), serde_json::json!({"units": 3, "H": 0.5}));
    }

    #[test]
    fn what_the_file_has_is_not_set_to_something_else() {
        let map = LayerMap::parse("m", "[A]\nas = \"Dense\"\nset = { units = 3 }\n").unwrap();
        for (json, wanted) in [
            (serde_json::json!({"units": 3}), true),
            (serde_json::json!({"units": null}), true),
            (serde_json::json!({"units": 4}), false),
        ] {
            let Value::Object(mut config) = json else { unreachable!() };
            let done = map.replace(&mut "A".to_owned(), &mut config, &mut Seen::new());
            assert_eq!(done.is_ok(), wanted, "{done:?}");
        }
    }

    #[test]
    fn a_problem_says_its_line_and_the_nearest_layer() {
        let text = |text: &str| LayerMap::parse("m", text).unwrap_err().to_string();
        assert!(text("[A]\nas = \"Dense\"\nas = \"Dense\"\n").contains("line 3"));
        assert!(text("[A]\n").contains("'as' is missing"));
        assert!(text("[A]\nas = \"ternarydense\"\n").contains("nearest: TernaryDense"));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let problems =
            LayerMap::parse("m", "[A]\nas = 1\n[B]\nas = \"Nothing\"\n[C]\nas = \"Dense\"\n").unwrap_err();
        assert_eq!(problems.0.len(), 2);
        assert_eq!(problems.0[0].at.place, "[A]");
        for bad in ["A = 1", "[A", "[A]\nas = \"Dense\"\nset = 3", "[A]\nas=\"Dense\"\nkind = 1", "[A]"] {
            assert!(LayerMap::parse("m", bad).is_err(), "{bad}");
        }
    }
}
