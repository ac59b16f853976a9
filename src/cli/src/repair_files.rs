//! The steps of a repair on real files.
//!
//! A step is done when it is on the disk: the file, its name, and the directories above it. What a
//! newcomer gets wrong: the file that is copied may lie on blocks that the disk does not give any
//! more; those become holes in the copy.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use plimsoll_storage::RepairStep;

const CHUNK_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;

/// Carries out one step below the data directory.
pub(crate) fn carry_out(root: &Path, step: &RepairStep) -> io::Result<()> {
    match step {
        RepairStep::Copy { from, position_bytes, length_bytes, more, to } => {
            let target = create(root, to)?;
            let copied = match File::open(root.join(from)) {
                Ok(source) => copy(&source, (*position_bytes, *length_bytes), &target)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            target.write_all_at(more, copied)?;
            finish(root, to, &target)
        }
        RepairStep::Link { from, to } => {
            make_directories(root, Path::new(to))?;
            match fs::hard_link(root.join(from), root.join(to)) {
                Ok(()) => sync_directory_of(&root.join(to)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                // Not every file system has a second name for a file.
                Err(_) => {
                    let source = File::open(root.join(from))?;
                    let target = create(root, to)?;
                    copy(&source, (0, u64::MAX), &target)?;
                    finish(root, to, &target)
                }
            }
        }
        RepairStep::Create { path, bytes, length_bytes } => {
            let file = create(root, path)?;
            file.write_all_at(bytes, 0)?;
            // Written and not only made long: then later writes are overwrites.
            let zeros = vec![0; CHUNK_BYTES];
            let mut at = bytes.len() as u64;
            while at < *length_bytes {
                let left = usize::try_from(length_bytes - at).unwrap_or(CHUNK_BYTES);
                file.write_all_at(&zeros[..left.min(CHUNK_BYTES)], at)?;
                at += left.min(CHUNK_BYTES) as u64;
            }
            finish(root, path, &file)
        }
        RepairStep::WriteAt { path, position_bytes, bytes } => {
            make_directories(root, Path::new(path))?;
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(root.join(path))?;
            file.write_all_at(bytes, *position_bytes)?;
            finish(root, path, &file)
        }
        RepairStep::Rename { from, to } => {
            fs::rename(root.join(from), root.join(to))?;
            sync_directory_of(&root.join(to))
        }
        RepairStep::Remove { path } => match fs::remove_file(root.join(path)) {
            Ok(()) => sync_directory_of(&root.join(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        },
    }
}

fn create(root: &Path, path: &str) -> io::Result<File> {
    make_directories(root, Path::new(path))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).open(root.join(path))
}

fn finish(root: &Path, path: &str, file: &File) -> io::Result<()> {
    file.sync_all()?;
    sync_directory_of(&root.join(path))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The directories that a path needs, each on the disk with its name.
fn make_directories(root: &Path, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) else {
        return Ok(());
    };
    if root.join(parent).is_dir() {
        return Ok(());
    }
    make_directories(root, parent)?;
    fs::create_dir(root.join(parent))?;
    sync_directory_of(&root.join(parent))
}

/// Copies what can be read of a part, and gives how long it is. Zeros become holes.
fn copy(source: &File, (position, length): (u64, u64), target: &File) -> io::Result<u64> {
    let end = source.metadata()?.len().min(position.saturating_add(length));
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = position;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let piece = &mut buffer[..wanted];
        if source.read_exact_at(piece, at).is_err() {
            for (block, place) in piece.chunks_mut(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
                if source.read_exact_at(block, place).is_err() {
                    block.fill(0);
                }
            }
        }
        for (block, place) in piece.chunks(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
            if block.iter().any(|byte| *byte != 0) {
                target.write_all_at(block, place - position)?;
            }
        }
        at += wanted as u64;
    }
    let copied = end.saturating_sub(position);
    target.set_len(copied)?;
    Ok(copied)
}
