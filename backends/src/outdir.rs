//! The files of a conversion, in memory until all of them are known to be right.
//!
//! Large constants are not text yet: a [`Render`] chunk makes its bytes while they are written and hashed, so a
//! model's weights are never held a second time.

use crate::install;
use crate::manifest::{self, Entry, Manifest};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// Bytes that are made when they are needed. The same value must make the same bytes every time.
pub trait Render: Send + Sync {
    /// Writes the bytes.
    fn render(&self, to: &mut dyn Write) -> io::Result<()>;
}

enum Chunk {
    Bytes(Vec<u8>),
    Lazy(Arc<dyn Render>),
}

/// The content of one file.
#[derive(Default)]
pub struct File(Vec<Chunk>);

impl File {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }
    /// Appends text.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.bytes(text.into().into_bytes())
    }
    /// Appends bytes.
    pub fn bytes(&mut self, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push(Chunk::Bytes(bytes.into()));
        self
    }
    /// Appends what `source` will make.
    pub fn lazy(&mut self, source: Arc<dyn Render>) -> &mut Self {
        self.0.push(Chunk::Lazy(source));
        self
    }
    /// Writes the content.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|chunk| match chunk {
            Chunk::Bytes(bytes) => to.write_all(bytes),
            Chunk::Lazy(source) => source.render(to),
        })
    }
}

impl From<String> for File {
    fn from(text: String) -> Self {
        Self(vec![Chunk::Bytes(text.into_bytes())])
    }
}

/// Files by their paths below the output directory.
#[derive(Default)]
pub struct OutDir(BTreeMap<String, File>);

impl OutDir {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. The path is relative, with `/`, of plain names; a path can be taken only once.
    pub fn add(&mut self, path: &str, file: impl Into<File>) -> Result<(), Diagnostic> {
        let plain =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
        let error = |text: &str| Diagnostic::error(Location::file(path), text);
        if !path.split('/').all(plain) || path == manifest::NAME {
            return Err(error("is no path for an output file"));
        }
        if self.0.contains_key(path) {
            return Err(error("would be written twice"));
        }
        self.0.insert(path.to_string(), file.into());
        Ok(())
    }

    /// The paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The bytes of one file, all in memory: for tests and small files.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.get(path)?.write(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Writes all files and `manifest.json` to the directory `target`: they are written elsewhere on its file system
    /// and moved into place when complete. Returns the manifest with all files in it.
    ///
    /// A new `target` appears as a whole. One that exists must be empty or have a manifest of ours; it stays the
    /// directory that it is, and the manifest is the last to come. Files in it that we did not write, or that were
    /// changed since, stay where they are; where a new file wants the same place, the write is refused. With
    /// `force`, such a file is kept beside the new one as `NAME.orig`, and `target` needs no manifest. On any error
    /// `target` is as it was.
    pub fn write_to(
        &self,
        target: &Path,
        mut manifest: Manifest,
        force: bool,
    ) -> Result<Manifest, Diagnostics> {
        let target = install::resolve(target)?;
        let paths = self.0.keys().cloned().collect();
        // Refused before anything is written, and looked at again when it is.
        install::check(&target, &paths, force)?;
        let staging = install::Staging::new(&target)?;
        for (path, file) in &self.0 {
            manifest.files.push(write_file(&staging.files(), path, file)?);
        }
        write_file(&staging.files(), manifest::NAME, &File::from(manifest.to_json()))?;
        install::install(&staging, &target, &paths, force)?;
        Ok(manifest)
    }
}

fn write_file(dir: &Path, path: &str, file: &File) -> Result<Entry, Diagnostics> {
    let full: PathBuf = path.split('/').fold(dir.to_path_buf(), |dir, part| dir.join(part));
    let write = || -> io::Result<Entry> {
        full.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut sink = Hashed { to: fs::File::create(&full)?, hash: Sha256::new(), size: 0 };
        let mut buffered = BufWriter::with_capacity(1 << 16, &mut sink);
        file.write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        // A full disk may only show here, and must show before anything is replaced.
        sink.to.sync_all()?;
        Ok(Entry { path: path.to_string(), size: sink.size, sha256: manifest::hex(&sink.hash.finalize()) })
    };
    write().map_err(|e| Diagnostic::error(Location::file(path), format!("cannot be written: {e}")).into())
}

/// Counts and hashes what it passes on.
struct Hashed {
    to: fs::File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
