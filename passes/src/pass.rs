//! What a pass is.

use crate::recipe::resolved::Resolved;
use crate::report::Fold;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Stage};

/// What a pass says of the results of the graph that it leaves, compared with the graph that it found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Every result has the same bits under the reference evaluator, whatever the input; a NaN stays a NaN.
    /// A pass that sums floats in another order can't claim this.
    Exact,
    /// No element of a value moves by more than `abs + rel · m`, where `m` is the greatest magnitude among the
    /// elements of that value for that sample. Of integers of more than 8 bits, one unit is allowed as well.
    Within {
        /// The absolute part.
        abs: f64,
        /// The part relative to the greatest magnitude of the value.
        rel: f64,
    },
    /// The results change by intention; the metric tells by how much.
    Lossy {
        /// What is measured.
        metric: Cow<'static, str>,
    },
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Exact => f.write_str("exact"),
            Claim::Within { abs, rel } => write!(f, "within {abs:e} + {rel:e} of the greatest element"),
            Claim::Lossy { metric } => write!(f, "lossy, measured as {metric}"),
        }
    }
}

/// What values an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionKind {
    /// An integer from 0.
    Size,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl OptionKind {
    fn takes(self, value: &str) -> bool {
        match self {
            OptionKind::Size => value.parse::<usize>().is_ok(),
            OptionKind::Flag => matches!(value, "true" | "false"),
            OptionKind::Word(words) => words.contains(&value),
        }
    }
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionKind::Size => f.write_str("an integer from 0"),
            OptionKind::Flag => f.write_str("true or false"),
            OptionKind::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// An option of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionInfo {
    /// The name in `name=value`.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// Its value when it is not given.
    pub default: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// The documentation of a pass, and what the pipeline needs to know of it.
#[derive(Clone, PartialEq, Debug)]
pub struct PassInfo {
    /// The name, in kebab case.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What it does in detail, and what it leaves alone.
    pub details: &'static str,
    /// Its options.
    pub options: &'static [OptionInfo],
    /// The earliest stage that it accepts.
    pub from: Stage,
    /// The stage that a graph has reached behind it, if it was not there before.
    pub to: Stage,
    /// What it says of the results.
    pub claim: Claim,
}

/// How much a pass changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// The number of rewrites; 0 says that the graph is what it was.
    pub count: usize,
}

impl Change {
    /// Nothing changed.
    pub const NONE: Change = Change { count: 0 };

    /// `count` rewrites.
    pub fn of(count: usize) -> Self {
        Self { count }
    }
    /// Whether nothing changed.
    pub fn is_none(self) -> bool {
        self.count == 0
    }
}

/// A change of a graph.
///
/// A value's name means one tensor, up to an order of the axes that the named axes of its layout tell. A pass
/// that makes another tensor gives it another name: the pipeline compares values of equal names.
pub trait Pass: Sync {
    /// What it is.
    fn info(&self) -> &'static PassInfo;
    /// Changes the graph, which has passed [`unfloat_ir::verify::verify`] at `info().from` or later. On an error
    /// the pipeline restores the graph.
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Change, Diagnostics>;
}

/// What a pass is given beside the graph.
#[derive(Debug)]
pub struct PassCx<'a> {
    call: &'a BTreeMap<&'static str, String>,
    /// The recipe with all numbers filled in, for the passes that follow one.
    pub recipe: Option<&'a Resolved>,
    /// Findings that do not stop the work.
    pub warnings: Diagnostics,
    /// Step functions that the pass made and proved, for the certificate.
    pub folds: Vec<Fold>,
}

impl<'a> PassCx<'a> {
    /// The context of one call.
    pub fn new(call: &'a PassCall) -> Self {
        Self { call: &call.options, recipe: None, warnings: Diagnostics::new(), folds: Vec::new() }
    }
    /// The value of an option; every option of the pass has one.
    pub fn word(&self, name: &str) -> &'a str {
        self.call.get(name).map_or("", String::as_str)
    }
    /// The value of a [`OptionKind::Size`] option.
    pub fn size(&self, name: &str) -> usize {
        self.word(name).parse().unwrap_or(0)
    }
    /// The value of a [`OptionKind::Flag`] option.
    pub fn flag(&self, name: &str) -> bool {
        self.word(name) == "true"
    }
}

/// A pass with its options, ready to run.
#[derive(Clone)]
pub struct PassCall {
    /// The pass.
    pub pass: &'static dyn Pass,
    /// Every option of the pass with its value.
    options: BTreeMap<&'static str, String>,
}

impl fmt::Debug for PassCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.pass.info().name, self.options)
    }
}

impl PassCall {
    /// The pass with all options at their defaults.
    pub fn new(pass: &'static dyn Pass) -> Self {
        let options = pass.info().options.iter().map(|o| (o.name, o.default.to_string())).collect();
        Self { pass, options }
    }
    /// The options with their values.
    pub fn options(&self) -> &BTreeMap<&'static str, String> {
        &self.options
    }
    /// Sets an option; one that the pass does not have, or a value that it does not take, is refused.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Diagnostic> {
        let info = self.pass.info();
        let Some(option) = info.options.iter().find(|o| o.name == name) else {
            let known: Vec<&str> = info.options.iter().map(|o| o.name).collect();
            let known = if known.is_empty() {
                "it has none".to_string()
            } else {
                format!("it has {}", known.join(", "))
            };
            let text = format!("pass `{}` has no option `{name}`: {known}", info.name);
            return Err(Diagnostic::error(Location::default(), text));
        };
        if !option.kind.takes(value) {
            let text =
                format!("pass `{}`, option `{name}`: expected {}, found `{value}`", info.name, option.kind);
            return Err(Diagnostic::error(Location::default(), text));
        }
        self.options.insert(option.name, value.to_string());
        Ok(())
    }
}

/// Reads calls as `a,b{x=1,y=true},c`. All that is wrong is said at once.
pub fn parse_calls(text: &str) -> Result<Vec<PassCall>, Diagnostics> {
    let mut found = Diagnostics::new();
    let mut calls = Vec::new();
    let mut rest = text.trim();
    let fault = |text: String| Diagnostic::error(Location::default(), text);
    while !rest.is_empty() {
        let end = rest.find([',', '{']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let name = name.trim();
        let (options, tail) = match tail.strip_prefix('{') {
            None => ("", tail),
            Some(inner) => match inner.split_once('}') {
                Some(split) => split,
                None => {
                    found.push(fault(format!("`{rest}`: the options have no closing `}}`")));
                    break;
                }
            },
        };
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if tail.is_empty() => tail,
            None => {
                found.push(fault(format!("expected `,` between passes, found `{tail}`")));
                break;
            }
        };
        match crate::registry::find(name) {
            Err(unknown) => found.push(unknown),
            Ok(pass) => {
                let mut call = PassCall::new(pass);
                for option in options.split(',').map(str::trim).filter(|o| !o.is_empty()) {
                    let set = match option.split_once('=') {
                        Some((name, value)) => call.set(name.trim(), value.trim()),
                        None => {
                            Err(fault(format!("pass `{name}`: expected `option=value`, found `{option}`")))
                        }
                    };
                    found.extend(set.err());
                }
                calls.push(call);
            }
        }
    }
    found.into_result(calls)
}
