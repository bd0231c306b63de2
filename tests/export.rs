//! `export`, and parameters in `convert`: what is written is read back by SciPy, Octave and Icarus Verilog.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use unfloat_ir::{Data, Layout, Tensor};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).to_str().unwrap().to_string()
}

/// A directory for one test, which is empty or not there.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.parent().unwrap()).unwrap();
    dir
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

/// Runs a tool that `tests/run` installs.
fn tool(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; tests/run installs it"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A Python that has SciPy: the first on the search path, or Debian's.
fn python() -> Command {
    let has = |program: &&&str| {
        Command::new(program).args(["-c", "import scipy.io"]).output().is_ok_and(|o| o.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].iter().find(has).copied();
    Command::new(found.expect("no python3 has SciPy; tests/run installs python3-scipy"))
}

fn export(model: &str, emit: &str, out: &Path, more: &[&str]) -> String {
    let args = ["export", model, "--emit", emit, "-o", out.to_str().unwrap()];
    stdout(&unfloat(&[&args[..], more].concat()))
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

/// A checkpoint with what is awkward: odd numbers, odd names, no axes, many axes, no elements.
fn awkward() -> String {
    let path = scratch("awkward").with_extension("npz");
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-45, f32::MAX, 0.1, 16777217.0];
    let floats: Vec<f32> = (0..24).map(|i| if i < 8 { odd[i] } else { 1.0 / (i as f32 - 20.5) }).collect();
    let f32s = |shape: &[usize], v: Vec<f32>| Tensor::f32(shape, Layout::anonymous(shape.len()), v);
    let codes = |name: &str, data: Data| {
        let elem = unfloat_ir::ElemType::from_name(name).unwrap();
        let n = data.len();
        Tensor { ty: unfloat_ir::TensorType::new(elem, [n], Layout::anonymous(1)), data }
    };
    let tensors = [
        ("features.0.weight", f32s(&[2, 3, 2, 2], floats)),
        ("matrix", f32s(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("zero_d", f32s(&[], vec![2.5])),
        ("empty", f32s(&[0, 3], vec![])),
        ("a/b", codes("i8", Data::I8(vec![-128, -1, 127]))),
        ("a_b", codes("i64", Data::I64(vec![i64::MIN, -1, i64::MAX]))),
        ("mask", codes("bit", Data::I8(vec![1, 0, 0, 1, 1, 1, 0, 1, 1]))),
    ];
    fs::write(&path, unfloat_npy::write_npz(tensors.iter().map(|(n, t)| (*n, t))).unwrap()).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn a_checkpoint_without_architecture_is_exported() {
    let out = scratch("plain");
    let text = export(
        &fixture("pytorch/checkpoints/wrapped_legacy.pth.tar"),
        "mat,txt,npy,mem,memb,coe,mif",
        &out,
        &[],
    );
    let want = "mean,(3)\nfeatures.0.weight,(3, 1, 3, 3)\nfeatures.0.bias,(3)\nfeatures.1.weight,(3)\nfeatures.1.bias,(3)\n\
                features.1.running_mean,(3)\nfeatures.1.running_var,(3)\nfeatures.1.num_batches_tracked,()\n\
                classifier.weight,(5, 12)\nclassifier.bias,(5)\n";
    assert_eq!(text, want);
    let manifest = manifest(&out);
    assert_eq!(manifest["parameters"].as_array().unwrap().len(), 10);
    assert!(manifest.get("graph_sha256").is_none());
    // One file per key and format, and one MAT-file with all.
    assert_eq!(manifest["files"].as_array().unwrap().len(), 7 * 10 + 1);
    let shown = unfloat(&[
        "inspect",
        &fixture("pytorch/checkpoints/wrapped_legacy.pth.tar"),
        "--tensor",
        "classifier.bias",
    ]);
    assert_eq!(fs::read_to_string(out.join("txt/classifier.bias.txt")).unwrap(), stdout(&shown));
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    let (a, b) = (scratch("bytes_a"), scratch("bytes_b"));
    let file = fixture("pytorch/checkpoints/dtypes.safetensors");
    for out in [&a, &b] {
        export(&file, "mat,txt,npy", out, &[]);
    }
    let hashes = |out: &Path| manifest(out)["files"].clone();
    assert_eq!(hashes(&a), hashes(&b));
    assert!(hashes(&a).as_array().unwrap().len() > 20);
}

const SCIPY: &str = "
import sys, json, numpy as np, scipy.io
out, source = sys.argv[1:]
want = np.load(source)
with open(out + '/manifest.json') as f:
    entries = json.load(f)['parameters']
whole = scipy.io.loadmat(out + '/mat/awkward.mat')
seen = 0
for e in entries:
    key, name = e['key'], e['file']
    if key.endswith('.packed'):
        v = np.packbits(want[key[:-7]].ravel() > 0, bitorder='little')
    else:
        v = want[key]
    array = scipy.io.loadmat(out + '/mat/' + name + '.mat')['array']
    two = v.reshape(1, -1) if v.ndim < 2 else v
    for read in (array, whole[e['variable']]):
        logical = np.bool_ if v.dtype == np.bool_ else v.dtype
        assert read.shape == two.shape, (key, read.shape)
        assert read.dtype == (np.uint8 if v.dtype == np.bool_ else v.dtype), (key, read.dtype)
        assert read.tobytes() == two.astype(read.dtype).tobytes(), key
    npy = np.load(out + '/npy/' + name + '.npy')
    assert npy.shape == v.shape and npy.dtype == v.dtype and npy.tobytes() == v.tobytes(), key
    if not key.endswith('.packed'):
        with open(out + '/txt/' + name + '.txt') as f:
            head, *lines = f.read().splitlines()
        assert head == key + ',(' + ', '.join(map(str, v.shape)) + ')', head
        if v.dtype.kind == 'f':
            read = np.array([np.float32(x) for x in lines], np.float32)
            same = (read.view(np.uint32) == v.ravel().view(np.uint32)) | (np.isnan(read) & np.isnan(v.ravel()))
            assert same.all(), key
        else:
            assert [int(x) for x in lines] == [int(x) for x in v.ravel()], key
    seen += 1
assert {e['variable'] for e in entries} == {k for k in whole if not k.startswith('__')}
print(seen)
";

#[test]
fn scipy_and_numpy_read_every_file() {
    let (file, out) = (awkward(), scratch("scipy"));
    export(&file, "mat,txt,npy", &out, &[]);
    let seen = tool(python().args(["-c", SCIPY, out.to_str().unwrap(), &file]));
    assert_eq!(seen.trim(), "8");
}

#[test]
fn octave_reads_every_file() {
    let (file, out) = (awkward(), scratch("octave"));
    export(&file, "mat,txt", &out, &[]);
    let script = "
        w = load('mat/features.0.weight.mat').array;
        assert(isa(w, 'single') && isequal(size(w), [2 3 2 2]));
        t = fileread('txt/features.0.weight.txt'); t = t(find(t == \"\\n\", 1) + 1 : end);
        v = single(sscanf(t, '%f'));
        c = permute(w, [4 3 2 1])(:);
        assert(numel(v) == 24 && isequaln(v, c) && isnan(w(1)) && c(2) == Inf && 1 / c(4) == -Inf);
        m = load('mat/matrix.mat').array; assert(isequal(m, single([1 2 3; 4 5 6])));
        assert(isequal(load('mat/zero_d.mat').array, single(2.5)));
        assert(isequal(size(load('mat/empty.mat').array), [0 3]));
        a = load('mat/a_b_2.mat').array; assert(isa(a, 'int8') && isequal(a, int8([-128 -1 127])));
        l = load('mat/a_b.mat').array;
        assert(isa(l, 'int64') && isequal(l, [intmin('int64') int64(-1) intmax('int64')]));
        k = load('mat/mask.mat').array; assert(islogical(k) && isequal(k, logical([1 0 0 1 1 1 0 1 1])));
        p = load('mat/mask.packed.mat').array; assert(isa(p, 'uint8') && isequal(p, uint8([185 1])));
        all = load('mat/awkward.mat');
        assert(numel(fieldnames(all)) == 8 && isequal(all.features_0_weight(:)(5:end), w(:)(5:end)));
        printf('read');
    ";
    let args = ["--no-gui", "--norc", "--quiet", "--eval", script];
    let said = tool(Command::new("octave").args(args).current_dir(&out));
    assert_eq!(said, "read");
}

#[test]
fn icarus_reads_memory_images() {
    let out = scratch("icarus");
    let model = scratch("icarus_model").with_extension("uir");
    let graph = "uir 1\ngraph \"net\" folded\ninput %x : i4[4] c\ninput %t : bipolar[4] c\n\
                 const %narrow : i4[4] c = [-8, -1, 0, 7]\nconst %wide : i13[4] c = [-4096, -1, 4095, 2]\n\
                 const %signs : bipolar[4] c = [1, -1, -1, 1]\n%a = mul %x, %narrow : i4[4] c\n\
                 %b = cast %a {to=i13} : i13[4] c\n%y = mul %b, %wide : i13[4] c\n\
                 %z = concat %t, %signs {axis=0} : bipolar[8] c\noutput \"y\" %y\noutput \"z\" %z\n";
    fs::write(&model, graph).unwrap();
    stdout(&unfloat(&[
        "convert",
        model.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--emit",
        "uir,mem,memb,mat",
    ]));
    let bench = "module t;
        reg signed [3:0] n [0:3]; reg signed [12:0] w [0:3]; reg s [0:3]; reg signed [3:0] m [0:3]; integer i;
        initial begin
            $readmemh(\"mem/narrow.mem\", n); $readmemh(\"mem/wide.mem\", w); $readmemb(\"memb/narrow.mem\", m);
            $readmemh(\"mem/signs.mem\", s);
            for (i = 0; i < 4; i = i + 1) $write(\"%0d %0d %0d %b;\", n[i], w[i], m[i], s[i]);
        end
    endmodule\n";
    fs::write(out.join("t.v"), bench).unwrap();
    tool(Command::new("iverilog").args(["-Wall", "-o", "t.vvp", "t.v"]).current_dir(&out));
    let said = tool(Command::new("vvp").args(["-n", "t.vvp"]).current_dir(&out));
    assert_eq!(said, "-8 -4096 -8 1;-1 -1 -1 0;0 4095 0 0;7 2 7 1;");
}

#[test]
fn a_model_is_lowered_first() {
    let (model, out) = (fixture("keras/fashion_cnn.h5"), scratch("model"));
    let text = export(&model, "mat,txt", &out, &["--name", "net"]);
    assert!(text.starts_with("conv1.kernel,(16, 3, 3, 1)\nconv1.bias,(16)\n"), "{text}");
    let manifest = manifest(&out);
    assert_eq!(
        (&manifest["stage"], &manifest["parameters"][0]["layout"]),
        (&"folded".into(), &"ohwi".into())
    );
    let converted = scratch("model_converted");
    stdout(&unfloat(&[
        "convert",
        &model,
        "-o",
        converted.to_str().unwrap(),
        "--name",
        "net",
        "--emit",
        "txt,mat",
    ]));
    for file in ["txt/conv1.kernel.txt", "mat/net.mat"] {
        assert!(fs::read(out.join(file)).unwrap() == fs::read(converted.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is() {
    let (file, out) = (awkward(), scratch("refused"));
    let out = out.to_str().unwrap();
    let error = refused(&["export", &file, "--emit", "mif,npy", "-o", out]);
    assert!(error.contains("`empty` has the shape [0,3]") && error.contains("mif"), "{error}");
    let error = refused(&["export", &file, "--emit", "cpp,mta", "--name", "a b", "-o", out]);
    for text in ["`cpp`", "`mta`", "mat, txt, npy", "`a b`"] {
        assert!(error.contains(text), "{error}");
    }
    let error = refused(&["export", &file, "--quantize", "int8", "--batch", "0", "-o", out]);
    assert!(error.contains("--arch") && error.contains("--batch is for ONNX"), "{error}");
    let error = refused(&["convert", &fixture("keras/fashion_cnn.h5"), "--emit", "matlab", "-o", out]);
    assert!(error.contains("formats of parameters: mat, txt"), "{error}");
    assert!(!Path::new(out).exists());
}
