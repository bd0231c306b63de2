//! Samples from the user's files: `.npy` with a batch axis in front, or `.npz` with `input_0`, `output_0`, ….

use crate::output::{fault, io_fault, show};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use unfloat_ir::{Data, Diagnostic, Diagnostics, ElemType, Graph, Location, Tensor, TensorType};
use unfloat_passes::validate::SplitMix64;

/// Values for every input of a graph, or from every output, of a number of samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The number of samples.
    pub count: usize,
    /// Floats or codes of each input or output, samples one after another.
    pub data: Vec<Data>,
    /// Whether the arrays that the samples came from had an axis that counts them. Results are written likewise.
    pub counted: bool,
}

impl Batch {
    /// Each input or output as floats: codes are converted.
    pub fn floats(&self) -> Vec<Cow<'_, [f32]>> {
        fn one(data: &Data) -> Cow<'_, [f32]> {
            match data {
                Data::F32(floats) => Cow::Borrowed(floats),
                codes => Cow::Owned(codes_of(codes).map(|c| c as f32).collect()),
            }
        }
        self.data.iter().map(one).collect()
    }

    /// Sample `index` as tensors of the given types.
    pub fn sample(&self, types: &[&TensorType], index: usize) -> Vec<Tensor> {
        let one = |(&ty, data): (&&TensorType, &Data)| {
            let len = ty.shape.num_elements();
            let at = index * len..(index + 1) * len;
            let data = match data {
                Data::F32(floats) => Data::F32(floats[at].to_vec()),
                codes => Data::from_codes(&ty.elem, at.filter_map(|i| codes.code(i))),
            };
            Tensor { data, ty: ty.clone() }
        };
        types.iter().zip(&self.data).map(one).collect()
    }

    /// What came of these samples.
    pub fn answered(&self, data: Vec<Data>) -> Self {
        Self { count: self.count, data, counted: self.counted }
    }
}

fn floats_of(data: &Data) -> &[f32] {
    match data {
        Data::F32(floats) => floats,
        _ => &[],
    }
}

fn codes_of(data: &Data) -> impl Iterator<Item = i64> {
    (0..data.len()).filter_map(|i| data.code(i))
}

/// The results of samples, one vector of elements per output of the given types.
pub fn joined(types: &[ElemType], results: &[Vec<Tensor>]) -> Vec<Data> {
    let one = |(i, elem): (usize, &ElemType)| {
        let parts = results.iter().filter_map(|r| r.get(i)).map(|t| &t.data);
        match elem.is_float() {
            true => Data::F32(parts.flat_map(floats_of).copied().collect()),
            false => Data::from_codes(elem, parts.flat_map(codes_of)),
        }
    };
    types.iter().enumerate().map(one).collect()
}

/// The seed of pseudo-random samples.
pub const SEED: u64 = 0x756e_666c_6f61_7421;

/// Pseudo-random samples of the given types, the same on every machine: floats about normal, codes of at most 8 bits
/// over their whole range and wider ones between 0 and 255, which serve as indices and as pixels.
pub fn random(types: &[(String, TensorType)], count: usize, seed: u64) -> Batch {
    let mut random = SplitMix64::new(seed);
    let one = |(_, ty): &(String, TensorType)| {
        let len = ty.shape.num_elements() * count;
        match ty.elem.code_range() {
            None => Data::F32((0..len).map(|_| random.normal()).collect()),
            Some((lo, hi)) => {
                let (lo, hi) = if hi.saturating_sub(lo) > 255 { (0, 255.min(hi)) } else { (lo, hi) };
                let span = (hi - lo) as u64 + 1;
                let code = |_| match lo + random.below(span) as i64 {
                    0 if ty.elem == ElemType::Bipolar => 1,
                    code => code,
                };
                Data::from_codes(&ty.elem, (0..len).map(code))
            }
        }
    };
    Batch { count, data: types.iter().map(one).collect(), counted: true }
}

/// Refuses what is no regular file: devices and pipes may never end.
pub fn check_regular(path: &Path) -> Result<(), Diagnostic> {
    let kind = std::fs::metadata(path).map_err(|e| io_fault(path, "cannot be read", &e))?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let found = if kind.is_dir() { "a directory" } else { "a device or a pipe" };
    let at = Location::file(path.display().to_string());
    Err(Diagnostic::error(at, format!("expected a file, found {found}")).help("save it to a file first"))
}

/// Reads a regular file, with its path in the error.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    check_regular(path)?;
    std::fs::read(path).map_err(|e| io_fault(path, "cannot be read", &e))
}

/// Reads one array for each of `types`. Arrays come from `.npy` files, one each in that order, or from a single
/// `.npz` that holds `PREFIX_0`, `PREFIX_1`, …. All that is wrong is said at once.
pub fn read(paths: &[PathBuf], prefix: &str, types: &[(String, TensorType)]) -> Result<Batch, Diagnostics> {
    let arrays = match paths {
        [one] if one.extension().is_some_and(|e| e == "npz") => read_npz(one, prefix, types.len())?,
        _ => read_npys(paths, prefix, types)?,
    };
    let mut found = Diagnostics::new();
    let mut batch: Option<(usize, bool, String)> = None;
    let mut data = Vec::new();
    for ((label, array), (name, ty)) in arrays.into_iter().zip(types) {
        match samples(array, ty) {
            Err(message) => {
                found
                    .push(Diagnostic::error(Location::file(&label), format!("{prefix} `{name}`: {message}")));
            }
            Ok((count, counted, (values, warning))) => {
                data.push(values);
                if let Some(text) = warning {
                    let at = Location::file(&label);
                    show(&Diagnostic::warning(at, format!("{prefix} `{name}`: {text}")).into());
                }
                match &batch {
                    Some((n, _, first)) if *n != count => found.push(Diagnostic::error(
                        Location::file(&label),
                        format!("holds {count} samples, but {first} holds {n}"),
                    )),
                    Some(_) => {}
                    None => batch = Some((count, counted, label)),
                }
            }
        }
    }
    let (count, counted) = batch.map_or((0, true), |b| (b.0, b.1));
    found.into_result(Batch { count, data, counted })
}

fn read_npys(
    paths: &[PathBuf],
    prefix: &str,
    types: &[(String, TensorType)],
) -> Result<Vec<(String, Tensor)>, Diagnostics> {
    let names: Vec<&str> = types.iter().map(|t| t.0.as_str()).collect();
    if paths.len() != types.len() {
        let text = format!(
            "the model has {} {prefix}s ({}), {} files were given",
            types.len(),
            names.join(", "),
            paths.len()
        );
        return Err(fault(text)
            .help(format!(
                "give --{prefix} once for each, in that order, or one .npz with {prefix}_0, {prefix}_1, …"
            ))
            .into());
    }
    let mut found = Diagnostics::new();
    let mut arrays = Vec::new();
    for path in paths {
        let label = path.display().to_string();
        let read = read_file(path).and_then(|bytes| {
            unfloat_npy::read_npy(&bytes)
                .map_err(|e| Diagnostic::error(Location::file(&label), e.to_string()))
        });
        match read {
            Ok(array) => arrays.push((label, array)),
            Err(e) => found.push(e),
        }
    }
    found.into_result(arrays)
}

fn read_npz(path: &Path, prefix: &str, count: usize) -> Result<Vec<(String, Tensor)>, Diagnostics> {
    let label = path.display().to_string();
    let bytes = read_file(path)?;
    let place = |message: String| Diagnostic::error(Location::file(&label), message);
    let mut npz = unfloat_npy::Npz::open(&bytes).map_err(|e| place(e.to_string()))?;
    let mut found = Diagnostics::new();
    let mut arrays = Vec::new();
    // What looks like an input or output and is none would not be compared, and nobody would know.
    let wanted: Vec<String> = (0..count).map(|i| format!("{prefix}_{i}")).collect();
    for name in npz.names().iter().filter(|n| n.starts_with(prefix) && !wanted.contains(n)) {
        found.push(
            place(format!("`{name}` is no {prefix} of the model"))
                .help(format!("the model has {count} {prefix}s: {}", wanted.join(", "))),
        );
    }
    for i in 0..count {
        let key = format!("{prefix}_{i}");
        match npz.get(&key) {
            Ok(Some(array)) => arrays.push((format!("{label}: {key}"), array)),
            Ok(None) => {
                let names = npz.names().join(", ");
                found.push(place(format!("has no array `{key}`")).help(format!("it has {names}")));
            }
            Err(e) => found.push(place(e.to_string())),
        }
    }
    found.into_result(arrays)
}

/// Whether an `.npz` holds expected outputs too.
pub fn has_outputs(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "npz")
        && read_file(path).is_ok_and(|bytes| {
            unfloat_npy::Npz::open(&bytes)
                .is_ok_and(|npz| npz.names().iter().any(|n| n.starts_with("output")))
        })
}

/// Refuses to compare on no samples at all: everything would be equal.
pub fn check_some(batch: &Batch) -> Result<(), Diagnostic> {
    match batch.count {
        0 => Err(fault("there are no samples to compare on").help("give at least one sample")),
        _ => Ok(()),
    }
}

/// Takes an array as samples of a type, with a batch axis in front or a single one without: their number, whether
/// there was a batch axis, the elements.
fn samples(array: Tensor, ty: &TensorType) -> Result<(usize, bool, Converted), String> {
    let shape = &ty.shape;
    let dims = array.shape().to_vec();
    let (count, counted) = match dims.split_first() {
        _ if dims == shape.dims() => (1, false),
        Some((&n, rest)) if rest == shape.dims() => (n, true),
        _ => {
            let wanted = shape.to_string();
            let batch = if shape.rank() == 0 { "[N]".to_string() } else { format!("[N,{}", &wanted[1..]) };
            let axes = if ty.rank() > 1 {
                format!(" (the model's axes are `{}`)", ty.layout)
            } else {
                String::new()
            };
            return Err(format!("expected the shape {batch} or {wanted}, found {}{axes}", array.shape()));
        }
    };
    Ok((count, counted, elements(array.data, &ty.elem)?))
}

/// Elements of a type, and what was lost on the way to it.
type Converted = (Data, Option<String>);

/// An array's elements as a type's: whole numbers become floats or codes, floats become codes if they are whole.
fn elements(data: Data, elem: &ElemType) -> Result<Converted, String> {
    let codes: Vec<i64> = match (data, elem.is_float()) {
        (Data::F32(values), true) => return Ok((Data::F32(values), None)),
        (codes, true) => return Ok(floats(&codes)),
        (Data::F32(values), false) => whole(&values, elem)?,
        (codes, false) => codes_of(&codes).collect(),
    };
    match first_and_count(&codes, |&c| !elem.has_code(c)) {
        Some((odd, count)) => Err(format!("expected {elem}, found {odd}{}", others(count, codes.len()))),
        None => Ok((Data::from_codes(elem, codes), None)),
    }
}

/// Whole numbers in single precision, which holds all of them up to 2^24 and then fewer and fewer.
fn floats(codes: &Data) -> Converted {
    let codes: Vec<i64> = codes_of(codes).collect();
    let odd = first_and_count(&codes, |&c| i128::from(c) != (c as f32) as i128);
    let warning = odd.map(|(first, count)| {
        let (all, rounded) = (codes.len(), first as f32);
        format!(
            "{count} of {all} integers are no float32 and were rounded, the first from {first} to {rounded}"
        )
    });
    (Data::F32(codes.iter().map(|&c| c as f32).collect()), warning)
}

/// Floats as the 64-bit integers that they are.
fn whole(values: &[f32], elem: &ElemType) -> Result<Vec<i64>, String> {
    // 2^63 itself is a float and no code.
    let end = 2f32.powi(63);
    match first_and_count(values, |v| v.fract() != 0.0 || !(-end..end).contains(v)) {
        Some((odd, n)) => Err(format!("expected {elem}, found the number {odd}{}", others(n, values.len()))),
        None => Ok(values.iter().map(|&v| v as i64).collect()),
    }
}

/// The first element of a kind, and how many there are.
fn first_and_count<T: Copy>(elements: &[T], is_odd: impl Fn(&T) -> bool) -> Option<(T, usize)> {
    let first = elements.iter().copied().find(&is_odd)?;
    Some((first, elements.iter().filter(|e| is_odd(e)).count()))
}

/// What follows the first of `count` wrong elements.
fn others(count: usize, all: usize) -> String {
    match count {
        1 => String::new(),
        count => format!(" and {} others of {all} elements", count - 1),
    }
}

/// Writes a batch's output `index`, of the given type, as `.npy`; with a batch axis in front if the inputs had one.
pub fn write(path: &Path, ty: &TensorType, batch: &Batch, index: usize) -> Result<(), Diagnostic> {
    let mut dims = ty.shape.to_vec();
    if batch.counted {
        dims.insert(0, batch.count);
    }
    let Some(data) = batch.data.get(index) else { return Ok(()) };
    let bytes = unfloat_npy::write_npy_data(&dims.into(), data, ty.elem == ElemType::Bit);
    std::fs::write(path, bytes).map_err(|e| io_fault(path, "cannot be written", &e))
}

/// The names and types of a graph's inputs.
pub fn input_types(graph: &Graph) -> Vec<(String, TensorType)> {
    graph.inputs().iter().map(|&v| (graph.value(v).name.clone(), graph.ty(v).clone())).collect()
}

/// The names and types of a graph's outputs.
pub fn output_types(graph: &Graph) -> Vec<(String, TensorType)> {
    graph.outputs().iter().map(|o| (o.name.clone(), graph.ty(o.value).clone())).collect()
}
