//! Directories that the real log wrote on the simulated disk, as bytes that can be damaged.
//!
//! What a newcomer gets wrong: a life begins without the arena of the one before, as after a power
//! loss.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{Batch, BatchBuilder, BatchLimits};
use plimsoll_device::{BLOCK_BYTES, Instant, IoError, IoErrorKind, Now};
use plimsoll_sim::{Disk, Random, heap_arena};

use crate::*;

const NOW: Now = Now { monotonic: Instant::from_nanos(0), unix_ms: 0 };
pub(crate) const JOURNAL_BYTES: u64 = 8 << 20;
pub(crate) const ORDERS: [PartitionId; 2] =
    [PartitionId { topic: 1, partition: 0 }, PartitionId { topic: 1, partition: 1 }];
pub(crate) const DELETED: PartitionId = PartitionId { topic: 2, partition: 0 };

/// A data directory as bytes.
#[derive(Clone, Default)]
pub(crate) struct Copy(pub(crate) BTreeMap<String, Vec<u8>>);

impl Copy {
    pub(crate) fn of(disk: &Disk) -> Self {
        let paths = disk.files().into_iter();
        Self(paths.map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect())
    }

    pub(crate) fn flip(&mut self, path: &str, bit: usize) {
        self.0.get_mut(path).unwrap()[bit / 8] ^= 1 << (bit % 8);
    }
}

impl DataFiles for Copy {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let prefix = match directory {
            "" => String::new(),
            directory => alloc::format!("{directory}/"),
        };
        let within = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> =
            within.map(|rest| rest.split('/').next().unwrap().to_string()).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        let file = self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))?;
        Ok(file.len() as u64)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let file = self.0.get(path).ok_or(IoError::new(IoErrorKind::NotFound, 2))?;
        let rest = file.get(usize::try_from(position).unwrap_or(usize::MAX)..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// One life of a server with one shard.
pub(crate) struct Life {
    pub(crate) storage: Storage,
    seeded: bool,
    stopped: bool,
}

pub(crate) fn start(disk: &mut Disk) -> Started {
    start_with(disk, JOURNAL_BYTES)
}

pub(crate) fn start_with(disk: &mut Disk, journal_bytes: u64) -> Started {
    let config = StartupConfig { shards: 1, journal_bytes, new_data_dir: DataDirId([7; 16]) };
    let mut startup = Startup::new(config);
    let mut arena = heap_arena(BLOCK_BYTES);
    loop {
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        if let Some(outcome) = startup.outcome() {
            return outcome.unwrap();
        }
        startup.handle(disk.complete_one(&mut arena).expect("a start has something in flight"));
    }
}

impl Life {
    /// Starts without the arena of the life before: as after a power loss.
    pub(crate) fn begin(disk: &mut Disk, partitions: &[PartitionId]) -> Self {
        let mut started = start(disk);
        assert_eq!(started.damages, []);
        adopt_arenas(&mut started.partitions, &[]);
        let config = StorageConfig {
            data_dir: started.manifest.data_dir,
            epoch: started.manifest.epoch,
            boot_id: [1; 16],
            durable_writes: false,
            journal: started.journals.remove(0).journal,
            journal_damage: None,
            other_damage: None,
            recycled_segments_max: RECYCLED_SEGMENTS,
            recovered: started.partitions,
        };
        let storage = Storage::new(config, heap_arena(ARENA_BYTES_MIN));
        let mut life = Self { storage, seeded: false, stopped: false };
        for id in partitions {
            let config = PartitionConfig {
                segment_bytes: 256 << 10,
                batch_bytes_max: 1 << 20,
                flush_interval: Duration::from_millis(1),
                retention: Retention::UNLIMITED,
                compaction: None,
            };
            life.storage.open_partition(*id, config);
        }
        life.storage.finish_opening(NOW);
        life.run(disk);
        assert!(life.seeded);
        life.storage.all_seeded();
        life
    }

    fn run(&mut self, disk: &mut Disk) {
        loop {
            while let Some(op) = self.storage.poll_op() {
                disk.submit(op, self.storage.arena());
            }
            while let Some(notice) = self.storage.poll_notice() {
                match notice {
                    Notice::Seeded => self.seeded = true,
                    Notice::Stopped => self.stopped = true,
                    Notice::Failed(failure) => panic!("{failure}"),
                    _ => {}
                }
            }
            match disk.complete_one(self.storage.arena_mut()) {
                Some(completion) => self.storage.handle(completion, NOW),
                None => return,
            }
        }
    }

    pub(crate) fn append(&mut self, disk: &mut Disk, id: PartitionId, value: &[u8]) {
        self.append_together(disk, id, &[value]);
    }

    /// Batches of a record each, in one commit.
    pub(crate) fn append_together(&mut self, disk: &mut Disk, id: PartitionId, values: &[&[u8]]) {
        let slot = self.storage.slot(id).unwrap();
        for value in values {
            let mut builder = BatchBuilder::new();
            builder.append(5, None, Some(value), &[]).unwrap();
            let mut bytes = Vec::new();
            builder.finish_into(&mut bytes);
            let batch = Batch::validate(&bytes, &BatchLimits::default()).unwrap();
            self.storage.append(slot, &batch, Level::Disk, NOW).unwrap();
        }
        self.run(disk);
    }

    pub(crate) fn delete_records(&mut self, disk: &mut Disk, id: PartitionId, to: u64) {
        let slot = self.storage.slot(id).unwrap();
        self.storage.delete_records(slot, plimsoll_batch::Offset::new(to)).unwrap();
        self.run(disk);
    }

    pub(crate) fn stop(mut self, disk: &mut Disk) {
        self.storage.stop(NOW);
        self.run(disk);
        assert!(self.stopped);
        disk.kill();
    }
}

/// Two lives with a power loss between them: several segments, inline data, extents, an offset gap.
pub(crate) fn directory() -> Disk {
    let mut disk = Disk::new(&Random::new(11));
    let all = [PartitionId::METADATA, ORDERS[0], ORDERS[1], DELETED];
    let mut life = Life::begin(&mut disk, &all);
    for round in 0..12_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 70_000]);
        life.append(&mut disk, ORDERS[1], &vec![round; 3_000]);
        life.append(&mut disk, DELETED, &vec![round; 20_000]);
    }
    drop(life);
    disk.power_loss();
    let mut life = Life::begin(&mut disk, &all);
    for round in 0..30_u8 {
        life.append(&mut disk, ORDERS[0], &vec![round; 9_000]);
        life.append(&mut disk, ORDERS[1], &[round; 30]);
    }
    life.stop(&mut disk);
    disk
}
