//! Checkpoints that the real PyTorch, NumPy and safetensors wrote: every value is the same, bit for bit, as their own
//! loaders give it; what cannot be read is refused in words that help; nothing that a pickle names runs.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use unfloat_frontends::onnx::{ReadSeek, Siblings};
use unfloat_frontends::pytorch::{
    Checkpoint, CheckpointFile, Entry, StateOptions, read_folder, read_state, recognise,
};
use unfloat_ir::{Data, Diagnostics, ElemType};
use unfloat_npy::Npz;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pytorch/checkpoints")
}

/// Files of a folder.
struct Files(PathBuf);

impl Siblings for Files {
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(BufReader::new(File::open(self.0.join(name))?)))
    }
}

fn read(name: &str, key: Option<&str>) -> Result<Checkpoint, Diagnostics> {
    let path = folder().join(name);
    let options = StateOptions { key: key.map(str::to_string), ..StateOptions::default() };
    if path.is_dir() {
        let names = fs::read_dir(&path).expect("a folder");
        let names: Vec<String> =
            names.map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect();
        return read_folder(name, &names, &Files(path), &options);
    }
    let source = Box::new(BufReader::new(File::open(&path).expect(name)));
    read_state(CheckpointFile { label: name.to_string(), source }, &options)
}

fn index() -> Vec<Value> {
    let text = fs::read_to_string(folder().join("index.json")).expect("the index");
    serde_json::from_str(&text).expect("JSON")
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|v| v.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Why an entry is not what it should be.
fn difference(entry: &Entry, want: &Value, expected: &mut Npz<'_>) -> Option<String> {
    let values = want["values"].as_str().expect("values");
    let tensor = expected.get(values).expect("an array").expect("an array");
    if let Some(fault) = entry.tensor.fault() {
        return Some(fault);
    }
    if entry.key != want["key"] || entry.stored != want["stored"] {
        return Some(format!("stored as {} where {want} was expected", entry.stored));
    }
    if entry.tensor.ty.shape != tensor.ty.shape {
        return Some(format!("{} instead of {}", entry.tensor.ty.shape, tensor.ty.shape));
    }
    // Equal in every bit, but for the payload of a NaN, which conversions of halves need not keep.
    let same = match (&entry.tensor.data, &tensor.data) {
        (Data::F32(a), Data::F32(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
        }
        (a, b) => a == b,
    };
    if !same {
        return Some(format!("{:?} instead of {:?}", entry.tensor.data, tensor.data));
    }
    match (&entry.tensor.ty.elem, want.get("scale")) {
        (ElemType::Quant(affine), Some(scale)) => {
            let numbers = scale.as_array().expect("scales").iter();
            let scale: Vec<f32> = numbers.map(|s| s.as_f64().expect("a number") as f32).collect();
            let zero: Vec<i64> = serde_json::from_value(want["zero"].clone()).expect("zero points");
            let axis = want.get("axis").and_then(Value::as_u64).map(|a| a as usize);
            let fine = (&affine.scale, &affine.zero, affine.axis) == (&scale, &zero, axis);
            (!fine).then(|| format!("{affine:?} instead of {want}"))
        }
        (elem, None) => (*elem != tensor.ty.elem).then(|| format!("{elem} instead of {}", tensor.ty.elem)),
        (elem, Some(_)) => Some(format!("{elem} without a scale")),
    }
}

#[test]
fn checkpoints_are_read_as_their_own_loaders_read_them() {
    let bytes = fs::read(folder().join("expected.npz")).expect("the values");
    let mut expected = Npz::open(&bytes).expect("an archive");
    let mut faults = Vec::new();
    let (mut files, mut tensors) = (0, 0);
    for case in index().iter().filter(|c| c.get("tensors").is_some()) {
        let name = case["file"].as_str().expect("a name");
        let checkpoint = match read(name, case["key"].as_str()) {
            Ok(checkpoint) => checkpoint,
            Err(found) => {
                faults.push(format!("{name}: {found}"));
                continue;
            }
        };
        files += 1;
        let wanted = case["tensors"].as_array().expect("tensors");
        let keys: Vec<&str> = wanted.iter().filter_map(|t| t["key"].as_str()).collect();
        let found: Vec<&str> = checkpoint.state.keys().collect();
        if found != keys {
            faults.push(format!("{name}: {found:?} instead of {keys:?}"));
            continue;
        }
        for (entry, want) in checkpoint.state.entries.iter().zip(wanted) {
            tensors += 1;
            if let Some(fault) = difference(entry, want, &mut expected) {
                faults.push(format!("{name}: {}: {fault}", entry.key));
            }
        }
        let warnings = Diagnostics(checkpoint.warnings.clone()).to_string();
        for word in texts(&case["warns"]).into_iter().filter(|w| !warnings.contains(w)) {
            faults.push(format!("{name}: no warning of {word}: {warnings}"));
        }
        if texts(&case["warns"]).is_empty() && !warnings.is_empty() && case["key"].is_null() {
            faults.push(format!("{name}: an unexpected warning: {warnings}"));
        }
    }
    println!("{files} files, {tensors} tensors");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(files >= 64 && tensors >= 482, "{files} files, {tensors} tensors");
}

#[test]
fn what_cannot_be_read_is_refused_in_words_that_help() {
    let mut faults = Vec::new();
    let mut refused = 0;
    for case in index().iter().filter(|c| c.get("refused").is_some()) {
        let name = case["file"].as_str().expect("a name");
        refused += 1;
        match read(name, case["key"].as_str()) {
            Ok(checkpoint) => faults.push(format!("{name}: read {:?}", checkpoint.state.entries)),
            Err(found) => {
                let text = found.to_string();
                let missing: Vec<&str> =
                    texts(&case["refused"]).into_iter().filter(|w| !text.contains(w)).collect();
                if !missing.is_empty() || !text.contains(name) {
                    faults.push(format!("{name}: {missing:?} is not in: {text}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(refused > 12, "{refused} refused");
}

/// The pickles of these files call `system`, `exec`, `eval`, `open` and `mkdir` to create a file where they run.
#[test]
fn nothing_that_a_pickle_names_runs() {
    let made = Path::new("unfloat-was-here");
    assert!(!made.exists(), "left over from another run");
    for name in ["hostile.pt", "hostile_legacy.pth", "hostile.pkl", "hostile.npz"] {
        let bytes = fs::read(folder().join(name)).expect(name);
        let names = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
        assert!(names(b"system") && names(b"exec"), "{name} is not what it should be");
        let checkpoint = read(name, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(checkpoint.state.entries.len(), 1, "{name}");
        assert!(!made.exists(), "{name}: a callable ran");
    }
}

#[test]
fn kinds_of_files_are_told_by_their_content() {
    for (name, format) in [
        ("state_protocol2.pt", Some("PyTorch zip archive")),
        ("deflated.pt", Some("PyTorch zip archive")),
        ("scripted.pt", Some("PyTorch zip archive")),
        ("legacy_protocol4.pth", Some("PyTorch legacy file")),
        ("arrays_protocol0.pkl", Some("pickle")),
        ("arrays_protocol1.pkl", Some("pickle")),
        ("arrays_protocol5.pkl", Some("pickle")),
        ("dtypes.safetensors", Some("safetensors")),
        ("compressed.npz", Some("npz archive")),
        ("dictionary.npy", Some("npy array")),
        ("other.zip", None),
        ("pointer.pt", None),
        ("index.json", None),
        ("../../keras/fashion_cnn.h5", None),
        ("../../keras/story/keras3_channels_last.keras", None),
    ] {
        let mut file = BufReader::new(File::open(folder().join(name)).expect(name));
        let found = recognise(&mut file).expect(name).map(|f| f.to_string());
        assert_eq!(found.as_deref(), format, "{name}");
        assert_eq!(io::Seek::stream_position(&mut file).expect(name), 0, "{name}");
    }
}
