//! Directories of ours that go away: when they are dropped, and when the user interrupts the program.
//!
//! A program that handles signals calls [`interrupt`] before it ends. That waits until no output directory is half
//! in place, and takes all scratch directories away.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All scratch directories that exist.
static ALL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Held while files move to their places.
static MOVING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that goes away when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory, readable by this user only; an error when something is there already.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Nothing is made behind the back of an interrupt.
        let mut all = lock(&ALL);
        builder.create(&path)?;
        all.insert(path.clone());
        Ok(Self(path))
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        lock(&ALL).remove(&self.0);
    }
}

/// Keeps an interrupt waiting while files move to their places.
pub(crate) fn moving() -> MutexGuard<'static, ()> {
    lock(&MOVING)
}

/// Takes all scratch directories away, then calls `end`, which ends the program. Meanwhile nothing moves to its
/// place and no new directory is made.
pub fn interrupt(end: impl FnOnce()) {
    let _moving = lock(&MOVING);
    let all = lock(&ALL);
    for path in all.iter() {
        // Other threads and tools may still write there.
        let gone = || fs::remove_dir_all(path).is_ok() || !path.exists();
        let _ = (0..20).any(|_| gone());
    }
    end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_away_and_is_made_only_once() {
        let path = std::env::temp_dir().join(format!("unfloat-scratch-{}", std::process::id()));
        let scratch = Scratch::new(path.clone()).unwrap();
        fs::write(path.join("x"), "y").unwrap();
        assert_eq!(Scratch::new(path.clone()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(path.join("x").is_file(), "the second one took nothing away");
        drop(scratch);
        assert!(!path.exists());
    }
}
