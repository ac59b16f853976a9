//! `plimsoll inspect`: what is in a file of a data directory, frame by frame or batch by batch.
//!
//! A line is a word and `name=value` pairs, fit for people and for `grep`. The file is recognised
//! by its content, so that a copy under another name will do. It judges nothing but checks;
//! `plimsoll verify` does.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plimsoll_storage::{InspectError, inspect};

use crate::failure::Failure;
use crate::verify::StoredFiles;

/// Show what is in a segment, journal, index, arena or MANIFEST.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The end of a segment's last batch may still lie in the journal; seen alone its check is then bad.
`plimsoll verify` puts the two together.

Example:
  plimsoll inspect /var/lib/plimsoll/topics/1/0/00000000000000000000.segment
  plimsoll inspect /var/lib/plimsoll/journal/00000.journal | grep partition=1/0")]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Inspects.
pub(crate) fn run(args: &Args) -> ExitCode {
    match inspect_file(&args.file, io::stdout().lock()) {
        Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plimsoll: {}: {failure}", args.file.display());
            failure.exit_code()
        }
    }
}

fn inspect_file(path: &Path, out: impl Write) -> Result<(), Failure> {
    let Some(name) = path.to_str() else {
        return Err(Failure::Usage("its name is not UTF-8: copy or link it".to_owned()));
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let sentence = "a directory; name a file in it, or look at all of it with `verify`";
            return Err(Failure::Usage(sentence.to_owned()));
        }
        Ok(found) if found.len() == 0 => return Err(Failure::Usage("it is empty".to_owned())),
        // What cannot be looked at cannot be read either, and that is told below.
        Ok(_) | Err(_) => {}
    }
    let mut lines = Lines { out: io::BufWriter::new(out), failed: None };
    let shown = inspect(&mut StoredFiles::new(PathBuf::new()), name, &mut lines);
    let Lines { mut out, failed } = lines;
    if let Some(error) = failed.or_else(|| out.flush().err()) {
        return Err(Failure::of_output(&error));
    }
    match shown {
        Ok(_) => Ok(()),
        Err(error @ InspectError::Unknown) => Err(Failure::Usage(error.to_string())),
        Err(error) => Err(Failure::new(error)),
    }
}

/// Text to bytes; keeps the error that [`fmt::Error`] cannot carry.
struct Lines<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> fmt::Write for Lines<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_storage::{DataDirId, Manifest};

    fn manifest() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut block = [0; 4096];
        Manifest { data_dir: DataDirId([1; 16]), epoch: 3, shards: 2, counts: Default::default() }
            .encode(&mut block);
        file.write_all(&block).unwrap();
        file
    }

    #[test]
    fn a_file_is_shown_whatever_its_name() {
        let (file, mut out) = (manifest(), Vec::new());
        inspect_file(file.path(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("epoch=3 shards=2 check=ok"), "{text}");
    }

    #[test]
    fn a_closed_pipe_ends_it_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let end = inspect_file(manifest().path(), Closed);
        assert!(matches!(end, Err(Failure::PipeClosed)), "{end:?}");
    }

    #[test]
    fn another_file_and_a_missing_one_are_told_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(inspect_file(file.path(), io::sink()), Err(Failure::Usage(_))));
        let missing = inspect_file(Path::new("/nowhere/at/all"), io::sink());
        assert!(matches!(missing, Err(Failure::Failed(_))));
    }
}
