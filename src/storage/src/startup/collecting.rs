//! What all journals together come to.
//!
//! A partition that has moved between shards is in two journals; the later start's is true. What a
//! newcomer gets wrong: while a journal is damaged, what another one has of a partition is the
//! newest only if the damaged one cannot have had it since.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Startup;
use crate::error::Damage;
use crate::identity::PartitionId;
use crate::manifest::Manifest;
use crate::recovered::RecoveredPartition;
use crate::shard_counts::ShardCounts;
use crate::started::{Started, StartedJournal};

impl Startup {
    pub(super) fn collect(&mut self) -> Started {
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        let (mut found, mut journals, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
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
            found.push((index, journal));
        }
        let (data_dir, counts) = (self.data_dir(), ShardCounts::default());
        let manifest = Manifest { data_dir, epoch: 1, shards: 1, counts };
        let manifest = self.manifest.unwrap_or(manifest);
        let mut read_only: BTreeMap<u16, Damage> =
            damaged.iter().copied().zip(damages.iter().cloned()).collect();
        fence_older_states(&manifest, &read_only, &mut partitions);
        keep_what_cannot_move(self.config.shards, &partitions, &mut read_only);
        for (index, journal) in found {
            let damage = read_only.remove(&index);
            if index < self.config.shards {
                journals.push(StartedJournal { journal, damage });
            } else if damage.is_none() {
                orphans.push(index);
            }
        }
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

/// A partition that a damaged journal may have had since it was logged where it was found: going on
/// from there would give out offsets again.
fn fence_older_states(
    manifest: &Manifest,
    damaged: &BTreeMap<u16, Damage>,
    partitions: &mut BTreeMap<PartitionId, RecoveredPartition>,
) {
    for (id, partition) in partitions.iter_mut().filter(|(_, it)| it.damage.is_none()) {
        let starts = (partition.epoch, manifest.epoch);
        let newer = damaged.iter().find(|(journal, _)| {
            **journal != partition.journal && manifest.counts.may_have_owned(**journal, *id, starts)
        });
        partition.damage = newer.map(|(_, damage)| damage.clone());
    }
}

/// What its new shard cannot log stays where it was found: that journal is not written to either,
/// or it would forget the partition.
fn keep_what_cannot_move(
    shards: u16,
    partitions: &BTreeMap<PartitionId, RecoveredPartition>,
    read_only: &mut BTreeMap<u16, Damage>,
) {
    loop {
        let before = read_only.len();
        for (id, partition) in partitions {
            let owner = id.owner(shards);
            let is_kept = owner == partition.journal || read_only.contains_key(&partition.journal);
            let damage = partition.damage.as_ref().or_else(|| read_only.get(&owner));
            if let Some(damage) = damage.filter(|_| !is_kept).cloned() {
                read_only.insert(partition.journal, damage);
            }
        }
        if read_only.len() == before {
            return;
        }
    }
}
