//! PyTorch models: the tensors of a checkpoint, and an architecture that says what they are for.
//!
//! In: a file, or a folder's files. Out: a [`StateDict`]: tensors under the names that the model's modules give them.
//! What kind of file it is shows in its first bytes. Nothing that a file names is ever run: pickles become inert
//! records. Refuses: what is no checkpoint, and says what it looks like instead; files with several models, which are
//! listed.
//!
//! | module | does |
//! |---|---|
//! | `state` | the tensors of a model under their names |
//! | `torch`, `archive`, `legacy` | files of `torch.save` and `torch.jit.save`, zipped or not |
//! | `safetensors`, `arrays` | files of safetensors and NumPy |
//! | [`arch`] | what is computed with the tensors: a TOML file to a graph |
//! | `walk`, `find` | which of a pickle's records ([`unfloat_pickle`]) are the model's tensors |
//! | `rebuild`, `numpy` | records to views of bytes |
//! | `view`, `element`, `assemble` | views to tensors |
//! | `reading`, `limit` | what a file's readers share: findings, what may be allocated |

pub mod arch;
mod archive;
mod arrays;
mod assemble;
mod element;
mod find;
mod legacy;
mod limit;
mod numpy;
mod problem;
mod reading;
mod rebuild;
mod safetensors;
mod state;
mod torch;
mod view;
mod walk;

use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use unfloat_ir::{Diagnostic, Diagnostics, Severity};

use crate::onnx::{ReadSeek, Siblings};
use archive::Archive;
use reading::Reading;
use unfloat_pickle as pickle;

pub use state::{Entry, StateDict, Unreadable};

/// A checkpoint file.
pub struct CheckpointFile {
    /// The file's base name, for messages.
    pub label: String,
    /// The file itself.
    pub source: Box<dyn ReadSeek>,
}

impl CheckpointFile {
    /// A checkpoint in memory.
    pub fn from_bytes(label: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { label: label.into(), source: Box::new(Cursor::new(bytes)) }
    }
}

/// What the user says about a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct StateOptions {
    /// Which part of the file is the model: `state_dict`, `models[0]`, or `.` for everything.
    pub key: Option<String>,
    /// Whether tensors that cannot be read are listed beside the others, and not errors.
    pub list: bool,
}

/// A checkpoint's tensors.
#[derive(Debug)]
pub struct Checkpoint {
    /// The tensors.
    pub state: StateDict,
    /// Tensors that cannot be read, when [`StateOptions::list`] asks for them.
    pub unreadable: Vec<Unreadable>,
    /// The kind of file.
    pub format: Format,
    /// What was assumed on the way.
    pub warnings: Vec<Diagnostic>,
}

/// Kinds of checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A zip archive of `torch.save` or `torch.jit.save`.
    Zip,
    /// A file of `torch.save` before PyTorch 1.6.
    Legacy,
    /// A pickle that stands alone.
    Pickle,
    /// safetensors.
    Safetensors,
    /// An archive of NumPy arrays.
    Npz,
    /// One NumPy array; one of Python objects can be a whole model.
    Npy,
    /// A folder of NumPy arrays.
    Folder,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Zip => "PyTorch zip archive",
            Format::Legacy => "PyTorch legacy file",
            Format::Pickle => "pickle",
            Format::Safetensors => "safetensors",
            Format::Npz => "npz archive",
            Format::Npy => "npy array",
            Format::Folder => "folder of npy arrays",
        })
    }
}

/// The first bytes that tell kinds apart.
const HEAD: u64 = 1024;

/// How pickles of protocol 0 and 1, which have no mark of their own, begin when they hold tensors.
const OLD_PICKLES: [&[u8]; 8] =
    [b"(dp", b"(lp", b"}q\0", b"]q\0", b"ccollections\n", b"cnumpy", b"ctorch", b"ccopy_reg\n"];

/// How a zip archive without members begins.
const EMPTY_ZIP: &[u8] = b"PK\x05\x06";

/// What kind of checkpoint a file is; nothing if it is none. The source is left at its beginning.
///
/// # Errors
/// When the source cannot be read.
pub fn recognise(source: &mut dyn ReadSeek) -> io::Result<Option<Format>> {
    let size = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    source.take(HEAD).read_to_end(&mut head)?;
    source.seek(SeekFrom::Start(0))?;
    Ok(match head.as_slice() {
        head if head.starts_with(b"PK\x03\x04") => {
            let format = zip::ZipArchive::new(&mut *source).ok().and_then(|zip| {
                let mut names = zip.file_names().filter_map(Result::ok);
                let mut format = None;
                names
                    .find_map(|name| match &*name {
                        n if n.ends_with("data.pkl") || n.ends_with("/model.json") => Some(Format::Zip),
                        n => {
                            if n.ends_with(".npy") {
                                format = Some(Format::Npz);
                            }
                            None
                        }
                    })
                    .or(format)
            });
            source.seek(SeekFrom::Start(0))?;
            format
        }
        // NumPy's archive of no arrays: a model without parameters.
        head if head.starts_with(EMPTY_ZIP) => Some(Format::Npz),
        head if head.starts_with(b"\x93NUMPY") => Some(Format::Npy),
        head if legacy::begins(head) => Some(Format::Legacy),
        [0x80, 0..=5, ..] => Some(Format::Pickle),
        head if OLD_PICKLES.iter().any(|start| head.starts_with(start)) => Some(Format::Pickle),
        head if safetensors::begins(head, size) => Some(Format::Safetensors),
        _ => None,
    })
}

/// What a file is that users take for a model; nothing if it is no such thing. `head` is the file's beginning, 512 bytes
/// or all of it.
pub fn mistaken(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    Some(match head {
        [] => "the file is empty",
        _ if head.starts_with(b"version https://git-lfs") => {
            "is a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`"
        }
        _ if text.starts_with(b"<!") || text.starts_with(b"<html") => {
            "is a web page and not the file that it should lead to"
        }
        _ if head.get(257..262) == Some(b"ustar") => {
            "is a tar archive; unpack it first (PyTorch's own tar files of before 0.1.10 are not supported)"
        }
        _ if head.starts_with(b"\x1f\x8b") => "is compressed with gzip; decompress it first",
        _ => return None,
    })
}

/// Reads the tensors of a file.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn read_state(file: CheckpointFile, options: &StateOptions) -> Result<Checkpoint, Diagnostics> {
    let CheckpointFile { label, mut source } = file;
    let unreadable = |e: io::Error| problem::error(&label, "", format!("cannot be read: {e}"));
    let size = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let format = recognise(&mut *source).map_err(unreadable)?;
    let Some(format) = format else {
        let mut head = Vec::new();
        source.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
        let what = match mistaken(&head) {
            Some(what) => what.to_string(),
            None if head.starts_with(b"PK\x03\x04") => {
                "is a zip archive with neither `data.pkl` nor `.npy` in it".to_string()
            }
            None if label.to_ascii_lowercase().ends_with(".safetensors") => safetensors::damage(&head, size),
            None => "is no checkpoint that is known here".to_string(),
        };
        let kinds = "PyTorch's .pt and .pth, .safetensors, .npz and folders of .npy are read";
        return Err(problem::error(&label, "", what).help(kinds).into());
    };
    let mut reading = Reading::new(&label, options.key.as_deref(), size);
    let entries = match format {
        Format::Zip | Format::Npz => match Archive::open(source, size) {
            Ok(mut archive) if format == Format::Zip => torch::read_archive(&mut reading, &mut archive),
            Ok(archive) if archive.names().is_empty() && reading.key.is_none() => {
                // The state of a model without parameters.
                let state = StateDict { label, entries: Vec::new() };
                return Ok(Checkpoint { state, unreadable: Vec::new(), format, warnings: Vec::new() });
            }
            Ok(mut archive) => arrays::read_npz(&mut reading, &mut archive),
            Err(fault) => {
                reading.fail("", fault);
                Vec::new()
            }
        },
        Format::Legacy => torch::read_legacy(&mut reading, &mut source, size),
        Format::Pickle => torch::read_pickle(&mut reading, &mut source, size),
        Format::Safetensors => safetensors::read(&mut reading, &mut source, size),
        Format::Npy | Format::Folder => arrays::read_npy(&mut reading, &mut source, size),
    };
    finish(reading, entries, format, options)
}

/// Reads the tensors of a folder of `.npy` files. `names` are the files of the folder, in any order.
///
/// # Errors
/// All findings, warnings included, when there is at least one error.
pub fn read_folder(
    label: &str,
    names: &[String],
    files: &dyn Siblings,
    options: &StateOptions,
) -> Result<Checkpoint, Diagnostics> {
    let mut reading = Reading::new(label, options.key.as_deref(), 0);
    let entries = arrays::read_folder(&mut reading, names, files);
    finish(reading, entries, Format::Folder, options)
}

fn finish(
    mut reading: Reading<'_>,
    entries: Vec<Entry>,
    format: Format,
    options: &StateOptions,
) -> Result<Checkpoint, Diagnostics> {
    let label = reading.label;
    let mut unreadable = std::mem::take(&mut reading.unreadable);
    if !options.list {
        reading.findings.extend(assemble::problems(label, &unreadable));
        unreadable.clear();
    }
    let (state, mut findings) = assemble::state(reading, entries);
    let failed = findings.iter().any(|found| found.severity == Severity::Error);
    let is_empty = state.entries.is_empty() && unreadable.is_empty();
    if is_empty && !failed {
        findings.push(problem::error(label, "", "holds no tensors"));
    }
    match failed || is_empty {
        true => Err(Diagnostics(findings)),
        false => Ok(Checkpoint { state, unreadable, format, warnings: findings }),
    }
}
