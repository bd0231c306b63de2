//! The program as a user meets it: exit statuses, streams, files, errors.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras").join(name)
}

/// An empty directory for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn unfloat(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_unfloat")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("not ended by a signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All files below a directory with their bytes.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.strip_prefix(dir).unwrap().to_path_buf(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn convert_checks_and_writes() {
    let dir = scratch("convert");
    let (model, out, io) = (fixture("fashion_cnn.h5"), dir.join("out"), fixture("fashion_cnn.io.npz"));
    let done = unfloat(&[
        "convert",
        text(&model),
        "-o",
        text(&out),
        "--emit",
        "cpp,uir",
        "--check",
        text(&io),
        "--json",
    ]);
    assert_eq!(status(&done), 0, "{}", stderr(&done));
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary["passed"], true);
    assert_eq!(summary["certificate"]["checks"].as_array().unwrap().len(), 3);
    let certificate: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("certificate.json")).unwrap()).unwrap();
    assert_eq!(certificate, summary["certificate"]);
    let folded =
        certificate["passes"].as_array().unwrap().iter().find(|p| p["pass"] == "fold-batch-norm").unwrap();
    assert_eq!(folded["changes"], 3);
    assert!(folded["evidence"]["sampled"]["points"].as_u64().unwrap() > 10_000, "{folded}");
    for file in summary["manifest"]["files"].as_array().unwrap() {
        let path = out.join(file["path"].as_str().unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), file["size"].as_u64().unwrap());
    }

    // What was written can be verified against the model, run, and read back as a graph.
    let uir = out.join("uir/fashion_cnn.uir");
    for other in [&model, &uir] {
        let verified = unfloat(&["verify", text(other), text(&out), "--input", text(&io)]);
        assert_eq!(status(&verified), 0, "{}", stderr(&verified));
        assert_eq!(stdout(&verified).matches("equal: ").count(), 3, "{}", stdout(&verified));
    }
    let outputs = ["executor.npy", "reference.npy", "emitted.npy"].map(|n| dir.join(n));
    let run = |model: &Path, output: &Path, more: &[&str]| {
        let args = [&["run", text(model), "--input", text(&io), "--output", text(output)], more].concat();
        let done = unfloat(&args);
        assert_eq!(status(&done), 0, "{}", stderr(&done));
        unfloat_npy::read_npy(&std::fs::read(output).unwrap()).unwrap()
    };
    let executed = run(&uir, &outputs[0], &["--threads", "2"]);
    let reference = run(&model, &outputs[1], &["--reference"]);
    let emitted = run(&out, &outputs[2], &[]);
    assert_eq!(executed.ty.shape.dims(), [32, 10]);
    for other in [reference, emitted] {
        let pairs = executed.as_f32().unwrap().iter().zip(other.as_f32().unwrap());
        assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) < 2e-5);
    }
}

#[test]
fn graphs_with_integers_inside_are_run() {
    let dir = scratch("integers");
    let (model, input, output) = (dir.join("net.uir"), dir.join("x.npy"), dir.join("y.npy"));
    let graph = "uir 1\ngraph \"net\" imported\ninput %x : f32[2] c\nconst %s : f32[] = [0.5]\n\
                 const %z : f32[] = [0.0]\n\
                 %q = quantize %x, %s, %z {to=i4, rounding=half_even, order=clamp_then_round} : i4[2] c\n\
                 %y = dequantize %q, %s, %z : f32[2] c\noutput \"y\" %y\n";
    std::fs::write(&model, graph).unwrap();
    let x = unfloat_ir::Tensor::f32([2, 2], unfloat_ir::Layout::anonymous(2), vec![0.3, 0.75, -9.0, 9.0]);
    std::fs::write(&input, unfloat_npy::write_npy(&x)).unwrap();
    let args = ["run", text(&model), "--input", text(&input), "--output", text(&output)];
    for more in [&[][..], &["--reference"]] {
        let done = unfloat(&[&args[..], more].concat());
        assert_eq!(status(&done), 0, "{}", stderr(&done));
        let y = unfloat_npy::read_npy(&std::fs::read(&output).unwrap()).unwrap();
        assert_eq!(y.as_f32(), Some(&[0.5, 1.0, -4.0, 3.5][..]));
    }
    let out = dir.join("out");
    let emitted = unfloat(&["convert", text(&model), "-o", text(&out), "--emit", "cpp", "--check"]);
    assert_eq!(status(&emitted), 0, "{}", stderr(&emitted));
    let done = unfloat(&["run", text(&out), "--input", text(&input), "--output", text(&output)]);
    assert_eq!(status(&done), 0, "{}", stderr(&done));
    let y = unfloat_npy::read_npy(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!(y.as_f32(), Some(&[0.5, 1.0, -4.0, 3.5][..]));
    // A float in front of the quantizer: C++ takes no mixture.
    let mixed = graph.replace("%q = quantize %x", "%r = relu %x : f32[2] c\n%q = quantize %r");
    std::fs::write(&model, mixed).unwrap();
    let refused = unfloat(&["convert", text(&model), "-o", text(&dir.join("mixed")), "--emit", "cpp"]);
    assert_eq!(status(&refused), 2);
    for part in ["`r` (relu)", "between integers", "unfloat audit", "--emit uir"] {
        assert!(stderr(&refused).contains(part), "{part}: {}", stderr(&refused));
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let dir = scratch("bytes");
    let model = fixture("fashion_cnn.h5");
    let convert = |out: &Path, threads: &str, locale: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_unfloat"))
            .args(["convert", text(&model), "-o", text(out), "--emit", "cpp,uir", "--name", "net"])
            .env("RAYON_NUM_THREADS", threads)
            .env("OMP_NUM_THREADS", threads)
            .env("LC_ALL", locale)
            .env("TZ", if threads == "1" { "Asia/Tokyo" } else { "UTC" })
            .env("HOME", out.parent().unwrap())
            .output()
            .unwrap();
        assert_eq!(status(&done), 0, "{}", stderr(&done));
        tree(out)
    };
    let first = convert(&dir.join("one"), "1", "C");
    let second = convert(&dir.join("elsewhere"), "7", "de_DE.UTF-8");
    assert!(first.len() >= 6, "{} files", first.len());
    assert!(first == second, "the outputs differ");
    for (path, bytes) in &first {
        let found = String::from_utf8_lossy(bytes).contains(env!("CARGO_MANIFEST_DIR"));
        assert!(!found, "{} holds a path of this machine", path.display());
    }
}

#[test]
fn a_copy_of_the_model_elsewhere_gives_the_same_bytes() {
    let dir = scratch("place");
    let copy = dir.join("fashion_cnn.h5");
    std::fs::copy(fixture("fashion_cnn.h5"), &copy).unwrap();
    let convert = |model: &Path, out: &str| {
        let out = dir.join(out);
        let done = unfloat(&["convert", text(model), "-o", text(&out)]);
        assert_eq!(status(&done), 0, "{}", stderr(&done));
        tree(&out)
    };
    assert!(convert(&fixture("fashion_cnn.h5"), "a") == convert(&copy, "b"));
}

#[test]
fn differences_are_status_one_and_named() {
    let dir = scratch("differs");
    let (model, out) = (fixture("fashion_cnn.h5"), dir.join("out"));
    let done = unfloat(&["convert", text(&model), "-o", text(&out), "--emit", "uir"]);
    assert_eq!(status(&done), 0, "{}", stderr(&done));
    // Another bias in one layer of the text.
    let uir = out.join("uir/fashion_cnn.uir");
    let source = std::fs::read_to_string(&uir).unwrap();
    let at = source
        .find("const %conv2")
        .and_then(|i| source[i..].find("= [").map(|j| i + j + 3))
        .expect("a small constant");
    let end = at + source[at..].find([',', ']']).unwrap();
    let changed = format!("{}9.5{}", &source[..at], &source[end..]);
    std::fs::write(&uir, changed).unwrap();
    let verified = unfloat(&["verify", text(&model), text(&uir)]);
    assert_eq!(status(&verified), 1, "{}", stderr(&verified));
    let said = stdout(&verified);
    assert!(said.contains("DIFFERENT: output `probabilities`"), "{said}");
    assert!(said.contains("the first value that differs is"), "{said}");
    // Given outputs that are not the model's.
    let io = unfloat_npy::write_npy(&unfloat_ir::Tensor::f32(
        [1, 10],
        unfloat_ir::Layout::anonymous(2),
        vec![0.1; 10],
    ));
    let expect = dir.join("expect.npy");
    std::fs::write(&expect, io).unwrap();
    let image = unfloat_ir::Tensor::f32([28, 28, 1], unfloat_ir::Layout::anonymous(3), vec![0.5; 784]);
    let input = dir.join("input.npy");
    std::fs::write(&input, unfloat_npy::write_npy(&image)).unwrap();
    let verified =
        unfloat(&["verify", text(&model), "--input", text(&input), "--expect", text(&expect), "--json"]);
    assert_eq!(status(&verified), 1);
    let document: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(document["equal"], false);
}

#[test]
fn all_offenders_are_listed_in_one_run() {
    let dir = scratch("offenders");
    for model in ["refused/keras2_offenders.h5", "refused/keras3_offenders.keras"] {
        let out = dir.join("out");
        let refused = unfloat(&["convert", text(&fixture(model)), "-o", text(&out)]);
        assert_eq!(status(&refused), 2);
        for layer in ["bidirectional_gru", "custom_scale", "embedding", "lambda_double", "lstm"] {
            assert!(stderr(&refused).contains(layer), "{layer} is not in:\n{}", stderr(&refused));
        }
        assert!(stdout(&refused).is_empty() && !out.exists());
    }
}

#[test]
fn bad_requests_are_refused_before_anything_is_written() {
    let dir = scratch("bad");
    let model = fixture("fashion_cnn.h5");
    let out = dir.join("out");
    let refused =
        unfloat(&["convert", text(&model), "-o", text(&out), "--emit", "cpp,cobol", "--name", "class"]);
    assert_eq!(status(&refused), 2);
    assert!(
        stderr(&refused).contains("cobol") && stderr(&refused).contains("`class`"),
        "{}",
        stderr(&refused)
    );
    // A directory with a user's file is left alone.
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("thesis.txt"), "years of work").unwrap();
    let refused = unfloat(&["convert", text(&model), "-o", text(&out)]);
    assert_eq!(status(&refused), 2);
    assert!(stderr(&refused).contains("unfloat did not write"), "{}", stderr(&refused));
    assert_eq!(tree(&out).len(), 1);
    for args in [
        &["convert"][..],
        &["convert", "nosuch.h5", "-o", "x"],
        &["run", text(&model), "--input", "nosuch.npy", "--output", "x.npy"],
        &["run", text(&model), "--input", text(&model), "--output", "x.npy"],
        &["inspect", text(&dir)],
        &["inspect", text(&model), "--tensor", "nosuch"],
        &["inspect", text(&model), "--stage", "nosuch"],
        &["opt", text(&model), "-p", "nosuch"],
        &["passes", "nosuch"],
        &["verify", text(&model)],
        &["nosuch"],
    ] {
        let refused = unfloat(args);
        assert_eq!(status(&refused), 2, "{args:?}");
        assert!(!stderr(&refused).is_empty() && !stderr(&refused).contains("panicked"), "{args:?}");
    }
}

#[test]
fn inspect_shows_layers_and_tensors() {
    let model = fixture("fashion_cnn.h5");
    let shown = unfloat(&["inspect", text(&model)]);
    assert_eq!(status(&shown), 0);
    assert!(
        stdout(&shown).contains("conv1") && stdout(&shown).contains("16314 parameters"),
        "{}",
        stdout(&shown)
    );
    let json = unfloat(&["inspect", text(&model), "--json", "--stage", "folded"]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["stage"], "folded");
    assert_eq!(document["inputs"][0]["layout"], "hwc");
    assert!(stdout(&unfloat(&["inspect", text(&model), "--dot"])).starts_with("digraph"));
    let unknown = unfloat(&["inspect", text(&model), "--tensor", "nosuch"]);
    let help = stderr(&unknown);
    let name = help.split("there are: ").nth(1).unwrap().split(',').next().unwrap().to_string();
    let tensor = unfloat(&["inspect", text(&model), "--tensor", &name]);
    assert!(stdout(&tensor).starts_with(&format!("{name},(")), "{}", stdout(&tensor));
}

#[test]
fn passes_and_opt() {
    let listed = unfloat(&["passes"]);
    assert!(stdout(&listed).contains("fold-batch-norm"));
    let page = unfloat(&["passes", "fold-batch-norm"]);
    assert!(stdout(&page).contains("claim: within"), "{}", stdout(&page));
    let done = unfloat(&["opt", text(&fixture("fashion_cnn.h5")), "-p", "canonical-layout,dead-code"]);
    assert_eq!(status(&done), 0, "{}", stderr(&done));
    assert!(stdout(&done).starts_with("uir 1\n") && stdout(&done).contains("canonical"), "{}", stdout(&done));
}

#[test]
fn completions_and_man_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&unfloat(&["completions", shell])).contains("unfloat"));
    }
    let page = stdout(&unfloat(&["man"]));
    assert!(page.contains(".TH") && page.contains("tolerance"));
}

/// A reader that goes away ends the program quietly.
#[test]
fn a_closed_pipe_is_no_error() {
    use std::io::Read;
    let mut child = Command::new(env!("CARGO_BIN_EXE_unfloat"))
        .args(["opt", text(&fixture("cifar10_cnn.h5")), "-p", "dead-code"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn several_inputs_and_outputs_keep_the_models_order() {
    use unfloat::samples;
    let dir = scratch("ports");
    let is_wide = |subject: &unfloat::model::Subject| {
        subject.input_types().len() > 1 && subject.output_types().len() > 1
    };
    let wide = common::fixtures().into_iter().map(|f| (common::open(&f), f)).find(|(s, _)| is_wide(s));
    let (subject, found) = wide.expect("a fixture with several inputs and outputs");
    let (inputs, expected) = common::data(&found, &subject);
    let mut args = vec!["run".to_string(), text(&common::path(&found)).to_string()];
    for (i, (_, ty)) in subject.input_types().iter().enumerate() {
        let path = dir.join(format!("in{i}.npy"));
        samples::write(&path, ty, &inputs, i).unwrap();
        args.extend(["--input".to_string(), text(&path).to_string()]);
    }
    if let Some(backend) = found["needs"]["backend"].as_str() {
        args.extend(["--keras-backend".to_string(), backend.to_string()]);
    }
    let outputs: Vec<PathBuf> = (0..expected.data.len()).map(|i| dir.join(format!("out{i}.npy"))).collect();
    for path in &outputs {
        args.extend(["--output".to_string(), text(path).to_string()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = unfloat(&args);
    assert_eq!(status(&done), 0, "{}", stderr(&done));
    for (path, want) in outputs.iter().zip(&expected.floats()) {
        let array = unfloat_npy::read_npy(&std::fs::read(path).unwrap()).unwrap();
        let pairs = array.as_f32().unwrap().iter().zip(want.iter());
        let scale = want.iter().fold(1f32, |m, v| m.max(v.abs()));
        assert_eq!(array.len(), want.len());
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(apart <= 2e-5 * scale, "{}: {apart} of {scale} at {}", found["model"], text(path));
    }
    let fewer = unfloat(&args[..args.len() - 2]);
    assert_eq!(status(&fewer), 2);
    assert!(stderr(&fewer).contains("give --output once for each"), "{}", stderr(&fewer));
}

#[test]
fn an_architecture_takes_weights_from_a_file_of_another_name() {
    let dir = scratch("weights");
    let (model, io) =
        (fixture("theano/2.2.4_architecture.json"), fixture("theano/2.2.4_small_cnn_channels_first.io.npz"));
    let weights = dir.join("anything at all.bin");
    std::fs::copy(fixture("theano/2.2.4_epoch_07.h5"), &weights).unwrap();
    let done = unfloat(&[
        "verify",
        text(&model),
        "--weights",
        text(&weights),
        "--keras-backend",
        "theano",
        "--input",
        text(&io),
    ]);
    assert_eq!(status(&done), 0, "{}{}", stdout(&done), stderr(&done));
    assert!(stdout(&done).contains("equal: output `dense_6`"), "{}", stdout(&done));
    let alone = unfloat(&["verify", text(&model), "--input", text(&io)]);
    assert_eq!(status(&alone), 2);
    assert!(stderr(&alone).contains("--weights"), "{}", stderr(&alone));
}
