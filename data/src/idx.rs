//! IDX, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST, compressed with gzip or not.
//!
//! In: a folder with `train-images-idx3-ubyte` and its kin, or a file of images, whose labels lie beside it under the same
//! name with `labels` for `images` and `idx1` for `idx3`. Out: images of one channel (three axes in the file) or of
//! several (four, channels last), one in memory at a time. Refuses: elements other than bytes, files that are longer or
//! shorter than their headers say, labels that are not as many as the images.

use crate::fault::{check_regular, error, io_error, names};
use crate::{Classes, Description, Sample, Source, Split, Values, Visit};
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use unfloat_ir::{Diagnostic, Diagnostics, Layout};

/// The letter of bytes in a header.
const BYTES: u8 = 8;
/// The longest axis of an image, and the most pixels.
const MOST: u64 = 1 << 26;

/// A dataset.
pub struct Idx {
    images: PathBuf,
    /// The extents of an image: height, width, channels.
    shape: Vec<usize>,
    labels: Vec<u8>,
    description: Description,
}

/// The files of images and labels in a folder with these names.
pub(crate) fn pair(names: &[String], split: Split) -> Option<(String, String)> {
    let starts: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
    };
    let of = |what: &str| {
        names.iter().find(|name| {
            let rest = starts.iter().find_map(|s| name.strip_prefix(s));
            let rest = rest.and_then(|r| r.strip_prefix(['-', '_'])).and_then(|r| r.strip_prefix(what));
            rest.is_some_and(|r| r.starts_with(['-', '.', '_']) && r.contains("idx"))
        })
    };
    Some((of("images")?.clone(), of("labels")?.clone()))
}

/// A file's bytes, unpacked on the way.
fn source(path: &Path) -> Result<Box<dyn Read>, Diagnostic> {
    check_regular(path)?;
    let open =
        || File::open(path).map(|f| BufReader::with_capacity(1 << 16, f)).map_err(|e| io_error(path, &e));
    let mut magic = Vec::new();
    open()?.take(2).read_to_end(&mut magic).map_err(|e| io_error(path, &e))?;
    let file = open()?;
    Ok(if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Exactly `len` bytes, or the reason why not. Room is made as they come.
fn bytes(path: &Path, from: &mut dyn Read, len: u64, place: &str) -> Result<Vec<u8>, Diagnostic> {
    let mut out = Vec::new();
    from.take(len).read_to_end(&mut out).map_err(|e| error(path, place, format!("cannot be read: {e}")))?;
    match out.len() as u64 == len {
        true => Ok(out),
        false => {
            Err(error(path, place, format!("ends too early: {len} bytes expected, {} found", out.len())))
        }
    }
}

/// The extents in a header.
fn header(path: &Path, from: &mut dyn Read) -> Result<Vec<usize>, Diagnostic> {
    let magic = bytes(path, from, 4, "header")?;
    let [0, 0, kind, rank] = magic[..] else {
        let text = "is no IDX file: it does not begin with two zeros";
        return Err(error(path, "header", text).help("if it is a tar archive, unpack it first"));
    };
    if kind != BYTES {
        return Err(error(
            path,
            "header",
            format!("elements of the kind {kind:#04x}; bytes (0x08) are read"),
        ));
    }
    if !(1..=4).contains(&rank) {
        return Err(error(path, "header", format!("{rank} axes; labels have one, images three or four")));
    }
    let dims = bytes(path, from, 4 * u64::from(rank), "header")?;
    let (dims, _) = dims.as_chunks::<4>();
    Ok(dims.iter().map(|&d| u32::from_be_bytes(d) as usize).collect())
}

/// Refuses bytes behind the last element.
fn end(path: &Path, from: &mut dyn Read) -> Result<(), Diagnostic> {
    let mut more = Vec::new();
    from.take(1).read_to_end(&mut more).map_err(|e| io_error(path, &e))?;
    match more.is_empty() {
        true => Ok(()),
        false => Err(error(path, "", "is longer than its header says")),
    }
}

fn read_labels(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let mut from = source(path)?;
    let dims = header(path, &mut *from)?;
    let [count] = dims[..] else {
        return Err(error(path, "header", format!("labels have one axis, found {}", dims.len())));
    };
    let labels = bytes(path, &mut *from, count as u64, "labels")?;
    end(path, &mut *from)?;
    Ok(labels)
}

/// How many images, and their extents.
fn image_header(path: &Path, from: &mut dyn Read) -> Result<(usize, Vec<usize>), Diagnostic> {
    let dims = header(path, from)?;
    let (count, shape) = match dims[..] {
        [count, h, w] => (count, vec![h, w, 1]),
        [count, h, w, c] => (count, vec![h, w, c]),
        _ => {
            let text = format!("images have three or four axes, found {}", dims.len());
            return Err(error(path, "header", text)
                .help("give the file of images; that of labels is found beside it"));
        }
    };
    let pixels =
        shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|n| (1..=MOST).contains(n));
    match pixels {
        Some(_) => Ok((count, shape)),
        None => Err(error(path, "header", format!("images of {shape:?}; at most {MOST} elements are read"))),
    }
}

/// Where the labels of a file of images lie.
fn beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let stem = name.strip_suffix(".gz").unwrap_or(name).replace("images", "labels");
    let stem = stem.replace("idx3", "idx1").replace("idx4", "idx1");
    let both = [stem.clone(), format!("{stem}.gz")].map(|name| images.with_file_name(name));
    both.into_iter().find(|path| path != images && path.is_file())
}

impl Idx {
    /// A file of images with its labels beside it.
    pub(crate) fn open(images: &Path) -> Result<Self, Diagnostics> {
        image_header(images, &mut *source(images)?)?;
        let labels = beside(images).ok_or_else(|| {
            error(images, "", "there are no labels beside these images").help(
                "they are looked for under the same name with `labels` for `images` and `idx1` for `idx3`",
            )
        })?;
        Self::new(images.to_path_buf(), &labels)
    }

    /// A part of a folder.
    pub(crate) fn open_folder(path: &Path, split: Split) -> Result<Self, Diagnostics> {
        let (images, labels) = pair(&names(path)?, split)
            .ok_or_else(|| error(path, "", format!("has no {} part in IDX files", split.name())))?;
        Self::new(path.join(images), &path.join(labels))
    }

    fn new(images: PathBuf, labels: &Path) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new();
        let header = source(&images).and_then(|mut from| image_header(&images, &mut *from));
        let read = read_labels(labels);
        let (Ok((count, shape)), Ok(read)) = (&header, &read) else {
            found.extend(header.err().into_iter().chain(read.err()));
            return Err(found);
        };
        if *count != read.len() {
            let text = format!("{} labels for {count} images in {}", read.len(), images.display());
            return Err(error(labels, "header", text).into());
        }
        let description = Description { format: "IDX", count: *count, classes: Classes::Open };
        Ok(Self { shape: shape.clone(), labels: read.clone(), description, images })
    }
}

impl Source for Idx {
    fn description(&self) -> &Description {
        &self.description
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<(), Diagnostics> {
        let path = &self.images;
        let mut from = source(path)?;
        let (_, shape) = image_header(path, &mut *from)?;
        let len: u64 = shape.iter().map(|&d| d as u64).product();
        for (i, &label) in self.labels.iter().enumerate() {
            let pixels = bytes(path, &mut *from, len, &format!("image {i}"))?;
            visit(Sample {
                name: format!("{label}_{i}"),
                label: label.into(),
                values: Values::Bytes(Cow::Owned(pixels)),
                shape: self.shape.clone(),
                layout: Some(Layout::channels_last(2)),
            })?;
        }
        Ok(end(path, &mut *from)?)
    }
}
