//! What a copy of a running server's files comes to, and the journals of the copy.
//!
//! The journals are copied first; what they name is durable and never written again, so that it can
//! be copied after them at leisure. The copy gets an id of its own: it must never take over the
//! arenas of the original. What a newcomer gets wrong: a journal that is copied while
//! it is written may look damaged where the writer was. Copied once more, it does not.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_device::BLOCK_BYTES;

use crate::anchor::{ANCHOR_BYTES, Anchor};
use crate::encoding::block_ceil;
use crate::error::Damage;
use crate::frame::FrameHeader;
use crate::identity::PartitionId;
use crate::journal::journal_path;
use crate::known_topics::KnownTopics;
use crate::manifest::DataDirId;
use crate::recovered::RecoveredPartition;
use crate::repair::TopicRecord;
use crate::repair_partition::segments_of;
use crate::verify::{DataFiles, Finding, Verification};
use crate::verify_journal::{VerifiedJournal, mark_after, read_next_frame};

/// A journal as it was copied.
pub struct BackupJournal {
    number: u16,
    verified: VerifiedJournal,
}

/// A part of a file that a backup needs, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// Whose.
    pub partition: PartitionId,
    /// The segment.
    pub path: String,
    /// So much of it, in whole blocks.
    pub length_bytes: u64,
}

impl BackupJournal {
    /// Reads the copy of a journal as a start would. Its damage, if there is any: the copy is to be
    /// made again, and only if that does not help it is the original that is damaged.
    pub fn read<F: DataFiles>(
        files: &mut F,
        number: u16,
        data_dir: DataDirId,
    ) -> Result<Self, Damage> {
        let mut first = None;
        let mut report = |finding| match finding {
            Finding::Damage(damage) if first.is_none() => first = Some(damage),
            _ => {}
        };
        let mut verification = Verification::new(files, |_| None, &mut report);
        let verified = verification.check_journal(number, data_dir);
        match (verified, first) {
            (Some(verified), None) => Ok(Self { number, verified }),
            (_, Some(damage)) => Err(damage),
            (None, None) => Err(Damage {
                path: journal_path(number),
                position_bytes: 0,
                partition: None,
                what: String::from("nothing can be read of it"),
            }),
        }
    }

    /// The journal's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Number of the last frame in it; all that was acked at `disk` until then is in the backup.
    pub fn last_frame(&self) -> u64 {
        self.verified.end.0.saturating_sub(1)
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        ANCHOR_BYTES + self.verified.place.area_bytes
    }

    /// Gives the blocks of the backup's own journal, each with its place in the file; everything
    /// else in it is zeros. False if the copy does not read as it did.
    pub fn write<F: DataFiles, E>(
        &self,
        files: &mut F,
        new_id: DataDirId,
        put: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let path = journal_path(self.number);
        let mut next = self.verified.head;
        let mut check = next.previous_check;
        let anchor = Anchor {
            data_dir: new_id,
            journal: self.number,
            generation: 0,
            head: next.sequence,
            head_position: next.position,
            previous_check: check,
            file_bytes: self.file_bytes(),
        };
        let mut block = vec![0; BLOCK_BYTES];
        anchor.encode(&mut block);
        put(anchor.file_position(), &block)?;
        while next.sequence < self.verified.end {
            let place = &self.verified.place;
            let Some((header, mut frame)) = read_next_frame(files, &path, place, next) else {
                return Ok(false);
            };
            next = mark_after(&header);
            let ours = FrameHeader { data_dir: new_id, previous_check: check, ..header };
            check = ours.encode(&mut frame);
            put(place.file_position(header.position), &frame)?;
        }
        Ok(true)
    }
}

/// What journals name together: each partition as the latest start to log it says.
pub struct BackupContent {
    partitions: BTreeMap<PartitionId, RecoveredPartition>,
    topics: KnownTopics,
}

impl BackupContent {
    /// Puts the journals together, and reads in the metadata topic which topics are deleted.
    pub fn of<F: DataFiles>(
        files: &mut F,
        journals: &[BackupJournal],
        topic_record: fn(&[u8]) -> Option<TopicRecord>,
    ) -> Self {
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        for (id, partition) in journals.iter().flat_map(|journal| &journal.verified.partitions) {
            if partitions.get(id).is_none_or(|other| other.epoch < partition.epoch) {
                partitions.insert(*id, partition.clone());
            }
        }
        let mut report = |_| {};
        let mut verification = Verification::new(files, topic_record, &mut report);
        if let Some(metadata) = partitions.get(&PartitionId::METADATA) {
            verification.check_partition(PartitionId::METADATA, metadata);
        }
        let topics = verification.topics;
        Self { partitions, topics }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.partitions.keys().filter(|id| !self.topics.is_deleted(**id)).count()
    }

    /// What has to be copied of the segments. What is left of deleted topics has not.
    pub fn files(&self) -> Vec<BackupFile> {
        let live = self.partitions.iter().filter(|(id, _)| !self.topics.is_deleted(**id));
        let mut files = Vec::new();
        for (id, partition) in live {
            for (base, length) in segments_of(partition) {
                let run = partition.runs.iter().find(|run| run.segment == base);
                let length_bytes = run.map_or(block_ceil(length), |run| run.stored);
                if length_bytes > 0 {
                    let path = partition.name_of(base).path(*id);
                    files.push(BackupFile { partition: *id, path, length_bytes });
                }
            }
        }
        files
    }
}
