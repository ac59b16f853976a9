//! `produce --resume`: files into the log once, however often this process is killed.
//!
//! The file that the flag names keeps an identity that the server gave, and nothing of how far it
//! came: that is asked of the log. Record N of the files has sequence N under that identity, and
//! the server takes it only behind record N - 1. So what the last process still had on its way when
//! it was killed can neither double a record nor leave one out.
//!
//! What a newcomer gets wrong: the first record is sent to ask. If it is not the next one, it is
//! refused, and the refusal says which is.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use plimsoll_client_blocking::{
    Ack, AppendError, Client, ErrorCode, NewRecord, Producer, ProducerIdentity, ProducerOptions,
    Refusal, Resume,
};

use crate::failure::Failure;
use crate::lines::{Flow, LastLine, each_line};

/// Sequences are 31 bits wide: one file can say no more.
const RECORDS_MAX: u64 = (1 << 31) - 1;

/// So many batches of a producer a partition knows again.
const BATCHES_KNOWN_MAX: u32 = 5;

/// What is kept from process to process.
struct Kept {
    identity: ProducerIdentity,
    /// Whether a record of it was acked: then the server must know it.
    has_begun: bool,
}

/// A producer that goes on where the log ends.
pub(crate) struct Resumed {
    pub(crate) producer: Producer,
    /// How many records of the files need not be sent any more.
    pub(crate) already: u64,
    /// The ack of the last of them, if the producer has sent that one itself, to ask.
    pub(crate) asked: Option<Ack>,
}

/// Finds out what the log has of the files.
pub(crate) fn resume(
    client: &Client,
    (topic, partition): (&str, u32),
    (files, path): (&[PathBuf], &Path),
    options: &ProducerOptions,
) -> Result<Resumed, Failure> {
    let found = read(path)?;
    // Of an identity that was never used nothing can be there.
    let is_new = found.is_none();
    let mut kept = match found {
        Some(kept) => kept,
        None => {
            let identity = client.new_identity().map_err(Failure::new)?;
            let kept = Kept { identity, has_begun: false };
            write(path, &kept)?;
            kept
        }
    };
    // The record with which to ask. Sequence 0 would be taken of anyone.
    let mut place = u64::from(kept.has_begun);
    let (mut is_told, mut acked) = (false, 0);
    loop {
        let (identity, sequence) = (kept.identity, place as u32);
        let mut options = options.clone();
        options.resume = Some(Resume { identity, partition, sequence });
        let producer = client.producer(topic, options).map_err(Failure::new)?;
        let Some(value) = record_at(files, place)? else {
            return Ok(Resumed { producer, already: place, asked: None });
        };
        let record = NewRecord::of_value(&value).to_partition(partition);
        match producer.send(&record).map_err(Failure::new)?.wait() {
            Ok(ack) => {
                if !kept.has_begun {
                    kept.has_begun = true;
                    write(path, &kept)?;
                }
                (place, acked) = (place + 1, acked + 1);
                // It may have been there, as one of the last batches of the process before.
                if is_new || is_told || acked > BATCHES_KNOWN_MAX {
                    return Ok(Resumed { producer, already: place, asked: Some(ack) });
                }
            }
            Err(error) => (place, is_told) = (place_told(&error, path)?, true),
        }
    }
}

/// Which record is the next one, as the refusal of another one says.
fn place_told(error: &AppendError, path: &Path) -> Result<u64, Failure> {
    let AppendError::Refused { refusal: Refusal::Server(error), .. } = error else {
        return Err(Failure::new(error));
    };
    match error.code {
        ErrorCode::OutOfSequence => Ok(error.detail_a),
        ErrorCode::ProducerUnknown => Err(Failure::Failed(format!(
            "the server does not know any more how much it has of what {} stands for (it rested \
             for a week, or was of another server): look at the end of the partition, and begin \
             with another file",
            path.display()
        ))),
        _ => Err(Failure::new(error)),
    }
}

fn record_at(files: &[PathBuf], place: u64) -> Result<Option<Vec<u8>>, Failure> {
    let (mut at, mut found) = (0, None);
    each_line(files, LastLine::NeedsFeed, |line| {
        if at == place {
            found = Some(line.to_vec());
            return Ok(Flow::Stop);
        }
        at += 1;
        Ok(Flow::GoOn)
    })?;
    Ok(found)
}

/// There can be no more records than sequences.
pub(crate) fn check_place(place: u64) -> Result<(), Failure> {
    if place < RECORDS_MAX {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "--resume takes {RECORDS_MAX} records at most: begin another file"
    )))
}

fn read(path: &Path) -> Result<Option<Kept>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::Failed(format!("cannot read {}: {error}", path.display())));
        }
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let kept = match words[..] {
        [MAGIC, id, epoch, begun @ ("new" | "begun")] => {
            id.parse().ok().zip(epoch.parse().ok()).map(|(id, epoch)| Kept {
                identity: ProducerIdentity { id, epoch },
                has_begun: begun == "begun",
            })
        }
        _ => None,
    };
    let wrong = || {
        let path = path.display();
        Failure::Usage(format!("{path} is not what --resume writes: name another file"))
    };
    kept.map(Some).ok_or_else(wrong)
}

/// The old one or the new one is there after any crash.
fn write(path: &Path, kept: &Kept) -> Result<(), Failure> {
    let ProducerIdentity { id, epoch } = kept.identity;
    let begun = if kept.has_begun { "begun" } else { "new" };
    let new = path.with_added_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        writeln!(file, "{MAGIC} {id} {epoch} {begun}")?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // Without this a power cut may bring back the old name.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}

const MAGIC: &str = "plimsoll-producer-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        assert!(read(&path).unwrap().is_none());
        for has_begun in [false, true] {
            let identity = ProducerIdentity { id: 1 << 60, epoch: 3 };
            write(&path, &Kept { identity, has_begun }).unwrap();
            let kept = read(&path).unwrap().unwrap();
            assert_eq!((kept.identity, kept.has_begun), (identity, has_begun));
        }
        for wrong in ["", "plimsoll-producer-1 x 0 new", "plimsoll-producer-1 1 0", "2 1 0 new"] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(read(&path), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
