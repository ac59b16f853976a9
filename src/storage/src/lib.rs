//! The log of one shard, without I/O: append, group commit, journal, segments, recovery, reads.
//!
//! [`Storage`] owns every partition of its shard, the arena and the journal. It takes in
//! completions and gives out disk operations; it never waits, reads no clock and knows nothing of
//! connections. What a newcomer gets wrong: the journal, and only the journal, says what exists. A
//! segment's bytes beyond what the journal names are nothing, however well they check.
#![doc = include_str!("../FORMAT.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod age_clock;
mod anchor;
mod append;
mod arena_image;
mod arena_layout;
mod backup;
mod checkpoint;
mod commit;
mod compacted;
mod compaction;
mod describe;
mod encoding;
mod entry;
mod error;
mod files;
mod flight;
#[cfg(test)]
mod format_tests;
mod frame;
mod frame_draft;
mod grow;
mod identity;
mod index;
mod index_job;
mod inspect;
mod journal;
mod known_topics;
mod level;
mod limits;
mod manifest;
mod notice;
mod origin;
mod pages;
mod parting;
mod partition;
mod producer_books;
mod producers;
mod read;
mod read_job;
mod recovered;
mod recycled;
mod remove;
mod repair;
mod repair_journal;
mod repair_partition;
mod repair_plan;
mod repair_state;
mod repair_steps;
#[cfg(test)]
mod repair_tests;
mod replay;
mod retention;
mod running_crc;
mod seed;
mod shard_counts;
mod span;
mod spill;
mod started;
mod startup;
mod storage;
mod submit;
mod sweep;
mod trim;
mod verify;
mod verify_journal;
mod verify_segment;
#[cfg(test)]
mod verify_tests;
mod written;

pub use anchor::Anchor;
pub use append::Appended;
pub use arena_image::{ArenaImage, ArenaVerdict, adopt_arenas, judge_arena};
pub use arena_layout::{ARENA_VERSION, ArenaHeader, ArenaHeaderError};
pub use backup::{BackupContent, BackupFile, BackupJournal};
pub use compacted::{Compacted, CompactedEntry};
pub use describe::{PartitionDescription, PartitionState, StorageCounters};
pub use entry::{
    AppendEntry, Entries, Entry, EntryError, Extent, ProducersEntry, Sealed, SnapshotEntry,
    StartEntry,
};
pub use error::{AppendError, Damage, Failure, ReadError};
pub use frame::{FRAME_HEADER_BYTES, FrameHeader, Sequence};
pub use identity::{Compaction, OFFSETS_PARTITIONS, PartitionConfig, PartitionId, Retention, Slot};
pub use index::{IndexEntry, SparseIndex};
pub use inspect::{FileKind, InspectError, inspect};
pub use journal::{JOURNALS_DIRECTORY, Journal, Mark, journal_path};
pub use level::{Level, Watermarks};
pub use limits::{
    ARENA_BYTES_MIN, COMPACTION_KEY_BYTES_MAX, FRAME_BYTES_MAX, PRODUCER_BATCHES_MAX,
    PRODUCERS_MAX, RECYCLED_SEGMENTS, RECYCLED_SEGMENTS_MAX, journal_bytes_min,
};
pub use manifest::{DataDirId, FORMAT_VERSION, Manifest, ManifestError};
pub use notice::Notice;
pub use partition::{
    RECYCLED_DIRECTORY, SegmentName, TOPICS_DIRECTORY, index_path, partition_directory,
    segment_path, topic_directory,
};
pub use producers::ProducerTable;
pub use read::{Cursor, Lent, ReadId, ReadOutcome};
pub use recovered::{LeasePlace, RecoveredPartition, Run};
pub use repair::{
    Cut, REPAIR_DIRECTORY, Repair, RepairConfig, RepairError, RepairLine, TopicRecord,
    TopicRecords, repair,
};
pub use repair_steps::RepairStep;
pub use shard_counts::ShardCounts;
pub use started::{Started, StartedJournal};
pub use startup::{Startup, StartupConfig, StartupError};
pub use storage::{Storage, StorageConfig};
pub use trim::TrimError;
// What `DataFiles` speaks; its implementors need no other crate of ours.
pub use plimsoll_device::{IoError, IoErrorKind};
pub use verify::{DataFiles, Finding, VerifyError, VerifySummary, verify};
pub use written::{Written, WrittenSpan};
