//! The parameters of one layer: torch's own names, read with torch's own defaults.
//!
//! A kind takes what it knows; what is left over is refused. Findings are collected, so that all of a layer's mistakes
//! are said at once.

use super::document::{Decl, MAX_EXTENT};
use super::problem::{at_line, clip, near, with_help};
use super::value::Value;
use unfloat_ir::Diagnostic;

/// Reads the parameters of one layer.
pub(crate) struct Parameters<'d> {
    label: &'d str,
    /// The layer.
    pub decl: &'d Decl,
    known: Vec<&'static str>,
    found: Vec<Diagnostic>,
}

impl<'d> Parameters<'d> {
    /// The parameters of a layer of the file called `label`.
    pub fn new(label: &'d str, decl: &'d Decl) -> Self {
        Self { label, decl, known: Vec::new(), found: Vec::new() }
    }

    /// Reports a mistake.
    pub fn fail(&mut self, message: impl Into<String>) {
        let mut found = at_line(self.label, self.decl.line, message);
        found.at.layer = self.decl.title();
        self.found.push(*found);
    }

    /// Reports a mistake, with advice.
    pub fn fail_with(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.fail(message);
        if let Some(last) = self.found.last_mut() {
            last.help = help.into();
        }
    }

    fn take(&mut self, name: &'static str) -> Option<&'d Value> {
        self.known.push(name);
        self.decl.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn wrong(&mut self, name: &str, expected: &str, found: &Value) {
        self.fail(format!("`{name}`: expected {expected}, found {found}"));
    }

    /// A whole number from `least`.
    fn whole(&mut self, name: &'static str, least: i64) -> Option<i64> {
        match self.take(name)? {
            Value::Int(i) if (least..=MAX_EXTENT).contains(i) => Some(*i),
            other => {
                self.wrong(name, &format!("a whole number from {least} to {MAX_EXTENT}"), other);
                None
            }
        }
    }

    /// A size from `least`, if it is given.
    pub fn size(&mut self, name: &'static str, least: usize) -> Option<usize> {
        self.whole(name, i64::try_from(least).unwrap_or(i64::MAX)).and_then(|i| usize::try_from(i).ok())
    }

    /// A size that must be given.
    pub fn needed_size(&mut self, name: &'static str, least: usize) -> usize {
        let given = self.decl.parameters.iter().any(|(key, _)| key == name);
        let size = self.size(name, least);
        if !given {
            self.fail(format!("`{name}` is missing"));
        }
        size.unwrap_or(least.max(1))
    }

    /// An axis or shape entry, which may be negative.
    pub fn int(&mut self, name: &'static str) -> Option<i64> {
        self.whole(name, -MAX_EXTENT)
    }

    /// A list of whole numbers, or one of them.
    pub fn ints(&mut self, name: &'static str) -> Option<Vec<i64>> {
        let value = self.take(name)?;
        let int = |v: &Value| match v {
            Value::Int(i) if (-MAX_EXTENT..=MAX_EXTENT).contains(i) => Some(*i),
            _ => None,
        };
        let list = match value {
            Value::List(list) => list.iter().map(int).collect(),
            one => int(one).map(|i| vec![i]),
        };
        if list.is_none() {
            self.wrong(name, "whole numbers", value);
        }
        list
    }

    /// One size per spatial axis: a list, or one number for all.
    pub fn sizes(&mut self, name: &'static str, axes: usize, least: i64) -> Option<Vec<usize>> {
        let list = self.ints(name)?;
        let all = if list.len() == 1 { vec![list[0]; axes] } else { list };
        let sizes: Option<Vec<usize>> =
            all.iter().map(|&i| if i < least { None } else { usize::try_from(i).ok() }).collect();
        match sizes {
            Some(sizes) if sizes.len() == axes => Some(sizes),
            _ => {
                self.fail(format!("`{name}`: expected one or {axes} numbers from {least}, found {all:?}"));
                None
            }
        }
    }

    /// A number.
    pub fn number(&mut self, name: &'static str) -> Option<f64> {
        match self.take(name)? {
            Value::Int(i) => Some(*i as f64),
            Value::Float(x) if !x.is_nan() => Some(*x),
            other => {
                self.wrong(name, "a number", other);
                None
            }
        }
    }

    /// A number in single precision, as torch keeps the scalars of an `f32` op.
    pub fn float(&mut self, name: &'static str, default: f64) -> f32 {
        self.number(name).unwrap_or(default) as f32
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(b) => Some(*b),
            other => {
                self.wrong(name, "true or false", other);
                None
            }
        }
    }

    /// One of some words, the first by default.
    pub fn word(&mut self, name: &'static str, choices: &[&'static str]) -> &'static str {
        let first = choices.first().copied().unwrap_or_default();
        let Some(value) = self.take(name) else { return first };
        match value {
            Value::Text(text) => match choices.iter().find(|c| *c == text) {
                Some(choice) => choice,
                None => {
                    self.wrong(name, &choices.join(" or "), value);
                    first
                }
            },
            other => {
                self.wrong(name, &choices.join(" or "), other);
                first
            }
        }
    }

    /// Whether a parameter is text, as `padding = "same"` is.
    pub fn is_text(&self, name: &str) -> bool {
        self.decl.parameters.iter().any(|(key, value)| key == name && matches!(value, Value::Text(_)))
    }

    /// A parameter that must have the only value that is supported.
    pub fn only_flag(&mut self, name: &'static str, wanted: bool, why: &str) {
        if self.flag(name).is_some_and(|found| found != wanted) {
            self.fail_with(format!("`{name} = {}` is not supported", !wanted), why);
        }
    }

    /// Parameters that say nothing about what is computed here.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Refuses what no one took; returns all findings.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let left: Vec<&str> = self
            .decl
            .parameters
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !self.known.contains(name))
            .collect();
        self.known.sort_unstable();
        let known = match self.known.as_slice() {
            [] => "the kind has none".to_string(),
            names => format!("the kind has {}", names.join(", ")),
        };
        for name in left {
            let near = near(name, self.known.iter().copied());
            let hint = if near.is_empty() { String::new() } else { format!("did you mean `{}`? ", near[0]) };
            let mut found =
                at_line(self.label, self.decl.line, format!("there is no parameter `{}`", clip(name)));
            found.at.layer = self.decl.title();
            self.found.push(*with_help(found, format!("{hint}{known}")));
        }
        self.found
    }
}
