//! CIFAR's binary files: records of one label byte, or two, and 3072 bytes of pixels.
//!
//! In: a path. Out: labels and pixels, one record in memory at a time. Refuses: files that are no whole number of records,
//! labels beyond the classes.

use super::{Labels, PIXELS, Take};
use crate::fault::{check_regular, clip, error, io_error};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use unfloat_ir::{Diagnostic, Diagnostics};

/// The most bytes that a list of names can have.
const MOST_NAMES: u64 = 1 << 16;

/// Whether a file holds CIFAR-100: `train.bin` and `test.bin` do; else its size decides.
pub(super) fn is_hundred(path: &Path) -> Result<bool, Diagnostic> {
    let size = std::fs::metadata(path).map_err(|e| io_error(path, &e))?.len();
    let fits = |labels: u64| size % (PIXELS as u64 + labels) == 0;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    Ok((fits(2) && (!fits(1) || name == "train.bin" || name == "test.bin")) && size > 0)
}

fn label_bytes(labels: Labels) -> usize {
    if labels == Labels::Ten { 1 } else { 2 }
}

/// How many images a file holds.
pub(super) fn count(path: &Path, labels: Labels) -> Result<usize, Diagnostic> {
    let size = std::fs::metadata(path).map_err(|e| io_error(path, &e))?.len();
    let record = (PIXELS + label_bytes(labels)) as u64;
    if size == 0 || size % record != 0 {
        let text = format!(
            "has {size} bytes; a binary file of CIFAR-10 is a multiple of {}, of CIFAR-100 of {}",
            PIXELS + 1,
            PIXELS + 2
        );
        return Err(error(path, "", text).help("the file may be cut off: compare its size"));
    }
    usize::try_from(size / record).map_err(|_| error(path, "", "is too large for this machine"))
}

/// Hands out the records.
pub(super) fn each(path: &Path, labels: Labels, take: &mut Take<'_>) -> Result<(), Diagnostics> {
    let count = count(path, labels)?;
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| io_error(path, &e))?);
    let first = label_bytes(labels);
    let mut record = vec![0; first + PIXELS];
    for i in 0..count {
        file.read_exact(&mut record).map_err(|e| io_error(path, &e))?;
        // The group stands before the class.
        let label = usize::from(record[if labels == Labels::Fine { 1 } else { 0 }]);
        if label >= labels.count() {
            let text = format!("the label {label}; the dataset has {} classes", labels.count());
            return Err(error(path, format!("image {i}"), text).into());
        }
        take(label, &record[first..])?;
    }
    Ok(())
}

/// Names of classes, one on each line.
pub(super) fn class_names(path: &Path) -> Result<Vec<String>, Diagnostic> {
    check_regular(path)?;
    let mut text = String::new();
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    file.take(MOST_NAMES).read_to_string(&mut text).map_err(|e| io_error(path, &e))?;
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(clip).collect())
}
