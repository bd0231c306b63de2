//! Weights filed by `layer_names` and `weight_names`.
//!
//! Order is meaning here: a layer's arrays come as `weight_names` lists them, and a nested model is one entry whose
//! flat list holds all trainable weights of all its layers first, then all others. Where the names in that list tell
//! the layer (`bc/kernel:0`), they are followed, so that a list written with other flags is read right, too.

use std::collections::BTreeMap;

use unfloat_ir::Diagnostic;

use super::{Assigned, Content, Leaf, Owner, Slot, Wants, leaves, variable_name};
use crate::keras::container::WeightSource;
use crate::keras::container::store::{chunked_strings, join};
use crate::keras::problem::{Annotate, clip, error, warning};

/// One group of the file: its path and its arrays by name.
struct Group {
    name: String,
    path: String,
    arrays: Vec<String>,
}

/// Assigns the arrays of a legacy file.
pub(crate) fn assign(source: &WeightSource, owners: &[Owner<'_>], same_file: bool) -> Assigned {
    let mut out = Assigned::default();
    let groups = match read_groups(source) {
        Ok(groups) => groups,
        Err(problems) => {
            out.findings = problems;
            return out;
        }
    };
    for (owner, group) in pair(source, owners, &groups, same_file, &mut out.findings) {
        match distribute(source, owner, group) {
            Ok(found) => out.arrays.extend(found),
            Err(problem) => out.findings.push(*problem),
        }
    }
    out
}

fn read_groups(source: &WeightSource) -> Result<Vec<Group>, Vec<Diagnostic>> {
    let (store, root) = (source.store.as_ref(), source.root.as_str());
    let damaged =
        |place: &str, reason: String| *error(&source.label, place, format!("damaged weights: {reason}"));
    let names = match chunked_strings(store, root, "layer_names") {
        Ok(names) => names.unwrap_or_default(),
        Err(reason) => return Err(vec![damaged(root, reason)]),
    };
    let mut groups = Vec::with_capacity(names.len());
    let mut problems = Vec::new();
    let mut seen = BTreeMap::new();
    for name in names {
        let path = join(root, &name);
        if seen.insert(name.clone(), ()).is_some() {
            problems.push(damaged(&path, format!("layer_names lists '{}' twice", clip(&name))));
            continue;
        }
        match chunked_strings(store, &path, "weight_names") {
            Ok(arrays) => groups.push(Group { name, path, arrays: arrays.unwrap_or_default() }),
            Err(reason) => problems.push(damaged(&path, reason)),
        }
    }
    if problems.is_empty() { Ok(groups) } else { Err(problems) }
}

fn wanted(owner: &Owner<'_>) -> usize {
    leaves(owner).iter().map(|leaf| leaf.wants.slots().len()).sum()
}

fn takes_anything(owner: &Owner<'_>) -> bool {
    matches!(owner.content, Content::Leaf(Wants::Anything))
}

/// Pairs layers with groups: by name, or, when the names differ throughout, in order, as Keras' own loader does.
fn pair<'o, 'a, 'g>(
    source: &WeightSource,
    owners: &'o [Owner<'a>],
    groups: &'g [Group],
    same_file: bool,
    findings: &mut Vec<Diagnostic>,
) -> Vec<(&'o Owner<'a>, &'g Group)> {
    let by_name: BTreeMap<&str, &Group> = groups.iter().map(|group| (group.name.as_str(), group)).collect();
    let needy: Vec<&Owner<'_>> = owners.iter().filter(|owner| wanted(owner) > 0).collect();
    let known: BTreeMap<&str, &Owner<'_>> = owners.iter().map(|owner| (owner.name, owner)).collect();
    let filled: Vec<&Group> = groups
        .iter()
        .filter(|group| {
            !group.arrays.is_empty()
                && !known.get(group.name.as_str()).is_some_and(|owner| takes_anything(owner))
        })
        .collect();
    let missing = needy.iter().filter(|owner| !by_name.contains_key(owner.name)).count();
    let fits = filled.len() == needy.len()
        && filled.iter().zip(&needy).all(|(group, owner)| group.arrays.len() == wanted(owner));
    if missing > 0 && fits && !same_file {
        let message = format!(
            "{missing} layers have other names here than in the architecture; weights are assigned in order"
        );
        findings.push(
            *warning(&source.label, source.root.as_str(), message)
                .with_help("check the outputs against the framework's"),
        );
        return needy.into_iter().zip(filled).collect();
    }
    let mut pairs = Vec::with_capacity(needy.len());
    for owner in &needy {
        match by_name.get(owner.name) {
            Some(group) => pairs.push((*owner, *group)),
            None => {
                let message = format!("the weights are missing: there is no group '{}'", clip(owner.name));
                let problem = error(&source.label, join(&source.root, owner.name), message);
                findings.push(*problem.in_layer(owner.title.clone()));
            }
        }
    }
    for group in filled {
        let owner = known.get(group.name.as_str());
        if owner.is_none_or(|owner| wanted(owner) == 0) {
            let message = format!("{} weights belong to no layer of the architecture", group.arrays.len());
            let problem = error(&source.label, group.path.as_str(), message);
            findings.push(*match owner {
                Some(owner) => problem.in_layer(owner.title.clone()),
                None => problem,
            });
        }
    }
    pairs
}

type Shares = Vec<(Vec<usize>, Vec<String>)>;

/// Splits the arrays of one group among the layers below `owner`.
fn distribute(source: &WeightSource, owner: &Owner<'_>, group: &Group) -> Result<Shares, Box<Diagnostic>> {
    let all = leaves(owner);
    let total: usize = all.iter().map(|leaf| leaf.wants.slots().len()).sum();
    let ignored = |array: &str| all.iter().any(|leaf| leaf.ignored.contains(&variable_name(array)));
    let arrays: Vec<&str> = group.arrays.iter().map(String::as_str).filter(|array| !ignored(array)).collect();
    let places = if all.len() == 1 { None } else { by_layer_name(&all, &arrays) };
    let places = match places {
        Some(places) => places,
        None if arrays.len() == total => in_order(owner),
        None => return Err(miscounted(source, owner, group, &all)),
    };
    let mut shares: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (array, leaf) in arrays.iter().zip(places) {
        shares.entry(leaf).or_default().push(array);
    }
    let mut out = Vec::new();
    for (index, leaf) in all.iter().enumerate() {
        let names = shares.remove(&index).unwrap_or_default();
        if !leaf.wants.slots().is_empty() {
            let names = in_slot_order(leaf, names);
            out.push((leaf.path.to_vec(), names.into_iter().map(|name| join(&group.path, name)).collect()));
        }
    }
    Ok(out)
}

fn miscounted(source: &WeightSource, owner: &Owner<'_>, group: &Group, all: &[Leaf<'_>]) -> Box<Diagnostic> {
    let slots: Vec<String> = all
        .iter()
        .flat_map(|leaf| leaf.wants.slots().iter().map(move |slot| (leaf, slot)))
        .map(
            |(leaf, slot)| {
                if all.len() == 1 { slot.name.to_owned() } else { format!("{}/{}", leaf.name, slot.name) }
            },
        )
        .collect();
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        _ => clip(&names.join(", ")),
    };
    let message = format!(
        "expected {} weights ({}), found {} ({})",
        slots.len(),
        list(&slots),
        group.arrays.len(),
        list(&group.arrays)
    );
    error(&source.label, group.path.as_str(), message).in_layer(owner.title.clone())
}

/// The leaf of every array, when every name tells one and every leaf gets as many as it wants.
fn by_layer_name(all: &[Leaf<'_>], arrays: &[&str]) -> Option<Vec<usize>> {
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, leaf) in all.iter().enumerate() {
        if !leaf.wants.slots().is_empty() && index.insert(leaf.name, position).is_some() {
            return None;
        }
    }
    let mut counts = vec![0usize; all.len()];
    let mut places = Vec::with_capacity(arrays.len());
    for array in arrays {
        let place = match array.rsplit_once('/') {
            Some((owner, _)) => owner.rsplit('/').find_map(|part| index.get(part)),
            // Keras 1: `dense_1_W`.
            None => array.rsplit_once('_').and_then(|(owner, _)| index.get(owner)),
        };
        let place = *place?;
        *counts.get_mut(place)? += 1;
        places.push(place);
    }
    let fits = all.iter().zip(&counts).all(|(leaf, count)| leaf.wants.slots().len() == *count);
    fits.then_some(places)
}

/// The leaf of every array by Keras' rule: trainable weights of all layers, then the others.
fn in_order(owner: &Owner<'_>) -> Vec<usize> {
    fn sections(owner: &Owner<'_>, next: &mut usize) -> (Vec<usize>, Vec<usize>) {
        let (mut trainable, mut fixed) = (Vec::new(), Vec::new());
        match &owner.content {
            Content::Leaf(wants) => {
                for slot in wants.slots() {
                    if slot.trainable { &mut trainable } else { &mut fixed }.push(*next);
                }
                *next += 1;
            }
            Content::Model(owners) => {
                for owner in owners {
                    let (some, others) = sections(owner, next);
                    trainable.extend(some);
                    fixed.extend(others);
                }
            }
        }
        if owner.trainable {
            return (trainable, fixed);
        }
        trainable.extend(fixed);
        (Vec::new(), trainable)
    }
    let (mut trainable, fixed) = sections(owner, &mut 0);
    trainable.extend(fixed);
    trainable
}

/// The arrays of one layer in the order of its slots: as listed, unless the names are those of the slots. Where several
/// groups below the layer have variables of one name (the widths of HGQ2's quantizers, `d/d_iq/…/f`), the group tells
/// them apart.
fn in_slot_order<'n>(leaf: &Leaf<'_>, names: Vec<&'n str>) -> Vec<&'n str> {
    let find = |slot: &Slot| {
        let same = || names.iter().copied().filter(|name| variable_name(name) == slot.name);
        let group = slot.group.split('/').next().unwrap_or_default();
        // The variable, the quantizer that holds it, the layer's own name for that.
        let near = |name: &&str| {
            name.rsplit('/').skip(1).take(2).any(|part| part.strip_suffix(group).is_some_and(ends_word))
        };
        only(same()).or_else(|| only(same().filter(|name| !group.is_empty() && near(name))))
    };
    let named: Option<Vec<&str>> = leaf.wants.slots().iter().map(find).collect();
    named.unwrap_or(names)
}

fn ends_word(text: &str) -> bool {
    text.is_empty() || text.ends_with('_')
}

/// The one item, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}
