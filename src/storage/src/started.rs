//! What a start found, and how the shards of this start share it.
//!
//! Nothing here touches the disk. What a newcomer gets wrong: a partition goes to the shard that
//! owns it now, which need not be the one whose journal it was found in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error::Damage;
use crate::identity::PartitionId;
use crate::journal::Journal;
use crate::manifest::Manifest;
use crate::recovered::RecoveredPartition;
use crate::storage::StorageConfig;

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
    /// Journals that were written anew in larger files.
    pub grown: Vec<u16>,
    /// Frames that were replayed.
    pub frames: u64,
    /// Bytes of torn tails that were cut off journals: frames that were under way when the writer
    /// ended, as far as what is left of them tells.
    pub cut_bytes: u64,
    /// Bytes of journals that were read.
    pub read_bytes: u64,
    /// Damage in journals, of whichever shard.
    pub damages: Vec<Damage>,
    /// The journals that they are in, in the same order.
    pub damaged: Vec<u16>,
}

/// A journal, ready for its shard.
pub struct StartedJournal {
    /// Where it goes on.
    pub journal: Journal,
    /// Damage in it: the shard then appends nothing.
    pub damage: Option<Damage>,
}

impl Started {
    /// Gives each shard its journal and its partitions, in the order of the shards. `boot_id` is of
    /// the machine; `durable_writes` says how commits are to be flushed, and
    /// `recycled_segments_max` how many files of deleted segments each shard keeps.
    #[must_use]
    pub fn share_out(
        self,
        boot_id: [u8; 16],
        durable_writes: bool,
        recycled_segments_max: usize,
    ) -> Vec<StorageConfig> {
        let shards = self.manifest.shards;
        let mut recovered: Vec<BTreeMap<PartitionId, RecoveredPartition>> =
            (0..shards).map(|_| BTreeMap::new()).collect();
        for (id, partition) in self.partitions {
            recovered[usize::from(id.owner(shards))].insert(id, partition);
        }
        let damages: Vec<(u16, Damage)> = self.damaged.into_iter().zip(self.damages).collect();
        let other_than = |index| damages.iter().find(|(other, _)| *other != index);
        let journals = self.journals.into_iter().zip(recovered);
        (0..)
            .zip(journals)
            .map(|(index, (journal, recovered))| StorageConfig {
                data_dir: self.manifest.data_dir,
                epoch: self.manifest.epoch,
                boot_id,
                durable_writes,
                journal: journal.journal,
                journal_damage: journal.damage,
                other_damage: other_than(index).map(|(_, damage)| damage.clone()),
                recycled_segments_max,
                recovered,
            })
            .collect()
    }
}
