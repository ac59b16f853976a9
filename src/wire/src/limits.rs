//! Every limit of the protocol, in one place.
//!
//! The decoder enforces only what keeps it safe (lengths, lists within their frame); the rest is
//! for the server to refuse with a typed error and for the client to keep to. The server tells its
//! own `frame_bytes_max`, `in_flight_max` and `handles_max` in the response to `hello`; the values
//! here are the defaults.

use plimsoll_batch::BATCH_BYTES_MAX;

/// The only version of the protocol so far.
pub const VERSION: u16 = 1;

/// `hello` begins with this: the bytes "PLIM", in this order on the wire.
pub const HELLO_MAGIC: u32 = 0x4D49_4C50;

/// The header before each body.
pub const FRAME_HEADER_BYTES: usize = 16;

/// The largest frame: the largest batch, and room for what stands before it.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + (4 << 10);

/// Produce frames of one connection that are not yet acked.
pub const IN_FLIGHT_MAX: u32 = 4096;

/// Handles of one connection; a handle is below this.
pub const HANDLES_MAX: u32 = 65_536;

/// A topic's name in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: u32 = 100_000;

/// Topics that one `metadata` request may name. To see more, ask for all.
pub const METADATA_NAMES_MAX: u32 = 1_000;

/// Partitions in one answer to `describe`.
pub const DESCRIBE_PARTITIONS_MAX: u32 = 100_000;

/// A group's name in bytes, and that of a static member; neither is empty where it is given.
pub const GROUP_NAME_BYTES_MAX: usize = 249;

/// Topics that a member subscribes to.
pub const GROUP_TOPICS_MAX: u32 = 1_000;

/// Partitions of one member.
pub const GROUP_PARTITIONS_MAX: u32 = 100_000;

/// Members of one group.
pub const GROUP_MEMBERS_MAX: u32 = 10_000;

/// Offsets in one `commit_offsets`.
pub const COMMIT_OFFSETS_MAX: u32 = 10_000;

/// The note beside a committed offset, in bytes.
pub const COMMIT_METADATA_BYTES_MAX: usize = 4_096;

/// The bounds of a member's session timeout.
pub const SESSION_TIMEOUT_MS_MIN: u32 = 500;

/// As [`SESSION_TIMEOUT_MS_MIN`].
pub const SESSION_TIMEOUT_MS_MAX: u32 = 3_600_000;

/// Runs of offsets in one `share_settle`, and in one answer to `share_acquire`.
pub const SHARE_RANGES_MAX: u32 = 10_000;

/// Records that one `share_acquire` gets at most.
pub const SHARE_RECORDS_MAX: u32 = 10_000;

/// How long a `share_acquire` may wait.
pub const SHARE_WAIT_MS_MAX: u32 = 60_000;

/// The bounds of the time for which a member has a record to itself.
pub const SHARE_LOCK_MS_MIN: u32 = 100;

/// As [`SHARE_LOCK_MS_MIN`].
pub const SHARE_LOCK_MS_MAX: u32 = 3_600_000;

/// How long a `fetch` may wait.
pub const FETCH_WAIT_MS_MAX: u32 = 60_000;

/// A frame must be complete this long after its first byte has arrived.
pub const FRAME_TIMEOUT_MS: u64 = 30_000;

/// The first frame must be complete this long after the connection was accepted.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;

/// Entries in one `acks` frame; [`crate::AcksEncoder`] begins another frame beyond it.
pub const ACKS_PER_FRAME_MAX: usize = 8_192;

/// What stands before the batch in a `produce` frame: frame header, handle, levels.
pub const PRODUCE_HEAD_BYTES: usize = FRAME_HEADER_BYTES + 8;

/// What stands before the batches in a `fetch` response or a `delivery`: frame header, handle,
/// watermarks.
pub const BATCHES_HEAD_BYTES: usize = FRAME_HEADER_BYTES + 40;
