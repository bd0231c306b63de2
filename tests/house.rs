//! The rules of the house, checked: which crate may know which, headers, no unsafe code outside the kernels.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file of the workspace's crates.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        CRATES.iter().map(|(name, _)| root().join(if *name == "unfloat" { "src" } else { name })).collect();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 40, "the walk found only {} sources", found.len());
    found
}

/// Each crate with the siblings that it may depend on. ARCHITECTURE.md draws the same arrows.
const CRATES: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("npy", &["ir"]),
    ("pickle", &[]),
    ("exec", &["ir"]),
    ("passes", &["ir", "exec"]),
    ("frontends", &["ir", "npy", "pickle"]),
    ("backends", &["ir", "npy"]),
    ("data", &["ir", "npy", "pickle"]),
    ("unfloat", &["ir", "npy", "pickle", "exec", "passes", "frontends", "backends", "data"]),
];

/// The siblings that a manifest names under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|s| s.starts_with("dependencies]")).unwrap_or_default();
    section
        .lines()
        .filter_map(|l| l.strip_prefix("unfloat-")?.split(['.', ' ', '=']).next().map(str::to_string))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    for (name, allowed) in CRATES {
        let dir = if *name == "unfloat" { root() } else { root().join(name) };
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        for dependency in dependencies(&manifest) {
            assert!(allowed.contains(&dependency.as_str()), "`{name}` may not depend on `{dependency}`");
        }
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find(|l| l.starts_with("members")).unwrap();
    let listed = members.matches('"').count() / 2;
    assert_eq!(listed, CRATES.len(), "a crate is missing from this test's list");
}

#[test]
fn arrows_would_be_found() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nserde.workspace = true\nunfloat-exec.workspace = true\n\n[dev-dependencies]\nunfloat-ir.workspace = true\n";
    assert_eq!(dependencies(manifest), ["exec"]);
}

#[test]
fn every_source_says_what_it_is() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|p| !fs::read_to_string(p).unwrap().starts_with("//!"))
        .filter(|p| !p.components().any(|c| c.as_os_str() == "tests") && p.file_name().unwrap() != "tests.rs")
        .filter(|p| !p.to_string_lossy().ends_with("_tests.rs"))
        .map(|p| p.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no `//!` header in {silent:#?}");
}

#[test]
fn unsafe_code_is_in_the_kernels_only() {
    for (name, _) in CRATES.iter().filter(|(name, _)| *name != "exec") {
        let file =
            if *name == "unfloat" { root().join("src/lib.rs") } else { root().join(name).join("src/lib.rs") };
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", file.display());
    }
    let kernels = root().join("exec/src/kernels");
    for path in sources().iter().filter(|p| !p.starts_with(&kernels)) {
        let text = fs::read_to_string(path).unwrap();
        let found = text.lines().any(|l| {
            !l.trim_start().starts_with("//") && (l.contains("unsafe {") || l.contains("unsafe fn"))
        });
        let is_test = path.components().any(|c| c.as_os_str() == "tests");
        assert!(!found || is_test, "unsafe code in {}", path.display());
    }
}

#[test]
fn long_sources_say_why() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        let reason = text.lines().take(40).any(|l| l.contains("one file because"));
        assert!(
            lines <= 800 || reason,
            "{} has {lines} lines: split it, or say why in its header",
            path.display()
        );
    }
}

#[test]
fn user_facing_documents_are_there() {
    for name in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"]
    {
        assert!(Path::new(&root()).join(name).is_file(), "{name} is missing");
    }
}
