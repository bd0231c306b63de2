//! `data`: datasets as files that other tools read.
//!
//! `data export` writes the images of a dataset as `LABEL_INDEX.bmp` (or png), the index counting on over all batches of a
//! part. In: a dataset of bytes: CIFAR's or IDX files, an archive. Out: a new directory, which appears when it is complete;
//! with `train` and `test` in it where the dataset has both and `--split` chooses none. Refuses: a directory that holds
//! something, samples that are no images of 8 bits in one or three channels.

use crate::cli::{DataCommand, DataExport, ImageKind};
use crate::commands::eval::split;
use crate::output::{CommandResult, Outcome, counting, fault, io_fault, note};
use std::fs;
use std::path::{Path, PathBuf};
use unfloat_backends::scratch::Scratch;
use unfloat_data::picture::{Kind, Picture, encode};
use unfloat_data::{Options, Source, Split};
use unfloat_ir::{Diagnostic, Diagnostics, Location};

/// Runs the command.
pub fn run(command: &DataCommand) -> CommandResult {
    match command {
        DataCommand::Export(args) => export(args),
    }
}

fn export(args: &DataExport) -> CommandResult {
    let parts = match args.split {
        None if args.source.is_dir() => unfloat_data::splits(&args.source)?,
        _ => Vec::new(),
    };
    // One part alone needs no folder of its own.
    let wanted: Vec<(Option<Split>, &str)> = match parts.as_slice() {
        [] => vec![(args.split.map(split), "")],
        [one] => vec![(Some(*one), "")],
        more => more.iter().map(|s| (Some(*s), s.name())).collect(),
    };
    let open = |(split, folder): &(Option<Split>, &'static str)| {
        let options = Options { split: *split, coarse: args.coarse };
        Ok((unfloat_data::open(&args.source, &options)?, *folder))
    };
    let sources = wanted.iter().map(open).collect::<Result<Vec<_>, Diagnostics>>()?;
    let target = free(&args.to)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let staging = target.with_file_name(format!(".{name}.new-{}", std::process::id()));
    let scratch = Scratch::new(staging).map_err(|e| io_fault(&target, "cannot be written", &e))?;
    let files = scratch.path().join("new");
    let mut count = 0;
    for (source, folder) in &sources {
        count += write(&**source, &files.join(folder), args.format)?;
    }
    // An empty directory of that name makes room; any other was refused.
    let moved = if target.is_dir() { fs::remove_dir(&target) } else { Ok(()) };
    moved
        .and_then(|()| fs::rename(&files, &target))
        .map_err(|e| io_fault(&target, "cannot be written", &e))?;
    note(&format!("{count} images in {}", args.to.display()));
    Ok(Outcome::Done)
}

/// The directory to make, if nothing is lost by that.
fn free(path: &Path) -> Result<PathBuf, Diagnostic> {
    let target: PathBuf = path.components().collect();
    if target.file_name().is_none() {
        return Err(fault(format!("--to: {} is no name of a new directory", path.display())));
    }
    let is_free = match fs::read_dir(&target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => fs::symlink_metadata(&target).is_err(),
    };
    match is_free {
        true => Ok(target),
        false => {
            Err(Diagnostic::error(Location::file(path.display().to_string()), "holds something already")
                .help("give a new directory, or take it away first"))
        }
    }
}

/// Writes all samples of a source.
fn write(source: &dyn Source, folder: &Path, kind: ImageKind) -> Result<usize, Diagnostics> {
    let kind = match kind {
        ImageKind::Bmp => Kind::Bmp,
        ImageKind::Png => Kind::Png,
    };
    let failed = |path: &Path, e: &std::io::Error| io_fault(path, "cannot be written", e);
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    let mut index = 0;
    counting("writing", source.description().count, |done| {
        source.each(&mut |sample| {
            let at = |text: String| Diagnostic::error(Location::file(sample.name.clone()), text);
            let picture = Picture::of(&sample).ok_or_else(|| {
                at(format!("is no image of bytes in one or three channels; its shape is {:?}", sample.shape))
            })?;
            let bytes = encode(&picture, kind).map_err(at)?;
            let path = folder.join(format!("{}_{index}.{}", sample.label, kind.extension()));
            fs::write(&path, bytes).map_err(|e| failed(&path, &e))?;
            index += 1;
            done(1);
            Ok(())
        })
    })?;
    Ok(index)
}
