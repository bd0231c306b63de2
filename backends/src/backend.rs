//! What every backend offers, and its options.

use crate::outdir::OutDir;
use std::collections::BTreeMap;
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics, Graph, Location, Stage, Tensor};

/// A way to turn a graph into files that run elsewhere.
pub trait Backend: Sync {
    /// Name, summary, options.
    fn info(&self) -> &'static BackendInfo;

    /// Whether it takes the graph with its quantizers, before they become integer arithmetic.
    fn wants_quantizers(&self) -> bool {
        false
    }

    /// Finds everything in the graph that this backend cannot do. Says it all at once, before a byte is written.
    fn check(&self, graph: &Graph, options: &Options) -> Result<(), Diagnostics>;

    /// Adds the artefact's files, below a folder that is called as the backend is. Fails with what
    /// [`Backend::check`] finds, and then adds nothing.
    fn emit(&self, graph: &Graph, options: &Options, out: &mut OutDir) -> Result<(), Diagnostics>;

    /// Runs an artefact on samples. `dir` is a directory that [`OutDir::write_to`] made; each sample has one
    /// tensor per input of the model, in its order. Returns one tensor per output, for each sample.
    ///
    /// Fails when a tool that it needs is missing, naming what to install, and when the artefact fails.
    fn replay(&self, dir: &Path, samples: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>, Diagnostics>;

    /// Lets an artefact check itself on the samples that were written with it. Nothing for artefacts that hold none.
    fn self_check(&self, _dir: &Path) -> Option<Result<SelfCheck, Diagnostics>> {
        None
    }
}

/// What an artefact that checks itself finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelfCheck {
    /// Whether all samples gave what they should.
    pub passed: bool,
    /// What it says, and which tool ran it.
    pub text: String,
}

/// What a backend says of itself.
#[derive(Debug)]
pub struct BackendInfo {
    /// The name, as in `--emit cpp`; also the folder of its files.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The stage that a graph must have reached.
    pub from: Stage,
    /// The options that it takes.
    pub options: &'static [OptionInfo],
}

/// A documented option, set as `name=value`.
#[derive(Debug)]
pub struct OptionInfo {
    /// The name.
    pub name: &'static str,
    /// The values that it takes; the first is the default. `N` stands for any whole number.
    pub values: &'static [&'static str],
    /// What it does.
    pub summary: &'static str,
}

/// The options of one backend, checked against what it documents; unset ones have their default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// The defaults.
    pub fn defaults(info: &BackendInfo) -> Self {
        Self(info.options.iter().filter_map(|o| Some((o.name, o.values.first()?.to_string()))).collect())
    }

    /// Reads settings of the form `name=value`. Unknown names and values, and names set twice, are errors, all
    /// said at once.
    pub fn parse<'a>(
        info: &BackendInfo,
        settings: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Diagnostics> {
        let mut options = Self::defaults(info);
        let mut found = Diagnostics::new();
        let mut seen: Vec<&str> = Vec::new();
        for setting in settings {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let error = |text: String| Diagnostic::error(Location::default(), text);
            let Some(option) = info.options.iter().find(|o| o.name == name) else {
                let names: Vec<&str> = info.options.iter().map(|o| o.name).collect();
                found.push(
                    error(format!("backend `{}` has no option `{name}`", info.name))
                        .help(format!("options: {}", names.join(", "))),
                );
                continue;
            };
            if seen.contains(&name) {
                found.push(error(format!("option `{name}` of backend `{}` is set twice", info.name)));
            }
            seen.push(name);
            let number = || option.values.contains(&"N") && value.parse::<u32>().is_ok();
            match value != "N" && (option.values.contains(&value) || number()) {
                true => {
                    options.0.insert(option.name, value.to_string());
                }
                false => found.push(
                    error(format!("option `{name}` of backend `{}`: `{value}` is no value", info.name))
                        .help(format!("values: {}", option.values.join(", "))),
                ),
            }
        }
        found.into_result(options)
    }

    /// The value of an option; empty for a name that the backend does not have.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All options with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(n, v)| (*n, v.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: BackendInfo = BackendInfo {
        name: "b",
        summary: "",
        from: Stage::Folded,
        options: &[
            OptionInfo { name: "o", values: &["one", "two"], summary: "" },
            OptionInfo { name: "n", values: &["7", "N"], summary: "" },
        ],
    };

    #[test]
    fn options_are_read_and_refused_all_at_once() {
        assert_eq!(Options::defaults(&INFO).get("o"), "one");
        assert_eq!(Options::parse(&INFO, ["o=two"]).unwrap().get("o"), "two");
        assert_eq!(Options::parse(&INFO, ["n=12"]).unwrap().get("n"), "12");
        assert!(Options::parse(&INFO, ["n=N"]).is_err() && Options::parse(&INFO, ["n=-1"]).is_err());
        let errors = Options::parse(&INFO, ["o=three", "p=1", "o=one"]).unwrap_err().to_string();
        for text in ["`three` is no value", "no option `p`", "`o` of backend `b` is set twice", "one, two"] {
            assert!(errors.contains(text), "{errors}");
        }
    }
}
