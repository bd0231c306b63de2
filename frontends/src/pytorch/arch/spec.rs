//! The text of an architecture as a list of layers.
//!
//! In: TOML. Out: [`Spec`]: inputs, layers each with the names that it reads, outputs. Refuses: other fields than the
//! format has, names that stand twice, names that nothing before makes.

use std::collections::BTreeSet;

use toml::{Table, Value};
use unfloat_ir::{Diagnostic, Location};

use super::ArchFile;

/// The version of the format that is read.
const FORMAT: i64 = 1;
/// Most layers of one architecture: a bound for hostile files. The deepest published networks have some thousands.
const MAX_LAYERS: usize = 100_000;

/// A whole architecture.
pub(super) struct Spec {
    pub(super) inputs: Vec<(String, Vec<usize>)>,
    pub(super) layers: Vec<LayerSpec>,
    pub(super) outputs: Vec<String>,
}

/// One layer.
pub(super) struct LayerSpec {
    pub(super) name: String,
    pub(super) kind: String,
    /// What it reads, inputs or layers before it.
    pub(super) from: Vec<String>,
    /// The prefix of its keys in the state dict.
    pub(super) module: String,
    /// All other fields.
    pub(super) parameters: Table,
}

/// Where a fault is, and the faults so far.
struct Reader<'a> {
    label: &'a str,
    findings: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn fail(&mut self, place: &str, message: impl Into<String>, help: &str) {
        let at = Location::file(self.label).at(place);
        self.findings.push(Diagnostic::error(at, message).help(help));
    }
    /// A name: text that is not empty.
    fn name(&mut self, place: &str, field: &str, value: Option<Value>) -> Option<String> {
        match value {
            Some(Value::String(name)) if !name.is_empty() => Some(name),
            Some(other) => {
                self.fail(place, format!("`{field}`: expected text, found {}", other.type_str()), "");
                None
            }
            None => {
                self.fail(place, format!("has no `{field}`"), "every input, layer and output has a name");
                None
            }
        }
    }
    /// The tables of an array of tables.
    fn tables(&mut self, file: &mut Table, field: &str) -> Vec<Table> {
        let Some(value) = file.remove(field) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.fail(field, format!("expected [[{field}]], found {}", value.type_str()), "");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            match item {
                Value::Table(table) => tables.push(table),
                other => {
                    let place = format!("{field}[{i}]");
                    self.fail(&place, format!("expected a table, found {}", other.type_str()), "");
                }
            }
        }
        tables
    }
    fn unknown(&mut self, place: &str, rest: &Table, known: &str) {
        for field in rest.keys() {
            self.fail(place, format!("the field `{field}` is unknown"), known);
        }
    }
}

/// Reads a file.
pub(super) fn read(file: &ArchFile, findings: &mut Vec<Diagnostic>) -> Option<Spec> {
    let before = findings.len();
    let mut table = match file.text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            let line =
                error.span().map(|s| file.text[..s.start.min(file.text.len())].matches('\n').count() + 1);
            let at = Location::file(&file.label).at(line.map(|l| format!("line {l}")).unwrap_or_default());
            let text = format!("is no TOML: {}", error.message());
            findings
                .push(Diagnostic::error(at, text).help("--arch takes a description of the layers in TOML"));
            return None;
        }
    };
    let mut reader = Reader { label: &file.label, findings };
    match table.remove("format") {
        Some(Value::Integer(FORMAT)) | None => {}
        Some(other) => {
            reader.fail("format", format!("expected {FORMAT}, found {other}"), "use a newer unfloat")
        }
    }
    let inputs = inputs(&mut reader, &mut table);
    let layers = layers(&mut reader, &mut table, &inputs);
    let outputs = outputs(&mut reader, &mut table, &inputs, &layers);
    reader.unknown("", &table, "an architecture has format, [[inputs]], [[layers]] and [[outputs]]");
    (findings.len() == before).then_some(Spec { inputs, layers, outputs })
}

fn inputs(reader: &mut Reader<'_>, table: &mut Table) -> Vec<(String, Vec<usize>)> {
    let mut inputs: Vec<(String, Vec<usize>)> = Vec::new();
    for (i, mut input) in reader.tables(table, "inputs").into_iter().enumerate() {
        let place = format!("inputs[{i}]");
        let name = reader.name(&place, "name", input.remove("name"));
        let shape = match input.remove("shape") {
            Some(Value::Array(dims)) => dims.iter().map(extent).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        if shape.is_none() {
            let help = "the shape of one sample, without the batch: shape = [3, 32, 32]";
            reader.fail(&place, "`shape`: expected a list of positive numbers", help);
        }
        reader.unknown(&place, &input, "an input has name and shape");
        if let (Some(name), Some(shape)) = (name, shape) {
            if inputs.iter().any(|(n, _)| *n == name) {
                reader.fail(&place, format!("a second input is called `{name}`"), "");
            }
            inputs.push((name, shape));
        }
    }
    if inputs.is_empty() {
        reader.fail("inputs", "there are no inputs", "add [[inputs]] with name and shape");
    }
    inputs
}

fn extent(value: &Value) -> Option<usize> {
    value.as_integer().filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok())
}

fn layers(reader: &mut Reader<'_>, table: &mut Table, inputs: &[(String, Vec<usize>)]) -> Vec<LayerSpec> {
    let mut known: BTreeSet<String> = inputs.iter().map(|(name, _)| name.clone()).collect();
    let mut last = inputs.last().map(|(name, _)| name.clone());
    let mut layers = Vec::new();
    let tables = reader.tables(table, "layers");
    if tables.is_empty() || tables.len() > MAX_LAYERS {
        let text = format!("there are {} layers; from 1 to {MAX_LAYERS} are read", tables.len());
        reader.fail("layers", text, "add [[layers]] with name and kind");
        return layers;
    }
    for (i, mut layer) in tables.into_iter().enumerate() {
        let place = format!("layers[{i}]");
        let name = reader.name(&place, "name", layer.remove("name"));
        let kind = reader.name(&place, "kind", layer.remove("kind"));
        let from = match layer.remove("from") {
            None => last.iter().cloned().collect(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) if all.iter().all(Value::is_str) => {
                all.iter().filter_map(Value::as_str).map(str::to_string).collect()
            }
            Some(other) => {
                let text = format!("`from`: expected a name or a list of names, found {}", other.type_str());
                reader.fail(&place, text, "");
                Vec::new()
            }
        };
        for name in from.iter().filter(|n| !known.contains(*n)) {
            let help = "a layer reads inputs and layers that stand before it";
            reader.fail(&place, format!("reads `{name}`, which nothing before it is called"), help);
        }
        let module = match layer.remove("module") {
            None => name.clone(),
            given => reader.name(&place, "module", given),
        };
        let (Some(name), Some(kind), Some(module)) = (name, kind, module) else { continue };
        if !known.insert(name.clone()) {
            let help =
                "a module that is called twice has two layers with names of their own and one `module`";
            reader.fail(&place, format!("`{name}` is the name of something else already"), help);
        }
        last = Some(name.clone());
        layers.push(LayerSpec { name, kind, from, module, parameters: layer });
    }
    layers
}

fn outputs(
    reader: &mut Reader<'_>,
    table: &mut Table,
    inputs: &[(String, Vec<usize>)],
    layers: &[LayerSpec],
) -> Vec<String> {
    let mut outputs = Vec::new();
    for (i, mut output) in reader.tables(table, "outputs").into_iter().enumerate() {
        let place = format!("outputs[{i}]");
        let Some(name) = reader.name(&place, "name", output.remove("name")) else { continue };
        reader.unknown(&place, &output, "an output has the name of a layer");
        if !layers.iter().any(|l| l.name == name) && !inputs.iter().any(|(n, _)| *n == name) {
            reader.fail(&place, format!("no layer is called `{name}`"), "");
        }
        outputs.push(name);
    }
    match layers.last() {
        Some(layer) if outputs.is_empty() => vec![layer.name.clone()],
        _ => outputs,
    }
}
