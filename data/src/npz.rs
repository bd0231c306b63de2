//! NumPy archives of inputs and their classes.
//!
//! In: an `.npz` with `x` and `y`, or `x_test` and `y_test` (`x_train`, `y_train`), `test_images` and `test_labels`
//! (`train_…`), or `images` and `labels`. Out: a sample for each row of the first, one in memory at a time: bytes as
//! pixels, everything else as numbers. Labels are whole numbers, one for each row. Refuses: arrays in Fortran order,
//! labels that are no classes (one-hot rows among them), integers that single precision does not hold.

use crate::fault::{clip, error, io_error};
use crate::{Classes, Description, Sample, Source, Split, Values, Visit};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use unfloat_ir::{Data, Diagnostic, Diagnostics, Shape};
use unfloat_npy::{NpyHeader as Header, read_npy, write_npy_bytes};
use zip::ZipArchive;

type Archive = ZipArchive<BufReader<File>>;

/// Pairs of names, for each part.
const TEST: [[&str; 2]; 2] = [["x_test", "y_test"], ["test_images", "test_labels"]];
const TRAIN: [[&str; 2]; 2] = [["x_train", "y_train"], ["train_images", "train_labels"]];
const PLAIN: [[&str; 2]; 2] = [["x", "y"], ["images", "labels"]];

/// A dataset.
pub struct NpzSet {
    path: PathBuf,
    inputs: String,
    header: Header,
    labels: Vec<usize>,
    description: Description,
}

fn archive(path: &Path) -> Result<Archive, Diagnostic> {
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| error(path, "", format!("is no archive: {e}")))
}

/// Reads the header of an array that follows.
fn header(path: &Path, name: &str, from: &mut dyn Read) -> Result<Header, Diagnostic> {
    let fault = |e: &dyn std::fmt::Display| error(path, format!("`{name}`"), e.to_string());
    // Magic, version and length, then as much as that says; `Header::read` looks at all of it.
    let mut head = Vec::new();
    from.take(10).read_to_end(&mut head).map_err(|e| fault(&e))?;
    let length = match head[..] {
        [.., 1, _, low, high] => usize::from(low) | usize::from(high) << 8,
        [.., _, _, low, high] if head.len() == 10 => {
            let more = usize::from(low) | usize::from(high) << 8;
            from.take(2).read_to_end(&mut head).map_err(|e| fault(&e))?;
            more
        }
        _ => return Err(fault(&"ends inside its header")),
    };
    from.take(length as u64).read_to_end(&mut head).map_err(|e| fault(&e))?;
    Header::read(&head).map(|(header, _)| header).map_err(|e| fault(&e))
}

/// Rows of an array, `count` of them, as they lie in the file.
fn rows(
    path: &Path,
    name: &str,
    header: &Header,
    from: &mut dyn Read,
    take: &mut dyn FnMut(usize, Vec<u8>) -> Result<(), Diagnostics>,
) -> Result<(), Diagnostics> {
    let fault = |row: usize, text: String| error(path, format!("`{name}`[{row}]"), text);
    let shape = header.shape.get(1..).unwrap_or_default();
    let len = shape.iter().try_fold(header.word, |n, &d| n.checked_mul(d));
    let len = len.ok_or_else(|| fault(0, format!("has the shape {shape:?}")))?;
    for row in 0..header.shape.first().copied().unwrap_or(0) {
        let mut bytes = Vec::new();
        from.take(len as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| fault(row, format!("cannot be read: {e}")))?;
        if bytes.len() != len || len == 0 {
            return Err(
                fault(row, format!("ends too early: {len} bytes expected, {} found", bytes.len())).into()
            );
        }
        take(row, bytes)?;
    }
    Ok(())
}

/// The number of an element, if it is whole and single precision holds it.
fn floats(data: &Data) -> Result<Vec<f32>, String> {
    if let Data::F32(values) = data {
        return Ok(values.clone());
    }
    let one = |i: usize| {
        let code = data.code(i).unwrap_or(0);
        let single = code as f32;
        if i128::from(code) == single as i128 { Ok(single) } else { Err(format!("{code} is no float32")) }
    };
    (0..data.len()).map(one).collect()
}

/// One element as a class.
fn class(data: &Data) -> Option<usize> {
    let code = match data {
        Data::F32(v) => v.first().filter(|v| v.fract() == 0.0 && v.abs() < 1e9).map(|v| *v as i64),
        codes => codes.code(0),
    };
    code.and_then(|c| usize::try_from(c).ok()).filter(|_| data.len() == 1)
}

impl NpzSet {
    /// Opens an archive, and reads the labels.
    pub(crate) fn open(path: &Path, split: Option<Split>) -> Result<Self, Diagnostics> {
        let mut archive = archive(path)?;
        let names: Vec<String> = (0..archive.len())
            .filter_map(|i| archive.name_for_index(i)?.ok())
            .filter_map(|name| name.strip_suffix(".npy").map(str::to_string))
            .collect();
        let pairs = match split {
            Some(Split::Train) => [TRAIN, PLAIN].concat(),
            Some(Split::Test) | None => [TEST, PLAIN].concat(),
        };
        let has = |pair: &&[&str; 2]| pair.iter().all(|n| names.iter().any(|there| there == n));
        let Some([x, y]) = pairs.iter().find(has) else {
            let there: Vec<String> = names.iter().take(20).map(|n| clip(n)).collect();
            let text = "has no `x` with `y`, and no `x_test` with `y_test`";
            return Err(error(path, "", text).help(format!("it has {}", there.join(", "))).into());
        };
        let labels = read_labels(path, &mut archive, y)?;
        let mut member = open_member(path, &mut archive, x)?;
        let header = header(path, x, &mut member)?;
        let count = header.shape.first().copied().unwrap_or(0);
        if count != labels.len() {
            let text = format!("holds {count} samples, and `{y}` {} labels", labels.len());
            return Err(error(path, format!("`{x}`"), text).into());
        }
        if header.fortran && header.rank() > 1 || header.is_object() {
            let text = "is in Fortran order or holds objects: rows cannot be read one by one";
            return Err(error(path, format!("`{x}`"), text)
                .help("save it with numpy.ascontiguousarray")
                .into());
        }
        drop(member);
        let description = Description { format: "npz", count, classes: Classes::Open };
        Ok(Self { path: path.to_path_buf(), inputs: (*x).to_string(), header, labels, description })
    }
}

/// One array of an archive.
fn open_member<'a>(
    path: &Path,
    archive: &'a mut Archive,
    name: &str,
) -> Result<impl Read + use<'a>, Diagnostic> {
    archive
        .by_name(&format!("{name}.npy"))
        .map_err(|e| error(path, format!("`{name}`"), format!("cannot be read: {e}")))
}

fn read_labels(path: &Path, archive: &mut Archive, name: &str) -> Result<Vec<usize>, Diagnostics> {
    let mut member = open_member(path, archive, name)?;
    let header = header(path, name, &mut member)?;
    let wrong = || {
        error(
            path,
            format!("`{name}`"),
            format!("labels are one whole number per sample, found {:?}", header.shape),
        )
        .help("of one-hot rows take numpy.argmax(y, axis=1)")
    };
    if header.rank() == 0 || header.shape[1..].iter().any(|&d| d != 1) || header.is_object() {
        return Err(wrong().into());
    }
    let mut labels = Vec::new();
    rows(path, name, &header, &mut member, &mut |row, bytes| {
        let place = |text: String| error(path, format!("`{name}`[{row}]"), text);
        let one = read_npy(&write_npy_bytes(&Shape::from([1]), &header.descr, &bytes));
        let one = one.map_err(|e| place(e.to_string()))?;
        labels.push(
            class(&one.data).ok_or_else(|| place("is no class: expected a whole number from 0".into()))?,
        );
        Ok(())
    })?;
    Ok(labels)
}

impl Source for NpzSet {
    fn description(&self) -> &Description {
        &self.description
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<(), Diagnostics> {
        let (path, name) = (&self.path, &self.inputs);
        let mut archive = archive(path)?;
        let mut member = open_member(path, &mut archive, name)?;
        let header = header(path, name, &mut member)?;
        if header != self.header {
            return Err(error(path, format!("`{name}`"), "changed while it was read").into());
        }
        let shape = header.shape[1..].to_vec();
        rows(path, name, &header, &mut member, &mut |row, bytes| {
            let values = if header.kind == 'u' && header.word == 1 {
                Values::Bytes(Cow::Owned(bytes))
            } else {
                let place = |text: String| error(path, format!("`{name}`[{row}]"), text);
                let array = write_npy_bytes(&Shape::from(shape.clone()), &header.descr, &bytes);
                let array = read_npy(&array).map_err(|e| place(e.to_string()))?;
                Values::Numbers(floats(&array.data).map_err(place)?)
            };
            let label = self.labels.get(row).copied().unwrap_or(0);
            visit(Sample {
                name: format!("{label}_{row}"),
                label,
                values,
                shape: shape.clone(),
                layout: None,
            })
        })
    }
}
