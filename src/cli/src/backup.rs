//! `plimsoll backup`: a copy of a data directory that a server may be writing to.
//!
//! Journals first, the metadata topic's last; then every byte of segments that they name, which is
//! durable by then and never written again. What a newcomer gets wrong: what only the append memory
//! holds is not in it. Whoever needs a record to be in a backup has it acked at `disk` first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use plimsoll_ring::random_bytes;
use plimsoll_storage::{
    BackupContent, BackupFile, BackupJournal, DataDirId, DataFiles, JOURNALS_DIRECTORY, Manifest,
    journal_path,
};

use crate::backup_files::{Source, Target, missing};
use crate::topic_records::topic_record;
use crate::utc::Utc;

/// Copy the data of a server, running or stopped, to a new directory that a server can start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything acked at `disk` before the backup began is in it, in order and without holes; more may
be. What is in append memory only (acked at `memory` or `page_cache`, and not committed yet) is
not. The last lines say, for each journal, up to which frame the backup reaches.

The copy is a data directory of its own, with an id of its own: a server may run on it beside the
original, on the same host. Partitions that may have shown more than the backup has go on behind
that: offsets jump there, once. Indexes are not copied; they are made anew.

DIR2 must be empty, or not be there. Until the backup is done it has no MANIFEST.

Exit code 0: done, and all of it is flushed; 1: it could not be done; 2: wrong use.

Example:
  plimsoll backup /var/lib/plimsoll --to /backup/monday && plimsoll verify /backup/monday")]
pub(crate) struct Args {
    /// The data directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the copy goes.
    #[arg(long, value_name = "DIR2")]
    to: PathBuf,
}

/// A journal that still looks damaged after so many copies is damaged.
const COPIES_MAX: u32 = 20;
/// Rounds of journals and segments: topics may be deleted meanwhile.
const ROUNDS_MAX: u32 = 8;
/// How long to wait before what was just written is read again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why there is no backup, and whether the command was used wrongly.
#[derive(Debug)]
enum Refusal {
    Usage(String),
    Failed(String),
}

/// Backs up.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (code, sentence) = match back_up(args, &mut io::stdout().lock()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Refusal::Usage(sentence)) => (2, sentence),
        Err(Refusal::Failed(sentence)) => (1, sentence),
    };
    eprintln!("plimsoll: {}: {sentence}", args.dir.display());
    ExitCode::from(code)
}

fn back_up(args: &Args, out: &mut impl Write) -> Result<(), Refusal> {
    let begun = Utc::now();
    let manifest = read_manifest(&args.dir)?;
    let target = Target::make(&args.to).map_err(|error| {
        Refusal::Usage(format!("--to {}: {error}: name a new directory", args.to.display()))
    })?;
    let mut backup = Backup {
        source: Source::new(args.dir.clone(), target.root().to_owned()),
        target,
        manifest,
        copied: BTreeMap::new(),
        progress: Progress::new(),
    };
    let (journals, content) = backup.copy()?;
    backup.write_journals(&journals)?;
    if read_manifest(&args.dir)? != manifest {
        let sentence = "its server was started anew meanwhile: remove the copy, and back up again";
        return Err(Refusal::Failed(sentence.to_owned()));
    }
    backup.finish()?;
    let bytes: u64 = backup.copied.values().sum();
    let mut lines = String::new();
    for journal in &journals {
        let (number, frame) = (journal.number(), journal.last_frame());
        lines += &format!("journal={number:05} through_frame={frame}\n");
    }
    let (partitions, files, start) = (content.partitions(), backup.copied.len(), manifest.epoch);
    lines += &format!(
        "backed up partitions={partitions} segments={files} bytes={bytes} start={start} \
         begun={begun} done={}\n",
        Utc::now()
    );
    // Whoever does not read it any more has the exit code.
    let _closed = out.write_all(lines.as_bytes());
    Ok(())
}

fn read_manifest(directory: &Path) -> Result<Manifest, Refusal> {
    let bytes = fs::read(directory.join("MANIFEST")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Refusal::Usage("there is no MANIFEST: not a data directory".to_owned())
        }
        _ => Refusal::Failed(format!("MANIFEST cannot be read: {error}")),
    })?;
    Manifest::decode(&bytes).map_err(|error| Refusal::Failed(error.to_string()))
}

struct Backup {
    source: Source,
    target: Target,
    manifest: Manifest,
    /// Segments, and how much of each is in the copy.
    copied: BTreeMap<String, u64>,
    progress: Progress,
}

impl Backup {
    /// Copies until everything that the journals name is there.
    fn copy(&mut self) -> Result<(Vec<BackupJournal>, BackupContent), Refusal> {
        let mut gone = None;
        for _ in 0..ROUNDS_MAX {
            let mut journals = Vec::new();
            // Backwards: shard 0 knows the topics, and is to know of every deletion.
            for number in self.journals()?.into_iter().rev() {
                journals.push(self.copy_journal(number)?);
            }
            let content = BackupContent::of(&mut self.source, &journals, topic_record);
            gone = self.copy_segments(&content.files())?;
            if gone.is_none() {
                return Ok((journals, content));
            }
            // Deleted meanwhile, as journals of now will say.
            std::thread::sleep(AGAIN_AFTER);
        }
        let path = gone.unwrap_or_default();
        Err(Refusal::Failed(format!(
            "{path} is named by a journal and is not there: run `plimsoll verify` when the server \
             is stopped"
        )))
    }

    /// Those of this start, and those that an earlier one with more shards left.
    fn journals(&mut self) -> Result<BTreeSet<u16>, Refusal> {
        let names = self.source.list(JOURNALS_DIRECTORY).unwrap_or_default();
        let number = |name: &String| name.strip_suffix(".journal")?.parse().ok();
        let there: BTreeSet<u16> = names.iter().filter_map(number).collect();
        match (0..self.manifest.shards).find(|number| !there.contains(number)) {
            Some(gone) => Err(Refusal::Failed(format!("{} is missing", journal_path(gone)))),
            None => Ok(there),
        }
    }

    fn copy_journal(&mut self, number: u16) -> Result<BackupJournal, Refusal> {
        let mut from = None;
        let mut damage = String::new();
        for round in 0..COPIES_MAX {
            let at = from.filter(|_| round % 5 != 4);
            self.source.copy_journal(number, at).map_err(|error| {
                Refusal::Failed(format!("journal {number} cannot be copied: {error}"))
            })?;
            self.source.missing.clear();
            match BackupJournal::read(&mut self.source, number, self.manifest.data_dir) {
                // A file that goes while the last frames are looked at may cut them off wrongly.
                Ok(journal) if self.source.missing.is_empty() => return Ok(journal),
                Ok(_) => from = None,
                Err(found) => {
                    from = (found.position_bytes > 0).then_some(found.position_bytes);
                    damage = found.to_string();
                }
            }
            std::thread::sleep(AGAIN_AFTER);
        }
        if damage.is_empty() {
            // The files that its last frames name are gone for good.
            let read = BackupJournal::read(&mut self.source, number, self.manifest.data_dir);
            return read.map_err(|damage| Refusal::Failed(format!("damaged: {damage}")));
        }
        Err(Refusal::Failed(format!(
            "damaged: {damage}: stop the server, and run `plimsoll repair`"
        )))
    }

    /// Gives a file that is not there any more, if there is one.
    fn copy_segments(&mut self, files: &[BackupFile]) -> Result<Option<String>, Refusal> {
        let total: u64 = files.iter().map(|file| file.length_bytes).sum();
        self.progress.begin(total);
        let mut gone = None;
        for BackupFile { partition, path, length_bytes } in files {
            let done = self.copied.get(path).copied().unwrap_or(0);
            self.progress.add(done.min(*length_bytes));
            if done >= *length_bytes {
                continue;
            }
            let progress = &mut self.progress;
            let copied =
                self.source.copy_segment(&self.target, path, (done, *length_bytes), |it| {
                    progress.add(it);
                });
            match copied {
                Ok(()) => {
                    self.copied.insert(path.clone(), *length_bytes);
                }
                Err(error) if missing(&error) => gone = Some(path.clone()),
                Err(error) => {
                    return Err(Refusal::Failed(format!(
                        "{path} (partition {partition}) cannot be copied: {error}"
                    )));
                }
            }
        }
        Ok(gone)
    }

    fn write_journals(&mut self, journals: &[BackupJournal]) -> Result<(), Refusal> {
        let id = random_bytes().map_err(|error| Refusal::Failed(error.to_string()))?;
        self.manifest.data_dir = DataDirId(id);
        for journal in journals {
            let number = journal.number();
            self.progress.say(&format!("journal {number}"));
            let written = self.target.write_journal(&mut self.source, journal, DataDirId(id));
            match written {
                Ok(true) => {}
                Ok(false) => {
                    let sentence = format!("the copy of journal {number} does not read back");
                    return Err(Refusal::Failed(sentence));
                }
                Err(error) => {
                    let sentence = format!("journal {number} cannot be written: {error}");
                    return Err(Refusal::Failed(sentence));
                }
            }
        }
        Ok(())
    }

    /// Flushes everything; the manifest comes last.
    fn finish(&mut self) -> Result<(), Refusal> {
        self.progress.say("flushing");
        let mut block = [0; 4096];
        self.manifest.encode(&mut block);
        self.target.finish(&block).map_err(|error| {
            Refusal::Failed(format!("the copy cannot be flushed, and is not to be used: {error}"))
        })
    }
}

/// A line on stderr now and then; on a terminal the same line again.
struct Progress {
    total: u64,
    done: u64,
    said: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { total: 0, done: 0, said: Instant::now() }
    }

    fn begin(&mut self, total: u64) {
        (self.total, self.done) = (total, 0);
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            self.say(&format!("{} of {} MiB", self.done >> 20, self.total >> 20));
        }
    }

    fn say(&self, what: &str) {
        let (front, end) = if io::stderr().is_terminal() { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{front}backup: {what}{end}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_data_directory_and_a_place_in_use_are_wrong_use() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let args = Args { dir: from.path().to_owned(), to: to.path().to_owned() };
        assert!(matches!(back_up(&args, &mut io::sink()), Err(Refusal::Usage(_))));
        let mut block = [0; 4096];
        Manifest { data_dir: DataDirId([1; 16]), epoch: 1, shards: 0, counts: Default::default() }
            .encode(&mut block);
        fs::write(from.path().join("MANIFEST"), block).unwrap();
        fs::write(to.path().join("file"), "mine").unwrap();
        let refused = back_up(&args, &mut io::sink()).unwrap_err();
        assert!(matches!(&refused, Refusal::Usage(text) if text.contains("--to")), "{refused:?}");
        fs::remove_file(to.path().join("file")).unwrap();
        back_up(&args, &mut io::sink()).unwrap();
        let again = back_up(&args, &mut io::sink()).unwrap_err();
        assert!(matches!(again, Refusal::Usage(_)), "a second run into the same place: {again:?}");
    }
}
