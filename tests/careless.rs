//! The program as a careless user meets it: devices for files, arrays with wrong names, no samples, lost side-cars,
//! an interrupt in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = "fashion_cnn.h5";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras").join(name)
}

/// An empty directory for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("careless").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_unfloat"))
}

fn refused(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

/// Arrays of `fashion_cnn` samples by name.
fn npz(path: &Path, names: &[&str], samples: usize) {
    let array = |name: &str| {
        let dims: &[usize] = if name.starts_with("in") { &[28, 28, 1] } else { &[10] };
        let dims: Vec<usize> = [&[samples], dims].concat();
        let values = vec![0.25; dims.iter().product()];
        let layout = unfloat_ir::Layout::anonymous(dims.len());
        unfloat_ir::Tensor::f32(dims, layout, values)
    };
    let arrays: Vec<(&str, unfloat_ir::Tensor)> = names.iter().map(|n| (*n, array(n))).collect();
    fs::write(path, unfloat_npy::write_npz(arrays.iter().map(|(n, t)| (*n, t))).unwrap()).unwrap();
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_refused_at_once() {
    let dir = scratch("devices");
    let pipe = dir.join("pipe.h5");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [Path::new("/dev/zero"), &pipe] {
        let out = program().arg("convert").arg(path).arg("-o").arg(dir.join("out")).output().unwrap();
        assert!(refused(&out).contains("a device or a pipe"));
    }
    let mut run = program();
    run.arg("run").arg(fixture(MODEL)).args(["--input", "/dev/zero", "--output"]).arg(dir.join("y.npy"));
    assert!(refused(&run.output().unwrap()).contains("a device or a pipe"));
}

#[test]
fn checks_compare_all_that_is_given_or_say_why_not() {
    let dir = scratch("checks");
    let data = dir.join("data.npz");
    for (names, samples, why) in [
        (&["input_0", "output0"][..], 2, "`output0` is no output of the model"),
        (&["input_0", "output_0", "output_1"], 2, "`output_1` is no output of the model"),
        (&["input_0", "input_1"], 2, "`input_1` is no input of the model"),
        (&["input_0", "output_0"], 0, "no samples"),
    ] {
        npz(&data, names, samples);
        let mut convert = program();
        convert.arg("convert").arg(fixture(MODEL)).arg("-o").arg(dir.join("out")).arg("--check").arg(&data);
        let text = refused(&convert.output().unwrap());
        assert!(text.contains(why), "{names:?}: {text}");
        assert!(!dir.join("out").exists());
        let mut verify = program();
        verify.arg("verify").arg(fixture(MODEL)).arg(fixture(MODEL)).arg("--input").arg(&data);
        assert!(refused(&verify.output().unwrap()).contains(why));
    }
}

#[test]
fn a_lost_or_damaged_side_car_is_named() {
    let dir = scratch("side_car");
    let out = dir.join("out");
    let made = program()
        .arg("convert")
        .arg(fixture(MODEL))
        .args(["--emit", "uir", "-o"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (text, archive) = (out.join("uir/fashion_cnn.uir"), out.join("uir/fashion_cnn.npz"));
    let whole = fs::read(&archive).unwrap();
    let mut flipped = whole.clone();
    flipped[20_000] ^= 4;
    for content in [None, Some(&whole[..0]), Some(&whole[..30_000]), Some(&flipped)] {
        match content {
            None => fs::remove_file(&archive).unwrap(),
            Some(bytes) => fs::write(&archive, bytes).unwrap(),
        }
        let text = refused(&program().arg("inspect").arg(&text).output().unwrap());
        assert!(text.lines().next().is_some_and(|l| l.contains("fashion_cnn.npz")), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};
    let dir = scratch("interrupt");
    let (temp, compiler, started) = (dir.join("tmp"), dir.join("slow"), dir.join("started"));
    fs::create_dir(&temp).unwrap();
    fs::write(&compiler, format!("#!/bin/sh\ntouch '{}'\nexec sleep 20\n", started.display())).unwrap();
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = program()
        .arg("convert")
        .arg(fixture(MODEL))
        .arg("-o")
        .arg(dir.join("out"))
        .arg("--check")
        .env("CXX", &compiler)
        .env("TMPDIR", &temp)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !started.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fs::read_dir(&temp).unwrap().count() > 0, "the check has begun");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0);
    assert!(!dir.join("out").exists());
}

/// A few lines of text that ask for more memory than a machine has are refused before anything of that size is made.
#[test]
fn values_that_need_too_much_memory_are_named() {
    let dir = scratch("memory");
    let text = "uir 1\ngraph \"g\" imported\ninput %x : f32[16000,16000,1] hwc\n\
                %y = relu %x : f32[16000,16000,1] hwc @keras(\"m.h5\", \"y\", \"y (ReLU)\")\noutput \"y\" %y\n";
    let model = dir.join("large.uir");
    fs::write(&model, text).unwrap();
    for args in [
        &["convert", "-o", "out"][..],
        &["verify", "large.uir"],
        &["run", "--reference", "--input", "x.npy", "--output", "y.npy"],
    ] {
        let out =
            program().current_dir(&dir).arg(args[0]).arg("large.uir").args(&args[1..]).output().unwrap();
        let text = refused(&out);
        assert!(text.contains("y (ReLU)") && text.contains("`y`, f32[16000,16000,1] hwc"), "{text}");
        assert!(text.contains("one sample needs 1.9 GiB at once"), "{text}");
    }
    assert!(!dir.join("out").exists() && !dir.join("y.npy").exists());
    // What it is can still be looked at.
    assert!(program().current_dir(&dir).args(["inspect", "large.uir"]).output().unwrap().status.success());
}
