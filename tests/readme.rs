//! The README's first command does what the README shows.

use std::path::Path;
use std::process::Command;

/// The text with every number, and the padding before it, replaced by `#`: numbers depend on the machine.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let numeric = c.is_ascii_digit() || (out.ends_with('#') && matches!(c, '.' | 'e' | '-'));
        if !numeric {
            out.push(c);
        } else if !out.ends_with('#') {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('#');
        }
    }
    out
}

/// The first fenced block of that language, and what follows it.
fn block<'t>(text: &'t str, language: &str) -> (&'t str, &'t str) {
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("the end of the block")
}

#[test]
fn the_example_is_real() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (command, rest) = block(&readme, "sh");
    let (shown, _) = block(rest, "text");
    let args = command.trim().strip_prefix("cargo run --release -- ").expect("runs the program");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink(root.join("fixtures"), dir.join("fixtures")).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_unfloat"))
        .args(args.split_whitespace())
        .current_dir(&dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(
        masked(shown).trim(),
        masked(&said).trim(),
        "README.md shows\n{shown}\nbut the program says\n{said}"
    );
}
