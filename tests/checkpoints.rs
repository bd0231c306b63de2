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
