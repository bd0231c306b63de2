//! Samples from the user's files: `.npy` with a batch axis in front, or `.npz` with `input_0`, `output_0`, ….

use crate::output::{fault, io_fault};
use std::path::{Path, PathBuf};
use unfloat_ir::{Data, Diagnostic, Diagnostics, ElemType, Graph, Location, Shape, Tensor, TensorType};
use unfloat_passes::validate::SplitMix64;

/// Values for every input of a graph, or from every output, of a number of samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// The number of samples.
    pub count: usize,
    /// One vector per input or output, samples one after another.
    pub data: Vec<Vec<f32>>,
}

impl Batch {
    /// The slices of each input or output.
    pub fn slices(&self) -> Vec<&[f32]> {
        self.data.iter().map(Vec::as_slice).collect()
    }
}

/// The seed of pseudo-random samples.
pub const SEED: u64 = 0x756e_666c_6f61_7421;

/// Pseudo-random samples of the given types, about normal, the same on every machine.
pub fn random(types: &[(String, TensorType)], count: usize, seed: u64) -> Batch {
    let mut random = SplitMix64::new(seed);
    let lens = types.iter().map(|(_, ty)| ty.shape.num_elements() * count);
    Batch { count, data: lens.map(|n| (0..n).map(|_| random.normal()).collect()).collect() }
}

/// Reads a regular file, with its path in the error. Devices and pipes are refused: they may never end.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let failed = |e| io_fault(path, "cannot be read", &e);
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a device or a pipe" };
        let at = Location::file(path.display().to_string());
        return Err(
            Diagnostic::error(at, format!("expected a file, found {found}")).help("save it to a file first")
        );
    }
    std::fs::read(path).map_err(failed)
}

/// Reads one array for each of `types`. Arrays come from `.npy` files, one each in that order, or from a single
/// `.npz` that holds `PREFIX_0`, `PREFIX_1`, …. All that is wrong is said at once.
pub fn read(paths: &[PathBuf], prefix: &str, types: &[(String, TensorType)]) -> Result<Batch, Diagnostics> {
    let arrays = match paths {
        [one] if one.extension().is_some_and(|e| e == "npz") => read_npz(one, prefix, types.len())?,
        _ => read_npys(paths, prefix, types)?,
    };
    let mut found = Diagnostics::new();
    let mut batch: Option<(usize, String)> = None;
    let mut data = Vec::new();
    for ((label, array), (name, ty)) in arrays.into_iter().zip(types) {
        match samples(array, ty) {
            Err(message) => {
                found
                    .push(Diagnostic::error(Location::file(&label), format!("{prefix} `{name}`: {message}")));
            }
            Ok((count, values)) => {
                data.push(values);
                match &batch {
                    Some((n, first)) if *n != count => found.push(Diagnostic::error(
                        Location::file(&label),
                        format!("holds {count} samples, but {first} holds {n}"),
                    )),
                    Some(_) => {}
                    None => batch = Some((count, label)),
                }
            }
        }
    }
    found.into_result(Batch { count: batch.map_or(0, |b| b.0), data })
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

/// Takes an array as samples of `shape`: with a batch axis in front, or a single one without.
fn samples(array: Tensor, ty: &TensorType) -> Result<(usize, Vec<f32>), String> {
    let shape = &ty.shape;
    let dims = array.shape().to_vec();
    let count = match dims.split_first() {
        _ if dims == shape.dims() => 1,
        Some((&n, rest)) if rest == shape.dims() => n,
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
    let values = match array.data {
        Data::F32(values) => values,
        codes => (0..codes.len()).filter_map(|i| codes.code(i)).map(|c| c as f32).collect(),
    };
    Ok((count, values))
}

/// Writes samples of `shape` as `.npy` with a batch axis in front.
pub fn write(path: &Path, shape: &Shape, count: usize, values: &[f32]) -> Result<(), Diagnostic> {
    let mut dims = vec![count];
    dims.extend_from_slice(shape);
    let bytes = unfloat_npy::write_npy_data(&dims.into(), &Data::F32(values.to_vec()), false);
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

/// Refuses graphs whose inputs or outputs are not floats: their samples are not read yet as codes.
pub fn check_float_ports(graph: &Graph) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    for (name, ty) in input_types(graph).into_iter().chain(output_types(graph)) {
        if ty.elem != ElemType::F32 {
            found.push(fault(format!("`{name}` is {ty}; samples are read and written as f32 only")));
        }
    }
    found.into_result(())
}
