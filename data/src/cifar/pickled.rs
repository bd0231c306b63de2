//! CIFAR's files for Python: a pickled dictionary of an array and a list.
//!
//! In: a path. Out: labels and pixels, one batch in memory at a time. Nothing in a pickle runs. Refuses: pickles without
//! `data` of bytes, 3072 to an image, or with as many labels as images; labels beyond the classes.

use super::{Labels, PIXELS, Take};
use crate::fault::{check_regular, clip, error, io_error};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics};
use unfloat_pickle::{Binary, Input, Pickle, Record, numpy, parse};

/// One file.
pub(super) struct Batch {
    pixels: Vec<u8>,
    pub(super) labels: Vec<usize>,
}

fn read(path: &Path) -> Result<Pickle, Diagnostic> {
    check_regular(path)?;
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    let size = file.metadata().map_err(|e| io_error(path, &e))?.len();
    parse(&mut Input::new(&mut BufReader::new(file), size)).map_err(|e| error(path, "", e))
}

/// Whether a batch is one of CIFAR-100.
pub(super) fn is_hundred(path: &Path) -> Result<bool, Diagnostic> {
    let pickle = read(path)?;
    Ok(pickle.item(pickle.root, "fine_labels").is_some())
}

/// A list of names in a dictionary.
pub(super) fn class_names(path: &Path, key: &str) -> Result<Vec<String>, Diagnostic> {
    let pickle = read(path)?;
    let names = pickle.item(pickle.root, key).and_then(|id| pickle.elements(id)).and_then(|items| {
        items.iter().map(|&id| pickle.name(id).map(|n| clip(&n))).collect::<Option<Vec<String>>>()
    });
    names.ok_or_else(|| error(path, "", format!("has no list `{key}` of names")))
}

impl Batch {
    /// Reads a file.
    pub(super) fn read(path: &Path, labels: Labels) -> Result<Self, Diagnostic> {
        let pickle = read(path)?;
        let fault = |text: String| {
            error(path, "", text)
                .help("expected one of CIFAR's own batches, a dictionary with `data` and labels")
        };
        let pixels = pixels(&pickle).map_err(fault)?;
        let key = match labels {
            Labels::Ten => "labels",
            Labels::Fine => "fine_labels",
            Labels::Coarse => "coarse_labels",
        };
        let items = pickle.item(pickle.root, key).and_then(|id| pickle.elements(id));
        let items = items.ok_or_else(|| fault(format!("has no list `{key}`")))?;
        let count = pixels.len() / PIXELS;
        if items.len() != count {
            return Err(fault(format!("holds {count} images and {} labels", items.len())));
        }
        let label = |(i, &id): (usize, &unfloat_pickle::Id)| {
            let label = pickle.int(id).and_then(|n| usize::try_from(n).ok()).filter(|n| *n < labels.count());
            label.ok_or_else(|| {
                error(path, format!("`{key}`[{i}]"), format!("is no class from 0 to {}", labels.count() - 1))
            })
        };
        let labels = items.iter().enumerate().map(label).collect::<Result<_, _>>()?;
        Ok(Self { pixels, labels })
    }

    /// Hands out the images.
    pub(super) fn each(&self, take: &mut Take<'_>) -> Result<(), Diagnostics> {
        self.labels.iter().zip(self.pixels.chunks_exact(PIXELS)).try_for_each(|(&l, p)| take(l, p))
    }
}

/// The array `data`, a row for each image.
fn pixels(pickle: &Pickle) -> Result<Vec<u8>, String> {
    if !matches!(pickle.get(pickle.root), Record::Dict(_)) {
        return Err("is a pickle of something that is no dictionary".to_string());
    }
    let id = pickle.item(pickle.root, "data").ok_or("has no `data`")?;
    let array = pickle.object(id).and_then(|object| numpy::array(pickle, object));
    let array = array.ok_or("has `data` that is no array of NumPy")?;
    if !matches!(array.letters(), "u1" | "uint8") || array.fortran {
        let code = clip(array.code.as_deref().unwrap_or("?"));
        return Err(format!("has `data` of type `{code}`, not bytes in C order"));
    }
    let extents = array.extents(pickle, 2).filter(|e| e.len() == 2 && e[1] == PIXELS);
    let extents = extents.ok_or_else(|| format!("has `data` of another shape than (N, {PIXELS})"))?;
    let binary: Binary = pickle.binary(array.data).ok_or("has `data` without bytes")?;
    let bytes = pickle.read(binary)?;
    match extents[0].checked_mul(PIXELS) == Some(bytes.len()) {
        true => Ok(bytes.into_owned()),
        false => Err(format!("has `data` of {} images in {} bytes", extents[0], bytes.len())),
    }
}
