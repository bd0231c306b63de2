//! CIFAR-10 and CIFAR-100, in the files that their authors give out.
//!
//! In: a folder (`cifar-10-batches-py`, `cifar-10-batches-bin`, `cifar-100-python`, `cifar-100-binary`) or one file of it.
//! Out: images of 32×32 in three planes (red, green, blue), in the order of the batches; the indices count on over
//! `data_batch_1` … `data_batch_5`. Names of classes come from `batches.meta`, `batches.meta.txt`, `meta`,
//! `fine_label_names.txt` or `coarse_label_names.txt` beside the files. Refuses: files that do not hold whole images,
//! labels that the dataset does not have.
//!
//! | module | reads |
//! |---|---|
//! | `binary` | `.bin`: a byte for the label (two in CIFAR-100, group and class), 3072 for the pixels |
//! | `pickled` | Python's pickles: `data`, and `labels`, `fine_labels` or `coarse_labels` |

mod binary;
mod pickled;

use crate::fault::{check_regular, error, names};
use crate::{Classes, Description, Sample, Source, Split, Values, Visit};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use unfloat_ir::{Diagnostic, Diagnostics, Layout};

/// Bytes of an image.
const PIXELS: usize = 3 * 32 * 32;
/// Takes labels with pixels; an error ends the walk.
type Take<'t> = dyn FnMut(usize, &[u8]) -> Result<(), Diagnostics> + 't;

/// How CIFAR-100 is described.
pub(crate) const HUNDRED: &str = "CIFAR-100";

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Records of bytes.
    Binary,
    /// A pickle of Python.
    Pickle,
}

/// Which set of labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Labels {
    Ten,
    Fine,
    Coarse,
}

impl Labels {
    fn count(self) -> usize {
        match self {
            Labels::Ten => 10,
            Labels::Fine => 100,
            Labels::Coarse => 20,
        }
    }
    fn of(is_hundred: bool, coarse: bool) -> Self {
        match (is_hundred, coarse) {
            (false, _) => Labels::Ten,
            (true, false) => Labels::Fine,
            (true, true) => Labels::Coarse,
        }
    }
}

/// A dataset.
pub struct Cifar {
    files: Vec<PathBuf>,
    form: Form,
    labels: Labels,
    description: Description,
}

/// The files of a part: CIFAR-10's, then CIFAR-100's, as pickles and as records.
fn known(split: Split) -> [(Form, bool, Vec<String>); 4] {
    let batches = |end: &str| match split {
        Split::Train => (1..=5).map(|i| format!("data_batch_{i}{end}")).collect(),
        Split::Test => vec![format!("test_batch{end}")],
    };
    let one = |end: &str| vec![format!("{}{end}", split.name())];
    [
        (Form::Pickle, false, batches("")),
        (Form::Binary, false, batches(".bin")),
        (Form::Pickle, true, one("")),
        (Form::Binary, true, one(".bin")),
    ]
}

/// Whether a folder with these names has that part. A folder `train` or `test` is not meant: images lie in such.
pub(crate) fn has(names: &[String], split: Split) -> bool {
    find(names, split).is_some()
}

fn find(names: &[String], split: Split) -> Option<(Form, bool, Vec<String>)> {
    let is_hundred = names.iter().any(|n| n == "meta");
    known(split).into_iter().find_map(|(form, hundred, files)| {
        // `train` alone may be anything; CIFAR-100 in Python has `meta` beside it.
        let sure = form == Form::Binary || !hundred || is_hundred;
        let there: Vec<String> = files.into_iter().filter(|f| names.contains(f)).collect();
        (sure && !there.is_empty()).then_some((form, hundred, there))
    })
}

impl Cifar {
    /// A part of a folder; nothing if the folder has none of the files.
    pub(crate) fn open_folder(path: &Path, split: Split, coarse: bool) -> Result<Option<Self>, Diagnostics> {
        let names = names(path)?;
        let Some((form, is_hundred, found)) = find(&names, split) else { return Ok(None) };
        let files = found.iter().map(|name| path.join(name)).collect();
        Self::new(files, form, Labels::of(is_hundred, coarse), path).map(Some)
    }

    /// One file.
    pub(crate) fn open_file(path: &Path, form: Form, coarse: bool) -> Result<Self, Diagnostics> {
        let is_hundred = match form {
            Form::Pickle => pickled::is_hundred(path)?,
            Form::Binary => binary::is_hundred(path)?,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::new(vec![path.to_path_buf()], form, Labels::of(is_hundred, coarse), folder)
    }

    fn new(files: Vec<PathBuf>, form: Form, labels: Labels, folder: &Path) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new();
        let mut count = 0usize;
        for file in &files {
            let counted = check_regular(file).and_then(|()| match form {
                Form::Binary => binary::count(file, labels),
                Form::Pickle => pickled::Batch::read(file, labels).map(|b| b.labels.len()),
            });
            match counted {
                Ok(n) => count += n,
                Err(e) => found.push(e),
            }
        }
        let named = class_names(folder, labels).unwrap_or_else(|e| {
            found.push(e);
            None
        });
        let format = match (labels, form) {
            (Labels::Ten, Form::Binary) => "CIFAR-10 binary",
            (Labels::Ten, Form::Pickle) => "CIFAR-10 Python",
            (_, Form::Binary) => "CIFAR-100 binary",
            (_, Form::Pickle) => "CIFAR-100 Python",
        };
        let classes = named.map_or(Classes::Count(labels.count()), Classes::Named);
        found.into_result(Self { files, form, labels, description: Description { format, count, classes } })
    }
}

/// The names of the classes, where the files beside say them.
fn class_names(folder: &Path, labels: Labels) -> Result<Option<Vec<String>>, Diagnostic> {
    let (pickle, key, text) = match labels {
        Labels::Ten => ("batches.meta", "label_names", "batches.meta.txt"),
        Labels::Fine => ("meta", "fine_label_names", "fine_label_names.txt"),
        Labels::Coarse => ("meta", "coarse_label_names", "coarse_label_names.txt"),
    };
    let (pickle, text) = (folder.join(pickle), folder.join(text));
    let (path, names) = if pickle.is_file() {
        let names = pickled::class_names(&pickle, key)?;
        (pickle, names)
    } else if text.is_file() {
        let names = binary::class_names(&text)?;
        (text, names)
    } else {
        return Ok(None);
    };
    match names.len() == labels.count() {
        true => Ok(Some(names)),
        false => {
            let said = format!("names {} classes, and the dataset has {}", names.len(), labels.count());
            Err(error(&path, "", said))
        }
    }
}

impl Source for Cifar {
    fn description(&self) -> &Description {
        &self.description
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<(), Diagnostics> {
        let mut index = 0usize;
        let mut take = |label: usize, pixels: &[u8]| {
            let sample = Sample {
                name: format!("{label}_{index}"),
                label,
                values: Values::Bytes(Cow::Borrowed(pixels)),
                shape: vec![3, 32, 32],
                layout: Some(Layout::channels_first(2)),
            };
            index += 1;
            visit(sample)
        };
        for file in &self.files {
            match self.form {
                Form::Binary => binary::each(file, self.labels, &mut take)?,
                Form::Pickle => pickled::Batch::read(file, self.labels)?.each(&mut take)?,
            }
        }
        Ok(())
    }
}
