//! Puts finished files in the place of old ones, and loses no file that is not ours.

use crate::manifest::{self, Manifest};
use crate::scratch::{self, Scratch};
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

/// What to do with the files of an existing target. What is named nowhere stays where it is.
#[derive(Default)]
struct Old {
    /// Files that we wrote, the manifest first: they go.
    ours: Vec<PathBuf>,
    /// Files in the way of new ones: where they are and where they go, relative.
    aside: Vec<(PathBuf, PathBuf)>,
}

/// Waits until no other process moves files into the target, and keeps others waiting. Where there are no locks,
/// none waits.
fn locked(target: &Path) -> Option<fs::File> {
    let directory = target.is_dir().then(|| fs::File::open(target).ok())??;
    directory.lock().ok()?;
    Some(directory)
}

/// Says what [`install`] would refuse now.
pub fn check(target: &Path, new: &BTreeSet<String>, force: bool) -> Result<(), Diagnostics> {
    let _locked = locked(target);
    inspect(target, new, force).map(|_| ())
}

/// Looks at an existing target and decides what stays; refuses what [`crate::OutDir::write_to`] says.
fn inspect(target: &Path, new: &BTreeSet<String>, force: bool) -> Result<Old, Diagnostics> {
    let kind = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Old::default()),
        Err(e) => return Err(error(target, e.to_string()).into()),
        Ok(m) => m,
    };
    if !kind.is_dir() {
        let found = error(target, "is a file").help("give a directory");
        return Err(found.into());
    }
    let mut old = Old::default();
    let mut entries = Vec::new();
    list(target, Path::new(""), &mut entries)
        .map_err(|e| Diagnostics::from(error(target, format!("cannot be read: {e}"))))?;
    let manifest = match Manifest::read(target) {
        Ok(m) => Some(m),
        Err(_) if force || entries.is_empty() => None,
        Err(why) => {
            // Without a manifest there is no more to say.
            let why = match target.join(manifest::NAME).exists() {
                true => format!(" ({}: {})", manifest::NAME, why.message),
                false => String::new(),
            };
            return Err(error(target, format!("holds files that unfloat did not write{why}"))
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
    for path in entries.into_iter().filter(|(_, is_dir)| !is_dir).map(|(path, _)| path) {
        let name = path.to_string_lossy().replace('\\', "/");
        let known = ours.get(name.as_str()).copied();
        let is_manifest = manifest.is_some() && name == manifest::NAME;
        if is_manifest || known.is_some_and(|hash| hash_of(&target.join(&path)).as_deref() == Some(hash)) {
            let at = if is_manifest { 0 } else { old.ours.len() };
            old.ours.insert(at, path);
            continue;
        }
        if !taken.contains(&path) && !parents.contains(&path) {
            continue;
        }
        if force {
            let free = |p: &PathBuf| !taken.contains(p) && !target.join(p).exists();
            let beside = (0..)
                .map(|n| match n {
                    0 => PathBuf::from(format!("{name}.orig")),
                    n => PathBuf::from(format!("{name}.orig{n}")),
                })
                .find(free);
            old.aside.push((path.clone(), beside.unwrap_or(path)));
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

/// All files below `root/at`, and all directories that hold nothing (those with `true`). Links are files.
fn list(root: &Path, at: &Path, found: &mut Vec<(PathBuf, bool)>) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(at))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let top = at.as_os_str().is_empty();
    if entries.is_empty() && !top {
        found.push((at.to_path_buf(), true));
    }
    for entry in entries {
        let path = at.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            found.push((path, false));
        } else if !top || !entry.file_name().to_string_lossy().starts_with(MARK) {
            list(root, &path, found)?;
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

/// What the names of our directories inside a target begin with.
const MARK: &str = ".unfloat-";

/// New files that are not in place yet: beside a target that is to be made, and inside one that exists. That may be
/// a mount point, the only place where the user may write, or the directory that a shell stands in.
pub struct Staging(Scratch);

impl Staging {
    /// Makes an empty one.
    pub fn new(target: &Path) -> Result<Self, Diagnostics> {
        let id = std::process::id();
        let name = |n: u32| match target.file_name() {
            Some(stem) if !target.is_dir() => {
                target.with_file_name(format!(".{}.new-{id}-{n}", stem.to_string_lossy()))
            }
            _ => target.join(format!("{MARK}{id}-{n}")),
        };
        let fresh = |n: u32| match Scratch::new(name(n)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => None,
            made => Some(made),
        };
        let make = || {
            let staging = Self((0..).find_map(fresh).unwrap_or_else(|| Scratch::new(name(0)))?);
            fs::create_dir(staging.files()).map(|()| staging)
        };
        make().map_err(|e| error(target, format!("cannot be written: {e}")).into())
    }
    /// Where the new files go.
    pub fn files(&self) -> PathBuf {
        self.0.path().join("new")
    }
    /// Where the old ones go until all is done.
    fn aside(&self) -> PathBuf {
        self.0.path().join("old")
    }
}

/// Moves the staged files to the target: as a whole when there is none yet, one by one otherwise. `new` are their
/// paths, without the manifest. What is refused is what [`crate::OutDir::write_to`] says; on an error all moves are undone.
pub fn install(
    staging: &Staging,
    target: &Path,
    new: &BTreeSet<String>,
    force: bool,
) -> Result<(), Diagnostics> {
    let fail = |e: io::Error| Diagnostics::from(error(target, format!("cannot be written: {e}")));
    let _moving = scratch::moving();
    if fs::symlink_metadata(target).is_err() {
        match fs::rename(staging.files(), target) {
            // Another process was faster.
            Err(_) if target.is_dir() => {}
            done => return done.map_err(fail),
        }
    }
    let _locked = locked(target);
    let old = inspect(target, new, force)?;
    let mut moves = Moves::default();
    moves.all(staging, target, &old, new).map_err(|e| {
        moves.undo();
        fail(e)
    })?;
    for path in &old.ours {
        for parent in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            // This fails where something else is left.
            let _ = fs::remove_dir(target.join(parent));
        }
    }
    Ok(())
}

/// Moves that can be undone.
#[derive(Default)]
struct Moves {
    made: Vec<PathBuf>,
    moved: Vec<(PathBuf, PathBuf)>,
}

impl Moves {
    fn all(&mut self, staging: &Staging, target: &Path, old: &Old, new: &BTreeSet<String>) -> io::Result<()> {
        // The manifest goes first and comes last: a directory without one is never taken for a complete one.
        for path in &old.ours {
            self.one(&target.join(path), &staging.aside().join(path))?;
        }
        for (from, to) in &old.aside {
            self.one(&target.join(from), &target.join(to))?;
        }
        for path in new.iter().map(String::as_str).chain([manifest::NAME]) {
            let to = target.join(path);
            if fs::symlink_metadata(&to).is_ok_and(|m| m.is_dir()) {
                // This fails unless the directory is empty; nothing is lost then.
                fs::remove_dir(&to)?;
            }
            self.one(&staging.files().join(path), &to)?;
        }
        Ok(())
    }

    fn one(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = to.ancestors().skip(1).take_while(|p| !p.exists()).collect();
        for dir in missing.into_iter().rev() {
            fs::create_dir(dir)?;
            self.made.push(dir.to_path_buf());
        }
        fs::rename(from, to)?;
        self.moved.push((from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn undo(&mut self) {
        for (from, to) in self.moved.drain(..).rev() {
            let _ = fs::rename(to, from);
        }
        for dir in self.made.drain(..).rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}
