//! Where text goes: results to stdout, findings and progress to stderr.
//!
//! Everything is written through [`Write`], so that a reader who closes the pipe ends the program quietly.

use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did what was asked. Exit status 0.
    Done,
    /// Outputs differ, or a check failed. Exit status 1.
    Differs,
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// Findings to show. Exit status 2.
    Findings(Diagnostics),
    /// The reader of stdout went away: no fault of anyone's. Exit status 0.
    ClosedPipe,
}

impl From<Diagnostics> for Failure {
    fn from(findings: Diagnostics) -> Self {
        Failure::Findings(findings)
    }
}

impl From<Diagnostic> for Failure {
    fn from(finding: Diagnostic) -> Self {
        Failure::Findings(finding.into())
    }
}

/// What commands return.
pub type CommandResult = Result<Outcome, Failure>;

/// An error with no place in a file.
pub fn fault(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::default(), message)
}

/// An error about a path that the user gave, with the system's reason.
pub fn io_fault(path: &std::path::Path, doing: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Location::file(path.display().to_string()), format!("{doing}: {error}"))
}

/// Text with its control characters escaped: `\n` as a backslash and an n.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Writes to stdout. Names from a model reach no terminal as control sequences.
pub fn print(text: &str) -> Result<(), Failure> {
    let text = text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(e) => Err(fault(format!("writing to standard output: {e}")).into()),
    }
}

/// Writes one JSON document to stdout.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&(text + "\n"))
}

/// Writes a line to stderr, as harmless to terminals as [`print()`]. Nobody can be told when that fails.
pub fn note(text: &str) {
    let text = text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Shows on a terminal that something goes on, with the seconds it has taken, until `work` is done. Elsewhere
/// nothing is shown.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.set_message(what.to_string());
    spinner.enable_steady_tick(Duration::from_millis(200));
    let done = work();
    spinner.finish_and_clear();
    done
}

/// Shows on a terminal, as a bar, how many of `total` samples are done: `work` says each time how many more. Elsewhere
/// nothing is shown.
pub fn counting<T>(what: &str, total: usize, work: impl FnOnce(&dyn Fn(usize)) -> T) -> T {
    let bar = bar(what, total);
    let done = work(&|more| bar.inc(more as u64));
    bar.finish_and_clear();
    done
}

fn bar(what: &str, total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos} of {len} samples ({elapsed})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what.to_string())
}

/// Shows findings on stderr.
pub fn show(findings: &Diagnostics) {
    for finding in &findings.0 {
        note(&finding.to_string());
    }
}

/// The exit status of a result; its findings are shown.
pub fn exit_code(result: CommandResult) -> ExitCode {
    match result {
        Ok(Outcome::Done) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Err(Failure::Findings(findings)) => {
            show(&findings);
            ExitCode::from(2)
        }
    }
}

/// Rows as a table with aligned columns; columns named in `right` are aligned to the right. A line break in a cell is
/// escaped.
pub fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|r| r.iter().map(|c| escaped(c)).collect()).collect();
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
    for row in &rows {
        row.iter().zip(&mut widths).for_each(|(cell, w)| *w = (*w).max(width(cell)));
    }
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(i, cell)| {
            let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
            if right.contains(&i) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let mut text = line(header.to_vec());
    text +=
        &line(widths.iter().map(|&w| "-".repeat(w)).collect::<Vec<_>>().iter().map(String::as_str).collect());
    rows.iter().for_each(|row| text += &line(row.iter().map(|c| &**c).collect()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_counts_samples() {
        let bar = bar("calibrating", 512);
        assert_eq!((bar.length(), bar.position(), bar.message().as_str()), (Some(512), 0, "calibrating"));
        bar.inc(64);
        assert_eq!(bar.position(), 64);
        assert_eq!(
            counting("calibrating", 2, |seen| [1, 1]
                .map(|n| {
                    seen(n);
                    n
                })
                .len()),
            2
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_string(), "1".to_string()], vec!["bb".to_string(), "100".to_string()]];
        assert_eq!(table(&["n", "x"], &rows, &[1]), "n     x\n--  ---\na     1\nbb  100\n");
        let rows = [vec!["a\nb\u{1b}".to_string()]];
        assert_eq!(table(&["n"], &rows, &[]), "n\n----------\na\\nb\\u{1b}\n");
    }
}
