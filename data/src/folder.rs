//! Folders of images: `LABEL_INDEX.bmp` side by side, or a folder for each label.
//!
//! In: a folder with files of bmp, png or jpg; other files in it are no samples. Out: the images, one in memory at a time.
//! Where every label is a whole number, it is the class; otherwise the labels in the order of their bytes are classes 0,
//! 1, 2, …. Samples come sorted by class, then by index, then by name. Refuses: images beside folders of images, names
//! that are no `LABEL_INDEX`, all of them at once.

use crate::fault::{check_regular, clip, error, io_error, names};
use crate::picture::{self, is_image};
use crate::{Classes, Description, READ, Sample, Source, Values, Visit};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use unfloat_ir::{Diagnostic, Diagnostics, Layout};

/// Names that one message lists.
const LISTED: usize = 10;
/// The greatest number that is taken for a class.
const MOST: usize = 1_000_000;

/// A dataset.
pub struct Folder {
    path: PathBuf,
    /// Class and path below the folder.
    images: Vec<(usize, String)>,
    description: Description,
}

/// An image before the labels are numbers.
struct Found {
    label: String,
    index: u64,
    name: String,
}

impl Folder {
    /// Lists a folder.
    pub(crate) fn open(path: &Path) -> Result<Self, Diagnostics> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for name in names(path)? {
            match path.join(&name).is_dir() {
                true if !name.starts_with('.') => folders.push(name),
                false if is_image(&name) && !name.starts_with('.') => files.push(name),
                _ => {}
            }
        }
        let mut inside = Vec::new();
        for folder in &folders {
            let images =
                names(&path.join(folder))?.into_iter().filter(|n| is_image(n) && !n.starts_with('.'));
            inside.extend(images.map(|name| Found {
                label: folder.clone(),
                index: 0,
                name: format!("{folder}/{name}"),
            }));
        }
        let found = match (files.is_empty(), inside.is_empty()) {
            (true, true) => {
                return Err(error(path, "", "has no images and no dataset's files").help(READ).into());
            }
            (false, false) => {
                let text = format!("has {} images beside folders with images", files.len());
                return Err(error(path, "", text)
                    .help("give one folder of images, or one folder per label")
                    .into());
            }
            (true, false) => inside,
            (false, true) => named(path, files)?,
        };
        Self::new(path, found).map_err(Into::into)
    }

    fn new(path: &Path, mut found: Vec<Found>) -> Result<Self, Diagnostic> {
        let labels: BTreeSet<String> = found.iter().map(|f| f.label.clone()).collect();
        let is_number = |l: &String| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit());
        let numbers = labels.iter().all(is_number);
        let named: Vec<String> = labels.into_iter().collect();
        let class = |label: &str| match numbers {
            true => label.parse().ok().filter(|n| *n <= MOST),
            false => named.binary_search_by(|l| l.as_str().cmp(label)).ok(),
        };
        found.sort_by(|a, b| {
            let key = |f: &Found| (class(&f.label), f.index);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        let image = |f: Found| {
            let class = class(&f.label);
            class
                .map(|c| (c, f.name))
                .ok_or_else(|| error(path, "", format!("the label `{}` is beyond {MOST}", clip(&f.label))))
        };
        let images = found.into_iter().map(image).collect::<Result<Vec<_>, _>>()?;
        let classes = if numbers { Classes::Open } else { Classes::Named(named) };
        let description = Description { format: "image folder", count: images.len(), classes };
        Ok(Self { path: path.to_path_buf(), images, description })
    }
}

/// Labels and indices from names, `3_17.bmp`.
fn named(path: &Path, files: Vec<String>) -> Result<Vec<Found>, Diagnostic> {
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for name in files {
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let parts = stem.rsplit_once('_').filter(|(label, _)| !label.is_empty());
        match parts.and_then(|(label, index)| Some((label.to_string(), index.parse().ok()?))) {
            Some((label, index)) => found.push(Found { label, index, name }),
            None => wrong.push(clip(&name)),
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    let more = if wrong.len() > LISTED { ", …" } else { "" };
    let listed: Vec<&str> = wrong.iter().take(LISTED).map(String::as_str).collect();
    let text = format!("{} images have no label in their names: {}{more}", wrong.len(), listed.join(", "));
    Err(error(path, "", text).help("name them LABEL_INDEX.bmp, or put them into a folder for each label"))
}

impl Source for Folder {
    fn description(&self) -> &Description {
        &self.description
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<(), Diagnostics> {
        for (label, name) in &self.images {
            let path = self.path.join(name);
            check_regular(&path)?;
            let bytes = std::fs::read(&path).map_err(|e| io_error(&path, &e))?;
            let picture = picture::decode(&bytes).map_err(|e| error(&path, "", e))?;
            visit(Sample {
                name: name.clone(),
                label: *label,
                values: Values::Bytes(Cow::Owned(picture.pixels)),
                shape: picture.shape.to_vec(),
                layout: Some(Layout::channels_last(2)),
            })?;
        }
        Ok(())
    }
}
