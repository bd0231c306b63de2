//! Recipes in TOML.
//!
//! In: text. Out: a [`Recipe`]. Refused, each with its line, all at once: what is no TOML, keys that mean nothing, values of
//! the wrong kind, formats that do not suit their role.
//!
//! ```toml
//! [default]
//! weights = "int8"
//! bias = "accumulator"        # or fixed<W,I>, float
//! activation = "int8"
//! input = "ufixed<8,0>"       # left out: as activation
//! accumulator = "auto"        # or fixed<W,I>
//!
//! [bipolar]                   # how weights become −1 and +1
//! rule = "sign"               # +1 for 0; or "stochastic", with a seed
//!
//! [calibration]
//! method = "percentile=99.99"
//!
//! [[layer]]
//! name = "conv*"
//! weights = "int4"
//!
//! [[layer]]
//! name = "head"
//! keep = "float"
//! ```

use super::glob::Glob;
use super::{Accumulator, Bias, Formats, Method, Recipe, Rule, format};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use unfloat_ir::types::{IntType, Q};
use unfloat_ir::{Diagnostic, Diagnostics, Format, Location};

/// The formats that are not said: what `--quantize int8` means.
pub fn defaults() -> Formats {
    let int8 = Format::affine(IntType::signed(8));
    Formats { weights: int8, bias: Bias::Accumulator, activation: int8, accumulator: Accumulator::Auto }
}

/// Most exceptions of a recipe.
const MAX_RULES: usize = 1 << 12;

/// Reads the text of a file called `label`.
pub fn read(label: &str, text: &str) -> Result<Recipe, Diagnostics> {
    let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect();
    let mut reader = Reader { label, ends, found: Diagnostics::new() };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(e) => {
            let line = e.span().map_or(1, |span| reader.line(span.start));
            reader.fail(line, format!("is no TOML: {}", e.message()), "");
            return Err(reader.found);
        }
    };
    let recipe = reader.recipe(root.get_ref());
    reader.found.into_result(recipe)
}

type Item<'v> = &'v Spanned<DeValue<'v>>;

struct Reader<'t> {
    label: &'t str,
    /// Where the lines end.
    ends: Vec<usize>,
    found: Diagnostics,
}

/// What one table says of formats.
#[derive(Default)]
struct Said {
    weights: Option<Format>,
    bias: Option<Bias>,
    activation: Option<Format>,
    accumulator: Option<Accumulator>,
}

const FORMATS: [&str; 4] = ["weights", "bias", "activation", "accumulator"];

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|&end| end < offset)
    }

    fn fail(&mut self, line: usize, message: impl Into<String>, help: &str) {
        let at = Location::file(self.label).at(format!("line {line}"));
        self.found.push(Diagnostic::error(at, message).help(help));
    }

    fn recipe(&mut self, root: &DeTable<'_>) -> Recipe {
        self.only(root, &["default", "bipolar", "calibration", "layer"], "a recipe");
        let (mut formats, mut input) = (defaults(), None);
        if let Some(table) = self.table(root, "default") {
            let known = [FORMATS[0], FORMATS[1], FORMATS[2], FORMATS[3], "input"];
            self.only(table, &known, "`[default]`");
            input = self.read(table, "input", format::activation);
            let said = self.formats(table);
            formats = Formats {
                weights: said.weights.unwrap_or(formats.weights),
                bias: said.bias.unwrap_or(formats.bias),
                activation: said.activation.unwrap_or(formats.activation),
                accumulator: said.accumulator.unwrap_or(formats.accumulator),
            };
        }
        let mut method = Method::MinMax;
        if let Some(table) = self.table(root, "calibration") {
            self.only(table, &["method"], "`[calibration]`");
            if let Some((line, text)) = self.text(table, "method") {
                match Method::parse(&text) {
                    Some(read) => method = read,
                    None => {
                        self.fail(line, format!("`method`: expected {}, found `{text}`", Method::FORMS), "")
                    }
                }
            }
        }
        let stochastic = self.bipolar(root);
        let rules = self.rules(root);
        Recipe { source: self.label.to_string(), formats, input, stochastic, method, rules }
    }

    /// The seed of `[bipolar]`, where its rule is stochastic.
    fn bipolar(&mut self, root: &DeTable<'_>) -> Option<u64> {
        let table = self.table(root, "bipolar")?;
        self.only(table, &["rule", "seed"], "`[bipolar]`");
        let seed = table.get("seed").map(|item| (self.line(item.span().start), item.get_ref()));
        let at = table.get("rule").map_or(1, |item| self.line(item.span().start));
        let rule = self.text(table, "rule").map(|(_, text)| text);
        match (rule.as_deref(), seed) {
            (Some("sign"), None) => None,
            (Some("sign"), Some((line, _))) => {
                self.fail(line, "`seed` means nothing where the rule is \"sign\"", "leave it out");
                None
            }
            (Some("stochastic"), Some((line, DeValue::Integer(n)))) => {
                let seed = u64::from_str_radix(n.as_str(), n.radix()).ok();
                if seed.is_none() {
                    self.fail(line, "`seed`: expected a whole number from 0 to 2^64 - 1", "");
                }
                seed
            }
            (Some("stochastic"), Some((line, other))) => {
                self.fail(line, format!("`seed`: expected a whole number, found {}", kind(other)), "");
                None
            }
            (Some("stochastic"), None) => {
                self.fail(
                    at,
                    "the rule \"stochastic\" needs a `seed`",
                    "seed = 7, so that a rerun gives the same",
                );
                None
            }
            (Some(other), _) => {
                self.fail(at, format!("`rule`: expected \"sign\" or \"stochastic\", found `{other}`"), "");
                None
            }
            (None, _) => {
                self.fail(at, "`[bipolar]` has no `rule`", "rule = \"sign\" or rule = \"stochastic\"");
                None
            }
        }
    }

    fn rules(&mut self, root: &DeTable<'_>) -> Vec<Rule> {
        let Some(item) = root.get("layer") else { return Vec::new() };
        let line = self.line(item.span().start);
        let DeValue::Array(list) = item.get_ref() else {
            self.fail(line, "`layer` is a list: write `[[layer]]` for each", "");
            return Vec::new();
        };
        if list.len() > MAX_RULES {
            self.fail(line, format!("there are {} `[[layer]]`, more than {MAX_RULES}", list.len()), "");
            return Vec::new();
        }
        list.iter().filter_map(|item| self.rule(item)).collect()
    }

    fn rule(&mut self, item: Item<'_>) -> Option<Rule> {
        let line = self.line(item.span().start);
        let DeValue::Table(table) = item.get_ref() else {
            self.fail(line, format!("expected a table, `[[layer]]`, found {}", kind(item.get_ref())), "");
            return None;
        };
        let known = ["name", FORMATS[0], FORMATS[1], FORMATS[2], FORMATS[3], "keep"];
        self.only(table, &known, "`[[layer]]`");
        let said = self.formats(table);
        let mut keep_float = false;
        if let Some((line, text)) = self.text(table, "keep") {
            match text.as_str() {
                "float" => keep_float = true,
                _ => self.fail(
                    line,
                    format!("`keep`: expected \"float\", found `{text}`"),
                    "leave it out to quantize",
                ),
            }
        }
        let silent = said.weights.is_none()
            && said.bias.is_none()
            && said.activation.is_none()
            && said.accumulator.is_none()
            && !table.contains_key("keep");
        if silent && FORMATS.iter().all(|f| !table.contains_key(*f)) {
            self.fail(
                line,
                "this `[[layer]]` changes nothing",
                "say weights, bias, activation, accumulator or keep",
            );
        }
        if !table.contains_key("name") {
            self.fail(
                line,
                "this `[[layer]]` has no `name`",
                "a layer's name, or a pattern: name = \"conv*\"",
            );
        }
        let (_, name) = self.text(table, "name")?;
        let Said { weights, bias, activation, accumulator } = said;
        Some(Rule { line, name: Glob::new(&name), weights, bias, activation, accumulator, keep_float })
    }

    fn formats(&mut self, table: &DeTable<'_>) -> Said {
        Said {
            weights: self.read(table, "weights", format::weights),
            bias: self.read(table, "bias", |text| match text.trim() {
                "accumulator" => Ok(Bias::Accumulator),
                _ => format::bias(text).map(Bias::Format),
            }),
            activation: self.read(table, "activation", format::activation),
            accumulator: self.read(table, "accumulator", |text| match text.trim() {
                "auto" => Ok(Accumulator::Auto),
                _ => accumulator(text).map(Accumulator::Format),
            }),
        }
    }

    fn read<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (line, text) = self.text(table, key)?;
        read(&text).map_err(|why| self.fail(line, format!("`{key}`: {why}"), "")).ok()
    }

    fn table<'v>(&mut self, root: &'v DeTable<'v>, key: &str) -> Option<&'v DeTable<'v>> {
        let item = root.get(key)?;
        match item.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let line = self.line(item.span().start);
                self.fail(line, format!("expected a table, `[{key}]`, found {}", kind(other)), "");
                None
            }
        }
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<(usize, String)> {
        let item = table.get(key)?;
        let line = self.line(item.span().start);
        match item.get_ref() {
            DeValue::String(s) => Some((line, s.to_string())),
            other => {
                self.fail(line, format!("`{key}`: expected text, found {}", kind(other)), "");
                None
            }
        }
    }

    fn only(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for key in table.keys().filter(|k| !known.contains(&&**k.get_ref())) {
            let line = self.line(key.span().start);
            let shown: String = key.get_ref().chars().take(60).collect();
            self.fail(line, format!("`{shown}` means nothing in {what}, which has {}", known.join(", ")), "");
        }
    }
}

fn accumulator(text: &str) -> Result<Format, String> {
    let format = format::read(text).map_err(|e| e.to_string())?;
    match format {
        Format::Fixed { q: Q { signed: true, .. }, .. } => Ok(format),
        _ => Err(format!("expected auto, or fixed<W,I> with a sign, found `{format}`")),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_int8() {
        let recipe = read("r.toml", "").unwrap();
        assert_eq!(recipe.formats, super::super::spec::parse("int8").unwrap().formats);
        assert_eq!((recipe.method, recipe.rules.len()), (Method::MinMax, 0));
    }

    #[test]
    fn everything_that_can_be_said() {
        let text = "[default]\nweights = 'int4'\nbias = 'fixed<32,16>'\nactivation = 'fixed<16,6>'\n\
                    input = 'ufixed<8,0>'\naccumulator = 'fixed<24,12,TRN,WRAP>'\n[calibration]\nmethod = 'percentile=99.9'\n\
                    [[layer]]\nname = 'conv*'\nweights = 'ternary'\nbias = 'accumulator'\n\
                    [[layer]]\nname = 'head'\nkeep = 'float'\n";
        let recipe = read("r.toml", text).unwrap();
        let f = recipe.formats;
        assert_eq!(
            format!("{} {} {} {}", f.weights, f.bias, f.activation, f.accumulator),
            "int4 fixed<32,16,RND_CONV,SAT> fixed<16,6,RND_CONV,SAT> fixed<24,12>"
        );
        assert_eq!(recipe.input.map(|f| f.to_string()).as_deref(), Some("ufixed<8,0,RND_CONV,SAT>"));
        assert_eq!(recipe.method, Method::Percentile(99.9));
        let lines: Vec<(usize, String, bool)> =
            recipe.rules.iter().map(|r| (r.line, r.name.to_string(), r.keep_float)).collect();
        assert_eq!(lines, [(9, "conv*".to_string(), false), (13, "head".to_string(), true)]);
        assert_eq!(
            (recipe.rules[0].weights, recipe.rules[0].bias),
            (Some(Format::Ternary), Some(Bias::Accumulator))
        );
    }

    #[test]
    fn the_rule_of_bipolar_weights() {
        let seed = |text: &str| read("r.toml", text).map(|r| r.stochastic).map_err(|e| e.to_string());
        assert_eq!(seed("[bipolar]\nrule = 'sign'\n"), Ok(None));
        assert_eq!(seed("[bipolar]\nrule = 'stochastic'\nseed = 0x10\n"), Ok(Some(16)));
        for (text, want) in [
            ("rule = 'stochastic'", "r.toml: line 2: the rule \"stochastic\" needs a `seed`"),
            ("rule = 'stochastic'\nseed = -1", "r.toml: line 3: `seed`: expected a whole number from 0"),
            (
                "rule = 'stochastic'\nseed = 'x'",
                "r.toml: line 3: `seed`: expected a whole number, found text",
            ),
            ("rule = 'sign'\nseed = 1", "r.toml: line 3: `seed` means nothing"),
            ("rule = 'round'", "r.toml: line 2: `rule`: expected \"sign\""),
            ("seed = 1", "`[bipolar]` has no `rule`"),
        ] {
            let found = seed(&format!("[bipolar]\n{text}\n")).unwrap_err();
            assert!(found.contains(want), "{want} is not in\n{found}");
        }
    }

    #[test]
    fn all_problems_at_once_with_their_lines() {
        let text = "[default]\nweight = 'int8'\nactivation = 8\n[calibration]\nmethod = 'best'\n\
                    [[layer]]\nweights = 'int9000'\n[[layer]]\nname = 'a'\nbias = 'int8'\nkeep = 'int8'\n\
                    [[layer]]\nname = 'b'\n";
        let found = read("r.toml", text).unwrap_err().to_string();
        for want in [
            "r.toml: line 2: `weight` means nothing in `[default]`",
            "r.toml: line 3: `activation`: expected text, found a number",
            "r.toml: line 5: `method`: expected minmax",
            "r.toml: line 7: `weights`: `int9000` is no number format",
            "r.toml: line 6: this `[[layer]]` has no `name`",
            "r.toml: line 10: `bias`: a bias is added to sums",
            "r.toml: line 11: `keep`: expected \"float\"",
            "r.toml: line 12: this `[[layer]]` changes nothing",
        ] {
            assert!(found.contains(want), "{want} is not in\n{found}");
        }
        assert!(read("r.toml", "a = = 1").unwrap_err().to_string().contains("r.toml: line 1: is no TOML"));
    }
}
