//! Views to tensors.
//!
//! In: tensors as views, and something that reads the sources that they look at. Out: a state dict's entries in the
//! order of the views. Each source is read once and freed before the next, so that a file is never in memory twice.
//! Refuses: views that cannot be read, each with its key; keys that stand twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use unfloat_ir::{Data, Diagnostic, Tensor};

use super::find::Leaf;
use super::limit::Limit;
use super::problem::{clip, error, warning};
use super::reading::Reading;
use super::state::{Entry, StateDict, Unreadable};
use super::view::{Scale, Source, View, quantized};

/// Findings of one kind that are listed.
const MAX_FINDINGS: usize = 50;

/// Where the bytes of views come from.
pub(crate) trait Storages {
    /// All bytes of a source.
    fn read(&mut self, source: &Source, limit: &mut Limit) -> Result<Cow<'_, [u8]>, String>;
    /// Where a source stands in the file.
    fn place(&self, source: &Source) -> String;
    /// The order of bytes where views do not say it.
    fn big_endian(&self) -> bool;
}

/// A tensor that was read, and whether doubles were rounded.
type Read = Result<(Tensor, bool), String>;

/// Reads the tensors. Those that cannot be read are put aside with the reason.
pub(crate) fn assemble(
    reading: &mut Reading<'_>,
    leaves: Vec<Leaf>,
    storages: &mut dyn Storages,
) -> Vec<Entry> {
    let mut read = read_all(&leaves, storages, &mut reading.limit);
    let mut entries = Vec::with_capacity(leaves.len());
    for (i, leaf) in leaves.into_iter().enumerate() {
        let place = leaf.view.as_ref().map_or(String::new(), |v| storages.place(&v.source));
        let tensor = leaf.view.and_then(|view| {
            let mut part = |n| read.remove(&(i, n)).unwrap_or_else(|| Err("was not read".to_string()));
            let (tensor, was_rounded) = scaled(&view, part(0), &mut part)?;
            Ok((tensor, was_rounded, view.element.name()))
        });
        match tensor {
            Ok((tensor, was_rounded, stored)) => {
                if was_rounded {
                    if reading.rounded.0 == 0 {
                        reading.rounded.1 = clip(&leaf.key);
                    }
                    reading.rounded.0 += 1;
                }
                entries.push(Entry { key: leaf.key, tensor, stored: stored.to_string(), place });
            }
            Err(reason) => reading.unreadable.push(Unreadable { key: leaf.key, place, reason }),
        }
    }
    entries
}

/// Parts of views that must be read: the elements are part 0, scales 1, zero points 2.
fn parts(view: &View) -> Vec<(usize, &View)> {
    match &view.scale {
        Some(Scale::PerChannel { scales, zeros, .. }) => vec![(0, view), (1, scales), (2, zeros)],
        _ => vec![(0, view)],
    }
}

/// Reads every part of every view, source by source.
fn read_all(
    leaves: &[Leaf],
    storages: &mut dyn Storages,
    limit: &mut Limit,
) -> BTreeMap<(usize, usize), Read> {
    let mut jobs: BTreeMap<&Source, Vec<(usize, usize, &View)>> = BTreeMap::new();
    for (i, leaf) in leaves.iter().enumerate() {
        let Ok(view) = &leaf.view else { continue };
        for (part, view) in parts(view) {
            jobs.entry(&view.source).or_default().push((i, part, view));
        }
    }
    let big_endian = storages.big_endian();
    let mut read = BTreeMap::new();
    for (source, jobs) in jobs {
        let bytes = storages.read(source, limit);
        for (leaf, part, view) in jobs {
            let tensor = match &bytes {
                Ok(bytes) => view.read(bytes, big_endian, limit),
                Err(fault) => Err(fault.clone()),
            };
            read.insert((leaf, part), tensor);
        }
    }
    read
}

/// The codes of a view with its scale.
fn scaled(view: &View, codes: Read, part: &mut dyn FnMut(usize) -> Read) -> Read {
    let (tensor, rounded) = codes?;
    let (axis, scale, zero) = match &view.scale {
        None => return Ok((tensor, rounded)),
        Some(Scale::PerTensor { scale, zero }) => (None, vec![*scale as f32], vec![*zero]),
        Some(Scale::PerChannel { axis, .. }) => {
            let scales = part(1).map_err(|e| format!("has scales that {e}"))?.0;
            let zeros = part(2).map_err(|e| format!("has zero points that {e}"))?.0;
            let Data::F32(scales) = scales.data else {
                return Err("has scales that are no floats".to_string());
            };
            let zeros = (0..zeros.len()).map(|i| zeros.data.code(i)).collect::<Option<Vec<i64>>>();
            (Some(*axis), scales, zeros.ok_or("has zero points that are no integers")?)
        }
    };
    Ok((quantized(tensor, view.element, axis, scale, zero)?, rounded))
}

/// Prefixes that wrappers of models put before every key.
const PREFIXES: [(&str, &str); 2] = [("module.", "DataParallel"), ("_orig_mod.", "torch.compile")];

/// Errors about tensors that cannot be read: the first of them, and how many others there are.
pub(crate) fn problems(label: &str, unreadable: &[Unreadable]) -> Vec<Diagnostic> {
    let one = |u: &Unreadable| error(label, &*u.place, format!("`{}` {}", clip(&u.key), u.reason));
    let mut problems: Vec<Diagnostic> = unreadable.iter().take(MAX_FINDINGS).map(one).collect();
    if unreadable.len() > MAX_FINDINGS {
        let others = unreadable.len() - MAX_FINDINGS;
        problems.push(error(label, "", format!("{others} more tensors cannot be read")));
    }
    problems
}

/// A state dict of entries: wrappers' prefixes taken off, each key once. Returns it with all findings.
pub(crate) fn state(reading: Reading<'_>, mut entries: Vec<Entry>) -> (StateDict, Vec<Diagnostic>) {
    let Reading { label, mut findings, rounded: (rounded, first), .. } = reading;
    if rounded > 0 {
        let others = if rounded == 1 { String::new() } else { format!(" and {} others", rounded - 1) };
        let text = format!("`{first}`{others}: doubles were rounded to single precision");
        findings.push(warning(label, text));
    }
    let mut known = true;
    while known && !entries.is_empty() {
        known = false;
        for (prefix, wrapper) in PREFIXES {
            if entries.iter().all(|e| e.key.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())) {
                for entry in &mut entries {
                    entry.key.drain(..prefix.len());
                }
                let text = format!("every key began with `{prefix}`, which {wrapper} adds; it was taken off");
                findings.push(warning(label, text));
                known = true;
            }
        }
    }
    let state = StateDict { label: label.to_string(), entries };
    if let Some(key) = state.duplicate() {
        let text = format!("two tensors are called `{}`", clip(key));
        findings.push(error(label, "", text).help("read one part of the file, with --key PATH"));
    }
    (state, findings)
}
