//! Puts a finished directory in the place of an old one, and loses no file that is not ours.

use crate::manifest::{self, Manifest};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use unfloat_ir::{Diagnostic, Diagnostics, Location};

fn error(path: &Path, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location::file(path.display().to_string()), text)
}

/// The directory that `target` names, links followed. It need not exist, its parent must.
pub fn resolve(target: &Path) -> Result<PathBuf, Diagnostics> {
    if let Ok(real) = fs::canonicalize(target) {
        return Ok(real);
    }
    let name = target.file_name().ok_or_else(|| error(target, "names no directory"))?;
    let parent = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent)
        .map_err(|e| error(parent, e.to_string()).help("make the directory that is to hold the output"))?;
    Ok(parent.join(name))
}

/// What to do with the files of an existing target.
#[derive(Default)]
pub struct Old {
    /// Whether the target exists.
    exists: bool,
    /// Files that are not ours: where they are and where they go, relative.
    keep: Vec<(PathBuf, PathBuf)>,
    /// Directories that are not ours and hold nothing.
    dirs: Vec<PathBuf>,
}

/// Looks at an existing target and decides what stays; refuses what [`crate::OutDir::write_to`] says.
pub fn inspect(target: &Path, new: &BTreeSet<String>, force: bool) -> Result<Old, Diagnostics> {
    let kind = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Old::default()),
        Err(e) => return Err(error(target, e.to_string()).into()),
        Ok(m) => m,
    };
    if !kind.is_dir() {
        let found = error(target, "is a file").help("give a directory");
        return Err(found.into());
    }
    let mut old = Old { exists: true, ..Old::default() };
    let mut files = Vec::new();
    list(target, Path::new(""), &mut files, &mut old.dirs)
        .map_err(|e| Diagnostics::from(error(target, e.to_string())))?;
    let manifest = match Manifest::read(target) {
        Ok(m) => Some(m),
        Err(_) if force || (files.is_empty() && old.dirs.is_empty()) => None,
        Err(why) => {
            return Err(error(target, format!("holds files that unfloat did not write ({})", why.message))
                .help("give another directory, or --force to write among them")
                .into());
        }
    };
    let ours: BTreeMap<&str, &str> =
        manifest.iter().flat_map(|m| &m.files).map(|f| (f.path.as_str(), f.sha256.as_str())).collect();
    // The directories of new files: a foreign file of that name is in the way too.
    let mut taken: BTreeSet<PathBuf> = new.iter().map(PathBuf::from).collect();
    taken.insert(PathBuf::from(manifest::NAME));
    let parents: BTreeSet<PathBuf> =
        taken.iter().flat_map(|p| p.ancestors().skip(1)).map(Path::to_path_buf).collect();
    let mut found = Diagnostics::new();
    for path in files {
        let name = path.to_string_lossy().replace('\\', "/");
        let known = ours.get(name.as_str()).copied();
        let is_manifest = manifest.is_some() && name == manifest::NAME;
        if is_manifest || known.is_some_and(|hash| hash_of(&target.join(&path)).as_deref() == Some(hash)) {
            continue;
        }
        if !taken.contains(&path) && !parents.contains(&path) {
            old.keep.push((path.clone(), path));
        } else if force {
            let free = |p: &PathBuf| !taken.contains(p) && !target.join(p).exists();
            let beside = (0..)
                .map(|n| match n {
                    0 => PathBuf::from(format!("{name}.orig")),
                    n => PathBuf::from(format!("{name}.orig{n}")),
                })
                .find(free);
            old.keep.push((path.clone(), beside.unwrap_or(path)));
        } else {
            let why = if known.is_some() { "was changed since unfloat wrote it" } else { "is not ours" };
            found.push(
                error(&target.join(&path), why)
                    .help("move it away, or --force to keep it as `.orig` beside the new file"),
            );
        }
    }
    found.into_result(old)
}

/// All files below `root/at`, and all directories that hold nothing. Links are files.
fn list(root: &Path, at: &Path, files: &mut Vec<PathBuf>, empty: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(at))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    if entries.is_empty() && !at.as_os_str().is_empty() {
        empty.push(at.to_path_buf());
    }
    for entry in entries {
        let path = at.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, files, empty)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn hash_of(path: &Path) -> Option<String> {
    // A link is not what we wrote, whatever it points to.
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut hash = Sha256::new();
    io::copy(&mut fs::File::open(path).ok()?, &mut hash).ok()?;
    Some(manifest::hex(&hash.finalize()))
}

/// A directory beside the target that goes away unless it is moved into place.
pub struct Staging {
    /// Where it is.
    pub path: PathBuf,
    armed: bool,
}

impl Staging {
    /// Makes one.
    pub fn new(target: &Path) -> Result<Self, Diagnostics> {
        let path = fresh(target, "new");
        fs::create_dir(&path)
            .map_err(|e| error(target, format!("cannot be written beside it: {e}")))
            .map_err(Diagnostics::from)?;
        Ok(Self { path, armed: true })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.armed {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A free name beside the target, on the same file system.
fn fresh(target: &Path, what: &str) -> PathBuf {
    let stem = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = |n: u32| target.with_file_name(format!(".{stem}.{what}-{}-{n}", std::process::id()));
    (0..).map(name).find(|p| fs::symlink_metadata(p).is_err()).unwrap_or_else(|| name(0))
}

/// Moves the staged directory to the target; the files to keep move from the old one to the new.
pub fn swap(mut staging: Staging, target: &Path, old: Old) -> Result<(), Diagnostics> {
    let fail = |e: io::Error| Diagnostics::from(error(target, format!("cannot be replaced: {e}")));
    if !old.exists {
        fs::rename(&staging.path, target).map_err(fail)?;
        staging.armed = false;
        return Ok(());
    }
    let backup = fresh(target, "old");
    fs::rename(target, &backup).map_err(fail)?;
    if let Err(e) = fs::rename(&staging.path, target) {
        return Err(match fs::rename(&backup, target) {
            Ok(()) => fail(e),
            Err(_) => error(target, format!("cannot be replaced: {e}"))
                .help(format!("its old content is in {}", backup.display()))
                .into(),
        });
    }
    staging.armed = false;
    let keep = || -> io::Result<()> {
        for dir in &old.dirs {
            // A new file may stand in an empty directory's place; nothing is lost then.
            let _ = fs::create_dir_all(target.join(dir));
        }
        for (from, to) in &old.keep {
            let to = target.join(to);
            to.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::rename(backup.join(from), to)?;
        }
        Ok(())
    };
    keep().map_err(|e| {
        Diagnostics::from(
            error(target, format!("was written, but your own files could not be moved into it: {e}"))
                .help(format!("they are in {}", backup.display())),
        )
    })?;
    fs::remove_dir_all(&backup).map_err(|e| {
        Diagnostics::from(error(&backup, format!("holds the old output and cannot be removed: {e}")))
    })
}
