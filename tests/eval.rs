//! `eval` and `data export`: what a user measures, in the files that datasets come in.

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unfloat_ir::{ElemType, Layout, Tensor, TensorType};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// An empty directory for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("eval").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The error of a command that must fail with status 2.
fn refused(args: &[&str]) -> String {
    let output = unfloat(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON of an evaluation without the time that it took.
fn json(args: &[&str]) -> Value {
    let mut json: Value = serde_json::from_str(&stdout(&unfloat(&[args, &["--json"]].concat()))).unwrap();
    assert!(json["elapsed_seconds"].as_f64().unwrap() > 0.0);
    json.as_object_mut().unwrap().remove("elapsed_seconds");
    json
}

fn labels(labels: &[i64]) -> Tensor {
    Tensor::codes(
        TensorType::new(ElemType::signed(64), [labels.len()], Layout::anonymous(1)),
        labels.iter().copied(),
    )
}

fn write_npz(path: &Path, x: &Tensor, y: &[i64]) {
    fs::write(path, unfloat_npy::write_npz([("x", x), ("y", &labels(y))]).unwrap()).unwrap();
}

/// The first 32 images of Fashion-MNIST's test part, as the fixture has them, with the labels of that dataset.
fn fashion(dir: &Path) -> PathBuf {
    const LABELS: [i64; 32] =
        [9, 2, 1, 1, 6, 1, 4, 6, 5, 7, 4, 5, 7, 3, 4, 1, 2, 4, 8, 0, 2, 5, 7, 9, 1, 4, 6, 0, 9, 3, 8, 8];
    let io = fs::read(fixture("keras/fashion_cnn.io.npz")).unwrap();
    let x = unfloat_npy::Npz::open(&io).unwrap().get("input_0").unwrap().unwrap();
    let path = dir.join("fashion.npz");
    write_npz(&path, &x, &LABELS);
    path
}

/// A model whose scores are the four pixels of an image of 2×2.
fn pixels(dir: &Path) -> PathBuf {
    let path = dir.join("pixels.uir");
    let graph = "uir 1\ngraph \"pixels\" folded\ninput %x : f32[2,2,1] hwc\n\
                 %y = reshape %x {shape=[4], layout=c} : f32[4] c\noutput \"y\" %y\n";
    fs::write(&path, graph).unwrap();
    path
}

/// Bitmaps of 2×2: the brightest pixel is the class that the model gives.
fn bitmap(dir: &Path, name: &str, pixels: [u8; 4]) {
    use unfloat_data::picture::{Kind, Picture, encode};
    let picture = Picture { shape: [2, 2, 1], pixels: pixels.to_vec() };
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(name), encode(&picture, Kind::Bmp).unwrap()).unwrap();
}

#[test]
fn a_trained_model_is_measured() {
    let dir = scratch("fashion");
    let (model, data) = (fixture("keras/fashion_cnn.h5"), fashion(&dir));
    let args = ["eval", text(&model), "--data", text(&data)];
    let json = json(&args);
    // Keras' own outputs in the fixture have these three wrong.
    assert_eq!((&json["samples"], &json["top_1"]["correct"]), (&32.into(), &29.into()));
    let wrong: Vec<(&str, u64)> = json["misclassified"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["name"].as_str().unwrap(), m["predicted"].as_u64().unwrap()))
        .collect();
    assert_eq!(wrong, [("7_12", 5), ("9_23", 5), ("4_25", 6)]);
    assert_eq!((&json["top_k"]["k"], &json["confusion"][7][5]), (&5.into(), &1.into()));
    assert_eq!(json["classes"][5]["accuracy"], 1.0);
    let shown = stdout(&unfloat(&args));
    for part in ["32 samples of 10 classes (npz)", "top-1: 90.62 % (29 of 32)", "7_12: 7 -> 5", "elapsed: "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The emitted program is as right as the model, and so is a quantized one on these images.
    let out = dir.join("out");
    stdout(&unfloat(&["convert", text(&model), "-o", text(&out)]));
    let emitted = self::json(&["eval", text(&out), "--data", text(&data), "--top", "5"]);
    for part in ["confusion", "top_1", "top_k"] {
        assert_eq!(emitted[part], json[part], "{part}");
    }
    let fixed = self::json(&["eval", text(&model), "--data", text(&data), "--quantize", "fixed<16,6>"]);
    assert_eq!(fixed["top_1"], json["top_1"]);
    let calibrated = self::json(&[
        "eval",
        text(&model),
        "--data",
        text(&data),
        "--quantize",
        "int8",
        "--calibrate",
        text(&fixture("keras/fashion_cnn.io.npz")),
        "--threads",
        "2",
    ]);
    assert!(calibrated["top_1"]["correct"].as_u64().unwrap() >= 28, "{}", calibrated["top_1"]);
}

#[test]
fn folders_of_bitmaps_are_measured_and_drawn() {
    let dir = scratch("bitmaps");
    let (model, data) = (pixels(&dir), dir.join("images"));
    bitmap(&data, "0_0.bmp", [200, 0, 0, 0]);
    bitmap(&data, "3_1.bmp", [0, 255, 0, 10]);
    bitmap(&data, "1_2.bmp", [9, 0, 9, 0]);
    bitmap(&data, "2_10.bmp", [7, 7, 7, 7]);
    let page = dir.join("page.html");
    let args = ["eval", text(&model), "--data", text(&data), "--top", "2", "--html", text(&page)];
    let measured = json(&args);
    assert_eq!((&measured["samples"], &measured["top_1"]["correct"]), (&4.into(), &1.into()));
    // Of equal scores the lowest index comes first: class 2 is third, class 1 is third, class 3 second.
    assert_eq!(measured["top_k"], serde_json::json!({ "k": 2, "correct": 2, "accuracy": 0.5 }));
    let wrong: Vec<&str> =
        measured["misclassified"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(wrong, ["1_2.bmp", "2_10.bmp", "3_1.bmp"]);
    let first = fs::read_to_string(&page).unwrap();
    assert_eq!(first.matches("data:image/png;base64,").count(), 3);
    // The worst is the one whose own class is furthest below.
    assert!(first.find("3_1.bmp").unwrap() < first.find("2_10.bmp").unwrap(), "{first}");
    assert!(!first.contains("elapsed"), "{first}");
    assert_eq!(json(&args), measured);
    assert_eq!(fs::read_to_string(&page).unwrap(), first);
    // Pixels are divided by 255 unless a scale is given; mean and deviation move nothing here.
    let scaled = json(&[&args[..], &["--scale", "1", "--mean", "-0.5", "--std", "2"]].concat());
    assert_eq!(scaled["confusion"], measured["confusion"]);
}

#[test]
fn a_model_that_gives_the_class_alone_is_measured() {
    let dir = scratch("class");
    let (model, data) = (pixels(&dir), dir.join("images"));
    for (name, at) in [("a/x.bmp", 0), ("b/x.bmp", 1), ("c/x.bmp", 3), ("d/x.bmp", 3)] {
        let mut image = [0; 4];
        image[at] = 255;
        bitmap(&data, name, image);
    }
    let out = dir.join("out");
    stdout(&unfloat(&["convert", text(&model), "-o", text(&out), "--emit", "uir", "--head", "class"]));
    let out = out.join("uir/pixels.uir");
    let measured = json(&["eval", text(&out), "--data", text(&data)]);
    assert_eq!((&measured["top_1"]["correct"], &measured["classes"][2]["name"]), (&3.into(), &"c".into()));
    assert_eq!(measured["confusion"][2], serde_json::json!([0, 0, 0, 1]));
    assert!(
        refused(&["eval", text(&out), "--data", text(&data), "--top", "2"]).contains("--top needs scores")
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = scratch("refused");
    let (model, fashion) = (pixels(&dir), fashion(&dir));
    let x = |v: &[f32]| Tensor::f32([v.len() / 4, 2, 2, 1], Layout::anonymous(4), v.to_vec());
    let data = dir.join("d.npz");
    let eval = |more: &[&str]| refused(&[&["eval", text(&model), "--data", text(&data)], more].concat());
    write_npz(&data, &x(&[1.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0]), &[0, 1]);
    let error = eval(&[]);
    assert!(error.contains("1_1") && error.contains("score 1 is no number"), "{error}");
    write_npz(&data, &x(&[1.0, 0.0, 0.0, 0.0]), &[4]);
    let error = eval(&[]);
    assert!(error.contains("label 4") && error.contains("4 classes"), "{error}");
    write_npz(&data, &x(&[1.0, 0.0, 0.0, 0.0]), &[0]);
    assert!(eval(&["--top", "5"]).contains("expected 1 to 4"));
    assert!(eval(&["--top", "0"]).contains("expected 1 to 4"));
    assert!(eval(&["--scale", "255/1"]).contains("--scale"));
    assert!(eval(&["--mean", "1,2"]).contains("2 numbers"));
    assert!(eval(&["--split", "train", "--coarse"]).contains("--coarse"));
    let error = refused(&["eval", text(&model), "--data", text(&fashion)]);
    assert!(error.contains("[28, 28, 1]") && error.contains("f32[2,2,1]"), "{error}");
    let error = refused(&["eval", text(&model), "--data", text(&model)]);
    assert!(error.contains("no dataset that is known"), "{error}");
    let named = dir.join("named");
    bitmap(&named, "cat/1.bmp", [1, 2, 3, 4]);
    let error = refused(&["eval", text(&model), "--data", text(&named)]);
    assert!(error.contains("4 classes") && error.contains("1"), "{error}");
    let two = dir.join("two.uir");
    fs::write(&two, "uir 1\ngraph \"two\" folded\ninput %x : f32[4] c\n%a = relu %x : f32[4] c\noutput \"y\" %a\noutput \"z\" %a\n").unwrap();
    let error = refused(&["eval", text(&two), "--data", text(&data)]);
    assert!(error.contains("one output, this model has 2: y, z"), "{error}");
}

/// A folder as CIFAR-10 comes for Python, of three images per file.
fn cifar(dir: &Path) -> PathBuf {
    let unpacked = |name: &str| {
        let mut bytes = Vec::new();
        let file = fs::File::open(fixture("data").join(format!("{name}.gz"))).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let folder = dir.join("cifar-10-batches-py");
    fs::create_dir_all(&folder).unwrap();
    for i in 1..=5 {
        fs::write(folder.join(format!("data_batch_{i}")), unpacked("cifar10_python2")).unwrap();
    }
    fs::write(folder.join("test_batch"), unpacked("cifar10_python2")).unwrap();
    fs::write(folder.join("batches.meta"), unpacked("batches.meta")).unwrap();
    folder
}

/// A model of ten classes over the means of the three colours.
fn means(dir: &Path) -> PathBuf {
    let rows: Vec<String> = (0..10).map(|i| format!("[{}.0, {}.0, {}.0]", i % 3, i % 5, i % 7)).collect();
    let graph = format!(
        "uir 1\ngraph \"means\" folded\ninput %x : f32[3,32,32] chw\nconst %w : f32[10,3] oi = [{}]\n\
         %m = reduce_mean %x {{axes=[1, 2], keep=false}} : f32[3] c\n%y = dense %m, %w : f32[10] c\noutput \"y\" %y\n",
        rows.join(", ").replace(['[', ']'], "")
    );
    let path = dir.join("means.uir");
    fs::write(&path, graph).unwrap();
    path
}

#[test]
fn cifar_batches_become_bitmaps_and_measure_the_same() {
    let dir = scratch("cifar");
    let (folder, bitmaps, model) = (cifar(&dir), dir.join("bmp"), means(&dir));
    let done = unfloat(&["data", "export", text(&folder), "--to", text(&bitmaps)]);
    assert_eq!(stdout(&done), "");
    let list = |part: &str| {
        let names =
            fs::read_dir(bitmaps.join(part)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(list("test"), ["0_2.bmp", "3_0.bmp", "8_1.bmp"]);
    // The index counts on over the batches, as in the tutorial's script.
    assert_eq!((list("train").len(), list("train").contains(&"8_13.bmp".to_string())), (15, true));
    let bmp = fs::read(bitmaps.join("test/3_0.bmp")).unwrap();
    assert!(bmp.starts_with(b"BM"));
    let normal = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];
    let of = |data: &Path, more: &[&str]| {
        json(&[&["eval", text(&model), "--data", text(data)], &normal[..], more].concat())
    };
    for (part, name) in [("test", "test"), ("train", "train")] {
        let batches = of(&folder, &["--split", part]);
        let images = of(&bitmaps.join(name), &[]);
        assert_eq!(batches["confusion"], images["confusion"], "{part}");
        assert_eq!(batches["classes"][3]["name"], "cat");
    }
    // Nothing is overwritten.
    let error = refused(&["data", "export", text(&folder), "--to", text(&bitmaps)]);
    assert!(error.contains("holds something already"), "{error}");
    let one = dir.join("one");
    let args = ["data", "export", text(&folder), "--to", text(&one), "--split", "test", "--format", "png"];
    stdout(&unfloat(&args));
    assert!(fs::read(one.join("8_1.png")).unwrap().starts_with(b"\x89PNG"));
    // A model of other classes is told apart.
    let error = refused(&["eval", text(&pixels(&dir)), "--data", text(&folder)]);
    assert!(
        error.contains("4 classes") && error.contains("CIFAR-10 Python") && error.contains("10"),
        "{error}"
    );
}

#[test]
fn a_failed_export_leaves_nothing() {
    let dir = scratch("failed");
    let folder = cifar(&dir);
    let mut batch = fs::read(folder.join("data_batch_5")).unwrap();
    batch.truncate(5000);
    fs::write(folder.join("data_batch_5"), batch).unwrap();
    let to = dir.join("to");
    let error = refused(&["data", "export", text(&folder), "--to", text(&to)]);
    assert!(error.contains("data_batch_5"), "{error}");
    let left: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["cifar-10-batches-py"]);
}

/// The course's binary VGG from its checkpoint, on CIFAR-10's own files: PyTorch 2.15 gives the classes 4, 0, 4 to these
/// three images, after torchvision's `ToTensor` and `Normalize`, with the margins below.
#[test]
fn the_binary_vgg_on_cifar_is_as_right_as_in_pytorch() {
    let dir = scratch("vgg");
    let folder = cifar(&dir);
    let nets = fixture("pytorch/nets");
    let (model, arch) = (nets.join("vgg_small.pth.tar"), nets.join("vgg_small.toml"));
    let data = ["--data", text(&folder), "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];
    let measured = json(&[&["eval", text(&model), "--arch", text(&arch)], &data[..]].concat());
    assert_eq!(measured["top_k"], serde_json::json!({ "k": 5, "correct": 1, "accuracy": 1.0 / 3.0 }));
    for (i, (name, predicted, margin)) in
        [("3_0", 4, 29.313768f64), ("8_1", 0, 30.545572), ("0_2", 4, 7.7307467)].into_iter().enumerate()
    {
        let wrong = &measured["misclassified"][i];
        assert_eq!((&wrong["name"], &wrong["predicted"]), (&name.into(), &predicted.into()));
        assert!((wrong["margin"].as_f64().unwrap() - margin).abs() < 1e-4 * margin, "{wrong}");
    }
}
