//! A start and all reads of a damaged directory, in this process: the code that ships, on the
//! simulated disk.

use std::collections::BTreeMap;

use plimsoll_batch::{Batch, BatchLimits, Batches, Offset};
use plimsoll_device::{Arena, BLOCK_BYTES, Instant, Now};
use plimsoll_sim::{Disk, Random, heap_arena};
use plimsoll_storage::{
    Cursor, Damage, DataDirId, Lent, Level, Notice, PartitionConfig, PartitionId, PartitionState,
    ReadError, ReadId, ReadOutcome, RecoveredPartition, Retention, Slot, Started, Startup,
    StartupConfig, Storage, StorageConfig, adopt_arenas,
};
use plimsoll_tests::value_id;

use super::files::Files;

const NOW: Now = Now { monotonic: Instant::from_nanos(0), unix_ms: 0 };
const ARENA_BYTES: usize = 16 << 20;
/// A reader that meets damage goes on behind it so many times.
const DAMAGES_MAX: usize = 3;

/// A batch that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) base: u64,
    pub(crate) next: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Delivered {
    /// Whether every record is as it was sent, and not from elsewhere.
    pub(crate) fn is_genuine(&self) -> bool {
        let batch = Batch::validate(&self.bytes, &BatchLimits::default());
        let records = batch.as_ref().ok().and_then(|batch| batch.records().ok());
        records.is_some_and(|mut records| {
            records.all(|record| {
                record.is_ok_and(|it| it.value.is_some_and(|value| value_id(value).is_some()))
            })
        })
    }
}

/// What a partition gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) delivered: Vec<Delivered>,
    /// What reads, or the partition's state, said of damage.
    pub(crate) damages: Vec<Damage>,
    /// The first offset that can be read.
    pub(crate) start: u64,
    /// The next offset to be given out.
    pub(crate) next_offset: u64,
}

/// What became of a start.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It refused.
    Refused,
    /// It came up.
    Served {
        /// What it said of damage in journals.
        damages: Vec<Damage>,
        partitions: BTreeMap<PartitionId, Answer>,
    },
}

/// Starts on one shard and reads what these partitions have. `sound` is what they should give, to
/// find a place behind damage.
pub(crate) fn replay(
    mut disk: Disk,
    ids: &[PartitionId],
    sound: &BTreeMap<PartitionId, Answer>,
) -> Outcome {
    let Ok(mut started) = start(&mut disk) else { return Outcome::Refused };
    adopt_arenas(&mut started.partitions, &[]);
    let damages = std::mem::take(&mut started.damages);
    let mut life = Life::begin(started, ids, disk);
    let partitions = ids.iter().map(|id| (*id, life.read_all(*id, sound.get(id)))).collect();
    Outcome::Served { damages, partitions }
}

/// What a start finds in sound files.
pub(crate) fn recovered(
    files: &Files,
) -> Result<BTreeMap<PartitionId, RecoveredPartition>, String> {
    let started = start(&mut disk_of(files))?;
    match started.damages.first() {
        None => Ok(started.partitions),
        Some(damage) => Err(format!("the sound directory is damaged: {damage}")),
    }
}

/// A simulated disk that has these files.
pub(crate) fn disk_of(files: &Files) -> Disk {
    let mut disk = Disk::new(&Random::new(1));
    for (path, bytes) in &files.0 {
        disk.write_file(path, bytes);
    }
    disk
}

fn start(disk: &mut Disk) -> Result<Started, String> {
    let journals = disk.files().iter().filter(|path| path.ends_with(".journal")).count() as u16;
    let config = StartupConfig {
        shards: journals.max(1),
        journal_bytes: 32 << 20,
        new_data_dir: DataDirId([7; 16]),
    };
    let mut startup = Startup::new(config);
    let mut arena = heap_arena(BLOCK_BYTES);
    loop {
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        if let Some(outcome) = startup.outcome() {
            return outcome.map_err(|error| error.to_string());
        }
        match disk.complete_one(&mut arena) {
            Some(completion) => startup.handle(completion),
            None => panic!("a start waits for nothing and has no outcome"),
        }
    }
}

struct Life {
    storage: Storage,
    disk: Disk,
    reads: BTreeMap<ReadId, Result<Lent, ReadError>>,
}

impl Life {
    fn begin(mut started: Started, ids: &[PartitionId], disk: Disk) -> Life {
        let journal = started.journals.remove(0);
        let config = StorageConfig {
            data_dir: started.manifest.data_dir,
            epoch: started.manifest.epoch,
            boot_id: [1; 16],
            durable_writes: false,
            journal: journal.journal,
            journal_damage: journal.damage,
            other_damage: None,
            recycled_segments_max: plimsoll_storage::RECYCLED_SEGMENTS,
            recovered: started.partitions,
        };
        let arena_bytes = config.arena_bytes_needed().max(ARENA_BYTES);
        let storage = Storage::new(config, heap_arena(arena_bytes));
        let mut life = Life { storage, disk, reads: BTreeMap::new() };
        for id in ids {
            let config = PartitionConfig {
                segment_bytes: 1 << 20,
                batch_bytes_max: 1 << 20,
                flush_interval: std::time::Duration::from_millis(1),
                retention: Retention::UNLIMITED,
                compaction: None,
            };
            life.storage.open_partition(*id, config);
        }
        life.storage.finish_opening(NOW);
        life.run();
        life.storage.all_seeded();
        life.run();
        life
    }

    fn run(&mut self) {
        loop {
            while let Some(op) = self.storage.poll_op() {
                self.disk.submit(op, self.storage.arena());
            }
            while let Some(notice) = self.storage.poll_notice() {
                if let Notice::Read(read, result) = notice {
                    self.reads.insert(read, result);
                }
            }
            let arena: &mut Arena = self.storage.arena_mut();
            match self.disk.complete_one(arena) {
                Some(completion) => self.storage.handle(completion, NOW),
                None => return,
            }
        }
    }

    fn read_all(&mut self, id: PartitionId, sound: Option<&Answer>) -> Answer {
        let Some(slot) = self.storage.slot(id) else { return Answer::default() };
        let marks = self.storage.watermarks(slot);
        let (start, next_offset) = (marks.start.value(), marks.memory.value());
        let mut answer = Answer { start, next_offset, ..Answer::default() };
        if let PartitionState::Damaged(damage) = self.storage.state(slot) {
            answer.damages.push(damage);
        }
        let (mut cursor, mut met) = (Cursor::at(marks.start), 0);
        while cursor.offset() < marks.disk && met < DAMAGES_MAX {
            match self.read(slot, cursor) {
                Ok(Some(lent)) => {
                    let from = cursor.offset();
                    for batch in Batches::new(self.storage.bytes(lent.range)).flatten() {
                        let header = batch.header();
                        let (base, next) = (header.base_offset, header.next_offset());
                        if next > from {
                            let (base, next) = (base.value(), next.value());
                            let bytes = batch.bytes().to_vec();
                            answer.delivered.push(Delivered { base, next, bytes });
                        }
                    }
                    assert!(lent.next.offset() > from, "{id}: a reader stands still at {from}");
                    cursor = lent.next;
                    self.storage.release(lent);
                }
                Ok(None) => break,
                Err(ReadError::Damaged(damage)) => {
                    met += 1;
                    answer.damages.push(damage);
                    let batches = sound.map_or(&[][..], |sound| &sound.delivered);
                    let behind = batches.iter().find(|it| it.base > cursor.offset().value());
                    let Some(behind) = behind else { break };
                    cursor = Cursor::at(Offset::new(behind.base));
                }
                Err(error) => {
                    let path = id.to_string();
                    let what = error.to_string();
                    answer.damages.push(Damage {
                        path,
                        position_bytes: 0,
                        partition: Some(id),
                        what,
                    });
                    break;
                }
            }
        }
        answer
    }

    fn read(&mut self, slot: Slot, cursor: Cursor) -> Result<Option<Lent>, ReadError> {
        for _ in 0..1000 {
            match self.storage.read(slot, cursor, Level::Disk, 1 << 20) {
                Ok(ReadOutcome::Ready(lent)) => return Ok(Some(lent)),
                Ok(ReadOutcome::UpToDate) => return Ok(None),
                Ok(ReadOutcome::Pending(read)) => {
                    self.run();
                    match self.reads.remove(&read) {
                        Some(Err(ReadError::NoRoom)) => self.run(),
                        Some(result) => return result.map(Some),
                        None => panic!("a read was never answered"),
                    }
                }
                Err(ReadError::NoRoom) => self.run(),
                Err(error) => return Err(error),
            }
        }
        panic!("there is never room for a read");
    }
}
