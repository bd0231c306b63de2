//! Compiles an emitted directory with the machine's compiler and runs it.

use super::integer;
use crate::manifest::{Manifest, Port};
use crate::process::{self, TempDir};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};
use unfloat_ir::{Data, Diagnostic, Diagnostics, ElemType, Layout, Location, Shape, Tensor, TensorType};

/// How long a compiler may take. Large models are large sources.
const COMPILE: Duration = Duration::from_secs(600);
/// How long the program may take.
const RUN: Duration = Duration::from_secs(600);

fn error(place: &str, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(place), text)
}

/// A C++ compiler, and how it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, but for the files.
    pub arguments: Vec<String>,
}

impl Compiler {
    /// The machine's own: what `CXX` says, else g++, else clang++.
    pub fn find() -> Result<Self, Diagnostic> {
        let wanted = env::var("CXX").unwrap_or_default();
        let mut words = wanted.split_whitespace().map(str::to_string);
        let standard = ["-std=c++17", "-O2"].map(str::to_string);
        if let Some(program) = words.next() {
            let path = process::find(&program).ok_or_else(|| {
                error("CXX", format!("names `{program}`, which is not installed"))
                    .help("set CXX to a C++ compiler")
            })?;
            return Ok(Self { program: path, arguments: words.chain(standard).collect() });
        }
        let found = ["g++", "clang++", "c++"].iter().find_map(|p| process::find(p));
        found.map(|program| Self { program, arguments: standard.to_vec() }).ok_or_else(|| {
            error("", "running emitted C++ needs a compiler, and none is installed").help(
                "install one (`apt install g++`, `dnf install gcc-c++`, `xcode-select --install`) or set CXX",
            )
        })
    }
}

/// Compiles `dir/cpp` and runs it on the samples, as [`crate::Backend::replay`] does, with a compiler of the
/// caller's choice.
pub fn replay(
    dir: &Path,
    samples: &[Vec<Tensor>],
    compiler: &Compiler,
) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
    let manifest = Manifest::read(dir)?;
    let source = dir.join("cpp").join("main.cpp");
    if !source.is_file() {
        return Err(error(&source.display().to_string(), "is missing")
            .help("convert with --emit cpp")
            .into());
    }
    check(&manifest, samples)?;
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let io = |e: std::io::Error| Diagnostics::from(error("temporary files", e.to_string()));
    let temp = TempDir::new().map_err(io)?;
    let program = temp.join("program");
    compile(compiler, &source, &program)?;
    let path = |what: &str, i: usize| temp.join(format!("{what}{i}.npy"));
    let mut command = Command::new(&program);
    for (i, port) in manifest.inputs.iter().enumerate() {
        let batch: Vec<&Tensor> = samples.iter().map(|s| &s[i]).collect();
        fs::write(path("in", i), join(&batch, port)).map_err(io)?;
        command.arg(path("in", i));
    }
    command.args((0..manifest.outputs.len()).map(|i| path("out", i)));
    let done = process::run(&mut command, RUN)
        .map_err(|e| Diagnostics::from(error("the compiled C++", e.to_string())))?;
    if !done.status.success() {
        let text = format!("failed ({}): {}", done.status, done.text.trim());
        return Err(error("the compiled C++", text).into());
    }
    let mut results: Vec<Vec<Tensor>> = vec![Vec::new(); samples.len()];
    for (i, port) in manifest.outputs.iter().enumerate() {
        let bytes = fs::read(path("out", i)).map_err(io)?;
        split(&bytes, port, &mut results)?;
    }
    Ok(results)
}

/// Checks the samples against the manifest's inputs.
fn check(manifest: &Manifest, samples: &[Vec<Tensor>]) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::new();
    for (n, sample) in samples.iter().enumerate() {
        if sample.len() != manifest.inputs.len() {
            let text = format!("{} inputs, expected {}", sample.len(), manifest.inputs.len());
            found.push(error(&format!("sample {n}"), text));
            continue;
        }
        for (tensor, port) in sample.iter().zip(&manifest.inputs) {
            if tensor.shape().dims() != port.shape || tensor.ty.elem.to_string() != port.elem {
                let text = format!(
                    "input `{}` is {}, expected {}{}",
                    port.name,
                    tensor.ty,
                    port.elem,
                    Shape::from(&port.shape[..])
                );
                found.push(error(&format!("sample {n}"), text));
            }
        }
    }
    found.into_result(())
}

fn compile(compiler: &Compiler, source: &Path, program: &Path) -> Result<(), Diagnostics> {
    let mut command = Command::new(&compiler.program);
    command.args(&compiler.arguments).arg("-o").arg(program).arg(source);
    // What a compiler that is stopped leaves behind goes away with the program.
    command.envs(program.parent().map(|dir| ("TMPDIR", dir)));
    let name = compiler.program.display().to_string();
    let done =
        process::run(&mut command, COMPILE).map_err(|e| Diagnostics::from(error(&name, e.to_string())))?;
    if done.status.success() {
        return Ok(());
    }
    // The first lines name the cause; a template error can have thousands.
    let text: Vec<&str> = done.text.lines().take(20).collect();
    Err(error(&name, format!("cannot compile {}:\n{}", source.display(), text.join("\n"))).into())
}

/// The `.npy` file of a batch of one input: floats, or codes in the type that C++ has them in.
fn join(batch: &[&Tensor], port: &Port) -> Vec<u8> {
    let shape = Shape::from([&[batch.len()], &port.shape[..]].concat());
    let floats: Option<Vec<&[f32]>> = batch.iter().map(|t| t.as_f32()).collect();
    if let Some(floats) = floats {
        return unfloat_npy::write_npy_data(&shape, &Data::F32(floats.concat()), false);
    }
    let codes = batch.iter().flat_map(|t| (0..t.len()).filter_map(|i| t.data.code(i)));
    let elem = ElemType::from_name(&port.elem).unwrap_or(ElemType::signed(64));
    integer::npy(&elem, &shape, codes)
}

/// Cuts a batch of one output into the samples' results.
fn split(bytes: &[u8], port: &Port, results: &mut [Vec<Tensor>]) -> Result<(), Diagnostics> {
    let bad =
        |text: String| Diagnostics::from(error("the compiled C++", format!("output `{}` {text}", port.name)));
    let batch = unfloat_npy::read_npy(bytes).map_err(|e| bad(e.to_string()))?;
    if batch.len() != port.size * results.len() || port.size == 0 {
        return Err(bad(format!("has the shape {}", batch.ty.shape)));
    }
    let elem = ElemType::from_name(&port.elem).ok_or_else(|| bad(format!("is {}", port.elem)))?;
    if elem.is_float() != batch.ty.elem.is_float() {
        return Err(bad(format!("holds {}, expected {elem}", batch.ty.elem)));
    }
    let layout = Layout::new(&port.layout).unwrap_or(Layout::anonymous(port.shape.len()));
    for (n, result) in results.iter_mut().enumerate() {
        let ty = TensorType::new(elem.clone(), port.shape.clone(), layout);
        let cells = n * port.size..(n + 1) * port.size;
        let data = match batch.as_f32() {
            Some(v) => Data::F32(v[cells].to_vec()),
            None => Data::from_codes(&elem, cells.filter_map(|i| batch.data.code(i))),
        };
        let tensor = Tensor { ty, data };
        if let Some(fault) = tensor.fault() {
            return Err(bad(fault));
        }
        result.push(tensor);
    }
    Ok(())
}
