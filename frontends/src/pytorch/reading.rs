//! One file that is being read: what the user chose, what may still be allocated, what was found.

use unfloat_ir::Diagnostic;

use super::assemble::{Storages, assemble};
use super::find::{Found, Missing, find};
use super::limit::Limit;
use super::pickle::Pickle;
use super::problem::{clip, error, warning};
use super::state::{Entry, Unreadable};

/// One file that is being read.
pub(crate) struct Reading<'a> {
    pub(crate) label: &'a str,
    /// The path that the user chose.
    pub(crate) key: Option<&'a str>,
    pub(crate) limit: Limit,
    pub(crate) findings: Vec<Diagnostic>,
    /// Tensors that cannot be read: errors, unless the others are to be listed.
    pub(crate) unreadable: Vec<Unreadable>,
    /// How many tensors hold doubles that were rounded, and the first of them.
    pub(crate) rounded: (usize, String),
}

impl<'a> Reading<'a> {
    /// Of a file of `size` bytes nothing is read yet.
    pub(crate) fn new(label: &'a str, key: Option<&'a str>, size: u64) -> Self {
        let limit = Limit::of_file(size);
        Self { label, key, limit, findings: Vec::new(), unreadable: Vec::new(), rounded: (0, String::new()) }
    }
    /// Adds an error.
    pub(crate) fn fail(&mut self, place: &str, message: impl Into<String>) {
        self.findings.push(error(self.label, place, message));
    }
    /// Adds a tensor that cannot be read.
    pub(crate) fn unreadable(&mut self, key: &str, place: &str, reason: impl Into<String>) {
        let (key, place) = (key.to_string(), place.to_string());
        self.unreadable.push(Unreadable { key, place, reason: reason.into() });
    }
    /// Says what was left alone.
    fn note(&mut self, found: &Found) {
        let names: Vec<String> = found.left_out.iter().take(5).map(|p| format!("`{}`", clip(p))).collect();
        if names.is_empty() {
            return;
        }
        let more = if found.left_out.len() > 5 { " and more" } else { "" };
        let text = format!(
            "`{}` was read; the file also holds {}{more}, which were left alone",
            clip(&found.path),
            names.join(", ")
        );
        self.findings.push(warning(self.label, text).help("choose another part with --key PATH"));
    }
    /// Reports that there is nothing to read.
    pub(crate) fn missing(&mut self, place: &str, missing: Missing) {
        let found = match (missing, self.key) {
            (Missing::Broken(fault), _) => error(self.label, place, fault),
            (Missing::Nothing, _) => error(self.label, place, "holds no tensors")
                .help("save the model's `state_dict()`, and not the optimizer's"),
            (Missing::Choose(lines), None) => error(self.label, place, "holds more than one set of tensors")
                .help(format!("choose one with --key PATH:\n    {}", lines.join("\n    "))),
            (Missing::Choose(lines), Some(key)) => {
                error(self.label, place, format!("holds no tensors under `{}`", clip(key)))
                    .help(format!("there are:\n    {}", lines.join("\n    ")))
            }
        };
        self.findings.push(found);
    }
    /// Finds and reads the tensors of a pickle.
    pub(crate) fn take(&mut self, place: &str, pickle: &Pickle, storages: &mut dyn Storages) -> Vec<Entry> {
        match find(pickle, self.key, &mut self.limit) {
            Ok(found) => self.assemble(found, storages),
            Err(missing) => {
                self.missing(place, missing);
                Vec::new()
            }
        }
    }
    /// Reads what was found.
    pub(crate) fn assemble(&mut self, found: Found, storages: &mut dyn Storages) -> Vec<Entry> {
        self.note(&found);
        assemble(self, found.leaves, storages)
    }
}
