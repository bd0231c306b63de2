//! Checkpoints on the command line: listed, read tensor by tensor, and not taken for models.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch/checkpoints").join(name);
    path.to_str().unwrap().to_string()
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("checkpoints");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The error of a command that must fail with status 2.
fn refused(args: &[&str]) -> String {
    let output = unfloat(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    assert!(output.stdout.is_empty(), "{args:?}");
    stderr(&output)
}

#[test]
fn inspect_lists_tensors() {
    let text = stdout(&unfloat(&["inspect", &fixture("wrapped_legacy.pth.tar")]));
    let want = "\
wrapped_legacy.pth.tar (PyTorch legacy file)
key                             shape      stored as  params
------------------------------  ---------  ---------  ------
mean                            [3]        float32         3
features.0.weight               [3,1,3,3]  float32        27
features.0.bias                 [3]        float32         3
features.1.weight               [3]        float32         3
features.1.bias                 [3]        float32         3
features.1.running_mean         [3]        float32         3
features.1.running_var          [3]        float32         3
features.1.num_batches_tracked  []         int64           1
classifier.weight               [5,12]     float32        60
classifier.bias                 [5]        float32         5
10 tensors, 111 parameters
";
    assert_eq!(text, want);
    for name in
        ["state_protocol2.pt", "dtypes.safetensors", "arrays.npz", "folder", "tensors.pkl", "dictionary.npy"]
    {
        assert!(stdout(&unfloat(&["inspect", &fixture(name)])).contains(" tensors, "), "{name}");
    }
    let json = stdout(&unfloat(&["inspect", &fixture("quantized.pt"), "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let first = &json["tensors"][0];
    assert_eq!((&first["key"], &first["stored"]), (&"per_tensor".into(), &"qint8".into()));
    assert_eq!(first["type"], "quant<i8,scale=[0.1],zero=[3]>");
    assert_eq!((&first["place"], &json["params"]), (&"archive/data/0".into(), &74.into()));
}

#[test]
fn inspect_prints_and_saves_one_tensor() {
    let text = stdout(&unfloat(&["inspect", &fixture("strides.pt"), "--tensor", "steps"]));
    assert_eq!(text, "steps,(3, 2)\n10.0\n13.0\n26.0\n29.0\n42.0\n45.0\n");
    let text = stdout(&unfloat(&["inspect", &fixture("folder"), "--tensor", "features/0/bias", "--json"]));
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["values"], serde_json::json!([0.5, -1.0]));
    let path = scratch("bias.npy");
    let args = ["inspect", &fixture("scripted.pt"), "--tensor", "classifier.bias", "--output"];
    stdout(&unfloat(&[&args[..], &[path.to_str().unwrap()]].concat()));
    let saved = unfloat_npy::read_npy(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(saved.ty.shape.dims(), [5]);
    let error = refused(&["inspect", &fixture("strides.pt"), "--tensor", "nothing"]);
    assert!(error.contains("`nothing`") && error.contains("steps, expanded"), "{error}");
}

#[test]
fn several_models_in_a_file_are_chosen_with_key() {
    let file = fixture("several.pt");
    let error = refused(&["inspect", &file]);
    assert!(error.contains("`D`: 2 tensors, 9 parameters") && error.contains("--key PATH"), "{error}");
    let text = stdout(&unfloat(&["inspect", &file, "--key", "D"]));
    assert!(text.contains("0.weight  [3,2]  float32         6"), "{text}");
    let error = refused(&["inspect", &file, "--key", "E"]);
    assert!(error.contains("no tensors under `E`") && error.contains("`G`"), "{error}");
}

#[test]
fn a_checkpoint_alone_is_no_model() {
    let out = scratch("made");
    for name in ["state_protocol2.pt", "legacy_protocol2.pth", "dtypes.safetensors", "arrays.npz", "folder"] {
        let file = fixture(name);
        let convert = refused(&["convert", &file, "-o", out.to_str().unwrap()]);
        assert!(convert.contains(name) && convert.contains("--arch FILE.toml"), "{convert}");
        let run = refused(&["run", &file, "--input", "a.npy", "--output", "b.npy"]);
        assert!(run.contains("--arch FILE.toml"), "{run}");
        let dot = refused(&["inspect", &file, "--dot"]);
        assert!(dot.contains("--dot"), "{dot}");
    }
    assert!(!out.exists());
    let keras = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras/fashion_cnn.h5");
    let error = refused(&["inspect", keras.to_str().unwrap(), "--key", "state_dict"]);
    assert!(error.contains("--key is for checkpoints"), "{error}");
    let error = refused(&["inspect", &fixture("pointer.pt")]);
    assert!(error.contains("git lfs pull"), "{error}");
}

/// A safetensors file of a header and as many bytes as it speaks of.
fn safetensors(name: &str, header: &str, bytes: usize) -> String {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    let path = scratch(name);
    std::fs::write(&path, file).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn one_tensor_that_cannot_be_read_does_not_hide_the_others() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[8,12]}}"#;
    let file = safetensors("mixed.safetensors", header, 12);
    let text = stdout(&unfloat(&["inspect", &file]));
    assert!(text.contains("1 tensor, 2 parameters") && text.contains("1 that cannot be read"), "{text}");
    assert!(text.contains("b    is of F8_E4M3, which is not supported"), "{text}");
    let json: Value = serde_json::from_str(&stdout(&unfloat(&["inspect", &file, "--json"]))).unwrap();
    assert_eq!((&json["tensors"][0]["key"], &json["unreadable"][0]["key"]), (&"a".into(), &"b".into()));
    assert!(stdout(&unfloat(&["inspect", &file, "--tensor", "a"])).starts_with("a,(2)"));
    let error = refused(&["inspect", &file, "--tensor", "b"]);
    assert!(error.contains("mixed.safetensors") && error.contains("F8_E4M3"), "{error}");
    let arch = scratch("mixed.toml");
    std::fs::write(&arch, "input = [2]\nlayer = [ { kind = 'ReLU' } ]\n").unwrap();
    let out = scratch("mixed");
    let error = refused(&["convert", &file, "--arch", arch.to_str().unwrap(), "-o", out.to_str().unwrap()]);
    assert!(error.contains("`b` is of F8_E4M3"), "{error}");
}

#[test]
fn an_archive_of_no_arrays_is_a_model_without_parameters() {
    let file = scratch("empty.npz");
    std::fs::write(&file, [&b"PK\x05\x06"[..], &[0; 18]].concat()).unwrap();
    let file = file.to_str().unwrap();
    let text = stdout(&unfloat(&["inspect", file]));
    assert!(text.contains("empty.npz (npz archive)") && text.contains("0 tensors, 0 parameters"), "{text}");
    let arch = scratch("empty.toml");
    std::fs::write(&arch, "input = [2]\nlayer = [ { kind = 'ReLU' } ]\n").unwrap();
    let text = stdout(&unfloat(&["inspect", file, "--arch", arch.to_str().unwrap()]));
    assert!(text.contains("relu"), "{text}");
    let error = refused(&["inspect", file, "--key", "model"]);
    assert!(error.contains("empty.npz") && error.contains("`model`"), "{error}");
}

#[test]
fn control_characters_in_keys_are_escaped() {
    let header = r#"{"a\nb\u001b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let file = safetensors("control.safetensors", header, 4);
    let text = stdout(&unfloat(&["inspect", &file]));
    assert!(text.contains(r"a\nb\u{1b}  [1]") && text.lines().count() == 5, "{text}");
    assert!(stdout(&unfloat(&["inspect", &file, "--tensor", "a\nb\u{1b}"])).starts_with(r"a\nb\u{1b},(1)"));
    let error = refused(&["inspect", &file, "--tensor", "x\ny"]);
    assert!(error.contains(r"no tensor `x\ny`") && error.contains(r"there are: a\nb\u{1b}"), "{error}");
}

#[test]
fn damaged_safetensors_are_told_by_shape_or_name() {
    for (name, bytes, said) in [
        ("far.safetensors", &b"\xff\0\0\0\0\0\0\x10{\"a\":{}}"[..], "at most 100000000"),
        ("far.bin", b"\xff\0\0\0\0\0\0\x10{\"a\":{}}", "at most 100000000"),
        ("beyond.safetensors", b"\x40\0\0\0\0\0\0\0{\"a\":{}}", "64 bytes in a file of 16"),
        ("text.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\":{}x", "is no JSON of tensors"),
        ("other.safetensors", b"\x08\0\0\0\0\0\0\0abcdefgh", "is named like safetensors"),
        ("short.safetensors", b"\x08\0\0", "has 3 bytes"),
    ] {
        let file = scratch(name);
        std::fs::write(&file, bytes).unwrap();
        let error = refused(&["inspect", file.to_str().unwrap()]);
        assert!(error.contains(name) && error.contains(said), "{error}");
    }
}

#[test]
fn folders_that_hold_nothing_are_said_to() {
    let (empty, other, input) = (scratch("empty_folder"), scratch("other_folder"), fixture("strides.pt"));
    std::fs::create_dir_all(&empty).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "none").unwrap();
    for (folder, said) in
        [(&empty, "is an empty folder"), (&other, "neither `.npy` files nor a manifest.json")]
    {
        let folder = folder.to_str().unwrap();
        for args in [
            &["inspect", folder][..],
            &["run", folder, "--input", &input, "--output", "y.npy"],
            &["convert", folder, "-o", "out"],
        ] {
            let error = refused(args);
            assert!(error.contains(folder) && error.contains(said) && error.contains("may hold"), "{error}");
        }
    }
}

#[test]
fn options_without_meaning_are_refused() {
    let file = fixture("arrays.npz");
    for (option, owner) in [
        (&["--batch", "0"][..], "--batch is for ONNX models"),
        (&["--dim", "N=1"], "--dim is for ONNX models"),
        (&["--weights", "w.h5"], "--weights is for Keras models"),
        (&["--quantize", "int8"], "quantization are for graphs"),
    ] {
        let error = refused(&[&["inspect", &file][..], option].concat());
        assert!(error.contains(owner), "{error}");
    }
    let made = scratch("made_folder");
    std::fs::create_dir_all(&made).unwrap();
    std::fs::write(made.join("manifest.json"), "{}").unwrap();
    let made = made.to_str().unwrap();
    let error = refused(&["run", made, "--batch", "0", "--key", "a", "--input", &file, "--output", "y.npy"]);
    for flag in ["--batch", "--key"] {
        assert!(error.contains(&format!("{flag} is for models")), "{error}");
    }
    let error = refused(&["inspect", made]);
    assert!(error.contains("that `unfloat convert` made"), "{error}");
}
