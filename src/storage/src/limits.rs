//! The limits of storage, in one place. Sizes in bytes.
//!
//! Each has a reason beside it; whoever changes one looks at what is derived from it. Nothing that
//! a client can make grow may be without a limit here or in the shard's configuration.

use core::time::Duration;

use plimsoll_device::BLOCK_BYTES;

/// The largest journal frame, header and padding included.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Commits in flight at once. The second hides the latency of the first.
pub(crate) const COMMITS_MAX: usize = 2;

/// A second commit begins beside one in flight only when this much waits for it: smaller
/// work gathers until the first is done.
pub(crate) const SECOND_COMMIT_BYTES: u64 = 256 << 10;

/// A partition with this much new data in one commit writes it straight to its segment.
pub(crate) const DIRECT_BYTES: u64 = 64 << 10;

/// With this much new data a partition waits for its segment's file instead of going inline.
pub(crate) const WAIT_BYTES: u64 = 256 << 10;

/// Extents in one commit, at most: each is a file to write and to flush.
pub(crate) const EXTENTS_MAX: usize = 16;

/// What one commit writes straight to segments, at most.
pub(crate) const COMMIT_EXTENT_BYTES_MAX: u64 = 4 << 20;

/// Data of a partition that only the journal holds is moved to its segment from this size on.
pub(crate) const SPILL_BYTES: u64 = 256 << 10;

/// Moves from arena to segment in flight at once.
pub(crate) const SPILLS_MAX: usize = 128;

/// The largest span but for single batches that are larger.
pub(crate) const SPAN_BYTES_MAX: usize = 1 << 20;

/// The smallest span.
pub(crate) const SPAN_BYTES_MIN: usize = BLOCK_BYTES;

/// Offsets that a lease grants beyond the last one used.
pub(crate) const LEASE_OFFSETS: u64 = 1 << 20;

/// A lease is renewed when fewer than this many of its offsets are left.
pub(crate) const LEASE_OFFSETS_LOW: u64 = LEASE_OFFSETS / 2;

/// Sealed segments of a partition, at most; beyond it the last segment grows. A frame has room for
/// what a snapshot says of so many.
pub(crate) const SEGMENTS_MAX: usize = 24 << 10;

/// Segments are given blocks in steps: at first this much, doubled each time, up to
/// [`ALLOCATE_BYTES_MAX`].
pub(crate) const ALLOCATE_BYTES_MIN: u64 = 256 << 10;

/// The largest step in which segments are given blocks.
pub(crate) const ALLOCATE_BYTES_MAX: u64 = 128 << 20;

/// Files of deleted segments that a shard keeps for new ones, if nobody says otherwise. Their room
/// on the disk is not free meanwhile.
pub const RECYCLED_SEGMENTS: usize = 4;

/// The most that may be kept.
pub const RECYCLED_SEGMENTS_MAX: usize = 1024;

/// How long to wait before a full disk is tried again.
pub(crate) const DISK_FULL_RETRY: Duration = Duration::from_millis(250);

/// Partitions that are looked at for old segments in one turn.
pub(crate) const AGES_A_TURN: usize = 64;

/// A step of the wall clock beyond this is a leap.
pub(crate) const LEAP_MS: i64 = 60 * 1000;

/// A leap of the wall clock that lasts for this long is believed: data ages by it.
pub(crate) const LEAP_BELIEVED_AFTER: Duration = Duration::from_secs(3600);

/// A start so long after the newest write is a leap.
pub(crate) const START_GAP_MS: i64 = 24 * 3600 * 1000;

/// What compaction reads and writes in one operation, but for single batches that are larger.
pub(crate) const COMPACTION_STEP_BYTES: usize = 256 << 10;

/// What the compaction of a shard reads and writes in a second, at most.
pub(crate) const COMPACTION_BYTES_A_SECOND: u64 = 64 << 20;

/// After so much of it compaction pauses, to keep to that.
pub(crate) const COMPACTION_BURST_BYTES: u64 = 1 << 20;

/// Memory for the keys that one pass of compaction compares with: of more keys, a pass takes the
/// first.
pub const COMPACTION_KEY_BYTES_MAX: usize = 16 << 20;

/// What a key costs beside its bytes.
pub(crate) const COMPACTION_KEY_COST_BYTES: usize = 64;

/// A pass begins when of so many parts of a partition one was not compacted yet.
pub(crate) const COMPACTION_DIRTY_PARTS: u64 = 2;

/// A segment that takes data is sealed for compaction from this size on.
pub(crate) const COMPACTION_SEAL_BYTES: u64 = 1 << 20;

/// Or, with less, when its first data is of this age, so that a small topic is compacted too.
pub(crate) const COMPACTION_SEAL_AFTER: Duration = Duration::from_secs(3600);

/// When a pass that found no room on the disk is tried again.
pub(crate) const COMPACTION_RETRY: Duration = Duration::from_secs(60);

/// Batches of a producer that a partition remembers: those that may be sent again.
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// Idempotent producers that a partition remembers; the one that rested longest goes.
pub const PRODUCERS_MAX: usize = 1000;

/// Those of all partitions of a shard together, unless the journal is too small for them.
pub(crate) const PRODUCERS_SHARD_MAX: usize = 128 << 10;

/// A producer that rests for longer than this is forgotten.
pub(crate) const PRODUCER_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Entries of a segment's index, at most; then every other one is dropped.
pub(crate) const INDEX_ENTRIES_MAX: usize = 512;

/// Distance of index entries at first.
pub(crate) const INDEX_DISTANCE_BYTES: u64 = 64 << 10;

/// Index entries of a span are at least this far apart.
pub(crate) const SPAN_INDEX_BYTES: u32 = 4 << 10;

/// Reads from the disk in flight at once, each with up to [`READ_BYTES_MAX`] of the arena.
pub(crate) const READS_MAX: usize = 32;

/// One read from the disk, but for single batches that are larger.
pub(crate) const READ_BYTES_MAX: usize = (1 << 20) + (128 << 10);

/// Reads are cut into pieces of this size that are in flight together.
pub(crate) const READ_PIECE_BYTES: usize = 256 << 10;

/// Files open at once, before idle ones are closed.
pub(crate) const FILES_OPEN_MAX: usize = 2048;

/// The smallest arena that works, in bytes.
pub const ARENA_BYTES_MIN: usize = 4 << 20;

/// The smallest journal that works beside an arena of `arena_bytes`.
pub const fn journal_bytes_min(arena_bytes: usize) -> u64 {
    let least = 2 * arena_bytes as u64;
    if least < 8 << 20 { 8 << 20 } else { least }
}
