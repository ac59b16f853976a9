//! What all journals together come to.
//!
//! A partition that has moved between shards is in two journals; the later start's is true.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Startup;
use crate::error::Damage;
use crate::identity::PartitionId;
use crate::journal::Journal;
use crate::manifest::Manifest;
use crate::recovered::RecoveredPartition;

/// What a start found.
pub struct Started {
    /// The manifest of this start.
    pub manifest: Manifest,
    /// Whether the data directory was new.
    pub is_new: bool,
    /// Journals of this start's shards, by number.
    pub journals: Vec<StartedJournal>,
    /// Journals whose shard is gone; to be removed when all shards have logged what was in them.
    pub orphans: Vec<u16>,
    /// The partitions, wherever they were found.
    pub partitions: BTreeMap<PartitionId, RecoveredPartition>,
    /// Frames that were replayed.
    pub frames: u64,
    /// Bytes of journals that were read.
    pub read_bytes: u64,
    /// Damage in journals, of whichever shard.
    pub damages: Vec<Damage>,
}

/// A journal, ready for its shard.
pub struct StartedJournal {
    /// Where it goes on.
    pub journal: Journal,
    /// Damage in it: the shard then appends nothing.
    pub damage: Option<Damage>,
}

impl Startup {
    pub(super) fn collect(&mut self) -> Started {
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        let (mut journals, mut orphans, mut damages) = (Vec::new(), Vec::new(), Vec::new());
        let mut frames = 0;
        for (index, (journal, replayed)) in core::mem::take(&mut self.replayed) {
            frames += replayed.frames;
            damages.extend(replayed.damage.clone());
            for (id, mut partition) in replayed.partitions {
                partition.damage = replayed.damage.clone();
                // A partition that has moved is in two journals: the later start's is true.
                match partitions.get(&id) {
                    Some(other) if other.epoch >= partition.epoch => {}
                    _ => {
                        partitions.insert(id, partition);
                    }
                }
            }
            if index < self.config.shards {
                journals.push(StartedJournal { journal, damage: replayed.damage });
            } else if replayed.damage.is_none() {
                orphans.push(index);
            }
        }
        let data_dir = self.data_dir();
        let manifest = self.manifest.unwrap_or(Manifest { data_dir, epoch: 1, shards: 1 });
        Started {
            manifest,
            is_new: self.is_new,
            journals,
            orphans,
            partitions,
            frames,
            read_bytes: self.read_bytes,
            damages,
        }
    }
}
