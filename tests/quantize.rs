//! Quantization as a user meets it: a convolutional network that was trained on Fashion-MNIST, and a perceptron by Keras.
//! Accuracies are measured on the models' own frameworks' terms: labels of the data set, classes that Keras predicts.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantize").join(name);
    path.to_str().unwrap().to_string()
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quantize").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Converts the convolutional network with these options, and evaluates it on the test images.
fn convert_cnn(dir: &Path, options: &[&str]) -> Output {
    let [model, data, test, labels] = ["onnx", "calibration.npz", "test.npz", "labels.npy"]
        .map(|end| fixture(&format!("fashion_bn.{end}")));
    let out = dir.join("out");
    let mut args = vec!["convert", &model, "-o", out.to_str().unwrap(), "--emit", "uir", "--json"];
    args.extend(["--calibrate", &data, "--evaluate", &test, "--labels", &labels]);
    args.extend(options);
    unfloat(&args)
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Points of accuracy that are lost, and samples whose class is another one.
fn lost(report: &Value) -> (f64, u64) {
    let cost = &report["certificate"]["quantization"]["cost"];
    let correct: Vec<f64> = cost["correct"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    assert_eq!(cost["samples"], 1000);
    assert!(correct[0] >= 900.0, "the float model itself has {correct:?} of 1000 right");
    ((correct[0] - correct[1]) / 10.0, 1000 - cost["same_class"].as_u64().unwrap())
}

/// On all 10 000 test images the losses are smaller still; see docs/quantization.md.
#[test]
fn accuracy_is_kept() {
    let dir = scratch("accuracy");
    for (spec, most, other) in [("int8", 0.2, 10), ("w4a8", 1.0, 40)] {
        let report = json(&convert_cnn(&dir, &["--quantize", spec, "--max-drop", "1.0", "--force"]));
        let (points, classes) = lost(&report);
        assert!(points <= most, "{spec} loses {points} points");
        assert!(classes <= other, "{spec} changes {classes} classes");
    }
}

#[test]
fn methods_keep_the_accuracy() {
    let dir = scratch("methods");
    for (method, most, other) in [("percentile=99.99", 0.6, 20), ("mse", 0.6, 20), ("kl", 0.6, 20)] {
        let report =
            json(&convert_cnn(&dir, &["--quantize", "int8", "--calibrate-method", method, "--force"]));
        assert_eq!(report["certificate"]["quantization"]["recipe"]["method"], method);
        let (points, classes) = lost(&report);
        assert!(points <= most && classes <= other, "{method} loses {points} points, {classes} classes");
    }
}

/// Sixteen bits with nothing else said: a bare `ap_fixed` would wrap.
#[test]
fn a_perceptron_at_fixed_point_needs_no_data() {
    let (model, io) = (fixture("mlp.keras"), fixture("mlp.io.npz"));
    let dir = scratch("mlp");
    let y = dir.join("y.npy");
    let run = unfloat(&[
        "run",
        &model,
        "--quantize",
        "fixed<16,6>",
        "--input",
        &io,
        "--output",
        y.to_str().unwrap(),
    ]);
    assert!(run.status.success(), "{}", stderr(&run));
    let ours = unfloat_npy::read_npy(&std::fs::read(y).unwrap()).unwrap();
    let bytes = std::fs::read(io).unwrap();
    let theirs = unfloat_npy::Npz::open(&bytes).unwrap().get("output_0").unwrap().unwrap();
    let class = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let (ours, theirs) = (ours.as_f32().unwrap().chunks(5), theirs.as_f32().unwrap().chunks(5));
    let (mut same, mut all) = (0, 0);
    for (a, b) in ours.zip(theirs) {
        same += usize::from(class(a) == class(b));
        all += 1;
    }
    assert_eq!(all, 1000);
    assert!(same >= 990, "{same} of 1000 classes are Keras'");
}

/// The report of converting the perceptron with these options.
fn convert_mlp(dir: &Path, options: &[&str]) -> Value {
    let (model, data, out) = (fixture("mlp.keras"), fixture("mlp.io.npz"), dir.join("out"));
    let fixed = ["convert", &model, "--calibrate", &data, "-o", out.to_str().unwrap()];
    json(&unfloat(&[&fixed[..], &["--emit", "uir", "--json", "--force"], options].concat()))
}

#[test]
fn a_starting_recipe_is_int8() {
    let dir = scratch("recipe");
    let recipe = dir.join("r.toml");
    let recipe = recipe.to_str().unwrap();
    let written = unfloat(&["recipe", &fixture("mlp.keras"), "-o", recipe]);
    assert!(written.status.success(), "{}", stderr(&written));
    let text = std::fs::read_to_string(recipe).unwrap();
    let layer =
        "# fc1.dense: dense of fc1, f32[64] c, 1088 parameters\n# [[layer]]\n# name = \"fc1.dense\"\n";
    for part in [layer, "# features: input, f32[16] c\n"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let numbers = |options: &[&str]| {
        let mut numbers = convert_mlp(&dir, options)["certificate"]["quantization"].clone();
        numbers["recipe"]["recipe"] = Value::Null;
        numbers
    };
    let int8 = numbers(&["--quantize", "int8"]);
    assert_eq!(int8["recipe"]["weights"].as_array().unwrap().len(), 4);
    assert_eq!(numbers(&["--recipe", recipe]), int8);
}

#[test]
fn exceptions_are_kept() {
    let dir = scratch("exceptions");
    let recipe = dir.join("r.toml");
    let text = "[[layer]]\nname = 'fc1'\nweights = 'ternary'\n[[layer]]\nname = 'fc3*'\nkeep = 'float'\n\
                [[layer]]\nname = 'fc2'\nactivation = 'fixed<10,4>'\n[[layer]]\nname = 'fc1*'\nactivation = 'int6'\n";
    std::fs::write(&recipe, text).unwrap();
    let report = convert_mlp(&dir, &["--recipe", recipe.to_str().unwrap()]);
    let recipe = &report["certificate"]["quantization"]["recipe"];
    let list = |of: &str, keys: [&str; 2]| -> Vec<String> {
        let entries = recipe[of].as_array().unwrap().iter();
        entries.map(|e| keys.map(|k| e[k].as_str().unwrap()).join(" ")).collect()
    };
    let weights = ["fc1.dense ternary", "fc2.dense int8", "output.dense int8"];
    assert_eq!(list("weights", ["value", "format"]), weights);
    // What only a layer reads that is kept has no quantizer: `fc2`. What a kept layer makes has one, for others.
    let activations = ["features i8", "fc1 u6", "fc3 u8", "output.dense i12", "output u16"];
    assert_eq!(list("activations", ["value", "codes"]), activations);
}

#[test]
fn too_much_loss_writes_nothing() {
    let dir = scratch("max-drop");
    let output = convert_cnn(&dir, &["--quantize", "wbipolar a2", "--max-drop", "0.5"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing was written"));
    assert!(!dir.join("out").exists());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], false);
}

#[test]
fn what_goes_together_and_what_does_not() {
    let (model, mlp, labels) =
        (fixture("fashion_bn.onnx"), fixture("mlp.keras"), fixture("fashion_bn.labels.npy"));
    let dir = scratch("refused");
    let out = dir.join("out");
    let out = out.to_str().unwrap();
    let bad = dir.join("bad.toml");
    std::fs::write(&bad, "[default]\nweights = 'uint8'\n[[layer]]\nname = 'nothing*'\nkeep = 'float'\n")
        .unwrap();
    let none = dir.join("none.toml");
    std::fs::write(
        &none,
        "[default]\nactivation='fixed<16,6>'\n[[layer]]\nname = 'nothing*'\nkeep = 'float'\n",
    )
    .unwrap();
    let cases: [(&[&str], &[&str]); 9] = [
        (&[&model, "--quantize", "int8"], &["there are no samples", "--calibrate DATA"]),
        (&[&model, "--quantize", "w4a8"], &["there are no samples"]),
        (&[&model, "--quantize", "uint8"], &["weights have a sign"]),
        (&[&model, "--calibrate", &labels], &["--calibrate changes nothing without --quantize"]),
        (&[&model, "--quantize", "int8", "--calibrate-method", "best"], &["expected minmax"]),
        (&[&model, "--quantize", "int8", "--recipe", "x"], &["cannot be used with"]),
        (&[&model, "--recipe", bad.to_str().unwrap()], &["bad.toml: line 2: `weights`"]),
        (
            &[&mlp, "--recipe", none.to_str().unwrap()],
            &["none.toml: line 3: `nothing*` names no layer", "`fc1"],
        ),
        (&[&model, "--quantize", "int8", "--calibrate", &labels], &["expected the shape"]),
    ];
    for (args, want) in cases {
        let output = unfloat(&[&["convert"], args, &["-o", out, "--emit", "uir"]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        for want in want {
            assert!(stderr(&output).contains(want), "{args:?}: {want} is not in {}", stderr(&output));
        }
    }
    assert!(!Path::new(out).exists());
}

/// With nothing said a float model stays float.
#[test]
fn nothing_is_quantized_unasked() {
    let output = unfloat(&["inspect", &fixture("mlp.keras"), "--stage", "folded"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("quantize"));
    let output = unfloat(&["inspect", &fixture("mlp.keras"), "--quantize", "fixed<16,6>"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("quantize to=i16 rounding=half_even"));
}

/// The class alone, from integers alone, as emitted C++: the one that Keras predicts, and no softmax is computed.
#[test]
fn the_class_alone_needs_no_softmax() {
    let dir = scratch("class");
    let (model, io) = (fixture("mlp.keras"), fixture("mlp.io.npz"));
    let (out, classes) = (dir.join("out"), dir.join("classes.npy"));
    let (out, classes) = (out.to_str().unwrap(), classes.to_str().unwrap());
    let spec = ["--quantize", "fixed<16,6>", "--head", "class"];
    let done = unfloat(&[&["convert", &model, "-o", out][..], &spec].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    let text = std::fs::read_to_string(Path::new(out).join("cpp/mlp.hpp")).unwrap();
    assert!(!text.contains("softmax_exp"), "a table of exponentials is left");
    let done = unfloat(&["run", out, "--input", &io, "--output", classes]);
    assert!(done.status.success(), "{}", stderr(&done));
    let found = unfloat_npy::read_npy(&std::fs::read(classes).unwrap()).unwrap();
    let archive = std::fs::read(&io).unwrap();
    let wanted = unfloat_npy::Npz::open(&archive).unwrap().get("output_0").unwrap().unwrap();
    let wanted = wanted
        .as_f32()
        .unwrap()
        .chunks(5)
        .map(|scores| (0..5).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap() as i64);
    let class = |i: usize| found.data.code(i).or(found.as_f32().map(|v| v[i] as i64));
    let same = wanted.clone().enumerate().filter(|&(i, w)| class(i) == Some(w)).count();
    assert!(wanted.count() == 1000 && same >= 990, "{same} of 1000 classes are Keras'");
}

/// The header that a quantized network becomes has no float but at its boundary.
#[test]
fn the_emitted_header_computes_in_integers() {
    let (model, data) = (fixture("fashion_bn.onnx"), fixture("fashion_bn.calibration.npz"));
    for spec in ["int8", "w4a8"] {
        let dir = scratch(&format!("no-float-{spec}"));
        let out = dir.join("out");
        let args = ["convert", &model, "-o", out.to_str().unwrap(), "--emit", "cpp"];
        let done = unfloat(&[&args[..], &["--quantize", spec, "--calibrate", &data]].concat());
        assert!(done.status.success(), "{spec}: {}", stderr(&done));
        let text = std::fs::read_to_string(out.join("cpp/fashion_bn.hpp")).unwrap();
        let (inside, boundary) = text.split_once("// ---- The boundary").unwrap();
        let floats = |text: &str| {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.filter(|w| ["float", "double", "_Float16"].contains(w)).count()
        };
        assert_eq!(floats(inside), 0, "{spec}");
        // The boundary is what UNFLOAT_INTEGERS_ONLY leaves out: all of `run_float`, and nothing behind it.
        let (boundary, rest) = boundary.rsplit_once("#endif\n\n}").unwrap();
        assert!(boundary.contains("#if !defined(UNFLOAT_INTEGERS_ONLY)") && floats(boundary) > 0, "{spec}");
        assert_eq!(floats(rest), 0, "{spec}");
    }
}

/// The accuracy that the report gives is that of the graph that was written, and `--max-drop` judges that one: scores in
/// steps of one half tie, which the class alone, told before that, does not.
#[test]
fn accuracy_is_that_of_what_ships() {
    let dir = scratch("ships");
    let recipe = dir.join("r.toml");
    std::fs::write(&recipe, "[[layer]]\nname = 'logits'\naccumulator = 'fixed<10,9>'\n").unwrap();
    let labels = unfloat_npy::read_npy(&std::fs::read(fixture("fashion_bn.labels.npy")).unwrap()).unwrap();
    for head in ["scores", "class"] {
        let options = ["--recipe", recipe.to_str().unwrap(), "--head", head, "--force"];
        let report = json(&convert_cnn(&dir, &options));
        let graph = dir.join("out/uir/fashion_bn.uir");
        let y = dir.join("y.npy");
        let done = unfloat(&[
            "run",
            graph.to_str().unwrap(),
            "--input",
            &fixture("fashion_bn.test.npz"),
            "--output",
            y.to_str().unwrap(),
        ]);
        assert!(done.status.success(), "{head}: {}", stderr(&done));
        let y = unfloat_npy::read_npy(&std::fs::read(&y).unwrap()).unwrap();
        let class = |i: usize| match y.as_f32() {
            Some(scores) => {
                let scores = &scores[i * 10..(i + 1) * 10];
                (0..10).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap() as i64
            }
            None => y.data.code(i).unwrap(),
        };
        let label = |i: usize| labels.data.code(i).or(labels.as_f32().map(|v| v[i] as i64)).unwrap();
        let right = (0..1000).filter(|&i| class(i) == label(i)).count() as u64;
        let cost = &report["certificate"]["quantization"]["cost"];
        assert_eq!(cost["correct"][1].as_u64(), Some(right), "{head}");
    }
}
