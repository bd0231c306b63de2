//! The architecture file: TOML to inputs, layers and outputs.
//!
//! In: text. Out: a [`Document`], with the line of everything in it. Refuses, all at once: what is no TOML, keys that
//! have no meaning, values of the wrong type, names that stand twice.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use unfloat_ir::Diagnostic;

use super::problem::{at_line, clip, with_help};
use super::value::Value;

/// Greatest extent of an axis, and greatest number that a parameter may be.
pub(crate) const MAX_EXTENT: i64 = 1 << 24;

/// Most layers of a model.
const MAX_LAYERS: usize = 1 << 13;

/// An input of the model.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Port {
    pub name: String,
    /// The shape of one sample.
    pub shape: Vec<usize>,
    pub line: usize,
}

/// A layer as it is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Decl {
    pub name: String,
    pub kind: String,
    /// Prefix of its keys in the state dict.
    pub key: String,
    /// What it reads; nothing for what the line before makes.
    pub from: Option<Vec<String>>,
    /// Everything else, in the file's own order by name.
    pub parameters: Vec<(String, Value)>,
    pub line: usize,
}

impl Decl {
    /// Name and kind, for messages.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, clip(&self.kind))
    }
}

/// A whole file.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Document {
    pub name: Option<String>,
    pub inputs: Vec<Port>,
    pub layers: Vec<Decl>,
    /// Names of the results; none for what the last layer makes.
    pub outputs: Option<Vec<String>>,
    /// Keys, and prefixes of keys, of tensors that the model has and does not use.
    pub unused: Vec<String>,
}

/// What stands at the top.
const TOP: [&str; 5] = ["name", "input", "layer", "output", "unused"];

/// Reads a file.
pub(crate) fn read(label: &str, text: &str) -> Result<Document, Vec<Diagnostic>> {
    let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect();
    let mut reader = Reader { label, ends, found: Vec::new(), names: BTreeSet::new() };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(e) => {
            let line = e.span().map_or(1, |span| reader.line(span.start));
            return Err(vec![*at_line(label, line, format!("is no TOML: {}", e.message()))]);
        }
    };
    let document = reader.document(root.get_ref());
    if reader.found.is_empty() { Ok(document) } else { Err(reader.found) }
}

struct Reader<'t> {
    label: &'t str,
    /// Where the lines end.
    ends: Vec<usize>,
    found: Vec<Diagnostic>,
    names: BTreeSet<String>,
}

type Item<'v> = &'v Spanned<DeValue<'v>>;

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|&end| end < offset)
    }

    fn fail(&mut self, line: usize, message: impl Into<String>) {
        self.found.push(*at_line(self.label, line, message));
    }

    fn document(&mut self, root: &DeTable<'_>) -> Document {
        let mut document = Document::default();
        if let Some(item) = get(root, "name") {
            document.name = self.text(item, "name");
        }
        match get(root, "input") {
            Some(item) => document.inputs = self.inputs(item),
            None => self.fail(
                1,
                "`input`, the shape of a sample without the batch, is missing: `input = [3, 32, 32]`",
            ),
        }
        match get(root, "layer").map(|item| (item, item.get_ref())) {
            Some((_, DeValue::Array(list))) => {
                if list.len() > MAX_LAYERS {
                    self.fail(1, format!("has {} layers, more than {MAX_LAYERS}", list.len()));
                    return document;
                }
                for (index, item) in list.iter().enumerate() {
                    document.layers.extend(self.layer(index, item));
                }
            }
            Some((item, _)) => {
                let line = self.line(item.span().start);
                self.fail(line, "`layer` is a list: write `[[layer]]` for each, or `layer = [ { … }, … ]`");
            }
            None => self.fail(1, "there is no `[[layer]]`"),
        }
        if let Some(item) = get(root, "output") {
            document.outputs = self.names(item, "output");
        }
        if let Some(item) = get(root, "unused") {
            document.unused = self.names(item, "unused").unwrap_or_default();
        }
        for key in root.keys().filter(|k| !TOP.contains(&&**k.get_ref())) {
            let line = self.line(key.span().start);
            let shown = clip(key.get_ref());
            self.fail(line, format!("`{shown}` means nothing here; a file has {}", TOP.join(", ")));
        }
        document
    }

    fn text(&mut self, item: Item<'_>, what: &str) -> Option<String> {
        match item.get_ref() {
            DeValue::String(s) => Some(s.to_string()),
            other => {
                let line = self.line(item.span().start);
                self.fail(line, format!("`{what}`: expected text, found {}", kind_of(other)));
                None
            }
        }
    }

    /// A name, or a list of them.
    fn names(&mut self, item: Item<'_>, what: &str) -> Option<Vec<String>> {
        match item.get_ref() {
            DeValue::Array(list) => {
                let names: Vec<String> = list.iter().filter_map(|item| self.text(item, what)).collect();
                Some(names)
            }
            _ => self.text(item, what).map(|name| vec![name]),
        }
    }

    /// `input = [3, 32, 32]`, or `[[input]]` with name and shape.
    fn inputs(&mut self, item: Item<'_>) -> Vec<Port> {
        let line = self.line(item.span().start);
        let DeValue::Array(list) = item.get_ref() else {
            self.fail(line, "`input`: expected the shape of a sample, `[3, 32, 32]`, or a list of inputs");
            return Vec::new();
        };
        if !list.iter().all(|i| matches!(i.get_ref(), DeValue::Table(_))) || list.is_empty() {
            let shape = self.shape(item);
            self.names.insert("input".to_string());
            return shape.map(|shape| Port { name: "input".to_string(), shape, line }).into_iter().collect();
        }
        let mut ports = Vec::new();
        for item in list.iter() {
            let line = self.line(item.span().start);
            let DeValue::Table(table) = item.get_ref() else { continue };
            self.only(table, &["name", "shape"], "an input");
            let name = get(table, "name").and_then(|item| self.text(item, "name"));
            let shape = get(table, "shape").and_then(|item| self.shape(item));
            for (what, missing) in [("name", name.is_none()), ("shape", shape.is_none())] {
                if missing && get(table, what).is_none() {
                    self.fail(line, format!("an input needs `{what}`"));
                }
            }
            if let (Some(name), Some(shape)) = (name, shape) {
                self.claim(&name, line);
                ports.push(Port { name, shape, line });
            }
        }
        ports
    }

    fn shape(&mut self, item: Item<'_>) -> Option<Vec<usize>> {
        let dims = match Value::of(item.get_ref()) {
            Ok(Value::List(list)) => list
                .iter()
                .map(|v| match v {
                    Value::Int(n @ 1..=MAX_EXTENT) => usize::try_from(*n).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        if dims.as_ref().is_none_or(|d| d.is_empty() || d.len() > 7) {
            let line = self.line(item.span().start);
            self.fail(
                line,
                format!("a shape is one to seven numbers from 1 to {MAX_EXTENT}, without the batch"),
            );
            return None;
        }
        dims
    }

    fn only(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for key in table.keys().filter(|k| !known.contains(&&**k.get_ref())) {
            let line = self.line(key.span().start);
            let shown = clip(key.get_ref());
            self.fail(line, format!("`{shown}` means nothing in {what}, which has {}", known.join(" and ")));
        }
    }

    fn claim(&mut self, name: &str, line: usize) {
        if !self.names.insert(name.to_string()) {
            let found = at_line(self.label, line, format!("the name `{}` stands twice", clip(name)));
            let help = "give the second use another `name`, and the parameters' prefix as `key`";
            self.found.push(*with_help(found, help));
        }
    }

    fn layer(&mut self, index: usize, item: Item<'_>) -> Option<Decl> {
        let line = self.line(item.span().start);
        let DeValue::Table(table) = item.get_ref() else {
            self.fail(line, format!("a layer is a table with a `kind`, found {}", kind_of(item.get_ref())));
            return None;
        };
        let kind = match get(table, "kind") {
            Some(item) => self.text(item, "kind")?,
            None => {
                self.fail(line, "the layer has no `kind`");
                return None;
            }
        };
        let name = match get(table, "name") {
            Some(item) => self.text(item, "name")?,
            None => format!("{}_{}", kind.to_lowercase(), index),
        };
        self.claim(&name, line);
        let key = get(table, "key").and_then(|item| self.text(item, "key")).unwrap_or(name.clone());
        let from = get(table, "from").and_then(|item| self.names(item, "from"));
        let mut parameters = Vec::new();
        for (key, item) in table.iter() {
            let key: &DeString<'_> = key.get_ref();
            if ["kind", "name", "key", "from"].contains(&&**key) {
                continue;
            }
            match Value::of(item.get_ref()) {
                Ok(value) => parameters.push((key.to_string(), value)),
                Err(what) => {
                    let line = self.line(item.span().start);
                    self.fail(line, format!("parameter `{}`: {what} is no value of a parameter", clip(key)));
                }
            }
        }
        Some(Decl { name, kind, key, from, parameters, line })
    }
}

fn get<'v>(table: &'v DeTable<'v>, key: &str) -> Option<Item<'v>> {
    table.get(key)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
