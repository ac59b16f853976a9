//! The same damage before a real server: it names it or it does no harm, and what is not damaged is
//! read and appended to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{Connection, Place, Random, batch_of, records};
use plimsoll_wire::{AckLevel, ErrorCode, Fetch, Handle, Offset, Response, Visible};

use super::files::Files;
use super::wound::{Places, Wound};
use crate::violation::Violation;

/// How long reading everything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a partition gives: offset and number of each record, or where damage was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Given {
    records: Vec<(u64, u64)>,
    is_told: bool,
    /// It takes an append.
    goes_on: bool,
}

/// A directory that real servers are started in.
pub(crate) struct Serving<'a> {
    pub(crate) program: PathBuf,
    pub(crate) place: &'a Place,
    pub(crate) shards: usize,
    /// Name and partitions of the topics that are read.
    pub(crate) topics: Vec<(&'static str, u32)>,
}

/// How many wounds a real server refused, named, or was not harmed by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refused: u64,
    pub(crate) told: u64,
    pub(crate) whole: u64,
}

impl Serving<'_> {
    /// Deals so many wounds, one a start.
    pub(crate) fn wounds(
        &self,
        count: u64,
        (files, older, places): (&mut Files, &[Files], &Places),
        random: &mut Random,
    ) -> Result<Counts, Violation> {
        files.store(&self.place.data_dir()).map_err(Violation)?;
        let Some(sound) = self.read(&[])? else {
            return Err(Violation("the sound directory is refused".to_owned()));
        };
        if !sound.iter().all(|given| given.goes_on && !given.is_told) {
            return Err(Violation("the sound directory takes no appends".to_owned()));
        }
        let mut counts = Counts::default();
        for number in 0..count {
            let wound = match number % 4 {
                0 => Wound::block(files, older, places, random),
                _ => Wound::flip(files, places, random),
            };
            let healing = wound.deal(files);
            files.store(&self.place.data_dir()).map_err(Violation)?;
            let seen = Violation::watched(|| self.judge(&wound, &sound, &mut counts));
            seen.map_err(|Violation(words)| Violation(format!("real server, {wound}: {words}")))?;
            healing.heal(files);
        }
        Ok(counts)
    }

    fn judge(&self, wound: &Wound, sound: &[Given], counts: &mut Counts) -> Result<(), Violation> {
        let is_clean = self.verify_is_clean()?;
        let Some(given) = self.read(sound)? else {
            counts.refused += 1;
            return match is_clean {
                true => Err(Violation("refused, and verify says nothing".to_owned())),
                false => Ok(()),
            };
        };
        let mut is_whole = true;
        for (given, sound) in given.iter().zip(sound) {
            let mut expected = sound.records.iter();
            if !given.records.iter().all(|record| expected.any(|it| it == record)) {
                return Err(Violation("other records than before are given".to_owned()));
            }
            let is_prefix = sound.records.starts_with(&given.records);
            if !is_prefix && !given.is_told {
                return Err(Violation("records are left out without a word".to_owned()));
            }
            is_whole &= given.records.len() == sound.records.len();
        }
        let log = std::fs::read_to_string(self.place.log()).unwrap_or_default();
        let is_named = wound.touches().any(|(path, _)| log.contains(path));
        if given.iter().any(|given| given.is_told) && !is_named {
            return Err(Violation(format!("the log does not name the file:\n{log}")));
        }
        counts.told += u64::from(!is_whole);
        counts.whole += u64::from(is_whole);
        others_go_on(wound, &given, sound)
    }

    /// True if `plimsoll verify` has neither damage nor a torn tail to tell.
    fn verify_is_clean(&self) -> Result<bool, Violation> {
        let mut verify = Command::new(&self.program);
        verify.arg("verify").arg(self.place.data_dir());
        let verified = verify.output().map_err(|error| Violation(error.to_string()))?;
        let said = String::from_utf8_lossy(&verified.stdout);
        Ok(verified.status.success() && !said.contains("note: "))
    }

    /// Starts a server, reads everything, and appends to every partition; nothing if it refuses to
    /// start.
    fn read(&self, sound: &[Given]) -> Result<Option<Vec<Given>>, Violation> {
        let _ = std::fs::remove_file(self.place.log());
        self.place.remove_arenas();
        let start = self.place.server().program(&self.program).shards(self.shards);
        let Some(server) = start.spawn().ready_or_ended() else {
            return match std::fs::read_to_string(self.place.log()).unwrap_or_default() {
                log if log.contains("panicked") => Err(Violation(log)),
                log if log.contains("plimsoll: ") => Ok(None),
                log => Err(Violation(format!("it ends without a sentence:\n{log}"))),
            };
        };
        let begun = Instant::now();
        let mut connection = Connection::open(server.address());
        let mut all = Vec::new();
        for (topic, partitions) in &self.topics {
            for partition in 0..*partitions {
                let known = sound.get(all.len()).and_then(|given| given.records.last());
                let handle = all.len() as u32;
                let known = known.map(|(offset, _)| *offset);
                all.push(read_partition(&mut connection, handle, (topic, partition), known)?);
                if begun.elapsed() > PATIENCE {
                    return Err(Violation("reading does not end".to_owned()));
                }
            }
        }
        Ok(Some(all))
    }
}

/// What only a segment, or the journal of a shard that has no metadata, was damaged by, leaves all
/// others alone.
fn others_go_on(wound: &Wound, given: &[Given], sound: &[Given]) -> Result<(), Violation> {
    let harmed = given.iter().zip(sound);
    let harmed = harmed.filter(|(it, sound)| !it.goes_on || it.records != sound.records).count();
    let paths: BTreeSet<&str> = wound.touches().map(|(path, _)| path).collect();
    let directories: BTreeSet<&str> =
        paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(it, _)| it).collect();
    let is_data = |path: &&str| path.starts_with("topics/") && !path.starts_with("topics/0/");
    if paths.iter().all(is_data) && harmed > directories.len() {
        return Err(Violation(format!("{harmed} partitions suffer from damage of another")));
    }
    let is_journal = paths.iter().all(|path| *path == "journal/00001.journal");
    if is_journal && !given.iter().any(|it| it.goes_on) {
        return Err(Violation("no partition of the other shard goes on".to_owned()));
    }
    Ok(())
}

fn read_partition(
    connection: &mut Connection,
    handle: u32,
    (topic, partition): (&str, u32),
    known: Option<u64>,
) -> Result<Given, Violation> {
    use plimsoll_wire::{Bind, PartitionIndex};
    let bind = Bind { handle: Handle(handle), partition: PartitionIndex(partition), topic };
    let answer = connection.ask(|correlation, out| bind.encode(correlation, out));
    let end = match answer.response() {
        Response::Bind(bound) => bound.watermarks.disk,
        // The metadata topic was damaged where it tells of this topic.
        Response::Error(_) => {
            return Ok(Given { is_told: true, ..Given::default() });
        }
        other => return Err(Violation(format!("bind was answered with {other:?}"))),
    };
    let (mut given, mut offset) = (Given::default(), 0);
    while Offset::new(offset) < end {
        let fetch = Fetch {
            handle: Handle(handle),
            visible: Visible::Disk,
            offset: Offset::new(offset),
            max_bytes: 4 << 20,
            min_bytes: 1,
            // Behind the last record that was ever there, nothing is expected.
            max_wait_ms: if known.is_some_and(|last| offset > last) { 20 } else { 300 },
        };
        let answer = connection.ask(|correlation, out| fetch.encode(correlation, out));
        match answer.response() {
            Response::Fetched(fetched) => {
                let new = records(fetched.batches);
                let Some((last, _)) = new.last() else { break };
                let from = offset;
                offset = last + 1;
                given.records.extend(new.into_iter().filter(|(offset, _)| *offset >= from));
            }
            Response::Error(error) if error.code == ErrorCode::DataDamaged => {
                given.is_told = true;
                break;
            }
            other => return Err(Violation(format!("fetch was answered with {other:?}"))),
        }
    }
    let sent = connection.produce(handle, 0, AckLevel::Disk, None, &batch_of(u64::MAX - 9, 1));
    let answer = sent.ok().and_then(|()| connection.read());
    given.goes_on = match answer.as_ref().map(|answer| answer.response()) {
        Some(Response::Acks(_)) => true,
        Some(Response::Error(_)) => false,
        other => return Err(Violation(format!("an append was answered with {other:?}"))),
    };
    Ok(given)
}
