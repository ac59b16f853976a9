//! What all journals together come to.
//!
//! A partition that has moved between shards is in two journals; the later start's is true.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Startup;
use crate::identity::PartitionId;
use crate::manifest::Manifest;
use crate::recovered::RecoveredPartition;
use crate::started::{Started, StartedJournal};

impl Startup {
    pub(super) fn collect(&mut self) -> Started {
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        let (mut journals, mut orphans) = (Vec::new(), Vec::new());
        let (mut damages, mut damaged) = (Vec::new(), Vec::new());
        let (mut frames, mut cut_bytes) = (0, 0);
        for (index, (journal, replayed)) in core::mem::take(&mut self.replayed) {
            frames += replayed.frames;
            cut_bytes += replayed.cut_bytes;
            if let Some(damage) = &replayed.damage {
                damages.push(damage.clone());
                damaged.push(index);
            }
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
            grown: core::mem::take(&mut self.grown),
            partitions,
            frames,
            cut_bytes,
            read_bytes: self.read_bytes,
            damages,
            damaged,
        }
    }
}
