//! The output directory: all or nothing, and no file of the user's is lost.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use unfloat_backends::outdir::Render;
use unfloat_backends::process::TempDir;
use unfloat_backends::{File, Manifest, OutDir};
use unfloat_ir::{Graph, Layout, TensorType};

fn manifest() -> Manifest {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", TensorType::f32([2, 3], Layout::channels_last(1)));
    graph.add_output("y", x);
    Manifest::new(&graph)
}

fn files(entries: &[(&str, &str)]) -> OutDir {
    let mut out = OutDir::new();
    for (path, text) in entries {
        out.add(path, text.to_string()).unwrap();
    }
    out
}

/// Everything below a directory, with its content.
fn tree(dir: &Path) -> Vec<(String, String)> {
    fn walk(root: &Path, dir: &Path, all: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, all);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                all.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(dir, dir, &mut all);
    all.retain(|(name, _)| name != "manifest.json");
    all.sort();
    all
}

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn files_and_manifest_are_written() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    let written = files(&[("cpp/a.hpp", "hello"), ("b.txt", "")]).write_to(&dir, manifest(), false).unwrap();
    assert_eq!(tree(&dir), pairs(&[("b.txt", ""), ("cpp/a.hpp", "hello")]));
    let read = Manifest::read(&dir).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.inputs[0].shape, [2, 3]);
    assert_eq!((read.inputs[0].layout.as_str(), read.outputs[0].name.as_str()), ("wc", "y"));
    let hello = read.files.iter().find(|f| f.path == "cpp/a.hpp").unwrap();
    assert_eq!(hello.size, 5);
    assert_eq!(hello.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn our_own_output_is_replaced_and_foreign_files_stay() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    files(&[("a", "1"), ("gone", "1"), ("d/e", "1")]).write_to(&dir, manifest(), false).unwrap();
    fs::create_dir_all(dir.join("d/build")).unwrap();
    fs::create_dir_all(dir.join("empty")).unwrap();
    fs::write(dir.join("d/build/mine"), "mine").unwrap();
    files(&[("a", "2"), ("d/e", "2")]).write_to(&dir, manifest(), false).unwrap();
    assert_eq!(tree(&dir), pairs(&[("a", "2"), ("d/build/mine", "mine"), ("d/e", "2")]));
    assert!(dir.join("empty").is_dir());
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn files_that_were_changed_are_not_lost() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    files(&[("a", "1"), ("b", "1"), ("c", "1")]).write_to(&dir, manifest(), false).unwrap();
    fs::write(dir.join("a"), "edited").unwrap();
    fs::write(dir.join("c"), "edited too").unwrap();
    fs::write(dir.join("new"), "mine").unwrap();
    let next = files(&[("a", "2"), ("new", "2"), ("x/y", "2")]);
    let before = tree(&dir);
    let error = next.write_to(&dir, manifest(), false).unwrap_err().to_string();
    assert!(error.contains("was changed") && error.contains("is not ours"), "both are named: {error}");
    assert_eq!(tree(&dir), before);
    next.write_to(&dir, manifest(), true).unwrap();
    let want = [
        ("a", "2"),
        ("a.orig", "edited"),
        ("c", "edited too"),
        ("new", "2"),
        ("new.orig", "mine"),
        ("x/y", "2"),
    ];
    assert_eq!(tree(&dir), pairs(&want));
}

#[test]
fn foreign_directories_need_force() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("mine");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("thesis.tex"), "years").unwrap();
    let out = files(&[("a", "1")]);
    let error = out.write_to(&dir, manifest(), false).unwrap_err().to_string();
    assert!(error.contains("did not write") && error.contains("--force"), "{error}");
    assert_eq!(tree(&dir), pairs(&[("thesis.tex", "years")]));
    out.write_to(&dir, manifest(), true).unwrap();
    assert_eq!(tree(&dir), pairs(&[("a", "1"), ("thesis.tex", "years")]));
    let empty = temp.join("empty");
    fs::create_dir(&empty).unwrap();
    out.write_to(&empty, manifest(), false).unwrap();
    let file = temp.join("file");
    fs::write(&file, "x").unwrap();
    assert!(out.write_to(&file, manifest(), true).is_err());
    assert!(out.write_to(&temp.join("no/such/parent"), manifest(), false).is_err());
}

/// Fails after it has written a little, as a full disk would.
struct Fails;
impl Render for Fails {
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(b"half")?;
        Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
    }
}

#[test]
fn a_failure_leaves_everything_as_it_was() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    files(&[("a", "1")]).write_to(&dir, manifest(), false).unwrap();
    let mut out = files(&[("a", "2")]);
    let mut file = File::new();
    file.text("begin").lazy(Arc::new(Fails));
    out.add("b", file).unwrap();
    let error = out.write_to(&dir, manifest(), false).unwrap_err().to_string();
    assert!(error.contains("b") && error.contains("no space left"), "{error}");
    assert_eq!(tree(&dir), pairs(&[("a", "1")]));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing half-written is left");
}

#[test]
fn a_manifest_is_a_manifest_of_ours() {
    let temp = TempDir::new().unwrap();
    for text in ["", "{}", "[1]", "{\"tool\": \"other\"}", "\u{0}"] {
        let dir = temp.join("out");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("manifest.json"), text).unwrap();
        assert!(files(&[("a", "1")]).write_to(&dir, manifest(), false).is_err(), "{text}");
        assert_eq!(fs::read_to_string(dir.join("manifest.json")).unwrap(), text);
    }
}

#[test]
fn paths_stay_inside() {
    let mut out = OutDir::new();
    for path in ["", "/a", "../a", "a/../b", "a//b", "./a", "a\\b", "c:a", "a/", "manifest.json"] {
        assert!(out.add(path, String::new()).is_err(), "{path}");
    }
    out.add("a/b", String::new()).unwrap();
    assert!(out.add("a/b", String::new()).unwrap_err().to_string().contains("twice"));
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_is_followed_and_links_inside_are_kept() {
    let temp = TempDir::new().unwrap();
    let (real, link) = (temp.join("real"), temp.join("link"));
    files(&[("a", "1")]).write_to(&real, manifest(), false).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let outside = temp.join("outside");
    fs::write(&outside, "safe").unwrap();
    fs::remove_file(real.join("a")).unwrap();
    std::os::unix::fs::symlink(&outside, real.join("a")).unwrap();
    let next = files(&[("b", "2")]);
    next.write_to(&link, manifest(), false).unwrap();
    assert!(link.is_symlink());
    assert_eq!(tree(&real), pairs(&[("a", "safe"), ("b", "2")]));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "safe");
}

#[cfg(unix)]
#[test]
fn a_directory_that_exists_stays_the_same_with_its_modes() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let temp = TempDir::new().unwrap();
    let dir = temp.join("mine");
    fs::create_dir_all(dir.join("keys")).unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("keys/id"), "secret").unwrap();
    for (path, mode) in [("keys", 0o700), ("", 0o750)] {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let of = |path: &str| fs::metadata(dir.join(path)).map(|m| (m.ino(), m.mode() & 0o777)).unwrap();
    let before = [of(""), of("keys"), of("empty")];
    files(&[("cpp/a", "1"), ("uir/b", "2")]).write_to(&dir, manifest(), true).unwrap();
    files(&[("cpp/a", "3")]).write_to(&dir, manifest(), false).unwrap();
    assert_eq!([of(""), of("keys"), of("empty")], before);
    assert_eq!(tree(&dir), pairs(&[("cpp/a", "3"), ("keys/id", "secret")]));
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cpp", "empty", "keys", "manifest.json"], "no empty directory of ours is left");
}

#[test]
fn moves_are_undone_when_one_fails() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    files(&[("a", "1"), ("old/x", "1")]).write_to(&dir, manifest(), false).unwrap();
    // A directory with a file in it stands where the second new file is to go.
    fs::create_dir(dir.join("b")).unwrap();
    fs::write(dir.join("b/mine"), "mine").unwrap();
    let before = (tree(&dir), Manifest::read(&dir).unwrap());
    assert!(files(&[("a", "2"), ("b", "2"), ("new/c", "2")]).write_to(&dir, manifest(), true).is_err());
    assert_eq!((tree(&dir), Manifest::read(&dir).unwrap()), before);
    assert!(!dir.join("new").exists());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 4, "nothing half-written is left");
}

#[test]
fn several_at_once_leave_one_of_them() {
    let temp = TempDir::new().unwrap();
    let dir = temp.join("out");
    let write = |n: usize| {
        let text = n.to_string();
        let out = files(&[("a", &text), ("b", &text), (&format!("only{n}"), &text)]);
        (0..20).for_each(|_| {
            out.write_to(&dir, manifest(), false).unwrap();
        });
    };
    std::thread::scope(|s| (0..4).for_each(|n| drop(s.spawn(move || write(n)))));
    let found = tree(&dir);
    let text = found[0].1.clone();
    assert_eq!(found, pairs(&[("a", &text), ("b", &text), (&format!("only{text}"), &text)]));
}
