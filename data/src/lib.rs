//! Datasets of labelled images, from the files that they come in to a model's inputs.
//!
//! **In:** a path. **Out:** a [`Source`], which tells what it holds and then hands out one [`Sample`] after the other, in
//! an order that the files alone decide; never are all samples in memory. **Refuses:** files that are no dataset, counts
//! that do not fit each other, labels that no class has, each with file and place. Nothing that a file names is run.
//!
//! | module | does |
//! |---|---|
//! | [`cifar`] | CIFAR-10 and CIFAR-100, binary files and Python's pickles |
//! | [`idx`] | IDX, as MNIST and Fashion-MNIST come, compressed or not |
//! | [`npz`] | NumPy archives with `x` and `y` |
//! | [`folder`] | folders of images, `LABEL_INDEX.bmp` or `LABEL/…` |
//! | [`picture`] | bmp, png and jpg, to and from bytes |
//! | [`prepare`] | samples to a model's input: scale, mean, deviation, order of axes |
//!
//! To add a format: a file here with a [`Source`], and a line in [`open`].
#![forbid(unsafe_code)]

pub mod cifar;
pub mod folder;
pub mod idx;
pub mod npz;
pub mod picture;
pub mod prepare;

mod fault;

use fault::{error, io_error};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics, Layout};

/// Which part of a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// What a model is trained on.
    Train,
    /// What it is tested on.
    Test,
}

impl Split {
    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

/// What the user says about a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Which part of a folder that has both; the test part if nothing is said.
    pub split: Option<Split>,
    /// Whether the labels of CIFAR-100 are its 20 groups, and not its 100 classes.
    pub coarse: bool,
}

/// The classes of a dataset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Classes {
    /// Exactly these, by number.
    Named(Vec<String>),
    /// This many, without names.
    Count(usize),
    /// Labels are numbers, and how many there can be is not said.
    Open,
}

/// What a dataset holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// What kind of files.
    pub format: &'static str,
    /// How many samples.
    pub count: usize,
    /// The classes.
    pub classes: Classes,
}

/// The elements of a sample.
#[derive(Clone, PartialEq, Debug)]
pub enum Values<'s> {
    /// Pixels from 0 to 255.
    Bytes(Cow<'s, [u8]>),
    /// Any numbers.
    Numbers(Vec<f32>),
}

/// One image or other input, with its class.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample<'s> {
    /// What it is called in reports: a file's path below its folder, or `LABEL_INDEX`.
    pub name: String,
    /// The number of its class.
    pub label: usize,
    /// The elements in row-major order.
    pub values: Values<'s>,
    /// The extents.
    pub shape: Vec<usize>,
    /// What the axes are, if the format says it: `hwc` or `chw`.
    pub layout: Option<Layout>,
}

/// Takes samples; an error ends the walk.
pub type Visit<'v> = dyn FnMut(Sample<'_>) -> Result<(), Diagnostics> + 'v;

/// A dataset.
pub trait Source {
    /// What it holds.
    fn description(&self) -> &Description;

    /// Hands out every sample in order, the same each time.
    ///
    /// # Errors
    /// When the files are not what they were, or are damaged; and what `visit` returns.
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), Diagnostics>;
}

/// What every message about an unknown file says.
const READ: &str = "CIFAR-10 and CIFAR-100 (binary or Python), IDX (.gz or not), .npz with x and y, and folders of images \
                    named LABEL_INDEX.bmp or LABEL/… are read";

/// Opens a dataset, whose format the content tells.
///
/// # Errors
/// When it is none that is known, or is damaged where that shows at once.
pub fn open(path: &Path, options: &Options) -> Result<Box<dyn Source>, Diagnostics> {
    let misplaced = |has: bool, flag: &str| {
        has.then(|| error(path, "", format!("{flag} says nothing about this dataset")))
    };
    let source = if path.is_dir() { open_folder(path, options)? } else { open_file(path, options)? };
    let cifar = source.description().format.starts_with(cifar::HUNDRED);
    let found: Vec<Diagnostic> = misplaced(options.coarse && !cifar, "--coarse").into_iter().collect();
    Diagnostics(found).into_result(source)
}

fn open_folder(path: &Path, options: &Options) -> Result<Box<dyn Source>, Diagnostics> {
    let found = splits(path)?;
    if found.is_empty() {
        if options.split.is_some() {
            let text = "--split is for folders with CIFAR's or MNIST's own files, which this is not";
            return Err(error(path, "", text).help("give the folder of the part that you mean").into());
        }
        return Ok(Box::new(folder::Folder::open(path)?));
    }
    let split = options.split.unwrap_or(Split::Test);
    if !found.contains(&split) {
        let there: Vec<&str> = found.iter().map(|s| s.name()).collect();
        let text = format!("has no {} part", split.name());
        return Err(error(path, "", text).help(format!("there is: {}", there.join(", "))).into());
    }
    match cifar::Cifar::open_folder(path, split, options.coarse)? {
        Some(cifar) => Ok(Box::new(cifar)),
        None => Ok(Box::new(idx::Idx::open_folder(path, split)?)),
    }
}

/// Which parts a folder with a dataset's own files has; nothing for folders of images.
///
/// # Errors
/// When the folder cannot be listed.
pub fn splits(path: &Path) -> Result<Vec<Split>, Diagnostic> {
    let names = fault::names(path)?;
    let has = |split: &Split| cifar::has(&names, *split) || idx::pair(&names, *split).is_some();
    Ok([Split::Train, Split::Test].into_iter().filter(has).collect())
}

fn open_file(path: &Path, options: &Options) -> Result<Box<dyn Source>, Diagnostics> {
    fault::check_regular(path)?;
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    file.take(512).read_to_end(&mut head).map_err(|e| io_error(path, &e))?;
    let is_archive = head.starts_with(b"PK");
    if options.split.is_some() && !is_archive {
        return Err(error(path, "", "--split is for folders and .npz; this is a file of one part").into());
    }
    let is_named_bin = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin"));
    match head.as_slice() {
        [b'P', b'K', 3 | 5, _, ..] => Ok(Box::new(npz::NpzSet::open(path, options.split)?)),
        [0x80, 0..=5, ..] | [b'(' | b'}', ..] => {
            Ok(Box::new(cifar::Cifar::open_file(path, cifar::Form::Pickle, options.coarse)?))
        }
        _ if is_named_bin => {
            Ok(Box::new(cifar::Cifar::open_file(path, cifar::Form::Binary, options.coarse)?))
        }
        [0x1f, 0x8b, ..] | [0, 0, 8..=14, 1..=8, ..] => Ok(Box::new(idx::Idx::open(path)?)),
        _ => {
            let bytes: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            let text = match bytes.is_empty() {
                true => "the file is empty".to_string(),
                false => format!("no dataset that is known here: it begins with {}", bytes.join(" ")),
            };
            Err(error(path, "", text).help(READ).into())
        }
    }
}
