//! Weights filed as `layers/<snake case class>/vars/<i>`.
//!
//! The groups are not called after the layers: every container counts its layers per class (`conv2d`, `conv2d_1`).
//! The attribute `name` of `vars`, where there is one, holds the layer's real name and is compared.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::Diagnostic;

use super::{Assigned, Content, Owner, Wants};
use crate::keras::container::WeightSource;
use crate::keras::container::store::{ReadError, join, scalar_string};
use crate::keras::problem::{Annotate, clip, error, warning};

/// Assigns the arrays of a numbered file.
pub(crate) fn assign(source: &WeightSource, owners: &[Owner<'_>], same_file: bool) -> Assigned {
    let mut walk = Walk { source, same_file, out: Assigned::default() };
    walk.container(&source.root, owners);
    walk.out
}

struct Walk<'s> {
    source: &'s WeightSource,
    same_file: bool,
    out: Assigned,
}

impl Walk<'_> {
    fn container(&mut self, group: &str, owners: &[Owner<'_>]) {
        let base = join(group, "layers");
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for owner in owners.iter().filter(|owner| owner.counted) {
            let class = snake_case(owner.class);
            let count = counts.entry(class.clone()).or_insert(0);
            let name = if *count == 0 { class } else { format!("{class}_{count}") };
            *count += 1;
            let path = join(&base, &name);
            known.insert(name);
            match &owner.content {
                Content::Model(inner) => {
                    self.check_name(owner, &join(&path, "vars"));
                    self.container(&path, inner);
                }
                Content::Leaf(Wants::Anything) => {}
                Content::Leaf(Wants::Slots(_)) => self.leaf(owner, &path),
            }
        }
        self.left_over(&base, &known);
    }

    fn leaf(&mut self, owner: &Owner<'_>, path: &str) {
        let Content::Leaf(wants) = &owner.content else { return };
        let slots = wants.slots();
        self.check_name(owner, &join(path, "vars"));
        let base = if owner.inner.is_empty() { path.to_owned() } else { join(path, owner.inner) };
        let mut groups: Vec<&str> = vec![""];
        for slot in slots {
            if !groups.contains(&slot.group) {
                groups.push(slot.group);
            }
        }
        let mut found: BTreeMap<&str, std::vec::IntoIter<String>> = BTreeMap::new();
        for group in groups {
            let names: Vec<&str> =
                slots.iter().filter(|slot| slot.group == group).map(|slot| slot.name).collect();
            let at = if group.is_empty() { base.clone() } else { join(&base, group) };
            match self.arrays_of(&join(&at, "vars"), &names, owner.ignored) {
                Ok(arrays) => {
                    found.insert(group, arrays.into_iter());
                }
                Err(problem) => {
                    self.out.findings.push(*problem.in_layer(owner.title.clone()));
                    return;
                }
            }
        }
        let arrays: Vec<String> =
            slots.iter().filter_map(|slot| found.get_mut(slot.group).and_then(Iterator::next)).collect();
        self.out.arrays.insert(owner.path.clone(), arrays);
    }

    /// The arrays of one group, which must be as many as the names.
    fn arrays_of(
        &self,
        vars: &str,
        names: &[&str],
        ignored: &[&str],
    ) -> Result<Vec<String>, Box<Diagnostic>> {
        let found = if self.source.store.has_group(vars) { self.numbers(vars, ignored) } else { Ok(0) };
        let problem = match found {
            // A counter of the training, if it is numbered at all, comes last.
            Ok(count) if (names.len()..=names.len() + ignored.len()).contains(&count) => {
                return Ok((0..names.len()).map(|index| join(vars, &index.to_string())).collect());
            }
            Ok(count) => {
                let wanted = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                format!("expected {} weights ({wanted}), found {count}", names.len())
            }
            Err(reason) => format!("damaged weights: {reason}"),
        };
        Err(error(&self.source.label, vars, problem))
    }

    /// Count of the arrays `0`, `1`, … of a group; gaps are errors.
    fn numbers(&self, vars: &str, ignored: &[&str]) -> Result<usize, ReadError> {
        let members = self.source.store.members(vars)?;
        let mut numbers = BTreeSet::new();
        let counts = |name: &str| !ignored.contains(&name);
        for member in members.iter().filter(|member| !member.is_group && counts(&member.name)) {
            let number = member
                .name
                .parse::<usize>()
                .map_err(|_| format!("'{}' is not a number", clip(&member.name)))?;
            numbers.insert(number);
        }
        match numbers.iter().enumerate().find(|(index, number)| index != *number) {
            None => Ok(numbers.len()),
            Some((index, _)) => Err(format!("array {index} is missing")),
        }
    }

    fn check_name(&mut self, owner: &Owner<'_>, vars: &str) {
        let store = self.source.store.as_ref();
        if !store.has_group(vars) {
            return;
        }
        let name = match scalar_string(store, vars, "name") {
            Ok(Some(name)) if name != owner.name => name,
            _ => return,
        };
        let message = format!("these weights are marked as those of layer '{}'", clip(&name));
        let finding = if self.same_file {
            error(&self.source.label, vars, message)
                .with_help("architecture and weights do not belong together")
        } else {
            warning(&self.source.label, vars, format!("{message}; they are assigned in order"))
                .with_help("check the outputs against the framework's")
        };
        self.out.findings.push(*finding.in_layer(owner.title.clone()));
    }

    /// Groups with arrays that no layer of the architecture accounts for.
    fn left_over(&mut self, base: &str, known: &BTreeSet<String>) {
        let store = self.source.store.as_ref();
        if !store.has_group(base) {
            return;
        }
        let members = match store.members(base) {
            Ok(members) => members,
            Err(reason) => {
                let message = format!("damaged weights: {reason}");
                self.out.findings.push(*error(&self.source.label, base, message));
                return;
            }
        };
        for member in members.iter().filter(|member| member.is_group && !known.contains(&member.name)) {
            let vars = format!("{base}/{}/vars", member.name);
            let count = if store.has_group(&vars) { self.numbers(&vars, &[]).unwrap_or(1) } else { 0 };
            if count > 0 {
                let message = format!("{count} weights belong to no layer of the architecture");
                self.out.findings.push(*error(&self.source.label, vars, message));
            }
        }
    }
}

/// Keras' own rule: two substitutions, `(.)([A-Z][a-z]+)` and `([a-z])([A-Z])`, each by `\1_\2`, then lower case.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut first = Vec::with_capacity(letters.len() + 4);
    let mut rest = letters.as_slice();
    while let [head, tail @ ..] = rest {
        first.push(*head);
        rest = tail;
        let word = match tail {
            [upper, lower @ ..] if upper.is_ascii_uppercase() => {
                lower.iter().take_while(|c| c.is_ascii_lowercase()).count()
            }
            _ => 0,
        };
        if word > 0 {
            first.push('_');
            first.extend(tail.iter().take(word + 1));
            rest = tail.get(word + 1..).unwrap_or_default();
        }
    }
    let mut out = String::new();
    let mut previous = ' ';
    for c in first {
        if previous.is_ascii_lowercase() && c.is_ascii_uppercase() {
            out.push('_');
        }
        previous = c;
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn classes_are_spelled_as_keras_spells_them() {
        for (class, wanted) in [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("BatchNormalization", "batch_normalization"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("GlobalAveragePooling1D", "global_average_pooling1d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("InputLayer", "input_layer"),
            ("Functional", "functional"),
            ("UpSampling2D", "up_sampling2d"),
            ("ZeroPadding3D", "zero_padding3d"),
        ] {
            assert_eq!(snake_case(class), wanted);
        }
    }
}
