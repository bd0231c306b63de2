//! Outside tools: found, run with a time limit, in a private directory.

use crate::scratch::Scratch;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// What a tool that has ended left behind.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output and error, at most the first 64 KiB of each.
    pub text: String,
}

/// Runs a command to its end, or kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Both pipes are drained at once: a tool that fills one would wait for ever otherwise.
    let out = child.stdout.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let err = child.stderr.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let start = Instant::now();
    let mut nap = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("did not end within {} s", limit.as_secs()),
            ));
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(50));
    };
    let text = [out, err].into_iter().flatten().filter_map(|t| t.join().ok()).collect::<String>();
    Ok(Finished { status, text })
}

fn drain(mut pipe: impl Read) -> String {
    let mut head = Vec::new();
    let _ = pipe.by_ref().take(1 << 16).read_to_end(&mut head);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&head).into_owned()
}

/// The program of that name on the search path, or at that path.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains(std::path::MAIN_SEPARATOR) {
        return Path::new(program).is_file().then(|| PathBuf::from(program));
    }
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// A directory of our own that goes away when it is dropped.
pub struct TempDir(Scratch);

impl TempDir {
    /// Makes one, readable by this user only.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = env::temp_dir();
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            match Scratch::new(parent.join(format!("unfloat-{}-{n}", std::process::id()))) {
                Ok(scratch) => return Ok(Self(scratch)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", parent.display()))),
            }
        }
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    /// A path in it.
    pub fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path().join(name.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_hangs_is_stopped() {
        let start = Instant::now();
        let result = run(Command::new("sleep").arg("30"), Duration::from_millis(50));
        assert_eq!(result.err().map(|e| e.kind()), Some(io::ErrorKind::TimedOut));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn much_output_does_not_block() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 300000 /dev/zero; echo bad >&2; exit 3"]);
        let done = run(&mut command, Duration::from_secs(30)).unwrap();
        assert_eq!(done.status.code(), Some(3));
        assert!(done.text.len() < 70_000 && done.text.ends_with("bad\n"));
    }

    #[test]
    fn temporary_directories_go_away() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_path_buf();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
